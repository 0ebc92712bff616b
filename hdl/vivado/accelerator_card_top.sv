// SPDX-License-Identifier: Apache-2.0
//
// A card in a simulation without a block design: the bridge, and the card behind it. After
// synthesis or implementation the card is a netlist here, and the bridge what it was.

`include "card.vh"

module accelerator_card_top (
  input logic aclk,
  input logic aresetn
);

  logic user_resetn;
  logic bar_awid;
  logic [63:0] bar_awaddr;
  logic [7:0] bar_awlen;
  logic [2:0] bar_awsize;
  logic [1:0] bar_awburst;
  logic bar_awvalid;
  logic bar_awready;
  logic [31:0] bar_wdata;
  logic [3:0] bar_wstrb;
  logic bar_wlast;
  logic bar_wvalid;
  logic bar_wready;
  logic bar_bid;
  logic [1:0] bar_bresp;
  logic bar_bvalid;
  logic bar_bready;
  logic bar_arid;
  logic [63:0] bar_araddr;
  logic [7:0] bar_arlen;
  logic [2:0] bar_arsize;
  logic [1:0] bar_arburst;
  logic bar_arvalid;
  logic bar_arready;
  logic bar_rid;
  logic [31:0] bar_rdata;
  logic [1:0] bar_rresp;
  logic bar_rlast;
  logic bar_rvalid;
  logic bar_rready;
  logic [3:0] dma_awid;
  logic [63:0] dma_awaddr;
  logic [7:0] dma_awlen;
  logic [2:0] dma_awsize;
  logic [1:0] dma_awburst;
  logic dma_awvalid;
  logic dma_awready;
  logic [127:0] dma_wdata;
  logic [15:0] dma_wstrb;
  logic dma_wlast;
  logic dma_wvalid;
  logic dma_wready;
  logic [3:0] dma_bid;
  logic [1:0] dma_bresp;
  logic dma_bvalid;
  logic dma_bready;
  logic [3:0] dma_arid;
  logic [63:0] dma_araddr;
  logic [7:0] dma_arlen;
  logic [2:0] dma_arsize;
  logic [1:0] dma_arburst;
  logic dma_arvalid;
  logic dma_arready;
  logic [3:0] dma_rid;
  logic [127:0] dma_rdata;
  logic [1:0] dma_rresp;
  logic dma_rlast;
  logic dma_rvalid;
  logic dma_rready;
  logic        msix_valid, msix_ready;
  logic [10:0] msix_vector;

  // The card has no use for some outputs.
  /* verilator lint_off PINCONNECTEMPTY */
  /* verilator lint_off PINMISSING */
  accelerator_pcie_bridge #(
    .Name           (`CARD_NAME),
    .VendorId       (`CARD_VENDOR_ID),
    .DeviceId       (`CARD_DEVICE_ID),
    .SubVendorId    (`CARD_SUBVENDOR_ID),
    .SubDeviceId    (`CARD_SUBDEVICE_ID),
    .ClassCode      (`CARD_CLASS_CODE),
    .RevisionId     (`CARD_REVISION_ID),
    .Bar0Size       (64'd1024 * `CARD_BAR0_KIB),
    .BarIs64        (6'b000001),
    .MsixVectors    (`CARD_MSIX_VECTORS),
    .MsixTableBar   (0),
    .MsixTableOffset(`CARD_MSIX_TABLE),
    .MsixPbaBar     (0),
    .MsixPbaOffset  (`CARD_MSIX_PBA)
  ) u_bridge (
    .aclk, .aresetn, .user_resetn, .user_link_up(),
    .m_axi_awid(bar_awid),
    .m_axi_awaddr(bar_awaddr),
    .m_axi_awlen(bar_awlen),
    .m_axi_awsize(bar_awsize),
    .m_axi_awburst(bar_awburst),
    .m_axi_awvalid(bar_awvalid),
    .m_axi_awready(bar_awready),
    .m_axi_wdata(bar_wdata),
    .m_axi_wstrb(bar_wstrb),
    .m_axi_wlast(bar_wlast),
    .m_axi_wvalid(bar_wvalid),
    .m_axi_wready(bar_wready),
    .m_axi_bid(bar_bid),
    .m_axi_bresp(bar_bresp),
    .m_axi_bvalid(bar_bvalid),
    .m_axi_bready(bar_bready),
    .m_axi_arid(bar_arid),
    .m_axi_araddr(bar_araddr),
    .m_axi_arlen(bar_arlen),
    .m_axi_arsize(bar_arsize),
    .m_axi_arburst(bar_arburst),
    .m_axi_arvalid(bar_arvalid),
    .m_axi_arready(bar_arready),
    .m_axi_rid(bar_rid),
    .m_axi_rdata(bar_rdata),
    .m_axi_rresp(bar_rresp),
    .m_axi_rlast(bar_rlast),
    .m_axi_rvalid(bar_rvalid),
    .m_axi_rready(bar_rready),
    .m_axi_awcache(), .m_axi_awprot(), .m_axi_arcache(), .m_axi_arprot(),
    .s_axi_awid(dma_awid),
    .s_axi_awaddr(dma_awaddr),
    .s_axi_awlen(dma_awlen),
    .s_axi_awsize(dma_awsize),
    .s_axi_awburst(dma_awburst),
    .s_axi_awvalid(dma_awvalid),
    .s_axi_awready(dma_awready),
    .s_axi_wdata(dma_wdata),
    .s_axi_wstrb(dma_wstrb),
    .s_axi_wlast(dma_wlast),
    .s_axi_wvalid(dma_wvalid),
    .s_axi_wready(dma_wready),
    .s_axi_bid(dma_bid),
    .s_axi_bresp(dma_bresp),
    .s_axi_bvalid(dma_bvalid),
    .s_axi_bready(dma_bready),
    .s_axi_arid(dma_arid),
    .s_axi_araddr(dma_araddr),
    .s_axi_arlen(dma_arlen),
    .s_axi_arsize(dma_arsize),
    .s_axi_arburst(dma_arburst),
    .s_axi_arvalid(dma_arvalid),
    .s_axi_arready(dma_arready),
    .s_axi_rid(dma_rid),
    .s_axi_rdata(dma_rdata),
    .s_axi_rresp(dma_rresp),
    .s_axi_rlast(dma_rlast),
    .s_axi_rvalid(dma_rvalid),
    .s_axi_rready(dma_rready),
    .msix_valid, .msix_ready, .msix_vector, .intx(1'b0)
  );
  /* verilator lint_on PINCONNECTEMPTY */
  /* verilator lint_on PINMISSING */

  accelerator_card u_card (
    .aclk, .aresetn(user_resetn),
    .s_axi_awid(bar_awid),
    .s_axi_awaddr(bar_awaddr),
    .s_axi_awlen(bar_awlen),
    .s_axi_awsize(bar_awsize),
    .s_axi_awburst(bar_awburst),
    .s_axi_awvalid(bar_awvalid),
    .s_axi_awready(bar_awready),
    .s_axi_wdata(bar_wdata),
    .s_axi_wstrb(bar_wstrb),
    .s_axi_wlast(bar_wlast),
    .s_axi_wvalid(bar_wvalid),
    .s_axi_wready(bar_wready),
    .s_axi_bid(bar_bid),
    .s_axi_bresp(bar_bresp),
    .s_axi_bvalid(bar_bvalid),
    .s_axi_bready(bar_bready),
    .s_axi_arid(bar_arid),
    .s_axi_araddr(bar_araddr),
    .s_axi_arlen(bar_arlen),
    .s_axi_arsize(bar_arsize),
    .s_axi_arburst(bar_arburst),
    .s_axi_arvalid(bar_arvalid),
    .s_axi_arready(bar_arready),
    .s_axi_rid(bar_rid),
    .s_axi_rdata(bar_rdata),
    .s_axi_rresp(bar_rresp),
    .s_axi_rlast(bar_rlast),
    .s_axi_rvalid(bar_rvalid),
    .s_axi_rready(bar_rready),
    .m_axi_awid(dma_awid),
    .m_axi_awaddr(dma_awaddr),
    .m_axi_awlen(dma_awlen),
    .m_axi_awsize(dma_awsize),
    .m_axi_awburst(dma_awburst),
    .m_axi_awvalid(dma_awvalid),
    .m_axi_awready(dma_awready),
    .m_axi_wdata(dma_wdata),
    .m_axi_wstrb(dma_wstrb),
    .m_axi_wlast(dma_wlast),
    .m_axi_wvalid(dma_wvalid),
    .m_axi_wready(dma_wready),
    .m_axi_bid(dma_bid),
    .m_axi_bresp(dma_bresp),
    .m_axi_bvalid(dma_bvalid),
    .m_axi_bready(dma_bready),
    .m_axi_arid(dma_arid),
    .m_axi_araddr(dma_araddr),
    .m_axi_arlen(dma_arlen),
    .m_axi_arsize(dma_arsize),
    .m_axi_arburst(dma_arburst),
    .m_axi_arvalid(dma_arvalid),
    .m_axi_arready(dma_arready),
    .m_axi_rid(dma_rid),
    .m_axi_rdata(dma_rdata),
    .m_axi_rresp(dma_rresp),
    .m_axi_rlast(dma_rlast),
    .m_axi_rvalid(dma_rvalid),
    .m_axi_rready(dma_rready),
    .msix_valid, .msix_ready, .msix_vector
  );

endmodule
