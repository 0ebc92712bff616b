// SPDX-License-Identifier: Apache-2.0
//
// The model, where a build system has Verilator name it by its top module, and quotes do not
// get as far as the compiler: -DSIM_MODEL=Vtop -DSIM_TITLE=name.
#pragma once

#define SIM_TEXT(name) #name
#define SIM_QUOTED(name) SIM_TEXT(name)
#define SIM_HEADER(name) SIM_TEXT(name.h)
#include SIM_HEADER(SIM_MODEL)

#define SIM_NAME SIM_QUOTED(SIM_TITLE)
using Vsim = SIM_MODEL;
