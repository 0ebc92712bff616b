// SPDX-License-Identifier: MIT OR Apache-2.0

//! Entries of one transaction, put together while a record is read: what is kept is what is
//! under way.

use std::collections::BTreeMap;

use accelerator_record::{Entry, Kind};

/// When something was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Clocks of the source.
    pub clock: u64,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub host_ns: u64,
}

impl Moment {
    /// Of an entry.
    pub const fn of(entry: &Entry) -> Self {
        Self {
            clock: entry.clock,
            host_ns: entry.host_ns,
        }
    }
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out, or refused: see the status.
    Done,
    /// A reset or the end of the link has made it void.
    Void,
    /// The record ends before it does.
    Outstanding,
}

/// A transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its first entry.
    pub first: Entry,
    /// What it is.
    pub kind: Kind,
    /// When the RTL took what had come.
    pub taken: Option<Moment>,
    /// When QEMU had answered.
    pub answered: Option<Moment>,
    /// When it was over; of what is outstanding, the last moment of its source.
    pub end: Moment,
    /// What became of it.
    pub outcome: Outcome,
    /// A `STATUS_` value.
    pub status: u8,
    /// Of a read what it got, else what was written.
    pub data: u64,
    /// Bytes that were moved.
    pub bytes: u64,
}

impl Transaction {
    /// When it began.
    pub const fn begin(&self) -> Moment {
        Moment::of(&self.first)
    }

    /// How long it took, in clocks and nanoseconds.
    pub const fn length(&self) -> (u64, u64) {
        (
            self.end.clock.saturating_sub(self.first.clock),
            self.end.host_ns.saturating_sub(self.first.host_ns),
        )
    }
}

/// What happens to a transaction.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// It has begun.
    Begins(&'a Transaction),
    /// It is over.
    Ends(&'a Transaction),
}

/// Whether it begins with an entry of its own kind and ends with another one.
const fn lasts(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::MmioRead
            | Kind::MmioWrite
            | Kind::DmaRead
            | Kind::DmaWrite
            | Kind::Reset
            | Kind::LinkUp
            | Kind::LinkDown
    )
}

/// Puts transactions together.
#[derive(Debug, Default)]
pub struct Tracker {
    under_way: BTreeMap<u64, Transaction>,
    /// The last moment of each source.
    last: BTreeMap<u8, Moment>,
    /// Entries whose transaction began before the record does.
    orphans: u64,
}

impl Tracker {
    /// Entries of transactions whose beginning is not in the record.
    pub const fn orphans(&self) -> u64 {
        self.orphans
    }

    fn over(
        &mut self,
        number: u64,
        end: Moment,
        outcome: Outcome,
        change: &mut impl FnMut(Change<'_>),
        finish: impl FnOnce(&mut Transaction),
    ) -> bool {
        let Some(mut transaction) = self.under_way.remove(&number) else {
            return false;
        };
        transaction.end = end;
        transaction.outcome = outcome;
        finish(&mut transaction);
        change(Change::Ends(&transaction));
        true
    }

    /// All of a source's is void.
    fn void(&mut self, source: u8, now: Moment, change: &mut impl FnMut(Change<'_>)) {
        let of_it = |(_, t): &(&u64, &Transaction)| t.first.source == source;
        let numbers: Vec<u64> = self.under_way.iter().filter(of_it).map(|t| *t.0).collect();
        for number in numbers {
            self.over(number, now, Outcome::Void, change, |_| {});
        }
    }

    /// Takes the next entry of the record.
    pub fn entry(&mut self, entry: &Entry, mut change: impl FnMut(Change<'_>)) {
        let Some(kind) = entry.kind() else {
            return;
        };
        let now = Moment::of(entry);
        self.last.insert(entry.source, now);
        let known = match kind {
            Kind::Taken => match self.under_way.get_mut(&entry.number) {
                Some(t) if matches!(t.kind, Kind::LinkUp | Kind::LinkDown) => {
                    self.over(entry.number, now, Outcome::Done, &mut change, |t| {
                        t.taken = Some(now);
                    })
                }
                Some(t) => {
                    t.taken = Some(now);
                    true
                }
                None => false,
            },
            Kind::DmaAnswered => match self.under_way.get_mut(&entry.number) {
                Some(t) => {
                    t.answered = Some(now);
                    true
                }
                None => false,
            },
            Kind::MmioReadDone | Kind::DmaReadDone => {
                self.over(entry.number, now, Outcome::Done, &mut change, |t| {
                    t.status = entry.status;
                    t.data = entry.data;
                    t.bytes = entry.length.into();
                })
            }
            Kind::MmioWriteDone => self.over(entry.number, now, Outcome::Done, &mut change, |t| {
                t.status = entry.status;
            }),
            Kind::DmaWriteDone => self.over(entry.number, now, Outcome::Done, &mut change, |t| {
                t.status = entry.status;
                t.bytes = entry.length.into();
            }),
            Kind::ResetDone => self.over(entry.number, now, Outcome::Done, &mut change, |_| {}),
            // Of a transaction that has entries of its own.
            Kind::Fault | Kind::BarAddress | Kind::Data | Kind::Enables => true,
            _ => {
                if matches!(kind, Kind::Reset | Kind::LinkUp | Kind::LinkDown) {
                    self.void(entry.source, now, &mut change);
                }
                let transaction = Transaction {
                    first: *entry,
                    kind,
                    taken: None,
                    answered: None,
                    end: now,
                    outcome: Outcome::Done,
                    status: entry.status,
                    data: entry.data,
                    bytes: entry.length.into(),
                };
                change(Change::Begins(&transaction));
                if lasts(kind) {
                    self.under_way.insert(entry.number, transaction);
                } else {
                    change(Change::Ends(&transaction));
                }
                true
            }
        };
        self.orphans += u64::from(!known);
    }

    /// The record ends: what is under way is outstanding.
    pub fn end(&mut self, mut change: impl FnMut(Change<'_>)) {
        for (_, mut transaction) in std::mem::take(&mut self.under_way) {
            transaction.end = self.last[&transaction.first.source];
            transaction.outcome = Outcome::Outstanding;
            transaction.bytes = 0;
            change(Change::Ends(&transaction));
        }
    }
}
