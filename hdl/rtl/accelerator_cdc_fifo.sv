// SPDX-License-Identifier: Apache-2.0
//
// A queue of 2^LogDepth words from one clock domain to another, with places in Gray code, which are
// all that crosses beside the words themselves. A word lies still in its place for two clocks of the
// reader before the reader knows of it, so that its bits need no care but a bound on their delay
// (docs/clocks.md has the constraints).
//
// Both resets are asynchronous, released in step with their own clocks, and come from one source: a
// side that is reset alone loses count of the other. Which one is released first makes no
// difference: a side in reset takes nothing and gives nothing.

module accelerator_cdc_fifo #(
  parameter int unsigned Width    = 32,
  parameter int unsigned LogDepth = 4
) (
  input  logic             wr_clk_i,
  input  logic             wr_rst_ni,
  input  logic             wr_valid_i,
  output logic             wr_ready_o,
  input  logic [Width-1:0] wr_data_i,

  input  logic             rd_clk_i,
  input  logic             rd_rst_ni,
  output logic             rd_valid_o,
  input  logic             rd_ready_i,
  output logic [Width-1:0] rd_data_o
);

  if (LogDepth < 2 || LogDepth > 10) begin : gen_bad_log_depth
    $error("LogDepth is %0d; 2 to 10 are possible", LogDepth);
  end

  // A place, and one bit more that tells full from empty.
  typedef logic [LogDepth:0] place_t;

  function automatic place_t to_gray(place_t count);
    return count ^ (count >> 1);
  endfunction

  function automatic place_t from_gray(place_t gray);
    for (int i = 0; i <= int'(LogDepth); i++) from_gray[i] = ^(gray >> i);
  endfunction

  logic [Width-1:0] words_q [1 << LogDepth];

  // They begin as they are in reset, whether their clock runs by then or not.
  /* verilator lint_off PROCASSINIT */
  place_t wr_count_q = '0, wr_gray_q = '0, rd_count_q = '0, rd_gray_q = '0;
  logic   valid_q = 1'b0;
  // The writer is out of reset for a clock.
  logic   wr_up_q = 1'b0;
  /* verilator lint_on PROCASSINIT */

  ////////////
  // Writer //
  ////////////

  place_t wr_next, rd_gray_seen;

  accelerator_cdc_sync #(
    .Width(LogDepth + 1)
  ) u_rd_gray (
    .clk_i(wr_clk_i), .rst_ni(wr_rst_ni), .d_i(rd_gray_q), .q_o(rd_gray_seen)
  );

  assign wr_next    = wr_count_q + place_t'(wr_valid_i && wr_ready_o);
  assign wr_ready_o = wr_up_q && wr_count_q - from_gray(rd_gray_seen) != place_t'(1 << LogDepth);

  always_ff @(posedge wr_clk_i or negedge wr_rst_ni) begin
    if (!wr_rst_ni) begin
      wr_count_q <= '0;
      wr_gray_q  <= '0;
      wr_up_q    <= 1'b0;
    end else begin
      wr_count_q <= wr_next;
      wr_gray_q  <= to_gray(wr_next);
      wr_up_q    <= 1'b1;
    end
  end

  always_ff @(posedge wr_clk_i) begin
    if (wr_valid_i && wr_ready_o) words_q[wr_count_q[LogDepth-1:0]] <= wr_data_i;
  end

  ////////////
  // Reader //
  ////////////

  place_t rd_next, wr_gray_seen;
  logic   take;

  accelerator_cdc_sync #(
    .Width(LogDepth + 1)
  ) u_wr_gray (
    .clk_i(rd_clk_i), .rst_ni(rd_rst_ni), .d_i(wr_gray_q), .q_o(wr_gray_seen)
  );

  assign take       = wr_gray_seen != rd_gray_q && (!valid_q || rd_ready_i);
  assign rd_next    = rd_count_q + place_t'(take);
  assign rd_valid_o = valid_q;

  always_ff @(posedge rd_clk_i or negedge rd_rst_ni) begin
    if (!rd_rst_ni) begin
      rd_count_q <= '0;
      rd_gray_q  <= '0;
      valid_q    <= 1'b0;
    end else begin
      rd_count_q <= rd_next;
      rd_gray_q  <= to_gray(rd_next);
      valid_q    <= take || (valid_q && !rd_ready_i);
    end
  end

  always_ff @(posedge rd_clk_i) begin
    if (take) rd_data_o <= words_q[rd_count_q[LogDepth-1:0]];
  end

endmodule
