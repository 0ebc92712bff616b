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
    /// When it was answered.
    pub clock: u64,
    /// How long it took.
    pub clocks: u64,
    /// The access.
    pub first: Entry,
}

/// How long the RTL took for each access of a function, in the order in which they came.
///
/// # Errors
///
/// Why the record cannot be read.
pub fn took(file: &Path, source: &str) -> Result<Vec<Took>, String> {
    let record = Record::open(file).map_err(|e| e.to_string())?;
    let source = record.sources().iter().position(|s| s.name == source);
    let source = source.ok_or_else(|| "it has not this function".to_owned())?;
    let mut all = Vec::new();
    let mut under_way: HashMap<u64, (usize, u64)> = HashMap::new();
    for entry in record.read().map_err(|e| e.to_string())? {
        let (_, body) = entry.map_err(|e| e.to_string())?;
        let Body::Entry(e) = body else { continue };
        if usize::from(e.source) != source {
            continue;
        }
        match e.kind() {
            Some(Kind::MmioRead | Kind::MmioWrite) => {
                under_way.insert(e.number, (all.len(), e.clock));
                all.push(None);
                let at = all.len() - 1;
                all[at] = Some(Took {
                    number: e.number,
                    clock: 0,
                    clocks: 0,
                    first: e,
                });
            }
            Some(Kind::Taken) => {
                if let Some(taken) = under_way.get_mut(&e.number) {
                    taken.1 = e.clock;
                }
            }
            Some(Kind::MmioReadDone | Kind::MmioWriteDone) => {
                if let Some((at, taken)) = under_way.remove(&e.number) {
                    if let Some(took) = &mut all[at] {
                        took.clock = e.clock;
                        took.clocks = e.clock.saturating_sub(taken);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(all.into_iter().flatten().collect())
}
