// SPDX-License-Identifier: Apache-2.0
//
// What scripts/bench-idle.sh counts the instructions of: the sorter on the ports of the UltraScale+
// block, with the block (Block) and without it.

module idle_pcie4_top #(
  parameter bit          Block     = 1'b1,
  parameter int unsigned DataWidth = 256
) (
  input logic aclk,
  input logic aresetn
);

  localparam int unsigned Lanes  = DataWidth / 32;
  localparam int unsigned CqUser = (DataWidth == 512) ? 183 : 88;
  localparam int unsigned CcUser = (DataWidth == 512) ? 81 : 33;
  localparam int unsigned RqUser = (DataWidth == 512) ? 137 : 62;
  localparam int unsigned RcUser = (DataWidth == 512) ? 161 : 75;

  logic                 user_clk, user_reset;
  logic [DataWidth-1:0] m_axis_cq_tdata, m_axis_rc_tdata;
  logic [Lanes-1:0]     m_axis_cq_tkeep, m_axis_rc_tkeep;
  logic [CqUser-1:0]    m_axis_cq_tuser;
  logic [RcUser-1:0]    m_axis_rc_tuser;
  logic                 m_axis_cq_tlast, m_axis_cq_tvalid, m_axis_rc_tlast, m_axis_rc_tvalid;
  logic                 pcie_rq_seq_num_vld0, pcie_rq_seq_num_vld1;
  logic [5:0]           pcie_rq_seq_num0, pcie_rq_seq_num1;
  logic [1:0]           cfg_max_payload;
  logic [2:0]           cfg_max_read_req;
  logic                 cfg_interrupt_msi_sent, cfg_interrupt_msi_fail;
  logic [3:0]           cfg_interrupt_msix_enable, cfg_interrupt_msi_enable;
  logic [11:0]          cfg_interrupt_msi_mmenable;

  // Of four bits that are alike one is used.
  /* verilator lint_off UNUSEDSIGNAL */
  logic [3:0]           s_axis_cc_tready, s_axis_rq_tready;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [DataWidth-1:0] s_axis_cc_tdata, s_axis_rq_tdata;
  logic [Lanes-1:0]     s_axis_cc_tkeep, s_axis_rq_tkeep;
  logic [CcUser-1:0]    s_axis_cc_tuser;
  logic [RqUser-1:0]    s_axis_rq_tuser;
  logic                 s_axis_cc_tlast, s_axis_cc_tvalid, s_axis_rq_tlast, s_axis_rq_tvalid;
  logic                 m_axis_cq_tready, m_axis_rc_tready;
  logic [1:0]           pcie_cq_np_req;
  logic [31:0]          cfg_interrupt_msi_int;
  logic                 cfg_interrupt_msix_int;

  if (Block) begin : gen_block
    // The card has no use for the rest.
    /* verilator lint_off PINMISSING */
    accelerator_pcie4 #(
      .DeviceId(16'h7024), .Bar0Size(64'h1_0000), .Bar2Size(64'h1_0000), .BarIs64(6'b000101),
      .MsixVectors(4), .MsixTableBar(2), .MsixPbaBar(2), .MsixPbaOffset(32'h8000),
      .DataWidth(DataWidth)
    ) u_pcie (
      .sys_clk(aclk), .sys_clk_gt(aclk), .sys_reset(aresetn), .user_clk, .user_reset,
      .m_axis_cq_tdata, .m_axis_cq_tkeep, .m_axis_cq_tuser, .m_axis_cq_tlast, .m_axis_cq_tvalid,
      .m_axis_cq_tready, .pcie_cq_np_req,
      .s_axis_cc_tdata, .s_axis_cc_tkeep, .s_axis_cc_tuser, .s_axis_cc_tlast, .s_axis_cc_tvalid,
      .s_axis_cc_tready,
      .s_axis_rq_tdata, .s_axis_rq_tkeep, .s_axis_rq_tuser, .s_axis_rq_tlast, .s_axis_rq_tvalid,
      .s_axis_rq_tready, .pcie_rq_seq_num0, .pcie_rq_seq_num_vld0, .pcie_rq_seq_num1,
      .pcie_rq_seq_num_vld1,
      .m_axis_rc_tdata, .m_axis_rc_tkeep, .m_axis_rc_tuser, .m_axis_rc_tlast, .m_axis_rc_tvalid,
      .m_axis_rc_tready,
      .cfg_max_payload, .cfg_max_read_req, .cfg_interrupt_msix_enable, .cfg_interrupt_msi_enable,
      .cfg_interrupt_msi_mmenable, .cfg_interrupt_msi_int, .cfg_interrupt_msix_int,
      .cfg_interrupt_msi_sent, .cfg_interrupt_msi_fail, .cfg_power_state_change_ack(1'b1)
    );
    /* verilator lint_on PINMISSING */
  end else begin : gen_none
    // Registers that keep their value, and somebody who looks at what the card says, neither of
    // which a compiler can know: the card stays whole.
    bit pokes;
    assign user_clk   = aclk;
    assign user_reset = !aresetn;
    initial begin
      pokes            = $test$plusargs("idle_pokes") != 0;
      s_axis_cc_tready = '1;
      s_axis_rq_tready = '1;
      cfg_max_payload  = 2'd1;
      cfg_max_read_req = 3'd2;
    end
    always_ff @(posedge aclk) if (pokes) begin
      $display("%h", {s_axis_cc_tdata, s_axis_cc_tkeep, s_axis_cc_tuser, s_axis_cc_tlast,
                      s_axis_cc_tvalid, s_axis_rq_tdata, s_axis_rq_tkeep, s_axis_rq_tuser,
                      s_axis_rq_tlast, s_axis_rq_tvalid, m_axis_cq_tready, m_axis_rc_tready,
                      pcie_cq_np_req, cfg_interrupt_msi_int, cfg_interrupt_msix_int});
      m_axis_cq_tdata            <= ~m_axis_cq_tdata;
      m_axis_cq_tkeep            <= ~m_axis_cq_tkeep;
      m_axis_cq_tuser            <= ~m_axis_cq_tuser;
      m_axis_cq_tlast            <= ~m_axis_cq_tlast;
      m_axis_cq_tvalid           <= ~m_axis_cq_tvalid;
      m_axis_rc_tdata            <= ~m_axis_rc_tdata;
      m_axis_rc_tkeep            <= ~m_axis_rc_tkeep;
      m_axis_rc_tuser            <= ~m_axis_rc_tuser;
      m_axis_rc_tlast            <= ~m_axis_rc_tlast;
      m_axis_rc_tvalid           <= ~m_axis_rc_tvalid;
      pcie_rq_seq_num0           <= ~pcie_rq_seq_num0;
      pcie_rq_seq_num_vld0       <= ~pcie_rq_seq_num_vld0;
      pcie_rq_seq_num1           <= ~pcie_rq_seq_num1;
      pcie_rq_seq_num_vld1       <= ~pcie_rq_seq_num_vld1;
      cfg_interrupt_msi_sent     <= ~cfg_interrupt_msi_sent;
      cfg_interrupt_msi_fail     <= ~cfg_interrupt_msi_fail;
      cfg_interrupt_msix_enable  <= ~cfg_interrupt_msix_enable;
      cfg_interrupt_msi_enable   <= ~cfg_interrupt_msi_enable;
      cfg_interrupt_msi_mmenable <= ~cfg_interrupt_msi_mmenable;
      s_axis_cc_tready           <= ~s_axis_cc_tready;
      s_axis_rq_tready           <= ~s_axis_rq_tready;
      cfg_max_payload            <= ~cfg_max_payload;
      cfg_max_read_req           <= ~cfg_max_read_req;
    end
  end

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
    .cfg_max_payload, .cfg_max_read_req, .cfg_interrupt_msix_enable, .cfg_interrupt_msi_enable,
    .cfg_interrupt_msi_mmenable, .cfg_interrupt_msi_int, .cfg_interrupt_msix_int,
    .cfg_interrupt_msi_sent, .cfg_interrupt_msi_fail
  );

endmodule
