// SPDX-License-Identifier: Apache-2.0
//
// The module that Vivado writes for an XDMA IP called xdma_0, with accelerator_xdma in it: its
// parameters are what the IP's dialog has, and the design that instantiates xdma_0 stays as it is.
// This one has an AXI4-Lite BAR of 64 KiB, 64 bits, one channel each way and four user interrupts.
//
// A design has either m_axi or the streams; the example has both, so that Stream chooses.

module xdma_0 #(
  parameter bit Stream = 1'b0
) (
  input  logic        sys_clk,
  input  logic        sys_rst_n,
  output logic        user_lnk_up,
  output logic        axi_aclk,
  output logic        axi_aresetn,
  input  logic [3:0]  usr_irq_req,
  output logic [3:0]  usr_irq_ack,
  output logic        msix_enable,

  output logic [3:0]  m_axi_awid,
  output logic [63:0] m_axi_awaddr,
  output logic [7:0]  m_axi_awlen,
  output logic [2:0]  m_axi_awsize,
  output logic [1:0]  m_axi_awburst,
  output logic [2:0]  m_axi_awprot,
  output logic        m_axi_awlock,
  output logic [3:0]  m_axi_awcache,
  output logic        m_axi_awvalid,
  input  logic        m_axi_awready,
  output logic [63:0] m_axi_wdata,
  output logic [7:0]  m_axi_wstrb,
  output logic        m_axi_wlast,
  output logic        m_axi_wvalid,
  input  logic        m_axi_wready,
  input  logic [3:0]  m_axi_bid,
  input  logic [1:0]  m_axi_bresp,
  input  logic        m_axi_bvalid,
  output logic        m_axi_bready,
  output logic [3:0]  m_axi_arid,
  output logic [63:0] m_axi_araddr,
  output logic [7:0]  m_axi_arlen,
  output logic [2:0]  m_axi_arsize,
  output logic [1:0]  m_axi_arburst,
  output logic [2:0]  m_axi_arprot,
  output logic        m_axi_arlock,
  output logic [3:0]  m_axi_arcache,
  output logic        m_axi_arvalid,
  input  logic        m_axi_arready,
  input  logic [3:0]  m_axi_rid,
  input  logic [63:0] m_axi_rdata,
  input  logic [1:0]  m_axi_rresp,
  input  logic        m_axi_rlast,
  input  logic        m_axi_rvalid,
  output logic        m_axi_rready,

  output logic [31:0] m_axil_awaddr,
  output logic [2:0]  m_axil_awprot,
  output logic        m_axil_awvalid,
  input  logic        m_axil_awready,
  output logic [31:0] m_axil_wdata,
  output logic [3:0]  m_axil_wstrb,
  output logic        m_axil_wvalid,
  input  logic        m_axil_wready,
  input  logic [1:0]  m_axil_bresp,
  input  logic        m_axil_bvalid,
  output logic        m_axil_bready,
  output logic [31:0] m_axil_araddr,
  output logic [2:0]  m_axil_arprot,
  output logic        m_axil_arvalid,
  input  logic        m_axil_arready,
  input  logic [31:0] m_axil_rdata,
  input  logic [1:0]  m_axil_rresp,
  input  logic        m_axil_rvalid,
  output logic        m_axil_rready,

  output logic [63:0] m_axis_h2c_tdata_0,
  output logic [7:0]  m_axis_h2c_tkeep_0,
  output logic        m_axis_h2c_tlast_0,
  output logic        m_axis_h2c_tvalid_0,
  input  logic        m_axis_h2c_tready_0,
  input  logic [63:0] s_axis_c2h_tdata_0,
  input  logic [7:0]  s_axis_c2h_tkeep_0,
  input  logic        s_axis_c2h_tlast_0,
  input  logic        s_axis_c2h_tvalid_0,
  output logic        s_axis_c2h_tready_0
);

  // What the IP has no port for where it is not in its dialog: the lanes, m_axib, the other
  // channels.
  /* verilator lint_off PINCONNECTEMPTY */
  accelerator_xdma #(
    .Name       ("xdma"),
    .DataWidth  (64),
    .H2cChannels(1),
    .C2hChannels(1),
    .Stream     (Stream),
    .NumUsrIrq  (4),
    .AxilBarSize(64'h1_0000)
  ) inst (
    .sys_clk, .sys_rst_n, .user_lnk_up, .pci_exp_txp(), .pci_exp_txn(), .pci_exp_rxp('0),
    .pci_exp_rxn('0), .axi_aclk, .axi_aresetn, .usr_irq_req, .usr_irq_ack, .msi_enable(),
    .msix_enable,
    .m_axi_awid, .m_axi_awaddr, .m_axi_awlen, .m_axi_awsize, .m_axi_awburst, .m_axi_awprot,
    .m_axi_awlock, .m_axi_awcache, .m_axi_awvalid, .m_axi_awready, .m_axi_wdata, .m_axi_wstrb,
    .m_axi_wlast, .m_axi_wvalid, .m_axi_wready, .m_axi_bid, .m_axi_bresp, .m_axi_bvalid,
    .m_axi_bready, .m_axi_arid, .m_axi_araddr, .m_axi_arlen, .m_axi_arsize, .m_axi_arburst,
    .m_axi_arprot, .m_axi_arlock, .m_axi_arcache, .m_axi_arvalid, .m_axi_arready, .m_axi_rid,
    .m_axi_rdata, .m_axi_rresp, .m_axi_rlast, .m_axi_rvalid, .m_axi_rready,
    .m_axib_awid(), .m_axib_awaddr(), .m_axib_awlen(), .m_axib_awsize(), .m_axib_awburst(),
    .m_axib_awprot(), .m_axib_awlock(), .m_axib_awcache(), .m_axib_awvalid(),
    .m_axib_awready(1'b0), .m_axib_wdata(), .m_axib_wstrb(), .m_axib_wlast(), .m_axib_wvalid(),
    .m_axib_wready(1'b0), .m_axib_bid('0), .m_axib_bresp('0), .m_axib_bvalid(1'b0),
    .m_axib_bready(), .m_axib_arid(), .m_axib_araddr(), .m_axib_arlen(), .m_axib_arsize(),
    .m_axib_arburst(), .m_axib_arprot(), .m_axib_arlock(), .m_axib_arcache(), .m_axib_arvalid(),
    .m_axib_arready(1'b0), .m_axib_rid('0), .m_axib_rdata('0), .m_axib_rresp('0),
    .m_axib_rlast(1'b0), .m_axib_rvalid(1'b0), .m_axib_rready(),
    .m_axil_awaddr, .m_axil_awprot, .m_axil_awvalid, .m_axil_awready, .m_axil_wdata,
    .m_axil_wstrb, .m_axil_wvalid, .m_axil_wready, .m_axil_bresp, .m_axil_bvalid, .m_axil_bready,
    .m_axil_araddr, .m_axil_arprot, .m_axil_arvalid, .m_axil_arready, .m_axil_rdata,
    .m_axil_rresp, .m_axil_rvalid, .m_axil_rready,
    .m_axis_h2c_tdata_0, .m_axis_h2c_tkeep_0, .m_axis_h2c_tlast_0, .m_axis_h2c_tvalid_0,
    .m_axis_h2c_tready_0,
    .m_axis_h2c_tdata_1(), .m_axis_h2c_tkeep_1(), .m_axis_h2c_tlast_1(), .m_axis_h2c_tvalid_1(),
    .m_axis_h2c_tready_1(1'b0),
    .m_axis_h2c_tdata_2(), .m_axis_h2c_tkeep_2(), .m_axis_h2c_tlast_2(), .m_axis_h2c_tvalid_2(),
    .m_axis_h2c_tready_2(1'b0),
    .m_axis_h2c_tdata_3(), .m_axis_h2c_tkeep_3(), .m_axis_h2c_tlast_3(), .m_axis_h2c_tvalid_3(),
    .m_axis_h2c_tready_3(1'b0),
    .s_axis_c2h_tdata_0, .s_axis_c2h_tkeep_0, .s_axis_c2h_tlast_0, .s_axis_c2h_tvalid_0,
    .s_axis_c2h_tready_0,
    .s_axis_c2h_tdata_1('0), .s_axis_c2h_tkeep_1('0), .s_axis_c2h_tlast_1(1'b0),
    .s_axis_c2h_tvalid_1(1'b0), .s_axis_c2h_tready_1(),
    .s_axis_c2h_tdata_2('0), .s_axis_c2h_tkeep_2('0), .s_axis_c2h_tlast_2(1'b0),
    .s_axis_c2h_tvalid_2(1'b0), .s_axis_c2h_tready_2(),
    .s_axis_c2h_tdata_3('0), .s_axis_c2h_tkeep_3('0), .s_axis_c2h_tlast_3(1'b0),
    .s_axis_c2h_tvalid_3(1'b0), .s_axis_c2h_tready_3()
  );
  /* verilator lint_on PINCONNECTEMPTY */

endmodule
