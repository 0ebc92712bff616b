# SPDX-License-Identifier: Apache-2.0
#
# The platform for AMD's VCU128: the card behind accelerator_pcie_bridge in a simulation, and
# behind AMD's PCIe block on the board. The block is the DMA/Bridge Subsystem for PCI Express in
# AXI Bridge mode, 8.0 GT/s and 16 lanes (PG194, PG195). scripts/build_platform.sh starts it.
#
# On the board the card has the block's MSI-X table in BAR 0 where card.vh says, at most 16
# vectors, and 256 TiB of host memory at its own addresses. The names of the board's interfaces
# are those of AMD's board files.

source [file join [file dirname [file normalize [info script]]] platform.tcl]
platform_arguments vcu128_base.tcl $argv
platform_project vcu128 $out $part $card $ip
set_property board_part $board [current_project]
set identity [read_card $card/card.vh]
sim_platform $identity

set vectors [dict get $identity CARD_MSIX_VECTORS]
if {$vectors < 1 || $vectors > 16} {
  error "vcu128_base.tcl: CARD_MSIX_VECTORS is $vectors; the block has 1 to 16 user interrupts"
}

create_bd_design board_platform
create_bd_cell -type ip -vlnv xilinx.com:ip:xdma:4.1 host
set_property -dict [list \
  CONFIG.functional_mode AXI_Bridge \
  CONFIG.mode_selection Advanced \
  CONFIG.device_port_type PCI_Express_Endpoint_device \
  CONFIG.pl_link_cap_max_link_width X16 \
  CONFIG.pl_link_cap_max_link_speed 8.0_GT/s \
  CONFIG.axi_data_width 512_bit \
  CONFIG.axi_addr_width 64 \
  CONFIG.axisten_freq 250 \
  CONFIG.vendor_id [format %04X [dict get $identity CARD_VENDOR_ID]] \
  CONFIG.pf0_device_id [format %04X [dict get $identity CARD_DEVICE_ID]] \
  CONFIG.pf0_subsystem_vendor_id [format %04X [dict get $identity CARD_SUBVENDOR_ID]] \
  CONFIG.pf0_subsystem_id [format %04X [dict get $identity CARD_SUBDEVICE_ID]] \
  CONFIG.pf0_revision_id [format %02X [dict get $identity CARD_REVISION_ID]] \
  CONFIG.pf0_class_code_base [format %02X [expr {[dict get $identity CARD_CLASS_CODE] >> 16}]] \
  CONFIG.pf0_class_code_sub [format %02X [expr {[dict get $identity CARD_CLASS_CODE] >> 8 & 255}]] \
  CONFIG.pf0_class_code_interface [format %02X [expr {[dict get $identity CARD_CLASS_CODE] & 255}]] \
  CONFIG.pf0_bar0_64bit true \
  CONFIG.pf0_bar0_scale Kilobytes \
  CONFIG.pf0_bar0_size [dict get $identity CARD_BAR0_KIB] \
  CONFIG.pciebar2axibar_0 0x0000000000000000 \
  CONFIG.pf0_msi_enabled false \
  CONFIG.pf0_msix_enabled true \
  CONFIG.pf0_msix_cap_table_size [format %03X [expr {$vectors - 1}]] \
  CONFIG.pf0_msix_cap_table_bir BAR_1:0 \
  CONFIG.pf0_msix_cap_table_offset [format %08X [dict get $identity CARD_MSIX_TABLE]] \
  CONFIG.pf0_msix_cap_pba_bir BAR_1:0 \
  CONFIG.pf0_msix_cap_pba_offset [format %08X [dict get $identity CARD_MSIX_PBA]] \
  CONFIG.xdma_num_usr_irq $vectors \
  CONFIG.en_axi_slave_if true \
  CONFIG.axibar_num 1 \
  CONFIG.axibar_0 0x0000000000000000 \
  CONFIG.axibar_highaddr_0 0x0000FFFFFFFFFFFF \
  CONFIG.axibar2pciebar_0 0x0000000000000000 \
  CONFIG.PCIE_BOARD_INTERFACE pci_express_x16 \
  CONFIG.SYS_RST_N_BOARD_INTERFACE pcie_perstn \
] [get_bd_cells host]

