// SPDX-License-Identifier: Apache-2.0
//
// What is simulated: a network card that the guest's own virtio_net drives. The PCIe bridge,
// the NIC bridge, and the card between them. BAR 0 holds the registers, BAR 2 the MSI-X table.
//
// Vendor capabilities tell the driver where things are (VIRTIO 1.2, 4.1.4). The one for access
// through config space, VIRTIO_PCI_CAP_PCI_CFG, is left out: config space lives in QEMU. Drivers
// that map BARs do not use it.

`include "accelerator_axi.svh"

module virtio_net_top (
  input logic aclk,
  input logic aresetn
);

  localparam int unsigned DmaIdWidth = 4;

  // struct virtio_pci_cap from cap_len on, with notify_off_multiplier behind it where it has one.
  function automatic bit [511:0] virtio_cap(bit [7:0] kind, bit [31:0] offset,
                                            bit [31:0] length, bit [31:0] multiplier);
    virtio_cap         = '0;
    virtio_cap[7:0]    = (kind == 8'd2) ? 8'd20 : 8'd16;
    virtio_cap[15:8]   = kind;
    virtio_cap[79:48]  = offset;
    virtio_cap[111:80] = length;
    virtio_cap[143:112] = multiplier;
  endfunction

  // Elements 3 to 0: device, ISR, notify, common.
  localparam bit [7:0][7:0]   CapId    = {32'd0, {4{8'h09}}};
  localparam bit [7:0][7:0]   CapBytes = {32'd0, 8'd14, 8'd14, 8'd18, 8'd14};
  localparam bit [7:0][511:0] CapBody  = {2048'd0,
    virtio_cap(8'd4, 32'h2000, 32'h1000, 32'd0), virtio_cap(8'd3, 32'h1000, 32'h1000, 32'd0),
    virtio_cap(8'd2, 32'h3000, 32'h1000, 32'd4), virtio_cap(8'd1, 32'h0000, 32'h1000, 32'd0)};

  logic        user_resetn;
  logic        msix_valid, msix_ready, intx;
  logic [10:0] msix_vector;

  // Guest accesses.
  `ACCELERATOR_AXI_SIGNALS(bar, 64, 32, 1)

  // Host memory.
  `ACCELERATOR_AXI_SIGNALS(dma, 64, 128, DmaIdWidth)

  // The example has no use for some outputs.
  /* verilator lint_off PINCONNECTEMPTY */
  accelerator_pcie_bridge #(
    .Name           ("virtio_net"),
    .VendorId       (16'h1AF4),
    .DeviceId       (16'h1041),
    .SubVendorId    (16'h1AF4),
    .SubDeviceId    (16'h1100),
    .ClassCode      (24'h02_00_00),
    .RevisionId     (8'h01),
    .Bar0Size       (64'h4000),
    .Bar2Size       (64'h1000),
    .Bar2AxiBase    (64'h4000),
    .BarIs64        (6'b000101),
    .MsixVectors    (3),
    .MsixTableBar   (2),
    .MsixTableOffset(0),
    .MsixPbaBar     (2),
    .MsixPbaOffset  (32'h800),
    .IntxPin        (1),
    .CapCount       (4),
    .CapId          (CapId),
    .CapBytes       (CapBytes),
    .CapBody        (CapBody),
    .DmaDataWidth   (128),
    .DmaIdWidth     (DmaIdWidth)
  ) u_bridge (
    .aclk, .aresetn, .user_resetn, .user_link_up(),

    `ACCELERATOR_AXI_BAR(bar),
    `ACCELERATOR_AXI(s_axi, dma),
    .msix_valid, .msix_ready, .msix_vector, .intx,
    `ACCELERATOR_NO_CFG
  );

  logic        wr_valid, rd_valid;
  logic [13:0] wr_addr, rd_addr;
  logic [31:0] wr_data, rd_data;
  logic [3:0]  wr_strb;

  accelerator_axi_regs #(
    .RegAddrWidth(14)
  ) u_axi_regs (
    .clk_i(aclk), .rst_ni(user_resetn),
    `ACCELERATOR_AXI_REGS(bar),
    .reg_wr_valid_o(wr_valid), .reg_wr_ready_i(1'b1), .reg_wr_addr_o(wr_addr),
    .reg_wr_data_o(wr_data), .reg_wr_strb_o(wr_strb), .reg_wr_error_i(1'b0),
    // Registers that are written and read share their multiplexer.
    .reg_rd_valid_o(rd_valid), .reg_rd_ready_i(!wr_valid), .reg_rd_addr_o(rd_addr), .reg_rd_strb_o(),
    .reg_rd_data_i(rd_data), .reg_rd_error_i(1'b0)
  );
  /* verilator lint_on PINCONNECTEMPTY */

  // The wire.
  logic         link_up;
  logic [47:0]  mac;
  logic [127:0] rx_tdata, tx_tdata;
  logic [15:0]  rx_tkeep, tx_tkeep;
  logic         rx_tlast, rx_tvalid, rx_tready, tx_tlast, tx_tvalid, tx_tready;

  accelerator_nic_bridge #(
    .Name("virtio_net"), .DataWidth(128)
  ) u_nic (
    .aclk, .aresetn(user_resetn), .link_up, .mac, .link_i(1'b1),
    .m_axis_tdata(rx_tdata), .m_axis_tkeep(rx_tkeep), .m_axis_tlast(rx_tlast),
    .m_axis_tvalid(rx_tvalid), .m_axis_tready(rx_tready),
    .s_axis_tdata(tx_tdata), .s_axis_tkeep(tx_tkeep), .s_axis_tlast(tx_tlast),
    .s_axis_tvalid(tx_tvalid), .s_axis_tready(tx_tready)
  );

  virtio_net_card #(
    .IdWidth(DmaIdWidth)
  ) u_card (
    .clk_i(aclk), .rst_ni(user_resetn),
    .wr_valid_i(wr_valid), .wr_addr_i(wr_addr), .wr_data_i(wr_data), .wr_strb_i(wr_strb),
    .rd_valid_i(rd_valid && !wr_valid), .rd_addr_i(rd_addr), .rd_data_o(rd_data),
    .link_i(link_up), .mac_i(mac),
    .s_axis_tdata(rx_tdata), .s_axis_tkeep(rx_tkeep), .s_axis_tlast(rx_tlast),
    .s_axis_tvalid(rx_tvalid), .s_axis_tready(rx_tready),
    .m_axis_tdata(tx_tdata), .m_axis_tkeep(tx_tkeep), .m_axis_tlast(tx_tlast),
    .m_axis_tvalid(tx_tvalid), .m_axis_tready(tx_tready),
    .msix_valid_o(msix_valid), .msix_ready_i(msix_ready), .msix_vector_o(msix_vector),
    .intx_o(intx),
    `ACCELERATOR_AXI(m_axi, dma)
  );

endmodule
