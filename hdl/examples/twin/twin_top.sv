// SPDX-License-Identifier: Apache-2.0
//
// What is simulated: two cards, each with a bridge of its own. A bridge's name tells them apart:
//
//   twin +accelerator_endpoint_left=7557 +accelerator_endpoint_right=7567

module twin_top (
  input logic aclk,
  input logic aresetn
);

  regs_top #(.Name("left")) u_left (.aclk, .aresetn);

  regs_top #(.Name("right")) u_right (.aclk, .aresetn);

endmodule
