// SPDX-License-Identifier: MIT OR Apache-2.0

//! Names of registers, from a TOML file of the user's:
//!
//! ```toml
//! [[register]]
//! bar = 0
//! offset = 0x2c
//! width = 4         # bytes; 4 if it is not there
//! name = "TAIL"
//! source = "sort"   # of this bridge only, by its parameter Name; of all if it is not there
//! ```

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    register: Vec<Register>,
}

/// One of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Register {
    bar: u8,
    offset: u64,
    #[serde(default = "four")]
    width: u64,
    name: String,
    source: Option<String>,
}

const fn four() -> u64 {
    4
}

/// All of them, by BAR and offset.
#[derive(Clone, Debug, Default)]
pub struct Registers(Vec<Register>);

impl Registers {
    /// Of the text of a file.
    ///
    /// # Errors
    ///
    /// A text that says where it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let File { mut register } = toml::from_str(text).map_err(|e| e.to_string())?;
        for r in &register {
            if r.bar > 5 {
                return Err(format!(
                    "register {:?} has bar = {}, expected 0 to 5",
                    r.name, r.bar
                ));
            }
            if r.width == 0 || r.offset.checked_add(r.width).is_none() {
                return Err(format!(
                    "register {:?} has width = {}, expected bytes from 1 on that end in the BAR",
                    r.name, r.width
                ));
            }
        }
        register.sort_by(|a, b| (&a.source, a.bar, a.offset).cmp(&(&b.source, b.bar, b.offset)));
        for pair in register.windows(2) {
            let (a, b) = (&pair[0], &pair[1]);
            if a.source == b.source && a.bar == b.bar && a.offset + a.width > b.offset {
                return Err(format!(
                    "registers {:?} and {:?} overlap at offset {:#x} of BAR {}",
                    a.name, b.name, b.offset, b.bar
                ));
            }
        }
        Ok(Self(register))
    }

    fn find(&self, source: Option<&str>, bar: u8, offset: u64) -> Option<&Register> {
        let key = (source, bar, offset);
        let after = self
            .0
            .partition_point(|r| (r.source.as_deref(), r.bar, r.offset) <= key);
        let r = self.0.get(after.checked_sub(1)?)?;
        let there = r.source.as_deref() == source && r.bar == bar && offset - r.offset < r.width;
        there.then_some(r)
    }

    /// What is at an offset of a BAR: a register's name, with what the offset is beyond its
    /// first byte, or the numbers.
    pub fn name(&self, source: &str, bar: u8, offset: u64) -> String {
        let found = self
            .find(Some(source), bar, offset)
            .or_else(|| self.find(None, bar, offset));
        match found {
            None => format!("BAR{bar}+{offset:#x}"),
            Some(r) if r.offset == offset => r.name.clone(),
            Some(r) => format!("{}+{}", r.name, offset - r.offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found() {
        let registers = Registers::parse(
            "[[register]]\nbar = 0\noffset = 0x2c\nname = 'TAIL'\n\
             [[register]]\nbar = 0\noffset = 0x40\nwidth = 8\nname = 'COUNT'\n\
             [[register]]\nbar = 0\noffset = 0x2c\nname = 'OTHER'\nsource = 'right'\n",
        )
        .unwrap();
        for (source, bar, offset, name) in [
            ("left", 0, 0x2c, "TAIL"),
            ("left", 0, 0x2f, "TAIL+3"),
            ("left", 0, 0x30, "BAR0+0x30"),
            ("left", 0, 0x28, "BAR0+0x28"),
            ("left", 2, 0x2c, "BAR2+0x2c"),
            ("right", 0, 0x2c, "OTHER"),
            ("right", 0, 0x47, "COUNT+7"),
        ] {
            assert_eq!(registers.name(source, bar, offset), name);
        }
    }

    #[test]
    fn files_that_are_none_are_refused() {
        for (text, expected) in [
            ("register = 1", "expected"),
            ("[[register]]\nbar = 0\noffset = 0", "missing field `name`"),
            (
                "[[register]]\nbar = 6\noffset = 0\nname = 'A'",
                "\"A\" has bar = 6, expected 0 to 5",
            ),
            (
                "[[register]]\nbar = 0\noffset = 0\nwidth = 0\nname = 'A'",
                "\"A\" has width = 0",
            ),
            (
                "[[register]]\nbar = 0\noffset = 0\nname = 'A'\n\
                 [[register]]\nbar = 0\noffset = 3\nname = 'B'",
                "\"A\" and \"B\" overlap at offset 0x3",
            ),
            (
                "[[register]]\nbar = 0\noffset = 0\nname = 'A'\nwdth = 3",
                "unknown field `wdth`",
            ),
        ] {
            let e = Registers::parse(text).unwrap_err();
            assert!(e.contains(expected), "{e}");
        }
    }
}
