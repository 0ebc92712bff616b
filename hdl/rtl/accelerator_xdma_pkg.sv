// SPDX-License-Identifier: Apache-2.0
//
// What the parts of accelerator_xdma share: targets, registers and bits of the DMA/Bridge Subsystem
// for PCI Express in DMA mode, and its descriptor (PG195, "Register Space" and "Descriptors").

package accelerator_xdma_pkg;

  // Not every part has a use for each.
  /* verilator lint_off UNUSEDPARAM */

  // Bits 15 to 12 of an address in the DMA BAR. Bits 11 to 8 are the channel.
  parameter logic [3:0] TargetH2c      = 4'h0;
  parameter logic [3:0] TargetC2h      = 4'h1;
  parameter logic [3:0] TargetIrq      = 4'h2;
  parameter logic [3:0] TargetConfig   = 4'h3;
  parameter logic [3:0] TargetH2cSgdma = 4'h4;
  parameter logic [3:0] TargetC2hSgdma = 4'h5;
  parameter logic [3:0] TargetSgdma    = 4'h6;

  // Bits of the control register of a channel. From 1 to 23 they let what the bit of the same
  // number in the status register says be logged.
  parameter int unsigned CtrlRun       = 0;
  parameter int unsigned CtrlNonInc    = 25;
  parameter int unsigned CtrlPollMode  = 26;
  parameter int unsigned CtrlNoMeta    = 27;

  // Bits of the status register of a channel.
  parameter int unsigned StatBusy          = 0;
  parameter int unsigned StatDescStopped   = 1;
  parameter int unsigned StatDescCompleted = 2;
  parameter int unsigned StatAlignMismatch = 3;
  parameter int unsigned StatMagicStopped  = 4;
  parameter int unsigned StatInvalidLength = 5;
  parameter int unsigned StatIdleStopped   = 6;
  // Read errors: of the host for H2C, of m_axi for C2H.
  parameter int unsigned StatHostUnsupported = 9;
  parameter int unsigned StatCardReadDecode  = 9;
  parameter int unsigned StatCardReadSlave   = 10;
  // Write errors: of m_axi, for H2C.
  parameter int unsigned StatCardWriteDecode = 14;
  parameter int unsigned StatCardWriteSlave  = 15;
  // The descriptor could not be read.
  parameter int unsigned StatDescUnsupported = 19;

  // Those of status that are errors.
  parameter logic [23:0] StatErrors = 24'hFF_FE38;

  // Bits of the control field of a descriptor.
  parameter int unsigned DescStop      = 0;
  parameter int unsigned DescCompleted = 1;
  parameter int unsigned DescEop       = 4;

  parameter logic [15:0] DescMagic = 16'hAD4B;
  // In what a C2H stream channel writes back.
  parameter logic [15:0] MetaMagic = 16'h52B4;

  parameter int unsigned DescBytes = 32;
  parameter int unsigned LenWidth  = 28;

  /* verilator lint_on UNUSEDPARAM */

  // As it is in host memory, bit 0 in the first byte.
  typedef struct packed {
    logic [63:0] next_addr;
    logic [63:0] dst_addr;
    logic [63:0] src_addr;
    logic [3:0]  reserved_len;
    logic [27:0] len;
    logic [15:0] magic;
    logic [1:0]  reserved_adj;
    logic [5:0]  next_adj;
    logic [7:0]  control;
  } desc_t;

  // What the identifier of each block holds: the subsystem's, the target's, whether it is a
  // stream, the channel's and the version, which is that of "2017.1 to current release".
  function automatic logic [31:0] identifier(logic [3:0] target, logic stream,
                                             logic [3:0] channel);
    return {12'h1FC, target, stream, 3'd0, channel, 8'h06};
  endfunction

  // The value of a register after the bytes of data with their bit in strb were written.
  function automatic logic [31:0] written(logic [31:0] old, logic [31:0] data, logic [3:0] strb);
    automatic logic [31:0] mask = {{8{strb[3]}}, {8{strb[2]}}, {8{strb[1]}}, {8{strb[0]}}};
    return (old & ~mask) | (data & mask);
  endfunction

  // The value of a register with three addresses, of which the second sets and the third clears
  // the bits that are written as 1. `place` is 0, 1 or 2 for these.
  function automatic logic [31:0] changed(logic [31:0] old, logic [1:0] place, logic [31:0] data,
                                          logic [3:0] strb);
    case (place)
      2'd0:    return written(old, data, strb);
      2'd1:    return old | written('0, data, strb);
      2'd2:    return old & ~written('0, data, strb);
      default: return old;
    endcase
  endfunction

endpackage
