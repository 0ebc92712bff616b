# SPDX-License-Identifier: Apache-2.0
#
# What the platforms share. A platform is a Vivado project with two block designs that hold the
# same card (a module reference to accelerator_card), each behind its own host:
#
#   sim_platform     accelerator_pcie_bridge in place of the PCIe block; for simulation only
#   board_platform   the PCIe block of the board; for synthesis only
#
# The boundary between host and card is the same in both: AXI4 for the BARs, AXI4 for host memory,
# the MSI-X handshake, clock and reset.

# Where this file is; `info script` within a procedure tells who called it.
set platform_folder [file dirname [file normalize [info script]]]

# Reads the options that every platform has. -tclargs are: OUT PART CARD IP DPI [BOARD_PART]
proc platform_arguments {script argv} {
  global out part card ip dpi board
  if {[llength $argv] < 5} {
    puts stderr "$script: OUT PART CARD IP DPI are needed; scripts/build_platform.sh gives them"
    exit 2
  }
  lassign $argv out part card ip dpi board
}

# The absolute files of a list, and of the lists in it; the folders of +incdir+ are left out.
proc read_list {list} {
  set files {}
  set folder [file dirname [file normalize $list]]
  set handle [open $list]
  set text [read $handle]
  close $handle
  foreach line [split $text \n] {
    regsub {//.*$} $line {} line
    set words [regexp -all -inline {\S+} $line]
    while {[llength $words] > 0} {
      set words [lassign $words word]
      if {$word eq {-F}} {
        set words [lassign $words word]
        lappend files {*}[read_list [file join $folder $word]]
      } elseif {![string match {[-+]*} $word]} {
        lappend files [file normalize [file join $folder $word]]
      }
    }
  }
  return $files
}

# The macros that a list defines, and the lists in it.
proc read_defines {list} {
  set macros {}
  set folder [file dirname [file normalize $list]]
  set handle [open $list]
  set text [read $handle]
  close $handle
  foreach line [split $text \n] {
    regsub {//.*$} $line {} line
    if {[regexp {^\s*-F\s+(\S+)} $line - inner]} {
      lappend macros {*}[read_defines [file join $folder $inner]]
    }
    foreach {- name} [regexp -all -inline {\+define\+(\S+)} $line] { lappend macros $name }
  }
  return $macros
}

# What card.vh says, as a dictionary: CARD_NAME and so on, numbers in decimal.
proc read_card {file} {
  set card {}
  set handle [open $file]
  set text [read $handle]
  close $handle
  foreach {- name value} [regexp -all -inline -line {^`define (CARD_\w+)\s+(\S+)$} $text] {
    if {[regexp {^"(.*)"$} $value - value]} {
      dict set card $name $value
    } elseif {[regexp {^\d*'h([0-9A-Fa-f_]+)$} $value - value]} {
      dict set card $name [scan [string map {_ {}} $value] %llx]
    } else {
      dict set card $name [expr {$value}]
    }
  }
  return $card
}

# A project with the card's files, the test bench for simulation and the IP of the bridges.
proc platform_project {name out part card ip} {
  global platform_folder
  create_project $name $out -part $part -force
  set_property target_language Verilog [current_project]
  if {$ip ne {}} {
    set_property ip_repo_paths $ip [current_project]
    update_ip_catalog
  }
  add_files -norecurse [concat [read_list $card/card.f] \
    [list $platform_folder/accelerator_usr_irq.v $card/card.vh]]
  set_property file_type {Verilog Header} [get_files card.vh]
  set_property top accelerator_card [current_fileset]
  update_compile_order -fileset sources_1
}

# The card is synthesized alone, without buffers at its ports, which are more than a part has pins
# (UG905, "Hierarchical Design"; UG835, "synth_design").
proc synthesize_card {} {
  set_property {STEPS.SYNTH_DESIGN.ARGS.MORE OPTIONS} {-mode out_of_context} [get_runs synth_1]
}

# The card in a block design, with its clock, its reset and the place of its memory map.
proc place_card {clock reset} {
  set cell [create_bd_cell -type module -reference accelerator_card card]
  connect_bd_net $clock [get_bd_pins card/aclk]
  connect_bd_net $reset [get_bd_pins card/aresetn]
  return $cell
}

# The block design for simulation. Its wrapper has the ports aclk and aresetn, as the top module of
# a simulation has (hdl/sim/accelerator_tb.sv).
proc sim_platform {identity} {
  create_bd_design sim_platform
  create_bd_port -dir I -type clk -freq_hz 250000000 aclk
  create_bd_port -dir I -type rst aresetn
  create_bd_cell -type ip -vlnv accelerator-pcie:cosim:accelerator_pcie_bridge:1.0 host
  set_property -dict [list \
    CONFIG.Name [dict get $identity CARD_NAME] \
    CONFIG.VendorId [format 0x%04X [dict get $identity CARD_VENDOR_ID]] \
    CONFIG.DeviceId [format 0x%04X [dict get $identity CARD_DEVICE_ID]] \
    CONFIG.SubVendorId [format 0x%04X [dict get $identity CARD_SUBVENDOR_ID]] \
    CONFIG.SubDeviceId [format 0x%04X [dict get $identity CARD_SUBDEVICE_ID]] \
    CONFIG.ClassCode [format 0x%06X [dict get $identity CARD_CLASS_CODE]] \
    CONFIG.RevisionId [format 0x%02X [dict get $identity CARD_REVISION_ID]] \
    CONFIG.Bar0Size [format 0x%016llX [expr {1024 * [dict get $identity CARD_BAR0_KIB]}]] \
    CONFIG.BarIs64 0x01 \
    CONFIG.MsixVectors [dict get $identity CARD_MSIX_VECTORS] \
    CONFIG.MsixTableBar 0 \
    CONFIG.MsixTableOffset [dict get $identity CARD_MSIX_TABLE] \
    CONFIG.MsixPbaBar 0 \
    CONFIG.MsixPbaOffset [dict get $identity CARD_MSIX_PBA] \
    CONFIG.BoardRules 1 \
  ] [get_bd_cells host]
  create_bd_cell -type ip -vlnv xilinx.com:ip:xlconstant:1.1 no_intx
  set_property CONFIG.CONST_VAL 0 [get_bd_cells no_intx]

  connect_bd_net [get_bd_ports aclk] [get_bd_pins host/aclk]
  connect_bd_net [get_bd_ports aresetn] [get_bd_pins host/aresetn]
  connect_bd_net [get_bd_pins no_intx/dout] [get_bd_pins host/intx]
  place_card [get_bd_ports aclk] [get_bd_pins host/user_resetn]
  connect_bd_intf_net [get_bd_intf_pins host/m_axi] [get_bd_intf_pins card/s_axi]
  connect_bd_intf_net [get_bd_intf_pins card/m_axi] [get_bd_intf_pins host/s_axi]
  connect_bd_net [get_bd_pins card/msix_valid] [get_bd_pins host/msix_valid]
  connect_bd_net [get_bd_pins card/msix_vector] [get_bd_pins host/msix_vector]
  connect_bd_net [get_bd_pins host/msix_ready] [get_bd_pins card/msix_ready]
  finish_design sim_platform host/m_axi $identity
}

# Addresses, checks, and the wrapper, which becomes a file of the project. BAR 0 is at address 0 of
# the host's master; host memory is where its slave says.
proc finish_design {name master identity} {
  assign_bd_address -offset 0x00000000 -range [dict get $identity CARD_BAR0_KIB]K \
    -target_address_space [get_bd_addr_spaces $master] [get_bd_addr_segs card/s_axi/*] -force
  assign_bd_address
  validate_bd_design
  save_bd_design
  set file [get_files $name.bd]
  generate_target all $file
  add_files -norecurse [make_wrapper -files $file -top]
}

# The simulation set: test bench, and the DPI library where xelab looks for it.
proc platform_simulation {top dpi {macros {}}} {
  global platform_folder
  add_files -fileset sim_1 -norecurse [file normalize $platform_folder/../sim/accelerator_tb.sv]
  set_property top accelerator_tb [get_filesets sim_1]
  set_property verilog_define [concat ACCELERATOR_TOP=$top $macros] [get_filesets sim_1]
  set_property xsim.elaborate.xelab.more_options \
    "-sv_root $dpi -sv_lib libaccelerator_dpi -dpi_absolute" [get_filesets sim_1]
  set_property xsim.simulate.runtime all [get_filesets sim_1]
  update_compile_order -fileset sim_1
}

# A block design and its wrapper are for one of the two only.
proc only_for {use files} {
  foreach file $files {
    set_property used_in_synthesis [expr {$use eq {synthesis}}] [get_files $file]
    set_property used_in_implementation [expr {$use eq {synthesis}}] [get_files $file]
    set_property used_in_simulation [expr {$use eq {simulation}}] [get_files $file]
  }
}
