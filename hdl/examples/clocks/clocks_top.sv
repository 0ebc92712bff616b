// SPDX-License-Identifier: Apache-2.0
//
// The sorter with a clock of its own, user_clk, that has nothing to do with the bridge's: what to do
// where a design has another clock than its PCIe block. Guest accesses, host memory and interrupts
// cross by queues, resets by two registers. docs/clocks.md says why it is so, and what a board needs
// beside it.

`include "accelerator_axi.svh"

module clocks_top #(
  parameter int unsigned DmaDataWidth = 128
) (
  // The bridge's.
  input logic aclk,
  input logic aresetn,
  // The card's.
  input logic user_clk
);

  localparam int unsigned DmaIdWidth = 4;

  ///////////////////////
  // In step with aclk //
  ///////////////////////

  logic        user_resetn;
  logic        msix_valid, msix_ready;
  logic [10:0] msix_vector;

  `ACCELERATOR_AXI_SIGNALS(pcie_bar, 64, 32, 1)
  `ACCELERATOR_AXI_SIGNALS(pcie_dma, 64, DmaDataWidth, DmaIdWidth)

  // The example has no use for some outputs.
  /* verilator lint_off PINCONNECTEMPTY */
  accelerator_pcie_bridge #(
    .Name           ("clocks"),
    .VendorId       (16'h10EE),
    .DeviceId       (16'h7024),
    .SubVendorId    (16'h10EE),
    .SubDeviceId    (16'h0007),
    .ClassCode      (24'h12_00_00),
    .RevisionId     (8'h01),
    .Bar0Size       (64'h1_0000),
    .Bar2Size       (64'h1_0000),
    .Bar2AxiBase    (64'h1_0000),
    .BarIs64        (6'b000101),
    .BarPrefetch    (6'b000100),
    .MsixVectors    (4),
    .MsixTableBar   (2),
    .MsixTableOffset(0),
    .MsixPbaBar     (2),
    .MsixPbaOffset  (32'h8000),
    .LinkSpeed      (3),
    .LinkWidth      (8),
    .DmaDataWidth   (DmaDataWidth),
    .DmaIdWidth     (DmaIdWidth)
  ) u_bridge (
    .aclk, .aresetn, .user_resetn, .user_link_up(),

    `ACCELERATOR_AXI_BAR(pcie_bar),
    `ACCELERATOR_AXI(s_axi, pcie_dma),
    .msix_valid, .msix_ready, .msix_vector, .intx(1'b0),
    `ACCELERATOR_NO_CFG
  );
  /* verilator lint_on PINCONNECTEMPTY */

  //////////////
  // Crossing //
  //////////////

  // user_resetn for the other side: at once, and released in step with its clock. All of that side
  // is reset by this one.
  logic        card_resetn;
  logic        card_msix_valid, card_msix_ready;
  logic [10:0] card_msix_vector;

  `ACCELERATOR_AXI_SIGNALS(bar, 64, 32, 1)
  `ACCELERATOR_AXI_SIGNALS(dma, 64, DmaDataWidth, DmaIdWidth)

  accelerator_cdc_reset u_reset (.clk_i(user_clk), .rst_ni(user_resetn), .rst_no(card_resetn));

  accelerator_axi_cdc #(
    .AddrWidth(64), .DataWidth(32), .IdWidth(1)
  ) u_bar_cdc (
    .s_axi_aclk(aclk), .s_axi_aresetn(user_resetn), `ACCELERATOR_AXI(s_axi, pcie_bar),
    .m_axi_aclk(user_clk), .m_axi_aresetn(card_resetn), `ACCELERATOR_AXI(m_axi, bar)
  );

  accelerator_axi_cdc #(
    .AddrWidth(64), .DataWidth(DmaDataWidth), .IdWidth(DmaIdWidth)
  ) u_dma_cdc (
    .s_axi_aclk(user_clk), .s_axi_aresetn(card_resetn), `ACCELERATOR_AXI(s_axi, dma),
    .m_axi_aclk(aclk), .m_axi_aresetn(user_resetn), `ACCELERATOR_AXI(m_axi, pcie_dma)
  );

  // The sorter has waited for B when it asks for one.
  accelerator_cdc_fifo #(
    .Width(11), .LogDepth(2)
  ) u_msix_cdc (
    .wr_clk_i(user_clk), .wr_rst_ni(card_resetn), .wr_valid_i(card_msix_valid),
    .wr_ready_o(card_msix_ready), .wr_data_i(card_msix_vector),
    .rd_clk_i(aclk), .rd_rst_ni(user_resetn), .rd_valid_o(msix_valid), .rd_ready_i(msix_ready),
    .rd_data_o(msix_vector)
  );

  ///////////////////////////
  // In step with user_clk //
  ///////////////////////////

  logic        wr_valid, rd_valid;
  logic [11:0] wr_addr, rd_addr;
  logic [31:0] wr_data, rd_data;
  logic [3:0]  wr_strb;

  // The example has no use for some outputs.
  /* verilator lint_off PINCONNECTEMPTY */
  accelerator_axi_regs u_axi_regs (
    .clk_i(user_clk), .rst_ni(card_resetn),
    `ACCELERATOR_AXI_REGS(bar),
    .reg_wr_valid_o(wr_valid), .reg_wr_ready_i(1'b1), .reg_wr_addr_o(wr_addr),
    .reg_wr_data_o(wr_data), .reg_wr_strb_o(wr_strb), .reg_wr_error_i(1'b0),
    .reg_rd_valid_o(rd_valid), .reg_rd_ready_i(1'b1), .reg_rd_addr_o(rd_addr), .reg_rd_strb_o(),
    .reg_rd_data_i(rd_data), .reg_rd_error_i(1'b0)
  );
  /* verilator lint_on PINCONNECTEMPTY */

  sort_core #(
    .DataWidth(DmaDataWidth), .IdWidth(DmaIdWidth)
  ) u_core (
    .clk_i(user_clk), .rst_ni(card_resetn),
    .wr_valid_i(wr_valid), .wr_addr_i(wr_addr), .wr_data_i(wr_data), .wr_strb_i(wr_strb),
    .rd_valid_i(rd_valid), .rd_addr_i(rd_addr), .rd_data_o(rd_data),
    .m_axi_awid(dma_awid), .m_axi_awaddr(dma_awaddr), .m_axi_awlen(dma_awlen),
    .m_axi_awsize(dma_awsize), .m_axi_awburst(dma_awburst), .m_axi_awvalid(dma_awvalid),
    .m_axi_awready(dma_awready), .m_axi_wdata(dma_wdata), .m_axi_wstrb(dma_wstrb),
    .m_axi_wlast(dma_wlast), .m_axi_wvalid(dma_wvalid), .m_axi_wready(dma_wready),
    .m_axi_bresp(dma_bresp), .m_axi_bvalid(dma_bvalid), .m_axi_bready(dma_bready),
    .m_axi_arid(dma_arid), .m_axi_araddr(dma_araddr), .m_axi_arlen(dma_arlen),
    .m_axi_arsize(dma_arsize), .m_axi_arburst(dma_arburst), .m_axi_arvalid(dma_arvalid),
    .m_axi_arready(dma_arready), .m_axi_rdata(dma_rdata), .m_axi_rresp(dma_rresp),
    .m_axi_rlast(dma_rlast), .m_axi_rvalid(dma_rvalid), .m_axi_rready(dma_rready),

    .msix_valid_o(card_msix_valid), .msix_ready_i(card_msix_ready),
    .msix_vector_o(card_msix_vector)
  );

endmodule
