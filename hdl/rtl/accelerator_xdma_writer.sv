// SPDX-License-Identifier: Apache-2.0
//
// Writes the bytes of one descriptor to a memory, host's or card's, in bursts. A burst begins only
// when all of its data is there, so it never stands in the way of another channel's.

module accelerator_xdma_writer
  import accelerator_axi_pkg::*;
  import accelerator_xdma_pkg::*;
#(
  parameter int unsigned DataWidth  = 64,
  // No burst crosses a multiple of this.
  parameter int unsigned BurstBytes = 512,
  // Whether it is done only with the last response. Writes of the host's memory are posted.
  parameter bit          Responses  = 1'b1,
  localparam int unsigned CountWidth = $clog2(DataWidth / 8) + 1
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  // With start_i: where to write. fixed_i: each beat is written at the same address.
  input  logic                   start_i,
  input  logic [63:0]            addr_i,
  input  logic                   fixed_i,
  // Bytes that came in this clock, to be taken from the words below; all have come.
  input  logic [CountWidth-1:0]  came_i,
  input  logic                   all_came_i,
  // What is yet to be written is left out.
  input  logic                   drop_i,

  input  logic [CountWidth:0]    level_i,
  input  logic [DataWidth-1:0]   data_i,
  output logic                   pop_o,
  output logic [CountWidth-1:0]  pop_bytes_o,

  output logic                   aw_valid_o,
  input  logic                   aw_ready_i,
  output logic [63:0]            aw_addr_o,
  output logic [7:0]             aw_len_o,
  output logic [1:0]             aw_burst_o,
  output logic                   w_valid_o,
  input  logic                   w_ready_i,
  output logic [DataWidth-1:0]   w_data_o,
  output logic [DataWidth/8-1:0] w_strb_o,
  output logic                   w_last_o,
  input  logic                   b_valid_i,
  input  logic [1:0]             b_resp_i,

  // All is written.
  output logic                   done_o,
  // Since start_i a response was an error.
  output logic                   slverr_o,
  output logic                   decerr_o
);

  localparam int unsigned WordBytes = DataWidth / 8;
  localparam int unsigned LaneWidth = $clog2(WordBytes);
  localparam int unsigned HaveWidth = $clog2(8 * BurstBytes);

  typedef enum logic [1:0] {StWait, StAddress, StData} state_e;

  state_e                state_q;
  logic [63:0]           addr_q;
  logic                  fixed_q;
  // Bytes that are there and not yet in a burst.
  logic [HaveWidth-1:0]  have_q;
  // Of the burst.
  logic [HaveWidth-1:0]  left_q;
  logic [LaneWidth-1:0]  lane_q;
  logic [7:0]            len_q;
  logic [63:0]           burst_addr_q;
  // Responses to come.
  logic [LenWidth-1:0]   responses_q;
  logic                  slverr_q, decerr_q;

  logic [HaveWidth-1:0]  room, burst, beats;
  logic                  begin_burst;
  assign room  = fixed_q ? HaveWidth'(WordBytes)
                         : HaveWidth'(BurstBytes) - HaveWidth'(addr_q[$clog2(BurstBytes)-1:0]);
  assign burst = (have_q < room) ? have_q : room;
  assign beats = (burst + HaveWidth'(addr_q[LaneWidth-1:0]) + HaveWidth'(WordBytes - 1))
                 >> LaneWidth;
  assign begin_burst = state_q == StWait && have_q != '0 && (have_q >= room || all_came_i);

  assign aw_valid_o = state_q == StAddress;
  assign aw_addr_o  = burst_addr_q;
  assign aw_len_o   = len_q;
  assign aw_burst_o = fixed_q ? 2'b00 : BurstIncr;

  // What waits for ready stays as it is.
  logic stalled_q, drop_q, drop;
  assign drop = stalled_q ? drop_q : drop_i;
  always_ff @(posedge clk_i) begin
    stalled_q <= rst_ni && w_valid_o && !w_ready_i;
    drop_q    <= drop;
  end

  // The word that goes.
  logic [CountWidth-1:0] in_word;
  assign in_word     = CountWidth'(WordBytes) - CountWidth'(lane_q);
  assign pop_bytes_o = (left_q < HaveWidth'(in_word)) ? CountWidth'(left_q) : in_word;
  assign w_valid_o   = state_q == StData && level_i >= (CountWidth + 1)'(pop_bytes_o);
  assign w_data_o    = data_i << {lane_q, 3'd0};
  assign w_strb_o    = drop ? '0 : (~({WordBytes{1'b1}} << pop_bytes_o)) << lane_q;
  assign w_last_o    = left_q == HaveWidth'(pop_bytes_o);
  assign pop_o       = w_valid_o && w_ready_i;

  assign done_o   = state_q == StWait && have_q == '0 && all_came_i &&
                    (!Responses || responses_q == '0);
  assign slverr_o = slverr_q;
  assign decerr_o = decerr_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q     <= StWait;
      have_q      <= '0;
      responses_q <= '0;
    end else begin
      if (start_i) begin
        addr_q   <= addr_i;
        fixed_q  <= fixed_i;
        slverr_q <= 1'b0;
        decerr_q <= 1'b0;
      end
      have_q      <= have_q + HaveWidth'(came_i) - (begin_burst ? burst : '0);
      responses_q <= responses_q + LenWidth'(aw_valid_o && aw_ready_i) - LenWidth'(b_valid_i);
      case (state_q)
        StWait: if (begin_burst) begin
          state_q      <= StAddress;
          left_q       <= burst;
          lane_q       <= addr_q[LaneWidth-1:0];
          len_q        <= 8'(beats - 1'b1);
          burst_addr_q <= addr_q;
          addr_q       <= fixed_q ? addr_q : addr_q + 64'(burst);
        end
        StAddress: if (aw_ready_i) state_q <= StData;
        default: if (pop_o) begin
          left_q <= left_q - HaveWidth'(pop_bytes_o);
          lane_q <= '0;
          if (w_last_o) state_q <= StWait;
        end
      endcase
      if (b_valid_i) begin
        slverr_q <= slverr_q || b_resp_i == RespSlverr;
        decerr_q <= decerr_q || b_resp_i == RespDecerr;
      end
    end
  end

endmodule
