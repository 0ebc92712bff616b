// SPDX-License-Identifier: Apache-2.0
//
// A checker on m_axi and m_axib of every XDMA in a test.

bind accelerator_xdma axi_checker #(
  .Name("xdma m_axi"), .AddrWidth(64), .DataWidth(DataWidth), .IdWidth(4), .Answers(1'b0)
) u_watch_m_axi (
  .aclk(axi_aclk), .aresetn(axi_aresetn),
  .awid(m_axi_awid), .awaddr(m_axi_awaddr), .awlen(m_axi_awlen), .awsize(m_axi_awsize),
  .awburst(m_axi_awburst), .awcache(m_axi_awcache), .awvalid(m_axi_awvalid),
  .awready(m_axi_awready), .wdata(m_axi_wdata), .wstrb(m_axi_wstrb), .wlast(m_axi_wlast),
  .wvalid(m_axi_wvalid), .wready(m_axi_wready), .bid(m_axi_bid), .bresp(m_axi_bresp),
  .bvalid(m_axi_bvalid), .bready(m_axi_bready), .arid(m_axi_arid), .araddr(m_axi_araddr),
  .arlen(m_axi_arlen), .arsize(m_axi_arsize), .arburst(m_axi_arburst), .arcache(m_axi_arcache),
  .arvalid(m_axi_arvalid), .arready(m_axi_arready), .rid(m_axi_rid), .rdata(m_axi_rdata),
  .rresp(m_axi_rresp), .rlast(m_axi_rlast), .rvalid(m_axi_rvalid), .rready(m_axi_rready)
);

bind accelerator_xdma axi_checker #(
  .Name("xdma m_axib"), .AddrWidth(64), .DataWidth(DataWidth), .IdWidth(4), .Answers(1'b0)
) u_watch_m_axib (
  .aclk(axi_aclk), .aresetn(axi_aresetn),
  .awid(m_axib_awid), .awaddr(m_axib_awaddr), .awlen(m_axib_awlen), .awsize(m_axib_awsize),
  .awburst(m_axib_awburst), .awcache(m_axib_awcache), .awvalid(m_axib_awvalid),
  .awready(m_axib_awready), .wdata(m_axib_wdata), .wstrb(m_axib_wstrb), .wlast(m_axib_wlast),
  .wvalid(m_axib_wvalid), .wready(m_axib_wready), .bid(m_axib_bid), .bresp(m_axib_bresp),
  .bvalid(m_axib_bvalid), .bready(m_axib_bready), .arid(m_axib_arid), .araddr(m_axib_araddr),
  .arlen(m_axib_arlen), .arsize(m_axib_arsize), .arburst(m_axib_arburst),
  .arcache(m_axib_arcache), .arvalid(m_axib_arvalid), .arready(m_axib_arready), .rid(m_axib_rid),
  .rdata(m_axib_rdata), .rresp(m_axib_rresp), .rlast(m_axib_rlast), .rvalid(m_axib_rvalid),
  .rready(m_axib_rready)
);

// What the DMA asks of the bridge: nothing that the bridge has to refuse.
bind accelerator_xdma axi_checker #(
  .Name("xdma host"), .AddrWidth(64), .DataWidth(DataWidth), .IdWidth(4)
) u_watch_host (
  .aclk(axi_aclk), .aresetn(axi_aresetn),
  .awid(host_awid), .awaddr(host_awaddr), .awlen(host_awlen), .awsize(host_awsize),
  .awburst(host_awburst), .awcache(4'b0011), .awvalid(host_awvalid), .awready(host_awready),
  .wdata(host_wdata), .wstrb(host_wstrb), .wlast(host_wlast), .wvalid(host_wvalid),
  .wready(host_wready), .bid(host_bid), .bresp(host_bresp), .bvalid(host_bvalid),
  .bready(host_bready), .arid(host_arid), .araddr(host_araddr), .arlen(host_arlen),
  .arsize(host_arsize), .arburst(host_arburst), .arcache(4'b0011), .arvalid(host_arvalid),
  .arready(host_arready), .rid(host_rid), .rdata(host_rdata), .rresp(host_rresp),
  .rlast(host_rlast), .rvalid(host_rvalid), .rready(host_rready)
);
