// SPDX-License-Identifier: Apache-2.0
//
// A guest's accesses to the BARs, as requests on m_axis_cq, with credits for those that are not posted.
// The process of the block that makes every DPI call does so here too, by the tasks: at each clock
// edge, in its own order.
//
// An access has 1 to 8 bytes at any address: it is one TLP, or two where it crosses 4 KiB.

module accelerator_pcie4_cq
  import accelerator_dpi_pkg::*;
  import accelerator_pcie4_pkg::*;
#(
  // Of the block, in messages.
  parameter string           Name     = "accelerator0",
  parameter int unsigned     Width    = 256,
  // Two TLPs in a beat of 512 bits.
  parameter bit              Straddle = 1'b0,
  // Drive the parity in tuser.
  parameter bit              Parity   = 1'b0,
  // Of each BAR: its bytes, and what stands for its address on the bus where that is not known.
  parameter bit [5:0][63:0]  BarSize  = '0,
  parameter bit [5:0][63:0]  BarBase  = '0,
  // A request that stands still for so many clocks is told of; 0: none is.
  parameter int unsigned     StallClocks = 1_000_000,
  localparam int unsigned Lanes    = Width / 32,
  localparam int unsigned UserWidth = cq_user(Width)
) (
  // Where the guest has put the BARs.
  input  logic [5:0]           bar_known_i,
  input  logic [5:0][63:0]     bar_address_i,

  output logic [Width-1:0]     m_axis_cq_tdata,
  output logic [Lanes-1:0]     m_axis_cq_tkeep,
  output logic [UserWidth-1:0] m_axis_cq_tuser,
  output logic                 m_axis_cq_tlast,
  output logic                 m_axis_cq_tvalid,
  input  logic                 m_axis_cq_tready,

  input  logic [1:0]           pcie_cq_np_req,
  output logic [5:0]           pcie_cq_np_req_count,

  // No request waits.
  output logic                 idle_o
);

  localparam int unsigned Depth     = 4;
  localparam int unsigned SlotLanes = Straddle ? Lanes / 2 : Lanes;
  localparam int unsigned MostCredits = 32;

  // A TLP: up to 3 Dwords behind its descriptor. The last of a write has the tag of the access.
  typedef struct packed {
    bit             last_of_write;
    bit [31:0]      acc_tag;
    bit [3:0]       first_be;
    bit [3:0]       last_be;
    bit [1:0]       dwords;
    bit [95:0]      data;
    bit [11:0]      enables;
    cq_descriptor_t descriptor;
  } tlp_t;

  tlp_t           tlps [Depth];
  bit [1:0]       head;
  int unsigned    count;
  // The second part of a read waits for a credit of its own.
  bit             second_waits;
  tlp_t           second;
  int unsigned    credits;
  // Lanes of the TLP on the bus that were given, and the writes that end with the beat on the bus.
  int unsigned    given;
  bit             ends [2];
  int             end_tags [2];
  // Writes of the guest that were fetched, and that RTL has taken.
  int unsigned    writes, taken;

  // Clocks in which the beat on the bus was not taken.
  int unsigned    stall;
  // What was told of that, and complaints.
  lines_t         stalls_q, complaints;

  // The newest access, for waveforms: valid for a clock, and its number, which is that of the record
  // and of the log.
  /* verilator lint_off UNUSEDSIGNAL */
  bit     txn_valid;
  longint txn_id;
  txn_e   txn_kind;
  /* verilator lint_on UNUSEDSIGNAL */

  function automatic bit can_write();
    return count <= Depth - 2;
  endfunction

  // A write that RTL has not taken keeps reads back, as the library wants it.
  function automatic bit can_read();
    return count <= Depth - 2 && credits != 0 && !second_waits && writes == taken;
  endfunction

  // RTL gives no credit that there is room for.
  function automatic bit has_credits();
    return pcie_cq_np_req == 2'b00 || credits >= MostCredits;
  endfunction

  function automatic int unsigned writes_fetched();
    return writes;
  endfunction
  function automatic int unsigned writes_taken();
    return taken;
  endfunction

  // Begins a clock: what RTL has taken.
  task automatic take(input chandle handle);
    automatic int status, failed;
    if (txn_valid) txn_valid <= 1'b0;
    if (pcie_cq_np_req != 2'b00 && credits < MostCredits) credits = credits + 1;
    if (pcie_cq_np_req[1] && credits < MostCredits) credits = credits + 1;
    if (m_axis_cq_tvalid && m_axis_cq_tready) begin
      failed = 0;
      for (int i = 0; i < 2; i++) begin
        if (ends[i]) begin
          taken   = taken + 1;
          ends[i] = 1'b0;
          status  = acc_mmio_write_done(handle, end_tags[i], 0);
          if (status < 0) failed = status;
        end
      end
      if (failed < 0) begin
        complaints = complain(handle, Name, failed, "acc_mmio_write_done", complaints);
      end
    end
  endtask

  // A TLP of `bytes` of the access, from the byte `from` of it on.
  function automatic tlp_t make(bit is_write, bit [2:0] bar, bit [63:0] addr, bit [63:0] data,
                                int unsigned bytes, bit [7:0] tag);
    automatic tlp_t      tlp = '0;
    automatic bit [11:0] enables;
    enables = 12'(((32'd1 << bytes) - 32'd1) << addr[1:0]);
    tlp.dwords   = (enables[11:8] != '0) ? 2'd3 : (enables[7:4] != '0) ? 2'd2 : 2'd1;
    tlp.first_be = enables[3:0];
    tlp.last_be  = (tlp.dwords == 2'd3) ? enables[11:8] : (tlp.dwords == 2'd2) ? enables[7:4] : '0;
    tlp.descriptor.dword_address = addr[63:2];
    tlp.descriptor.dword_count   = 11'(tlp.dwords);
    tlp.descriptor.req_type      = is_write ? ReqMemWrite : ReqMemRead;
    tlp.descriptor.tag           = tag;
    tlp.descriptor.bar_id        = bar;
    tlp.descriptor.bar_aperture  = 6'($clog2(BarSize[bar]));
    if (is_write) begin
      tlp.data    = 96'(data) << (8 * addr[1:0]);
      for (int i = 0; i < 12; i++) if (!enables[i]) tlp.data[8*i +: 8] = '0;
      tlp.enables = enables;
    end else begin
      tlp.dwords  = 2'd0;
    end
    return tlp;
  endfunction

  task automatic push(input tlp_t tlp);
    tlps[2'(32'(head) + count)] = tlp;
    count = count + 1;
  endtask

  // The guest wrote or read. `tag`: for the TLP of a read; the one of a second part has 1 more. A
  // read is for who awaits its completions: `first` bytes of `len` are in the first TLP.
  task automatic fetch(input chandle handle, input bit is_write, input bit [7:0] tag,
                       output int acc_tag, output bit [11:0] place, output int unsigned len,
                       output int unsigned first);
    automatic int        status, bar, bytes;
    automatic longint    at, data;
    automatic bit [63:0] addr;
    automatic tlp_t      tlp;
    len   = 0;
    first = 0;
    place = '0;
    status = acc_get_mmio(handle, acc_tag, bar, at, bytes, data);
    if (status < 0) begin
      complaints = complain(handle, Name, status, "acc_get_mmio", complaints);
    end else if (bytes < 1 || bytes > 8 || bar < 0 || bar > 5) begin
      $fatal(1, "%m: %s: a guest access of %0d bytes to BAR %0d; 1 to 8 and 0 to 5 are possible",
             Name, bytes, bar);
    end else begin
      addr  = (bar_known_i[3'(bar)] ? bar_address_i[3'(bar)] : BarBase[3'(bar)]) + at;
      place = addr[11:0];
      len   = 32'(bytes);
      first = 4096 - 32'(addr[11:0]);
      if (first > len) first = len;
      txn_valid <= 1'b1;
      txn_id    <= acc_stat(handle, StatTransaction);
      txn_kind  <= is_write ? TxnMmioWrite : TxnMmioRead;
      tlp = make(is_write, 3'(bar), addr, data, first, is_write ? '0 : tag);
      tlp.acc_tag       = acc_tag;
      tlp.last_of_write = is_write && first == len;
      push(tlp);
      if (is_write) writes = writes + 1;
      else credits = credits - 1;
      if (first != len) begin
        tlp = make(is_write, 3'(bar), addr + 64'(first), data >> (8 * first), len - first,
                   is_write ? '0 : tag + 8'd1);
        tlp.acc_tag       = acc_tag;
        tlp.last_of_write = is_write;
        if (is_write) push(tlp);
        else begin
          second       = tlp;
          second_waits = 1'b1;
        end
      end
    end
  endtask

  // Here and not in the task below: Verilator clears the variables of a task at each clock, also
  // where it is not called.
  bit [511:0] data;
  // A narrower bus has no use for the upper bits.
  /* verilator lint_off UNUSEDSIGNAL */
  bit [182:0] user;
  /* verilator lint_on UNUSEDSIGNAL */
  bit [223:0] dwords;
  tlp_t       tlp;

  // The next beat, if there is room for one.
  task automatic give();
    automatic bit [63:0]     enables, parity;
    automatic bit [15:0]     keep;
    automatic bit [1:0]      sops, eops;
    automatic bit [1:0][1:0] sop_ptr;
    automatic bit [1:0][3:0] eop_ptr, first_be, last_be;
    automatic bit [27:0]     dword_enables;
    automatic int unsigned   lane, starts, stops, length;

    if (second_waits && credits != 0 && count < Depth) begin
      second_waits = 1'b0;
      credits      = credits - 1;
      push(second);
    end
    pcie_cq_np_req_count <= 6'(credits);
    idle_o               <= count == 0 && !second_waits && !m_axis_cq_tvalid;

    if (m_axis_cq_tvalid && !m_axis_cq_tready) begin
      stall = stall + 1;
      if (stall == StallClocks) begin
        if (may_tell(stalls_q)) begin
          $warning("%m: %s: m_axis_cq_tready has been low for %0d clocks with a request of the guest there%s",
                   Name, StallClocks, last_words(stalls_q));
        end
        stalls_q <= count_line(stalls_q);
      end
      return;
    end
    stall    = 0;
    data     = '0;
    enables  = '0;
    keep     = '0;
    sops     = '0;
    eops     = '0;
    sop_ptr  = '0;
    eop_ptr  = '0;
    first_be = '0;
    last_be  = '0;
    lane     = 0;
    starts   = 0;
    stops    = 0;
    while (lane < Lanes && count != 0) begin
      tlp           = tlps[head];
      length        = 4 + 32'(tlp.dwords);
      dwords        = {tlp.data, tlp.descriptor};
      dword_enables = {tlp.enables, 16'd0};
      if (given == 0) begin
        sops[starts[0]]     = 1'b1;
        sop_ptr[starts[0]]  = 2'(lane / 4);
        first_be[starts[0]] = tlp.first_be;
        last_be[starts[0]]  = tlp.last_be;
        starts              = starts + 1;
      end
      while (given < length && lane < Lanes) begin
        data[32*lane +: 32]  = dwords[32*given +: 32];
        enables[4*lane +: 4] = dword_enables[4*given +: 4];
        keep[lane]           = 1'b1;
        given                = given + 1;
        lane                 = lane + 1;
      end
      if (given == length) begin
        eops[stops[0]]     = 1'b1;
        eop_ptr[stops[0]]  = 4'(lane - 1);
        ends[stops[0]]     = tlp.last_of_write;
        end_tags[stops[0]] = tlp.acc_tag;
        stops              = stops + 1;
        given              = 0;
        head               = head + 2'd1;
        count              = count - 1;
        lane               = ((lane + SlotLanes - 1) / SlotLanes) * SlotLanes;
        if (!Straddle) break;
      end
    end

    m_axis_cq_tvalid <= keep != '0;
    m_axis_cq_tdata  <= data[Width-1:0];
    m_axis_cq_tkeep  <= Straddle ? '1 : keep[Lanes-1:0];
    m_axis_cq_tlast  <= !Straddle && stops != 0;
    parity = '0;
    if (Parity) parity = odd_parity(data);
    user = '0;
    if (Width == 512) begin
      user[182:119] = parity;
      user[95:88]   = eop_ptr;
      user[87:86]   = eops;
      user[85:82]   = sop_ptr;
      user[81:80]   = sops;
      user[79:16]   = enables;
      user[15:8]    = last_be;
      user[7:0]     = first_be;
    end else begin
      user[84:53]   = parity[31:0] & 32'((64'd1 << (Width / 8)) - 64'd1);
      user[40]      = sops[0];
      user[39:8]    = enables[31:0];
      user[7:4]     = last_be[0];
      user[3:0]     = first_be[0];
    end
    m_axis_cq_tuser <= UserWidth'(user);
  endtask

  // Nobody waits for what is under way any more: RTL gets it all the same.
  task automatic forget();
    for (int i = 0; i < 2; i++) begin
      if (ends[i]) taken = taken + 1;
      ends[i] = 1'b0;
    end
    for (int unsigned i = 0; i < Depth; i++) begin
      if (i < count && tlps[2'(32'(head) + i)].last_of_write) taken = taken + 1;
      tlps[2'(32'(head) + i)].last_of_write = 1'b0;
    end
  endtask

  // A guest that waits for its answers, which sys_reset cut off.
  task automatic give_back(input chandle handle);
    for (int i = 0; i < 2; i++) begin
      if (ends[i]) void'(acc_mmio_write_done(handle, end_tags[i], 1));
    end
    for (int unsigned i = 0; i < count; i++) begin
      if (tlps[2'(32'(head) + i)].last_of_write) begin
        void'(acc_mmio_write_done(handle, tlps[2'(32'(head) + i)].acc_tag, 1));
      end
    end
  endtask

  task automatic clear();
    head                  = '0;
    count                 = 0;
    second_waits          = 1'b0;
    credits               = 0;
    given                 = 0;
    stall                 = 0;
    ends[0]               = 1'b0;
    ends[1]               = 1'b0;
    writes                = 0;
    taken                 = 0;
    txn_valid            <= 1'b0;
    idle_o               <= 1'b1;
    m_axis_cq_tvalid     <= 1'b0;
    m_axis_cq_tlast      <= 1'b0;
    pcie_cq_np_req_count <= '0;
  endtask

  final begin : p_left_out
    tell_left_out(Name, "requests that stand still", stalls_q.left_out);
    tell_left_out(Name, "failed calls for accesses", complaints.left_out);
  end

endmodule
