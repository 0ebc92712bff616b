// SPDX-License-Identifier: MIT OR Apache-2.0

//! A logger for standard error, for simulators that have none of their own.

use std::{
    io::Write,
    sync::Once,
    time::{SystemTime, UNIX_EPOCH},
};

use log::{LevelFilter, Log, Metadata, Record};

/// Name of the environment variable with the level.
pub const LEVEL_VARIABLE: &str = "ACCELERATOR_LOG_LEVEL";

/// Level when the variable is not set: the link's comings and goings are
/// shown, transactions are not.
pub const DEFAULT_LEVEL: LevelFilter = LevelFilter::Info;

struct Stderr;

static STDERR: Stderr = Stderr;
static SET_UP: Once = Once::new();

/// Date and time of day, UTC, of seconds since 1970. Proleptic Gregorian
/// calendar by era of 400 years.
fn civil(seconds: u64) -> (u64, u64, u64, u64, u64, u64) {
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Counted from March, so that the leap day comes last.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let of_day = seconds % 86_400;
    (
        year_of_era + era * 400 + carry,
        month,
        day,
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60,
    )
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let (year, month, day, hour, minute, second) = civil(now.as_secs());
        // One write, so that lines of several threads do not mix. That nobody
        // listens is no reason to stop a simulation.
        let line = format!(
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z {:5} {}: {}\n",
            now.subsec_micros(),
            record.level(),
            record.target(),
            record.args()
        );
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// The level that a value of the variable asks for.
///
/// # Errors
///
/// A text that names the value.
pub fn parse_level(value: Option<&str>) -> Result<LevelFilter, String> {
    match value.map(str::trim) {
        None | Some("") => Ok(DEFAULT_LEVEL),
        Some(text) => text.parse().map_err(|_| {
            format!(
                "{LEVEL_VARIABLE} is {text:?}, expected off, error, warn, info, debug or trace; \
                 {} is used",
                DEFAULT_LEVEL.as_str().to_ascii_lowercase()
            )
        }),
    }
}

/// Sets up the logger and its level from the environment, once. A program that
/// has set a logger of its own keeps it, and its level.
pub fn set_up() {
    SET_UP.call_once(|| {
        let value = std::env::var(LEVEL_VARIABLE).ok();
        if log::set_logger(&STDERR).is_err() {
            return;
        }
        match parse_level(value.as_deref()) {
            Ok(level) => log::set_max_level(level),
            Err(text) => {
                log::set_max_level(DEFAULT_LEVEL);
                log::warn!(target: "accelerator", "{text}");
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(civil(0), (1970, 1, 1, 0, 0, 0));
        assert_eq!(civil(951_782_399), (2000, 2, 28, 23, 59, 59));
        assert_eq!(civil(951_782_400), (2000, 2, 29, 0, 0, 0));
        assert_eq!(civil(1_709_251_199), (2024, 2, 29, 23, 59, 59));
        assert_eq!(civil(4_107_542_400), (2100, 3, 1, 0, 0, 0));
        assert_eq!(civil(1_798_761_599), (2026, 12, 31, 23, 59, 59));
    }

    #[test]
    fn levels() {
        assert_eq!(parse_level(None), Ok(LevelFilter::Info));
        assert_eq!(parse_level(Some("")), Ok(LevelFilter::Info));
        assert_eq!(parse_level(Some("off")), Ok(LevelFilter::Off));
        assert_eq!(parse_level(Some(" Trace ")), Ok(LevelFilter::Trace));
        let text = parse_level(Some("loud")).unwrap_err();
        assert!(
            text.contains("\"loud\"") && text.contains("trace"),
            "{text}"
        );
    }
}
