// SPDX-License-Identifier: Apache-2.0
//
// Breaks each rule of axi_checker, since a checker that sees nothing is silent as well. The bus is 64
// bits wide, with IDs of 4.

#include "cases.h"

namespace {

void start() {
    top->aresetn = 0;
    step(3);
    top->aresetn = 1;
    step();
}

void aw(int id, uint64_t addr, int len, int size = 3, int burst = 1, int cache = 3) {
    top->awid = id;
    top->awaddr = addr;
    top->awlen = len;
    top->awsize = size;
    top->awburst = burst;
    top->awcache = cache;
    top->awvalid = top->awready = 1;
    step();
    top->awvalid = top->awready = 0;
}

void ar(int id, uint64_t addr, int len, int size = 3, int burst = 1, int cache = 3) {
    top->arid = id;
    top->araddr = addr;
    top->arlen = len;
    top->arsize = size;
    top->arburst = burst;
    top->arcache = cache;
    top->arvalid = top->arready = 1;
    step();
    top->arvalid = top->arready = 0;
}

void w(int last, int strb = 0xff) {
    top->wstrb = strb;
    top->wlast = last;
    top->wvalid = top->wready = 1;
    step();
    top->wvalid = top->wready = 0;
}

void b(int id, int resp = 0) {
    top->bid = id;
    top->bresp = resp;
    top->bvalid = top->bready = 1;
    step();
    top->bvalid = top->bready = 0;
}

void r(int id, int last, int resp = 0) {
    top->rid = id;
    top->rlast = last;
    top->rresp = resp;
    top->rvalid = top->rready = 1;
    step();
    top->rvalid = top->rready = 0;
}

const std::vector<Case> cases = {
    {"all that is allowed", End::quiet, "",
     [] {
         w(0);  // before its request
         aw(1, 0x1000, 1);
         aw(2, 0x2003, 0, 2);
         w(1);
         w(1, 0x08);
         b(2, 2);
         b(1, 3);
         aw(3, 0x10, 3, 3, 2);  // WRAP around 0 to 0x1f
         w(0);
         w(0);
         w(0);
         w(1);
         aw(3, 0x5, 1, 2, 0);  // FIXED at an odd address
         w(0, 0xe0);
         w(1, 0xe0);
         b(3);
         b(3);
         aw(4, 0x1, 2, 1);
         w(0, 0x02);
         w(0, 0x0c);
         w(1, 0x30);
         b(4);
         ar(1, 0xff8, 0);
         ar(2, 0, 255);
         ar(1, 0, 1);
         r(1, 1);
         r(1, 0);
         for (int n = 0; n < 256; ++n) r(2, n == 255);
         r(1, 1, 2);
     }},
    {"wider than the bus", End::stops, "AW: wider than the bus", [] { aw(0, 0, 0, 4); }},
    {"reserved kind", End::stops, "AW: reserved kind", [] { aw(0, 0, 0, 3, 3); }},
    {"FIXED of 17", End::stops, "AR: more than 16 beats", [] { ar(0, 0, 16, 3, 0); }},
    {"WRAP of 3", End::stops, "AR: length of WRAP", [] { ar(0, 0, 2, 3, 2); }},
    {"WRAP not aligned", End::stops, "AW: WRAP is not aligned", [] { aw(0, 4, 1, 3, 2); }},
    {"across 4 KiB", End::stops, "AR: across 4 KiB", [] { ar(0, 0xff8, 1); }},
    {"up to 4 KiB, from an odd address", End::stops, "AW: across 4 KiB", [] { aw(0, 0xff1, 2); }},
    {"cache bits", End::stops, "AW: reserved cache bits", [] { aw(0, 0, 0, 3, 1, 4); }},
    {"WLAST early", End::stops, "W: WLAST",
     [] {
         aw(0, 0, 1);
         w(1);
     }},
    {"WLAST late, data before its request", End::stops, "W: WLAST",
     [] {
         w(0);
         aw(0, 0, 0);
     }},
    {"a strobe of another lane", End::stops, "W: a strobe outside",
     [] {
         aw(0, 4, 0, 2);
         w(1, 0xf8);
     }},
    {"a strobe of the beat before", End::stops, "W: a strobe outside",
     [] {
         aw(0, 1, 2, 1);
         w(0, 2);
         w(0, 2);
     }},
    {"B without a write", End::stops, "B: nothing of this ID", [] { b(0); }},
    {"B before the last W", End::stops, "B: nothing of this ID",
     [] {
         aw(0, 0, 1);
         w(0);
         b(0);
     }},
    {"B in the clock of the last W", End::stops, "B: nothing of this ID",
     [] {
         aw(0, 0, 0);
         top->bvalid = top->bready = 1;
         w(1);
     }},
    {"B of another ID", End::stops, "B: nothing of this ID",
     [] {
         aw(1, 0, 0);
         w(1);
         b(2);
     }},
    {"B twice", End::stops, "B: nothing of this ID",
     [] {
         aw(1, 0, 0);
         w(1);
         b(1);
         b(1);
     }},
    {"EXOKAY of a write", End::stops, "B: EXOKAY",
     [] {
         aw(1, 0, 0);
         w(1);
         b(1, 1);
     }},
    {"R without a read", End::stops, "R: nothing of this ID", [] { r(0, 1); }},
    {"R in the clock of its AR", End::stops, "R: nothing of this ID",
     [] {
         top->rvalid = top->rready = top->rlast = 1;
         ar(0, 0, 0);
     }},
    {"RLAST early", End::stops, "R: RLAST",
     [] {
         ar(0, 0, 1);
         r(0, 1);
     }},
    {"RLAST never", End::stops, "R: RLAST",
     [] {
         ar(0, 0, 0);
         r(0, 0);
     }},
    {"EXOKAY of a read", End::stops, "R: EXOKAY",
     [] {
         ar(0, 0, 0);
         r(0, 1, 1);
     }},
    {"AWADDR changes", End::stops, "AW changed",
     [] {
         top->awvalid = 1;
         top->awburst = 1;
         step();
         top->awaddr = 8;
         step();
     }},
    {"ARVALID falls", End::stops, "AR changed",
     [] {
         top->arvalid = 1;
         top->arburst = 1;
         step();
         top->arvalid = 0;
         step();
     }},
    {"WDATA changes", End::stops, "W changed",
     [] {
         top->wvalid = 1;
         step();
         top->wdata = 8;
         step();
     }},
    {"BRESP changes", End::stops, "B changed",
     [] {
         aw(0, 0, 0);
         w(1);
         top->bvalid = 1;
         step();
         top->bresp = 2;
         step();
     }},
    {"RVALID falls", End::stops, "R changed",
     [] {
         ar(0, 0, 0);
         top->rvalid = top->rlast = 1;
         step();
         top->rvalid = 0;
         step();
     }},
    {"AWVALID in reset", End::stops, "valid of a request in reset",
     [] {
         top->aresetn = 0;
         top->awvalid = 1;
         step(3);
     }},
    {"RVALID in reset", End::stops, "valid of an answer in reset",
     [] {
         top->aresetn = 0;
         top->rvalid = 1;
         step(3);
     }},
};

}  // namespace

int main() {
    return run_all(cases, start, [] {});
}
