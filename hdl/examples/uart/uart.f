// SPDX-License-Identifier: Apache-2.0
-F ../../bridge.f
uart_regs.sv
uart_monitor.sv
uart_top.sv
