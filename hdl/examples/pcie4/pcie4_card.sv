// SPDX-License-Identifier: Apache-2.0
//
// The sorter of examples/sort on the ports of the UltraScale+ block: its registers behind BAR 0, its
// engine on host memory, its interrupts. This is the design as it is on a board: the block is beside it.

module pcie4_card #(
  parameter int unsigned DataWidth   = 256,
  parameter int unsigned CqUserWidth = (DataWidth == 512) ? 183 : 88,
  parameter int unsigned CcUserWidth = (DataWidth == 512) ? 81 : 33,
  parameter int unsigned RqUserWidth = (DataWidth == 512) ? 137 : 62,
  parameter int unsigned RcUserWidth = (DataWidth == 512) ? 161 : 75,
  localparam int unsigned Lanes = DataWidth / 32
) (
  // Of several functions the first is looked at. The four bits of the block's tready are alike.
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic                   user_clk,
  input  logic                   user_reset,

  input  logic [DataWidth-1:0]   m_axis_cq_tdata,
  input  logic [Lanes-1:0]       m_axis_cq_tkeep,
  input  logic [CqUserWidth-1:0] m_axis_cq_tuser,
  input  logic                   m_axis_cq_tlast,
  input  logic                   m_axis_cq_tvalid,
  output logic                   m_axis_cq_tready,
  output logic [1:0]             pcie_cq_np_req,
  output logic [DataWidth-1:0]   s_axis_cc_tdata,
  output logic [Lanes-1:0]       s_axis_cc_tkeep,
  output logic [CcUserWidth-1:0] s_axis_cc_tuser,
  output logic                   s_axis_cc_tlast,
  output logic                   s_axis_cc_tvalid,
  input  logic                   s_axis_cc_tready,
  output logic [DataWidth-1:0]   s_axis_rq_tdata,
  output logic [Lanes-1:0]       s_axis_rq_tkeep,
  output logic [RqUserWidth-1:0] s_axis_rq_tuser,
  output logic                   s_axis_rq_tlast,
  output logic                   s_axis_rq_tvalid,
  input  logic                   s_axis_rq_tready,
  input  logic [5:0]             pcie_rq_seq_num0,
  input  logic                   pcie_rq_seq_num_vld0,
  input  logic [5:0]             pcie_rq_seq_num1,
  input  logic                   pcie_rq_seq_num_vld1,
  input  logic [DataWidth-1:0]   m_axis_rc_tdata,
  input  logic [Lanes-1:0]       m_axis_rc_tkeep,
  input  logic [RcUserWidth-1:0] m_axis_rc_tuser,
  input  logic                   m_axis_rc_tlast,
  input  logic                   m_axis_rc_tvalid,
  output logic                   m_axis_rc_tready,

  input  logic [1:0]             cfg_max_payload,
  input  logic [2:0]             cfg_max_read_req,
  input  logic [3:0]             cfg_interrupt_msix_enable,
  input  logic [3:0]             cfg_interrupt_msi_enable,
  input  logic [11:0]            cfg_interrupt_msi_mmenable,
  output logic [31:0]            cfg_interrupt_msi_int,
  output logic                   cfg_interrupt_msix_int,
  input  logic                   cfg_interrupt_msi_sent,
  input  logic                   cfg_interrupt_msi_fail
  /* verilator lint_on UNUSEDSIGNAL */
);

  localparam int unsigned IdWidth = 4;

  logic rst_n;
  assign rst_n = !user_reset;

  // The completer takes what comes: there is no need to hold back what is not posted.
  assign pcie_cq_np_req = 2'b01;

  ///////////////
  // Registers //
  ///////////////

  logic        wr_valid, rd_valid;
  logic [11:0] wr_addr, rd_addr;
  logic [31:0] wr_data, rd_data;
  logic [3:0]  wr_strb;

  pcie4_completer #(
    .DataWidth(DataWidth), .CqUserWidth(CqUserWidth), .CcUserWidth(CcUserWidth)
  ) u_completer (
    .clk_i(user_clk), .rst_ni(rst_n),
    .m_axis_cq_tdata, .m_axis_cq_tkeep, .m_axis_cq_tuser, .m_axis_cq_tlast, .m_axis_cq_tvalid,
    .m_axis_cq_tready,
    .s_axis_cc_tdata, .s_axis_cc_tkeep, .s_axis_cc_tuser, .s_axis_cc_tlast, .s_axis_cc_tvalid,
    .s_axis_cc_tready,
    .reg_wr_valid_o(wr_valid), .reg_wr_addr_o(wr_addr), .reg_wr_data_o(wr_data),
    .reg_wr_strb_o(wr_strb), .reg_rd_valid_o(rd_valid), .reg_rd_addr_o(rd_addr),
    .reg_rd_data_i(rd_data)
  );

  /////////////////
  // Host memory //
  /////////////////

  logic [IdWidth-1:0]     awid, bid, arid, rid;
  logic [63:0]            awaddr, araddr;
  logic [7:0]             awlen, arlen;
  logic [2:0]             awsize, arsize;
  logic [1:0]             awburst, arburst, bresp, rresp;
  logic                   awvalid, awready, wlast, wvalid, wready, bvalid, bready;
  logic                   arvalid, arready, rlast, rvalid, rready;
  logic [DataWidth-1:0]   wdata, rdata;
  logic [DataWidth/8-1:0] wstrb;
  // All bursts are INCR with all of their bytes, and their ends are counted.
  logic unused_axi;
  assign unused_axi = ^{awburst, arburst, wlast, wstrb, bid, rid};

  logic        msix_valid, msix_ready;
  logic [10:0] msix_vector;

  sort_core #(
    .DataWidth(DataWidth), .IdWidth(IdWidth)
  ) u_core (
    .clk_i(user_clk), .rst_ni(rst_n),
    .wr_valid_i(wr_valid), .wr_addr_i(wr_addr), .wr_data_i(wr_data), .wr_strb_i(wr_strb),
    .rd_valid_i(rd_valid), .rd_addr_i(rd_addr), .rd_data_o(rd_data),
    .m_axi_awid(awid), .m_axi_awaddr(awaddr), .m_axi_awlen(awlen), .m_axi_awsize(awsize),
    .m_axi_awburst(awburst), .m_axi_awvalid(awvalid), .m_axi_awready(awready),
    .m_axi_wdata(wdata), .m_axi_wstrb(wstrb), .m_axi_wlast(wlast), .m_axi_wvalid(wvalid),
    .m_axi_wready(wready), .m_axi_bresp(bresp), .m_axi_bvalid(bvalid), .m_axi_bready(bready),
    .m_axi_arid(arid), .m_axi_araddr(araddr), .m_axi_arlen(arlen), .m_axi_arsize(arsize),
    .m_axi_arburst(arburst), .m_axi_arvalid(arvalid), .m_axi_arready(arready),
    .m_axi_rdata(rdata), .m_axi_rresp(rresp), .m_axi_rlast(rlast), .m_axi_rvalid(rvalid),
    .m_axi_rready(rready),
    .msix_valid_o(msix_valid), .msix_ready_i(msix_ready), .msix_vector_o(msix_vector)
  );

  pcie4_requester #(
    .DataWidth(DataWidth), .IdWidth(IdWidth), .RqUserWidth(RqUserWidth), .RcUserWidth(RcUserWidth)
  ) u_requester (
    .clk_i(user_clk), .rst_ni(rst_n), .cfg_max_payload, .cfg_max_read_req,
    .s_axis_rq_tdata, .s_axis_rq_tkeep, .s_axis_rq_tuser, .s_axis_rq_tlast, .s_axis_rq_tvalid,
    .s_axis_rq_tready, .pcie_rq_seq_num_vld0, .pcie_rq_seq_num_vld1,
    .m_axis_rc_tdata, .m_axis_rc_tkeep, .m_axis_rc_tuser, .m_axis_rc_tlast, .m_axis_rc_tvalid,
    .m_axis_rc_tready,
    .s_axi_awid(awid), .s_axi_awaddr(awaddr), .s_axi_awlen(awlen), .s_axi_awsize(awsize),
    .s_axi_awvalid(awvalid), .s_axi_awready(awready), .s_axi_wdata(wdata), .s_axi_wvalid(wvalid),
    .s_axi_wready(wready), .s_axi_bid(bid), .s_axi_bresp(bresp), .s_axi_bvalid(bvalid),
    .s_axi_bready(bready), .s_axi_arid(arid), .s_axi_araddr(araddr), .s_axi_arlen(arlen),
    .s_axi_arsize(arsize), .s_axi_arvalid(arvalid), .s_axi_arready(arready), .s_axi_rid(rid),
    .s_axi_rdata(rdata), .s_axi_rresp(rresp), .s_axi_rlast(rlast), .s_axi_rvalid(rvalid),
    .s_axi_rready(rready)
  );

  pcie4_interrupts u_interrupts (
    .clk_i(user_clk), .rst_ni(rst_n),
    .valid_i(msix_valid), .ready_o(msix_ready), .vector_i(msix_vector),
    .cfg_interrupt_msix_enable(cfg_interrupt_msix_enable[0]),
    .cfg_interrupt_msi_enable(cfg_interrupt_msi_enable[0]),
    .cfg_interrupt_msi_mmenable(cfg_interrupt_msi_mmenable[2:0]),
    .cfg_interrupt_msi_int, .cfg_interrupt_msix_int, .cfg_interrupt_msi_sent,
    .cfg_interrupt_msi_fail
  );

endmodule
