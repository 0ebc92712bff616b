// SPDX-License-Identifier: Apache-2.0
//
// The registers of one channel: those of its engine, targets 0 and 1 of the DMA BAR, and those of
// its descriptor list, targets 4 and 5.

module accelerator_xdma_channel_regs
  import accelerator_xdma_pkg::*;
#(
  parameter bit          C2h       = 1'b0,
  parameter bit          Stream    = 1'b0,
  parameter int unsigned Channel   = 0,
  parameter int unsigned DataWidth = 64
) (
  input  logic        clk_i,
  input  logic        rst_ni,

  // A write of one register of the DMA BAR, and a read, which has its answer in the same clock; 0
  // for what is not here.
  input  logic        wr_i,
  input  logic [15:2] wr_addr_i,
  input  logic [31:0] wr_data_i,
  input  logic [3:0]  wr_strb_i,
  input  logic        rd_i,
  input  logic [15:2] rd_addr_i,
  output logic [31:0] rd_data_o,

  // The Run bit, and that it was set in the clock before.
  output logic        run_o,
  output logic        start_o,
  output logic [27:0] control_o,
  // The engine begins: what is left of the last time is cleared.
  input  logic        begin_i,
  input  logic        busy_i,
  // What happened, in the bits of the status register.
  input  logic [23:0] event_i,
  input  logic        desc_done_i,
  // A beat of data.
  input  logic        beat_i,
  // The lower bits of the count of completed descriptors.
  output logic [23:0] completed_o,
  output logic        error_o,
  output logic [63:0] poll_addr_o,

  output logic [63:0] desc_addr_o,
  output logic [5:0]  desc_adjacent_o,
  output logic        credit_add_o,
  output logic [9:0]  credit_o,
  input  logic [9:0]  credits_i,

  output logic        irq_o
);

  localparam logic [3:0]  TargetEngine = C2h ? TargetC2h : TargetH2c;
  localparam logic [3:0]  TargetList   = C2h ? TargetC2hSgdma : TargetH2cSgdma;
  // C2H has no write errors: the host does not answer writes.
  localparam logic [31:0] StatusBits  = C2h ? 32'h00F8_3E7E : 32'h00FF_FE7E;
  localparam logic [31:0] ControlBits = StatusBits | 32'h0E00_0001;
  // The counters of the performance monitor.
  localparam int unsigned CountWidth  = 42;

  logic [31:0] control_q, mask_q, status_q, clear, wr_control;
  logic [23:0] event_q;
  logic [31:0] completed_q;
  logic [63:0] poll_addr_q, desc_addr_q;
  logic [5:0]  adjacent_q;
  logic        start_q;
  logic        perf_run_q, perf_auto_q;
  logic [CountWidth-1:0] clocks_q, beats_q;
  logic        clocks_full_q, beats_full_q;

  // What is addressed.
  logic       wr_engine, wr_list, rd_engine, rd_list;
  logic [7:0] wr_reg, rd_reg;
  assign wr_engine = wr_i && wr_addr_i[15:8] == {TargetEngine, 4'(Channel)};
  assign wr_list   = wr_i && wr_addr_i[15:8] == {TargetList, 4'(Channel)};
  assign rd_engine = rd_addr_i[15:8] == {TargetEngine, 4'(Channel)};
  assign rd_list   = rd_addr_i[15:8] == {TargetList, 4'(Channel)};
  assign wr_reg    = {wr_addr_i[7:2], 2'b00};
  assign rd_reg    = {rd_addr_i[7:2], 2'b00};

  assign run_o           = control_q[CtrlRun];
  assign start_o         = start_q;
  assign control_o       = control_q[27:0];
  assign completed_o     = completed_q[23:0];
  assign error_o         = (status_q[23:0] & StatErrors) != '0;
  assign poll_addr_o     = poll_addr_q;
  assign desc_addr_o     = desc_addr_q;
  assign desc_adjacent_o = adjacent_q;
  assign credit_add_o    = wr_list && wr_reg == 8'h8C;
  assign credit_o        = 10'(written('0, wr_data_i, wr_strb_i));
  assign irq_o           = (status_q & mask_q) != '0;

  // Bits of status that a write or a read clears.
  always_comb begin
    clear = '0;
    if (wr_engine && wr_reg == 8'h40) clear = written('0, wr_data_i, wr_strb_i);
    if (rd_i && rd_engine && rd_reg == 8'h44) clear = '1;
  end

  assign wr_control = changed(control_q, wr_reg[3:2] - 2'd1, wr_data_i, wr_strb_i) & ControlBits;

  // With fixed addresses everything is a multiple of the bus.
  logic [7:0] unit;
  assign unit = control_q[CtrlNonInc] ? 8'(DataWidth / 8) : 8'd1;

  always_comb begin
    rd_data_o = '0;
    if (rd_engine) begin
      case (rd_reg)
        8'h00:               rd_data_o = identifier(TargetEngine, Stream, 4'(Channel));
        8'h04, 8'h08, 8'h0C: rd_data_o = control_q;
        8'h40, 8'h44:        rd_data_o = status_q | 32'(busy_i);
        8'h48:               rd_data_o = completed_q;
        8'h4C:               rd_data_o = {8'd0, unit, unit, 8'd64};
        8'h88:               rd_data_o = poll_addr_q[31:0];
        8'h8C:               rd_data_o = poll_addr_q[63:32];
        8'h90, 8'h94, 8'h98: rd_data_o = mask_q;
        8'hC0:               rd_data_o = {29'd0, perf_run_q, 1'b0, perf_auto_q};
        8'hC4:               rd_data_o = clocks_q[31:0];
        8'hC8:               rd_data_o = {15'd0, clocks_full_q, 6'd0, clocks_q[CountWidth-1:32]};
        8'hCC:               rd_data_o = beats_q[31:0];
        8'hD0:               rd_data_o = {15'd0, beats_full_q, 6'd0, beats_q[CountWidth-1:32]};
        default:             rd_data_o = '0;
      endcase
    end
    if (rd_list) begin
      case (rd_reg)
        8'h00:   rd_data_o = identifier(TargetList, Stream, 4'(Channel));
        8'h80:   rd_data_o = desc_addr_q[31:0];
        8'h84:   rd_data_o = desc_addr_q[63:32];
        8'h88:   rd_data_o = 32'(adjacent_q);
        8'h8C:   rd_data_o = 32'(credits_i);
        default: rd_data_o = '0;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    start_q <= 1'b0;
    if (!rst_ni) begin
      control_q   <= '0;
      mask_q      <= '0;
      status_q    <= '0;
      event_q     <= '0;
      completed_q <= '0;
      poll_addr_q <= '0;
      desc_addr_q <= '0;
      adjacent_q  <= '0;
    end else begin
      // In the clock of a clear nothing is set, so that whoever waits for a bit sees it fall before
      // it comes again.
      if (begin_i) begin
        status_q    <= '0;
        event_q     <= event_i;
        completed_q <= '0;
      end else if (clear != '0) begin
        status_q <= status_q & ~clear;
        event_q  <= event_q | event_i;
      end else begin
        status_q <= status_q | (32'(event_q | event_i) & StatusBits);
        event_q  <= '0;
      end
      if (desc_done_i) completed_q <= completed_q + 1'b1;

      if (wr_engine) begin
        case (wr_reg)
          8'h04, 8'h08, 8'h0C: begin
            control_q <= wr_control;
            start_q   <= wr_control[CtrlRun] && !control_q[CtrlRun];
          end
          8'h88: poll_addr_q[31:0]  <= written(poll_addr_q[31:0], wr_data_i, wr_strb_i);
          8'h8C: poll_addr_q[63:32] <= written(poll_addr_q[63:32], wr_data_i, wr_strb_i);
          8'h90, 8'h94, 8'h98:
            mask_q <= changed(mask_q, wr_reg[3:2], wr_data_i, wr_strb_i) & StatusBits;
          default: ;
        endcase
      end
      if (wr_list) begin
        case (wr_reg)
          8'h80: desc_addr_q[31:0]  <= written(desc_addr_q[31:0], wr_data_i, wr_strb_i);
          8'h84: desc_addr_q[63:32] <= written(desc_addr_q[63:32], wr_data_i, wr_strb_i);
          8'h88: adjacent_q         <= 6'(written(32'(adjacent_q), wr_data_i, wr_strb_i));
          default: ;
        endcase
      end
    end
  end

  // The performance monitor: clocks in which the engine is busy, and beats of data. It is cleared
  // by a write, or with Auto when the engine begins.
  logic perf_clear;
  assign perf_clear = (wr_engine && wr_reg == 8'hC0 && wr_strb_i[0] && wr_data_i[1]) ||
                      (perf_auto_q && begin_i);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      perf_run_q  <= 1'b0;
      perf_auto_q <= 1'b0;
    end else if (wr_engine && wr_reg == 8'hC0 && wr_strb_i[0]) begin
      perf_run_q  <= wr_data_i[2];
      perf_auto_q <= wr_data_i[0];
    end
    if (!rst_ni || perf_clear) begin
      clocks_q      <= '0;
      clocks_full_q <= 1'b0;
      beats_q       <= '0;
      beats_full_q  <= 1'b0;
    end else if (perf_run_q && busy_i) begin
      if (&clocks_q) clocks_full_q <= 1'b1;
      else clocks_q <= clocks_q + 1'b1;
      if (beat_i && &beats_q) beats_full_q <= 1'b1;
      else beats_q <= beats_q + CountWidth'(beat_i);
    end
  end

endmodule
