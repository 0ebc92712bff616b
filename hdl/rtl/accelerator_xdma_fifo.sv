// SPDX-License-Identifier: Apache-2.0
//
// A queue in a memory. The one who pushes has seen that there is room.

module accelerator_xdma_fifo #(
  parameter int unsigned Width = 8,
  parameter int unsigned Depth = 16
) (
  input  logic             clk_i,
  input  logic             rst_ni,

  input  logic             push_i,
  input  logic [Width-1:0] data_i,

  output logic             valid_o,
  input  logic             pop_i,
  output logic [Width-1:0] data_o,

  output logic             full_o
);

  localparam int unsigned PtrWidth = $clog2(Depth);

  logic [Width-1:0]    memory_q [Depth];
  logic [PtrWidth-1:0] in_q, out_q;
  logic [PtrWidth:0]   count_q;

  assign valid_o = count_q != '0;
  assign full_o  = count_q == (PtrWidth + 1)'(Depth);
  assign data_o  = memory_q[out_q];

  function automatic logic [PtrWidth-1:0] next(logic [PtrWidth-1:0] ptr);
    return (ptr == PtrWidth'(Depth - 1)) ? '0 : ptr + 1'b1;
  endfunction

  always_ff @(posedge clk_i) begin
    if (push_i) memory_q[in_q] <= data_i;
    if (!rst_ni) begin
      in_q    <= '0;
      out_q   <= '0;
      count_q <= '0;
    end else begin
      if (push_i) in_q <= next(in_q);
      if (pop_i) out_q <= next(out_q);
      count_q <= count_q + (PtrWidth + 1)'(push_i) - (PtrWidth + 1)'(pop_i);
      assert (!push_i || !full_o || pop_i)
      else $error("%m: pushed into a full queue");
      assert (!pop_i || valid_o)
      else $error("%m: popped from an empty queue");
    end
  end

endmodule
