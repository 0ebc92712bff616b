// SPDX-License-Identifier: MIT OR Apache-2.0

//! How transactions are arranged and called, whatever draws them.

use accelerator_record::{Kind, Source};

use crate::{
    registers::Registers,
    status_name,
    transactions::{Outcome, Transaction},
};

/// Tracks of a source.
pub const TRACKS: &[(&str, &[Kind])] = &[
    ("CPU reads", &[Kind::MmioRead]),
    ("CPU writes", &[Kind::MmioWrite]),
    ("DMA reads", &[Kind::DmaRead]),
    ("DMA writes", &[Kind::DmaWrite]),
    ("interrupts", &[Kind::Msix, Kind::Intx]),
    (
        "resets and link",
        &[Kind::Reset, Kind::LinkUp, Kind::LinkDown],
    ),
    ("config space", &[Kind::Function]),
    ("frames from the host", &[Kind::NicRx]),
    ("frames to the host", &[Kind::NicTx]),
    ("bytes from the host", &[Kind::SerialRx]),
    ("bytes to the host", &[Kind::SerialTx]),
];

/// The track of a kind, if it begins a transaction.
pub fn track_of(kind: Kind) -> Option<usize> {
    TRACKS.iter().position(|(_, kinds)| kinds.contains(&kind))
}

/// Picoseconds of a source's clock; 1 ns where they are not known.
pub fn period_ps(source: Option<&Source>) -> u32 {
    match source.map_or(0, |s| s.clock_period_ps) {
        0 => 1000,
        period => period,
    }
}

/// Picoseconds in the waveform of the clock's rising edge: the first one is half a period after
/// the beginning.
pub fn edge_ps(clock: u64, period_ps: u32) -> u64 {
    let period = u64::from(period_ps);
    clock.checked_sub(1).map_or(0, |whole| {
        whole.saturating_mul(period).saturating_add(period / 2)
    })
}

/// Name of a source.
pub fn source_name(sources: &[Source], index: u8) -> &str {
    sources
        .get(usize::from(index))
        .map_or("unknown", |s| &s.name)
}

/// What the guest has set in config space of what decides how an interrupt comes, and whether DMA
/// does (record/FORMAT.md, kind `function`).
fn function(data: u64, msi: u64) -> String {
    let bit = |flag: u64| data & flag != 0;
    let power = data >> 8 & 0xff;
    let vectors = 1_u64.checked_shl((msi >> 8 & 0xff) as u32).unwrap_or(0);
    let mask = msi >> 32;
    let said = [
        (power != 0).then(|| format!("D{power}")),
        bit(2).then(|| "bus master".to_owned()),
        bit(4).then(|| "INTx disabled".to_owned()),
        bit(8).then(|| match bit(16) {
            true => "MSI-X, masked".to_owned(),
            false => "MSI-X".to_owned(),
        }),
        (msi & 1 != 0).then(|| match vectors {
            1 => "MSI with 1 vector".to_owned(),
            n => format!("MSI with {n} vectors"),
        }),
        (mask != 0).then(|| format!("MSI mask {mask:#x}")),
    ];
    let said: Vec<String> = said.into_iter().flatten().collect();
    match said.is_empty() {
        true => "config space".to_owned(),
        false => said.join(", "),
    }
}

/// What a transaction is about, in a word or two.
pub fn label(t: &Transaction, sources: &[Source], registers: &Registers) -> String {
    match t.kind {
        Kind::MmioRead | Kind::MmioWrite => registers.name(
            source_name(sources, t.first.source),
            t.first.bar,
            t.first.address,
        ),
        Kind::DmaRead | Kind::DmaWrite => format!("{} bytes", t.first.length),
        Kind::Msix => format!("vector {}", t.first.address),
        Kind::Intx => format!("INTx {}", t.data),
        Kind::Function => function(t.data, t.first.address),
        Kind::Reset => match t.first.address {
            1 => "FLR".to_owned(),
            2 => "hot reset".to_owned(),
            3 => "cold reset".to_owned(),
            other => format!("reset {other}"),
        },
        kind => kind.name().replace('_', " "),
    }
}

/// What became of a transaction, in a word.
pub fn outcome_name(t: &Transaction) -> &'static str {
    match t.outcome {
        Outcome::Done => status_name(t.status),
        Outcome::Void => "void",
        Outcome::Outstanding => "outstanding",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_space_in_words() {
        for (data, msi, text) in [
            (0, 0, "config space"),
            (0x0003, 0, "bus master"),
            (0x000b, 0, "bus master, MSI-X"),
            (0x001b, 0, "bus master, MSI-X, masked"),
            (0x0007, 1, "bus master, INTx disabled, MSI with 1 vector"),
            (
                0x0002,
                0x5_0000_0201,
                "bus master, MSI with 4 vectors, MSI mask 0x5",
            ),
            // Masked while it is not enabled.
            (0x0300, 0x1_0000_0000, "D3, MSI mask 0x1"),
            (0, 0xff01, "MSI with 0 vectors"),
        ] {
            assert_eq!(function(data, msi), text);
        }
    }

    #[test]
    fn edges_are_those_of_the_waveform() {
        assert_eq!(
            [0, 1, 2, 3].map(|clock| edge_ps(clock, 4000)),
            [0, 2000, 6000, 10_000]
        );
        assert_eq!(edge_ps(2, 5), 7);
        assert_eq!(edge_ps(u64::MAX, 4000), u64::MAX);
    }
}