# Reference clock, reset and lanes.
create_bd_intf_port -mode Slave -vlnv xilinx.com:interface:diff_clock_rtl:1.0 pcie_refclk
set_property CONFIG.FREQ_HZ 100000000 [get_bd_intf_ports pcie_refclk]
create_bd_intf_port -mode Master -vlnv xilinx.com:interface:pcie_7x_mgt_rtl:1.0 pcie_mgt
create_bd_port -dir I -type rst pcie_perstn
create_bd_cell -type ip -vlnv xilinx.com:ip:util_ds_buf:2.1 refclk_buffer
set_property -dict {
  CONFIG.C_BUF_TYPE IBUFDSGTE
  CONFIG.DIFF_CLK_IN_BOARD_INTERFACE pcie_refclk
  CONFIG.USE_BOARD_FLOW true
} [get_bd_cells refclk_buffer]
connect_bd_intf_net [get_bd_intf_ports pcie_refclk] [get_bd_intf_pins refclk_buffer/CLK_IN_D]
connect_bd_net [get_bd_pins refclk_buffer/IBUF_OUT] [get_bd_pins host/sys_clk_gt]
connect_bd_net [get_bd_pins refclk_buffer/IBUF_DS_ODIV2] [get_bd_pins host/sys_clk]
connect_bd_net [get_bd_ports pcie_perstn] [get_bd_pins host/sys_rst_n]
connect_bd_intf_net [get_bd_intf_ports pcie_mgt] [get_bd_intf_pins host/pcie_mgt]

# 512 bits on the block's side, what the card has on the other.
place_card [get_bd_pins host/axi_aclk] [get_bd_pins host/axi_aresetn]
foreach {cell from to} {
  bar_width host/M_AXI_B card/s_axi
  dma_width card/m_axi host/S_AXI_B
} {
  create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect:1.0 $cell
  set_property -dict {CONFIG.NUM_SI 1 CONFIG.NUM_MI 1} [get_bd_cells $cell]
  connect_bd_net [get_bd_pins host/axi_aclk] [get_bd_pins $cell/aclk]
  connect_bd_net [get_bd_pins host/axi_aresetn] [get_bd_pins $cell/aresetn]
  connect_bd_intf_net [get_bd_intf_pins $from] [get_bd_intf_pins $cell/S00_AXI]
  connect_bd_intf_net [get_bd_intf_pins $cell/M00_AXI] [get_bd_intf_pins $to]
}

# The card's MSI-X handshake to the block's user interrupts.
create_bd_cell -type module -reference accelerator_usr_irq usr_irq
set_property CONFIG.NumVectors $vectors [get_bd_cells usr_irq]
connect_bd_net [get_bd_pins host/axi_aclk] [get_bd_pins usr_irq/aclk]
connect_bd_net [get_bd_pins host/axi_aresetn] [get_bd_pins usr_irq/aresetn]
connect_bd_net [get_bd_pins card/msix_valid] [get_bd_pins usr_irq/msix_valid]
connect_bd_net [get_bd_pins card/msix_vector] [get_bd_pins usr_irq/msix_vector]
connect_bd_net [get_bd_pins usr_irq/msix_ready] [get_bd_pins card/msix_ready]
connect_bd_net [get_bd_pins usr_irq/usr_irq_req] [get_bd_pins host/usr_irq_req]
connect_bd_net [get_bd_pins host/usr_irq_ack] [get_bd_pins usr_irq/usr_irq_ack]
finish_design board_platform host/M_AXI_B $identity

only_for simulation {sim_platform.bd sim_platform_wrapper.v}
only_for synthesis {board_platform.bd board_platform_wrapper.v}
set_property top board_platform_wrapper [current_fileset]
platform_simulation sim_platform_wrapper $dpi
close_project
