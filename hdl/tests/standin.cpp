// SPDX-License-Identifier: Apache-2.0
//
// Plays the DPI library and everything behind it, QEMU and guest, for the tests of the bridge:
// host memory, a queue of events under the ordering rules of PCI Express, and a log of what the
// bridge called, in order. Python steers it through the si_ functions (standin.py).
//
// The prototypes are those that Verilator generates from accelerator_dpi_pkg.sv. The stand-in is
// stricter than the library: whatever the interface does not allow is a violation, and the
// tests expect none.

#include "Vtop__Dpi.h"

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace {

enum Kind { NONE, MMIO_READ, MMIO_WRITE, DMA_READ_DONE, DMA_WRITE_DONE, RESET, LINK_UP, LINK_DOWN,
            FUNCTION };
enum Ready { READY_WRITE = 1, READY_READ = 2, READY_DMA_READ = 4, READY_DMA_WRITE = 8,
             READY_FUNCTION = 16 };
constexpr int ERR_INVAL = -1, ERR_AGAIN = -2, ERR_LINK = -3, ERR_STATE = -4;

struct Event {
    Kind kind;
    int tag;  // or what the event carries
    int bar, len;
    uint64_t addr, data;
    uint64_t due;
};

struct Dma {
    bool write;
    uint64_t addr;
    int bytes;
    int status;
    bool fetched;
    std::vector<uint8_t> data;
    std::size_t pos;
};

}  // namespace

extern "C" {

// One call of the bridge, as Python sees it.
struct si_record {
    int what;  // see LOG_ below
    int tag;
    int status;
    int bytes;
    uint64_t value;  // address or data
    uint64_t poll;   // number of the poll before it
};

struct si_config {
    int ids[6];
    uint64_t bar_size[6], bar_base[6];
    int bar_flags[6];
    int msix[5];
    int msi[2];  // vectors, masking
    int link[2];
    int intx_pin, clock_ps, started, msix_in_rtl;
    int caps, cap_head[8][3];  // id, offset, bytes
    uint8_t cap_body[8][64];
};

}  // extern "C"

namespace {

enum Log { LOG_READ_DONE = 1, LOG_WRITE_DONE, LOG_DMA_READ, LOG_DMA_WRITE, LOG_MSIX, LOG_INTX,
           LOG_RESET_DONE, LOG_CLOSE, LOG_DELIVERED };

constexpr std::array<uint64_t, 6> kNowhere = {~0ULL, ~0ULL, ~0ULL, ~0ULL, ~0ULL, ~0ULL};

struct Standin {
    std::vector<uint8_t> memory;
    uint64_t base = 0;
    std::deque<Event> events;
    std::deque<Event> urgent;  // reset and link
    std::map<int, Dma> dma;
    std::deque<int> writes;  // tags that wait for their B
    std::vector<int> reads;
    std::deque<si_record> log;
    std::string violations;
    std::string error;
    std::mt19937_64 random{1};
    si_config config{};
    uint64_t polls = 0, busy = 0;
    int announced = NONE;
    std::size_t announced_at = 0;
    bool unaccepted = false, assembling = false, in_reset = false, link = false;
    bool hold = false;  // completions wait
    // flags, power, sizes, id, speed, width, and vectors and mask of MSI: as the bridge knows it,
    // and after a reset.
    int function[9] = {192, 0, 128, 512, 0, 1, 1, 1, 0};
    std::map<int, std::vector<int>> functions;  // by the tag of their event
    // Of the BARs, in the same way; all ones where none is known.
    std::array<uint64_t, 6> addresses = kNowhere;
    std::map<int, std::array<uint64_t, 6>> later_addresses;
    uint64_t assembly_addr = 0;
    std::vector<uint8_t> assembly_data, assembly_strb;
    // Writes that are not yet in memory, oldest first.
    struct Late { int tag; uint64_t addr; std::vector<uint8_t> data, strb; };
    std::deque<Late> late;
    bool late_writes = false;
    int next_tag = 1;
    std::size_t most_dma = 512;
    int delay_min = 0, delay_max = 0, again_percent = 0, reorder = 0;
    uint64_t fault_begin = 0, fault_end = 0;
    int fault_status = 2, fault_skip = 0, fault_kinds = 3;
    long long stat[8] = {};

    void violation(const char *format, ...) __attribute__((format(printf, 2, 3))) {
        char text[512];
        va_list args;
        va_start(args, format);
        std::vsnprintf(text, sizeof text, format, args);
        va_end(args);
        if (violations.size() < 4000) violations += std::string(text) + "\n";
    }

