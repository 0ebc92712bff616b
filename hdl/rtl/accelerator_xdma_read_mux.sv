// SPDX-License-Identifier: Apache-2.0
//
// Read requests of several masters on one AR channel, in turn. The ID of a request is the number of
// its master, by which its data finds the way back. Whoever asks has room for it.

module accelerator_xdma_read_mux #(
  parameter int unsigned Masters = 2,
  parameter int unsigned IdWidth = 4
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,

  input  logic [Masters-1:0]       valid_i,
  output logic [Masters-1:0]       ready_o,
  input  logic [Masters-1:0][63:0] addr_i,
  input  logic [Masters-1:0][7:0]  len_i,
  input  logic [Masters-1:0][2:0]  size_i,
  input  logic [Masters-1:0][1:0]  burst_i,

  output logic                     ar_valid_o,
  input  logic                     ar_ready_i,
  output logic [IdWidth-1:0]       ar_id_o,
  output logic [63:0]              ar_addr_o,
  output logic [7:0]               ar_len_o,
  output logic [2:0]               ar_size_o,
  output logic [1:0]               ar_burst_o
);

  logic [IdWidth-1:0] pick;
  logic               any, free;

  accelerator_xdma_turn #(
    .Masters(Masters), .IdWidth(IdWidth)
  ) u_turn (
    .clk_i, .rst_ni, .valid_i, .take_i(any && free), .any_o(any), .pick_o(pick)
  );

  assign free    = !ar_valid_o || ar_ready_i;
  assign ready_o = (any && free) ? Masters'(1) << pick : '0;

  always_ff @(posedge clk_i) begin
    if (free) begin
      ar_id_o    <= pick;
      ar_addr_o  <= addr_i[pick];
      ar_len_o   <= len_i[pick];
      ar_size_o  <= size_i[pick];
      ar_burst_o <= burst_i[pick];
    end
    if (!rst_ni) ar_valid_o <= 1'b0;
    else if (free) ar_valid_o <= any;
  end

endmodule
