// SPDX-License-Identifier: Apache-2.0
//
// Works off a ring of descriptors in host memory: fetches a descriptor, fetches its block of
// 1,024 keys, sorts it, writes it back, writes the status into the descriptor, raises an
// interrupt. One descriptor at a time.
//
// Descriptor, 32 bytes, little endian:
//   0   u64  source, a multiple of 64
//   8   u64  destination, a multiple of 64, may be the source
//   16  u32  keys, must be 1,024
//   20  u32  flags: bit 0 largest key first, bit 1 interrupt when done
//   24  u32  cookie, the driver's own
//   28  u32  status: the device writes 1 done, 2 error, after the data
//
// The status goes out as one write of bytes 16 to 31. A descriptor that fails gets status 2 and
// the next one is taken. One that cannot be fetched stops the engine until the error is cleared.

module sort_engine #(
  parameter int unsigned DataWidth = 128,
  parameter int unsigned IdWidth   = 4
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  // From and to the registers.
  input  logic                   enable_i,
  // Stops after the transactions that are under way; stopped_o answers.
  input  logic                   stop_i,
  output logic                   stopped_o,
  input  logic [63:0]            ring_base_i,
  input  logic [3:0]             ring_log2_i,
  input  logic [9:0]             tail_i,
  output logic [9:0]             head_o,
  output logic                   busy_o,
  input  logic [1:0]             irq_enable_i,
  // Whether an error is waiting to be cleared, and is one of fetching.
  input  logic                   halted_i,
  // One clock each. Error codes: 1 bad descriptor, 2 fetch, 3 block read, 4 write back.
  output logic                   error_o,
  output logic [7:0]             error_code_o,
  output logic                   block_done_o,
  output logic                   irq_done_o,
  output logic                   read_issued_o,
  output logic                   write_issued_o,
  output logic [12:0]            issued_bytes_o,

  output logic [IdWidth-1:0]     m_axi_awid,
  output logic [63:0]            m_axi_awaddr,
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
  // Every request has ID 0; OKAY and EXOKAY are alike.
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic [1:0]             m_axi_bresp,
  input  logic [1:0]             m_axi_rresp,
  /* verilator lint_on UNUSEDSIGNAL */
  input  logic                   m_axi_bvalid,
  output logic                   m_axi_bready,
  output logic [IdWidth-1:0]     m_axi_arid,
  output logic [63:0]            m_axi_araddr,
  output logic [7:0]             m_axi_arlen,
  output logic [2:0]             m_axi_arsize,
  output logic [1:0]             m_axi_arburst,
  output logic                   m_axi_arvalid,
  input  logic                   m_axi_arready,
  input  logic [DataWidth-1:0]   m_axi_rdata,
  input  logic                   m_axi_rlast,
  input  logic                   m_axi_rvalid,
  output logic                   m_axi_rready,

  output logic                   msix_valid_o,
  input  logic                   msix_ready_i,
  output logic [10:0]            msix_vector_o
);

  localparam int unsigned BusBytes   = DataWidth / 8;
  localparam int unsigned LaneWidth  = $clog2(BusBytes);
  localparam logic [2:0]  FullSize   = 3'(LaneWidth);
  localparam int unsigned BlockKeys  = 1024;
  localparam int unsigned BlockBytes = 4 * BlockKeys;
  // The descriptor and its second half, in transfers that the bus can do.
  localparam int unsigned DescBytes  = 32;
  localparam logic [2:0]  DescSize   = (FullSize < 3'd5) ? FullSize : 3'd5;
  localparam logic [7:0]  DescLen    = 8'((DescBytes >> DescSize) - 1);
  localparam logic [2:0]  TailSize   = (FullSize < 3'd4) ? FullSize : 3'd4;
  localparam logic [7:0]  TailLen    = 8'((16 >> TailSize) - 1);
  // Most bytes in one burst: 256 beats, and never across 4 KiB.
  localparam int unsigned MostBytes  = (256 * BusBytes < 4096) ? 256 * BusBytes : 4096;

  localparam logic [7:0] ErrDescriptor = 8'd1, ErrFetch = 8'd2, ErrRead = 8'd3, ErrWrite = 8'd4;

  if (DataWidth < 32 || DataWidth > 512 || (DataWidth & (DataWidth - 1)) != 0)
  begin : gen_bad_data_width
    $error("DataWidth is %0d; 32, 64, 128, 256 and 512 are possible", DataWidth);
  end

  typedef enum logic [3:0] {
    Idle, Fetch, Check, Read, Sorting, Write, Status, Interrupt, Next
  } state_e;

  state_e         state_q;
  logic [9:0]     head_q;
  logic [255:0]   desc_q;
  logic [7:0]     code_q;
  // Part of the block whose address was not yet given.
  logic [63:0]    addr_q;
  logic [12:0]    left_q;
  // Transactions that wait for their last data or response.
  logic [4:0]     pending_q;
  logic           failed_q;
  logic           status_sent_q;
  logic [7:0]     beats_q;
  // Interrupts to be raised: bit 0 done, bit 1 error.
  logic [1:0]     irq_todo_q;

  logic [63:0] desc_src, desc_dst;
  logic [31:0] desc_keys, desc_flags, desc_cookie;
  assign desc_src    = desc_q[63:0];
  assign desc_dst    = desc_q[127:64];
  assign desc_keys   = desc_q[159:128];
  assign desc_flags  = desc_q[191:160];
  assign desc_cookie = desc_q[223:192];

  logic [63:0] desc_addr;
  assign desc_addr = ring_base_i + {49'd0, head_q, 5'd0};

  // Bytes of the next burst of a block.
  logic [12:0] room, burst;
  assign room  = 13'd4096 - {1'b0, addr_q[11:0]};
  always_comb begin
    burst = (left_q < room) ? left_q : room;
    if (burst > 13'(MostBytes)) burst = 13'(MostBytes);
  end

  logic                 net_clear, net_in_valid, net_in_ready, net_out_valid, net_out_ready;
  logic [DataWidth-1:0] net_out_data;

  sort_network #(
    .DataWidth(DataWidth)
  ) u_network (
    .clk_i, .rst_ni,
    .clear_i     (net_clear),
    .descending_i(desc_flags[0]),
    .in_valid_i  (net_in_valid),
    .in_ready_o  (net_in_ready),
    .in_data_i   (m_axi_rdata),
    .out_valid_o (net_out_valid),
    .out_ready_i (net_out_ready),
    .out_data_o  (net_out_data)
  );

  assign net_in_valid  = state_q == Read && m_axi_rvalid;
  assign m_axi_rready  = state_q != Read || net_in_ready;
  assign m_axi_bready  = 1'b1;
  assign m_axi_awid    = '0;
  assign m_axi_arid    = '0;
  assign m_axi_awburst = 2'b01;
  assign m_axi_arburst = 2'b01;

  // Write data: the network's while a block is written, else a register's. Each burst's beats
  // are counted from its address on.
  logic                  w_status_q, w_burst_q;
  logic [127:0]          w_word_q, w_word_next;
  logic [BusBytes-1:0]   w_strb_q;
  logic [DataWidth-1:0]  w_status_data;
  if (DataWidth >= 128) begin : gen_wide
    assign w_status_data = {(DataWidth / 128){w_word_q}};
    assign w_word_next   = '0;
  end else begin : gen_narrow
    assign w_status_data = w_word_q[DataWidth-1:0];
    assign w_word_next   = w_word_q >> DataWidth;
  end
  assign m_axi_wvalid  = w_burst_q && (w_status_q || net_out_valid);
  assign m_axi_wdata   = w_status_q ? w_status_data : net_out_data;
  assign m_axi_wstrb   = w_status_q ? w_strb_q : '1;
  assign m_axi_wlast   = beats_q == 8'd0;
  assign net_out_ready = w_burst_q && !w_status_q && m_axi_wready;

  assign head_o        = head_q;
  assign busy_o        = state_q != Idle;
  assign stopped_o     = state_q == Idle;
  assign irq_done_o    = msix_valid_o && msix_ready_i;

  always_ff @(posedge clk_i) begin : p_engine
    automatic logic        r_end, b_end, ar_go, aw_go, failed;
    automatic logic [4:0]  pending;
    automatic int unsigned lane;

    error_o        <= 1'b0;
    error_code_o   <= code_q;
    block_done_o   <= 1'b0;
    read_issued_o  <= 1'b0;
    write_issued_o <= 1'b0;
    net_clear      <= 1'b0;

    if (!rst_ni) begin
      state_q       <= Idle;
      head_q        <= '0;
      code_q        <= '0;
      pending_q     <= '0;
      failed_q      <= 1'b0;
      left_q        <= '0;
      w_burst_q     <= 1'b0;
      w_status_q    <= 1'b0;
      status_sent_q <= 1'b0;
      irq_todo_q    <= '0;
      msix_valid_o  <= 1'b0;
      msix_vector_o <= '0;
      m_axi_arvalid <= 1'b0;
      m_axi_awvalid <= 1'b0;
    end else begin
      if (m_axi_arready) m_axi_arvalid <= 1'b0;
      if (m_axi_awready) m_axi_awvalid <= 1'b0;
      r_end   = m_axi_rvalid && m_axi_rready && m_axi_rlast;
      b_end   = m_axi_bvalid;
      ar_go   = 1'b0;
      aw_go   = 1'b0;
      failed  = failed_q || (m_axi_rvalid && m_axi_rready && m_axi_rresp[1]) || (b_end && m_axi_bresp[1]);
      pending = pending_q - 5'(r_end || b_end);

      // Data of the burst whose address was given last.
      if (m_axi_wvalid && m_axi_wready) begin
        beats_q  <= beats_q - 8'd1;
        w_word_q <= w_word_next;
        if (m_axi_wlast) w_burst_q <= 1'b0;
      end

      case (state_q)
        Idle: begin
          code_q   <= '0;
          failed    = 1'b0;
          if (stop_i) begin
            head_q <= '0;
          end else if (enable_i && !halted_i && head_q != tail_i) begin
            m_axi_arvalid  <= 1'b1;
            m_axi_araddr   <= desc_addr;
            m_axi_arlen    <= DescLen;
            m_axi_arsize   <= DescSize;
            ar_go           = 1'b1;
            issued_bytes_o <= 13'(DescBytes);
            state_q        <= Fetch;
          end
        end

        Fetch: begin
          if (m_axi_rvalid) begin
            // A bus that is wider than a descriptor has it in the upper or the lower half.
            lane    = (DataWidth > 256) ? 8 * 32'(desc_addr[LaneWidth-1:0]) : 0;
            desc_q <= 256'({m_axi_rdata, desc_q} >> ((DataWidth > 256) ? 256 + lane : DataWidth));
          end
          if (r_end) begin
            state_q <= Check;
            if (failed) begin
              code_q       <= ErrFetch;
              error_o      <= 1'b1;
              error_code_o <= ErrFetch;
              irq_todo_q   <= {irq_enable_i[1], 1'b0};
              state_q      <= Interrupt;
            end
          end
        end

        Check: begin
          failed = 1'b0;
          addr_q <= desc_src;
          left_q <= 13'(BlockBytes);
          if (stop_i) begin
            state_q <= Idle;
          end else if (desc_src[5:0] != '0 || desc_dst[5:0] != '0 ||
                       desc_keys != BlockKeys) begin
            code_q  <= ErrDescriptor;
            state_q <= Status;
          end else begin
            state_q <= Read;
          end
        end

        Read: begin
          if (left_q != '0 && (!m_axi_arvalid || m_axi_arready)) begin
            m_axi_arvalid  <= 1'b1;
            m_axi_araddr   <= addr_q;
            m_axi_arlen    <= 8'(32'(burst) / BusBytes - 1);
            m_axi_arsize   <= FullSize;
            ar_go           = 1'b1;
            issued_bytes_o <= burst;
            addr_q         <= addr_q + 64'(burst);
            left_q         <= left_q - burst;
          end else if (left_q == '0 && pending == '0) begin
            addr_q  <= desc_dst;
            left_q  <= 13'(BlockBytes);
            state_q <= Sorting;
            if (failed) begin
              code_q    <= ErrRead;
              net_clear <= 1'b1;
              state_q   <= Status;
            end
            if (stop_i) begin
              net_clear <= 1'b1;
              state_q   <= Idle;
            end
          end
        end

        Sorting: begin
          failed = 1'b0;
          if (net_out_valid) state_q <= Write;
          if (stop_i) begin
            net_clear <= 1'b1;
            state_q   <= Idle;
          end
        end

        Write: begin
          if (left_q != '0 && !m_axi_awvalid && !w_burst_q) begin
            m_axi_awvalid  <= 1'b1;
            m_axi_awaddr   <= addr_q;
            m_axi_awlen    <= 8'(32'(burst) / BusBytes - 1);
            m_axi_awsize   <= FullSize;
            beats_q        <= 8'(32'(burst) / BusBytes - 1);
            w_burst_q      <= 1'b1;
            aw_go           = 1'b1;
            issued_bytes_o <= burst;
            addr_q         <= addr_q + 64'(burst);
            left_q         <= left_q - burst;
          end else if (left_q == '0 && pending == '0) begin
            if (failed) code_q <= ErrWrite;
            state_q <= stop_i ? Idle : Status;
          end
        end

        Status: begin
          if (!status_sent_q) begin
            m_axi_awvalid  <= 1'b1;
            m_axi_awaddr   <= desc_addr + 64'd16;
            m_axi_awlen    <= TailLen;
            m_axi_awsize   <= TailSize;
            beats_q        <= TailLen;
            w_burst_q      <= 1'b1;
            w_status_q     <= 1'b1;
            w_word_q       <= {(code_q == '0) ? 32'd1 : 32'd2, desc_cookie, desc_flags,
                               desc_keys};
            w_strb_q       <= (DataWidth > 128)
                              ? BusBytes'(64'hFFFF << (32'(desc_addr[5:0] + 6'd16) % BusBytes))
                              : '1;
            aw_go           = 1'b1;
            issued_bytes_o <= 13'd16;
            status_sent_q  <= 1'b1;
            failed          = 1'b0;
          end else if (pending == '0) begin
            w_status_q    <= 1'b0;
            status_sent_q <= 1'b0;
            if (failed || code_q != '0) begin
              error_o      <= 1'b1;
              error_code_o <= (code_q == '0) ? ErrWrite : code_q;
            end else begin
              block_done_o <= 1'b1;
            end
            irq_todo_q <= {irq_enable_i[1] && (failed || code_q != '0),
                           irq_enable_i[0] && desc_flags[1]};
            state_q    <= Interrupt;
          end
        end

        Interrupt: begin
          if (!msix_valid_o || msix_ready_i) begin
            msix_valid_o  <= irq_todo_q != '0;
            msix_vector_o <= irq_todo_q[0] ? 11'd0 : 11'd1;
            irq_todo_q    <= irq_todo_q[0] ? {irq_todo_q[1], 1'b0} : 2'b00;
            if (irq_todo_q == '0) state_q <= Next;
          end
        end

        default: begin
          state_q <= Idle;
          if (code_q != ErrFetch) begin
            head_q <= (head_q + 10'd1) & 10'((11'd1 << ring_log2_i) - 11'd1);
          end
        end
      endcase

      failed_q       <= failed;
      read_issued_o  <= ar_go;
      write_issued_o <= aw_go;
      pending_q      <= pending + 5'(ar_go || aw_go);
    end
  end

endmodule
