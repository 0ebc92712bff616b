// SPDX-License-Identifier: Apache-2.0
//
// Registers of the sorter, 32 bits each, behind BAR 0.
//
//   0x000  ID           ro   0x54524F53, "SORT"
//   0x004  VERSION      ro   0x00010000
//   0x008  CAPS         ro   15:0 keys of a block, 23:16 log2 of the most ring entries,
//                            31:24 MSI-X vectors in use
//   0x00C  CONTROL      rw   bit 0 ENABLE
//                            bit 1 SOFT_RESET: reads 1 until the transactions under way are
//                            over; then ENABLE, HEAD, TAIL, errors and counters are 0
//   0x010  STATUS       rw   bit 0 BUSY, bit 1 ERROR; writing 2 clears ERROR and ERR_INFO
//   0x014  SCRATCH      rw   byte enables honoured, 0 after reset
//   0x018  IRQ_ENABLE   rw   bit 0 done (vector 0), bit 1 error (vector 1)
//   0x020  RING_BASE_LO rw   bits 5:0 are 0
//   0x024  RING_BASE_HI rw
//   0x028  RING_LOG2    rw   0 to 10: log2 of the entries; a larger value counts as 10
//   0x02C  TAIL         rw   first descriptor that the device was not given yet
//   0x030  HEAD         ro   descriptor that is or will be worked on next
//   0x034  ERR_INFO     ro   of the first error since ERROR was clear: 7:0 code (1 bad
//                            descriptor, 2 fetch, 3 block read, 4 write back), 31:16 index
//   0x040  BLOCKS       ro   blocks sorted
//   0x044  IRQS         ro   MSI-X requests
//   0x048  DMA_RD_BYTES ro   two words, as
//   0x050  DMA_WR_BYTES ro   and
//   0x058  CYCLES       ro   clocks since reset; reading the low word of these three holds
//                            the high word for the next read of any of their high words
//
// A register takes a write as a whole by bytes: those without their byte enable stay. A write
// to CONTROL, STATUS or TAIL acts if byte 0 is enabled; TAIL takes bytes 0 and 1 together.

