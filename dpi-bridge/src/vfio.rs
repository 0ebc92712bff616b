// SPDX-License-Identifier: MIT OR Apache-2.0

//! The function for a QEMU that nobody patched: a vfio-user server behind the same bridge.
//!
//! QEMU's `vfio-user-pci` connects to a Unix socket of ours. A thread speaks vfio-user with it
//! and is the *host* of the bridge, with the session that `accelerator-pcie` has in QEMU; what
//! that sends through a ZeroMQ socket goes through a [`pipe`](crate::pipe) here. So all that is
//! above it, from the session up to the calls of the RTL, is the same, and so are its records
//! and counters.
//!
//! * [`wire`] has layouts and numbers, [`stream`] messages with descriptors;
//! * [`config_space`] is what a guest finds there, [`places`] where its capabilities are;
//! * [`interrupts`] is who waits for which vector, [`guest_memory`] where DMA goes, [`owner`]
//!   whether that is shared with us;
//! * [`card`] is all of that for one client, in order; [`server`] the thread with the socket.
//!
//! The crate `vfio_user` has a server too, which the benchmark uses (`tests/vfio-user`). It
//! handles one message after the other and answers each before it takes the next, so that DMA,
//! interrupts and a reset cannot come while a read waits for the RTL; it ends with an error, or
//! with an assertion, where a client breaks the protocol, allocates what a count of the client's
//! says, and knows no gathered writes.

mod card;
mod config_space;
mod guest_memory;
mod interrupts;
mod owner;
mod places;
mod server;
mod stream;
mod wire;

use std::{
    os::unix::net::UnixListener,
    panic::{catch_unwind, AssertUnwindSafe},
    path::Path,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    thread::JoinHandle,
    time::Duration,
};

use accelerator_carrier::threads;
use accelerator_protocol::Config;

use self::{card::Card, server::Serving};
use crate::{
    error::{fail, Code, Error, Result},
    pipe::Far,
    predecessor::outlast,
    socket_file,
};

/// What an endpoint of this kind begins with; the path of its socket follows.
pub const SCHEME: &str = "vfio-user:";

/// Name of the environment variable with the milliseconds that QEMU waits for an answer
/// (`x-msg-timeout` of `vfio-user-pci`); 0 if it waits as long as it takes.
///
/// QEMU loses its place in the stream if the answer to a read comes after it has given up, so
/// one that has waited for nine tenths of that time is answered here, with all ones.
pub const TIMEOUT_VARIABLE: &str = "ACCELERATOR_VFIO_USER_TIMEOUT_MS";

/// That time when the variable is not set, which is QEMU's own.
const DEFAULT_TIMEOUT_MS: u64 = 5000;

/// Longest path of a socket (`struct sockaddr_un`).
const MAX_PATH: usize = 107;

/// The endpoint that a text means, if it begins with [`SCHEME`].
///
/// # Errors
///
/// A text that names what is wrong with it.
pub fn parse_endpoint(text: &str) -> Option<std::result::Result<String, String>> {
    let path = text.trim().strip_prefix(SCHEME)?;
    Some(if path.is_empty() {
        Err(format!("endpoint {text:?} names no socket path"))
    } else if path.len() > MAX_PATH {
        Err(format!(
            "endpoint {text:?}: socket path of {} bytes, the system allows {MAX_PATH}",
            path.len()
        ))
    } else if path.contains(char::is_control) {
        Err(format!("endpoint {text:?} contains control characters"))
    } else if path.starts_with('@') {
        Err(format!(
            "endpoint {text:?} is an abstract socket, which every user of the machine can reach; \
             give it a path"
        ))
    } else {
        Ok(format!("{SCHEME}{path}"))
    })
}

/// After which time a read is given up.
fn patience(value: Option<&str>) -> std::result::Result<Option<Duration>, String> {
    let ms = match value.map(str::trim) {
        None | Some("") => DEFAULT_TIMEOUT_MS,
        Some(text) => text.parse().map_err(|_| {
            format!("{TIMEOUT_VARIABLE} is {text:?}, expected milliseconds (0 for no limit)")
        })?,
    };
    Ok((ms != 0).then(|| Duration::from_millis(ms / 10 * 9 + ms % 10)))
}

/// The thread that serves.
pub struct Server {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    far: Far,
}

impl Server {
    /// Listens at a path and serves the function of this configuration, which was checked, as
    /// the host at the end of `far`.
    ///
    /// # Errors
    ///
    /// `Code::Io` or `Code::Invalid` with a text that names the path, the variable or the
    /// capability.
    pub fn start(path: &str, config: &Config, far: Far, target: &str) -> Result<Self> {
        let invalid = |text| Error::new(Code::Invalid, text);
        let variable = std::env::var(TIMEOUT_VARIABLE).ok();
        let patience = patience(variable.as_deref()).map_err(invalid)?;
        Card::new(target, config, 0, None).map_err(invalid)?;
        let in_use = |e: &_| matches!(e, socket_file::Error::InUse);
        let (listener, file) = match outlast(in_use, || socket_file::listen(Path::new(path))) {
            Ok(there) => there,
            Err(socket_file::Error::InUse) => fail!(
                Io,
                "cannot listen at {path}: the address is in use, probably by another simulator; \
                 stop that one, or choose another path"
            ),
            Err(socket_file::Error::NoSocket) => fail!(
                Io,
                "cannot listen at {path}: it exists and is not a socket; remove it, or choose \
                 another path"
            ),
            Err(socket_file::Error::Io(e)) => fail!(Io, "cannot listen at {path}: {e}"),
        };
        let listener = UnixListener::from(listener);
        let cannot = |e| Error::new(Code::Io, format!("cannot serve {path}: {e}"));
        listener.set_nonblocking(true).map_err(cannot)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (ours, gone) = (far.another(), far.another());
        let mut serving = Serving::new(
            (listener, file),
            far,
            config,
            target,
            patience,
            Arc::clone(&stop),
        );
        let run = move || {
            threads::promptly();
            // A panic has been printed by the hook. The bridge finds its host gone then.
            if catch_unwind(AssertUnwindSafe(|| serving.run())).is_err() {
                gone.lost();
            }
        };
        // Signals are for the simulator's own threads.
        let spawned = threads::without_signals(|| {
            std::thread::Builder::new()
                .name("acc-vfio-user".into())
                .spawn(run)
        });
        Ok(Self {
            thread: Some(spawned.map_err(cannot)?),
            stop,
            far: ours,
        })
    }

    /// Tells the client what the bridge has said last, and ends.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::Release);
        self.far.ring();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by the hook.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        assert_eq!(parse_endpoint("7557"), None);
        assert_eq!(parse_endpoint("ipc:///x"), None);
        let good = parse_endpoint(" vfio-user:/run/card ").unwrap();
        assert_eq!(good.as_deref(), Ok("vfio-user:/run/card"));
        let long = format!("vfio-user:{}", "x".repeat(108));
        for bad in ["vfio-user:", "vfio-user:@x", "vfio-user:/a\u{7}b", &long] {
            assert!(parse_endpoint(bad).unwrap().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_time_until_a_read_is_given_up() {
        let ms = |n| Ok(Some(Duration::from_millis(n)));
        assert_eq!(patience(None), ms(4500));
        assert_eq!(patience(Some(" 1000\n")), ms(900));
        assert_eq!(patience(Some("7")), ms(7));
        assert_eq!(patience(Some("0")), Ok(None));
        assert!(patience(Some("5 s")).unwrap_err().contains("5 s"));
    }
}
