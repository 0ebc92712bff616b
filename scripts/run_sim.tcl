# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Simulates in Vivado: an example, a card, or a project that is there.

set usage {usage: vivado -mode batch -source scripts/run_sim.tcl -tclargs [MODE] [option...]

Simulates with Vivado's simulator, in a project. scripts/run-xsim.sh does so without one.

  MODE             behavioral (default), post-synthesis or post-implementation. After
                   synthesis only the card is a netlist, so these two need --card or a
                   project whose top is the card alone
  --example NAME   an example of hdl/examples (default regs)
  --card DIR       a card: a folder with accelerator_card.v, card.f and card.vh
  --project FILE   an .xpr that is there, as scripts/build_platform.sh makes it; its own
                   simulation set is used
  --type TYPE      netlist of a post-synthesis or post-implementation simulation:
                   functional (default) or timing
  --part PART      part for a project that is made; default xc7a35tcpg236-1
  --out DIR        where it is made; default build/vivado/sim
  --dpi DIR        where scripts/build-dpi.sh put the DPI library; default build/dpi
  --plusarg ARG    an argument of the simulation, NAME=VALUE, without the plus sign; may
                   be given more than once: accelerator_endpoint, max_clocks, stop_file
  --scripts-only   writes the scripts of the simulation and does not run it
  --help           this text
}

set here [file dirname [file normalize [info script]]]
set mode behavioral
set type functional
set example {}
set card {}
set project {}
set part xc7a35tcpg236-1
set out [file normalize $here/../build/vivado/sim]
set dpi [file normalize $here/../build/dpi]
set plusargs {}
set scripts_only 0

proc wrong {text} {
  puts stderr "run_sim.tcl: $text; see --help"
  exit 2
}

set words $argv
while {[llength $words] > 0} {
  set words [lassign $words word]
  switch -glob -- $word {
    --help {
      puts $usage
      exit 0
    }
    behavioral - behavioural { set mode behavioral }
    post-synthesis - post-implementation { set mode $word }
    --scripts-only { set scripts_only 1 }
    --example - --card - --project - --type - --part - --out - --dpi - --plusarg {
      if {[llength $words] == 0} { wrong "$word needs a value" }
      set words [lassign $words value]
      switch -- $word {
        --example { set example $value }
        --card { set card [file normalize $value] }
        --project { set project [file normalize $value] }
        --type { set type $value }
        --part { set part $value }
        --out { set out [file normalize $value] }
        --dpi { set dpi [file normalize $value] }
        --plusarg { lappend plusargs $value }
      }
    }
    default { wrong "unknown argument '$word'" }
  }
}
if {($example ne {}) + ($card ne {}) + ($project ne {}) > 1} {
  wrong {--example, --card and --project exclude each other}
}
if {$type ni {functional timing}} { wrong "--type is '$type', expected functional or timing" }
if {$mode ne {behavioral} && $card eq {} && $project eq {}} {
  wrong "$mode needs --card or --project"
}
if {![file exists $dpi/libaccelerator_dpi.so]} {
  wrong "there is no $dpi/libaccelerator_dpi.so: scripts/build-dpi.sh makes it"
}

set hdl [file normalize $here/../hdl]
source $hdl/vivado/platform.tcl
if {$project ne {}} {
  if {![file exists $project]} { wrong "there is no project $project" }
  open_project $project
} elseif {$card ne {}} {
  foreach file {accelerator_card.v card.f card.vh} {
    if {![file exists $card/$file]} { wrong "$card has no $file" }
  }
  # The card is the top of synthesis; the bridge and the test bench are for simulation.
  platform_project sim $out $part $card {}
  synthesize_card
  set bench [concat [read_list $hdl/bridge.f] [list $hdl/vivado/accelerator_card_top.sv]]
  # The card's own files are in the project already.
  foreach file [read_list $card/card.f] {
    set bench [lsearch -all -inline -not -exact $bench $file]
  }
  add_files -fileset sim_1 -norecurse $bench
  set_property include_dirs [list $card $hdl/rtl] [get_filesets sim_1]
  platform_simulation accelerator_card_top $dpi
} else {
  if {$example eq {}} { set example regs }
  set list $hdl/examples/$example/$example.f
  if {![file exists $list]} { wrong "no example '$example' in $hdl/examples" }
  create_project sim $out -part $part -force
  add_files -fileset sim_1 -norecurse [read_list $list]
  set_property include_dirs $hdl/rtl [get_filesets sim_1]
  platform_simulation ${example}_top $dpi [read_defines $list]
}

set options {}
foreach plusarg $plusargs { append options " -testplusarg $plusarg" }
set_property xsim.simulate.xsim.more_options [string trim $options] [get_filesets sim_1]

set run {}
switch -- $mode {
  post-synthesis { set run synth_1 }
  post-implementation { set run impl_1 }
}
if {$run ne {}} {
  # A run that is up to date is not done again.
  if {[get_property PROGRESS [get_runs $run]] ne {100%}} {
    launch_runs $run
    wait_on_run $run
  }
  if {[get_property PROGRESS [get_runs $run]] ne {100%}} {
    error "run_sim.tcl: the run $run failed; its log is in its folder"
  }
  open_run $run
}

set launch [list launch_simulation -mode $mode]
if {$run ne {}} { lappend launch -type $type }
if {$scripts_only} { lappend launch -scripts_only }
{*}$launch
if {!$scripts_only} { close_sim }
close_project
puts "run_sim.tcl: $mode simulation is over"
