// SPDX-License-Identifier: Apache-2.0
//
// What is simulated to measure the network and the serial side: a NIC bridge and a UART bridge, each
// with RTL that keeps it busy. The PCIe bridge is there because a card is one; behind BAR 0 is a
// register that reads as "CHAN".

module channels_top (
  input logic aclk,
  input logic aresetn
);

  logic        user_resetn;

  logic        awid, awvalid, awready, wvalid, wready, wlast, bid, bvalid, bready;
  logic        arid, arvalid, arready, rid, rvalid, rready, rlast;
  logic [63:0] awaddr, araddr;
  logic [31:0] wdata, rdata;
  logic [7:0]  arlen;
  logic [3:0]  wstrb;
  logic [2:0]  awsize, arsize;
  logic [1:0]  bresp, rresp;

  // The example has no use for some outputs.
  /* verilator lint_off PINCONNECTEMPTY */
  /* verilator lint_off PINMISSING */
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

    .m_axi_awid(awid), .m_axi_awaddr(awaddr), .m_axi_awlen(), .m_axi_awsize(awsize),
    .m_axi_awburst(), .m_axi_awcache(), .m_axi_awprot(), .m_axi_awvalid(awvalid),
    .m_axi_awready(awready), .m_axi_wdata(wdata), .m_axi_wstrb(wstrb), .m_axi_wlast(wlast),
    .m_axi_wvalid(wvalid), .m_axi_wready(wready), .m_axi_bid(bid), .m_axi_bresp(bresp),
    .m_axi_bvalid(bvalid), .m_axi_bready(bready), .m_axi_arid(arid), .m_axi_araddr(araddr),
    .m_axi_arlen(arlen), .m_axi_arsize(arsize), .m_axi_arburst(), .m_axi_arcache(),
    .m_axi_arprot(), .m_axi_arvalid(arvalid), .m_axi_arready(arready), .m_axi_rid(rid),
    .m_axi_rdata(rdata), .m_axi_rresp(rresp), .m_axi_rlast(rlast), .m_axi_rvalid(rvalid),
    .m_axi_rready(rready),

    // No DMA.
    .s_axi_awid('0), .s_axi_awaddr('0), .s_axi_awlen('0), .s_axi_awsize('0),
    .s_axi_awburst('0), .s_axi_awvalid(1'b0), .s_axi_awready(), .s_axi_wdata('0),
    .s_axi_wstrb('0), .s_axi_wlast(1'b0), .s_axi_wvalid(1'b0), .s_axi_wready(),
    .s_axi_bid(), .s_axi_bresp(), .s_axi_bvalid(), .s_axi_bready(1'b0), .s_axi_arid('0),
    .s_axi_araddr('0), .s_axi_arlen('0), .s_axi_arsize('0), .s_axi_arburst('0),
    .s_axi_arvalid(1'b0), .s_axi_arready(), .s_axi_rid(), .s_axi_rdata(), .s_axi_rresp(),
    .s_axi_rlast(), .s_axi_rvalid(), .s_axi_rready(1'b0),

    .msix_valid(1'b0), .msix_ready(), .msix_vector('0), .intx(1'b0)
  );

  accelerator_axi_regs u_axi_regs (
    .clk_i(aclk), .rst_ni(user_resetn),
    .s_axi_awid(awid), .s_axi_awaddr(awaddr), .s_axi_awsize(awsize),
    .s_axi_awvalid(awvalid), .s_axi_awready(awready), .s_axi_wdata(wdata),
    .s_axi_wstrb(wstrb), .s_axi_wlast(wlast), .s_axi_wvalid(wvalid), .s_axi_wready(wready),
    .s_axi_bid(bid), .s_axi_bresp(bresp), .s_axi_bvalid(bvalid), .s_axi_bready(bready),
    .s_axi_arid(arid), .s_axi_araddr(araddr), .s_axi_arlen(arlen), .s_axi_arsize(arsize),
    .s_axi_arvalid(arvalid), .s_axi_arready(arready), .s_axi_rid(rid), .s_axi_rdata(rdata),
    .s_axi_rresp(rresp), .s_axi_rlast(rlast), .s_axi_rvalid(rvalid), .s_axi_rready(rready),

    .reg_wr_valid_o(), .reg_wr_ready_i(1'b1), .reg_wr_addr_o(), .reg_wr_data_o(),
    .reg_wr_strb_o(), .reg_wr_error_i(1'b0), .reg_rd_valid_o(), .reg_rd_ready_i(1'b1),
    .reg_rd_addr_o(), .reg_rd_data_i(32'h4E414843), .reg_rd_error_i(1'b0)
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
  /* verilator lint_on PINMISSING */

  channels_nic u_nic (
    .clk_i(aclk), .rst_ni(user_resetn),
    .rx_data_i(rx_data), .rx_keep_i(rx_keep), .rx_last_i(rx_last), .rx_valid_i(rx_valid),
    .rx_ready_o(rx_ready), .tx_data_o(tx_data), .tx_keep_o(tx_keep), .tx_last_o(tx_last),
    .tx_valid_o(tx_valid), .tx_ready_i(tx_ready)
  );

  channels_uart u_uart (.clk_i(aclk), .rst_ni(user_resetn));

endmodule
