// SPDX-License-Identifier: Apache-2.0
//
// The clock that guest and RTL are measured by: the ticks of the host's CPU. Under TCG, and
// under KVM, what a guest reads from its own counter differs from them by a constant, which
// bench_sync() lets the guest find: the two sides play ping-pong over a page of guest memory,
// with nothing in between, two thousand times. The fastest round bounds the error.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace {

std::uint64_t ticks() {
#if defined(__x86_64__)
    return __rdtsc();
#elif defined(__aarch64__)
    std::uint64_t value;
    asm volatile("isb; mrs %0, cntvct_el0" : "=r"(value));
    return value;
#else
    return static_cast<std::uint64_t>(
        std::chrono::steady_clock::now().time_since_epoch().count());
#endif
}

// In guest memory, at the address that bench_sync() gets.
struct Page {
    std::atomic<std::uint64_t> ping;   // guest: number of the round, from 1
    std::atomic<std::uint64_t> pong;   // host: the same, with `ticks` written before
    std::atomic<std::uint64_t> ticks;  // host: its clock in this round
    std::atomic<std::uint64_t> last;   // guest, before the first round: number of rounds
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

unsigned char *memory = nullptr;
std::uint64_t memory_bytes = 0;

}  // namespace

extern "C" {

// Host ticks.
long long bench_ticks() { return static_cast<long long>(ticks()); }

// Opens the file that holds the guest's memory from address 0. 1, or 0 if it cannot be used.
int bench_memory(const char *path) {
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat about {};
    if (fd < 0 || fstat(fd, &about) < 0 || about.st_size <= 0) {
        std::perror(path);
        if (fd >= 0) close(fd);
        return 0;
    }
    void *map = mmap(nullptr, static_cast<std::size_t>(about.st_size), PROT_READ | PROT_WRITE,
                     MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED) {
        std::perror(path);
        return 0;
    }
    memory = static_cast<unsigned char *>(map);
    memory_bytes = static_cast<std::uint64_t>(about.st_size);
    return 1;
}

// Answers the guest's rounds. Returns their number, or 0 if the guest stopped in between, or
// there is no memory. The simulation stands still meanwhile.
int bench_sync(long long address) {
    const auto at = static_cast<std::uint64_t>(address);
    if (memory == nullptr || at % 64 != 0 || at > memory_bytes - sizeof(Page)) return 0;
    auto *page = reinterpret_cast<Page *>(memory + at);
    const std::uint64_t last = page->last.load();
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    for (std::uint64_t round = 1; round <= last; ++round) {
        for (unsigned tries = 1; page->ping.load(std::memory_order_acquire) != round; ++tries) {
            if (tries % 65536 == 0 && std::chrono::steady_clock::now() > limit) return 0;
        }
        page->ticks.store(ticks(), std::memory_order_relaxed);
        page->pong.store(round, std::memory_order_release);
    }
    return static_cast<int>(last);
}

}  // extern "C"
