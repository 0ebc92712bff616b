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

// A beat that the registers took, and a response.
struct Beat {
    int addr;
    unsigned data;
};
struct Response {
    int id;
    int resp;
};

// Offers the writes, each a burst of `beats` of 8 bytes, on AW `aw_late` clocks after and W `w_late`
// clocks after the earliest that they can, while the registers and B are ready every so many
// clocks; registers answer with an error where `error` says so.
struct Writes {
    int count, beats, aw_late, w_late, reg_stall, b_stall;
    std::function<bool(int)> error = [](int) { return false; };

    std::vector<Beat> taken = {};
    std::vector<Response> responses = {};
    int clocks = 0;

    void run() {
        int aw = 0, w = 0, aw_wait = aw_late, w_wait = w_late;
        for (; static_cast<int>(responses.size()) < count; ++clocks) {
            expect(clocks < 4000, "the writes end");
            top->s_axi_awvalid = aw < count && aw_wait == 0;
            top->s_axi_awaddr = 0x100 + 8 * beats * aw;
            top->s_axi_awsize = 3;
            top->s_axi_awid = aw & 1;
            top->s_axi_wvalid = w < count * beats && w_wait == 0;
            top->s_axi_wdata = w;
            top->s_axi_wstrb = 0xff;
            top->s_axi_wlast = w % beats == beats - 1;
            top->reg_wr_ready_i = clocks % (reg_stall + 1) == reg_stall;
            top->s_axi_bready = clocks % (b_stall + 1) == b_stall;
            top->eval();
            top->reg_wr_error_i = error(top->reg_wr_data_o);
            top->eval();
            if (top->reg_wr_valid_o && top->reg_wr_ready_i) {
                taken.push_back({top->reg_wr_addr_o, static_cast<unsigned>(top->reg_wr_data_o)});
            }
            if (top->s_axi_bvalid && top->s_axi_bready) {
                responses.push_back({top->s_axi_bid, top->s_axi_bresp});
            }
            const bool aw_taken = top->s_axi_awvalid && top->s_axi_awready;
            const bool w_taken = top->s_axi_wvalid && top->s_axi_wready;
            step();
            aw_wait = aw_taken ? aw_late : aw_wait - (aw_wait > 0);
            w_wait = w_taken ? w_late : w_wait - (w_wait > 0);
            aw += aw_taken;
            w += w_taken;
        }
        step(5);
        expect(!top->s_axi_bvalid && !top->reg_wr_valid_o, "nothing is left");
        expect(static_cast<int>(taken.size()) == count * beats, "each beat is taken once");
        for (int i = 0; i < count * beats; ++i) {
            expect(taken[i].addr == 0x100 + 8 * i && static_cast<int>(taken[i].data) == i,
                   "each beat has its own address and data");
        }
        for (int i = 0; i < count; ++i) {
            bool wrong = false;
            for (int beat = 0; beat < beats; ++beat) wrong = wrong || error(i * beats + beat);
            expect(responses[i].id == (i & 1), "the response has the id of its write");
            expect(responses[i].resp == (wrong ? 2 : 0), "SLVERR if one of its beats was wrong");
        }
    }
};

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
                 until([] { return top->s_axi_wready; });
                 step();
                 top->s_axi_wvalid = 0;
                 top->eval();
                 expect(top->reg_wr_valid_o, "the write is there");
                 expect(top->reg_wr_addr_o % kLanes == 0, "the address is that of a word");
                 expect(bytes(top->reg_wr_addr_o, top->reg_wr_strb_o) == range(addr, end),
                        "exactly the bytes of the access are written");
                 step();
                 until([] { return top->s_axi_bvalid; });
                 expect(top->s_axi_bresp == 0, "OKAY");
                 step();
             }
         }
     }},
    {"AW and W in any order, with every stall", End::quiet, "",
     [] {
         for (int beats = 1; beats <= 3; ++beats) {
             for (int late = 0; late < 16; ++late) {
                 for (int stall = 0; stall < 9; ++stall) {
                     Writes{12, beats, late / 4, late % 4, stall / 3, stall % 3}.run();
                 }
             }
         }
     }},
    {"an error is that of its own write", End::quiet, "",
     [] {
         for (int beats = 1; beats <= 3; ++beats) {
             for (int stall = 0; stall < 9; ++stall) {
                 Writes{12, beats, 0, 0, stall / 3, stall % 3, [](int beat) { return beat % 5 == 1; }}.run();
             }
         }
     }},
    {"a write in each clock", End::quiet, "",
     [] {
         Writes writes{100, 1, 0, 0, 0, 0};
         writes.run();
         // The first is taken, done and answered in three.
         expect(writes.clocks == 102, "as many clocks as writes");
     }},
    {"what is ready waits for no valid", End::quiet, "",
     [] {
         expect(top->s_axi_awready && top->s_axi_wready, "both are ready");
         top->s_axi_wvalid = top->s_axi_wlast = 1;
         step();
         expect(top->s_axi_awready && !top->s_axi_wready && !top->reg_wr_valid_o, "W waits for AW");
         top->s_axi_wvalid = 0;
         top->s_axi_awvalid = 1;
         step();
         expect(top->reg_wr_valid_o, "both are there");
     }},
};

}  // namespace

int main() {
    return run_all(cases, start, [] {});
}
