# SPDX-License-Identifier: Apache-2.0
#
# Runs a Tcl script without Vivado and writes down which commands it calls:
#
#   tclsh recorder.tcl TRANSCRIPT SCRIPT ARGUMENT...
#
# Each command of Vivado that the scripts may use is in the table below with its options; anything
# else is refused, and so is an option, a number of arguments, an object, a pin or a property that
# is not known. Of a block design it keeps the cells, pins and connections: at the end of each,
# every input has a driver. It checks calls, it does nothing that Vivado does. Its variables are
# called recorder_, since a script has the others to itself.

set recorder_transcript [open [lindex $argv 0] w]
set recorder_script [lindex $argv 1]
set argv [lrange $argv 2 end]
set argc [llength $argv]
set recorder_root [file normalize [file dirname [info script]]/../../..]
set recorder_out {}
if {[info exists env(FLOW_OUT)]} { set recorder_out $env(FLOW_OUT) }

# Name, options with the number of their arguments, least and most other arguments, source.
# UG835 is the Vivado Tcl Command Reference (2024.1). The commands of ipx and ipgui are those of the
# IP packager (UG1118, "Packaging IP"), with the arguments that Vivado itself writes to its journal.
set recorder_commands {
  create_project       {-part 1 -force 0 -in_memory 0} 1 2 UG835
  open_project         {-read_only 0} 1 1 UG835
  close_project        {} 0 0 UG835
  current_project      {} 0 0 UG835
  current_fileset      {-simset 0} 0 0 UG835
  get_filesets         {} 1 1 UG835
  add_files            {-fileset 1 -norecurse 0} 1 1 UG835
  get_files            {} 1 1 UG835
  update_compile_order {-fileset 1} 0 0 UG835
  update_ip_catalog    {-rebuild 0} 0 0 UG835
  set_property         {-dict 1} 1 3 UG835
  get_property         {} 2 2 UG835
  get_runs             {} 1 1 UG835
  launch_runs          {-jobs 1} 1 1 UG835
  wait_on_run          {} 1 1 UG835
  open_run             {} 1 1 UG835
  launch_simulation    {-mode 1 -type 1 -simset 1 -scripts_only 0} 0 0 UG835
  close_sim            {} 0 0 UG835
  create_bd_design     {} 1 1 UG835
  create_bd_port       {-dir 1 -type 1 -freq_hz 1 -from 1 -to 1} 1 1 UG835
  create_bd_intf_port  {-mode 1 -vlnv 1} 1 1 UG835
  create_bd_cell       {-type 1 -vlnv 1 -reference 1} 1 1 UG835
  get_bd_cells         {} 1 1 UG835
  get_bd_ports         {} 1 1 UG835
  get_bd_pins          {} 1 1 UG835
  get_bd_intf_ports    {} 1 1 UG835
  get_bd_intf_pins     {} 1 1 UG835
  connect_bd_net       {-net 1} 2 100 UG835
  connect_bd_intf_net  {-intf_net 1} 2 2 UG835
  assign_bd_address    {-offset 1 -range 1 -target_address_space 1 -force 0} 0 1 UG835
  get_bd_addr_spaces   {} 1 1 UG835
  get_bd_addr_segs     {} 1 1 UG835
  validate_bd_design   {} 0 0 UG835
  save_bd_design       {} 0 0 UG835
  generate_target      {} 2 2 UG835
  make_wrapper         {-files 1 -top 0} 0 0 UG835
  ipx::package_project {-root_dir 1 -vendor 1 -library 1 -taxonomy 1 -import_files 0 -force 0} 0 0 UG1118
  ipx::current_core    {} 0 0 UG1118
  ipx::get_bus_interfaces {-of_objects 1} 1 1 UG1118
  ipx::associate_bus_interfaces {-busif 1 -clock 1 -reset 1} 1 1 UG1118
  ipx::get_address_spaces {-of_objects 1} 1 1 UG1118
  ipx::add_address_space {} 2 2 UG1118
  ipx::get_memory_maps {-of_objects 1} 1 1 UG1118
  ipx::add_memory_map  {} 2 2 UG1118
  ipx::add_address_block {} 2 2 UG1118
  ipx::get_user_parameters {-of_objects 1} 1 1 UG1118
  ipx::get_hdl_parameters {-of_objects 1} 1 1 UG1118
  ipx::create_xgui_files {} 1 1 UG1118
  ipx::update_checksums {} 1 1 UG1118
  ipx::check_integrity {} 1 1 UG1118
  ipx::save_core       {} 1 1 UG1118
  ipgui::get_pagespec  {-name 1 -component 1} 0 0 UG1118
  ipgui::remove_page   {-component 1} 1 1 UG1118
  ipgui::add_page      {-name 1 -component 1 -display_name 1} 0 0 UG1118
  ipgui::add_group     {-name 1 -component 1 -parent 1 -display_name 1} 0 0 UG1118
  ipgui::add_param     {-name 1 -component 1 -parent 1} 0 0 UG1118
  ipgui::get_guiparamspec {-name 1 -component 1} 0 0 UG1118
}