module sort_regs (
  input  logic        clk_i,
  input  logic        rst_ni,

  // Register port of accelerator_axi_regs.
  input  logic        wr_valid_i,
  input  logic [11:0] wr_addr_i,
  input  logic [31:0] wr_data_i,
  input  logic [3:0]  wr_strb_i,
  input  logic        rd_valid_i,
  // Reads are answered by word.
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic [11:0] rd_addr_i,
  /* verilator lint_on UNUSEDSIGNAL */
  output logic [31:0] rd_data_o,

  // To and from the engine.
  output logic        enable_o,
  output logic        stop_o,
  input  logic        stopped_i,
  output logic [63:0] ring_base_o,
  output logic [3:0]  ring_log2_o,
  output logic [9:0]  tail_o,
  input  logic [9:0]  head_i,
  input  logic        busy_i,
  output logic [1:0]  irq_enable_o,
  output logic        halted_o,
  input  logic        error_i,
  input  logic [7:0]  error_code_i,
  input  logic        block_done_i,
  input  logic        irq_done_i,
  input  logic        read_issued_i,
  input  logic        write_issued_i,
  input  logic [12:0] issued_bytes_i
);

  localparam logic [31:0] Id      = 32'h54524F53;
  localparam logic [31:0] Version = 32'h0001_0000;
  localparam logic [31:0] Caps    = {8'd2, 8'd10, 16'd1024};

  logic [31:0] scratch_q, blocks_q, irqs_q, err_info_q, high_q;
  logic [63:0] read_bytes_q, write_bytes_q, cycles_q;
  logic        error_q;

  function automatic logic [31:0] merge(logic [31:0] old, logic [31:0] data,
                                        logic [3:0] strb);
    for (int i = 0; i < 4; i++) merge[8*i +: 8] = strb[i] ? data[8*i +: 8] : old[8*i +: 8];
  endfunction

  // The ring as indices wrap in it.
  logic [9:0] ring_mask;
  assign ring_mask = 10'((11'd1 << ring_log2_o) - 11'd1);

  assign halted_o = error_q && err_info_q[7:0] == 8'd2;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      scratch_q     <= '0;
      enable_o      <= 1'b0;
      stop_o        <= 1'b0;
      irq_enable_o  <= '0;
      ring_base_o   <= '0;
      ring_log2_o   <= '0;
      tail_o        <= '0;
      error_q       <= 1'b0;
      err_info_q    <= '0;
      blocks_q      <= '0;
      irqs_q        <= '0;
      read_bytes_q  <= '0;
      write_bytes_q <= '0;
      cycles_q      <= '0;
      high_q        <= '0;
    end else begin
      cycles_q <= cycles_q + 64'd1;
      if (block_done_i) blocks_q <= blocks_q + 32'd1;
      if (irq_done_i) irqs_q <= irqs_q + 32'd1;
      if (read_issued_i) read_bytes_q <= read_bytes_q + 64'(issued_bytes_i);
      if (write_issued_i) write_bytes_q <= write_bytes_q + 64'(issued_bytes_i);

      if (wr_valid_i) begin
        case (wr_addr_i)
          12'h00C: if (wr_strb_i[0]) begin
            enable_o <= wr_data_i[0];
            if (wr_data_i[1]) stop_o <= 1'b1;
          end
          12'h010: if (wr_strb_i[0] && wr_data_i[1]) begin
            error_q    <= 1'b0;
            err_info_q <= '0;
          end
          12'h014: scratch_q <= merge(scratch_q, wr_data_i, wr_strb_i);
          12'h018: if (wr_strb_i[0]) irq_enable_o <= wr_data_i[1:0];
          12'h020: ring_base_o[31:0] <= merge(ring_base_o[31:0], wr_data_i, wr_strb_i) &
                                        32'hFFFF_FFC0;
          12'h024: ring_base_o[63:32] <= merge(ring_base_o[63:32], wr_data_i, wr_strb_i);
          12'h028: if (wr_strb_i[0]) begin
            ring_log2_o <= (wr_data_i[7:0] > 8'd10) ? 4'd10 : wr_data_i[3:0];
          end
          12'h02C: if (wr_strb_i[0]) tail_o <= wr_data_i[9:0] & ring_mask;
          default: ;
        endcase
      end

      // After the write, so that an error of the same clock stays.
      if (error_i) begin
        error_q <= 1'b1;
        if (!error_q || (wr_valid_i && wr_addr_i == 12'h010 && wr_strb_i[0] && wr_data_i[1]))
        begin
          err_info_q <= {6'd0, head_i, 8'd0, error_code_i};
        end
      end

      if (rd_valid_i) begin
        case ({rd_addr_i[11:2], 2'b00})
          12'h048: high_q <= read_bytes_q[63:32];
          12'h050: high_q <= write_bytes_q[63:32];
          12'h058: high_q <= cycles_q[63:32];
          default: ;
        endcase
      end

      if (stop_o && stopped_i) begin
        stop_o        <= 1'b0;
        enable_o      <= 1'b0;
        tail_o        <= '0;
        error_q       <= 1'b0;
        err_info_q    <= '0;
        blocks_q      <= '0;
        irqs_q        <= '0;
        read_bytes_q  <= '0;
        write_bytes_q <= '0;
        cycles_q      <= '0;
      end
    end
  end

  always_comb begin
    case ({rd_addr_i[11:2], 2'b00})
      12'h000: rd_data_o = Id;
      12'h004: rd_data_o = Version;
      12'h008: rd_data_o = Caps;
      12'h00C: rd_data_o = {30'd0, stop_o, enable_o};
      12'h010: rd_data_o = {30'd0, error_q,
                            busy_i || (enable_o && !halted_o && head_i != tail_o)};
      12'h014: rd_data_o = scratch_q;
      12'h018: rd_data_o = {30'd0, irq_enable_o};
      12'h020: rd_data_o = ring_base_o[31:0];
      12'h024: rd_data_o = ring_base_o[63:32];
      12'h028: rd_data_o = {28'd0, ring_log2_o};
      12'h02C: rd_data_o = {22'd0, tail_o};
      12'h030: rd_data_o = {22'd0, head_i};
      12'h034: rd_data_o = err_info_q;
      12'h040: rd_data_o = blocks_q;
      12'h044: rd_data_o = irqs_q;
      12'h048: rd_data_o = read_bytes_q[31:0];
      12'h050: rd_data_o = write_bytes_q[31:0];
      12'h058: rd_data_o = cycles_q[31:0];
      12'h04C, 12'h054, 12'h05C: rd_data_o = high_q;
      default: rd_data_o = '0;
    endcase
  end

endmodule
