// SPDX-License-Identifier: Apache-2.0
//
// The clock of a design that has one beside aclk: the top's input user_clk, if there is one.
//
//   +user_clk_ps=N   its period; 3001 unless given, which has nothing to do with that of aclk

#pragma once

#include "plusargs.h"
#include "verilated.h"
#include "waves.h"

template <typename Top>
class UserClock {
    static constexpr bool kThere = requires(Top &top) { top.user_clk; };

public:
    explicit UserClock(const Plusargs &arguments) {
        m_period = arguments.number("user_clk_ps", 3001);
        if constexpr (!kThere) {
            if (arguments.find("user_clk_ps") != nullptr) {
                arguments.refuse("%s", "+user_clk_ps is for a top module with the input user_clk");
            }
        }
        if (m_period < 2) arguments.refuse("%s", "+user_clk_ps: at least 2 is needed");
        m_left = m_period / 2;
    }

    // Lets so many picoseconds go by, with the edges of user_clk in them. One at their very end comes
    // with what the caller does then, in one evaluation.
    void advance(VerilatedContext &context, Top &top, Waves &waves, unsigned long long ps) {
        if constexpr (kThere) {
            while (m_left < ps) {
                context.timeInc(m_left);
                ps -= m_left;
                toggle(top);
                top.eval();
                waves.dump();
            }
            m_left -= ps;
            if (m_left == 0) toggle(top);
        }
        context.timeInc(ps);
    }

private:
    void toggle(Top &top) {
        if constexpr (kThere) {
            m_high = !m_high;
            top.user_clk = m_high;
            m_left = m_high ? m_period - m_period / 2 : m_period / 2;
        }
    }

    unsigned long long m_period = 0, m_left = 0;
    bool m_high = false;
};
