// SPDX-License-Identifier: Apache-2.0
//
// Test bench for simulators that have a clock of their own: instantiates the top module of a
// design, which is named by the macro ACCELERATOR_TOP, and drives its aclk and aresetn. It is
// what sim_main.cpp is for Verilator, and takes the same arguments where it can.
//
//   +accelerator_endpoint=E   where QEMU connects (read by the bridge)
//   +max_clocks=N             ends the simulation after N clocks
//   +stop_file=FILE           ends it when FILE is there; looked for every 4,096 clocks
//   +clock_ps=N               period of aclk, 4000 unless given
//   +waves=FILE               writes VCD; a simulator's own format is smaller
//   +clock_style=N            how the clock comes about: 0 by a blocking assignment, as most
//                             test benches have it; 1 by a nonblocking one; 2 as 0 and through
//                             another continuous assignment, as a clock that a block puts out.
//                             RTL behind the bridge does the same in all of them
//
//   +user_clk_ps=N            period of user_clk, which a top has beside aclk where the macro
//                             ACCELERATOR_USER_CLK is defined; 3001 unless given
//
// Every way ends with $finish, so that the bridge says goodbye to QEMU in its final block.

`ifndef ACCELERATOR_TOP
  `error "define ACCELERATOR_TOP as the name of the design's top module"
`endif

module accelerator_tb;

  timeunit 1ps;
  timeprecision 1ps;

  localparam int unsigned ResetClocks = 16;

  int unsigned     clock_ps    = 4000;
  int unsigned     clock_style = 0;
  longint unsigned max_clocks  = 0;
  longint unsigned clocks      = 0;
  string           stop_file   = "";
  string           waves_file  = "";
  logic            clock       = 1'b0;
  logic            later, behind, aclk;
  logic            aresetn     = 1'b0;

  always @(clock) later <= clock;
  assign behind = clock;
  assign aclk   = (clock_style == 1) ? later : (clock_style == 2) ? behind : clock;

`ifdef ACCELERATOR_USER_CLK
  int unsigned     user_clk_ps = 3001;
  logic            user_clk    = 1'b0;

  initial begin : p_user_clock
    void'($value$plusargs("user_clk_ps=%d", user_clk_ps));
    if (user_clk_ps < 2) begin
      $fatal(1, "+user_clk_ps=%0d; at least 2 is needed", user_clk_ps);
    end
    while (1) begin
      #(user_clk_ps / 2);
      user_clk = 1'b1;
      #(user_clk_ps - user_clk_ps / 2);
      user_clk = 1'b0;
    end
  end

  `ACCELERATOR_TOP u_top (.aclk(aclk), .aresetn(aresetn), .user_clk(user_clk));
`else
  `ACCELERATOR_TOP u_top (.aclk(aclk), .aresetn(aresetn));
`endif

  // Whether a file is there.
  function automatic bit is_there(input string name);
    int file;
    file = $fopen(name, "r");
    if (file != 0) $fclose(file);
    return file != 0;
  endfunction

  initial begin : p_clock
    void'($value$plusargs("clock_ps=%d", clock_ps));
    void'($value$plusargs("clock_style=%d", clock_style));
    void'($value$plusargs("max_clocks=%d", max_clocks));
    void'($value$plusargs("stop_file=%s", stop_file));
    if (clock_ps < 2) begin
      $fatal(1, "+clock_ps=%0d; at least 2 is needed", clock_ps);
    end
    if ($value$plusargs("waves=%s", waves_file) != 0) begin
      $dumpfile(waves_file);
      $dumpvars(0, accelerator_tb);
    end
    while (1) begin
      #(clock_ps / 2);
      clock = 1'b1;
      #(clock_ps - clock_ps / 2);
      clock = 1'b0;
      clocks = clocks + 1;
      // At the falling edge: no process that waits for the rising one sees it change.
      if (clocks == 64'(ResetClocks)) aresetn = 1'b1;
      if (clocks == max_clocks) $finish;
      if (clocks[11:0] == '0 && stop_file != "" && is_there(stop_file)) $finish;
    end
  end

  final begin : p_summary
    $display("accelerator_tb: clocks=%0d", clocks);
  end

endmodule
