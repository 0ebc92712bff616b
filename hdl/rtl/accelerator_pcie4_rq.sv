// SPDX-License-Identifier: Apache-2.0
//
// Requests of RTL on s_axis_rq, from their beats to whole TLPs: what they ask for, whether that may
// be, and the writes among them. The process of the block that makes every DPI call does so here
// too, by the tasks: at each clock edge, in its own order.
//
// A TLP is kept until its last beat: one that is discontinued, or in which tvalid falls, is none.

module accelerator_pcie4_rq
  import accelerator_dpi_pkg::*;
  import accelerator_pcie4_pkg::*;
#(
  // Of the block, in messages.
  parameter string       Name      = "accelerator0",
  parameter int unsigned Width     = 256,
  // Two TLPs in a beat of 512 bits.
  parameter bit          Straddle  = 1'b0,
  // Look at the parity in tuser.
  parameter bit          Parity    = 1'b0,
  localparam int unsigned Lanes    = Width / 32,
  localparam int unsigned UserWidth = rq_user(Width)
) (
  input  logic                 clk_i,
  input  logic                 rst_ni,

  input  logic [Width-1:0]     s_axis_rq_tdata,
  input  logic [Lanes-1:0]     s_axis_rq_tkeep,
  // Of hints, offsets and what else is in tuser nothing is needed, nor of tlast with straddle.
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic [UserWidth-1:0] s_axis_rq_tuser,
  input  logic                 s_axis_rq_tlast,
  /* verilator lint_on UNUSEDSIGNAL */
  input  logic                 s_axis_rq_tvalid,
  output logic                 s_axis_rq_tready,

  output logic [5:0]           pcie_rq_seq_num0,
  output logic                 pcie_rq_seq_num_vld0,
  output logic [5:0]           pcie_rq_seq_num1,
  output logic                 pcie_rq_seq_num_vld1,

  // As the guest has set them: 0 is 128 bytes, each one more twice as much.
  input  logic [2:0]           max_payload_i,
  input  logic [2:0]           max_read_req_i,

  // A packet was dropped.
  output logic                 dropped_o,
  output logic                 idle_o
);

  // A TLP with its descriptor.
  localparam int unsigned MostDwords = 1024 + 4;

  // The beat that is looked at, and which part of it comes next. It waits here while the library
  // or the tags have no room.
  bit             held;
  bit [511:0]     beat;
  bit [1:0]       at;
  segment_t [1:0] segments;
  bit [1:0][3:0]  beat_first, beat_last;
  bit [1:0][5:0]  beat_seq;
  bit [63:0]      parity;
  bit             beat_bad;

  // The TLP so far. `tlp_bad`: it is to be dropped, `tlp_told`: and that was told.
  bit             inside_tlp, complete, tlp_bad, tlp_told;
  int unsigned    count;
  bit [31:0]      dwords [MostDwords];
  rq_descriptor_t descriptor;
  bit [3:0]       first_be, last_be;
  bit [5:0]       seq;

  // Numbers of TLPs that are to be told.
  bit [5:0]       seqs [64];
  bit [5:0]       seq_head, seq_tail;

  // Between clocks.
  logic           ready_q, dropped_q;
  // What was told of requests that are dropped, and complaints.
  lines_t         told, complaints;

  assign s_axis_rq_tready = rst_ni && ready_q;
  assign dropped_o        = dropped_q;

  // The newest write, for waveforms: valid for a clock, and its number, which is that of the record
  // and of the log.
  /* verilator lint_off UNUSEDSIGNAL */
  bit     txn_valid;
  longint txn_id;
  txn_e   txn_kind;
  /* verilator lint_on UNUSEDSIGNAL */

  task automatic tell(input string what);
    dropped_q <= 1'b1;
    if (may_tell(told)) begin
      $warning("%m: %s: the request of type %0d at 0x%0h with %0d Dwords, tag %0d, first_be %b and last_be %b is dropped: %s%s",
               Name, descriptor.req_type, {descriptor.dword_address, 2'b00},
               descriptor.dword_count, descriptor.tag, first_be, last_be, what,
               last_words(told));
    end
    told = count_line(told);
  endtask

  // Begins a clock: looks at the bus.
  task automatic take();
    if (txn_valid) txn_valid <= 1'b0;
    if (dropped_q) dropped_q <= 1'b0;
    if (s_axis_rq_tvalid && s_axis_rq_tready) begin
      held     = 1'b1;
      at       = 2'd0;
      beat     = 512'(s_axis_rq_tdata);
      beat_bad = 1'b0;
      take_user();
    end else if (inside_tlp && !held && !s_axis_rq_tvalid && !tlp_bad) begin
      // PG213, "Requester Request Interface Operation": an error, and the TLP is nullified.
      tlp_bad  = 1'b1;
      tlp_told = 1'b1;
      tell("s_axis_rq_tvalid has fallen inside of it");
    end
  endtask

  task automatic take_user();
    // Neither width has all of it.
    /* verilator lint_off UNUSEDSIGNAL */
    automatic bit [136:0] user = 137'(s_axis_rq_tuser);
    /* verilator lint_on UNUSEDSIGNAL */
    if (Width == 512) begin
      beat_first = user[7:0];
      beat_last  = user[15:8];
      beat_seq   = user[72:61];
      beat_bad   = user[36];
      parity     = user[136:73];
    end else begin
      beat_first = {4'd0, user[3:0]};
      beat_last  = {4'd0, user[7:4]};
      beat_seq   = {6'd0, user[61:60], user[27:24]};
      beat_bad   = user[11];
      parity     = 64'(user[59:28]);
    end
    if (Straddle) begin
      segments = two_segments(inside_tlp, user[21:20], user[25:22], user[27:26], user[35:28]);
    end else begin
      segments = one_segment(inside_tlp, 16'(s_axis_rq_tkeep), s_axis_rq_tlast);
    end
  endtask

  // Goes on with the beat until a TLP is whole, and returns whether one is.
  task automatic next(output bit whole);
    automatic segment_t part;
    while (held && !complete) begin
      part = segments[at[0]];
      if (part.sop) begin
        count    = 0;
        tlp_bad  = 1'b0;
        tlp_told = 1'b0;
        first_be = beat_first[part.number];
        last_be  = beat_last[part.number];
        seq      = beat_seq[part.number];
      end
      if (part.valid) begin
        for (int unsigned lane = 32'(part.first); lane <= 32'(part.last); lane++) begin
          if (count < MostDwords) dwords[count] = beat[32*lane +: 32];
          count = count + 1;
        end
        inside_tlp   = !part.eop;
        complete = part.eop;
        if (beat_bad || (Parity && !parity_holds(part.first, part.last, beat, parity))) tlp_bad = 1'b1;
      end
      at = at + 2'd1;
      if (at == 2'd2 || !segments[at[0]].valid) held = 1'b0;
    end
    if (complete) descriptor = {dwords[3], dwords[2], dwords[1], dwords[0]};
    whole = complete;
  endtask

  // Whether the TLP is one that the block takes. A read that is not is answered all the same.
  task automatic check(output bit good);
    automatic int unsigned dwords_asked, bytes, most;
    automatic bit          writes;
    automatic string       what;
    writes       = descriptor.req_type == ReqMemWrite;
    dwords_asked = 32'(descriptor.dword_count);
    bytes        = 4 * dwords_asked;
    most         = 32'd128 << (writes ? max_payload_i : max_read_req_i);
    good         = 1'b0;
    if (tlp_bad) begin
      what = "it is discontinued, or its parity is wrong";
    end else if (count < 4) begin
      what = "it is shorter than a descriptor";
    end else if (!writes && descriptor.req_type != ReqMemRead) begin
      what = "only reads and writes of memory are carried out";
    end else if (dwords_asked == 0 || dwords_asked > 1024) begin
      what = "a request has 1 to 1024 Dwords";
    end else if (count != 4 + (writes ? dwords_asked : 0)) begin
      what = $sformatf("%0d Dwords have come behind its descriptor", count - 4);
    end else if (bytes > most) begin
      what = $sformatf("the guest has set %0d bytes as the most", most);
    end else if (32'({descriptor.dword_address[9:0], 2'b00}) + bytes > 4096) begin
      what = "it crosses a boundary of 4 KiB";
    end else if (descriptor.requester_id[2:0] != '0) begin
      what = $sformatf("there is no function %0d", descriptor.requester_id[2:0]);
    end else if (descriptor.poisoned) begin
      what = "it is poisoned";
    end else if (!enables_are_good(dwords_asked)) begin
      what = "these byte enables cannot be";
    end else begin
      good = 1'b1;
    end
    if (!good && !(tlp_bad && tlp_told)) tell(what);
  endtask

  // PCI Express Base Specification, "First/Last DW Byte Enables Rules".
  function automatic bit enables_are_good(int unsigned dwords_asked);
    if (dwords_asked == 1) return last_be == '0;
    if (first_be == '0 || last_be == '0) return 1'b0;
    if (dwords_asked == 2 && !descriptor.dword_address[0]) return 1'b1;
    return to_the_top(first_be) && from_the_bottom(last_be);
  endfunction

  // Bytes from the first that is enabled to the last; 0 if none is.
  function automatic int unsigned enabled_bytes();
    if (descriptor.dword_count == 11'd1) begin
      return (first_be == '0) ? 0 : 32'(last_byte(first_be)) - 32'(first_byte(first_be)) + 1;
    end
    return 4 * 32'(descriptor.dword_count) - 32'(first_byte(first_be)) -
           (3 - 32'(last_byte(last_be)));
  endfunction

  // Here and not in the task: Verilator clears the variables of a task at each clock, also where
  // it is not called.
  bit [511:0] data;

  // Carries out the write; not `done` if the library has no room yet.
  task automatic write(input chandle handle, input bit link, output bit done);
    automatic int          status, failed, bytes;
    automatic int unsigned left, lane, word;
    automatic bit [63:0]   strobes;
    automatic string       call;
    done = 1'b1;
    left = enabled_bytes();
    if (link && left != 0) begin
      lane   = 32'(first_byte(first_be));
      failed = acc_dma_write_begin(handle, {descriptor.dword_address, 2'b00} + 64'(lane));
      call   = "acc_dma_write_begin";
      done   = failed != -ErrAgain;
      word   = 0;
      if (failed >= 0) begin
        while (left != 0) begin
          for (int unsigned i = 0; i < 16; i++) begin
            data[32*i +: 32] = (word + i < 32'(descriptor.dword_count)) ? dwords[4 + word + i] : '0;
          end
          strobes = '1;
          if (word == 0) strobes[3:0] = first_be;
          if (descriptor.dword_count != 11'd1 && 32'(descriptor.dword_count) - word <= 16) begin
            strobes[4 * (32'(descriptor.dword_count) - word - 1) +: 4] = last_be;
          end
          bytes  = int'((left < 64 - lane) ? left : 64 - lane);
          status = acc_dma_write_beat(handle, int'(lane), bytes, data, strobes);
          if (status < 0) begin
            failed = status;
            call   = "acc_dma_write_beat";
          end
          left -= 32'(bytes);
          word += 16;
          lane  = 0;
        end
        status = acc_dma_write_end(handle);
        if (status < 0) begin
          failed = status;
          call   = "acc_dma_write_end";
        end else begin
          txn_valid <= 1'b1;
          txn_id    <= acc_stat(handle, StatTransaction);
          txn_kind  <= TxnDmaWrite;
        end
      end
      if (done && failed < 0) begin
        complaints = complain(handle, Name, failed, call, complaints);
      end
    end
  endtask

  // The host carried a write out, or refused it, which nobody hears of on PCI Express.
  task automatic fetch(input chandle handle);
    automatic int status;
    /* verilator lint_off UNUSEDSIGNAL */
    automatic int tag, kind;
    /* verilator lint_on UNUSEDSIGNAL */
    status = acc_get_dma_write(handle, tag, kind);
    if (status < 0) begin
      complaints = complain(handle, Name, status, "acc_get_dma_write", complaints);
    end
  endtask

  // The TLP is done with. One that was `sent` has its number told.
  task automatic drop(input bit sent);
    complete = 1'b0;
    if (sent) begin
      seqs[seq_tail] = seq;
      seq_tail       = seq_tail + 6'd1;
    end
  endtask

  // Ends a clock.
  task automatic leave();
    // With straddle two TLPs can end in a beat, and a row of numbers that grows stops the bus.
    ready_q              <= !held && !complete && 6'(seq_tail - seq_head) < 6'd60;
    idle_o               <= !held && !inside_tlp && !complete && seq_head == seq_tail;
    pcie_rq_seq_num_vld0 <= seq_head != seq_tail;
    pcie_rq_seq_num0     <= seqs[seq_head];
    if (seq_head != seq_tail) seq_head = seq_head + 6'd1;
    pcie_rq_seq_num_vld1 <= Width == 512 && seq_head != seq_tail;
    pcie_rq_seq_num1     <= seqs[seq_head];
    if (Width == 512 && seq_head != seq_tail) seq_head = seq_head + 6'd1;
  endtask

  task automatic clear();
    held                  = 1'b0;
    inside_tlp                = 1'b0;
    complete              = 1'b0;
    tlp_bad               = 1'b0;
    count                 = 0;
    seq_head              = '0;
    seq_tail              = '0;
    ready_q              <= 1'b1;
    dropped_q            <= 1'b0;
    idle_o               <= 1'b1;
    txn_valid            <= 1'b0;
    pcie_rq_seq_num_vld0 <= 1'b0;
    pcie_rq_seq_num_vld1 <= 1'b0;
    pcie_rq_seq_num0     <= '0;
    pcie_rq_seq_num1     <= '0;
  endtask

  final begin : p_left_out
    tell_left_out(Name, "requests that are dropped", told.left_out);
    tell_left_out(Name, "failed calls for requests", complaints.left_out);
  end

  accelerator_known_check #(
    .Width(Lanes + 1), .Name("s_axis_rq_tkeep and s_axis_rq_tlast")
  ) u_known (
    .clk_i, .rst_ni, .valid_i(s_axis_rq_tvalid),
    .payload_i({s_axis_rq_tkeep, s_axis_rq_tlast})
  );
  accelerator_stable_check #(
    .Width(Width), .Name("s_axis_rq")
  ) u_check (
    .clk_i, .rst_ni, .valid_i(s_axis_rq_tvalid), .ready_i(s_axis_rq_tready),
    .payload_i(s_axis_rq_tdata)
  );

endmodule
