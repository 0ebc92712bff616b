// SPDX-License-Identifier: Apache-2.0
//
// What the block shows of its configuration space and its link: cfg_* status from what the guest has set,
// cfg_mgmt_*, and the credits of flow control. There is no DPI in it.

module accelerator_pcie4_cfg
  import accelerator_dpi_pkg::*;
#(
  // Of the block, in messages.
  parameter string           Name        = "accelerator0",
  parameter bit [15:0]       VendorId    = 16'h10EE,
  parameter bit [15:0]       DeviceId    = 16'h9038,
  parameter bit [15:0]       SubVendorId = 16'h10EE,
  parameter bit [15:0]       SubDeviceId = 16'h0007,
  parameter bit [23:0]       ClassCode   = 24'h05_80_00,
  parameter bit [7:0]        RevisionId  = 8'h00,
  parameter bit [5:0][63:0]  BarSize     = '0,
  parameter bit [5:0]        BarIs64     = '0,
  parameter bit [5:0]        BarPrefetch = '0,
  parameter int unsigned     IntxPin     = 0,
  parameter int unsigned     MsixVectors = 1,
  parameter int unsigned     MsiVectors  = 0,
  parameter int unsigned     Rcb         = 64
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic        link_i,

  // What the guest has set.
  input  logic        memory_space_i,
  input  logic        bus_master_i,
  input  logic        intx_disable_i,
  input  logic        msix_enable_i,
  input  logic        msix_mask_i,
  input  logic        msi_enable_i,
  // One bit is set.
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic [5:0]  msi_vectors_i,
  /* verilator lint_on UNUSEDSIGNAL */
  input  logic        extended_tag_i,
  input  logic        relaxed_ordering_i,
  input  logic        no_snoop_i,
  input  logic [1:0]  power_state_i,
  input  logic [2:0]  max_payload_i,
  input  logic [2:0]  max_read_req_i,
  input  logic [2:0]  speed_i,
  input  logic [5:0]  width_i,

  // A packet was dropped on RQ, on CC.
  input  logic        rq_dropped_i,
  input  logic        cc_dropped_i,

  output logic        cfg_phy_link_down,
  output logic [1:0]  cfg_phy_link_status,
  output logic [2:0]  cfg_negotiated_width,
  output logic [1:0]  cfg_current_speed,
  output logic [1:0]  cfg_max_payload,
  output logic [2:0]  cfg_max_read_req,
  output logic [15:0] cfg_function_status,
  output logic [11:0] cfg_function_power_state,
  output logic [5:0]  cfg_ltssm_state,
  output logic [3:0]  cfg_rcb_status,
  output logic        cfg_local_error_valid,
  output logic [4:0]  cfg_local_error_out,
  output logic        cfg_power_state_change_interrupt,
  input  logic        cfg_power_state_change_ack,
  output logic [3:0]  cfg_interrupt_msi_enable,
  output logic [11:0] cfg_interrupt_msi_mmenable,
  output logic [3:0]  cfg_interrupt_msix_enable,
  output logic [3:0]  cfg_interrupt_msix_mask,

  input  logic [9:0]  cfg_mgmt_addr,
  input  logic [7:0]  cfg_mgmt_function_number,
  input  logic        cfg_mgmt_write,
  input  logic        cfg_mgmt_read,
  output logic [31:0] cfg_mgmt_read_data,
  output logic        cfg_mgmt_read_write_done,

  input  logic [2:0]  cfg_fc_sel,
  output logic [7:0]  cfg_fc_ph,
  output logic [11:0] cfg_fc_pd,
  output logic [7:0]  cfg_fc_nph,
  output logic [11:0] cfg_fc_npd,
  output logic [7:0]  cfg_fc_cplh,
  output logic [11:0] cfg_fc_cpld
);

  ////////////
  // Status //
  ////////////

  logic [2:0] msi_vectors_code;

  assign cfg_phy_link_down   = !link_i;
  assign cfg_phy_link_status = link_i ? 2'b11 : 2'b00;
  // 0x10 is L0, 0x00 Detect.Quiet.
  assign cfg_ltssm_state     = link_i ? 6'h10 : 6'h00;
  assign cfg_current_speed   = (speed_i == '0) ? 2'd0 : 2'(speed_i - 3'd1);
  assign cfg_max_payload     = max_payload_i[1:0];
  assign cfg_max_read_req    = max_read_req_i;
  assign cfg_function_status = {12'd0, intx_disable_i, bus_master_i, memory_space_i, 1'b0};
  // 3 bits for each function: 1 is D0 active, 4 D3hot.
  assign cfg_function_power_state   = {9'd0, (power_state_i == '0) ? 3'b001 : 3'b100};
  assign cfg_rcb_status             = {3'd0, Rcb == 128};
  assign cfg_interrupt_msi_enable   = {3'd0, msi_enable_i};
  assign cfg_interrupt_msix_enable  = {3'd0, msix_enable_i};
  assign cfg_interrupt_msix_mask    = {3'd0, msix_mask_i};
  assign cfg_interrupt_msi_mmenable = {9'd0, msi_vectors_code};
  assign cfg_local_error_valid      = rq_dropped_i || cc_dropped_i;
  assign cfg_local_error_out        = rq_dropped_i ? accelerator_pcie4_pkg::LocalErrorRq :
                                      cc_dropped_i ? accelerator_pcie4_pkg::LocalErrorCc : '0;

  always_comb begin
    // Its logarithm.
    msi_vectors_code = {msi_vectors_i[4] || msi_vectors_i[5], msi_vectors_i[2] || msi_vectors_i[3],
                        msi_vectors_i[1] || msi_vectors_i[3] || msi_vectors_i[5]};
    case (width_i)
      6'd2:    cfg_negotiated_width = 3'd1;
      6'd4:    cfg_negotiated_width = 3'd2;
      6'd8:    cfg_negotiated_width = 3'd3;
      6'd16:   cfg_negotiated_width = 3'd4;
      default: cfg_negotiated_width = 3'd0;
    endcase
  end

  logic [1:0] power_q;

  always_ff @(posedge clk_i) begin : p_power
    power_q <= rst_ni ? power_state_i : '0;
    if (!rst_ni || cfg_power_state_change_ack) begin
      cfg_power_state_change_interrupt <= 1'b0;
    end else if (power_state_i != power_q) begin
      cfg_power_state_change_interrupt <= 1'b1;
    end
  end

  /////////////////////////
  // Configuration space //
  /////////////////////////

  // Where the IP has its capabilities: PG213, "PCI Express Configuration Space". The guest finds
  // them elsewhere.
  localparam logic [9:0] RegPm = 10'h10, RegMsi = 10'h12, RegMsix = 10'h18, RegPcie = 10'h1C;

  function automatic logic [31:0] bar(int unsigned i);
    if (i != 0 && BarIs64[i - 1]) return '0;
    if (BarSize[i] == '0) return '0;
    return {28'd0, BarPrefetch[i], BarIs64[i] ? 2'b10 : 2'b00, 1'b0};
  endfunction

  function automatic logic [31:0] register(logic [9:0] number);
    case (number)
      10'h00:  return {DeviceId, VendorId};
      10'h01:  return {11'd0, 1'b1, 4'd0, 5'd0, intx_disable_i, 7'd0, bus_master_i, memory_space_i,
                       1'b0};
      10'h02:  return {ClassCode, RevisionId};
      10'h04:  return bar(0);
      10'h05:  return bar(1);
      10'h06:  return bar(2);
      10'h07:  return bar(3);
      10'h08:  return bar(4);
      10'h09:  return bar(5);
      10'h0B:  return {SubDeviceId, SubVendorId};
      10'h0D:  return 32'h40;
      10'h0F:  return {16'd0, 8'(IntxPin), 8'd0};
      RegPm:   return {16'h0003, (MsiVectors != 0) ? 8'h48 : (MsixVectors != 0) ? 8'h60 : 8'h70,
                       8'h01};
      RegPm + 10'd1:   return {30'd0, power_state_i};
      RegMsi:  return (MsiVectors == 0) ? '0 :
                      {8'd0, 1'b1, msi_vectors_code, 3'($clog2(MsiVectors)), msi_enable_i,
                       (MsixVectors != 0) ? 8'h60 : 8'h70, 8'h05};
      RegMsix: return (MsixVectors == 0) ? '0 :
                      {msix_enable_i, msix_mask_i, 3'd0, 11'(MsixVectors - 1), 8'h70, 8'h11};
      RegPcie: return {16'h0002, 8'h00, 8'h10};
      RegPcie + 10'd2: return {16'd0, 1'b0, max_read_req_i, no_snoop_i, 2'd0, extended_tag_i,
                               max_payload_i, relaxed_ordering_i, 4'd0};
      RegPcie + 10'd4: return {6'd0, width_i, 1'b0, speed_i, 12'd0, Rcb == 128, 3'd0};
      default: return '0;
    endcase
  endfunction

  // Two-state, so that it begins as 0.
  bit told_write_q;

  always_ff @(posedge clk_i) begin : p_mgmt
    cfg_mgmt_read_write_done <= rst_ni && (cfg_mgmt_read || cfg_mgmt_write) &&
                                !cfg_mgmt_read_write_done;
    if (rst_ni && cfg_mgmt_read) begin
      cfg_mgmt_read_data <= (cfg_mgmt_function_number == '0) ? register(cfg_mgmt_addr) : '1;
    end
    if (rst_ni && cfg_mgmt_write && !told_write_q) begin
      told_write_q <= 1'b1;
      $warning("%m: %s: cfg_mgmt_write to register 0x%0h has no effect: configuration space is QEMU's; told once",
               Name, cfg_mgmt_addr);
    end
  end

  //////////////////
  // Flow control //
  //////////////////

  // There is none between here and QEMU: so many credits are always left, to the other side (0) and
  // here (4). Limits and what was consumed are 0.
  localparam logic [7:0]  LeftHeaders = 8'h40;
  localparam logic [11:0] LeftData    = 12'h400;

  logic left;
  assign left        = cfg_fc_sel == 3'b000 || cfg_fc_sel == 3'b100;
  assign cfg_fc_ph   = left ? LeftHeaders : '0;
  assign cfg_fc_pd   = left ? LeftData : '0;
  assign cfg_fc_nph  = left ? LeftHeaders : '0;
  assign cfg_fc_npd  = left ? LeftData : '0;
  // Infinite, as those of an endpoint and of a root complex are.
  assign cfg_fc_cplh = '0;
  assign cfg_fc_cpld = '0;

endmodule
