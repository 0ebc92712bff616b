// SPDX-License-Identifier: Apache-2.0
//
// What the parts of the bridges share about AXI4 (AMBA AXI, IHI 0022) and about rings.

package accelerator_axi_pkg;

  // Not every design has a use for each.
  /* verilator lint_off UNUSEDPARAM */
  parameter logic [1:0] RespOkay   = 2'b00;
  parameter logic [1:0] RespSlverr = 2'b10;
  parameter logic [1:0] RespDecerr = 2'b11;
  parameter logic [1:0] BurstIncr  = 2'b01;
  // No burst crosses a multiple of this.
  parameter int unsigned BoundaryBytes = 4096;
  /* verilator lint_on UNUSEDPARAM */

  // Bytes of a burst, from its address to its end.
  function automatic int unsigned burst_bytes(logic [11:0] addr, logic [7:0] len,
                                              logic [2:0] size);
    return ((32'(len) + 1) << size) - (32'(addr) & ((32'd1 << size) - 1));
  endfunction

  // Whether a DMA burst is one that the bridge does not carry out. full_size is log2 of the bytes
  // of the bus.
  function automatic bit burst_is_bad(logic [11:0] addr, logic [7:0] len, logic [2:0] size,
                                      logic [1:0] burst, int unsigned full_size);
    return burst != BurstIncr || 32'(size) > full_size ||
           32'(addr) + burst_bytes(addr, len, size) > BoundaryBytes;
  endfunction

  // Whether a board whose AXI bridge has addresses of 48 bits (PG194) would not know this one.
  function automatic bit beyond_board(logic [63:0] addr);
    return (addr >> 48) != '0;
  endfunction

  // The next place in a ring of `slots` places.
  function automatic int unsigned next_slot(int unsigned slot, int unsigned slots);
    return (slot + 1 == slots) ? 0 : slot + 1;
  endfunction

endpackage
