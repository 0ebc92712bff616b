// SPDX-License-Identifier: MIT OR Apache-2.0

//! The permission to use the host's memory without asking, given and taken back.
//!
//! # Layout
//!
//! A page of words, [`WORDS`] of them:
//!
//! | word | name | written by | holds |
//! |---:|---|---|---|
//! | 0 | gate | host | 0: closed. Otherwise which list of areas holds, never one of before |
//! | 16 | inside | device | 1 while the device is between [`Visitor::enter`] and leaving |
//! | 32 | read | device | bytes that the device has read so far, for statistics |
//! | 33 | written | device | bytes that it has written |
//! | 48 | count | host | areas in the list, at most [`AREAS`] |
//! | 64 on | areas | host | six words each: address, bytes, file, offset in it, flags, first page of code |
//!
//! # Order
//!
//! The device says that it is inside, then looks at the gate; the host closes the gate, then
//! looks whether the device is inside. Between the two steps each has a sequentially consistent
//! fence, so at least one of them sees what the other did: either the device finds the gate
//! closed, or the host sees it inside and waits until it has left. The device leaves with
//! release and the host sees that with acquire, so all that the device did is done when
//! [`Gate::close`] returns. The host changes the list while the gate is closed and nobody is
//! inside, and opens with release; the device reads the gate with acquire and then the list.

#[cfg(not(loom))]
use std::sync::atomic::{fence, AtomicU64, Ordering};

#[cfg(loom)]
use loom::sync::atomic::{fence, AtomicU64, Ordering};

/// Words of the page.
pub const WORDS: usize = 512;

/// Areas in the list, at most.
pub const AREAS: usize = 64;

const GATE: usize = 0;
const INSIDE: usize = 16;
const READ: usize = 32;
const WRITTEN: usize = 33;
const COUNT: usize = 48;
const LIST: usize = 64;
const AREA_WORDS: usize = 6;

const _: () = assert!(LIST + AREAS * AREA_WORDS <= WORDS);

/// Flag of an area: the device may write there.
const WRITABLE: u64 = 1;
/// Flag of an area: the pages that hold translated code are marked.
const MARKED: u64 = 2;

/// Where the page is.
pub trait Page {
    /// Its words, [`WORDS`] of them.
    fn words(&self) -> &[AtomicU64];
}

/// Memory of the host that lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Address on the bus.
    pub address: u64,
    /// Bytes.
    pub bytes: u64,
    /// Number of the file, in the order in which they were handed over.
    pub file: u32,
    /// Where it begins in there.
    pub offset: u64,
    /// Whether the device may write there.
    pub writable: bool,
    /// Where the host marks the pages that it has translated code of.
    pub marks: Option<Marks>,
}

/// Marks of the pages of an area: one bit for each 4,096 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Number of the file that they are in.
    pub file: u32,
    /// Bit of the first page. Bit *n* is bit *n* mod 64 of word *n* / 64.
    pub first: u64,
}

/// The host's side.
#[derive(Debug)]
pub struct Gate<P> {
    page: P,
    /// The last list.
    list: u64,
    open: bool,
    /// Since it was closed the device has been seen outside. If it looks in again, it leaves
    /// without a look at the list.
    left: bool,
}

