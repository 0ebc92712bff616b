// SPDX-License-Identifier: Apache-2.0
//
// From the card's MSI-X handshake to the user interrupts of AMD's DMA/Bridge Subsystem for PCI
// Express in AXI Bridge mode: a request stays up until it is acknowledged (PG194, "DMA/Bridge
// Subsystem for PCIe in Bridge Mode Interrupt Signals"; one acknowledge for MSI-X). One vector at a
// time, so that interrupts keep their order. A vector that the block does not have is dropped.

module accelerator_usr_irq #(
  parameter integer NumVectors = 4
) (
  (* X_INTERFACE_INFO = "xilinx.com:signal:clock:1.0 aclk CLK", X_INTERFACE_PARAMETER = "ASSOCIATED_RESET aresetn" *)
  input  wire                  aclk,
  (* X_INTERFACE_INFO = "xilinx.com:signal:reset:1.0 aresetn RST", X_INTERFACE_PARAMETER = "POLARITY ACTIVE_LOW" *)
  input  wire                  aresetn,

  input  wire                  msix_valid,
  output wire                  msix_ready,
  input  wire [10:0]           msix_vector,

  output reg  [NumVectors-1:0] usr_irq_req,
  input  wire [NumVectors-1:0] usr_irq_ack
);

  // Not in the clock of the acknowledge: the request is low for one clock between two of one
  // vector.
  assign msix_ready = aresetn && usr_irq_req == {NumVectors{1'b0}} &&
                      usr_irq_ack == {NumVectors{1'b0}};

  always @(posedge aclk) begin
    if (!aresetn) begin
      usr_irq_req <= {NumVectors{1'b0}};
    end else if (msix_valid && msix_ready) begin
      usr_irq_req <= ({21'b0, msix_vector} < NumVectors) ? {{(NumVectors-1){1'b0}}, 1'b1} << msix_vector
                                                : {NumVectors{1'b0}};
    end else begin
      usr_irq_req <= usr_irq_req & ~usr_irq_ack;
    end
  end

endmodule