    uint64_t due() {
        return polls + delay_min + random() % static_cast<uint64_t>(delay_max - delay_min + 1);
    }

    bool again() { return static_cast<int>(random() % 100) < again_percent; }

    // Status of an access, 0 where host memory has it.
    int status(uint64_t addr, int bytes, bool write) {
        if ((fault_kinds & (write ? 2 : 1)) != 0 && addr < fault_end &&
            addr + static_cast<uint64_t>(bytes) > fault_begin) {
            if (fault_skip == 0) return fault_status;
            --fault_skip;
        }
        if (addr < base || addr - base + static_cast<uint64_t>(bytes) > memory.size()) return 2;
        return 0;
    }

    void add_log(int what, int tag, int st, int bytes, uint64_t value) {
        log.push_back({what, tag, st, bytes, value, polls});
    }

    // What the bridge had is void. Guest accesses that came after the reset stay.
    void forget() {
        std::deque<Event> later;
        for (const Event &e : events) {
            if (e.kind == MMIO_READ || e.kind == MMIO_WRITE || e.kind == FUNCTION) {
                later.push_back(e);
            }
        }
        events = later;
        dma.clear();
        late.clear();
        writes.clear();
        reads.clear();
        assembling = false;
        unaccepted = false;
    }

    // Carries out the writes up to that one, or all.
    void carry_out(int tag) {
        bool found = tag < 0;
        for (const Late &w : late) found |= w.tag == tag;
        while (found && !late.empty()) {
            const Late &w = late.front();
            for (std::size_t i = 0; i < w.data.size(); ++i) {
                if (w.strb[i]) memory[w.addr - base + i] = w.data[i];
            }
            const bool end = w.tag == tag;
            late.pop_front();
            if (end) break;
        }
    }

    void complete(int tag) {
        Dma &d = dma.at(tag);
        Event event{d.write ? DMA_WRITE_DONE : DMA_READ_DONE, tag, 0, 0, 0, 0, due()};
        if (reorder && !events.empty()) {
            // Before any completions at the end of the queue: other requests may be faster.
            std::size_t at = events.size();
            while (at > 0 && events[at - 1].kind >= DMA_READ_DONE && random() % 2) --at;
            events.insert(events.begin() + static_cast<long>(at), event);
        } else {
            events.push_back(event);
        }
    }
};

// The NIC channel: what a host and its netdev are to a bridge.
struct Nic {
    std::deque<std::vector<uint8_t>> to_rtl, to_host;
    std::vector<uint8_t> rx, tx;  // frames under way
    std::size_t rx_pos = 0;
    uint64_t mac = 0;
    bool link = false, changed = true, rtl_link = true, tx_open = false;
    bool room = false, waits = false;  // as the last poll told
    int room_percent = 100, wait_percent = 100, limit = 1 << 30;
    uint64_t polls = 0, aborts = 0;
};

// The serial channel.
struct Uart {
    std::deque<uint8_t> to_rtl, to_host;
    bool connected = true, room = false, full = false;
    int room_percent = 100, wait_percent = 100;
    uint64_t polls = 0;
    // Each byte that the bridge took or gave, with the number of the poll before it.
    struct Move { uint64_t poll; bool to_host; int byte; };
    std::vector<Move> moves;
};

Nic nic;
Uart uart;

int abi_version = 1;

Standin *g = nullptr;

Standin &s() {
    if (g == nullptr) g = new Standin;
    return *g;
}

// By the names of their bridges, where a simulation has several.
std::map<std::string, Standin *> boards;

// Makes it the one that the functions below speak of, for a bridge that opens later.
[[maybe_unused]] void board(const std::string &name) {
    Standin *&one = boards[name];
    if (one == nullptr) one = new Standin;
    g = one;
}

// What a bridge opened; some ask for an error without one.
Standin &of(void *handle) { return handle == nullptr ? s() : *static_cast<Standin *>(handle); }

}  // namespace

