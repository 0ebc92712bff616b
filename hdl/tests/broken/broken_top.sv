// SPDX-License-Identifier: Apache-2.0
//
// A design in which nothing can go wrong: broken_cases.py does.

module broken_top (
    input  logic aclk,
    output logic q
);

  always_ff @(posedge aclk) q <= ~q;

endmodule
