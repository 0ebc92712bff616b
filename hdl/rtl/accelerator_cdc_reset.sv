// SPDX-License-Identifier: Apache-2.0
//
// A reset into another clock domain: asserted at once, with or without a clock, released in step with
// clk_i. rst_ni comes from a register, since a glitch would reset. XPM_CDC_ASYNC_RST is the same.
//
// One for each domain, and everything in it from that one: two of them may release a clock apart.

module accelerator_cdc_reset (
  input  logic clk_i,
  input  logic rst_ni,
  output logic rst_no
);

  accelerator_cdc_sync u_sync (.clk_i, .rst_ni, .d_i(1'b1), .q_o(rst_no));

endmodule
