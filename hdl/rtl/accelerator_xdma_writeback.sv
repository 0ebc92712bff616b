// SPDX-License-Identifier: Apache-2.0
//
// Writes 4 or 8 bytes to the host's memory, at a multiple of their number.

module accelerator_xdma_writeback #(
  parameter int unsigned DataWidth = 64
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  // Taken, and on its way to the host, in a clock with both.
  input  logic                   valid_i,
  output logic                   ready_o,
  input  logic [63:0]            addr_i,
  input  logic [63:0]            data_i,
  input  logic                   eight_i,

  output logic                   aw_valid_o,
  input  logic                   aw_ready_i,
  output logic [63:0]            aw_addr_o,
  output logic                   w_valid_o,
  input  logic                   w_ready_i,
  output logic [DataWidth-1:0]   w_data_o,
  output logic [DataWidth/8-1:0] w_strb_o
);

  localparam int unsigned LaneWidth = $clog2(DataWidth / 8);

  // The address was taken.
  logic                 data_q;
  logic [63:0]          addr;
  logic [LaneWidth-1:0] lane;
  // Two-state, so that it begins as 0.
  bit                   told_q;

  assign addr       = {addr_i[63:3], addr_i[2] && !eight_i, 2'b00};
  assign lane       = addr[LaneWidth-1:0];
  assign aw_valid_o = valid_i && !data_q;
  assign aw_addr_o  = addr;
  assign w_valid_o  = data_q;
  assign w_data_o   = DataWidth'(data_i) << {lane, 3'd0};
  assign w_strb_o   = (eight_i ? (DataWidth/8)'('hFF) : (DataWidth/8)'('hF)) << lane;
  assign ready_o    = data_q && w_ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      data_q <= 1'b0;
    end else begin
      if (aw_valid_o && aw_ready_i) data_q <= 1'b1;
      else if (ready_o) data_q <= 1'b0;
      if (valid_i && addr_i != addr && !told_q) begin
        told_q <= 1'b1;
        $warning("%m: %0d bytes are to be written to 0x%0h: 0x%0h is written; told once",
                 eight_i ? 8 : 4, addr_i, addr);
      end
    end
  end

endmodule
