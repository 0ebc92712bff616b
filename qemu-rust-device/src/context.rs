// SPDX-License-Identifier: GPL-2.0-or-later

//! A ZeroMQ context whose threads run.
//!
//! libzmq starts its threads with the first socket, and ends the process if they
//! cannot be started, may not set their scheduling (`src/thread.cpp`), or get no
//! epoll instance (`src/epoll.cpp`). A machine that runs must not end because a card
//! is plugged in, so all that is tried before. What comes later, sockets and
//! connections, libzmq reports or tries again by itself.
//!
//! Another thread may take what was found to be there. So more is looked for than
//! is needed.

use std::{
    fs::File,
    io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::Path,
    sync::mpsc::{channel, Sender},
    thread::JoinHandle,
    time::Duration,
};

use accelerator_carrier::threads;

use crate::error::LinkError;

/// Of libzmq and of the link, which begins soon after.
const THREADS: usize = 3;

/// An epoll instance and an eventfd for each of libzmq's threads, eventfds for the
/// context and three sockets, the connection; four times as many.
const DESCRIPTORS: usize = 36;

/// Bytes of address space that malloc takes for each thread that allocates.
const ARENA: usize = 128 << 20;

/// Bytes beside these and the stacks.
const MEMORY: usize = 64 << 20;

/// A context with its threads.
///
/// # Errors
///
/// What libzmq or the link would need is not to be had.
pub(crate) fn start() -> Result<zmq::Context, LinkError> {
    // First, since threads end the process too if they find no memory.
    try_memory()?;
    let context = zmq::Context::new();
    // Held to the end, so that all of it is there at once.
    let threads = try_threads()?;
    let descriptors = try_descriptors()?;
    drop((descriptors, threads));
    // The first socket of a context starts its threads.
    threads::start(|| context.socket(zmq::PAIR))
        .map_err(|e| LinkError::Zmq("cannot make a socket", e))?;
    Ok(context)
}

fn try_descriptors() -> Result<Vec<OwnedFd>, LinkError> {
    let fail = |e| {
        LinkError::System(
            "libzmq needs more descriptors than can be opened (RLIMIT_NOFILE)",
            e,
        )
    };
    let first: OwnedFd = File::open("/dev/null").map_err(fail)?.into();
    let mut all = Vec::with_capacity(DESCRIPTORS);
    for _ in 1..DESCRIPTORS {
        all.push(first.try_clone().map_err(fail)?);
    }
    all.push(first);
    Ok(all)
}

/// Threads that wait until they are dropped.
struct Threads {
    all: Vec<(Sender<()>, JoinHandle<()>)>,
    ids: Vec<libc::pid_t>,
}

impl Drop for Threads {
    fn drop(&mut self) {
        for (end, thread) in self.all.drain(..) {
            drop(end);
            // It cannot have panicked.
            let _ = thread.join();
        }
        // A thread that has been joined counts a moment longer.
        for id in &self.ids {
            let entry = format!("/proc/self/task/{id}");
            for _ in 0..1000 {
                if !Path::new(&entry).exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

fn try_threads() -> Result<Threads, LinkError> {
    let mut threads = Threads {
        all: Vec::with_capacity(THREADS),
        ids: Vec::with_capacity(THREADS),
    };
    let (tell, told) = channel();
    for _ in 0..THREADS {
        let (end, ended) = channel::<()>();
        let tell = tell.clone();
        let run = move || {
            // Whoever does not want to know has failed already.
            let _ = tell.send((gettid(), set_own_scheduling()));
            let _ = ended.recv();
        };
        let thread = threads::spawn("acc-try", run).map_err(|e| {
            LinkError::System(
                "libzmq and the link need more threads than can be started",
                e,
            )
        })?;
        threads.all.push((end, thread));
    }
    for (id, result) in told.iter().take(THREADS) {
        threads.ids.push(id);
        result.map_err(|e| {
            LinkError::System(
                "libzmq's threads may not set their scheduling, on which it insists (-sandbox with \
                 resourcecontrol=deny?)",
                e,
            )
        })?;
    }
    Ok(threads)
}

fn gettid() -> libc::pid_t {
    // SAFETY: tells a number.
    unsafe { libc::gettid() }
}

/// Sets the scheduling of this thread to what it is, as libzmq's threads do.
fn set_own_scheduling() -> io::Result<()> {
    let mut policy = 0;
    let mut parameters = MaybeUninit::<libc::sched_param>::uninit();
    // SAFETY: the pointers are valid; the second call reads what the first has
    // filled in.
    let error = unsafe {
        let this = libc::pthread_self();
        match libc::pthread_getschedparam(this, &mut policy, parameters.as_mut_ptr()) {
            0 => libc::pthread_setschedparam(this, policy, parameters.as_ptr()),
            error => error,
        }
    };
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Maps memory that is not touched, and gives it back.
fn try_memory() -> Result<(), LinkError> {
    let sizes = [
        (libc::PROT_NONE, THREADS * ARENA),
        (
            libc::PROT_READ | libc::PROT_WRITE,
            MEMORY + THREADS * threads::STACK,
        ),
    ];
    let mut result = Ok(());
    let places = sizes.map(|(access, size)| {
        // SAFETY: a new mapping that nobody else knows.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size,
                access,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            result = Err(LinkError::System(
                "libzmq and the link need more memory than can be had",
                io::Error::last_os_error(),
            ));
        }
        (at, size)
    });
    for (at, size) in places {
        if at != libc::MAP_FAILED {
            // SAFETY: mapped above, and nobody uses it.
            unsafe { libc::munmap(at, size) };
        }
    }
    result
}
