// SPDX-License-Identifier: Apache-2.0
//
// A guest's accesses to the BARs, from the library to m_axi and back. The process of the bridge
// that makes every DPI call does so here too, by the tasks: at each clock edge, in its own
// order.

module accelerator_guest_accesses
  import accelerator_dpi_pkg::*;
  import accelerator_axi_pkg::*;
#(
  // Of the bridge, in messages.
  parameter string       Name      = "accelerator0",
  parameter int unsigned AddrWidth = 64,
  parameter int unsigned DataWidth = 32,
  parameter int unsigned IdWidth   = 1,
  // Outstanding on m_axi.
  parameter int unsigned MaxWrites = 8,
  parameter int unsigned MaxReads  = 4
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  // Which accesses can be fetched at the coming edge. A write may be taken although MaxWrites
  // earlier ones wait for their B: were it not, a DMA completion that those B wait for would
  // never pass.
  output logic                   can_write_o,
  output logic                   can_read_o,
  // No access is under way.
  output logic                   idle_o,

  output logic [IdWidth-1:0]     m_axi_awid,
  output logic [AddrWidth-1:0]   m_axi_awaddr,
  output logic [7:0]             m_axi_awlen,
  output logic [2:0]             m_axi_awsize,
  output logic [1:0]             m_axi_awburst,
  output logic [3:0]             m_axi_awcache,
  output logic [2:0]             m_axi_awprot,
  output logic                   m_axi_awvalid,
  input  logic                   m_axi_awready,
  output logic [DataWidth-1:0]   m_axi_wdata,
  output logic [DataWidth/8-1:0] m_axi_wstrb,
  output logic                   m_axi_wlast,
  output logic                   m_axi_wvalid,
  input  logic                   m_axi_wready,
  input  logic [IdWidth-1:0]     m_axi_bid,
  input  logic [1:0]             m_axi_bresp,
  input  logic                   m_axi_bvalid,
  output logic                   m_axi_bready,
  output logic [IdWidth-1:0]     m_axi_arid,
  output logic [AddrWidth-1:0]   m_axi_araddr,
  output logic [7:0]             m_axi_arlen,
  output logic [2:0]             m_axi_arsize,
  output logic [1:0]             m_axi_arburst,
  output logic [3:0]             m_axi_arcache,
  output logic [2:0]             m_axi_arprot,
  output logic                   m_axi_arvalid,
  input  logic                   m_axi_arready,
  input  logic [IdWidth-1:0]     m_axi_rid,
  input  logic [DataWidth-1:0]   m_axi_rdata,
  input  logic [1:0]             m_axi_rresp,
  input  logic                   m_axi_rlast,
  input  logic                   m_axi_rvalid,
  output logic                   m_axi_rready
);

  // Places for the guest accesses under way, of which one stays free. One write may wait in
  // front of those on the bus.
  localparam int unsigned WriteSlots    = MaxWrites + 2;
  localparam int unsigned ReadSlots     = MaxReads + 1;
  localparam int unsigned WritePtrWidth = $clog2(WriteSlots);
  localparam int unsigned ReadPtrWidth  = $clog2(ReadSlots);

  // What was fetched and is not with the AXI master yet. A read is taken at the next edge. A write is
  // there at once, except while MaxWrites earlier ones wait for their B: then it waits here.
  logic        wr_valid_q, rd_valid_q;
  logic [63:0] req_addr_q, req_data_q;
  logic [3:0]  req_len_q;
  logic        wr_ready, wr_accepted, wr_idle, wr_done, wr_done_error;
  logic        rd_ready, rd_done, rd_done_error;
  logic [63:0] rd_done_data;

  accelerator_mmio_master #(
    .Name     (Name),
    .AddrWidth(AddrWidth),
    .DataWidth(DataWidth),
    .IdWidth  (IdWidth),
    .MaxWrites(MaxWrites),
    .MaxReads (MaxReads)
  ) u_mmio_master (
    .clk_i,
    .rst_ni,
    .wr_ready_o     (wr_ready),
    .wr_accepted_o  (wr_accepted),
    .wr_idle_o      (wr_idle),
    .wr_done_o      (wr_done),
    .wr_done_error_o(wr_done_error),
    .rd_valid_i     (rd_valid_q),
    .rd_ready_o     (rd_ready),
    .rd_addr_i      (req_addr_q),
    .rd_len_i       (req_len_q),
    .rd_done_o      (rd_done),
    .rd_done_error_o(rd_done_error),
    .rd_done_data_o (rd_done_data),
    .m_axi_awid, .m_axi_awaddr, .m_axi_awlen, .m_axi_awsize, .m_axi_awburst, .m_axi_awcache,
    .m_axi_awprot, .m_axi_awvalid, .m_axi_awready,
    .m_axi_wdata, .m_axi_wstrb, .m_axi_wlast, .m_axi_wvalid, .m_axi_wready,
    .m_axi_bresp, .m_axi_bvalid, .m_axi_bready,
    .m_axi_arid, .m_axi_araddr, .m_axi_arlen, .m_axi_arsize, .m_axi_arburst, .m_axi_arcache,
    .m_axi_arprot, .m_axi_arvalid, .m_axi_arready,
    .m_axi_rdata, .m_axi_rresp, .m_axi_rlast, .m_axi_rvalid, .m_axi_rready
  );

  // Tags of the guest accesses under way, oldest first: answers come in order. An access is
  // open while the guest waits for its answer: not any more after the link went down.
  int                       wr_tag_q [WriteSlots];
  logic [WriteSlots-1:0]    wr_open_q;
  logic [WritePtrWidth-1:0] wr_head_q, wr_tail_q;
  int                       rd_tag_q [ReadSlots];
  logic [ReadSlots-1:0]     rd_open_q;
  logic [ReadPtrWidth-1:0]  rd_head_q, rd_tail_q;

  assign can_write_o = rst_ni && wr_accepted && !wr_valid_q;
  assign can_read_o  = rst_ni && rd_ready && !rd_valid_q && wr_idle && !wr_valid_q;
  assign idle_o      = wr_head_q == wr_tail_q && rd_head_q == rd_tail_q;

  // Complaints so far.
  lines_t      complaints;

  // The newest access, for waveforms: valid for a clock, and its number, which is that of the record
  // and of the log.
  /* verilator lint_off UNUSEDSIGNAL */
  bit     txn_valid;
  longint txn_id;
  txn_e   txn_kind;
  /* verilator lint_on UNUSEDSIGNAL */

  // Responses to writes: before the next event, which may be a read that waits for them.
  task automatic answer_writes(input chandle handle);
    automatic int status;
    if (txn_valid) txn_valid <= 1'b0;
    rd_valid_q <= 1'b0;
    if (wr_done && rst_ni) begin
      if (wr_open_q[wr_head_q]) begin
        status = acc_mmio_write_done(handle, wr_tag_q[wr_head_q], 32'(wr_done_error));
        if (status < 0) begin
          complaints = complain(handle, Name, status, "acc_mmio_write_done",
                                   complaints);
        end
      end
      wr_head_q <= WritePtrWidth'(next_slot(32'(wr_head_q), WriteSlots));
    end
  endtask

  // The guest wrote or read. `write` is what drive_writes gets at this edge.
  task automatic fetch(input chandle handle, input bit is_write, output write_t write);
    automatic int     status, tag, len;
    automatic longint addr, data;
    // The BAR is in the address.
    /* verilator lint_off UNUSEDSIGNAL */
    automatic int     bar;
    /* verilator lint_on UNUSEDSIGNAL */
    write  = '0;
    status = acc_get_mmio(handle, tag, bar, addr, len, data);
    if (status < 0) begin
      complaints = complain(handle, Name, status, "acc_get_mmio", complaints);
    end else if (len < 1 || len > 8) begin
      $fatal(1, "%m: %s: a guest access of %0d bytes; 1 to 8 are possible", Name, len);
    end else begin
      req_addr_q <= addr;
      req_len_q  <= len[3:0];
      req_data_q <= data;
      txn_valid  <= 1'b1;
      txn_id     <= acc_stat(handle, StatTransaction);
      txn_kind   <= is_write ? TxnMmioWrite : TxnMmioRead;
      if (is_write) begin
        write = '{valid: 1'b1, addr: addr, len: len[3:0], data: data};
        wr_tag_q[wr_tail_q]  <= tag;
        wr_open_q[wr_tail_q] <= 1'b1;
        wr_tail_q <= WritePtrWidth'(next_slot(32'(wr_tail_q), WriteSlots));
      end else begin
        rd_valid_q           <= 1'b1;
        rd_tag_q[rd_tail_q]  <= tag;
        rd_open_q[rd_tail_q] <= 1'b1;
        rd_tail_q <= ReadPtrWidth'(next_slot(32'(rd_tail_q), ReadSlots));
      end
    end
  endtask

  // At each edge, after what was fetched at it: on to the AXI master.
  task automatic drive_writes(input write_t fetched);
    if (wr_valid_q) begin
      u_mmio_master.drive_writes(wr_ready, req_addr_q, req_len_q, req_data_q);
      if (wr_ready) wr_valid_q <= 1'b0;
    end else begin
      u_mmio_master.drive_writes(fetched.valid && wr_ready, fetched.addr, fetched.len,
                                 fetched.data);
      if (fetched.valid && !wr_ready) wr_valid_q <= 1'b1;
    end
  endtask

  // Nobody waits for what is under way.
  task automatic forget();
    wr_open_q <= '0;
    rd_open_q <= '0;
  endtask

  // Answers to reads. After forget at the same edge nobody waits for them.
  task automatic answer_reads(input chandle handle, input bit forgotten);
    automatic int status;
    if (rd_done) begin
      if (rd_open_q[rd_head_q] && !forgotten) begin
        status = acc_mmio_read_done(handle, rd_tag_q[rd_head_q], 32'(rd_done_error),
                                    rd_done_data);
        if (status < 0) begin
          complaints = complain(handle, Name, status, "acc_mmio_read_done",
                                   complaints);
        end
      end
      rd_head_q <= ReadPtrWidth'(next_slot(32'(rd_head_q), ReadSlots));
    end
  endtask

  // A guest that waits for its answers, which aresetn cut off.
  task automatic give_back(input chandle handle);
    automatic int unsigned slot;
    slot = 32'(wr_head_q);
    if (wr_done && rst_ni) slot = next_slot(slot, WriteSlots);
    while (slot != 32'(wr_tail_q)) begin
      if (wr_open_q[slot]) void'(acc_mmio_write_done(handle, wr_tag_q[slot], 1));
      slot = next_slot(slot, WriteSlots);
    end
    slot = 32'(rd_head_q);
    while (slot != 32'(rd_tail_q)) begin
      if (rd_open_q[slot]) void'(acc_mmio_read_done(handle, rd_tag_q[slot], 1, 64'd0));
      slot = next_slot(slot, ReadSlots);
    end
  endtask

  task automatic clear();
    wr_valid_q <= 1'b0;
    rd_valid_q <= 1'b0;
    wr_head_q  <= '0;
    wr_tail_q  <= '0;
    wr_open_q  <= '0;
    rd_head_q  <= '0;
    rd_tail_q  <= '0;
    rd_open_q  <= '0;
  endtask

  always_ff @(posedge clk_i) begin : p_assert
    if (rst_ni) begin
      assert (!m_axi_bvalid || m_axi_bid == '0)
      else $error("%m: %s: m_axi_bid is %0d, every request has ID 0", Name, m_axi_bid);
      assert (!m_axi_rvalid || m_axi_rid == '0)
      else $error("%m: %s: m_axi_rid is %0d, every request has ID 0", Name, m_axi_rid);
    end
  end

  accelerator_known_check #(
    .Width(3), .Name("m_axi_awready, m_axi_wready and m_axi_arready")
  ) u_known_ready (
    .clk_i, .rst_ni, .valid_i(1'b1),
    .payload_i({m_axi_awready, m_axi_wready, m_axi_arready})
  );
  accelerator_known_check #(
    .Width(IdWidth + 2), .Name("m_axi_b")
  ) u_known_b (
    .clk_i, .rst_ni, .valid_i(m_axi_bvalid), .payload_i({m_axi_bid, m_axi_bresp})
  );
  accelerator_known_check #(
    .Width(IdWidth + 3), .Name("m_axi_r")
  ) u_known_r (
    .clk_i, .rst_ni, .valid_i(m_axi_rvalid), .payload_i({m_axi_rid, m_axi_rresp, m_axi_rlast})
  );
  // Of the lanes that the guest asked for. A register that was never set is no fault of the bus.
  accelerator_known_check #(
    .Width(64), .Name("data for a read of the guest"), .Fatal(1'b0)
  ) u_known_data (
    .clk_i, .rst_ni, .valid_i(rd_done), .payload_i(rd_done_data)
  );

  final begin : p_left_out
    tell_left_out(Name, "failed calls", complaints.left_out);
  end

endmodule
