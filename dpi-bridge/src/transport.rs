// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ROUTER socket: bound by the simulator, connected to by QEMU.

use std::{
    fs,
    io::ErrorKind,
    os::{
        fd::BorrowedFd,
        unix::{
            fs::{FileTypeExt, MetadataExt},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
    sync::{atomic::AtomicU32, Mutex, PoisonError},
    time::Duration,
};

use accelerator_protocol::wire::MAX_MESSAGE;

use crate::{
    error::{fail, Code, Error, Result},
    security::Security,
    threads,
    watcher::Watcher,
};

/// Messages that libzmq keeps in each direction; beyond it the one side stops
/// reading and the other side's backlog fills. With [`MAX_MESSAGE`] it bounds
/// what a hostile peer can make us keep.
const HIGH_WATER: i32 = 256;

/// How long libzmq may try to get rid of what was sent when the socket closes.
const LINGER_MS: i32 = 300;

const MONITOR: &str = "inproc://monitor";

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

/// The bound socket with its watcher.
pub struct Transport {
    // Closed in `close`, in this order; a socket keeps its context alive.
    router: zmq::Socket,
    keys: Option<accelerator_curve::Guard>,
    watcher: Watcher,
    file: Option<SocketFile>,
}

/// The file of an `ipc://` endpoint. libzmq does not remove it.
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Only if it is still ours; another simulator may have replaced it.
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|m| m.dev() == self.device && m.ino() == self.inode);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
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
        attention: &'static AtomicU32,
        warn: Option<Duration>,
        target: &str,
    ) -> Result<Self> {
        let context = zmq::Context::new();
        let set_up = || -> zmq::Result<zmq::Socket> {
            // The first socket of a context starts its threads.
            let router = threads::start(|| context.socket(zmq::ROUTER))?;
            router.set_router_mandatory(true)?;
            router.set_maxmsgsize(MAX_MESSAGE as i64)?;
            router.set_sndhwm(HIGH_WATER)?;
            router.set_rcvhwm(HIGH_WATER)?;
            router.set_linger(LINGER_MS)?;
            router.set_ipv6(endpoint.starts_with("tcp://["))?;
            router.monitor(MONITOR, i32::from(zmq::SocketEvent::ALL.to_raw()))?;
            Ok(router)
        };
        let router = set_up().map_err(|e| io("cannot make a ZeroMQ socket", endpoint, e))?;
        let connect = || -> zmq::Result<zmq::Socket> {
            let monitor = context.socket(zmq::PAIR)?;
            monitor.set_linger(0)?;
            monitor.connect(MONITOR)?;
            Ok(monitor)
        };
        let monitor = connect().map_err(|e| io("cannot monitor the socket", endpoint, e))?;

        let keys = Security::from_environment()?.apply(&context, &router, endpoint, target)?;
        let file = match endpoint.strip_prefix("ipc://") {
            Some(path) => Some(bind_file(&router, endpoint, Path::new(path))?),
            None => {
                router.bind(endpoint).map_err(|e| bind_error(endpoint, e))?;
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
        let watcher = Watcher::start(attention, descriptor, monitor, warn, target)
            .map_err(|e| io("cannot start the watcher thread", endpoint, e))?;
        Ok(Self {
            router,
            keys,
            watcher,
            file,
        })
    }

    /// The watcher.
    pub fn watcher(&mut self) -> &mut Watcher {
        &mut self.watcher
    }

    /// Takes the next message, without waiting.
    ///
    /// # Errors
    ///
    /// Of libzmq, other than those of a signal.
    pub fn receive(&self) -> Result<Received> {
        let mut peer = zmq::Message::new();
        loop {
            match self.router.recv(&mut peer, zmq::DONTWAIT) {
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
            match self.router.recv(&mut body, zmq::DONTWAIT) {
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
        loop {
            match self.router.send(peer, zmq::DONTWAIT | zmq::SNDMORE) {
                Ok(()) => break,
                Err(zmq::Error::EAGAIN) => return Ok(Sent::Full),
                Err(zmq::Error::EHOSTUNREACH) => return Ok(Sent::Gone),
                Err(zmq::Error::EINTR) => {}
                Err(e) => fail!(Io, "cannot send to the host: {e}"),
            }
        }
        loop {
            match self.router.send(body, zmq::DONTWAIT) {
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
        let Self {
            router,
            keys,
            watcher,
            file,
        } = self;
        // The file goes first, so that nobody connects to what is closing.
        drop(file);
        drop(router);
        drop(keys);
        watcher.stop();
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
fn bind_file(router: &zmq::Socket, endpoint: &str, path: &Path) -> Result<SocketFile> {
    // libzmq removes whatever has the name before it binds. So look before:
    // a file that is no socket is not ours to remove, and a socket on which
    // somebody listens is in use.
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => fail!(
            Io,
            "cannot bind {endpoint}: {} exists and is not a socket; remove it, or choose another \
             path",
            path.display()
        ),
        Ok(_) => match UnixStream::connect(path) {
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
                log::debug!("{} is left over from an earlier run", path.display());
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            _ => return Err(bind_error(endpoint, zmq::Error::EADDRINUSE)),
        },
        Err(_) => {}
    }
    // The mask is the process's. For the moment of the call files that other
    // threads make are as private as ours, never less private than asked for.
    static MASK: Mutex<()> = Mutex::new(());
    let bound = {
        let _one = MASK.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: `umask` has no preconditions and cannot fail.
        let old = unsafe { libc::umask(0o177) };
        let bound = router.bind(endpoint);
        // SAFETY: as above.
        unsafe { libc::umask(old) };
        bound
    };
    bound.map_err(|e| bind_error(endpoint, e))?;
    let describe = || -> std::io::Result<SocketFile> {
        let meta = fs::symlink_metadata(path)?;
        Ok(SocketFile {
            // The working directory may be another one when we close.
            path: std::path::absolute(path)?,
            device: meta.dev(),
            inode: meta.ino(),
        })
    };
    describe().map_err(|e| io("cannot find the socket's file", endpoint, e))
}
