// SPDX-License-Identifier: MIT OR Apache-2.0

//! The record that the simulator writes of the replay: where in it a transaction is.

use std::{
    collections::HashMap,
    fs::File,
    path::{Path, PathBuf},
};

use accelerator_record::{
    layout::{Body, STATUS_OK},
    Entry, Kind, Record, Source, SourceKind,
};

use crate::player::Place;

/// The place of a source that another record has.
fn index_of(sources: &[Source], of: &Source) -> Option<usize> {
    let same = |s: &Source| (s.kind, &s.name) == (of.kind, &of.name);
    sources.iter().position(same)
}

/// The fault that loses a frame or a byte (record/FORMAT.md).
const LOSE: u64 = 4;

/// What became of a channel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard {
    /// Frames and bytes that the RTL has taken, and changes of the link.
    pub taken: u64,
    /// Frames and bytes that it has given.
    pub given: u64,
}

/// What the RTL has taken of channels and given to them, while the record is written.
#[derive(Debug)]
pub struct Follower {
    file: PathBuf,
    record: Option<Record<File>>,
    channels: Vec<Source>,
    /// The next entry.
    slot: u64,
    heard: Vec<Heard>,
    /// The last transaction that a fault has lost.
    lost: u64,
}

impl Follower {
    /// Of a record that may not be there yet.
    pub fn new(file: &Path, channels: &[Source]) -> Self {
        Self {
            file: file.to_owned(),
            record: None,
            channels: channels.to_vec(),
            slot: 0,
            heard: vec![Heard::default(); channels.len()],
            lost: 0,
        }
    }

    /// What it is so far, of each channel; of a ring as if all were taken at once, since it may be
    /// written over before it is looked at. `None` while there is no record.
    pub fn heard(&mut self) -> Option<&[Heard]> {
        if self.record.is_none() {
            // Channels have opened by now, and so are its sources.
            self.record = Record::open(&self.file).ok();
        }
        let record = self.record.as_ref()?;
        if record.header().ring != 0 {
            let taken = u64::MAX;
            self.heard.fill(Heard { taken, given: 0 });
            return Some(&self.heard);
        }
        loop {
            let entries = record.next_of(self.slot).ok()?;
            if entries.is_empty() {
                return Some(&self.heard);
            }
            self.slot += entries.len() as u64;
            for body in entries {
                let Body::Entry(e) = body else { continue };
                let source = record.sources().get(usize::from(e.source));
                let channel = source.and_then(|s| index_of(&self.channels, s));
                let Some(of_it) = channel.map(|channel| &mut self.heard[channel]) else {
                    continue;
                };
                match e.kind() {
                    Some(Kind::NicRx | Kind::SerialRx | Kind::LinkUp | Kind::LinkDown) => {
                        of_it.taken += 1;
                    }
                    // What is for the RTL is taken with that.
                    Some(Kind::Fault) if e.address == LOSE => {
                        self.lost = e.number;
                        of_it.taken += 1;
                    }
                    // What is of it has its own entry, and does not come.
                    Some(Kind::NicTx | Kind::SerialTx) if e.number == self.lost => {
                        of_it.taken = of_it.taken.saturating_sub(1);
                    }
                    Some(Kind::NicTx) => of_it.given += u64::from(e.status == STATUS_OK),
                    Some(Kind::SerialTx) => of_it.given += 1,
                    _ => {}
                }
            }
        }
    }
}

/// The newest transaction of that place: its number, and the clock of its last entry.
pub fn find(file: &Path, source: &Source, place: Place) -> Option<(u64, u64)> {
    let record = Record::open(file).ok()?;
    let source = index_of(record.sources(), source)?;
    let mut found = None;
    let mut given = 0;
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
            Place::Given(_, before) => {
                let gives = match kind {
                    Kind::NicTx => e.status == STATUS_OK,
                    kind => kind == Kind::SerialTx,
                };
                given += u64::from(gives);
                gives && given == before + 1
            }
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
    let mut sources = record.sources().iter();
    let index = sources.position(|s| s.kind == SourceKind::Function && s.name == source);
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
