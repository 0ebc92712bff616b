// SPDX-License-Identifier: Apache-2.0
//
// A top without a bridge, for tests of the main program: it asks for waves in clock 100. With
// SECOND_CLOCK it has an input that nothing drives, with USER_CLK a clock of its own, whose edges it
// counts.

module trigger_top (
`ifdef SECOND_CLOCK
    input  logic clk2,
`endif
`ifdef USER_CLK
    input  logic user_clk,
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

`ifdef USER_CLK
  int user_clocks, together;

  always_ff @(posedge user_clk) begin
    user_clocks <= user_clocks + 1;
    // In one evaluation with the rising edge of the other.
    if (aclk && $time % 4 == 2) together <= together + 1;
  end

  final $display("user clocks %0d, %0d of them with aclk", user_clocks, together);
`endif

endmodule
