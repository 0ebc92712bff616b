// SPDX-License-Identifier: Apache-2.0
// The bridge, in compile order: the one list that every flow uses. Paths are relative to this
// file, as `verilator -F` takes them. The folder of rtl/accelerator_axi.svh is for top modules.
+incdir+rtl
rtl/accelerator_dpi_pkg.sv
rtl/accelerator_axi_pkg.sv
rtl/accelerator_stable_check.sv
rtl/accelerator_known_check.sv
rtl/accelerator_mmio_master.sv
rtl/accelerator_guest_accesses.sv
rtl/accelerator_dma_writes.sv
rtl/accelerator_dma_reads.sv
rtl/accelerator_interrupts.sv
rtl/accelerator_function.sv
rtl/accelerator_pcie_bridge.sv
rtl/accelerator_axi_regs.sv
rtl/accelerator_nic_bridge.sv
rtl/accelerator_uart_port.sv
rtl/accelerator_uart_fifo.sv
rtl/accelerator_uart_bridge.sv
