// SPDX-License-Identifier: GPL-2.0-or-later

//! Log lines on standard error, as `ACCELERATOR_LOG_LEVEL` asks for.
//!
//! QEMU has no logging by level of its own; the `log` facade keeps the callers
//! free of the question where lines go.

use std::{io::Write, time::SystemTime};

use log::{LevelFilter, Log, Metadata, Record};
use once_cell::sync::Lazy;

/// Environment variable with the level.
pub const LEVEL_VARIABLE: &str = "ACCELERATOR_LOG_LEVEL";

/// Level without the variable: what a user has to know.
const DEFAULT: LevelFilter = LevelFilter::Warn;

struct Stderr;

static INSTALLED: Lazy<Option<String>> = Lazy::new(|| {
    let value = std::env::var(LEVEL_VARIABLE).unwrap_or_default();
    let level = parse(&value);
    // Somebody else's logger is as good: then the lines go there.
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(level.unwrap_or(DEFAULT));
    }
    level.is_none().then_some(value)
});

/// Installs the logger, once per process.
pub fn install() {
    if let Some(value) = &*INSTALLED {
        static TOLD: Lazy<()> = Lazy::new(|| ());
        if Lazy::get(&TOLD).is_none() {
            Lazy::force(&TOLD);
            log::warn!(
                "{LEVEL_VARIABLE} is {value:?}, expected off, error, warn, info, debug or trace"
            );
        }
    }
}

/// The level that a value of the variable stands for; empty is the default.
fn parse(value: &str) -> Option<LevelFilter> {
    if value.is_empty() {
        Some(DEFAULT)
    } else {
        value.trim().parse().ok()
    }
}

/// Time of day in UTC with microseconds.
fn time_of_day(now: SystemTime) -> String {
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = since.as_secs() % 86_400;
    format!(
        "{:02}:{:02}:{:02}.{:06}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        since.subsec_micros()
    )
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format!(
                "{} {:5} accelerator-pcie {}\n",
                time_of_day(SystemTime::now()),
                record.level(),
                record.args()
            );
            // One write a line, so that lines of several threads do not mix.
            // There is nowhere to report that standard error is closed.
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        assert_eq!(parse(""), Some(DEFAULT));
        assert_eq!(parse("off"), Some(LevelFilter::Off));
        assert_eq!(parse("TRACE"), Some(LevelFilter::Trace));
        assert_eq!(parse("loud"), None);
    }

    #[test]
    fn times() {
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_micros(90_061_000_042);
        assert_eq!(time_of_day(time), "01:01:01.000042");
    }
}
