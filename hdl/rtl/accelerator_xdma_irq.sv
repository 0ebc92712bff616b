// SPDX-License-Identifier: Apache-2.0
//
// The IRQ block, target 2 of the DMA BAR: interrupts of the channels and of the user, their masks
// and their vectors. A message goes out when the request, behind its mask, rises.

module accelerator_xdma_irq
  import accelerator_xdma_pkg::*;
#(
  parameter int unsigned Users    = 16,
  // Channels of both directions.
  parameter int unsigned Channels = 2,
  // The function has a legacy interrupt pin.
  parameter bit          Intx     = 1'b0
) (
  input  logic                clk_i,
  input  logic                rst_ni,

  input  logic                wr_i,
  input  logic [15:2]         wr_addr_i,
  input  logic [31:0]         wr_data_i,
  input  logic [3:0]          wr_strb_i,
  input  logic [15:2]         rd_addr_i,
  output logic [31:0]         rd_data_o,

  input  logic [Users-1:0]    user_req_i,
  output logic [Users-1:0]    user_ack_o,
  // H2C channels from bit 0 on, then C2H channels.
  input  logic [Channels-1:0] channel_req_i,

  // The guest has enabled MSI-X or MSI.
  input  logic                messages_i,
  output logic                msix_valid_o,
  input  logic                msix_ready_i,
  output logic [10:0]         msix_vector_o,
  output logic                intx_o
);

  localparam int unsigned Sources = Users + Channels;
  localparam int unsigned IdWidth = $clog2(Sources);

  logic [Users-1:0]         user_mask_q;
  logic [Channels-1:0]      channel_mask_q;
  // Of 16 user interrupts and 8 channels, 5 bits each.
  logic [5:0][31:0]         vector_q;

  // Channels first.
  logic [Sources-1:0]       request, sent_q, todo, take;
  logic [Sources-1:0][4:0]  vector;
  logic [Users-1:0]         acked_q, ack_q;
  logic                     legacy;
  logic                     valid_q, intx_q;
  logic [IdWidth-1:0]       pick, source_q;
  logic                     any, free;

  assign request = {user_req_i & user_mask_q, channel_req_i & channel_mask_q};
  assign legacy  = Intx && !messages_i;

  for (genvar i = 0; i < Sources; i++) begin : gen_vector
    // The word and the byte of a source's vector: 0x80 to 0x8C of users, 0xA0 and 0xA4 of channels.
    localparam int unsigned Place = (i < Channels) ? 16 + i : i - Channels;
    assign vector[i] = vector_q[Place / 4][8 * (Place % 4) +: 5];
  end

  ///////////////
  // Registers //
  ///////////////

  logic       wr_here;
  logic [7:0] wr_reg, rd_reg;
  assign wr_here = wr_i && wr_addr_i[15:8] == {TargetIrq, 4'd0};
  assign wr_reg  = {wr_addr_i[7:2], 2'b00};
  assign rd_reg  = {rd_addr_i[7:2], 2'b00};

  always_comb begin
    rd_data_o = '0;
    if (rd_addr_i[15:8] == {TargetIrq, 4'd0}) begin
      case (rd_reg)
        8'h00:               rd_data_o = identifier(TargetIrq, 1'b0, '0);
        8'h04, 8'h08, 8'h0C: rd_data_o = 32'(user_mask_q);
        8'h10, 8'h14, 8'h18: rd_data_o = 32'(channel_mask_q);
        8'h40:               rd_data_o = 32'(request[Sources-1:Channels]);
        8'h44:               rd_data_o = 32'(request[Channels-1:0]);
        8'h48:               rd_data_o = 32'(user_req_i & sent_q[Sources-1:Channels]);
        8'h4C:               rd_data_o = 32'(channel_req_i & sent_q[Channels-1:0]);
        8'h80, 8'h84, 8'h88, 8'h8C: rd_data_o = vector_q[3'(rd_reg[3:2])];
        8'hA0, 8'hA4:        rd_data_o = vector_q[3'd4 + 3'(rd_reg[2])];
        default:             rd_data_o = '0;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      user_mask_q    <= '0;
      channel_mask_q <= '0;
      vector_q       <= '0;
    end else if (wr_here) begin
      case (wr_reg)
        8'h04, 8'h08, 8'h0C:
          user_mask_q <= Users'(changed(32'(user_mask_q), wr_reg[3:2] - 2'd1, wr_data_i,
                                        wr_strb_i));
        8'h10, 8'h14, 8'h18:
          channel_mask_q <= Channels'(changed(32'(channel_mask_q), wr_reg[3:2], wr_data_i,
                                              wr_strb_i));
        8'h80, 8'h84, 8'h88, 8'h8C:
          vector_q[3'(wr_reg[3:2])] <=
            written(vector_q[3'(wr_reg[3:2])], wr_data_i, wr_strb_i) & 32'h1F1F_1F1F;
        8'hA0, 8'hA4:
          vector_q[3'd4 + 3'(wr_reg[2])] <=
            written(vector_q[3'd4 + 3'(wr_reg[2])], wr_data_i, wr_strb_i) & 32'h1F1F_1F1F;
        default: ;
      endcase
    end
  end

  //////////////
  // Messages //
  //////////////

  // One at a time; a request that fell before its message was offered has none.
  assign todo = messages_i ? request & ~sent_q : '0;
  assign free = !valid_q || msix_ready_i;

  accelerator_xdma_turn #(
    .Masters(Sources), .IdWidth(IdWidth)
  ) u_turn (
    .clk_i, .rst_ni, .valid_i(todo & ~take), .take_i(any && free), .any_o(any), .pick_o(pick)
  );

  // The one that goes in this clock.
  assign take          = valid_q ? Sources'(1) << source_q : '0;
  assign msix_valid_o  = valid_q;
  assign intx_o        = intx_q;
  assign user_ack_o    = ack_q;

  logic [Users-1:0] told;
  assign told = (valid_q && msix_ready_i) ? take[Sources-1:Channels] : '0;

  always_ff @(posedge clk_i) begin
    ack_q  <= '0;
    if (free) begin
      source_q      <= pick;
      msix_vector_o <= 11'(vector[pick]);
    end
    if (!rst_ni) begin
      valid_q <= 1'b0;
      intx_q  <= 1'b0;
      sent_q  <= '0;
      acked_q <= '0;
    end else begin
      if (free) valid_q <= any;
      intx_q <= legacy && request != '0;

      // Of those that rose the message is out, or the pin says so.
      if (messages_i) sent_q <= (sent_q | ((valid_q && msix_ready_i) ? take : '0)) & request;
      else sent_q <= legacy ? request : '0;

      // One acknowledgement for a request that is told. With the pin another one for its end.
      for (int unsigned i = 0; i < Users; i++) begin
        if (!user_req_i[i]) begin
          ack_q[i]   <= acked_q[i] && legacy;
          acked_q[i] <= told[i];
          if (told[i]) ack_q[i] <= 1'b1;
        end else if (!acked_q[i] && (told[i] || (legacy && sent_q[Channels+i]))) begin
          ack_q[i]   <= 1'b1;
          acked_q[i] <= 1'b1;
        end
      end
    end
  end

  // PG195, "Interrupt Interface": a request stays until it is acknowledged.
  logic [Users-1:0] user_req_q;
  always_ff @(posedge clk_i) begin
    user_req_q <= rst_ni ? user_req_i : '0;
    if (rst_ni) begin
      for (int unsigned i = 0; i < Users; i++) begin
        assert (!user_req_q[i] || user_req_i[i] || acked_q[i] || ack_q[i] || told[i])
        else $warning("%m: usr_irq_req[%0d] fell before usr_irq_ack[%0d]", i, i);
      end
    end
  end

endmodule
