// SPDX-License-Identifier: Apache-2.0
//
// The card without its bridges: registers, two queues, receive and transmit, and one AXI master
// to host memory that they share.

module virtio_net_card #(
  parameter int unsigned MaxLog2 = 8,
  parameter int unsigned IdWidth = 4
) (
  input  logic               clk_i,
  input  logic               rst_ni,

  input  logic               wr_valid_i,
  input  logic [13:0]        wr_addr_i,
  input  logic [31:0]        wr_data_i,
  input  logic [3:0]         wr_strb_i,
  input  logic               rd_valid_i,
  input  logic [13:0]        rd_addr_i,
  output logic [31:0]        rd_data_o,

  // The wire.
  input  logic               link_i,
  input  logic [47:0]        mac_i,
  input  logic [127:0]       s_axis_tdata,
  input  logic [15:0]        s_axis_tkeep,
  input  logic               s_axis_tlast,
  input  logic               s_axis_tvalid,
  output logic               s_axis_tready,
  output logic [127:0]       m_axis_tdata,
  output logic [15:0]        m_axis_tkeep,
  output logic               m_axis_tlast,
  output logic               m_axis_tvalid,
  input  logic               m_axis_tready,

  output logic               msix_valid_o,
  input  logic               msix_ready_i,
  output logic [10:0]        msix_vector_o,
  output logic               intx_o,

  output logic [IdWidth-1:0] m_axi_awid,
  output logic [63:0]        m_axi_awaddr,
  output logic [7:0]         m_axi_awlen,
  output logic [2:0]         m_axi_awsize,
  output logic [1:0]         m_axi_awburst,
  output logic               m_axi_awvalid,
  input  logic               m_axi_awready,
  output logic [127:0]       m_axi_wdata,
  output logic [15:0]        m_axi_wstrb,
  output logic               m_axi_wlast,
  output logic               m_axi_wvalid,
  input  logic               m_axi_wready,
  input  logic [IdWidth-1:0] m_axi_bid,
  input  logic [1:0]         m_axi_bresp,
  input  logic               m_axi_bvalid,
  output logic               m_axi_bready,
  output logic [IdWidth-1:0] m_axi_arid,
  output logic [63:0]        m_axi_araddr,
  output logic [7:0]         m_axi_arlen,
  output logic [2:0]         m_axi_arsize,
  output logic [1:0]         m_axi_arburst,
  output logic               m_axi_arvalid,
  input  logic               m_axi_arready,
  input  logic [IdWidth-1:0] m_axi_rid,
  input  logic [127:0]       m_axi_rdata,
  input  logic [1:0]         m_axi_rresp,
  input  logic               m_axi_rlast,
  input  logic               m_axi_rvalid,
  output logic               m_axi_rready
);

  localparam int unsigned MaxFrame   = 9216;
  localparam int unsigned FifoWords  = 1024;
  localparam int unsigned RoomWidth  = $clog2(FifoWords) + 1;
  // Units of the DMA: the queues, then what moves frames, which only reads or only writes.
  localparam int unsigned Rx = 0, Tx = 1, Data = 2, Units = 3;

  logic [Units-1:0]        dma_rd_valid, dma_rd_ready, dma_rsp_valid, dma_rsp_ready;
  logic [Units-1:0][63:0]  dma_rd_addr, dma_wr_addr;
  logic [Units-1:0][7:0]   dma_rd_len, dma_wr_len;
  logic [Units-1:0][2:0]   dma_rd_size, dma_wr_size;
  logic [Units-1:0]        dma_wr_valid, dma_wr_ready, dma_w_valid, dma_w_ready, dma_w_last;
  logic [Units-1:0]        dma_b_valid;
  logic [Units-1:0][127:0] dma_w_data;
  logic [Units-1:0][15:0]  dma_w_strb;
  logic [127:0]            dma_rsp_data;
  logic                    dma_rsp_last, dma_rsp_error, dma_b_error, dma_idle;

  virtio_net_dma #(
    .Units(Units), .IdWidth(IdWidth)
  ) u_dma (
    .clk_i, .rst_ni, .idle_o(dma_idle),
    .rd_valid_i(dma_rd_valid), .rd_ready_o(dma_rd_ready), .rd_addr_i(dma_rd_addr),
    .rd_len_i(dma_rd_len), .rd_size_i(dma_rd_size), .rsp_valid_o(dma_rsp_valid),
    .rsp_ready_i(dma_rsp_ready), .rsp_data_o(dma_rsp_data), .rsp_last_o(dma_rsp_last),
    .rsp_error_o(dma_rsp_error),
    .wr_valid_i(dma_wr_valid), .wr_ready_o(dma_wr_ready), .wr_addr_i(dma_wr_addr),
    .wr_len_i(dma_wr_len), .wr_size_i(dma_wr_size), .w_valid_i(dma_w_valid),
    .w_ready_o(dma_w_ready), .w_data_i(dma_w_data), .w_strb_i(dma_w_strb),
    .w_last_i(dma_w_last), .b_valid_o(dma_b_valid), .b_error_o(dma_b_error),
    .m_axi_awid, .m_axi_awaddr, .m_axi_awlen, .m_axi_awsize, .m_axi_awburst,
    .m_axi_awvalid, .m_axi_awready, .m_axi_wdata, .m_axi_wstrb, .m_axi_wlast,
    .m_axi_wvalid, .m_axi_wready, .m_axi_bid, .m_axi_bresp, .m_axi_bvalid, .m_axi_bready,
    .m_axi_arid, .m_axi_araddr, .m_axi_arlen, .m_axi_arsize, .m_axi_arburst,
    .m_axi_arvalid, .m_axi_arready, .m_axi_rid, .m_axi_rdata, .m_axi_rresp, .m_axi_rlast,
    .m_axi_rvalid, .m_axi_rready
  );

  logic [1:0]            run, notify, irq_valid, irq_ready, queue_idle, queue_error;
  logic [1:0][MaxLog2:0] size;
  logic [1:0][63:0]      desc, driver, device;
  logic                  rx_idle, rx_error, tx_idle, tx_error;

  virtio_net_regs #(
    .MaxLog2(MaxLog2)
  ) u_regs (
    .clk_i, .rst_ni, .wr_valid_i, .wr_addr_i, .wr_data_i, .wr_strb_i, .rd_valid_i,
    .rd_addr_i, .rd_data_o, .link_i, .mac_i,
    .run_o(run), .notify_o(notify), .size_o(size), .desc_o(desc), .driver_o(driver),
    .device_o(device), .irq_valid_i(irq_valid), .irq_ready_o(irq_ready),
    .idle_i(dma_idle && queue_idle == '1 && rx_idle && tx_idle),
    .error_i(queue_error != '0 || rx_error || tx_error),
    .msix_valid_o, .msix_ready_i, .msix_vector_o, .intx_o
  );

  logic [1:0]       seg_valid, seg_ready, seg_last, done_valid, done_ready;
  logic [1:0][63:0] seg_addr;
  logic [1:0][31:0] seg_len, done_len;
  logic             rewind;

  for (genvar q = 0; q < 2; q++) begin : gen_queue
    virtio_net_virtq #(
      .DeviceWrites(q == Rx), .MaxLog2(MaxLog2)
    ) u_virtq (
      .clk_i, .rst_ni, .run_i(run[q]), .idle_o(queue_idle[q]), .error_o(queue_error[q]),
      .size_i(size[q]), .desc_i(desc[q]), .driver_i(driver[q]), .device_i(device[q]),
      .notify_i(notify[q]), .irq_valid_o(irq_valid[q]), .irq_ready_i(irq_ready[q]),
      .seg_valid_o(seg_valid[q]), .seg_ready_i(seg_ready[q]), .seg_addr_o(seg_addr[q]),
      .seg_len_o(seg_len[q]), .seg_last_o(seg_last[q]), .done_valid_i(done_valid[q]),
      .done_ready_o(done_ready[q]), .done_len_i(done_len[q]),
      .rewind_i(q == Rx && rewind),
      .rd_valid_o(dma_rd_valid[q]), .rd_ready_i(dma_rd_ready[q]), .rd_addr_o(dma_rd_addr[q]),
      .rd_len_o(dma_rd_len[q]), .rd_size_o(dma_rd_size[q]),
      .rsp_valid_i(dma_rsp_valid[q]), .rsp_data_i(dma_rsp_data),
      .rsp_last_i(dma_rsp_last), .rsp_error_i(dma_rsp_error),
      .wr_valid_o(dma_wr_valid[q]), .wr_ready_i(dma_wr_ready[q]), .wr_addr_o(dma_wr_addr[q]),
      .wr_len_o(dma_wr_len[q]), .wr_size_o(dma_wr_size[q]), .w_valid_o(dma_w_valid[q]),
      .w_ready_i(dma_w_ready[q]), .w_data_o(dma_w_data[q]), .w_strb_o(dma_w_strb[q]),
      .w_last_o(dma_w_last[q]), .b_valid_i(dma_b_valid[q]), .b_error_i(dma_b_error)
    );
    assign dma_rsp_ready[q] = 1'b1;
  end

  // Receive.
  logic         rx_valid, rx_ready, rx_last;
  logic [127:0] rx_data;
  logic [15:0]  rx_length;

  // What the frames count is for waves; FIFOs tell more than each needs.
  /* verilator lint_off PINCONNECTEMPTY */
  virtio_net_fifo #(
    .Words(FifoWords), .MaxBytes(MaxFrame)
  ) u_rx_fifo (
    .clk_i, .rst_ni,
    .in_valid_i(s_axis_tvalid), .in_ready_o(s_axis_tready), .in_data_i(s_axis_tdata),
    .in_bytes_i(5'($countones(s_axis_tkeep))), .in_last_i(s_axis_tlast), .abort_i(1'b0),
    .room_o(), .room_frames_o(),
    .out_valid_o(rx_valid), .out_ready_i(rx_ready), .out_data_o(rx_data),
    .out_last_o(rx_last), .out_length_o(rx_length)
  );

  virtio_net_rx u_rx (
    .clk_i, .rst_ni, .run_i(run[Rx]), .idle_o(rx_idle), .error_o(rx_error),
    .frame_o(), .dropped_o(),
    .frame_valid_i(rx_valid), .frame_ready_o(rx_ready), .frame_data_i(rx_data),
    .frame_last_i(rx_last), .frame_length_i(rx_length),
    .seg_valid_i(seg_valid[Rx]), .seg_ready_o(seg_ready[Rx]), .seg_addr_i(seg_addr[Rx]),
    .seg_len_i(seg_len[Rx]), .seg_last_i(seg_last[Rx]), .done_valid_o(done_valid[Rx]),
    .done_ready_i(done_ready[Rx]), .done_len_o(done_len[Rx]), .rewind_o(rewind),
    .wr_valid_o(dma_wr_valid[Data]), .wr_ready_i(dma_wr_ready[Data]),
    .wr_addr_o(dma_wr_addr[Data]), .wr_len_o(dma_wr_len[Data]),
    .wr_size_o(dma_wr_size[Data]), .w_valid_o(dma_w_valid[Data]),
    .w_ready_i(dma_w_ready[Data]), .w_data_o(dma_w_data[Data]),
    .w_strb_o(dma_w_strb[Data]), .w_last_o(dma_w_last[Data]),
    .b_valid_i(dma_b_valid[Data]), .b_error_i(dma_b_error)
  );

  // Transmit.
  logic                 tx_valid, tx_last, tx_abort, room_frames;
  logic [127:0]         tx_data;
  logic [4:0]           tx_bytes;
  logic [RoomWidth-1:0] room;
  // Only the end of the last word matters.
  /* verilator lint_off UNUSEDSIGNAL */
  logic [15:0]          tx_length;
  /* verilator lint_on UNUSEDSIGNAL */

  virtio_net_tx #(
    .MaxBytes(MaxFrame), .RoomWidth(RoomWidth)
  ) u_tx (
    .clk_i, .rst_ni, .run_i(run[Tx]), .idle_o(tx_idle), .error_o(tx_error),
    .frame_o(), .dropped_o(),
    .seg_valid_i(seg_valid[Tx]), .seg_ready_o(seg_ready[Tx]), .seg_addr_i(seg_addr[Tx]),
    .seg_len_i(seg_len[Tx]), .seg_last_i(seg_last[Tx]), .done_valid_o(done_valid[Tx]),
    .done_ready_i(done_ready[Tx]),
    .rd_valid_o(dma_rd_valid[Data]), .rd_ready_i(dma_rd_ready[Data]),
    .rd_addr_o(dma_rd_addr[Data]), .rd_len_o(dma_rd_len[Data]),
    .rd_size_o(dma_rd_size[Data]), .rsp_valid_i(dma_rsp_valid[Data]),
    .rsp_ready_o(dma_rsp_ready[Data]), .rsp_data_i(dma_rsp_data),
    .rsp_error_i(dma_rsp_error),
    .frame_valid_o(tx_valid), .frame_data_o(tx_data), .frame_bytes_o(tx_bytes),
    .frame_last_o(tx_last), .frame_abort_o(tx_abort), .room_i(room),
    .room_frames_i(room_frames)
  );
  // The device wrote nothing into these chains.
  assign done_len[Tx] = '0;

  virtio_net_fifo #(
    .Words(FifoWords), .MaxBytes(MaxFrame)
  ) u_tx_fifo (
    .clk_i, .rst_ni,
    .in_valid_i(tx_valid), .in_ready_o(), .in_data_i(tx_data), .in_bytes_i(tx_bytes),
    .in_last_i(tx_last), .abort_i(tx_abort), .room_o(room), .room_frames_o(room_frames),
    .out_valid_o(m_axis_tvalid), .out_ready_i(m_axis_tready), .out_data_o(m_axis_tdata),
    .out_last_o(m_axis_tlast), .out_length_o(tx_length)
  );
  /* verilator lint_on PINCONNECTEMPTY */
  assign m_axis_tkeep = (m_axis_tlast && tx_length[3:0] != '0)
                        ? 16'((17'd1 << tx_length[3:0]) - 17'd1) : '1;

endmodule
