// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where the capabilities go in the first 256 bytes of configuration space.
//!
//! Those that the simulator wants at a place get it; the others get the first room that is
//! left, in the order of the fields of [`Places`].

use accelerator_protocol::Config;

/// Bytes of the PCI Express capability in its version 2, and of power management and MSI-X.
pub const EXPRESS: usize = 0x3c;
pub const POWER: usize = 8;
pub const MSIX: usize = 12;

/// Bytes of MSI with 64-bit addresses; with mask and pending bits.
pub const fn msi(masking: bool) -> usize {
    if masking {
        24
    } else {
        14
    }
}

/// Double words of the first 256 bytes, and of their header.
const WORDS: u32 = 64;
const HEADER: u64 = (1 << 16) - 1;

/// The place of each capability; 0 if there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    pub express: usize,
    pub power: usize,
    pub msix: usize,
    pub msi: usize,
    /// Those of the simulator, in its order.
    pub others: Vec<usize>,
}

/// Which double words are taken.
struct Taken(u64);

impl Taken {
    fn bits(bytes: usize) -> u64 {
        let words = bytes.div_ceil(4) as u32;
        u64::MAX.checked_shr(WORDS - words.min(WORDS)).unwrap_or(0)
    }

    /// Takes the place `at`.
    fn take(&mut self, what: &str, at: usize, bytes: usize) -> Result<usize, String> {
        let fits = at % 4 == 0 && at + bytes <= 4 * WORDS as usize;
        let bits = if fits {
            Self::bits(bytes) << (at / 4)
        } else {
            0
        };
        if bits == 0 || self.0 & bits != 0 {
            return Err(format!(
                "the {what} capability of {bytes} bytes does not fit at {at:#x}"
            ));
        }
        self.0 |= bits;
        Ok(at)
    }

    /// Takes the first place that is free.
    fn find(&mut self, what: &str, bytes: usize) -> Result<usize, String> {
        let free = (0..4 * WORDS as usize)
            .step_by(4)
            .find(|&at| self.take(what, at, bytes).is_ok());
        free.ok_or_else(|| {
            format!("there is no room left for the {what} capability of {bytes} bytes")
        })
    }
}

impl Places {
    /// Of the capabilities of a configuration.
    ///
    /// # Errors
    ///
    /// Which capability does not fit.
    pub fn new(config: &Config) -> Result<Self, String> {
        let mut taken = Taken(HEADER);
        let mut others = vec![0; config.capabilities.len()];
        let named = |i: usize| format!("capabilities[{i}] ({:#04x})", config.capabilities[i].id);
        for (i, c) in config.capabilities.iter().enumerate() {
            if c.offset != 0 {
                others[i] = taken.take(&named(i), c.offset.into(), c.body.len() + 2)?;
            }
        }
        let express = taken.find("PCI Express", EXPRESS)?;
        let power = taken.find("power management", POWER)?;
        let msix = match config.msix {
            Some(_) => taken.find("MSI-X", MSIX)?,
            None => 0,
        };
        let msi = match config.msi {
            Some(m) => taken.find("MSI", msi(m.masking))?,
            None => 0,
        };
        for (i, c) in config.capabilities.iter().enumerate() {
            if c.offset == 0 {
                others[i] = taken.find(&named(i), c.body.len() + 2)?;
            }
        }
        Ok(Self {
            express,
            power,
            msix,
            msi,
            others,
        })
    }
}

#[cfg(test)]
mod tests {
    use accelerator_protocol::{Capability, Msi, Msix};

    use super::*;

    fn card(others: &[(u8, usize)]) -> Config {
        Config {
            msix: Some(Msix {
                vectors: 1,
                table_bar: 0,
                pba_bar: 0,
                table_offset: 0,
                pba_offset: 0x800,
                in_rtl: false,
            }),
            msi: Some(Msi {
                vectors: 4,
                masking: true,
            }),
            capabilities: others
                .iter()
                .map(|&(offset, bytes)| Capability {
                    id: 9,
                    offset,
                    body: vec![0; bytes - 2],
                })
                .collect(),
            ..Config::default()
        }
    }

    #[test]
    fn the_usual_places() {
        let places = Places::new(&card(&[(0, 7)])).unwrap();
        assert_eq!((places.express, places.power), (0x40, 0x7c));
        assert_eq!((places.msix, places.msi), (0x84, 0x90));
        assert_eq!(places.others, [0xa8]);
    }

    #[test]
    fn nothing_overlaps_wherever_the_simulator_has_its_own() {
        for offset in (0x40..=0xf0).step_by(4) {
            let places = Places::new(&card(&[(0, 3), (offset, 16), (0, 8)])).unwrap();
            assert_eq!(places.others[1], offset.into());
            let mut all = [
                (places.express, EXPRESS),
                (places.power, POWER),
                (places.msix, MSIX),
                (places.msi, msi(true)),
                (places.others[0], 3),
                (places.others[1], 16),
                (places.others[2], 8),
            ];
            all.sort_unstable();
            assert!(all[0].0 >= 0x40);
            assert!(all.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0), "{all:?}");
            assert!(all[6].0 + all[6].1 <= 0x100);
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (others, part) in [
            (&[(0x40, 0xc0)][..], "PCI Express"),
            (&[(0, 0x60)], "capabilities[0] (0x09)"),
            (&[(0x80, 16), (0x84, 4)], "capabilities[1] (0x09)"),
            (&[(0xf0, 0x20)], "0xf0"),
        ] {
            let text = Places::new(&card(others)).unwrap_err();
            assert!(text.contains(part), "{text}");
        }
    }
}
