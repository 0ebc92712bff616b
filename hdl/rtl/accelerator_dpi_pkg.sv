// SPDX-License-Identifier: Apache-2.0
//
// DPI-C imports of the co-simulation library (dpi-bridge/include/accelerator_dpi.h) and the
// numbers that go with them. Only the bridge calls these; RTL of a user needs none of it.
//
// Functions that return int return 0 or a positive value when all is well, and one of the
// negated Err* numbers otherwise; acc_last_error has the text.

package accelerator_dpi_pkg;

  // The numbers of the interface are all here, whether the bridge needs them or not.
  /* verilator lint_off UNUSEDPARAM */

  // What acc_abi_version must return.
  parameter int AbiVersion = 1;

  // Most bytes in one DMA request: an AXI burst never crosses 4 KiB.
  parameter int MaxDmaBytes = 4096;
  // Most DMA requests, reads and writes together, that the library keeps outstanding, and how many
  // these are with a host of before protocol 1.5.
  parameter int MaxDmaOutstanding   = 512;
  parameter int LeastDmaOutstanding = 64;

  // Bits of acc_poll's `ready`: which kinds of event may be returned.
  parameter int ReadyWrite        = 1;
  parameter int ReadyRead         = 2;
  parameter int ReadyDmaReadDone  = 4;
  parameter int ReadyDmaWriteDone = 8;
  parameter int ReadyFunction     = 16;

  // What acc_poll returns.
  parameter int EventNone         = 0;
  parameter int EventMmioRead     = 1;
  parameter int EventMmioWrite    = 2;
  parameter int EventDmaReadDone  = 3;
  parameter int EventDmaWriteDone = 4;
  parameter int EventReset        = 5;
  parameter int EventLinkUp       = 6;
  parameter int EventLinkDown     = 7;
  parameter int EventFunction     = 8;

  // Bits of acc_get_function's `flags`.
  parameter int FunctionMemorySpace     = 1;
  parameter int FunctionBusMaster       = 2;
  parameter int FunctionIntxDisable     = 4;
  parameter int FunctionMsixEnable      = 8;
  parameter int FunctionMsixMask        = 16;
  parameter int FunctionExtendedTag     = 32;
  parameter int FunctionRelaxedOrdering = 64;
  parameter int FunctionNoSnoop         = 128;
  parameter int FunctionMsiEnable       = 256;

  // Error numbers, returned negated.
  parameter int ErrInval  = 1;
  parameter int ErrAgain  = 2;
  parameter int ErrLink   = 3;
  parameter int ErrState  = 4;
  parameter int ErrIo     = 5;
  parameter int ErrPanic  = 6;
  parameter int ErrNotSup = 7;

  // Counters of acc_stat.
  parameter int StatMmioReads     = 0;
  parameter int StatMmioWrites    = 1;
  parameter int StatDmaReadBytes  = 2;
  parameter int StatDmaWriteBytes = 3;
  parameter int StatMsix          = 4;
  parameter int StatSessions      = 5;
  parameter int StatPollsWithWork = 6;
  parameter int StatTransaction   = 7;

  // Bits of what acc_nic_poll returns.
  parameter int NicRx      = 1;
  parameter int NicTx      = 2;
  parameter int NicLink    = 4;
  parameter int NicChanged = 8;

  // Counters of acc_nic_stat.
  parameter int NicStatRxFrames  = 0;
  parameter int NicStatRxBytes   = 1;
  parameter int NicStatTxFrames  = 2;
  parameter int NicStatTxBytes   = 3;
  parameter int NicStatTxDropped = 4;
  parameter int NicStatTxTooLong = 5;
  parameter int NicStatRxDropped = 6;
  parameter int NicStatSessions  = 7;

  // Bits of what acc_uart_poll returns.
  parameter int UartRx   = 1;
  parameter int UartTx   = 2;
  parameter int UartHost = 4;

  /* verilator lint_on UNUSEDPARAM */

  // A write of the guest on its way from the library to m_axi: 1 to 8 bytes.
  typedef struct packed {
    bit          valid;
    bit   [63:0] addr;
    bit   [3:0]  len;
    bit   [63:0] data;
  } write_t;

  // Of a transaction, in waveforms: the numbers are those of the record.
  typedef enum bit [7:0] {
    TxnNone      = 8'd0,
    TxnMmioRead  = 8'd1,
    TxnMmioWrite = 8'd2,
    TxnDmaRead   = 8'd5,
    TxnDmaWrite  = 8'd6,
    TxnMsix      = 8'd11,
    TxnIntx      = 8'd12
  } txn_e;

  // Life of a bridge. The configuration calls come between acc_open and acc_start.
  import "DPI-C" function int acc_abi_version();
  import "DPI-C" function chandle acc_open(input string endpoint, input string name);
  import "DPI-C" function int acc_close(input chandle h);
  import "DPI-C" function string acc_last_error(input chandle h);
  import "DPI-C" function int acc_set_id(
    input chandle h, input int vendor, input int device, input int subvendor,
    input int subdevice, input int class_code, input int revision);
  import "DPI-C" function int acc_set_bar(
    input chandle h, input int bar, input longint size, input int flags,
    input longint axi_base);
  import "DPI-C" function int acc_set_msix(
    input chandle h, input int vectors, input int table_bar, input int table_offset,
    input int pba_bar, input int pba_offset);
  import "DPI-C" function int acc_set_msix_in_rtl(input chandle h, input int in_rtl);
  import "DPI-C" function int acc_set_msi(
    input chandle h, input int vectors, input int masking);
  import "DPI-C" function int acc_add_capability(
    input chandle h, input int id, input int offset, input int bytes,
    input bit [511:0] body);
  import "DPI-C" function int acc_set_link(
    input chandle h, input int speed, input int width);
  import "DPI-C" function int acc_set_intx(input chandle h, input int pin);
  import "DPI-C" function int acc_set_clock(input chandle h, input int period_ps);
  import "DPI-C" function int acc_set_shared_memory(input chandle h, input int mode);
  import "DPI-C" function int acc_set_faults(input chandle h, input string file);
  import "DPI-C" function int acc_start(input chandle h);

  // Every clock.
  import "DPI-C" function int acc_poll(input chandle h, input int ready);
  // When there is nothing to do.
  import "DPI-C" function int acc_wait(input chandle h, input int microseconds);

  // Guest accesses.
  import "DPI-C" function int acc_get_mmio(
    input chandle h, output int tag, output int bar, output longint addr,
    output int len, output longint data);
  import "DPI-C" function int acc_mmio_read_done(
    input chandle h, input int tag, input int status, input longint data);
  import "DPI-C" function int acc_mmio_write_done(
    input chandle h, input int tag, input int status);

  // DMA.
  import "DPI-C" function int acc_dma_read(
    input chandle h, input longint addr, input int bytes);
  import "DPI-C" function int acc_get_dma_read(
    input chandle h, output int tag, output int status, output int bytes);
  import "DPI-C" function int acc_dma_read_beat(
    input chandle h, input int tag, input int lane, input int bytes,
    output bit [511:0] data);
  import "DPI-C" function int acc_dma_write_begin(input chandle h, input longint addr);
  import "DPI-C" function int acc_dma_write_beat(
    input chandle h, input int lane, input int bytes, input bit [511:0] data,
    input bit [63:0] strb);
  import "DPI-C" function int acc_dma_write_end(input chandle h);
  import "DPI-C" function int acc_get_dma_write(
    input chandle h, output int tag, output int status);

  // Interrupts.
  import "DPI-C" function int acc_msix(input chandle h, input int vector);
  import "DPI-C" function int acc_intx(input chandle h, input int level);

  // Reset and link.
  import "DPI-C" function int acc_get_reset(input chandle h, output int kind);
  import "DPI-C" function int acc_reset_done(input chandle h);
  import "DPI-C" function int acc_get_link(input chandle h, output int up);

  // What the guest has set in config space.
  import "DPI-C" function int acc_get_function(
    input chandle h, output int flags, output int power, output int max_payload,
    output int max_read_request, output int requester_id, output int link_speed,
    output int link_width);
  import "DPI-C" function int acc_get_msi(
    input chandle h, output int vectors, output int mask);
  import "DPI-C" function int acc_get_bar(
    input chandle h, input int bar, output longint address);

  import "DPI-C" function longint acc_stat(input chandle h, input int which);

  // NIC channel.
  import "DPI-C" function chandle acc_nic_open(input string endpoint, input string name);
  import "DPI-C" function int acc_nic_close(input chandle h);
  import "DPI-C" function int acc_nic_poll(input chandle h);
  import "DPI-C" function int acc_nic_get_mac(input chandle h, output longint mac);
  import "DPI-C" function int acc_nic_set_link(input chandle h, input int up);
  import "DPI-C" function int acc_nic_rx_begin(input chandle h);
  import "DPI-C" function int acc_nic_rx_beat(
    input chandle h, input int bytes, output bit [511:0] data);
  import "DPI-C" function int acc_nic_tx_beat(
    input chandle h, input int bytes, input bit [511:0] data, input int last);
  import "DPI-C" function int acc_nic_tx_abort(input chandle h);
  import "DPI-C" function longint acc_nic_stat(input chandle h, input int which);

  // Record.
  import "DPI-C" function int acc_record(
    input string file, input longint bytes, input int contents);

  // UART channel.
  import "DPI-C" function chandle acc_uart_open(input string endpoint, input string name);
  import "DPI-C" function int acc_uart_close(input chandle h);
  import "DPI-C" function int acc_uart_poll(input chandle h);
  import "DPI-C" function int acc_uart_get(input chandle h);
  import "DPI-C" function int acc_uart_put(input chandle h, input int value);

  // Whether table and pending bits of MSI-X are at places that they can have: each at a multiple of
  // 8, within its BAR, without an overlap. Of each vector the table has 16 bytes; of each 64 of
  // them that have begun the array of pending bits has 8.
  function automatic bit msix_places_fit(
    input int unsigned vectors, input bit [5:0][63:0] bar_size, input int unsigned table_bar,
    input int unsigned table_offset, input int unsigned pba_bar, input int unsigned pba_offset);
    automatic bit [63:0] table_end, pba_end;
    table_end = 64'(table_offset) + 64'd16 * 64'(vectors);
    pba_end   = 64'(pba_offset) + 64'd8 * ((64'(vectors) + 64'd63) / 64'd64);
    if (table_bar > 5 || pba_bar > 5) return 1'b0;
    if (table_offset % 8 != 0 || pba_offset % 8 != 0) return 1'b0;
    if (table_end > bar_size[table_bar[2:0]] || pba_end > bar_size[pba_bar[2:0]]) return 1'b0;
    return table_bar != pba_bar || table_end <= 64'(pba_offset) || pba_end <= 64'(table_offset);
  endfunction

  // Has a record written if +accelerator_record=FILE asks for one, as a ring of
  // +accelerator_record_size=BYTES, with contents for +accelerator_record_data=1. Before a bridge is
  // started or a channel opened.
  task automatic record_if_asked(input string name);
    automatic string file;
    automatic longint bytes = 0;
    automatic int contents = 0;
    void'($value$plusargs("accelerator_record_size=%d", bytes));
    void'($value$plusargs("accelerator_record_data=%d", contents));
    if ($value$plusargs("accelerator_record=%s", file)) begin
      if (acc_record(file, bytes, contents) < 0) begin
        $fatal(1, "%s: +accelerator_record=%s: %s", name, file, acc_last_error(null));
      end
    end
  endtask

  // What the plusargs of a simulation ask of each of its bridges: whether sessions go through shared
  // memory, where `shared_memory` is what its parameter says, a record, and a plan of faults. The
  // last step before acc_start.
  task automatic obey_plusargs(input chandle handle, input string name,
                               input int unsigned shared_memory);
    automatic string text;
    automatic int    carrier = int'(shared_memory);
    if ($value$plusargs("accelerator_shared_memory=%s", text)) begin
      case (text)
        "off":   carrier = 0;
        "auto":  carrier = 1;
        "on":    carrier = 2;
        default: $fatal(1, "%s: +accelerator_shared_memory=%s, expected off, auto or on", name,
                        text);
      endcase
    end
    record_if_asked(name);
    if (acc_set_shared_memory(handle, carrier) < 0) begin
      $fatal(1, "%s: setting the use of shared memory failed: %s", name, acc_last_error(handle));
    end
    if ($value$plusargs("accelerator_faults=%s", text)) begin
      if (acc_set_faults(handle, text) < 0) begin
        $fatal(1, "%s: setting the plan of faults failed: %s", name, acc_last_error(handle));
      end
    end
  endtask

  // Lines of one kind that a module writes at most, where the guest or the RTL can cause them
  // again and again, in so much simulated time. In a simulation without time that is all of it.
  localparam int unsigned     MostLines    = 8;
  localparam longint unsigned LinePeriodNs = 100_000_000;

  // What was written of one kind: since when, how often since then, and how often it was left
  // out and nobody has been told. Two-state, so that it begins as 0. Each function looks at some
  // of it.
  /* verilator lint_off UNUSEDSIGNAL */
  typedef struct packed {
    longint unsigned since;
    int unsigned     written;
    int unsigned     left_out;
  } lines_t;

  // Simulated time in nanoseconds, whatever the time unit of a compilation is.
  function automatic longint unsigned sim_ns();
    return longint'($realtime / 1ns);
  endfunction

  // Whether its period, if one has begun, is not over.
  function automatic bit goes_on(input lines_t told);
    return told.written != 0 && sim_ns() - told.since < LinePeriodNs;
  endfunction

  // Inlined into a process these would have their variables cleared at each clock, in Verilator.

  // Whether one more line of the kind may be written now.
  function automatic bit may_tell(input lines_t told);
    /* verilator no_inline_task */
    return told.written < MostLines || !goes_on(told);
  endfunction
  /* verilator lint_on UNUSEDSIGNAL */

  // With one more line, which was written if it might be.
  function automatic lines_t count_line(input lines_t told);
    /* verilator no_inline_task */
    automatic lines_t now = told;
    if (!may_tell(told)) begin
      now.left_out = told.left_out + 1;
    end else begin
      now.left_out = 0;
      now.written  = goes_on(told) ? told.written + 1 : 1;
      if (now.written == 1) now.since = sim_ns();
    end
    return now;
  endfunction

  // What stands behind a line that may be written.
  function automatic string last_words(input lines_t told);
    /* verilator no_inline_task */
    automatic string text = "";
    if (told.left_out != 0) begin
      text = $sformatf(" (%0d more like this were left out before)", told.left_out);
    end
    if (goes_on(told) && told.written + 1 == MostLines) begin
      text = {text, "; more like this are not told for a while"};
    end
    return text;
  endfunction

  // At the end: how many lines of the kind were left out since one was written.
  function automatic void tell_left_out(input string name, input string what,
                                         input int unsigned left_out);
    if (left_out != 0) begin
      $warning("%s: %0d more lines of %s were left out", name, left_out, what);
    end
  endfunction

  // Says that a call of the bridge `name` failed, unless it is because the link is down, or there
  // were enough complaints. Returns what was written.
  function automatic lines_t complain(input chandle h, input string name, input int status,
                                      input string what, input lines_t told);
    /* verilator no_inline_task */
    if (status == -ErrLink) return told;
    if (may_tell(told)) begin
      $warning("%s: %s failed (%0d): %s%s", name, what, status, acc_last_error(h),
               last_words(told));
    end
    return count_line(told);
  endfunction

endpackage
