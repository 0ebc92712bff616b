// SPDX-License-Identifier: Apache-2.0
//
// AXI4 slave to a plain register port, for RTL that answers guest accesses. It takes INCR bursts
// and narrow transfers, one write and one read transaction at a time, the two independent.
//
// Write: in a clock with reg_wr_valid_o and reg_wr_ready_i, the bytes of reg_wr_data_o that
// have their bit in reg_wr_strb_o go to the bus word at reg_wr_addr_o, which is aligned to the
// bus width. Hold reg_wr_ready_i low to make the guest's write wait.
// Read: in a clock with reg_rd_valid_o and reg_rd_ready_i, reg_rd_data_i is the bus word that
// holds reg_rd_addr_o, the byte address of the access. Only the bytes with their bit in
// reg_rd_strb_o are asked for: a read that does something, such as a pop, looks at it. Hold
// reg_rd_ready_i low to answer later.
// The error inputs count in those same clocks.

module accelerator_axi_regs #(
  parameter int unsigned AxiAddrWidth = 64,
  // Low bits of the address that tell the registers apart.
  parameter int unsigned RegAddrWidth = 12,
  parameter int unsigned DataWidth    = 32,
  parameter int unsigned IdWidth      = 1
) (
  input  logic                    clk_i,
  input  logic                    rst_ni,

  input  logic [IdWidth-1:0]      s_axi_awid,
  // Only the low bits of addresses matter.
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic [AxiAddrWidth-1:0] s_axi_awaddr,
  input  logic [AxiAddrWidth-1:0] s_axi_araddr,
  /* verilator lint_on UNUSEDSIGNAL */
  input  logic [2:0]              s_axi_awsize,
  input  logic                    s_axi_awvalid,
  output logic                    s_axi_awready,
  input  logic [DataWidth-1:0]    s_axi_wdata,
  input  logic [DataWidth/8-1:0]  s_axi_wstrb,
  input  logic                    s_axi_wlast,
  input  logic                    s_axi_wvalid,
  output logic                    s_axi_wready,
  output logic [IdWidth-1:0]      s_axi_bid,
  output logic [1:0]              s_axi_bresp,
  output logic                    s_axi_bvalid,
  input  logic                    s_axi_bready,
  input  logic [IdWidth-1:0]      s_axi_arid,
  input  logic [7:0]              s_axi_arlen,
  input  logic [2:0]              s_axi_arsize,
  input  logic                    s_axi_arvalid,
  output logic                    s_axi_arready,
  output logic [IdWidth-1:0]      s_axi_rid,
  output logic [DataWidth-1:0]    s_axi_rdata,
  output logic [1:0]              s_axi_rresp,
  output logic                    s_axi_rlast,
  output logic                    s_axi_rvalid,
  input  logic                    s_axi_rready,

  output logic                    reg_wr_valid_o,
  input  logic                    reg_wr_ready_i,
  output logic [RegAddrWidth-1:0] reg_wr_addr_o,
  output logic [DataWidth-1:0]    reg_wr_data_o,
  output logic [DataWidth/8-1:0]  reg_wr_strb_o,
  input  logic                    reg_wr_error_i,
  output logic                    reg_rd_valid_o,
  input  logic                    reg_rd_ready_i,
  output logic [RegAddrWidth-1:0] reg_rd_addr_o,
  output logic [DataWidth/8-1:0]  reg_rd_strb_o,
  input  logic [DataWidth-1:0]    reg_rd_data_i,
  input  logic                    reg_rd_error_i
);

  localparam int unsigned LaneWidth = $clog2(DataWidth / 8);

  if (DataWidth < 32 || DataWidth > 1024 || (DataWidth & (DataWidth - 1)) != 0)
  begin : gen_bad_data_width
    $error("DataWidth is %0d; a power of two from 32 to 1024 is possible", DataWidth);
  end
  if (RegAddrWidth < LaneWidth + 1 || RegAddrWidth > AxiAddrWidth) begin : gen_bad_addr_width
    $error("RegAddrWidth is %0d; %0d to %0d are possible", RegAddrWidth, LaneWidth + 1,
           AxiAddrWidth);
  end

  // Where the beat after the one at addr begins.
  function automatic logic [RegAddrWidth-1:0] next_beat(logic [RegAddrWidth-1:0] addr,
                                                        logic [2:0] size);
    return ((addr >> size) + 1'b1) << size;
  endfunction

  // The lanes of a beat: from its address to the end of its transfer.
  function automatic logic [DataWidth/8-1:0] lanes(logic [LaneWidth-1:0] lane, logic [2:0] size);
    automatic logic [DataWidth/8-1:0] above = '1 << lane;
    return above & ~('1 << (((32'(lane) >> size) + 1) << size));
  endfunction

  // Writes. AW and W are taken each by itself, so that a write whose address and data come together
  // takes one clock of either, and the next can come while it is done. Both wait in registers: what
  // is ready depends on no valid.
  logic                    aw_valid_q, w_valid_q, w_last_q, wr_error_q;
  logic [RegAddrWidth-1:0] aw_addr_q;
  logic [2:0]              aw_size_q;
  logic [IdWidth-1:0]      aw_id_q;
  logic [DataWidth-1:0]    w_data_q;
  logic [DataWidth/8-1:0]  w_strb_q;
  logic                    wr_beat, wr_ends;

  assign reg_wr_valid_o = aw_valid_q && w_valid_q && (!s_axi_bvalid || s_axi_bready);
  assign reg_wr_addr_o  = {aw_addr_q[RegAddrWidth-1:LaneWidth], {LaneWidth{1'b0}}};
  assign reg_wr_data_o  = w_data_q;
  assign reg_wr_strb_o  = w_strb_q;
  assign wr_beat        = reg_wr_valid_o && reg_wr_ready_i;
  assign wr_ends        = wr_beat && w_last_q;
  assign s_axi_awready  = rst_ni && (!aw_valid_q || wr_ends);
  assign s_axi_wready   = rst_ni && (!w_valid_q || wr_beat);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      aw_valid_q   <= 1'b0;
      w_valid_q    <= 1'b0;
      wr_error_q   <= 1'b0;
      s_axi_bvalid <= 1'b0;
    end else begin
      if (s_axi_bready) s_axi_bvalid <= 1'b0;
      if (wr_beat) begin
        aw_addr_q  <= next_beat(aw_addr_q, aw_size_q);
        w_valid_q  <= 1'b0;
        wr_error_q <= !w_last_q && (wr_error_q || reg_wr_error_i);
      end
      if (wr_ends) begin
        aw_valid_q   <= 1'b0;
        s_axi_bid    <= aw_id_q;
        s_axi_bresp  <= {wr_error_q || reg_wr_error_i, 1'b0};
        s_axi_bvalid <= 1'b1;
      end
      if (s_axi_awvalid && s_axi_awready) begin
        aw_valid_q <= 1'b1;
        aw_addr_q  <= s_axi_awaddr[RegAddrWidth-1:0];
        aw_size_q  <= s_axi_awsize;
        aw_id_q    <= s_axi_awid;
      end
      if (s_axi_wvalid && s_axi_wready) begin
        w_valid_q <= 1'b1;
        w_last_q  <= s_axi_wlast;
        w_data_q  <= s_axi_wdata;
        w_strb_q  <= s_axi_wstrb;
      end
    end
  end

  // Reads.
  logic                    rd_busy_q;
  logic [RegAddrWidth-1:0] rd_addr_q;
  logic [2:0]              rd_size_q;
  logic [7:0]              rd_left_q;
  logic [IdWidth-1:0]      rd_id_q;

  assign s_axi_arready  = rst_ni && !rd_busy_q;
  assign reg_rd_valid_o = rd_busy_q && (!s_axi_rvalid || s_axi_rready);
  assign reg_rd_addr_o  = rd_addr_q;
  assign reg_rd_strb_o  = lanes(rd_addr_q[LaneWidth-1:0], rd_size_q);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      rd_busy_q    <= 1'b0;
      s_axi_rvalid <= 1'b0;
    end else begin
      if (s_axi_rready) s_axi_rvalid <= 1'b0;
      if (s_axi_arvalid && s_axi_arready) begin
        rd_busy_q <= 1'b1;
        rd_addr_q <= s_axi_araddr[RegAddrWidth-1:0];
        rd_size_q <= s_axi_arsize;
        rd_left_q <= s_axi_arlen;
        rd_id_q   <= s_axi_arid;
      end
      if (reg_rd_valid_o && reg_rd_ready_i) begin
        s_axi_rid    <= rd_id_q;
        s_axi_rdata  <= reg_rd_data_i;
        s_axi_rresp  <= {reg_rd_error_i, 1'b0};
        s_axi_rlast  <= rd_left_q == 8'd0;
        s_axi_rvalid <= 1'b1;
        rd_addr_q    <= next_beat(rd_addr_q, rd_size_q);
        rd_left_q    <= rd_left_q - 8'd1;
        rd_busy_q    <= rd_left_q != 8'd0;
      end
    end
  end

endmodule
