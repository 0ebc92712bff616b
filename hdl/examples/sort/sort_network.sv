// SPDX-License-Identifier: Apache-2.0
//
// Sorts a block of 2^LogKeys unsigned 32-bit keys in a folded bitonic network: one column of
// 2^(LogKeys-1) compare-exchange cells over a register for each key, used
// LogKeys * (LogKeys + 1) / 2 times, once a clock. 1,024 keys take 55 clocks.
//
// A block comes in by bus words, is sorted, and goes out by bus words, one word a clock each
// way; the lowest 32 bits of a word are the first key.
//
// The network: K. E. Batcher, "Sorting networks and their applications", AFIPS 1968.

module sort_network #(
  parameter int unsigned LogKeys   = 10,
  parameter int unsigned DataWidth = 128
) (
  input  logic                 clk_i,
  input  logic                 rst_ni,
  // Forgets what is in it.
  input  logic                 clear_i,
  // Largest key first. Read in the clock after the last word came in.
  input  logic                 descending_i,

  input  logic                 in_valid_i,
  output logic                 in_ready_o,
  input  logic [DataWidth-1:0] in_data_i,

  output logic                 out_valid_o,
  input  logic                 out_ready_i,
  output logic [DataWidth-1:0] out_data_o
);

  localparam int unsigned Keys      = 1 << LogKeys;
  localparam int unsigned Lanes     = DataWidth / 32;
  localparam int unsigned Words     = Keys / Lanes;
  localparam int unsigned WordWidth = $clog2(Words);
  localparam int unsigned StepWidth = $clog2(LogKeys);

  if (DataWidth < 32 || DataWidth % 32 != 0 || Keys < 2 * Lanes) begin : gen_bad_data_width
    $error("DataWidth is %0d; a multiple of 32, with at least two words in a block, is possible",
           DataWidth);
  end

  typedef enum logic [1:0] {Load, Sort, Unload} state_e;

  state_e               state_q;
  logic                 out_last_q;
  logic [WordWidth-1:0] word_q;
  // Blocks of 2^(merge_q + 1) keys are being merged, by cells that are 2^reach_q keys wide.
  logic [StepWidth-1:0] merge_q, reach_q;

  assign in_ready_o = state_q == Load;

  // The keys change in p_network only, and nothing else reads them: they are flip-flops,
  // although they are assigned as variables. A cell thus works in place.
  logic [31:0] keys_q [Keys];

  always_ff @(posedge clk_i) begin : p_network
    automatic int unsigned        reach;
    automatic logic [LogKeys-1:0] low, high;
    automatic logic [31:0]        key;
    automatic logic               swap_if_less;

    if (!rst_ni || clear_i) begin
      state_q     <= Load;
      word_q      <= '0;
      merge_q     <= '0;
      reach_q     <= '0;
      out_valid_o <= 1'b0;
    end else begin
      case (state_q)
        Load: begin
          if (in_valid_i) begin
            for (int unsigned i = 0; i < Lanes; i++) begin
              /* verilator lint_off BLKSEQ */
              keys_q[32'(word_q) * Lanes + i] = in_data_i[32*i +: 32];
              /* verilator lint_on BLKSEQ */
            end
            word_q <= word_q + 1'b1;
            if (word_q == WordWidth'(Words - 1)) begin
              state_q <= Sort;
              merge_q <= '0;
              reach_q <= '0;
            end
          end
        end

        Sort: begin
          reach = 32'd1 << reach_q;
          for (int unsigned cell_index = 0; cell_index < Keys / 2; cell_index++) begin
            // The cells span pairs of keys that are `reach` apart.
            low          = LogKeys'(((cell_index & ~(reach - 1)) << 1) |
                                    (cell_index & (reach - 1)));
            high         = low | LogKeys'(reach);
            // Every other block is sorted the other way, so that two make a bitonic one. The
            // last merge has one block.
            swap_if_less = ((32'(low) >> (32'(merge_q) + 1)) & 32'd1) != 32'(descending_i);
            key          = keys_q[low];
            if ((key < keys_q[high]) == swap_if_less) begin
              /* verilator lint_off BLKSEQ */
              keys_q[low]  = keys_q[high];
              keys_q[high] = key;
              /* verilator lint_on BLKSEQ */
            end
          end
          reach_q <= reach_q - 1'b1;
          if (reach_q == '0) begin
            merge_q <= merge_q + 1'b1;
            reach_q <= merge_q + 1'b1;
            if (merge_q == StepWidth'(LogKeys - 1)) state_q <= Unload;
          end
        end

        default: begin
          if (!out_valid_o || out_ready_i) begin
            out_valid_o <= !(out_valid_o && out_last_q);
            for (int unsigned i = 0; i < Lanes; i++) begin
              out_data_o[32*i +: 32] <= keys_q[32'(word_q) * Lanes + i];
            end
            out_last_q <= word_q == WordWidth'(Words - 1);
            word_q     <= word_q + 1'b1;
            if (out_valid_o && out_last_q) begin
              state_q <= Load;
              word_q  <= '0;
            end
          end
        end
      endcase
    end
  end

endmodule