extern "C" {

int acc_abi_version() { return abi_version; }

void *acc_open(const char *endpoint, const char *name) {
    if (std::strcmp(endpoint, "refused") == 0) {
        s().error = "the endpoint 'refused' is refused";
        return nullptr;
    }
    const auto found = boards.find(name);
    return found == boards.end() ? &s() : found->second;
}

int acc_close(void *h) {
    of(h).add_log(LOG_CLOSE, 0, 0, 0, 0);
    return 0;
}

const char *acc_last_error(void *h) { return of(h).error.c_str(); }

int acc_set_id(void *h, int vendor, int device, int subvendor, int subdevice, int class_code,
               int revision) {
    const int ids[6] = {vendor, device, subvendor, subdevice, class_code, revision};
    std::memcpy(of(h).config.ids, ids, sizeof ids);
    return 0;
}

int acc_set_bar(void *h, int bar, long long size, int flags, long long axi_base) {
    if (bar < 0 || bar > 5) return ERR_INVAL;
    of(h).config.bar_size[bar] = static_cast<uint64_t>(size);
    of(h).config.bar_flags[bar] = flags;
    of(h).config.bar_base[bar] = static_cast<uint64_t>(axi_base);
    return 0;
}

int acc_set_msix(void *h, int vectors, int table_bar, int table_offset, int pba_bar,
                 int pba_offset) {
    const int msix[5] = {vectors, table_bar, table_offset, pba_bar, pba_offset};
    std::memcpy(of(h).config.msix, msix, sizeof msix);
    return 0;
}

int acc_set_msix_in_rtl(void *h, int in_rtl) {
    if (in_rtl < 0 || in_rtl > 1) return ERR_INVAL;
    of(h).config.msix_in_rtl = in_rtl;
    return 0;
}

int acc_set_msi(void *h, int vectors, int masking) {
    if (vectors < 1 || vectors > 32 || masking < 0 || masking > 1) return ERR_INVAL;
    of(h).config.msi[0] = vectors;
    of(h).config.msi[1] = masking;
    return 0;
}

int acc_add_capability(void *h, int id, int offset, int bytes, const svBitVecVal *body) {
    si_config &config = of(h).config;
    if (config.caps == 8 || bytes < 1 || bytes > 64) return ERR_INVAL;
    const int head[3] = {id, offset, bytes};
    std::memcpy(config.cap_head[config.caps], head, sizeof head);
    std::memcpy(config.cap_body[config.caps], body, 64);
    ++config.caps;
    return 0;
}

int acc_set_link(void *h, int speed, int width) {
    of(h).config.link[0] = speed;
    of(h).config.link[1] = width;
    return 0;
}

int acc_set_intx(void *h, int pin) {
    of(h).config.intx_pin = pin;
    return 0;
}

int acc_set_clock(void *h, int period_ps) {
    of(h).config.clock_ps = period_ps;
    return 0;
}

int acc_set_shared_memory(void *, int mode) {
    return mode >= 0 && mode <= 2 ? 0 : -1;
}

int acc_set_faults(void *, const char *) { return 0; }

int acc_record(const char *, long long, int) { return 0; }

int acc_start(void *h) {
    of(h).config.started = 1;
    return 0;
}

int acc_poll(void *h, int ready) {
    Standin &t = of(h);
    ++t.polls;
    if (t.announced != NONE) t.violation("acc_poll before event %d was fetched", t.announced);
    t.announced = NONE;
    if (!t.urgent.empty()) {
        t.announced = t.urgent.front().kind;
        return t.announced;
    }
    if (!(ready & READY_FUNCTION)) t.violation("acc_poll without ACC_READY_FUNCTION");
    if (t.in_reset) {
        if (t.events.empty() || t.events.front().kind != FUNCTION) return NONE;
        t.announced_at = 0;
        return t.announced = FUNCTION;
    }
    if (ready & READY_WRITE) t.unaccepted = false;
    bool write = false, read = false;
    for (std::size_t i = 0; i < t.events.size(); ++i) {
        const Event &e = t.events[i];
        // Read data stays behind writes of the guest. The end of a DMA write does not: on PCI
        // Express nobody tells of it, so RTL may make a guest's write wait for it.
        const bool completion = e.kind == DMA_READ_DONE || e.kind == DMA_WRITE_DONE;
        const bool behind = e.kind != DMA_WRITE_DONE;
        const int bit = e.kind == MMIO_WRITE      ? READY_WRITE
                        : e.kind == FUNCTION      ? READY_WRITE
                        : e.kind == MMIO_READ     ? READY_READ
                        : e.kind == DMA_READ_DONE ? READY_DMA_READ
                                                  : READY_DMA_WRITE;
        const bool blocked = (behind && write) || (e.kind == MMIO_READ && read) ||
                             (e.kind == DMA_READ_DONE && t.unaccepted) || (completion && t.hold);
        if (!blocked && (ready & bit) && e.due <= t.polls) {
            t.announced = e.kind;
            t.announced_at = i;
            ++t.busy;
            return e.kind;
        }
        write |= e.kind == MMIO_WRITE || e.kind == FUNCTION;
        read |= e.kind == MMIO_READ;
    }
    return NONE;
}

int acc_get_mmio(void *h, int *tag, int *bar, long long *addr, int *len, long long *data) {
    Standin &t = of(h);
    if (t.announced != MMIO_READ && t.announced != MMIO_WRITE) {
        t.violation("acc_get_mmio after event %d", t.announced);
        return ERR_STATE;
    }
    const Event e = t.events[t.announced_at];
    t.events.erase(t.events.begin() + static_cast<long>(t.announced_at));
    t.announced = NONE;
    *tag = e.tag;
    *bar = e.bar;
    *addr = static_cast<long long>(e.addr);
    *len = e.len;
    *data = static_cast<long long>(e.data);
    if (e.kind == MMIO_WRITE) {
        t.unaccepted = true;
        t.writes.push_back(e.tag);
    } else {
        if (!t.writes.empty()) t.violation("read %d taken with a write outstanding", e.tag);
        t.reads.push_back(e.tag);
    }
    t.add_log(LOG_DELIVERED, e.tag, 0, e.len, e.addr);
    return 0;
}

int acc_mmio_read_done(void *h, int tag, int status, long long data) {
    Standin &t = of(h);
    t.carry_out(-1);
    t.add_log(LOG_READ_DONE, tag, status, 0, static_cast<uint64_t>(data));
    for (std::size_t i = 0; i < t.reads.size(); ++i) {
        if (t.reads[i] == tag) {
            t.reads.erase(t.reads.begin() + static_cast<long>(i));
            return 0;
        }
    }
    t.violation("read_done of tag %d, which is not outstanding", tag);
    return ERR_INVAL;
}

int acc_mmio_write_done(void *h, int tag, int status) {
    Standin &t = of(h);
    t.add_log(LOG_WRITE_DONE, tag, status, 0, 0);
    if (t.writes.empty() || t.writes.front() != tag) {
        t.violation("write_done of tag %d out of order", tag);
        return ERR_INVAL;
    }
    t.writes.pop_front();
    return 0;
}

int acc_dma_read(void *h, long long addr, int bytes) {
    Standin &t = of(h);
    if (bytes < 1 || bytes > 4096) t.violation("DMA read of %d bytes", bytes);
    if (!t.link) return ERR_LINK;
    if (t.in_reset) t.violation("DMA read in reset");
    if (t.dma.size() + t.assembling >= t.most_dma || t.again()) return ERR_AGAIN;
    const int tag = t.next_tag++;
    const int status = t.status(static_cast<uint64_t>(addr), bytes, false);
    Dma d{false, static_cast<uint64_t>(addr), bytes, status, false, {}, 0};
    if (status == 0) {
        const auto at = t.memory.begin() + static_cast<long>(static_cast<uint64_t>(addr) - t.base);
        d.data.assign(at, at + bytes);
    }
    t.dma.emplace(tag, d);
    t.add_log(LOG_DMA_READ, tag, status, bytes, static_cast<uint64_t>(addr));
    t.complete(tag);
    return tag;
}

int acc_get_dma_read(void *h, int *tag, int *status, int *bytes) {
    Standin &t = of(h);
    if (t.announced != DMA_READ_DONE) {
        t.violation("acc_get_dma_read after event %d", t.announced);
        return ERR_STATE;
    }
    *tag = t.events[t.announced_at].tag;
    t.events.erase(t.events.begin() + static_cast<long>(t.announced_at));
    t.announced = NONE;
    Dma &d = t.dma.at(*tag);
    d.fetched = true;
    *status = d.status;
    *bytes = static_cast<int>(d.data.size());
    t.stat[2] += *bytes;
    if (d.status != 0) t.dma.erase(*tag);
    return 0;
}

int acc_dma_read_beat(void *h, int tag, int lane, int bytes, svBitVecVal *data) {
    Standin &t = of(h);
    const auto found = t.dma.find(tag);
    if (found == t.dma.end() || found->second.write || !found->second.fetched) {
        t.violation("acc_dma_read_beat of tag %d, which has no data", tag);
        return ERR_INVAL;
    }
    Dma &d = found->second;
    if (lane < 0 || bytes < 1 || lane + bytes > 64 ||
        d.pos + static_cast<std::size_t>(bytes) > d.data.size()) {
        t.violation("acc_dma_read_beat of tag %d: lane %d bytes %d at %zu of %zu", tag, lane,
                    bytes, d.pos, d.data.size());
        return ERR_INVAL;
    }
    std::memset(data, 0, 64);
    std::memcpy(reinterpret_cast<uint8_t *>(data) + lane, d.data.data() + d.pos,
                static_cast<std::size_t>(bytes));
    d.pos += static_cast<std::size_t>(bytes);
    if (d.pos == d.data.size()) t.dma.erase(found);
    return 0;
}

int acc_dma_write_begin(void *h, long long addr) {
    Standin &t = of(h);
    if (t.assembling) {
        t.violation("acc_dma_write_begin twice");
        return ERR_STATE;
    }
    if (!t.link) return ERR_LINK;
    if (t.in_reset) t.violation("DMA write in reset");
    if (t.dma.size() >= t.most_dma || t.again()) return ERR_AGAIN;
    t.assembling = true;
    t.assembly_addr = static_cast<uint64_t>(addr);
    t.assembly_data.clear();
    t.assembly_strb.clear();
    return 0;
}

int acc_dma_write_beat(void *h, int lane, int bytes, const svBitVecVal *data,
                       const svBitVecVal *strb) {
    Standin &t = of(h);
    if (!t.assembling) {
        t.violation("acc_dma_write_beat without begin");
        return ERR_STATE;
    }
    if (lane < 0 || bytes < 1 || lane + bytes > 64) {
        t.violation("acc_dma_write_beat: lane %d bytes %d", lane, bytes);
        return ERR_INVAL;
    }
    for (int i = lane; i < lane + bytes; ++i) {
        t.assembly_data.push_back(reinterpret_cast<const uint8_t *>(data)[i]);
        t.assembly_strb.push_back(strb[i / 32] >> (i % 32) & 1);
    }
    return 0;
}

int acc_dma_write_end(void *h) {
    Standin &t = of(h);
    if (!t.assembling) {
        t.violation("acc_dma_write_end without begin");
        return ERR_STATE;
    }
    t.assembling = false;
    if (!t.link) return ERR_LINK;
    const int bytes = static_cast<int>(t.assembly_data.size());
    // The bridge ends a burst that aresetn cut off before its first beat.
    if (bytes == 0) return ERR_INVAL;
    if (bytes > 4096) t.violation("DMA write of %d bytes", bytes);
    const int tag = t.next_tag++;
    const int status = t.status(t.assembly_addr, bytes, true);
    if (status == 0) {
        t.late.push_back({tag, t.assembly_addr, t.assembly_data, t.assembly_strb});
        if (!t.late_writes) t.carry_out(-1);
        t.stat[3] += bytes;
    }
    t.dma.emplace(tag, Dma{true, t.assembly_addr, bytes, status, false, {}, 0});
    t.add_log(LOG_DMA_WRITE, tag, status, bytes, t.assembly_addr);
    t.complete(tag);
    return tag;
}

int acc_wait(void *h, int microseconds) {
    if (microseconds < 0 || microseconds > 1000000) {
        of(h).violation("acc_wait for %d us", microseconds);
    }
    return 0;
}

int acc_get_dma_write(void *h, int *tag, int *status) {
    Standin &t = of(h);
    if (t.announced != DMA_WRITE_DONE) {
        t.violation("acc_get_dma_write after event %d", t.announced);
        return ERR_STATE;
    }
    *tag = t.events[t.announced_at].tag;
    t.events.erase(t.events.begin() + static_cast<long>(t.announced_at));
    t.announced = NONE;
    *status = t.dma.at(*tag).status;
    t.dma.erase(*tag);
    t.carry_out(*tag);
    return 0;
}

int acc_msix(void *h, int vector) {
    Standin &t = of(h);
    if (!t.link) return ERR_LINK;
    const int vectors = std::max(t.config.msix[0], t.config.msi[0]);
    if (vector < 0 || vector >= vectors) {
        t.error = "vector " + std::to_string(vector) + " is none of " + std::to_string(vectors);
        return ERR_INVAL;
    }
    if (t.in_reset) t.violation("MSI-X in reset");
    if (t.again()) return ERR_AGAIN;
    t.carry_out(-1);
    ++t.stat[4];
    t.add_log(LOG_MSIX, vector, 0, 0, 0);
    return 0;
}

int acc_intx(void *h, int level) {
    of(h).add_log(LOG_INTX, level, 0, 0, 0);
    return 0;
}

int acc_get_reset(void *h, int *kind) {
    Standin &t = of(h);
    if (t.announced != RESET) t.violation("acc_get_reset after event %d", t.announced);
    t.announced = NONE;
    *kind = t.urgent.front().tag;
    t.urgent.pop_front();
    t.in_reset = true;
    t.forget();
    const int reset[4] = {192, 0, 128, 512};
    std::copy_n(reset, 4, t.function);
    t.function[7] = 1;
    t.function[8] = 0;
    t.addresses = kNowhere;
    return 0;
}

int acc_get_function(void *h, int *flags, int *power, int *max_payload, int *max_read_request,
                     int *requester_id, int *link_speed, int *link_width) {
    Standin &t = of(h);
    if (t.announced == FUNCTION) {
        const Event e = t.events[t.announced_at];
        t.events.erase(t.events.begin() + static_cast<long>(t.announced_at));
        t.announced = NONE;
        t.unaccepted = true;
        std::copy_n(t.functions.at(e.tag).begin(), 9, t.function);
        t.functions.erase(e.tag);
        t.addresses = t.later_addresses.at(e.tag);
        t.later_addresses.erase(e.tag);
    }
    int *const out[7] = {flags,        power,      max_payload, max_read_request,
                         requester_id, link_speed, link_width};
    for (int i = 0; i < 7; ++i) *out[i] = t.function[i];
    return 0;
}

int acc_get_msi(void *h, int *vectors, int *mask) {
    Standin &t = of(h);
    *vectors = t.function[7];
    *mask = t.function[8];
    return 0;
}

int acc_get_bar(void *h, int bar, long long *address) {
    Standin &t = of(h);
    if (bar < 0 || bar > 5) t.violation("acc_get_bar of BAR %d", bar);
    const uint64_t known = t.addresses.at(static_cast<std::size_t>(bar));
    *address = known == ~0ULL ? 0 : static_cast<long long>(known);
    return known != ~0ULL;
}

int acc_reset_done(void *h) {
    Standin &t = of(h);
    if (!t.in_reset) t.violation("acc_reset_done without a reset");
    t.in_reset = false;
    t.add_log(LOG_RESET_DONE, 0, 0, 0, 0);
    return 0;
}

int acc_get_link(void *h, int *up) {
    Standin &t = of(h);
    if (t.announced != LINK_UP && t.announced != LINK_DOWN) {
        t.violation("acc_get_link after event %d", t.announced);
    }
    *up = t.announced == LINK_UP;
    t.link = *up;
    const int fresh[9] = {192, 0, 128, 512, 0, 1, 1, 1, 0};
    std::copy_n(fresh, 9, t.function);
    t.addresses = kNowhere;
    t.announced = NONE;
    t.urgent.pop_front();
    if (!t.link) {
        t.in_reset = false;
        t.forget();
    }
    return 0;
}

long long acc_stat(void *h, int which) {
    return which >= 0 && which < 8 ? of(h).stat[which] : ERR_INVAL;
}

// --- The side channels -----------------------------------------------------------------------

void *acc_nic_open(const char *endpoint, const char *) {
    if (std::strcmp(endpoint, "refused") == 0) return nullptr;
    return &nic;
}

int acc_nic_close(void *) { return 0; }

int acc_nic_poll(void *) {
    Nic &n = nic;
    ++n.polls;
    n.waits = !n.to_rtl.empty() && static_cast<int>(s().random() % 100) < n.wait_percent;
    n.room = static_cast<int>(n.to_host.size()) < n.limit &&
             static_cast<int>(s().random() % 100) < n.room_percent;
    const int bits = (n.waits ? 1 : 0) | (n.room ? 2 : 0) | (n.link ? 4 : 0) | (n.changed ? 8 : 0);
    n.changed = false;
    return bits;
}

int acc_nic_get_mac(void *, long long *mac) {
    *mac = static_cast<long long>(nic.mac);
    return 0;
}

int acc_nic_set_link(void *, int up) {
    if (nic.rtl_link == (up != 0)) s().violation("acc_nic_set_link(%d) twice", up);
    nic.rtl_link = up != 0;
    return 0;
}

int acc_nic_rx_begin(void *) {
    Nic &n = nic;
    if (n.rx_pos != n.rx.size()) s().violation("acc_nic_rx_begin inside a frame");
    if (!n.waits) s().violation("acc_nic_rx_begin though no frame waits");
    if (n.to_rtl.empty()) return 0;
    n.rx = n.to_rtl.front();
    n.to_rtl.pop_front();
    n.rx_pos = 0;
    n.waits = false;
    return static_cast<int>(n.rx.size());
}

int acc_nic_rx_beat(void *, int bytes, svBitVecVal *data) {
    Nic &n = nic;
    const std::size_t size = static_cast<std::size_t>(bytes);
    if (bytes < 1 || bytes > 64 || n.rx_pos + size > n.rx.size()) {
        s().violation("acc_nic_rx_beat of %d bytes at %zu of %zu", bytes, n.rx_pos, n.rx.size());
        return ERR_INVAL;
    }
    // What the bridge did not ask for is nothing that it may show.
    std::memset(data, 0xA5, 64);
    std::memcpy(data, n.rx.data() + n.rx_pos, size);
    n.rx_pos += size;
    return 0;
}

int acc_nic_tx_beat(void *, int bytes, const svBitVecVal *data, int last) {
    Nic &n = nic;
    if (bytes < 1 || bytes > 64) {
        s().violation("acc_nic_tx_beat of %d bytes", bytes);
        return ERR_INVAL;
    }
    if (!n.tx_open && !n.room) s().violation("a frame towards the host without room for it");
    n.tx_open = !last;
    const uint8_t *from = reinterpret_cast<const uint8_t *>(data);
    n.tx.insert(n.tx.end(), from, from + bytes);
    if (last) {
        n.to_host.push_back(n.tx);
        n.tx.clear();
        n.room = false;
    }
    return 0;
}

int acc_nic_tx_abort(void *) {
    if (!nic.tx_open) s().violation("acc_nic_tx_abort outside a frame");
    nic.tx_open = false;
    nic.tx.clear();
    ++nic.aborts;
    return 0;
}

long long acc_nic_stat(void *, int) { return 0; }

void *acc_uart_open(const char *endpoint, const char *) {
    if (std::strcmp(endpoint, "refused") == 0) return nullptr;
    return &uart;
}

int acc_uart_close(void *) { return 0; }

int acc_uart_poll(void *) {
    Uart &u = uart;
    ++u.polls;
    u.room = static_cast<int>(s().random() % 100) < u.room_percent;
    const bool waits =
        !u.to_rtl.empty() && static_cast<int>(s().random() % 100) < u.wait_percent;
    return (waits ? 1 : 0) | (u.room ? 2 : 0) | (u.connected ? 4 : 0);
}

int acc_uart_get(void *) {
    if (uart.to_rtl.empty()) return -1;
    const int byte = uart.to_rtl.front();
    uart.to_rtl.pop_front();
    uart.moves.push_back({uart.polls, false, byte});
    return byte;
}

int acc_uart_put(void *, int byte) {
    if (byte < 0 || byte > 255) s().violation("acc_uart_put of %d", byte);
    if (uart.full) return 0;
    if (!uart.room) {
        s().violation("acc_uart_put without room");
        return 0;
    }
    uart.room = false;
    uart.to_host.push_back(static_cast<uint8_t>(byte));
    uart.moves.push_back({uart.polls, true, byte});
    return 1;
}

// --- For Python ------------------------------------------------------------------------------

// A new stand-in, with the configuration that the bridge gave: a bridge lives for all tests of
// one run.
void si_new(uint64_t seed, uint64_t base, uint64_t size) {
    Standin *old = &s();
    Standin *t = new Standin;
    t->config = old->config;
    t->in_reset = old->in_reset;
    t->link = old->link;
    t->polls = old->polls;
    t->next_tag = old->next_tag;
    t->base = base;
    t->memory.assign(size, 0);
    t->random.seed(seed);
    // The bridge holds a pointer; only what it points at changes.
    std::swap(*old, *t);
    delete t;

    const bool rtl_link = nic.rtl_link, tx_open = nic.tx_open;
    if (nic.rx_pos != nic.rx.size() || tx_open) old->violation("a frame is left from before");
    nic = Nic{};
    nic.rtl_link = rtl_link;
    uart = Uart{};
}

void si_set(const char *name, int64_t value) {
    Standin &t = s();
    const std::string n = name;
    if (n == "delay_min") t.delay_min = static_cast<int>(value);
    else if (n == "delay_max") t.delay_max = static_cast<int>(value);
    else if (n == "again_percent") t.again_percent = static_cast<int>(value);
    else if (n == "reorder") t.reorder = static_cast<int>(value);
    else if (n == "most_dma") t.most_dma = static_cast<std::size_t>(value);
    else if (n == "hold") t.hold = value != 0;
    // A write is in memory when its end is told, or what it must not be overtaken by.
    else if (n == "late_writes") t.late_writes = value != 0;
    else if (n == "nic_room_percent") nic.room_percent = static_cast<int>(value);
    else if (n == "nic_wait_percent") nic.wait_percent = static_cast<int>(value);
    else if (n == "nic_limit") nic.limit = static_cast<int>(value);
    else if (n == "uart_room_percent") uart.room_percent = static_cast<int>(value);
    else if (n == "uart_wait_percent") uart.wait_percent = static_cast<int>(value);
    // A library whose poll said that there is room, and was wrong.
    else if (n == "uart_full") uart.full = value != 0;
    else t.violation("si_set of unknown '%s'", name);
}

// Requests that touch [begin, end) end with status, after the first `skip` of them. kinds: 1
// reads, 2 writes.
void si_fault(uint64_t begin, uint64_t end, int status, int skip, int kinds) {
    s().fault_begin = begin;
    s().fault_end = end;
    s().fault_status = status;
    s().fault_skip = skip;
    s().fault_kinds = kinds;
}

int si_push_mmio(int write, int bar, uint64_t addr, int len, uint64_t data) {
    Standin &t = s();
    const int tag = t.next_tag++;
    t.events.push_back({write ? MMIO_WRITE : MMIO_READ, tag, bar, len, addr, data, 0});
    ++t.stat[write ? 1 : 0];
    return tag;
}

// The guest has set something in config space: nine numbers as acc_get_function and acc_get_msi have
// them, and addresses of BARs.
void si_push_function(const int *values, const uint64_t *addresses) {
    Standin &t = s();
    const int tag = t.next_tag++;
    t.functions[tag] = std::vector<int>(values, values + 9);
    std::copy_n(addresses, 6, t.later_addresses[tag].begin());
    t.events.push_back({FUNCTION, tag, 0, 0, 0, 0, t.due()});
}

void si_push_reset(int kind) {
    s().events.clear();
    s().urgent.push_back({RESET, kind, 0, 0, 0, 0, 0});
}

void si_push_link(int up) {
    if (up) ++s().stat[5];
    s().events.clear();
    s().urgent.push_back({up ? LINK_UP : LINK_DOWN, 0, 0, 0, 0, 0, 0});
}

void si_memory_write(uint64_t addr, const uint8_t *data, uint64_t bytes) {
    std::memcpy(s().memory.data() + (addr - s().base), data, bytes);
}

void si_memory_read(uint64_t addr, uint8_t *data, uint64_t bytes) {
    std::memcpy(data, s().memory.data() + (addr - s().base), bytes);
}

int si_log_next(si_record *record) {
    if (s().log.empty()) return 0;
    *record = s().log.front();
    s().log.pop_front();
    return 1;
}

void si_get_config(si_config *config) { *config = s().config; }

const char *si_violations() { return s().violations.c_str(); }

// What is under way: DMA requests, MMIO writes, MMIO reads, events not yet delivered.
void si_outstanding(int *counts) {
    Standin &t = s();
    counts[0] = static_cast<int>(t.dma.size());
    counts[1] = static_cast<int>(t.writes.size());
    counts[2] = static_cast<int>(t.reads.size());
    counts[3] = static_cast<int>(t.events.size() + t.urgent.size());
}

// A netdev's frame, and one that RTL sent: its bytes, or -1 if there is none.
void si_nic_push(const uint8_t *data, int bytes) { nic.to_rtl.emplace_back(data, data + bytes); }

int si_nic_take(uint8_t *data, int most) {
    if (nic.to_host.empty()) return -1;
    const std::vector<uint8_t> &frame = nic.to_host.front();
    const int bytes = static_cast<int>(frame.size());
    std::memcpy(data, frame.data(), static_cast<std::size_t>(bytes < most ? bytes : most));
    nic.to_host.pop_front();
    return bytes;
}

void si_nic_link(int up, uint64_t mac) {
    nic.changed = true;
    nic.link = up != 0;
    nic.mac = mac;
}

// Frames that wait for RTL, frames that RTL sent, RTL's link, frames that were aborted, polls.
void si_nic_counts(int64_t *counts) {
    counts[0] = static_cast<int64_t>(nic.to_rtl.size());
    counts[1] = static_cast<int64_t>(nic.to_host.size());
    counts[2] = nic.rtl_link;
    counts[3] = static_cast<int64_t>(nic.aborts);
    counts[4] = static_cast<int64_t>(nic.polls);
}

void si_uart_push(const uint8_t *data, int bytes) {
    uart.to_rtl.insert(uart.to_rtl.end(), data, data + bytes);
}

int si_uart_take(uint8_t *data, int most) {
    int bytes = 0;
    while (bytes < most && !uart.to_host.empty()) {
        data[bytes++] = uart.to_host.front();
        uart.to_host.pop_front();
    }
    return bytes;
}

void si_uart_connect(int connected) { uart.connected = connected != 0; }

// Bytes that wait for RTL.
int si_uart_waiting() { return static_cast<int>(uart.to_rtl.size()); }

}  // extern "C"
