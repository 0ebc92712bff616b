// SPDX-License-Identifier: Apache-2.0
-F ../../bridge.f
../../vhdl/accelerator_components.vhd
vhdl_card_axi.vhd
vhdl_card_copy.vhd
vhdl_card.vhd
vhdl_top.vhd
