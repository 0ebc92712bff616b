// SPDX-License-Identifier: MIT OR Apache-2.0

//! Messages between a bridge and a host that is a thread of this process: what the ZeroMQ
//! socket is where the host is QEMU with our device.
//!
//! One queue each way, in order, each with a lock, and an eventfd for whoever sleeps; a look at
//! an empty queue makes no system call. Hosts come one after another. Each has a number, so
//! that nothing that is for one of them reaches the next.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use accelerator_carrier::descriptors::EventFd;

use crate::words::{Words, PEER_GONE, SOCKET};

/// Messages that wait for the host, at most; it takes them in as soon as it runs.
const MOST: usize = 1024;

/// Why a message is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no room at the moment.
    Full,
    /// It is for a host that is not there any more.
    Gone,
}

/// A queue, and whether its eventfd was rung since the queue was found empty.
#[derive(Default)]
struct Queue {
    messages: VecDeque<(u64, Vec<u8>)>,
    rung: bool,
    /// The host that is there; 0 if there is none.
    host: u64,
}

struct Way {
    queue: Mutex<Queue>,
    bell: EventFd,
}

impl Way {
    fn new() -> io::Result<Self> {
        Ok(Self {
            queue: Mutex::default(),
            bell: EventFd::new()?,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, queue: &mut Queue, host: u64, message: &[u8]) {
        queue.messages.push_back((host, message.to_vec()));
        if !std::mem::replace(&mut queue.rung, true) {
            self.bell.ring();
        }
    }

    /// With the lock held, so that it stays rung if something comes at the same time.
    fn silence(&self, queue: &mut Queue) {
        if std::mem::take(&mut queue.rung) {
            self.bell.take();
        }
    }
}

/// What both ends have.
struct Ways {
    to_bridge: Way,
    to_host: Way,
    words: &'static Words,
}

/// The bridge's end.
pub struct Near(Arc<Ways>);

/// The host's end.
pub struct Far(Arc<Ways>);

/// Both ends; the bridge has these `words`.
///
/// # Errors
///
/// Of the system: there are no descriptors left.
pub fn pair(words: &'static Words) -> io::Result<(Near, Far)> {
    let ways = Arc::new(Ways {
        to_bridge: Way::new()?,
        to_host: Way::new()?,
        words,
    });
    Ok((Near(Arc::clone(&ways)), Far(ways)))
}

impl Near {
    /// Readable while there may be a message.
    ///
    /// # Errors
    ///
    /// Of the system: there are no descriptors left.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.0.to_bridge.bell.duplicate()
    }

    /// The next message, and the host that has sent it.
    pub fn receive(&self) -> Option<(u64, Vec<u8>)> {
        let way = &self.0.to_bridge;
        let mut queue = way.lock();
        let message = queue.messages.pop_front();
        if message.is_none() {
            way.silence(&mut queue);
        }
        message
    }

    /// Sends to a host.
    ///
    /// # Errors
    ///
    /// It did not get the message.
    pub fn send(&self, host: u64, message: &[u8]) -> Result<(), Refused> {
        let way = &self.0.to_host;
        let mut queue = way.lock();
        if queue.host != host {
            return Err(Refused::Gone);
        }
        if queue.messages.len() >= MOST {
            return Err(Refused::Full);
        }
        way.push(&mut queue, host, message);
        Ok(())
    }
}

impl Far {
    /// Readable while there may be a message.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.to_host.bell.as_fd()
    }

    /// Rings this end itself.
    pub fn ring(&self) {
        let way = &self.0.to_host;
        let mut queue = way.lock();
        if !std::mem::replace(&mut queue.rung, true) {
            way.bell.ring();
        }
    }

    /// Another handle for this end, to ring it.
    pub fn another(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// A host is there from now on, which is not 0, or none is. What was on its way to the last
    /// one is lost.
    pub fn host(&self, host: u64) {
        let mut queue = self.0.to_host.lock();
        queue.host = host;
        queue.messages.clear();
    }

    /// Nobody is there any more, and the bridge is to find that out at once.
    pub fn lost(&self) {
        self.host(0);
        self.0.words.attend(PEER_GONE);
    }

    /// All messages that are there.
    pub fn receive(&self) -> VecDeque<(u64, Vec<u8>)> {
        let way = &self.0.to_host;
        let mut queue = way.lock();
        way.silence(&mut queue);
        std::mem::take(&mut queue.messages)
    }

    /// Sends to the bridge, as that host. What may be under way is for the session to bound.
    pub fn send(&self, host: u64, message: &[u8]) {
        let way = &self.0.to_bridge;
        way.push(&mut way.lock(), host, message);
        // Faster than the watcher, which looks at the descriptor.
        self.0.words.attend(SOCKET);
    }
}

#[cfg(test)]
mod tests {
    use std::{os::fd::AsRawFd, sync::atomic::Ordering};

    use super::*;

    fn is_readable(fd: BorrowedFd<'_>) -> bool {
        let mut item = libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one item, which is valid.
        unsafe { libc::poll(&mut item, 1, 0) == 1 }
    }

    #[test]
    fn in_order_and_for_one_host() {
        static WORDS: Words = Words::new();
        let (near, far) = pair(&WORDS).unwrap();
        let descriptor = near.descriptor().unwrap();
        assert_eq!(near.receive(), None);
        assert_eq!(near.send(1, b"a"), Err(Refused::Gone));
        far.host(1);
        for text in [b"a", b"b"] {
            near.send(1, text).unwrap();
            far.send(1, text);
        }
        assert!(is_readable(descriptor.as_fd()) && is_readable(far.descriptor()));
        assert_eq!(WORDS.attention.load(Ordering::Relaxed), SOCKET);
        assert_eq!(near.receive(), Some((1, b"a".to_vec())));
        assert_eq!(near.receive(), Some((1, b"b".to_vec())));
        // It is readable until it was found empty.
        assert!(is_readable(descriptor.as_fd()));
        assert_eq!(near.receive(), None);
        assert!(!is_readable(descriptor.as_fd()));
        let got: Vec<_> = far.receive().into();
        assert_eq!(got, [(1, b"a".to_vec()), (1, b"b".to_vec())]);
        assert!(!is_readable(far.descriptor()));

        near.send(1, b"late").unwrap();
        far.host(2);
        assert!(far.receive().is_empty());
        assert_eq!(near.send(1, b"later"), Err(Refused::Gone));
        for _ in 0..MOST {
            near.send(2, b"x").unwrap();
        }
        assert_eq!(near.send(2, b"x"), Err(Refused::Full));
        assert_eq!(far.receive().len(), MOST);
        far.ring();
        assert!(is_readable(far.descriptor()));
        far.lost();
        assert_eq!(near.send(2, b"x"), Err(Refused::Gone));
        assert_ne!(WORDS.attention.load(Ordering::Relaxed) & PEER_GONE, 0);
    }
}
