# SPDX-License-Identifier: Apache-2.0
#
# The platform without a board: any part, no board files, any edition of Vivado. The card is
# simulated behind accelerator_pcie_bridge, and synthesized alone. scripts/build_platform.sh
# starts it.

source [file join [file dirname [file normalize [info script]]] platform.tcl]
platform_arguments generic_base.tcl $argv
platform_project generic $out $part $card $ip
synthesize_card
sim_platform [read_card $card/card.vh]
only_for simulation {sim_platform.bd sim_platform_wrapper.v}
platform_simulation sim_platform_wrapper $dpi
close_project
