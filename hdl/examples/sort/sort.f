// SPDX-License-Identifier: Apache-2.0
-F ../../bridge.f
sort_network.sv
sort_engine.sv
sort_regs.sv
sort_core.sv
sort_top.sv
