// SPDX-License-Identifier: MIT OR Apache-2.0

//! Interrupts by eventfd: who waits for which vector, which are masked, and which are pending.
//!
//! A vector that is raised while it is masked, or while nobody waits for it, is pending, and is
//! raised when that ends. So none is lost while QEMU takes an eventfd back and gives another
//! one, which it does whenever a guest unmasks a vector.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use accelerator_carrier::descriptors::EventFd;

use super::wire::irq;

/// One vector.
#[derive(Default)]
struct Vector {
    eventfd: Option<EventFd>,
    /// By SET_IRQS.
    masked: bool,
    pending: bool,
}

/// The vectors of INTx, MSI or MSI-X.
pub struct Vectors {
    index: u32,
    vectors: Vec<Vector>,
}

/// What SET_IRQS asks for, as it came.
#[derive(Clone, Copy, Debug)]
pub struct SetIrqs<'a> {
    pub flags: u32,
    pub start: u32,
    pub count: u32,
    /// What follows the numbers: a byte for each vector, with [`irq::DATA_BOOL`].
    pub data: &'a [u8],
}

impl Vectors {
    fn new(index: u32, count: usize) -> Self {
        Self {
            index,
            vectors: (0..count).map(|_| Vector::default()).collect(),
        }
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.vectors.len() as u32
    }

    /// What can be done with them, as GET_IRQ_INFO tells.
    pub const fn flags(&self) -> u32 {
        match self.index {
            irq::INTX => irq::EVENTFD | irq::MASKABLE | irq::AUTOMASKED,
            _ => irq::EVENTFD,
        }
    }

    /// Raises a vector, or makes it pending, which it stays while `held`. False if there is no
    /// such vector.
    pub fn raise(&mut self, vector: usize, held: bool) -> bool {
        match self.vectors.get_mut(vector) {
            None => false,
            Some(vector) => {
                vector.pending = true;
                if !held {
                    vector.deliver();
                }
                true
            }
        }
    }

    /// Raises what is pending, but for the vectors that are held.
    pub fn deliver(&mut self, held: impl Fn(usize) -> bool) {
        for (i, vector) in self.vectors.iter_mut().enumerate() {
            if !held(i) {
                vector.deliver();
            }
        }
    }

    /// Whether a vector is pending.
    pub fn is_pending(&self, vector: usize) -> bool {
        self.vectors.get(vector).is_some_and(|v| v.pending)
    }

    /// Nothing is pending any more.
    pub fn reset(&mut self) {
        self.vectors.iter_mut().for_each(|v| v.pending = false);
    }

    /// Does what SET_IRQS asks for: takes and gives back eventfds, masks, unmasks, or raises.
    /// Descriptors that it does not take are closed.
    ///
    /// # Errors
    ///
    /// What is wrong with the message; then nothing has changed.
    pub fn set(&mut self, set: SetIrqs<'_>, files: Vec<OwnedFd>) -> Result<(), String> {
        let SetIrqs {
            flags,
            start,
            count,
            data,
        } = set;
        let range = start as usize..start.saturating_add(count) as usize;
        if start.checked_add(count).is_none() || range.end > self.vectors.len() {
            return Err(format!(
                "{count} vectors from {start} on, there are {}",
                self.vectors.len()
            ));
        }
        let kind = flags & (irq::DATA_NONE | irq::DATA_BOOL | irq::DATA_EVENTFD);
        let action = flags & (irq::MASK | irq::UNMASK | irq::TRIGGER);
        if flags & !(kind | action) != 0 || !kind.is_power_of_two() || !action.is_power_of_two() {
            return Err(format!(
                "flags {flags:#x}, expected one bit for the data and one for what is to be done"
            ));
        }
        if kind == irq::DATA_BOOL && data.len() < range.len() {
            return Err(format!("{} bytes for {count} vectors", data.len()));
        }
        if kind != irq::DATA_EVENTFD && !files.is_empty() {
            return Err(format!("{} descriptors that nobody asked for", files.len()));
        }
        if kind == irq::DATA_EVENTFD {
            return self.take(action, range, files);
        }
        if count == 0 && action == irq::TRIGGER {
            // Nobody waits for any of them any more.
            self.vectors.iter_mut().for_each(|v| v.eventfd = None);
            return Ok(());
        }
        let begin = range.start;
        for i in range {
            if kind == irq::DATA_BOOL && data[i - begin] == 0 {
                continue;
            }
            let vector = &mut self.vectors[i];
            match action {
                irq::MASK => vector.masked = true,
                irq::UNMASK => {
                    vector.masked = false;
                    // What is held by the guest's own mask comes with that.
                }
                _ => vector.ring(),
            }
        }
        Ok(())
    }

