// SPDX-License-Identifier: Apache-2.0
//
// A network port to measure with. It takes every frame and counts it, and does what a frame of
// EtherType 0x88B6 (local experiments) asks for in byte 14:
//
//   1  report: sends a frame of 60 bytes of that EtherType with what was counted, this one included
//   2  send:   sends as many frames of EtherType 0x88B5 as bytes 16 to 19 say, of the length in
//              bytes 20 and 21 (60 to 9216), as fast as they are taken
//
// A frame that it sends has a number of 64 bits at byte 16: frames counted in a report, from 0 on
// in the others, and in a report the bytes counted at byte 24. Numbers have their lowest byte
// first. While it sends, frames wait.

module channels_nic #(
  localparam int unsigned DataWidth = 512
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  // From the host. Of the data only the first beat matters.
  input  logic [DataWidth-1:0]   rx_data_i,
  input  logic [DataWidth/8-1:0] rx_keep_i,
  input  logic                   rx_last_i,
  input  logic                   rx_valid_i,
  output logic                   rx_ready_o,

  // To the host.
  output logic [DataWidth-1:0]   tx_data_o,
  output logic [DataWidth/8-1:0] tx_keep_o,
  output logic                   tx_last_o,
  output logic                   tx_valid_o,
  input  logic                   tx_ready_i
);

  localparam int unsigned BeatBytes = DataWidth / 8;
  localparam logic [15:0] Bulk = 16'hB588, Command = 16'hB688;
  localparam logic [7:0]  Report = 8'd1, Send = 8'd2;

  // Bytes of the first beat that mean something; all sixteen-bit fields as they lie in memory.
  typedef struct packed {
    logic [DataWidth-257:0] rest;
    logic [63:0]            bytes;    // 24
    logic [63:0]            number;   // 16
    logic [7:0]             zero;     // 15
    logic [7:0]             command;  // 14
    logic [15:0]            kind;     // 12
    logic [95:0]            addresses;
  } head_t;

  head_t head;
  /* verilator lint_off UNUSEDSIGNAL */
  head_t came;
  /* verilator lint_on UNUSEDSIGNAL */
  assign came = rx_data_i;

  logic [63:0] frames_q, bytes_q, number_q;
  logic [31:0] left_q;
  logic [15:0] length_q, at_q;
  logic        first_q, report_q;
  logic [7:0]  command_q;
  logic [31:0] asked_q;
  logic [15:0] asked_length_q;

  // What the command of this frame is, whether its first beat is the last one or not.
  logic [7:0]  command;
  logic [31:0] asked;
  logic [15:0] asked_length;
  assign command      = !first_q ? command_q : (came.kind == Command) ? came.command : 8'd0;
  assign asked        = first_q ? came.number[31:0] : asked_q;
  assign asked_length = first_q ? came.number[47:32] : asked_length_q;

  logic rx, tx;
  assign rx_ready_o = rst_ni && left_q == '0;
  assign rx         = rx_valid_i && rx_ready_o;
  assign tx         = tx_valid_o && tx_ready_i;

  // What is sent: `at` bytes of the frame were taken.
  logic [15:0] remaining;
  assign remaining  = length_q - at_q;
  assign tx_valid_o = left_q != '0;
  assign tx_last_o  = 32'(remaining) <= BeatBytes;
  always_comb begin
    head           = '0;
    head.addresses = {48'h01_00_00_00_00_02, 48'hFF_FF_FF_FF_FF_FF};
    head.kind      = report_q ? Command : Bulk;
    head.command   = report_q ? Report : 8'd0;
    head.number    = report_q ? frames_q : number_q;
    head.bytes     = report_q ? bytes_q : '0;
    tx_data_o      = (at_q == '0) ? head : {(DataWidth / 64){number_q}};
    for (int unsigned i = 0; i < BeatBytes; i++) tx_keep_o[i] = i < 32'(remaining);
  end

  always_ff @(posedge clk_i) begin
    if (rx) begin
      bytes_q        <= bytes_q + 64'($countones(rx_keep_i));
      first_q        <= rx_last_i;
      command_q      <= command;
      asked_q        <= asked;
      asked_length_q <= asked_length;
      if (rx_last_i) begin
        frames_q <= frames_q + 64'd1;
        number_q <= '0;
        at_q     <= '0;
        if (command == Report) begin
          report_q <= 1'b1;
          left_q   <= 32'd1;
          length_q <= 16'd60;
        end else if (command == Send && asked_length >= 16'd60 && asked_length <= 16'd9216) begin
          report_q <= 1'b0;
          left_q   <= asked;
          length_q <= asked_length;
        end
      end
    end
    if (tx) begin
      at_q <= at_q + 16'(BeatBytes);
      if (tx_last_o) begin
        at_q     <= '0;
        left_q   <= left_q - 32'd1;
        number_q <= number_q + 64'd1;
      end
    end
    if (!rst_ni) begin
      frames_q <= '0;
      bytes_q  <= '0;
      left_q   <= '0;
      first_q  <= 1'b1;
    end
  end

endmodule
