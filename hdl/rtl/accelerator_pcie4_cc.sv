// SPDX-License-Identifier: Apache-2.0
//
// Completions of RTL on s_axis_cc, from their beats to answers to the guest's reads, which may be
// split. The process of the block that makes every DPI call does so here too, by the tasks: at each
// clock edge, in its own order.

module accelerator_pcie4_cc
  import accelerator_dpi_pkg::*;
  import accelerator_pcie4_pkg::*;
#(
  // Of the block, in messages.
  parameter string       Name     = "accelerator0",
  parameter int unsigned Width    = 256,
  // Two TLPs in a beat of 512 bits.
  parameter bit          Straddle = 1'b0,
  // Look at the parity in tuser.
  parameter bit          Parity   = 1'b0,
  // Bytes of the read completion boundary.
  parameter int unsigned Rcb      = 64,
  // Reads of the guest under way.
  parameter int unsigned MaxReads = 8,
  localparam int unsigned Lanes    = Width / 32,
  localparam int unsigned UserWidth = cc_user(Width)
) (
  input  logic                 clk_i,
  input  logic                 rst_ni,

  input  logic [Width-1:0]     s_axis_cc_tdata,
  input  logic [Lanes-1:0]     s_axis_cc_tkeep,
  // With straddle tuser has what tlast and tkeep have without.
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic [UserWidth-1:0] s_axis_cc_tuser,
  input  logic                 s_axis_cc_tlast,
  /* verilator lint_on UNUSEDSIGNAL */
  input  logic                 s_axis_cc_tvalid,
  output logic                 s_axis_cc_tready,

  // A packet was dropped.
  output logic                 dropped_o,
  // No read is under way.
  output logic                 idle_o
);

  // Descriptor and the Dwords of a whole read.
  localparam int unsigned MostDwords = 3 + 5;

  // A read of the guest: a TLP for its bytes below 4 KiB, and perhaps one for those above. The tag of
  // a TLP is the number of the read and that of the part.
  typedef struct packed {
    bit             used;
    // Somebody waits for its answer.
    bit             open;
    bit             error;
    bit [31:0]      acc_tag;
    bit [63:0]      data;
    // Of each part: where in the data its next byte is, its address, and how many are to come.
    bit [1:0][3:0]  at;
    bit [1:0][11:0] addr;
    bit [1:0][3:0]  left;
  } read_t;

  read_t          reads [MaxReads];
  int unsigned    used;

  // The TLP so far.
  bit             inside_tlp, bad;
  int unsigned    count;
  bit [31:0]      dwords [MostDwords];

  logic           dropped_q;
  // What was told of completions that are dropped, and complaints.
  lines_t         told, complaints;

  assign s_axis_cc_tready = rst_ni;
  assign dropped_o        = dropped_q;

  // A place for a read: a free one, or one of a read that nobody waits for, which RTL may have
  // forgotten as well.
  function automatic int unsigned place();
    place = MaxReads;
    for (int unsigned i = 0; i < MaxReads; i++) begin
      if (!reads[i].used) return i;
      if (!reads[i].open) place = i;
    end
  endfunction

  function automatic bit can_read();
    return used != MaxReads || place() != MaxReads;
  endfunction

  // The tag for the first TLP of the next read.
  function automatic bit [7:0] next_tag();
    return 8'(2 * place());
  endfunction

  // A read is on its way to RTL: the first TLP has `first` bytes of its `len`.
  task automatic await_read(input bit [7:0] tag, input int acc_tag, input bit [11:0] addr,
                            input int unsigned len, input int unsigned first);
    automatic read_t read = '0;
    if (len != 0) begin
      read.used    = 1'b1;
      read.open    = 1'b1;
      read.acc_tag = acc_tag;
      read.at      = {4'(first), 4'd0};
      read.addr    = {12'd0, addr};
      read.left    = {4'(len - first), 4'(first)};
      if (!reads[32'(tag) / 2].used) used = used + 1;
      reads[32'(tag) / 2] = read;
    end
  endtask

  /* verilator lint_off UNUSEDSIGNAL */
  task automatic tell(input cc_descriptor_t descriptor, input string what);
    dropped_q <= 1'b1;
    if (may_tell(told)) begin
      $warning("%m: %s: the completion with tag %0d, status %0d, byte count %0d, lower address 0x%0h and %0d Dwords is dropped: %s%s",
               Name, descriptor.tag, descriptor.status, descriptor.byte_count,
               descriptor.lower_address, descriptor.dword_count, what, last_words(told));
    end
    told = count_line(told);
  endtask
  /* verilator lint_on UNUSEDSIGNAL */

  // Here and not in the task: Verilator clears the variables of a task at each clock, also where
  // it is not called.
  bit [511:0] beat;
  bit [80:0]  user;

  // Looks at the bus, and answers what is complete.
  task automatic serve(input chandle handle);
    automatic segment_t [1:0] segments;
    automatic bit [63:0]      parity;
    automatic bit             wrong, at;
    // Which of several begins in the beat has no meaning here.
    /* verilator lint_off UNUSEDSIGNAL */
    automatic segment_t       part;
    /* verilator lint_on UNUSEDSIGNAL */
    if (dropped_q) dropped_q <= 1'b0;
    if (s_axis_cc_tvalid && s_axis_cc_tready) begin
      beat   = 512'(s_axis_cc_tdata);
      user   = 81'(s_axis_cc_tuser);
      parity = (Width == 512) ? user[80:17] : 64'(user[32:1]);
      wrong  = (Width == 512) ? user[16] : user[0];
      if (Straddle) begin
        segments = two_segments(inside_tlp, user[1:0], user[5:2], user[7:6], user[15:8]);
      end else begin
        segments = one_segment(inside_tlp, 16'(s_axis_cc_tkeep), s_axis_cc_tlast);
      end
      at = 1'b0;
      do begin
        part = segments[at];
        if (part.valid) begin
          if (part.sop) begin
            count = 0;
            bad   = 1'b0;
          end
          for (int unsigned lane = 32'(part.first); lane <= 32'(part.last); lane++) begin
            if (count < MostDwords) dwords[count] = beat[32*lane +: 32];
            count = count + 1;
          end
          bad        = bad || wrong ||
                       (Parity && !parity_holds(part.first, part.last, beat, parity));
          inside_tlp = !part.eop;
          if (part.eop) complete();
        end
        at = !at;
      end while (at);
    end else if (inside_tlp && !s_axis_cc_tvalid) begin
      // PG213, "Completer Completion Interface Operation": an error, and the TLP is nullified.
      bad = 1'b1;
    end
    answer(handle);
    idle_o <= used == 0 && !inside_tlp;
  endtask

  // A completion that has come as a whole.
  task automatic complete();
    automatic cc_descriptor_t descriptor;
    automatic read_t          read;
    automatic int unsigned    slot, bytes, needed;
    automatic bit             part, known, failed;
    automatic string          what;
    descriptor = (count < 3) ? '0 : {dwords[2], dwords[1], dwords[0]};
    slot       = 32'(descriptor.tag) / 2;
    part       = descriptor.tag[0];
    failed     = descriptor.status != StatusSuccess || descriptor.poisoned;
    needed     = 32'(descriptor.dword_count);
    known      = count >= 3 && slot < MaxReads && reads[slot % MaxReads].used &&
                 reads[slot % MaxReads].left[part] != '0;
    read       = reads[slot % MaxReads];
    bytes      = 4 * needed - 32'(descriptor.lower_address[1:0]);
    if (bytes > 32'(read.left[part])) bytes = 32'(read.left[part]);
    what       = "";
    // What is wrong ends the read with an error, as a timeout would on a board.
    if (count < 3) begin
      what = "it is shorter than a descriptor";
    end else if (!known) begin
      what = "no read has this tag";
    end else if (bad) begin
      what = "it is discontinued, its parity is wrong, or s_axis_cc_tvalid has fallen inside of it";
    end else if (descriptor.requester_id != '0) begin
      what = $sformatf("its requester ID is 0x%0h, that of the request is 0", descriptor.requester_id);
    end else if (!failed && needed == 0) begin
      what = "it has no data";
    end else if (!failed && count != 3 + needed) begin
      what = $sformatf("%0d Dwords have come behind its descriptor", count - 3);
    end else if (!failed && (descriptor.byte_count != 13'(read.left[part]) ||
                             descriptor.lower_address != read.addr[part][6:0])) begin
      what = $sformatf("the byte count has to be %0d, the lower address 0x%0h", read.left[part],
                       read.addr[part][6:0]);
    end else if (!failed && bytes != 32'(read.left[part]) &&
                 (32'(read.addr[part]) + bytes) % Rcb != 0) begin
      what = "it ends neither with the request nor at a read completion boundary";
    end
    if (what != "") tell(descriptor, what);
    if (known) begin
      if (failed || what != "") begin
        read.error      = 1'b1;
        read.left[part] = '0;
      end else begin
        for (int unsigned i = 0; i < 8; i++) begin
          if (i < bytes) begin
            read.data[8 * ((32'(read.at[part]) + i) % 8) +: 8] =
                dwords[3 + (32'(descriptor.lower_address[1:0]) + i) / 4]
                      [8 * ((32'(descriptor.lower_address[1:0]) + i) % 4) +: 8];
          end
        end
        read.at[part]   = read.at[part] + 4'(bytes);
        read.addr[part] = read.addr[part] + 12'(bytes);
        read.left[part] = read.left[part] - 4'(bytes);
      end
      reads[slot % MaxReads] = read;
    end
  endtask

  // Answers to reads of which nothing is to come.
  task automatic answer(input chandle handle);
    automatic int          status;
    automatic int unsigned i = 0;
    if (used != 0) begin
      while (i < MaxReads) begin
        if (reads[i].used && reads[i].left == '0) begin
          reads[i].used = 1'b0;
          used          = used - 1;
          if (reads[i].open) begin
            status = acc_mmio_read_done(handle, reads[i].acc_tag, 32'(reads[i].error),
                                        reads[i].data);
            if (status < 0) begin
              complaints = complain(handle, Name, status, "acc_mmio_read_done", complaints);
            end
          end
        end
        i = i + 1;
      end
    end
  endtask

  // Nobody waits for what is under way any more.
  task automatic forget();
    for (int unsigned i = 0; i < MaxReads; i++) reads[i].open = 1'b0;
  endtask

  // A guest that waits for its answers, which sys_reset cut off.
  task automatic give_back(input chandle handle);
    for (int unsigned i = 0; i < MaxReads; i++) begin
      if (reads[i].used && reads[i].open) begin
        void'(acc_mmio_read_done(handle, reads[i].acc_tag, 1, 64'd0));
      end
    end
  endtask

  task automatic clear();
    for (int unsigned i = 0; i < MaxReads; i++) reads[i].used = 1'b0;
    used       = 0;
    inside_tlp = 1'b0;
    bad        = 1'b0;
    count      = 0;
    dropped_q <= 1'b0;
    idle_o    <= 1'b1;
  endtask

  final begin : p_left_out
    tell_left_out(Name, "completions that are dropped", told.left_out);
    tell_left_out(Name, "failed calls for completions", complaints.left_out);
  end

  accelerator_known_check #(
    .Width(Lanes + 1), .Name("s_axis_cc_tkeep and s_axis_cc_tlast")
  ) u_known (
    .clk_i, .rst_ni, .valid_i(s_axis_cc_tvalid),
    .payload_i({s_axis_cc_tkeep, s_axis_cc_tlast})
  );
  accelerator_stable_check #(
    .Width(Width), .Name("s_axis_cc")
  ) u_check (
    .clk_i, .rst_ni, .valid_i(s_axis_cc_tvalid), .ready_i(s_axis_cc_tready),
    .payload_i(s_axis_cc_tdata)
  );

endmodule
