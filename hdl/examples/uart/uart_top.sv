// SPDX-License-Identifier: Apache-2.0
//
// What is simulated: a card with a serial line. The PCIe bridge with sixteen registers behind
// BAR 0, and the serial port with a monitor on it that reads and writes the same registers.

`include "accelerator_axi.svh"

module uart_top (
  input logic aclk,
  input logic aresetn
);

  logic        user_resetn;

  // Guest accesses.
  `ACCELERATOR_AXI_SIGNALS(bar, 64, 32, 1)

  logic        wr_valid;
  // Registers are words.
  /* verilator lint_off UNUSEDSIGNAL */
  logic [11:0] wr_addr, rd_addr;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [31:0] wr_data, rd_data;
  logic [3:0]  wr_strb;

  // The example has no use for some outputs.
  /* verilator lint_off PINCONNECTEMPTY */
  accelerator_pcie_bridge #(
    .Name       ("uart"),
    .VendorId   (16'h10EE),
    .DeviceId   (16'h7012),
    .ClassCode  (24'h07_80_00),
    .RevisionId (8'h01),
    .Bar0Size   (64'h1000),
    .MsixVectors(0)
  ) u_bridge (
    .aclk, .aresetn, .user_resetn, .user_link_up(),

    `ACCELERATOR_AXI_BAR(bar),
    `ACCELERATOR_AXI_NO_DMA,
    .msix_valid(1'b0), .msix_ready(), .msix_vector('0), .intx(1'b0),
    `ACCELERATOR_NO_CFG
  );

  accelerator_axi_regs u_axi_regs (
    .clk_i(aclk), .rst_ni(user_resetn),
    `ACCELERATOR_AXI_REGS(bar),
    .reg_wr_valid_o(wr_valid), .reg_wr_ready_i(1'b1), .reg_wr_addr_o(wr_addr),
    .reg_wr_data_o(wr_data), .reg_wr_strb_o(wr_strb), .reg_wr_error_i(1'b0),
    .reg_rd_valid_o(), .reg_rd_ready_i(1'b1), .reg_rd_addr_o(rd_addr), .reg_rd_strb_o(),
    .reg_rd_data_i((rd_addr[11:6] == '0) ? rd_data : '0), .reg_rd_error_i(1'b0)
  );
  /* verilator lint_on PINCONNECTEMPTY */

  logic       connected, rx_valid, rx_ready, tx_valid, tx_ready;
  logic [7:0] rx_byte, tx_byte;

  accelerator_uart_port #(
    .Name("uart")
  ) u_port (
    .aclk, .aresetn(user_resetn), .connected, .rx_data(rx_byte), .rx_valid, .rx_ready,
    .tx_data(tx_byte), .tx_valid, .tx_ready
  );

  logic [3:0]  index;
  logic [31:0] value, data;
  logic        write, written;

  uart_regs u_regs (
    .clk_i(aclk), .rst_ni(user_resetn),
    .wr_valid_i(wr_valid && wr_addr[11:6] == '0), .wr_index_i(wr_addr[5:2]),
    .wr_data_i(wr_data), .wr_strb_i(wr_strb), .rd_index_i(rd_addr[5:2]), .rd_data_o(rd_data),
    .index_i(index), .value_o(value), .write_i(write), .data_i(data), .written_o(written),
    .byte_i(rx_valid && rx_ready)
  );

  uart_monitor u_monitor (
    .clk_i(aclk), .rst_ni(user_resetn), .connected_i(connected),
    .rx_data_i(rx_byte), .rx_valid_i(rx_valid), .rx_ready_o(rx_ready),
    .tx_data_o(tx_byte), .tx_valid_o(tx_valid), .tx_ready_i(tx_ready),
    .index_o(index), .value_i(value), .write_o(write), .data_o(data), .written_i(written)
  );

endmodule