impl<P: Page> Gate<P> {
    /// Of a page of zeros: closed.
    pub fn new(page: P) -> Self {
        Self {
            page,
            list: 0,
            open: false,
            left: true,
        }
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Where the page is.
    pub fn page(&self) -> &P {
        &self.page
    }

    /// Opens it, if it is closed, for these areas, of which the first [`AREAS`] count. False,
    /// and it stays closed, if the device has not left since.
    pub fn open(&mut self, areas: &[Area]) -> bool {
        self.left = self.left || !self.open && !is_inside(&self.page);
        if !self.left {
            return false;
        }
        let words = self.page.words();
        let count = areas.len().min(AREAS);
        words[COUNT].store(count as u64, Ordering::Relaxed);
        for (area, words) in areas
            .iter()
            .zip(words[LIST..].chunks_exact(AREA_WORDS))
            .take(count)
        {
            let (mark_file, first) = area.marks.map_or((0, 0), |m| (m.file, m.first));
            let flags = if area.writable { WRITABLE } else { 0 }
                | if area.marks.is_some() { MARKED } else { 0 };
            for (word, value) in words.iter().zip([
                area.address,
                area.bytes,
                u64::from(area.file) | u64::from(mark_file) << 32,
                area.offset,
                flags,
                first,
            ]) {
                word.store(value, Ordering::Relaxed);
            }
        }
        self.list += 1;
        self.open = true;
        self.left = false;
        self.page.words()[GATE].store(self.list, Ordering::Release);
        true
    }

    /// Closes it. The device does not enter any more; `wait` is called until it has left, or
    /// returns false. Whether the device has left.
    pub fn close(&mut self, wait: impl FnMut() -> bool) -> bool {
        if self.open {
            self.open = false;
            self.page.words()[GATE].store(0, Ordering::Relaxed);
            fence(Ordering::SeqCst);
        }
        self.left = self.left || wait_until_left(&self.page, wait);
        self.left
    }

    /// Bytes that the device has read and written so far, as it says.
    pub fn traffic(&self) -> (u64, u64) {
        let words = self.page.words();
        (
            words[READ].load(Ordering::Relaxed),
            words[WRITTEN].load(Ordering::Relaxed),
        )
    }
}

fn is_inside<P: Page>(page: &P) -> bool {
    page.words()[INSIDE].load(Ordering::Acquire) != 0
}

/// After something was published that the device looks at when it has entered, and a
/// sequentially consistent fence: waits until a device that may not have seen it has left, or
/// `wait` returns false. Whether it has left.
pub fn wait_until_left<P: Page>(page: &P, mut wait: impl FnMut() -> bool) -> bool {
    while is_inside(page) {
        if !wait() {
            return !is_inside(page);
        }
    }
    true
}

/// The device's side.
#[derive(Debug)]
pub struct Visitor<P> {
    page: P,
    /// The list that was copied.
    list: u64,
    areas: Vec<Area>,
    read: u64,
    written: u64,
}

/// While there is one, the host waits before it goes on with what it has closed the gate for.
#[derive(Debug)]
pub struct Visit<'a, P: Page> {
    visitor: &'a mut Visitor<P>,
    /// The list is another than at the last visit.
    pub is_new: bool,
}

impl<P: Page> Visitor<P> {
    /// Of a page of zeros.
    pub fn new(page: P) -> Self {
        Self {
            page,
            list: 0,
            areas: Vec::new(),
            read: 0,
            written: 0,
        }
    }

    /// Enters, if the gate is open.
    pub fn enter(&mut self) -> Option<Visit<'_, P>> {
        let words = self.page.words();
        words[INSIDE].store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let list = words[GATE].load(Ordering::Acquire);
        if list == 0 {
            words[INSIDE].store(0, Ordering::Release);
            return None;
        }
        let is_new = list != self.list;
        if is_new {
            self.copy_list();
            self.list = list;
        }
        Some(Visit {
            visitor: self,
            is_new,
        })
    }

    fn copy_list(&mut self) {
        let words = self.page.words();
        let count = words[COUNT].load(Ordering::Relaxed).min(AREAS as u64) as usize;
        self.areas.clear();
        for words in words[LIST..].chunks_exact(AREA_WORDS).take(count) {
            let word = |i: usize| words[i].load(Ordering::Relaxed);
            let (files, flags) = (word(2), word(4));
            self.areas.push(Area {
                address: word(0),
                bytes: word(1),
                file: files as u32,
                offset: word(3),
                writable: flags & WRITABLE != 0,
                marks: (flags & MARKED != 0).then_some(Marks {
                    file: (files >> 32) as u32,
                    first: word(5),
                }),
            });
        }
    }
}

impl<P: Page> Visit<'_, P> {
    /// The areas, as the host has listed them.
    pub fn areas(&self) -> &[Area] {
        &self.visitor.areas
    }

    /// So many bytes were read.
    pub fn has_read(&mut self, bytes: u64) {
        let v = &mut *self.visitor;
        v.read = v.read.wrapping_add(bytes);
        v.page.words()[READ].store(v.read, Ordering::Relaxed);
    }

    /// So many bytes were written.
    pub fn has_written(&mut self, bytes: u64) {
        let v = &mut *self.visitor;
        v.written = v.written.wrapping_add(bytes);
        v.page.words()[WRITTEN].store(v.written, Ordering::Relaxed);
    }
}

impl<P: Page> Drop for Visit<'_, P> {
    fn drop(&mut self) {
        self.visitor.page.words()[INSIDE].store(0, Ordering::Release);
    }
}
