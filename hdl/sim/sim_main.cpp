// SPDX-License-Identifier: Apache-2.0
//
// Main program of a Verilator simulation: drives aclk and aresetn of the top module until
// SIGTERM, SIGINT or SIGHUP, $finish, or the limit of clocks.
//
//   +accelerator_endpoint=E   where QEMU connects (read by the bridge)
//   +max_clocks=N             ends the simulation after N clocks
//   +waves[=FILE]             writes FST to FILE, or to TOP.fst; ACCELERATOR_WAVES=FILE or =1
//                             does the same
//   +clock_ps=N               period of aclk in waves and $time, 4000 unless given
//   +max_clocks_per_second=N  sleeps now and then, so that no more than N clocks go by in a second
//                             on the wall: what slow RTL does, with RTL that is not

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>

#include <unistd.h>

#include "Vsim.h"
#include "verilated.h"
#if VM_TRACE_FST
#include "verilated_fst_c.h"
#endif

namespace {

constexpr unsigned kResetClocks = 16;

volatile std::sig_atomic_t stop_signal = 0;

// Seconds that a design may take to come back to the loop once it is to end.
constexpr unsigned kPatience = 10;

// The same signal may come twice, from a terminal and from a script. The alarm is not handled:
// it ends a simulation that hangs.
void on_signal(int number) {
    stop_signal = number;
    alarm(kPatience);
}

// What follows "+name" in the arguments, or null.
const char *plusarg(int argc, char **argv, const char *name) {
    const std::size_t length = std::strlen(name);
    for (int i = 1; i < argc; ++i) {
        if (argv[i][0] == '+' && std::strncmp(argv[i] + 1, name, length) == 0) {
            const char *rest = argv[i] + 1 + length;
            if (*rest == '\0' || *rest == '=') return rest;
        }
    }
    return nullptr;
}

unsigned long long number(int argc, char **argv, const char *name, unsigned long long otherwise) {
    const char *text = plusarg(argc, argv, name);
    if (text == nullptr) return otherwise;
    char *end = nullptr;
    const unsigned long long value = *text == '=' ? std::strtoull(text + 1, &end, 0) : 0;
    if (end == nullptr || *end != '\0' || end == text + 1 || value == 0) {
        std::fprintf(stderr, "%s: +%s%s: a positive number is needed\n", SIM_NAME, name, text);
        std::exit(2);
    }
    return value;
}

}  // namespace

int main(int argc, char **argv) {
    const unsigned long long max_clocks = number(argc, argv, "max_clocks", ~0ULL);
    const unsigned long long clock_ps = number(argc, argv, "clock_ps", 4000);
    const unsigned long long rate = number(argc, argv, "max_clocks_per_second", 0);

    struct sigaction action {};
    action.sa_handler = on_signal;
    for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaction(number, &action, nullptr);
    std::setvbuf(stdout, nullptr, _IOLBF, 0);

    const auto context = std::make_unique<VerilatedContext>();
    context->commandArgs(argc, argv);

    std::string waves;
    if (const char *text = plusarg(argc, argv, "waves")) {
        waves = *text == '=' && text[1] != '\0' ? text + 1 : SIM_NAME ".fst";
    } else if (const char *text = std::getenv("ACCELERATOR_WAVES")) {
        waves = std::strcmp(text, "1") == 0 ? SIM_NAME ".fst" : std::strcmp(text, "0") ? text : "";
    }
#if VM_TRACE_FST
    context->traceEverOn(!waves.empty());
#endif
    const auto top = std::make_unique<Vsim>(context.get(), SIM_NAME);
#if VM_TRACE_FST
    std::unique_ptr<VerilatedFstC> fst;
    if (!waves.empty()) {
        fst = std::make_unique<VerilatedFstC>();
        top->trace(fst.get(), 99);
        fst->open(waves.c_str());
        if (!fst->isOpen()) {
            std::fprintf(stderr, "%s: waves cannot be written to %s\n", SIM_NAME, waves.c_str());
            return 2;
        }
        std::printf("%s: waves go to %s\n", SIM_NAME, waves.c_str());
    }
    const auto dump = [&] {
        if (fst) fst->dump(context->time());
    };
#else
    if (!waves.empty()) {
        std::fprintf(stderr, "%s: this simulation was built without waves\n", SIM_NAME);
        return 2;
    }
    const auto dump = [] {};
#endif

    using Clock = std::chrono::steady_clock;
    const auto begin = Clock::now();
    unsigned long long clocks = 0;
    // With a limit: when the clocks of the present half of a millisecond are over.
    const unsigned long long slice = rate / 2000 + 1;
    auto slice_end = begin;
    top->aclk = 0;
    top->aresetn = 0;
    top->eval();
    dump();
    while (stop_signal == 0 && !context->gotFinish() && clocks < max_clocks) {
        context->timeInc(clock_ps / 2);
        top->aclk = 1;
        top->eval();
        dump();
        context->timeInc(clock_ps - clock_ps / 2);
        top->aclk = 0;
        if (++clocks == kResetClocks) top->aresetn = 1;
        top->eval();
        dump();
        if (rate != 0 && clocks % slice == 0) {
            // Ten milliseconds of delay are made up for, not more.
            slice_end = std::max(slice_end, Clock::now() - std::chrono::milliseconds(10)) +
                        std::chrono::nanoseconds(slice * 1'000'000'000ULL / rate);
            std::this_thread::sleep_until(slice_end);
        }
    }
    alarm(0);
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();

    // The bridges print their counters and say goodbye to QEMU.
    top->final();
#if VM_TRACE_FST
    if (fst) fst->close();
#endif
    const char *why = stop_signal != 0          ? strsignal(stop_signal)
                      : context->gotFinish()    ? "$finish"
                                                : "+max_clocks";
    std::printf("%s: clocks=%llu seconds=%.3f clocks_per_second=%.0f end=\"%s\"\n", SIM_NAME,
                clocks, seconds, seconds > 0 ? static_cast<double>(clocks) / seconds : 0.0, why);
    return context->gotError() ? 1 : 0;
}
