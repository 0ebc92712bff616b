// SPDX-License-Identifier: Apache-2.0
//
// The config block, target 3 of the DMA BAR, and the registers that the descriptor lists of all
// channels share, target 6.

module accelerator_xdma_config
  import accelerator_xdma_pkg::*;
#(
  parameter int unsigned DataWidth   = 64,
  parameter int unsigned H2cChannels = 1,
  parameter int unsigned C2hChannels = 1
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  input  logic                   wr_i,
  input  logic [15:2]            wr_addr_i,
  input  logic [31:0]            wr_data_i,
  input  logic [3:0]             wr_strb_i,
  input  logic [15:2]            rd_addr_i,
  output logic [31:0]            rd_data_o,

  input  logic                   msi_enable_i,
  input  logic                   msix_enable_i,
  input  logic [2:0]             max_payload_i,
  input  logic [2:0]             max_read_req_i,
  input  logic [15:0]            requester_id_i,

  output logic [H2cChannels-1:0] h2c_halt_o,
  output logic [C2hChannels-1:0] c2h_halt_o,
  output logic [H2cChannels-1:0] h2c_credit_mode_o,
  output logic [C2hChannels-1:0] c2h_credit_mode_o
);

  localparam logic [31:0] ChannelBits = {12'd0, 4'((1 << C2hChannels) - 1), 12'd0,
                                         4'((1 << H2cChannels) - 1)};

  logic        relaxed_q;
  // The largest payload and read that the user lets be: 5 is 4096 bytes.
  logic [2:0]  user_payload_q, user_read_q;
  logic [4:0]  flush_q;
  logic [31:0] halt_q, credit_mode_q;

  assign h2c_halt_o        = halt_q[H2cChannels-1:0];
  assign c2h_halt_o        = halt_q[16 +: C2hChannels];
  assign h2c_credit_mode_o = credit_mode_q[H2cChannels-1:0];
  assign c2h_credit_mode_o = credit_mode_q[16 +: C2hChannels];

  function automatic logic [2:0] least(logic [2:0] a, logic [2:0] b);
    return (a < b) ? a : b;
  endfunction

  always_comb begin
    rd_data_o = '0;
    case ({rd_addr_i[15:2], 2'b00})
      {TargetConfig, 12'h000}: rd_data_o = identifier(TargetConfig, 1'b0, '0);
      {TargetConfig, 12'h004}: rd_data_o = 32'(requester_id_i);
      {TargetConfig, 12'h008}: rd_data_o = 32'(max_payload_i);
      {TargetConfig, 12'h00C}: rd_data_o = 32'(max_read_req_i);
      {TargetConfig, 12'h010}: rd_data_o = 32'h0000_FF01;
      {TargetConfig, 12'h014}: rd_data_o = {30'd0, msix_enable_i, msi_enable_i};
      {TargetConfig, 12'h018}: rd_data_o = 32'($clog2(DataWidth / 64));
      {TargetConfig, 12'h01C}: rd_data_o = 32'(relaxed_q);
      {TargetConfig, 12'h040}:
        rd_data_o = {25'd0, least(user_payload_q, max_payload_i), 1'b0, user_payload_q};
      {TargetConfig, 12'h044}:
        rd_data_o = {25'd0, least(user_read_q, max_read_req_i), 1'b0, user_read_q};
      {TargetConfig, 12'h060}: rd_data_o = 32'(flush_q);
      {TargetSgdma, 12'h000}:  rd_data_o = identifier(TargetSgdma, 1'b0, '0);
      {TargetSgdma, 12'h010}, {TargetSgdma, 12'h014}, {TargetSgdma, 12'h018}: rd_data_o = halt_q;
      {TargetSgdma, 12'h020}, {TargetSgdma, 12'h024}, {TargetSgdma, 12'h028}:
        rd_data_o = credit_mode_q;
      default: ;
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      relaxed_q      <= 1'b1;
      user_payload_q <= 3'd5;
      user_read_q    <= 3'd5;
      flush_q        <= '0;
      halt_q         <= '0;
      credit_mode_q  <= '0;
    end else if (wr_i) begin
      case ({wr_addr_i[15:2], 2'b00})
        {TargetConfig, 12'h01C}: relaxed_q <= 1'(written(32'(relaxed_q), wr_data_i, wr_strb_i));
        {TargetConfig, 12'h040}:
          user_payload_q <= 3'(written(32'(user_payload_q), wr_data_i, wr_strb_i));
        {TargetConfig, 12'h044}: user_read_q <= 3'(written(32'(user_read_q), wr_data_i, wr_strb_i));
        {TargetConfig, 12'h060}: flush_q <= 5'(written(32'(flush_q), wr_data_i, wr_strb_i));
        {TargetSgdma, 12'h010}, {TargetSgdma, 12'h014}, {TargetSgdma, 12'h018}:
          halt_q <= changed(halt_q, wr_addr_i[3:2], wr_data_i, wr_strb_i) & ChannelBits;
        {TargetSgdma, 12'h020}, {TargetSgdma, 12'h024}, {TargetSgdma, 12'h028}:
          credit_mode_q <= changed(credit_mode_q, wr_addr_i[3:2], wr_data_i, wr_strb_i) &
                           ChannelBits;
        default: ;
      endcase
    end
  end

endmodule