# Properties by kind of object, and what they may be ("" is anything).
set recorder_properties {
  project   {target_language {Verilog VHDL} ip_repo_paths "" board_part ""}
  fileset   {top "" verilog_define "" include_dirs "" xsim.elaborate.xelab.more_options ""
             xsim.simulate.xsim.more_options "" xsim.simulate.runtime ""}
  file      {file_type {SystemVerilog Verilog "Verilog Header"} used_in_synthesis {0 1}
             used_in_implementation {0 1} used_in_simulation {0 1}}
  run       {"STEPS.SYNTH_DESIGN.ARGS.MORE OPTIONS" {"-mode out_of_context"}}
  core      {name "" version "" display_name "" description "" vendor_display_name ""}
  user      {value_format {string long bitString bool float} value_bit_string_length "" value ""
             value_validation_type {range_long list none} value_validation_range_minimum ""
             value_validation_range_maximum "" value_validation_list ""}
  hdl       {value_format {string long bitString bool float} value_bit_string_length "" value ""}
  busif     {master_address_space_ref "" slave_memory_map_ref ""}
  space     {range "" width {32 64}}
  block     {base_address "" range "" width {32 64}}
  field     {display_name "" tooltip ""}
  intf_port {CONFIG.FREQ_HZ ""}
}

# Cells of the IP catalogue: pins (direction, or "intf" and its mode), those that may stay open,
# and the parameters that are set here.
#   xdma: PG194 (3.0), "Global Signals", "DMA/Bridge Subsystem for PCIe in Bridge Mode Interrupt
#   Signals", "DMA/AXI Bridge Subsystem for PCI Express in AXI Bridge Mode"; the names of the
#   parameters as in Tcl that Vivado wrote
#   smartconnect: PG247. util_ds_buf: PG240. xlconstant: PG366
set recorder_catalogue {
  xilinx.com:ip:xdma:4.1 {
    pins {sys_clk in sys_clk_gt in sys_rst_n in axi_aclk out axi_aresetn out user_lnk_up out
          usr_irq_req in usr_irq_ack out msix_enable out
          pcie_mgt {intf Master} M_AXI_B {intf Master} S_AXI_B {intf Slave}}
    open {}
    parameters {functional_mode mode_selection device_port_type pl_link_cap_max_link_width
      pl_link_cap_max_link_speed axi_data_width axi_addr_width axisten_freq vendor_id
      pf0_device_id pf0_subsystem_vendor_id pf0_subsystem_id pf0_revision_id pf0_class_code_base
      pf0_class_code_sub pf0_class_code_interface pf0_bar0_64bit pf0_bar0_scale pf0_bar0_size
      pciebar2axibar_0 pf0_msi_enabled pf0_msix_enabled pf0_msix_cap_table_size
      pf0_msix_cap_table_bir pf0_msix_cap_table_offset pf0_msix_cap_pba_bir
      pf0_msix_cap_pba_offset xdma_num_usr_irq en_axi_slave_if axibar_num axibar_0
      axibar_highaddr_0 axibar2pciebar_0 PCIE_BOARD_INTERFACE SYS_RST_N_BOARD_INTERFACE}
  }
  xilinx.com:ip:smartconnect:1.0 {
    pins {aclk in aresetn in S00_AXI {intf Slave} M00_AXI {intf Master}}
    open {}
    parameters {NUM_SI NUM_MI}
  }
  xilinx.com:ip:util_ds_buf:2.1 {
    pins {CLK_IN_D {intf Slave} IBUF_OUT out IBUF_DS_ODIV2 out}
    open {}
    parameters {C_BUF_TYPE DIFF_CLK_IN_BOARD_INTERFACE USE_BOARD_FLOW}
  }
  xilinx.com:ip:xlconstant:1.1 {
    pins {dout out}
    open {}
    parameters {CONST_VAL CONST_WIDTH}
  }
}

