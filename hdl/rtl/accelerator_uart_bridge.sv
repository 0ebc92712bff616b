// SPDX-License-Identifier: Apache-2.0
//
// A serial port behind AXI4-Lite with the registers of AMD's AXI UART Lite (PG142), so that its
// drivers run on it (Linux: uartlite). The line is the chardev of QEMU.
//
//   0x0  RX_FIFO   ro  7:0 the oldest byte; SLVERR, and 0, if there is none
//   0x4  TX_FIFO   wo  7:0 a byte to send; SLVERR, and it is lost, if the FIFO is full
//   0x8  STAT_REG  ro  0 RX FIFO not empty, 1 RX FIFO full, 2 TX FIFO empty, 3 TX FIFO full,
//                      4 interrupt enabled; 5 to 7, errors of the line, are always 0
//   0xC  CTRL_REG  wo  0 empties the TX FIFO, 1 empties the RX FIFO, 4 enables the interrupt
//
// Both FIFOs have 16 bytes. The interrupt is a pulse of one clock, while enabled, when the RX
// FIFO stops being empty and when the TX FIFO becomes empty. A full RX FIFO loses nothing: the
// bytes wait in the host, so there is no overrun. Registers of one direction read as 0, or
// take no notice of a write, in the other one.

module accelerator_uart_bridge #(
  // Where QEMU connects, and the name in messages; see accelerator_uart_port.
  parameter string Endpoint = "",
  parameter string Name     = "uart0"
) (
  input  logic        s_axi_aclk,
  input  logic        s_axi_aresetn,
  // The name that Vivado's IP packager takes for an interrupt.
  /* verilator lint_off SYMRSVDWORD */
  output logic        interrupt,
  /* verilator lint_on SYMRSVDWORD */
  // A host is connected.
  output logic        connected,

  // Only the low bits of addresses, and the low bytes of data, matter.
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic [3:0]  s_axi_awaddr,
  input  logic [3:0]  s_axi_araddr,
  input  logic [31:0] s_axi_wdata,
  input  logic [3:0]  s_axi_wstrb,
  /* verilator lint_on UNUSEDSIGNAL */
  input  logic        s_axi_awvalid,
  output logic        s_axi_awready,
  input  logic        s_axi_wvalid,
  output logic        s_axi_wready,
  output logic [1:0]  s_axi_bresp,
  output logic        s_axi_bvalid,
  input  logic        s_axi_bready,
  input  logic        s_axi_arvalid,
  output logic        s_axi_arready,
  output logic [31:0] s_axi_rdata,
  output logic [1:0]  s_axi_rresp,
  output logic        s_axi_rvalid,
  input  logic        s_axi_rready
);

  localparam logic [1:0] RespOkay = 2'b00, RespSlverr = 2'b10;
  localparam logic [1:0] RxFifo = 2'd0, TxFifo = 2'd1, StatReg = 2'd2, CtrlReg = 2'd3;

  logic       rx_valid, rx_ready, tx_valid, tx_ready;
  logic [7:0] rx_data, tx_data;

  accelerator_uart_port #(
    .Endpoint(Endpoint), .Name(Name)
  ) u_port (
    .aclk(s_axi_aclk), .aresetn(s_axi_aresetn), .connected,
    .rx_data, .rx_valid, .rx_ready, .tx_data, .tx_valid, .tx_ready
  );

  logic       rx_clear, rx_pop, rx_some, rx_full;
  logic       tx_clear, tx_push, tx_pop, tx_some, tx_room;
  logic [7:0] rx_head, tx_head;

  accelerator_uart_fifo u_rx_fifo (
    .clk_i(s_axi_aclk), .rst_ni(s_axi_aresetn), .clear_i(rx_clear),
    .in_valid_i(rx_valid), .in_ready_o(rx_ready), .in_data_i(rx_data),
    .out_valid_o(rx_some), .out_ready_i(rx_pop), .out_data_o(rx_head)
  );
  accelerator_uart_fifo u_tx_fifo (
    .clk_i(s_axi_aclk), .rst_ni(s_axi_aresetn), .clear_i(tx_clear),
    .in_valid_i(tx_push), .in_ready_o(tx_room), .in_data_i(s_axi_wdata[7:0]),
    .out_valid_o(tx_some), .out_ready_i(tx_pop), .out_data_o(tx_head)
  );
  assign rx_full = !rx_ready;

  // The byte on the line left the FIFO, as into a shift register: a clear does not take it back.
  assign tx_pop = !tx_valid || tx_ready;

  always_ff @(posedge s_axi_aclk) begin
    if (tx_pop) begin
      tx_valid <= tx_some && !tx_clear;
      tx_data  <= tx_head;
    end
    if (!s_axi_aresetn) tx_valid <= 1'b0;
  end

  // Writes: when address and data are there, and the last response was taken.
  logic write, read, enable_q, rx_some_q, tx_some_q;
  assign write         = s_axi_awvalid && s_axi_wvalid && (!s_axi_bvalid || s_axi_bready);
  assign s_axi_awready = s_axi_aresetn && write;
  assign s_axi_wready  = s_axi_aresetn && write;
  assign tx_push       = write && s_axi_awaddr[3:2] == TxFifo && s_axi_wstrb[0];
  assign tx_clear      = write && s_axi_awaddr[3:2] == CtrlReg && s_axi_wstrb[0] &&
                         s_axi_wdata[0];
  assign rx_clear      = write && s_axi_awaddr[3:2] == CtrlReg && s_axi_wstrb[0] &&
                         s_axi_wdata[1];

  // Reads.
  assign s_axi_arready = s_axi_aresetn && (!s_axi_rvalid || s_axi_rready);
  assign read          = s_axi_arvalid && s_axi_arready;
  assign rx_pop        = read && s_axi_araddr[3:2] == RxFifo && rx_some;

  always_ff @(posedge s_axi_aclk) begin
    rx_some_q <= rx_some;
    tx_some_q <= tx_some;
    interrupt <= enable_q && ((rx_some && !rx_some_q) || (!tx_some && tx_some_q));
    if (s_axi_bready) s_axi_bvalid <= 1'b0;
    if (s_axi_rready) s_axi_rvalid <= 1'b0;
    if (write) begin
      s_axi_bvalid <= 1'b1;
      s_axi_bresp  <= (tx_push && !tx_room) ? RespSlverr : RespOkay;
      if (s_axi_awaddr[3:2] == CtrlReg && s_axi_wstrb[0]) enable_q <= s_axi_wdata[4];
    end
    if (read) begin
      s_axi_rvalid <= 1'b1;
      s_axi_rresp  <= RespOkay;
      s_axi_rdata  <= '0;
      case (s_axi_araddr[3:2])
        RxFifo: begin
          s_axi_rdata[7:0] <= rx_some ? rx_head : 8'd0;
          if (!rx_some) s_axi_rresp <= RespSlverr;
        end
        StatReg: s_axi_rdata[4:0] <= {enable_q, !tx_room, !tx_some, rx_full, rx_some};
        default: ;
      endcase
    end
    if (!s_axi_aresetn) begin
      enable_q     <= 1'b0;
      interrupt    <= 1'b0;
      rx_some_q    <= 1'b0;
      tx_some_q    <= 1'b0;
      s_axi_bvalid <= 1'b0;
      s_axi_rvalid <= 1'b0;
    end
  end

endmodule
