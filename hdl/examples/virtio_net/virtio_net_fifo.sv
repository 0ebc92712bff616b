// SPDX-License-Identifier: Apache-2.0
//
// Keeps whole frames: one comes out when all of it went in, with its length known from its first
// word on. A frame that is not to go on is dropped by abort_i, as is one that is too long.
//
// Words of 16 bytes, full but for the last one of a frame.

module virtio_net_fifo #(
  parameter int unsigned Words    = 1024,
  parameter int unsigned Frames   = 64,
  parameter int unsigned MaxBytes = 9216
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  input  logic                   in_valid_i,
  output logic                   in_ready_o,
  input  logic [127:0]           in_data_i,
  // 1 to 16.
  input  logic [4:0]             in_bytes_i,
  input  logic                   in_last_i,
  // Forgets the frame that goes in, this clock's word included.
  input  logic                   abort_i,
  // Room for words, and for at least four more frames.
  output logic [$clog2(Words):0] room_o,
  output logic                   room_frames_o,

  output logic                   out_valid_o,
  input  logic                   out_ready_i,
  output logic [127:0]           out_data_o,
  output logic                   out_last_o,
  // Bytes of the whole frame, in each of its words.
  output logic [15:0]            out_length_o
);

  localparam int unsigned PtrWidth   = $clog2(Words);
  localparam int unsigned FrameWidth = $clog2(Frames);

  if (Words * 16 < MaxBytes + 32 || (Words & (Words - 1)) != 0) begin : gen_bad_words
    $error("Words is %0d; a power of two with room for a frame is needed", Words);
  end

  logic [127:0]        words_q [Words];
  logic [15:0]         lengths_q [Frames];
  // One bit more than an index: equal is empty. Words from commit on are of the frame going in.
  logic [PtrWidth:0]   head_q, commit_q, tail_q;
  logic [FrameWidth:0] first_q, last_q;
  logic [15:0]         length_q, left_q;
  logic                too_long_q, in_go, out_go;

  logic [PtrWidth:0]   used;
  logic [FrameWidth:0] frames;
  assign used          = tail_q - head_q;
  assign frames        = last_q - first_q;
  assign room_o        = (PtrWidth + 1)'(Words) - used;
  assign room_frames_o = 32'(frames) + 4 < Frames;
  assign in_ready_o    = (room_o != '0 || too_long_q) && 32'(frames) != Frames;
  assign in_go         = in_valid_i && in_ready_o;
  assign out_go        = (!out_valid_o || out_ready_i) && head_q != commit_q;

  always_ff @(posedge clk_i) begin : p_fifo
    automatic logic [15:0] length, left;

    // In.
    length = length_q + 16'(in_bytes_i);
    if (in_go) begin
      if (32'(length) > MaxBytes || too_long_q) begin
        too_long_q <= 1'b1;
      end else begin
        words_q[tail_q[PtrWidth-1:0]] <= in_data_i;
        tail_q   <= tail_q + 1'b1;
        length_q <= length;
      end
      if (in_last_i) begin
        length_q   <= '0;
        too_long_q <= 1'b0;
        if (32'(length) > MaxBytes || too_long_q) begin
          tail_q <= commit_q;
        end else begin
          lengths_q[last_q[FrameWidth-1:0]] <= length;
          last_q   <= last_q + 1'b1;
          commit_q <= tail_q + 1'b1;
        end
      end
    end
    if (abort_i) begin
      tail_q     <= commit_q;
      commit_q   <= commit_q;
      last_q     <= last_q;
      length_q   <= '0;
      too_long_q <= 1'b0;
    end

    // Out.
    if (out_ready_i) out_valid_o <= 1'b0;
    if (out_go) begin
      left = (left_q == '0) ? lengths_q[first_q[FrameWidth-1:0]] : left_q;
      if (left_q == '0) begin
        first_q      <= first_q + 1'b1;
        out_length_o <= left;
      end
      out_valid_o <= 1'b1;
      out_data_o  <= words_q[head_q[PtrWidth-1:0]];
      out_last_o  <= left <= 16'd16;
      left_q      <= (left <= 16'd16) ? '0 : left - 16'd16;
      head_q      <= head_q + 1'b1;
    end

    if (!rst_ni) begin
      head_q      <= '0;
      commit_q    <= '0;
      tail_q      <= '0;
      first_q     <= '0;
      last_q      <= '0;
      length_q    <= '0;
      left_q      <= '0;
      too_long_q  <= 1'b0;
      out_valid_o <= 1'b0;
    end
  end

endmodule
