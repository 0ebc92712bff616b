// SPDX-License-Identifier: Apache-2.0
//
// Takes the bytes of one C2H descriptor from an AXI4-Stream: as many as it has room for, or those
// up to the end of a packet.

module accelerator_xdma_stream_in
  import accelerator_xdma_pkg::*;
#(
  parameter int unsigned DataWidth  = 64,
  // Words that it holds.
  parameter int unsigned Depth      = 256,
  localparam int unsigned CountWidth = $clog2(DataWidth / 8) + 1
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  // With start_i: the bytes of the descriptor. cancel_i: it takes no more.
  input  logic                   start_i,
  input  logic [LenWidth-1:0]    bytes_i,
  input  logic                   cancel_i,

  input  logic [DataWidth-1:0]   s_axis_tdata,
  input  logic [DataWidth/8-1:0] s_axis_tkeep,
  input  logic                   s_axis_tlast,
  input  logic                   s_axis_tvalid,
  output logic                   s_axis_tready,

  output logic                   valid_o,
  input  logic                   ready_i,
  output logic [DataWidth-1:0]   data_o,
  output logic [CountWidth-1:0]  count_o,

  output logic [CountWidth-1:0]  came_o,
  output logic                   done_o,
  // Bytes taken since start_i, and whether the last of them ended a packet.
  output logic [LenWidth-1:0]    taken_o,
  output logic                   eop_o
);

  logic [LenWidth-1:0]   left_q, taken_q;
  logic                  eop_q, full;
  logic [CountWidth-1:0] kept;
  // Two-state, so that it begins as 0.
  bit                    told_q;

  // tkeep has no holes: PG195, "DMA C2H Stream".
  always_comb begin
    kept = '0;
    for (int unsigned i = 0; i < DataWidth / 8; i++) begin
      kept = kept + CountWidth'(s_axis_tkeep[i]);
    end
  end

  assign s_axis_tready = left_q != '0 && !full;
  assign came_o  = !(s_axis_tvalid && s_axis_tready) ? '0
                   : (left_q < LenWidth'(kept)) ? CountWidth'(left_q) : kept;
  assign done_o  = left_q == '0;
  assign taken_o = taken_q;
  assign eop_o   = eop_q;

  accelerator_xdma_fifo #(
    .Width(DataWidth + CountWidth), .Depth(Depth)
  ) u_fifo (
    .clk_i, .rst_ni,
    .push_i(came_o != '0), .data_i({came_o, s_axis_tdata}),
    .valid_o, .pop_i(valid_o && ready_i), .data_o({count_o, data_o}), .full_o(full)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      left_q <= '0;
    end else begin
      if (start_i) begin
        left_q  <= bytes_i;
        taken_q <= '0;
        eop_q   <= 1'b0;
      end else if (cancel_i) begin
        left_q <= '0;
      end
      if (s_axis_tvalid && s_axis_tready) begin
        left_q  <= s_axis_tlast ? '0 : left_q - LenWidth'(came_o);
        taken_q <= taken_q + LenWidth'(came_o);
        eop_q   <= s_axis_tlast;
        assert ((s_axis_tkeep & (s_axis_tkeep + 1'b1)) == '0 && s_axis_tkeep != '0)
        else $error("%m: tkeep is %b: bytes of a beat are those from bit 0 on", s_axis_tkeep);
        assert (s_axis_tlast || &s_axis_tkeep)
        else $error("%m: tkeep is %b in the middle of a packet", s_axis_tkeep);
        if (kept != came_o && !told_q) begin
          told_q <= 1'b1;
          $warning("%m: a descriptor ends within a beat of %0d bytes, and %0d of them are lost; told once",
                   kept, kept - came_o);
        end
      end
    end
  end

  accelerator_stable_check #(
    .Width(DataWidth + DataWidth / 8 + 1), .Name("s_axis_c2h")
  ) u_check (
    .clk_i, .rst_ni, .valid_i(s_axis_tvalid), .ready_i(s_axis_tready),
    .payload_i({s_axis_tlast, s_axis_tkeep, s_axis_tdata})
  );

endmodule
