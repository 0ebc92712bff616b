// SPDX-License-Identifier: Apache-2.0
//
// DMA reads of RTL: bursts on s_axi from their AR to their last beat. The process of the bridge
// that makes every DPI call does so here too, by the tasks: at each clock edge, in its own
// order.

module accelerator_dma_reads
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
  input  logic                 clk_i,
  input  logic                 rst_ni,
  // Tell what a board's bridge would not take.
  input  logic                 board_rules_i,

  input  logic [IdWidth-1:0]   s_axi_arid,
  input  logic [AddrWidth-1:0] s_axi_araddr,
  input  logic [7:0]           s_axi_arlen,
  input  logic [2:0]           s_axi_arsize,
  input  logic [1:0]           s_axi_arburst,
  input  logic                 s_axi_arvalid,
  output logic                 s_axi_arready,
  output logic [IdWidth-1:0]   s_axi_rid,
  output logic [DataWidth-1:0] s_axi_rdata,
  output logic [1:0]           s_axi_rresp,
  output logic                 s_axi_rlast,
  output logic                 s_axi_rvalid,
  input  logic                 s_axi_rready,

  // No burst is under way.
  output logic                 idle_o
);

  localparam int unsigned LaneWidth  = $clog2(DataWidth / 8);
  localparam int unsigned PtrWidth   = $clog2(Depth);
  localparam int unsigned CountWidth = $clog2(Depth + 1);

  // Bursts from their AR to their last beat, in the order of AR, which is that of the data,
  // whatever their ID.
  logic [IdWidth-1:0]    id_q   [Depth];
  logic [AddrWidth-1:0]  addr_q [Depth];
  logic [7:0]            len_q  [Depth];
  logic [2:0]            size_q [Depth];
  int                    tag_q  [Depth];
  // Sent: the library has it, and tag is valid, or it is an error. Done: beats can be given.
  logic [Depth-1:0]      sent_q, done_q, error_q;
  logic [PtrWidth-1:0]   ar_ptr_q, r_ptr_q;
  logic [CountWidth-1:0] count_q;
  // The library had no room for the newest request: it is asked again every clock.
  logic                  retry_q;
  // The burst on R: whether its next beat is its first, where that begins, and beats left after
  // it.
  logic                  r_first_q;
  logic [LaneWidth-1:0]  r_lane_q;
  logic [7:0]            r_left_q;

  // What a board's bridge would not take, and was told: a narrow size, an address that it does not
  // have. Two-state, so that they begin as 0.
  bit                    told_narrow_q, told_address_q;
  // Kinds of stalls.
  localparam int unsigned Stalls = 2;
  // What was told of requests that cannot be carried out, complaints, and of each kind of stall.
  lines_t                told_bad_q, complaints;
  lines_t                stalls_q[Stalls];

  assign s_axi_arready = rst_ni && count_q != CountWidth'(Depth) && !retry_q;
  assign idle_o        = count_q == '0;

  // Data of a completion that nobody waits for: aresetn came in between.
  task automatic drop_data(input chandle handle, input int tag, input int bytes);
    automatic bit [511:0] unused_beat;
    for (int left = bytes; left > 0; left -= 64) begin
      void'(acc_dma_read_beat(handle, tag, 0, (left > 64) ? 64 : left, unused_beat));
    end
  endtask

  // The host answered a request.
  task automatic fetch(input chandle handle);
    automatic int status, tag, kind, bytes;
    automatic bit drop;
    status = acc_get_dma_read(handle, tag, kind, bytes);
    if (status < 0) begin
      complaints = complain(handle, Name, status, "acc_get_dma_read", complaints);
    end else begin
      drop = 1'b1;
      for (int unsigned i = 0; i < Depth; i++) begin
        if (sent_q[i] && !done_q[i] && tag_q[i] == tag && rst_ni) begin
          done_q[i]  <= 1'b1;
          error_q[i] <= kind != 0;
          drop = 1'b0;
        end
      end
      if (drop && kind == 0) drop_data(handle, tag, bytes);
    end
  endtask

  // What is told of a request that is carried out here.
  task automatic tell_request();
    if (32'(s_axi_arsize) != LaneWidth && !told_narrow_q) begin
      told_narrow_q <= 1'b1;
      $warning("%m: %s: the s_axi read of %0d beats at 0x%0h has size %0d: a board's PCIe bridge takes no beats that are narrower than the bus; told once",
               Name, 32'(s_axi_arlen) + 1, s_axi_araddr, s_axi_arsize);
    end
    if (beyond_board(64'(s_axi_araddr)) && !told_address_q) begin
      told_address_q <= 1'b1;
      $warning("%m: %s: the s_axi read of %0d beats is at 0x%0h: a board's PCIe bridge has addresses of 48 bits; told once",
               Name, 32'(s_axi_arlen) + 1, s_axi_araddr);
    end
  endtask

  // Clocks in which nothing moved, though something could.
  int unsigned           stall_q;

  // What nothing moved for.
  task automatic tell_stall();
    automatic int unsigned kind;
    automatic string       what;
    kind = s_axi_rvalid ? 0 : 1;
    case (kind)
      0:       what = $sformatf("s_axi_rready has been low for %0d clocks with read data for ID %0d there",
                                StallClocks, s_axi_rid);
      default: what = $sformatf("the host has not answered the read at 0x%0h for %0d clocks",
                                addr_q[r_ptr_q], StallClocks);
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

  // Requests and beats of this clock.
  task automatic serve(input chandle handle, input bit link);
    if (txn_valid) txn_valid <= 1'b0;
    if (count_q != '0 || s_axi_arvalid || s_axi_rvalid) move(handle, link);
  endtask

  task automatic move(input chandle handle, input bit link);
    automatic int          status, tag, bytes;
    automatic longint      addr;
    automatic bit          error;
    automatic int unsigned lane, slot, size;
    automatic logic [7:0]  left;
    automatic logic        ar_take, r_give;
    // A narrower bus has no use for the upper lanes.
    /* verilator lint_off UNUSEDSIGNAL */
    automatic bit [511:0]  beat;
    /* verilator lint_on UNUSEDSIGNAL */

    // Requests.
    ar_take = s_axi_arvalid && s_axi_arready;
    if (ar_take || retry_q) begin
      slot  = 32'(ar_ptr_q);
      if (!ar_take) slot = (slot == 0) ? Depth - 1 : slot - 1;
      addr  = ar_take ? 64'(s_axi_araddr) : 64'(addr_q[slot]);
      error = !link;
      tag   = 0;
      if (ar_take) begin
        id_q[slot]   <= s_axi_arid;
        addr_q[slot] <= s_axi_araddr;
        len_q[slot]  <= s_axi_arlen;
        size_q[slot] <= s_axi_arsize;
        ar_ptr_q     <= PtrWidth'(next_slot(32'(ar_ptr_q), Depth));
        if (burst_is_bad(s_axi_araddr[11:0], s_axi_arlen, s_axi_arsize, s_axi_arburst,
                         LaneWidth)) begin
          error = 1'b1;
          if (may_tell(told_bad_q)) begin
            $warning("%m: %s: s_axi read of %0d beats at 0x%0h with size %0d and burst %0d is answered SLVERR: only INCR of at most the bus width inside 4 KiB is possible%s",
                     Name, 32'(s_axi_arlen) + 1, s_axi_araddr, s_axi_arsize, s_axi_arburst,
                     last_words(told_bad_q));
          end
          told_bad_q <= count_line(told_bad_q);
        end else if (board_rules_i) begin
          tell_request();
        end
      end
      bytes = int'(burst_bytes(addr[11:0], ar_take ? s_axi_arlen : len_q[slot],
                               ar_take ? s_axi_arsize : size_q[slot]));
      if (!error) begin
        tag = acc_dma_read(handle, addr, bytes);
        if (tag < 0 && tag != -ErrAgain) begin
          complaints = complain(handle, Name, tag, "acc_dma_read", complaints);
          error = 1'b1;
        end else if (tag >= 0) begin
          txn_valid <= 1'b1;
          txn_id    <= acc_stat(handle, StatTransaction);
          txn_kind  <= TxnDmaRead;
        end
      end
      retry_q       <= !error && tag == -ErrAgain;
      tag_q[slot]   <= tag;
      sent_q[slot]  <= error || tag != -ErrAgain;
      done_q[slot]  <= error;
      error_q[slot] <= error;
    end

    // Data.
    r_give = 1'b0;
    if (!s_axi_rvalid || s_axi_rready) begin
      s_axi_rvalid <= 1'b0;
      if (count_q != '0 && done_q[r_ptr_q]) begin
        lane  = r_first_q ? 32'(addr_q[r_ptr_q][LaneWidth-1:0]) : 32'(r_lane_q);
        left  = r_first_q ? len_q[r_ptr_q] : r_left_q;
        size  = 32'd1 << size_q[r_ptr_q];
        error = error_q[r_ptr_q] || !link;
        if (!error) begin
          status = acc_dma_read_beat(handle, tag_q[r_ptr_q], int'(lane),
                                     int'(size - (lane & (size - 1))), beat);
          if (status < 0) begin
            complaints = complain(handle, Name, status, "acc_dma_read_beat", complaints);
            error = 1'b1;
          end else begin
            s_axi_rdata <= beat[DataWidth-1:0];
          end
        end
        s_axi_rvalid <= 1'b1;
        s_axi_rid    <= id_q[r_ptr_q];
        s_axi_rresp  <= error ? RespSlverr : RespOkay;
        s_axi_rlast  <= left == 8'd0;
        if (error) s_axi_rdata <= '0;
        r_first_q <= left == 8'd0;
        r_left_q  <= left - 8'd1;
        r_lane_q  <= LaneWidth'((lane & ~(size - 1)) + size);
        if (left == 8'd0) begin
          r_give  = 1'b1;
          r_ptr_q <= PtrWidth'(next_slot(32'(r_ptr_q), Depth));
          sent_q[r_ptr_q] <= 1'b0;
          done_q[r_ptr_q] <= 1'b0;
        end
      end
    end
    count_q <= count_q + CountWidth'(ar_take) - CountWidth'(r_give);

    if (ar_take || (s_axi_rvalid && s_axi_rready)) begin
      stall_q <= 0;
    end else begin
      stall_q <= stall_q + 1;
      if (StallClocks != 0 && stall_q == StallClocks - 1) tell_stall();
    end
  endtask

  // A link that went down answers everything that waits.
  task automatic link_down();
    for (int unsigned i = 0; i < Depth; i++) begin
      if (sent_q[i]) begin
        done_q[i]  <= 1'b1;
        error_q[i] <= 1'b1;
      end
    end
  endtask

  // A library that keeps data which nobody fetches: aresetn came in between.
  task automatic give_back(input chandle handle);
    automatic int bytes;
    for (int unsigned i = 0; i < Depth; i++) begin
      if (sent_q[i] && done_q[i] && !error_q[i]) begin
        if (i == 32'(r_ptr_q) && !r_first_q) begin
          bytes = int'(burst_bytes(12'(r_lane_q), r_left_q, size_q[i]));
        end else begin
          bytes = int'(burst_bytes(addr_q[i][11:0], len_q[i], size_q[i]));
        end
        drop_data(handle, tag_q[i], bytes);
      end
    end
  endtask

  task automatic clear();
    txn_valid    <= 1'b0;
    sent_q       <= '0;
    done_q       <= '0;
    error_q      <= '0;
    ar_ptr_q     <= '0;
    r_ptr_q      <= '0;
    count_q      <= '0;
    retry_q      <= 1'b0;
    r_first_q    <= 1'b1;
    stall_q      <= 0;
    s_axi_rvalid <= 1'b0;
  endtask

  final begin : p_left_out
    tell_left_out(Name, "s_axi reads that are answered SLVERR", told_bad_q.left_out);
    tell_left_out(Name, "failed calls for s_axi reads", complaints.left_out);
    for (int unsigned i = 0; i < Stalls; i++) begin
      tell_left_out(Name, "s_axi reads that stand still", stalls_q[i].left_out);
    end
  end

  accelerator_known_check #(
    .Width(IdWidth + AddrWidth + 13), .Name("s_axi_ar")
  ) u_known_ar (
    .clk_i, .rst_ni, .valid_i(s_axi_arvalid),
    .payload_i({s_axi_arid, s_axi_araddr, s_axi_arlen, s_axi_arsize, s_axi_arburst})
  );
  accelerator_known_check #(
    .Width(1), .Name("s_axi_rready")
  ) u_known_rready (
    .clk_i, .rst_ni, .valid_i(1'b1), .payload_i(s_axi_rready)
  );
  accelerator_stable_check #(
    .Width(IdWidth + AddrWidth + 13), .Name("s_axi_ar")
  ) u_check_ar (
    .clk_i, .rst_ni, .valid_i(s_axi_arvalid), .ready_i(s_axi_arready),
    .payload_i({s_axi_arid, s_axi_araddr, s_axi_arlen, s_axi_arsize, s_axi_arburst})
  );

endmodule
