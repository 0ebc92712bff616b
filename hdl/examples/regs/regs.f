// SPDX-License-Identifier: Apache-2.0
-F ../../bridge.f
regs.sv
regs_top.sv
