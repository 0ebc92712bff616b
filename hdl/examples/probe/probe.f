// SPDX-License-Identifier: Apache-2.0
-F ../../bridge.f
msix_table.sv
msix_axi.sv
probe.sv
probe_top.sv
