// SPDX-License-Identifier: Apache-2.0
// The card: synthesizable, and the same on a board and in a simulation.
../../../rtl/accelerator_axi_regs.sv
../../../examples/regs/regs.sv
accelerator_card.v
