// SPDX-License-Identifier: Apache-2.0
//
// Whose turn it is among several masters: the first one behind the last that had it.

module accelerator_xdma_turn #(
  parameter int unsigned Masters = 2,
  parameter int unsigned IdWidth = 4
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  input  logic [Masters-1:0] valid_i,
  // The one of pick_o has had its turn.
  input  logic               take_i,
  output logic               any_o,
  output logic [IdWidth-1:0] pick_o
);

  logic [IdWidth-1:0] last_q;

  assign any_o = valid_i != '0;

  always_comb begin
    pick_o = '0;
    for (int unsigned i = Masters; i > 0; i--) begin
      if (valid_i[i-1]) pick_o = IdWidth'(i - 1);
    end
    for (int unsigned i = Masters; i > 0; i--) begin
      if (valid_i[i-1] && IdWidth'(i - 1) > last_q) pick_o = IdWidth'(i - 1);
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) last_q <= '0;
    else if (take_i) last_q <= pick_o;
  end

endmodule
