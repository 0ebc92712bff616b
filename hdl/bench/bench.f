// SPDX-License-Identifier: Apache-2.0
-F ../bridge.f
bench.sv
bench_top.sv
bench_clock.cpp
