// SPDX-License-Identifier: Apache-2.0
//
// Receive: puts each frame, behind a virtio_net_hdr (VIRTIO 1.2, 5.1.6), into the next chain of
// buffers. While the queue does not run, frames are dropped, as a card does that is not up.
// While it runs and the driver has no buffers, they wait. A frame that does not fit its chain is
// dropped, and the chain waits for the next one.

module virtio_net_rx (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic         run_i,
  output logic         idle_o,
  output logic         error_o,
  // Frames given to the driver, and dropped ones; one clock each.
  output logic         frame_o,
  output logic         dropped_o,

  input  logic         frame_valid_i,
  output logic         frame_ready_o,
  input  logic [127:0] frame_data_i,
  input  logic         frame_last_i,
  input  logic [15:0]  frame_length_i,

  input  logic         seg_valid_i,
  output logic         seg_ready_o,
  input  logic [63:0]  seg_addr_i,
  input  logic [31:0]  seg_len_i,
  input  logic         seg_last_i,
  output logic         done_valid_o,
  input  logic         done_ready_i,
  output logic [31:0]  done_len_o,
  output logic         rewind_o,

  output logic         wr_valid_o,
  input  logic         wr_ready_i,
  output logic [63:0]  wr_addr_o,
  output logic [7:0]   wr_len_o,
  output logic [2:0]   wr_size_o,
  output logic         w_valid_o,
  input  logic         w_ready_i,
  output logic [127:0] w_data_o,
  output logic [15:0]  w_strb_o,
  output logic         w_last_o,
  input  logic         b_valid_i,
  input  logic         b_error_i
);

  localparam int unsigned HeaderBytes = 12;
  // All 0 but num_buffers, which is 1 where buffers are not merged.
  localparam logic [8*HeaderBytes-1:0] Header = {16'd1, 80'd0};

  typedef enum logic [2:0] {Idle, Part, Burst, Data, Rest, Done, Again, Drop} state_e;

  state_e       state_q;
  // Bytes that wait to be written, from bit 0 on; bytes of the frame that are not yet among them;
  // bytes of header and frame that are not yet given to a burst.
  logic [255:0] hold_q;
  logic [5:0]   held_q;
  logic [15:0]  fetch_q, left_q;
  // The part of the chain, and the burst to it.
  logic [63:0]  addr_q;
  logic [31:0]  seg_left_q;
  logic         seg_last_q;
  logic [3:0]   lane_q;
  logic [12:0]  burst_left_q;
  // A part of the frame is still in front of us.
  logic         open_q;

  logic [12:0]  burst;
  always_comb begin
    burst = 13'd4096 - {1'b0, addr_q[11:0]};
    if (32'(burst) > seg_left_q) burst = seg_left_q[12:0];
    if (16'(burst) > left_q) burst = left_q[12:0];
  end

  assign wr_valid_o = state_q == Burst && run_i;
  assign wr_addr_o  = addr_q;
  assign wr_len_o   = 8'((13'(addr_q[3:0]) + burst - 13'd1) >> 4);
  assign wr_size_o  = 3'd4;

  logic [4:0]   beat;
  logic [15:0]  beat_strb;
  logic         w_go, fill;
  logic [255:0] held_data;
  assign beat      = (burst_left_q < 13'd16 - 13'(lane_q)) ? burst_left_q[4:0]
                                                           : 5'd16 - 5'(lane_q);
  assign beat_strb = 16'((17'd1 << beat) - 17'd1);
  assign w_valid_o = state_q == Data && held_q >= 6'(beat);
  assign w_strb_o  = beat_strb << lane_q;
  assign w_last_o  = burst_left_q == 13'(beat);
  assign held_data = hold_q << {lane_q, 3'd0};
  // Lanes without a strobe must not change while the beat waits.
  always_comb begin
    for (int i = 0; i < 16; i++) begin
      w_data_o[8*i +: 8] = w_strb_o[i] ? held_data[8*i +: 8] : 8'd0;
    end
  end
  assign w_go = w_valid_o && w_ready_i;
  assign fill = state_q == Data && fetch_q != '0 && frame_valid_i &&
                (held_q <= 6'd16 || (w_go && held_q - 6'(beat) <= 6'd16));

  assign frame_ready_o = fill || state_q == Drop || (state_q == Idle && !run_i);
  assign seg_ready_o   = state_q == Part || state_q == Rest;
  assign done_valid_o  = state_q == Done;
  assign rewind_o      = state_q == Again && done_ready_i;
  assign idle_o        = state_q == Idle || state_q == Drop;

  always_ff @(posedge clk_i) begin : p_rx
    automatic logic [255:0] hold;
    automatic logic [5:0]   held;
    automatic logic [4:0]   bytes;

    frame_o   <= 1'b0;
    dropped_o <= 1'b0;
    error_o   <= run_i && b_valid_i && b_error_i;
    if (frame_valid_i && frame_ready_o) open_q <= !frame_last_i;

    case (state_q)
      Idle: begin
        hold_q  <= {160'd0, Header};
        held_q  <= 6'(HeaderBytes);
        fetch_q <= frame_length_i;
        left_q  <= frame_length_i + 16'(HeaderBytes);
        done_len_o <= 32'(frame_length_i) + 32'(HeaderBytes);
        if (frame_valid_i) begin
          if (run_i) begin
            state_q <= Part;
            open_q  <= 1'b1;
          end else begin
            dropped_o <= 1'b1;
            if (!frame_last_i) state_q <= Drop;
          end
        end
      end

      Part: if (seg_valid_i) begin
        addr_q     <= seg_addr_i;
        seg_left_q <= seg_len_i;
        seg_last_q <= seg_last_i;
        state_q    <= Burst;
      end

      Burst: if (wr_ready_i && wr_valid_o) begin
        lane_q       <= addr_q[3:0];
        burst_left_q <= burst;
        addr_q       <= addr_q + 64'(burst);
        seg_left_q   <= seg_left_q - 32'(burst);
        left_q       <= left_q - 16'(burst);
        state_q      <= Data;
      end

      Data: begin
        hold = hold_q;
        held = held_q;
        if (w_go) begin
          hold = hold >> {beat, 3'd0};
          held = held - 6'(beat);
          lane_q       <= '0;
          burst_left_q <= burst_left_q - 13'(beat);
          if (w_last_o) begin
            if (left_q == '0) state_q <= seg_last_q ? Done : Rest;
            else if (seg_left_q != '0) state_q <= Burst;
            else state_q <= seg_last_q ? Again : Part;
          end
        end
        if (fill) begin
          bytes   = (fetch_q < 16'd16) ? fetch_q[4:0] : 5'd16;
          hold    = hold | (256'(frame_data_i & data_mask(bytes)) << {held, 3'd0});
          held    = held + 6'(bytes);
          fetch_q <= fetch_q - 16'(bytes);
        end
        hold_q <= hold;
        held_q <= held;
      end

      // The frame is over, its chain is not.
      Rest: if (seg_valid_i && seg_last_i) state_q <= Done;

      Done: if (done_ready_i) begin
        frame_o <= 1'b1;
        state_q <= Idle;
      end

      // The chain is over, the frame is not.
      Again: if (done_ready_i) begin
        dropped_o <= 1'b1;
        state_q   <= open_q ? Drop : Idle;
      end

      Drop: if (frame_valid_i && frame_last_i) state_q <= Idle;

      default: state_q <= Idle;
    endcase

    // A burst that was begun is finished; all else ends here.
    if (!run_i && state_q != Idle && state_q != Drop &&
        !(state_q == Data && !(w_go && w_last_o))) begin
      dropped_o <= 1'b1;
      state_q   <= (open_q && !(frame_valid_i && frame_ready_o && frame_last_i)) ? Drop : Idle;
    end

    if (!rst_ni) begin
      state_q <= Idle;
      open_q  <= 1'b0;
    end
  end

  // The first `bytes` bytes.
  function automatic logic [127:0] data_mask(logic [4:0] bytes);
    return 128'((129'd1 << {bytes, 3'd0}) - 129'd1);
  endfunction

endmodule
