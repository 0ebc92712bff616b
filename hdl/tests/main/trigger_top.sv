// SPDX-License-Identifier: Apache-2.0
//
// A top without a bridge, for tests of the main program: it asks for waves in clock 100. With
// SECOND_CLOCK it has an input that nothing drives.

module trigger_top (
`ifdef SECOND_CLOCK
    input  logic clk2,
`endif
    input  logic aclk,
    input  logic aresetn,
    output logic waves_trigger
);

  int clocks;

  always_ff @(posedge aclk) begin
    clocks <= clocks + 1;
    waves_trigger <= aresetn && clocks == 100;
  end

endmodule
