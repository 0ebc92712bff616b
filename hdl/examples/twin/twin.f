// SPDX-License-Identifier: Apache-2.0
-F ../../bridge.f
../regs/regs.sv
../regs/regs_top.sv
twin_top.sv
