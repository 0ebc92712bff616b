// SPDX-License-Identifier: Apache-2.0
//
// accelerator_usr_irq between a card that raises random vectors and a PCIe block that acknowledges
// when it likes: every vector that exists comes out once, in order, and its request stays until
// the acknowledge.

module usr_irq_tb;

  timeunit 1ns;
  timeprecision 1ps;

  localparam int NumVectors = 5;
  localparam int Rounds     = 500;

  logic                  aclk    = 1'b0;
  logic                  aresetn;
  logic                  msix_valid, msix_ready;
  logic [10:0]           msix_vector;
  logic [NumVectors-1:0] usr_irq_req, usr_irq_ack;
  // One-hot of the vector under way, 0 if there is none.
  logic [NumVectors-1:0] wanted;
  int unsigned           taken, acked, dropped;

  initial begin
    aresetn = 1'b0;
    // Between two edges of the clock.
    #20 aresetn = 1'b1;
  end

  initial begin
    #1;
    while (1) begin
      #2 aclk = 1'b1;
      #2 aclk = 1'b0;
    end
  end

  accelerator_usr_irq #(
    .NumVectors(NumVectors)
  ) u_dut (
    .aclk, .aresetn, .msix_valid, .msix_ready, .msix_vector, .usr_irq_req, .usr_irq_ack
  );

  always_ff @(posedge aclk) begin
    if (!aresetn) begin
      msix_valid  <= 1'b0;
      usr_irq_ack <= '0;
      wanted      <= '0;
      taken       <= 0;
      acked       <= 0;
      dropped     <= 0;
    end else begin
      // The card: a vector stays until it is taken; some do not exist.
      if (!msix_valid || msix_ready) begin
        msix_valid  <= $urandom_range(1) == 1;
        msix_vector <= 11'($urandom_range(NumVectors));
      end
      // The block: one clock of acknowledge for what is asked for, some time later.
      usr_irq_ack <= (usr_irq_ack == '0 && $urandom_range(3) == 0) ? usr_irq_req : '0;

      if (usr_irq_req != wanted) $fatal(1, "requests %b, expected %b", usr_irq_req, wanted);
      if (usr_irq_ack != '0) begin
        if ((usr_irq_ack & ~usr_irq_req) != '0) $fatal(1, "a request fell early");
        wanted <= wanted & ~usr_irq_ack;
        acked  <= acked + 1;
      end
      if (msix_valid && msix_ready) begin
        if (wanted != '0) $fatal(1, "taken while another is under way");
        if (msix_vector < 11'(NumVectors)) begin
          wanted <= NumVectors'(1) << msix_vector;
          taken  <= taken + 1;
        end else begin
          dropped <= dropped + 1;
        end
      end
      if (acked == Rounds) begin
        if (taken < acked || taken > acked + 1 || dropped == 0) $fatal(1, "counts");
        $display("usr_irq_tb: %0d interrupts, %0d dropped", acked, dropped);
        $finish;
      end
    end
  end

endmodule
