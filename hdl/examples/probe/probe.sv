// SPDX-License-Identifier: Apache-2.0
//
// RTL for tests of the co-simulation itself: registers that make the awkward things happen.
// BAR 0 has 8 KiB; 32-bit registers unless said otherwise, on a 64-bit bus.
//
//   0x000  ID           ro  0x424F5250, "PROB"
//   0x004  VERSION      ro  1
//   0x008  SCRATCH      rw
//   0x00C  CYCLES       ro  clocks since reset
//
//   A read that needs host memory to be answered:
//   0x010  RD_ADDR      rw  64 bits, a multiple of 8
//   0x018  RD_STATUS    ro  1:0 response of the last one, 31:16 number of them
//   0x020  RD_DATA      ro  64 bits: a read is answered with what a DMA read of 8 bytes at
//                           RD_ADDR returns; a DMA read that fails is a read that fails
//
//   A read that waits for a write:
//   0x028  HOLD         ro  answered when RELEASE was written since the last such answer
//   0x02C  RELEASE      rw  what HOLD returns
//
//   A DMA write with holes:
//   0x030  WR_ADDR      rw  64 bits, a multiple of 8
//   0x038  WR_STRB      rw  64 bits: whether byte n of WR_DATA is written
//   0x040  WR_DATA      rw  64 bytes
//   0x080  WR_GO        wo  a write starts a burst of as many 8-byte beats as its value, 1 to 8
//   0x084  WR_STATUS    ro  0 busy, 2:1 response of the last one, 31:16 number of them
//
//   Rounds of the ordering test. A round DMA-writes its number N to every word of the buffer,
//   and then sets LIT_DONE to N. Who reads N from LIT_DONE, and then the buffer, sees N.
//   0x090  LIT_ADDR     rw  64 bits, a multiple of 64; the buffer stays inside 4 KiB
//   0x098  LIT_CTRL     rw  0 waits for the response of the DMA write before LIT_DONE changes
//                           (else it changes when the data is on its way), 1 raises an
//                           interrupt with the change, 10:8 its vector, 23:16 words of 8 bytes
//                           in the buffer less 1
//   0x09C  LIT_GO       wo  a write of N starts round N. It waits while one is under way
//   0x0A0  LIT_DONE     ro  N of the last round
//   0x0A4  LIT_ROUNDS   ro  number of rounds
//   0x0A8  LIT_ERRORS   ro  number of DMA writes, of these rounds or WR_GO, that failed
//
//   Interrupts and counters:
//   0x0B0  MSIX_GO      wo  a write raises the vector of that number
//   0x0B4  MSIX_COUNT   ro  interrupts raised
//   0x0C0  WR_BEATS     ro  write beats that came to BAR 0, this one not included
//   0x0C4  RD_BEATS     ro  read beats, likewise
//   0x0C8  LAST_WR_STRB ro  strobes, on 8 lanes, of the last write beat at or above 0x1000
//   0x0CC  LAST_WR_ADDR ro  and its address, a multiple of 8
//   0x0D0  LAST_RD_ADDR ro  address of the last read beat at or above 0x1000
//
//   What the guest has set in config space, as the bridge shows it:
//   0x0D8  CFG          ro  0 memory space, 1 bus master, 2 INTx disable, 3 MSI-X enable, 4 MSI-X
//                           mask, 5 extended tags, 6 relaxed ordering, 7 no snoop, 9:8 power
//                           state, 12:10 max payload, 15:13 max read request, 31:16 requester id
//   0x0DC  CFG_LINK     ro  2:0 generation, 13:8 lanes
//
//   0x1000 RAM          rw  4 KiB, byte enables honoured, not changed by a reset

