// SPDX-License-Identifier: Apache-2.0
//
// A core that LitePCIe's generator has made, as it is, in a simulation: clock and reset where a
// board has those of its edge connector, and the streams of the DMA channel tied to each other.
//
//   +litepcie_damage=N   the first bit of each Nth beat of the streams is the other way round: a
//                        test of those who look at data. It has no effect on the core's own
//                        loopback, which is behind the streams

module litepcie_top #(
  // As in the core's configuration.
  parameter int unsigned DataWidth = 256,
  parameter int unsigned Lanes     = 8
) (
  input logic aclk,
  input logic aresetn
);

  logic                 clk;
  logic [DataWidth-1:0] reader_data, damage;
  logic                 valid, ready, last, first;

  int unsigned          damage_each, beats_q;

  initial begin : p_arguments
    damage_each = 0;
    void'($value$plusargs("litepcie_damage=%d", damage_each));
  end

  always_ff @(posedge clk) begin : p_count
    if (valid && ready) beats_q <= (beats_q + 1 < damage_each) ? beats_q + 1 : 0;
    if (!aresetn) beats_q <= 0;
  end
  assign damage = DataWidth'(damage_each != 0 && beats_q + 1 == damage_each);

  // Lanes, the reset of its logic and what runs have no use here.
  /* verilator lint_off PINCONNECTEMPTY */
  litepcie_core u_core (
    .pcie_clk_p(aclk), .pcie_clk_n(!aclk), .pcie_rst_n(aresetn),
    .pcie_rx_p(Lanes'(0)), .pcie_rx_n(Lanes'(0)), .pcie_tx_p(), .pcie_tx_n(),
    .clk(clk), .rst(), .msi_irqs('0),
    .dma0_status_reader_enable(), .dma0_status_writer_enable(),
    .dma0_reader_axi_tdata(reader_data), .dma0_reader_axi_tvalid(valid),
    .dma0_reader_axi_tready(ready), .dma0_reader_axi_tlast(last), .dma0_reader_axi_tuser(first),
    .dma0_writer_axi_tdata(reader_data ^ damage), .dma0_writer_axi_tvalid(valid),
    .dma0_writer_axi_tready(ready), .dma0_writer_axi_tlast(last), .dma0_writer_axi_tuser(first)
  );
  /* verilator lint_on PINCONNECTEMPTY */

endmodule
