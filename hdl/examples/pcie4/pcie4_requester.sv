// SPDX-License-Identifier: Apache-2.0
//
// An AXI4 slave, behind it host memory: bursts to requests on s_axis_rq, completions on m_axis_rc to
// read data. One burst each way at a time, of INCR, inside 4 KiB and at a multiple of 4 bytes, with all
// of its bytes enabled; beats are as wide as the bus, or the burst is one beat. For all widths of the
// UltraScale+ block, Dword-aligned, without straddle, with tags of RTL's own.
//
// A burst is cut at multiples of what the guest has set as the most in a payload and in a read. Reads
// of a burst have tags 0 to 31 and their completions may come in any order. B comes when the block has
// told the sequence numbers of all writes: what RTL does then is behind the data.

module pcie4_requester #(
  parameter int unsigned DataWidth   = 256,
  parameter int unsigned IdWidth     = 4,
  parameter int unsigned RqUserWidth = 62,
  parameter int unsigned RcUserWidth = 75,
  localparam int unsigned Lanes     = DataWidth / 32,
  localparam int unsigned LaneWidth = $clog2(DataWidth / 8)
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  // 0 is 128 bytes, each one more twice as much.
  input  logic [1:0]             cfg_max_payload,
  input  logic [2:0]             cfg_max_read_req,

  output logic [DataWidth-1:0]   s_axis_rq_tdata,
  output logic [Lanes-1:0]       s_axis_rq_tkeep,
  output logic [RqUserWidth-1:0] s_axis_rq_tuser,
  output logic                   s_axis_rq_tlast,
  output logic                   s_axis_rq_tvalid,
  input  logic                   s_axis_rq_tready,
  input  logic                   pcie_rq_seq_num_vld0,
  input  logic                   pcie_rq_seq_num_vld1,

  input  logic [DataWidth-1:0]   m_axis_rc_tdata,
  input  logic [Lanes-1:0]       m_axis_rc_tkeep,
  // Byte enables follow from the request.
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic [RcUserWidth-1:0] m_axis_rc_tuser,
  /* verilator lint_on UNUSEDSIGNAL */
  input  logic                   m_axis_rc_tlast,
  input  logic                   m_axis_rc_tvalid,
  output logic                   m_axis_rc_tready,

  input  logic [IdWidth-1:0]     s_axi_awid,
  input  logic [63:0]            s_axi_awaddr,
  input  logic [7:0]             s_axi_awlen,
  input  logic [2:0]             s_axi_awsize,
  input  logic                   s_axi_awvalid,
  output logic                   s_axi_awready,
  input  logic [DataWidth-1:0]   s_axi_wdata,
  input  logic                   s_axi_wvalid,
  output logic                   s_axi_wready,
  output logic [IdWidth-1:0]     s_axi_bid,
  output logic [1:0]             s_axi_bresp,
  output logic                   s_axi_bvalid,
  input  logic                   s_axi_bready,
  input  logic [IdWidth-1:0]     s_axi_arid,
  input  logic [63:0]            s_axi_araddr,
  input  logic [7:0]             s_axi_arlen,
  input  logic [2:0]             s_axi_arsize,
  input  logic                   s_axi_arvalid,
  output logic                   s_axi_arready,
  output logic [IdWidth-1:0]     s_axi_rid,
  output logic [DataWidth-1:0]   s_axi_rdata,
  output logic [1:0]             s_axi_rresp,
  output logic                   s_axi_rlast,
  output logic                   s_axi_rvalid,
  input  logic                   s_axi_rready
);

  localparam logic [3:0] MemRead = 4'b0000, MemWrite = 4'b0001;

  // Most bytes of a request: what is kept of a write until it is sent as a whole, since tvalid must not
  // fall inside of a TLP.
  localparam int unsigned MostBytes = 512;
  localparam int unsigned Words     = MostBytes / (DataWidth / 8);
  localparam int unsigned WordWidth = $clog2(Words);
  // Lanes that a descriptor takes of a beat in which data begins.
  localparam int unsigned Shift     = 4 % Lanes;

  // Bytes up to a limit, and not across a multiple of it.
  function automatic logic [12:0] part(logic [11:0] addr, logic [12:0] left, logic [2:0] code);
    automatic logic [12:0] most, room;
    most = 13'd128 << ((code > 3'd2) ? 3'd2 : code);
    room = most - ({1'b0, addr} & (most - 13'd1));
    return (left < room) ? left : room;
  endfunction

  function automatic logic [127:0] descriptor(logic [61:0] dword, logic [10:0] dwords,
                                              logic [3:0] kind, logic [7:0] tag);
    return {8'd0, 16'd0, tag, 16'd0, 1'b0, kind, dwords, dword, 2'b00};
  endfunction

  ////////////
  // Writes //
  ////////////

  typedef enum logic [2:0] {WrIdle, WrFill, WrSend, WrTold, WrAnswer} write_e;

  write_e               wr_state_q;
  logic [IdWidth-1:0]   wr_id_q;
  logic [63:0]          wr_addr_q;
  logic [12:0]          wr_left_q, wr_part_q;
  // Only bursts of one beat begin inside of a bus word.
  logic [LaneWidth-1:0] wr_lane_q;
  logic [DataWidth-1:0] words_q [Words];
  logic [WordWidth:0]   fill_q;
  // Requests that were sent and have not been told of.
  logic [7:0]           untold_q;

  // The next part, and its beats.
  logic [12:0]        wr_part;
  logic [WordWidth:0] fill_words;
  assign wr_part       = part(wr_addr_q[11:0], wr_left_q, {1'b0, cfg_max_payload});
  assign s_axi_awready = rst_ni && wr_state_q == WrIdle;
  assign s_axi_wready  = wr_state_q == WrFill && fill_q != fill_words;
  assign s_axi_bvalid  = wr_state_q == WrAnswer;
  assign s_axi_bid     = wr_id_q;
  assign s_axi_bresp   = 2'b00;

  assign fill_words = (WordWidth + 1)'((wr_part + 13'(DataWidth / 8) - 13'd1) >> LaneWidth);

  ///////////
  // Reads //
  ///////////

  typedef enum logic [1:0] {RdIdle, RdAsk, RdWait, RdGive} read_e;

  read_e                rd_state_q;
  logic [IdWidth-1:0]   rd_id_q;
  logic [63:0]          rd_addr_q;
  logic [12:0]          rd_left_q;
  logic [LaneWidth-1:0] rd_lane_q;
  logic [7:0]           rd_beats_q;
  logic [7:0]           rd_tag_q;
  logic [5:0]           rd_open_q;
  logic                 rd_error_q;
  // Where the next data of a tag goes, in Dwords; the burst's data; where the next beat comes from.
  logic [9:0]           place_q [32];
  logic [31:0]          buffer_q [1024];
  logic [9:0]           give_q;
  logic [9:0]           ask_place_q;

  logic [12:0] rd_part;
  assign rd_part       = part(rd_addr_q[11:0], rd_left_q, cfg_max_read_req);
  assign s_axi_arready = rst_ni && rd_state_q == RdIdle;
  assign s_axi_rvalid  = rd_state_q == RdGive;
  assign s_axi_rid     = rd_id_q;
  assign s_axi_rresp   = rd_error_q ? 2'b10 : 2'b00;
  assign s_axi_rlast   = rd_beats_q == '0;

  logic [DataWidth-1:0] give_word;
  for (genvar i = 0; i < Lanes; i++) begin : gen_give
    assign give_word[32*i +: 32] = buffer_q[give_q + 10'(i)];
  end
  assign s_axi_rdata = give_word << {rd_lane_q, 3'b000};

  ////////
  // RQ //
  ////////

  typedef enum logic [1:0] {RqIdle, RqRead, RqWrite} request_e;

  request_e             rq_state_q;
  // Dwords of the TLP that are left, and where in it the beat on the bus is: 0 has the descriptor,
  // and with 64 bits 1 has the rest of it.
  logic [8:0]           rq_left_q;
  logic [7:0]           rq_beat_q;
  logic [127:0]         rq_head_q;
  logic [5:0]           rq_seq_q;
  // What of the word before belongs to this beat.
  /* verilator lint_off UNUSEDSIGNAL */
  logic [DataWidth-1:0] rq_word, rq_before;
  /* verilator lint_on UNUSEDSIGNAL */
  logic                 rq_last;

  // The word of data for a beat: with 256 and 512 bits the beat of the descriptor has some of it.
  localparam int unsigned HeadBeats = (DataWidth == 64) ? 2 : (DataWidth == 128) ? 1 : 0;
  logic [7:0] rq_index;
  assign rq_index  = rq_beat_q - 8'(HeadBeats);
  assign rq_word   = words_q[rq_index[WordWidth-1:0]];
  assign rq_before = words_q[WordWidth'(rq_index - 8'd1)];
  assign rq_last   = 32'(rq_left_q) <= Lanes;

  logic [DataWidth-1:0] rq_data;
  if (Shift != 0) begin : gen_shift
    assign rq_data = {rq_word[DataWidth-129:0],
                      (rq_beat_q == '0) ? rq_head_q : rq_before[DataWidth-1 -: 128]};
  end else if (DataWidth == 128) begin : gen_shift
    assign rq_data = (rq_beat_q == '0) ? rq_head_q : rq_word;
  end else begin : gen_shift
    assign rq_data = (rq_beat_q == '0) ? rq_head_q[63:0] :
                     (rq_beat_q == 8'd1) ? rq_head_q[127:64] : rq_word;
  end

  // All bytes of a request are wanted. With one Dword there is no last.
  logic [3:0] last_be;
  assign last_be = (rq_head_q[74:64] == 11'd1) ? 4'b0000 : 4'b1111;

  assign s_axis_rq_tvalid = rq_state_q != RqIdle;
  assign s_axis_rq_tdata  = rq_data;
  assign s_axis_rq_tlast  = rq_last;
  for (genvar i = 0; i < Lanes; i++) begin : gen_keep
    assign s_axis_rq_tkeep[i] = 32'(rq_left_q) > i;
  end
  if (DataWidth == 512) begin : gen_user
    // is_sop and is_eop also without straddle.
    assign s_axis_rq_tuser = RqUserWidth'({rq_seq_q, 25'd0, 4'd0, 4'(rq_left_q - 9'd1), 1'b0, rq_last,
                                           4'd0, 1'b0, rq_beat_q == '0, 4'd0, 4'd0, last_be,
                                           4'd0, 4'b1111});
  end else begin : gen_user
    assign s_axis_rq_tuser = RqUserWidth'({rq_seq_q[5:4], 32'd0, rq_seq_q[3:0], 16'd0, last_be,
                                           4'b1111});
  end

  always_ff @(posedge clk_i) begin : p_writes
    if (!rst_ni) begin
      wr_state_q <= WrIdle;
      fill_q     <= '0;
      untold_q   <= '0;
    end else begin
      untold_q <= untold_q + 8'(s_axis_rq_tvalid && s_axis_rq_tready && rq_last) -
                  8'(pcie_rq_seq_num_vld0) - 8'(pcie_rq_seq_num_vld1);
      case (wr_state_q)
        WrIdle: if (s_axi_awvalid) begin
          wr_id_q    <= s_axi_awid;
          wr_addr_q  <= s_axi_awaddr;
          wr_left_q  <= (13'(s_axi_awlen) + 13'd1) << s_axi_awsize;
          wr_lane_q  <= s_axi_awaddr[LaneWidth-1:0];
          fill_q     <= '0;
          wr_state_q <= WrFill;
        end

        WrFill: begin
          wr_part_q <= wr_part;
          if (s_axi_wvalid && s_axi_wready) begin
            words_q[fill_q[WordWidth-1:0]] <= s_axi_wdata >> {wr_lane_q, 3'b000};
            fill_q <= fill_q + 1'b1;
          end
          if (fill_q == fill_words) wr_state_q <= WrSend;
        end

        WrSend: if (rq_state_q == RqWrite && s_axis_rq_tready && rq_last) begin
          wr_addr_q  <= wr_addr_q + 64'(wr_part_q);
          wr_left_q  <= wr_left_q - wr_part_q;
          fill_q     <= '0;
          wr_state_q <= (wr_left_q == wr_part_q) ? WrTold : WrFill;
        end

        WrTold: if (untold_q == '0) wr_state_q <= WrAnswer;

        default: if (s_axi_bready) wr_state_q <= WrIdle;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin : p_requests
    if (!rst_ni) begin
      rq_state_q <= RqIdle;
      rq_seq_q   <= '0;
    end else begin
      case (rq_state_q)
        RqIdle: begin
          rq_beat_q <= '0;
          if (rd_state_q == RdAsk) begin
            rq_head_q  <= descriptor(rd_addr_q[63:2], rd_part[12:2], MemRead, rd_tag_q);
            rq_left_q  <= 9'd4;
            rq_state_q <= RqRead;
          end else if (wr_state_q == WrSend) begin
            rq_head_q  <= descriptor(wr_addr_q[63:2], wr_part_q[12:2], MemWrite, 8'd0);
            rq_left_q  <= 9'd4 + 9'(wr_part_q >> 2);
            rq_state_q <= RqWrite;
          end
        end

        default: if (s_axis_rq_tready) begin
          rq_beat_q <= rq_beat_q + 8'd1;
          rq_left_q <= rq_left_q - 9'(Lanes);
          if (rq_last) begin
            rq_seq_q   <= rq_seq_q + 6'd1;
            rq_state_q <= RqIdle;
          end
        end
      endcase
    end
  end

  ////////
  // RC //
  ////////

  // The completion that comes: its tag, and whether it is one with an error or the last.
  logic        rc_inside_q, rc_second_q;
  logic [4:0]  rc_tag_q, rc_tag;
  logic        rc_head, rc_failed, rc_completed, rc_completed_q;
  // Lanes of the beat that have no data. The rest of the descriptor is in the second beat with 64 bits.
  logic [2:0]  rc_skip;
  assign rc_head      = !rc_inside_q;
  assign rc_failed    = rc_head && m_axis_rc_tdata[15:12] != '0;
  assign rc_completed = rc_head ? m_axis_rc_tdata[30] : rc_completed_q;
  assign rc_skip      = rc_head ? 3'd3 : (DataWidth == 64 && rc_second_q) ? 3'd1 : 3'd0;
  if (DataWidth == 64) begin : gen_tag
    assign rc_tag = rc_second_q ? m_axis_rc_tdata[4:0] : rc_tag_q;
  end else begin : gen_tag
    assign rc_tag = rc_head ? m_axis_rc_tdata[68:64] : rc_tag_q;
  end
  assign m_axis_rc_tready = rst_ni;

  always_ff @(posedge clk_i) begin : p_reads
    automatic logic [9:0] place;
    if (!rst_ni) begin
      rd_state_q  <= RdIdle;
      rd_open_q   <= '0;
      rc_inside_q <= 1'b0;
      rc_second_q <= 1'b0;
    end else begin
      case (rd_state_q)
        RdIdle: if (s_axi_arvalid) begin
          rd_id_q     <= s_axi_arid;
          rd_addr_q   <= s_axi_araddr;
          rd_left_q   <= (13'(s_axi_arlen) + 13'd1) << s_axi_arsize;
          rd_lane_q   <= s_axi_araddr[LaneWidth-1:0];
          rd_beats_q  <= s_axi_arlen;
          rd_tag_q    <= '0;
          rd_error_q  <= 1'b0;
          ask_place_q <= '0;
          give_q      <= '0;
          rd_state_q  <= RdAsk;
        end

        RdAsk: if (rq_state_q == RqRead && s_axis_rq_tready && rq_last) begin
          place_q[rd_tag_q[4:0]] <= ask_place_q;
          ask_place_q            <= ask_place_q + 10'(rd_part >> 2);
          rd_addr_q              <= rd_addr_q + 64'(rd_part);
          rd_left_q              <= rd_left_q - rd_part;
          rd_tag_q               <= rd_tag_q + 8'd1;
          if (rd_left_q == rd_part) rd_state_q <= RdWait;
        end

        RdWait: if (rd_open_q == '0) rd_state_q <= RdGive;

        default: if (s_axi_rready) begin
          give_q     <= give_q + 10'(Lanes);
          rd_beats_q <= rd_beats_q - 8'd1;
          if (rd_beats_q == '0) rd_state_q <= RdIdle;
        end
      endcase

      if (m_axis_rc_tvalid) begin
        rc_inside_q    <= !m_axis_rc_tlast;
        rc_second_q    <= rc_head;
        rc_tag_q       <= rc_tag;
        rc_completed_q <= rc_completed;
        if (rc_failed) rd_error_q <= 1'b1;
        place = place_q[rc_tag];
        for (int unsigned i = 0; i < Lanes; i++) begin
          if (m_axis_rc_tkeep[i] && i >= 32'(rc_skip)) begin
            buffer_q[place] <= m_axis_rc_tdata[32*i +: 32];
            place = place + 10'd1;
          end
        end
        if (!(DataWidth == 64 && rc_head)) place_q[rc_tag] <= place;
      end
      rd_open_q <= rd_open_q +
                   6'(rd_state_q == RdAsk && rq_state_q == RqRead && s_axis_rq_tready && rq_last) -
                   6'(m_axis_rc_tvalid && m_axis_rc_tlast && rc_completed);
    end
  end

endmodule
