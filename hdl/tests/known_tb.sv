// SPDX-License-Identifier: Apache-2.0
//
// What accelerator_known_check says of X. For a four-state simulator.

module known_tb;

  reg       clock = 1'b0;
  reg       aresetn = 1'b0;
  reg       valid = 1'bx;
  reg [7:0] payload = 8'hx;

  accelerator_known_check #(.Width(8), .Name("strict")) u_strict (
    .clk_i(clock), .rst_ni(aresetn), .valid_i(valid), .payload_i(payload)
  );
  accelerator_known_check #(.Width(8), .Name("lenient"), .Fatal(1'b0)) u_lenient (
    .clk_i(clock), .rst_ni(aresetn), .valid_i(valid), .payload_i(payload)
  );

  task step(input [8*20-1:0] text);
    begin
      $display("%0s", text);
      #1 clock = 1'b1;
      #1 clock = 1'b0;
    end
  endtask

  initial begin
    step("in reset");
    aresetn = 1'b1;
    valid   = 1'b0;
    step("not valid");
    valid   = 1'b1;
    payload = 8'h5a;
    step("known");
    payload = 8'b0101x010;
    step("unknown");
    step("unknown again");
    payload = 8'h00;
    valid   = 1'bx;
    step("valid unknown");
    $display("end");
    $finish;
  end

endmodule
