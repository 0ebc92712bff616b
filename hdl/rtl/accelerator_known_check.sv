// SPDX-License-Identifier: Apache-2.0
//
// Checks that what RTL gives is known before it goes over the DPI, whose types have no X: what is
// unknown would arrive as 0. Valid must be known out of reset, and the payload while valid is
// up. Bytes of memory that nobody ever set are no fault of a protocol: with Fatal 0 the first of
// them are told, and no more. A two-state simulator has nothing to check, and drops this.

module accelerator_known_check #(
  parameter int Width = 1,
  parameter     Name  = "channel",
  parameter bit Fatal = 1'b1
) (
  input logic             clk_i,
  input logic             rst_ni,
  input logic             valid_i,
  input logic [Width-1:0] payload_i
);

  // Two-state, so that it begins as 0.
  bit told_q;

  always_ff @(posedge clk_i) begin
    if (rst_ni) begin
      assert ($isunknown(valid_i) == 1'b0)
      else $error("%m: %s: valid is %b", Name, valid_i);
      if (valid_i && $isunknown(payload_i)) begin
        if (Fatal) begin
          $error("%m: %s: %h is not known, and would be 0 for the host", Name, payload_i);
        end else if (!told_q) begin
          told_q <= 1'b1;
          $warning("%m: %s: %h is not known, and is 0 for the host; told once", Name, payload_i);
        end
      end
    end
  end

endmodule
