// SPDX-License-Identifier: Apache-2.0
//
// What AMD's UltraScale+ integrated block for PCI Express has on its four streams (PG213):
// descriptors, widths of tuser, and where TLPs begin and end in a beat. Lanes are Dwords.

package accelerator_pcie4_pkg;

  // The numbers of the document are all here, whether the block needs them or not.
  /* verilator lint_off UNUSEDPARAM */

  // Bits of tuser.
  function automatic int unsigned cq_user(int unsigned width);
    return (width == 512) ? 183 : 88;
  endfunction
  function automatic int unsigned cc_user(int unsigned width);
    return (width == 512) ? 81 : 33;
  endfunction
  function automatic int unsigned rq_user(int unsigned width);
    return (width == 512) ? 137 : 62;
  endfunction
  function automatic int unsigned rc_user(int unsigned width);
    return (width == 512) ? 161 : 75;
  endfunction

  // Request types of a descriptor that the block here carries out.
  parameter bit [3:0] ReqMemRead  = 4'b0000;
  parameter bit [3:0] ReqMemWrite = 4'b0001;
  // Those from here on are messages, which nobody answers.
  parameter bit [3:0] ReqMessage  = 4'b1100;

  // Completion status.
  parameter bit [2:0] StatusSuccess     = 3'b000;
  parameter bit [2:0] StatusUnsupported = 3'b001;
  parameter bit [2:0] StatusAbort       = 3'b100;

  // Error codes of a completion on RC.
  parameter bit [3:0] CodeNone    = 4'b0000;
  parameter bit [3:0] CodeStatus  = 4'b0010;
  parameter bit [3:0] CodeFlr     = 4'b1000;
  parameter bit [3:0] CodeTimeout = 4'b1001;

  // Of cfg_local_error_out: a packet was dropped on RQ, on CC.
  parameter bit [4:0] LocalErrorRq = 5'b10100;
  parameter bit [4:0] LocalErrorCc = 5'b10101;

  /* verilator lint_on UNUSEDPARAM */

  typedef struct packed {
    bit        reserved1;
    bit [2:0]  attr;
    bit [2:0]  tc;
    bit [5:0]  bar_aperture;
    bit [2:0]  bar_id;
    bit [7:0]  target_function;
    bit [7:0]  tag;
    bit [15:0] requester_id;
    bit        reserved0;
    bit [3:0]  req_type;
    bit [10:0] dword_count;
    bit [61:0] dword_address;
    bit [1:0]  address_type;
  } cq_descriptor_t;

  typedef struct packed {
    bit        force_ecrc;
    bit [2:0]  attr;
    bit [2:0]  tc;
    bit        completer_id_enable;
    bit [15:0] completer_id;
    bit [7:0]  tag;
    bit [15:0] requester_id;
    bit        reserved3;
    bit        poisoned;
    bit [2:0]  status;
    bit [10:0] dword_count;
    bit [1:0]  reserved2;
    bit        locked;
    bit [12:0] byte_count;
    bit [5:0]  reserved1;
    bit [1:0]  address_type;
    bit        reserved0;
    bit [6:0]  lower_address;
  } cc_descriptor_t;

  typedef struct packed {
    bit        force_ecrc;
    bit [2:0]  attr;
    bit [2:0]  tc;
    bit        requester_id_enable;
    bit [15:0] completer_id;
    bit [7:0]  tag;
    bit [15:0] requester_id;
    bit        poisoned;
    bit [3:0]  req_type;
    bit [10:0] dword_count;
    bit [61:0] dword_address;
    bit [1:0]  address_type;
  } rq_descriptor_t;

  typedef struct packed {
    bit        reserved3;
    bit [2:0]  attr;
    bit [2:0]  tc;
    bit        reserved2;
    bit [15:0] completer_id;
    bit [7:0]  tag;
    bit [15:0] requester_id;
    bit        reserved1;
    bit        poisoned;
    bit [2:0]  status;
    bit [10:0] dword_count;
    bit        reserved0;
    bit        request_completed;
    bit        locked;
    bit [12:0] byte_count;
    bit [3:0]  error_code;
    bit [11:0] lower_address;
  } rc_descriptor_t;

  // Odd parity of each byte.
  function automatic bit [63:0] odd_parity(bit [511:0] data);
    for (int i = 0; i < 64; i++) odd_parity[i] = ~^data[8*i +: 8];
  endfunction

  // The part of a beat that belongs to one TLP: lanes `first` to `last`. `number` counts the TLPs
  // that begin in the beat.
  typedef struct packed {
    bit       valid;
    bit       sop;
    bit       eop;
    bit       number;
    bit [3:0] first;
    bit [3:0] last;
  } segment_t;

  // Without straddle a beat has lanes of one TLP, which tkeep and tlast tell.
  function automatic segment_t [1:0] one_segment(bit going_on, bit [15:0] keep, bit last);
    automatic bit [3:0] highest = '0;
    for (int i = 0; i < 16; i++) if (keep[i]) highest = 4'(i);
    one_segment    = '0;
    one_segment[0] = '{valid: 1'b1, sop: !going_on, eop: last, number: 1'b0, first: '0,
                       last: highest};
  endfunction

  // With straddle, of 512 bits, pointers tell where TLPs begin, in units of 16 bytes, and which lane
  // is their last.
  function automatic segment_t [1:0] two_segments(
      bit going_on, bit [1:0] sop, bit [1:0][1:0] sop_ptr, bit [1:0] eop, bit [1:0][3:0] eop_ptr);
    automatic bit [1:0] ends = 2'd0;
    automatic bit [1:0] at   = 2'd0;
    two_segments = '0;
    if (going_on) begin
      two_segments[0] = '{valid: 1'b1, sop: 1'b0, eop: eop[0], number: 1'b0, first: '0,
                          last: eop[0] ? eop_ptr[0] : 4'd15};
      ends = {1'b0, eop[0]};
      at   = 2'd1;
    end
    for (int i = 0; i < 2; i++) begin
      if (sop[i] && at < 2'd2) begin
        two_segments[at[0]] = '{
          valid: 1'b1, sop: 1'b1, number: i[0], first: {sop_ptr[i], 2'b00},
          eop: ends < 2'd2 && eop[ends[0]] && eop_ptr[ends[0]] >= {sop_ptr[i], 2'b00},
          last: (ends < 2'd2 && eop[ends[0]]) ? eop_ptr[ends[0]] : 4'd15};
        ends = ends + 2'd1;
        at   = at + 2'd1;
      end
    end
  endfunction

  // Whether the parity of a part is what it has to be. That of lanes without a TLP is of no account.
  function automatic bit parity_holds(bit [3:0] first, bit [3:0] last, bit [511:0] data,
                                            bit [63:0] parity);
    automatic bit [63:0] wrong = odd_parity(data) ^ parity;
    parity_holds = 1'b1;
    for (int i = 0; i < 16; i++) begin
      if (i >= 32'(first) && i <= 32'(last) && wrong[4*i +: 4] != '0) begin
        parity_holds = 1'b0;
      end
    end
  endfunction

  // Lanes, or bytes, that byte enables of a Dword leave out before the first and behind the last.
  function automatic bit [1:0] first_byte(bit [3:0] enables);
    casez (enables)
      4'b???1: return 2'd0;
      4'b??10: return 2'd1;
      4'b?100: return 2'd2;
      4'b1000: return 2'd3;
      default: return 2'd0;
    endcase
  endfunction
  function automatic bit [1:0] last_byte(bit [3:0] enables);
    casez (enables)
      4'b1???: return 2'd3;
      4'b01??: return 2'd2;
      4'b001?: return 2'd1;
      default: return 2'd0;
    endcase
  endfunction

  // Byte enables without a hole, that reach the highest byte, or the lowest.
  function automatic bit to_the_top(bit [3:0] enables);
    return enables inside {4'b1111, 4'b1110, 4'b1100, 4'b1000};
  endfunction
  function automatic bit from_the_bottom(bit [3:0] enables);
    return enables inside {4'b1111, 4'b0111, 4'b0011, 4'b0001};
  endfunction

  // The next of a row of numbers that look random: George Marsaglia, "Xorshift RNGs", 2003.
  function automatic bit [31:0] next_random(bit [31:0] now);
    automatic bit [31:0] x = now;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x;
  endfunction

endpackage