    /// Eventfds for all of the vectors, or none, which takes theirs back.
    fn take(
        &mut self,
        action: u32,
        range: std::ops::Range<usize>,
        files: Vec<OwnedFd>,
    ) -> Result<(), String> {
        if !files.is_empty() && files.len() != range.len() {
            return Err(format!(
                "{} eventfds for {} vectors",
                files.len(),
                range.len()
            ));
        }
        if action != irq::TRIGGER {
            return Err("an eventfd to mask or unmask with".to_owned());
        }
        let mut eventfds = files
            .into_iter()
            .map(EventFd::of_other)
            .collect::<Result<Vec<_>, _>>()?
            .into_iter();
        for vector in &mut self.vectors[range] {
            vector.eventfd = eventfds.next();
        }
        Ok(())
    }
}

impl Vector {
    /// Rings, whatever is masked.
    fn ring(&self) {
        if let Some(eventfd) = &self.eventfd {
            eventfd.ring();
        }
    }

    fn deliver(&mut self) {
        if self.pending && !self.masked && self.eventfd.is_some() {
            self.pending = false;
            self.ring();
        }
    }
}

/// The INTx pin: a level, of which an eventfd tells once, and again when it was unmasked and is
/// still asserted.
pub struct Intx {
    vectors: Vectors,
    level: bool,
    /// An eventfd that unmasks, if there is one.
    unmask: Option<EventFd>,
}

impl Intx {
    fn new(pin: u8) -> Self {
        Self {
            vectors: Vectors::new(irq::INTX, usize::from(pin != 0)),
            level: false,
            unmask: None,
        }
    }

    /// As [`Vectors::count`] and [`Vectors::flags`].
    pub fn vectors(&self) -> &Vectors {
        &self.vectors
    }

    /// Drives the pin. To be followed by [`Intx::update`].
    pub fn drive(&mut self, level: bool) {
        self.level = level;
    }

    /// Tells of the pin if it is asserted and `connected`, and was not told.
    pub fn update(&mut self, connected: bool) {
        if let Some(vector) = self.vectors.vectors.first_mut() {
            if self.level && connected && !vector.masked && vector.eventfd.is_some() {
                vector.masked = true;
                vector.ring();
            }
        }
    }

    /// Does what SET_IRQS asks for; as for [`Vectors::set`].
    ///
    /// # Errors
    ///
    /// What is wrong with the message.
    pub fn set(&mut self, set: SetIrqs<'_>, mut files: Vec<OwnedFd>) -> Result<(), String> {
        let unmask = irq::DATA_EVENTFD | irq::UNMASK;
        if set.flags == unmask && set.start == 0 && set.count == 1 && self.vectors.count() == 1 {
            if files.len() > 1 {
                return Err(format!("{} eventfds for the INTx pin", files.len()));
            }
            self.unmask = files.pop().map(EventFd::of_other).transpose()?;
            return Ok(());
        }
        self.vectors.set(set, files)?;
        let Some(vector) = self.vectors.vectors.first_mut() else {
            return Ok(());
        };
        if vector.eventfd.is_none() {
            self.unmask = None;
        }
        // Who waits anew has not heard of it.
        if set.flags & irq::TRIGGER != 0 && set.flags & irq::DATA_EVENTFD != 0 {
            vector.masked = false;
        }
        Ok(())
    }

    /// The eventfd that unmasks.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.unmask.as_ref().map(AsFd::as_fd)
    }

    /// That one was rung, perhaps.
    pub fn unmasked(&mut self) {
        if self.unmask.as_ref().is_some_and(EventFd::take) {
            if let Some(vector) = self.vectors.vectors.first_mut() {
                vector.masked = false;
            }
        }
    }
}

/// All interrupts of the function.
pub struct Interrupts {
    pub intx: Intx,
    pub msi: Vectors,
    pub msix: Vectors,
}

impl Interrupts {
    /// Of a function with this pin, 0 for none, and so many vectors.
    pub fn new(pin: u8, msi: usize, msix: usize) -> Self {
        Self {
            intx: Intx::new(pin),
            msi: Vectors::new(irq::MSI, msi),
            msix: Vectors::new(irq::MSIX, msix),
        }
    }

    /// The function is reset. Who waits for what goes on to.
    pub fn reset(&mut self) {
        self.intx.drive(false);
        self.msi.reset();
        self.msix.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(flags: u32, start: u32, count: u32) -> SetIrqs<'static> {
        SetIrqs {
            flags,
            start,
            count,
            data: &[],
        }
    }

    fn eventfds<const N: usize>() -> ([EventFd; N], Vec<OwnedFd>) {
        let ours = [(); N].map(|()| EventFd::new().unwrap());
        let theirs = ours.iter().map(|e| e.duplicate().unwrap()).collect();
        (ours, theirs)
    }

    const GIVE: u32 = irq::DATA_EVENTFD | irq::TRIGGER;

