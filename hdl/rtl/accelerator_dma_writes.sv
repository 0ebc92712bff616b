// SPDX-License-Identifier: Apache-2.0
//
// DMA writes of RTL: bursts on s_axi from their AW to their B. The process of the bridge that
// makes every DPI call does so here too, by the tasks: at each clock edge, in its own order.

module accelerator_dma_writes
  import accelerator_dpi_pkg::*;
  import accelerator_axi_pkg::*;
#(
  // Of the bridge, in messages.
  parameter string       Name      = "accelerator0",
  parameter int unsigned AddrWidth = 64,
  parameter int unsigned DataWidth = 128,
  parameter int unsigned IdWidth   = 4,
  // Outstanding bursts.
  parameter int unsigned Depth     = 16,
  // A burst that stands still for so many clocks is told of; 0: none is.
  parameter int unsigned StallClocks = 1_000_000
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  // Tell what a board's bridge would not take.
  input  logic                   board_rules_i,

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

  // No burst is under way.
  output logic                   idle_o
);

  localparam int unsigned StrbWidth  = DataWidth / 8;
  localparam int unsigned LaneWidth  = $clog2(StrbWidth);
  localparam int unsigned PtrWidth   = $clog2(Depth);
  localparam int unsigned CountWidth = $clog2(Depth + 1);

  // Bursts from their AW to their B, in the order of AW; answers are given in that order,
  // whatever their ID.
  logic [IdWidth-1:0]    id_q   [Depth];
  logic [AddrWidth-1:0]  addr_q [Depth];
  logic [7:0]            len_q  [Depth];
  logic [2:0]            size_q [Depth];
  int                    tag_q  [Depth];
  // Bad: not to be carried out. Sent: all data came, and tag is valid. Done: B can be given.
  logic [Depth-1:0]      bad_q, sent_q, done_q, error_q;
  // Where the next AW, the next W burst and the next B belong.
  logic [PtrWidth-1:0]   aw_ptr_q, w_ptr_q, b_ptr_q;
  logic [CountWidth-1:0] count_q, wait_q;
  // The burst on W: whether the library is ready for it, whether it is not (or no longer)
  // carried out, where its next beat begins, and beats left after that one.
  logic                  w_open_q, w_drop_q;
  logic [LaneWidth-1:0]  w_lane_q;
  logic [7:0]            w_left_q;

  // What a board's bridge would not take, and was told: strobes with a hole, a narrow size, an
  // address that it does not have. Two-state, so that they begin as 0.
  bit                    told_hole_q, told_narrow_q, told_address_q;
  // Kinds of stalls.
  localparam int unsigned Stalls = 4;
  // What was told of requests that cannot be carried out, complaints, and of each kind of stall.
  lines_t                told_bad_q, complaints;
  lines_t                stalls_q[Stalls];
  // The burst on W has written a byte, and left one out after that.
  logic                  w_begun_q, w_gap_q;

  assign s_axi_awready = rst_ni && count_q != CountWidth'(Depth);
  assign s_axi_wready  = rst_ni && w_open_q;
  assign idle_o        = count_q == '0;

  // `count` lanes from `first` on.
  function automatic logic [StrbWidth-1:0] lanes(int unsigned first, int unsigned count);
    return ({StrbWidth{1'b1}} >> (StrbWidth - count)) << first;
  endfunction

  // What goes to the host of the data on W.
  logic [DataWidth-1:0] w_bytes;
  for (genvar i = 0; i < StrbWidth; i++) begin : gen_bytes
    assign w_bytes[8*i +: 8] = s_axi_wdata[8*i +: 8] & {8{s_axi_wstrb[i]}};
  end

  // The host carried a burst out, or refused it.
  task automatic fetch(input chandle handle);
    automatic int status, tag, kind;
    status = acc_get_dma_write(handle, tag, kind);
    if (status < 0) begin
      complaints = complain(handle, Name, status, "acc_get_dma_write", complaints);
    end else begin
      for (int unsigned i = 0; i < Depth; i++) begin
        if (sent_q[i] && !done_q[i] && tag_q[i] == tag) begin
          done_q[i]  <= 1'b1;
          error_q[i] <= kind != 0;
        end
      end
    end
  endtask

  // Bytes that the host gets are all of those from the first to the last, over the whole of a
  // burst: PG194, "AXI Transactions for PCIe". Those before and behind them may be left out. `strb`
  // has the `count` lanes of the beat from bit 0 on.
  task automatic tell_holes(input logic [StrbWidth-1:0] strb, input int unsigned count);
    automatic logic [StrbWidth:0] wide, lowest;
    automatic bit                 begun, gap;
    begun = w_begun_q;
    gap   = w_gap_q;
    if (strb == '0) begin
      gap = begun;
    end else begin
      // Ones without a hole become a single one above them, or none, with the lowest added.
      wide   = {1'b0, strb};
      lowest = wide & (~wide + 1'b1);
      if (!told_hole_q && ((begun && (gap || !strb[0])) || (wide & (wide + lowest)) != '0)) begin
        told_hole_q <= 1'b1;
        $warning("%m: %s: the s_axi write at 0x%0h has the strobes 0x%0h with %0d beats to come: there are bytes left out between others, which a board's PCIe bridge does not take; told once",
                 Name, addr_q[w_ptr_q], s_axi_wstrb, w_left_q);
      end
      begun = 1'b1;
      gap   = !strb[count-1];
    end
    w_begun_q <= begun && w_left_q != 8'd0;
    w_gap_q   <= gap && w_left_q != 8'd0;
  endtask

  // What is told of a request that is carried out here.
  task automatic tell_request();
    if (32'(s_axi_awsize) != LaneWidth && !told_narrow_q) begin
      told_narrow_q <= 1'b1;
      $warning("%m: %s: the s_axi write of %0d beats at 0x%0h has size %0d: a board's PCIe bridge takes no beats that are narrower than the bus; told once",
               Name, 32'(s_axi_awlen) + 1, s_axi_awaddr, s_axi_awsize);
    end
    if (beyond_board(64'(s_axi_awaddr)) && !told_address_q) begin
      told_address_q <= 1'b1;
      $warning("%m: %s: the s_axi write of %0d beats is at 0x%0h: a board's PCIe bridge has addresses of 48 bits; told once",
               Name, 32'(s_axi_awlen) + 1, s_axi_awaddr);
    end
  endtask

  // Clocks in which nothing moved, though something could.
  int unsigned           stall_q;

  // What nothing moved for.
  task automatic tell_stall();
    automatic int unsigned kind;
    automatic string       what;
    kind = s_axi_bvalid ? 0 : w_open_q ? 1 : (count_q == '0) ? 2 : 3;
    case (kind)
      0:       what = $sformatf("s_axi_bready has been low for %0d clocks with the response to ID %0d there",
                                StallClocks, s_axi_bid);
      1:       what = $sformatf("s_axi_wvalid has been low for %0d clocks with %0d beats to come of the write at 0x%0h",
                                StallClocks, 32'(w_left_q) + 1, addr_q[w_ptr_q]);
      2:       what = $sformatf("s_axi_wvalid has been high for %0d clocks without a request on AW",
                                StallClocks);
      default: what = $sformatf("the host has not answered the write at 0x%0h for %0d clocks",
                                addr_q[b_ptr_q], StallClocks);
    endcase
    if (may_tell(stalls_q[kind])) begin
      $warning("%m: %s: %s%s", Name, what, last_words(stalls_q[kind]));
    end
    stalls_q[kind] <= count_line(stalls_q[kind]);
  endtask

  // The newest request, for waveforms: valid for a clock, and its number, which is that of the record
  // and of the log.
  /* verilator lint_off UNUSEDSIGNAL */
  bit     txn_valid;
  longint txn_id;
  txn_e   txn_kind;
  /* verilator lint_on UNUSEDSIGNAL */

  // Beats, requests and responses of this clock.
  task automatic serve(input chandle handle, input bit link);
    if (txn_valid) txn_valid <= 1'b0;
    if (count_q != '0 || s_axi_awvalid || s_axi_wvalid || s_axi_bvalid) move(handle, link);
  endtask

  task automatic move(input chandle handle, input bit link);
    automatic int          status, tag;
    automatic bit          drop, open;
    automatic int unsigned lane, slot, size;
    automatic logic        aw_take, w_end, b_give;

    // Data.
    open  = w_open_q;
    slot  = 32'(w_ptr_q);
    w_end = 1'b0;
    if (s_axi_wvalid && s_axi_wready) begin
      lane  = 32'(w_lane_q);
      size  = 32'd1 << size_q[slot];
      drop  = w_drop_q || !link;
      tag   = 0;
      w_end = w_left_q == 8'd0;
      if (!drop) begin
        status = acc_dma_write_beat(handle, int'(lane), int'(size - (lane & (size - 1))),
                                    512'(s_axi_wdata), 64'(s_axi_wstrb));
        if (status < 0) begin
          complaints = complain(handle, Name, status, "acc_dma_write_beat", complaints);
          drop = 1'b1;
        end
      end
      if (w_end && !drop) begin
        tag = acc_dma_write_end(handle);
        if (tag < 0) begin
          complaints = complain(handle, Name, tag, "acc_dma_write_end", complaints);
          drop = 1'b1;
        end else begin
          txn_valid <= 1'b1;
          txn_id    <= acc_stat(handle, StatTransaction);
          txn_kind  <= TxnDmaWrite;
        end
      end
      if (board_rules_i && !bad_q[slot]) begin
        tell_holes((s_axi_wstrb & lanes(lane, size - (lane & (size - 1)))) >> lane,
                   size - (lane & (size - 1)));
      end
      w_left_q <= w_left_q - 8'd1;
      w_lane_q <= LaneWidth'((lane & ~(size - 1)) + size);
      w_drop_q <= drop;
      if (w_end) begin
        tag_q[slot]   <= tag;
        sent_q[slot]  <= 1'b1;
        done_q[slot]  <= drop;
        error_q[slot] <= drop;
        slot    = next_slot(slot, Depth);
        open    = 1'b0;
        w_ptr_q <= PtrWidth'(slot);
      end
      assert (s_axi_wlast == w_end)
      else $error("%m: %s: s_axi_wlast is %0d with %0d beats to come", Name, s_axi_wlast,
                  w_left_q);
      // The lanes of a burst of another kind are others, and nothing of it is carried out.
      assert (bad_q[32'(w_ptr_q)] ||
              (s_axi_wstrb & ~lanes(lane, size - (lane & (size - 1)))) == '0)
      else $error("%m: %s: s_axi_wstrb is 0x%0h, the beat has the lanes 0x%0h", Name, s_axi_wstrb,
                  lanes(lane, size - (lane & (size - 1))));
    end
    // The library may be busy; then the data of the next burst waits.
    if (!open && wait_q != CountWidth'(w_end)) begin
      drop   = bad_q[slot] || !link;
      status = drop ? 0 : acc_dma_write_begin(handle, 64'(addr_q[slot]));
      if (status < 0 && status != -ErrAgain) begin
        complaints = complain(handle, Name, status, "acc_dma_write_begin", complaints);
        drop = 1'b1;
      end
      open     = status != -ErrAgain;
      w_drop_q <= drop;
      w_lane_q <= addr_q[slot][LaneWidth-1:0];
      w_left_q <= len_q[slot];
    end
    w_open_q <= open;

    // Requests.
    aw_take = s_axi_awvalid && s_axi_awready;
    if (aw_take) begin
      id_q[aw_ptr_q]    <= s_axi_awid;
      addr_q[aw_ptr_q]  <= s_axi_awaddr;
      len_q[aw_ptr_q]   <= s_axi_awlen;
      size_q[aw_ptr_q]  <= s_axi_awsize;
      sent_q[aw_ptr_q]  <= 1'b0;
      done_q[aw_ptr_q]  <= 1'b0;
      error_q[aw_ptr_q] <= 1'b0;
      drop = burst_is_bad(s_axi_awaddr[11:0], s_axi_awlen, s_axi_awsize, s_axi_awburst,
                          LaneWidth);
      bad_q[aw_ptr_q]   <= drop;
      aw_ptr_q          <= PtrWidth'(next_slot(32'(aw_ptr_q), Depth));
      if (drop) begin
        if (may_tell(told_bad_q)) begin
          $warning("%m: %s: s_axi write of %0d beats at 0x%0h with size %0d and burst %0d is answered SLVERR: only INCR of at most the bus width inside 4 KiB is possible%s",
                   Name, 32'(s_axi_awlen) + 1, s_axi_awaddr, s_axi_awsize, s_axi_awburst,
                   last_words(told_bad_q));
        end
        told_bad_q <= count_line(told_bad_q);
      end else if (board_rules_i) begin
        tell_request();
      end
    end

    // Responses.
    b_give = 1'b0;
    if (!s_axi_bvalid || s_axi_bready) begin
      b_give       = count_q != '0 && done_q[b_ptr_q];
      s_axi_bvalid <= b_give;
      if (b_give) begin
        s_axi_bid   <= id_q[b_ptr_q];
        s_axi_bresp <= error_q[b_ptr_q] ? RespSlverr : RespOkay;
        b_ptr_q     <= PtrWidth'(next_slot(32'(b_ptr_q), Depth));
        sent_q[b_ptr_q] <= 1'b0;
        done_q[b_ptr_q] <= 1'b0;
      end
    end
    count_q <= count_q + CountWidth'(aw_take) - CountWidth'(b_give);
    wait_q  <= wait_q + CountWidth'(aw_take) - CountWidth'(w_end);

    if (aw_take || (s_axi_wvalid && s_axi_wready) || (s_axi_bvalid && s_axi_bready)) begin
      stall_q <= 0;
    end else begin
      stall_q <= stall_q + 1;
      if (StallClocks != 0 && stall_q == StallClocks - 1) tell_stall();
    end
  endtask

  // A link that went down answers everything that waits. What became complete at this edge was
  // dropped by `serve`.
  task automatic link_down();
    for (int unsigned i = 0; i < Depth; i++) begin
      if (sent_q[i] && !done_q[i]) begin
        done_q[i]  <= 1'b1;
        error_q[i] <= 1'b1;
      end
    end
  endtask

  // A library that waits for the rest of a burst, which aresetn cut off.
  task automatic give_back(input chandle handle);
    if (w_open_q && !w_drop_q) void'(acc_dma_write_end(handle));
  endtask

  task automatic clear();
    txn_valid    <= 1'b0;
    bad_q        <= '0;
    sent_q       <= '0;
    done_q       <= '0;
    error_q      <= '0;
    aw_ptr_q     <= '0;
    w_ptr_q      <= '0;
    b_ptr_q      <= '0;
    count_q      <= '0;
    wait_q       <= '0;
    w_open_q     <= 1'b0;
    w_drop_q     <= 1'b0;
    w_begun_q    <= 1'b0;
    w_gap_q      <= 1'b0;
    stall_q      <= 0;
    s_axi_bvalid <= 1'b0;
  endtask

  final begin : p_left_out
    tell_left_out(Name, "s_axi writes that are answered SLVERR", told_bad_q.left_out);
    tell_left_out(Name, "failed calls for s_axi writes", complaints.left_out);
    for (int unsigned i = 0; i < Stalls; i++) begin
      tell_left_out(Name, "s_axi writes that stand still", stalls_q[i].left_out);
    end
  end

  accelerator_known_check #(
    .Width(IdWidth + AddrWidth + 13), .Name("s_axi_aw")
  ) u_known_aw (
    .clk_i, .rst_ni, .valid_i(s_axi_awvalid),
    .payload_i({s_axi_awid, s_axi_awaddr, s_axi_awlen, s_axi_awsize, s_axi_awburst})
  );
  accelerator_known_check #(
    .Width(StrbWidth + 1), .Name("s_axi_wstrb and s_axi_wlast")
  ) u_known_wstrb (
    .clk_i, .rst_ni, .valid_i(s_axi_wvalid), .payload_i({s_axi_wstrb, s_axi_wlast})
  );
  accelerator_known_check #(
    .Width(DataWidth), .Name("s_axi_wdata"), .Fatal(1'b0)
  ) u_known_wdata (
    .clk_i, .rst_ni, .valid_i(s_axi_wvalid), .payload_i(w_bytes)
  );
  accelerator_known_check #(
    .Width(1), .Name("s_axi_bready")
  ) u_known_bready (
    .clk_i, .rst_ni, .valid_i(1'b1), .payload_i(s_axi_bready)
  );
  accelerator_stable_check #(
    .Width(IdWidth + AddrWidth + 13), .Name("s_axi_aw")
  ) u_check_aw (
    .clk_i, .rst_ni, .valid_i(s_axi_awvalid), .ready_i(s_axi_awready),
    .payload_i({s_axi_awid, s_axi_awaddr, s_axi_awlen, s_axi_awsize, s_axi_awburst})
  );
  accelerator_stable_check #(
    .Width(DataWidth), .Name("s_axi_w")
  ) u_check_w (
    .clk_i, .rst_ni, .valid_i(s_axi_wvalid), .ready_i(s_axi_wready), .payload_i(s_axi_wdata)
  );
  accelerator_stable_check #(
    .Width(StrbWidth + 1), .Name("s_axi_wstrb and s_axi_wlast")
  ) u_check_wstrb (
    .clk_i, .rst_ni, .valid_i(s_axi_wvalid), .ready_i(s_axi_wready),
    .payload_i({s_axi_wstrb, s_axi_wlast})
  );

endmodule
