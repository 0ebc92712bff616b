// SPDX-License-Identifier: Apache-2.0
-F ../bridge.f
channels_nic.sv
channels_uart.sv
channels_top.sv
