// SPDX-License-Identifier: Apache-2.0
-F ../../bridge.f
../sort/sort_network.sv
../sort/sort_engine.sv
../sort/sort_regs.sv
../sort/sort_core.sv
../sort/sort_top.sv
pcie4_uscale_plus_0.sv
pcie4_completer.sv
pcie4_requester.sv
pcie4_interrupts.sv
pcie4_card.sv
pcie4_top.sv
