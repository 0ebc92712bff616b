// SPDX-License-Identifier: Apache-2.0
//
// Transmit: gathers each chain of buffers, less its virtio_net_hdr (VIRTIO 1.2, 5.1.6), into a
// frame. Requests run ahead of the data, as far as there is room for it. Frames that are longer
// than MaxBytes or shorter than an Ethernet header are dropped.

module virtio_net_tx #(
  parameter int unsigned MaxBytes  = 9216,
  parameter int unsigned RoomWidth = 11
) (
  input  logic                 clk_i,
  input  logic                 rst_ni,
  input  logic                 run_i,
  output logic                 idle_o,
  // DMA was refused, or a chain is shorter than its header.
  output logic                 error_o,
  output logic                 frame_o,
  output logic                 dropped_o,

  input  logic                 seg_valid_i,
  output logic                 seg_ready_o,
  input  logic [63:0]          seg_addr_i,
  input  logic [31:0]          seg_len_i,
  input  logic                 seg_last_i,
  output logic                 done_valid_o,
  input  logic                 done_ready_i,

  output logic                 rd_valid_o,
  input  logic                 rd_ready_i,
  output logic [63:0]          rd_addr_o,
  output logic [7:0]           rd_len_o,
  output logic [2:0]           rd_size_o,
  input  logic                 rsp_valid_i,
  output logic                 rsp_ready_o,
  input  logic [127:0]         rsp_data_i,
  input  logic                 rsp_error_i,

  // To the frame FIFO, which takes everything that room was reserved for.
  output logic                 frame_valid_o,
  output logic [127:0]         frame_data_o,
  output logic [4:0]           frame_bytes_o,
  output logic                 frame_last_o,
  output logic                 frame_abort_o,
  input  logic [RoomWidth-1:0] room_i,
  input  logic                 room_frames_i
);

  localparam int unsigned HeaderBytes = 12;
  localparam int unsigned LeastBytes  = 14;
  localparam int unsigned Bursts      = 4;

  //////////////
  // Requests //
  //////////////

  logic        seg_q, seg_last_q, too_long_q;
  logic [63:0] addr_q;
  logic [31:0] seg_left_q;
  logic [15:0] chain_q;

  // Bursts that were asked for: lane of the first byte, bytes, whether the chain ends with it, and
  // whether its frame is dropped. One without bytes is an end only.
  typedef struct packed {
    logic [3:0]  lane;
    logic [12:0] bytes;
    logic        last;
    logic        drop;
  } burst_t;

  burst_t     bursts_q [Bursts];
  logic [2:0] first_q, last_q, count;
  assign count = last_q - first_q;

  logic [12:0]          burst;
  logic [8:0]           beats;
  logic [RoomWidth-1:0] reserved_q;
  always_comb begin
    burst = 13'd4096 - {1'b0, addr_q[11:0]};
    if (32'(burst) > seg_left_q) burst = seg_left_q[12:0];
    beats = 9'((13'(addr_q[3:0]) + burst + 13'd15) >> 4);
  end

  // The chain that this part belongs to is, with it, too long.
  logic too_long;
  assign too_long = too_long_q ||
                    33'(chain_q) + 33'(seg_len_i) > 33'(MaxBytes + HeaderBytes);
  assign seg_ready_o = run_i && !seg_q && count != 3'(Bursts);
  assign rd_valid_o  = run_i && seg_q && count != 3'(Bursts) && room_frames_i &&
                       32'(room_i) >= 32'(reserved_q) + 32'(beats) + 32'd4;
  assign rd_addr_o   = addr_q;
  assign rd_len_o    = 8'(beats - 9'd1);
  assign rd_size_o   = 3'd4;

  //////////
  // Data //
  //////////

  burst_t       now;
  logic         begun_q, flush_q, failed_q, done_q;
  logic [12:0]  left_q;
  logic [3:0]   skip_q;
  logic [15:0]  got_q;
  logic [255:0] hold_q;
  logic [5:0]   held_q;
  logic         marker, take;

  assign now         = bursts_q[first_q[1:0]];
  assign marker      = count != '0 && now.bytes == '0;
  assign rsp_ready_o = !flush_q && !done_q && !marker;
  assign take        = rsp_valid_i && rsp_ready_o;
  assign done_valid_o = done_q;
  assign idle_o      = count == '0 && !flush_q;

  always_ff @(posedge clk_i) begin : p_tx
    automatic logic [12:0]          left;
    automatic logic [3:0]           lane;
    automatic logic [4:0]           bytes, skip;
    automatic logic [127:0]         data;
    automatic logic [255:0]         hold;
    automatic logic [5:0]           held;
    automatic logic                 chain_end, drop;
    automatic logic [15:0]          got;
    automatic logic [RoomWidth-1:0] reserved;

    frame_valid_o <= 1'b0;
    frame_last_o  <= 1'b0;
    frame_abort_o <= 1'b0;
    frame_o       <= 1'b0;
    dropped_o     <= 1'b0;
    error_o       <= 1'b0;
    reserved      = reserved_q;

    // Requests.
    if (seg_valid_i && seg_ready_o) begin
      chain_q    <= seg_last_i ? '0 : 16'(chain_q + seg_len_i[15:0]);
      too_long_q <= too_long && !seg_last_i;
      if (!too_long) begin
        seg_q      <= 1'b1;
        addr_q     <= seg_addr_i;
        seg_left_q <= seg_len_i;
        seg_last_q <= seg_last_i;
      end else if (seg_last_i) begin
        bursts_q[last_q[1:0]] <= '{lane: '0, bytes: '0, last: 1'b1, drop: 1'b1};
        last_q <= last_q + 3'd1;
      end
    end
    if (rd_valid_o && rd_ready_i) begin
      bursts_q[last_q[1:0]] <= '{lane: addr_q[3:0], bytes: burst,
                                 last: seg_last_q && seg_left_q == 32'(burst), drop: 1'b0};
      last_q     <= last_q + 3'd1;
      reserved   = reserved + RoomWidth'(beats);
      addr_q     <= addr_q + 64'(burst);
      seg_left_q <= seg_left_q - 32'(burst);
      seg_q      <= seg_left_q != 32'(burst);
    end

    // Data.
    hold      = hold_q;
    held      = held_q;
    got       = got_q;
    chain_end = 1'b0;
    drop      = failed_q;
    if (done_q && done_ready_i) done_q <= 1'b0;
    if (take) begin
      left  = begun_q ? left_q : now.bytes;
      lane  = begun_q ? 4'd0 : now.lane;
      bytes = (left < 13'd16 - 13'(lane)) ? left[4:0] : 5'd16 - 5'(lane);
      left  = left - 13'(bytes);
      got   = got + 16'(bytes);
      skip  = (5'(skip_q) < bytes) ? 5'(skip_q) : bytes;
      data  = rsp_data_i >> {lane, 3'd0};
      // Only the bytes of the burst.
      data  = data & 128'((129'd1 << {bytes, 3'd0}) - 129'd1);
      data  = data >> {skip, 3'd0};
      hold  = hold | (256'(data) << {held, 3'd0});
      held  = held + 6'(bytes - skip);
      skip_q  <= skip_q - skip[3:0];
      begun_q <= left != '0;
      left_q  <= left;
      reserved = reserved - RoomWidth'(1);
      if (rsp_error_i) begin
        drop    = 1'b1;
        error_o <= run_i;
      end
      if (left == '0) begin
        chain_end = now.last;
        first_q   <= first_q + 3'd1;
      end
    end else if (marker && !flush_q && !done_q) begin
      chain_end = now.last;
      drop      = drop || now.drop;
      first_q   <= first_q + 3'd1;
    end
    failed_q <= drop;

    // Out goes a full word, or what is left at the end of the frame.
    if (held >= 6'd16 || flush_q) begin
      frame_valid_o <= 1'b1;
      frame_data_o  <= hold[127:0];
      frame_bytes_o <= (held >= 6'd16) ? 5'd16 : held[4:0];
      frame_last_o  <= flush_q || (chain_end && held == 6'd16);
      hold = hold >> 128;
      held = (held >= 6'd16) ? held - 6'd16 : '0;
    end
    if (flush_q) begin
      flush_q <= 1'b0;
      done_q  <= 1'b1;
    end
    if (chain_end) begin
      got_q    <= '0;
      skip_q   <= 4'(HeaderBytes);
      failed_q <= 1'b0;
      if (!marker && got < 16'(HeaderBytes)) begin
        drop    = 1'b1;
        error_o <= run_i;
      end
      if (drop || got < 16'(HeaderBytes + LeastBytes)) begin
        frame_valid_o <= 1'b0;
        frame_abort_o <= 1'b1;
        dropped_o     <= 1'b1;
        done_q        <= 1'b1;
        held          = '0;
        hold          = '0;
      end else begin
        frame_o <= 1'b1;
        flush_q <= held != '0;
        done_q  <= held == '0;
      end
    end else begin
      got_q <= got;
    end
    hold_q     <= hold;
    held_q     <= held;
    reserved_q <= reserved;

    // Stopped: requests that were not made are forgotten, data that comes still is dropped.
    if (!run_i) begin
      seg_q      <= 1'b0;
      too_long_q <= 1'b0;
      chain_q    <= '0;
      done_q     <= 1'b0;
      flush_q    <= 1'b0;
      if (idle_o) begin
        frame_abort_o <= 1'b1;
        got_q    <= '0;
        skip_q   <= 4'(HeaderBytes);
        failed_q <= 1'b0;
        held_q   <= '0;
        hold_q   <= '0;
      end
    end

    if (!rst_ni) begin
      frame_valid_o <= 1'b0;
      frame_abort_o <= 1'b0;
      seg_q         <= 1'b0;
      too_long_q    <= 1'b0;
      chain_q       <= '0;
      first_q       <= '0;
      last_q        <= '0;
      begun_q       <= 1'b0;
      flush_q       <= 1'b0;
      failed_q      <= 1'b0;
      done_q        <= 1'b0;
      skip_q        <= 4'(HeaderBytes);
      got_q         <= '0;
      hold_q        <= '0;
      held_q        <= '0;
      reserved_q    <= '0;
    end
  end

endmodule
