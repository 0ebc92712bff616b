// SPDX-License-Identifier: Apache-2.0
//
// 16 bytes, first in, first out. Clear wins over what comes and goes in the same clock.
module accelerator_uart_fifo (
  input  logic       clk_i,
  input  logic       rst_ni,
  input  logic       clear_i,
  input  logic       in_valid_i,
  output logic       in_ready_o,
  input  logic [7:0] in_data_i,
  output logic       out_valid_o,
  input  logic       out_ready_i,
  output logic [7:0] out_data_o
);

  logic [7:0] bytes_q [16];
  logic [3:0] head_q, tail_q;
  logic [4:0] count_q;
  logic       push, pop;

  assign in_ready_o  = rst_ni && count_q != 5'd16;
  assign out_valid_o = count_q != 5'd0;
  assign out_data_o  = bytes_q[head_q];
  assign push        = in_valid_i && in_ready_o;
  assign pop         = out_valid_o && out_ready_i;

  always_ff @(posedge clk_i) begin
    if (push) begin
      bytes_q[tail_q] <= in_data_i;
      tail_q          <= tail_q + 4'd1;
    end
    if (pop) head_q <= head_q + 4'd1;
    count_q <= count_q + 5'(push) - 5'(pop);
    if (!rst_ni || clear_i) begin
      head_q  <= '0;
      tail_q  <= '0;
      count_q <= '0;
    end
  end

endmodule
