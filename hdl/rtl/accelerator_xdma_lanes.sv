// SPDX-License-Identifier: Apache-2.0
//
// An access of a wide bus as accesses of 32 bits, one after the other: those of which the access
// has a byte. PCIe to AXI4-Lite and the DMA registers have 32 bits.

module accelerator_xdma_lanes #(
  parameter int unsigned DataWidth = 64,
  localparam int unsigned Lanes     = DataWidth / 32,
  localparam int unsigned LaneWidth = $clog2(Lanes)
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  // The access: in a clock with both it is over.
  input  logic                   valid_i,
  output logic                   ready_o,
  input  logic [DataWidth/8-1:0] strb_i,

  // A part of it. done_i: the part is over in this clock.
  output logic                   lane_valid_o,
  output logic [LaneWidth-1:0]   lane_o,
  output logic [3:0]             lane_strb_o,
  input  logic                   done_i
);

  logic [LaneWidth:0]   next_q;
  logic [Lanes-1:0]     asked, left;

  for (genvar i = 0; i < Lanes; i++) begin : gen_asked
    assign asked[i] = strb_i[4*i +: 4] != '0;
  end
  assign left = asked & ({Lanes{1'b1}} << next_q);

  always_comb begin
    lane_o = '0;
    for (int unsigned i = Lanes; i > 0; i--) if (left[i-1]) lane_o = LaneWidth'(i - 1);
  end

  assign lane_valid_o = valid_i && left != '0;
  assign lane_strb_o  = strb_i[4 * lane_o +: 4];
  // The last one, or none at all.
  assign ready_o      = valid_i && ((left & (left - 1'b1)) == '0) && (left == '0 || done_i);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) next_q <= '0;
    else if (valid_i && ready_o) next_q <= '0;
    else if (lane_valid_o && done_i) next_q <= (LaneWidth + 1)'(lane_o) + 1'b1;
  end

endmodule
