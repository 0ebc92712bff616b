// SPDX-License-Identifier: GPL-2.0-or-later

//! Memory of the machine that the simulator reaches by itself, while it may.
//!
//! The gate is open while a session through shared memory is up, the machine runs, no reset is
//! under way and all that was sent is in the ring, for what the machine lets the device reach.
//! Each thing that ends this closes the gate, and waits until the simulator is no longer in the
//! middle of a copy, before it has any other effect. While it is closed the simulator asks for
//! DMA by messages, and gets the answer that it deserves.

use std::{
    fs::File,
    hint, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use accelerator_carrier::{
    end::End,
    permit::{self, Gate, AREAS},
    segment::{PermitPage, Segment},
};
use log::debug;

use super::{voice::Kind, Link, Shared};

/// How long we wait for a simulator to come to the end of a copy. It takes less than a
/// microsecond, unless its thread does not run.
pub const LIMIT: Duration = Duration::from_millis(250);

/// Files that a session takes at most: a simulator refuses more.
const FILES: usize = 64;

/// A file that others can have. Two are the same if they are the same file, whoever opened it.
#[derive(Debug)]
pub struct Shareable {
    file: OwnedFd,
    id: (u64, u64),
}

impl Shareable {
    /// Of an open file.
    ///
    /// # Errors
    ///
    /// Of the system call that tells which file it is.
    pub fn new(file: OwnedFd) -> io::Result<Arc<Self>> {
        let file = File::from(file);
        let about = file.metadata()?;
        Ok(Arc::new(Self {
            id: (about.dev(), about.ino()),
            file: file.into(),
        }))
    }
}

impl AsFd for Shareable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Memory that lies in a file which others can have, where the device finds it.
#[derive(Clone, Debug)]
pub struct Area {
    /// Address on the bus.
    pub address: u64,
    /// Bytes.
    pub bytes: u64,
    /// The file.
    pub file: Arc<Shareable>,
    /// Where it begins in there.
    pub offset: u64,
    /// Whether the device may write there.
    pub writable: bool,
    /// Where the pages with translated code are marked, and the bit of the first page.
    pub marks: Option<(Arc<Shareable>, u64)>,
}

/// What the simulator of a session can reach.
#[derive(Default)]
pub(super) struct Direct {
    gate: Option<Gate<PermitPage>>,
    /// Files that the simulator has got, by number.
    files: Vec<Arc<Shareable>>,
    /// What the machine lets the device reach.
    areas: Vec<Area>,
    /// Bytes that simulators have read and written in sessions that are over.
    traffic: (u64, u64),
}

impl Direct {
    /// Bytes that simulators have read and written, as they say.
    pub(super) fn traffic(&self) -> (u64, u64) {
        let (read, written) = self.gate.as_ref().map_or((0, 0), Gate::traffic);
        let (before_read, before_written) = self.traffic;
        (
            before_read.wrapping_add(read),
            before_written.wrapping_add(written),
        )
    }

    fn is_open(&self) -> bool {
        self.gate.as_ref().is_some_and(Gate::is_open)
    }

    /// The number of a file, which the simulator gets if it has not got it. `None` if it does
    /// not take it at the moment.
    fn number(&mut self, file: &Arc<Shareable>, end: &End) -> Option<u32> {
        let known = self.files.iter().position(|f| f.id == file.id);
        let number = match known {
            Some(number) => number,
            None if self.files.len() < FILES && end.bell().send(file.as_fd()).ok()? => {
                self.files.push(Arc::clone(file));
                self.files.len() - 1
            }
            None => return None,
        };
        u32::try_from(number).ok()
    }

    /// The areas whose files the simulator has got, as it is told of them.
    fn list(&mut self, end: &End) -> Vec<permit::Area> {
        let areas = std::mem::take(&mut self.areas);
        let mut list = Vec::new();
        for area in &areas {
            let marks = match &area.marks {
                None => None,
                Some((file, first)) => match self.number(file, end) {
                    Some(file) => Some(permit::Marks {
                        file,
                        first: *first,
                    }),
                    None => continue,
                },
            };
            if let Some(file) = self.number(&area.file, end) {
                list.push(permit::Area {
                    address: area.address,
                    bytes: area.bytes,
                    file,
                    offset: area.offset,
                    writable: area.writable,
                    marks,
                });
            }
        }
        self.areas = areas;
        list
    }
}

/// Waits in a loop: looks again at once for a moment, then lets others run, until `limit`.
pub fn patiently(limit: Duration) -> impl FnMut() -> bool {
    let begin = Instant::now();
    let mut looks = 0_u32;
    move || {
        looks = looks.saturating_add(1);
        if looks < 1000 {
            hint::spin_loop();
            return true;
        }
        thread::yield_now();
        begin.elapsed() < limit
    }
}

impl Link {
    /// What the machine lets the device reach without a message from now on. When this returns
    /// nothing else is in use any more, but for a copy in the middle of which the simulator was
    /// stopped. Called with the machine's lock held.
    pub fn reach(&self, mut areas: Vec<Area>) {
        // If there are too many, the small ones are reached by messages.
        areas.sort_by_key(|a| std::cmp::Reverse(a.bytes));
        areas.truncate(AREAS);
        let mut shared = self.lock();
        self.close_gate(&mut shared);
        shared.direct.areas = areas;
        self.update_gate(&mut shared);
    }

    /// Bytes and areas that the simulator can reach without a message at the moment.
    pub fn reached(&self) -> Option<(u64, usize)> {
        let shared = self.lock();
        shared.direct.is_open().then(|| {
            let areas = &shared.direct.areas;
            (areas.iter().map(|a| a.bytes).sum(), areas.len())
        })
    }

    /// The session goes through this memory, and its gate is there.
    pub(super) fn begin_gate(&self, shared: &mut Shared, segment: &Arc<Segment>) {
        self.end_gate(shared);
        let page = PermitPage::new(segment);
        self.root.gate(Some(&page));
        shared.direct.gate = Some(Gate::new(page));
    }

    /// The session is over.
    pub(super) fn end_gate(&self, shared: &mut Shared) {
        self.close_gate(shared);
        shared.direct.traffic = shared.direct.traffic();
        shared.direct.files.clear();
        if shared.direct.gate.take().is_some() {
            self.root.gate(None);
        }
    }

    /// Takes the permission back. When this returns the simulator does not use the memory, nor
    /// will it: except where it was stopped in the middle of a copy and has not come to the end
    /// of it within [`LIMIT`]. That is logged, and this one copy may still come when it goes on.
    pub(super) fn close_gate(&self, shared: &mut Shared) {
        let Some(gate) = &mut shared.direct.gate else {
            return;
        };
        if gate.is_open() && !gate.close(patiently(LIMIT)) {
            self.say(shared, Kind::Dma, || {
                format!(
                    "the simulator was stopped in the middle of a copy to or from guest memory, \
                     and has not come to the end of it in {} ms: when it goes on, at most 4096 \
                     bytes may be written that should not be",
                    LIMIT.as_millis()
                )
            });
        }
    }

    /// Opens or closes the gate as things stand. To be called when one of them has changed;
    /// before it has an effect, if it closes the gate.
    pub(super) fn update_gate(&self, shared: &mut Shared) {
        let may = shared.up
            && shared.session.is_up()
            && !shared.session.reset_pending()
            && !shared.waiting.is_stopped()
            && !shared.memory.is_behind()
            && !shared.direct.areas.is_empty();
        if may == shared.direct.is_open() {
            return;
        }
        if !may {
            self.close_gate(shared);
            return;
        }
        let Shared { direct, memory, .. } = shared;
        let Some(end) = memory.end() else {
            return;
        };
        let list = direct.list(end);
        if list.is_empty() {
            return;
        }
        if let Some(gate) = &mut direct.gate {
            if gate.open(&list) {
                debug!(
                    "{}: {} areas of memory are reached",
                    self.name(),
                    list.len()
                );
            }
        }
    }
}
