// SPDX-License-Identifier: Apache-2.0
//
// What is simulated: the bridge and the probe, which answers behind BAR 0 and is a bus master on
// host memory. BAR 2 holds the MSI-X table only.

`include "accelerator_axi.svh"

module probe_top (
  input logic aclk,
  input logic aresetn
);

  localparam int unsigned DmaDataWidth = 64;
  localparam int unsigned DmaIdWidth = 4;

  logic        user_resetn;
  logic        msix_valid, msix_ready;
  logic [10:0] msix_vector;

  // Guest accesses.
  `ACCELERATOR_AXI_SIGNALS(bar, 64, 64, 1)

  // Host memory.
  `ACCELERATOR_AXI_SIGNALS(dma, 64, DmaDataWidth, DmaIdWidth)

  logic        memory_space, bus_master, intx_disable, msix_enable, msix_mask, extended_tag;
  logic        relaxed_ordering, no_snoop;
  logic [1:0]  power_state;
  logic [2:0]  max_payload, max_read_req, speed;
  logic [5:0]  width;
  logic [15:0] requester_id;

  // The example has no use for some outputs.
  /* verilator lint_off PINCONNECTEMPTY */
  accelerator_pcie_bridge #(
    .Name           ("probe"),
    .VendorId       (16'h10EE),
    .DeviceId       (16'h7031),
    .SubVendorId    (16'h10EE),
    .SubDeviceId    (16'h0007),
    .ClassCode      (24'h12_00_00),
    .RevisionId     (8'h01),
    .Bar0Size       (64'h2000),
    .Bar2Size       (64'h1_0000),
    .Bar2AxiBase    (64'h1_0000),
    .BarIs64        (6'b000101),
    .BarPrefetch    (6'b000100),
    .MsixVectors    (8),
    .MsixTableBar   (2),
    .MsixTableOffset(0),
    .MsixPbaBar     (2),
    .MsixPbaOffset  (32'h8000),
    .LinkSpeed      (3),
    .LinkWidth      (8),
    .MmioDataWidth  (64),
    .DmaDataWidth   (DmaDataWidth),
    .DmaIdWidth     (DmaIdWidth)
  ) u_bridge (
    .aclk, .aresetn, .user_resetn, .user_link_up(),

    `ACCELERATOR_AXI_BAR(bar),
    `ACCELERATOR_AXI(s_axi, dma),
    .msix_valid, .msix_ready, .msix_vector, .intx(1'b0),

    .cfg_memory_space_enable(memory_space), .cfg_bus_master_enable(bus_master),
    .cfg_intx_disable(intx_disable), .cfg_msix_enable(msix_enable), .cfg_msix_mask(msix_mask),
    .cfg_msi_enable(), .cfg_msi_vectors(), .cfg_msi_mask(),
    .cfg_extended_tag_enable(extended_tag), .cfg_relaxed_ordering_enable(relaxed_ordering),
    .cfg_no_snoop_enable(no_snoop), .cfg_power_state(power_state), .cfg_max_payload(max_payload),
    .cfg_max_read_req(max_read_req), .cfg_requester_id(requester_id), .cfg_current_speed(speed),
    .cfg_negotiated_width(width)
  );

  logic        wr_valid, wr_ready, rd_valid, rd_ready, rd_error;
  logic [12:0] wr_addr, rd_addr;
  logic [63:0] wr_data, rd_data;
  logic [7:0]  wr_strb;

  accelerator_axi_regs #(
    .RegAddrWidth(13), .DataWidth(64)
  ) u_axi_regs (
    .clk_i(aclk), .rst_ni(user_resetn),
    `ACCELERATOR_AXI_REGS(bar),
    .reg_wr_valid_o(wr_valid), .reg_wr_ready_i(wr_ready), .reg_wr_addr_o(wr_addr),
    .reg_wr_data_o(wr_data), .reg_wr_strb_o(wr_strb), .reg_wr_error_i(1'b0),
    .reg_rd_valid_o(rd_valid), .reg_rd_ready_i(rd_ready), .reg_rd_addr_o(rd_addr), .reg_rd_strb_o(),
    .reg_rd_data_i(rd_data), .reg_rd_error_i(rd_error)
  );
  /* verilator lint_on PINCONNECTEMPTY */

  probe #(
    .DmaIdWidth(DmaIdWidth)
  ) u_probe (
    .clk_i(aclk), .rst_ni(user_resetn),
    .wr_valid_i(wr_valid), .wr_ready_o(wr_ready), .wr_addr_i(wr_addr), .wr_data_i(wr_data),
    .wr_strb_i(wr_strb), .rd_valid_i(rd_valid), .rd_ready_o(rd_ready), .rd_addr_i(rd_addr),
    .rd_data_o(rd_data), .rd_error_o(rd_error),

    .m_axi_awid(dma_awid), .m_axi_awaddr(dma_awaddr), .m_axi_awlen(dma_awlen),
    .m_axi_awsize(dma_awsize), .m_axi_awburst(dma_awburst), .m_axi_awvalid(dma_awvalid),
    .m_axi_awready(dma_awready), .m_axi_wdata(dma_wdata), .m_axi_wstrb(dma_wstrb),
    .m_axi_wlast(dma_wlast), .m_axi_wvalid(dma_wvalid), .m_axi_wready(dma_wready),
    .m_axi_bresp(dma_bresp), .m_axi_bvalid(dma_bvalid), .m_axi_bready(dma_bready),
    .m_axi_arid(dma_arid), .m_axi_araddr(dma_araddr), .m_axi_arlen(dma_arlen),
    .m_axi_arsize(dma_arsize), .m_axi_arburst(dma_arburst), .m_axi_arvalid(dma_arvalid),
    .m_axi_arready(dma_arready), .m_axi_rdata(dma_rdata), .m_axi_rresp(dma_rresp),
    .m_axi_rvalid(dma_rvalid), .m_axi_rready(dma_rready),

    .cfg_i({requester_id, max_read_req, max_payload, power_state, no_snoop, relaxed_ordering,
            extended_tag, msix_mask, msix_enable, intx_disable, bus_master, memory_space}),
    .cfg_link_i({18'd0, width, 5'd0, speed}),

    .msix_valid_o(msix_valid), .msix_ready_i(msix_ready), .msix_vector_o(msix_vector)
  );

endmodule
