// SPDX-License-Identifier: MIT OR Apache-2.0

//! What carries messages to and from hosts: the ROUTER socket, bound by the simulator and
//! connected to by QEMU; or a [`pipe`] to a thread that serves QEMU by
//! [`vfio`].

use std::{
    os::fd::{AsRawFd, BorrowedFd, IntoRawFd},
    path::Path,
    time::Duration,
};

use accelerator_protocol::Config;
use accelerator_socket::{
    context::{self, Needs},
    options::{self, HIGH_WATER, LINGER},
    watched::{self, Watched},
};

use crate::{
    error::{fail, Code, Error, Result},
    pipe::{self, Near, Refused},
    predecessor::outlast,
    security::Security,
    socket_file::{self, SocketFile},
    vfio,
    waits::Board,
    watcher::Watcher,
    words::Words,
};

/// What a socket needs of the system: with its watcher, what checks keys and a first connection,
/// and some for what else the process does at that moment.
const NEEDS: Needs = Needs {
    threads: 4,
    descriptors: 24,
    memory: None,
};

/// Unsent bytes are gathered into messages of about this size.
pub const GATHER: usize = 128 * 1024;

/// How long closing waits for the host to take what was not sent yet.
pub const CLOSE_LIMIT: Duration = Duration::from_millis(200);

/// Bytes that wait for a host beyond what libzmq takes: answers to what the host
/// itself asked for, and no more than a few hundred KiB if it asks for what it may.
/// One that asks for more and does not read the answers has no session any more.
pub const MAX_BACKLOG: usize = 4 << 20;

/// How sending went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way.
    Yes,
    /// The peer's queue is full; nothing was sent.
    Full,
    /// There is no such peer (any more).
    Gone,
}

/// What came.
pub enum Received {
    /// Nothing is there, and the socket has processed all that was pending.
    Nothing,
    /// A message of one part, as every host sends them.
    Message {
        /// The routing id that libzmq gave to its sender.
        peer: zmq::Message,
        /// The frames.
        body: zmq::Message,
    },
    /// A message of another number of parts.
    Parts {
        /// Its sender.
        peer: zmq::Message,
        /// How many, without the routing id.
        parts: usize,
    },
}

/// Which way messages go.
enum Way {
    /// Through a socket of ZeroMQ.
    // Closed in `close`, in this order; a socket keeps its context alive.
    Socket {
        router: Watched,
        keys: Option<accelerator_curve::Guard>,
        file: Option<SocketFile>,
    },
    /// To a thread of this process.
    Here { near: Near, server: vfio::Server },
}

/// The way with its watcher.
pub struct Transport {
    way: Way,
    watcher: Watcher,
}

fn io(what: &str, endpoint: &str, e: impl std::fmt::Display) -> Error {
    Error::new(Code::Io, format!("{what} for {endpoint}: {e}"))
}

