// SPDX-License-Identifier: Apache-2.0
//
// Registers behind m_axil:
//
//   0x00  ID        "XDMA"
//   0x04  SCRATCH   holds what is written
//   0x08  REQUEST   usr_irq_req, which a driver clears when it has served the interrupt
//   0x0C  ACKS      acknowledgements that came, all users together
//   0x10  CLOCKS    clocks since reset

module xdma_regs (
  input  logic        clk_i,
  input  logic        rst_ni,

  input  logic        wr_valid_i,
  input  logic [4:2]  wr_addr_i,
  input  logic [31:0] wr_data_i,
  input  logic [3:0]  wr_strb_i,
  input  logic [4:2]  rd_addr_i,
  output logic [31:0] rd_data_o,

  output logic [3:0]  usr_irq_req_o,
  input  logic [3:0]  usr_irq_ack_i
);

  logic [31:0] scratch_q, acks_q, clocks_q;
  logic [3:0]  request_q;

  assign usr_irq_req_o = request_q;

  always_comb begin
    case (rd_addr_i)
      3'd0:    rd_data_o = 32'h414D_4458;
      3'd1:    rd_data_o = scratch_q;
      3'd2:    rd_data_o = 32'(request_q);
      3'd3:    rd_data_o = acks_q;
      3'd4:    rd_data_o = clocks_q;
      default: rd_data_o = '0;
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      scratch_q <= '0;
      request_q <= '0;
      acks_q    <= '0;
      clocks_q  <= '0;
    end else begin
      clocks_q <= clocks_q + 1'b1;
      acks_q   <= acks_q + 32'($countones(usr_irq_ack_i));
      if (wr_valid_i && wr_addr_i == 3'd1) begin
        for (int unsigned i = 0; i < 4; i++) begin
          if (wr_strb_i[i]) scratch_q[8*i +: 8] <= wr_data_i[8*i +: 8];
        end
      end
      if (wr_valid_i && wr_addr_i == 3'd2 && wr_strb_i[0]) request_q <= wr_data_i[3:0];
    end
  end

endmodule
