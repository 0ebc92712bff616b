// SPDX-License-Identifier: Apache-2.0
//
// Guest accesses, of which one AXI4 has all, on two: what has bit 63 of its address set goes to
// m1_axi, all else to m0_axi. Answers keep the order of the requests, so one side waits until the
// other has answered.

module accelerator_xdma_bars #(
  parameter int unsigned DataWidth = 64
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  // The bridge's ID is always the same, and so is its kind of burst.
  input  logic [63:0]            s_axi_awaddr,
  input  logic [7:0]             s_axi_awlen,
  input  logic [2:0]             s_axi_awsize,
  input  logic                   s_axi_awvalid,
  output logic                   s_axi_awready,
  input  logic [DataWidth-1:0]   s_axi_wdata,
  input  logic [DataWidth/8-1:0] s_axi_wstrb,
  input  logic                   s_axi_wlast,
  input  logic                   s_axi_wvalid,
  output logic                   s_axi_wready,
  output logic [1:0]             s_axi_bresp,
  output logic                   s_axi_bvalid,
  input  logic                   s_axi_bready,
  input  logic [63:0]            s_axi_araddr,
  input  logic [7:0]             s_axi_arlen,
  input  logic [2:0]             s_axi_arsize,
  input  logic                   s_axi_arvalid,
  output logic                   s_axi_arready,
  output logic [DataWidth-1:0]   s_axi_rdata,
  output logic [1:0]             s_axi_rresp,
  output logic                   s_axi_rlast,
  output logic                   s_axi_rvalid,
  input  logic                   s_axi_rready,

  // The two, each signal with a bit or an element for each of them.
  output logic [63:0]                 m_axi_awaddr,
  output logic [7:0]                  m_axi_awlen,
  output logic [2:0]                  m_axi_awsize,
  output logic [1:0]                  m_axi_awvalid,
  input  logic [1:0]                  m_axi_awready,
  output logic [DataWidth-1:0]        m_axi_wdata,
  output logic [DataWidth/8-1:0]      m_axi_wstrb,
  output logic                        m_axi_wlast,
  output logic [1:0]                  m_axi_wvalid,
  input  logic [1:0]                  m_axi_wready,
  input  logic [1:0][1:0]             m_axi_bresp,
  input  logic [1:0]                  m_axi_bvalid,
  output logic [1:0]                  m_axi_bready,
  output logic [63:0]                 m_axi_araddr,
  output logic [7:0]                  m_axi_arlen,
  output logic [2:0]                  m_axi_arsize,
  output logic [1:0]                  m_axi_arvalid,
  input  logic [1:0]                  m_axi_arready,
  input  logic [1:0][DataWidth-1:0]   m_axi_rdata,
  input  logic [1:0][1:0]             m_axi_rresp,
  input  logic [1:0]                  m_axi_rlast,
  input  logic [1:0]                  m_axi_rvalid,
  output logic [1:0]                  m_axi_rready
);

  // The bridge has at most 128 writes and 256 reads on the bus.
  typedef logic [8:0] count_t;

  // The side that has the transactions under way.
  logic        wr_side_q, rd_side_q;
  count_t      wr_count_q, rd_count_q;
  // Bursts of data behind their address, which is taken; -1: data is before it.
  logic signed [9:0] w_ahead_q;

  logic wr_side, wr_may, w_side, w_may, rd_side, rd_may;
  assign wr_side = s_axi_awaddr[63];
  assign wr_may  = wr_count_q == '0 || wr_side == wr_side_q;
  assign rd_side = s_axi_araddr[63];
  assign rd_may  = rd_count_q == '0 || rd_side == rd_side_q;
  // Data goes with its address or after it, and does not wait for the address to be taken.
  assign w_side  = (w_ahead_q > 0) ? wr_side_q : wr_side;
  assign w_may   = w_ahead_q > 0 || (w_ahead_q == 0 && s_axi_awvalid && wr_may);

  assign m_axi_awaddr  = {1'b0, s_axi_awaddr[62:0]};
  assign m_axi_awlen   = s_axi_awlen;
  assign m_axi_awsize  = s_axi_awsize;
  assign m_axi_awvalid = (s_axi_awvalid && wr_may) ? 2'b01 << wr_side : 2'b00;
  assign s_axi_awready = wr_may && m_axi_awready[wr_side];
  assign m_axi_wdata   = s_axi_wdata;
  assign m_axi_wstrb   = s_axi_wstrb;
  assign m_axi_wlast   = s_axi_wlast;
  assign m_axi_wvalid  = (s_axi_wvalid && w_may) ? 2'b01 << w_side : 2'b00;
  assign s_axi_wready  = w_may && m_axi_wready[w_side];
  assign s_axi_bresp   = m_axi_bresp[wr_side_q];
  assign s_axi_bvalid  = m_axi_bvalid[wr_side_q];
  assign m_axi_bready  = s_axi_bready ? 2'b01 << wr_side_q : 2'b00;

  assign m_axi_araddr  = {1'b0, s_axi_araddr[62:0]};
  assign m_axi_arlen   = s_axi_arlen;
  assign m_axi_arsize  = s_axi_arsize;
  assign m_axi_arvalid = (s_axi_arvalid && rd_may) ? 2'b01 << rd_side : 2'b00;
  assign s_axi_arready = rd_may && m_axi_arready[rd_side];
  assign s_axi_rdata   = m_axi_rdata[rd_side_q];
  assign s_axi_rresp   = m_axi_rresp[rd_side_q];
  assign s_axi_rlast   = m_axi_rlast[rd_side_q];
  assign s_axi_rvalid  = m_axi_rvalid[rd_side_q];
  assign m_axi_rready  = s_axi_rready ? 2'b01 << rd_side_q : 2'b00;

  logic aw, w_last, b, ar, r_last;
  assign aw     = s_axi_awvalid && s_axi_awready;
  assign w_last = s_axi_wvalid && s_axi_wready && s_axi_wlast;
  assign b      = s_axi_bvalid && s_axi_bready;
  assign ar     = s_axi_arvalid && s_axi_arready;
  assign r_last = s_axi_rvalid && s_axi_rready && s_axi_rlast;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      wr_side_q  <= 1'b0;
      rd_side_q  <= 1'b0;
      wr_count_q <= '0;
      rd_count_q <= '0;
      w_ahead_q  <= '0;
    end else begin
      if (s_axi_awvalid && wr_may) wr_side_q <= wr_side;
      if (ar) rd_side_q <= rd_side;
      wr_count_q <= wr_count_q + count_t'(aw) - count_t'(b);
      rd_count_q <= rd_count_q + count_t'(ar) - count_t'(r_last);
      w_ahead_q  <= w_ahead_q + signed'(10'(aw)) - signed'(10'(w_last));
    end
  end

endmodule
