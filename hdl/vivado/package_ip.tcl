# SPDX-License-Identifier: Apache-2.0
#
# Packages one bridge as Vivado IP. scripts/build_bridge-ip.sh starts it:
#
#   vivado -mode batch -source package_ip.tcl -tclargs MODULE OUT PART WRAPPER.v PARAMETERS.tcl \
#     FILE.sv...
#
# It leaves the IP in OUT/MODULE, and a project that is of no further use in OUT/.project-MODULE.

if {[llength $argv] < 6} {
  puts stderr {package_ip.tcl: MODULE OUT PART WRAPPER.v PARAMETERS.tcl FILE.sv... are needed}
  exit 2
}
set files [lassign $argv module out part wrapper parameters]
source [file join [file dirname [file normalize [info script]]] ip.tcl]

foreach {name list shown text} $ip_table {
  if {$name eq $module} { set display_name $shown; set description $text }
}
if {![info exists display_name]} {
  puts stderr "package_ip.tcl: no IP $module in ip.tcl"
  exit 2
}

create_project package_$module $out/.project-$module -part $part -force
set_property target_language Verilog [current_project]
add_files -norecurse [concat [list $wrapper] $files]
set_property top ${module}_ip [current_fileset]
update_compile_order -fileset sources_1

ipx::package_project -root_dir $out/$module -vendor accelerator-pcie -library cosim \
  -taxonomy /Co-simulation -import_files -force
set core [ipx::current_core]
set_property name $module $core
set_property version 1.0 $core
set_property display_name $display_name $core
set_property description $description $core
set_property vendor_display_name {accelerator-pcie} $core

# The attributes in the wrapper name the interfaces; one that is not found is an error here and
# not in a block design later.
set clock {}
set resets {}
set buses {}
set handle [open $wrapper]
foreach {- info} [regexp -all -inline {X_INTERFACE_INFO = "([^"]*)"} [read $handle]] {
  lassign $info vlnv interface
  switch -glob $vlnv {
    *:signal:clock:* { set clock $interface }
    *:signal:reset:* { lappend resets $interface }
    *:interface:* { if {$interface ni $buses} { lappend buses $interface } }
  }
}
close $handle
foreach interface [concat $buses $clock $resets] {
  if {[llength [ipx::get_bus_interfaces $interface -of_objects $core]] != 1} {
    error "package_ip.tcl: the packager found no interface $interface in $module"
  }
}
foreach bus $buses {
  ipx::associate_bus_interfaces -busif $bus -clock $clock $core
}
foreach reset $resets {
  ipx::associate_bus_interfaces -clock $clock -reset $reset $core
}

# Address space of a master and memory map of a slave, which a block design assigns addresses by;
# the packager makes those that it can tell from the ports.
foreach {bus range} [dict get $ip_addresses $module] {
  set interface [ipx::get_bus_interfaces $bus -of_objects $core]
  if {[string match m_* $bus]} {
    if {[llength [ipx::get_address_spaces $bus -of_objects $core]] == 0} {
      set space [ipx::add_address_space $bus $core]
      set_property master_address_space_ref $bus $interface
      set_property range $range $space
      set_property width 64 $space
    }
  } elseif {[llength [ipx::get_memory_maps $bus -of_objects $core]] == 0} {
    set map [ipx::add_memory_map $bus $core]
    set_property slave_memory_map_ref $bus $interface
    set block [ipx::add_address_block reg0 $map]
    set_property base_address 0 $block
    set_property range $range $block
    set_property width 32 $block
  }
}

# The customisation page.
ipgui::remove_page -component $core [ipgui::get_pagespec -name {Page 0} -component $core]
set page [ipgui::add_page -name {Page 0} -component $core -display_name $display_name]

# name, kind, width, default and comment of every parameter
set handle [open $parameters]
set known {}
foreach line [split [string trim [read $handle]] \n] {
  lassign $line name kind width value comment
  dict set known $name [list $kind $width $value $comment]
}
close $handle

proc show {core group name shown tooltip allowed} {
  lassign [dict get $::known $name] kind width value
  set formats {string string long long bits bitString}
  foreach parameter [list [ipx::get_user_parameters $name -of_objects $core] \
      [ipx::get_hdl_parameters $name -of_objects $core]] {
    set_property value_format [dict get $formats $kind] $parameter
    if {$kind eq {bits}} { set_property value_bit_string_length $width $parameter }
    set_property value $value $parameter
  }
  set parameter [ipx::get_user_parameters $name -of_objects $core]
  set values [lassign $allowed type]
  switch -- $type {
    range {
      set_property value_validation_type range_long $parameter
      set_property value_validation_range_minimum [lindex $values 0] $parameter
      set_property value_validation_range_maximum [lindex $values 1] $parameter
    }
    list {
      set_property value_validation_type list $parameter
      set_property value_validation_list $values $parameter
    }
  }
  ipgui::add_param -name $name -component $core -parent $group
  set field [ipgui::get_guiparamspec -name $name -component $core]
  set_property display_name $shown $field
  set_property tooltip $tooltip $field
}

set placed {}
foreach {title members} [dict get $ip_groups $module] {
  set group [ipgui::add_group -name $title -component $core -parent $page -display_name $title]
  foreach member $members {
    set allowed [lassign $member name shown tooltip]
    if {![dict exists $known $name]} {
      error "package_ip.tcl: $module has no parameter $name"
    }
    show $core $group $name $shown $tooltip $allowed
    lappend placed $name
  }
}
set group {}
foreach name [dict keys $known] {
  if {$name in $placed} continue
  if {$group eq {}} {
    set group [ipgui::add_group -name Further -component $core -parent $page -display_name Further]
  }
  show $core $group $name $name [lindex [dict get $known $name] 3] {}
}

ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity $core
ipx::save_core $core
close_project
puts "package_ip.tcl: $out/$module"
