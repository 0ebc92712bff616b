// SPDX-License-Identifier: Apache-2.0
//
// The ports of AMD's UltraScale+ integrated block for PCI Express as its IP has them (PG213), in the
// Dword-aligned mode, and behind them QEMU. docs/front-ends.md says what is as in the block.
//
//   m_axis_cq, s_axis_cc   a guest's accesses to the BARs, and what RTL answers
//   s_axis_rq, m_axis_rc   what RTL asks of host memory, and the completions of its reads
//
// One process, p_host, makes every DPI call, in an order that keeps the promises of PCIe: what RTL
// sees accepted first is sent first. The parts (accelerator_pcie4_rq, _rc, _cq, _cc, _irq,
// accelerator_function) have no process for that: p_host calls their tasks.

module accelerator_pcie4
  import accelerator_dpi_pkg::*;
  import accelerator_pcie4_pkg::*;
#(
  // As for accelerator_pcie_bridge.
  parameter string       Endpoint        = "",
  parameter string       Name            = "accelerator0",
  parameter bit [15:0]   VendorId        = 16'h10EE,
  parameter bit [15:0]   DeviceId        = 16'h9038,
  parameter bit [15:0]   SubVendorId     = 16'h10EE,
  parameter bit [15:0]   SubDeviceId     = 16'h0007,
  parameter bit [23:0]   ClassCode       = 24'h05_80_00,
  parameter bit [7:0]    RevisionId      = 8'h00,
  parameter bit [63:0]   Bar0Size        = 64'h1000,
  parameter bit [63:0]   Bar1Size        = 64'h0,
  parameter bit [63:0]   Bar2Size        = 64'h0,
  parameter bit [63:0]   Bar3Size        = 64'h0,
  parameter bit [63:0]   Bar4Size        = 64'h0,
  parameter bit [63:0]   Bar5Size        = 64'h0,
  parameter bit [5:0]    BarIs64         = 6'b000000,
  parameter bit [5:0]    BarPrefetch     = 6'b000000,
  parameter int unsigned MsixVectors     = 0,
  parameter int unsigned MsixTableBar    = 0,
  parameter int unsigned MsixTableOffset = 0,
  parameter int unsigned MsixPbaBar      = 0,
  parameter int unsigned MsixPbaOffset   = 0,
  // 1: table and pending bits are in the RTL, at these places, and a vector is asked for with
  // cfg_interrupt_msix_address and _data.
  parameter int unsigned MsixInRtl       = 0,
  parameter int unsigned MsiVectors      = 0,
  parameter int unsigned MsiMasking      = 0,
  parameter int unsigned IntxPin         = 0,
  parameter int unsigned LinkSpeed       = 3,
  parameter int unsigned LinkWidth       = 8,
  parameter int unsigned ClockPeriodPs   = 4000,
  // Clocks that user_reset stays high.
  parameter int unsigned ResetClocks     = 16,
  parameter int unsigned IdleClocks      = 0,
  parameter int unsigned SharedMemory    = 1,

  // Bits of the streams: 64, 128, 256 or 512.
  parameter int unsigned DataWidth       = 256,
  // More than one TLP in a beat. CQ, CC and RQ: with 512 bits. RC: with 256 bits 2, with 512 bits 2
  // or 4 TLPs; 1 is none.
  parameter bit          CqStraddle      = 1'b0,
  parameter bit          CcStraddle      = 1'b0,
  parameter bit          RqStraddle      = 1'b0,
  parameter int unsigned RcStraddle      = 1,
  // Parity in tuser: driven, and looked at.
  parameter bit          Parity          = 1'b0,
  // Tags of reads are RTL's; 0: the block's, on pcie_rq_tag.
  parameter bit          EnableClientTag = 1'b1,
  // The function has FLR, and RTL answers cfg_flr_in_process with cfg_flr_done. 0: a function level
  // reset comes as user_reset.
  parameter bit          EnableFlr       = 1'b0,
  // Bytes of the read completion boundary, 64 or 128, and the most in a completion, a multiple
  // of it; 0: as many as the guest has set as the most in a payload.
  parameter int unsigned RcbBytes        = 64,
  parameter int unsigned CompletionBytes = 0,
  // Reads of the guest under way.
  parameter int unsigned CqReads         = 8,
  // What stands still for so many clocks on CQ or RC is told of, and what it waits for. 0: nothing is.
  parameter int unsigned StallClocks     = 1_000_000,
  // Serial lanes, which have no use here.
  parameter int unsigned PlLinks         = 8,
  localparam int unsigned KeepWidth   = DataWidth / 32,
  localparam int unsigned CqUserWidth = cq_user(DataWidth),
  localparam int unsigned CcUserWidth = cc_user(DataWidth),
  localparam int unsigned RqUserWidth = rq_user(DataWidth),
  localparam int unsigned RcUserWidth = rc_user(DataWidth)
) (
  // What many designs leave open, and what has no meaning without a link of wires.
  /* verilator lint_off UNUSEDSIGNAL */
  output logic [PlLinks-1:0]     pci_exp_txn,
  output logic [PlLinks-1:0]     pci_exp_txp,
  input  logic [PlLinks-1:0]     pci_exp_rxn,
  input  logic [PlLinks-1:0]     pci_exp_rxp,
  input  logic                   sys_clk,
  input  logic                   sys_clk_gt,
  // Active low, as the IP has it.
  input  logic                   sys_reset,
  output logic                   user_clk,
  output logic                   user_reset,
  output logic                   user_lnk_up,
  output logic                   phy_rdy_out,

  input  logic [DataWidth-1:0]   s_axis_rq_tdata,
  input  logic [KeepWidth-1:0]   s_axis_rq_tkeep,
  input  logic                   s_axis_rq_tlast,
  output logic [3:0]             s_axis_rq_tready,
  input  logic [RqUserWidth-1:0] s_axis_rq_tuser,
  input  logic                   s_axis_rq_tvalid,
  output logic [DataWidth-1:0]   m_axis_rc_tdata,
  output logic [KeepWidth-1:0]   m_axis_rc_tkeep,
  output logic                   m_axis_rc_tlast,
  input  logic                   m_axis_rc_tready,
  output logic [RcUserWidth-1:0] m_axis_rc_tuser,
  output logic                   m_axis_rc_tvalid,
  output logic [DataWidth-1:0]   m_axis_cq_tdata,
  output logic [KeepWidth-1:0]   m_axis_cq_tkeep,
  output logic                   m_axis_cq_tlast,
  input  logic                   m_axis_cq_tready,
  output logic [CqUserWidth-1:0] m_axis_cq_tuser,
  output logic                   m_axis_cq_tvalid,
  input  logic [DataWidth-1:0]   s_axis_cc_tdata,
  input  logic [KeepWidth-1:0]   s_axis_cc_tkeep,
  input  logic                   s_axis_cc_tlast,
  output logic [3:0]             s_axis_cc_tready,
  input  logic [CcUserWidth-1:0] s_axis_cc_tuser,
  input  logic                   s_axis_cc_tvalid,

  output logic [5:0]             pcie_rq_seq_num0,
  output logic                   pcie_rq_seq_num_vld0,
  output logic [5:0]             pcie_rq_seq_num1,
  output logic                   pcie_rq_seq_num_vld1,
  output logic [7:0]             pcie_rq_tag0,
  output logic                   pcie_rq_tag_vld0,
  output logic [7:0]             pcie_rq_tag1,
  output logic                   pcie_rq_tag_vld1,
  output logic [3:0]             pcie_rq_tag_av,
  output logic [3:0]             pcie_tfc_nph_av,
  output logic [3:0]             pcie_tfc_npd_av,
  input  logic [1:0]             pcie_cq_np_req,
  output logic [5:0]             pcie_cq_np_req_count,

  output logic                   cfg_phy_link_down,
  output logic [1:0]             cfg_phy_link_status,
  output logic [2:0]             cfg_negotiated_width,
  output logic [1:0]             cfg_current_speed,
  output logic [1:0]             cfg_max_payload,
  output logic [2:0]             cfg_max_read_req,
  output logic [15:0]            cfg_function_status,
  output logic [11:0]            cfg_function_power_state,
  output logic [503:0]           cfg_vf_status,
  output logic [755:0]           cfg_vf_power_state,
  output logic [1:0]             cfg_link_power_state,
  input  logic [9:0]             cfg_mgmt_addr,
  input  logic [7:0]             cfg_mgmt_function_number,
  input  logic                   cfg_mgmt_write,
  input  logic [31:0]            cfg_mgmt_write_data,
  input  logic [3:0]             cfg_mgmt_byte_enable,
  input  logic                   cfg_mgmt_read,
  output logic [31:0]            cfg_mgmt_read_data,
  output logic                   cfg_mgmt_read_write_done,
  input  logic                   cfg_mgmt_debug_access,
  output logic                   cfg_err_cor_out,
  output logic                   cfg_err_nonfatal_out,
  output logic                   cfg_err_fatal_out,
  output logic                   cfg_local_error_valid,
  output logic [4:0]             cfg_local_error_out,
  output logic [5:0]             cfg_ltssm_state,
  output logic [1:0]             cfg_rx_pm_state,
  output logic [1:0]             cfg_tx_pm_state,
  output logic [3:0]             cfg_rcb_status,
  output logic [1:0]             cfg_obff_enable,
  output logic                   cfg_pl_status_change,
  output logic [3:0]             cfg_tph_requester_enable,
  output logic [11:0]            cfg_tph_st_mode,
  output logic [251:0]           cfg_vf_tph_requester_enable,
  output logic [755:0]           cfg_vf_tph_st_mode,
  output logic                   cfg_msg_received,
  output logic [7:0]             cfg_msg_received_data,
  output logic [4:0]             cfg_msg_received_type,
  input  logic                   cfg_msg_transmit,
  input  logic [2:0]             cfg_msg_transmit_type,
  input  logic [31:0]            cfg_msg_transmit_data,
  output logic                   cfg_msg_transmit_done,
  output logic [7:0]             cfg_fc_ph,
  output logic [11:0]            cfg_fc_pd,
  output logic [7:0]             cfg_fc_nph,
  output logic [11:0]            cfg_fc_npd,
  output logic [7:0]             cfg_fc_cplh,
  output logic [11:0]            cfg_fc_cpld,
  input  logic [2:0]             cfg_fc_sel,
  input  logic [63:0]            cfg_dsn,
  output logic [7:0]             cfg_bus_number,
  input  logic                   cfg_power_state_change_ack,
  output logic                   cfg_power_state_change_interrupt,
  input  logic                   cfg_err_cor_in,
  input  logic                   cfg_err_uncor_in,
  output logic [3:0]             cfg_flr_in_process,
  input  logic [3:0]             cfg_flr_done,
  output logic [251:0]           cfg_vf_flr_in_process,
  input  logic [7:0]             cfg_vf_flr_func_num,
  input  logic                   cfg_vf_flr_done,
  input  logic                   cfg_link_training_enable,
  input  logic [3:0]             cfg_interrupt_int,
  input  logic [3:0]             cfg_interrupt_pending,
  output logic                   cfg_interrupt_sent,
  output logic [3:0]             cfg_interrupt_msi_enable,
  output logic [11:0]            cfg_interrupt_msi_mmenable,
  output logic                   cfg_interrupt_msi_mask_update,
  output logic [31:0]            cfg_interrupt_msi_data,
  input  logic [1:0]             cfg_interrupt_msi_select,
  input  logic [31:0]            cfg_interrupt_msi_int,
  input  logic [31:0]            cfg_interrupt_msi_pending_status,
  input  logic                   cfg_interrupt_msi_pending_status_data_enable,
  input  logic [1:0]             cfg_interrupt_msi_pending_status_function_num,
  output logic                   cfg_interrupt_msi_sent,
  output logic                   cfg_interrupt_msi_fail,
  output logic [3:0]             cfg_interrupt_msix_enable,
  output logic [3:0]             cfg_interrupt_msix_mask,
  output logic [251:0]           cfg_interrupt_msix_vf_enable,
  output logic [251:0]           cfg_interrupt_msix_vf_mask,
  input  logic [63:0]            cfg_interrupt_msix_address,
  input  logic [31:0]            cfg_interrupt_msix_data,
  input  logic                   cfg_interrupt_msix_int,
  input  logic [1:0]             cfg_interrupt_msix_vec_pending,
  output logic                   cfg_interrupt_msix_vec_pending_status,
  input  logic [2:0]             cfg_interrupt_msi_attr,
  input  logic                   cfg_interrupt_msi_tph_present,
  input  logic [1:0]             cfg_interrupt_msi_tph_type,
  input  logic [7:0]             cfg_interrupt_msi_tph_st_tag,
  input  logic [7:0]             cfg_interrupt_msi_function_number,
  input  logic                   cfg_pm_aspm_l1_entry_reject,
  input  logic                   cfg_pm_aspm_tx_l0s_entry_disable,
  output logic                   cfg_hot_reset_out,
  input  logic                   cfg_hot_reset_in,
  input  logic                   cfg_config_space_enable,
  input  logic                   cfg_req_pm_transition_l23_ready,
  input  logic [7:0]             cfg_ds_port_number,
  input  logic [7:0]             cfg_ds_bus_number,
  input  logic [4:0]             cfg_ds_device_number
  /* verilator lint_on UNUSEDSIGNAL */
);

  //////////////////////////
  // Checks of parameters //
  //////////////////////////

  if (DataWidth != 64 && DataWidth != 128 && DataWidth != 256 && DataWidth != 512)
  begin : gen_bad_data_width
    $error("DataWidth is %0d; 64, 128, 256 and 512 are possible", DataWidth);
  end
  if ((CqStraddle || CcStraddle || RqStraddle) && DataWidth != 512) begin : gen_bad_straddle
    $error("CqStraddle, CcStraddle or RqStraddle is 1 and DataWidth %0d; that needs 512 bits",
           DataWidth);
  end
  if (!(RcStraddle == 1 || (RcStraddle == 2 && DataWidth >= 256) ||
        (RcStraddle == 4 && DataWidth == 512))) begin : gen_bad_rc_straddle
    $error("RcStraddle is %0d and DataWidth %0d; 1, 2 with 256 bits, 2 and 4 with 512 are possible",
           RcStraddle, DataWidth);
  end
  if (RcbBytes != 64 && RcbBytes != 128) begin : gen_bad_rcb
    $error("RcbBytes is %0d; 64 and 128 are possible", RcbBytes);
  end
  if (CompletionBytes % 64 != 0 || CompletionBytes % RcbBytes != 0 || CompletionBytes > 4096)
  begin : gen_bad_completion_bytes
    $error("CompletionBytes is %0d; multiples of RcbBytes, %0d, up to 4096 are possible",
           CompletionBytes, RcbBytes);
  end
  if (CqReads < 1 || CqReads > 64) begin : gen_bad_reads
    $error("CqReads is %0d; 1 to 64 are possible", CqReads);
  end
  if (ResetClocks < 1 || ResetClocks > 65535) begin : gen_bad_reset_clocks
    $error("ResetClocks is %0d; 1 to 65535 are possible", ResetClocks);
  end

  localparam bit [5:0][63:0] BarSize = {Bar5Size, Bar4Size, Bar3Size, Bar2Size, Bar1Size, Bar0Size};

  if (MsixVectors > 2048) begin : gen_bad_msix_vectors
    $error("MsixVectors is %0d; 0 to 2048 are possible", MsixVectors);
  end
  if (MsixInRtl > 1) begin : gen_bad_msix_in_rtl
    $error("MsixInRtl is %0d; 0 and 1 are possible", MsixInRtl);
  end
  if (MsixInRtl == 1 && MsixVectors == 0) begin : gen_table_without_msix
    $error("MsixInRtl is 1 and MsixVectors 0: there is no table");
  end
  // Multiples of 8 within their BARs, without an overlap. The places of QEMU's are checked at the
  // start, by the library.
  if (MsixInRtl == 1 && !msix_places_fit(MsixVectors, BarSize, MsixTableBar, MsixTableOffset,
                                         MsixPbaBar, MsixPbaOffset)) begin : gen_bad_msix_places
    $error("MsixInRtl: %0d vectors at 0x%0h of BAR %0d, PBA at 0x%0h of BAR %0d do not fit",
           MsixVectors, MsixTableOffset, MsixTableBar, MsixPbaOffset, MsixPbaBar);
  end
  if (MsiVectors > 32 || (MsiVectors & (MsiVectors - 1)) != 0) begin : gen_bad_msi_vectors
    $error("MsiVectors is %0d; 0, 1, 2, 4, 8, 16 and 32 are possible", MsiVectors);
  end

  //////////////////////////
  // Addresses on the bus //
  //////////////////////////

  // Where the guest has put a BAR, if the host tells. Otherwise requests have an address that it might
  // have, so that RTL which forgets to take the lower bits alone does not work here either.
  function automatic bit [5:0][63:0] bar_bases();
    for (int i = 0; i < 6; i++) begin
      bar_bases[i] = BarIs64[i] ? 64'(i + 1) << 44 :
                     (BarSize[i] <= 64'h1000_0000) ? 64'h8000_0000 + (64'(i) << 28) :
                     64'h8000_0000;
    end
  endfunction

  logic [5:0]       bar_known;
  logic [5:0][63:0] bar_address;

  ///////////////////////
  // Life of a session //
  ///////////////////////

  // What sys_reset leaves alone is known before the first clock, whatever a simulator begins with.
  // All else is cleared while user_reset is high, where it begins.
  /* verilator lint_off PROCASSINIT */
  chandle      handle       = null;
  logic        link_q       = 1'b0;
  logic        resetn_q     = 1'b0;
  logic [15:0] reset_left_q = 16'(ResetClocks);
  // The reset under way is one that QEMU waits for.
  bit          reset_told_q = 1'b0;
  // RTL has been asked for the end of a function level reset.
  logic        flr_q        = 1'b0;
  logic        hot_q        = 1'b0;
  // Nothing went on in the clock before.
  bit          still_q      = 1'b0;
  // Clocks without anything to do, towards a sleep.
  int unsigned idle_q       = 0;
  /* verilator lint_on PROCASSINIT */

  assign user_clk           = sys_clk;
  assign user_reset         = !resetn_q;
  assign user_lnk_up        = link_q && resetn_q;
  assign phy_rdy_out        = sys_reset;
  assign cfg_hot_reset_out  = hot_q;
  assign cfg_flr_in_process = {3'd0, flr_q};

  task automatic must(input int status, input string what);
    if (status < 0) begin
      $fatal(1, "%m: %s: %s failed: %s", Name, what, acc_last_error(handle));
    end
  endtask

  initial begin : p_open
    automatic string endpoint = Endpoint;

    if (acc_abi_version() != AbiVersion) begin
      $fatal(1, "%m: the DPI library has ABI version %0d, this block needs %0d", acc_abi_version(),
             AbiVersion);
    end
    void'($value$plusargs("accelerator_endpoint=%s", endpoint));
    void'($value$plusargs({"accelerator_endpoint_", Name, "=%s"}, endpoint));
    handle = acc_open(endpoint, Name);
    if (handle == null) begin
      $fatal(1, "%m: %s: opening the endpoint '%s' failed: %s", Name, endpoint,
             acc_last_error(null));
    end
    must(acc_set_id(handle, int'(VendorId), int'(DeviceId), int'(SubVendorId), int'(SubDeviceId),
                    int'(ClassCode), int'(RevisionId)), "setting the ids");
    for (int i = 0; i < 6; i++) begin
      must(acc_set_bar(handle, i, BarSize[i], int'({BarPrefetch[i], BarIs64[i]}), 64'd0),
           $sformatf("setting BAR %0d", i));
    end
    if (MsixVectors != 0) begin
      must(acc_set_msix(handle, int'(MsixVectors), int'(MsixTableBar), int'(MsixTableOffset),
                        int'(MsixPbaBar), int'(MsixPbaOffset)), "setting MSI-X");
      must(acc_set_msix_in_rtl(handle, int'(MsixInRtl)), "setting where the MSI-X table is");
    end
    if (MsiVectors != 0) begin
      must(acc_set_msi(handle, int'(MsiVectors), int'(MsiMasking)), "setting MSI");
    end
    must(acc_set_link(handle, int'(LinkSpeed), int'(LinkWidth)), "setting the link");
    must(acc_set_intx(handle, int'(IntxPin)), "setting the INTx pin");
    must(acc_set_clock(handle, int'(ClockPeriodPs)), "setting the clock period");
    obey_plusargs(handle, Name, SharedMemory);
    must(acc_start(handle), "starting");
  end

  final begin : p_close
    if (handle != null) begin
      $display("%s: mmio_reads=%0d mmio_writes=%0d dma_read_bytes=%0d dma_write_bytes=%0d msix=%0d sessions=%0d",
               Name, acc_stat(handle, StatMmioReads), acc_stat(handle, StatMmioWrites),
               acc_stat(handle, StatDmaReadBytes), acc_stat(handle, StatDmaWriteBytes),
               acc_stat(handle, StatMsix), acc_stat(handle, StatSessions));
      void'(acc_close(handle));
    end
  end

  ///////////
  // Parts //
  ///////////

  // Each owns its ports and what is under way on them. p_host calls their tasks.
  logic        rq_idle, rc_idle, cq_idle, cc_idle, irq_idle, rq_dropped, cc_dropped;
  logic        rq_ready, cc_ready;
  logic        memory_space, bus_master, intx_disable, msix_enable, msix_mask, msi_enable;
  logic        extended_tag, relaxed_ordering, no_snoop;
  logic [5:0]  msi_vectors, link_width;
  logic [31:0] msi_mask;
  logic [1:0]  power_state;
  logic [2:0]  max_payload, max_read_req, link_speed;
  logic [15:0] requester_id;

  assign s_axis_rq_tready       = {4{rq_ready}};
  assign s_axis_cc_tready       = {4{cc_ready}};
  assign cfg_bus_number         = requester_id[15:8];
  assign cfg_interrupt_msi_data = (cfg_interrupt_msi_select == '0) ? msi_mask : '0;
  // Data of reads needs no credit of its own.
  assign pcie_tfc_npd_av        = pcie_tfc_nph_av;

  accelerator_pcie4_rq #(
    .Name(Name), .Width(DataWidth), .Straddle(RqStraddle), .Parity(Parity)
  ) u_rq (
    .clk_i(sys_clk), .rst_ni(resetn_q),
    .s_axis_rq_tdata, .s_axis_rq_tkeep, .s_axis_rq_tuser, .s_axis_rq_tlast, .s_axis_rq_tvalid,
    .s_axis_rq_tready(rq_ready),
    .pcie_rq_seq_num0, .pcie_rq_seq_num_vld0, .pcie_rq_seq_num1, .pcie_rq_seq_num_vld1,
    .max_payload_i(max_payload), .max_read_req_i(max_read_req), .dropped_o(rq_dropped),
    .idle_o(rq_idle)
  );

  accelerator_pcie4_rc #(
    .Name(Name), .Width(DataWidth), .Straddle(RcStraddle), .Parity(Parity),
    .EnableClientTag(EnableClientTag), .Rcb(RcbBytes), .CompletionBytes(CompletionBytes),
    .StallClocks(StallClocks)
  ) u_rc (
    .m_axis_rc_tdata, .m_axis_rc_tkeep, .m_axis_rc_tuser, .m_axis_rc_tlast, .m_axis_rc_tvalid,
    .m_axis_rc_tready,
    .pcie_rq_tag0, .pcie_rq_tag_vld0, .pcie_rq_tag1, .pcie_rq_tag_vld1, .pcie_rq_tag_av,
    .pcie_tfc_nph_av,
    .max_payload_i(max_payload), .extended_tag_i(extended_tag), .requester_id_i(requester_id),
    .idle_o(rc_idle)
  );

  accelerator_pcie4_cq #(
    .Name(Name), .Width(DataWidth), .Straddle(CqStraddle), .Parity(Parity), .BarSize(BarSize),
    .BarBase(bar_bases()), .StallClocks(StallClocks)
  ) u_cq (
    .bar_known_i(bar_known), .bar_address_i(bar_address),
    .m_axis_cq_tdata, .m_axis_cq_tkeep, .m_axis_cq_tuser, .m_axis_cq_tlast, .m_axis_cq_tvalid,
    .m_axis_cq_tready, .pcie_cq_np_req, .pcie_cq_np_req_count, .idle_o(cq_idle)
  );

  accelerator_pcie4_cc #(
    .Name(Name), .Width(DataWidth), .Straddle(CcStraddle), .Parity(Parity), .Rcb(RcbBytes),
    .MaxReads(CqReads)
  ) u_cc (
    .clk_i(sys_clk), .rst_ni(resetn_q),
    .s_axis_cc_tdata, .s_axis_cc_tkeep, .s_axis_cc_tuser, .s_axis_cc_tlast, .s_axis_cc_tvalid,
    .s_axis_cc_tready(cc_ready), .dropped_o(cc_dropped), .idle_o(cc_idle)
  );

  accelerator_pcie4_irq #(
    .Name(Name), .MsixVectors(MsixVectors), .MsixInRtl(MsixInRtl), .IntxPin(IntxPin)
  ) u_irq (
    .rst_ni(resetn_q), .msi_enable_i(msi_enable), .msi_mask_i(msi_mask),
    .msix_enable_i(msix_enable),
    .cfg_interrupt_int, .cfg_interrupt_sent, .cfg_interrupt_msi_int, .cfg_interrupt_msi_sent,
    .cfg_interrupt_msi_fail, .cfg_interrupt_msi_mask_update, .cfg_interrupt_msix_address,
    .cfg_interrupt_msix_data, .cfg_interrupt_msix_int,
    .cfg_interrupt_msix_vec_pending, .idle_o(irq_idle)
  );

  accelerator_function #(
    .Name(Name)
  ) u_function (
    .cfg_memory_space_enable(memory_space), .cfg_bus_master_enable(bus_master),
    .cfg_intx_disable(intx_disable), .cfg_msix_enable(msix_enable), .cfg_msix_mask(msix_mask),
    .cfg_msi_enable(msi_enable), .cfg_msi_vectors(msi_vectors), .cfg_msi_mask(msi_mask),
    .cfg_extended_tag_enable(extended_tag), .cfg_relaxed_ordering_enable(relaxed_ordering),
    .cfg_no_snoop_enable(no_snoop), .cfg_power_state(power_state), .cfg_max_payload(max_payload),
    .cfg_max_read_req(max_read_req), .cfg_requester_id(requester_id),
    .cfg_current_speed(link_speed), .cfg_negotiated_width(link_width), .bar_known_o(bar_known),
    .bar_address_o(bar_address)
  );

  accelerator_pcie4_cfg #(
    .Name(Name), .VendorId(VendorId), .DeviceId(DeviceId), .SubVendorId(SubVendorId),
    .SubDeviceId(SubDeviceId), .ClassCode(ClassCode), .RevisionId(RevisionId), .BarSize(BarSize),
    .BarIs64(BarIs64), .BarPrefetch(BarPrefetch), .IntxPin(IntxPin), .MsixVectors(MsixVectors),
    .MsiVectors(MsiVectors), .Rcb(RcbBytes)
  ) u_cfg (
    .clk_i(sys_clk), .rst_ni(resetn_q), .link_i(link_q),
    .memory_space_i(memory_space), .bus_master_i(bus_master), .intx_disable_i(intx_disable),
    .msix_enable_i(msix_enable), .msix_mask_i(msix_mask), .msi_enable_i(msi_enable),
    .msi_vectors_i(msi_vectors), .extended_tag_i(extended_tag),
    .relaxed_ordering_i(relaxed_ordering), .no_snoop_i(no_snoop), .power_state_i(power_state),
    .max_payload_i(max_payload), .max_read_req_i(max_read_req), .speed_i(link_speed),
    .width_i(link_width), .rq_dropped_i(rq_dropped), .cc_dropped_i(cc_dropped),
    .cfg_phy_link_down, .cfg_phy_link_status, .cfg_negotiated_width, .cfg_current_speed,
    .cfg_max_payload, .cfg_max_read_req, .cfg_function_status, .cfg_function_power_state,
    .cfg_ltssm_state, .cfg_rcb_status, .cfg_local_error_valid, .cfg_local_error_out,
    .cfg_power_state_change_interrupt, .cfg_power_state_change_ack, .cfg_interrupt_msi_enable,
    .cfg_interrupt_msi_mmenable, .cfg_interrupt_msix_enable, .cfg_interrupt_msix_mask,
    .cfg_mgmt_addr, .cfg_mgmt_function_number, .cfg_mgmt_write, .cfg_mgmt_read,
    .cfg_mgmt_read_data, .cfg_mgmt_read_write_done, .cfg_fc_sel, .cfg_fc_ph, .cfg_fc_pd,
    .cfg_fc_nph, .cfg_fc_npd, .cfg_fc_cplh, .cfg_fc_cpld
  );

  // What there is none of: lanes, virtual functions, messages, hints, errors of a link.
  assign pci_exp_txn                           = '0;
  assign pci_exp_txp                           = '0;
  assign cfg_vf_status                         = '0;
  assign cfg_vf_power_state                    = '0;
  assign cfg_link_power_state                  = '0;
  assign cfg_err_cor_out                       = 1'b0;
  assign cfg_err_nonfatal_out                  = 1'b0;
  assign cfg_err_fatal_out                     = 1'b0;
  assign cfg_rx_pm_state                       = '0;
  assign cfg_tx_pm_state                       = '0;
  assign cfg_obff_enable                       = '0;
  assign cfg_pl_status_change                  = 1'b0;
  assign cfg_tph_requester_enable              = '0;
  assign cfg_tph_st_mode                       = '0;
  assign cfg_vf_tph_requester_enable           = '0;
  assign cfg_vf_tph_st_mode                    = '0;
  assign cfg_msg_received                      = 1'b0;
  assign cfg_msg_received_data                 = '0;
  assign cfg_msg_received_type                 = '0;
  assign cfg_vf_flr_in_process                 = '0;
  assign cfg_interrupt_msix_vf_enable          = '0;
  assign cfg_interrupt_msix_vf_mask            = '0;
  assign cfg_interrupt_msix_vec_pending_status = 1'b0;

  // A message of RTL is taken and goes nowhere.
  logic transmitted_q;
  always_ff @(posedge sys_clk) begin : p_message
    transmitted_q <= resetn_q && cfg_msg_transmit && !transmitted_q;
  end
  assign cfg_msg_transmit_done = transmitted_q;

  //////////////////////
  // The library side //
  //////////////////////

  // A sleep is this long at most. Signals end the simulation after it.
  localparam int IdleSleepUs = 50_000;
  // Of acc_get_reset.
  localparam int ResetFlr = 1, ResetHot = 2;

  int unsigned idle_limit;

  initial begin : p_idle
    idle_limit = IdleClocks;
    void'($value$plusargs("accelerator_idle=%d", idle_limit));
  end

  // Complaints so far.
  lines_t complaints;

  final begin : p_left_out
    tell_left_out(Name, "failed calls", complaints.left_out);
  end

  task automatic complain_of(input int status, input string what);
    complaints = complain(handle, Name, status, what, complaints);
  endtask

  // QEMU hears that the reset it waits for is over.
  task automatic reset_done();
    automatic int status;
    if (reset_told_q) begin
      status = acc_reset_done(handle);
      if (status < 0) begin
        complain_of(status, "acc_reset_done");
      end
      reset_told_q <= 1'b0;
    end
  endtask

  // Begins a reset of RTL, goes on with it, or ends it.
  task automatic reset_rtl(input bit begins);
    if (begins) begin
      resetn_q     <= 1'b0;
      reset_left_q <= 16'(ResetClocks);
      flr_q        <= 1'b0;
    end else if (reset_left_q != '0) begin
      reset_left_q <= reset_left_q - 16'd1;
      if (reset_left_q == 16'd1) begin
        resetn_q <= 1'b1;
        hot_q    <= 1'b0;
        reset_done();
      end
    end
  endtask

  // Sleeps once nothing went on for long enough.
  task automatic sleep(input bit busy);
    if (busy) begin
      idle_q <= 0;
    end else if (idle_q < idle_limit) begin
      idle_q <= idle_q + 1;
    end else begin
      idle_q <= 0;
      void'(acc_wait(handle, IdleSleepUs));
    end
  endtask

  // Carries out what RTL asks for. In a function level reset there is nobody to ask.
  task automatic requests(input bit link, input bit flr);
    automatic bit whole, good, done;
    u_rq.take();
    // At most two TLPs end in a beat.
    u_rq.next(whole);
    while (whole) begin
      u_rq.check(good);
      done = 1'b1;
      if (u_rq.descriptor.req_type == ReqMemRead && u_rq.count >= 4 && !u_rq.tlp_bad) begin
        u_rc.ask(u_rq.descriptor, u_rq.first_be, u_rq.last_be,
                 flr ? CodeFlr : good ? CodeNone : CodeTimeout, done);
      end else if (good && !flr) begin
        u_rq.write(handle, link, done);
      end
      if (!done) break;
      u_rq.drop(good);
      u_rq.next(whole);
    end
    u_rq.leave();
    if (!flr) u_rc.send(handle, link);
  endtask

  always_ff @(posedge sys_clk) begin : p_host
    automatic int          what, ready, status, kind, acc_tag;
    automatic int unsigned len, first;
    automatic bit          link, resetting, void_all, flr, still;
    automatic bit [7:0]    tag;
    automatic bit [11:0]   place;

    link      = link_q;
    flr       = flr_q;
    resetting = !resetn_q;
    void_all  = 1'b0;
    // Nothing goes on, and nobody asks for anything. After a clock like it that is all: what the
    // parts drive is what they would drive again.
    still = rq_idle && rc_idle && cq_idle && cc_idle && irq_idle && !resetting && !flr &&
            sys_reset && !s_axis_rq_tvalid && !s_axis_cc_tvalid && !u_irq.is_asked(link) &&
            u_cq.has_credits();
    if (!resetting && !(still && still_q)) u_cq.take(handle);

    // The next event. DMA completions always find their place.
    ready = ReadyDmaReadDone | ReadyDmaWriteDone | ReadyFunction;
    if (!resetting) begin
      if (u_cq.can_write()) ready |= ReadyWrite;
      if (u_cq.can_read()) begin
        if (still) ready |= ReadyRead;
        else if (u_cc.can_read()) ready |= ReadyRead;
      end
    end
    what = acc_poll(handle, ready);
    case (what)
      EventNone: ;

      EventMmioRead, EventMmioWrite: begin
        tag = u_cc.next_tag();
        u_cq.fetch(handle, what == EventMmioWrite, tag, acc_tag, place, len, first);
        if (what == EventMmioRead) u_cc.await_read(tag, acc_tag, place, len, first);
      end

      EventDmaReadDone: u_rc.fetch(handle, u_cq.writes_fetched());

      EventDmaWriteDone: u_rq.fetch(handle);

      EventReset: begin
        status = acc_get_reset(handle, kind);
        if (status < 0) begin
          complain_of(status, "acc_get_reset");
        end
        reset_told_q <= 1'b1;
        void_all     = 1'b1;
        // One that comes before the end of another resets all.
        if (EnableFlr && kind == ResetFlr && !flr && !resetting) begin
          flr   = 1'b1;
          flr_q <= 1'b1;
          u_rc.end_all(CodeFlr);
        end else begin
          resetting = 1'b1;
          hot_q     <= kind == ResetHot;
        end
      end

      EventLinkUp, EventLinkDown: begin
        status = acc_get_link(handle, kind);
        if (status < 0) begin
          complain_of(status, "acc_get_link");
        end
        link         = what == EventLinkUp;
        resetting    = resetting || link;
        reset_told_q <= 1'b0;
        void_all     = 1'b1;
        if (!link) u_rc.end_all(CodeTimeout);
      end

      EventFunction: ;

      default: begin
        $fatal(1, "%m: %s: acc_poll returned %0d: %s", Name, what, acc_last_error(handle));
      end
    endcase
    still   = still && what == EventNone;
    still_q <= still;
    link_q  <= link;
    // A reset and a change of the link have their own. sys_reset is none of the guest's, but comes
    // before all else.
    if (what == EventFunction || void_all || !sys_reset) u_function.fetch(handle);
    if (void_all) begin
      u_cq.forget();
      u_cc.forget();
      u_irq.forget();
    end

    if (!resetting && !(still && still_q)) begin
      // Data that RTL wrote goes first, so that whatever it does once it gave the data, such as
      // completing a read, is behind it.
      requests(link, flr);
      if (!flr) u_irq.serve(handle, link, u_rq.complete);
      u_cc.serve(handle);
      u_rc.give(handle, u_cq.writes_taken());
      u_cq.give();
      if (flr_q && cfg_flr_done[0]) begin
        flr_q <= 1'b0;
        reset_done();
      end
    end

    reset_rtl(!sys_reset || (resetting && (what == EventReset || what == EventLinkUp)));
    if (resetting) begin
      // What RTL left behind. After a reset from QEMU or a new link all of it is void, but a
      // testbench that pulls sys_reset leaves a library that keeps data which nobody fetches, and a
      // guest that waits for its answers.
      if (!void_all && link && !flr) begin
        u_rc.give_back(handle);
        u_cq.give_back(handle);
        u_cc.give_back(handle);
      end
      u_rq.clear();
      u_rc.clear();
      u_cq.clear();
      u_cc.clear();
      u_irq.clear();
    end

    if (idle_limit != 0) begin
      sleep(what != EventNone || resetting || flr || !rq_idle || !rc_idle || !cq_idle ||
            !cc_idle || !irq_idle || s_axis_rq_tvalid || s_axis_cc_tvalid ||
            cfg_interrupt_msi_int != '0 || cfg_interrupt_msix_int || cfg_mgmt_read ||
            cfg_mgmt_write);
    end
  end

endmodule
