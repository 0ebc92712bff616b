// SPDX-License-Identifier: Apache-2.0
//
// What is simulated: the bridge and the probe, which answers behind BAR 0 and is a bus master on
// host memory. BAR 2 holds the MSI-X table only: QEMU's, or with MsixInRtl 1 one of RTL, as cards
// have them that write their interrupts themselves.

`include "accelerator_axi.svh"

module probe_top #(
  parameter int unsigned MsixInRtl = 0
) (
  input logic aclk,
  input logic aresetn
);

  localparam int unsigned DmaDataWidth = 64;
  localparam int unsigned DmaIdWidth = 4;
  localparam int unsigned Vectors = 8;
  localparam int unsigned PbaOffset = 32'h8000;

  logic        user_resetn;
  // As the probe asks for them, and as the bridge is asked.
  logic        irq_valid, irq_ready, msix_valid;
  // The bridge is asked for nothing where the table is RTL's.
  /* verilator lint_off UNUSEDSIGNAL */
  logic        msix_ready;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [10:0] irq_vector, msix_vector;

  // Guest accesses.
  `ACCELERATOR_AXI_SIGNALS(bar, 64, 64, 1)

  // Host memory.
  `ACCELERATOR_AXI_SIGNALS(dma, 64, DmaDataWidth, DmaIdWidth)
  `ACCELERATOR_AXI_SIGNALS(host, 64, DmaDataWidth, DmaIdWidth)

  logic        memory_space, bus_master, intx_disable, msix_enable, msix_mask, extended_tag;
  logic        relaxed_ordering, no_snoop;
  logic [1:0]  power_state;
  logic [2:0]  max_payload, max_read_req, speed;
  logic [5:0]  width;
  logic [15:0] requester_id;

  // The example has no use for some outputs.
  /* verilator lint_off PINCONNECTEMPTY */
  accelerator_pcie_bridge #(
    .Name           ("probe"),
    .VendorId       (16'h10EE),
    .DeviceId       (16'h7031),
    .SubVendorId    (16'h10EE),
    .SubDeviceId    (16'h0007),
    .ClassCode      (24'h12_00_00),
    .RevisionId     (8'h01),
    .Bar0Size       (64'h2000),
    .Bar2Size       (64'h1_0000),
    .Bar2AxiBase    (64'h1_0000),
    .BarIs64        (6'b000101),
    .BarPrefetch    (6'b000100),
    .MsixVectors    (Vectors),
    .MsixTableBar   (2),
    .MsixTableOffset(0),
    .MsixPbaBar     (2),
    .MsixPbaOffset  (PbaOffset),
    .MsixInRtl      (MsixInRtl),
    .LinkSpeed      (3),
    .LinkWidth      (8),
    .MmioDataWidth  (64),
    .DmaDataWidth   (DmaDataWidth),
    .DmaIdWidth     (DmaIdWidth)
  ) u_bridge (
    .aclk, .aresetn, .user_resetn, .user_link_up(),

    `ACCELERATOR_AXI_BAR(bar),
    `ACCELERATOR_AXI(s_axi, host),
    .msix_valid, .msix_ready, .msix_vector, .intx(1'b0),

    .cfg_memory_space_enable(memory_space), .cfg_bus_master_enable(bus_master),
    .cfg_intx_disable(intx_disable), .cfg_msix_enable(msix_enable), .cfg_msix_mask(msix_mask),
    .cfg_msi_enable(), .cfg_msi_vectors(), .cfg_msi_mask(),
    .cfg_extended_tag_enable(extended_tag), .cfg_relaxed_ordering_enable(relaxed_ordering),
    .cfg_no_snoop_enable(no_snoop), .cfg_power_state(power_state), .cfg_max_payload(max_payload),
    .cfg_max_read_req(max_read_req), .cfg_requester_id(requester_id), .cfg_current_speed(speed),
    .cfg_negotiated_width(width)
  );

  // Bit 16 tells BAR 2 from BAR 0.
  logic        wr_valid, wr_ready, rd_valid, rd_ready, rd_error;
  /* verilator lint_off UNUSEDSIGNAL */
  logic [16:0] wr_addr, rd_addr;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [63:0] wr_data, rd_data;
  logic [7:0]  wr_strb;

  accelerator_axi_regs #(
    .RegAddrWidth(17), .DataWidth(64)
  ) u_axi_regs (
    .clk_i(aclk), .rst_ni(user_resetn),
    `ACCELERATOR_AXI_REGS(bar),
    .reg_wr_valid_o(wr_valid), .reg_wr_ready_i(wr_ready), .reg_wr_addr_o(wr_addr),
    .reg_wr_data_o(wr_data), .reg_wr_strb_o(wr_strb), .reg_wr_error_i(1'b0),
    .reg_rd_valid_o(rd_valid), .reg_rd_ready_i(rd_ready), .reg_rd_addr_o(rd_addr), .reg_rd_strb_o(),
    .reg_rd_data_i(rd_data), .reg_rd_error_i(rd_error)
  );

  logic        in_table_wr, in_table_rd, probe_wr_ready, probe_rd_ready, probe_rd_error;
  logic [63:0] probe_rd_data;

  // Reads, and what says whose write it is, are the master's.
  assign host_arid    = dma_arid;
  assign host_araddr  = dma_araddr;
  assign host_arlen   = dma_arlen;
  assign host_arsize  = dma_arsize;
  assign host_arburst = dma_arburst;
  assign host_arvalid = dma_arvalid;
  assign dma_arready  = host_arready;
  assign dma_rid      = host_rid;
  assign dma_rdata    = host_rdata;
  assign dma_rresp    = host_rresp;
  assign dma_rlast    = host_rlast;
  assign dma_rvalid   = host_rvalid;
  assign host_rready  = dma_rready;

  if (MsixInRtl != 0) begin : gen_table
    logic        table_wr_ready, table_rd_ready, msg_valid, msg_ready;
    logic [63:0] table_rd_data, msg_addr;
    logic [31:0] msg_data;

    assign in_table_wr = wr_addr[16];
    assign in_table_rd = rd_addr[16];
    assign wr_ready    = in_table_wr ? table_wr_ready : probe_wr_ready;
    assign rd_ready    = in_table_rd ? table_rd_ready : probe_rd_ready;
    assign rd_data     = in_table_rd ? table_rd_data : probe_rd_data;
    assign rd_error    = !in_table_rd && probe_rd_error;
    assign msix_valid  = 1'b0;
    assign msix_vector = '0;

    msix_table #(
      .Vectors(Vectors), .AddrWidth(16), .PbaOffset(PbaOffset)
    ) u_table (
      .clk_i(aclk), .rst_ni(user_resetn), .enable_i(msix_enable), .mask_i(msix_mask),
      .wr_valid_i(wr_valid && in_table_wr), .wr_ready_o(table_wr_ready), .wr_addr_i(wr_addr[15:0]),
      .wr_data_i(wr_data), .wr_strb_i(wr_strb),
      .rd_addr_i(rd_addr[15:0]), .rd_ready_o(table_rd_ready), .rd_data_o(table_rd_data),
      .irq_valid_i(irq_valid), .irq_ready_o(irq_ready), .irq_vector_i(irq_vector),
      .msg_valid_o(msg_valid), .msg_ready_i(msg_ready), .msg_addr_o(msg_addr),
      .msg_data_o(msg_data)
    );

    msix_axi #(
      .AddrWidth(64), .DataWidth(DmaDataWidth), .IdWidth(DmaIdWidth)
    ) u_messages (
      .clk_i(aclk), .rst_ni(user_resetn),
      .msg_valid_i(msg_valid), .msg_ready_o(msg_ready), .msg_addr_i(msg_addr),
      .msg_data_i(msg_data),
      .s_axi_awid(dma_awid), .s_axi_awaddr(dma_awaddr), .s_axi_awlen(dma_awlen),
      .s_axi_awsize(dma_awsize), .s_axi_awburst(dma_awburst), .s_axi_awvalid(dma_awvalid),
      .s_axi_awready(dma_awready), .s_axi_wdata(dma_wdata), .s_axi_wstrb(dma_wstrb),
      .s_axi_wlast(dma_wlast), .s_axi_wvalid(dma_wvalid), .s_axi_wready(dma_wready),
      .s_axi_bid(dma_bid), .s_axi_bresp(dma_bresp), .s_axi_bvalid(dma_bvalid),
      .s_axi_bready(dma_bready),
      .m_axi_awid(host_awid), .m_axi_awaddr(host_awaddr), .m_axi_awlen(host_awlen),
      .m_axi_awsize(host_awsize), .m_axi_awburst(host_awburst), .m_axi_awvalid(host_awvalid),
      .m_axi_awready(host_awready), .m_axi_wdata(host_wdata), .m_axi_wstrb(host_wstrb),
      .m_axi_wlast(host_wlast), .m_axi_wvalid(host_wvalid), .m_axi_wready(host_wready),
      .m_axi_bid(host_bid), .m_axi_bresp(host_bresp), .m_axi_bvalid(host_bvalid),
      .m_axi_bready(host_bready)
    );
  end else begin : gen_no_table
    assign in_table_wr  = 1'b0;
    assign in_table_rd  = 1'b0;
    assign wr_ready     = probe_wr_ready;
    assign rd_ready     = probe_rd_ready;
    assign rd_data      = probe_rd_data;
    assign rd_error     = probe_rd_error;
    assign msix_valid   = irq_valid;
    assign irq_ready    = msix_ready;
    assign msix_vector  = irq_vector;

    assign host_awid    = dma_awid;
    assign host_awaddr  = dma_awaddr;
    assign host_awlen   = dma_awlen;
    assign host_awsize  = dma_awsize;
    assign host_awburst = dma_awburst;
    assign host_awvalid = dma_awvalid;
    assign dma_awready  = host_awready;
    assign host_wdata   = dma_wdata;
    assign host_wstrb   = dma_wstrb;
    assign host_wlast   = dma_wlast;
    assign host_wvalid  = dma_wvalid;
    assign dma_wready   = host_wready;
    assign dma_bid      = host_bid;
    assign dma_bresp    = host_bresp;
    assign dma_bvalid   = host_bvalid;
    assign host_bready  = dma_bready;
  end
  /* verilator lint_on PINCONNECTEMPTY */

  probe #(
    .DmaIdWidth(DmaIdWidth)
  ) u_probe (
    .clk_i(aclk), .rst_ni(user_resetn),
    .wr_valid_i(wr_valid && !in_table_wr), .wr_ready_o(probe_wr_ready),
    .wr_addr_i(wr_addr[12:0]), .wr_data_i(wr_data), .wr_strb_i(wr_strb),
    .rd_valid_i(rd_valid && !in_table_rd), .rd_ready_o(probe_rd_ready),
    .rd_addr_i(rd_addr[12:0]), .rd_data_o(probe_rd_data), .rd_error_o(probe_rd_error),

    .m_axi_awid(dma_awid), .m_axi_awaddr(dma_awaddr), .m_axi_awlen(dma_awlen),
    .m_axi_awsize(dma_awsize), .m_axi_awburst(dma_awburst), .m_axi_awvalid(dma_awvalid),
    .m_axi_awready(dma_awready), .m_axi_wdata(dma_wdata), .m_axi_wstrb(dma_wstrb),
    .m_axi_wlast(dma_wlast), .m_axi_wvalid(dma_wvalid), .m_axi_wready(dma_wready),
    .m_axi_bresp(dma_bresp), .m_axi_bvalid(dma_bvalid), .m_axi_bready(dma_bready),
    .m_axi_arid(dma_arid), .m_axi_araddr(dma_araddr), .m_axi_arlen(dma_arlen),
    .m_axi_arsize(dma_arsize), .m_axi_arburst(dma_arburst), .m_axi_arvalid(dma_arvalid),
    .m_axi_arready(dma_arready), .m_axi_rdata(dma_rdata), .m_axi_rresp(dma_rresp),
    .m_axi_rvalid(dma_rvalid), .m_axi_rready(dma_rready),

    .cfg_i({requester_id, max_read_req, max_payload, power_state, no_snoop, relaxed_ordering,
            extended_tag, msix_mask, msix_enable, intx_disable, bus_master, memory_space}),
    .cfg_link_i({18'd0, width, 5'd0, speed}),

    .msix_valid_o(irq_valid), .msix_ready_i(irq_ready), .msix_vector_o(irq_vector)
  );

endmodule
