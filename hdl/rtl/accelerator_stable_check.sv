// SPDX-License-Identifier: Apache-2.0
//
// Checks one valid/ready channel: once valid is up, it and the payload stay as they are until
// ready (AMBA AXI, IHI 0022, A3.2.1). It keeps a copy of the payload only while the channel
// stalls, so that wide payloads cost nothing while data flows.

module accelerator_stable_check #(
  parameter int unsigned Width = 1,
  parameter string       Name  = "channel"
) (
  input logic             clk_i,
  input logic             rst_ni,
  input logic             valid_i,
  input logic             ready_i,
  input logic [Width-1:0] payload_i
);

  logic             stalled_q;
  logic [Width-1:0] payload_q;

  always_ff @(posedge clk_i) begin
    stalled_q <= rst_ni && valid_i && !ready_i;
    if (rst_ni && valid_i && !ready_i && !stalled_q) begin
      payload_q <= payload_i;
    end
    if (rst_ni && stalled_q) begin
      assert (valid_i)
      else $error("%m: %s: valid fell before ready", Name);
      assert (!valid_i || payload_i == payload_q)
      else $error("%m: %s: the payload changed while valid waited for ready", Name);
    end
  end

endmodule
