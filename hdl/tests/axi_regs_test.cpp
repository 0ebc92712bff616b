// SPDX-License-Identifier: Apache-2.0
//
// The register port of accelerator_axi_regs: which word, and which bytes of it, each access asks for
// or writes. The bus is 64 bits wide, with addresses of 12.

#define CASES_CLOCK clk_i
#include "cases.h"

namespace {

constexpr int kLanes = 8;

void start() {
    top->rst_ni = 0;
    step(3);
    top->rst_ni = 1;
    step();
    top->s_axi_bready = top->s_axi_rready = 1;
    top->reg_wr_ready_i = top->reg_rd_ready_i = 1;
}

// The byte addresses that a set of lanes is, from a word's address on.
std::vector<int> bytes(int addr, unsigned strb) {
    std::vector<int> out;
    for (int i = 0; i < kLanes; ++i) {
        if (strb >> i & 1) out.push_back(addr / kLanes * kLanes + i);
    }
    return out;
}

// What a burst asks for, beat by beat, with stalls of the registers.
std::vector<int> read(int addr, int beats, int size, int stall) {
    std::vector<int> asked;
    top->s_axi_arvalid = 1;
    top->s_axi_araddr = addr;
    top->s_axi_arlen = beats - 1;
    top->s_axi_arsize = size;
    until([] { return top->s_axi_arready; });
    step();
    top->s_axi_arvalid = 0;
    int answers = 0;
    for (int n = 0; answers < beats; ++n) {
        expect(n < 1000, "the burst ends");
        top->reg_rd_ready_i = n % (stall + 1) == stall;
        top->eval();
        if (top->reg_rd_valid_o && top->reg_rd_ready_i) {
            const auto beat = bytes(top->reg_rd_addr_o, top->reg_rd_strb_o);
            expect(!beat.empty() && beat.front() == top->reg_rd_addr_o, "the address is that of the first byte");
            asked.insert(asked.end(), beat.begin(), beat.end());
            top->reg_rd_data_i = 0x1000 + asked.size();
        }
        const bool answer = top->s_axi_rvalid;
        if (answer) {
            ++answers;
            expect(top->s_axi_rlast == (answers == beats), "RLAST");
        }
        step();
    }
    return asked;
}

std::vector<int> range(int from, int to) {
    std::vector<int> out;
    for (; from < to; ++from) out.push_back(from);
    return out;
}

const std::vector<Case> cases = {
    {"reads of every size, address and length", End::quiet, "",
     [] {
         for (int stall = 0; stall < 3; ++stall) {
             for (int size = 0; size <= 3; ++size) {
                 for (int addr = 0x100; addr < 0x110; ++addr) {
                     for (int beats = 1; beats <= 5; ++beats) {
                         const int end = ((addr >> size) + beats) << size;
                         expect(read(addr, beats, size, stall) == range(addr, end),
                                "exactly the bytes of the burst are asked for");
                     }
                 }
             }
         }
     }},
    {"a read with an error", End::quiet, "",
     [] {
         top->reg_rd_error_i = 1;
         top->s_axi_arvalid = 1;
         top->s_axi_arsize = 2;
         step();
         top->s_axi_arvalid = 0;
         until([] { return top->s_axi_rvalid; });
         expect(top->s_axi_rresp == 2, "SLVERR");
     }},
    {"writes of every size and address", End::quiet, "",
     [] {
         for (int size = 0; size <= 3; ++size) {
             for (int addr = 0x200; addr < 0x210; ++addr) {
                 const int end = ((addr >> size) + 1) << size;
                 unsigned strb = 0;
                 for (int a = addr; a < end; ++a) strb |= 1U << a % kLanes;
                 top->s_axi_awvalid = 1;
                 top->s_axi_awaddr = addr;
                 top->s_axi_awsize = size;
                 until([] { return top->s_axi_awready; });
                 step();
                 top->s_axi_awvalid = 0;
                 top->s_axi_wvalid = top->s_axi_wlast = 1;
                 top->s_axi_wstrb = strb;
                 top->eval();
                 expect(top->reg_wr_valid_o, "the write is there");
                 expect(top->reg_wr_addr_o % kLanes == 0, "the address is that of a word");
                 expect(bytes(top->reg_wr_addr_o, top->reg_wr_strb_o) == range(addr, end),
                        "exactly the bytes of the access are written");
                 step();
                 top->s_axi_wvalid = 0;
                 until([] { return top->s_axi_bvalid; });
                 expect(top->s_axi_bresp == 0, "OKAY");
                 step();
             }
         }
     }},
};

}  // namespace

int main() {
    return run_all(cases, start, [] {});
}
