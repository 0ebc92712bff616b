// SPDX-License-Identifier: Apache-2.0
// The card: synthesizable, and the same on a board and in a simulation.
../../../rtl/accelerator_axi_regs.sv
../../../examples/sort/sort_network.sv
../../../examples/sort/sort_engine.sv
../../../examples/sort/sort_regs.sv
../../../examples/sort/sort_core.sv
accelerator_card.v
