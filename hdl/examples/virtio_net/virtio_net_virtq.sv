// SPDX-License-Identifier: Apache-2.0
//
// One split virtqueue (Virtual I/O Device (VIRTIO) 1.2, 2.7). It follows the driver's buffers
// and gives the data path their parts, ahead of need; it puts finished chains into the used
// ring, in the order in which they came, and asks for interrupts.
//
// What a driver may not do ends in error_o: the queue then stops until the device is reset.
//   - more new entries than the ring has, a head or a `next` out of range
//   - a chain that is longer than the ring, which is what a loop looks like
//   - a part of no length, of the other direction, or an indirect table, which is not offered
// So does DMA that the host refuses.

module virtio_net_virtq #(
  // The device writes to the buffers of this queue, or reads them.
  parameter bit          DeviceWrites = 1'b0,
  parameter int unsigned MaxLog2      = 8
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  // Low ends the work; when what is under way is over, all is forgotten and idle_o is high.
  input  logic             run_i,
  output logic             idle_o,
  output logic             error_o,

  // Entries, a power of two, and the three parts of the queue.
  input  logic [MaxLog2:0] size_i,
  input  logic [63:0]      desc_i,
  input  logic [63:0]      driver_i,
  input  logic [63:0]      device_i,
  // The driver said that there are new buffers.
  input  logic             notify_i,
  output logic             irq_valid_o,
  input  logic             irq_ready_i,

  // Parts of chains; the last one of each is marked.
  output logic             seg_valid_o,
  input  logic             seg_ready_i,
  output logic [63:0]      seg_addr_o,
  output logic [31:0]      seg_len_o,
  output logic             seg_last_o,
  // The oldest chain is finished, with so many bytes written.
  input  logic             done_valid_i,
  output logic             done_ready_o,
  input  logic [31:0]      done_len_i,
  // Gives the oldest chain once more from its begin. All of its parts were taken, and it is not
  // finished.
  input  logic             rewind_i,

  output logic             rd_valid_o,
  input  logic             rd_ready_i,
  output logic [63:0]      rd_addr_o,
  output logic [7:0]       rd_len_o,
  output logic [2:0]       rd_size_o,
  input  logic             rsp_valid_i,
  input  logic [127:0]     rsp_data_i,
  input  logic             rsp_last_i,
  input  logic             rsp_error_i,
  output logic             wr_valid_o,
  input  logic             wr_ready_i,
  output logic [63:0]      wr_addr_o,
  output logic [7:0]       wr_len_o,
  output logic [2:0]       wr_size_o,
  output logic             w_valid_o,
  input  logic             w_ready_i,
  output logic [127:0]     w_data_o,
  output logic [15:0]      w_strb_o,
  output logic             w_last_o,
  input  logic             b_valid_i,
  input  logic             b_error_i
);

  // Heads that are fetched at once, parts that are ready, chains that are not finished.
  localparam int unsigned Heads  = 8;
  localparam int unsigned Segs   = 8;
  localparam int unsigned Chains = 16;

  localparam logic [15:0] FlagNext = 16'd1, FlagWrite = 16'd2, FlagIndirect = 16'd4;

  typedef logic [MaxLog2-1:0] index_t;

  logic [15:0] mask;
  assign mask = 16'(size_i) - 16'd1;

  logic        clear;
  assign clear = !rst_ni || (!run_i && idle_o);

  //////////////////////////////
  // What the driver offers //
  //////////////////////////////

  typedef enum logic [1:0] {ReadIdx, ReadFlags, ReadRing, ReadDesc} read_e;

  read_e       kind, kind_q;
  logic        want, rd_busy_q, rd_drop_q, look_q;
  // Entries of the available ring: those that the driver has shown, those whose heads were
  // fetched, those that are finished.
  logic [15:0] shown_q, fetched_q, finished_q;

  index_t      heads_q [Heads];
  logic [3:0]  head_first_q, head_last_q, head_count;
  assign head_count = head_last_q - head_first_q;

  // The chain that is followed.
  logic             walk_q;
  index_t           walk_next_q;
  logic [MaxLog2:0] walk_count_q;
  index_t           walk_index;
  assign walk_index = walk_q ? walk_next_q : heads_q[head_first_q[2:0]];

  // Heads of the chains that were begun and are not finished.
  index_t      chains_q [Chains];
  logic [4:0]  chain_first_q, chain_last_q, chain_count;
  assign chain_count = chain_last_q - chain_first_q;

  logic [96:0] segs_q [Segs];
  logic [3:0]  seg_first_q, seg_last_q, seg_count;
  assign seg_count   = seg_last_q - seg_first_q;
  assign seg_valid_o = seg_count != '0;
  assign {seg_last_o, seg_len_o, seg_addr_o} = segs_q[seg_first_q[2:0]];

  // Heads to fetch: what there is, to the end of the ring, of the page, and of our room.
  logic [63:0] ring_addr;
  logic [15:0] ring_some;
  always_comb begin
    ring_addr = driver_i + 64'd4 + {47'd0, fetched_q & mask, 1'b0};
    ring_some = shown_q - fetched_q;
    if (ring_some > 16'(Heads)) ring_some = 16'(Heads);
    if (ring_some > 16'(size_i) - (fetched_q & mask)) begin
      ring_some = 16'(size_i) - (fetched_q & mask);
    end
    if (32'(ring_some) > (32'd4096 - 32'(ring_addr[11:0])) / 2) begin
      ring_some = 16'((32'd4096 - 32'(ring_addr[11:0])) / 2);
    end
  end

  // What to read next.
  logic check_flags;
  always_comb begin
    want      = 1'b1;
    kind      = ReadIdx;
    rd_addr_o = driver_i + 64'd2;
    rd_len_o  = 8'd0;
    rd_size_o = 3'd1;
    if (check_flags) begin
      kind      = ReadFlags;
      rd_addr_o = driver_i;
    end else if (seg_count != 4'(Segs) &&
                 (walk_q || (head_count != '0 && chain_count != 5'(Chains)))) begin
      kind      = ReadDesc;
      rd_addr_o = desc_i + {{(60 - MaxLog2){1'b0}}, walk_index, 4'd0};
      rd_size_o = 3'd4;
    end else if (head_count == '0 && shown_q != fetched_q) begin
      kind      = ReadRing;
      rd_addr_o = ring_addr;
      rd_len_o  = 8'(ring_some - 16'd1);
    end else begin
      want = look_q;
    end
  end
  assign rd_valid_o = run_i && want && !rd_busy_q && !rewind_i;

  // Where the bytes of an entry are on the bus.
  logic [2:0]  lane_q;
  logic [15:0] half;
  assign half = rsp_data_i[16*lane_q +: 16];

  // Fields of a descriptor.
  logic [63:0] d_addr;
  logic [31:0] d_len;
  logic [15:0] d_flags, d_next;
  logic        d_bad;
  assign {d_next, d_flags, d_len, d_addr} = rsp_data_i;
  assign d_bad = d_len == '0 || (d_flags & FlagIndirect) != '0 ||
                 ((d_flags & FlagWrite) != '0) != DeviceWrites ||
                 ((d_flags & FlagNext) != '0 &&
                  (d_next > mask || walk_count_q + 1'b1 == size_i));

  //////////////////////
  // What is finished //
  //////////////////////

  typedef enum logic [1:0] {UsedIdle, UsedElem, UsedHalf, UsedIdx} used_e;
  typedef enum logic [1:0] {IrqNone, IrqWait, IrqFlags, IrqRaise} irq_e;

  used_e       used_q;
  irq_e        irq_q;
  logic        w_busy_q, w_second_q, irq_need_q;
  logic [31:0] len_q;
  index_t      id_q;
  // Writes that were begun, and those that the host carried out.
  logic [7:0]  issued_q, acked_q, irq_target_q;
  logic [63:0] elem_addr;
  logic        elem_split;

  assign elem_addr  = device_i + 64'd4 + {45'd0, finished_q & mask, 3'd0};
  // The element lies across a page: its halves are two writes.
  assign elem_split = elem_addr[11:0] == 12'hFFC;

  assign done_ready_o = run_i && used_q == UsedIdle && chain_count != '0;
  assign wr_valid_o   = run_i && used_q != UsedIdle && !w_busy_q;
  always_comb begin
    wr_len_o  = 8'd0;
    wr_size_o = 3'd2;
    case (used_q)
      UsedElem: begin
        wr_addr_o = elem_addr;
        wr_len_o  = elem_split ? 8'd0 : 8'd1;
      end
      UsedHalf: wr_addr_o = elem_addr + 64'd4;
      default: begin
        wr_addr_o = device_i + 64'd2;
        wr_size_o = 3'd1;
      end
    endcase
  end
  assign w_valid_o = w_busy_q;
  logic [1:0] elem_lane;
  assign elem_lane = elem_addr[3:2] + 2'(w_second_q);
  always_comb begin
    if (used_q == UsedIdx) begin
      w_data_o = {8{finished_q + 16'd1}};
      w_strb_o = 16'h3 << {device_i[3:1] + 3'd1, 1'b0};
      w_last_o = 1'b1;
    end else begin
      w_data_o = {4{w_second_q ? len_q : 32'(id_q)}};
      w_strb_o = 16'hF << {elem_lane, 2'b00};
      w_last_o = w_second_q || elem_split;
    end
  end

  assign check_flags = irq_q == IrqFlags;
  assign irq_valid_o = irq_q == IrqRaise;
  assign idle_o      = !rd_busy_q && !w_busy_q && issued_q == acked_q;

  always_ff @(posedge clk_i) begin : p_queue
    automatic logic bad;

    bad = 1'b0;
    if (notify_i) look_q <= 1'b1;

    // Reads.
    if (rd_valid_o && rd_ready_i) begin
      rd_busy_q <= 1'b1;
      rd_drop_q <= 1'b0;
      kind_q    <= kind;
      lane_q    <= rd_addr_o[3:1];
      case (kind)
        ReadIdx: look_q <= notify_i;
        ReadDesc: if (!walk_q) begin
          head_first_q <= head_first_q + 4'd1;
          chains_q[chain_last_q[3:0]] <= walk_index;
          chain_last_q <= chain_last_q + 5'd1;
          walk_q       <= 1'b1;
          walk_count_q <= '0;
        end
        default: ;
      endcase
    end
    if (seg_valid_o && seg_ready_i) seg_first_q <= seg_first_q + 4'd1;
    if (rsp_valid_i) begin
      lane_q <= lane_q + 3'd1;
      if (rsp_last_i) rd_busy_q <= 1'b0;
      if (rsp_error_i) begin
        bad = 1'b1;
      end else if (kind_q == ReadFlags) begin
        irq_q <= half[0] ? IrqNone : IrqRaise;
      end else if (kind_q == ReadIdx) begin
        // Whatever happened meanwhile, this is true.
        shown_q <= half;
        if (half - finished_q > 16'(size_i)) bad = 1'b1;
      end else if (!rd_drop_q) begin
        if (kind_q == ReadRing) begin
          heads_q[head_last_q[2:0]] <= half[MaxLog2-1:0];
          head_last_q <= head_last_q + 4'd1;
          fetched_q   <= fetched_q + 16'd1;
          if (half > mask) bad = 1'b1;
        end else begin
          segs_q[seg_last_q[2:0]] <= {(d_flags & FlagNext) == '0, d_len, d_addr};
          walk_q       <= (d_flags & FlagNext) != '0;
          walk_next_q  <= d_next[MaxLog2-1:0];
          walk_count_q <= walk_count_q + 1'b1;
          if (d_bad) bad = 1'b1;
          else seg_last_q <= seg_last_q + 4'd1;
        end
      end
    end

    // The used ring.
    if (done_valid_i && done_ready_o) begin
      id_q          <= chains_q[chain_first_q[3:0]];
      chain_first_q <= chain_first_q + 5'd1;
      len_q         <= done_len_i;
      used_q        <= UsedElem;
    end
    if (wr_valid_o && wr_ready_i) begin
      w_busy_q   <= 1'b1;
      w_second_q <= used_q == UsedHalf;
      issued_q   <= issued_q + 8'd1;
    end
    if (w_busy_q && w_ready_i) begin
      w_second_q <= 1'b1;
      if (w_last_o) begin
        w_busy_q <= 1'b0;
        case (used_q)
          UsedElem: used_q <= elem_split ? UsedHalf : UsedIdx;
          UsedHalf: used_q <= UsedIdx;
          default: begin
            used_q     <= UsedIdle;
            finished_q <= finished_q + 16'd1;
            irq_need_q <= 1'b1;
          end
        endcase
      end
    end
    if (b_valid_i) begin
      acked_q <= acked_q + 8'd1;
      if (b_error_i) bad = 1'b1;
    end

    // Interrupts: whether the driver wants one is looked at after it can see the used index,
    // since it looks for more to do after it said that it wants one.
    case (irq_q)
      IrqNone: if (irq_need_q) begin
        irq_need_q   <= w_busy_q && w_ready_i && w_last_o && used_q == UsedIdx;
        irq_target_q <= issued_q;
        irq_q        <= IrqWait;
      end
      // Counted round: at most a few are under way.
      IrqWait: if (8'(acked_q - irq_target_q) < 8'd128) irq_q <= IrqFlags;
      IrqRaise: if (irq_ready_i) irq_q <= IrqNone;
      default: ;
    endcase

    if (rewind_i) begin
      rd_drop_q     <= 1'b1;
      fetched_q     <= finished_q;
      head_first_q  <= '0;
      head_last_q   <= '0;
      chain_first_q <= '0;
      chain_last_q  <= '0;
      seg_first_q   <= '0;
      seg_last_q    <= '0;
      walk_q        <= 1'b0;
    end

    error_o <= bad && run_i;

    if (clear) begin
      rd_busy_q     <= 1'b0;
      rd_drop_q     <= 1'b0;
      // There may be buffers before the first notification.
      look_q        <= 1'b1;
      shown_q       <= '0;
      fetched_q     <= '0;
      finished_q    <= '0;
      head_first_q  <= '0;
      head_last_q   <= '0;
      chain_first_q <= '0;
      chain_last_q  <= '0;
      seg_first_q   <= '0;
      seg_last_q    <= '0;
      walk_q        <= 1'b0;
      used_q        <= UsedIdle;
      w_busy_q      <= 1'b0;
      issued_q      <= '0;
      acked_q       <= '0;
      irq_need_q    <= 1'b0;
      irq_q         <= IrqNone;
    end
  end

endmodule
