// SPDX-License-Identifier: MIT OR Apache-2.0

//! The record that the simulator writes of the replay: where in it a transaction is.

use std::{collections::HashMap, path::Path};

use accelerator_record::{layout::Body, Entry, Kind, Record};

use crate::player::Place;

/// The newest transaction of that place: its number, and the clock of its last entry.
pub fn find(file: &Path, source: &str, place: Place) -> Option<(u64, u64)> {
    let record = Record::open(file).ok()?;
    let source = record.sources().iter().position(|s| s.name == source)?;
    let mut found = None;
    for entry in record.read().ok()? {
        let Ok((_, Body::Entry(e))) = entry else {
            continue;
        };
        if usize::from(e.source) != source {
            continue;
        }
        let Some(kind) = e.kind() else {
            continue;
        };
        let is = match place {
            Place::Read(tag) => e.tag == tag && matches!(kind, Kind::MmioRead | Kind::MmioReadDone),
            Place::Write(tag) => {
                e.tag == tag && matches!(kind, Kind::MmioWrite | Kind::MmioWriteDone)
            }
            Place::Dma(tag) => e.tag == tag && matches!(kind, Kind::DmaRead | Kind::DmaWrite),
            Place::Msix(vector) => kind == Kind::Msix && e.address == u64::from(vector),
            Place::Nowhere => false,
        };
        if is {
            found = Some((e.number, e.clock));
        }
    }
    found
}

/// How long the RTL took for an access: clocks from when it took it to its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Took {
    /// Of the transaction.
    pub number: u64,
    /// Where it is.
    pub bar: u8,
    /// See `bar`.
    pub offset: u64,
    /// When it was answered.
    pub clock: u64,
    /// How long it took.
    pub clocks: u64,
}

/// How long each access of a function took, in the order in which they came; `None` for those
/// that were not answered.
fn took(file: &Path, source: &str) -> Result<Vec<Option<Took>>, String> {
    let named = |e: String| format!("{}: {e}", file.display());
    let record = Record::open(file).map_err(|e| named(e.to_string()))?;
    let index = record.sources().iter().position(|s| s.name == source);
    let index = index.ok_or_else(|| named(format!("it has no function {source}")))?;
    let mut all = Vec::new();
    let mut under_way: HashMap<u64, (usize, Entry)> = HashMap::new();
    for entry in record.read().map_err(|e| named(e.to_string()))? {
        let (_, body) = entry.map_err(|e| named(e.to_string()))?;
        let Body::Entry(e) = body else { continue };
        if usize::from(e.source) != index {
            continue;
        }
        match e.kind() {
            Some(Kind::MmioRead | Kind::MmioWrite) => {
                under_way.insert(e.number, (all.len(), e));
                all.push(None);
            }
            Some(Kind::Taken) => {
                if let Some((_, begin)) = under_way.get_mut(&e.number) {
                    begin.clock = e.clock;
                }
            }
            Some(Kind::MmioReadDone | Kind::MmioWriteDone) => {
                if let Some((at, begin)) = under_way.remove(&e.number) {
                    all[at] = Some(Took {
                        number: e.number,
                        bar: begin.bar,
                        offset: begin.address,
                        clock: e.clock,
                        clocks: e.clock.saturating_sub(begin.clock),
                    });
                }
            }
            _ => {}
        }
    }
    Ok(all)
}

/// Accesses that took another number of clocks in the second record than in the first one, as
/// they are in either.
///
/// # Errors
///
/// Why a record cannot be read.
pub fn other_clocks(there: &Path, here: &Path, source: &str) -> Result<Vec<(Took, Took)>, String> {
    let (there, here) = (took(there, source)?, took(here, source)?);
    let both = there.into_iter().zip(here);
    Ok(both
        .filter_map(|(there, here)| Some((there?, here?)))
        .filter(|(there, here)| there.clocks != here.clocks)
        .collect())
}
