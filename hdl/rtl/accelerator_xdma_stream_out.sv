// SPDX-License-Identifier: Apache-2.0
//
// Gives the bytes of one H2C descriptor to an AXI4-Stream. Each descriptor begins with a beat of
// its own.

module accelerator_xdma_stream_out
  import accelerator_xdma_pkg::*;
#(
  parameter int unsigned DataWidth  = 64,
  localparam int unsigned CountWidth = $clog2(DataWidth / 8) + 1
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  // With start_i: the bytes of the descriptor, and whether they end a packet.
  input  logic                   start_i,
  input  logic [LenWidth-1:0]    bytes_i,
  input  logic                   eop_i,
  // What is yet to be given is left out.
  input  logic                   drop_i,

  input  logic [CountWidth:0]    level_i,
  input  logic [DataWidth-1:0]   data_i,
  output logic                   pop_o,
  output logic [CountWidth-1:0]  pop_bytes_o,

  output logic [DataWidth-1:0]   m_axis_tdata,
  output logic [DataWidth/8-1:0] m_axis_tkeep,
  output logic                   m_axis_tlast,
  output logic                   m_axis_tvalid,
  input  logic                   m_axis_tready,

  output logic                   done_o
);

  localparam int unsigned WordBytes = DataWidth / 8;

  logic [LenWidth-1:0]  left_q;
  logic                 eop_q, there;
  logic [DataWidth-1:0] data_q;
  logic [WordBytes-1:0] keep_q;
  logic                 valid_q, last_q;

  assign pop_bytes_o = (left_q < LenWidth'(WordBytes)) ? CountWidth'(left_q)
                                                       : CountWidth'(WordBytes);
  assign there       = left_q != '0 && level_i >= (CountWidth + 1)'(pop_bytes_o);
  assign pop_o       = there && (drop_i || !valid_q || m_axis_tready);
  assign done_o      = left_q == '0 && !valid_q;

  // Registers: what is offered stays, whatever becomes of the rest.
  assign m_axis_tvalid = valid_q;
  assign m_axis_tdata  = data_q;
  assign m_axis_tkeep  = keep_q;
  assign m_axis_tlast  = last_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      left_q  <= '0;
      valid_q <= 1'b0;
    end else begin
      if (m_axis_tready) valid_q <= 1'b0;
      if (start_i) begin
        left_q <= bytes_i;
        eop_q  <= eop_i;
      end else if (pop_o) begin
        left_q <= left_q - LenWidth'(pop_bytes_o);
        if (!drop_i) begin
          valid_q <= 1'b1;
          data_q  <= data_i;
          keep_q  <= ~({WordBytes{1'b1}} << pop_bytes_o);
          last_q  <= eop_q && left_q == LenWidth'(pop_bytes_o);
        end
      end
    end
  end

endmodule
