// SPDX-License-Identifier: Apache-2.0
//
// The card of the example pcie4 at any width, with MSI-X or MSI.

module pcie4_card_top #(
  parameter int unsigned DataWidth   = 256,
  parameter int unsigned MsixVectors = 4,
  parameter int unsigned MsiVectors  = 0
) (
  input logic aclk,
  input logic aresetn,
  // For the test.
  output logic user_resetn
);

  localparam int unsigned CqUser = (DataWidth == 512) ? 183 : 88;
  localparam int unsigned CcUser = (DataWidth == 512) ? 81 : 33;
  localparam int unsigned RqUser = (DataWidth == 512) ? 137 : 62;
  localparam int unsigned RcUser = (DataWidth == 512) ? 161 : 75;

  logic                      user_clk, user_reset;
  logic [DataWidth-1:0]      m_axis_cq_tdata, s_axis_cc_tdata, s_axis_rq_tdata, m_axis_rc_tdata;
  logic [DataWidth/32-1:0]   m_axis_cq_tkeep, s_axis_cc_tkeep, s_axis_rq_tkeep, m_axis_rc_tkeep;
  logic [CqUser-1:0]         m_axis_cq_tuser;
  logic [CcUser-1:0]         s_axis_cc_tuser;
  logic [RqUser-1:0]         s_axis_rq_tuser;
  logic [RcUser-1:0]         m_axis_rc_tuser;
  logic                      m_axis_cq_tlast, m_axis_cq_tvalid, m_axis_cq_tready;
  logic                      s_axis_cc_tlast, s_axis_cc_tvalid;
  logic                      s_axis_rq_tlast, s_axis_rq_tvalid;
  logic                      m_axis_rc_tlast, m_axis_rc_tvalid, m_axis_rc_tready;
  logic                      pcie_rq_seq_num_vld0, pcie_rq_seq_num_vld1;
  logic [5:0]                pcie_rq_seq_num0, pcie_rq_seq_num1;
  logic [1:0]                pcie_cq_np_req, cfg_max_payload;
  logic [2:0]                cfg_max_read_req;
  logic [31:0]               cfg_interrupt_msi_int;
  logic                      cfg_interrupt_msix_int, cfg_interrupt_msi_sent;
  logic                      cfg_interrupt_msi_fail;
  // Four bits that are alike.
  /* verilator lint_off UNUSEDSIGNAL */
  logic [3:0]                s_axis_cc_tready, s_axis_rq_tready;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [3:0]                cfg_interrupt_msix_enable, cfg_interrupt_msi_enable;
  logic [11:0]               cfg_interrupt_msi_mmenable;

  assign user_resetn = !user_reset;

  /* verilator lint_off PINCONNECTEMPTY */
  accelerator_pcie4 #(
    .DeviceId(16'h7024), .ClassCode(24'h12_00_00), .RevisionId(8'h01), .Bar0Size(64'h1_0000),
    .Bar2Size(64'h1_0000), .BarIs64(6'b000101), .BarPrefetch(6'b000100), .MsixVectors(MsixVectors),
    .MsixTableBar(2), .MsixPbaBar(2), .MsixPbaOffset(32'h8000), .MsiVectors(MsiVectors),
    .DataWidth(DataWidth)
  ) u_pcie (
    .pci_exp_rxn('0), .pci_exp_rxp('0), .sys_clk(aclk), .sys_clk_gt(aclk), .sys_reset(aresetn),
    .user_clk, .user_reset,
    .m_axis_cq_tdata, .m_axis_cq_tkeep, .m_axis_cq_tuser, .m_axis_cq_tlast, .m_axis_cq_tvalid,
    .m_axis_cq_tready, .pcie_cq_np_req,
    .s_axis_cc_tdata, .s_axis_cc_tkeep, .s_axis_cc_tuser, .s_axis_cc_tlast, .s_axis_cc_tvalid,
    .s_axis_cc_tready,
    .s_axis_rq_tdata, .s_axis_rq_tkeep, .s_axis_rq_tuser, .s_axis_rq_tlast, .s_axis_rq_tvalid,
    .s_axis_rq_tready, .pcie_rq_seq_num0, .pcie_rq_seq_num_vld0,
    .pcie_rq_seq_num1, .pcie_rq_seq_num_vld1,
    .m_axis_rc_tdata, .m_axis_rc_tkeep, .m_axis_rc_tuser, .m_axis_rc_tlast, .m_axis_rc_tvalid,
    .m_axis_rc_tready,
    .cfg_max_payload, .cfg_max_read_req,
    .cfg_interrupt_msix_enable, .cfg_interrupt_msi_enable, .cfg_interrupt_msi_mmenable,
    .cfg_interrupt_msi_int, .cfg_interrupt_msix_int,
    .cfg_interrupt_msi_sent, .cfg_interrupt_msi_fail,
    .cfg_interrupt_int('0), .cfg_interrupt_pending('0), .cfg_interrupt_msi_select('0),
    .cfg_interrupt_msi_pending_status('0), .cfg_interrupt_msi_pending_status_data_enable(1'b0),
    .cfg_interrupt_msi_pending_status_function_num('0), .cfg_interrupt_msix_address('0),
    .cfg_interrupt_msix_data('0), .cfg_interrupt_msix_vec_pending('0), .cfg_interrupt_msi_attr('0),
    .cfg_interrupt_msi_tph_present(1'b0), .cfg_interrupt_msi_tph_type('0),
    .cfg_interrupt_msi_tph_st_tag('0), .cfg_interrupt_msi_function_number('0),
    .cfg_mgmt_addr('0), .cfg_mgmt_function_number('0), .cfg_mgmt_write(1'b0),
    .cfg_mgmt_write_data('0), .cfg_mgmt_byte_enable('0), .cfg_mgmt_read(1'b0),
    .cfg_mgmt_debug_access(1'b0), .cfg_msg_transmit(1'b0), .cfg_msg_transmit_type('0),
    .cfg_msg_transmit_data('0), .cfg_fc_sel('0), .cfg_dsn('0), .cfg_power_state_change_ack(1'b1),
    .cfg_err_cor_in(1'b0), .cfg_err_uncor_in(1'b0), .cfg_flr_done('0), .cfg_vf_flr_func_num('0),
    .cfg_vf_flr_done(1'b0), .cfg_link_training_enable(1'b1), .cfg_pm_aspm_l1_entry_reject(1'b0),
    .cfg_pm_aspm_tx_l0s_entry_disable(1'b0), .cfg_hot_reset_in(1'b0),
    .cfg_config_space_enable(1'b1), .cfg_req_pm_transition_l23_ready(1'b0),
    .cfg_ds_port_number('0), .cfg_ds_bus_number('0), .cfg_ds_device_number('0),
    .pci_exp_txn(), .pci_exp_txp(), .user_lnk_up(), .phy_rdy_out(),
    .pcie_rq_tag0(), .pcie_rq_tag_vld0(), .pcie_rq_tag1(), .pcie_rq_tag_vld1(),
    .pcie_rq_tag_av(), .pcie_tfc_nph_av(), .pcie_tfc_npd_av(), .pcie_cq_np_req_count(),
    .cfg_phy_link_down(), .cfg_phy_link_status(), .cfg_negotiated_width(), .cfg_current_speed(),
    .cfg_function_status(), .cfg_function_power_state(), .cfg_vf_status(), .cfg_vf_power_state(),
    .cfg_link_power_state(), .cfg_mgmt_read_data(), .cfg_mgmt_read_write_done(), .cfg_err_cor_out(),
    .cfg_err_nonfatal_out(), .cfg_err_fatal_out(), .cfg_local_error_valid(), .cfg_local_error_out(),
    .cfg_ltssm_state(), .cfg_rx_pm_state(), .cfg_tx_pm_state(), .cfg_rcb_status(),
    .cfg_obff_enable(), .cfg_pl_status_change(), .cfg_tph_requester_enable(), .cfg_tph_st_mode(),
    .cfg_vf_tph_requester_enable(), .cfg_vf_tph_st_mode(), .cfg_msg_received(),
    .cfg_msg_received_data(), .cfg_msg_received_type(), .cfg_msg_transmit_done(), .cfg_fc_ph(),
    .cfg_fc_pd(), .cfg_fc_nph(), .cfg_fc_npd(), .cfg_fc_cplh(), .cfg_fc_cpld(), .cfg_bus_number(),
    .cfg_power_state_change_interrupt(), .cfg_flr_in_process(), .cfg_vf_flr_in_process(),
    .cfg_interrupt_sent(), .cfg_interrupt_msi_mask_update(), .cfg_interrupt_msi_data(),
    .cfg_interrupt_msix_mask(), .cfg_interrupt_msix_vf_enable(), .cfg_interrupt_msix_vf_mask(),
    .cfg_interrupt_msix_vec_pending_status(), .cfg_hot_reset_out()
  );
  /* verilator lint_on PINCONNECTEMPTY */

  pcie4_card #(
    .DataWidth(DataWidth)
  ) u_card (
    .user_clk, .user_reset,
    .m_axis_cq_tdata, .m_axis_cq_tkeep, .m_axis_cq_tuser, .m_axis_cq_tlast, .m_axis_cq_tvalid,
    .m_axis_cq_tready, .pcie_cq_np_req,
    .s_axis_cc_tdata, .s_axis_cc_tkeep, .s_axis_cc_tuser, .s_axis_cc_tlast, .s_axis_cc_tvalid,
    .s_axis_cc_tready(s_axis_cc_tready[0]),
    .s_axis_rq_tdata, .s_axis_rq_tkeep, .s_axis_rq_tuser, .s_axis_rq_tlast, .s_axis_rq_tvalid,
    .s_axis_rq_tready(s_axis_rq_tready[0]), .pcie_rq_seq_num0, .pcie_rq_seq_num_vld0,
    .pcie_rq_seq_num1, .pcie_rq_seq_num_vld1,
    .m_axis_rc_tdata, .m_axis_rc_tkeep, .m_axis_rc_tuser, .m_axis_rc_tlast, .m_axis_rc_tvalid,
    .m_axis_rc_tready,
    .cfg_max_payload, .cfg_max_read_req, .cfg_interrupt_msix_enable,
    .cfg_interrupt_msi_enable, .cfg_interrupt_msi_mmenable,
    .cfg_interrupt_msi_int, .cfg_interrupt_msix_int, .cfg_interrupt_msi_sent,
    .cfg_interrupt_msi_fail
  );

endmodule
