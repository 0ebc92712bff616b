// SPDX-License-Identifier: Apache-2.0
//
// The model, where a build system has Verilator name it by its top module: -DSIM_MODEL=Vtop.
#pragma once

#define SIM_TEXT(name) #name
#define SIM_HEADER(name) SIM_TEXT(name.h)
#include SIM_HEADER(SIM_MODEL)

using Vsim = SIM_MODEL;
