// SPDX-License-Identifier: Apache-2.0
//
// RTL that scripts/bench.sh measures with: the cheapest possible registers, an interrupt that
// comes when it is told to, and a bus master that moves data as fast as the bridge lets it.
// BAR 0 has 4 KiB; 64-bit registers on a 64-bit bus.
//
//   0x000  ID          ro  31:0 0x48434E42, "BNCH"; 63:32 bytes of a DMA beat
//   0x008  SCRATCH     rw
//   0x010  CLOCKS      ro  clocks since reset
//   0x018  TICKS       ro  the host's clock (bench_clock.cpp)
//   0x020  DOORBELL    wo  a write takes the host's clock
//   0x028  RUNG        ro  and this is what it took
//   0x030  MSIX_GO     wo  31:0 vector 0 is requested after so many clocks
//   0x038  MSIX_TICKS  ro  the host's clock when the last request was offered
//   0x040  SYNC        wo  address in guest memory where the guest plays ping-pong for the clock
//   0x048  SYNC_ROUNDS ro  rounds of the last one; 0 if it failed
//   0x050  DMA_ADDR    rw  first byte, a multiple of 4096; requests follow each other in the
//                          64 KiB from there, again and again
//   0x058  DMA_CTRL    rw  7:0 beats of a request less 1, 12:8 requests outstanding at most (1
//                          to 16), 16 to the host, otherwise from it, 63:32 number of requests
//   0x060  DMA_GO      wo  a write starts
//   0x068  DMA_STATUS  ro  0 busy, 63:32 responses that were errors
//   0x070  DMA_CLOCKS  ro  clocks from the start to the last response
//   0x078  DMA_TICKS   ro  likewise by the host's clock
//   0x080  DMA_BEATS   ro  beats of data
//   0x088  DMA_SUM     ro  sum of the 64-bit words that came from the host. To the host go the
//                          numbers of the words, from 0

