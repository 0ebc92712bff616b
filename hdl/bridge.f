// SPDX-License-Identifier: Apache-2.0
// The bridge, in compile order. Paths are relative to this file: verilator -F, xsim -F.
rtl/accelerator_dpi_pkg.sv
rtl/accelerator_stable_check.sv
rtl/accelerator_mmio_master.sv
rtl/accelerator_pcie_bridge.sv
rtl/accelerator_axi_regs.sv
