// SPDX-License-Identifier: Apache-2.0
//
// Reads of RTL from their request to their last completion: tags, what the library has been asked
// for, and m_axis_rc, on which completions are split as a completer may split them. The process of the
// block that makes every DPI call does so here too, by the tasks: at each clock edge, in its own order.

module accelerator_pcie4_rc
  import accelerator_dpi_pkg::*;
  import accelerator_pcie4_pkg::*;
#(
  // Of the block, in messages.
  parameter string       Name            = "accelerator0",
  parameter int unsigned Width           = 256,
  // TLPs that may begin in one beat: 1, 2 (of 256 and 512 bits) or 4 (of 512 bits).
  parameter int unsigned Straddle        = 1,
  // Drive the parity in tuser.
  parameter bit          Parity          = 1'b0,
  // Tags are RTL's, in the descriptor, or the block's, on pcie_rq_tag.
  parameter bit          EnableClientTag = 1'b1,
  // Bytes of the read completion boundary, and the most in a completion; 0: as many as the guest
  // has set as the most in a payload.
  parameter int unsigned Rcb             = 64,
  parameter int unsigned CompletionBytes = 0,
  // Reads that stand still for so many clocks are told of; 0: none are.
  parameter int unsigned StallClocks     = 1_000_000,
  localparam int unsigned Lanes    = Width / 32,
  localparam int unsigned UserWidth = rc_user(Width)
) (
  output logic [Width-1:0]     m_axis_rc_tdata,
  output logic [Lanes-1:0]     m_axis_rc_tkeep,
  output logic [UserWidth-1:0] m_axis_rc_tuser,
  output logic                 m_axis_rc_tlast,
  output logic                 m_axis_rc_tvalid,
  input  logic                 m_axis_rc_tready,

  output logic [7:0]           pcie_rq_tag0,
  output logic                 pcie_rq_tag_vld0,
  output logic [7:0]           pcie_rq_tag1,
  output logic                 pcie_rq_tag_vld1,
  output logic [3:0]           pcie_rq_tag_av,
  output logic [3:0]           pcie_tfc_nph_av,

  // As the guest has set them.
  input  logic [2:0]           max_payload_i,
  input  logic                 extended_tag_i,
  input  logic [15:0]          requester_id_i,

  // No read is under way.
  output logic                 idle_o
);

  localparam int unsigned SlotLanes = Lanes / Straddle;

  // Of a tag: it waits for the library, was asked of it, has its data or error to be given.
  typedef enum bit [1:0] {Free, Waiting, Asked, Answered} state_e;

  typedef struct packed {
    bit [63:0] addr;
    bit [12:0] bytes;
    // Of these no completion has come yet.
    bit [12:0] left;
    bit [2:0]  tc;
    bit [2:0]  attr;
    bit [2:0]  status;
    bit [3:0]  code;
  } read_t;

  state_e      state    [256];
  read_t       request  [256];
  int          acc_tag  [256];
  // Guest's writes that have come before the data.
  int unsigned behind   [256];
  // Tags in the order of their requests, for the library; and those with answers, oldest first.
  bit [7:0]    waiting  [256];
  bit [7:0]    waiting_head;
  int unsigned waiting_count;
  bit [7:0]    answered [256];
  int unsigned answered_count;
  // Tags that are not free, and the last that the block gave.
  int unsigned used;
  bit [7:0]    last_tag;
  // Tags that are to be told.
  bit [7:0]    told_tags [256];
  bit [7:0]    told_head, told_tail;

  // The completion on the bus: its tag, its descriptor, Dwords of that that are left, bytes that
  // are left, and where the next one lies in its Dword.
  bit             giving;
  bit [7:0]       tag;
  rc_descriptor_t descriptor;
  int unsigned    head_left, bytes_left;
  bit [1:0]       offset;
  // Its data is not to be had any more.
  bit             lost;

  // 0: completions are as long as they can be, and in order.
  bit [31:0]      seed;
  int unsigned    first_seed;

  // Clocks in which nothing moved, though something could.
  int unsigned    stall;

  // What was told, and complaints.
  lines_t         told, stalls_q, complaints;

  initial begin : p_seed
    first_seed = 0;
    void'($value$plusargs("accelerator_completion_seed=%d", first_seed));
  end

  // The newest read, for waveforms: valid for a clock, and its number, which is that of the record
  // and of the log.
  /* verilator lint_off UNUSEDSIGNAL */
  bit     txn_valid;
  longint txn_id;
  txn_e   txn_kind;
  /* verilator lint_on UNUSEDSIGNAL */

  function automatic int unsigned tag_count();
    return extended_tag_i ? 256 : 32;
  endfunction

  task automatic answer(input bit [7:0] which);
    state[which]             = Answered;
    stall                    = 0;
    answered[answered_count] = which;
    answered_count           = answered_count + 1;
  endtask

  /* verilator lint_off UNUSEDSIGNAL */
  task automatic tell(input rq_descriptor_t asked, input string what);
    if (may_tell(told)) begin
      $warning("%m: %s: the read at 0x%0h has tag %0d, %s%s", Name, {asked.dword_address, 2'b00},
               asked.tag, what, last_words(told));
    end
    told = count_line(told);
  endtask
  /* verilator lint_on UNUSEDSIGNAL */

  // A request that came on RQ. Not `taken`: there is no tag, and it is to be asked again. One with an
  // error code is answered with that at once, so that nobody waits for ever.
  // Hints and whom else the request is for have no use here.
  /* verilator lint_off UNUSEDSIGNAL */
  task automatic ask(input rq_descriptor_t asked, input bit [3:0] first_be, input bit [3:0] last_be,
                     input bit [3:0] code, output bit taken);
    automatic bit [7:0]    which;
    automatic bit [12:0]   bytes;
    automatic bit [3:0]    answer_code;
    taken       = 1'b1;
    which       = asked.tag;
    answer_code = code;
    if (!EnableClientTag) begin
      if (used >= tag_count()) begin
        taken = 1'b0;
        return;
      end
      which = last_tag;
      do begin
        which = which + 8'd1;
        if (32'(which) >= tag_count()) which = 8'd0;
      end while (state[which] != Free);
      last_tag             = which;
      told_tags[told_tail] = which;
      told_tail            = told_tail + 8'd1;
    end else if (state[which] != Free) begin
      tell(asked, "which another read has: it is dropped");
      return;
    end else if (32'(which) >= tag_count() && code == CodeNone) begin
      tell(asked, "and the guest has not enabled extended tags: it is not sent");
      answer_code = CodeTimeout;
    end
    if (asked.dword_count == 11'd1) begin
      bytes = (first_be == '0) ? 13'd1 :
              13'(last_byte(first_be)) - 13'(first_byte(first_be)) + 13'd1;
    end else begin
      bytes = {asked.dword_count, 2'b00} - 13'(first_byte(first_be)) -
              (13'd3 - 13'(last_byte(last_be)));
    end
    used           = used + 1;
    behind[which]  = 0;
    request[which] = '{addr: {asked.dword_address, first_byte(first_be)}, bytes: bytes,
                       left: bytes, tc: asked.tc, attr: asked.attr,
                       status: StatusSuccess, code: answer_code};
    if (answer_code == CodeNone) begin
      state[which] = Waiting;
      waiting[8'(32'(waiting_head) + waiting_count)] = which;
      waiting_count = waiting_count + 1;
    end else begin
      answer(which);
    end
  endtask

  /* verilator lint_on UNUSEDSIGNAL */

  // Asks the library for what waits, as long as it has room.
  task automatic send(input chandle handle, input bit link);
    automatic int       status;
    automatic bit [7:0] which;
    if (txn_valid) txn_valid <= 1'b0;
    while (waiting_count != 0) begin
      which  = waiting[waiting_head];
      status = -ErrLink;
      if (link) begin
        status = acc_dma_read(handle, request[which].addr, int'(request[which].bytes));
        if (status == -ErrAgain) break;
        if (status < 0) begin
          complaints = complain(handle, Name, status, "acc_dma_read", complaints);
        end else begin
          txn_valid <= 1'b1;
          txn_id    <= acc_stat(handle, StatTransaction);
          txn_kind  <= TxnDmaRead;
        end
      end
      waiting_head  = waiting_head + 8'd1;
      waiting_count = waiting_count - 1;
      acc_tag[which] = status;
      state[which]   = Asked;
      if (status < 0) begin
        request[which].code = CodeTimeout;
        answer(which);
      end
    end
  endtask

  // The host answered. `writes`: how many writes of the guest have come before.
  task automatic fetch(input chandle handle, input int unsigned writes);
    automatic int status, acc, kind, bytes;
    automatic bit found;
    status = acc_get_dma_read(handle, acc, kind, bytes);
    if (status < 0) begin
      complaints = complain(handle, Name, status, "acc_get_dma_read", complaints);
      return;
    end
    found = 1'b0;
    for (int unsigned i = 0; i < 256; i++) begin
      if (!found && state[i] == Asked && acc_tag[i] == acc) begin
        found     = 1'b1;
        behind[i] = writes;
        if (kind != 0) begin
          request[i].code   = CodeStatus;
          request[i].status = (kind == 1) ? StatusAbort : StatusUnsupported;
        end
        answer(8'(i));
      end
    end
    // Nobody waits for it: sys_reset came in between.
    if (!found && kind == 0) drop_data(handle, acc, bytes);
  endtask

  task automatic drop_data(input chandle handle, input int acc, input int bytes);
    /* verilator no_inline_task */
    automatic bit [511:0] unused_beat;
    for (int left = bytes; left > 0; left -= 64) begin
      void'(acc_dma_read_beat(handle, acc, 0, (left > 64) ? 64 : left, unused_beat));
    end
  endtask

  // The library has forgotten what is under way: each read ends with a completion that has the code,
  // and the completion on the bus is to be discarded.
  task automatic end_all(input bit [3:0] code);
    waiting_count = 0;
    lost          = giving && bytes_left != 0;
    for (int unsigned i = 0; i < 256; i++) begin
      if (state[i] == Waiting || state[i] == Asked) begin
        request[i].code = code;
        answer(8'(i));
      end else if (state[i] == Answered && request[i].code == CodeNone) begin
        request[i].code = code;
      end
    end
  endtask

  // Chooses an answer whose turn it is: not one that would overtake a write of the guest.
  task automatic choose(input int unsigned taken, output bit found, output int unsigned place);
    automatic int unsigned ready = 0;
    automatic int unsigned pick  = 0;
    found = 1'b0;
    place = 0;
    for (int unsigned i = 0; i < answered_count; i++) begin
      if (int'(taken - behind[answered[i]]) >= 0 || request[answered[i]].code != CodeNone) begin
        if (!found) place = i;
        found = 1'b1;
        ready = ready + 1;
        if (seed == 0) break;
      end
    end
    if (seed != 0 && found) begin
      seed = next_random(seed);
      pick = seed % ready;
      for (int unsigned i = 0; i < answered_count; i++) begin
        if (int'(taken - behind[answered[i]]) >= 0 || request[answered[i]].code != CodeNone) begin
          if (pick == 0) begin
            place = i;
            break;
          end
          pick = pick - 1;
        end
      end
    end
  endtask

  // Bytes of the next completion of a read: PCI Express Base Specification, "Data Return for Read
  // Requests". It ends at a multiple of the boundary, or with the request.
  function automatic int unsigned piece(bit [11:0] at, int unsigned left, bit [31:0] random);
    automatic int unsigned most, end_at, first_end;
    most = 32'd128 << max_payload_i;
    if (CompletionBytes != 0 && CompletionBytes < most) most = CompletionBytes;
    end_at    = ((32'(at) + most) / Rcb) * Rcb;
    first_end = (32'(at) / Rcb + 1) * Rcb;
    if (end_at < first_end) end_at = first_end;
    if (random != 0) end_at = first_end + Rcb * (random % ((end_at - first_end) / Rcb + 1));
    if (left <= end_at - 32'(at)) return left;
    // The whole of the rest may fit, though no boundary is there.
    if (random == 0 && 32'(at[1:0]) + left <= most) return left;
    return end_at - 32'(at);
  endfunction

  task automatic begin_completion(input int unsigned place);
    automatic read_t now;
    tag = answered[place];
    now = request[tag];
    descriptor               = '0;
    descriptor.tag           = tag;
    descriptor.tc            = now.tc;
    descriptor.attr          = now.attr;
    descriptor.requester_id  = requester_id_i;
    descriptor.error_code    = now.code;
    descriptor.status        = now.status;
    descriptor.byte_count    = now.left;
    bytes_left               = 0;
    now.addr                 = now.addr + 64'(now.bytes - now.left);
    descriptor.lower_address = now.addr[11:0];
    offset                   = now.addr[1:0];
    if (now.code == CodeNone) begin
      if (seed != 0) seed = next_random(seed);
      bytes_left = piece(now.addr[11:0], 32'(now.left), seed);
      descriptor.dword_count = 11'((32'(offset) + bytes_left + 3) / 4);
    end
    descriptor.request_completed = bytes_left == 32'(now.left) || now.code != CodeNone;
    request[tag].left = now.left - 13'(bytes_left);
    head_left         = 3;
    giving            = 1'b1;
    if (descriptor.request_completed) begin
      answered_count = answered_count - 1;
      for (int unsigned i = place; i < answered_count; i++) answered[i] = answered[i+1];
    end
  endtask

  // What nothing moved for.
  task automatic tell_stall();
    automatic string what;
    if (m_axis_rc_tvalid) begin
      what = $sformatf("m_axis_rc_tready has been low for %0d clocks", StallClocks);
    end else if (answered_count != 0) begin
      what = $sformatf("m_axis_cq_tready has been low for %0d clocks, and completions wait behind a write of the guest",
                       StallClocks);
    end else begin
      what = $sformatf("the host has not answered %0d reads for %0d clocks", used, StallClocks);
    end
    if (may_tell(stalls_q)) $warning("%m: %s: %s%s", Name, what, last_words(stalls_q));
    stalls_q <= count_line(stalls_q);
  endtask

  // Here and not in the task below: Verilator clears the variables of a task at each clock, also
  // where it is not called.
  bit [511:0] data, piece_of_data;
  // A narrower bus has no use for the upper bits.
  /* verilator lint_off UNUSEDSIGNAL */
  bit [160:0] user;
  /* verilator lint_on UNUSEDSIGNAL */

  // The next beat, if there is room for one. `taken`: writes of the guest that RTL has taken.
  task automatic give(input chandle handle, input int unsigned taken);
    automatic bit [63:0]     enables, parity;
    automatic bit [15:0]     keep;
    automatic bit [3:0]      sops, eops;
    automatic bit [3:0][1:0] sop_ptr;
    automatic bit [3:0][3:0] eop_ptr;
    automatic int unsigned   lane, starts, ends, place, count, byte_lane;
    automatic int            status;
    automatic bit            found, discontinue;

    pcie_rq_tag_vld0 <= told_head != told_tail;
    pcie_rq_tag0     <= told_tags[told_head];
    if (told_head != told_tail) told_head = told_head + 8'd1;
    pcie_rq_tag_vld1 <= Width == 512 && told_head != told_tail;
    pcie_rq_tag1     <= told_tags[told_head];
    if (Width == 512 && told_head != told_tail) told_head = told_head + 8'd1;
    pcie_rq_tag_av   <= (used >= tag_count()) ? 4'd0 :
                        (tag_count() - used > 15) ? 4'd15 : 4'(tag_count() - used);
    pcie_tfc_nph_av  <= (waiting_count == 0) ? 4'd15 : 4'd0;
    idle_o           <= used == 0 && !giving && !m_axis_rc_tvalid && told_head == told_tail;

    if (m_axis_rc_tvalid ? m_axis_rc_tready : used == 0) begin
      stall = 0;
    end else begin
      stall = stall + 1;
      if (stall == StallClocks) tell_stall();
    end

    if (m_axis_rc_tvalid && !m_axis_rc_tready) return;
    if (!giving && answered_count == 0) begin
      m_axis_rc_tvalid <= 1'b0;
      return;
    end
    data    = '0;
    enables = '0;
    keep    = '0;
    sops    = '0;
    eops    = '0;
    sop_ptr = '0;
    eop_ptr = '0;
    discontinue = 1'b0;
    lane    = 0;
    starts  = 0;
    ends    = 0;
    while (lane < Lanes) begin
      if (!giving) begin
        choose(taken, found, place);
        if (!found) break;
        begin_completion(place);
        sops[starts[1:0]]    = 1'b1;
        sop_ptr[starts[1:0]] = 2'(lane / 4);
        starts               = starts + 1;
      end
      while (head_left != 0 && lane < Lanes) begin
        data[32*lane +: 32] = descriptor[32*(3 - head_left) +: 32];
        keep[lane]          = 1'b1;
        head_left           = head_left - 1;
        lane                = lane + 1;
      end
      if (bytes_left != 0 && lane < Lanes) begin
        byte_lane = 4 * lane + 32'(offset);
        count     = (bytes_left < 4 * Lanes - byte_lane) ? bytes_left : 4 * Lanes - byte_lane;
        status    = 0;
        if (!lost) begin
          status = acc_dma_read_beat(handle, acc_tag[tag], int'(byte_lane), int'(count),
                                     piece_of_data);
        end
        if (status < 0) begin
          complaints = complain(handle, Name, status, "acc_dma_read_beat", complaints);
          lost = 1'b1;
        end else if (!lost) begin
          data = data | piece_of_data;
        end
        for (int unsigned i = 0; i < 64; i++) begin
          if (i >= byte_lane && i < byte_lane + count) enables[i] = 1'b1;
        end
        offset     = 2'd0;
        bytes_left = bytes_left - count;
        count      = (byte_lane + count + 3) / 4;
        while (lane < count) begin
          keep[lane] = 1'b1;
          lane       = lane + 1;
        end
      end
      if (head_left == 0 && bytes_left == 0) begin
        giving             = 1'b0;
        discontinue        = discontinue || lost;
        lost               = 1'b0;
        eops[ends[1:0]]    = 1'b1;
        eop_ptr[ends[1:0]] = 4'(lane - 1);
        ends               = ends + 1;
        if (descriptor.request_completed) begin
          state[tag] = Free;
          used       = used - 1;
        end
        // The next one may begin where a slot begins.
        lane = ((lane + SlotLanes - 1) / SlotLanes) * SlotLanes;
        if (Straddle == 1 || (!giving && answered_count == 0)) break;
      end
    end

    if (keep != '0) stall = 0;
    m_axis_rc_tvalid <= starts != 0 || ends != 0 || keep != '0;
    m_axis_rc_tdata  <= data[Width-1:0];
    m_axis_rc_tkeep  <= (Straddle != 1) ? '1 : keep[Lanes-1:0];
    m_axis_rc_tlast  <= Straddle == 1 && ends != 0;
    parity = '0;
    if (Parity) parity = odd_parity(data);
    user = '0;
    if (Width == 512) begin
      user[160:97] = parity;
      user[96]     = discontinue;
      user[95:80]  = eop_ptr;
      user[79:76]  = eops;
      user[75:68]  = sop_ptr;
      user[67:64]  = sops;
      user[63:0]   = enables;
    end else begin
      user[43 +: 32] = parity[31:0] & 32'((64'd1 << (Width / 8)) - 64'd1);
      user[42]       = discontinue;
      user[41:38]    = {eop_ptr[1][2:0], eops[1]};
      user[37:34]    = {eop_ptr[0][2:0], eops[0]};
      user[33:32]    = sops[1:0];
      user[31:0]     = enables[31:0];
    end
    m_axis_rc_tuser <= UserWidth'(user);
  endtask

  // A library that keeps data which nobody fetches: sys_reset came in between.
  task automatic give_back(input chandle handle);
    for (int unsigned i = 0; i < 256; i++) begin
      if (state[i] == Answered && request[i].code == CodeNone) begin
        drop_data(handle, acc_tag[i], int'(request[i].left) +
                  ((giving && tag == 8'(i)) ? int'(bytes_left) : 0));
      end
    end
  endtask

  task automatic clear();
    for (int unsigned i = 0; i < 256; i++) state[i] = Free;
    seed              = first_seed;
    waiting_head      = '0;
    waiting_count     = 0;
    answered_count    = 0;
    used              = 0;
    stall             = 0;
    last_tag          = '1;
    told_head         = '0;
    told_tail         = '0;
    giving            = 1'b0;
    lost              = 1'b0;
    head_left         = 0;
    bytes_left        = 0;
    txn_valid        <= 1'b0;
    idle_o           <= 1'b1;
    m_axis_rc_tvalid <= 1'b0;
    m_axis_rc_tlast  <= 1'b0;
    pcie_rq_tag_vld0 <= 1'b0;
    pcie_rq_tag_vld1 <= 1'b0;
    pcie_rq_tag_av   <= '0;
    pcie_tfc_nph_av  <= '0;
  endtask

  final begin : p_left_out
    tell_left_out(Name, "reads that are dropped", told.left_out);
    tell_left_out(Name, "reads that stand still", stalls_q.left_out);
    tell_left_out(Name, "failed calls for reads", complaints.left_out);
  end

endmodule
