// SPDX-License-Identifier: Apache-2.0
//
// Bits into another clock domain: two registers each. Every bit for itself, so a value of several is
// only one that changes a bit at a time, as a Gray code does; each comes from a register. Where AMD's
// XPM is at hand, XPM_CDC_ARRAY_SINGLE is the same.
//
// The reset is asynchronous, and released in step with clk_i. The registers begin with its value, so
// that a clock that does not run yet makes no difference.

`ifdef VERILATOR
// One reset is asynchronous for the queues and synchronous for what else is in their domain: its
// release is in step with the clock of both.
`verilator_config
lint_off -rule SYNCASYNCNET -file "*/accelerator_*.sv"
`verilog
`endif

module accelerator_cdc_sync #(
  parameter int unsigned Width = 1
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic [Width-1:0] d_i,
  output logic [Width-1:0] q_o
);

  /* verilator lint_off PROCASSINIT */
  (* ASYNC_REG = "TRUE" *) logic [Width-1:0] first_q = '0;
  (* ASYNC_REG = "TRUE" *) logic [Width-1:0] second_q = '0;
  /* verilator lint_on PROCASSINIT */

  assign q_o = second_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      first_q  <= '0;
      second_q <= '0;
    end else begin
      first_q  <= d_i;
      second_q <= first_q;
    end
  end

endmodule
