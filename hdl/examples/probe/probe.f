// SPDX-License-Identifier: Apache-2.0
-F ../../bridge.f
probe.sv
probe_top.sv
