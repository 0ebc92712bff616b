// SPDX-License-Identifier: Apache-2.0
//
// A guest with a fixed script on top of standin.cpp, for simulations without cocotb: what is run
// twice is the same twice. At the end it writes every call that the bridge made, with the number
// of the clock in which it did, to the file $TRANSCRIPT; two simulations that agree on it agree
// on every clock.
//
//   SCRIPT      an example: what the guest, and the world outside, do
//   TRANSCRIPT  file for the calls

// In one file with it, so that its objects are there before the script and after the transcript.
#include "standin.cpp"

#include <cstdlib>

namespace {

constexpr uint64_t kBase = 0x7'1234'0000;
constexpr uint64_t kSize = 1 << 20;

void write(uint64_t addr, int len, uint64_t data) { si_push_mmio(1, 0, addr, len, data); }
void read(uint64_t addr, int len) { si_push_mmio(0, 0, addr, len, 0); }

// A number from a number, the same on every machine.
uint64_t mix(uint64_t n) {
    n += 0x9E3779B97F4A7C15;
    n = (n ^ n >> 30) * 0xBF58476D1CE4E5B9;
    n = (n ^ n >> 27) * 0x94D049BB133111EB;
    return n ^ n >> 31;
}

// Every length at every alignment, and what was written read back.
void accesses(uint64_t ram, uint64_t bytes) {
    for (int len = 1; len <= 8; ++len) {
        for (uint64_t at = 0; at + static_cast<uint64_t>(len) <= bytes && at < 24; ++at) {
            write(ram + at, len, mix(at * 8 + static_cast<uint64_t>(len)));
            read(ram + at, len);
        }
    }
}

void regs() {
    accesses(0x10, 0x80);
    for (uint64_t n = 0; n < 8; ++n) write(0x0C, 4, n);
    read(0, 4);
    read(8, 4);
}

void sort() {
    constexpr int kBlocks = 2;
    for (uint64_t block = 0; block < kBlocks; ++block) {
        const uint64_t at = kBase + 0x10000 + block * 0x2040;
        for (uint64_t n = 0; n < 1024; ++n) {
            const uint32_t key = static_cast<uint32_t>(mix(block << 32 | n));
            si_memory_write(at + 4 * n, reinterpret_cast<const uint8_t *>(&key), 4);
        }
        struct {
            uint64_t source, destination;
            uint32_t keys, flags, cookie, status;
        } const descriptor = {at, at + 0x8000, 1024, static_cast<uint32_t>(2 | (block & 1)), 7, 0};
        si_memory_write(kBase + 32 * block, reinterpret_cast<const uint8_t *>(&descriptor), 32);
    }
    write(0x20, 4, kBase & 0xFFFFFFFF);
    write(0x24, 4, kBase >> 32);
    write(0x28, 4, 4);
    write(0x18, 4, 3);
    write(0x0C, 4, 1);
    write(0x2C, 4, kBlocks);
    for (int n = 0; n < 1000; ++n) read(0x30, 4);
}

// The sorter behind the UltraScale+ block, which looks at what the guest has enabled.
void pcie4() {
    const int function[9] = {1 | 2 | 8, 0, 256, 512, 0x100, 3, 8, 1, 0};
    si_push_function(function, kNowhere.data());
    sort();
}

void probe() {
    accesses(0x1000, 0x80);
    // A register read that needs host memory.
    for (uint64_t n = 0; n < 16; ++n) {
        write(0x10, 8, kBase + 8 * n);
        read(0x20, 8);
    }
    // Bursts with holes.
    for (uint64_t n = 0; n < 16; ++n) {
        write(0x30, 8, kBase + 0x1000 + 8 * n);
        write(0x38, 8, mix(n));
        for (uint64_t i = 0; i < 8; ++i) write(0x40 + 8 * i, 8, mix(16 + 8 * n + i));
        write(0x80, 4, n % 8 + 1);
        for (int i = 0; i < 8; ++i) read(0x84, 4);
    }
    // Rounds with an interrupt each.
    write(0x90, 8, kBase + 0x2000);
    write(0x98, 4, 0x000F'0003);
    for (uint64_t n = 1; n <= 16; ++n) {
        write(0x9C, 4, n);
        read(0xA0, 4);
    }
    read(0xA8, 4);
    write(0xB0, 4, 5);
}

// Registers that a serial line shares with the guest.
void uart_example() {
    accesses(0x10, 0x30);
    const std::string typed = "help\recho hello\rread 5\rwrite 5 beef\rread 5\r";
    si_uart_push(reinterpret_cast<const uint8_t *>(typed.data()), static_cast<int>(typed.size()));
    for (int n = 0; n < 200; ++n) read(0x04, 4);
}

// More than the FIFOs hold, for RTL that sends it back.
void uart_bridge() {
    const std::string typed = "TheQuickBrownFoxJumpsOverTheLazyDog";
    si_set("uart_wait_percent", 30);
    si_set("uart_room_percent", 10);
    si_uart_push(reinterpret_cast<const uint8_t *>(typed.data()), static_cast<int>(typed.size()));
}

// A virtio driver (VIRTIO 1.2, 3.1 and 4.1): a queue each way, and two frames out. Two that come
// in are there before the driver is ready.
void virtio_net() {
    constexpr uint64_t kMac = 0x525400AB12CD;
    constexpr int kFrame = 300, kHeader = 12;
    si_nic_link(1, kMac);
    const auto put = [](uint64_t addr, uint64_t value, int len) {
        si_memory_write(addr, reinterpret_cast<const uint8_t *>(&value),
                        static_cast<uint64_t>(len));
    };
    write(0x14, 1, 0);
    for (int n = 0; n < 20; ++n) read(0x14, 1);
    write(0x14, 1, 1);
    write(0x14, 1, 3);
    for (uint64_t word = 0; word < 2; ++word) {
        write(0x00, 4, word);
        read(0x04, 4);
        write(0x08, 4, word);
        write(0x0C, 4, word);  // VIRTIO_F_VERSION_1 in the upper word, nothing in the lower
    }
    write(0x14, 1, 11);
    read(0x14, 1);
    for (uint64_t queue = 0; queue < 2; ++queue) {
        const uint64_t desc = kBase + 0x4000 * queue, avail = desc + 0x1000, used = desc + 0x2000;
        for (uint64_t n = 0; n < 2; ++n) {
            const uint64_t buffer = kBase + 0x20000 + 0x2000 * (2 * queue + n);
            put(desc + 16 * n, buffer, 8);
            put(desc + 16 * n + 8, queue == 0 ? 1526 : kHeader + kFrame, 4);
            put(desc + 16 * n + 12, queue == 0 ? 2 : 0, 4);
            put(avail + 4 + 2 * n, n, 2);
            if (queue == 1) {
                for (int i = 0; i < kFrame; ++i) {
                    const uint64_t at = static_cast<uint64_t>(i);
                    put(buffer + kHeader + at, mix(at), 1);
                }
            }
        }
        put(avail + 2, 2, 2);
        write(0x16, 2, queue);
        write(0x18, 2, 64);
        write(0x1A, 2, queue);
        write(0x20, 8, desc);
        write(0x28, 8, avail);
        write(0x30, 8, used);
        write(0x1C, 2, 1);
    }
    write(0x14, 1, 15);
    write(0x3000, 2, 0);
    write(0x3004, 2, 1);
    std::vector<uint8_t> frame;
    for (int i = 0; i < kFrame; ++i) frame.push_back(static_cast<uint8_t>(i));
    si_nic_push(frame.data(), kFrame);
    si_nic_push(frame.data(), 60);
    for (int n = 0; n < 200; ++n) read(0x14, 1);
}

// A driver of XDMA (PG195): registers of the card, a list each way of which each byte moves, and
// interrupts of the channels and of a user. The windows are those of accelerator_xdma.
void xdma() {
    constexpr uint64_t kAxil = 1ULL << 62, kLists = kBase, kData = kBase + 0x10000;
    constexpr int kCount = 6;
    const int msix[9] = {2 | 8, 0, 128, 512, 0, 3, 8, 1, 0};
    si_push_function(msix, kNowhere.data());
    accesses(kAxil + 0x04, 4);
    read(kAxil, 4);
    for (uint64_t target = 0; target < 7; ++target) read(target << 12, 4);
    for (int c2h = 0; c2h < 2; ++c2h) {
        for (uint64_t n = 0; n < kCount; ++n) {
            // Addresses of no alignment; the card's memory is where the other list reads it.
            const uint64_t host = kData + 0x8000 * static_cast<uint64_t>(c2h) + 0x407 * n;
            const uint64_t card = 0x100 + 0x3FD * n;
            const bool last = n == kCount - 1;
            struct {
                uint32_t control, bytes;
                uint64_t source, destination, next;
            } const descriptor = {0xAD4B0000 | (last ? 3U : 0U), 1000, c2h ? card : host,
                                  c2h ? host : card, 0};
            si_memory_write(kLists + 0x1000 * static_cast<uint64_t>(c2h) + 32 * n,
                            reinterpret_cast<const uint8_t *>(&descriptor), 32);
            for (uint64_t i = 0; c2h == 0 && i < 1000; ++i) {
                const uint8_t byte = static_cast<uint8_t>(mix(n << 16 | i));
                si_memory_write(host + i, &byte, 1);
            }
        }
    }
    write(0x20A0, 4, 0x0100);
    write(0x2080, 4, 0x0B0A0908);
    write(0x2014, 4, 3);
    write(0x2008, 4, 0xF);
    for (uint64_t c2h = 0; c2h < 2; ++c2h) {
        const uint64_t regs = 0x1000 * c2h;
        write(regs + 0x90, 4, 2);
        write(regs + 0x4080, 4, (kLists + 0x1000 * c2h) & 0xFFFFFFFF);
        write(regs + 0x4084, 4, kBase >> 32);
        write(regs + 0x4088, 4, kCount - 1);
        write(regs + 0x04, 4, 0x00FFFE7F);
        for (int n = 0; n < 600; ++n) read(regs + 0x40, 4);
        read(regs + 0x48, 4);
        read(regs + 0x44, 4);
    }
    for (uint64_t user = 0; user < 4; ++user) {
        write(kAxil + 0x08, 4, 1ULL << user);
        read(0x2048, 4);
        write(kAxil + 0x08, 4, 0);
    }
    read(kAxil + 0x0C, 4);
}

// What the bridge meets, set up before it opens, and what it did, written when the program ends.
struct Scripted {
    Scripted() {
        const char *name = std::getenv("SCRIPT");
        if (name == nullptr) return;
        const std::string script = name;
        if (script == "twin") {
            // The two of them at the same time, and not in step.
            for (const char *one : {"left", "right"}) {
                board(one);
                begin();
                if (boards.size() == 2) accesses(0x10, 3);
                regs();
            }
            return;
        }
        begin();
        if (script == "regs") regs();
        else if (script == "sort") sort();
        else if (script == "pcie4") pcie4();
        else if (script == "probe") probe();
        else if (script == "uart") uart_example();
        else if (script == "uart_bridge") uart_bridge();
        else if (script == "virtio_net") virtio_net();
        else if (script == "xdma") xdma();
        else std::abort();
    }

    static void begin() {
        si_new(1, kBase, kSize);
        // Everything takes its time, some calls have to be made again, completions overtake.
        si_set("delay_min", 2);
        si_set("delay_max", 30);
        si_set("again_percent", 10);
        si_set("reorder", 1);
        // One that is not there would never take it.
        if (std::strcmp(std::getenv("SCRIPT"), "uart_bridge") != 0) si_push_link(1);
    }

    ~Scripted() {
        const char *path = std::getenv("TRANSCRIPT");
        if (path == nullptr) return;
        std::FILE *out = std::fopen(path, "w");
        if (out == nullptr) return;
        if (boards.empty()) {
            bridge(out);
        } else {
            for (const auto &[name, one] : boards) {
                std::fprintf(out, "board %s\n", name.c_str());
                g = one;
                bridge(out);
            }
        }
        std::fclose(out);
    }

    static void bridge(std::FILE *out) {
        for (si_record r; si_log_next(&r) != 0;) {
            std::fprintf(out, "%llu %d %d %d %d %llx\n", static_cast<unsigned long long>(r.poll),
                         r.what, r.tag, r.status, r.bytes, static_cast<unsigned long long>(r.value));
        }
        for (const Uart::Move &m : uart.moves) {
            std::fprintf(out, "%llu serial %s %02x\n", static_cast<unsigned long long>(m.poll),
                         m.to_host ? "out" : "in", static_cast<unsigned>(m.byte));
        }
        // What went out on the other channels.
        uint8_t bytes[2048];
        for (int n; (n = si_uart_take(bytes, sizeof bytes)) > 0;) {
            std::fprintf(out, "serial %.*s\n", n, reinterpret_cast<const char *>(bytes));
        }
        for (int n; (n = si_nic_take(bytes, sizeof bytes)) >= 0;) {
            std::fprintf(out, "frame %d", n);
            for (int i = 0; i < n; ++i) std::fprintf(out, " %02x", bytes[i]);
            std::fprintf(out, "\n");
        }
        int left[4];
        si_outstanding(left);
        std::fprintf(out, "outstanding %d %d %d %d\n%s", left[0], left[1], left[2], left[3],
                     si_violations());
    }
} const scripted;

}  // namespace
