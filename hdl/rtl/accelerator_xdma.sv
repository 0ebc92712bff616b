// SPDX-License-Identifier: Apache-2.0
//
// The ports and the registers of AMD's DMA/Bridge Subsystem for PCI Express in DMA mode (XDMA,
// PG195), for a design that has that IP: guest accesses to its BARs come out of m_axil and m_axib,
// descriptor lists in the guest's memory move data between that and m_axi, or AXI4-Streams, and
// usr_irq_req raises interrupts. It stands on accelerator_pcie_bridge.
//
// docs/front-ends.md has what is as in the IP, what is not, and what PG195 leaves open. Ports of
// an interface that the parameters leave out, and of channels that there are not, have no use.

`include "accelerator_axi.svh"

`ifdef VERILATOR
// A design names the ports that it has a use for.
`verilator_config
lint_off -rule PINMISSING -file "*" -match "*missing pin: 'm_axi*"
lint_off -rule PINMISSING -file "*" -match "*missing pin: 's_axis_c2h_*"
lint_off -rule PINMISSING -file "*" -match "*missing pin: 'pci_exp_*"
`verilog
`endif

module accelerator_xdma
  import accelerator_xdma_pkg::*;
#(
  // Of accelerator_pcie_bridge.
  parameter string       Endpoint       = "",
  parameter string       Name           = "accelerator0",

  // Generation and lanes. The IP's device ID says both, F for 16 lanes.
  parameter int unsigned LinkSpeed      = 3,
  parameter int unsigned LinkWidth      = 8,
  parameter bit [15:0]   VendorId       = 16'h10EE,
  parameter bit [15:0]   DeviceId       = 16'h9000 | 16'(LinkSpeed << 4) |
                                          ((LinkWidth == 16) ? 16'h000F : 16'(LinkWidth)),
  parameter bit [15:0]   SubVendorId    = 16'h10EE,
  parameter bit [15:0]   SubDeviceId    = 16'h0007,
  parameter bit [23:0]   ClassCode      = 24'h05_80_00,
  parameter bit [7:0]    RevisionId     = 8'h00,

  // Width of m_axi, m_axib and the streams: 64, 128, 256 or 512.
  parameter int unsigned DataWidth      = 64,
  // 1 to 4 each.
  parameter int unsigned H2cChannels    = 1,
  parameter int unsigned C2hChannels    = 1,
  // 0: all channels are on m_axi; 1: each has an AXI4-Stream of its own.
  parameter bit          Stream         = 1'b0,
  // 1 to 16.
  parameter int unsigned NumUsrIrq      = 1,
  // 0: the function has no MSI-X.
  parameter int unsigned MsixVectors    = 32,
  // 0: no MSI; else 1, 2, 4, 8, 16 or 32. Of a guest that grants fewer, vectors are taken modulo
  // what it grants.
  parameter int unsigned MsiVectors     = 0,
  // Legacy interrupt: 0 none, 1 to 4 for INTA to INTD.
  parameter int unsigned IntxPin        = 0,

  // BARs, in this order, each a 64-bit one if its bit says so, which takes the next one's place:
  // m_axil and m_axib with a size of 0 have none. The one of the DMA registers has 64 KiB, with the
  // MSI-X table at 0x8000.
  parameter bit [63:0]   AxilBarSize    = 64'h0,
  parameter bit [63:0]   BypassBarSize  = 64'h0,
  parameter bit          AxilBarIs64    = 1'b0,
  parameter bit          DmaBarIs64     = 1'b0,
  parameter bit          BypassBarIs64  = 1'b0,
  parameter bit          AxilPrefetch   = 1'b0,
  parameter bit          DmaPrefetch    = 1'b0,
  parameter bit          BypassPrefetch = 1'b0,
  // PCIe to AXI translation: address of the BAR's first byte, a multiple of its size.
  parameter bit [31:0]   AxilAxiBase    = 32'h0,
  parameter bit [63:0]   BypassAxiBase  = 64'h0,

  // No burst of the DMA crosses a multiple of this: a power of two, at least a word of the bus and
  // at most 2048.
  parameter int unsigned BurstBytes     = 512,
  // Period of axi_aclk.
  parameter int unsigned ClockPeriodPs  = 4000,
  parameter int unsigned ResetClocks    = 16,
  parameter int unsigned IdleClocks     = 0,
  parameter int unsigned SharedMemory   = 1
) (
  // Here sys_clk is the clock of the user's side, and not the reference clock of the link.
  input  logic                   sys_clk,
  input  logic                   sys_rst_n,
  output logic                   user_lnk_up,
  // No lanes: nothing is on them.
  output logic [LinkWidth-1:0]   pci_exp_txp,
  output logic [LinkWidth-1:0]   pci_exp_txn,
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic [LinkWidth-1:0]   pci_exp_rxp,
  input  logic [LinkWidth-1:0]   pci_exp_rxn,
  /* verilator lint_on UNUSEDSIGNAL */

  output logic                   axi_aclk,
  output logic                   axi_aresetn,

  input  logic [NumUsrIrq-1:0]   usr_irq_req,
  output logic [NumUsrIrq-1:0]   usr_irq_ack,
  // There is no MSI: 0.
  output logic                   msi_enable,
  output logic                   msix_enable,

  // Not every configuration has a use for each of what follows.
  /* verilator lint_off UNUSEDSIGNAL */
  // DMA: memory of the card.
  output logic [3:0]             m_axi_awid,
  output logic [63:0]            m_axi_awaddr,
  output logic [7:0]             m_axi_awlen,
  output logic [2:0]             m_axi_awsize,
  output logic [1:0]             m_axi_awburst,
  output logic [2:0]             m_axi_awprot,
  output logic                   m_axi_awlock,
  output logic [3:0]             m_axi_awcache,
  output logic                   m_axi_awvalid,
  input  logic                   m_axi_awready,
  output logic [DataWidth-1:0]   m_axi_wdata,
  output logic [DataWidth/8-1:0] m_axi_wstrb,
  output logic                   m_axi_wlast,
  output logic                   m_axi_wvalid,
  input  logic                   m_axi_wready,
  input  logic [3:0]             m_axi_bid,
  input  logic [1:0]             m_axi_bresp,
  input  logic                   m_axi_bvalid,
  output logic                   m_axi_bready,
  output logic [3:0]             m_axi_arid,
  output logic [63:0]            m_axi_araddr,
  output logic [7:0]             m_axi_arlen,
  output logic [2:0]             m_axi_arsize,
  output logic [1:0]             m_axi_arburst,
  output logic [2:0]             m_axi_arprot,
  output logic                   m_axi_arlock,
  output logic [3:0]             m_axi_arcache,
  output logic                   m_axi_arvalid,
  input  logic                   m_axi_arready,
  input  logic [3:0]             m_axi_rid,
  input  logic [DataWidth-1:0]   m_axi_rdata,
  input  logic [1:0]             m_axi_rresp,
  input  logic                   m_axi_rlast,
  input  logic                   m_axi_rvalid,
  output logic                   m_axi_rready,
  // The bypass BAR.
  output logic [3:0]             m_axib_awid,
  output logic [63:0]            m_axib_awaddr,
  output logic [7:0]             m_axib_awlen,
  output logic [2:0]             m_axib_awsize,
  output logic [1:0]             m_axib_awburst,
  output logic [2:0]             m_axib_awprot,
  output logic                   m_axib_awlock,
  output logic [3:0]             m_axib_awcache,
  output logic                   m_axib_awvalid,
  input  logic                   m_axib_awready,
  output logic [DataWidth-1:0]   m_axib_wdata,
  output logic [DataWidth/8-1:0] m_axib_wstrb,
  output logic                   m_axib_wlast,
  output logic                   m_axib_wvalid,
  input  logic                   m_axib_wready,
  input  logic [3:0]             m_axib_bid,
  input  logic [1:0]             m_axib_bresp,
  input  logic                   m_axib_bvalid,
  output logic                   m_axib_bready,
  output logic [3:0]             m_axib_arid,
  output logic [63:0]            m_axib_araddr,
  output logic [7:0]             m_axib_arlen,
  output logic [2:0]             m_axib_arsize,
  output logic [1:0]             m_axib_arburst,
  output logic [2:0]             m_axib_arprot,
  output logic                   m_axib_arlock,
  output logic [3:0]             m_axib_arcache,
  output logic                   m_axib_arvalid,
  input  logic                   m_axib_arready,
  input  logic [3:0]             m_axib_rid,
  input  logic [DataWidth-1:0]   m_axib_rdata,
  input  logic [1:0]             m_axib_rresp,
  input  logic                   m_axib_rlast,
  input  logic                   m_axib_rvalid,
  output logic                   m_axib_rready,
  // The AXI4-Lite BAR.
  output logic [31:0]            m_axil_awaddr,
  output logic [2:0]             m_axil_awprot,
  output logic                   m_axil_awvalid,
  input  logic                   m_axil_awready,
  output logic [31:0]            m_axil_wdata,
  output logic [3:0]             m_axil_wstrb,
  output logic                   m_axil_wvalid,
  input  logic                   m_axil_wready,
  input  logic [1:0]             m_axil_bresp,
  input  logic                   m_axil_bvalid,
  output logic                   m_axil_bready,
  output logic [31:0]            m_axil_araddr,
  output logic [2:0]             m_axil_arprot,
  output logic                   m_axil_arvalid,
  input  logic                   m_axil_arready,
  input  logic [31:0]            m_axil_rdata,
  input  logic [1:0]             m_axil_rresp,
  input  logic                   m_axil_rvalid,
  output logic                   m_axil_rready,

  // DMA: streams, one for each channel.
  output logic [DataWidth-1:0]   m_axis_h2c_tdata_0,
  output logic [DataWidth/8-1:0] m_axis_h2c_tkeep_0,
  output logic                   m_axis_h2c_tlast_0,
  output logic                   m_axis_h2c_tvalid_0,
  input  logic                   m_axis_h2c_tready_0,
  output logic [DataWidth-1:0]   m_axis_h2c_tdata_1,
  output logic [DataWidth/8-1:0] m_axis_h2c_tkeep_1,
  output logic                   m_axis_h2c_tlast_1,
  output logic                   m_axis_h2c_tvalid_1,
  input  logic                   m_axis_h2c_tready_1,
  output logic [DataWidth-1:0]   m_axis_h2c_tdata_2,
  output logic [DataWidth/8-1:0] m_axis_h2c_tkeep_2,
  output logic                   m_axis_h2c_tlast_2,
  output logic                   m_axis_h2c_tvalid_2,
  input  logic                   m_axis_h2c_tready_2,
  output logic [DataWidth-1:0]   m_axis_h2c_tdata_3,
  output logic [DataWidth/8-1:0] m_axis_h2c_tkeep_3,
  output logic                   m_axis_h2c_tlast_3,
  output logic                   m_axis_h2c_tvalid_3,
  input  logic                   m_axis_h2c_tready_3,
  input  logic [DataWidth-1:0]   s_axis_c2h_tdata_0,
  input  logic [DataWidth/8-1:0] s_axis_c2h_tkeep_0,
  input  logic                   s_axis_c2h_tlast_0,
  input  logic                   s_axis_c2h_tvalid_0,
  output logic                   s_axis_c2h_tready_0,
  input  logic [DataWidth-1:0]   s_axis_c2h_tdata_1,
  input  logic [DataWidth/8-1:0] s_axis_c2h_tkeep_1,
  input  logic                   s_axis_c2h_tlast_1,
  input  logic                   s_axis_c2h_tvalid_1,
  output logic                   s_axis_c2h_tready_1,
  input  logic [DataWidth-1:0]   s_axis_c2h_tdata_2,
  input  logic [DataWidth/8-1:0] s_axis_c2h_tkeep_2,
  input  logic                   s_axis_c2h_tlast_2,
  input  logic                   s_axis_c2h_tvalid_2,
  output logic                   s_axis_c2h_tready_2,
  input  logic [DataWidth-1:0]   s_axis_c2h_tdata_3,
  input  logic [DataWidth/8-1:0] s_axis_c2h_tkeep_3,
  input  logic                   s_axis_c2h_tlast_3,
  input  logic                   s_axis_c2h_tvalid_3,
  output logic                   s_axis_c2h_tready_3
  /* verilator lint_on UNUSEDSIGNAL */
);

  //////////////////////////
  // Checks of parameters //
  //////////////////////////

  if (DataWidth != 64 && DataWidth != 128 && DataWidth != 256 && DataWidth != 512)
  begin : gen_bad_data_width
    $error("DataWidth is %0d; 64, 128, 256 and 512 are possible", DataWidth);
  end
  if (H2cChannels < 1 || H2cChannels > 4 || C2hChannels < 1 || C2hChannels > 4)
  begin : gen_bad_channels
    $error("H2cChannels is %0d, C2hChannels is %0d; 1 to 4 are possible", H2cChannels,
           C2hChannels);
  end
  if (NumUsrIrq < 1 || NumUsrIrq > 16) begin : gen_bad_usr_irq
    $error("NumUsrIrq is %0d; 1 to 16 are possible", NumUsrIrq);
  end
  if (MsixVectors > 32) begin : gen_bad_vectors
    $error("MsixVectors is %0d; 0 to 32 are possible", MsixVectors);
  end
  if (BurstBytes < DataWidth / 8 || BurstBytes > 2048 || (BurstBytes & (BurstBytes - 1)) != 0)
  begin : gen_bad_burst
    $error("BurstBytes is %0d; a power of two from %0d to 2048 is possible", BurstBytes,
           DataWidth / 8);
  end
  if (AxilBarSize > 64'h1_0000_0000 || BypassBarSize[63:62] != '0) begin : gen_bad_bar
    $error("AxilBarSize is 0x%0h, BypassBarSize is 0x%0h; at most 2^32 and 2^61 are possible",
           AxilBarSize, BypassBarSize);
  end

  //////////
  // BARs //
  //////////

  localparam int unsigned NoBar     = 6;
  localparam int unsigned AxilBar   = (AxilBarSize != 0) ? 0 : NoBar;
  localparam int unsigned DmaBar    = (AxilBarSize == 0) ? 0 : AxilBarIs64 ? 2 : 1;
  localparam int unsigned BypassBar = (BypassBarSize == 0) ? NoBar : DmaBar + (DmaBarIs64 ? 2 : 1);

  // What is the bridge's address of each: what bits 63 and 62 are.
  localparam bit [63:0] AxilWindow   = 64'h4000_0000_0000_0000;
  localparam bit [63:0] BypassWindow = 64'h8000_0000_0000_0000;

  function automatic bit [63:0] bar_size(int unsigned bar);
    return (bar == AxilBar) ? AxilBarSize : (bar == DmaBar) ? 64'h1_0000
           : (bar == BypassBar) ? BypassBarSize : '0;
  endfunction

  function automatic bit [63:0] bar_window(int unsigned bar);
    return (bar == AxilBar) ? AxilWindow : (bar == BypassBar) ? BypassWindow : '0;
  endfunction

  function automatic bit [5:0] bar_bits(bit axil, bit dma, bit bypass);
    // One that is not there is beyond those of a function.
    return 6'({7'(axil) << AxilBar | 7'(dma) << DmaBar | 7'(bypass) << BypassBar});
  endfunction

  ////////////
  // Bridge //
  ////////////

  logic        clk, rst_n;
  logic        msix_valid, msix_ready, intx, msix_enabled, msi_enabled;
  logic [10:0] msix_vector;
  logic [2:0]  max_payload, max_read_req;
  logic [15:0] requester_id;

  assign axi_aclk    = sys_clk;
  assign clk         = sys_clk;
  assign axi_aresetn = rst_n;
  assign msi_enable  = msi_enabled;
  assign msix_enable = msix_enabled;
  assign pci_exp_txp = '0;
  assign pci_exp_txn = '0;

  // Guest accesses, and host memory.
  `ACCELERATOR_AXI_SIGNALS(bar, 64, DataWidth, 1)
  `ACCELERATOR_AXI_SIGNALS(host, 64, DataWidth, 4)

  /* verilator lint_off PINCONNECTEMPTY */
  accelerator_pcie_bridge #(
    .Endpoint       (Endpoint),
    .Name           (Name),
    .VendorId       (VendorId),
    .DeviceId       (DeviceId),
    .SubVendorId    (SubVendorId),
    .SubDeviceId    (SubDeviceId),
    .ClassCode      (ClassCode),
    .RevisionId     (RevisionId),
    .Bar0Size       (bar_size(0)),
    .Bar1Size       (bar_size(1)),
    .Bar2Size       (bar_size(2)),
    .Bar3Size       (bar_size(3)),
    .Bar4Size       (bar_size(4)),
    .BarIs64        (bar_bits(AxilBarIs64, DmaBarIs64, BypassBarIs64)),
    .BarPrefetch    (bar_bits(AxilPrefetch, DmaPrefetch, BypassPrefetch)),
    .Bar0AxiBase    (bar_window(0)),
    .Bar1AxiBase    (bar_window(1)),
    .Bar2AxiBase    (bar_window(2)),
    .Bar3AxiBase    (bar_window(3)),
    .Bar4AxiBase    (bar_window(4)),
    .MsixVectors    (MsixVectors),
    .MsixTableBar   (DmaBar),
    .MsixTableOffset(32'h8000),
    .MsixPbaBar     (DmaBar),
    .MsixPbaOffset  (32'h8FE0),
    .MsiVectors     (MsiVectors),
    .IntxPin        (IntxPin),
    .LinkSpeed      (LinkSpeed),
    .LinkWidth      (LinkWidth),
    .ClockPeriodPs  (ClockPeriodPs),
    .ResetClocks    (ResetClocks),
    .IdleClocks     (IdleClocks),
    .SharedMemory   (SharedMemory),
    .MmioDataWidth  (DataWidth),
    .DmaDataWidth   (DataWidth),
    .DmaIdWidth     (4)
  ) u_bridge (
    .aclk(clk), .aresetn(sys_rst_n), .user_resetn(rst_n), .user_link_up(user_lnk_up),
    `ACCELERATOR_AXI_BAR(bar),
    `ACCELERATOR_AXI(s_axi, host),
    .msix_valid, .msix_ready, .msix_vector, .intx,
    .cfg_memory_space_enable(), .cfg_bus_master_enable(), .cfg_intx_disable(),
    .cfg_msix_enable(msix_enabled), .cfg_msix_mask(), .cfg_msi_enable(msi_enabled),
    .cfg_msi_vectors(), .cfg_msi_mask(), .cfg_extended_tag_enable(),
    .cfg_relaxed_ordering_enable(), .cfg_no_snoop_enable(), .cfg_power_state(),
    .cfg_max_payload(max_payload), .cfg_max_read_req(max_read_req),
    .cfg_requester_id(requester_id), .cfg_current_speed(), .cfg_negotiated_width()
  );
  /* verilator lint_on PINCONNECTEMPTY */

  ////////////////////
  // Guest accesses //
  ////////////////////

  // Registers and m_axil, and m_axib.
  `ACCELERATOR_AXI_SIGNALS(low, 64, DataWidth, 1)

  logic       bypass_awready, bypass_wready, bypass_bvalid, bypass_arready, bypass_rvalid;
  logic       bypass_rlast;
  logic [1:0] bypass_bresp, bypass_rresp;
  logic [DataWidth-1:0] bypass_rdata;
  logic [63:0] to_awaddr, to_araddr;

  if (BypassBarSize != 0) begin : gen_bypass
    assign bypass_awready = m_axib_awready;
    assign bypass_wready  = m_axib_wready;
    assign bypass_bvalid  = m_axib_bvalid;
    assign bypass_bresp   = m_axib_bresp;
    assign bypass_arready = m_axib_arready;
    assign bypass_rvalid  = m_axib_rvalid;
    assign bypass_rdata   = m_axib_rdata;
    assign bypass_rresp   = m_axib_rresp;
    assign bypass_rlast   = m_axib_rlast;
  end else begin : gen_no_bypass
    assign bypass_awready = 1'b0;
    assign bypass_wready  = 1'b0;
    assign bypass_bvalid  = 1'b0;
    assign bypass_bresp   = '0;
    assign bypass_arready = 1'b0;
    assign bypass_rvalid  = 1'b0;
    assign bypass_rdata   = '0;
    assign bypass_rresp   = '0;
    assign bypass_rlast   = 1'b0;
  end

  accelerator_xdma_bars #(
    .DataWidth(DataWidth)
  ) u_bars (
    .clk_i(clk), .rst_ni(rst_n),
    .s_axi_awaddr(bar_awaddr), .s_axi_awlen(bar_awlen), .s_axi_awsize(bar_awsize),
    .s_axi_awvalid(bar_awvalid), .s_axi_awready(bar_awready), .s_axi_wdata(bar_wdata),
    .s_axi_wstrb(bar_wstrb), .s_axi_wlast(bar_wlast), .s_axi_wvalid(bar_wvalid),
    .s_axi_wready(bar_wready), .s_axi_bresp(bar_bresp), .s_axi_bvalid(bar_bvalid),
    .s_axi_bready(bar_bready), .s_axi_araddr(bar_araddr), .s_axi_arlen(bar_arlen),
    .s_axi_arsize(bar_arsize), .s_axi_arvalid(bar_arvalid), .s_axi_arready(bar_arready),
    .s_axi_rdata(bar_rdata), .s_axi_rresp(bar_rresp), .s_axi_rlast(bar_rlast),
    .s_axi_rvalid(bar_rvalid), .s_axi_rready(bar_rready),

    .m_axi_awaddr(to_awaddr), .m_axi_awlen(low_awlen), .m_axi_awsize(low_awsize),
    .m_axi_awvalid({m_axib_awvalid, low_awvalid}), .m_axi_awready({bypass_awready, low_awready}),
    .m_axi_wdata(low_wdata), .m_axi_wstrb(low_wstrb), .m_axi_wlast(low_wlast),
    .m_axi_wvalid({m_axib_wvalid, low_wvalid}), .m_axi_wready({bypass_wready, low_wready}),
    .m_axi_bresp({bypass_bresp, low_bresp}), .m_axi_bvalid({bypass_bvalid, low_bvalid}),
    .m_axi_bready({m_axib_bready, low_bready}),
    .m_axi_araddr(to_araddr), .m_axi_arlen(low_arlen), .m_axi_arsize(low_arsize),
    .m_axi_arvalid({m_axib_arvalid, low_arvalid}), .m_axi_arready({bypass_arready, low_arready}),
    .m_axi_rdata({bypass_rdata, low_rdata}), .m_axi_rresp({bypass_rresp, low_rresp}),
    .m_axi_rlast({bypass_rlast, low_rlast}), .m_axi_rvalid({bypass_rvalid, low_rvalid}),
    .m_axi_rready({m_axib_rready, low_rready})
  );

  assign bar_bid = '0;
  assign bar_rid = '0;

  assign m_axib_awid    = '0;
  assign m_axib_awaddr  = to_awaddr | BypassAxiBase;
  assign m_axib_awlen   = low_awlen;
  assign m_axib_awsize  = low_awsize;
  assign m_axib_awburst = 2'b01;
  assign m_axib_awprot  = 3'b000;
  assign m_axib_awlock  = 1'b0;
  assign m_axib_awcache = 4'b0011;
  assign m_axib_wdata   = low_wdata;
  assign m_axib_wstrb   = low_wstrb;
  assign m_axib_wlast   = low_wlast;
  assign m_axib_arid    = '0;
  assign m_axib_araddr  = to_araddr | BypassAxiBase;
  assign m_axib_arlen   = low_arlen;
  assign m_axib_arsize  = low_arsize;
  assign m_axib_arburst = 2'b01;
  assign m_axib_arprot  = 3'b000;
  assign m_axib_arlock  = 1'b0;
  assign m_axib_arcache = 4'b0011;

  assign low_awid    = '0;
  assign low_awaddr  = to_awaddr;
  assign low_awburst = 2'b01;
  assign low_arid    = '0;
  assign low_araddr  = to_araddr;
  assign low_arburst = 2'b01;

  // Words of the bus, and then 32 bits at a time.
  localparam int unsigned LaneWidth = $clog2(DataWidth / 32);
  localparam int unsigned WordWidth = $clog2(DataWidth / 8);

  logic                   word_wr_valid, word_wr_ready, word_rd_valid, word_rd_ready;
  logic                   word_wr_error, word_rd_error;
  // Bits 61 to 32 are 0: no BAR is so large.
  /* verilator lint_off UNUSEDSIGNAL */
  logic [62:0]            word_wr_addr, word_rd_addr;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [DataWidth-1:0]   word_wr_data, word_rd_data, word_rd_data_q;
  logic [DataWidth/8-1:0] word_wr_strb, word_rd_strb;

  accelerator_axi_regs #(
    .AxiAddrWidth(64), .RegAddrWidth(63), .DataWidth(DataWidth), .IdWidth(1)
  ) u_words (
    .clk_i(clk), .rst_ni(rst_n),
    `ACCELERATOR_AXI_REGS(low),
    .reg_wr_valid_o(word_wr_valid), .reg_wr_ready_i(word_wr_ready), .reg_wr_addr_o(word_wr_addr),
    .reg_wr_data_o(word_wr_data), .reg_wr_strb_o(word_wr_strb), .reg_wr_error_i(word_wr_error),
    .reg_rd_valid_o(word_rd_valid), .reg_rd_ready_i(word_rd_ready), .reg_rd_addr_o(word_rd_addr),
    .reg_rd_strb_o(word_rd_strb), .reg_rd_data_i(word_rd_data), .reg_rd_error_i(word_rd_error)
  );

  logic                 wr_valid, wr_done, rd_valid, rd_done;
  logic [LaneWidth-1:0] wr_lane, rd_lane;
  // Reads have no strobes: registers are whole.
  logic [3:0]           wr_strb;
  // m_axil has a use for all bits, the registers for few.
  /* verilator lint_off UNUSEDSIGNAL */
  logic [31:0]          wr_addr, rd_addr;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [31:0]          wr_data, rd_data, dma_rd_data, axil_rd_data;
  logic                 wr_axil, rd_axil, axil_wr_done, axil_rd_done, axil_wr_error, axil_rd_error;

  accelerator_xdma_lanes #(
    .DataWidth(DataWidth)
  ) u_wr_lanes (
    .clk_i(clk), .rst_ni(rst_n), .valid_i(word_wr_valid), .ready_o(word_wr_ready),
    .strb_i(word_wr_strb), .lane_valid_o(wr_valid), .lane_o(wr_lane), .lane_strb_o(wr_strb),
    .done_i(wr_done)
  );
  /* verilator lint_off PINCONNECTEMPTY */
  accelerator_xdma_lanes #(
    .DataWidth(DataWidth)
  ) u_rd_lanes (
    .clk_i(clk), .rst_ni(rst_n), .valid_i(word_rd_valid), .ready_o(word_rd_ready),
    .strb_i(word_rd_strb), .lane_valid_o(rd_valid), .lane_o(rd_lane), .lane_strb_o(),
    .done_i(rd_done)
  );
  /* verilator lint_on PINCONNECTEMPTY */

  assign wr_axil = word_wr_addr[62];
  assign rd_axil = word_rd_addr[62];
  assign wr_addr = {word_wr_addr[31:WordWidth], wr_lane, 2'b00};
  assign rd_addr = {word_rd_addr[31:WordWidth], rd_lane, 2'b00};
  assign wr_data = word_wr_data[32 * wr_lane +: 32];
  assign wr_done = wr_axil ? axil_wr_done : 1'b1;
  assign rd_done = rd_axil ? axil_rd_done : 1'b1;
  assign rd_data = rd_axil ? axil_rd_data : dma_rd_data;

  // An error of any part is one of the whole.
  logic wr_error_q, rd_error_q;
  assign word_wr_error = wr_error_q || (wr_valid && wr_axil && axil_wr_done && axil_wr_error);
  assign word_rd_error = rd_error_q || (rd_valid && rd_axil && axil_rd_done && axil_rd_error);

  always_comb begin
    word_rd_data = word_rd_data_q;
    if (rd_valid && rd_done) word_rd_data[32 * rd_lane +: 32] = rd_data;
  end

  always_ff @(posedge clk) begin
    word_rd_data_q <= word_rd_data;
    wr_error_q     <= rst_n && word_wr_error && !(word_wr_valid && word_wr_ready);
    rd_error_q     <= rst_n && word_rd_error && !(word_rd_valid && word_rd_ready);
  end

  if (AxilBarSize != 0) begin : gen_axil
    accelerator_xdma_axil #(
      .AddrWidth(32)
    ) u_axil (
      .clk_i(clk), .rst_ni(rst_n),
      .wr_valid_i(wr_valid && wr_axil), .wr_addr_i(wr_addr | AxilAxiBase), .wr_data_i(wr_data),
      .wr_strb_i(wr_strb), .wr_done_o(axil_wr_done), .wr_error_o(axil_wr_error),
      .rd_valid_i(rd_valid && rd_axil), .rd_addr_i(rd_addr | AxilAxiBase),
      .rd_done_o(axil_rd_done), .rd_data_o(axil_rd_data), .rd_error_o(axil_rd_error),
      .m_axil_awaddr, .m_axil_awprot, .m_axil_awvalid, .m_axil_awready, .m_axil_wdata,
      .m_axil_wstrb, .m_axil_wvalid, .m_axil_wready, .m_axil_bresp, .m_axil_bvalid,
      .m_axil_bready, .m_axil_araddr, .m_axil_arprot, .m_axil_arvalid, .m_axil_arready,
      .m_axil_rdata, .m_axil_rresp, .m_axil_rvalid, .m_axil_rready
    );
  end else begin : gen_no_axil
    assign axil_wr_done   = 1'b1;
    assign axil_wr_error  = 1'b0;
    assign axil_rd_done   = 1'b1;
    assign axil_rd_data   = '0;
    assign axil_rd_error  = 1'b0;
    assign m_axil_awaddr  = '0;
    assign m_axil_awprot  = '0;
    assign m_axil_awvalid = 1'b0;
    assign m_axil_wdata   = '0;
    assign m_axil_wstrb   = '0;
    assign m_axil_wvalid  = 1'b0;
    assign m_axil_bready  = 1'b0;
    assign m_axil_araddr  = '0;
    assign m_axil_arprot  = '0;
    assign m_axil_arvalid = 1'b0;
    assign m_axil_rready  = 1'b0;
  end

  //////////////////////
  // Config, and IRQs //
  //////////////////////

  // H2C channels first.
  localparam int unsigned Channels = H2cChannels + C2hChannels;

  logic                   reg_wr, reg_rd;
  logic [31:0]            irq_rd_data, config_rd_data;
  logic [Channels-1:0]    channel_irq, halt, credit_mode;
  logic [Channels-1:0][31:0] channel_rd_data;

  assign reg_wr = wr_valid && !wr_axil;
  assign reg_rd = rd_valid && !rd_axil;

  always_comb begin
    dma_rd_data = irq_rd_data | config_rd_data;
    for (int unsigned i = 0; i < Channels; i++) dma_rd_data = dma_rd_data | channel_rd_data[i];
  end

  accelerator_xdma_config #(
    .DataWidth(DataWidth), .H2cChannels(H2cChannels), .C2hChannels(C2hChannels)
  ) u_config (
    .clk_i(clk), .rst_ni(rst_n), .wr_i(reg_wr), .wr_addr_i(wr_addr[15:2]), .wr_data_i(wr_data),
    .wr_strb_i(wr_strb), .rd_addr_i(rd_addr[15:2]), .rd_data_o(config_rd_data),
    .msi_enable_i(msi_enabled), .msix_enable_i(msix_enabled), .max_payload_i(max_payload),
    .max_read_req_i(max_read_req), .requester_id_i(requester_id),
    .h2c_halt_o(halt[H2cChannels-1:0]), .c2h_halt_o(halt[Channels-1:H2cChannels]),
    .h2c_credit_mode_o(credit_mode[H2cChannels-1:0]),
    .c2h_credit_mode_o(credit_mode[Channels-1:H2cChannels])
  );

  accelerator_xdma_irq #(
    .Users(NumUsrIrq), .Channels(Channels), .Intx(IntxPin != 0)
  ) u_irq (
    .clk_i(clk), .rst_ni(rst_n), .wr_i(reg_wr), .wr_addr_i(wr_addr[15:2]), .wr_data_i(wr_data),
    .wr_strb_i(wr_strb), .rd_addr_i(rd_addr[15:2]), .rd_data_o(irq_rd_data),
    .user_req_i(usr_irq_req), .user_ack_o(usr_irq_ack), .channel_req_i(channel_irq),
    .messages_i(msix_enabled || msi_enabled), .msix_valid_o(msix_valid), .msix_ready_i(msix_ready),
    .msix_vector_o(msix_vector), .intx_o(intx)
  );

  //////////////
  // Channels //
  //////////////

  // Masters of host memory: a channel's descriptors and what it writes back, then the data of one
  // direction.
  localparam int unsigned HostReaders = Channels + H2cChannels;
  localparam int unsigned HostWriters = Channels + C2hChannels;

  logic [HostReaders-1:0]                  hr_valid, hr_ready;
  logic [HostReaders-1:0][63:0]            hr_addr;
  logic [HostReaders-1:0][7:0]             hr_len;
  logic [HostReaders-1:0][2:0]             hr_size;
  logic [HostReaders-1:0][1:0]             hr_burst;
  logic [HostWriters-1:0]                  hw_aw_valid, hw_aw_ready, hw_w_valid, hw_w_ready;
  logic [HostWriters-1:0]                  hw_w_last;
  logic [HostWriters-1:0][63:0]            hw_aw_addr;
  logic [HostWriters-1:0][7:0]             hw_aw_len;
  logic [HostWriters-1:0][2:0]             hw_aw_size;
  logic [HostWriters-1:0][1:0]             hw_aw_burst;
  logic [HostWriters-1:0][DataWidth-1:0]   hw_w_data;
  logic [HostWriters-1:0][DataWidth/8-1:0] hw_w_strb;

  accelerator_xdma_read_mux #(
    .Masters(HostReaders), .IdWidth(4)
  ) u_host_reads (
    .clk_i(clk), .rst_ni(rst_n), .valid_i(hr_valid), .ready_o(hr_ready), .addr_i(hr_addr),
    .len_i(hr_len), .size_i(hr_size), .burst_i(hr_burst),
    .ar_valid_o(host_arvalid), .ar_ready_i(host_arready), .ar_id_o(host_arid),
    .ar_addr_o(host_araddr), .ar_len_o(host_arlen), .ar_size_o(host_arsize),
    .ar_burst_o(host_arburst)
  );
  // Whoever asked has room for it. Writes of host memory are posted: nobody waits for the answer.
  assign host_rready = 1'b1;
  assign host_bready = 1'b1;

  accelerator_xdma_write_mux #(
    .Masters(HostWriters), .DataWidth(DataWidth), .IdWidth(4)
  ) u_host_writes (
    .clk_i(clk), .rst_ni(rst_n), .aw_valid_i(hw_aw_valid), .aw_ready_o(hw_aw_ready),
    .aw_addr_i(hw_aw_addr), .aw_len_i(hw_aw_len), .aw_size_i(hw_aw_size),
    .aw_burst_i(hw_aw_burst), .w_valid_i(hw_w_valid), .w_ready_o(hw_w_ready),
    .w_data_i(hw_w_data), .w_strb_i(hw_w_strb), .w_last_i(hw_w_last),
    .aw_valid_o(host_awvalid), .aw_ready_i(host_awready), .aw_id_o(host_awid),
    .aw_addr_o(host_awaddr), .aw_len_o(host_awlen), .aw_size_o(host_awsize),
    .aw_burst_o(host_awburst), .w_valid_o(host_wvalid), .w_ready_i(host_wready),
    .w_data_o(host_wdata), .w_strb_o(host_wstrb), .w_last_o(host_wlast)
  );

  // Masters of m_axi, where it is.
  /* verilator lint_off UNUSEDSIGNAL */
  logic [C2hChannels-1:0]                  cr_valid, cr_ready;
  logic [C2hChannels-1:0][63:0]            cr_addr;
  logic [C2hChannels-1:0][7:0]             cr_len;
  logic [C2hChannels-1:0][1:0]             cr_burst;
  logic [H2cChannels-1:0]                  cw_aw_valid, cw_aw_ready, cw_w_valid, cw_w_ready;
  logic [H2cChannels-1:0]                  cw_w_last;
  logic [H2cChannels-1:0][63:0]            cw_aw_addr;
  logic [H2cChannels-1:0][7:0]             cw_aw_len;
  logic [H2cChannels-1:0][1:0]             cw_aw_burst;
  logic [H2cChannels-1:0][DataWidth-1:0]   cw_w_data;
  logic [H2cChannels-1:0][DataWidth/8-1:0] cw_w_strb;
  /* verilator lint_on UNUSEDSIGNAL */

  localparam logic [2:0] FullSize = 3'($clog2(DataWidth / 8));

  assign m_axi_awprot  = 3'b000;
  assign m_axi_awlock  = 1'b0;
  assign m_axi_awcache = 4'b0011;
  assign m_axi_arprot  = 3'b000;
  assign m_axi_arlock  = 1'b0;
  assign m_axi_arcache = 4'b0011;

  // What m_axi answers, where it is.
  logic                 card_bvalid, card_rvalid;
  logic [3:0]           card_bid, card_rid;
  logic [1:0]           card_bresp, card_rresp;
  logic [DataWidth-1:0] card_rdata;

  if (!Stream) begin : gen_card
    accelerator_xdma_read_mux #(
      .Masters(C2hChannels), .IdWidth(4)
    ) u_reads (
      .clk_i(clk), .rst_ni(rst_n), .valid_i(cr_valid), .ready_o(cr_ready), .addr_i(cr_addr),
      .len_i(cr_len), .size_i({C2hChannels{FullSize}}), .burst_i(cr_burst),
      .ar_valid_o(m_axi_arvalid), .ar_ready_i(m_axi_arready), .ar_id_o(m_axi_arid),
      .ar_addr_o(m_axi_araddr), .ar_len_o(m_axi_arlen), .ar_size_o(m_axi_arsize),
      .ar_burst_o(m_axi_arburst)
    );
    accelerator_xdma_write_mux #(
      .Masters(H2cChannels), .DataWidth(DataWidth), .IdWidth(4)
    ) u_writes (
      .clk_i(clk), .rst_ni(rst_n), .aw_valid_i(cw_aw_valid), .aw_ready_o(cw_aw_ready),
      .aw_addr_i(cw_aw_addr), .aw_len_i(cw_aw_len), .aw_size_i({H2cChannels{FullSize}}),
      .aw_burst_i(cw_aw_burst), .w_valid_i(cw_w_valid), .w_ready_o(cw_w_ready),
      .w_data_i(cw_w_data), .w_strb_i(cw_w_strb), .w_last_i(cw_w_last),
      .aw_valid_o(m_axi_awvalid), .aw_ready_i(m_axi_awready), .aw_id_o(m_axi_awid),
      .aw_addr_o(m_axi_awaddr), .aw_len_o(m_axi_awlen), .aw_size_o(m_axi_awsize),
      .aw_burst_o(m_axi_awburst), .w_valid_o(m_axi_wvalid), .w_ready_i(m_axi_wready),
      .w_data_o(m_axi_wdata), .w_strb_o(m_axi_wstrb), .w_last_o(m_axi_wlast)
    );
    assign m_axi_bready = 1'b1;
    assign m_axi_rready = 1'b1;
    assign card_bvalid  = m_axi_bvalid;
    assign card_bid     = m_axi_bid;
    assign card_bresp   = m_axi_bresp;
    assign card_rvalid  = m_axi_rvalid;
    assign card_rid     = m_axi_rid;
    assign card_rresp   = m_axi_rresp;
    assign card_rdata   = m_axi_rdata;
  end else begin : gen_no_card
    assign cr_ready      = '0;
    assign cw_aw_ready   = '0;
    assign cw_w_ready    = '0;
    assign m_axi_arvalid = 1'b0;
    assign m_axi_arid    = '0;
    assign m_axi_araddr  = '0;
    assign m_axi_arlen   = '0;
    assign m_axi_arsize  = FullSize;
    assign m_axi_arburst = 2'b01;
    assign m_axi_awvalid = 1'b0;
    assign m_axi_awid    = '0;
    assign m_axi_awaddr  = '0;
    assign m_axi_awlen   = '0;
    assign m_axi_awsize  = FullSize;
    assign m_axi_awburst = 2'b01;
    assign m_axi_wvalid  = 1'b0;
    assign m_axi_wdata   = '0;
    assign m_axi_wstrb   = '0;
    assign m_axi_wlast   = 1'b0;
    assign m_axi_bready  = 1'b0;
    assign m_axi_rready  = 1'b0;
    assign card_bvalid   = 1'b0;
    assign card_bid      = '0;
    assign card_bresp    = '0;
    assign card_rvalid   = 1'b0;
    assign card_rid      = '0;
    assign card_rresp    = '0;
    assign card_rdata    = '0;
  end

  // The streams, four of them whatever there are channels.
  logic [3:0][DataWidth-1:0]   h2c_tdata, c2h_tdata;
  logic [3:0][DataWidth/8-1:0] h2c_tkeep, c2h_tkeep;
  logic [3:0]                  h2c_tlast, h2c_tvalid, h2c_tready;
  logic [3:0]                  c2h_tlast, c2h_tvalid, c2h_tready;
  assign {m_axis_h2c_tdata_3, m_axis_h2c_tdata_2, m_axis_h2c_tdata_1, m_axis_h2c_tdata_0} =
    h2c_tdata;
  assign {m_axis_h2c_tkeep_3, m_axis_h2c_tkeep_2, m_axis_h2c_tkeep_1, m_axis_h2c_tkeep_0} =
    h2c_tkeep;
  assign {m_axis_h2c_tlast_3, m_axis_h2c_tlast_2, m_axis_h2c_tlast_1, m_axis_h2c_tlast_0} =
    h2c_tlast;
  assign {m_axis_h2c_tvalid_3, m_axis_h2c_tvalid_2, m_axis_h2c_tvalid_1, m_axis_h2c_tvalid_0} =
    h2c_tvalid;
  assign h2c_tready =
    {m_axis_h2c_tready_3, m_axis_h2c_tready_2, m_axis_h2c_tready_1, m_axis_h2c_tready_0};
  assign c2h_tdata =
    {s_axis_c2h_tdata_3, s_axis_c2h_tdata_2, s_axis_c2h_tdata_1, s_axis_c2h_tdata_0};
  assign c2h_tkeep =
    {s_axis_c2h_tkeep_3, s_axis_c2h_tkeep_2, s_axis_c2h_tkeep_1, s_axis_c2h_tkeep_0};
  assign c2h_tlast =
    {s_axis_c2h_tlast_3, s_axis_c2h_tlast_2, s_axis_c2h_tlast_1, s_axis_c2h_tlast_0};
  assign c2h_tvalid =
    {s_axis_c2h_tvalid_3, s_axis_c2h_tvalid_2, s_axis_c2h_tvalid_1, s_axis_c2h_tvalid_0};
  assign {s_axis_c2h_tready_3, s_axis_c2h_tready_2, s_axis_c2h_tready_1, s_axis_c2h_tready_0} =
    c2h_tready;

  // A channel's own ID on the host's side, and what is not for it is another one's.
  for (genvar i = 0; i < Channels; i++) begin : gen_channel
    // Its number in its direction, and that of its data among the masters of host memory.
    localparam bit          C2h  = i >= H2cChannels;
    localparam int unsigned N    = C2h ? i - H2cChannels : i;
    localparam int unsigned Data = Channels + N;

    logic                   ar_valid, ar_ready, r_valid, aw_valid, aw_ready, w_valid, w_ready;
    logic                   w_last, b_valid;
    logic [63:0]            ar_addr, aw_addr;
    logic [7:0]             ar_len, aw_len;
    logic [1:0]             ar_burst, aw_burst, r_resp, b_resp;
    logic [DataWidth-1:0]   r_data, w_data;
    logic [DataWidth/8-1:0] w_strb;
    // A direction has one of the streams.
    /* verilator lint_off UNUSEDSIGNAL */
    logic [DataWidth-1:0]   out_tdata;
    logic [DataWidth/8-1:0] out_tkeep;
    logic                   out_tlast, out_tvalid, in_tready;
    /* verilator lint_on UNUSEDSIGNAL */

    accelerator_xdma_channel #(
      .C2h(C2h), .Stream(Stream), .Channel(N), .DataWidth(DataWidth), .BurstBytes(BurstBytes)
    ) u_channel (
      .clk_i(clk), .rst_ni(rst_n), .wr_i(reg_wr), .wr_addr_i(wr_addr[15:2]), .wr_data_i(wr_data),
      .wr_strb_i(wr_strb), .rd_i(reg_rd), .rd_addr_i(rd_addr[15:2]),
      .rd_data_o(channel_rd_data[i]), .halt_i(halt[i]), .credit_mode_i(credit_mode[i]),
      .irq_o(channel_irq[i]),
      .desc_ar_valid_o(hr_valid[i]), .desc_ar_ready_i(hr_ready[i]), .desc_ar_addr_o(hr_addr[i]),
      .desc_ar_len_o(hr_len[i]), .desc_ar_size_o(hr_size[i]),
      .desc_r_valid_i(host_rvalid && host_rid == 4'(i)), .desc_r_data_i(host_rdata),
      .desc_r_resp_i(host_rresp), .desc_r_last_i(host_rlast),
      .back_aw_valid_o(hw_aw_valid[i]), .back_aw_ready_i(hw_aw_ready[i]),
      .back_aw_addr_o(hw_aw_addr[i]), .back_w_valid_o(hw_w_valid[i]),
      .back_w_ready_i(hw_w_ready[i]), .back_w_data_o(hw_w_data[i]), .back_w_strb_o(hw_w_strb[i]),
      .data_ar_valid_o(ar_valid), .data_ar_ready_i(ar_ready), .data_ar_addr_o(ar_addr),
      .data_ar_len_o(ar_len), .data_ar_burst_o(ar_burst), .data_r_valid_i(r_valid),
      .data_r_data_i(r_data), .data_r_resp_i(r_resp), .data_aw_valid_o(aw_valid),
      .data_aw_addr_o(aw_addr), .data_aw_len_o(aw_len), .data_aw_burst_o(aw_burst),
      .data_w_valid_o(w_valid), .data_w_data_o(w_data), .data_w_strb_o(w_strb),
      .data_w_last_o(w_last), .data_aw_ready_i(aw_ready), .data_w_ready_i(w_ready),
      .data_b_valid_i(b_valid), .data_b_resp_i(b_resp),
      .s_axis_tdata(c2h_tdata[N]), .s_axis_tkeep(c2h_tkeep[N]), .s_axis_tlast(c2h_tlast[N]),
      .s_axis_tvalid(c2h_tvalid[N]), .s_axis_tready(in_tready),
      .m_axis_tdata(out_tdata), .m_axis_tkeep(out_tkeep), .m_axis_tlast(out_tlast),
      .m_axis_tvalid(out_tvalid), .m_axis_tready(h2c_tready[N])
    );

    assign hr_burst[i]    = 2'b01;
    assign hw_aw_len[i]   = '0;
    assign hw_aw_size[i]  = FullSize;
    assign hw_aw_burst[i] = 2'b01;
    assign hw_w_last[i]   = 1'b1;

    if (C2h) begin : gen_c2h
      assign cr_valid[N]       = ar_valid;
      assign ar_ready          = cr_ready[N];
      assign cr_addr[N]        = ar_addr;
      assign cr_len[N]         = ar_len;
      assign cr_burst[N]       = ar_burst;
      assign r_valid           = card_rvalid && card_rid == 4'(N);
      assign r_data            = card_rdata;
      assign r_resp            = card_rresp;
      assign hw_aw_valid[Data] = aw_valid;
      assign aw_ready          = hw_aw_ready[Data];
      assign hw_aw_addr[Data]  = aw_addr;
      assign hw_aw_len[Data]   = aw_len;
      assign hw_aw_size[Data]  = FullSize;
      assign hw_aw_burst[Data] = aw_burst;
      assign hw_w_valid[Data]  = w_valid;
      assign w_ready           = hw_w_ready[Data];
      assign hw_w_data[Data]   = w_data;
      assign hw_w_strb[Data]   = w_strb;
      assign hw_w_last[Data]   = w_last;
      assign b_valid           = 1'b0;
      assign b_resp            = '0;
      assign c2h_tready[N]     = in_tready;
    end else begin : gen_h2c
      assign hr_valid[Data]    = ar_valid;
      assign ar_ready          = hr_ready[Data];
      assign hr_addr[Data]     = ar_addr;
      assign hr_len[Data]      = ar_len;
      assign hr_size[Data]     = FullSize;
      assign hr_burst[Data]    = ar_burst;
      assign r_valid           = host_rvalid && host_rid == 4'(Data);
      assign r_data            = host_rdata;
      assign r_resp            = host_rresp;
      assign cw_aw_valid[N]    = aw_valid;
      assign aw_ready          = cw_aw_ready[N];
      assign cw_aw_addr[N]     = aw_addr;
      assign cw_aw_len[N]      = aw_len;
      assign cw_aw_burst[N]    = aw_burst;
      assign cw_w_valid[N]     = w_valid;
      assign w_ready           = cw_w_ready[N];
      assign cw_w_data[N]      = w_data;
      assign cw_w_strb[N]      = w_strb;
      assign cw_w_last[N]      = w_last;
      assign b_valid           = card_bvalid && card_bid == 4'(N);
      assign b_resp            = card_bresp;
      assign h2c_tdata[N]      = out_tdata;
      assign h2c_tkeep[N]      = out_tkeep;
      assign h2c_tlast[N]      = out_tlast;
      assign h2c_tvalid[N]     = out_tvalid;
    end
  end

  for (genvar i = 0; i < 4; i++) begin : gen_rest
    if (i >= H2cChannels) begin : gen_no_h2c
      assign h2c_tdata[i]  = '0;
      assign h2c_tkeep[i]  = '0;
      assign h2c_tlast[i]  = 1'b0;
      assign h2c_tvalid[i] = 1'b0;
    end
    if (i >= C2hChannels) begin : gen_no_c2h
      assign c2h_tready[i] = 1'b0;
    end
  end

endmodule
