// SPDX-License-Identifier: Apache-2.0
//
// The UART bridge and what stands for a processor: it polls the status register, reads the receive
// FIFO and writes the transmit FIFO, one access at a time, as a driver without interrupts does.
//
// The host asks for something with six bytes: what, flags, and a count of 32 bits with its lowest
// byte first. When it is done the next six bytes are expected.
//
//   "L"  sends back so many bytes, whatever they are
//   "K"  takes so many bytes, then sends a sum of them of 32 bits, lowest byte first: for each
//        byte the sum is rotated left by 8 bits, and the byte is added
//   "S"  sends so many bytes: the sum of the bytes of its number, from 0 on
//
// Bit 0 of the flags: pauses of up to 65,535 clocks, one in about 2,048 bytes, in which the
// registers are left alone.

module channels_uart (
  input logic clk_i,
  input logic rst_ni
);

  localparam logic [1:0] RxFifo = 2'd0, TxFifo = 2'd1, StatReg = 2'd2;
  localparam int unsigned HeaderBytes = 6;

  logic        connected;
  logic        awvalid, awready, wready, bvalid, arvalid, arready, rvalid;
  logic [1:0]  address_q, bresp, rresp;
  // A register of bytes and one of flags.
  /* verilator lint_off UNUSEDSIGNAL */
  logic [31:0] rdata;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [7:0]  byte_q;

  /* verilator lint_off PINCONNECTEMPTY */
  accelerator_uart_bridge #(
    .Name("channels")
  ) u_uart (
    .s_axi_aclk(clk_i), .s_axi_aresetn(rst_ni), .interrupt(), .connected,
    .s_axi_awaddr({TxFifo, 2'b00}), .s_axi_awvalid(awvalid), .s_axi_awready(awready),
    .s_axi_wdata({24'd0, byte_q}), .s_axi_wstrb(4'b1111), .s_axi_wvalid(awvalid),
    .s_axi_wready(wready), .s_axi_bresp(bresp), .s_axi_bvalid(bvalid), .s_axi_bready(1'b1),
    .s_axi_araddr({address_q, 2'b00}), .s_axi_arvalid(arvalid), .s_axi_arready(arready),
    .s_axi_rdata(rdata), .s_axi_rresp(rresp), .s_axi_rvalid(rvalid), .s_axi_rready(1'b1)
  );
  /* verilator lint_on PINCONNECTEMPTY */

  typedef enum logic [2:0] {Ask, Answer, Put, Done, Pause} state_e;

  state_e      state_q;
  logic [2:0]  header_q;       // bytes of the command that are there
  logic [7:0]  what_q;
  logic        pauses_q;
  logic [31:0] count_q, number_q, sum_q;
  logic [2:0]  sum_bytes_q;    // of the sum that are still to be sent
  logic        full_q;         // byte_q is to be sent
  logic [15:0] random_q, pause_q;
  longint      full_polls_q, empty_polls_q, paused_q;

  assign arvalid = state_q == Ask;
  assign awvalid = state_q == Put;

  logic command, wants, last, over;
  assign command = 32'(header_q) == HeaderBytes;
  assign wants   = !command || ((what_q == "L" || what_q == "K") && count_q != '0 && !full_q);
  assign last    = count_q == 32'd1;
  // The command is carried out.
  assign over    = command && count_q == '0 && !full_q && sum_bytes_q == '0;

  always_ff @(posedge clk_i) begin : p_processor
    case (state_q)
      // The last byte of a command may have to be sent before more is asked.
      Ask: if (arready) state_q <= Answer;

      Answer: if (rvalid) begin
        state_q   <= Ask;
        address_q <= StatReg;
        if (address_q == RxFifo) begin
          assert (rresp == 2'b00) else $error("%m: reading a FIFO that is not empty failed");
          random_q <= {random_q[14:0],
                       random_q[15] ^ random_q[13] ^ random_q[12] ^ random_q[10]};
          if (!command) begin
            header_q <= header_q + 3'd1;
            case (header_q)
              3'd0: what_q <= rdata[7:0];
              3'd1: pauses_q <= rdata[0];
              default: count_q <= {rdata[7:0], count_q[31:8]};
            endcase
            sum_q       <= '0;
            number_q    <= '0;
            sum_bytes_q <= '0;
          end else begin
            count_q <= count_q - 32'd1;
            if (what_q == "L") begin
              byte_q <= rdata[7:0];
              full_q <= 1'b1;
            end else begin
              sum_q <= {sum_q[23:0], sum_q[31:24]} + 32'(rdata[7:0]);
              if (last) sum_bytes_q <= 3'd4;
            end
            if (pauses_q && random_q[10:0] == '0) begin
              pause_q  <= {random_q[15:11], random_q[5:0] ^ 6'h2B, random_q[15:11]};
              paused_q <= paused_q + 64'd1;
              state_q  <= Pause;
            end
          end
        end else if (full_q) begin
          if (!rdata[3]) state_q <= Put;
          else full_polls_q <= full_polls_q + 64'd1;
        end else if (wants) begin
          if (rdata[0]) address_q <= RxFifo;
          else empty_polls_q <= empty_polls_q + 64'd1;
        end
      end

      Put: if (awready && wready) state_q <= Done;

      Done: if (bvalid) begin
        assert (bresp == 2'b00) else $error("%m: writing to a FIFO with room failed");
        full_q  <= 1'b0;
        state_q <= Ask;
      end

      Pause: begin
        pause_q <= pause_q - 16'd1;
        if (pause_q == '0) state_q <= Ask;
      end

      default: state_q <= Ask;
    endcase

    if (!full_q && command) begin
      if (what_q == "S" && count_q != '0) begin
        byte_q   <= number_q[7:0] + number_q[15:8] + number_q[23:16] + number_q[31:24];
        full_q   <= 1'b1;
        count_q  <= count_q - 32'd1;
        number_q <= number_q + 32'd1;
      end else if (count_q == '0 && sum_bytes_q != '0) begin
        byte_q      <= sum_q[7:0];
        full_q      <= 1'b1;
        sum_q       <= {8'd0, sum_q[31:8]};
        sum_bytes_q <= sum_bytes_q - 3'd1;
      end else if (over) begin
        header_q <= '0;
      end
    end

    // A new host begins anew.
    if (!rst_ni || !connected) begin
      state_q     <= Ask;
      address_q   <= StatReg;
      header_q    <= '0;
      count_q     <= '0;
      sum_bytes_q <= '0;
      full_q      <= 1'b0;
    end
    if (!rst_ni) begin
      random_q      <= 16'hACE1;
      full_polls_q  <= 0;
      empty_polls_q <= 0;
      paused_q      <= 0;
    end
  end

  final begin
    $display("channels: tx_full_polls=%0d rx_empty_polls=%0d pauses=%0d", full_polls_q,
             empty_polls_q, paused_q);
  end

endmodule
