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
//! volatile = true   # for a replay: it is read again until it has the value of the record
//! ignore = 0xff00   # for a replay: bits that may differ; true for all of them
//! ```

use std::path::Path;

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
    #[serde(default)]
    volatile: bool,
    #[serde(default)]
    ignore: Ignore,
}

/// Bits that a replay does not compare.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
enum Ignore {
    All(bool),
    Bits(u64),
}

impl Default for Ignore {
    fn default() -> Self {
        Self::All(false)
    }
}

impl Ignore {
    /// Of a byte of the register.
    const fn bits(self, byte: u64) -> u8 {
        match self {
            Self::All(false) => 0,
            Self::All(true) => 0xff,
            Self::Bits(_) if byte >= 8 => 0,
            Self::Bits(bits) => (bits >> (8 * byte)) as u8,
        }
    }
}

const fn four() -> u64 {
    4
}

/// All of them, by BAR and offset.
#[derive(Clone, Debug, Default)]
pub struct Registers(Vec<Register>);

impl Registers {
    /// Of a file.
    ///
    /// # Errors
    ///
    /// A text that says which file, and what is wrong with it.
    pub fn read(file: &str) -> Result<Self, String> {
        let parsed = if Path::new(file)
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("rdl"))
        {
            Err(format!(
                "SystemRDL becomes such a file by: python -m accelerator_cosim registers {file}"
            ))
        } else {
            std::fs::read_to_string(file)
                .map_err(|e| e.to_string())
                .and_then(|text| Self::parse(&text))
        };
        parsed.map_err(|e| format!("{file}: {e}"))
    }

    /// Of the text of a file.
    ///
    /// # Errors
    ///
    /// A text that says where it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let File { register } = toml::from_str(text).map_err(|e| e.to_string())?;
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
        let mut all = Self(register);
        all.sort();
        for pair in all.0.windows(2) {
            let (a, b) = (&pair[0], &pair[1]);
            if a.source == b.source && a.bar == b.bar && a.offset + a.width > b.offset {
                return Err(format!(
                    "registers {:?} and {:?} overlap at offset {:#x} of BAR {}",
                    a.name, b.name, b.offset, b.bar
                ));
            }
        }
        Ok(all)
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

    fn at(&self, source: &str, bar: u8, offset: u64) -> Option<&Register> {
        self.find(Some(source), bar, offset)
            .or_else(|| self.find(None, bar, offset))
    }

    /// Those that a user calls so, by a name or `BAR<n>+<offset>`; the latter of 4 bytes where no
    /// register is there. With what `change` does to each.
    fn change(&mut self, name: &str, change: impl Fn(&mut Register)) -> Result<(), String> {
        let mut any = false;
        for register in self.0.iter_mut().filter(|r| r.name == name) {
            change(register);
            any = true;
        }
        if any {
            return Ok(());
        }
        let unknown = || format!("no register is called {name}");
        let (bar, offset) = name
            .strip_prefix("BAR")
            .and_then(|rest| rest.split_once('+'))
            .ok_or_else(unknown)?;
        let bar = bar.parse().map_err(|_| unknown())?;
        let offset = offset.strip_prefix("0x").ok_or_else(unknown)?;
        let offset = u64::from_str_radix(offset, 16).map_err(|_| unknown())?;
        if bar > 5 || offset.checked_add(four()).is_none() {
            return Err(unknown());
        }
        if let Some(register) = self
            .0
            .iter()
            .find(|r| r.bar == bar && r.offset < offset + four() && offset < r.offset + r.width)
        {
            return Err(format!("{name} is register {}", register.name));
        }
        let mut register = Register {
            bar,
            offset,
            width: four(),
            name: name.to_owned(),
            source: None,
            volatile: false,
            ignore: Ignore::default(),
        };
        change(&mut register);
        self.0.push(register);
        self.sort();
        Ok(())
    }

    fn sort(&mut self) {
        self.0
            .sort_by(|a, b| (&a.source, a.bar, a.offset).cmp(&(&b.source, b.bar, b.offset)));
    }

    /// A replay reads it again until it has the value of the record.
    ///
    /// # Errors
    ///
    /// There is none with that name.
    pub fn set_volatile(&mut self, name: &str) -> Result<(), String> {
        self.change(name, |r| r.volatile = true)
    }

    /// A replay does not compare these bits, or any.
    ///
    /// # Errors
    ///
    /// There is none with that name.
    pub fn set_ignored(&mut self, name: &str, bits: Option<u64>) -> Result<(), String> {
        self.change(name, |r| {
            r.ignore = bits.map_or(Ignore::All(true), Ignore::Bits);
        })
    }

    /// Whether a replay reads what is there again until it has the value of the record.
    pub fn is_volatile(&self, source: &str, bar: u8, offset: u64, len: u8) -> bool {
        (0..u64::from(len)).any(|byte| {
            self.at(source, bar, offset + byte)
                .is_some_and(|r| r.volatile)
        })
    }

    /// Bits of what is read there that a replay does not compare.
    pub fn ignored(&self, source: &str, bar: u8, offset: u64, len: u8) -> u64 {
        (0..u64::from(len.min(8))).rev().fold(0, |bits, byte| {
            let at = offset + byte;
            let of_byte = self
                .at(source, bar, at)
                .map_or(0, |r| r.ignore.bits(at - r.offset));
            bits << 8 | u64::from(of_byte)
        })
    }

    /// What is at an offset of a BAR: a register's name, with what the offset is beyond its
    /// first byte, or the numbers.
    pub fn name(&self, source: &str, bar: u8, offset: u64) -> String {
        match self.at(source, bar, offset) {
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
    fn what_a_replay_does_not_compare() {
        let mut registers = Registers::parse(
            "[[register]]\nbar = 0\noffset = 0\nname = 'A'\nignore = 0xff00\n\
             [[register]]\nbar = 0\noffset = 4\nname = 'B'\nignore = true\n\
             [[register]]\nbar = 0\noffset = 8\nwidth = 8\nname = 'C'\nvolatile = true\n",
        )
        .unwrap();
        for (offset, len, bits) in [
            (0, 4, 0xff00),
            (1, 1, 0xff),
            (0, 8, 0xffff_ffff_0000_ff00),
            (8, 8, 0),
            (64, 4, 0),
        ] {
            assert_eq!(registers.ignored("s", 0, offset, len), bits, "{offset}");
        }
        assert!(!registers.is_volatile("s", 0, 4, 4) && registers.is_volatile("s", 0, 4, 8));
        registers.set_ignored("C", Some(1)).unwrap();
        registers.set_volatile("BAR2+0x10").unwrap();
        assert_eq!(registers.ignored("s", 0, 8, 8), 1);
        assert!(registers.is_volatile("s", 2, 0x10, 4) && !registers.is_volatile("s", 2, 0x14, 4));
        for name in ["D", "BAR0", "BAR6+0x0", "BAR0+4", "BAR0+0x4"] {
            registers.set_volatile(name).unwrap_err();
        }
    }

    #[test]
    fn a_file_says_which_it_is() {
        let e = Registers::read("none/card.toml").unwrap_err();
        assert!(e.starts_with("none/card.toml: No such file"), "{e}");
        let e = Registers::read("none/card.RDL").unwrap_err();
        assert!(
            e.ends_with("accelerator_cosim registers none/card.RDL"),
            "{e}"
        );
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