module bench #(
  parameter int unsigned DataWidth = 128,
  parameter int unsigned IdWidth   = 4
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  // Register port of accelerator_axi_regs.
  input  logic                   wr_valid_i,
  output logic                   wr_ready_o,
  input  logic [11:0]            wr_addr_i,
  input  logic [63:0]            wr_data_i,
  // Writes are as wide as the registers, and reads have no side effects.
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic [7:0]             wr_strb_i,
  input  logic [11:0]            rd_addr_i,
  /* verilator lint_on UNUSEDSIGNAL */
  input  logic                   rd_valid_i,
  output logic                   rd_ready_o,
  output logic [63:0]            rd_data_o,

  output logic [IdWidth-1:0]     m_axi_awid,
  output logic [63:0]            m_axi_awaddr,
  output logic [7:0]             m_axi_awlen,
  output logic [2:0]             m_axi_awsize,
  output logic [1:0]             m_axi_awburst,
  output logic                   m_axi_awvalid,
  input  logic                   m_axi_awready,
  output logic [DataWidth-1:0]   m_axi_wdata,
  output logic [DataWidth/8-1:0] m_axi_wstrb,
  output logic                   m_axi_wlast,
  output logic                   m_axi_wvalid,
  input  logic                   m_axi_wready,
  input  logic [1:0]             m_axi_bresp,
  input  logic                   m_axi_bvalid,
  output logic                   m_axi_bready,
  output logic [IdWidth-1:0]     m_axi_arid,
  output logic [63:0]            m_axi_araddr,
  output logic [7:0]             m_axi_arlen,
  output logic [2:0]             m_axi_arsize,
  output logic [1:0]             m_axi_arburst,
  output logic                   m_axi_arvalid,
  input  logic                   m_axi_arready,
  input  logic [DataWidth-1:0]   m_axi_rdata,
  input  logic [1:0]             m_axi_rresp,
  input  logic                   m_axi_rlast,
  input  logic                   m_axi_rvalid,
  output logic                   m_axi_rready,

  output logic                   msix_valid_o,
  input  logic                   msix_ready_i,
  output logic [10:0]            msix_vector_o
);

  import "DPI-C" function longint bench_ticks();
  import "DPI-C" function int bench_memory(input string path);
  import "DPI-C" function int bench_sync(input longint address);

  localparam logic [31:0] Id    = 32'h48434E42;
  localparam int unsigned Words = DataWidth / 64;
  localparam int unsigned Bytes = DataWidth / 8;

  // Whether the guest's memory can be reached for SYNC.
  bit has_memory;

  initial begin : p_memory
    automatic string path = "";
    has_memory = 1'b0;
    if ($value$plusargs("bench_memory=%s", path) != 0) has_memory = bench_memory(path) != 0;
  end

  logic [63:0] scratch_q, clocks_q, rung_q, msix_ticks_q, dma_addr_q;
  logic [31:0] sync_rounds_q;
  logic [7:0]  len_q;
  logic [4:0]  most_q;
  logic        to_host_q;
  logic [31:0] count_q;

  logic write;
  assign wr_ready_o = 1'b1;
  assign rd_ready_o = 1'b1;
  assign write      = wr_valid_i && wr_ready_o;

  ///////////////
  // Interrupt //
  ///////////////

  logic        wait_q;
  logic [31:0] wait_left_q;

  assign msix_vector_o = '0;

  always_ff @(posedge clk_i) begin : p_registers
    if (!rst_ni) begin
      scratch_q     <= '0;
      clocks_q      <= '0;
      rung_q        <= '0;
      msix_ticks_q  <= '0;
      sync_rounds_q <= '0;
      dma_addr_q    <= '0;
      len_q         <= '0;
      most_q        <= 5'd1;
      to_host_q     <= 1'b0;
      count_q       <= '0;
      wait_q        <= 1'b0;
      wait_left_q   <= '0;
      msix_valid_o  <= 1'b0;
    end else begin
      clocks_q <= clocks_q + 64'd1;
      if (wait_q) begin
        wait_left_q <= wait_left_q - 32'd1;
        if (wait_left_q == '0) begin
          wait_q       <= 1'b0;
          msix_valid_o <= 1'b1;
          // A clock before the bridge takes the request: at the handshake the stamp could be taken
          // after the bridge's call, whose message may be under way by then.
          msix_ticks_q <= bench_ticks();
        end
      end
      if (msix_valid_o && msix_ready_i) msix_valid_o <= 1'b0;
      if (write) begin
        case (wr_addr_i)
          12'h008: scratch_q <= wr_data_i;
          12'h020: rung_q <= bench_ticks();
          12'h030: begin
            wait_q      <= 1'b1;
            wait_left_q <= wr_data_i[31:0];
          end
          12'h040: sync_rounds_q <= has_memory ? bench_sync(wr_data_i) : '0;
          12'h050: dma_addr_q <= wr_data_i & ~64'd4095;
          12'h058: begin
            len_q     <= wr_data_i[7:0];
            most_q    <= wr_data_i[12:8];
            to_host_q <= wr_data_i[16];
            count_q   <= wr_data_i[63:32];
          end
          default: ;
        endcase
      end
    end
  end

  /////////
  // DMA //
  /////////

  logic        busy_q;
  // Requests that are not issued yet, bursts whose data is not offered yet, responses that are
  // not here yet; and how many of the issued ones these are.
  logic [31:0] issue_left_q, data_left_q, resp_left_q, errors_q;
  logic [4:0]  under_way_q;
  logic [15:0] offset_q;
  logic [7:0]  beat_q;
  logic [63:0] word_q, sum_q, begin_q, dma_ticks_q, dma_clocks_q, beats_q;

  logic go, issue, answered;
  assign go       = write && wr_addr_i == 12'h060 && !busy_q && count_q != '0;
  // A request may be issued: the port is free, and it is among those that may be under way.
  assign issue    = busy_q && issue_left_q != '0 && (under_way_q < most_q || answered) &&
                    (to_host_q ? !m_axi_awvalid || m_axi_awready
                               : !m_axi_arvalid || m_axi_arready);
  assign answered = to_host_q ? m_axi_bvalid : m_axi_rvalid && m_axi_rlast;

  assign m_axi_awid    = '0;
  assign m_axi_awlen   = len_q;
  assign m_axi_awsize  = 3'($clog2(Bytes));
  assign m_axi_awburst = 2'b01;
  assign m_axi_wstrb   = '1;
  assign m_axi_bready  = 1'b1;
  assign m_axi_arid    = '0;
  assign m_axi_arlen   = len_q;
  assign m_axi_arsize  = 3'($clog2(Bytes));
  assign m_axi_arburst = 2'b01;
  assign m_axi_rready  = 1'b1;

  always_ff @(posedge clk_i) begin : p_dma
    automatic logic [63:0] sum;
    if (!rst_ni) begin
      busy_q        <= 1'b0;
      issue_left_q  <= '0;
      data_left_q   <= '0;
      resp_left_q   <= '0;
      under_way_q   <= '0;
      errors_q      <= '0;
      m_axi_awvalid <= 1'b0;
      m_axi_wvalid  <= 1'b0;
      m_axi_arvalid <= 1'b0;
      m_axi_awaddr  <= '0;
      m_axi_araddr  <= '0;
      m_axi_wdata   <= '0;
      m_axi_wlast   <= 1'b0;
      offset_q      <= '0;
      beat_q        <= '0;
      word_q        <= '0;
      sum_q         <= '0;
      begin_q       <= '0;
      dma_ticks_q   <= '0;
      dma_clocks_q  <= '0;
      beats_q       <= '0;
    end else if (go) begin
      busy_q       <= 1'b1;
      issue_left_q <= count_q;
      data_left_q  <= to_host_q ? count_q : '0;
      resp_left_q  <= count_q;
      under_way_q  <= '0;
      errors_q     <= '0;
      offset_q     <= '0;
      beat_q       <= '0;
      word_q       <= '0;
      sum_q        <= '0;
      beats_q      <= '0;
      begin_q      <= bench_ticks();
      dma_clocks_q <= '0;
    end else if (busy_q) begin
      dma_clocks_q <= dma_clocks_q + 64'd1;

      if (m_axi_awready) m_axi_awvalid <= 1'b0;
      if (m_axi_arready) m_axi_arvalid <= 1'b0;
      if (issue) begin
        m_axi_awvalid <= to_host_q;
        m_axi_arvalid <= !to_host_q;
        m_axi_awaddr  <= dma_addr_q + 64'(offset_q);
        m_axi_araddr  <= dma_addr_q + 64'(offset_q);
        offset_q      <= offset_q + 16'((32'(len_q) + 1) * Bytes);
        issue_left_q  <= issue_left_q - 32'd1;
      end
      under_way_q <= under_way_q + 5'(issue) - 5'(answered);

      // Data to the host: offered as soon as the bus takes it. The bridge takes none before the
      // address.
      if (!m_axi_wvalid || m_axi_wready) begin
        m_axi_wvalid <= data_left_q != '0;
        if (data_left_q != '0) begin
          for (int unsigned i = 0; i < Words; i++) begin
            m_axi_wdata[64*i +: 64] <= word_q + 64'(i);
          end
          m_axi_wlast <= beat_q == len_q;
          word_q      <= word_q + 64'(Words);
          beat_q      <= beat_q + 8'd1;
          if (beat_q == len_q) begin
            beat_q      <= '0;
            data_left_q <= data_left_q - 32'd1;
          end
        end
      end
      if ((m_axi_wvalid && m_axi_wready) || m_axi_rvalid) beats_q <= beats_q + 64'd1;

      if (m_axi_rvalid) begin
        sum = sum_q;
        for (int unsigned i = 0; i < Words; i++) sum = sum + m_axi_rdata[64*i +: 64];
        sum_q <= sum;
      end

      if (answered) begin
        if ((to_host_q ? m_axi_bresp : m_axi_rresp) != 2'b00) errors_q <= errors_q + 32'd1;
        resp_left_q <= resp_left_q - 32'd1;
        if (resp_left_q == 32'd1) begin
          busy_q      <= 1'b0;
          dma_ticks_q <= bench_ticks() - begin_q;
        end
      end
    end
  end

  always_comb begin
    case ({rd_addr_i[11:3], 3'd0})
      12'h000: rd_data_o = {32'(Bytes), Id};
      12'h008: rd_data_o = scratch_q;
      12'h010: rd_data_o = clocks_q;
      12'h018: rd_data_o = rd_valid_i ? bench_ticks() : '0;
      12'h028: rd_data_o = rung_q;
      12'h038: rd_data_o = msix_ticks_q;
      12'h048: rd_data_o = 64'(sync_rounds_q);
      12'h050: rd_data_o = dma_addr_q;
      12'h058: rd_data_o = {count_q, 15'd0, to_host_q, 3'd0, most_q, len_q};
      12'h068: rd_data_o = {errors_q, 31'd0, busy_q};
      12'h070: rd_data_o = dma_clocks_q;
      12'h078: rd_data_o = dma_ticks_q;
      12'h080: rd_data_o = beats_q;
      12'h088: rd_data_o = sum_q;
      default: rd_data_o = '0;
    endcase
  end

endmodule
