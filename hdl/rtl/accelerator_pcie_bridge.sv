// SPDX-License-Identifier: Apache-2.0
//
// The PCIe endpoint of a co-simulation: what the hard PCIe block and its AXI bridge are on a
// card. A guest's accesses to the BARs come out of m_axi, what RTL asks for on s_axi is host
// memory, and a handshake on msix_* raises an interrupt. hdl/README.md has the timing rules.
//
// Everything that is connected to m_axi, s_axi and msix must be reset by user_resetn: it falls
// with aresetn, on every reset that the guest or QEMU gives the function, and when a QEMU
// connects, and the bridge forgets then what was under way.
//
// One process, p_host, makes every DPI call, in an order that keeps the promises of PCIe:
// what RTL sees accepted first is sent first.

module accelerator_pcie_bridge
  import accelerator_dpi_pkg::*;
#(
  // Where QEMU connects: a port on loopback ("7557"), "tcp://127.0.0.1:7557", "ipc://path".
  // "" is $NPU_COSIM_PORT or 7557. The plusargs +accelerator_endpoint=E, for all bridges, and
  // +accelerator_endpoint_NAME=E, for the one with that Name, win over the parameter.
  parameter string       Endpoint      = "",
  // Tells the bridges of one simulation apart, in messages.
  parameter string       Name          = "accelerator0",

  // Identity in PCI config space. ClassCode is base class, subclass, programming interface.
  parameter bit [15:0]   VendorId      = 16'h10EE,
  parameter bit [15:0]   DeviceId      = 16'h7011,
  parameter bit [15:0]   SubVendorId   = 16'h10EE,
  parameter bit [15:0]   SubDeviceId   = 16'h0007,
  parameter bit [23:0]   ClassCode     = 24'h12_00_00,
  parameter bit [7:0]    RevisionId    = 8'h00,

  // BARs: bytes, a power of two, 0 for none. A 64-bit BAR takes the next one's place.
  parameter bit [63:0]   Bar0Size      = 64'h1000,
  parameter bit [63:0]   Bar1Size      = 64'h0,
  parameter bit [63:0]   Bar2Size      = 64'h0,
  parameter bit [63:0]   Bar3Size      = 64'h0,
  parameter bit [63:0]   Bar4Size      = 64'h0,
  parameter bit [63:0]   Bar5Size      = 64'h0,
  // One bit for each BAR.
  parameter bit [5:0]    BarIs64       = 6'b000000,
  parameter bit [5:0]    BarPrefetch   = 6'b000000,
  // Address on m_axi of the BAR's first byte, a multiple of its size.
  parameter bit [63:0]   Bar0AxiBase   = 64'h0,
  parameter bit [63:0]   Bar1AxiBase   = 64'h0,
  parameter bit [63:0]   Bar2AxiBase   = 64'h0,
  parameter bit [63:0]   Bar3AxiBase   = 64'h0,
  parameter bit [63:0]   Bar4AxiBase   = 64'h0,
  parameter bit [63:0]   Bar5AxiBase   = 64'h0,

  // MSI-X: 0 vectors is none. Table and pending bits are QEMU's; accesses to them do not
  // reach m_axi.
  parameter int unsigned MsixVectors     = 1,
  parameter int unsigned MsixTableBar    = 1,
  parameter int unsigned MsixTableOffset = 0,
  parameter int unsigned MsixPbaBar      = 1,
  parameter int unsigned MsixPbaOffset   = 32'h800,
  // Legacy interrupt pin: 0 none, 1 to 4 for INTA to INTD.
  parameter int unsigned IntxPin         = 0,

  // Further capabilities in config space: element i is capability i of CapCount, 0 to 8. Its id
  // (9 is vendor specific), its place (0x40 to 0xfc, 0 leaves it to QEMU), and its body, which
  // is what follows the id and the pointer to the next one: 1 to 64 bytes, byte k in bits 8k+7
  // to 8k. In a vendor specific one byte 0 of the body is its whole length, CapBytes + 2.
  parameter int unsigned       CapCount  = 0,
  parameter bit [7:0][7:0]     CapId     = '0,
  parameter bit [7:0][7:0]     CapOffset = '0,
  parameter bit [7:0][7:0]     CapBytes  = '0,
  parameter bit [7:0][511:0]   CapBody   = '0,

  // Link as the guest sees it: PCIe generation 1 to 6, lanes 1, 2, 4, 8, 12, 16 or 32.
  parameter int unsigned LinkSpeed       = 3,
  parameter int unsigned LinkWidth       = 8,
  // Period of aclk.
  parameter int unsigned ClockPeriodPs   = 4000,
  // Clocks that user_resetn stays low.
  parameter int unsigned ResetClocks     = 16,
  // After so many clocks with nothing between guest and RTL the simulation sleeps until the
  // guest speaks, and runs on for as many clocks 20 times a second. 0: it never sleeps. The
  // plusarg +accelerator_idle=N wins.
  parameter int unsigned IdleClocks      = 0,

  // m_axi: guest accesses.
  parameter int unsigned MmioAddrWidth   = 64,
  parameter int unsigned MmioDataWidth   = 32,
  parameter int unsigned MmioIdWidth     = 1,
  parameter int unsigned MmioWrites      = 8,
  parameter int unsigned MmioReads       = 4,
  // s_axi: host memory.
  parameter int unsigned DmaAddrWidth    = 64,
  parameter int unsigned DmaDataWidth    = 128,
  parameter int unsigned DmaIdWidth      = 4,
  parameter int unsigned DmaWrites       = 16,
  parameter int unsigned DmaReads        = 16
) (
  input  logic                       aclk,
  input  logic                       aresetn,

  // Resets the RTL behind the bridge.
  output logic                       user_resetn,
  // A QEMU is connected and this function is usable.
  output logic                       user_link_up,

  // A guest's accesses to the BARs.
  output logic [MmioIdWidth-1:0]     m_axi_awid,
  output logic [MmioAddrWidth-1:0]   m_axi_awaddr,
  output logic [7:0]                 m_axi_awlen,
  output logic [2:0]                 m_axi_awsize,
  output logic [1:0]                 m_axi_awburst,
  output logic [3:0]                 m_axi_awcache,
  output logic [2:0]                 m_axi_awprot,
  output logic                       m_axi_awvalid,
  input  logic                       m_axi_awready,
  output logic [MmioDataWidth-1:0]   m_axi_wdata,
  output logic [MmioDataWidth/8-1:0] m_axi_wstrb,
  output logic                       m_axi_wlast,
  output logic                       m_axi_wvalid,
  input  logic                       m_axi_wready,
  input  logic [MmioIdWidth-1:0]     m_axi_bid,
  input  logic [1:0]                 m_axi_bresp,
  input  logic                       m_axi_bvalid,
  output logic                       m_axi_bready,
  output logic [MmioIdWidth-1:0]     m_axi_arid,
  output logic [MmioAddrWidth-1:0]   m_axi_araddr,
  output logic [7:0]                 m_axi_arlen,
  output logic [2:0]                 m_axi_arsize,
  output logic [1:0]                 m_axi_arburst,
  output logic [3:0]                 m_axi_arcache,
  output logic [2:0]                 m_axi_arprot,
  output logic                       m_axi_arvalid,
  input  logic                       m_axi_arready,
  input  logic [MmioIdWidth-1:0]     m_axi_rid,
  input  logic [MmioDataWidth-1:0]   m_axi_rdata,
  input  logic [1:0]                 m_axi_rresp,
  input  logic                       m_axi_rlast,
  input  logic                       m_axi_rvalid,
  output logic                       m_axi_rready,

  // Host memory.
  input  logic [DmaIdWidth-1:0]      s_axi_awid,
  input  logic [DmaAddrWidth-1:0]    s_axi_awaddr,
  input  logic [7:0]                 s_axi_awlen,
  input  logic [2:0]                 s_axi_awsize,
  input  logic [1:0]                 s_axi_awburst,
  input  logic                       s_axi_awvalid,
  output logic                       s_axi_awready,
  input  logic [DmaDataWidth-1:0]    s_axi_wdata,
  input  logic [DmaDataWidth/8-1:0]  s_axi_wstrb,
  input  logic                       s_axi_wlast,
  input  logic                       s_axi_wvalid,
  output logic                       s_axi_wready,
  output logic [DmaIdWidth-1:0]      s_axi_bid,
  output logic [1:0]                 s_axi_bresp,
  output logic                       s_axi_bvalid,
  input  logic                       s_axi_bready,
  input  logic [DmaIdWidth-1:0]      s_axi_arid,
  input  logic [DmaAddrWidth-1:0]    s_axi_araddr,
  input  logic [7:0]                 s_axi_arlen,
  input  logic [2:0]                 s_axi_arsize,
  input  logic [1:0]                 s_axi_arburst,
  input  logic                       s_axi_arvalid,
  output logic                       s_axi_arready,
  output logic [DmaIdWidth-1:0]      s_axi_rid,
  output logic [DmaDataWidth-1:0]    s_axi_rdata,
  output logic [1:0]                 s_axi_rresp,
  output logic                       s_axi_rlast,
  output logic                       s_axi_rvalid,
  input  logic                       s_axi_rready,

  // MSI-X request: one interrupt for each clock with valid and ready.
  input  logic                       msix_valid,
  output logic                       msix_ready,
  input  logic [10:0]                msix_vector,
  // Level of the legacy interrupt; 0 where IntxPin is 0.
  input  logic                       intx
);

  //////////////////////////
  // Checks of parameters //
  //////////////////////////

  function automatic bit is_bus_width(int unsigned width, int unsigned most);
    return width >= 32 && width <= most && (width & (width - 1)) == 0;
  endfunction

  if (!is_bus_width(MmioDataWidth, 512)) begin : gen_bad_mmio_data_width
    $error("MmioDataWidth is %0d; 32, 64, 128, 256 and 512 are possible", MmioDataWidth);
  end
  if (!is_bus_width(DmaDataWidth, 512)) begin : gen_bad_dma_data_width
    $error("DmaDataWidth is %0d; 32, 64, 128, 256 and 512 are possible", DmaDataWidth);
  end
  if (MmioAddrWidth < 12 || MmioAddrWidth > 64) begin : gen_bad_mmio_addr_width
    $error("MmioAddrWidth is %0d; 12 to 64 are possible", MmioAddrWidth);
  end
  if (DmaAddrWidth < 12 || DmaAddrWidth > 64) begin : gen_bad_dma_addr_width
    $error("DmaAddrWidth is %0d; 12 to 64 are possible", DmaAddrWidth);
  end
  if (MmioIdWidth < 1 || DmaIdWidth < 1) begin : gen_bad_id_width
    $error("MmioIdWidth is %0d, DmaIdWidth is %0d; at least 1 is needed", MmioIdWidth,
           DmaIdWidth);
  end
  if (MmioWrites < 1 || MmioWrites > 64 || MmioReads < 1 || MmioReads > 64)
  begin : gen_bad_mmio_depth
    $error("MmioWrites is %0d, MmioReads is %0d; 1 to 64 are possible", MmioWrites,
           MmioReads);
  end
  if (DmaWrites < 2 || DmaReads < 2 || DmaWrites + DmaReads > 32'(MaxDmaOutstanding))
  begin : gen_bad_dma_depth
    $error("DmaWrites is %0d, DmaReads is %0d; at least 2 each and %0d together are possible",
           DmaWrites, DmaReads, MaxDmaOutstanding);
  end
  if (ResetClocks < 1 || ResetClocks > 65535) begin : gen_bad_reset_clocks
    $error("ResetClocks is %0d; 1 to 65535 are possible", ResetClocks);
  end
  if (MsixVectors > 2048) begin : gen_bad_msix_vectors
    $error("MsixVectors is %0d; 0 to 2048 are possible", MsixVectors);
  end

  if (CapCount > 8) begin : gen_bad_cap_count
    $error("CapCount is %0d; 0 to 8 are possible", CapCount);
  end
  for (genvar i = 0; i < 8; i++) begin : gen_cap
    if (i < CapCount && (CapBytes[i] < 1 || CapBytes[i] > 64)) begin : gen_bad_cap_bytes
      $error("CapBytes[%0d] is %0d; 1 to 64 are possible", i, CapBytes[i]);
    end
  end

  localparam int unsigned DmaStrbWidth    = DmaDataWidth / 8;
  localparam int unsigned LaneWidth       = $clog2(DmaStrbWidth);
  localparam logic [2:0]  FullSize        = 3'(LaneWidth);
  localparam int unsigned WritePtrWidth   = $clog2(DmaWrites);
  localparam int unsigned WriteCountWidth = $clog2(DmaWrites + 1);
  localparam int unsigned ReadPtrWidth    = $clog2(DmaReads);
  localparam int unsigned ReadCountWidth  = $clog2(DmaReads + 1);
  // Places for the guest accesses under way, of which one stays free. One write may wait in
  // front of those on the bus.
  localparam int unsigned MmioWriteSlots  = MmioWrites + 2;
  localparam int unsigned MmioReadSlots   = MmioReads + 1;
  localparam int unsigned MmioWritePtr    = $clog2(MmioWriteSlots);
  localparam int unsigned MmioReadPtr     = $clog2(MmioReadSlots);

  localparam logic [1:0] RespOkay   = 2'b00;
  localparam logic [1:0] RespSlverr = 2'b10;
  localparam logic [1:0] BurstIncr  = 2'b01;

  // The next place in a ring of `slots` places.
  function automatic int unsigned next_slot(int unsigned slot, int unsigned slots);
    return (slot + 1 == slots) ? 0 : slot + 1;
  endfunction

  // Bytes of a burst, from its address to its end.
  function automatic int unsigned burst_bytes(logic [11:0] addr, logic [7:0] len,
                                              logic [2:0] size);
    return ((32'(len) + 1) << size) - (32'(addr) & ((32'd1 << size) - 1));
  endfunction

  // Whether the burst is one that the bridge does not carry out.
  function automatic bit burst_is_bad(logic [11:0] addr, logic [7:0] len, logic [2:0] size,
                                      logic [1:0] burst);
    return burst != BurstIncr || size > FullSize ||
           32'(addr) + burst_bytes(addr, len, size) > 32'(MaxDmaBytes);
  endfunction

  ///////////////////////
  // Life of a session //
  ///////////////////////

  chandle handle;

  task automatic must(input int status, input string what);
    if (status < 0) begin
      $fatal(1, "%m: %s: %s failed: %s", Name, what, acc_last_error(handle));
    end
  endtask

  task automatic set_bar(input int bar, input bit [63:0] size, input bit [63:0] axi_base);
    must(acc_set_bar(handle, bar, size, int'({BarPrefetch[bar], BarIs64[bar]}), axi_base),
         $sformatf("setting BAR %0d", bar));
  endtask

  initial begin : p_open
    automatic string endpoint = Endpoint;

    if (acc_abi_version() != AbiVersion) begin
      $fatal(1, "%m: the DPI library has ABI version %0d, this bridge needs %0d",
             acc_abi_version(), AbiVersion);
    end
    void'($value$plusargs("accelerator_endpoint=%s", endpoint));
    void'($value$plusargs({"accelerator_endpoint_", Name, "=%s"}, endpoint));
    handle = acc_open(endpoint, Name);
    if (handle == null) begin
      $fatal(1, "%m: %s: opening the endpoint '%s' failed: %s", Name, endpoint,
             acc_last_error(null));
    end
    must(acc_set_id(handle, int'(VendorId), int'(DeviceId), int'(SubVendorId),
                    int'(SubDeviceId), int'(ClassCode), int'(RevisionId)),
         "setting the ids");
    set_bar(0, Bar0Size, Bar0AxiBase);
    set_bar(1, Bar1Size, Bar1AxiBase);
    set_bar(2, Bar2Size, Bar2AxiBase);
    set_bar(3, Bar3Size, Bar3AxiBase);
    set_bar(4, Bar4Size, Bar4AxiBase);
    set_bar(5, Bar5Size, Bar5AxiBase);
    if (MsixVectors != 0) begin
      must(acc_set_msix(handle, int'(MsixVectors), int'(MsixTableBar), int'(MsixTableOffset),
                        int'(MsixPbaBar), int'(MsixPbaOffset)), "setting MSI-X");
    end
    for (int i = 0; i < int'(CapCount); i++) begin
      must(acc_add_capability(handle, int'(CapId[i]), int'(CapOffset[i]), int'(CapBytes[i]),
                              CapBody[i]), $sformatf("adding capability %0d", i));
    end
    must(acc_set_link(handle, int'(LinkSpeed), int'(LinkWidth)), "setting the link");
    must(acc_set_intx(handle, int'(IntxPin)), "setting the INTx pin");
    must(acc_set_clock(handle, int'(ClockPeriodPs)), "setting the clock period");
    must(acc_start(handle), "starting");
  end

  final begin : p_close
    if (handle != null) begin
      $display("%s: mmio_reads=%0d mmio_writes=%0d dma_read_bytes=%0d dma_write_bytes=%0d msix=%0d sessions=%0d",
               Name, acc_stat(handle, StatMmioReads), acc_stat(handle, StatMmioWrites),
               acc_stat(handle, StatDmaReadBytes), acc_stat(handle, StatDmaWriteBytes),
               acc_stat(handle, StatMsix), acc_stat(handle, StatSessions));
      void'(acc_close(handle));
    end
  end

  ////////////////////
  // Guest accesses //
  ////////////////////

  // The request register in front of the AXI master. A read is taken at the next edge, a write
  // waits here while MmioWrites earlier ones wait for their B.
  logic        wr_valid_q, rd_valid_q;
  logic [63:0] req_addr_q, req_data_q;
  logic [3:0]  req_len_q;
  logic        wr_ready, wr_accepted, wr_idle, wr_done, wr_done_error;
  logic        rd_ready, rd_done, rd_done_error;
  logic [63:0] rd_done_data;

  accelerator_mmio_master #(
    .AddrWidth(MmioAddrWidth),
    .DataWidth(MmioDataWidth),
    .IdWidth  (MmioIdWidth),
    .MaxWrites(MmioWrites),
    .MaxReads (MmioReads)
  ) u_mmio_master (
    .clk_i          (aclk),
    .rst_ni         (user_resetn),
    .wr_valid_i     (wr_valid_q),
    .wr_ready_o     (wr_ready),
    .wr_addr_i      (req_addr_q),
    .wr_len_i       (req_len_q),
    .wr_data_i      (req_data_q),
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
    .m_axi_awid,
    .m_axi_awaddr,
    .m_axi_awlen,
    .m_axi_awsize,
    .m_axi_awburst,
    .m_axi_awcache,
    .m_axi_awprot,
    .m_axi_awvalid,
    .m_axi_awready,
    .m_axi_wdata,
    .m_axi_wstrb,
    .m_axi_wlast,
    .m_axi_wvalid,
    .m_axi_wready,
    .m_axi_bresp,
    .m_axi_bvalid,
    .m_axi_bready,
    .m_axi_arid,
    .m_axi_araddr,
    .m_axi_arlen,
    .m_axi_arsize,
    .m_axi_arburst,
    .m_axi_arcache,
    .m_axi_arprot,
    .m_axi_arvalid,
    .m_axi_arready,
    .m_axi_rdata,
    .m_axi_rresp,
    .m_axi_rlast,
    .m_axi_rvalid,
    .m_axi_rready
  );

  // Tags of the guest accesses under way, oldest first: answers come in order. An access is
  // open while the guest waits for its answer: not any more after the link went down.
  int                        wr_tag_q [MmioWriteSlots];
  logic [MmioWriteSlots-1:0] wr_open_q;
  logic [MmioWritePtr-1:0]   wr_head_q, wr_tail_q;
  int                        rd_tag_q [MmioReadSlots];
  logic [MmioReadSlots-1:0]  rd_open_q;
  logic [MmioReadPtr-1:0]    rd_head_q, rd_tail_q;

  // Which events p_host can take at the coming edge. DMA completions always find their place.
  // A write may be taken although MmioWrites earlier ones wait for their B: were it not, a DMA
  // completion that those B wait for would never pass.
  logic can_write, can_read;
  assign can_write = user_resetn && wr_accepted && !wr_valid_q;
  assign can_read  = user_resetn && rd_ready && !rd_valid_q && wr_idle && !wr_valid_q;

  ////////////////
  // DMA writes //
  ////////////////

  // Bursts from their AW to their B, in the order of AW; answers are given in that order,
  // whatever their ID.
  logic [DmaIdWidth-1:0]      wq_id_q   [DmaWrites];
  logic [DmaAddrWidth-1:0]    wq_addr_q [DmaWrites];
  logic [7:0]                 wq_len_q  [DmaWrites];
  logic [2:0]                 wq_size_q [DmaWrites];
  int                         wq_tag_q  [DmaWrites];
  // Bad: not to be carried out. Sent: all data came, and tag is valid. Done: B can be given.
  logic [DmaWrites-1:0]       wq_bad_q, wq_sent_q, wq_done_q, wq_error_q;
  // Where the next AW, the next W burst and the next B belong.
  logic [WritePtrWidth-1:0]   aw_ptr_q, w_ptr_q, b_ptr_q;
  logic [WriteCountWidth-1:0] wq_count_q, wq_wait_q;
  // The burst on W: whether the library is ready for it, whether it is not (or no longer)
  // carried out, where its next beat begins, and beats left after that one.
  logic                       w_open_q, w_drop_q;
  logic [LaneWidth-1:0]       w_lane_q;
  logic [7:0]                 w_left_q;

  assign s_axi_awready = user_resetn && wq_count_q != WriteCountWidth'(DmaWrites);
  assign s_axi_wready  = user_resetn && w_open_q;

  ///////////////
  // DMA reads //
  ///////////////

  logic [DmaIdWidth-1:0]      rq_id_q   [DmaReads];
  logic [DmaAddrWidth-1:0]    rq_addr_q [DmaReads];
  logic [7:0]                 rq_len_q  [DmaReads];
  logic [2:0]                 rq_size_q [DmaReads];
  int                         rq_tag_q  [DmaReads];
  logic [DmaReads-1:0]        rq_sent_q, rq_done_q, rq_error_q;
  logic [ReadPtrWidth-1:0]    ar_ptr_q, r_ptr_q;
  logic [ReadCountWidth-1:0]  rq_count_q;
  // The library had no room for the newest request: it is asked again every clock.
  logic                       rq_retry_q;
  logic                       r_first_q;
  logic [LaneWidth-1:0]       r_lane_q;
  logic [7:0]                 r_left_q;

  assign s_axi_arready = user_resetn && rq_count_q != ReadCountWidth'(DmaReads) &&
                         !rq_retry_q;

  ////////////////
  // Interrupts //
  ////////////////

  // The library could not take the vector: it is asked again every clock.
  logic        msix_wait_q;
  logic [10:0] msix_vector_q;

  assign msix_ready = user_resetn && !msix_wait_q;

  //////////////////////
  // The library side //
  //////////////////////

  // A sleep is this long at most. Signals end the simulation after it.
  localparam int IdleSleepUs = 50_000;

  int unsigned idle_limit, idle_q;

  initial begin : p_idle
    idle_limit = IdleClocks;
    void'($value$plusargs("accelerator_idle=%d", idle_limit));
  end

`ifdef ACCELERATOR_NO_POLL
  // To measure what polling costs: everything but the call is there. A variable, since what
  // follows from a constant would be optimized away.
  int no_event;

  initial begin : p_no_event
    no_event = EventNone;
    void'($value$plusargs("accelerator_no_event=%d", no_event));
  end
`endif

  logic [15:0] reset_left_q;
  // The reset under way is one that QEMU waits for.
  bit          reset_told_q;
  logic        intx_sent_q;

  // Data of a completion that nobody waits for: aresetn came in between.
  task automatic drop_dma_read(input int tag, input int bytes);
    automatic bit [511:0] unused_beat;
    for (int left = bytes; left > 0; left -= 64) begin
      void'(acc_dma_read_beat(handle, tag, 0, (left > 64) ? 64 : left, unused_beat));
    end
  endtask

  task automatic complain(input int status, input string what);
    if (status != -ErrLink) begin
      $warning("%m: %s: %s failed (%0d): %s", Name, what, status, acc_last_error(handle));
    end
  endtask

  always_ff @(posedge aclk) begin : p_host
    automatic int          what, status, tag, len, bytes, kind;
    // The BAR is in the address.
    /* verilator lint_off UNUSEDSIGNAL */
    automatic int          bar;
    /* verilator lint_on UNUSEDSIGNAL */
    automatic longint      addr, data;
    automatic bit          link, resetting, void_all, drop, error, open;
    automatic int unsigned lane, slot, size;
    automatic logic [7:0]  left;
    automatic logic [10:0] vector;
    automatic logic        aw_take, w_end, b_give, ar_take, r_give;

    link       = user_link_up;
    resetting  = !user_resetn;
    void_all   = 1'b0;
    rd_valid_q <= 1'b0;
    if (wr_ready) wr_valid_q <= 1'b0;

    // Responses to writes: before the next event, which may be a read that waits for them.
    if (wr_done && user_resetn) begin
      if (wr_open_q[wr_head_q]) begin
        status = acc_mmio_write_done(handle, wr_tag_q[wr_head_q], 32'(wr_done_error));
        if (status < 0) complain(status, "acc_mmio_write_done");
      end
      wr_head_q <= MmioWritePtr'(next_slot(32'(wr_head_q), MmioWriteSlots));
    end

    // The next event.
`ifdef ACCELERATOR_NO_POLL
    what = (can_read || can_write) ? no_event : EventNone;
`else
    what = acc_poll(handle, ReadyDmaReadDone | ReadyDmaWriteDone |
                            (can_read ? ReadyRead : 0) | (can_write ? ReadyWrite : 0));
`endif
    case (what)
      EventNone: ;

      EventMmioRead, EventMmioWrite: begin
        status = acc_get_mmio(handle, tag, bar, addr, len, data);
        if (status < 0) begin
          complain(status, "acc_get_mmio");
        end else if (len < 1 || len > 8) begin
          $fatal(1, "%m: %s: a guest access of %0d bytes; 1 to 8 are possible", Name, len);
        end else begin
          req_addr_q <= addr;
          req_len_q  <= len[3:0];
          req_data_q <= data;
          if (what == EventMmioWrite) begin
            wr_valid_q           <= 1'b1;
            wr_tag_q[wr_tail_q]  <= tag;
            wr_open_q[wr_tail_q] <= 1'b1;
            wr_tail_q <= MmioWritePtr'(next_slot(32'(wr_tail_q), MmioWriteSlots));
          end else begin
            rd_valid_q           <= 1'b1;
            rd_tag_q[rd_tail_q]  <= tag;
            rd_open_q[rd_tail_q] <= 1'b1;
            rd_tail_q <= MmioReadPtr'(next_slot(32'(rd_tail_q), MmioReadSlots));
          end
        end
      end

      EventDmaReadDone: begin
        status = acc_get_dma_read(handle, tag, kind, bytes);
        if (status < 0) begin
          complain(status, "acc_get_dma_read");
        end else begin
          drop = 1'b1;
          for (int unsigned i = 0; i < DmaReads; i++) begin
            if (rq_sent_q[i] && !rq_done_q[i] && rq_tag_q[i] == tag && !resetting) begin
              rq_done_q[i]  <= 1'b1;
              rq_error_q[i] <= kind != 0;
              drop = 1'b0;
            end
          end
          if (drop && kind == 0) drop_dma_read(tag, bytes);
        end
      end

      EventDmaWriteDone: begin
        status = acc_get_dma_write(handle, tag, kind);
        if (status < 0) begin
          complain(status, "acc_get_dma_write");
        end else begin
          for (int unsigned i = 0; i < DmaWrites; i++) begin
            if (wq_sent_q[i] && !wq_done_q[i] && wq_tag_q[i] == tag) begin
              wq_done_q[i]  <= 1'b1;
              wq_error_q[i] <= kind != 0;
            end
          end
        end
      end

      EventReset: begin
        status = acc_get_reset(handle, kind);
        if (status < 0) complain(status, "acc_get_reset");
        reset_told_q <= 1'b1;
        resetting    = 1'b1;
        void_all     = 1'b1;
      end

      EventLinkUp, EventLinkDown: begin
        status = acc_get_link(handle, kind);
        if (status < 0) complain(status, "acc_get_link");
        link         = what == EventLinkUp;
        resetting    = resetting || link;
        reset_told_q <= 1'b0;
        void_all     = 1'b1;
      end

      default: begin
        $fatal(1, "%m: %s: acc_poll returned %0d: %s", Name, what, acc_last_error(handle));
      end
    endcase
    user_link_up <= link;
    if (void_all) begin
      // Nobody waits for what was under way.
      wr_open_q <= '0;
      rd_open_q <= '0;
    end

    if (resetting) begin
      wr_valid_q    <= 1'b0;
      rd_valid_q    <= 1'b0;
      wq_bad_q      <= '0;
      wq_sent_q     <= '0;
      wq_done_q     <= '0;
      wq_error_q    <= '0;
      aw_ptr_q      <= '0;
      w_ptr_q       <= '0;
      b_ptr_q       <= '0;
      wq_count_q    <= '0;
      wq_wait_q     <= '0;
      w_open_q      <= 1'b0;
      w_drop_q      <= 1'b0;
      s_axi_bvalid  <= 1'b0;
      rq_sent_q     <= '0;
      rq_done_q     <= '0;
      rq_error_q    <= '0;
      ar_ptr_q      <= '0;
      r_ptr_q       <= '0;
      rq_count_q    <= '0;
      rq_retry_q    <= 1'b0;
      r_first_q     <= 1'b1;
      s_axi_rvalid  <= 1'b0;
      msix_wait_q   <= 1'b0;
      intx_sent_q   <= 1'b0;
    end else begin
      // DMA write data. It goes first, so that whatever RTL does once it gave the data, such
      // as answering a read, is behind it.
      open  = w_open_q;
      slot  = 32'(w_ptr_q);
      w_end = 1'b0;
      if (s_axi_wvalid && s_axi_wready) begin
        lane  = 32'(w_lane_q);
        size  = 32'd1 << wq_size_q[slot];
        drop  = w_drop_q || !link;
        tag   = 0;
        w_end = w_left_q == 8'd0;
        if (!drop) begin
          status = acc_dma_write_beat(handle, int'(lane), int'(size - (lane & (size - 1))),
                                      512'(s_axi_wdata), 64'(s_axi_wstrb));
          if (status < 0) begin
            complain(status, "acc_dma_write_beat");
            drop = 1'b1;
          end
        end
        if (w_end && !drop) begin
          tag = acc_dma_write_end(handle);
          if (tag < 0) begin
            complain(tag, "acc_dma_write_end");
            drop = 1'b1;
          end
        end
        w_left_q <= w_left_q - 8'd1;
        w_lane_q <= LaneWidth'((lane & ~(size - 1)) + size);
        w_drop_q <= drop;
        if (w_end) begin
          wq_tag_q[slot]   <= tag;
          wq_sent_q[slot]  <= 1'b1;
          wq_done_q[slot]  <= drop;
          wq_error_q[slot] <= drop;
          slot    = next_slot(slot, DmaWrites);
          open    = 1'b0;
          w_ptr_q <= WritePtrWidth'(slot);
        end
        assert (s_axi_wlast == w_end)
        else $error("%m: %s: s_axi_wlast is %0d with %0d beats to come", Name, s_axi_wlast,
                    w_left_q);
      end
      // The library may be busy; then the data of the next burst waits.
      if (!open && wq_wait_q != WriteCountWidth'(w_end)) begin
        drop   = wq_bad_q[slot] || !link;
        status = drop ? 0 : acc_dma_write_begin(handle, 64'(wq_addr_q[slot]));
        if (status < 0 && status != -ErrAgain) begin
          complain(status, "acc_dma_write_begin");
          drop = 1'b1;
        end
        open     = status != -ErrAgain;
        w_drop_q <= drop;
        w_lane_q <= wq_addr_q[slot][LaneWidth-1:0];
        w_left_q <= wq_len_q[slot];
      end
      w_open_q <= open;

      // Interrupts.
      if ((msix_valid && msix_ready) || msix_wait_q) begin
        vector = msix_wait_q ? msix_vector_q : msix_vector;
        status = link ? acc_msix(handle, 32'(vector)) : 0;
        if (status < 0 && status != -ErrAgain) begin
          complain(status, $sformatf("raising MSI-X vector %0d", vector));
        end
        msix_wait_q   <= status == -ErrAgain;
        msix_vector_q <= vector;
      end
      if (IntxPin != 0 && intx != intx_sent_q && link) begin
        status = acc_intx(handle, 32'(intx));
        if (status < 0) complain(status, "setting the level of INTx");
        intx_sent_q <= intx;
      end

      // Answers to reads.
      if (rd_done) begin
        if (rd_open_q[rd_head_q] && !void_all) begin
          status = acc_mmio_read_done(handle, rd_tag_q[rd_head_q], 32'(rd_done_error),
                                      rd_done_data);
          if (status < 0) complain(status, "acc_mmio_read_done");
        end
        rd_head_q <= MmioReadPtr'(next_slot(32'(rd_head_q), MmioReadSlots));
      end

      // DMA write requests and responses.
      aw_take = s_axi_awvalid && s_axi_awready;
      if (aw_take) begin
        wq_id_q[aw_ptr_q]    <= s_axi_awid;
        wq_addr_q[aw_ptr_q]  <= s_axi_awaddr;
        wq_len_q[aw_ptr_q]   <= s_axi_awlen;
        wq_size_q[aw_ptr_q]  <= s_axi_awsize;
        wq_sent_q[aw_ptr_q]  <= 1'b0;
        wq_done_q[aw_ptr_q]  <= 1'b0;
        wq_error_q[aw_ptr_q] <= 1'b0;
        error = burst_is_bad(s_axi_awaddr[11:0], s_axi_awlen, s_axi_awsize, s_axi_awburst);
        wq_bad_q[aw_ptr_q]   <= error;
        aw_ptr_q             <= WritePtrWidth'(next_slot(32'(aw_ptr_q), DmaWrites));
        if (error) begin
          $warning("%m: %s: s_axi write of %0d beats at 0x%0h with size %0d and burst %0d is answered SLVERR: only INCR of at most the bus width inside 4 KiB is possible",
                   Name, 32'(s_axi_awlen) + 1, s_axi_awaddr, s_axi_awsize, s_axi_awburst);
        end
      end
      b_give = 1'b0;
      if (!s_axi_bvalid || s_axi_bready) begin
        b_give       = wq_count_q != '0 && wq_done_q[b_ptr_q];
        s_axi_bvalid <= b_give;
        if (b_give) begin
          s_axi_bid   <= wq_id_q[b_ptr_q];
          s_axi_bresp <= wq_error_q[b_ptr_q] ? RespSlverr : RespOkay;
          b_ptr_q     <= WritePtrWidth'(next_slot(32'(b_ptr_q), DmaWrites));
          wq_sent_q[b_ptr_q] <= 1'b0;
          wq_done_q[b_ptr_q] <= 1'b0;
        end
      end
      wq_count_q <= wq_count_q + WriteCountWidth'(aw_take) - WriteCountWidth'(b_give);
      wq_wait_q  <= wq_wait_q + WriteCountWidth'(aw_take) -
                    WriteCountWidth'(w_end);

      // DMA read requests.
      ar_take = s_axi_arvalid && s_axi_arready;
      if (ar_take || rq_retry_q) begin
        slot  = 32'(ar_ptr_q);
        if (!ar_take) slot = (slot == 0) ? DmaReads - 1 : slot - 1;
        addr  = ar_take ? 64'(s_axi_araddr) : 64'(rq_addr_q[slot]);
        error = !link;
        tag   = 0;
        if (ar_take) begin
          rq_id_q[slot]   <= s_axi_arid;
          rq_addr_q[slot] <= s_axi_araddr;
          rq_len_q[slot]  <= s_axi_arlen;
          rq_size_q[slot] <= s_axi_arsize;
          ar_ptr_q        <= ReadPtrWidth'(next_slot(32'(ar_ptr_q), DmaReads));
          if (burst_is_bad(s_axi_araddr[11:0], s_axi_arlen, s_axi_arsize, s_axi_arburst))
          begin
            error = 1'b1;
            $warning("%m: %s: s_axi read of %0d beats at 0x%0h with size %0d and burst %0d is answered SLVERR: only INCR of at most the bus width inside 4 KiB is possible",
                     Name, 32'(s_axi_arlen) + 1, s_axi_araddr, s_axi_arsize, s_axi_arburst);
          end
        end
        bytes = int'(burst_bytes(addr[11:0], ar_take ? s_axi_arlen : rq_len_q[slot],
                                 ar_take ? s_axi_arsize : rq_size_q[slot]));
        if (!error) begin
          tag = acc_dma_read(handle, addr, bytes);
          if (tag < 0 && tag != -ErrAgain) begin
            complain(tag, "acc_dma_read");
            error = 1'b1;
          end
        end
        rq_retry_q       <= !error && tag == -ErrAgain;
        rq_tag_q[slot]   <= tag;
        rq_sent_q[slot]  <= error || tag != -ErrAgain;
        rq_done_q[slot]  <= error;
        rq_error_q[slot] <= error;
      end

      // DMA read data.
      r_give = 1'b0;
      if (!s_axi_rvalid || s_axi_rready) begin
        s_axi_rvalid <= 1'b0;
        if (rq_count_q != '0 && rq_done_q[r_ptr_q]) begin : give_beat
          // A narrower bus has no use for the upper lanes.
          /* verilator lint_off UNUSEDSIGNAL */
          automatic bit [511:0] beat;
          /* verilator lint_on UNUSEDSIGNAL */
          lane  = r_first_q ? 32'(rq_addr_q[r_ptr_q][LaneWidth-1:0]) : 32'(r_lane_q);
          left  = r_first_q ? rq_len_q[r_ptr_q] : r_left_q;
          size  = 32'd1 << rq_size_q[r_ptr_q];
          error = rq_error_q[r_ptr_q] || !link;
          if (!error) begin
            status = acc_dma_read_beat(handle, rq_tag_q[r_ptr_q], int'(lane),
                                       int'(size - (lane & (size - 1))), beat);
            if (status < 0) begin
              complain(status, "acc_dma_read_beat");
              error = 1'b1;
            end else begin
              s_axi_rdata <= beat[DmaDataWidth-1:0];
            end
          end
          s_axi_rvalid <= 1'b1;
          s_axi_rid    <= rq_id_q[r_ptr_q];
          s_axi_rresp  <= error ? RespSlverr : RespOkay;
          s_axi_rlast  <= left == 8'd0;
          if (error) s_axi_rdata <= '0;
          r_first_q <= left == 8'd0;
          r_left_q  <= left - 8'd1;
          r_lane_q  <= LaneWidth'((lane & ~(size - 1)) + size);
          if (left == 8'd0) begin
            r_give = 1'b1;
            r_ptr_q <= ReadPtrWidth'(next_slot(32'(r_ptr_q), DmaReads));
            rq_sent_q[r_ptr_q] <= 1'b0;
            rq_done_q[r_ptr_q] <= 1'b0;
          end
        end
      end
      rq_count_q <= rq_count_q + ReadCountWidth'(ar_take) - ReadCountWidth'(r_give);

      // A link that goes down answers everything that waits. What became complete at this
      // edge was dropped above.
      if (what == EventLinkDown) begin
        for (int unsigned i = 0; i < DmaWrites; i++) begin
          if (wq_sent_q[i] && !wq_done_q[i]) begin
            wq_done_q[i]  <= 1'b1;
            wq_error_q[i] <= 1'b1;
          end
        end
        for (int unsigned i = 0; i < DmaReads; i++) begin
          if (rq_sent_q[i]) begin
            rq_done_q[i]  <= 1'b1;
            rq_error_q[i] <= 1'b1;
          end
        end
      end
    end

    // Reset of the RTL.
    if (!aresetn) begin
      user_resetn  <= 1'b0;
      reset_left_q <= 16'(ResetClocks);
    end else if (what == EventReset || what == EventLinkUp) begin
      user_resetn  <= 1'b0;
      reset_left_q <= 16'(ResetClocks);
    end else if (reset_left_q != '0) begin
      reset_left_q <= reset_left_q - 16'd1;
      if (reset_left_q == 16'd1) begin
        user_resetn <= 1'b1;
        if (reset_told_q) begin
          status = acc_reset_done(handle);
          if (status < 0) complain(status, "acc_reset_done");
          reset_told_q <= 1'b0;
        end
      end
    end
    if (resetting) begin
      // What RTL left behind. After a reset from QEMU or a new link all of it is void, but a
      // testbench that pulls aresetn leaves a library that waits for the rest of a write and
      // keeps data that nobody fetches, and a guest that waits for its answers.
      if (!void_all && link) begin
        if (w_open_q && !w_drop_q) void'(acc_dma_write_end(handle));
        for (int unsigned i = 0; i < DmaReads; i++) begin
          if (rq_sent_q[i] && rq_done_q[i] && !rq_error_q[i]) begin
            if (i == 32'(r_ptr_q) && !r_first_q) begin
              bytes = int'(burst_bytes(12'(r_lane_q), r_left_q, rq_size_q[i]));
            end else begin
              bytes = int'(burst_bytes(rq_addr_q[i][11:0], rq_len_q[i], rq_size_q[i]));
            end
            drop_dma_read(rq_tag_q[i], bytes);
          end
        end
        slot = 32'(wr_head_q);
        if (wr_done && user_resetn) slot = next_slot(slot, MmioWriteSlots);
        while (slot != 32'(wr_tail_q)) begin
          if (wr_open_q[slot]) void'(acc_mmio_write_done(handle, wr_tag_q[slot], 1));
          slot = next_slot(slot, MmioWriteSlots);
        end
        slot = 32'(rd_head_q);
        while (slot != 32'(rd_tail_q)) begin
          if (rd_open_q[slot]) void'(acc_mmio_read_done(handle, rd_tag_q[slot], 1, 64'd0));
          slot = next_slot(slot, MmioReadSlots);
        end
      end
      wr_head_q <= '0;
      wr_tail_q <= '0;
      wr_open_q <= '0;
      rd_head_q <= '0;
      rd_tail_q <= '0;
      rd_open_q <= '0;
    end

    // Sleep.
    if (idle_limit != 0) begin
      if (what != EventNone || resetting || wr_head_q != wr_tail_q || rd_head_q != rd_tail_q ||
          wq_count_q != '0 || rq_count_q != '0 || s_axi_awvalid || s_axi_wvalid ||
          s_axi_arvalid || msix_valid || msix_wait_q) begin
        idle_q <= 0;
      end else if (idle_q < idle_limit) begin
        idle_q <= idle_q + 1;
      end else begin
        idle_q <= 0;
        void'(acc_wait(handle, IdleSleepUs));
      end
    end
  end

  ////////////////
  // Assertions //
  ////////////////

  accelerator_stable_check #(
    .Width(DmaIdWidth + DmaAddrWidth + 13), .Name("s_axi_aw")
  ) u_check_aw (
    .clk_i(aclk), .rst_ni(user_resetn), .valid_i(s_axi_awvalid), .ready_i(s_axi_awready),
    .payload_i({s_axi_awid, s_axi_awaddr, s_axi_awlen, s_axi_awsize, s_axi_awburst})
  );
  accelerator_stable_check #(
    .Width(DmaDataWidth), .Name("s_axi_w")
  ) u_check_w (
    .clk_i(aclk), .rst_ni(user_resetn), .valid_i(s_axi_wvalid), .ready_i(s_axi_wready),
    .payload_i(s_axi_wdata)
  );
  accelerator_stable_check #(
    .Width(DmaStrbWidth + 1), .Name("s_axi_wstrb and s_axi_wlast")
  ) u_check_wstrb (
    .clk_i(aclk), .rst_ni(user_resetn), .valid_i(s_axi_wvalid), .ready_i(s_axi_wready),
    .payload_i({s_axi_wstrb, s_axi_wlast})
  );
  accelerator_stable_check #(
    .Width(DmaIdWidth + DmaAddrWidth + 13), .Name("s_axi_ar")
  ) u_check_ar (
    .clk_i(aclk), .rst_ni(user_resetn), .valid_i(s_axi_arvalid), .ready_i(s_axi_arready),
    .payload_i({s_axi_arid, s_axi_araddr, s_axi_arlen, s_axi_arsize, s_axi_arburst})
  );
  accelerator_stable_check #(
    .Width(11), .Name("msix")
  ) u_check_msix (
    .clk_i(aclk), .rst_ni(user_resetn), .valid_i(msix_valid), .ready_i(msix_ready),
    .payload_i(msix_vector)
  );

  always_ff @(posedge aclk) begin : p_assert
    if (user_resetn) begin
      assert (!m_axi_bvalid || m_axi_bid == '0)
      else $error("%m: %s: m_axi_bid is %0d, every request has ID 0", Name, m_axi_bid);
      assert (!m_axi_rvalid || m_axi_rid == '0)
      else $error("%m: %s: m_axi_rid is %0d, every request has ID 0", Name, m_axi_rid);
    end
  end

endmodule
