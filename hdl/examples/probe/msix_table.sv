// SPDX-License-Identifier: Apache-2.0
//
// Vector table and pending bits of MSI-X in RTL, as cards have them that write their interrupts
// themselves (PCI Express base specification, "MSI-X Capability and Table Structures"). Behind
// accelerator_pcie_bridge with MsixInRtl 1, or AMD's block with its table in the user's logic.
//
// Register port, as accelerator_axi_regs has it, on a bus of 64 bits: the table begins at address 0
// and has 16 bytes a vector, the pending bits begin at PbaOffset.
//
// irq_*: one request for each clock with valid and ready. A vector that is masked is pending until
// it is not; one more request of it meanwhile is the same. Unmasked, the next one waits until the
// first is sent, so that none is lost. A vector that there is not is taken and ignored.
//
// msg_*: 4 bytes to be written to an address. msg_ready_i means that the write has been taken by
// whoever sends it, behind all data that was taken before. Until then the guest's accesses to the
// table wait: whoever has masked a vector, and read the table, gets no message of it any more.

module msix_table #(
  parameter int unsigned Vectors   = 8,
  parameter int unsigned AddrWidth = 16,
  parameter int unsigned PbaOffset = 32'h8000
) (
  input  logic                 clk_i,
  input  logic                 rst_ni,

  // MSI-X Enable and Function Mask, as the guest has set them.
  input  logic                 enable_i,
  input  logic                 mask_i,

  input  logic                 wr_valid_i,
  output logic                 wr_ready_o,
  input  logic [AddrWidth-1:0] wr_addr_i,
  input  logic [63:0]          wr_data_i,
  input  logic [7:0]           wr_strb_i,
  // Reads are of whole words.
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic [AddrWidth-1:0] rd_addr_i,
  /* verilator lint_on UNUSEDSIGNAL */
  output logic                 rd_ready_o,
  output logic [63:0]          rd_data_o,

  input  logic                 irq_valid_i,
  output logic                 irq_ready_o,
  input  logic [10:0]          irq_vector_i,

  output logic                 msg_valid_o,
  input  logic                 msg_ready_i,
  output logic [63:0]          msg_addr_o,
  output logic [31:0]          msg_data_o
);

  localparam int unsigned IndexWidth = (Vectors > 1) ? $clog2(Vectors) : 1;
  localparam int unsigned TableBytes = 16 * Vectors;
  localparam int unsigned PbaWords   = (Vectors + 63) / 64;

  if (Vectors < 1 || Vectors > 2048) begin : gen_bad_vectors
    $error("Vectors is %0d; 1 to 2048 are possible", Vectors);
  end
  if (PbaOffset % 8 != 0 || PbaOffset < TableBytes ||
      64'(PbaOffset) + 64'(8 * PbaWords) > (64'd1 << AddrWidth)) begin : gen_bad_pba_offset
    $error("PbaOffset is 0x%0h; a multiple of 8 from 0x%0h to 0x%0h is possible", PbaOffset,
           TableBytes, (64'd1 << AddrWidth) - 64'(8 * PbaWords));
  end

  logic [63:0]         addr_q [Vectors];
  logic [31:0]         data_q [Vectors];
  // Two bits a vector; a masked one sends nothing.
  logic [Vectors-1:0]  masked_q, pending_q;
  // The vector that was sent last: the next one above it is next.
  logic [IndexWidth-1:0] last_q;

  function automatic logic [63:0] merge(logic [63:0] old, logic [63:0] data,
                                        logic [7:0] strb);
    for (int i = 0; i < 8; i++) merge[8*i +: 8] = strb[i] ? data[8*i +: 8] : old[8*i +: 8];
  endfunction

  ////////////////////////
  // The guest's access //
  ////////////////////////

  // Nothing is taken while a message is on its way.
  assign wr_ready_o = !msg_valid_o;
  assign rd_ready_o = !msg_valid_o;

  function automatic logic in_table(logic [AddrWidth-1:0] addr);
    return 32'(addr) < TableBytes;
  endfunction

  logic [IndexWidth-1:0] rd_index;
  assign rd_index = rd_addr_i[4 +: IndexWidth];

  always_comb begin
    rd_data_o = '0;
    if (in_table(rd_addr_i)) begin
      rd_data_o = rd_addr_i[3] ? {31'd0, masked_q[rd_index], data_q[rd_index]}
                               : addr_q[rd_index];
    end
    for (int unsigned i = 0; i < PbaWords; i++) begin
      if (32'(rd_addr_i) / 8 == PbaOffset / 8 + i) begin
        rd_data_o = 64'((64 * PbaWords)'(pending_q) >> (64 * i));
      end
    end
  end

  //////////////
  // Requests //
  //////////////

  logic                  there;
  logic [IndexWidth-1:0] index;
  logic                  held;
  assign there = 32'(irq_vector_i) < Vectors;
  assign index = IndexWidth'(irq_vector_i);
  // Its message does not go out for now.
  assign held        = masked_q[index] || mask_i || !enable_i;
  assign irq_ready_o = !there || !pending_q[index] || held;

  // The next vector to be sent: of those behind the last one, else of all, the lowest.
  logic [Vectors-1:0]    ready, behind;
  logic                  any;
  logic [IndexWidth-1:0] chosen;
  always_comb begin
    ready  = (enable_i && !mask_i) ? pending_q & ~masked_q : '0;
    behind = ready & ~(Vectors'({Vectors{1'b1}}) >> (Vectors - 1 - 32'(last_q)));
    any    = ready != '0;
    chosen = '0;
    for (int i = Vectors - 1; i >= 0; i--) begin
      if ((behind != '0) ? behind[i] : ready[i]) chosen = IndexWidth'(i);
    end
  end

  always_ff @(posedge clk_i) begin : p_table
    if (!rst_ni) begin
      masked_q    <= '1;
      pending_q   <= '0;
      last_q      <= '0;
      msg_valid_o <= 1'b0;
      for (int i = 0; i < int'(Vectors); i++) begin
        addr_q[i] <= '0;
        data_q[i] <= '0;
      end
    end else begin
      if (wr_valid_i && wr_ready_o && in_table(wr_addr_i)) begin
        if (wr_addr_i[3]) begin
          data_q[wr_addr_i[4 +: IndexWidth]] <=
            32'(merge({32'd0, data_q[wr_addr_i[4 +: IndexWidth]]}, wr_data_i, wr_strb_i));
          if (wr_strb_i[4]) masked_q[wr_addr_i[4 +: IndexWidth]] <= wr_data_i[32];
        end else begin
          // Bits 1 and 0 are zero.
          addr_q[wr_addr_i[4 +: IndexWidth]] <=
            merge(addr_q[wr_addr_i[4 +: IndexWidth]], wr_data_i, wr_strb_i) & ~64'd3;
        end
      end

      if (msg_valid_o) begin
        if (msg_ready_i) msg_valid_o <= 1'b0;
      end else if (any) begin
        msg_valid_o       <= 1'b1;
        msg_addr_o        <= addr_q[chosen];
        msg_data_o        <= data_q[chosen];
        last_q            <= chosen;
        pending_q[chosen] <= 1'b0;
      end
      // Behind the line that clears one: a request in the same clock is a new one. It is taken only
      // if it is not pending, so it is another vector's.
      if (irq_valid_i && irq_ready_o && there) pending_q[index] <= 1'b1;
    end
  end

endmodule
