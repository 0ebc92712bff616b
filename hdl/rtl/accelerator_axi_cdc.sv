// SPDX-License-Identifier: Apache-2.0
//
// AXI4 from one clock domain to another: a queue for each channel (accelerator_cdc_fifo). It
// is what the AXI Clock Converter of Vivado is in its asynchronous mode (PG059), for any simulator and
// any chip, with the signals that the bridges here have.
//
// Both resets are asynchronous and come from one source, see accelerator_cdc_fifo: what is under way
// is forgotten on both sides. Nothing is promised between channels: a B or an R may come before W
// data that was taken earlier arrives, so RTL that has written waits for its B before it tells
// anybody, by an interrupt or by a register (docs/clocks.md).

module accelerator_axi_cdc #(
  parameter int unsigned AddrWidth = 64,
  parameter int unsigned DataWidth = 32,
  parameter int unsigned IdWidth   = 1,
  // Words in each queue, as a power of two. From 8 words on there is a beat in each clock of the
  // slower side.
  parameter int unsigned LogDepth  = 4
) (
  input  logic                   s_axi_aclk,
  input  logic                   s_axi_aresetn,
  input  logic [IdWidth-1:0]     s_axi_awid,
  input  logic [AddrWidth-1:0]   s_axi_awaddr,
  input  logic [7:0]             s_axi_awlen,
  input  logic [2:0]             s_axi_awsize,
  input  logic [1:0]             s_axi_awburst,
  input  logic                   s_axi_awvalid,
  output logic                   s_axi_awready,
  input  logic [DataWidth-1:0]   s_axi_wdata,
  input  logic [DataWidth/8-1:0] s_axi_wstrb,
  input  logic                   s_axi_wlast,
  input  logic                   s_axi_wvalid,
  output logic                   s_axi_wready,
  output logic [IdWidth-1:0]     s_axi_bid,
  output logic [1:0]             s_axi_bresp,
  output logic                   s_axi_bvalid,
  input  logic                   s_axi_bready,
  input  logic [IdWidth-1:0]     s_axi_arid,
  input  logic [AddrWidth-1:0]   s_axi_araddr,
  input  logic [7:0]             s_axi_arlen,
  input  logic [2:0]             s_axi_arsize,
  input  logic [1:0]             s_axi_arburst,
  input  logic                   s_axi_arvalid,
  output logic                   s_axi_arready,
  output logic [IdWidth-1:0]     s_axi_rid,
  output logic [DataWidth-1:0]   s_axi_rdata,
  output logic [1:0]             s_axi_rresp,
  output logic                   s_axi_rlast,
  output logic                   s_axi_rvalid,
  input  logic                   s_axi_rready,

  input  logic                   m_axi_aclk,
  input  logic                   m_axi_aresetn,
  output logic [IdWidth-1:0]     m_axi_awid,
  output logic [AddrWidth-1:0]   m_axi_awaddr,
  output logic [7:0]             m_axi_awlen,
  output logic [2:0]             m_axi_awsize,
  output logic [1:0]             m_axi_awburst,
  output logic                   m_axi_awvalid,
  input  logic                   m_axi_awready,
  output logic [DataWidth-1:0]   m_axi_wdata,
  output logic [DataWidth/8-1:0] m_axi_wstrb,
  output logic                   m_axi_wlast,
  output logic                   m_axi_wvalid,
  input  logic                   m_axi_wready,
  input  logic [IdWidth-1:0]     m_axi_bid,
  input  logic [1:0]             m_axi_bresp,
  input  logic                   m_axi_bvalid,
  output logic                   m_axi_bready,
  output logic [IdWidth-1:0]     m_axi_arid,
  output logic [AddrWidth-1:0]   m_axi_araddr,
  output logic [7:0]             m_axi_arlen,
  output logic [2:0]             m_axi_arsize,
  output logic [1:0]             m_axi_arburst,
  output logic                   m_axi_arvalid,
  input  logic                   m_axi_arready,
  input  logic [IdWidth-1:0]     m_axi_rid,
  input  logic [DataWidth-1:0]   m_axi_rdata,
  input  logic [1:0]             m_axi_rresp,
  input  logic                   m_axi_rlast,
  input  logic                   m_axi_rvalid,
  output logic                   m_axi_rready
);

  localparam int unsigned RequestWidth = IdWidth + AddrWidth + 13;
  localparam int unsigned WWidth       = DataWidth + DataWidth / 8 + 1;
  localparam int unsigned BWidth       = IdWidth + 2;
  localparam int unsigned RWidth       = IdWidth + DataWidth + 3;

  accelerator_cdc_fifo #(
    .Width(RequestWidth), .LogDepth(LogDepth)
  ) u_aw (
    .wr_clk_i(s_axi_aclk), .wr_rst_ni(s_axi_aresetn), .wr_valid_i(s_axi_awvalid),
    .wr_ready_o(s_axi_awready),
    .wr_data_i({s_axi_awid, s_axi_awaddr, s_axi_awlen, s_axi_awsize, s_axi_awburst}),
    .rd_clk_i(m_axi_aclk), .rd_rst_ni(m_axi_aresetn), .rd_valid_o(m_axi_awvalid),
    .rd_ready_i(m_axi_awready),
    .rd_data_o({m_axi_awid, m_axi_awaddr, m_axi_awlen, m_axi_awsize, m_axi_awburst})
  );

  accelerator_cdc_fifo #(
    .Width(WWidth), .LogDepth(LogDepth)
  ) u_w (
    .wr_clk_i(s_axi_aclk), .wr_rst_ni(s_axi_aresetn), .wr_valid_i(s_axi_wvalid),
    .wr_ready_o(s_axi_wready),
    .wr_data_i({s_axi_wdata, s_axi_wstrb, s_axi_wlast}),
    .rd_clk_i(m_axi_aclk), .rd_rst_ni(m_axi_aresetn), .rd_valid_o(m_axi_wvalid),
    .rd_ready_i(m_axi_wready),
    .rd_data_o({m_axi_wdata, m_axi_wstrb, m_axi_wlast})
  );

  accelerator_cdc_fifo #(
    .Width(BWidth), .LogDepth(LogDepth)
  ) u_b (
    .wr_clk_i(m_axi_aclk), .wr_rst_ni(m_axi_aresetn), .wr_valid_i(m_axi_bvalid),
    .wr_ready_o(m_axi_bready),
    .wr_data_i({m_axi_bid, m_axi_bresp}),
    .rd_clk_i(s_axi_aclk), .rd_rst_ni(s_axi_aresetn), .rd_valid_o(s_axi_bvalid),
    .rd_ready_i(s_axi_bready),
    .rd_data_o({s_axi_bid, s_axi_bresp})
  );

  accelerator_cdc_fifo #(
    .Width(RequestWidth), .LogDepth(LogDepth)
  ) u_ar (
    .wr_clk_i(s_axi_aclk), .wr_rst_ni(s_axi_aresetn), .wr_valid_i(s_axi_arvalid),
    .wr_ready_o(s_axi_arready),
    .wr_data_i({s_axi_arid, s_axi_araddr, s_axi_arlen, s_axi_arsize, s_axi_arburst}),
    .rd_clk_i(m_axi_aclk), .rd_rst_ni(m_axi_aresetn), .rd_valid_o(m_axi_arvalid),
    .rd_ready_i(m_axi_arready),
    .rd_data_o({m_axi_arid, m_axi_araddr, m_axi_arlen, m_axi_arsize, m_axi_arburst})
  );

  accelerator_cdc_fifo #(
    .Width(RWidth), .LogDepth(LogDepth)
  ) u_r (
    .wr_clk_i(m_axi_aclk), .wr_rst_ni(m_axi_aresetn), .wr_valid_i(m_axi_rvalid),
    .wr_ready_o(m_axi_rready),
    .wr_data_i({m_axi_rid, m_axi_rdata, m_axi_rresp, m_axi_rlast}),
    .rd_clk_i(s_axi_aclk), .rd_rst_ni(s_axi_aresetn), .rd_valid_o(s_axi_rvalid),
    .rd_ready_i(s_axi_rready),
    .rd_data_o({s_axi_rid, s_axi_rdata, s_axi_rresp, s_axi_rlast})
  );

endmodule
