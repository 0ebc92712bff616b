// SPDX-License-Identifier: Apache-2.0
//
// A checker on each side of a crossing, where a test plays what is connected to it.

bind accelerator_axi_cdc axi_checker #(
  .Name("s_axi"), .AddrWidth(AddrWidth), .DataWidth(DataWidth), .IdWidth(IdWidth), .Requests(1'b0)
) u_watch_s_axi (
  .aclk(s_axi_aclk), .aresetn(s_axi_aresetn),
  .awid(s_axi_awid), .awaddr(s_axi_awaddr), .awlen(s_axi_awlen), .awsize(s_axi_awsize),
  .awburst(s_axi_awburst), .awcache(4'b0011), .awvalid(s_axi_awvalid), .awready(s_axi_awready),
  .wdata(s_axi_wdata), .wstrb(s_axi_wstrb), .wlast(s_axi_wlast), .wvalid(s_axi_wvalid),
  .wready(s_axi_wready), .bid(s_axi_bid), .bresp(s_axi_bresp), .bvalid(s_axi_bvalid),
  .bready(s_axi_bready), .arid(s_axi_arid), .araddr(s_axi_araddr), .arlen(s_axi_arlen),
  .arsize(s_axi_arsize), .arburst(s_axi_arburst), .arcache(4'b0011), .arvalid(s_axi_arvalid),
  .arready(s_axi_arready), .rid(s_axi_rid), .rdata(s_axi_rdata), .rresp(s_axi_rresp),
  .rlast(s_axi_rlast), .rvalid(s_axi_rvalid), .rready(s_axi_rready)
);

bind accelerator_axi_cdc axi_checker #(
  .Name("m_axi"), .AddrWidth(AddrWidth), .DataWidth(DataWidth), .IdWidth(IdWidth), .Answers(1'b0)
) u_watch_m_axi (
  .aclk(m_axi_aclk), .aresetn(m_axi_aresetn),
  .awid(m_axi_awid), .awaddr(m_axi_awaddr), .awlen(m_axi_awlen), .awsize(m_axi_awsize),
  .awburst(m_axi_awburst), .awcache(4'b0011), .awvalid(m_axi_awvalid), .awready(m_axi_awready),
  .wdata(m_axi_wdata), .wstrb(m_axi_wstrb), .wlast(m_axi_wlast), .wvalid(m_axi_wvalid),
  .wready(m_axi_wready), .bid(m_axi_bid), .bresp(m_axi_bresp), .bvalid(m_axi_bvalid),
  .bready(m_axi_bready), .arid(m_axi_arid), .araddr(m_axi_araddr), .arlen(m_axi_arlen),
  .arsize(m_axi_arsize), .arburst(m_axi_arburst), .arcache(4'b0011), .arvalid(m_axi_arvalid),
  .arready(m_axi_arready), .rid(m_axi_rid), .rdata(m_axi_rdata), .rresp(m_axi_rresp),
  .rlast(m_axi_rlast), .rvalid(m_axi_rvalid), .rready(m_axi_rready)
);
