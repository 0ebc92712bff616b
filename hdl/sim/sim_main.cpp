// SPDX-License-Identifier: Apache-2.0
//
// Main program of a Verilator simulation: drives aclk and aresetn of the top module until
// SIGTERM, SIGINT or SIGHUP, $finish, or the limit of clocks; and user_clk, where the top has it.
//
//   +accelerator_endpoint=E   where QEMU connects (read by the bridge)
//   +max_clocks=N             ends the simulation after N clocks
//   +clock_ps=N               period of aclk in waves and $time, 4000 unless given
//   +user_clk_ps=N            period of user_clk, 3001 unless given; clocks are those of aclk
//   +max_clocks_per_second=N  sleeps now and then, so that no more than N clocks go by in a second
//                             on the wall: what slow RTL does, with RTL that is not
//   +waves...                 waves.h

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>

#include <unistd.h>

#include "Vsim.h"
#include "plusargs.h"
#include "user_clock.h"
#include "verilated.h"
#include "waves.h"

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

}  // namespace

int main(int argc, char **argv) {
    const Plusargs arguments{argc, argv, SIM_NAME};
    const unsigned long long max_clocks = arguments.number("max_clocks", ~0ULL);
    const unsigned long long clock_ps = arguments.number("clock_ps", 4000);
    UserClock<Vsim> user_clock{arguments};
    const unsigned long long rate = arguments.number("max_clocks_per_second", 0);

    struct sigaction action {};
    action.sa_handler = on_signal;
    for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaction(number, &action, nullptr);
    std::setvbuf(stdout, nullptr, _IOLBF, 0);

    const auto context = std::make_unique<VerilatedContext>();
    context->commandArgs(argc, argv);

    Waves waves{arguments, *context, SIM_NAME};
    const auto top = std::make_unique<Vsim>(context.get(), SIM_NAME);
    waves.attach(*top);

    using Clock = std::chrono::steady_clock;
    const auto begin = Clock::now();
    unsigned long long clocks = 0;
    // With a limit: when the clocks of the present half of a millisecond are over.
    const unsigned long long slice = rate / 2000 + 1;
    auto slice_end = begin;
    top->aclk = 0;
    top->aresetn = 0;
    top->eval();
    waves.dump();
    while (stop_signal == 0 && !context->gotFinish() && clocks < max_clocks) {
        waves.clock(clocks, *top);
        user_clock.advance(*context, *top, waves, clock_ps / 2);
        top->aclk = 1;
        top->eval();
        waves.dump();
        user_clock.advance(*context, *top, waves, clock_ps - clock_ps / 2);
        top->aclk = 0;
        if (++clocks == kResetClocks) top->aresetn = 1;
        top->eval();
        waves.dump();
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
    const bool waves_whole = waves.finish();
    const char *why = stop_signal != 0          ? strsignal(stop_signal)
                      : context->gotFinish()    ? "$finish"
                                                : "+max_clocks";
    std::printf("%s: clocks=%llu seconds=%.3f clocks_per_second=%.0f end=\"%s\"\n", SIM_NAME,
                clocks, seconds, seconds > 0 ? static_cast<double>(clocks) / seconds : 0.0, why);
    if (context->gotError()) return 1;
    return waves_whole ? 0 : 2;
}
