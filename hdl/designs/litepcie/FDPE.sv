// SPDX-License-Identifier: Apache-2.0
//
// A flip-flop with asynchronous preset (UG974), which the core takes from AMD's libraries and makes
// resets of clock domains of.

module FDPE #(
  parameter INIT = 1'b1
) (
  input  logic C,
  input  logic CE,
  input  logic D,
  input  logic PRE,
  output logic Q
);

  initial Q = 1'(INIT);

  always_ff @(posedge C or posedge PRE) begin : p_flop
    if (PRE) Q <= 1'b1;
    else if (CE) Q <= D;
  end

endmodule
