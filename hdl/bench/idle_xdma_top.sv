// SPDX-License-Identifier: Apache-2.0
//
// What scripts/bench-idle.sh counts the instructions of: the sorter's registers on m_axil and
// memory on m_axi of XDMA, with XDMA (Block) and without it. Nobody answers the sorter's DMA.

`include "accelerator_axi.svh"

module idle_xdma_top #(
  parameter bit          Block     = 1'b1,
  parameter int unsigned DataWidth = 64
) (
  input logic aclk,
  input logic aresetn
);

  localparam int unsigned MemoryWidth = 16;

  logic clk, rst_n;

  `ACCELERATOR_AXI_SIGNALS(memory, 64, DataWidth, 4)
  `ACCELERATOR_AXI_SIGNALS(regs, 32, 32, 1)
  `ACCELERATOR_AXI_SIGNALS(dma, 64, 128, 4)

  if (Block) begin : gen_block
    // The design has no use for the rest.
    /* verilator lint_off PINMISSING */
    accelerator_xdma #(
      .DataWidth(DataWidth), .AxilBarSize(64'h1_0000)
    ) u_xdma (
      .sys_clk(aclk), .sys_rst_n(aresetn), .axi_aclk(clk), .axi_aresetn(rst_n),
      `ACCELERATOR_AXI(m_axi, memory),
      .m_axil_awaddr(regs_awaddr), .m_axil_awvalid(regs_awvalid), .m_axil_awready(regs_awready),
      .m_axil_wdata(regs_wdata), .m_axil_wstrb(regs_wstrb), .m_axil_wvalid(regs_wvalid),
      .m_axil_wready(regs_wready), .m_axil_bresp(regs_bresp), .m_axil_bvalid(regs_bvalid),
      .m_axil_bready(regs_bready), .m_axil_araddr(regs_araddr), .m_axil_arvalid(regs_arvalid),
      .m_axil_arready(regs_arready), .m_axil_rdata(regs_rdata), .m_axil_rresp(regs_rresp),
      .m_axil_rvalid(regs_rvalid), .m_axil_rready(regs_rready)
    );
    /* verilator lint_on PINMISSING */
  end else begin : gen_none
    // Registers that keep their value, and somebody who looks at what the design says, neither of
    // which a compiler can know: the design stays whole.
    bit pokes;
    assign clk   = aclk;
    assign rst_n = aresetn;
    initial begin
      pokes         = $test$plusargs("idle_pokes") != 0;
      memory_bready = 1'b1;
      memory_rready = 1'b1;
      regs_bready   = 1'b1;
      regs_rready   = 1'b1;
    end
    always_ff @(posedge aclk) if (pokes) begin
      $display("%h", {memory_awready, memory_wready, memory_bid, memory_bresp, memory_bvalid,
                      memory_arready, memory_rid, memory_rdata, memory_rresp, memory_rlast,
                      memory_rvalid, regs_awready, regs_wready, regs_bresp, regs_bvalid,
                      regs_arready, regs_rdata, regs_rresp, regs_rvalid});
      memory_awid    <= ~memory_awid;
      memory_awaddr  <= ~memory_awaddr;
      memory_awlen   <= ~memory_awlen;
      memory_awsize  <= ~memory_awsize;
      memory_awburst <= ~memory_awburst;
      memory_awvalid <= ~memory_awvalid;
      memory_wdata   <= ~memory_wdata;
      memory_wstrb   <= ~memory_wstrb;
      memory_wlast   <= ~memory_wlast;
      memory_wvalid  <= ~memory_wvalid;
      memory_bready  <= ~memory_bready;
      memory_arid    <= ~memory_arid;
      memory_araddr  <= ~memory_araddr;
      memory_arlen   <= ~memory_arlen;
      memory_arsize  <= ~memory_arsize;
      memory_arburst <= ~memory_arburst;
      memory_arvalid <= ~memory_arvalid;
      memory_rready  <= ~memory_rready;
      regs_awaddr    <= ~regs_awaddr;
      regs_awvalid   <= ~regs_awvalid;
      regs_wdata     <= ~regs_wdata;
      regs_wstrb     <= ~regs_wstrb;
      regs_wvalid    <= ~regs_wvalid;
      regs_bready    <= ~regs_bready;
      regs_araddr    <= ~regs_araddr;
      regs_arvalid   <= ~regs_arvalid;
      regs_rready    <= ~regs_rready;
    end
  end

  // The sorter's own bus, and its interrupts.
  logic        msix_valid;
  logic [10:0] msix_vector;
  bit pokes_dma;
  initial pokes_dma = $test$plusargs("idle_pokes") != 0;
  always_ff @(posedge aclk) if (pokes_dma) begin
    $display("%h", {dma_awid, dma_awaddr, dma_awlen, dma_awsize, dma_awburst, dma_awvalid,
                    dma_wdata, dma_wstrb, dma_wlast, dma_wvalid, dma_bready, dma_arid, dma_araddr,
                    dma_arlen, dma_arsize, dma_arburst, dma_arvalid, dma_rready, msix_valid,
                    msix_vector});
    dma_awready <= ~dma_awready;
    dma_wready  <= ~dma_wready;
    dma_bresp   <= ~dma_bresp;
    dma_bvalid  <= ~dma_bvalid;
    dma_arready <= ~dma_arready;
    dma_rdata   <= ~dma_rdata;
    dma_rresp   <= ~dma_rresp;
    dma_rlast   <= ~dma_rlast;
    dma_rvalid  <= ~dma_rvalid;
  end

  logic                   mem_wr;
  // Words.
  /* verilator lint_off UNUSEDSIGNAL */
  logic [MemoryWidth-1:0] mem_wr_addr, mem_rd_addr;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [DataWidth-1:0]   mem_wr_data;
  logic [DataWidth/8-1:0] mem_wr_strb;
  logic [DataWidth-1:0]   memory_q [2 ** MemoryWidth / (DataWidth / 8)];

  localparam int unsigned WordWidth = $clog2(DataWidth / 8);

  /* verilator lint_off PINCONNECTEMPTY */
  accelerator_axi_regs #(
    .RegAddrWidth(MemoryWidth), .DataWidth(DataWidth), .IdWidth(4)
  ) u_memory (
    .clk_i(clk), .rst_ni(rst_n), `ACCELERATOR_AXI_REGS(memory),
    .reg_wr_valid_o(mem_wr), .reg_wr_ready_i(1'b1), .reg_wr_addr_o(mem_wr_addr),
    .reg_wr_data_o(mem_wr_data), .reg_wr_strb_o(mem_wr_strb), .reg_wr_error_i(1'b0),
    .reg_rd_valid_o(), .reg_rd_ready_i(1'b1), .reg_rd_addr_o(mem_rd_addr), .reg_rd_strb_o(),
    .reg_rd_data_i(memory_q[mem_rd_addr[MemoryWidth-1:WordWidth]]), .reg_rd_error_i(1'b0)
  );

  always_ff @(posedge clk) begin
    if (mem_wr) begin
      for (int unsigned i = 0; i < DataWidth / 8; i++) begin
        if (mem_wr_strb[i]) begin
          memory_q[mem_wr_addr[MemoryWidth-1:WordWidth]][8*i +: 8] <= mem_wr_data[8*i +: 8];
        end
      end
    end
  end

  logic        wr_valid, rd_valid;
  logic [11:0] wr_addr, rd_addr;
  logic [31:0] wr_data, rd_data;
  logic [3:0]  wr_strb;

  // An AXI4-Lite is an AXI4 of which each burst is a word.
  accelerator_axi_regs #(
    .AxiAddrWidth(32), .RegAddrWidth(12), .DataWidth(32), .IdWidth(1)
  ) u_axil (
    .clk_i(clk), .rst_ni(rst_n),
    .s_axi_awid(1'b0), .s_axi_awaddr(regs_awaddr), .s_axi_awsize(3'd2),
    .s_axi_awvalid(regs_awvalid), .s_axi_awready(regs_awready), .s_axi_wdata(regs_wdata),
    .s_axi_wstrb(regs_wstrb), .s_axi_wlast(1'b1), .s_axi_wvalid(regs_wvalid),
    .s_axi_wready(regs_wready), .s_axi_bid(), .s_axi_bresp(regs_bresp),
    .s_axi_bvalid(regs_bvalid), .s_axi_bready(regs_bready), .s_axi_arid(1'b0),
    .s_axi_araddr(regs_araddr), .s_axi_arlen('0), .s_axi_arsize(3'd2),
    .s_axi_arvalid(regs_arvalid), .s_axi_arready(regs_arready), .s_axi_rid(),
    .s_axi_rdata(regs_rdata), .s_axi_rresp(regs_rresp), .s_axi_rlast(),
    .s_axi_rvalid(regs_rvalid), .s_axi_rready(regs_rready),
    .reg_wr_valid_o(wr_valid), .reg_wr_ready_i(1'b1), .reg_wr_addr_o(wr_addr),
    .reg_wr_data_o(wr_data), .reg_wr_strb_o(wr_strb), .reg_wr_error_i(1'b0),
    .reg_rd_valid_o(rd_valid), .reg_rd_ready_i(1'b1), .reg_rd_addr_o(rd_addr), .reg_rd_strb_o(),
    .reg_rd_data_i(rd_data), .reg_rd_error_i(1'b0)
  );

  sort_core u_core (
    .clk_i(clk), .rst_ni(rst_n),
    .wr_valid_i(wr_valid), .wr_addr_i(wr_addr), .wr_data_i(wr_data), .wr_strb_i(wr_strb),
    .rd_valid_i(rd_valid), .rd_addr_i(rd_addr), .rd_data_o(rd_data),
    .m_axi_awid(dma_awid), .m_axi_awaddr(dma_awaddr), .m_axi_awlen(dma_awlen),
    .m_axi_awsize(dma_awsize), .m_axi_awburst(dma_awburst), .m_axi_awvalid(dma_awvalid),
    .m_axi_awready(dma_awready), .m_axi_wdata(dma_wdata), .m_axi_wstrb(dma_wstrb),
    .m_axi_wlast(dma_wlast), .m_axi_wvalid(dma_wvalid), .m_axi_wready(dma_wready),
    .m_axi_bresp(dma_bresp), .m_axi_bvalid(dma_bvalid), .m_axi_bready(dma_bready),
    .m_axi_arid(dma_arid), .m_axi_araddr(dma_araddr), .m_axi_arlen(dma_arlen),
    .m_axi_arsize(dma_arsize), .m_axi_arburst(dma_arburst), .m_axi_arvalid(dma_arvalid),
    .m_axi_arready(dma_arready), .m_axi_rdata(dma_rdata), .m_axi_rresp(dma_rresp),
    .m_axi_rlast(dma_rlast), .m_axi_rvalid(dma_rvalid), .m_axi_rready(dma_rready),
    .msix_valid_o(msix_valid), .msix_ready_i(1'b1), .msix_vector_o(msix_vector)
  );
  /* verilator lint_on PINCONNECTEMPTY */

endmodule
