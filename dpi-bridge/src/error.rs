// SPDX-License-Identifier: MIT OR Apache-2.0

//! Errors as the C side sees them: a number and a text.

use std::{borrow::Cow, fmt};

/// What kind of error; the number that a call returns is the negated value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// An argument is wrong.
    Invalid = 1,
    /// Not now; the same call can succeed later.
    Again = 2,
    /// The link is down.
    Link = 3,
    /// The call may not come now.
    State = 4,
    /// The operating system or ZeroMQ refused something.
    Io = 5,
    /// The library itself is broken.
    Panic = 6,
    /// The function was configured without that ability.
    NotSupported = 7,
}

/// An error of one call. Cheap to make where it is part of normal operation:
/// back-pressure carries a constant text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// For the program.
    pub code: Code,
    /// For the person; names the values.
    pub text: Cow<'static, str>,
}

/// Result of what a call does.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with this code and text.
    pub fn new(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    /// An error with this code and text, not copied if it is constant.
    pub fn formatted(code: Code, text: fmt::Arguments<'_>) -> Self {
        match text.as_str() {
            Some(text) => Self::new(code, text),
            None => Self::new(code, text.to_string()),
        }
    }

    /// The value that a call with an `int` result returns.
    pub const fn returned(&self) -> i32 {
        -(self.code as i32)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

/// Returns early with an error of `Code::$code` and a formatted text, which is
/// not copied if it is constant.
macro_rules! fail {
    ($code:ident, $($arg:tt)+) => {
        return Err($crate::error::Error::formatted(
            $crate::error::Code::$code,
            format_args!($($arg)+),
        ))
    };
}
pub(crate) use fail;

/// A value that has to lie in a range, with a name for the message.
///
/// # Errors
///
/// `Code::Invalid` with the name, the value and the range.
pub fn within(name: &str, value: i32, min: i32, max: i32) -> Result<i32> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        fail!(
            Invalid,
            "{name} is {value} ({value:#x}), expected {min} to {max:#x}"
        )
    }
}