module probe #(
  parameter int unsigned DmaIdWidth = 4
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,

  // Register port of accelerator_axi_regs.
  input  logic                  wr_valid_i,
  output logic                  wr_ready_o,
  input  logic [12:0]           wr_addr_i,
  input  logic [63:0]           wr_data_i,
  input  logic [7:0]            wr_strb_i,
  input  logic                  rd_valid_i,
  output logic                  rd_ready_o,
  input  logic [12:0]           rd_addr_i,
  output logic [63:0]           rd_data_o,
  output logic                  rd_error_o,

  output logic [DmaIdWidth-1:0] m_axi_awid,
  output logic [63:0]           m_axi_awaddr,
  output logic [7:0]            m_axi_awlen,
  output logic [2:0]            m_axi_awsize,
  output logic [1:0]            m_axi_awburst,
  output logic                  m_axi_awvalid,
  input  logic                  m_axi_awready,
  output logic [63:0]           m_axi_wdata,
  output logic [7:0]            m_axi_wstrb,
  output logic                  m_axi_wlast,
  output logic                  m_axi_wvalid,
  input  logic                  m_axi_wready,
  input  logic [1:0]            m_axi_bresp,
  input  logic                  m_axi_bvalid,
  output logic                  m_axi_bready,
  output logic [DmaIdWidth-1:0] m_axi_arid,
  output logic [63:0]           m_axi_araddr,
  output logic [7:0]            m_axi_arlen,
  output logic [2:0]            m_axi_arsize,
  output logic [1:0]            m_axi_arburst,
  output logic                  m_axi_arvalid,
  input  logic                  m_axi_arready,
  input  logic [63:0]           m_axi_rdata,
  input  logic [1:0]            m_axi_rresp,
  input  logic                  m_axi_rvalid,
  output logic                  m_axi_rready,

  // CFG and CFG_LINK.
  input  logic [31:0]           cfg_i,
  input  logic [31:0]           cfg_link_i,

  output logic                  msix_valid_o,
  input  logic                  msix_ready_i,
  output logic [10:0]           msix_vector_o
);

  localparam logic [31:0] Id       = 32'h424F5250;
  localparam int unsigned RamWords = 512;
  // Most DMA writes that wait for their response.
  localparam logic [3:0]  MaxWrites = 4'd8;

  logic [31:0] scratch_q, cycles_q, release_q, lit_n_q, lit_done_q, lit_rounds_q, lit_errors_q;
  logic [31:0] msix_count_q, wr_beats_q, rd_beats_q, last_rd_addr_q, last_wr_addr_q;
  logic [7:0]  last_wr_strb_q;
  logic [63:0] rd_addr_q, wr_addr_q, wr_strb_q, lit_addr_q;
  logic [63:0] wr_data_q [8];
  logic [31:0] lit_ctrl_q;
  logic [63:0] ram_q [RamWords];

  function automatic logic [63:0] merge(logic [63:0] old, logic [63:0] data,
                                        logic [7:0] strb);
    for (int i = 0; i < 8; i++) merge[8*i +: 8] = strb[i] ? data[8*i +: 8] : old[8*i +: 8];
  endfunction

  // Whether a beat writes the 32-bit register at addr; its data.
  function automatic logic hits(logic [12:0] addr);
    return wr_valid_i && (wr_addr_i | (addr & 13'h4)) == addr &&
           wr_strb_i[{addr[2], 2'b00} +: 4] != '0;
  endfunction

  function automatic logic [31:0] word(logic upper);
    automatic logic [63:0] data = merge('0, wr_data_i, wr_strb_i);
    return upper ? data[63:32] : data[31:0];
  endfunction

  ////////////////
  // DMA writes //
  ////////////////

  // A burst under way: whether it is that of a round, whether all its data was offered, whether
  // the beat that is offered is the last, and beats left after the next one.
  logic        busy_q, round_q, data_q, last_q;
  logic [7:0]  left_q;
  logic [2:0]  beat_q;
  // Responses to come.
  logic [3:0]  responses_q;
  logic [1:0]  wr_resp_q;
  logic        wr_busy_q;
  logic [15:0] wr_count_q;

  logic wr_go, lit_go, msix_go, burst_end, msix_free;
  assign wr_go     = hits(13'h080);
  assign lit_go    = hits(13'h09C);
  assign msix_go   = hits(13'h0B0);
  assign msix_free = !msix_valid_o || msix_ready_i;
  // One thing at a time; the guest's write waits.
  assign wr_ready_o = !((wr_go || lit_go) && (busy_q || responses_q == MaxWrites)) &&
                      !(msix_go && (!msix_free || busy_q));

  // The burst is over once the last data was taken, or its response is there.
  assign burst_end = busy_q && !m_axi_awvalid && !m_axi_wvalid && data_q && msix_free &&
                     (responses_q == '0 || (round_q && !lit_ctrl_q[0]));

  assign m_axi_awid    = '0;
  assign m_axi_awsize  = 3'd3;
  assign m_axi_awburst = 2'b01;
  assign m_axi_wlast   = last_q;
  assign m_axi_bready  = 1'b1;

  ///////////////
  // DMA reads //
  ///////////////

  // A read of RD_DATA is being answered: asked for, or there.
  logic        fetch_q, fetched_q;
  logic [63:0] fetch_data_q;
  logic [1:0]  fetch_resp_q;
  logic [15:0] fetch_count_q;
  logic        released_q;

  logic is_fetch, is_hold;
  assign is_fetch   = rd_addr_i[12:3] == 10'(13'h020 >> 3);
  assign is_hold    = {rd_addr_i[12:2], 2'b00} == 13'h028;
  assign rd_ready_o = is_fetch ? fetched_q : is_hold ? released_q : 1'b1;
  assign rd_error_o = is_fetch && fetch_resp_q[1];

  assign m_axi_arid    = '0;
  assign m_axi_araddr  = rd_addr_q;
  assign m_axi_arlen   = 8'd0;
  assign m_axi_arsize  = 3'd3;
  assign m_axi_arburst = 2'b01;
  assign m_axi_rready  = 1'b1;

  // Kept apart: a memory without reset.
  always_ff @(posedge clk_i) begin : p_ram
    if (wr_valid_i && wr_ready_o && wr_addr_i[12]) begin
      ram_q[wr_addr_i[11:3]] <= merge(ram_q[wr_addr_i[11:3]], wr_data_i, wr_strb_i);
    end
  end

  always_ff @(posedge clk_i) begin : p_registers
    if (!rst_ni) begin
      scratch_q      <= '0;
      cycles_q       <= '0;
      release_q      <= '0;
      released_q     <= 1'b0;
      rd_addr_q      <= '0;
      wr_addr_q      <= '0;
      wr_strb_q      <= '0;
      lit_addr_q     <= '0;
      lit_ctrl_q     <= '0;
      wr_beats_q     <= '0;
      rd_beats_q     <= '0;
      last_wr_strb_q <= '0;
      last_wr_addr_q <= '0;
      last_rd_addr_q <= '0;
      fetch_q        <= 1'b0;
      fetched_q      <= 1'b0;
      fetch_count_q  <= '0;
      fetch_resp_q   <= '0;
      m_axi_arvalid  <= 1'b0;
      for (int i = 0; i < 8; i++) wr_data_q[i] <= '0;
    end else begin
      cycles_q <= cycles_q + 32'd1;

      if (wr_valid_i && wr_ready_o) begin
        wr_beats_q <= wr_beats_q + 32'd1;
        if (wr_addr_i[12]) begin
          last_wr_strb_q <= wr_strb_i;
          last_wr_addr_q <= 32'(wr_addr_i);
        end
        if (wr_addr_i[12:6] == 7'h01) begin
          wr_data_q[wr_addr_i[5:3]] <= merge(wr_data_q[wr_addr_i[5:3]], wr_data_i, wr_strb_i);
        end
        case (wr_addr_i)
          13'h008: scratch_q <= 32'(merge({32'd0, scratch_q}, wr_data_i, wr_strb_i));
          13'h010: rd_addr_q <= merge(rd_addr_q, wr_data_i, wr_strb_i) & ~64'd7;
          13'h030: wr_addr_q <= merge(wr_addr_q, wr_data_i, wr_strb_i) & ~64'd7;
          13'h038: wr_strb_q <= merge(wr_strb_q, wr_data_i, wr_strb_i);
          13'h090: lit_addr_q <= merge(lit_addr_q, wr_data_i, wr_strb_i) & ~64'd63;
          13'h098: lit_ctrl_q <= 32'(merge({32'd0, lit_ctrl_q}, wr_data_i, wr_strb_i));
          default: ;
        endcase
      end

      if (rd_valid_i && rd_ready_o) begin
        rd_beats_q <= rd_beats_q + 32'd1;
        if (rd_addr_i[12]) last_rd_addr_q <= 32'(rd_addr_i);
      end

      if (m_axi_arready) m_axi_arvalid <= 1'b0;
      if (rd_valid_i && is_fetch) begin
        if (fetched_q) begin
          fetch_q   <= 1'b0;
          fetched_q <= 1'b0;
        end else if (!fetch_q) begin
          fetch_q       <= 1'b1;
          m_axi_arvalid <= 1'b1;
        end
      end
      if (m_axi_rvalid) begin
        fetched_q     <= 1'b1;
        fetch_data_q  <= m_axi_rdata;
        fetch_resp_q  <= m_axi_rresp;
        fetch_count_q <= fetch_count_q + 16'd1;
      end

      if (rd_valid_i && is_hold && released_q) released_q <= 1'b0;
      if (hits(13'h02C)) begin
        release_q  <= word(1'b1);
        released_q <= 1'b1;
      end
    end
  end

  always_ff @(posedge clk_i) begin : p_writer
    if (!rst_ni) begin
      busy_q        <= 1'b0;
      round_q       <= 1'b0;
      data_q        <= 1'b0;
      responses_q   <= '0;
      wr_resp_q     <= '0;
      wr_busy_q     <= 1'b0;
      wr_count_q    <= '0;
      lit_n_q       <= '0;
      lit_done_q    <= '0;
      lit_rounds_q  <= '0;
      lit_errors_q  <= '0;
      msix_valid_o  <= 1'b0;
      msix_vector_o <= '0;
      msix_count_q  <= '0;
      m_axi_awvalid <= 1'b0;
      m_axi_wvalid  <= 1'b0;
    end else begin
      if (m_axi_awready) m_axi_awvalid <= 1'b0;
      if (msix_ready_i) msix_valid_o <= 1'b0;
      if (msix_valid_o && msix_ready_i) msix_count_q <= msix_count_q + 32'd1;

      // Data: a beat is offered in the clock after the one before was taken.
      if (m_axi_wvalid && m_axi_wready) m_axi_wvalid <= 1'b0;
      if (busy_q && !data_q && (!m_axi_wvalid || m_axi_wready)) begin
        m_axi_wvalid <= 1'b1;
        m_axi_wdata  <= round_q ? {2{lit_n_q}} : wr_data_q[beat_q];
        m_axi_wstrb  <= round_q ? 8'hFF : wr_strb_q[{beat_q, 3'd0} +: 8];
        last_q       <= left_q == 8'd0;
        data_q       <= left_q == 8'd0;
        left_q       <= left_q - 8'd1;
        beat_q       <= beat_q + 3'd1;
      end

      responses_q <= responses_q + 4'(wr_valid_i && wr_ready_o && (wr_go || lit_go)) -
                     4'(m_axi_bvalid);
      if (m_axi_bvalid) begin
        wr_resp_q <= m_axi_bresp;
        if (m_axi_bresp[1]) lit_errors_q <= lit_errors_q + 32'd1;
      end

      if (burst_end) begin
        busy_q <= 1'b0;
        if (round_q) begin
          lit_done_q   <= lit_n_q;
          lit_rounds_q <= lit_rounds_q + 32'd1;
          if (lit_ctrl_q[1]) begin
            msix_valid_o  <= 1'b1;
            msix_vector_o <= {8'd0, lit_ctrl_q[10:8]};
          end
        end else begin
          wr_busy_q  <= 1'b0;
          wr_count_q <= wr_count_q + 16'd1;
        end
      end

      if (wr_valid_i && wr_ready_o && (wr_go || lit_go)) begin
        busy_q        <= 1'b1;
        round_q       <= lit_go;
        wr_busy_q     <= wr_go;
        data_q        <= 1'b0;
        beat_q        <= '0;
        m_axi_awvalid <= 1'b1;
        if (lit_go) begin
          lit_n_q      <= word(1'b1);
          left_q       <= lit_ctrl_q[23:16];
          m_axi_awaddr <= lit_addr_q;
          m_axi_awlen  <= lit_ctrl_q[23:16];
        end else begin
          left_q       <= {5'd0, 3'(word(1'b0) - 32'd1)};
          m_axi_awaddr <= wr_addr_q;
          m_axi_awlen  <= {5'd0, 3'(word(1'b0) - 32'd1)};
        end
      end
      if (wr_valid_i && wr_ready_o && msix_go) begin
        msix_valid_o  <= 1'b1;
        msix_vector_o <= 11'(word(1'b0));
      end
    end
  end

  always_comb begin
    case ({rd_addr_i[12:3], 3'd0})
      13'h000: rd_data_o = {32'd1, Id};
      13'h008: rd_data_o = {cycles_q, scratch_q};
      13'h010: rd_data_o = rd_addr_q;
      13'h018: rd_data_o = {32'd0, fetch_count_q, 14'd0, fetch_resp_q};
      13'h020: rd_data_o = fetch_data_q;
      13'h028: rd_data_o = {2{release_q}};
      13'h030: rd_data_o = wr_addr_q;
      13'h038: rd_data_o = wr_strb_q;
      13'h080: rd_data_o = {wr_count_q, 13'd0, wr_resp_q, wr_busy_q, 32'd0};
      13'h090: rd_data_o = lit_addr_q;
      13'h098: rd_data_o = {32'd0, lit_ctrl_q};
      13'h0A0: rd_data_o = {lit_rounds_q, lit_done_q};
      13'h0A8: rd_data_o = {32'd0, lit_errors_q};
      13'h0B0: rd_data_o = {msix_count_q, 32'd0};
      13'h0C0: rd_data_o = {rd_beats_q, wr_beats_q};
      13'h0C8: rd_data_o = {last_wr_addr_q, 24'd0, last_wr_strb_q};
      13'h0D0: rd_data_o = {32'd0, last_rd_addr_q};
      13'h0D8: rd_data_o = {cfg_link_i, cfg_i};
      default: rd_data_o = '0;
    endcase
    if (rd_addr_i[12]) rd_data_o = ram_q[rd_addr_i[11:3]];
    if (rd_addr_i[12:6] == 7'h01) rd_data_o = wr_data_q[rd_addr_i[5:3]];
  end

endmodule
