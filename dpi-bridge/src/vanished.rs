// SPDX-License-Identifier: MIT OR Apache-2.0

//! Hosts that vanish without a word: power that fails, a cable that is pulled.
//!
//! Nothing arrives then that would end the connection. As long as nothing is
//! under way TCP's keep-alive finds out, in half a minute. Once something is, Linux
//! sends that again and again for a quarter of an hour instead. `TCP_USER_TIMEOUT`
//! would shorten it, but also ends the connection to a host that is stopped in a
//! debugger with full buffers, whose kernel answers well. So the watcher looks at
//! what the kernel knows: an acknowledgement that is due and does not come.

use std::{
    os::fd::RawFd,
    time::{Duration, Instant},
};

/// Keep-alive: silence until the first probe, distance and number of probes, in
/// seconds.
const IDLE: libc::c_int = 10;
const DISTANCE: libc::c_int = 5;
const PROBES: libc::c_int = 4;

/// How long an acknowledgement may be due.
const SILENCE: Duration = Duration::from_secs((IDLE + DISTANCE * PROBES) as u64);

/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Has a connection probed while nothing is under way. Not by libzmq, which takes
/// the options of a socket for it and, compiled by cargo, knows no keep-alive. It
/// fails for a connection that is closed meanwhile.
fn keep_alive(descriptor: RawFd) -> bool {
    [
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, IDLE),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, DISTANCE),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, PROBES),
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
    ]
    .into_iter()
    .all(|(level, option, value)| {
        // SAFETY: `value` is valid for its size, and any descriptor may be given.
        let rc = unsafe {
            libc::setsockopt(
                descriptor,
                level,
                option,
                std::ptr::addr_of!(value).cast(),
                std::mem::size_of_val(&value) as libc::socklen_t,
            )
        };
        rc == 0
    })
}

/// What the kernel tells of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// Something was sent again, and is not acknowledged yet.
    due: bool,
    /// Since the last acknowledgement.
    silence: Duration,
}

#[derive(Debug)]
struct Connection {
    descriptor: RawFd,
    /// The last look.
    before: Option<State>,
}

/// The TCP connections of a socket.
#[derive(Debug, Default)]
pub struct Connections {
    open: Vec<Connection>,
    next: Option<Instant>,
}

/// Whether the other end is gone. Two looks are needed: a peer that takes no
/// data is probed at growing distances, and just before the answer to such a
/// probe the first look of the two shows the same.
fn is_gone(before: Option<State>, now: State) -> bool {
    now.due && now.silence >= SILENCE && before.is_some_and(|b| b.due && now.silence > b.silence)
}

/// The kernel's account of a connection; none if it is no TCP connection.
fn look(descriptor: RawFd) -> Option<State> {
    // SAFETY: all zeros is a value of this struct of integers.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = std::mem::size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: `info` is valid for `length` bytes, and any descriptor may be given.
    let rc = unsafe {
        libc::getsockopt(
            descriptor,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            std::ptr::addr_of_mut!(info).cast(),
            &mut length,
        )
    };
    (rc == 0).then(|| State {
        due: info.tcpi_retransmits != 0 || info.tcpi_probes != 0,
        silence: Duration::from_millis(info.tcpi_last_ack_recv.into()),
    })
}

impl Connections {
    /// libzmq has taken a connection.
    pub fn opened(&mut self, descriptor: u32, now: Instant) {
        // Unix sockets end with their process.
        let Ok(descriptor) = RawFd::try_from(descriptor) else {
            return;
        };
        self.closed(descriptor as u32);
        if look(descriptor).is_some() && keep_alive(descriptor) {
            self.open.push(Connection {
                descriptor,
                before: None,
            });
            self.next.get_or_insert(now + LOOK);
        }
    }

    /// libzmq has closed a connection.
    pub fn closed(&mut self, descriptor: u32) {
        self.open
            .retain(|c| u32::try_from(c.descriptor) != Ok(descriptor));
        if self.open.is_empty() {
            self.next = None;
        }
    }

    /// When to look next.
    pub fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Looks, if it is time, and ends the connections whose other end is gone, as
    /// if they had been closed there. How long each of them has been silent.
    /// All that the monitor has told has to be known before, so that no descriptor
    /// is one that the process uses for something else by now.
    pub fn end_those_that_are_gone(&mut self, now: Instant) -> Vec<Duration> {
        if self.next.is_none_or(|next| now < next) {
            return Vec::new();
        }
        let mut gone = Vec::new();
        self.open.retain_mut(|c| {
            let Some(state) = look(c.descriptor) else {
                return false;
            };
            let is_gone = is_gone(c.before.replace(state), state);
            if is_gone {
                gone.push(state.silence);
                // SAFETY: it takes any descriptor, and no memory.
                unsafe { libc::shutdown(c.descriptor, libc::SHUT_RDWR) };
            }
            !is_gone
        });
        self.next = (!self.open.is_empty()).then(|| now + LOOK);
        gone
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
            // Stopped with full buffers: the kernel's probes are answered, and the
            // next one has just left.
            (Some(state(false, 95)), state(true, 100), false),
            (Some(state(true, 119)), state(true, 4), false),
            (Some(state(true, 119)), state(true, 119), false),
        ] {
            assert_eq!(is_gone(before, now), gone, "{before:?} {now:?}");
        }
    }

    #[test]
    fn only_tcp_connections_are_looked_at() {
        let now = Instant::now();
        let mut connections = Connections::default();
        let (unix, _other) = UnixStream::pair().unwrap();
        connections.opened(unix.as_raw_fd() as u32, now);
        connections.opened(u32::MAX, now);
        assert_eq!(connections.next(), None);
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        connections.opened(tcp.as_raw_fd() as u32, now);
        connections.opened(tcp.as_raw_fd() as u32, now);
        assert_eq!(connections.open.len(), 1);
        assert_eq!(connections.next(), Some(now + LOOK));
        assert!(connections.end_those_that_are_gone(now + LOOK).is_empty());
        assert_eq!(connections.next(), Some(now + 2 * LOOK));
        connections.closed(tcp.as_raw_fd() as u32);
        assert_eq!(connections.next(), None);
    }
}
