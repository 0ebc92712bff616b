// SPDX-License-Identifier: Apache-2.0
//
// Waves of a Verilator simulation, as FST: all of it, or a part that a clock, a signal or the
// design itself begins. A disk that is full ends the waves and not the simulation.
//
//   +waves[=FILE]      to FILE, or to TOP.fst; ACCELERATOR_WAVES=FILE or =1 does the same
//   +waves_from=N      from clock N on
//   +waves_trigger     from SIGUSR1 on, or from when the top's output waves_trigger is 1
//   +waves_clocks=N    for N clocks

#pragma once

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <string>

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "Vsim.h"
#include "plusargs.h"
#include "verilated.h"
#if VM_TRACE_FST
#include "verilated_fst_c.h"
#endif

// Whether the design asks for waves; a top need not have that output.
template <typename Top>
bool waves_triggered(const Top &top) {
    if constexpr (requires { top.waves_trigger; }) {
        return top.waves_trigger != 0;
    } else {
        return false;
    }
}

class Waves {
public:
    Waves(const Plusargs &arguments, VerilatedContext &context, const char *simulation)
        : m_context{context}, m_simulation{simulation} {
        if (const char *text = arguments.find("waves")) {
            m_file = *text == '=' && text[1] != '\0' ? text + 1 : std::string{simulation} + ".fst";
        } else if (const char *text = std::getenv("ACCELERATOR_WAVES")) {
            m_file = std::strcmp(text, "1") == 0   ? std::string{simulation} + ".fst"
                     : std::strcmp(text, "0") == 0 ? ""
                                                   : text;
        }
        m_from = arguments.number("waves_from", 0);
        m_length = arguments.number("waves_clocks", ~0ULL);
        m_by_trigger = arguments.find("waves_trigger") != nullptr;
        if (m_file.empty()) {
            for (const char *name : {"waves_from", "waves_clocks", "waves_trigger"}) {
                if (arguments.find(name) != nullptr) {
                    arguments.refuse("+%s is for a simulation with +waves", name);
                }
            }
            return;
        }
#if VM_TRACE_FST
        // Verilator's writer looks at no error.
        errno = 0;
        std::FILE *file = std::fopen(m_file.c_str(), "wb");
        if (file == nullptr || std::fclose(file) != 0) {
            arguments.refuse("waves cannot be written to %s: %s", m_file.c_str(),
                             std::strerror(errno));
        }
        if (room() < kReserve) {
            arguments.refuse("waves cannot be written to %s: its disk has %llu bytes left",
                             m_file.c_str(), room());
        }
        m_state = State::kWaiting;
        std::signal(SIGUSR1, [](int) { s_signal = 1; });
        m_context.traceEverOn(true);
#else
        arguments.refuse("%s", "this simulation was built without waves");
#endif
    }

    // Before the first evaluation.
    void attach([[maybe_unused]] Vsim &top) {
#if VM_TRACE_FST
        if (m_state == State::kOff) return;
        m_fst = std::make_unique<VerilatedFstC>();
        top.trace(m_fst.get(), 99);
        if (m_by_trigger) {
            std::printf("%s: waves wait for their trigger: kill -USR1 %d\n", m_simulation,
                        static_cast<int>(getpid()));
        }
        if (m_from == 0 && !m_by_trigger) begin(0);
#endif
    }

    // Once a clock, before it begins.
    void clock([[maybe_unused]] unsigned long long clocks, [[maybe_unused]] const Vsim &top) {
#if VM_TRACE_FST
        if (m_state == State::kOff) return;
        if (m_state == State::kWaiting) {
            if (clocks < m_from) return;
            if (m_by_trigger && s_signal == 0 && !waves_triggered(top)) return;
            begin(clocks);
        } else if (clocks - m_begin >= m_length) {
            end();
            std::printf("%s: waves end at clock %llu\n", m_simulation, clocks);
        } else if (clocks % kLook == 0) {
            look(clocks);
        }
#endif
    }

    void dump() {
#if VM_TRACE_FST
        if (m_state != State::kWriting) return;
        s_busy = 1;
        m_fst->dump(m_context.time());
        s_busy = 0;
#endif
    }