    #[test]
    fn nothing_is_lost_while_nobody_waits_or_it_is_masked() {
        let mut vectors = Vectors::new(irq::MSIX, 3);
        assert!(vectors.raise(1, false) && !vectors.raise(3, false));
        assert!(vectors.is_pending(1));
        let ([a, b, c], files) = eventfds();
        vectors.set(set(GIVE, 0, 3), files).unwrap();
        vectors.deliver(|_| false);
        assert!(!a.take() && b.take() && !c.take());
        assert!(!vectors.is_pending(1));
        vectors.raise(0, false);
        assert!(a.take());
        // The guest holds it back, then SET_IRQS.
        vectors.raise(0, true);
        vectors.deliver(|i| i == 0);
        assert!(!a.take() && vectors.is_pending(0));
        vectors
            .set(set(irq::DATA_NONE | irq::MASK, 0, 1), vec![])
            .unwrap();
        vectors.deliver(|_| false);
        assert!(!a.take());
        vectors
            .set(set(irq::DATA_NONE | irq::UNMASK, 0, 1), vec![])
            .unwrap();
        vectors.deliver(|_| false);
        assert!(a.take());
        // Taken back, one and then all.
        vectors.set(set(GIVE, 0, 1), vec![]).unwrap();
        vectors.raise(0, false);
        assert!(!a.take());
        vectors
            .set(set(irq::DATA_NONE | irq::TRIGGER, 0, 0), vec![])
            .unwrap();
        vectors.raise(2, false);
        assert!(!c.take());
        vectors.reset();
        assert!(!vectors.is_pending(0) && !vectors.is_pending(2));
    }

    #[test]
    fn raised_by_the_client() {
        let mut vectors = Vectors::new(irq::MSI, 2);
        let ([a, b], files) = eventfds();
        vectors.set(set(GIVE, 0, 2), files).unwrap();
        vectors
            .set(set(irq::DATA_NONE | irq::TRIGGER, 0, 1), vec![])
            .unwrap();
        assert!(a.take() && !b.take());
        let bytes = SetIrqs {
            data: &[0, 1],
            ..set(irq::DATA_BOOL | irq::TRIGGER, 0, 2)
        };
        vectors.set(bytes, vec![]).unwrap();
        assert!(!a.take() && b.take());
    }

    #[test]
    fn what_does_not_fit_is_refused_and_changes_nothing() {
        let mut vectors = Vectors::new(irq::MSIX, 2);
        let ([a, b], files) = eventfds();
        vectors.set(set(GIVE, 0, 2), files).unwrap();
        let null = || std::fs::File::open("/dev/null").unwrap().into();
        for (what, files) in [
            (set(GIVE, 0, 3), vec![]),
            (set(GIVE, 2, 1), vec![]),
            (set(GIVE, u32::MAX, u32::MAX), vec![]),
            (set(GIVE, 0, 2), eventfds::<1>().1),
            (set(GIVE, 0, 1), eventfds::<2>().1),
            (set(GIVE, 0, 1), vec![null()]),
            (set(irq::DATA_EVENTFD | irq::MASK, 0, 1), eventfds::<1>().1),
            (set(irq::DATA_NONE | irq::TRIGGER, 0, 1), eventfds::<1>().1),
            (set(irq::DATA_BOOL | irq::TRIGGER, 0, 2), vec![]),
            (set(irq::TRIGGER, 0, 1), vec![]),
            (set(irq::DATA_NONE, 0, 1), vec![]),
            (set(irq::DATA_NONE | GIVE, 0, 1), vec![]),
            (set(irq::DATA_NONE | irq::TRIGGER | 64, 0, 1), vec![]),
        ] {
            assert!(vectors.set(what, files).is_err(), "{what:?}");
        }
        vectors.raise(0, false);
        vectors.raise(1, false);
        assert!(a.take() && b.take());
        let mut none = Intx::new(0);
        assert!(none.set(set(GIVE, 0, 1), vec![]).is_err());
    }

    #[test]
    fn the_pin_is_told_again_when_it_is_unmasked() {
        let mut intx = Intx::new(1);
        let ([line], files) = eventfds();
        intx.set(set(GIVE, 0, 1), files).unwrap();
        intx.drive(true);
        intx.update(false);
        assert!(!line.take());
        intx.update(true);
        intx.update(true);
        assert!(line.take() && !line.take());
        let unmask = set(irq::DATA_NONE | irq::UNMASK, 0, 1);
        intx.set(unmask, vec![]).unwrap();
        intx.update(true);
        assert!(line.take());
        intx.drive(false);
        intx.set(unmask, vec![]).unwrap();
        intx.update(true);
        assert!(!line.take());
        // By an eventfd, as KVM does it.
        let ([resample], files) = eventfds();
        let by_eventfd = set(irq::DATA_EVENTFD | irq::UNMASK, 0, 1);
        intx.set(by_eventfd, files).unwrap();
        assert!(intx.descriptor().is_some());
        intx.drive(true);
        intx.update(true);
        assert!(line.take());
        resample.ring();
        intx.unmasked();
        intx.update(true);
        assert!(line.take());
        intx.unmasked();
        intx.update(true);
        assert!(!line.take());
        // Nobody waits any more.
        intx.set(set(irq::DATA_NONE | irq::TRIGGER, 0, 0), vec![])
            .unwrap();
        assert!(intx.descriptor().is_none());
    }
}
