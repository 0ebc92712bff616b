// SPDX-License-Identifier: GPL-2.0-or-later

//! A host that vanishes without a word: power that fails, a cable that is pulled.
//!
//! As long as nothing is under way TCP's keep-alive finds out, in half a minute.
//! Once something is, a read for instance, Linux sends that again and again for a
//! quarter of an hour instead. `TCP_USER_TIMEOUT` would shorten it, but also end the
//! connection to a host that is stopped in a debugger with full buffers, whose kernel
//! answers well. So whoever waits looks now and then at what the kernel knows: an
//! acknowledgement that is due and does not come.

use std::{
    mem::MaybeUninit,
    os::fd::RawFd,
    time::{Duration, Instant},
};

use log::warn;

use super::{Link, Shared};

/// Keep-alive: seconds of silence until the first probe, their distance, and their
/// number.
const IDLE: i32 = 10;
const DISTANCE: i32 = 5;
const PROBES: i32 = 4;

/// How long an acknowledgement may be due.
const SILENCE: Duration = Duration::from_secs((IDLE + DISTANCE * PROBES) as u64);

/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Has connections of a socket probed while nothing is under way.
pub(super) fn keep_alive(socket: &zmq::Socket) -> zmq::Result<()> {
    socket.set_tcp_keepalive(1)?;
    socket.set_tcp_keepalive_idle(IDLE)?;
    socket.set_tcp_keepalive_intvl(DISTANCE)?;
    socket.set_tcp_keepalive_cnt(PROBES)
}

/// What the kernel tells of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// Something was sent again, and is not acknowledged yet.
    due: bool,
    /// Since the last acknowledgement.
    silence: Duration,
}

/// A TCP connection of libzmq's.
#[derive(Debug)]
pub(super) struct Connection {
    descriptor: RawFd,
    /// The kernel's name for it: the number of the descriptor may be another's by
    /// the time that we hear of its end.
    cookie: u64,
    before: Option<State>,
    next: Instant,
}

/// Whether the other end is gone. Two looks are needed: a peer that takes no data is
/// probed at growing distances, and just before the answer to such a probe the first
/// look of the two shows the same.
fn is_gone(before: Option<State>, now: State) -> bool {
    now.due && now.silence >= SILENCE && before.is_some_and(|b| b.due && now.silence > b.silence)
}

/// An option of a socket, if there is such a socket and it has this option.
///
/// # Safety
///
/// Every pattern of bits is a value of `T`, zeros at its end included.
unsafe fn option<T>(descriptor: RawFd, level: i32, name: i32) -> Option<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut length = std::mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is valid for `length` bytes, and any descriptor may be given.
    let rc = unsafe {
        libc::getsockopt(
            descriptor,
            level,
            name,
            value.as_mut_ptr().cast(),
            &mut length,
        )
    };
    // SAFETY: any pattern of bits will do (promised).
    (rc == 0).then(|| unsafe { value.assume_init() })
}

/// The kernel's account of a connection; none if it is no TCP connection.
fn look(descriptor: RawFd) -> Option<State> {
    // SAFETY: the struct consists of integers.
    let info: libc::tcp_info = unsafe { option(descriptor, libc::IPPROTO_TCP, libc::TCP_INFO) }?;
    Some(State {
        due: info.tcpi_retransmits != 0 || info.tcpi_probes != 0,
        silence: Duration::from_millis(info.tcpi_last_ack_recv.into()),
    })
}

fn cookie(descriptor: RawFd) -> Option<u64> {
    // SAFETY: an integer.
    unsafe { option(descriptor, libc::SOL_SOCKET, libc::SO_COOKIE) }
}

impl Connection {
    /// The connection that libzmq says it has made; none if it is not over TCP.
    pub(super) fn new(descriptor: u32, now: Instant) -> Option<Self> {
        let descriptor = RawFd::try_from(descriptor).ok()?;
        look(descriptor)?;
        Some(Self {
            descriptor,
            cookie: cookie(descriptor)?,
            before: None,
            next: now + LOOK,
        })
    }

    /// Looks, if it is time, and ends the connection if its other end is gone, as if
    /// it had been closed there. How long it has been silent then.
    fn end_if_gone(&mut self, now: Instant) -> Option<Duration> {
        if now < self.next {
            return None;
        }
        self.next = now + LOOK;
        let state = look(self.descriptor)?;
        let before = self.before.replace(state);
        if !is_gone(before, state) || cookie(self.descriptor) != Some(self.cookie) {
            return None;
        }
        // SAFETY: it takes any descriptor, and no memory.
        unsafe { libc::shutdown(self.descriptor, libc::SHUT_RDWR) };
        Some(state.silence)
    }
}

impl Link {
    /// Ends the connection to a host that has vanished. For whoever waits.
    pub(super) fn look_for_the_host(&self, shared: &mut Shared, now: Instant) {
        let connection = shared.wire.as_mut().and_then(|w| w.connection.as_mut());
        if let Some(silence) = connection.and_then(|c| c.end_if_gone(now)) {
            warn!(
                "{}: nothing has come from the host of {} for {:.0} s, not even acknowledgements: \
                 the connection is ended",
                self.name(),
                self.settings.endpoint,
                silence.as_secs_f32()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        os::{fd::AsRawFd, unix::net::UnixStream},
    };

    use super::*;

    fn state(due: bool, seconds: u64) -> State {
        State {
            due,
            silence: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn gone_is_who_owes_an_answer_for_long() {
        for (before, now, gone) in [
            (None, state(true, 100), false),
            (Some(state(true, 25)), state(true, 30), true),
            (Some(state(true, 24)), state(true, 29), false),
            // Nothing is under way: keep-alive's matter.
            (Some(state(false, 95)), state(false, 100), false),
            // Stopped with full buffers, and the kernel's next probe has just left.
            (Some(state(false, 95)), state(true, 100), false),
            (Some(state(true, 119)), state(true, 4), false),
        ] {
            assert_eq!(is_gone(before, now), gone, "{before:?} {now:?}");
        }
    }

    #[test]
    fn only_tcp_connections_are_looked_at_and_only_while_they_are_themselves() {
        let now = Instant::now();
        let (unix, _other) = UnixStream::pair().unwrap();
        assert!(Connection::new(unix.as_raw_fd() as u32, now).is_none());
        assert!(Connection::new(u32::MAX, now).is_none());
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut connection = Connection::new(tcp.as_raw_fd() as u32, now).unwrap();
        assert_eq!(connection.end_if_gone(now), None);
        assert_eq!(connection.before, None);
        assert_eq!(connection.end_if_gone(now + LOOK), None);
        assert!(connection.before.is_some());
        assert_ne!(cookie(other.as_raw_fd()), Some(connection.cookie));
    }
}
