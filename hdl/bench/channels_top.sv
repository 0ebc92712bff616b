// SPDX-License-Identifier: Apache-2.0
//
// What is simulated to measure the network and the serial side: a NIC bridge and a UART bridge, each
// with RTL that keeps it busy. The PCIe bridge is there because a card is one; behind BAR 0 is a
// register that reads as "CHAN".

`include "accelerator_axi.svh"

module channels_top (
  input logic aclk,
  input logic aresetn
);

  logic        user_resetn;

  // Guest accesses.
  `ACCELERATOR_AXI_SIGNALS(bar, 64, 32, 1)

  // The example has no use for some outputs.
  /* verilator lint_off PINCONNECTEMPTY */
  accelerator_pcie_bridge #(
    .Name       ("channels"),
    .VendorId   (16'h10EE),
    .DeviceId   (16'h7033),
    .ClassCode  (24'h02_80_00),
    .RevisionId (8'h01),
    .Bar0Size   (64'h1000),
    .MsixVectors(0)
  ) u_bridge (
    .aclk, .aresetn, .user_resetn, .user_link_up(),

    `ACCELERATOR_AXI_BAR(bar),
    `ACCELERATOR_AXI_NO_DMA,
    .msix_valid(1'b0), .msix_ready(), .msix_vector('0), .intx(1'b0),
    `ACCELERATOR_NO_CFG
  );

  accelerator_axi_regs u_axi_regs (
    .clk_i(aclk), .rst_ni(user_resetn),
    `ACCELERATOR_AXI_REGS(bar),
    .reg_wr_valid_o(), .reg_wr_ready_i(1'b1), .reg_wr_addr_o(), .reg_wr_data_o(),
    .reg_wr_strb_o(), .reg_wr_error_i(1'b0), .reg_rd_valid_o(), .reg_rd_ready_i(1'b1),
    .reg_rd_addr_o(), .reg_rd_strb_o(), .reg_rd_data_i(32'h4E414843), .reg_rd_error_i(1'b0)
  );

  logic [511:0] rx_data, tx_data;
  logic [63:0]  rx_keep, tx_keep;
  logic         rx_last, rx_valid, rx_ready, tx_last, tx_valid, tx_ready;

  accelerator_nic_bridge #(
    .Name("channels"), .DataWidth(512)
  ) u_nic_bridge (
    .aclk, .aresetn(user_resetn), .link_up(), .mac(), .link_i(1'b1),
    .m_axis_tdata(rx_data), .m_axis_tkeep(rx_keep), .m_axis_tlast(rx_last),
    .m_axis_tvalid(rx_valid), .m_axis_tready(rx_ready),
    .s_axis_tdata(tx_data), .s_axis_tkeep(tx_keep), .s_axis_tlast(tx_last),
    .s_axis_tvalid(tx_valid), .s_axis_tready(tx_ready)
  );
  /* verilator lint_on PINCONNECTEMPTY */

  channels_nic u_nic (
    .clk_i(aclk), .rst_ni(user_resetn),
    .rx_data_i(rx_data), .rx_keep_i(rx_keep), .rx_last_i(rx_last), .rx_valid_i(rx_valid),
    .rx_ready_o(rx_ready), .tx_data_o(tx_data), .tx_keep_o(tx_keep), .tx_last_o(tx_last),
    .tx_valid_o(tx_valid), .tx_ready_i(tx_ready)
  );

  channels_uart u_uart (.clk_i(aclk), .rst_ni(user_resetn));

endmodule
