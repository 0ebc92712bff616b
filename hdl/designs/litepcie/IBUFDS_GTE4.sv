// SPDX-License-Identifier: Apache-2.0
//
// The buffer of the reference clock (UG974), which the core takes from AMD's libraries, as far as it
// uses it. Here it is the clock of the block as well.

module IBUFDS_GTE4 #(
  parameter REFCLK_HROW_CK_SEL = 1'b0
) (
  input  logic I,
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic IB,
  input  logic CEB,
  /* verilator lint_on UNUSEDSIGNAL */
  output logic O,
  output logic ODIV2
);

  if (REFCLK_HROW_CK_SEL != 0) begin : gen_bad_select
    $error("REFCLK_HROW_CK_SEL is %0d; this model has 0, with ODIV2 as O", REFCLK_HROW_CK_SEL);
  end

  assign O     = I;
  assign ODIV2 = I;

endmodule
