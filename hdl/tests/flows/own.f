// SPDX-License-Identifier: Apache-2.0
// A list as a user writes it, with all that a list may have.
+incdir+../../sim +define+OWN=1
-F ../../bridge.f
../../examples/regs/regs.sv  ../../examples/regs/regs_top.sv // two in a line
-Wno-WIDTH