    // At the end of the simulation. Whether what was asked for is on the disk.
    bool finish() {
#if VM_TRACE_FST
        if (m_state == State::kWaiting) {
            std::printf("%s: no waves were written: their trigger never came\n", m_simulation);
        }
        if (m_state == State::kWriting) end();
#endif
        return m_whole;
    }

private:
    enum class State { kOff, kWaiting, kWriting };

    // Clocks between two looks at the disk.
    static constexpr unsigned long long kLook = 1ULL << 17;
    // Bytes for the names of all signals, which come at the end.
    static constexpr unsigned long long kReserve = 1ULL << 20;
    // With less than this, and what a look's clocks take, the writer is not even closed: it would
    // abort().
    static constexpr unsigned long long kFull = 1ULL << 16;

    // Bytes that the disk still takes.
    unsigned long long room() const {
        struct statvfs disk {};
        if (statvfs(m_file.c_str(), &disk) != 0) return ~0ULL;
        return static_cast<unsigned long long>(disk.f_bavail) * disk.f_frsize;
    }

#if VM_TRACE_FST
    unsigned long long size() const {
        struct stat file {};
        return stat(m_file.c_str(), &file) == 0 ? static_cast<unsigned long long>(file.st_size) : 0;
    }

    void begin(unsigned long long clocks) {
        // What the writer makes of a full disk is abort().
        std::snprintf(s_last_words, sizeof s_last_words,
                      "%s: waves cannot be written to %s: is its disk full?\n", m_simulation,
                      m_file.c_str());
        std::signal(SIGABRT, on_abort);
        m_fst->open(m_file.c_str());
        m_state = State::kWriting;
        m_begin = clocks;
        std::printf("%s: waves go to %s", m_simulation, m_file.c_str());
        if (clocks != 0) std::printf(" from clock %llu on", clocks);
        std::printf("\n");
    }

    void end() {
        m_state = State::kOff;
        if (room() < kFull + m_growth) {
            // Not destroyed, which would close it.
            [[maybe_unused]] const auto *lost = m_fst.release();
            std::fputs(s_last_words, stderr);
            m_whole = false;
            return;
        }
        s_busy = 1;
        m_fst->close();
        s_busy = 0;
        std::signal(SIGABRT, SIG_DFL);
        // The head of the file is written last: its length, in bytes 1 to 8, is not zero.
        unsigned char head[9] = {};
        std::FILE *file = std::fopen(m_file.c_str(), "rb");
        const bool read = file != nullptr && std::fread(head, 1, sizeof head, file) == sizeof head;
        if (file != nullptr) std::fclose(file);
        if (!read || head[8] + head[7] == 0) {
            std::fputs(s_last_words, stderr);
            m_whole = false;
        }
    }

    // Ends the waves while what they are made of still fits.
    void look(unsigned long long clocks) {
        const unsigned long long now = size();
        const unsigned long long growth = now > m_size ? now - m_size : 0;
        m_size = now;
        if (growth > m_growth) m_growth = growth;
        const unsigned long long left = room();
        if (left < kReserve + 2 * m_growth) {
            std::fprintf(stderr,
                         "%s: the disk of %s has %llu bytes left: the waves end at clock %llu, "
                         "the simulation goes on\n",
                         m_simulation, m_file.c_str(), left, clocks);
            end();
            m_whole = false;
            return;
        }
        // So that a look sees what has become of these clocks.
        m_fst->flush();
    }

    static void on_abort(int) {
        if (s_busy == 0) return;
        [[maybe_unused]] const auto written =
            write(STDERR_FILENO, s_last_words, std::strlen(s_last_words));
        _exit(2);
    }

    std::unique_ptr<VerilatedFstC> m_fst;
    unsigned long long m_begin = 0, m_size = 0, m_growth = 0;
#endif

    static inline volatile std::sig_atomic_t s_signal = 0, s_busy = 0;
    static inline char s_last_words[4352] = "";

    VerilatedContext &m_context;
    const char *m_simulation;
    std::string m_file;
    State m_state = State::kOff;
    unsigned long long m_from = 0, m_length = ~0ULL;
    bool m_by_trigger = false, m_whole = true;
};
