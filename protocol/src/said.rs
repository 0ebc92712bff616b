// SPDX-License-Identifier: MIT OR Apache-2.0

//! Text that the other side has written.
//!
//! Any UTF-8 may be in it: line ends, with which it could write lines of its own
//! into a log, and sequences that a terminal obeys. Whoever shows it shows it as
//! one line of printable characters, which is the only way that [`Said`] offers
//! to format it.

use std::fmt::{self, Write};

/// Text of the other side.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Said<'a>(&'a str);

impl<'a> Said<'a> {
    /// Wraps what came in a frame.
    pub const fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// The text as it came, to compare it or to pass it on; not to be shown.
    pub const fn raw(self) -> &'a str {
        self.0
    }

    /// Whether nothing was said.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Said<'_> {
    /// What is not printable is escaped as in Rust's literals, and so is the
    /// backslash, so that the text can be told from one that holds the escape.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '"' | '\'' => f.write_char(c)?,
                c => write!(f, "{}", c.escape_debug())?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_one_printable_line() {
        for (text, shown) in [
            ("plain, with \"quotes\" and 'those'", None),
            ("Straße 5 µs → 端", None),
            ("a\nb\r\tc\0", Some(r"a\nb\r\tc\0")),
            ("\x1b[31mred\x07", Some(r"\u{1b}[31mred\u{7}")),
            // One byte in Latin 1, and a terminal may still obey it.
            ("\u{9b}2J", Some(r"\u{9b}2J")),
            ("\u{202e}txt.exe\u{2028}", Some(r"\u{202e}txt.exe\u{2028}")),
            (r"C:\n", Some(r"C:\\n")),
        ] {
            let said = Said::new(text);
            assert_eq!(said.to_string(), shown.unwrap_or(text));
            assert_eq!(said.raw(), text);
            assert_eq!(format!("{said:?}"), format!("\"{said}\""));
        }
        for c in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let shown = Said::new(&c.to_string()).to_string();
            assert!(!shown.contains(char::is_control), "{c:?}");
        }
        assert!(Said::default().is_empty() && !Said::new(" ").is_empty());
    }
}