proc refuse {text} {
  puts stderr "recorder.tcl: refused: $text"
  puts $::recorder_transcript "refused: $text"
  exit 3
}

proc write_down {name arguments} {
  set line [list $name {*}$arguments]
  if {$::recorder_out ne {}} { set line [string map [list $::recorder_out OUT] $line] }
  puts $::recorder_transcript [string map [list $::recorder_root ROOT] $line]
}

# Options of a call as a dictionary, and the rest.
proc take {name arguments} {
  lassign [dict get $::recorder_table $name] options least most
  set given {}
  set rest {}
  while {[llength $arguments] > 0} {
    set arguments [lassign $arguments word]
    if {[string match {-[a-z]*} $word] && $name ne {set_property} ||
        $name eq {set_property} && $word eq {-dict}} {
      if {![dict exists $options $word]} { refuse "$name has no option $word" }
      if {[dict get $options $word]} {
        if {[llength $arguments] == 0} { refuse "$name: $word needs a value" }
        set arguments [lassign $arguments value]
        dict set given $word $value
      } else {
        dict set given $word 1
      }
    } else {
      lappend rest $word
    }
  }
  if {[llength $rest] < $least || [llength $rest] > $most} {
    refuse "$name takes $least to $most arguments, not [llength $rest]: $rest"
  }
  return [list $given $rest]
}

# Ports and parameters of a Verilog module among the files, as the packager and a module reference
# see them: direction, or the interface by its attribute.
proc module {name} {
  foreach file $::recorder_files {
    if {![string match *.v $file] || ![file exists $file]} continue
    set handle [open $file]
    set text [read $handle]
    close $handle
    if {![regexp "module\\s+$name\\M" $text]} continue
    set pins {}
    set interfaces {}
    set signal {}
    foreach line [split $text \n] {
      regexp {X_INTERFACE_INFO = "([^"]*)"} $line - signal
      if {[regexp {^\s*(input|output)\s+(?:wire|reg)\s+(?:\[[^]]*\]\s*)?(\w+),?\s*$} $line - dir pin]} {
        if {[string match *:interface:* [lindex $signal 0]]} {
          set interface [lindex $signal 1]
          dict set interfaces $interface [lindex $signal 0]
          # A master puts out its valid or its address.
          if {[string match {*valid} $pin] && ![string match {*[rb]valid} $pin]} {
            dict set pins $interface \
              [list intf [expr {$dir eq {output} ? {Master} : {Slave}}]]
          }
        } else {
          if {$signal ne {}} { dict set interfaces [lindex $signal 1] [lindex $signal 0] }
          dict set pins $pin [expr {$dir eq {input} ? {in} : {out}}]
        }
        set signal {}
      }
    }
    set parameters {}
    foreach {- parameter} [regexp -all -inline -line {^\s*parameter\s+(?:integer\s+|\[[^]]*\]\s*)?(\w+)\s*=} $text] {
      lappend parameters $parameter
    }
    return [dict create pins $pins open {} parameters $parameters interfaces $interfaces]
  }
  return {}
}

namespace eval do_ipx {}
namespace eval do_ipgui {}
set recorder_files {}
set recorder_objects {}
set recorder_design {}
set recorder_cells {}
set recorder_driven {}
set recorder_fields {}
set recorder_progress {}

# kind:name
proc object {kind name} {
  dict set ::recorder_objects $kind:$name 1
  return $kind:$name
}

proc kind {object} {
  if {![dict exists $::recorder_objects $object]} { refuse "no object '$object'" }
  return [string range $object 0 [string first : $object]-1]
}

proc rest {object} {
  return [string range $object [string first : $object]+1 end]
}

proc set_one {name value object} {
  set kind [kind $object]
  if {$kind eq {cell}} {
    set cell [rest $object]
    if {![string match CONFIG.* $name]} { refuse "$name of a cell" }
    set name [string range $name 7 end]
    if {$name ni [dict get $::recorder_cells $cell parameters]} {
      refuse "the cell $cell has no parameter $name"
    }
    return
  }
  set allowed [dict get $::recorder_properties $kind]
  if {![dict exists $allowed $name]} { refuse "a $kind has no property $name" }
  set values [dict get $allowed $name]
  if {$values ne {} && $value ni $values} { refuse "$name is '$value', one of: $values" }
}

proc do_create_project {given rest} { object project current; object fileset sources_1
  object fileset sim_1; object run synth_1; object run impl_1 }
