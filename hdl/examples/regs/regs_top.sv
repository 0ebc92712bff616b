// SPDX-License-Identifier: Apache-2.0
//
// What is simulated: the bridge, an AXI slave with a register port, and the registers.

`include "accelerator_axi.svh"

module regs_top #(
  parameter string Name = "regs"
) (
  input logic aclk,
  input logic aresetn
);

  logic        user_resetn;
  logic        msix_valid, msix_ready;
  logic [10:0] msix_vector;

  // Guest accesses.
  `ACCELERATOR_AXI_SIGNALS(bar, 64, 32, 1)

  logic        wr_valid, wr_ready;
  logic [11:0] wr_addr, rd_addr;
  logic [31:0] wr_data, rd_data;
  logic [3:0]  wr_strb;

  // The example has no use for some outputs.
  /* verilator lint_off PINCONNECTEMPTY */
  accelerator_pcie_bridge #(
    .Name           (Name),
    .VendorId       (16'h10EE),
    .DeviceId       (16'h7011),
    .ClassCode      (24'h12_00_00),
    .RevisionId     (8'h01),
    .Bar0Size       (64'h1000),
    .Bar1Size       (64'h1000),
    .MsixVectors    (8),
    .MsixTableBar   (1),
    .MsixTableOffset(0),
    .MsixPbaBar     (1),
    .MsixPbaOffset  (32'h800)
  ) u_bridge (
    .aclk, .aresetn, .user_resetn, .user_link_up(),

    `ACCELERATOR_AXI_BAR(bar),
    `ACCELERATOR_AXI_NO_DMA,
    .msix_valid, .msix_ready, .msix_vector, .intx(1'b0),
    `ACCELERATOR_NO_CFG
  );

  accelerator_axi_regs u_axi_regs (
    .clk_i(aclk), .rst_ni(user_resetn),
    `ACCELERATOR_AXI_REGS(bar),
    .reg_wr_valid_o(wr_valid), .reg_wr_ready_i(wr_ready), .reg_wr_addr_o(wr_addr),
    .reg_wr_data_o(wr_data), .reg_wr_strb_o(wr_strb), .reg_wr_error_i(1'b0),
    .reg_rd_valid_o(), .reg_rd_ready_i(1'b1), .reg_rd_addr_o(rd_addr), .reg_rd_strb_o(),
    .reg_rd_data_i(rd_data), .reg_rd_error_i(1'b0)
  );
  /* verilator lint_on PINCONNECTEMPTY */

  regs u_regs (
    .clk_i(aclk), .rst_ni(user_resetn),
    .wr_valid_i(wr_valid), .wr_ready_o(wr_ready), .wr_addr_i(wr_addr), .wr_data_i(wr_data),
    .wr_strb_i(wr_strb), .rd_addr_i(rd_addr), .rd_data_o(rd_data),
    .msix_valid_o(msix_valid), .msix_ready_i(msix_ready), .msix_vector_o(msix_vector)
  );

endmodule
