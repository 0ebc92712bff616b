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
// what RTL sees accepted first is sent first. The parts (accelerator_guest_accesses,
// accelerator_dma_writes, accelerator_dma_reads, accelerator_interrupts, accelerator_function) have
// no process for that: p_host calls their tasks.

`ifdef VERILATOR
// A design that has no use for the cfg_ ports need not name them.
`verilator_config
lint_off -rule PINMISSING -file "*" -match "*missing pin: 'cfg_*"
// user_resetn goes into other clock domains, where it is asynchronous.
lint_off -rule SYNCASYNCNET -file "*/accelerator_pcie_bridge.sv"
`verilog
`endif

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

  // MSI-X: 0 vectors is none. Table and pending bits are QEMU's, and accesses to them do not
  // reach m_axi; but see MsixInRtl.
  parameter int unsigned MsixVectors     = 1,
  parameter int unsigned MsixTableBar    = 1,
  parameter int unsigned MsixTableOffset = 0,
  parameter int unsigned MsixPbaBar      = 1,
  parameter int unsigned MsixPbaOffset   = 32'h800,
  // 1: table and pending bits are in the RTL, at these places. Accesses to them are accesses to a
  // BAR like others, and an interrupt is a write of 4 bytes on s_axi, of the data and to the
  // address that the guest has put there. RTL obeys cfg_msix_enable and cfg_msix_mask.
  parameter int unsigned MsixInRtl       = 0,
  // MSI: 0 vectors is none, 1, 2, 4, 8, 16 and 32 are possible. A function may have MSI-X and MSI;
  // the msix_ ports serve whichever the guest enables.
  parameter int unsigned MsiVectors      = 0,
  // 1: each vector of MSI has a mask and a pending bit, which are QEMU's.
  parameter int unsigned MsiMasking      = 0,
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
  // Whether sessions go through shared memory, which a QEMU on this machine can: 0 never, 1 if it
  // can, 2 refuses one that cannot. The plusarg +accelerator_shared_memory=off|auto|on wins.
  parameter int unsigned SharedMemory    = 1,

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
  parameter int unsigned DmaReads        = 16,
  // A burst on s_axi that stands still for so many clocks is told of, and what it waits for. 0:
  // none is.
  parameter int unsigned StallClocks     = 1_000_000,
  // 1: what RTL does that works here and not behind the AXI bridge of AMD's PCIe blocks (PG194) is
  // told of, each kind once: docs/vivado.md has what. The plusarg +accelerator_board_rules=N wins.
  parameter int unsigned BoardRules      = 0
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

  // Request of a vector, of MSI-X or MSI: one interrupt for each clock with valid and ready.
  input  logic                       msix_valid,
  output logic                       msix_ready,
  input  logic [10:0]                msix_vector,
  // Level of the legacy interrupt; 0 where IntxPin is 0.
  input  logic                       intx,

  // What the guest has set in config space; to be left open by RTL that has no use for it, since
  // QEMU enforces all of it. It changes behind the guest's writes before the change and before
  // its accesses after it.
  output logic                       cfg_memory_space_enable,
  output logic                       cfg_bus_master_enable,
  output logic                       cfg_intx_disable,
  output logic                       cfg_msix_enable,
  output logic                       cfg_msix_mask,
  output logic                       cfg_msi_enable,
  // How many vectors of MSI the guest has granted: 1, 2, 4, 8, 16 or 32, and perhaps fewer than
  // MsiVectors. RTL should raise no others: a vector is taken modulo this.
  output logic [5:0]                 cfg_msi_vectors,
  // Bit n: vector n of MSI is masked.
  output logic [31:0]                cfg_msi_mask,
  output logic                       cfg_extended_tag_enable,
  output logic                       cfg_relaxed_ordering_enable,
  output logic                       cfg_no_snoop_enable,
  // 0: D0, 3: D3hot.
  output logic [1:0]                 cfg_power_state,
  // As in Device Control: 0 is 128 bytes, each one more twice as much.
  output logic [2:0]                 cfg_max_payload,
  output logic [2:0]                 cfg_max_read_req,
  // Bus number in bits 15 to 8, device and function number below.
  output logic [15:0]                cfg_requester_id,
  // What card and port agreed on: generation, lanes.
  output logic [2:0]                 cfg_current_speed,
  output logic [5:0]                 cfg_negotiated_width
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
  // Without the carry of its end, which for the last byte of all is none.
  function automatic bit [63:0] last_byte(bit [63:0] base, bit [63:0] size);
    return base + size - 64'd1;
  endfunction

  localparam bit [5:0][63:0] BarSize    = {Bar5Size, Bar4Size, Bar3Size, Bar2Size, Bar1Size,
                                           Bar0Size};
  localparam bit [5:0][63:0] BarAxiBase = {Bar5AxiBase, Bar4AxiBase, Bar3AxiBase, Bar2AxiBase,
                                           Bar1AxiBase, Bar0AxiBase};
  for (genvar i = 0; i < 6; i++) begin : gen_bar
    if (BarSize[i] != 64'd0 && MmioAddrWidth < 64 &&
        (last_byte(BarAxiBase[i], BarSize[i]) >> MmioAddrWidth) != 64'd0)
    begin : gen_bad_bar_address
      $error("BAR %0d of 0x%0h bytes ends at 0x%0h on m_axi, MmioAddrWidth is %0d and ends at 0x%0h",
             i, BarSize[i], last_byte(BarAxiBase[i], BarSize[i]), MmioAddrWidth,
             (64'd1 << MmioAddrWidth) - 64'd1);
    end
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
  if (DmaWrites < 2 || DmaReads < 2 || DmaWrites + DmaReads > 32'(LeastDmaOutstanding))
  begin : gen_bad_dma_depth
    $error("DmaWrites is %0d, DmaReads is %0d; at least 2 each and %0d together are possible",
           DmaWrites, DmaReads, LeastDmaOutstanding);
  end
  if (BoardRules > 1) begin : gen_bad_board_rules
    $error("BoardRules is %0d; 0 and 1 are possible", BoardRules);
  end
  if (ResetClocks < 1 || ResetClocks > 65535) begin : gen_bad_reset_clocks
    $error("ResetClocks is %0d; 1 to 65535 are possible", ResetClocks);
  end
  if (MsixVectors > 2048) begin : gen_bad_msix_vectors
    $error("MsixVectors is %0d; 0 to 2048 are possible", MsixVectors);
  end
  if (MsixInRtl > 1) begin : gen_bad_msix_in_rtl
    $error("MsixInRtl is %0d; 0 and 1 are possible", MsixInRtl);
  end
  if (MsixInRtl == 1 && MsixVectors == 0) begin : gen_table_without_msix
    $error("MsixInRtl is 1 and MsixVectors 0: there is no table");
  end
  // Multiples of 8 within their BARs, without an overlap. The places of QEMU's are checked at the
  // start, by the library.
  if (MsixInRtl == 1 && !msix_places_fit(MsixVectors, BarSize, MsixTableBar, MsixTableOffset,
                                         MsixPbaBar, MsixPbaOffset)) begin : gen_bad_msix_places
    $error("MsixInRtl: %0d vectors at 0x%0h of BAR %0d, PBA at 0x%0h of BAR %0d do not fit",
           MsixVectors, MsixTableOffset, MsixTableBar, MsixPbaOffset, MsixPbaBar);
  end
  if (MsiVectors > 32 || (MsiVectors & (MsiVectors - 1)) != 0) begin : gen_bad_msi_vectors
    $error("MsiVectors is %0d; 0, 1, 2, 4, 8, 16 and 32 are possible", MsiVectors);
  end
  if (MsiMasking > 1) begin : gen_bad_msi_masking
    $error("MsiMasking is %0d; 0 and 1 are possible", MsiMasking);
  end
  if (MsiMasking == 1 && MsiVectors == 0) begin : gen_masking_without_msi
    $error("MsiMasking is 1 and MsiVectors 0: there is nothing to mask");
  end

  if (CapCount > 8) begin : gen_bad_cap_count
    $error("CapCount is %0d; 0 to 8 are possible", CapCount);
  end
  for (genvar i = 0; i < 8; i++) begin : gen_cap
    if (i < CapCount && (CapBytes[i] < 1 || CapBytes[i] > 64)) begin : gen_bad_cap_bytes
      $error("CapBytes[%0d] is %0d; 1 to 64 are possible", i, CapBytes[i]);
    end
  end

  ///////////////////////
  // Life of a session //
  ///////////////////////

  // What aresetn leaves alone is known before the first clock, whatever a simulator begins with.
  // All else is cleared while user_resetn is low, where it begins.
  /* verilator lint_off PROCASSINIT */
  chandle      handle       = null;
  logic        link_q       = 1'b0;
  logic        resetn_q     = 1'b0;
  logic [15:0] reset_left_q = 16'(ResetClocks);
  // The reset under way is one that QEMU waits for.
  bit          reset_told_q = 1'b0;
  // Clocks without anything to do, towards a sleep.
  int unsigned idle_q       = 0;
  /* verilator lint_on PROCASSINIT */

  assign user_resetn  = resetn_q;
  assign user_link_up = link_q;

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
      must(acc_set_msix_in_rtl(handle, int'(MsixInRtl)), "setting where the MSI-X table is");
    end
    if (MsiVectors != 0) begin
      must(acc_set_msi(handle, int'(MsiVectors), int'(MsiMasking)), "setting MSI");
    end
    for (int i = 0; i < int'(CapCount); i++) begin
      must(acc_add_capability(handle, int'(CapId[i]), int'(CapOffset[i]), int'(CapBytes[i]),
                              CapBody[i]), $sformatf("adding capability %0d", i));
    end
    must(acc_set_link(handle, int'(LinkSpeed), int'(LinkWidth)), "setting the link");
    must(acc_set_intx(handle, int'(IntxPin)), "setting the INTx pin");
    must(acc_set_clock(handle, int'(ClockPeriodPs)), "setting the clock period");
    obey_plusargs(handle, Name, SharedMemory);
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

  ///////////
  // Parts //
  ///////////

  // Each owns its ports and what is under way on them. p_host calls their tasks.
  logic board_rules;

  initial begin : p_board_rules
    automatic int unsigned rules = BoardRules;
    void'($value$plusargs("accelerator_board_rules=%d", rules));
    board_rules = rules != 0;
  end

  logic can_write, can_read, accesses_idle, writes_idle, reads_idle, interrupts_idle;

  accelerator_guest_accesses #(
    .Name(Name), .AddrWidth(MmioAddrWidth), .DataWidth(MmioDataWidth), .IdWidth(MmioIdWidth),
    .MaxWrites(MmioWrites), .MaxReads(MmioReads)
  ) u_accesses (
    .clk_i(aclk), .rst_ni(user_resetn),
    .can_write_o(can_write), .can_read_o(can_read), .idle_o(accesses_idle),
    .m_axi_awid, .m_axi_awaddr, .m_axi_awlen, .m_axi_awsize, .m_axi_awburst, .m_axi_awcache,
    .m_axi_awprot, .m_axi_awvalid, .m_axi_awready,
    .m_axi_wdata, .m_axi_wstrb, .m_axi_wlast, .m_axi_wvalid, .m_axi_wready,
    .m_axi_bid, .m_axi_bresp, .m_axi_bvalid, .m_axi_bready,
    .m_axi_arid, .m_axi_araddr, .m_axi_arlen, .m_axi_arsize, .m_axi_arburst, .m_axi_arcache,
    .m_axi_arprot, .m_axi_arvalid, .m_axi_arready,
    .m_axi_rid, .m_axi_rdata, .m_axi_rresp, .m_axi_rlast, .m_axi_rvalid, .m_axi_rready
  );

  accelerator_dma_writes #(
    .Name(Name), .AddrWidth(DmaAddrWidth), .DataWidth(DmaDataWidth), .IdWidth(DmaIdWidth),
    .Depth(DmaWrites), .StallClocks(StallClocks)
  ) u_dma_writes (
    .clk_i(aclk), .rst_ni(user_resetn), .board_rules_i(board_rules), .idle_o(writes_idle),
    .s_axi_awid, .s_axi_awaddr, .s_axi_awlen, .s_axi_awsize, .s_axi_awburst, .s_axi_awvalid,
    .s_axi_awready,
    .s_axi_wdata, .s_axi_wstrb, .s_axi_wlast, .s_axi_wvalid, .s_axi_wready,
    .s_axi_bid, .s_axi_bresp, .s_axi_bvalid, .s_axi_bready
  );

  accelerator_dma_reads #(
    .Name(Name), .AddrWidth(DmaAddrWidth), .DataWidth(DmaDataWidth), .IdWidth(DmaIdWidth),
    .Depth(DmaReads), .StallClocks(StallClocks)
  ) u_dma_reads (
    .clk_i(aclk), .rst_ni(user_resetn), .board_rules_i(board_rules), .idle_o(reads_idle),
    .s_axi_arid, .s_axi_araddr, .s_axi_arlen, .s_axi_arsize, .s_axi_arburst, .s_axi_arvalid,
    .s_axi_arready,
    .s_axi_rid, .s_axi_rdata, .s_axi_rresp, .s_axi_rlast, .s_axi_rvalid, .s_axi_rready
  );

  accelerator_interrupts #(
    .Name(Name), .IntxPin(IntxPin)
  ) u_interrupts (
    .clk_i(aclk), .rst_ni(user_resetn), .board_rules_i(board_rules), .idle_o(interrupts_idle),
    .msix_valid, .msix_ready, .msix_vector, .intx
  );

  accelerator_function #(
    .Name(Name)
  ) u_function (
    .cfg_memory_space_enable, .cfg_bus_master_enable, .cfg_intx_disable, .cfg_msix_enable,
    .cfg_msix_mask, .cfg_msi_enable, .cfg_msi_vectors, .cfg_msi_mask,
    .cfg_extended_tag_enable, .cfg_relaxed_ordering_enable, .cfg_no_snoop_enable,
    .cfg_power_state, .cfg_max_payload, .cfg_max_read_req, .cfg_requester_id, .cfg_current_speed,
    .cfg_negotiated_width,
    // m_axi has addresses of its own.
    /* verilator lint_off PINCONNECTEMPTY */
    .bar_known_o(), .bar_address_o()
    /* verilator lint_on PINCONNECTEMPTY */
  );

  //////////////////////
  // The library side //
  //////////////////////

  // A sleep is this long at most. Signals end the simulation after it.
  localparam int IdleSleepUs = 50_000;

  int unsigned idle_limit;

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

  // Complaints so far.
  lines_t complaints;

  final begin : p_left_out
    tell_left_out(Name, "failed calls", complaints.left_out);
  end

  task automatic complain_of(input int status, input string what);
    complaints = complain(handle, Name, status, what, complaints);
  endtask

  // Begins a reset of the RTL, goes on with it, or ends it.
  task automatic reset_rtl(input bit begins);
    automatic int status;
    if (begins) begin
      resetn_q     <= 1'b0;
      reset_left_q <= 16'(ResetClocks);
    end else if (reset_left_q != '0) begin
      reset_left_q <= reset_left_q - 16'd1;
      if (reset_left_q == 16'd1) begin
        resetn_q <= 1'b1;
        if (reset_told_q) begin
          status = acc_reset_done(handle);
          if (status < 0) begin
            complain_of(status, "acc_reset_done");
          end
          reset_told_q <= 1'b0;
        end
      end
    end
  endtask

  // Sleeps once nothing went on for long enough.
  task automatic sleep(input bit busy);
    if (busy) begin
      idle_q <= 0;
    end else if (idle_q < idle_limit) begin
      idle_q <= idle_q + 1;
    end else begin
      idle_q <= 0;
      void'(acc_wait(handle, IdleSleepUs));
    end
  endtask

  always_ff @(posedge aclk) begin : p_host
    automatic int what, status;
    // The event says it.
    /* verilator lint_off UNUSEDSIGNAL */
    automatic int kind;
    /* verilator lint_on UNUSEDSIGNAL */
    automatic bit link, resetting, void_all;
    automatic write_t write;

    write     = '0;
    link      = link_q;
    resetting = !resetn_q;
    void_all  = 1'b0;
    u_accesses.answer_writes(handle);

    // The next event. DMA completions always find their place.
`ifdef ACCELERATOR_NO_POLL
    what = (can_read || can_write) ? no_event : EventNone;
`else
    what = acc_poll(handle, ReadyDmaReadDone | ReadyDmaWriteDone | ReadyFunction |
                            (can_read ? ReadyRead : 0) | (can_write ? ReadyWrite : 0));
`endif
    case (what)
      EventNone: ;

      EventMmioRead, EventMmioWrite: u_accesses.fetch(handle, what == EventMmioWrite, write);

      EventDmaReadDone: u_dma_reads.fetch(handle);

      EventDmaWriteDone: u_dma_writes.fetch(handle);

      EventReset: begin
        status = acc_get_reset(handle, kind);
        if (status < 0) begin
          complain_of(status, "acc_get_reset");
        end
        reset_told_q <= 1'b1;
        resetting    = 1'b1;
        void_all     = 1'b1;
      end

      EventLinkUp, EventLinkDown: begin
        status = acc_get_link(handle, kind);
        if (status < 0) begin
          complain_of(status, "acc_get_link");
        end
        link         = what == EventLinkUp;
        resetting    = resetting || link;
        reset_told_q <= 1'b0;
        void_all     = 1'b1;
      end

      EventFunction: ;

      default: begin
        $fatal(1, "%m: %s: acc_poll returned %0d: %s", Name, what, acc_last_error(handle));
      end
    endcase
    link_q <= link;
    // A reset and a change of the link have their own. aresetn is none of the guest's, but comes
    // before all else.
    if (what == EventFunction || void_all || !aresetn) u_function.fetch(handle);
    if (void_all) u_accesses.forget();
    u_accesses.drive_writes(write);

    if (!resetting) begin
      // DMA write data goes first, so that whatever RTL does once it gave the data, such as
      // answering a read, is behind it.
      u_dma_writes.serve(handle, link);
      u_interrupts.serve(handle, link);
      u_accesses.answer_reads(handle, void_all);
      u_dma_reads.serve(handle, link);
      if (what == EventLinkDown) begin
        u_dma_writes.link_down();
        u_dma_reads.link_down();
      end
    end

    reset_rtl(!aresetn || what == EventReset || what == EventLinkUp);
    if (resetting) begin
      // What RTL left behind. After a reset from QEMU or a new link all of it is void, but a
      // testbench that pulls aresetn leaves a library that waits for the rest of a write and
      // keeps data that nobody fetches, and a guest that waits for its answers.
      if (!void_all && link) begin
        u_dma_writes.give_back(handle);
        u_dma_reads.give_back(handle);
        u_accesses.give_back(handle);
      end
      u_dma_writes.clear();
      u_dma_reads.clear();
      u_interrupts.clear();
      u_accesses.clear();
    end

    if (idle_limit != 0) begin
      sleep(what != EventNone || resetting || !accesses_idle || !writes_idle || !reads_idle ||
            !interrupts_idle || s_axi_awvalid || s_axi_wvalid || s_axi_arvalid || msix_valid);
    end
  end

endmodule