proc do_open_project {given rest} {
  if {![file exists [lindex $rest 0]]} { refuse "no project [lindex $rest 0]" }
  do_create_project {} {}
}
proc do_current_project {given rest} { return project:current }
proc do_current_fileset {given rest} { return fileset:sources_1 }
proc do_get_filesets {given rest} {
  kind fileset:[lindex $rest 0]
  return fileset:[lindex $rest 0]
}
proc do_add_files {given rest} {
  foreach file [lindex $rest 0] {
    # The wrapper of a block design is Vivado's to make.
    if {![file exists $file] && ![dict exists $::recorder_objects file:[file tail $file]]} {
      refuse "add_files: no file $file"
    }
    if {$file in $::recorder_files} { refuse "add_files: $file twice" }
    lappend ::recorder_files $file
    object file [file tail $file]
  }
}
proc do_get_files {given rest} {
  kind file:[lindex $rest 0]
  return file:[lindex $rest 0]
}
proc do_set_property {given rest} {
  if {[dict exists $given -dict]} {
    set pairs [dict get $given -dict]
    if {[llength $rest] != 1 || [llength $pairs] % 2} { refuse "set_property -dict: $pairs $rest" }
    foreach {name value} $pairs { set_one $name $value [lindex $rest 0] }
  } else {
    if {[llength $rest] != 3} { refuse "set_property: $rest" }
    set_one {*}$rest
  }
}
proc do_get_property {given rest} {
  lassign $rest name object
  if {[kind $object] eq {run} && $name eq {PROGRESS}} {
    return [expr {[rest $object] in $::recorder_progress ? {100%} : {0%}}]
  }
  refuse "get_property $rest"
}
proc do_get_runs {given rest} {
  kind run:[lindex $rest 0]
  return run:[lindex $rest 0]
}
proc do_launch_runs {given rest} { kind run:[lindex $rest 0] }
proc do_wait_on_run {given rest} { kind run:[lindex $rest 0]; lappend ::recorder_progress [lindex $rest 0] }
proc do_open_run {given rest} {
  if {[lindex $rest 0] ni $::recorder_progress} { refuse "open_run of a run that was not done" }
}
proc do_launch_simulation {given rest} {
  set mode [dict get $given -mode]
  if {$mode ni {behavioral post-synthesis post-implementation}} { refuse "-mode $mode" }
  if {[dict exists $given -type] && ([dict get $given -type] ni {functional timing} ||
      $mode eq {behavioral})} {
    refuse "-type [dict get $given -type] with -mode $mode"
  }
}
proc do_create_bd_design {given rest} {
  set ::recorder_design [lindex $rest 0]
  set ::recorder_cells {}
  set ::recorder_driven {}
}
proc do_create_bd_port {given rest} {
  object port [lindex $rest 0]
  dict set ::recorder_cells {} pins [lindex $rest 0] \
    [expr {[dict get $given -dir] eq {I} ? {out} : {in}}]
}
proc do_create_bd_intf_port {given rest} {
  object intf_port [lindex $rest 0]
  # As a pin within: what comes in from outside is a master.
  dict set ::recorder_cells {} pins [lindex $rest 0] \
    [list intf [expr {[dict get $given -mode] eq {Slave} ? {Master} : {Slave}}]]
}
proc do_create_bd_cell {given rest} {
  set name [lindex $rest 0]
  if {[dict exists $::recorder_cells $name]} { refuse "two cells $name" }
  if {[dict get $given -type] eq {module}} {
    set cell [module [dict get $given -reference]]
    if {$cell eq {}} { refuse "no Verilog module [dict get $given -reference] in the project" }
  } else {
    set vlnv [dict get $given -vlnv]
    if {[dict exists $::recorder_catalogue $vlnv]} {
      set cell [dict get $::recorder_catalogue $vlnv]
    } elseif {[regexp {^accelerator-pcie:cosim:(\w+):1.0$} $vlnv - ip]} {
      # What package_ip.tcl makes of wrapper.py's output.
      set wrapper [file join $::env(FLOW_OUT) ${ip}_ip.v]
      exec python3 $::recorder_root/hdl/vivado/wrapper.py $::recorder_root/hdl/rtl/$ip.sv $wrapper
      set keep $::recorder_files
      set ::recorder_files [list $wrapper]
      set cell [module ${ip}_ip]
      set ::recorder_files $keep
      # RTL need not look at the link, nor at config space.
      dict set cell open [list user_link_up {*}[lsearch -all -inline -glob \
        [dict keys [dict get $cell pins]] cfg_*]]
    } else {
      refuse "no IP $vlnv in the catalogue"
    }
  }
  dict set ::recorder_cells $name $cell
  return [object cell $name]
}
proc do_get_bd_cells {given rest} {
  kind cell:[lindex $rest 0]
  return cell:[lindex $rest 0]
}
proc pin {name interface} {
  set parts [split $name /]
  if {[llength $parts] == 1} { set parts [list {} $name] }
  lassign $parts cell pin
  if {![dict exists $::recorder_cells $cell pins $pin]} { refuse "$::recorder_design: no pin $name" }
  set what [dict get $::recorder_cells $cell pins $pin]
  if {([lindex $what 0] eq {intf}) != $interface} { refuse "$name is $what" }
  return pin:$name
}
proc do_get_bd_pins {given rest} { return [pin [lindex $rest 0] 0] }
proc do_get_bd_ports {given rest} { return [pin [lindex $rest 0] 0] }
proc do_get_bd_intf_pins {given rest} { return [pin [lindex $rest 0] 1] }
proc do_get_bd_intf_ports {given rest} {
  pin [lindex $rest 0] 1
  return intf_port:[lindex $rest 0]
}
proc what {pin} {
  set name [rest $pin]
  set parts [split $name /]
  if {[llength $parts] == 1} { set parts [list {} $name] }
  return [dict get $::recorder_cells {*}[linsert $parts 1 pins]]
}
proc drive {pin} {
  if {[dict exists $::recorder_driven [rest $pin]]} { refuse "$::recorder_design: [rest $pin] is connected twice" }
  dict set ::recorder_driven [rest $pin] 1
}
proc do_connect_bd_net {given rest} {
  set sources 0
  foreach pin $rest {
    if {[what $pin] eq {out}} {
      incr sources
      dict set ::recorder_driven [rest $pin] 1
    } else {
      drive $pin
    }
  }
  if {$sources != 1} { refuse "$::recorder_design: a net with $sources drivers: $rest" }
}
proc do_connect_bd_intf_net {given rest} {
  lassign $rest a b
  if {[lsort [list [lindex [what $a] 1] [lindex [what $b] 1]]] ne {Master Slave}} {
    refuse "$::recorder_design: [rest $a] is [what $a], [rest $b] is [what $b]"
  }
  drive $a
  drive $b
}
proc do_get_bd_addr_spaces {given rest} {
  if {[lindex [what [pin [lindex $rest 0] 1]] 1] ne {Master}} { refuse "[lindex $rest 0]: no master" }
  return [object addr_space [lindex $rest 0]]
}
proc do_get_bd_addr_segs {given rest} {
  set pin [join [lrange [split [lindex $rest 0] /] 0 1] /]
  if {[lindex [what [pin $pin 1]] 1] ne {Slave}} { refuse "$pin: no slave" }
  return [object addr_seg [lindex $rest 0]]
}
proc do_assign_bd_address {given rest} {
  if {$rest eq {}} return
  if {[kind [dict get $given -target_address_space]] ne {addr_space} ||
      [kind [lindex $rest 0]] ne {addr_seg}} {
    refuse "assign_bd_address $given $rest"
  }
}
proc do_validate_bd_design {given rest} {
  dict for {cell value} $::recorder_cells {
    dict for {pin what} [dict get $value pins] {
      set name [expr {$cell eq {} ? $pin : "$cell/$pin"}]
      if {$what eq {out} || [dict exists $::recorder_driven $name]} continue
      if {[dict exists $value open] && $pin in [dict get $value open]} continue
      refuse "$::recorder_design: $name is not connected"
    }
  }
}
proc do_save_bd_design {given rest} { object file $::recorder_design.bd }
proc do_generate_target {given rest} { kind [lindex $rest 1] }
proc do_make_wrapper {given rest} {
  kind [dict get $given -files]
  set wrapper [file rootname [rest [dict get $given -files]]]_wrapper.v
  object file $wrapper
  return $wrapper
}
proc do_ipx::package_project {given rest} {
  foreach file $::recorder_files {
    if {[regexp {(\w+)_ip\.v$} $file - name]} { set ::recorder_packaged [module ${name}_ip] }
  }
  if {![info exists ::recorder_packaged] || $::recorder_packaged eq {}} { refuse {package_project without a wrapper} }
  object core current
}
proc do_ipx::current_core {given rest} { return core:current }
proc of {given} { kind [dict get $given -of_objects] }
proc do_ipx::get_bus_interfaces {given rest} {
  of $given
  set name [lindex $rest 0]
  if {![dict exists $::recorder_packaged interfaces $name]} { return {} }
  return [object busif $name]
}
proc do_ipx::get_address_spaces {given rest} { of $given; return {} }
proc do_ipx::get_memory_maps {given rest} { of $given; return {} }
proc do_ipx::add_address_space {given rest} {
  kind [lindex $rest 1]
  if {![dict exists $::recorder_packaged interfaces [lindex $rest 0]]} {
    refuse "no interface [lindex $rest 0]"
  }
  return [object space [lindex $rest 0]]
}
proc do_ipx::add_memory_map {given rest} {
  do_ipx::add_address_space $given $rest
  return [object map [lindex $rest 0]]
}
proc do_ipx::add_address_block {given rest} {
  if {[kind [lindex $rest 1]] ne {map}} { refuse {a block outside of a memory map} }
  return [object block [lindex $rest 0]]
}
proc do_ipx::associate_bus_interfaces {given rest} {
  kind [lindex $rest 0]
  foreach option [dict keys $given] {
    set name [dict get $given $option]
    if {![dict exists $::recorder_packaged interfaces $name]} { refuse "no interface $name" }
    set want [dict get {-busif *:interface:* -clock *:signal:clock:* -reset *:signal:reset:*} $option]
    if {![string match $want [dict get $::recorder_packaged interfaces $name]]} { refuse "$option $name" }
  }
}
proc do_ipx::get_user_parameters {given rest} {
  of $given
  if {[lindex $rest 0] ni [dict get $::recorder_packaged parameters]} { return {} }
  return [object user [lindex $rest 0]]
}
proc do_ipx::get_hdl_parameters {given rest} {
  of $given
  if {[lindex $rest 0] ni [dict get $::recorder_packaged parameters]} { return {} }
  return [object hdl [lindex $rest 0]]
}
proc do_ipx::create_xgui_files {given rest} { kind [lindex $rest 0] }
proc do_ipx::update_checksums {given rest} { kind [lindex $rest 0] }
proc do_ipx::check_integrity {given rest} {
  kind [lindex $rest 0]
  # Every parameter has its place on the page.
  foreach name [dict get $::recorder_packaged parameters] {
    if {$name ni $::recorder_fields} { refuse "the parameter $name is not shown" }
  }
}
proc do_ipx::save_core {given rest} { kind [lindex $rest 0] }
proc do_ipgui::get_pagespec {given rest} { return [object page [dict get $given -name]] }
proc do_ipgui::remove_page {given rest} { kind [lindex $rest 0] }
proc do_ipgui::add_page {given rest} { return [object page [dict get $given -name]] }
proc do_ipgui::add_group {given rest} {
  if {[kind [dict get $given -parent]] ne {page}} { refuse {a group outside of a page} }
  return [object group [dict get $given -name]]
}
proc do_ipgui::add_param {given rest} {
  if {[kind [dict get $given -parent]] ne {group}} { refuse {a parameter outside of a group} }
  set name [dict get $given -name]
  if {$name in $::recorder_fields} { refuse "the parameter $name is shown twice" }
  if {$name ni [dict get $::recorder_packaged parameters]} { refuse "no parameter $name" }
  lappend ::recorder_fields $name
}
proc do_ipgui::get_guiparamspec {given rest} {
  if {[dict get $given -name] ni $::recorder_fields} { refuse "[dict get $given -name] is not on a page" }
  return [object field [dict get $given -name]]
}

namespace eval ipx {}
namespace eval ipgui {}
set recorder_table {}
foreach {name options least most source} $recorder_commands {
  dict set recorder_table $name [list $options $least $most]
  proc ::$name args [format {
    # Those that only look something up are not worth a line.
    if {![regexp {(^|:)(get_|current_)} %1$s]} { write_down %1$s $args }
    lassign [take %1$s $args] given rest
    if {[info commands ::do_%1$s] ne {}} { return [::do_%1$s $given $rest] }
    return {}
  } $name]
}
# No auto_load and no programs: what is not in the table is refused.
proc unknown {name args} { refuse "unknown command $name" }

set argv0 $recorder_script
set recorder_status [catch {source $recorder_script} message options]
close $recorder_transcript
if {$recorder_status} {
  puts stderr [dict get $options -errorinfo]
  exit 1
}
