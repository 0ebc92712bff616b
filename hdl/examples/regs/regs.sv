// SPDX-License-Identifier: Apache-2.0
//
// The smallest example: a few 32-bit registers behind BAR 0. Copy it to begin with.
//
//   0x00  ID       ro  0x53474552, "REGS"
//   0x04  SCRATCH  rw  byte enables honoured, 0 after reset
//   0x08  COUNTER  ro  clocks since reset
//   0x0C  IRQ      rw  a write raises the MSI-X vector of that number
//   0x10  RAM      rw  128 bytes, byte enables honoured; anything beyond reads 0

module regs (
  input  logic        clk_i,
  input  logic        rst_ni,

  // Register port of accelerator_axi_regs.
  input  logic        wr_valid_i,
  output logic        wr_ready_o,
  input  logic [11:0] wr_addr_i,
  input  logic [31:0] wr_data_i,
  input  logic [3:0]  wr_strb_i,
  // Reads are answered by word.
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic [11:0] rd_addr_i,
  /* verilator lint_on UNUSEDSIGNAL */
  output logic [31:0] rd_data_o,

  output logic        msix_valid_o,
  input  logic        msix_ready_i,
  output logic [10:0] msix_vector_o
);

  localparam logic [31:0] Id       = 32'h53474552;
  localparam int unsigned RamWords = 32;

  logic [31:0] scratch_q, counter_q;
  logic [31:0] ram_q [RamWords];

  // The bytes of old whose strobe is set, replaced by those of the write.
  function automatic logic [31:0] merge(logic [31:0] old, logic [31:0] data,
                                        logic [3:0] strb);
    for (int i = 0; i < 4; i++) merge[8*i +: 8] = strb[i] ? data[8*i +: 8] : old[8*i +: 8];
  endfunction

  function automatic logic is_ram(logic [11:0] addr);
    return addr >= 12'h010 && addr < 12'h090;
  endfunction

  function automatic logic [4:0] ram_index(logic [11:0] addr);
    return 5'((addr - 12'h010) >> 2);
  endfunction

  // The guest's write waits while an interrupt is still being handed over.
  assign wr_ready_o = !msix_valid_o || msix_ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      scratch_q     <= '0;
      counter_q     <= '0;
      msix_valid_o  <= 1'b0;
      msix_vector_o <= '0;
      for (int i = 0; i < int'(RamWords); i++) ram_q[i] <= '0;
    end else begin
      counter_q <= counter_q + 32'd1;
      if (msix_ready_i) msix_valid_o <= 1'b0;
      if (wr_valid_i && wr_ready_o) begin
        if (wr_addr_i == 12'h004) begin
          scratch_q <= merge(scratch_q, wr_data_i, wr_strb_i);
        end else if (wr_addr_i == 12'h00C) begin
          msix_valid_o  <= 1'b1;
          msix_vector_o <= 11'(merge(32'd0, wr_data_i, wr_strb_i));
        end else if (is_ram(wr_addr_i)) begin
          ram_q[ram_index(wr_addr_i)] <=
            merge(ram_q[ram_index(wr_addr_i)], wr_data_i, wr_strb_i);
        end
      end
    end
  end

  always_comb begin
    rd_data_o = '0;
    case ({rd_addr_i[11:2], 2'b00})
      12'h000: rd_data_o = Id;
      12'h004: rd_data_o = scratch_q;
      12'h008: rd_data_o = counter_q;
      12'h00C: rd_data_o = {21'd0, msix_vector_o};
      default: if (is_ram(rd_addr_i)) rd_data_o = ram_q[ram_index(rd_addr_i)];
    endcase
  end

endmodule
