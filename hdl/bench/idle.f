// SPDX-License-Identifier: Apache-2.0
-F ../bridge.f
../examples/sort/sort_network.sv
../examples/sort/sort_engine.sv
../examples/sort/sort_regs.sv
../examples/sort/sort_core.sv
../examples/pcie4/pcie4_completer.sv
../examples/pcie4/pcie4_requester.sv
../examples/pcie4/pcie4_interrupts.sv
../examples/pcie4/pcie4_card.sv
idle_pcie4_top.sv
idle_xdma_top.sv
