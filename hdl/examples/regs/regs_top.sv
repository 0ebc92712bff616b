// SPDX-License-Identifier: Apache-2.0
//
// What is simulated: the bridge, an AXI slave with a register port, and the registers.

module regs_top #(
  parameter string Name = "regs"
) (
  input logic aclk,
  input logic aresetn
);

  logic        user_resetn;
  logic        msix_valid, msix_ready;
  logic [10:0] msix_vector;

  logic        awid, awvalid, awready, wvalid, wready, wlast, bid, bvalid, bready;
  logic        arid, arvalid, arready, rid, rvalid, rready, rlast;
  logic [63:0] awaddr, araddr;
  logic [31:0] wdata, rdata;
  logic [7:0]  arlen;
  logic [3:0]  wstrb;
  logic [2:0]  awsize, arsize;
  logic [1:0]  bresp, rresp;

  logic        wr_valid, wr_ready;
  logic [11:0] wr_addr, rd_addr;
  logic [31:0] wr_data, rd_data;
  logic [3:0]  wr_strb;

  // The example has no use for some outputs.
  /* verilator lint_off PINCONNECTEMPTY */
  /* verilator lint_off PINMISSING */
  accelerator_pcie_bridge #(
    .Name           (Name),
    .VendorId       (16'h10EE),
    .DeviceId       (16'h7011),
    .ClassCode      (24'h12_00_00),
    .RevisionId     (8'h01),
    .Bar0Size       (64'h1000),
    .Bar1Size       (64'h1000),
    .MsixVectors    (8),
    .MsixTableBar   (1),
    .MsixTableOffset(0),
    .MsixPbaBar     (1),
    .MsixPbaOffset  (32'h800)
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

    .msix_valid, .msix_ready, .msix_vector, .intx(1'b0)
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

    .reg_wr_valid_o(wr_valid), .reg_wr_ready_i(wr_ready), .reg_wr_addr_o(wr_addr),
    .reg_wr_data_o(wr_data), .reg_wr_strb_o(wr_strb), .reg_wr_error_i(1'b0),
    .reg_rd_valid_o(), .reg_rd_ready_i(1'b1), .reg_rd_addr_o(rd_addr),
    .reg_rd_data_i(rd_data), .reg_rd_error_i(1'b0)
  );
  /* verilator lint_on PINCONNECTEMPTY */
  /* verilator lint_on PINMISSING */

  regs u_regs (
    .clk_i(aclk), .rst_ni(user_resetn),
    .wr_valid_i(wr_valid), .wr_ready_o(wr_ready), .wr_addr_i(wr_addr), .wr_data_i(wr_data),
    .wr_strb_i(wr_strb), .rd_addr_i(rd_addr), .rd_data_o(rd_data),
    .msix_valid_o(msix_valid), .msix_ready_i(msix_ready), .msix_vector_o(msix_vector)
  );

endmodule
