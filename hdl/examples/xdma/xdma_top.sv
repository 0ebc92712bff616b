// SPDX-License-Identifier: Apache-2.0
//
// What is simulated: a card behind the ports of XDMA. Memory of 64 KiB is behind m_axi, again and
// again, and registers behind m_axil. With Stream the H2C stream goes back into the C2H stream.

module xdma_top #(
  parameter bit Stream = 1'b0
) (
  input logic aclk,
  input logic aresetn
);

  localparam int unsigned MemoryBytes = 64 * 1024;

  logic       clk, rst_n;
  logic [3:0] usr_irq_req, usr_irq_ack;

  // Neither the memory nor the registers look at all of this.
  /* verilator lint_off UNUSEDSIGNAL */
  logic [3:0]  m_axi_awid, m_axi_bid, m_axi_arid, m_axi_rid;
  logic [63:0] m_axi_awaddr, m_axi_araddr, m_axi_wdata, m_axi_rdata;
  logic [7:0]  m_axi_awlen, m_axi_arlen, m_axi_wstrb;
  logic [2:0]  m_axi_awsize, m_axi_arsize;
  logic [1:0]  m_axi_awburst, m_axi_arburst, m_axi_bresp, m_axi_rresp;
  logic        m_axi_awvalid, m_axi_awready, m_axi_wlast, m_axi_wvalid, m_axi_wready;
  logic        m_axi_bvalid, m_axi_bready, m_axi_arvalid, m_axi_arready, m_axi_rlast;
  logic        m_axi_rvalid, m_axi_rready;

  logic [31:0] m_axil_awaddr, m_axil_wdata, m_axil_araddr, m_axil_rdata;
  logic [3:0]  m_axil_wstrb;
  logic [1:0]  m_axil_bresp, m_axil_rresp;
  logic        m_axil_awvalid, m_axil_awready, m_axil_wvalid, m_axil_wready, m_axil_bvalid;
  logic        m_axil_bready, m_axil_arvalid, m_axil_arready, m_axil_rvalid, m_axil_rready;
  /* verilator lint_on UNUSEDSIGNAL */

  logic [63:0] loop_tdata;
  logic [7:0]  loop_tkeep;
  logic        loop_tlast, loop_tvalid, loop_tready;

  /* verilator lint_off PINCONNECTEMPTY */
  xdma_0 #(
    .Stream(Stream)
  ) u_xdma (
    .sys_clk(aclk), .sys_rst_n(aresetn), .user_lnk_up(), .axi_aclk(clk), .axi_aresetn(rst_n),
    .usr_irq_req, .usr_irq_ack, .msix_enable(),
    .m_axi_awid, .m_axi_awaddr, .m_axi_awlen, .m_axi_awsize, .m_axi_awburst, .m_axi_awprot(),
    .m_axi_awlock(), .m_axi_awcache(), .m_axi_awvalid, .m_axi_awready, .m_axi_wdata,
    .m_axi_wstrb, .m_axi_wlast, .m_axi_wvalid, .m_axi_wready, .m_axi_bid, .m_axi_bresp,
    .m_axi_bvalid, .m_axi_bready, .m_axi_arid, .m_axi_araddr, .m_axi_arlen, .m_axi_arsize,
    .m_axi_arburst, .m_axi_arprot(), .m_axi_arlock(), .m_axi_arcache(), .m_axi_arvalid,
    .m_axi_arready, .m_axi_rid, .m_axi_rdata, .m_axi_rresp, .m_axi_rlast, .m_axi_rvalid,
    .m_axi_rready,
    .m_axil_awaddr, .m_axil_awprot(), .m_axil_awvalid, .m_axil_awready, .m_axil_wdata,
    .m_axil_wstrb, .m_axil_wvalid, .m_axil_wready, .m_axil_bresp, .m_axil_bvalid, .m_axil_bready,
    .m_axil_araddr, .m_axil_arprot(), .m_axil_arvalid, .m_axil_arready, .m_axil_rdata,
    .m_axil_rresp, .m_axil_rvalid, .m_axil_rready,
    .m_axis_h2c_tdata_0(loop_tdata), .m_axis_h2c_tkeep_0(loop_tkeep),
    .m_axis_h2c_tlast_0(loop_tlast), .m_axis_h2c_tvalid_0(loop_tvalid),
    .m_axis_h2c_tready_0(loop_tready),
    .s_axis_c2h_tdata_0(loop_tdata), .s_axis_c2h_tkeep_0(loop_tkeep),
    .s_axis_c2h_tlast_0(loop_tlast), .s_axis_c2h_tvalid_0(loop_tvalid),
    .s_axis_c2h_tready_0(loop_tready)
  );
  /* verilator lint_on PINCONNECTEMPTY */

  ////////////
  // Memory //
  ////////////

  localparam int unsigned MemoryWidth = $clog2(MemoryBytes);

  logic                   mem_wr;
  // Words.
  /* verilator lint_off UNUSEDSIGNAL */
  logic [MemoryWidth-1:0] mem_wr_addr, mem_rd_addr;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [63:0]            mem_wr_data;
  logic [7:0]             mem_wr_strb;
  logic [63:0]            memory_q [MemoryBytes / 8];

  /* verilator lint_off PINCONNECTEMPTY */
  accelerator_axi_regs #(
    .RegAddrWidth(MemoryWidth), .DataWidth(64), .IdWidth(4)
  ) u_memory (
    .clk_i(clk), .rst_ni(rst_n),
    .s_axi_awid(m_axi_awid), .s_axi_awaddr(m_axi_awaddr), .s_axi_awsize(m_axi_awsize),
    .s_axi_awvalid(m_axi_awvalid), .s_axi_awready(m_axi_awready), .s_axi_wdata(m_axi_wdata),
    .s_axi_wstrb(m_axi_wstrb), .s_axi_wlast(m_axi_wlast), .s_axi_wvalid(m_axi_wvalid),
    .s_axi_wready(m_axi_wready), .s_axi_bid(m_axi_bid), .s_axi_bresp(m_axi_bresp),
    .s_axi_bvalid(m_axi_bvalid), .s_axi_bready(m_axi_bready), .s_axi_arid(m_axi_arid),
    .s_axi_araddr(m_axi_araddr), .s_axi_arlen(m_axi_arlen), .s_axi_arsize(m_axi_arsize),
    .s_axi_arvalid(m_axi_arvalid), .s_axi_arready(m_axi_arready), .s_axi_rid(m_axi_rid),
    .s_axi_rdata(m_axi_rdata), .s_axi_rresp(m_axi_rresp), .s_axi_rlast(m_axi_rlast),
    .s_axi_rvalid(m_axi_rvalid), .s_axi_rready(m_axi_rready),
    .reg_wr_valid_o(mem_wr), .reg_wr_ready_i(1'b1), .reg_wr_addr_o(mem_wr_addr),
    .reg_wr_data_o(mem_wr_data), .reg_wr_strb_o(mem_wr_strb), .reg_wr_error_i(1'b0),
    .reg_rd_valid_o(), .reg_rd_ready_i(1'b1), .reg_rd_addr_o(mem_rd_addr),
    .reg_rd_strb_o(), .reg_rd_data_i(memory_q[mem_rd_addr[MemoryWidth-1:3]]),
    .reg_rd_error_i(1'b0)
  );
  /* verilator lint_on PINCONNECTEMPTY */

  always_ff @(posedge clk) begin
    if (mem_wr) begin
      for (int unsigned i = 0; i < 8; i++) begin
        if (mem_wr_strb[i]) begin
          memory_q[mem_wr_addr[MemoryWidth-1:3]][8*i +: 8] <= mem_wr_data[8*i +: 8];
        end
      end
    end
  end

  ///////////////
  // Registers //
  ///////////////

  logic        reg_wr;
  logic [31:0] reg_wr_data, reg_rd_data;
  logic [3:0]  reg_wr_strb;
  // Words.
  /* verilator lint_off UNUSEDSIGNAL */
  logic [4:0]  reg_wr_addr, reg_rd_addr;
  /* verilator lint_on UNUSEDSIGNAL */

  // An AXI4-Lite is an AXI4 of which each burst is a word.
  /* verilator lint_off PINCONNECTEMPTY */
  accelerator_axi_regs #(
    .AxiAddrWidth(32), .RegAddrWidth(5), .DataWidth(32), .IdWidth(1)
  ) u_axil (
    .clk_i(clk), .rst_ni(rst_n),
    .s_axi_awid(1'b0), .s_axi_awaddr(m_axil_awaddr), .s_axi_awsize(3'd2),
    .s_axi_awvalid(m_axil_awvalid), .s_axi_awready(m_axil_awready), .s_axi_wdata(m_axil_wdata),
    .s_axi_wstrb(m_axil_wstrb), .s_axi_wlast(1'b1), .s_axi_wvalid(m_axil_wvalid),
    .s_axi_wready(m_axil_wready), .s_axi_bid(), .s_axi_bresp(m_axil_bresp),
    .s_axi_bvalid(m_axil_bvalid), .s_axi_bready(m_axil_bready), .s_axi_arid(1'b0),
    .s_axi_araddr(m_axil_araddr), .s_axi_arlen('0), .s_axi_arsize(3'd2),
    .s_axi_arvalid(m_axil_arvalid), .s_axi_arready(m_axil_arready), .s_axi_rid(),
    .s_axi_rdata(m_axil_rdata), .s_axi_rresp(m_axil_rresp), .s_axi_rlast(),
    .s_axi_rvalid(m_axil_rvalid), .s_axi_rready(m_axil_rready),
    .reg_wr_valid_o(reg_wr), .reg_wr_ready_i(1'b1), .reg_wr_addr_o(reg_wr_addr),
    .reg_wr_data_o(reg_wr_data), .reg_wr_strb_o(reg_wr_strb), .reg_wr_error_i(1'b0),
    .reg_rd_valid_o(), .reg_rd_ready_i(1'b1), .reg_rd_addr_o(reg_rd_addr), .reg_rd_strb_o(),
    .reg_rd_data_i(reg_rd_data), .reg_rd_error_i(1'b0)
  );
  /* verilator lint_on PINCONNECTEMPTY */

  xdma_regs u_regs (
    .clk_i(clk), .rst_ni(rst_n), .wr_valid_i(reg_wr), .wr_addr_i(reg_wr_addr[4:2]),
    .wr_data_i(reg_wr_data), .wr_strb_i(reg_wr_strb), .rd_addr_i(reg_rd_addr[4:2]),
    .rd_data_o(reg_rd_data), .usr_irq_req_o(usr_irq_req), .usr_irq_ack_i(usr_irq_ack)
  );

endmodule