impl Transport {
    /// Binds the socket and starts its watcher.
    ///
    /// # Errors
    ///
    /// `Code::Io` with a text that names the endpoint and what can be done.
    pub fn bind(
        endpoint: &str,
        words: &'static Words,
        warn: Option<Duration>,
        target: &str,
    ) -> Result<Self> {
        let make = |context: &zmq::Context| -> zmq::Result<_> {
            let router = context.socket(zmq::ROUTER)?;
            router.set_router_mandatory(true)?;
            options::set(&router, endpoint)?;
            router.set_sndhwm(HIGH_WATER)?;
            router.set_linger(options::ms(LINGER))?;
            watched::watch(context, router, watched::ALL)
        };
        let (context, (events, mut router)) =
            context::start(&NEEDS, make).map_err(|e| io("cannot make a socket", endpoint, e))?;

        let keys = Security::from_environment()?.apply(&context, &router, endpoint, target)?;
        let file = match endpoint.strip_prefix("ipc://") {
            Some(path) => Some(bind_file(&mut router, endpoint, Path::new(path))?),
            None => {
                outlast(|e| *e == zmq::Error::EADDRINUSE, || router.bind(endpoint))
                    .map_err(|e| bind_error(endpoint, e))?;
                None
            }
        };

        let descriptor = router
            .get_fd()
            .map_err(|e| io("cannot get the socket's descriptor", endpoint, e))?;
        // SAFETY: the descriptor belongs to `router`, which stays open during
        // the call that duplicates it.
        let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) }
            .try_clone_to_owned()
            .map_err(|e| io("cannot duplicate the socket's descriptor", endpoint, e))?;
        let watcher = match Watcher::start(words, descriptor, Some(events), warn, target) {
            Ok(watcher) => watcher,
            Err((e, events)) => {
                drop(router);
                drop(events);
                return Err(io("cannot start the watcher thread", endpoint, e));
            }
        };
        let way = Way::Socket { router, keys, file };
        Ok(Self { way, watcher })
    }

    /// Serves a function of this configuration, which was checked, by vfio-user at
    /// `endpoint`, as [`vfio::parse_endpoint`] has returned it.
    ///
    /// # Errors
    ///
    /// `Code::Io` or `Code::Invalid` with a text that names what is wrong.
    pub fn serve(
        endpoint: &str,
        config: &Config,
        words: &'static Words,
        warn: Option<Duration>,
        target: &str,
    ) -> Result<Self> {
        let path = endpoint.strip_prefix(vfio::SCHEME).unwrap_or(endpoint);
        let (near, far) = pipe::pair(words).map_err(|e| io("cannot make a pipe", endpoint, e))?;
        let descriptor = near
            .descriptor()
            .map_err(|e| io("cannot make a pipe", endpoint, e))?;
        let server = vfio::Server::start(path, config, far, target)?;
        match Watcher::start(words, descriptor, None, warn, target) {
            Ok(watcher) => Ok(Self {
                way: Way::Here { near, server },
                watcher,
            }),
            Err((e, _)) => {
                server.stop();
                Err(io("cannot start the watcher thread", endpoint, e))
            }
        }
    }

    /// The watcher.
    pub fn watcher(&mut self) -> &mut Watcher {
        &mut self.watcher
    }

    /// Where to tell what is waited for.
    pub fn board(&self) -> &Board {
        self.watcher.board()
    }

    /// Takes the next message, without waiting.
    ///
    /// # Errors
    ///
    /// Of libzmq, other than those of a signal.
    pub fn receive(&self) -> Result<Received> {
        let router = match &self.way {
            Way::Socket { router, .. } => router,
            Way::Here { near, .. } => {
                return Ok(match near.receive() {
                    None => Received::Nothing,
                    Some((host, body)) => Received::Message {
                        peer: zmq::Message::from(&host.to_ne_bytes()[..]),
                        body: zmq::Message::from(body),
                    },
                })
            }
        };
        let mut peer = zmq::Message::new();
        loop {
            match router.recv(&mut peer, zmq::DONTWAIT) {
                Ok(()) => break,
                Err(zmq::Error::EAGAIN) => return Ok(Received::Nothing),
                Err(zmq::Error::EINTR) => {}
                Err(e) => fail!(Io, "cannot receive from the host: {e}"),
            }
        }
        let mut body = zmq::Message::new();
        let mut parts = 0;
        let mut more = peer.get_more();
        while more {
            // libzmq gives out whole messages only: the parts are there.
            match router.recv(&mut body, zmq::DONTWAIT) {
                Ok(()) => {
                    parts += 1;
                    more = body.get_more();
                }
                Err(zmq::Error::EINTR) => {}
                Err(e) => fail!(Io, "cannot receive a message's part {parts}: {e}"),
            }
        }
        Ok(if parts == 1 {
            Received::Message { peer, body }
        } else {
            Received::Parts { peer, parts }
        })
    }

    /// Sends a message to a peer, without waiting.
    ///
    /// # Errors
    ///
    /// Of libzmq, other than those that [`Sent`] tells and signals.
    pub fn send(&self, peer: &[u8], body: &[u8]) -> Result<Sent> {
        let router = match &self.way {
            Way::Socket { router, .. } => router,
            Way::Here { near, .. } => {
                let host = peer.try_into().map_or(0, u64::from_ne_bytes);
                return Ok(match near.send(host, body) {
                    Ok(()) => Sent::Yes,
                    Err(Refused::Full) => Sent::Full,
                    Err(Refused::Gone) => Sent::Gone,
                });
            }
        };
        loop {
            match router.send(peer, zmq::DONTWAIT | zmq::SNDMORE) {
                Ok(()) => break,
                Err(zmq::Error::EAGAIN) => return Ok(Sent::Full),
                Err(zmq::Error::EHOSTUNREACH) => return Ok(Sent::Gone),
                Err(zmq::Error::EINTR) => {}
                Err(e) => fail!(Io, "cannot send to the host: {e}"),
            }
        }
        loop {
            match router.send(body, zmq::DONTWAIT) {
                Ok(()) => return Ok(Sent::Yes),
                Err(zmq::Error::EINTR) => {}
                Err(zmq::Error::EHOSTUNREACH) => return Ok(Sent::Gone),
                Err(e) => fail!(Io, "cannot send {} bytes to the host: {e}", body.len()),
            }
        }
    }

    /// Closes the socket and ends the watcher. What was sent gets a third of a
    /// second to leave.
    pub fn close(self) {
        match self.way {
            Way::Socket { router, keys, file } => {
                // The file goes first, so that nobody connects to what is closing.
                drop(file);
                drop(router);
                drop(keys);
            }
            Way::Here { server, .. } => server.stop(),
        }
        self.watcher.stop();
    }
}

