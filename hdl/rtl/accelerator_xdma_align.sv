// SPDX-License-Identifier: Apache-2.0
//
// Bytes in words of any number of bytes, out in words of any other: what moves data from the
// alignment of its source to that of its destination. The first byte of a word is in bits 7 to 0.

module accelerator_xdma_align #(
  parameter int unsigned DataWidth  = 64,
  // Of a number of bytes from 0 to those of a word.
  localparam int unsigned CountWidth = $clog2(DataWidth / 8) + 1
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,

  input  logic                  push_valid_i,
  output logic                  push_ready_o,
  input  logic [DataWidth-1:0]  push_data_i,
  input  logic [CountWidth-1:0] push_bytes_i,

  // Bytes that are there. With pop_i the first pop_bytes_i of data_o are taken.
  output logic [CountWidth:0]   level_o,
  output logic [DataWidth-1:0]  data_o,
  input  logic                  pop_i,
  input  logic [CountWidth-1:0] pop_bytes_i
);

  localparam int unsigned WordBytes = DataWidth / 8;

  logic [2*DataWidth-1:0] bytes_q, kept, added;
  logic [CountWidth:0]    level_q, left;

  assign level_o = level_q;
  assign data_o  = bytes_q[DataWidth-1:0];

  // What stays, and what comes behind it.
  always_comb begin
    left  = level_q;
    kept  = bytes_q;
    if (pop_i) begin
      left = level_q - (CountWidth + 1)'(pop_bytes_i);
      kept = bytes_q >> {pop_bytes_i, 3'd0};
    end
    added = kept & ~('1 << {left, 3'd0});
    added = added | ((2 * DataWidth)'(push_data_i) << {left, 3'd0});
  end

  // A whole word always fits.
  assign push_ready_o = left <= (CountWidth + 1)'(WordBytes);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      level_q <= '0;
    end else begin
      level_q <= left + ((push_valid_i && push_ready_o) ? (CountWidth + 1)'(push_bytes_i) : '0);
      assert (!pop_i || (CountWidth + 1)'(pop_bytes_i) <= level_q)
      else $error("%m: %0d bytes taken of %0d", pop_bytes_i, level_q);
    end
    bytes_q <= (push_valid_i && push_ready_o) ? added : kept;
  end

endmodule
