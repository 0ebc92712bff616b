// SPDX-License-Identifier: Apache-2.0
//
// Sixteen registers of 32 bits that the guest reaches through BAR 0 and a person through the
// monitor on the serial line.
//
//   0x00  ID     ro  0x54524155, the bytes "UART"
//   0x04  BYTES  ro  bytes that came on the serial line
//   0x08 to 0x3C rw
//
// Where both write in one clock, the guest's write is done and the monitor's waits.

module uart_regs (
  input  logic        clk_i,
  input  logic        rst_ni,

  // Register port of accelerator_axi_regs, by word.
  input  logic        wr_valid_i,
  input  logic [3:0]  wr_index_i,
  input  logic [31:0] wr_data_i,
  input  logic [3:0]  wr_strb_i,
  input  logic [3:0]  rd_index_i,
  output logic [31:0] rd_data_o,

  // The monitor's port.
  input  logic [3:0]  index_i,
  output logic [31:0] value_o,
  input  logic        write_i,
  input  logic [31:0] data_i,
  output logic        written_o,

  input  logic        byte_i
);

  localparam logic [31:0] Id = 32'h54524155;

  logic [31:0] regs_q [16];
  logic [31:0] bytes_q;

  function automatic logic [31:0] value(logic [3:0] index, logic [31:0] stored,
                                        logic [31:0] bytes);
    return (index == 4'd0) ? Id : (index == 4'd1) ? bytes : stored;
  endfunction

  assign rd_data_o = value(rd_index_i, regs_q[rd_index_i], bytes_q);
  assign value_o   = value(index_i, regs_q[index_i], bytes_q);
  assign written_o = write_i && !wr_valid_i;

  always_ff @(posedge clk_i) begin
    if (byte_i) bytes_q <= bytes_q + 32'd1;
    if (wr_valid_i) begin
      for (int i = 0; i < 4; i++) begin
        if (wr_strb_i[i]) regs_q[wr_index_i][8*i +: 8] <= wr_data_i[8*i +: 8];
      end
    end else if (write_i) begin
      regs_q[index_i] <= data_i;
    end
    if (!rst_ni) begin
      bytes_q <= '0;
      for (int i = 0; i < 16; i++) regs_q[i] <= '0;
    end
  end

endmodule
