// SPDX-License-Identifier: Apache-2.0
//
// The UART bridge on its own, with a driver in RTL: at an interrupt it takes each byte that came and
// sends it back with its case changed.

module uart_bridge_top (
  input logic aclk,
  input logic aresetn
);

  localparam logic [3:0] RxFifo = 4'h0, TxFifo = 4'h4, StatReg = 4'h8, CtrlReg = 4'hC;

  typedef enum logic [2:0] {Enable, Idle, Status, Take, Give} state_e;

  state_e      state_q;
  logic        aw_q, w_q, ar_q, pending_q;
  logic [7:0]  byte_q;

  logic        interrupt, awready, wready, bvalid, arready, rvalid;
  // Errors, and bits that the driver has no use for.
  /* verilator lint_off UNUSEDSIGNAL */
  logic        connected;
  logic [1:0]  bresp, rresp;
  logic [31:0] rdata;
  /* verilator lint_on UNUSEDSIGNAL */

  always_ff @(posedge aclk) begin
    if (awready) aw_q <= 1'b0;
    if (wready) w_q <= 1'b0;
    if (arready) ar_q <= 1'b0;
    if (interrupt) pending_q <= 1'b1;
    case (state_q)
      Enable: if (bvalid) state_q <= Idle;
      Status: begin
        if (rvalid) begin
          if (!rdata[0]) begin
            state_q <= Idle;
          end else begin
            ar_q <= 1'b1;
            // A full TX FIFO is asked again.
            if (!rdata[3]) state_q <= Take;
          end
        end
      end
      Take: begin
        if (rvalid) begin
          byte_q  <= rdata[7:0] ^ 8'h20;
          state_q <= Give;
          aw_q    <= 1'b1;
          w_q     <= 1'b1;
        end
      end
      Give: begin
        if (bvalid) begin
          state_q <= Status;
          ar_q    <= 1'b1;
        end
      end
      default: begin
        if (pending_q) begin
          pending_q <= interrupt;
          state_q   <= Status;
          ar_q      <= 1'b1;
        end
      end
    endcase
    if (!aresetn) begin
      state_q   <= Enable;
      aw_q      <= 1'b1;
      w_q       <= 1'b1;
      ar_q      <= 1'b0;
      pending_q <= 1'b0;
    end
  end

  accelerator_uart_bridge u_bridge (
    .s_axi_aclk(aclk), .s_axi_aresetn(aresetn), .interrupt, .connected,
    .s_axi_awaddr((state_q == Enable) ? CtrlReg : TxFifo), .s_axi_awvalid(aw_q),
    .s_axi_awready(awready),
    .s_axi_wdata((state_q == Enable) ? 32'h10 : {24'h0, byte_q}), .s_axi_wstrb(4'b0001),
    .s_axi_wvalid(w_q), .s_axi_wready(wready),
    .s_axi_bresp(bresp), .s_axi_bvalid(bvalid), .s_axi_bready(1'b1),
    .s_axi_araddr((state_q == Status) ? StatReg : RxFifo), .s_axi_arvalid(ar_q),
    .s_axi_arready(arready),
    .s_axi_rdata(rdata), .s_axi_rresp(rresp), .s_axi_rvalid(rvalid), .s_axi_rready(1'b1)
  );

endmodule
