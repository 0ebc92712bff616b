// SPDX-License-Identifier: Apache-2.0
//
// Cases that break a rule on purpose, each in a process of its own: it has to end by the assertion
// that names the fault, or go on and say so many warnings, or be silent.

#pragma once

#include <Vtop.h>
#include <verilated.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#ifndef CASES_CLOCK
#define CASES_CLOCK aclk
#endif

double sc_time_stamp() { return 0; }

namespace {

// What a case is held against.
enum class End { stops, warns, quiet };

struct Case {
    const char *name;
    End end;
    const char *text;  // what has to be said; a quiet one says nothing at all
    std::function<void()> run;
    bool assertions = true;
    const char *plusarg = nullptr;
    int lines = 1;                  // of one that warns
    void (*before)() = nullptr;     // the first clock
};

Vtop *top;

void step(int count = 1) {
    while (count-- > 0) {
        top->CASES_CLOCK = 1;
        top->eval();
        top->CASES_CLOCK = 0;
        top->eval();
        top->contextp()->timeInc(4000);
    }
}

// Time that passes without a clock.
[[maybe_unused]] void pass_ms(uint64_t ms) { top->contextp()->timeInc(ms * 1'000'000'000); }

// A case that cannot go on as it was meant has failed.
[[noreturn]] void give_up(const char *text) {
    std::fprintf(stderr, "the case failed: %s\n", text);
    std::_Exit(3);
}

void until(const std::function<bool()> &condition) {
    for (int n = 0; n < 2000; ++n) {
        if (condition()) return;
        step();
    }
    give_up("what it waits for does not come");
}

void expect(bool condition, const char *text) {
    if (!condition) give_up(text);
}

// What a case said, and the status that its process ended with.
int child(const Case &c, const std::function<void()> &start, const std::function<void()> &end,
          std::string &said) {
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    std::fflush(nullptr);
    const pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        close(ends[0]);
        VerilatedContext context;
        const char *arguments[] = {"cases", c.plusarg};
        context.commandArgs(c.plusarg != nullptr ? 2 : 1, arguments);
        context.assertOn(c.assertions);
        Vtop model(&context, "top");
        top = &model;
        if (c.before != nullptr) c.before();
        start();
        c.run();
        end();
        std::fflush(nullptr);
        std::_Exit(0);
    }
    close(ends[1]);
    char buffer[4096];
    for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) {
        said.append(buffer, static_cast<std::size_t>(n));
    }
    close(ends[0]);
    int status = 0;
    waitpid(pid, &status, 0);
    return status;
}

int warnings(const std::string &said) {
    int count = 0;
    for (std::size_t at = 0; (at = said.find("%Warning", at)) != std::string::npos; ++at) ++count;
    return count;
}

// A line for each case, and what was said where it failed; the last line is: N passed, N failed.
int run_all(const std::vector<Case> &cases, const std::function<void()> &start,
            const std::function<void()> &end) {
    int passed = 0, failed = 0;
    for (const Case &c : cases) {
        std::string said;
        const int status = child(c, start, end, said);
        const bool stopped = status != 0 && said.find("Verilog $stop") != std::string::npos;
        const bool there =
            c.end == End::quiet ? said.empty() : said.find(c.text) != std::string::npos;
        if (there && (c.end == End::stops ? stopped : status == 0) &&
            (c.end != End::warns || warnings(said) == c.lines)) {
            ++passed;
            std::printf("passed: %s\n", c.name);
        } else {
            ++failed;
            std::printf("FAILED: %s\nstatus %d; expected '%s', got:\n%s", c.name, status, c.text,
                        said.c_str());
        }
    }
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed != 0 || passed == 0;
}

}  // namespace
