// SPDX-License-Identifier: Apache-2.0
//
// Fetches the descriptors of one channel, some ahead of their use. They lie in blocks of adjacent
// ones; the last of a block tells where the next block is, and how many it has behind its first.

module accelerator_xdma_fetch
  import accelerator_axi_pkg::*;
  import accelerator_xdma_pkg::*;
#(
  parameter int unsigned DataWidth = 64,
  // Descriptors that it holds, a power of two.
  parameter int unsigned Depth     = 16
) (
  input  logic                 clk_i,
  input  logic                 rst_ni,

  // With start_i: the first block. stop_i: nothing more is fetched, and what was is forgotten;
  // idle_o says when the last answer is there.
  input  logic                 start_i,
  input  logic [63:0]          addr_i,
  input  logic [5:0]           adjacent_i,
  input  logic                 stop_i,
  output logic                 idle_o,

  // Nothing is fetched for now.
  input  logic                 halt_i,
  // Not more are fetched than there are credits.
  input  logic                 credit_mode_i,
  input  logic                 credit_add_i,
  input  logic [9:0]           credit_i,
  input  logic                 credit_clear_i,
  output logic [9:0]           credits_o,

  output logic                 ar_valid_o,
  input  logic                 ar_ready_i,
  output logic [63:0]          ar_addr_o,
  output logic [7:0]           ar_len_o,
  output logic [2:0]           ar_size_o,
  input  logic                 r_valid_i,
  input  logic [DataWidth-1:0] r_data_i,
  input  logic [1:0]           r_resp_i,
  input  logic                 r_last_i,

  output logic                 valid_o,
  input  logic                 ready_i,
  output desc_t                desc_o,
  // It could not be read.
  output logic                 error_o
);

  // A beat has a descriptor or a part of one.
  localparam int unsigned BeatBytes = (DataWidth / 8 < DescBytes) ? DataWidth / 8 : DescBytes;
  localparam int unsigned BeatWidth = 8 * BeatBytes;
  localparam int unsigned Beats     = DescBytes / BeatBytes;
  localparam int unsigned PtrWidth  = $clog2(Depth);
  localparam int unsigned BeatCount = (Beats == 1) ? 1 : $clog2(Beats);

  typedef logic [PtrWidth:0] count_t;

  desc_t                desc_q [Depth];
  logic [Depth-1:0]     error_q;
  logic [PtrWidth-1:0]  in_q, out_q;
  // Descriptors that are there, and those that are asked for as well.
  count_t               there_q, used_q;
  logic                 active_q, pending_q;
  logic [63:0]          addr_q;
  // Of the block, not yet asked for.
  logic [6:0]           left_q;
  logic [9:0]           credits_q;
  logic [BeatCount-1:0] beat_q;
  logic                 bad_q;
  // Two-state, so that it begins as 0.
  bit                   told_q;

  // How many the next read asks for: half of what it holds, to the end of the page.
  logic [7:0] page, ask;
  always_comb begin
    page = 8'(BoundaryBytes / DescBytes) - 8'(addr_q[11:5]);
    ask  = 8'(Depth / 2);
    if (8'(left_q) < ask) ask = 8'(left_q);
    if (page < ask) ask = page;
    if (credit_mode_i && credits_q < 10'(ask)) ask = 8'(credits_q);
  end

  // The request waits in registers: what a guest writes meanwhile does not change it.
  logic                 ar_valid_q;
  logic [63:0]          ar_addr_q;
  logic [7:0]           ar_len_q;
  logic                 issue;
  assign issue = active_q && !stop_i && !halt_i && !pending_q && left_q != '0 && ask != '0 &&
                 8'(used_q) + ask <= 8'(Depth);

  assign ar_valid_o = ar_valid_q;
  assign ar_addr_o  = ar_addr_q;
  assign ar_len_o   = ar_len_q;
  assign ar_size_o  = 3'($clog2(BeatBytes));

  assign valid_o   = active_q && there_q != '0;
  assign desc_o    = desc_q[out_q];
  assign error_o   = error_q[out_q];
  assign idle_o    = !active_q && !pending_q;
  assign credits_o = credits_q;

  // Which part of the bus a beat is on.
  logic [BeatWidth-1:0] beat;
  if (DataWidth > BeatWidth) begin : gen_lane
    logic upper_q;
    always_ff @(posedge clk_i) begin
      if (ar_valid_q && ar_ready_i) upper_q <= ar_addr_q[5];
      else if (r_valid_i) upper_q <= !upper_q;
    end
    assign beat = upper_q ? r_data_i[DataWidth-1 -: BeatWidth] : r_data_i[BeatWidth-1:0];
  end else begin : gen_whole
    assign beat = r_data_i;
  end

  // The descriptor that the beat completes.
  logic [255:0] whole;
  if (Beats > 1) begin : gen_parts
    logic [255-BeatWidth:0] part_q;
    assign whole = {beat, part_q};
    always_ff @(posedge clk_i) if (r_valid_i) part_q <= whole[255:BeatWidth];
  end else begin : gen_one
    assign whole = beat;
  end

  logic pop, last_of_block, push;
  assign pop  = valid_o && ready_i;
  assign push = r_valid_i && beat_q == BeatCount'(Beats - 1);
  // Nothing is behind it, neither here nor on its way.
  assign last_of_block = left_q == '0 && used_q == 1;

  always_ff @(posedge clk_i) begin
    if (push) begin
      desc_q[in_q]  <= desc_t'(whole);
      error_q[in_q] <= bad_q || r_resp_i != RespOkay;
    end
    if (!rst_ni) begin
      active_q   <= 1'b0;
      pending_q  <= 1'b0;
      ar_valid_q <= 1'b0;
      credits_q  <= '0;
      beat_q     <= '0;
      bad_q      <= 1'b0;
      in_q       <= '0;
      out_q      <= '0;
      there_q    <= '0;
      used_q     <= '0;
      left_q     <= '0;
    end else begin
      if (start_i) begin
        active_q <= 1'b1;
        addr_q   <= {addr_i[63:5], 5'd0};
        left_q   <= 7'(adjacent_i) + 1'b1;
      end

      if (issue) begin
        ar_valid_q <= 1'b1;
        pending_q  <= 1'b1;
        ar_addr_q  <= addr_q;
        ar_len_q   <= 8'(ask * 8'(Beats)) - 1'b1;
        addr_q     <= addr_q + 64'(ask) * 64'(DescBytes);
        left_q     <= left_q - 7'(ask);
      end
      if (ar_ready_i) ar_valid_q <= 1'b0;

      if (r_valid_i) begin
        beat_q <= push ? '0 : beat_q + 1'b1;
        bad_q  <= !push && (bad_q || r_resp_i != RespOkay);
        if (r_last_i) pending_q <= 1'b0;
      end
      if (push) in_q <= in_q + 1'b1;
      if (pop) out_q <= out_q + 1'b1;
      there_q <= there_q + count_t'(push) - count_t'(pop);
      used_q  <= used_q + (issue ? count_t'(ask) : '0) - count_t'(pop);

      // One that is the last of its list tells of nothing behind it.
      if (pop && last_of_block && !desc_o.control[DescStop]) begin
        addr_q <= {desc_o.next_addr[63:5], 5'd0};
        left_q <= 7'(desc_o.next_adj) + 1'b1;
      end
      if (((start_i && addr_i[4:0] != '0) ||
           (pop && last_of_block && !desc_o.control[DescStop] && desc_o.next_addr[4:0] != '0)) &&
          !told_q) begin
        told_q <= 1'b1;
        $warning("%m: a descriptor is at 0x%0h: one at a multiple of %0d is read; told once",
                 start_i ? addr_i : desc_o.next_addr, DescBytes);
      end

      if (stop_i) begin
        active_q <= 1'b0;
        left_q   <= '0;
      end
      // What comes after that is let go of.
      if (stop_i || !active_q) begin
        in_q    <= '0;
        out_q   <= '0;
        there_q <= '0;
        used_q  <= '0;
      end

      if (credit_clear_i || !credit_mode_i) begin
        credits_q <= '0;
      end else begin
        credits_q <= more_credits(credits_q - (issue ? 10'(ask) : '0));
      end
    end
  end

  function automatic logic [9:0] more_credits(logic [9:0] credits);
    automatic logic [10:0] sum = 11'(credits) + (credit_add_i ? 11'(credit_i) : '0);
    return sum[10] ? '1 : sum[9:0];
  endfunction

endmodule
