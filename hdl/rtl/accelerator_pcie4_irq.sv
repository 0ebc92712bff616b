// SPDX-License-Identifier: Apache-2.0
//
// Interrupts that RTL asks for on cfg_interrupt_*. The process of the block that makes every DPI call
// does so here too, by the tasks: at each clock edge, in its own order.
//
// The table and the pending bits of MSI-X are built in, that is, QEMU's, or with MsixInRtl the
// RTL's, which then gives address and data of a message. The pending bits of MSI are QEMU's.

module accelerator_pcie4_irq
  import accelerator_dpi_pkg::*;
#(
  // Of the block, in messages.
  parameter string       Name        = "accelerator0",
  parameter int unsigned MsixVectors = 1,
  parameter int unsigned MsixInRtl   = 0,
  // 0: no INTx.
  parameter int unsigned IntxPin     = 0
) (
  input  logic        rst_ni,
  input  logic        msi_enable_i,
  input  logic [31:0] msi_mask_i,
  input  logic        msix_enable_i,

  input  logic [3:0]  cfg_interrupt_int,
  output logic        cfg_interrupt_sent,
  input  logic [31:0] cfg_interrupt_msi_int,
  output logic        cfg_interrupt_msi_sent,
  output logic        cfg_interrupt_msi_fail,
  output logic        cfg_interrupt_msi_mask_update,
  // Of a message, where the table is the RTL's.
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic [63:0] cfg_interrupt_msix_address,
  input  logic [31:0] cfg_interrupt_msix_data,
  /* verilator lint_on UNUSEDSIGNAL */
  input  logic        cfg_interrupt_msix_int,
  input  logic [1:0]  cfg_interrupt_msix_vec_pending,

  // No vector waits for the library.
  output logic        idle_o
);

  // A vector that the library could not take yet; or a message of the RTL, and what is in it.
  bit          waits, writes;
  int          vector;
  bit [63:0]   address;
  bit [511:0]  message;
  bit          intx_sent;
  logic [31:0] mask_q;
  // What was told of requests that cannot be, and complaints.
  lines_t      told_q, complaints;

  // The newest interrupt, for waveforms: valid for a clock, and its number, which is that of the record
  // and of the log.
  /* verilator lint_off UNUSEDSIGNAL */
  bit     txn_valid;
  longint txn_id;
  txn_e   txn_kind;
  /* verilator lint_on UNUSEDSIGNAL */

  task automatic refuse(input string what);
    cfg_interrupt_msi_fail <= 1'b1;
    if (may_tell(told_q)) begin
      $warning("%m: %s: cfg_interrupt_msi_int 0x%0h, cfg_interrupt_msix_int %0d: %s%s", Name,
               cfg_interrupt_msi_int, cfg_interrupt_msix_int, what, last_words(told_q));
    end
    told_q <= count_line(told_q);
  endtask

  // What RTL asks for, one at a time: PG213, "MSI Interrupt Mode", "MSI-X Mode with Built-in MSI-X
  // Vector Tables" and "MSI-X Mode with External Vector Tables".
  task automatic ask();
    automatic string what = "";
    if (waits) begin
      what = "the one before has not been sent";
    end else if (MsixInRtl != 0 && cfg_interrupt_msix_int) begin
      if (!msix_enable_i) begin
        what = "the guest has not enabled MSI-X";
      end else if (cfg_interrupt_msix_address[1:0] != 2'b00) begin
        what = $sformatf("cfg_interrupt_msix_address is 0x%0h, a multiple of 4 is possible",
                         cfg_interrupt_msix_address);
      end else begin
        waits   = 1'b1;
        writes  = 1'b1;
        address = cfg_interrupt_msix_address;
        message = 512'(cfg_interrupt_msix_data);
      end
    end else if (cfg_interrupt_msix_int && cfg_interrupt_msix_vec_pending != 2'b00) begin
      // Asks for a pending bit, or clears it: they are not known here.
      cfg_interrupt_msi_sent <= 1'b1;
    end else if (cfg_interrupt_msix_int && !msix_enable_i) begin
      what = "the guest has not enabled MSI-X";
    end else if (cfg_interrupt_msix_int &&
                 33'(cfg_interrupt_msi_int) + 33'd1 > 33'(MsixVectors)) begin
      what = $sformatf("MSI-X has %0d vectors", MsixVectors);
    end else if (cfg_interrupt_msix_int) begin
      waits  = 1'b1;
      writes = 1'b0;
      vector = int'(cfg_interrupt_msi_int);
    end else if (!msi_enable_i) begin
      what = "the guest has not enabled MSI";
    end else if ((cfg_interrupt_msi_int & (cfg_interrupt_msi_int - 32'd1)) != '0) begin
      what = "only one bit may be set at a time";
    end else begin
      waits  = 1'b1;
      writes = 1'b0;
      vector = $clog2(cfg_interrupt_msi_int);
    end
    if (what != "") refuse(what);
  endtask

  // Whether there is anything to do but for what waits.
  function automatic bit is_asked(bit link);
    return cfg_interrupt_msi_int != '0 || cfg_interrupt_msix_int || mask_q != msi_mask_i ||
           (IntxPin != 0 && link && (cfg_interrupt_int != '0) != intx_sent);
  endfunction

  // Writes the message. That it was done, or refused, is told as of all writes.
  function automatic int write(input chandle handle);
    automatic int status = acc_dma_write_begin(handle, address);
    if (status < 0) return status;
    status = acc_dma_write_beat(handle, 0, 4, message, 64'hF);
    if (status < 0) return status;
    return acc_dma_write_end(handle);
  endfunction

  // `behind`: a write of RQ that was taken before has no room at the library yet.
  task automatic serve(input chandle handle, input bit link, input bit behind);
    automatic int status;
    automatic bit level;
    if (txn_valid) txn_valid <= 1'b0;
    cfg_interrupt_msi_sent <= 1'b0;
    cfg_interrupt_msi_fail <= 1'b0;
    cfg_interrupt_sent     <= 1'b0;
    if (rst_ni && (cfg_interrupt_msi_int != '0 || cfg_interrupt_msix_int)) ask();
    if (waits && !behind) begin
      status = !link ? -ErrLink : writes ? write(handle) : acc_msix(handle, vector);
      waits  = status == -ErrAgain;
      if (status < 0 && !waits) begin
        complaints = complain(handle, Name, status,
                              writes ? $sformatf("writing a message to 0x%0h", address)
                                     : $sformatf("raising vector %0d", vector), complaints);
        cfg_interrupt_msi_fail <= 1'b1;
      end else if (!waits) begin
        cfg_interrupt_msi_sent <= 1'b1;
        txn_valid              <= 1'b1;
        txn_id                 <= acc_stat(handle, StatTransaction);
        txn_kind               <= writes ? TxnDmaWrite : TxnMsix;
      end
    end
    level = cfg_interrupt_int != '0;
    if (IntxPin != 0 && link && rst_ni && level != intx_sent) begin
      status = acc_intx(handle, 32'(level));
      if (status < 0) begin
        complaints = complain(handle, Name, status, "setting the level of INTx", complaints);
      end else begin
        txn_valid <= 1'b1;
        txn_id    <= acc_stat(handle, StatTransaction);
        txn_kind  <= TxnIntx;
      end
      intx_sent           = level;
      cfg_interrupt_sent <= 1'b1;
    end
    mask_q                        <= msi_mask_i;
    cfg_interrupt_msi_mask_update <= mask_q != msi_mask_i;
    idle_o                        <= !waits;
  endtask

  // A reset or a change of the link takes the level of INTx back.
  task automatic forget();
    waits     = 1'b0;
    intx_sent = 1'b0;
  endtask

  task automatic clear();
    forget();
    txn_valid                     <= 1'b0;
    mask_q                        <= '0;
    cfg_interrupt_msi_sent        <= 1'b0;
    cfg_interrupt_msi_fail        <= 1'b0;
    cfg_interrupt_sent            <= 1'b0;
    cfg_interrupt_msi_mask_update <= 1'b0;
    idle_o                        <= 1'b1;
  endtask

  final begin : p_left_out
    tell_left_out(Name, "interrupts that cannot be", told_q.left_out);
    tell_left_out(Name, "failed calls for interrupts", complaints.left_out);
  end

endmodule
