// SPDX-License-Identifier: Apache-2.0
//
// Master of an AXI4-Lite: one write and one read at a time.

module accelerator_xdma_axil #(
  parameter int unsigned AddrWidth = 32
) (
  input  logic                 clk_i,
  input  logic                 rst_ni,

  // A write, which stays until wr_done_o, and a read likewise.
  input  logic                 wr_valid_i,
  input  logic [AddrWidth-1:0] wr_addr_i,
  input  logic [31:0]          wr_data_i,
  input  logic [3:0]           wr_strb_i,
  output logic                 wr_done_o,
  output logic                 wr_error_o,
  input  logic                 rd_valid_i,
  input  logic [AddrWidth-1:0] rd_addr_i,
  output logic                 rd_done_o,
  output logic [31:0]          rd_data_o,
  output logic                 rd_error_o,

  output logic [AddrWidth-1:0] m_axil_awaddr,
  output logic [2:0]           m_axil_awprot,
  output logic                 m_axil_awvalid,
  input  logic                 m_axil_awready,
  output logic [31:0]          m_axil_wdata,
  output logic [3:0]           m_axil_wstrb,
  output logic                 m_axil_wvalid,
  input  logic                 m_axil_wready,
  // Bit 0 tells DECERR and SLVERR apart; a guest sees no difference.
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic [1:0]           m_axil_bresp,
  input  logic [1:0]           m_axil_rresp,
  /* verilator lint_on UNUSEDSIGNAL */
  input  logic                 m_axil_bvalid,
  output logic                 m_axil_bready,
  output logic [AddrWidth-1:0] m_axil_araddr,
  output logic [2:0]           m_axil_arprot,
  output logic                 m_axil_arvalid,
  input  logic                 m_axil_arready,
  input  logic [31:0]          m_axil_rdata,
  input  logic                 m_axil_rvalid,
  output logic                 m_axil_rready
);

  // The channel has taken its part.
  logic aw_q, w_q, ar_q;

  assign m_axil_awaddr  = wr_addr_i;
  assign m_axil_awprot  = 3'b000;
  assign m_axil_awvalid = wr_valid_i && !aw_q;
  assign m_axil_wdata   = wr_data_i;
  assign m_axil_wstrb   = wr_strb_i;
  assign m_axil_wvalid  = wr_valid_i && !w_q;
  assign m_axil_bready  = aw_q && w_q;
  assign wr_done_o      = m_axil_bvalid && m_axil_bready;
  assign wr_error_o     = m_axil_bresp[1];

  assign m_axil_araddr  = rd_addr_i;
  assign m_axil_arprot  = 3'b000;
  assign m_axil_arvalid = rd_valid_i && !ar_q;
  assign m_axil_rready  = ar_q;
  assign rd_done_o      = m_axil_rvalid && m_axil_rready;
  assign rd_data_o      = m_axil_rdata;
  assign rd_error_o     = m_axil_rresp[1];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      aw_q <= 1'b0;
      w_q  <= 1'b0;
      ar_q <= 1'b0;
    end else begin
      if (m_axil_awvalid && m_axil_awready) aw_q <= 1'b1;
      if (m_axil_wvalid && m_axil_wready) w_q <= 1'b1;
      if (wr_done_o) begin
        aw_q <= 1'b0;
        w_q  <= 1'b0;
      end
      if (m_axil_arvalid && m_axil_arready) ar_q <= 1'b1;
      if (rd_done_o) ar_q <= 1'b0;
    end
  end

endmodule
