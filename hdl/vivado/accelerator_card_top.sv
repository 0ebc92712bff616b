// SPDX-License-Identifier: Apache-2.0
//
// A card in a simulation without a block design: the bridge, and the card behind it. After
// synthesis or implementation the card is a netlist here, and the bridge what it was.

`include "accelerator_axi.svh"
`include "card.vh"

module accelerator_card_top (
  input logic aclk,
  input logic aresetn
);

  logic user_resetn;
  `ACCELERATOR_AXI_SIGNALS(bar, 64, 32, 1)
  `ACCELERATOR_AXI_SIGNALS(dma, 64, 128, 4)
  logic        msix_valid, msix_ready;
  logic [10:0] msix_vector;

  // The card has no use for some outputs.
  /* verilator lint_off PINCONNECTEMPTY */
  accelerator_pcie_bridge #(
    .Name           (`CARD_NAME),
    .VendorId       (`CARD_VENDOR_ID),
    .DeviceId       (`CARD_DEVICE_ID),
    .SubVendorId    (`CARD_SUBVENDOR_ID),
    .SubDeviceId    (`CARD_SUBDEVICE_ID),
    .ClassCode      (`CARD_CLASS_CODE),
    .RevisionId     (`CARD_REVISION_ID),
    .Bar0Size       (64'd1024 * `CARD_BAR0_KIB),
    .BarIs64        (6'b000001),
    .MsixVectors    (`CARD_MSIX_VECTORS),
    .MsixTableBar   (0),
    .MsixTableOffset(`CARD_MSIX_TABLE),
    .MsixPbaBar     (0),
    .MsixPbaOffset  (`CARD_MSIX_PBA),
    // A card is for a board.
    .BoardRules     (1)
  ) u_bridge (
    .aclk, .aresetn, .user_resetn, .user_link_up(),
    `ACCELERATOR_AXI_BAR(bar),
    `ACCELERATOR_AXI(s_axi, dma),
    .msix_valid, .msix_ready, .msix_vector, .intx(1'b0),
    `ACCELERATOR_NO_CFG
  );
  /* verilator lint_on PINCONNECTEMPTY */

  accelerator_card u_card (
    .aclk, .aresetn(user_resetn),
    `ACCELERATOR_AXI(s_axi, bar),
    `ACCELERATOR_AXI(m_axi, dma),
    .msix_valid, .msix_ready, .msix_vector
  );

endmodule
