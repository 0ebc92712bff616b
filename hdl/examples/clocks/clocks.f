// SPDX-License-Identifier: Apache-2.0
// The top has user_clk beside aclk, which the test bench of other simulators has to be told.
+define+ACCELERATOR_USER_CLK
-F ../../bridge.f
../sort/sort_network.sv
../sort/sort_engine.sv
../sort/sort_regs.sv
../sort/sort_core.sv
../sort/sort_top.sv
clocks_top.sv
