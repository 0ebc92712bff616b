// SPDX-License-Identifier: Apache-2.0
//
// Vectors of RTL to cfg_interrupt_*: of MSI-X where the guest has enabled it, whose table is built in,
// else of MSI. One at a time: the next is taken when the block has sent the one before, or has failed.

module pcie4_interrupts (
  input  logic        clk_i,
  input  logic        rst_ni,

  input  logic        valid_i,
  output logic        ready_o,
  input  logic [10:0] vector_i,

  input  logic        cfg_interrupt_msix_enable,
  input  logic        cfg_interrupt_msi_enable,
  input  logic [2:0]  cfg_interrupt_msi_mmenable,
  output logic [31:0] cfg_interrupt_msi_int,
  output logic        cfg_interrupt_msix_int,
  input  logic        cfg_interrupt_msi_sent,
  input  logic        cfg_interrupt_msi_fail
);

  logic waits_q;

  assign ready_o = rst_ni && !waits_q;

  // Of MSI a guest may have granted fewer vectors: those beyond share the last.
  logic [4:0] last, msi_vector;
  assign last       = 5'((6'd1 << cfg_interrupt_msi_mmenable) - 6'd1);
  assign msi_vector = (vector_i > {6'd0, last}) ? last : vector_i[4:0];

  always_ff @(posedge clk_i) begin
    cfg_interrupt_msi_int  <= '0;
    cfg_interrupt_msix_int <= 1'b0;
    if (!rst_ni) begin
      waits_q <= 1'b0;
    end else if (waits_q) begin
      if (cfg_interrupt_msi_sent || cfg_interrupt_msi_fail) waits_q <= 1'b0;
    end else if (valid_i && cfg_interrupt_msix_enable) begin
      cfg_interrupt_msi_int  <= 32'(vector_i);
      cfg_interrupt_msix_int <= 1'b1;
      waits_q                <= 1'b1;
    end else if (valid_i && cfg_interrupt_msi_enable) begin
      cfg_interrupt_msi_int <= 32'd1 << msi_vector;
      waits_q               <= 1'b1;
    end
  end

endmodule
