// SPDX-License-Identifier: Apache-2.0
//
// Breaks the rules of the bridges on purpose, on top of standin.cpp. The cases with assertions off
// hold that nobody waits for ever for an RTL that broke a rule. It is built once for each bridge,
// with MISUSE_PCIE, MISUSE_NIC or MISUSE_UART.

#include "standin.cpp"

#include "cases.h"

namespace {

// Of a library that is newer or older than the bridge.
void another_abi() { abi_version = 7; }

const Case kAnotherAbi = {"a library of another ABI", End::stops,
                          "the DPI library has ABI version 7, this bridge needs 1",
                          [] {}, true, nullptr, 1, another_abi};

void in_reset() {
    top->aresetn = 0;
    step(4);
    top->aresetn = 1;
}

#ifdef MISUSE_PCIE

// Told of again and again, of which there are so many and no more.
constexpr int kLines = 8;
constexpr const char *kLast = "; more like this are not told for a while";

constexpr uint64_t kBase = 0x10000;
constexpr int kDepth = 2;

void start() {
    si_new(1, kBase, 1 << 16);
    in_reset();
    si_push_link(1);
    // Low with the link, and then up.
    until([] { return top->user_link_up; });
    until([] { return top->user_resetn; });
}

si_record find(int what) {
    si_record record{};
    until([&] {
        while (si_log_next(&record)) {
            if (record.what == what) return true;
        }
        return false;
    });
    return record;
}

void guest_write(uint64_t addr = 0, int len = 4) {
    si_push_mmio(1, 0, addr, len, 0x44332211);
    until([] { return top->m_axi_awvalid && top->m_axi_wvalid; });
}

void guest_read(int len = 4) {
    si_push_mmio(0, 0, 0, len, 0);
    until([] { return top->m_axi_arvalid; });
}

// One beat of read data, taken at once.
void give_data(int last) {
    top->m_axi_rvalid = 1;
    top->m_axi_rlast = last;
    step();
    top->m_axi_rvalid = 0;
}

void aw(int len, int size = 3, uint64_t addr = kBase, int burst = 1) {
    top->s_axi_awvalid = 1;
    top->s_axi_awaddr = addr;
    top->s_axi_awlen = len;
    top->s_axi_awsize = size;
    top->s_axi_awburst = burst;
    until([] { return top->s_axi_awready; });
    step();
    top->s_axi_awvalid = 0;
}

void ar(int len, int size = 3, uint64_t addr = kBase, int burst = 1) {
    top->s_axi_arvalid = 1;
    top->s_axi_araddr = addr;
    top->s_axi_arlen = len;
    top->s_axi_arsize = size;
    top->s_axi_arburst = burst;
    until([] { return top->s_axi_arready; });
    step();
    top->s_axi_arvalid = 0;
}

void w(int last, int strb = 0xff) {
    top->s_axi_wvalid = 1;
    top->s_axi_wdata = 5;
    top->s_axi_wstrb = strb;
    top->s_axi_wlast = last;
    until([] { return top->s_axi_wready; });
    step();
    top->s_axi_wvalid = 0;
}

// Requests until no more is taken, and one that waits.
void full_of_writes() {
    for (int n = 0; n < kDepth; ++n) aw(0);
    top->s_axi_awvalid = 1;
    step(2);
    expect(!top->s_axi_awready, "AW waits");
}

void full_of_reads() {
    si_set("hold", 1);
    for (int n = 0; n < kDepth; ++n) ar(0);
    top->s_axi_arvalid = 1;
    step(2);
    expect(!top->s_axi_arready, "AR waits");
}

void busy_with_a_vector() {
    si_set("again_percent", 100);
    top->msix_valid = 1;
    step(3);
    expect(!top->msix_ready, "msix waits");
}

constexpr int kStall = 250;

// More than are told of.
constexpr int kMany = 5 * kLines;

void many(void (*once)()) {
    for (int n = 0; n < kMany; ++n) once();
}

// Many in a period and one more in the next, which says what was left out.
template <void (*once)()> void over_and_over() {
    many(once);
    pass_ms(99);
    once();
    pass_ms(2);
    once();
}

// Of which nothing is told later.
template <void (*once)()> void until_the_end() {
    many(once);
    top->final();
}

// Everything as it should be: the bridge is silent, and the harness can be trusted.
void in_order() {
    top->m_axi_awready = top->m_axi_wready = top->m_axi_arready = 1;
    si_push_mmio(1, 0, 0, 8, 1);
    until([] { return top->m_axi_wvalid && top->m_axi_wlast; });
    step();
    top->m_axi_bvalid = 1;
    step();
    top->m_axi_bvalid = 0;
    expect(find(LOG_WRITE_DONE).status == 0, "the write is answered");
    si_push_mmio(0, 0, 0, 8, 0);
    until([] { return top->m_axi_arvalid; });
    step();
    give_data(0);
    give_data(1);
    expect(find(LOG_READ_DONE).status == 0, "the read is answered");
    top->s_axi_bready = top->s_axi_rready = 1;
    aw(1);
    w(0);
    w(1, 0x0f);
    until([] { return top->s_axi_bvalid; });
    ar(1);
    until([] { return top->s_axi_rvalid && top->s_axi_rlast; });
    step(2 * kStall);
}

constexpr const char *kBoard = "+accelerator_board_rules=1";

void take_answers() { top->s_axi_bready = top->s_axi_rready = 1; }

void write(std::vector<int> strobes, uint64_t addr = kBase, int size = 3) {
    take_answers();
    const int last = static_cast<int>(strobes.size()) - 1;
    aw(last, size, addr);
    for (int n = 0; n <= last; ++n) w(n == last, strobes[static_cast<std::size_t>(n)]);
    until([] { return top->s_axi_bvalid; });
    step();
}

void read(uint64_t addr, int size = 3) {
    take_answers();
    ar(0, size, addr);
    until([] { return top->s_axi_rvalid; });
    step();
}

// All of its beats are errors, and the read behind it is none.
void refused_read(int len, uint64_t addr, int burst) {
    take_answers();
    ar(len, 3, addr, burst);
    for (int n = 0; n <= len; ++n) {
        until([] { return top->s_axi_rvalid; });
        expect(top->s_axi_rresp == 2, "the beat is answered SLVERR");
        expect(top->s_axi_rlast == (n == len), "the burst has all of its beats");
        step();
    }
    ar(0);
    until([] { return top->s_axi_rvalid; });
    expect(top->s_axi_rresp == 0 && top->s_axi_rlast, "the next is carried out");
    step();
}

// Each form of a hole, in a simulation of its own.
void hole_in_a_beat() { write({0xfb}); }
void hole_between_beats() { write({0x7f, 0xff}); }
void hole_of_a_beat() { write({0xff, 0, 1}); }
void hole_after_the_first() { write({0x80, 0xfe}); }

// Twice, and the second time is not told.
template <void (*once)()> void twice() {
    once();
    once();
}

void narrow_write() { write({0x0f, 0xf0}, kBase, 2); }
void narrow_read() { read(kBase + 4, 2); }
// The stand-in has no memory there and refuses, which is none of the matter here.
void far_write() { write({0xff}, uint64_t{1} << 48); }
void far_read() { read(uint64_t{0xffff} << 48); }
void vector(int number) {
    top->msix_valid = 1;
    top->msix_vector = number;
    until([] { return top->msix_ready; });
    step();
    top->msix_valid = 0;
    step(4);
}
void vector_16() { vector(16); }
void vector_99() { vector(99); }

void fixed_write() {
    take_answers();
    aw(0, 3, kBase, 0);
    w(1);
}

void read_across() {
    take_answers();
    ar(1, 3, kBase + 0xff8);
}

void late_bready() {
    top->s_axi_bready = 0;
    aw(0);
    w(1);
    step(kStall);
    top->s_axi_bready = 1;
    step();
}

void late_rready() {
    top->s_axi_rready = 0;
    ar(0);
    step(kStall);
    top->s_axi_rready = 1;
    step();
}

// What a board takes, up to its limits.
void for_a_board() {
    in_order();
    write({0});
    write({0, 0xe0, 0xff, 0x01, 0});
    write({0xf8, 0x03}, kBase + 3);
    // None of these begins in the other.
    write({0x80});
    write({0x01});
    write({0x10, 0});
    write({0, 0x10});
    write({0xff}, (uint64_t{1} << 48) - 8);
    read((uint64_t{1} << 48) - 8);
    vector(15);
}

const std::vector<Case> cases = {
    {"traffic as it should be", End::quiet, "", in_order},

    // What works here and not on a board.
    {"a hole in a beat", End::warns, "the s_axi write at 0x10000 has the strobes 0xfb with 0 beats to come",
     twice<hole_in_a_beat>, true, kBoard},
    {"a hole between two beats", End::warns, "has the strobes 0xff with 0 beats to come",
     twice<hole_between_beats>, true, kBoard},
    {"a beat without a byte between others", End::warns, "has the strobes 0x1 with 0 beats to come",
     twice<hole_of_a_beat>, true, kBoard},
    {"a hole at the begin of a beat", End::warns, "has the strobes 0xfe with 0 beats to come",
     twice<hole_after_the_first>, true, kBoard},
    {"a narrow write", End::warns, "the s_axi write of 2 beats at 0x10000 has size 2",
     twice<narrow_write>, true, kBoard},
    {"a narrow read", End::warns, "the s_axi read of 1 beats at 0x10004 has size 2",
     twice<narrow_read>, true, kBoard},
    {"a write beyond 48 bits", End::warns, "the s_axi write of 1 beats is at 0x1000000000000",
     twice<far_write>, true, kBoard},
    {"a read beyond 48 bits", End::warns, "the s_axi read of 1 beats is at 0xffff000000000000",
     twice<far_read>, true, kBoard},
    {"a vector beyond a board's", End::warns, "vector 16 is raised",
     twice<vector_16>, true, kBoard},
    {"what a board takes", End::quiet, "", for_a_board, true, kBoard},
    // FIXED is told as always, and no second time.
    {"FIXED and a board's rules", End::warns, "with size 2 and burst 0 is answered SLVERR",
     [] {
         take_answers();
         aw(0, 2, kBase, 0);
         w(1, 5);
         step(4);
     }, true, kBoard},
    {"none of it without being asked for", End::quiet, "",
     [] {
         hole_in_a_beat();
         narrow_write();
         narrow_read();
         far_write();
         far_read();
         vector_16();
     }},

    // The slave on m_axi.
    {"B without a write", End::stops, "a write response without a write",
     [] {
         top->m_axi_bvalid = 1;
         step(2);
     }},
    {"B before W", End::stops, "a write response before AW and the last W were taken: awvalid 0, wvalid 1",
     [] {
         guest_write();
         top->m_axi_awready = 1;
         step(2);
         top->m_axi_bvalid = 1;
         step(2);
     }},
    {"B before AW", End::stops, "a write response before AW and the last W were taken: awvalid 1, wvalid 0",
     [] {
         guest_write();
         top->m_axi_wready = 1;
         step(2);
         top->m_axi_bvalid = 1;
         step(2);
     }},
    {"B before the second W", End::stops, "a write response before AW and the last W were taken: awvalid 0, wvalid 1",
     [] {
         guest_write(0, 8);
         top->m_axi_awready = top->m_axi_wready = 1;
         step();
         top->m_axi_wready = 0;
         step();
         top->m_axi_bvalid = 1;
         step(2);
     }},
    {"a second B for one write", End::stops, "a write response without a write",
     [] {
         guest_write();
         top->m_axi_awready = top->m_axi_wready = 1;
         step(2);
         top->m_axi_bvalid = 1;
         step(3);
     }},
    {"R without a read", End::stops, "read data without a read",
     [] { give_data(1); step(2); }},
    {"R before AR", End::stops, "read data before AR 0x0 was taken",
     [] {
         guest_read();
         give_data(1);
     }},
    {"RLAST never", End::stops, "m_axi_rlast is 0 with 4 of 4 bytes there",
     [] {
         top->m_axi_arready = 1;
         guest_read();
         step();
         give_data(0);
     }},
    {"RLAST early", End::stops, "m_axi_rlast is 1 with 4 of 8 bytes there",
     [] {
         top->m_axi_arready = 1;
         guest_read(8);
         step();
         give_data(1);
     }},
    {"a BID", End::stops, "m_axi_bid is 1",
     [] {
         guest_write();
         top->m_axi_awready = top->m_axi_wready = 1;
         step(2);
         top->m_axi_bid = 1;
         top->m_axi_bvalid = 1;
         step();
     }},
    {"an RID", End::stops, "m_axi_rid is 1",
     [] {
         top->m_axi_arready = 1;
         guest_read();
         step();
         top->m_axi_rid = 1;
         give_data(1);
     }},
    {"an access of 9 bytes", End::stops, "a guest access of 9 bytes",
     [] {
         si_push_mmio(0, 0, 0, 9, 0);
         step(50);
     }},

    // Where assertions are off, the guest gets an answer.
    {"RLAST never, no assertions", End::quiet, "",
     [] {
         top->m_axi_arready = 1;
         guest_read();
         step();
         give_data(0);
         expect(find(LOG_READ_DONE).status == 1, "the read is an error");
         guest_read();
         step();
         give_data(1);
         expect(find(LOG_READ_DONE).status == 0, "the next is none");
     }, false},
    {"RLAST early, no assertions", End::quiet, "",
     [] {
         top->m_axi_arready = 1;
         guest_read(8);
         step();
         give_data(1);
         expect(find(LOG_READ_DONE).status == 1, "the read is an error");
     }, false},
    {"R and B of nobody, no assertions", End::quiet, "",
     [] {
         give_data(1);
         top->m_axi_bvalid = 1;
         step(3);
         top->m_axi_bvalid = 0;
         in_order();
     }, false},

    // The master on s_axi.
    {"AWVALID falls", End::stops, "s_axi_aw: valid fell before ready",
     [] {
         full_of_writes();
         top->s_axi_awvalid = 0;
         step(2);
     }},
    {"AWADDR changes", End::stops, "s_axi_aw: the payload changed",
     [] {
         full_of_writes();
         top->s_axi_awaddr = kBase + 64;
         step(2);
     }},
    {"WVALID falls", End::stops, "s_axi_w: valid fell before ready",
     [] {
         top->s_axi_wvalid = 1;
         step(2);
         top->s_axi_wvalid = 0;
         step(2);
     }},
    {"WDATA changes", End::stops, "s_axi_w: the payload changed",
     [] {
         top->s_axi_wvalid = 1;
         step(2);
         top->s_axi_wdata = 1;
         step(2);
     }},
    {"WSTRB changes", End::stops, "s_axi_wstrb and s_axi_wlast: the payload changed",
     [] {
         top->s_axi_wvalid = 1;
         step(2);
         top->s_axi_wstrb = 1;
         step(2);
     }},
    {"ARVALID falls", End::stops, "s_axi_ar: valid fell before ready",
     [] {
         full_of_reads();
         top->s_axi_arvalid = 0;
         step(2);
     }},
    {"ARLEN changes", End::stops, "s_axi_ar: the payload changed",
     [] {
         full_of_reads();
         top->s_axi_arlen = 7;
         step(2);
     }},
    {"the vector changes", End::stops, "msix: the payload changed",
     [] {
         busy_with_a_vector();
         top->msix_vector = 1;
         step(2);
     }},
    {"msix_valid falls", End::stops, "msix: valid fell before ready",
     [] {
         busy_with_a_vector();
         top->msix_valid = 0;
         step(2);
     }},
    {"WLAST early", End::stops, "s_axi_wlast is 1 with 1 beats to come",
     [] {
         aw(1);
         w(1);
     }},
    {"WLAST late", End::stops, "s_axi_wlast is 0 with 0 beats to come",
     [] {
         aw(0);
         w(0);
     }},
    {"a strobe outside of a narrow transfer", End::stops, "s_axi_wstrb is 0x1f, the beat has the lanes 0xf",
     [] {
         aw(0, 2);
         w(1, 0x1f);
     }},
    {"a strobe before the first byte", End::stops, "s_axi_wstrb is 0xff, the beat has the lanes 0xf8",
     [] {
         aw(0, 3, kBase + 3);
         w(1, 0xff);
     }},
    {"FIXED", End::warns, "s_axi write of 2 beats at 0x10000 with size 3 and burst 0 is answered SLVERR",
     [] {
         aw(1, 3, kBase, 0);
         step(2);
     }},
    {"WRAP", End::warns, "s_axi write of 4 beats at 0x10000 with size 3 and burst 2 is answered SLVERR",
     [] {
         aw(3, 3, kBase, 2);
         step(2);
     }},
    {"FIXED reads", End::warns, "s_axi read of 2 beats at 0x10000 with size 3 and burst 0 is answered SLVERR",
     [] { refused_read(1, kBase, 0); }},
    {"WRAP reads", End::warns, "s_axi read of 4 beats at 0x10008 with size 3 and burst 2 is answered SLVERR",
     [] { refused_read(3, kBase + 8, 2); }},
    {"a read across 4 KiB", End::warns, "s_axi read of 2 beats at 0x10ff8 with size 3 and burst 1 is answered SLVERR",
     [] { refused_read(1, kBase + 0xff8, 1); }},
    {"a vector that there is not", End::warns, "vector 99 is none of 17", [] { vector(99); }},

    // What is told of again and again.
    {"vectors that there are not", End::warns, kLast, [] { many(vector_99); }, true, nullptr, kLines},
    {"FIXED writes", End::warns, kLast, [] { many(fixed_write); }, true, nullptr, kLines},
    {"reads across 4 KiB", End::warns, kLast, [] { many(read_across); }, true, nullptr, kLines},
    {"BREADY is low for long", End::warns, kLast, [] { many(late_bready); }, true, nullptr, kLines},
    {"RREADY is low for long", End::warns, kLast, [] { many(late_rready); }, true, nullptr, kLines},
    {"each kind of stall", End::warns, "s_axi_wvalid has been low for 200 clocks",
     [] {
         many(late_bready);
         aw(1);
         step(kStall);
     }, true, nullptr, kLines + 1},
    {"vectors later on", End::warns, "raising vector 99 failed (-1): vector 99 is none of 17 (33 more like this were left out before)\n",
     over_and_over<vector_99>, true, nullptr, kLines + 1},
    {"FIXED writes later on", End::warns, "inside 4 KiB is possible (33 more like this were left out before)\n",
     over_and_over<fixed_write>, true, nullptr, kLines + 1},
    {"reads across 4 KiB later on", End::warns, "inside 4 KiB is possible (33 more like this were left out before)\n",
     over_and_over<read_across>, true, nullptr, kLines + 1},
    {"BREADY later on", End::warns, "with the response to ID 0 there (33 more like this were left out before)\n",
     over_and_over<late_bready>, true, nullptr, kLines + 1},
    {"RREADY later on", End::warns, "with read data for ID 0 there (33 more like this were left out before)\n",
     over_and_over<late_rready>, true, nullptr, kLines + 1},
    {"vectors until the end", End::warns, "accelerator0: 32 more lines of failed calls were left out",
     until_the_end<vector_99>, true, nullptr, kLines + 1},
    {"FIXED writes until the end", End::warns, "accelerator0: 32 more lines of s_axi writes that are answered SLVERR were left out",
     until_the_end<fixed_write>, true, nullptr, kLines + 1},
    {"reads across 4 KiB until the end", End::warns, "accelerator0: 32 more lines of s_axi reads that are answered SLVERR were left out",
     until_the_end<read_across>, true, nullptr, kLines + 1},
    {"BREADY until the end", End::warns, "accelerator0: 32 more lines of s_axi writes that stand still were left out",
     until_the_end<late_bready>, true, nullptr, kLines + 1},
    {"RREADY until the end", End::warns, "accelerator0: 32 more lines of s_axi reads that stand still were left out",
     until_the_end<late_rready>, true, nullptr, kLines + 1},
    kAnotherAbi,

    // What stands still.
    {"BREADY stays low", End::warns, "s_axi_bready has been low for 200 clocks",
     [] {
         aw(0);
         w(1);
         step(kStall);
     }},
    {"WVALID stays low", End::warns, "s_axi_wvalid has been low for 200 clocks with 3 beats to come of the write at 0x10000",
     [] {
         aw(3);
         w(0);
         step(kStall);
     }},
    {"W without AW", End::warns, "s_axi_wvalid has been high for 200 clocks without a request on AW",
     [] {
         top->s_axi_wvalid = 1;
         step(kStall);
     }},
    {"the host takes no write", End::warns, "the host has not answered the write at 0x10000 for 200 clocks",
     [] {
         si_set("hold", 1);
         aw(0);
         w(1);
         step(kStall);
     }},
    {"RREADY stays low", End::warns, "s_axi_rready has been low for 200 clocks",
     [] {
         ar(3);
         step(kStall);
     }},
    {"the host answers no read", End::warns, "the host has not answered the read at 0x10000 for 200 clocks",
     [] {
         si_set("hold", 1);
         ar(0);
         step(kStall);
     }},
};

#elif defined(MISUSE_NIC)

void start() {
    si_new(1, 0, 4096);
    si_nic_link(1, 1);
    top->link_i = 1;
    in_reset();
    step(4);
}

void beat(int keep, int last) {
    top->s_axis_tvalid = 1;
    top->s_axis_tkeep = keep;
    top->s_axis_tlast = last;
    until([] { return top->s_axis_tready; });
    step();
    top->s_axis_tvalid = 0;
}

void no_room() {
    si_set("nic_limit", 0);
    step(4);
    expect(!top->s_axis_tready, "there is no room");
    top->s_axis_tvalid = 1;
    top->s_axis_tkeep = 0xff;
    step(2);
}

const std::vector<Case> cases = {
    {"a frame as it should be", End::quiet, "",
     [] {
         for (int n = 0; n < 8; ++n) beat(0xff, 0);
         beat(0x0f, 1);
         expect(nic.to_host.size() == 1 && nic.to_host.front().size() == 68, "the frame is sent");
     }},
    {"tkeep with a hole", End::stops, "s_axis_tkeep is 00001011 with s_axis_tlast 1", [] { beat(0x0b, 1); }},
    {"tkeep not from lane 0", End::stops, "s_axis_tkeep is 11110000", [] { beat(0xf0, 1); }},
    {"a short beat inside a frame", End::stops, "s_axis_tkeep is 00001111 with s_axis_tlast 0",
     [] { beat(0x0f, 0); }},
    {"tkeep of no byte", End::stops, "s_axis_tkeep is 00000000", [] { beat(0, 1); }},
    {"tvalid falls", End::stops, "s_axis_tdata: valid fell before ready",
     [] {
         no_room();
         top->s_axis_tvalid = 0;
         step(2);
     }},
    {"tdata changes", End::stops, "s_axis_tdata: the payload changed",
     [] {
         no_room();
         top->s_axis_tdata = 1;
         step(2);
     }},
    kAnotherAbi,
    {"tlast changes", End::stops, "s_axis_tkeep and s_axis_tlast: the payload changed",
     [] {
         no_room();
         top->s_axis_tlast = 1;
         step(2);
     }},
};

#else

void start() {
    si_new(1, 0, 4096);
    in_reset();
    step(4);
}

const std::vector<Case> cases = {
    {"a byte as it should be", End::quiet, "",
     [] {
         top->tx_valid = 1;
         top->tx_data = 65;
         until([] { return top->tx_ready; });
         step();
         top->tx_valid = 0;
         expect(uart.to_host.size() == 1, "the byte is sent");
     }},
    kAnotherAbi,
    {"no room where the poll said that there is", End::stops, "acc_uart_put returned 0",
     [] {
         until([] { return top->tx_ready; });
         si_set("uart_full", 1);
         top->tx_valid = 1;
         step(2);
     }},
    {"tx_valid falls", End::stops, "tx_data: valid fell before ready",
     [] {
         si_set("uart_room_percent", 0);
         step(2);
         top->tx_valid = 1;
         step(2);
         top->tx_valid = 0;
         step(2);
     }},
    {"tx_data changes", End::stops, "tx_data: the payload changed",
     [] {
         si_set("uart_room_percent", 0);
         step(2);
         top->tx_valid = 1;
         step(2);
         top->tx_data = 66;
         step(2);
     }},
};

#endif

}  // namespace

int main() {
    return run_all(cases, start, [] { std::fputs(si_violations(), stdout); });
}
