// SPDX-License-Identifier: Apache-2.0
//
// One channel: it takes the descriptors of its list one after the other, moves the bytes of each,
// and tells of it, by its registers, an interrupt and what it writes to the host's memory.
//
//   H2C   data_ar, data_r: host memory      data_aw, data_w, data_b: m_axi, or m_axis
//   C2H   data_ar, data_r: m_axi, or s_axis data_aw, data_w: host memory

module accelerator_xdma_channel
  import accelerator_xdma_pkg::*;
#(
  parameter bit          C2h        = 1'b0,
  // AXI4-Stream on the side of the card.
  parameter bit          Stream     = 1'b0,
  parameter int unsigned Channel    = 0,
  parameter int unsigned DataWidth  = 64,
  parameter int unsigned BurstBytes = 512
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  input  logic                   wr_i,
  input  logic [15:2]            wr_addr_i,
  input  logic [31:0]            wr_data_i,
  input  logic [3:0]             wr_strb_i,
  input  logic                   rd_i,
  input  logic [15:2]            rd_addr_i,
  output logic [31:0]            rd_data_o,

  input  logic                   halt_i,
  input  logic                   credit_mode_i,
  output logic                   irq_o,

  // Descriptors, from host memory.
  output logic                   desc_ar_valid_o,
  input  logic                   desc_ar_ready_i,
  output logic [63:0]            desc_ar_addr_o,
  output logic [7:0]             desc_ar_len_o,
  output logic [2:0]             desc_ar_size_o,
  input  logic                   desc_r_valid_i,
  input  logic [DataWidth-1:0]   desc_r_data_i,
  input  logic [1:0]             desc_r_resp_i,
  input  logic                   desc_r_last_i,

  // What it writes back, to host memory.
  output logic                   back_aw_valid_o,
  input  logic                   back_aw_ready_i,
  output logic [63:0]            back_aw_addr_o,
  output logic                   back_w_valid_o,
  input  logic                   back_w_ready_i,
  output logic [DataWidth-1:0]   back_w_data_o,
  output logic [DataWidth/8-1:0] back_w_strb_o,

  output logic                   data_ar_valid_o,
  output logic [63:0]            data_ar_addr_o,
  output logic [7:0]             data_ar_len_o,
  output logic [1:0]             data_ar_burst_o,
  // A channel has a use for those of its side.
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic                   data_ar_ready_i,
  input  logic                   data_r_valid_i,
  input  logic [DataWidth-1:0]   data_r_data_i,
  input  logic [1:0]             data_r_resp_i,
  /* verilator lint_on UNUSEDSIGNAL */

  output logic                   data_aw_valid_o,
  output logic [63:0]            data_aw_addr_o,
  output logic [7:0]             data_aw_len_o,
  output logic [1:0]             data_aw_burst_o,
  output logic                   data_w_valid_o,
  output logic [DataWidth-1:0]   data_w_data_o,
  output logic [DataWidth/8-1:0] data_w_strb_o,
  output logic                   data_w_last_o,
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic                   data_aw_ready_i,
  input  logic                   data_w_ready_i,
  input  logic                   data_b_valid_i,
  input  logic [1:0]             data_b_resp_i,

  input  logic [DataWidth-1:0]   s_axis_tdata,
  input  logic [DataWidth/8-1:0] s_axis_tkeep,
  input  logic                   s_axis_tlast,
  input  logic                   s_axis_tvalid,
  /* verilator lint_on UNUSEDSIGNAL */
  output logic                   s_axis_tready,
  output logic [DataWidth-1:0]   m_axis_tdata,
  output logic [DataWidth/8-1:0] m_axis_tkeep,
  output logic                   m_axis_tlast,
  output logic                   m_axis_tvalid,
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic                   m_axis_tready
  /* verilator lint_on UNUSEDSIGNAL */
);

  localparam int unsigned WordBytes  = DataWidth / 8;
  localparam int unsigned LaneWidth  = $clog2(WordBytes);
  localparam int unsigned CountWidth = LaneWidth + 1;
  localparam bit          FromStream = C2h && Stream;
  localparam bit          ToStream   = !C2h && Stream;

  ///////////////
  // Registers //
  ///////////////

  // Not every bit of control is one that the engine looks at by itself.
  /* verilator lint_off UNUSEDSIGNAL */
  logic [27:0] control;
  /* verilator lint_on UNUSEDSIGNAL */
  logic        run, run_set, start, busy, beat, begins, desc_done, error_seen;
  logic [23:0] happened;
  logic [23:0] completed;
  logic [63:0] poll_addr, desc_addr;
  logic [5:0]  desc_adjacent;
  logic        credit_add;
  logic [9:0]  credit, credits;

  accelerator_xdma_channel_regs #(
    .C2h(C2h), .Stream(Stream), .Channel(Channel), .DataWidth(DataWidth)
  ) u_regs (
    .clk_i, .rst_ni, .wr_i, .wr_addr_i, .wr_data_i, .wr_strb_i, .rd_i, .rd_addr_i, .rd_data_o,
    .run_o(run), .start_o(start), .control_o(control), .begin_i(run_set), .busy_i(busy),
    .event_i(happened), .desc_done_i(desc_done), .beat_i(beat), .completed_o(completed),
    .error_o(error_seen), .poll_addr_o(poll_addr), .desc_addr_o(desc_addr),
    .desc_adjacent_o(desc_adjacent), .credit_add_o(credit_add), .credit_o(credit),
    .credits_i(credits), .irq_o
  );

  /////////////////
  // Descriptors //
  /////////////////

  logic  fetch_stop, fetch_idle, desc_valid, desc_ready, desc_bad, run_q;
  desc_t desc;

  accelerator_xdma_fetch #(
    .DataWidth(DataWidth)
  ) u_fetch (
    .clk_i, .rst_ni, .start_i(begins), .addr_i(desc_addr), .adjacent_i(desc_adjacent),
    .stop_i(fetch_stop), .idle_o(fetch_idle), .halt_i, .credit_mode_i,
    .credit_add_i(credit_add), .credit_i(credit), .credit_clear_i(run_q && !run),
    .credits_o(credits), .ar_valid_o(desc_ar_valid_o), .ar_ready_i(desc_ar_ready_i),
    .ar_addr_o(desc_ar_addr_o), .ar_len_o(desc_ar_len_o), .ar_size_o(desc_ar_size_o),
    .r_valid_i(desc_r_valid_i), .r_data_i(desc_r_data_i), .r_resp_i(desc_r_resp_i),
    .r_last_i(desc_r_last_i), .valid_o(desc_valid), .ready_i(desc_ready), .desc_o(desc),
    .error_o(desc_bad)
  );

  ////////////
  // Engine //
  ////////////

  typedef enum logic [3:0] {
    StIdle,    // Run is not set, or its list is over
    StNext,    // waits for a descriptor
    StCheck,   // has one
    StMove,    // its bytes move
    StMeta,    // C2H stream: length and end of packet go to the host
    StCount,   // it is completed
    StPoll,    // the count goes to the host
    StTell,    // the status register says so
    StStop     // waits for descriptors under way, which it has no use for
  } state_e;

  state_e     state_q;
  // Reserved fields are nobody's, and next_addr is used by the fetch.
  /* verilator lint_off UNUSEDSIGNAL */
  desc_t      desc_q;
  /* verilator lint_on UNUSEDSIGNAL */
  logic       desc_bad_q;
  // Run was set anew.
  logic       start_q;
  // The descriptor has failed, and its list ends with it.
  logic       failed_q;

  logic       move_start, source_done, sink_done, cancel, cancelled_q;
  logic [23:0] move_errors;
  logic       fixed;
  logic [LenWidth-1:0] taken;
  logic       eop;
  logic       back_valid, back_ready;

  assign fixed      = control[CtrlNonInc] && !Stream;
  assign busy       = state_q != StIdle || start || start_q;
  // Run was set. Where it has fallen again by then, nothing begins, and that is all.
  assign run_set    = state_q == StIdle && start_q;
  assign begins     = run_set && run;
  assign desc_ready = state_q == StNext && run && !start_q;
  assign fetch_stop = state_q == StStop;

  // What is wrong with the descriptor.
  logic bad_magic, bad_length, bad_align;
  always_comb begin
    bad_magic  = desc_q.magic != DescMagic;
    bad_length = desc_q.len == '0 ||
                 (FromStream && desc_q.len[LaneWidth-1:0] != '0);
    bad_align  = fixed && (desc_q.len[LaneWidth-1:0] != '0 ||
                           (C2h ? desc_q.src_addr[LaneWidth-1:0]
                                : desc_q.dst_addr[LaneWidth-1:0]) != '0);
  end

  // Errors that end the list, those that control lets be logged.
  logic [23:0] check_errors, logged_errors;
  logic        check_fails;
  always_comb begin
    check_errors = '0;
    // What could not be read and is not to be logged is as good as any other.
    if (desc_bad_q && control[StatDescUnsupported]) check_errors[StatDescUnsupported] = 1'b1;
    else if (bad_magic) check_errors[StatMagicStopped] = 1'b1;
    else if (bad_align) check_errors[StatAlignMismatch] = 1'b1;
    else if (bad_length) check_errors[StatInvalidLength] = 1'b1;
    logged_errors = check_errors & control[23:0];
    // There is nothing to do without a descriptor, or with addresses that cannot be.
    check_fails   = logged_errors != '0 || bad_magic || bad_align;
  end

  assign move_start = state_q == StCheck && !check_fails && desc_q.len != '0;
  assign cancel     = FromStream && state_q == StMove && !run && taken == '0;
  assign desc_done  = state_q == StCount && !failed_q;

  always_comb begin
    happened = '0;
    case (state_q)
      StIdle:  happened[StatIdleStopped] = run_set && !run && control[StatIdleStopped];
      StNext:  happened[StatIdleStopped] = !run && control[StatIdleStopped];
      StCheck: happened = logged_errors;
      StMove:  if (sink_done) begin
        happened = move_errors;
        happened[StatIdleStopped] = cancelled_q && control[StatIdleStopped];
      end
      StTell: if (!failed_q) begin
        happened[StatDescCompleted] = desc_q.control[DescCompleted] && control[StatDescCompleted];
        happened[StatDescStopped]   = desc_q.control[DescStop] && control[StatDescStopped];
      end
      default: ;
    endcase
  end

  // What goes to the host: of a C2H stream where the descriptor says, else the count.
  logic [63:0] back_addr, back_data;
  assign back_valid = state_q == StMeta || state_q == StPoll;
  assign back_addr  = (state_q == StMeta) ? desc_q.src_addr : poll_addr;
  assign back_data  = (state_q == StMeta)
                      ? {4'd0, taken, MetaMagic, 15'd0, eop}
                      : {32'd0, error_seen, 7'd0, completed};

  accelerator_xdma_writeback #(
    .DataWidth(DataWidth)
  ) u_writeback (
    .clk_i, .rst_ni, .valid_i(back_valid), .ready_o(back_ready), .addr_i(back_addr),
    .data_i(back_data), .eight_i(state_q == StMeta), .aw_valid_o(back_aw_valid_o),
    .aw_ready_i(back_aw_ready_i), .aw_addr_o(back_aw_addr_o), .w_valid_o(back_w_valid_o),
    .w_ready_i(back_w_ready_i), .w_data_o(back_w_data_o), .w_strb_o(back_w_strb_o)
  );

  always_ff @(posedge clk_i) begin
    run_q <= run;
    if (!rst_ni) begin
      state_q <= StIdle;
      start_q <= 1'b0;
      run_q   <= 1'b0;
    end else begin
      if (start) start_q <= 1'b1;
      else if (run_set || !run) start_q <= 1'b0;
      if (cancel && !source_done) cancelled_q <= 1'b1;

      case (state_q)
        StIdle: if (begins) state_q <= StNext;

        StNext: begin
          failed_q    <= 1'b0;
          cancelled_q <= 1'b0;
          if (!run || start_q) begin
            state_q <= StStop;
          end else if (desc_valid) begin
            state_q    <= StCheck;
            desc_q     <= desc;
            desc_bad_q <= desc_bad;
          end
        end

        StCheck: begin
          failed_q <= check_fails;
          if (check_fails) state_q <= StCount;
          else if (desc_q.len == '0) state_q <= StCount;
          else state_q <= StMove;
        end

        StMove: if (sink_done) begin
          failed_q <= move_errors != '0;
          if (cancelled_q) state_q <= StStop;
          else if (FromStream && !control[CtrlNoMeta] && move_errors == '0) state_q <= StMeta;
          else state_q <= StCount;
        end

        StMeta: if (back_ready) state_q <= StCount;

        // The driver that polls is told of errors as well.
        StCount: state_q <= (control[CtrlPollMode] && (failed_q || desc_q.control[DescCompleted]))
                            ? StPoll : StTell;

        StPoll: if (back_ready) state_q <= StTell;

        StTell: state_q <= (failed_q || desc_q.control[DescStop]) ? StStop : StNext;

        StStop: if (fetch_idle) state_q <= StIdle;

        default: state_q <= StIdle;
      endcase
    end
  end

  //////////
  // Data //
  //////////

  logic                  word_valid, word_ready, pop;
  logic [DataWidth-1:0]  word, out_word;
  logic [CountWidth-1:0] word_bytes, pop_bytes;
  // A stream has no use for it.
  /* verilator lint_off UNUSEDSIGNAL */
  logic [CountWidth-1:0] came;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [CountWidth:0]   level;
  logic                  source_slverr, source_decerr, sink_slverr, sink_decerr;

  accelerator_xdma_align #(
    .DataWidth(DataWidth)
  ) u_align (
    .clk_i, .rst_ni, .push_valid_i(word_valid), .push_ready_o(word_ready), .push_data_i(word),
    .push_bytes_i(word_bytes), .level_o(level), .data_o(out_word), .pop_i(pop),
    .pop_bytes_i(pop_bytes)
  );

  if (FromStream) begin : gen_stream_in
    assign data_ar_valid_o = 1'b0;
    assign data_ar_addr_o  = '0;
    assign data_ar_len_o   = '0;
    assign data_ar_burst_o = '0;
    assign source_slverr   = 1'b0;
    assign source_decerr   = 1'b0;
    accelerator_xdma_stream_in #(
      .DataWidth(DataWidth), .Depth(4 * BurstBytes / WordBytes)
    ) u_source (
      .clk_i, .rst_ni, .start_i(move_start), .bytes_i(desc_q.len), .cancel_i(cancel),
      .s_axis_tdata, .s_axis_tkeep, .s_axis_tlast, .s_axis_tvalid, .s_axis_tready,
      .valid_o(word_valid), .ready_i(word_ready), .data_o(word), .count_o(word_bytes),
      .came_o(came), .done_o(source_done), .taken_o(taken), .eop_o(eop)
    );
  end else begin : gen_reader
    assign s_axis_tready = 1'b0;
    assign taken         = '0;
    assign eop           = 1'b0;
    accelerator_xdma_reader #(
      .DataWidth(DataWidth), .BurstBytes(BurstBytes)
    ) u_source (
      .clk_i, .rst_ni, .start_i(move_start), .addr_i(desc_q.src_addr), .bytes_i(desc_q.len),
      .fixed_i(C2h && fixed), .ar_valid_o(data_ar_valid_o), .ar_ready_i(data_ar_ready_i),
      .ar_addr_o(data_ar_addr_o), .ar_len_o(data_ar_len_o), .ar_burst_o(data_ar_burst_o),
      .r_valid_i(data_r_valid_i), .r_data_i(data_r_data_i), .r_resp_i(data_r_resp_i),
      .valid_o(word_valid), .ready_i(word_ready), .data_o(word), .count_o(word_bytes),
      .came_o(came), .done_o(source_done), .slverr_o(source_slverr), .decerr_o(source_decerr)
    );
  end

  // Errors of the two sides, in the bits of the status register. What came with one is not written,
  // where the list ends with it.
  logic [23:0] source_errors, sink_errors;
  logic        drop;
  always_comb begin
    source_errors = '0;
    sink_errors   = '0;
    if (C2h) begin
      source_errors[StatCardReadDecode] = source_decerr;
      source_errors[StatCardReadSlave]  = source_slverr;
    end else begin
      source_errors[StatHostUnsupported] = source_slverr || source_decerr;
      sink_errors[StatCardWriteDecode]   = sink_decerr;
      sink_errors[StatCardWriteSlave]    = sink_slverr;
    end
  end
  assign move_errors = (source_errors | sink_errors) & control[23:0];
  assign drop        = (source_errors & control[23:0]) != '0;

  if (ToStream) begin : gen_stream_out
    assign data_aw_valid_o = 1'b0;
    assign data_aw_addr_o  = '0;
    assign data_aw_len_o   = '0;
    assign data_aw_burst_o = '0;
    assign data_w_valid_o  = 1'b0;
    assign data_w_data_o   = '0;
    assign data_w_strb_o   = '0;
    assign data_w_last_o   = 1'b0;
    assign sink_slverr     = 1'b0;
    assign sink_decerr     = 1'b0;
    accelerator_xdma_stream_out #(
      .DataWidth(DataWidth)
    ) u_sink (
      .clk_i, .rst_ni, .start_i(move_start), .bytes_i(desc_q.len),
      .eop_i(desc_q.control[DescEop]), .drop_i(drop), .level_i(level), .data_i(out_word),
      .pop_o(pop), .pop_bytes_o(pop_bytes), .m_axis_tdata, .m_axis_tkeep, .m_axis_tlast,
      .m_axis_tvalid, .m_axis_tready, .done_o(sink_done)
    );
  end else begin : gen_writer
    assign m_axis_tdata  = '0;
    assign m_axis_tkeep  = '0;
    assign m_axis_tlast  = 1'b0;
    assign m_axis_tvalid = 1'b0;
    accelerator_xdma_writer #(
      .DataWidth(DataWidth), .BurstBytes(BurstBytes), .Responses(!C2h)
    ) u_sink (
      .clk_i, .rst_ni, .start_i(move_start), .addr_i(desc_q.dst_addr), .fixed_i(!C2h && fixed),
      .came_i(came), .all_came_i(source_done), .drop_i(drop), .level_i(level),
      .data_i(out_word), .pop_o(pop), .pop_bytes_o(pop_bytes), .aw_valid_o(data_aw_valid_o),
      .aw_ready_i(data_aw_ready_i), .aw_addr_o(data_aw_addr_o), .aw_len_o(data_aw_len_o),
      .aw_burst_o(data_aw_burst_o), .w_valid_o(data_w_valid_o), .w_ready_i(data_w_ready_i),
      .w_data_o(data_w_data_o), .w_strb_o(data_w_strb_o), .w_last_o(data_w_last_o),
      .b_valid_i(data_b_valid_i), .b_resp_i(data_b_resp_i), .done_o(sink_done),
      .slverr_o(sink_slverr), .decerr_o(sink_decerr)
    );
  end

  // A beat of the performance monitor: one that leaves towards the destination.
  assign beat = pop;

endmodule
