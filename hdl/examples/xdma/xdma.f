// SPDX-License-Identifier: Apache-2.0
-F ../../bridge.f
xdma_0.sv
xdma_regs.sv
xdma_top.sv
