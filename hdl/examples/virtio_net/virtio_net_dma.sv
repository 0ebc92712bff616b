// SPDX-License-Identifier: Apache-2.0
//
// Shares one AXI4 master among several units. Each has its number as AXI ID.
//
// Read: a request is taken in a clock with rd_valid_i and rd_ready_o; its data comes in beats
// with rsp_valid_o, while rsp_ready_i is high.
// Write: likewise with wr_; the data is taken in clocks with w_valid_i and w_ready_o, and must
// come to its w_last_i: a burst that was begun is finished. b_valid_o is its response.
// A request may be taken back while it waits; what is on AXI stays until it is taken.

module virtio_net_dma #(
  parameter int unsigned Units   = 3,
  parameter int unsigned IdWidth = 4
) (
  input  logic                      clk_i,
  input  logic                      rst_ni,
  // Nothing is under way.
  output logic                      idle_o,

  input  logic [Units-1:0]          rd_valid_i,
  output logic [Units-1:0]          rd_ready_o,
  input  logic [Units-1:0][63:0]    rd_addr_i,
  input  logic [Units-1:0][7:0]     rd_len_i,
  input  logic [Units-1:0][2:0]     rd_size_i,
  output logic [Units-1:0]          rsp_valid_o,
  input  logic [Units-1:0]          rsp_ready_i,
  output logic [127:0]              rsp_data_o,
  output logic                      rsp_last_o,
  output logic                      rsp_error_o,

  input  logic [Units-1:0]          wr_valid_i,
  output logic [Units-1:0]          wr_ready_o,
  input  logic [Units-1:0][63:0]    wr_addr_i,
  input  logic [Units-1:0][7:0]     wr_len_i,
  input  logic [Units-1:0][2:0]     wr_size_i,
  input  logic [Units-1:0]          w_valid_i,
  output logic [Units-1:0]          w_ready_o,
  input  logic [Units-1:0][127:0]   w_data_i,
  input  logic [Units-1:0][15:0]    w_strb_i,
  input  logic [Units-1:0]          w_last_i,
  output logic [Units-1:0]          b_valid_o,
  output logic                      b_error_o,

  output logic [IdWidth-1:0]        m_axi_awid,
  output logic [63:0]               m_axi_awaddr,
  output logic [7:0]                m_axi_awlen,
  output logic [2:0]                m_axi_awsize,
  output logic [1:0]                m_axi_awburst,
  output logic                      m_axi_awvalid,
  input  logic                      m_axi_awready,
  output logic [127:0]              m_axi_wdata,
  output logic [15:0]               m_axi_wstrb,
  output logic                      m_axi_wlast,
  output logic                      m_axi_wvalid,
  input  logic                      m_axi_wready,
  input  logic [IdWidth-1:0]        m_axi_bid,
  // OKAY and EXOKAY are alike.
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic [1:0]                m_axi_bresp,
  input  logic [1:0]                m_axi_rresp,
  /* verilator lint_on UNUSEDSIGNAL */
  input  logic                      m_axi_bvalid,
  output logic                      m_axi_bready,
  output logic [IdWidth-1:0]        m_axi_arid,
  output logic [63:0]               m_axi_araddr,
  output logic [7:0]                m_axi_arlen,
  output logic [2:0]                m_axi_arsize,
  output logic [1:0]                m_axi_arburst,
  output logic                      m_axi_arvalid,
  input  logic                      m_axi_arready,
  input  logic [IdWidth-1:0]        m_axi_rid,
  input  logic [127:0]              m_axi_rdata,
  input  logic                      m_axi_rlast,
  input  logic                      m_axi_rvalid,
  output logic                      m_axi_rready
);

  localparam int unsigned UnitWidth = $clog2(Units);

  // Which unit comes next, the one after `last` first.
  function automatic logic [UnitWidth-1:0] choose(logic [Units-1:0] wants,
                                                  logic [UnitWidth-1:0] last);
    automatic logic [UnitWidth-1:0] unit = last;
    choose = '0;
    for (int unsigned i = 0; i < Units; i++) begin
      unit = (32'(unit) + 1 == Units) ? '0 : unit + 1'b1;
      if (wants[unit]) return unit;
    end
  endfunction

  logic [5:0] reads_q, writes_q;
  assign idle_o = reads_q == '0 && writes_q == '0;

  // Reads.
  logic [UnitWidth-1:0] ar_last_q, ar_unit;
  logic                 ar_go, r_end;

  assign ar_unit       = choose(rd_valid_i, ar_last_q);
  assign ar_go         = rst_ni && rd_valid_i != '0 && (!m_axi_arvalid || m_axi_arready) &&
                         reads_q != '1;
  assign rd_ready_o    = ar_go ? Units'(1) << ar_unit : '0;
  assign m_axi_arburst = 2'b01;

  assign rsp_valid_o  = m_axi_rvalid ? Units'(1) << m_axi_rid : '0;
  assign rsp_data_o   = m_axi_rdata;
  assign rsp_last_o   = m_axi_rlast;
  assign rsp_error_o  = m_axi_rresp[1];
  assign m_axi_rready = rsp_ready_i[m_axi_rid[UnitWidth-1:0]];
  assign r_end        = m_axi_rvalid && m_axi_rready && m_axi_rlast;

  always_ff @(posedge clk_i) begin
    if (m_axi_arready) m_axi_arvalid <= 1'b0;
    if (ar_go) begin
      m_axi_arvalid <= 1'b1;
      m_axi_arid    <= IdWidth'(ar_unit);
      m_axi_araddr  <= rd_addr_i[ar_unit];
      m_axi_arlen   <= rd_len_i[ar_unit];
      m_axi_arsize  <= rd_size_i[ar_unit];
      ar_last_q     <= ar_unit;
    end
    reads_q <= reads_q + 6'(ar_go) - 6'(r_end);
    if (!rst_ni) begin
      m_axi_arvalid <= 1'b0;
      ar_last_q     <= '0;
      reads_q       <= '0;
    end
  end

  // Writes: the data of one burst at a time.
  logic [UnitWidth-1:0] aw_last_q, aw_unit;
  logic                 aw_go, w_busy_q;

  assign aw_unit       = choose(wr_valid_i, aw_last_q);
  assign aw_go         = rst_ni && wr_valid_i != '0 && (!m_axi_awvalid || m_axi_awready) &&
                         !w_busy_q && writes_q != '1;
  assign wr_ready_o    = aw_go ? Units'(1) << aw_unit : '0;
  assign m_axi_awburst = 2'b01;

  assign m_axi_wvalid  = w_busy_q && w_valid_i[aw_last_q];
  assign m_axi_wdata   = w_data_i[aw_last_q];
  assign m_axi_wstrb   = w_strb_i[aw_last_q];
  assign m_axi_wlast   = w_last_i[aw_last_q];
  assign w_ready_o     = (w_busy_q && m_axi_wready) ? Units'(1) << aw_last_q : '0;

  assign b_valid_o     = m_axi_bvalid ? Units'(1) << m_axi_bid : '0;
  assign b_error_o     = m_axi_bresp[1];
  assign m_axi_bready  = 1'b1;

  always_ff @(posedge clk_i) begin
    if (m_axi_awready) m_axi_awvalid <= 1'b0;
    if (m_axi_wvalid && m_axi_wready && m_axi_wlast) w_busy_q <= 1'b0;
    if (aw_go) begin
      m_axi_awvalid <= 1'b1;
      m_axi_awid    <= IdWidth'(aw_unit);
      m_axi_awaddr  <= wr_addr_i[aw_unit];
      m_axi_awlen   <= wr_len_i[aw_unit];
      m_axi_awsize  <= wr_size_i[aw_unit];
      aw_last_q     <= aw_unit;
      w_busy_q      <= 1'b1;
    end
    writes_q <= writes_q + 6'(aw_go) - 6'(m_axi_bvalid);
    if (!rst_ni) begin
      m_axi_awvalid <= 1'b0;
      aw_last_q     <= '0;
      w_busy_q      <= 1'b0;
      writes_q      <= '0;
    end
  end

endmodule
