// SPDX-License-Identifier: Apache-2.0
//
// The wires of AXI4 in a top module, and their connections, and ports of the bridge that most
// designs leave alone. A bus with the name `bar` is a signal
// bar_awid, bar_awaddr and so on: ACCELERATOR_AXI_SIGNALS declares them, the other macros are
// connections in a list of ports. `port` is the prefix of the ports, without the last underscore.

`ifndef ACCELERATOR_AXI_SVH
`define ACCELERATOR_AXI_SVH

// Not each module has a use for each signal.
`define ACCELERATOR_AXI_SIGNALS(name, addr_width, data_width, id_width) \
  /* verilator lint_off UNUSEDSIGNAL */ \
  logic [(id_width)-1:0] name``_awid; \
  logic [(addr_width)-1:0] name``_awaddr; \
  logic [7:0] name``_awlen; \
  logic [2:0] name``_awsize; \
  logic [1:0] name``_awburst; \
  logic name``_awvalid; \
  logic name``_awready; \
  logic [(data_width)-1:0] name``_wdata; \
  logic [(data_width)/8-1:0] name``_wstrb; \
  logic name``_wlast; \
  logic name``_wvalid; \
  logic name``_wready; \
  logic [(id_width)-1:0] name``_bid; \
  logic [1:0] name``_bresp; \
  logic name``_bvalid; \
  logic name``_bready; \
  logic [(id_width)-1:0] name``_arid; \
  logic [(addr_width)-1:0] name``_araddr; \
  logic [7:0] name``_arlen; \
  logic [2:0] name``_arsize; \
  logic [1:0] name``_arburst; \
  logic name``_arvalid; \
  logic name``_arready; \
  logic [(id_width)-1:0] name``_rid; \
  logic [(data_width)-1:0] name``_rdata; \
  logic [1:0] name``_rresp; \
  logic name``_rlast; \
  logic name``_rvalid; \
  logic name``_rready; \
  /* verilator lint_on UNUSEDSIGNAL */

// All of them.
`define ACCELERATOR_AXI(port, name) \
  .port``_awid(name``_awid), .port``_awaddr(name``_awaddr), \
  .port``_awlen(name``_awlen), .port``_awsize(name``_awsize), \
  .port``_awburst(name``_awburst), .port``_awvalid(name``_awvalid), \
  .port``_awready(name``_awready), .port``_wdata(name``_wdata), \
  .port``_wstrb(name``_wstrb), .port``_wlast(name``_wlast), \
  .port``_wvalid(name``_wvalid), .port``_wready(name``_wready), \
  .port``_bid(name``_bid), .port``_bresp(name``_bresp), \
  .port``_bvalid(name``_bvalid), .port``_bready(name``_bready), \
  .port``_arid(name``_arid), .port``_araddr(name``_araddr), \
  .port``_arlen(name``_arlen), .port``_arsize(name``_arsize), \
  .port``_arburst(name``_arburst), .port``_arvalid(name``_arvalid), \
  .port``_arready(name``_arready), .port``_rid(name``_rid), \
  .port``_rdata(name``_rdata), .port``_rresp(name``_rresp), \
  .port``_rlast(name``_rlast), .port``_rvalid(name``_rvalid), \
  .port``_rready(name``_rready)

// m_axi of accelerator_pcie_bridge, the guest's accesses. What it says of caches and protection is
// the same for all of them, and stays open.
`define ACCELERATOR_AXI_BAR(name) \
  .m_axi_awcache(), .m_axi_awprot(), .m_axi_arcache(), .m_axi_arprot(), \
  `ACCELERATOR_AXI(m_axi, name)

// s_axi of accelerator_pcie_bridge for RTL without DMA.
`define ACCELERATOR_AXI_NO_DMA \
  .s_axi_awid('0), .s_axi_awaddr('0), .s_axi_awlen('0), .s_axi_awsize('0), \
  .s_axi_awburst('0), .s_axi_awvalid(1'b0), .s_axi_awready(), .s_axi_wdata('0), \
  .s_axi_wstrb('0), .s_axi_wlast(1'b0), .s_axi_wvalid(1'b0), .s_axi_wready(), \
  .s_axi_bid(), .s_axi_bresp(), .s_axi_bvalid(), .s_axi_bready(1'b0), \
  .s_axi_arid('0), .s_axi_araddr('0), .s_axi_arlen('0), .s_axi_arsize('0), \
  .s_axi_arburst('0), .s_axi_arvalid(1'b0), .s_axi_arready(), .s_axi_rid(), \
  .s_axi_rdata(), .s_axi_rresp(), .s_axi_rlast(), .s_axi_rvalid(), \
  .s_axi_rready(1'b0)

// s_axi of accelerator_axi_regs, which takes INCR only and ends a write where WLAST is.
`define ACCELERATOR_AXI_REGS(name) \
  .s_axi_awid(name``_awid), .s_axi_awaddr(name``_awaddr), \
  .s_axi_awsize(name``_awsize), .s_axi_awvalid(name``_awvalid), \
  .s_axi_awready(name``_awready), .s_axi_wdata(name``_wdata), \
  .s_axi_wstrb(name``_wstrb), .s_axi_wlast(name``_wlast), \
  .s_axi_wvalid(name``_wvalid), .s_axi_wready(name``_wready), \
  .s_axi_bid(name``_bid), .s_axi_bresp(name``_bresp), \
  .s_axi_bvalid(name``_bvalid), .s_axi_bready(name``_bready), \
  .s_axi_arid(name``_arid), .s_axi_araddr(name``_araddr), \
  .s_axi_arlen(name``_arlen), .s_axi_arsize(name``_arsize), \
  .s_axi_arvalid(name``_arvalid), .s_axi_arready(name``_arready), \
  .s_axi_rid(name``_rid), .s_axi_rdata(name``_rdata), \
  .s_axi_rresp(name``_rresp), .s_axi_rlast(name``_rlast), \
  .s_axi_rvalid(name``_rvalid), .s_axi_rready(name``_rready)

// What accelerator_pcie_bridge tells of config space, for RTL that has no use for it.
`define ACCELERATOR_NO_CFG \
  .cfg_memory_space_enable(), .cfg_bus_master_enable(), .cfg_intx_disable(), \
  .cfg_msix_enable(), .cfg_msix_mask(), .cfg_msi_enable(), .cfg_msi_vectors(), \
  .cfg_msi_mask(), .cfg_extended_tag_enable(), \
  .cfg_relaxed_ordering_enable(), .cfg_no_snoop_enable(), .cfg_power_state(), \
  .cfg_max_payload(), .cfg_max_read_req(), .cfg_requester_id(), \
  .cfg_current_speed(), .cfg_negotiated_width()

`endif
