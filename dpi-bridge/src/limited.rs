// SPDX-License-Identifier: MIT OR Apache-2.0

//! Log lines that others can cause, under [`accelerator_protocol::limit`].

/// Logs at `$level` for `$target` what follows, unless the `Limit` in `$limit`
/// has had enough of it.
macro_rules! limited {
    ($limit:expr, $level:ident, $target:expr, $format:literal $($arg:tt)*) => {
        if log::log_enabled!(target: $target, crate::limited::level!($level)) {
            if let Some(note) = $limit.admit(std::time::Instant::now()) {
                log::$level!(target: $target, "{}{note}", format_args!($format $($arg)*));
            }
        }
    };
}
pub(crate) use limited;

/// The level that a macro of the crate `log` logs at.
macro_rules! level {
    (error) => {
        log::Level::Error
    };
    (warn) => {
        log::Level::Warn
    };
    (info) => {
        log::Level::Info
    };
    (debug) => {
        log::Level::Debug
    };
}
pub(crate) use level;
