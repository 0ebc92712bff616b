// SPDX-License-Identifier: Apache-2.0
//
// A checker of AXI4, for one bus: what both sides must keep (AMBA AXI, IHI 0022), by the section of
// each rule. It only listens, shares nothing with the bridge that it watches, and does not
// know what a transaction is for. Names and order of the channels are those of the standard.

module axi_checker #(
  parameter string       Name      = "axi",
  parameter int unsigned AddrWidth = 64,
  parameter int unsigned DataWidth = 32,
  parameter int unsigned IdWidth   = 1,
  // Whether requests are held against the rules, and answers against that of reset: not where a
  // test plays that side, which breaks them on purpose, and drives nothing at the very start.
  parameter bit          Requests  = 1'b1,
  parameter bit          Answers   = 1'b1
) (
  input logic                   aclk,
  input logic                   aresetn,

  input logic [IdWidth-1:0]     awid,
  input logic [AddrWidth-1:0]   awaddr,
  input logic [7:0]             awlen,
  input logic [2:0]             awsize,
  input logic [1:0]             awburst,
  input logic [3:0]             awcache,
  input logic                   awvalid,
  input logic                   awready,
  input logic [DataWidth-1:0]   wdata,
  input logic [DataWidth/8-1:0] wstrb,
  input logic                   wlast,
  input logic                   wvalid,
  input logic                   wready,
  input logic [IdWidth-1:0]     bid,
  input logic [1:0]             bresp,
  input logic                   bvalid,
  input logic                   bready,
  input logic [IdWidth-1:0]     arid,
  input logic [AddrWidth-1:0]   araddr,
  input logic [7:0]             arlen,
  input logic [2:0]             arsize,
  input logic [1:0]             arburst,
  input logic [3:0]             arcache,
  input logic                   arvalid,
  input logic                   arready,
  input logic [IdWidth-1:0]     rid,
  input logic [DataWidth-1:0]   rdata,
  input logic [1:0]             rresp,
  input logic                   rlast,
  input logic                   rvalid,
  input logic                   rready
);

  localparam int unsigned Lanes = DataWidth / 8;
  localparam int unsigned LaneWidth = $clog2(Lanes);
  localparam logic [1:0] Fixed = 2'd0, Incr = 2'd1, Wrap = 2'd2;
  localparam logic [1:0] ExOkay = 2'b01;

  typedef struct packed {
    logic [IdWidth-1:0]   id;
    logic [AddrWidth-1:0] addr;
    logic [7:0]           len;
    logic [2:0]           size;
    logic [1:0]           burst;
    logic [3:0]           cache;
  } request_t;

  // A read, and the beats of it that came.
  typedef struct packed {
    request_t   request;
    logic [8:0] beats;
  } burst_t;

  function automatic void broken(string rule);
    $error("axi_checker: %s: %s", Name, rule);
  endfunction

  // Not every function needs all of a request.
  /* verilator lint_off UNUSEDSIGNAL */

  // The lanes that beat n of a burst may use (A3.4.1, A3.4.3).
  function automatic logic [Lanes-1:0] lanes(request_t r, int unsigned n);
    automatic longint unsigned bytes = 64'd1 << r.size;
    automatic longint unsigned start = 64'(r.addr);
    automatic longint unsigned aligned = start / bytes * bytes;
    automatic longint unsigned total = bytes * (64'(r.len) + 1);
    automatic longint unsigned address = aligned + 64'(n) * bytes;
    automatic longint unsigned first;
    if (r.burst == Fixed) address = aligned;
    if (r.burst == Wrap && address >= start / total * total + total) address -= total;
    first = (n == 0 || r.burst == Fixed) ? start : address;
    lanes = '0;
    for (longint unsigned a = first; a < address + bytes; a++) lanes[a[LaneWidth-1:0]] = 1'b1;
  endfunction

  // What is wrong with a request, or "".
  function automatic string fault(request_t r);
    automatic longint unsigned bytes = 64'd1 << r.size;
    automatic longint unsigned start = 64'(r.addr);
    if (bytes > 64'(Lanes)) return "wider than the bus (A3.4.1)";
    if (r.burst == 2'd3) return "reserved kind of burst (A3.4.1)";
    if (r.burst != Incr && r.len > 8'd15) return "more than 16 beats (A3.4.1)";
    if (r.burst == Wrap) begin
      if (!(r.len inside {8'd1, 8'd3, 8'd7, 8'd15})) return "length of WRAP (A3.4.1)";
      if (start % bytes != 0) return "WRAP is not aligned (A3.4.1)";
    end
    if (r.burst == Incr &&
        start / 4096 != (start / bytes * bytes + bytes * (64'(r.len) + 1) - 1) / 4096) begin
      return "across 4 KiB (A3.4.1)";
    end
    // Allocate without modifiable.
    if (!r.cache[1] && r.cache[3:2] != 2'd0) return "reserved cache bits (A4.4)";
    return "";
  endfunction

  /* verilator lint_on UNUSEDSIGNAL */

  request_t aw, ar;
  assign aw = '{id: awid, addr: awaddr, len: awlen, size: awsize, burst: awburst, cache: awcache};
  assign ar = '{id: arid, addr: araddr, len: arlen, size: arsize, burst: arburst, cache: arcache};

  // Requests whose data is not complete; beats that came before their request; bursts that wait for
  // B; reads that wait for data.
  request_t       data_q [$];
  logic [Lanes:0] early_q [$];  // strobes and last
  request_t       answer_q [$];
  burst_t         read_q [$];
  int unsigned    beat_q;       // of the burst on W

  // What was offered at the last edge and not taken.
  logic aw_wait_q, w_wait_q, b_wait_q, ar_wait_q, r_wait_q;
  /* verilator lint_off PROCASSINIT */
  logic [1:0] reset_q = 2'b00;
  /* verilator lint_on PROCASSINIT */
  logic [$bits(request_t)-1:0]   aw_q, ar_q;
  logic [DataWidth+Lanes:0]      w_q;
  logic [IdWidth+1:0]            b_q;
  logic [IdWidth+DataWidth+2:0]  r_q;

  function automatic void take_beat(logic [Lanes:0] beat);
    automatic request_t r = data_q[0];
    if (beat[Lanes] != (beat_q == 32'(r.len))) broken("W: WLAST (A3.4.1)");
    // A burst that the test made wrong has no lanes to hold it against.
    if (fault(r) == "" && (beat[Lanes-1:0] & ~lanes(r, beat_q)) != '0) begin
      broken("W: a strobe outside of the transfer (A3.4.3)");
    end
    if (beat_q == 32'(r.len)) begin
      answer_q.push_back(r);
      void'(data_q.pop_front());
      beat_q = 0;
    end else begin
      beat_q++;
    end
  endfunction

  // One step of everything, in the order of cause and effect: an answer in the same clock as the
  // end of its request came too early.
  // A checker keeps books, which is not what registers are for.
  /* verilator lint_off BLKSEQ */
  always @(posedge aclk) begin
    automatic int found;
    if (!aresetn) begin
      // A3.1.2: in reset nothing is valid. What is registered follows one clock later, and with
      // random values at the start a module may see an edge of its clock before the first.
      if (Requests && reset_q[1] && (awvalid || wvalid || arvalid)) begin
        broken("valid of a request in reset (A3.1.2)");
      end
      if (Answers && reset_q[1] && (bvalid || rvalid)) broken("valid of an answer in reset (A3.1.2)");
      data_q.delete();
      early_q.delete();
      answer_q.delete();
      read_q.delete();
      beat_q = 0;
      {aw_wait_q, w_wait_q, b_wait_q, ar_wait_q, r_wait_q} = '0;
      reset_q = {reset_q[0], 1'b1};
    end else begin
      reset_q = 2'b00;

      // A3.2.1: once valid, everything stays until ready.
      if (aw_wait_q && (!awvalid || aw_q != aw)) broken("AW changed before AWREADY (A3.2.1)");
      if (w_wait_q && (!wvalid || w_q != {wdata, wstrb, wlast})) broken("W changed before WREADY (A3.2.1)");
      if (b_wait_q && (!bvalid || b_q != {bid, bresp})) broken("B changed before BREADY (A3.2.1)");
      if (ar_wait_q && (!arvalid || ar_q != ar)) broken("AR changed before ARREADY (A3.2.1)");
      if (r_wait_q && (!rvalid || r_q != {rid, rdata, rresp, rlast})) broken("R changed before RREADY (A3.2.1)");
      aw_wait_q = awvalid && !awready;
      w_wait_q  = wvalid && !wready;
      b_wait_q  = bvalid && !bready;
      ar_wait_q = arvalid && !arready;
      r_wait_q  = rvalid && !rready;
      aw_q      = aw;
      w_q       = {wdata, wstrb, wlast};
      b_q       = {bid, bresp};
      ar_q      = ar;
      r_q       = {rid, rdata, rresp, rlast};

      // A3.3.1: B follows AW and the last W; A5.3: answers of one ID are in order.
      if (bvalid) begin
        found = -1;
        for (int i = 0; i < answer_q.size(); i++) begin
          if (answer_q[i].id == bid && found < 0) found = i;
        end
        if (found < 0) broken("B: nothing of this ID waits for a response (A3.3.1)");
        else if (bready) answer_q.delete(found);
        // A7.2.3: nobody here asks for exclusive access.
        if (bresp == ExOkay) broken("B: EXOKAY (A7.2.3)");
      end
      if (rvalid) begin
        found = -1;
        for (int i = 0; i < read_q.size(); i++) begin
          if (read_q[i].request.id == rid && found < 0) found = i;
        end
        if (found < 0) begin
          broken("R: nothing of this ID waits for data (A3.3.1)");
        end else begin
          if (rlast != (read_q[found].beats == 9'(read_q[found].request.len))) broken("R: RLAST (A3.4.1)");
          if (rready) begin
            if (read_q[found].beats == 9'(read_q[found].request.len)) read_q.delete(found);
            else read_q[found].beats = read_q[found].beats + 9'd1;
          end
        end
        if (rresp == ExOkay) broken("R: EXOKAY (A7.2.3)");
      end

      if (Requests && awvalid && fault(aw) != "") broken({"AW: ", fault(aw)});
      if (Requests && arvalid && fault(ar) != "") broken({"AR: ", fault(ar)});
      if (awvalid && awready) data_q.push_back(aw);
      if (arvalid && arready) read_q.push_back('{request: ar, beats: '0});
      if (wvalid && wready) early_q.push_back({wlast, wstrb});
      while (early_q.size() != 0 && data_q.size() != 0) take_beat(early_q.pop_front());
    end
  end
  /* verilator lint_on BLKSEQ */

endmodule
