// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a device is told whenever it changes, and does not answer: how much of that may be
//! under way to a device of which nothing comes.

/// One kind of such news. At most so many are sent while nothing comes from the device; of
/// further ones the last is kept, which is all that matters then.
#[derive(Debug)]
pub(crate) struct Told<T> {
    most: usize,
    /// What the device was told last.
    last: Option<T>,
    /// How often since something came from it.
    unheard: usize,
    /// What it has to be told, and was put off.
    next: Option<T>,
}

impl<T: Copy + PartialEq> Told<T> {
    /// Nothing was told.
    pub(crate) const fn new(most: usize) -> Self {
        Self {
            most,
            last: None,
            unheard: 0,
            next: None,
        }
    }

    /// Whether `value` is to be sent now, and counts as sent then. Not if the device knows it,
    /// or if it has to be put off. The first one is never put off.
    pub(crate) fn tell(&mut self, value: T) -> bool {
        self.next = None;
        if self.last == Some(value) {
            return false;
        }
        if self.last.is_some() && self.unheard >= self.most {
            self.next = Some(value);
            return false;
        }
        self.sent(value);
        true
    }

    /// What was put off, to be sent now whether there is room or not.
    pub(crate) fn tell_late(&mut self) -> Option<T> {
        let value = self.next.take()?;
        self.sent(value);
        Some(value)
    }

    /// What was put off, to be sent now, if there is room.
    pub(crate) fn tell_in_room(&mut self) -> Option<T> {
        if self.unheard >= self.most {
            return None;
        }
        self.tell_late()
    }

    fn sent(&mut self, value: T) {
        self.last = Some(value);
        self.unheard += 1;
    }

    /// Whether something was put off.
    pub(crate) const fn has_put_off(&self) -> bool {
        self.next.is_some()
    }

    /// Something has come from the device: it reads as well.
    pub(crate) fn heard(&mut self) {
        self.unheard = 0;
    }

    /// What the device was told counts no more: it has to be told in any case, and what was
    /// put off is void.
    pub(crate) fn void(&mut self) {
        self.last = None;
        self.next = None;
    }
}
