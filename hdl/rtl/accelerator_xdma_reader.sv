// SPDX-License-Identifier: Apache-2.0
//
// Reads the bytes of one descriptor from a memory, host's or card's, in bursts, and gives them in
// words that begin with bit 0. It asks only for what it has room for, so data is taken at once
// and never stands in the way of another channel's.

module accelerator_xdma_reader
  import accelerator_axi_pkg::*;
  import accelerator_xdma_pkg::*;
#(
  parameter int unsigned DataWidth  = 64,
  // No burst crosses a multiple of this.
  parameter int unsigned BurstBytes = 512,
  localparam int unsigned CountWidth = $clog2(DataWidth / 8) + 1
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,

  // With start_i: what to read. fixed_i: each beat is read at the same address.
  input  logic                  start_i,
  input  logic [63:0]           addr_i,
  input  logic [LenWidth-1:0]   bytes_i,
  input  logic                  fixed_i,

  output logic                  ar_valid_o,
  input  logic                  ar_ready_i,
  output logic [63:0]           ar_addr_o,
  output logic [7:0]            ar_len_o,
  output logic [1:0]            ar_burst_o,
  input  logic                  r_valid_i,
  input  logic [DataWidth-1:0]  r_data_i,
  input  logic [1:0]            r_resp_i,

  output logic                  valid_o,
  input  logic                  ready_i,
  output logic [DataWidth-1:0]  data_o,
  output logic [CountWidth-1:0] count_o,

  // Bytes that came in this clock, into the words above.
  output logic [CountWidth-1:0] came_o,
  // All have come.
  output logic                  done_o,
  // Since start_i an answer was an error.
  output logic                  slverr_o,
  output logic                  decerr_o
);

  localparam int unsigned WordBytes = DataWidth / 8;
  localparam int unsigned LaneWidth = $clog2(WordBytes);
  // Words of four bursts.
  localparam int unsigned Depth     = 4 * BurstBytes / WordBytes;
  localparam int unsigned RoomWidth = $clog2(Depth + 1);

  // Of what is yet to be asked for.
  logic [63:0]           addr_q;
  logic [LenWidth-1:0]   ask_q;
  logic                  fixed_q;
  // Of what is yet to come.
  logic [LenWidth-1:0]   left_q;
  logic [LaneWidth-1:0]  lane_q;
  // Words asked for and not yet given away.
  logic [RoomWidth-1:0]  used_q;
  logic                  slverr_q, decerr_q;

  // The next burst.
  logic [LenWidth-1:0]   room, burst;
  logic [LenWidth-1:0]   beats;
  assign room  = fixed_q ? LenWidth'(WordBytes)
                         : LenWidth'(BurstBytes) - LenWidth'(addr_q[$clog2(BurstBytes)-1:0]);
  assign burst = (ask_q < room) ? ask_q : room;
  assign beats = (burst + LenWidth'(addr_q[LaneWidth-1:0]) + LenWidth'(WordBytes - 1)) >> LaneWidth;

  assign ar_valid_o = ask_q != '0 && LenWidth'(used_q) + beats <= LenWidth'(Depth);
  assign ar_addr_o  = addr_q;
  assign ar_len_o   = 8'(beats - 1'b1);
  assign ar_burst_o = fixed_q ? 2'b00 : BurstIncr;

  // The word that comes.
  logic [CountWidth-1:0] in_word;
  assign in_word = CountWidth'(WordBytes) - CountWidth'(lane_q);
  assign came_o  = !r_valid_i ? '0
                   : (left_q < LenWidth'(in_word)) ? CountWidth'(left_q) : in_word;

  assign done_o   = ask_q == '0 && left_q == '0;
  assign slverr_o = slverr_q;
  assign decerr_o = decerr_q;

  // The reservation keeps it from being full.
  /* verilator lint_off PINCONNECTEMPTY */
  accelerator_xdma_fifo #(
    .Width(DataWidth + CountWidth), .Depth(Depth)
  ) u_fifo (
    .clk_i, .rst_ni,
    .push_i(r_valid_i), .data_i({came_o, r_data_i >> {lane_q, 3'd0}}),
    .valid_o, .pop_i(valid_o && ready_i), .data_o({count_o, data_o}), .full_o()
  );
  /* verilator lint_on PINCONNECTEMPTY */

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      ask_q  <= '0;
      left_q <= '0;
      used_q <= '0;
    end else begin
      if (start_i) begin
        addr_q   <= addr_i;
        ask_q    <= bytes_i;
        left_q   <= bytes_i;
        fixed_q  <= fixed_i;
        lane_q   <= addr_i[LaneWidth-1:0];
        slverr_q <= 1'b0;
        decerr_q <= 1'b0;
      end
      if (ar_valid_o && ar_ready_i) begin
        addr_q <= fixed_q ? addr_q : addr_q + 64'(burst);
        ask_q  <= ask_q - burst;
      end
      used_q <= used_q + ((ar_valid_o && ar_ready_i) ? RoomWidth'(beats) : '0)
                - RoomWidth'(valid_o && ready_i);
      if (r_valid_i) begin
        left_q   <= left_q - LenWidth'(came_o);
        lane_q   <= '0;
        slverr_q <= slverr_q || r_resp_i == RespSlverr;
        decerr_q <= decerr_q || r_resp_i == RespDecerr;
        assert (left_q != '0)
        else $error("%m: data that nobody asked for");
      end
    end
  end

endmodule
