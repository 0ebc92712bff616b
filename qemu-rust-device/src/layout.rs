// SPDX-License-Identifier: GPL-2.0-or-later

//! Where the capabilities go in the first 256 bytes of config space.
//!
//! QEMU finds a place for a capability by itself, but takes it for a defect of
//! the device, and ends, if there is none. How much is to be placed is for the
//! simulator to say, so it is found out before.

use accelerator_protocol::{Capability, Config};

/// Where capabilities may begin (PCIe base spec, Type 0 Configuration Space
/// Header), and where they end.
const BEGIN: usize = 0x40;
const END: usize = 0x100;

/// Bytes of the PCI Express capability, version 2.
const EXPRESS: usize = 0x3c;
/// Bytes of the power management capability.
const POWER_MANAGEMENT: usize = 8;
/// Bytes of the MSI-X capability.
const MSIX: usize = 12;
/// Bytes of the MSI capability with a 64-bit address, and of the same with mask and pending
/// bits.
const MSI: usize = 14;
const MSI_MASKING: usize = 24;

/// A place for each capability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// PCI Express.
    pub express: u8,
    /// Power management.
    pub power_management: u8,
    /// MSI-X, 0 if the function has none.
    pub msix: u8,
    /// MSI, 0 if the function has none.
    pub msi: u8,
    /// Those of the simulator, in their order.
    pub others: Vec<u8>,
}

struct Space([bool; END]);

impl Space {
    fn take(&mut self, what: &str, place: usize, size: usize) -> Result<u8, String> {
        let end = place + size;
        match self.0.get_mut(place..end.next_multiple_of(4)) {
            Some(bytes) if !bytes.contains(&true) => bytes.fill(true),
            _ => {
                return Err(format!(
                    "the {what} capability of {size} bytes does not fit at {place:#04x}"
                ))
            }
        }
        // Less than `END`.
        Ok(place as u8)
    }

    fn find(&mut self, what: &str, size: usize) -> Result<u8, String> {
        let size = size.next_multiple_of(4);
        (BEGIN..=END.saturating_sub(size))
            .step_by(4)
            .find(|&at| !self.0[at..at + size].contains(&true))
            .map_or_else(
                || {
                    Err(format!(
                        "there is no room left for the {what} capability of {size} bytes between \
                         {BEGIN:#04x} and {END:#05x}"
                    ))
                },
                |at| self.take(what, at, size),
            )
    }
}

impl Layout {
    /// Places what has a place of its own first, then what QEMU provides, then
    /// the rest.
    ///
    /// # Errors
    ///
    /// Which capability does not fit.
    pub fn new(config: &Config) -> Result<Self, String> {
        let capabilities = &config.capabilities;
        let mut space = Space([false; END]);
        let mut others = vec![0; capabilities.len()];
        let size = |c: &Capability| c.body.len() + 2;
        let name = |i: usize, c: &Capability| format!("capabilities[{i}] ({:#04x})", c.id);
        for (i, c) in capabilities.iter().enumerate() {
            if c.offset != 0 {
                others[i] = space.take(&name(i, c), c.offset.into(), size(c))?;
            }
        }
        let express = space.find("PCI Express", EXPRESS)?;
        let power_management = space.find("power management", POWER_MANAGEMENT)?;
        let msix = match config.msix {
            Some(_) => space.find("MSI-X", MSIX)?,
            None => 0,
        };
        let msi = match config.msi {
            Some(msi) if msi.masking => space.find("MSI", MSI_MASKING)?,
            Some(_) => space.find("MSI", MSI)?,
            None => 0,
        };
        for (i, c) in capabilities.iter().enumerate() {
            if c.offset == 0 {
                others[i] = space.find(&name(i, c), size(c))?;
            }
        }
        Ok(Self {
            express,
            power_management,
            msix,
            msi,
            others,
        })
    }
}

#[cfg(test)]
mod tests {
    use accelerator_protocol::{Msi, Msix};

    use super::*;

    fn capability(offset: u8, bytes: usize) -> Capability {
        Capability {
            id: 9,
            offset,
            body: vec![0; bytes - 2],
        }
    }

    /// A card with these capabilities and MSI-X; MSI with or without masking, if so.
    fn card(capabilities: &[Capability], msi: Option<bool>) -> Config {
        Config {
            msix: Some(Msix {
                vectors: 1,
                table_bar: 0,
                pba_bar: 0,
                table_offset: 0,
                pba_offset: 0x800,
                in_rtl: false,
            }),
            msi: msi.map(|masking| Msi {
                vectors: 1,
                masking,
            }),
            capabilities: capabilities.to_vec(),
            ..Config::default()
        }
    }

    #[test]
    fn qemu_has_its_usual_places() {
        for msi in [None, Some(false), Some(true)] {
            let mut config = card(&[], msi);
            let layout = Layout::new(&config).unwrap();
            assert_eq!((layout.express, layout.power_management), (0x40, 0x7c));
            assert_eq!(layout.msix, 0x84);
            assert_eq!(layout.msi, if msi.is_some() { 0x90 } else { 0 });
            config.msix = None;
            let layout = Layout::new(&config).unwrap();
            assert_eq!(layout.msix, 0);
            assert_eq!(layout.msi, if msi.is_some() { 0x84 } else { 0 });
        }
    }

    #[test]
    fn a_place_that_is_asked_for_is_given() {
        for offset in (0x40..=0xf0).step_by(4) {
            let all = [capability(0, 3), capability(offset, 16), capability(0, 8)];
            let layout = Layout::new(&card(&all, Some(true))).unwrap();
            assert_eq!(layout.others[1], offset);
            let mut used = [
                (layout.express, EXPRESS),
                (layout.power_management, POWER_MANAGEMENT),
                (layout.msix, MSIX),
                (layout.msi, MSI_MASKING),
                (layout.others[0], 4),
                (offset, 16),
                (layout.others[2], 8),
            ];
            used.sort_unstable();
            for pair in used.windows(2) {
                assert!(usize::from(pair[0].0) + pair[0].1 <= pair[1].0.into());
            }
            assert!(used[0].0 >= 0x40);
        }
    }

    #[test]
    fn no_more_than_there_is_room_for() {
        // 0x40 to 0x90 are QEMU's own.
        let all = vec![capability(0, 0x10); 7];
        assert!(Layout::new(&card(&all, None)).is_ok());
        let text = Layout::new(&card(&all, Some(false))).unwrap_err();
        assert!(text.contains("capabilities[6] (0x09)"), "{text}");
        let all = vec![capability(0, 0x10); 8];
        let text = Layout::new(&card(&all, None)).unwrap_err();
        assert!(text.contains("capabilities[7] (0x09)"), "{text}");
        // Those with a place leave none for QEMU's.
        let text = Layout::new(&card(&[capability(0x60, 0xa0)], None)).unwrap_err();
        assert!(text.contains("PCI Express"), "{text}");
        let text = Layout::new(&card(&[capability(0x40, 0xc0)], None)).unwrap_err();
        assert!(text.contains("PCI Express"), "{text}");
        // Rounded up to whole words.
        let all = [capability(0x80, 5), capability(0x84, 4)];
        let text = Layout::new(&card(&all, None)).unwrap_err();
        assert!(text.contains("capabilities[1] (0x09)"), "{text}");
    }
}
