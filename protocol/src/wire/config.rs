// SPDX-License-Identifier: MIT OR Apache-2.0

//! How a configuration lies in a CONFIG.

use super::{
    error::{field, WireError},
    layout::{Codec, Field, Reader, Zero},
};
use crate::config::{Bar, Capability, Config, Msi, Msix, MAX_CAPABILITIES};

const FLAG_MSIX: u32 = 1;
const FLAG_MSI: u32 = 2;
const FLAG_MSIX_IN_RTL: u32 = 4;
const MSI_MASKING: u8 = 1;
const BAR_64BIT: u32 = 1;
const BAR_PREFETCHABLE: u32 = 2;

/// MSI, if the function has it.
fn get_msi(r: &mut Reader<'_>, there: bool) -> Result<Option<Msi>, WireError> {
    let (vectors, flags) = (u8::get(r)?, u8::get(r)?);
    if there {
        if flags & !MSI_MASKING != 0 {
            return Err(field("MSI flags", flags, "0 or 1"));
        }
        let masking = flags & MSI_MASKING != 0;
        return Ok(Some(Msi { vectors, masking }));
    }
    for (name, value) in [("msi.vectors", vectors), ("MSI flags", flags)] {
        if value != 0 {
            return Err(field(name, value, "0 without MSI"));
        }
    }
    Ok(None)
}

impl Field<'_> for Config {
    fn get(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut config = Self {
            vendor: u16::get(r)?,
            device: u16::get(r)?,
            subsystem_vendor: u16::get(r)?,
            subsystem: u16::get(r)?,
            class: u32::get(r)?,
            revision: u8::get(r)?,
            intx_pin: u8::get(r)?,
            link_speed: u8::get(r)?,
            link_width: u8::get(r)?,
            ..Self::default()
        };
        let flags = u32::get(r)?;
        if flags & !(FLAG_MSIX | FLAG_MSI | FLAG_MSIX_IN_RTL) != 0 {
            return Err(field("CONFIG flags", flags, "0 to 7"));
        }
        if flags & FLAG_MSIX_IN_RTL != 0 && flags & FLAG_MSIX == 0 {
            return Err(field("CONFIG flags", flags, "bit 2 without MSI-X 0"));
        }
        let msix = Msix {
            vectors: u16::get(r)?,
            table_bar: u8::get(r)?,
            pba_bar: u8::get(r)?,
            table_offset: u32::get(r)?,
            pba_offset: u32::get(r)?,
            in_rtl: flags & FLAG_MSIX_IN_RTL != 0,
        };
        if flags & FLAG_MSIX != 0 {
            config.msix = Some(msix);
        } else {
            // What is not there has one encoding.
            for (name, value) in [
                ("msix.vectors", u32::from(msix.vectors)),
                ("msix.table_bar", u32::from(msix.table_bar)),
                ("msix.pba_bar", u32::from(msix.pba_bar)),
                ("msix.table_offset", msix.table_offset),
                ("msix.pba_offset", msix.pba_offset),
            ] {
                if value != 0 {
                    return Err(field(name, value, "0 without MSI-X"));
                }
            }
        }
        for bar in &mut config.bars {
            *bar = Bar {
                size: u64::get(r)?,
                axi_base: u64::get(r)?,
                ..Bar::default()
            };
            let flags = u32::get(r)?;
            if flags & !(BAR_64BIT | BAR_PREFETCHABLE) != 0 {
                return Err(field("BAR flags", flags, "0 to 3"));
            }
            bar.is_64bit = flags & BAR_64BIT != 0;
            bar.prefetchable = flags & BAR_PREFETCHABLE != 0;
            Zero(4).get(r)?;
        }
        config.clock_period_ps = u32::get(r)?;
        let count = u32::get(r)?;
        if count as usize > MAX_CAPABILITIES {
            return Err(field("capability count", count, "at most 16"));
        }
        config.msi = get_msi(r, flags & FLAG_MSI != 0)?;
        Zero(6).get(r)?;
        for _ in 0..count {
            let (id, offset, length) = (u8::get(r)?, u8::get(r)?, u16::get(r)?);
            config.capabilities.push(Capability {
                id,
                offset,
                body: r.take(usize::from(length))?.to_vec(),
            });
        }
        Ok(config)
    }

    fn put(&self, out: &mut Vec<u8>) {
        self.vendor.put(out);
        self.device.put(out);
        self.subsystem_vendor.put(out);
        self.subsystem.put(out);
        self.class.put(out);
        out.extend_from_slice(&[
            self.revision,
            self.intx_pin,
            self.link_speed,
            self.link_width,
        ]);
        let (mut flags, msix) = match self.msix {
            Some(m) if m.in_rtl => (FLAG_MSIX | FLAG_MSIX_IN_RTL, m),
            Some(m) => (FLAG_MSIX, m),
            None => (
                0,
                Msix {
                    vectors: 0,
                    table_bar: 0,
                    pba_bar: 0,
                    table_offset: 0,
                    pba_offset: 0,
                    in_rtl: false,
                },
            ),
        };
        if self.msi.is_some() {
            flags |= FLAG_MSI;
        }
        flags.put(out);
        msix.vectors.put(out);
        out.extend_from_slice(&[msix.table_bar, msix.pba_bar]);
        msix.table_offset.put(out);
        msix.pba_offset.put(out);
        for bar in &self.bars {
            bar.size.put(out);
            bar.axi_base.put(out);
            let flags = if bar.is_64bit { BAR_64BIT } else { 0 }
                | if bar.prefetchable {
                    BAR_PREFETCHABLE
                } else {
                    0
                };
            flags.put(out);
            Zero(4).put(&(), out);
        }
        self.clock_period_ps.put(out);
        // More than MAX_CAPABILITIES do not pass `check`; the count stays honest
        // for those that do not ask.
        (self.capabilities.len() as u32).put(out);
        let msi = self.msi.map_or([0; 2], |m| {
            [m.vectors, if m.masking { MSI_MASKING } else { 0 }]
        });
        out.extend_from_slice(&msi);
        Zero(6).put(&(), out);
        for cap in &self.capabilities {
            out.extend_from_slice(&[cap.id, cap.offset]);
            (cap.body.len() as u16).put(out);
            out.extend_from_slice(&cap.body);
        }
    }
}
