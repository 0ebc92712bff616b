// SPDX-License-Identifier: Apache-2.0
//
// Arguments of a Verilator simulation: those of the main program, those of the bridges, and
// those of the user's RTL, which are not looked at. One that was meant to be ours and is not
// stops the simulation, since nobody else would miss it.

#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

class Plusargs {
public:
    Plusargs(int argc, char **argv, const char *simulation)
        : m_argc{argc}, m_argv{argv}, m_simulation{simulation} {
        for (int i = 1; i < argc; ++i) check(argv[i]);
    }

    // What follows "+name" in the arguments, from the "=" on, or null.
    const char *find(const char *name) const {
        const std::size_t length = std::strlen(name);
        for (int i = 1; i < m_argc; ++i) {
            if (m_argv[i][0] == '+' && std::strncmp(m_argv[i] + 1, name, length) == 0) {
                const char *rest = m_argv[i] + 1 + length;
                if (*rest == '\0' || *rest == '=') return rest;
            }
        }
        return nullptr;
    }

    // A positive number.
    unsigned long long number(const char *name, unsigned long long otherwise) const {
        const char *text = find(name);
        if (text == nullptr) return otherwise;
        unsigned long long value = 0;
        if (!parse(text, 0, value) || value == 0) {
            refuse("+%s%s: a positive number is needed", name, text);
        }
        return value;
    }

    template <typename... Args>
    [[noreturn]] void refuse(const char *format, Args... args) const {
        std::fprintf(stderr, "%s: ", m_simulation);
        std::fprintf(stderr, format, args...);
        std::fputc('\n', stderr);
        std::exit(2);
    }

private:
    struct Known {
        const char *name;
        enum { kFlag, kNumber, kText, kTextOrFlag, kTextByName } takes;
    };
    // The bridges read theirs themselves, and so do not see what is misspelt.
    static constexpr Known kKnown[] = {
        {"max_clocks", Known::kNumber},
        {"max_clocks_per_second", Known::kNumber},
        {"clock_ps", Known::kNumber},
        {"user_clk_ps", Known::kNumber},
        {"waves", Known::kTextOrFlag},
        {"waves_from", Known::kNumber},
        {"waves_clocks", Known::kNumber},
        {"waves_trigger", Known::kFlag},
        {"accelerator_idle", Known::kNumber},
        {"accelerator_board_rules", Known::kNumber},
        {"accelerator_completion_seed", Known::kNumber},
        {"accelerator_shared_memory", Known::kText},
        {"accelerator_faults", Known::kText},
        {"accelerator_record", Known::kText},
        {"accelerator_record_size", Known::kNumber},
        {"accelerator_record_data", Known::kNumber},
        {"accelerator_no_event", Known::kNumber},
        {"accelerator_endpoint", Known::kTextByName},
        {"accelerator_nic_endpoint", Known::kTextByName},
        {"accelerator_uart_endpoint", Known::kTextByName},
    };
    // What begins so is ours. "wave" alone is a slip; "wavelength" may be the user's.
    static constexpr const char *kOurs[] = {"accelerator", "max_clock", "clock_ps", "user_clk_", "waves"};

    static bool parse(const char *text, int base, unsigned long long &value) {
        if (*text != '=' || text[1] == '\0' || text[1] == '-') return false;
        char *end = nullptr;
        value = std::strtoull(text + 1, &end, base);
        return *end == '\0';
    }

    void check(const char *argument) const {
        if (argument[0] != '+') refuse("%s: an argument begins with +", argument);
        const std::string_view whole{argument + 1};
        const std::string_view name = whole.substr(0, whole.find('='));
        const bool has_value = name.size() < whole.size();
        const bool has_text = name.size() + 1 < whole.size();
        bool ours = name == "wave";
        for (const char *prefix : kOurs) ours = ours || name.starts_with(prefix);
        if (!ours) return;
        for (const Known &known : kKnown) {
            const bool by_name = known.takes == Known::kTextByName &&
                                 name.starts_with(std::string{known.name} + "_") &&
                                 name.size() > std::strlen(known.name) + 1;
            if (name != known.name && !by_name) continue;
            unsigned long long value = 0;
            switch (known.takes) {
            case Known::kFlag:
                if (has_value) refuse("%s: it takes no value", argument);
                break;
            case Known::kNumber:
                // What number() reads says more; a bridge reads decimals alone.
                if (name.starts_with("accelerator") && !parse(argument + 1 + name.size(), 10, value)) {
                    refuse("%s: a number is needed", argument);
                }
                break;
            case Known::kText:
            case Known::kTextByName:
                if (!has_text) refuse("%s: a value is needed", argument);
                break;
            case Known::kTextOrFlag: break;
            }
            return;
        }
        std::string names;
        for (const Known &known : kKnown) {
            if (std::strcmp(known.name, "accelerator_no_event") != 0) {
                names += std::string{" +"} + known.name;
            }
        }
        refuse("%s: there is no such argument; there are%s, and +accelerator_..endpoint_NAME",
               argument, names.c_str());
    }

    int m_argc;
    char **m_argv;
    const char *m_simulation;
};
