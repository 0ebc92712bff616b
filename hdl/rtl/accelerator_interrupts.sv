// SPDX-License-Identifier: Apache-2.0
//
// Interrupts that RTL asks for. The process of the bridge that makes every DPI call does so here
// too, by the tasks: at each clock edge, in its own order.

module accelerator_interrupts
  import accelerator_dpi_pkg::*;
#(
  // Of the bridge, in messages.
  parameter string       Name    = "accelerator0",
  // 0: none.
  parameter int unsigned IntxPin = 0
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  // Tell what a board's PCIe block would not take.
  input  logic        board_rules_i,

  input  logic        msix_valid,
  output logic        msix_ready,
  input  logic [10:0] msix_vector,
  input  logic        intx,

  // No vector waits for the library.
  output logic        idle_o
);

  // The library could not take the vector: it is asked again every clock.
  logic        wait_q;
  logic [10:0] vector_q;
  logic        intx_sent_q;
  // Complaints so far.
  lines_t      complaints;
  // Two-state, so that it begins as 0.
  bit          told_vector_q;

  // User interrupts that AMD's PCIe block has (PG194, "DMA/Bridge Subsystem for PCIe in Bridge
  // Mode Interrupt Signals").
  localparam logic [10:0] BoardVectors = 11'd16;

  assign msix_ready = rst_ni && !wait_q;
  assign idle_o     = !wait_q;

  // The newest interrupt, for waveforms: valid for a clock, and its number, which is that of the record
  // and of the log.
  /* verilator lint_off UNUSEDSIGNAL */
  bit     txn_valid;
  longint txn_id;
  txn_e   txn_kind;
  /* verilator lint_on UNUSEDSIGNAL */

  task automatic serve(input chandle handle, input bit link);
    automatic int          status;
    automatic logic [10:0] vector;
    if (txn_valid) txn_valid <= 1'b0;
    if ((msix_valid && msix_ready) || wait_q) begin
      vector = wait_q ? vector_q : msix_vector;
      if (board_rules_i && vector >= BoardVectors && !told_vector_q) begin
        told_vector_q <= 1'b1;
        $warning("%m: %s: vector %0d is raised: a board's PCIe block has %0d; told once", Name,
                 vector, BoardVectors);
      end
      status = link ? acc_msix(handle, 32'(vector)) : 0;
      if (status < 0 && status != -ErrAgain) begin
        complaints = complain(handle, Name, status, $sformatf("raising vector %0d", vector),
                                 complaints);
      end else if (link && status >= 0) begin
        txn_valid <= 1'b1;
        txn_id    <= acc_stat(handle, StatTransaction);
        txn_kind  <= TxnMsix;
      end
      wait_q   <= status == -ErrAgain;
      vector_q <= vector;
    end
    if (IntxPin != 0 && intx != intx_sent_q && link) begin
      status = acc_intx(handle, 32'(intx));
      if (status < 0) begin
        complaints = complain(handle, Name, status, "setting the level of INTx",
                                 complaints);
      end else begin
        txn_valid <= 1'b1;
        txn_id    <= acc_stat(handle, StatTransaction);
        txn_kind  <= TxnIntx;
      end
      intx_sent_q <= intx;
    end
  endtask

  task automatic clear();
    txn_valid   <= 1'b0;
    wait_q      <= 1'b0;
    intx_sent_q <= 1'b0;
  endtask

  accelerator_known_check #(
    .Width(11), .Name("msix")
  ) u_known_msix (
    .clk_i, .rst_ni, .valid_i(msix_valid), .payload_i(msix_vector)
  );
  accelerator_known_check #(
    .Width(1), .Name("intx")
  ) u_known_intx (
    .clk_i, .rst_ni, .valid_i(1'b1), .payload_i(intx)
  );
  accelerator_stable_check #(
    .Width(11), .Name("msix")
  ) u_check_msix (
    .clk_i, .rst_ni, .valid_i(msix_valid), .ready_i(msix_ready), .payload_i(msix_vector)
  );

  final begin : p_left_out
    tell_left_out(Name, "failed calls", complaints.left_out);
  end

endmodule
