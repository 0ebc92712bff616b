// SPDX-License-Identifier: Apache-2.0
trigger_top.sv
