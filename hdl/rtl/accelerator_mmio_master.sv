// SPDX-License-Identifier: Apache-2.0
//
// Turns accesses of a guest, of 1 to 8 bytes at any address, into AXI4 transactions.
//
// Writes: an aligned access of a power of two that fits the bus is one beat with AxSIZE =
// log2(length). Any other is an INCR burst of full-width beats that starts at the access's own
// address; one that crosses a 4 KiB boundary is two bursts. The strobes are exactly the bytes
// of the access. Up to MaxWrites writes wait for their B.
//
// Reads: the access is cut into naturally aligned powers of two, each a narrow transfer of its
// own, so that the bus never asks for a byte that the guest did not ask for. The one exception
// is a transfer that is wider than the bus, which is a burst of as many full beats. Up to
// MaxReads reads wait for their data.
//
// All transactions have ID 0: answers come in the order of the requests. Writes do not wait
// for reads; the user of this module lets a read in only when wr_idle_o says that every write
// has its B.
//
// The slave is not trusted. A response that nobody asked for, or before its request, and an RLAST
// out of place are assertions. Where those do not end the simulation, the first is ignored, and
// the last ends the transaction with an error, so that nobody waits for ever.

module accelerator_mmio_master #(
  // Of the bridge, in messages.
  parameter string       Name      = "accelerator0",
  parameter int unsigned AddrWidth = 64,
  parameter int unsigned DataWidth = 32,
  parameter int unsigned IdWidth   = 1,
  parameter int unsigned MaxWrites = 8,
  parameter int unsigned MaxReads  = 4
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  // A write can be taken at the coming clock edge: see drive_writes.
  output logic                   wr_ready_o,
  // Every write taken so far is accepted on AW and W after the coming clock edge.
  output logic                   wr_accepted_o,
  // No write taken so far waits for its B.
  output logic                   wr_idle_o,
  // One clock for each write that got its last B, in the order of the writes.
  output logic                   wr_done_o,
  output logic                   wr_done_error_o,

  // A read, likewise.
  input  logic                   rd_valid_i,
  output logic                   rd_ready_o,
  input  logic [63:0]            rd_addr_i,
  input  logic [3:0]             rd_len_i,
  output logic                   rd_done_o,
  output logic                   rd_done_error_o,
  output logic [63:0]            rd_done_data_o,

  output logic [IdWidth-1:0]     m_axi_awid,
  output logic [AddrWidth-1:0]   m_axi_awaddr,
  output logic [7:0]             m_axi_awlen,
  output logic [2:0]             m_axi_awsize,
  output logic [1:0]             m_axi_awburst,
  output logic [3:0]             m_axi_awcache,
  output logic [2:0]             m_axi_awprot,
  output logic                   m_axi_awvalid,
  input  logic                   m_axi_awready,
  output logic [DataWidth-1:0]   m_axi_wdata,
  output logic [DataWidth/8-1:0] m_axi_wstrb,
  output logic                   m_axi_wlast,
  output logic                   m_axi_wvalid,
  input  logic                   m_axi_wready,
  // Bit 0 tells EXOKAY and DECERR apart from OKAY and SLVERR; a guest sees no difference.
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic [1:0]             m_axi_bresp,
  /* verilator lint_on UNUSEDSIGNAL */
  input  logic                   m_axi_bvalid,
  output logic                   m_axi_bready,
  output logic [IdWidth-1:0]     m_axi_arid,
  output logic [AddrWidth-1:0]   m_axi_araddr,
  output logic [7:0]             m_axi_arlen,
  output logic [2:0]             m_axi_arsize,
  output logic [1:0]             m_axi_arburst,
  output logic [3:0]             m_axi_arcache,
  output logic [2:0]             m_axi_arprot,
  output logic                   m_axi_arvalid,
  input  logic                   m_axi_arready,
  input  logic [DataWidth-1:0]   m_axi_rdata,
  // Bit 0 tells EXOKAY and DECERR apart from OKAY and SLVERR; a guest sees no difference.
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic [1:0]             m_axi_rresp,
  /* verilator lint_on UNUSEDSIGNAL */
  input  logic                   m_axi_rlast,
  input  logic                   m_axi_rvalid,
  output logic                   m_axi_rready
);

  localparam int unsigned StrbWidth = DataWidth / 8;
  localparam int unsigned LaneWidth = $clog2(StrbWidth);
  localparam logic [2:0]  FullSize  = 3'(LaneWidth);
  // What a beat of a read carries at most.
  localparam int unsigned BeatBytes = (StrbWidth > 8) ? 8 : StrbWidth;
  // Normal, non-cacheable, bufferable: a device behind PCIe.
  localparam logic [3:0]  Cache     = 4'b0011;
  localparam logic [1:0]  Incr      = 2'b01;

  // A write has at most two transactions (4 KiB boundary), a read at most four
  // (for example 1, 2, 4 and 1 bytes from an address that ends in 1).
  localparam int unsigned WriteSlots   = 2 * MaxWrites;
  localparam int unsigned ReadSlots    = 4 * MaxReads;
  localparam int unsigned WritePtrWidth  = $clog2(WriteSlots);
  localparam int unsigned ReadPtrWidth   = $clog2(ReadSlots);
  localparam int unsigned WriteCountWidth = $clog2(MaxWrites + 1);
  localparam int unsigned ReadCountWidth  = $clog2(MaxReads + 1);
  localparam int unsigned BCountWidth     = $clog2(WriteSlots + 1);
  localparam int unsigned RCountWidth     = $clog2(ReadSlots + 1);

  function automatic logic [WritePtrWidth-1:0] next_write(logic [WritePtrWidth-1:0] ptr);
    return (ptr == WritePtrWidth'(WriteSlots - 1)) ? '0 : ptr + 1'b1;
  endfunction

  function automatic logic [ReadPtrWidth-1:0] next_read(logic [ReadPtrWidth-1:0] ptr);
    return (ptr == ReadPtrWidth'(ReadSlots - 1)) ? '0 : ptr + 1'b1;
  endfunction

  // log2 of the largest naturally aligned power of two at addr that is at most left and 8.
  function automatic logic [1:0] natural_size(logic [2:0] addr, logic [3:0] left);
    if (addr == 3'd0 && left >= 4'd8) return 2'd3;
    if (addr[1:0] == 2'd0 && left >= 4'd4) return 2'd2;
    if (!addr[0] && left >= 4'd2) return 2'd1;
    return 2'd0;
  endfunction

  assign m_axi_awid    = '0;
  assign m_axi_awburst = Incr;
  assign m_axi_awcache = Cache;
  assign m_axi_awprot  = 3'b000;
  assign m_axi_bready  = 1'b1;
  assign m_axi_arid    = '0;
  assign m_axi_arburst = Incr;
  assign m_axi_arcache = Cache;
  assign m_axi_arprot  = 3'b000;
  assign m_axi_rready  = 1'b1;

  ////////////
  // Writes //
  ////////////

  // What of the transaction on W is not yet in the output register.
  logic [63:0] w_addr_q;
  logic [63:0] w_data_q;
  logic [3:0]  w_left_q;
  // What of the access lies beyond the 4 KiB boundary.
  logic [3:0]  w_beyond_q;

  // Transactions that wait for their B.
  logic                       b_last_q [WriteSlots];
  logic [WritePtrWidth-1:0]   b_head_q, b_tail_q;
  logic [BCountWidth-1:0]     b_count_q;
  logic                       b_error_q;
  logic [WriteCountWidth-1:0] writes_q;

  logic aw_free, w_free, w_unfinished, b_take, b_finishes;

  assign wr_accepted_o = aw_free && w_free && w_beyond_q == 4'd0;

  assign aw_free    = !m_axi_awvalid || m_axi_awready;
  assign w_free     = (!m_axi_wvalid || m_axi_wready) && w_left_q == 4'd0;
  assign wr_ready_o = wr_accepted_o && writes_q != WriteCountWidth'(MaxWrites);
  assign b_take     = m_axi_bvalid && b_count_q != '0;
  assign b_finishes = b_take && b_last_q[b_head_q];
  // The newest transaction, that is: it has neither all of AW nor all of W behind it.
  assign w_unfinished = m_axi_awvalid || m_axi_wvalid || w_left_q != 4'd0;
  assign wr_idle_o  = writes_q == '0;

  // To be called at each clock edge, by the process that makes the calls into the library: a write
  // that is fetched at an edge is on AW and W behind it. `given` is one to take: only if wr_ready_o.
  task automatic drive_writes(input bit given, input logic [63:0] given_addr,
                              input logic [3:0] given_len, input logic [63:0] given_data);
    automatic logic        start, load;
    automatic logic [63:0] addr, data;
    automatic logic [3:0]  left, bytes, total;
    automatic logic [12:0] room;
    automatic logic [7:0]  mask;
    automatic int unsigned lane;

    wr_done_o       <= 1'b0;
    if (!rst_ni) begin
      m_axi_awvalid <= 1'b0;
      m_axi_wvalid  <= 1'b0;
      w_left_q      <= '0;
      w_beyond_q    <= '0;
      b_head_q      <= '0;
      b_tail_q      <= '0;
      b_count_q     <= '0;
      b_error_q     <= 1'b0;
      writes_q      <= '0;
    end else if (given || writes_q != '0 || w_unfinished) begin
      // From here addr, data and left are what W has to carry next.
      start = 1'b0;
      load  = 1'b0;
      addr  = w_addr_q;
      data  = w_data_q;
      left  = w_left_q;
      total = w_beyond_q;
      if (m_axi_awready) m_axi_awvalid <= 1'b0;
      if (m_axi_wready) m_axi_wvalid <= 1'b0;

      if (given) begin
        assert (wr_ready_o)
        else $error("%m: %s: a write is given that cannot be taken", Name);
        assert (given_len >= 4'd1 && given_len <= 4'd8)
        else $error("%m: a write of %0d bytes; 1 to 8 are possible", given_len);
        start = 1'b1;
        addr  = given_addr;
        data  = given_data;
        total = given_len;
      end else if (w_beyond_q != 4'd0 && aw_free && w_free) begin
        start = 1'b1;
      end else if (w_left_q != 4'd0 && m_axi_wready) begin
        load = 1'b1;
      end

      if (start) begin
        room = 13'd4096 - {1'b0, addr[11:0]};
        left = (13'(total) > room) ? room[3:0] : total;
        w_beyond_q <= total - left;

        m_axi_awvalid <= 1'b1;
        m_axi_awaddr  <= addr[AddrWidth-1:0];
        if (left == (4'd1 << natural_size(addr[2:0], left)) && 32'(left) <= StrbWidth) begin
          m_axi_awsize <= {1'b0, natural_size(addr[2:0], left)};
          m_axi_awlen  <= 8'd0;
        end else begin
          m_axi_awsize <= FullSize;
          m_axi_awlen  <= 8'((32'(addr[LaneWidth-1:0]) + 32'(left) - 1) / StrbWidth);
        end

        b_last_q[b_tail_q] <= left == total;
        b_tail_q           <= next_write(b_tail_q);
      end

      if (start || load) begin
        lane  = 32'(addr[LaneWidth-1:0]);
        bytes = (32'(left) > StrbWidth - lane) ? 4'(StrbWidth - lane) : left;
        m_axi_wvalid <= 1'b1;
        m_axi_wdata  <= DataWidth'({{DataWidth{1'b0}}, data} << (8 * lane));
        mask  = 8'((9'd1 << bytes) - 9'd1);
        m_axi_wstrb  <= StrbWidth'({{StrbWidth{1'b0}}, mask} << lane);
        m_axi_wlast  <= bytes == left;
        w_addr_q     <= addr + 64'(bytes);
        w_data_q     <= data >> {bytes, 3'b000};
        w_left_q     <= left - bytes;
      end

      if (b_take) begin
        b_head_q        <= next_write(b_head_q);
        b_error_q       <= (b_error_q || m_axi_bresp[1]) && !b_last_q[b_head_q];
        wr_done_o       <= b_last_q[b_head_q];
        wr_done_error_o <= b_error_q || m_axi_bresp[1];
      end
      b_count_q <= b_count_q + BCountWidth'(start) - BCountWidth'(b_take);
      writes_q  <= writes_q + WriteCountWidth'(given) - WriteCountWidth'(b_finishes);
    end
  endtask

  ///////////
  // Reads //
  ///////////

  // What of the access is not yet on AR.
  logic [63:0] ar_addr_q;
  logic [3:0]  ar_left_q;
  logic [2:0]  ar_offset_q;

  // Transactions that wait for their data.
  logic                      r_last_q   [ReadSlots];
  logic [LaneWidth-1:0]      r_lane_q   [ReadSlots];
  logic [2:0]                r_offset_q [ReadSlots];
  logic [1:0]                r_size_q   [ReadSlots];
  logic [ReadPtrWidth-1:0]   r_head_q, r_tail_q;
  logic [RCountWidth-1:0]    r_count_q;
  // Bytes of the transaction that came in earlier beats, and what is known of the access.
  logic [3:0]                r_got_q;
  logic [63:0]               r_data_q;
  logic                      r_error_q;
  logic [ReadCountWidth-1:0] reads_q;

  // A beat that is taken; it is the last of its transaction by count, or by either's word.
  logic r_take, r_full, r_ends, r_finishes, rd_started;

  assign rd_ready_o = (!m_axi_arvalid || m_axi_arready) && ar_left_q == 4'd0 &&
                      reads_q != ReadCountWidth'(MaxReads);
  assign rd_started = rd_valid_i && rd_ready_o;
  assign r_take     = m_axi_rvalid && r_count_q != '0;
  assign r_full     = 32'(r_got_q) + BeatBytes >= 32'd1 << r_size_q[r_head_q];
  assign r_ends     = r_take && (m_axi_rlast || r_full);
  assign r_finishes = r_ends && r_last_q[r_head_q];

  always_ff @(posedge clk_i) begin : p_read
    automatic logic        start, error;
    automatic logic [63:0] addr, data;
    automatic logic [3:0]  left, bytes;
    automatic logic [2:0]  offset;
    automatic logic [1:0]  size;
    automatic int unsigned lane, at;

    rd_done_o       <= 1'b0;
    if (!rst_ni) begin
      m_axi_arvalid <= 1'b0;
      ar_left_q     <= '0;
      r_head_q      <= '0;
      r_tail_q      <= '0;
      r_count_q     <= '0;
      r_got_q       <= '0;
      r_data_q      <= '0;
      r_error_q     <= 1'b0;
      reads_q       <= '0;
    end else if (rd_valid_i || reads_q != '0 || m_axi_arvalid || ar_left_q != 4'd0) begin
      start  = 1'b0;
      addr   = ar_addr_q;
      left   = ar_left_q;
      offset = ar_offset_q;
      if (m_axi_arready) m_axi_arvalid <= 1'b0;

      if (rd_started) begin
        start  = 1'b1;
        addr   = rd_addr_i;
        left   = rd_len_i;
        offset = 3'd0;
      end else if (ar_left_q != 4'd0 && m_axi_arready) begin
        start = 1'b1;
      end

      if (start) begin
        size  = natural_size(addr[2:0], left);
        bytes = 4'd1 << size;
        m_axi_arvalid <= 1'b1;
        m_axi_araddr  <= addr[AddrWidth-1:0];
        if (32'(bytes) > StrbWidth) begin
          m_axi_arsize <= FullSize;
          m_axi_arlen  <= 8'(32'(bytes) / StrbWidth - 1);
        end else begin
          m_axi_arsize <= {1'b0, size};
          m_axi_arlen  <= 8'd0;
        end
        ar_addr_q   <= addr + 64'(bytes);
        ar_left_q   <= left - bytes;
        ar_offset_q <= offset + bytes[2:0];

        r_last_q[r_tail_q]   <= left == bytes;
        r_lane_q[r_tail_q]   <= addr[LaneWidth-1:0];
        r_offset_q[r_tail_q] <= offset;
        r_size_q[r_tail_q]   <= size;
        r_tail_q             <= next_read(r_tail_q);
      end

      if (r_take) begin
        // Later beats of a burst start at lane 0, since a burst starts aligned.
        lane = 32'(r_lane_q[r_head_q]);
        at   = 32'(r_offset_q[r_head_q]) + 32'(r_got_q);
        data = 64'({64'd0, m_axi_rdata} >> (8 * lane));
        case (r_size_q[r_head_q])
          2'd0:    data &= 64'hFF;
          2'd1:    data &= 64'hFFFF;
          2'd2:    data &= 64'hFFFF_FFFF;
          default: data &= (StrbWidth >= 8) ? 64'hFFFF_FFFF_FFFF_FFFF : 64'hFFFF_FFFF;
        endcase
        data = r_data_q | (data << (8 * at));

        error = r_error_q || m_axi_rresp[1] || m_axi_rlast != r_full;
        rd_done_o       <= r_finishes;
        rd_done_data_o  <= data;
        rd_done_error_o <= error;
        r_data_q        <= r_finishes ? '0 : data;
        r_error_q       <= error && !r_finishes;
        if (r_ends) begin
          r_got_q  <= '0;
          r_head_q <= next_read(r_head_q);
        end else begin
          r_got_q <= r_got_q + 4'(BeatBytes);
        end
      end
      r_count_q <= r_count_q + RCountWidth'(start) - RCountWidth'(r_ends);
      reads_q <= reads_q + ReadCountWidth'(rd_started) - ReadCountWidth'(r_finishes);
    end
  end

  ////////////////
  // Assertions //
  ////////////////

  always_ff @(posedge clk_i) begin : p_assert
    if (rst_ni) begin
      if (m_axi_bvalid) begin
        assert (b_count_q != '0)
        else $error("%m: %s: m_axi: a write response without a write that waits for one", Name);
        assert (b_count_q != BCountWidth'(1) || !w_unfinished)
        else $error("%m: %s: m_axi: a write response before AW and the last W were taken: awvalid %0d, wvalid %0d, bytes left %0d",
                    Name, m_axi_awvalid, m_axi_wvalid, w_left_q);
      end
      if (m_axi_rvalid) begin
        assert (r_count_q != '0)
        else $error("%m: %s: m_axi: read data without a read that waits for it", Name);
        assert (r_count_q != RCountWidth'(1) || !m_axi_arvalid)
        else $error("%m: %s: m_axi: read data before AR 0x%0h was taken", Name, m_axi_araddr);
        assert (!r_take || m_axi_rlast == r_full)
        else $error("%m: %s: m_axi_rlast is %0d with %0d of %0d bytes there", Name, m_axi_rlast,
                    32'(r_got_q) + BeatBytes, 32'd1 << r_size_q[r_head_q]);
      end
      assert (!rd_valid_i || (rd_len_i >= 4'd1 && rd_len_i <= 4'd8))
      else $error("%m: a read of %0d bytes; 1 to 8 are possible", rd_len_i);
    end
  end

endmodule
