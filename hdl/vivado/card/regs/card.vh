// SPDX-License-Identifier: Apache-2.0
//
// What the guest sees of the card: read by accelerator_card_top.sv and by the Tcl scripts, which
// give the same to the bridge of a simulation and to the PCIe block of a board. BAR 0 holds the
// registers, and the MSI-X table where AMD's PCIe block has it unless told otherwise.

`define CARD_NAME          "regs"
`define CARD_VENDOR_ID     16'h10EE
`define CARD_DEVICE_ID     16'h7011
`define CARD_SUBVENDOR_ID  16'h10EE
`define CARD_SUBDEVICE_ID  16'h0007
`define CARD_CLASS_CODE    24'h120000
`define CARD_REVISION_ID   8'h00
`define CARD_BAR0_KIB      64
`define CARD_MSIX_VECTORS  8
`define CARD_MSIX_TABLE    32'h8000
`define CARD_MSIX_PBA      32'h8FE0
