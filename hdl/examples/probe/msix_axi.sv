// SPDX-License-Identifier: Apache-2.0
//
// Sends the messages of msix_table on the write channels of a bus master, between its bursts: an
// address, its beats, then the next. What the master has got rid of is in front of a message that
// comes after it, as an interrupt has to be behind the data that it announces.
//
// The master has IDs whose highest bit is 0; those of messages have it set. A message that the host
// refuses, for Bus Master Enable is off, is lost, as on a card.

module msix_axi #(
  parameter int unsigned AddrWidth = 64,
  parameter int unsigned DataWidth = 64,
  parameter int unsigned IdWidth   = 4
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  input  logic                   msg_valid_i,
  output logic                   msg_ready_o,
  input  logic [AddrWidth-1:0]   msg_addr_i,
  input  logic [31:0]            msg_data_i,

  // From the master.
  input  logic [IdWidth-1:0]     s_axi_awid,
  input  logic [AddrWidth-1:0]   s_axi_awaddr,
  input  logic [7:0]             s_axi_awlen,
  input  logic [2:0]             s_axi_awsize,
  input  logic [1:0]             s_axi_awburst,
  input  logic                   s_axi_awvalid,
  output logic                   s_axi_awready,
  input  logic [DataWidth-1:0]   s_axi_wdata,
  input  logic [DataWidth/8-1:0] s_axi_wstrb,
  input  logic                   s_axi_wlast,
  input  logic                   s_axi_wvalid,
  output logic                   s_axi_wready,
  output logic [IdWidth-1:0]     s_axi_bid,
  output logic [1:0]             s_axi_bresp,
  output logic                   s_axi_bvalid,
  input  logic                   s_axi_bready,

  // To the host.
  output logic [IdWidth-1:0]     m_axi_awid,
  output logic [AddrWidth-1:0]   m_axi_awaddr,
  output logic [7:0]             m_axi_awlen,
  output logic [2:0]             m_axi_awsize,
  output logic [1:0]             m_axi_awburst,
  output logic                   m_axi_awvalid,
  input  logic                   m_axi_awready,
  output logic [DataWidth-1:0]   m_axi_wdata,
  output logic [DataWidth/8-1:0] m_axi_wstrb,
  output logic                   m_axi_wlast,
  output logic                   m_axi_wvalid,
  input  logic                   m_axi_wready,
  input  logic [IdWidth-1:0]     m_axi_bid,
  input  logic [1:0]             m_axi_bresp,
  input  logic                   m_axi_bvalid,
  output logic                   m_axi_bready
);

  localparam int unsigned LaneWidth = $clog2(DataWidth / 8);

  if (DataWidth < 64 || DataWidth > 1024 || (DataWidth & (DataWidth - 1)) != 0)
  begin : gen_bad_data_width
    $error("DataWidth is %0d; a power of two from 64 to 1024 is possible", DataWidth);
  end
  if (IdWidth < 2) begin : gen_bad_id_width
    $error("IdWidth is %0d; at least 2 is needed", IdWidth);
  end

  localparam logic [IdWidth-1:0] MessageId = IdWidth'(1) << (IdWidth - 1);

  // Whose burst is under way, and what of it was taken.
  typedef enum logic [1:0] { Idle, Burst, Message } state_e;
  state_e state_q;
  logic   aw_done_q, w_done_q;

  logic aw_now, w_now;
  assign aw_now = m_axi_awvalid && m_axi_awready;
  assign w_now  = m_axi_wvalid && m_axi_wready && m_axi_wlast;

  logic message;
  assign message = state_q == Message;

  assign m_axi_awid    = message ? MessageId : s_axi_awid;
  assign m_axi_awaddr  = message ? msg_addr_i : s_axi_awaddr;
  assign m_axi_awlen   = message ? 8'd0 : s_axi_awlen;
  assign m_axi_awsize  = message ? 3'd2 : s_axi_awsize;
  assign m_axi_awburst = message ? 2'b01 : s_axi_awburst;
  assign m_axi_awvalid = state_q != Idle && !aw_done_q && (message || s_axi_awvalid);
  assign s_axi_awready = state_q == Burst && !aw_done_q && m_axi_awready;

  assign m_axi_wdata   = message ? {(DataWidth / 32){msg_data_i}} : s_axi_wdata;
  assign m_axi_wstrb   = message ? (DataWidth / 8)'(64'hF) << msg_addr_i[LaneWidth-1:0]
                                 : s_axi_wstrb;
  assign m_axi_wlast   = message || s_axi_wlast;
  assign m_axi_wvalid  = state_q != Idle && !w_done_q && (message || s_axi_wvalid);
  assign s_axi_wready  = state_q == Burst && !w_done_q && m_axi_wready;

  assign msg_ready_o   = message && (aw_done_q || aw_now) && (w_done_q || w_now);

  // A message's response goes nowhere.
  assign s_axi_bid    = m_axi_bid;
  assign s_axi_bresp  = m_axi_bresp;
  assign s_axi_bvalid = m_axi_bvalid && !m_axi_bid[IdWidth-1];
  assign m_axi_bready = m_axi_bid[IdWidth-1] || s_axi_bready;

  always_ff @(posedge clk_i) begin : p_turns
    if (!rst_ni) begin
      state_q   <= Idle;
      aw_done_q <= 1'b0;
      w_done_q  <= 1'b0;
    end else if (state_q == Idle) begin
      aw_done_q <= 1'b0;
      w_done_q  <= 1'b0;
      if (msg_valid_i) begin
        state_q <= Message;
      end else if (s_axi_awvalid || s_axi_wvalid) begin
        state_q <= Burst;
      end
    end else begin
      if (aw_now) aw_done_q <= 1'b1;
      if (w_now) w_done_q <= 1'b1;
      // Both turn by turn: whoever waits at the end of the other's is next.
      if ((aw_done_q || aw_now) && (w_done_q || w_now)) begin
        aw_done_q <= 1'b0;
        w_done_q  <= 1'b0;
        state_q   <= (!message && msg_valid_i) ? Message
                     : (message && (s_axi_awvalid || s_axi_wvalid)) ? Burst : Idle;
      end
    end
  end

endmodule
