// SPDX-License-Identifier: MIT OR Apache-2.0

//! Hosts that vanish without a word: power that fails, a cable that is pulled.
//!
//! Nothing arrives then that would end the connection. As long as nothing is
//! under way TCP's keep-alive finds out, in half a minute. Once something is, a read
//! for instance, Linux sends that again and again for a quarter of an hour instead.
//! `TCP_USER_TIMEOUT` would shorten it, but also end the connection to a host that is
//! stopped in a debugger with full buffers, whose kernel answers well. So whoever
//! waits looks now and then at what the kernel knows: an acknowledgement that is due
//! and does not come.

use std::{
    mem::MaybeUninit,
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
pub const LOOK: Duration = Duration::from_secs(5);

/// What the kernel tells of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// Something was sent again, and is not acknowledged yet.
    due: bool,
    /// Since the last acknowledgement.
    silence: Duration,
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

/// What a look at a connection finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No reason to end it, or it was not time for a look.
    Alive,
    /// It is closed by now.
    Closed,
    /// The other end is gone; the connection was ended, as if it had been closed there.
    Gone {
        /// For how long nothing had come.
        silence: Duration,
    },
}

/// A TCP connection whose descriptor is another's, who tells when it closes it: libzmq.
#[derive(Debug)]
pub struct Connection {
    descriptor: RawFd,
    /// The kernel's name for it: the number of the descriptor may be another's by
    /// the time that we hear of its end.
    cookie: u64,
    /// The last look.
    before: Option<State>,
    next: Instant,
}

impl Connection {
    /// The connection that has this descriptor, probed from now on while nothing is
    /// under way. None if it is not over TCP: Unix sockets end with their process.
    pub fn new(descriptor: u32, now: Instant) -> Option<Self> {
        let descriptor = RawFd::try_from(descriptor).ok()?;
        look(descriptor)?;
        let cookie = cookie(descriptor)?;
        keep_alive(descriptor).then_some(Self {
            descriptor,
            cookie,
            before: None,
            next: now + LOOK,
        })
    }

    /// Looks, if it is time, and ends the connection if its other end is gone.
    pub fn end_if_gone(&mut self, now: Instant) -> Found {
        if now < self.next {
            return Found::Alive;
        }
        self.next = now + LOOK;
        let Some(state) = look(self.descriptor) else {
            return Found::Closed;
        };
        if cookie(self.descriptor) != Some(self.cookie) {
            return Found::Closed;
        }
        if !is_gone(self.before.replace(state), state) {
            return Found::Alive;
        }
        // SAFETY: it takes any descriptor, and no memory.
        unsafe { libc::shutdown(self.descriptor, libc::SHUT_RDWR) };
        Found::Gone {
            silence: state.silence,
        }
    }
}

/// The TCP connections of a socket to which many can connect.
#[derive(Debug, Default)]
pub struct Connections {
    open: Vec<Connection>,
}

impl Connections {
    /// There is a new connection.
    pub fn opened(&mut self, descriptor: u32, now: Instant) {
        self.closed(descriptor);
        self.open.extend(Connection::new(descriptor, now));
    }

    /// A connection is closed.
    pub fn closed(&mut self, descriptor: u32) {
        self.open
            .retain(|c| u32::try_from(c.descriptor) != Ok(descriptor));
    }

    /// When to look next.
    pub fn next(&self) -> Option<Instant> {
        self.open.iter().map(|c| c.next).min()
    }

    /// Looks at those for which it is time, and ends the connections whose other end is
    /// gone. How long each of them has been silent.
    pub fn end_those_that_are_gone(&mut self, now: Instant) -> Vec<Duration> {
        let mut gone = Vec::new();
        self.open.retain_mut(|c| match c.end_if_gone(now) {
            Found::Alive => true,
            Found::Closed => false,
            Found::Gone { silence } => {
                gone.push(silence);
                false
            }
        });
        gone
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        os::{
            fd::{AsRawFd, FromRawFd, IntoRawFd},
            unix::net::UnixStream,
        },
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

    fn number(socket: &impl AsRawFd) -> u32 {
        socket.as_raw_fd() as u32
    }

    #[test]
    fn a_tcp_connection_is_probed_and_looked_at_while_it_is_itself() {
        let now = Instant::now();
        let (unix, _other) = UnixStream::pair().unwrap();
        assert!(Connection::new(number(&unix), now).is_none());
        assert!(Connection::new(u32::MAX, now).is_none());
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (tcp, other) = (connect(), connect());
        let probed = || {
            // SAFETY: an integer.
            unsafe { option::<i32>(tcp.as_raw_fd(), libc::SOL_SOCKET, libc::SO_KEEPALIVE) }
        };
        assert_eq!(probed(), Some(0));
        let mut connection = Connection::new(number(&tcp), now).unwrap();
        assert_eq!(probed(), Some(1));
        assert_eq!(connection.end_if_gone(now), Found::Alive);
        assert_eq!(connection.before, None);
        assert_eq!(connection.end_if_gone(now + LOOK), Found::Alive);
        assert!(connection.before.is_some());
        // Another one gets its number.
        // SAFETY: the descriptor that is closed by it is ours, and has an owner afterwards.
        let other = unsafe {
            let tcp = tcp.into_raw_fd();
            assert_eq!(libc::dup2(other.as_raw_fd(), tcp), tcp);
            TcpStream::from_raw_fd(tcp)
        };
        assert_eq!(connection.end_if_gone(now + 2 * LOOK), Found::Closed);
        drop(other);
        assert_eq!(connection.end_if_gone(now + 3 * LOOK), Found::Closed);
    }

    #[test]
    fn connections_are_looked_at_when_it_is_time_and_while_they_are_open() {
        let now = Instant::now();
        let mut connections = Connections::default();
        let (unix, _other) = UnixStream::pair().unwrap();
        connections.opened(number(&unix), now);
        assert_eq!(connections.next(), None);
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (first, second) = (connect(), connect());
        connections.opened(number(&first), now);
        connections.opened(number(&first), now);
        assert_eq!(connections.open.len(), 1);
        let later = now + Duration::from_secs(1);
        connections.opened(number(&second), later);
        assert_eq!(connections.next(), Some(now + LOOK));
        assert!(connections.end_those_that_are_gone(now + LOOK).is_empty());
        assert_eq!(connections.next(), Some(later + LOOK));
        connections.closed(number(&first));
        assert_eq!(connections.open.len(), 1);
        // Closed without a word.
        drop(second);
        assert!(connections.end_those_that_are_gone(later + LOOK).is_empty());
        assert_eq!(connections.next(), None);
    }
}
