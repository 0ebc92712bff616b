// SPDX-License-Identifier: Apache-2.0
//
// Registers of the card behind BAR 0 (VIRTIO 1.2, 4.1.4 and 5.1.4), the interrupts, and the
// life of the device: negotiation, start, reset, and the end by an error.
//
//   0x0000  common configuration    0x1000  ISR status
//   0x2000  device configuration    0x3000  notification, 4 bytes for each queue
//
// Offered: VIRTIO_NET_F_MAC (once the card has an address), VIRTIO_NET_F_STATUS,
// VIRTIO_F_VERSION_1, and what a card that is no software offers: VIRTIO_F_ACCESS_PLATFORM
// (its DMA is a bus master's) and VIRTIO_F_ORDER_PLATFORM.
//
// A queue's size is a power of two up to 2**MaxLog2; other values are ignored. The low bits
// of its addresses that alignment makes 0 are 0.

module virtio_net_regs #(
  parameter int unsigned MaxLog2 = 8,
  // MSI-X vectors of the function.
  parameter int unsigned Vectors = 3
) (
  input  logic              clk_i,
  input  logic              rst_ni,

  // Register port of accelerator_axi_regs.
  input  logic              wr_valid_i,
  // Writes come by word.
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic [13:0]       wr_addr_i,
  /* verilator lint_on UNUSEDSIGNAL */
  input  logic [31:0]       wr_data_i,
  input  logic [3:0]        wr_strb_i,
  input  logic              rd_valid_i,
  input  logic [13:0]       rd_addr_i,
  output logic [31:0]       rd_data_o,

  input  logic              link_i,
  input  logic [47:0]       mac_i,

  // For each queue: 0 receives, 1 transmits.
  output logic [1:0]            run_o,
  output logic [1:0]            notify_o,
  output logic [1:0][MaxLog2:0] size_o,
  output logic [1:0][63:0]      desc_o,
  output logic [1:0][63:0]      driver_o,
  output logic [1:0][63:0]      device_o,
  input  logic [1:0]            irq_valid_i,
  output logic [1:0]            irq_ready_o,
  // Everything has stopped after run_o fell.
  input  logic              idle_i,
  // The driver did what it may not, or DMA was refused.
  input  logic              error_i,

  output logic              msix_valid_o,
  input  logic              msix_ready_i,
  output logic [10:0]       msix_vector_o,
  // Of a driver without vectors: high until it has read the ISR status.
  output logic              intx_o
);

  localparam int unsigned Queues   = 2;
  localparam logic [15:0] NoVector = 16'hFFFF;

  // device_status
  localparam logic [7:0] StatusDriverOk   = 8'h04, StatusFeaturesOk = 8'h08,
                         StatusNeedsReset = 8'h40;

  logic [7:0]                 status_q;
  logic                       reset_q;
  logic [31:0]                device_sel_q, driver_sel_q;
  logic [63:0]                driver_features_q, offered;
  logic [15:0]                queue_sel_q, config_vector_q;
  logic [7:0]                 generation_q;
  logic [1:0][15:0]           vector_q;
  logic [1:0]                 enable_q;
  logic [47:0]                mac_q;
  logic                       link_q, config_irq_q;
  logic [1:0]                 isr_q;

  always_comb begin
    offered     = '0;
    offered[5]  = mac_q != '0;
    offered[16] = 1'b1;
    offered[32] = 1'b1;
    offered[33] = 1'b1;
    offered[36] = 1'b1;
  end

  // The address may come while the driver looks at the features.
  logic features_good;
  assign features_good = (driver_features_q & ~(offered | 64'h20)) == '0 &&
                         driver_features_q[32];

  logic running;
  assign running = (status_q & (StatusDriverOk | StatusNeedsReset)) == StatusDriverOk &&
                   !reset_q;
  assign run_o   = running ? enable_q : '0;

  logic       sel_good, sel;
  assign sel_good = queue_sel_q < 16'(Queues);
  assign sel      = queue_sel_q[0];

  function automatic logic [31:0] merge(logic [31:0] old, logic [31:0] data,
                                        logic [3:0] strb);
    for (int i = 0; i < 4; i++) merge[8*i +: 8] = strb[i] ? data[8*i +: 8] : old[8*i +: 8];
  endfunction

  // A vector that the function does not have reads back as none.
  function automatic logic [15:0] checked(logic [15:0] vector);
    return (32'(vector) < Vectors) ? vector : NoVector;
  endfunction

  function automatic bit is_size(logic [15:0] size);
    return size != '0 && (size & (size - 16'd1)) == '0 && size <= 16'(1 << MaxLog2);
  endfunction

  // The word of the common configuration and the register that a write gives.
  logic        wr_common;
  logic [31:0] wr_word;
  assign wr_common = wr_valid_i && wr_addr_i[13:6] == '0;

  // What the registers that are written hold now.
  logic [31:0] common;
  logic [3:0]  common_word;
  assign common_word = wr_common ? wr_addr_i[5:2] : rd_addr_i[5:2];
  always_comb begin
    case ({common_word, 2'b00})
      6'h00: common = device_sel_q;
      6'h04: common = (device_sel_q == 32'd0)   ? offered[31:0]
                      : (device_sel_q == 32'd1) ? offered[63:32] : '0;
      6'h08: common = driver_sel_q;
      6'h0C: common = (driver_sel_q == 32'd0)   ? driver_features_q[31:0]
                      : (driver_sel_q == 32'd1) ? driver_features_q[63:32] : '0;
      6'h10: common = {16'(Queues), config_vector_q};
      6'h14: common = {queue_sel_q, generation_q, status_q};
      6'h18: common = sel_good ? {vector_q[sel], 16'(size_o[sel])} : {NoVector, 16'd0};
      6'h1C: common = sel_good ? {queue_sel_q, 15'd0, enable_q[sel]} : '0;
      6'h20: common = sel_good ? desc_o[sel][31:0]    : '0;
      6'h24: common = sel_good ? desc_o[sel][63:32]   : '0;
      6'h28: common = sel_good ? driver_o[sel][31:0]  : '0;
      6'h2C: common = sel_good ? driver_o[sel][63:32] : '0;
      6'h30: common = sel_good ? device_o[sel][31:0]  : '0;
      6'h34: common = sel_good ? device_o[sel][63:32] : '0;
      default: common = '0;
    endcase
  end
  assign wr_word = merge(common, wr_data_i, wr_strb_i);

  // Reads and writes are different transactions, which may meet: the write goes first.
  logic [31:0] device_word;
  always_comb begin
    case (rd_addr_i[11:2])
      // mac is an array of bytes, the first one on the wire first.
      10'd0:   device_word = {mac_q[23:16], mac_q[31:24], mac_q[39:32], mac_q[47:40]};
      10'd1:   device_word = {15'd0, link_q, mac_q[7:0], mac_q[15:8]};
      default: device_word = '0;
    endcase
    case (rd_addr_i[13:12])
      2'd0:    rd_data_o = (rd_addr_i[11:6] == '0) ? common : '0;
      2'd1:    rd_data_o = (rd_addr_i[11:2] == '0) ? {30'd0, isr_q} : '0;
      2'd2:    rd_data_o = device_word;
      default: rd_data_o = '0;
    endcase
  end

  ////////////////
  // Interrupts //
  ////////////////

  // One at a time: configuration, receive, transmit.
  logic        irq_any;
  logic [1:0]  irq_isr;
  logic [15:0] irq_vector;
  assign irq_any     = (config_irq_q || irq_valid_i != '0) && !msix_valid_o;
  assign irq_isr     = config_irq_q ? 2'b10 : 2'b01;
  assign irq_vector  = config_irq_q ? config_vector_q : vector_q[!irq_valid_i[0]];
  assign intx_o      = isr_q != '0;
  assign irq_ready_o = (!irq_any || config_irq_q) ? 2'b00
                       : irq_valid_i[0]           ? 2'b01 : 2'b10;

  always_ff @(posedge clk_i) begin : p_regs
    automatic logic changed;

    notify_o <= '0;
    if (msix_ready_i) msix_valid_o <= 1'b0;

    // Reading the ISR status clears it; the vector tells the cause where there is one.
    if (rd_valid_i && rd_addr_i == 14'h1000) isr_q <= '0;
    if (irq_any) begin
      if (config_irq_q) config_irq_q <= 1'b0;
      if (irq_vector == NoVector) begin
        isr_q <= isr_q | irq_isr;
      end else begin
        msix_valid_o  <= 1'b1;
        msix_vector_o <= irq_vector[10:0];
      end
    end

    changed = link_i != link_q || mac_i != mac_q;
    link_q <= link_i;
    mac_q  <= mac_i;
    if (changed) generation_q <= generation_q + 8'd1;
    if (error_i && running) begin
      status_q <= status_q | StatusNeedsReset;
      changed  = 1'b1;
    end
    if (changed && (status_q & StatusDriverOk) != '0) config_irq_q <= 1'b1;

    if (wr_common && !reset_q) begin
      case ({wr_addr_i[5:2], 2'b00})
        6'h00: device_sel_q <= wr_word;
        6'h08: driver_sel_q <= wr_word;
        6'h0C: if ((status_q & StatusFeaturesOk) == '0) begin
          if (driver_sel_q == 32'd0) driver_features_q[31:0] <= wr_word;
          if (driver_sel_q == 32'd1) driver_features_q[63:32] <= wr_word;
        end
        6'h10: if (wr_strb_i[0]) config_vector_q <= checked(wr_word[15:0]);
        6'h14: begin
          if (wr_strb_i[2]) queue_sel_q <= wr_word[31:16];
          if (wr_strb_i[0]) begin
            if (wr_data_i[7:0] == '0) begin
              reset_q <= 1'b1;
            end else begin
              status_q <= (wr_data_i[7:0] & ~StatusNeedsReset) |
                          ((error_i && running) ? StatusNeedsReset
                                                : status_q & StatusNeedsReset);
              // Features that do not go together are refused.
              if ((status_q & StatusFeaturesOk) == '0 && !features_good) begin
                status_q[3] <= 1'b0;
              end
            end
          end
        end
        default: if (sel_good) begin
          case ({wr_addr_i[5:2], 2'b00})
            6'h18: begin
              if (wr_strb_i[0] && !enable_q[sel] && is_size(wr_word[15:0])) begin
                size_o[sel] <= wr_word[MaxLog2:0];
              end
              if (wr_strb_i[2]) vector_q[sel] <= checked(wr_word[31:16]);
            end
            // Only a reset disables a queue.
            6'h1C: if (wr_strb_i[0] && wr_data_i[0]) enable_q[sel] <= 1'b1;
            6'h20: if (!enable_q[sel]) desc_o[sel][31:0]    <= wr_word & 32'hFFFF_FFF0;
            6'h24: if (!enable_q[sel]) desc_o[sel][63:32]   <= wr_word;
            6'h28: if (!enable_q[sel]) driver_o[sel][31:0]  <= wr_word & 32'hFFFF_FFFE;
            6'h2C: if (!enable_q[sel]) driver_o[sel][63:32] <= wr_word;
            6'h30: if (!enable_q[sel]) device_o[sel][31:0]  <= wr_word & 32'hFFFF_FFFC;
            6'h34: if (!enable_q[sel]) device_o[sel][63:32] <= wr_word;
            default: ;
          endcase
        end
      endcase
    end
    if (wr_valid_i && wr_addr_i[13:12] == 2'd3 && wr_addr_i[11:3] == '0) begin
      notify_o[wr_addr_i[2]] <= 1'b1;
    end

    // device_status reads 0 only after everything has come to rest.
    if (reset_q && idle_i && !msix_valid_o) begin
      reset_q           <= 1'b0;
      status_q          <= '0;
      device_sel_q      <= '0;
      driver_sel_q      <= '0;
      driver_features_q <= '0;
      queue_sel_q       <= '0;
      config_vector_q   <= NoVector;
      vector_q          <= {2{NoVector}};
      enable_q          <= '0;
      config_irq_q      <= 1'b0;
      isr_q             <= '0;
      for (int i = 0; i < Queues; i++) begin
        size_o[i]   <= (MaxLog2 + 1)'(1 << MaxLog2);
        desc_o[i]   <= '0;
        driver_o[i] <= '0;
        device_o[i] <= '0;
      end
    end

    if (!rst_ni) begin
      // The rest follows by the reset of the device.
      reset_q      <= 1'b1;
      status_q     <= '0;
      generation_q <= '0;
      enable_q     <= '0;
      config_irq_q <= 1'b0;
      isr_q        <= '0;
      msix_valid_o <= 1'b0;
      notify_o     <= '0;
    end
  end

endmodule
