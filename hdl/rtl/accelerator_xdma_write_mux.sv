// SPDX-License-Identifier: Apache-2.0
//
// Write bursts of several masters on one AW and one W channel, in turn and one burst after the
// other: whoever asks has its data. The ID of a burst is the number of its master, by which its
// response finds the way back.

module accelerator_xdma_write_mux #(
  parameter int unsigned Masters   = 2,
  parameter int unsigned DataWidth = 64,
  parameter int unsigned IdWidth   = 4
) (
  input  logic                                clk_i,
  input  logic                                rst_ni,

  input  logic [Masters-1:0]                  aw_valid_i,
  output logic [Masters-1:0]                  aw_ready_o,
  input  logic [Masters-1:0][63:0]            aw_addr_i,
  input  logic [Masters-1:0][7:0]             aw_len_i,
  input  logic [Masters-1:0][2:0]             aw_size_i,
  input  logic [Masters-1:0][1:0]             aw_burst_i,
  input  logic [Masters-1:0]                  w_valid_i,
  output logic [Masters-1:0]                  w_ready_o,
  input  logic [Masters-1:0][DataWidth-1:0]   w_data_i,
  input  logic [Masters-1:0][DataWidth/8-1:0] w_strb_i,
  input  logic [Masters-1:0]                  w_last_i,

  output logic                                aw_valid_o,
  input  logic                                aw_ready_i,
  output logic [IdWidth-1:0]                  aw_id_o,
  output logic [63:0]                         aw_addr_o,
  output logic [7:0]                          aw_len_o,
  output logic [2:0]                          aw_size_o,
  output logic [1:0]                          aw_burst_o,
  output logic                                w_valid_o,
  input  logic                                w_ready_i,
  output logic [DataWidth-1:0]                w_data_o,
  output logic [DataWidth/8-1:0]              w_strb_o,
  output logic                                w_last_o
);

  localparam int unsigned TurnWidth = (Masters == 1) ? 1 : $clog2(Masters);

  logic [IdWidth-1:0]   pick;
  logic [TurnWidth-1:0] turn;
  logic                 any, free;
  // A burst whose data is not yet all taken.
  logic               data_q;

  accelerator_xdma_turn #(
    .Masters(Masters), .IdWidth(IdWidth)
  ) u_turn (
    .clk_i, .rst_ni, .valid_i(aw_valid_i), .take_i(any && free), .any_o(any), .pick_o(pick)
  );

  assign turn       = aw_id_o[TurnWidth-1:0];
  assign free       = !data_q && (!aw_valid_o || aw_ready_i);
  assign aw_ready_o = (any && free) ? Masters'(1) << pick : '0;

  // Who has its burst.
  assign w_valid_o  = data_q && w_valid_i[turn];
  assign w_data_o   = w_data_i[turn];
  assign w_strb_o   = w_strb_i[turn];
  assign w_last_o   = w_last_i[turn];
  assign w_ready_o  = (data_q && w_ready_i) ? Masters'(1) << turn : '0;

  always_ff @(posedge clk_i) begin
    if (any && free) begin
      aw_id_o    <= pick;
      aw_addr_o  <= aw_addr_i[pick];
      aw_len_o   <= aw_len_i[pick];
      aw_size_o  <= aw_size_i[pick];
      aw_burst_o <= aw_burst_i[pick];
    end
    if (!rst_ni) begin
      aw_valid_o <= 1'b0;
      data_q     <= 1'b0;
    end else begin
      if (aw_ready_i) aw_valid_o <= 1'b0;
      if (w_valid_o && w_ready_i && w_last_o) data_q <= 1'b0;
      if (any && free) begin
        aw_valid_o <= 1'b1;
        data_q     <= 1'b1;
      end
    end
  end

endmodule
