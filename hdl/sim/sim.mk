# SPDX-License-Identifier: Apache-2.0
#
# What scripts/sim-compile.sh adds to the makefile that Verilator writes; it is run in the folder of
# the generated C++. RUNTIME is a folder for what is of no design: Verilator's own C++, and its
# headers precompiled. Who builds another design, or the same one after an edit, compiles none of
# that again.
#
#   toolchain   says which compiler it is
#   generated   names the generated C++
#   runtime     compiles what is in RUNTIME
#   objects     compiles part_*.cpp, which hold the generated C++, and the main program
#   program     links all of it

include Vsim.mk

runtime_objects := $(addprefix $(RUNTIME)/,$(VK_GLOBAL_OBJS))
parts := $(patsubst %.cpp,%.o,$(wildcard part_*.cpp))
# What was precompiled serves one set of options alone. A compiler that cannot use it reads the
# header beside it.
compile = $(CXX) $(OPT_FAST) $(CXXFLAGS) $(CPPFLAGS)

.PHONY: toolchain generated runtime objects

toolchain:
	@$(CXX) --version

generated:
	@printf '%s\n' $(addsuffix .cpp,$(VM_FAST) $(VM_SLOW))

runtime: $(runtime_objects) $(RUNTIME)/common.h.gch

$(runtime_objects): $(RUNTIME)/%.o: %.cpp
	$(CXX) $(OPT_GLOBAL) $(CXXFLAGS) $(CPPFLAGS) -c -o $@ $<

$(RUNTIME)/common.h:
	printf '#include "verilated.h"\n#include "verilated_dpi.h"\n' >$@

$(RUNTIME)/common.h.gch: $(RUNTIME)/common.h
	$(compile) -x c++-header $< -o $@

$(parts): %.o: %.cpp
	$(compile) -include $(RUNTIME)/common.h -c -o $@ $<

# The main program alone knows the name of the simulation.
sim_main.o: CPPFLAGS += -include $(RUNTIME)/common.h -DSIM_NAME='"$(SIM_NAME)"'

objects: $(parts) $(VK_USER_OBJS)

program: $(parts) $(VK_USER_OBJS) $(runtime_objects)
	$(LINK) $(LDFLAGS) $^ $(LOADLIBES) $(LDLIBS) $(LIBS) -o $@
