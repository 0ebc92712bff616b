// SPDX-License-Identifier: Apache-2.0
//
// What is simulated: the bridge and the design that measures it. BAR 2 holds the MSI-X table only.

module bench_top (
  input logic aclk,
  input logic aresetn
);

  localparam int unsigned DmaDataWidth = 128;
  localparam int unsigned DmaIdWidth = 4;

  logic        user_resetn;
  logic        msix_valid, msix_ready;
  logic [10:0] msix_vector;

  // Guest accesses.
  logic        awvalid, awready, wvalid, wready, wlast, bvalid, bready;
  logic        arvalid, arready, rvalid, rready, rlast, awid, arid, bid, rid;
  logic [63:0] awaddr, araddr;
  logic [63:0] wdata, rdata;
  logic [7:0]  arlen;
  logic [7:0]  wstrb;
  logic [2:0]  awsize, arsize;
  logic [1:0]  bresp, rresp;

  // Host memory.
  logic                      dma_awvalid, dma_awready, dma_wvalid, dma_wready, dma_wlast;
  logic                      dma_bvalid, dma_bready, dma_arvalid, dma_arready;
  logic                      dma_rvalid, dma_rready, dma_rlast;
  logic [DmaIdWidth-1:0]     dma_awid, dma_arid;
  logic [63:0]               dma_awaddr, dma_araddr;
  logic [7:0]                dma_awlen, dma_arlen;
  logic [2:0]                dma_awsize, dma_arsize;
  logic [1:0]                dma_awburst, dma_arburst, dma_bresp, dma_rresp;
  logic [DmaDataWidth-1:0]   dma_wdata, dma_rdata;
  logic [DmaDataWidth/8-1:0] dma_wstrb;

  // The example has no use for some outputs.
  /* verilator lint_off PINCONNECTEMPTY */
  /* verilator lint_off PINMISSING */
  accelerator_pcie_bridge #(
    .Name           ("bench"),
    .VendorId       (16'h10EE),
    .DeviceId       (16'h7032),
    .SubVendorId    (16'h10EE),
    .SubDeviceId    (16'h0007),
    .ClassCode      (24'h12_00_00),
    .RevisionId     (8'h01),
    .Bar0Size       (64'h1000),
    .Bar2Size       (64'h1_0000),
    .Bar2AxiBase    (64'h1_0000),
    .BarIs64        (6'b000101),
    .BarPrefetch    (6'b000100),
    .MsixVectors    (1),
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

    .m_axi_awid(awid), .m_axi_awaddr(awaddr), .m_axi_awlen(), .m_axi_awsize(awsize),
    .m_axi_awburst(), .m_axi_awcache(), .m_axi_awprot(), .m_axi_awvalid(awvalid),
    .m_axi_awready(awready), .m_axi_wdata(wdata), .m_axi_wstrb(wstrb), .m_axi_wlast(wlast),
    .m_axi_wvalid(wvalid), .m_axi_wready(wready), .m_axi_bid(bid), .m_axi_bresp(bresp),
    .m_axi_bvalid(bvalid), .m_axi_bready(bready), .m_axi_arid(arid), .m_axi_araddr(araddr),
    .m_axi_arlen(arlen), .m_axi_arsize(arsize), .m_axi_arburst(), .m_axi_arcache(),
    .m_axi_arprot(), .m_axi_arvalid(arvalid), .m_axi_arready(arready), .m_axi_rid(rid),
    .m_axi_rdata(rdata), .m_axi_rresp(rresp), .m_axi_rlast(rlast), .m_axi_rvalid(rvalid),
    .m_axi_rready(rready),

    .s_axi_awid(dma_awid), .s_axi_awaddr(dma_awaddr), .s_axi_awlen(dma_awlen),
    .s_axi_awsize(dma_awsize), .s_axi_awburst(dma_awburst), .s_axi_awvalid(dma_awvalid),
    .s_axi_awready(dma_awready), .s_axi_wdata(dma_wdata), .s_axi_wstrb(dma_wstrb),
    .s_axi_wlast(dma_wlast), .s_axi_wvalid(dma_wvalid), .s_axi_wready(dma_wready),
    .s_axi_bid(), .s_axi_bresp(dma_bresp), .s_axi_bvalid(dma_bvalid),
    .s_axi_bready(dma_bready), .s_axi_arid(dma_arid), .s_axi_araddr(dma_araddr),
    .s_axi_arlen(dma_arlen), .s_axi_arsize(dma_arsize), .s_axi_arburst(dma_arburst),
    .s_axi_arvalid(dma_arvalid), .s_axi_arready(dma_arready), .s_axi_rid(),
    .s_axi_rdata(dma_rdata), .s_axi_rresp(dma_rresp), .s_axi_rlast(dma_rlast),
    .s_axi_rvalid(dma_rvalid), .s_axi_rready(dma_rready),

    .msix_valid, .msix_ready, .msix_vector, .intx(1'b0)
  );

  logic        wr_valid, wr_ready, rd_valid, rd_ready;
  logic [11:0] wr_addr, rd_addr;
  logic [63:0] wr_data, rd_data;
  logic [7:0]  wr_strb;

  accelerator_axi_regs #(
    .RegAddrWidth(12), .DataWidth(64)
  ) u_axi_regs (
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
    .reg_rd_valid_o(rd_valid), .reg_rd_ready_i(rd_ready), .reg_rd_addr_o(rd_addr),
    .reg_rd_data_i(rd_data), .reg_rd_error_i(1'b0)
  );
  /* verilator lint_on PINCONNECTEMPTY */
  /* verilator lint_on PINMISSING */

  bench #(
    .DataWidth(DmaDataWidth), .IdWidth(DmaIdWidth)
  ) u_bench (
    .clk_i(aclk), .rst_ni(user_resetn),
    .wr_valid_i(wr_valid), .wr_ready_o(wr_ready), .wr_addr_i(wr_addr), .wr_data_i(wr_data),
    .wr_strb_i(wr_strb), .rd_valid_i(rd_valid), .rd_ready_o(rd_ready), .rd_addr_i(rd_addr),
    .rd_data_o(rd_data),

    .m_axi_awid(dma_awid), .m_axi_awaddr(dma_awaddr), .m_axi_awlen(dma_awlen),
    .m_axi_awsize(dma_awsize), .m_axi_awburst(dma_awburst), .m_axi_awvalid(dma_awvalid),
    .m_axi_awready(dma_awready), .m_axi_wdata(dma_wdata), .m_axi_wstrb(dma_wstrb),
    .m_axi_wlast(dma_wlast), .m_axi_wvalid(dma_wvalid), .m_axi_wready(dma_wready),
    .m_axi_bresp(dma_bresp), .m_axi_bvalid(dma_bvalid), .m_axi_bready(dma_bready),
    .m_axi_arid(dma_arid), .m_axi_araddr(dma_araddr), .m_axi_arlen(dma_arlen),
    .m_axi_arsize(dma_arsize), .m_axi_arburst(dma_arburst), .m_axi_arvalid(dma_arvalid),
    .m_axi_arready(dma_arready), .m_axi_rdata(dma_rdata), .m_axi_rresp(dma_rresp),
    .m_axi_rlast(dma_rlast), .m_axi_rvalid(dma_rvalid), .m_axi_rready(dma_rready),

    .msix_valid_o(msix_valid), .msix_ready_i(msix_ready), .msix_vector_o(msix_vector)
  );

endmodule