fn bind_error(endpoint: &str, e: zmq::Error) -> Error {
    let text = match e {
        zmq::Error::EADDRINUSE => format!(
            "cannot bind {endpoint}: the address is in use, probably by another simulator; stop \
             that one, or choose another endpoint (argument of acc_open, or the environment \
             variable {})",
            accelerator_protocol::PORT_VARIABLE
        ),
        zmq::Error::EACCES => format!(
            "cannot bind {endpoint}: permission denied; choose a port above 1023, or a path in a \
             directory that you may write to"
        ),
        zmq::Error::ENOENT => {
            format!("cannot bind {endpoint}: no such directory; make it, or choose another path")
        }
        e => format!("cannot bind {endpoint}: {e}"),
    };
    Error::new(Code::Io, text)
}

/// Binds a Unix socket with a file that only its owner can use.
fn bind_file(router: &mut Watched, endpoint: &str, path: &Path) -> Result<SocketFile> {
    let in_use = |e: &_| matches!(e, socket_file::Error::InUse);
    let (listener, file) = outlast(in_use, || socket_file::listen(path)).map_err(|e| match e {
        socket_file::Error::InUse => bind_error(endpoint, zmq::Error::EADDRINUSE),
        socket_file::Error::NoSocket => Error::new(
            Code::Io,
            format!(
                "cannot bind {endpoint}: {} exists and is not a socket; remove it, or choose \
                 another path",
                path.display()
            ),
        ),
        socket_file::Error::Io(e) => {
            let known = e.raw_os_error().map(zmq::Error::from_raw);
            bind_error(endpoint, known.unwrap_or(zmq::Error::EINVAL))
        }
    })?;
    router
        .set_option(zmq_sys::ZMQ_USE_FD, listener.as_raw_fd())
        .and_then(|()| router.bind(endpoint))
        .map_err(|e| bind_error(endpoint, e))?;
    // libzmq closes it from now on.
    let _ = listener.into_raw_fd();
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::ErrorKind,
        os::unix::fs::PermissionsExt,
        sync::atomic::{AtomicU32, Ordering},
    };

    use super::{
        socket_file::{listen, Error},
        *,
    };

    /// Calls of `umask` in this test program: the one below is linked in place of
    /// the C library's.
    static CALLS: AtomicU32 = AtomicU32::new(0);

    #[no_mangle]
    extern "C" fn umask(mask: libc::mode_t) -> libc::mode_t {
        CALLS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: no memory is involved.
        unsafe { libc::syscall(libc::SYS_umask, libc::c_long::from(mask)) as libc::mode_t }
    }

    #[test]
    fn the_umask_of_the_process_is_left_alone() {
        static WORDS: Words = Words::new();
        let folder = std::env::temp_dir().join(format!("acc-file-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("s");
        let endpoint = format!("ipc://{}", path.display());
        let transport = Transport::bind(&endpoint, &WORDS, None, "test").unwrap();
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(listen(&path), Err(Error::InUse)));
        transport.close();
        assert!(!path.exists());
        assert_eq!(CALLS.load(Ordering::SeqCst), 0);
        fs::write(&path, "").unwrap();
        assert!(matches!(listen(&path), Err(Error::NoSocket)));
        assert!(matches!(
            listen(&folder.join("none/s")),
            Err(Error::Io(e)) if e.kind() == ErrorKind::NotFound
        ));
        fs::remove_dir_all(&folder).unwrap();
    }
}
