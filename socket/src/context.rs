// SPDX-License-Identifier: MIT OR Apache-2.0

//! A ZeroMQ context whose threads run.
//!
//! libzmq starts its threads with the first socket, and ends the process if they cannot be
//! started, may not set their scheduling (`src/thread.cpp`), or get no epoll instance
//! (`src/epoll.cpp`). Neither a machine nor a simulator that runs must end because a card is
//! plugged in, so all that is tried before. What comes later, sockets and connections, libzmq
//! reports or tries again by itself.
//!
//! Another thread may take what was found to be there. So more is looked for than is needed.

use std::{
    fmt,
    fs::File,
    io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::Path,
    sync::mpsc::{channel, Sender},
    thread::{Builder, JoinHandle},
    time::Duration,
};

use accelerator_carrier::threads;

/// Bytes of address space that malloc takes for each thread that allocates.
const ARENA: usize = 128 << 20;

/// What a context, its first sockets and whoever uses them need of the system.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Threads: libzmq's two, and those of the user that begin soon after.
    pub threads: usize,
    /// Descriptors.
    pub descriptors: usize,
    /// Bytes of memory beside the stacks and arenas of the threads. With `None` no memory is
    /// tried, nor any for these.
    pub memory: Option<usize>,
}

/// What is not there.
#[derive(Debug)]
pub enum Lack {
    /// Descriptors.
    Descriptors {
        /// How many are needed.
        needed: usize,
        /// How many could be opened.
        left: usize,
        /// What the system said to the next one.
        error: io::Error,
    },
    /// Threads.
    Threads {
        /// How many are needed.
        needed: usize,
        /// How many could be started.
        left: usize,
        /// What the system said to the next one.
        error: io::Error,
    },
    /// Leave for a thread to set its scheduling.
    Scheduling(io::Error),
    /// Memory.
    Memory(io::Error),
    /// Something else of which libzmq has told.
    Other(zmq::Error),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Descriptors {
                needed,
                left,
                error,
            } => write!(
                f,
                "a socket needs up to {needed} file descriptors, {left} are left ({error}; the \
                 process's limit is {}: ulimit -n, RLIMIT_NOFILE)",
                or_none(limit(libc::RLIMIT_NOFILE))
            ),
            Self::Threads {
                needed,
                left,
                error,
            } => write!(
                f,
                "a socket needs up to {needed} threads, {left} can be started ({error}; the \
                 user's limit is {}: ulimit -u, RLIMIT_NPROC; memory and the limits of a \
                 container count too)",
                or_none(limit(libc::RLIMIT_NPROC))
            ),
            Self::Scheduling(error) => write!(
                f,
                "libzmq's threads may not set their scheduling, on which it insists (a sandbox, \
                 as QEMU's -sandbox with resourcecontrol=deny?): {error}"
            ),
            Self::Memory(error) => write!(
                f,
                "a socket and its threads need more memory than can be had: {error}"
            ),
            Self::Other(error) => write!(f, "ZeroMQ has refused a socket: {error}"),
        }
    }
}

impl std::error::Error for Lack {}

/// The soft limit of a resource; none if there is no limit.
fn limit(resource: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid for writes.
    let rc = unsafe { libc::getrlimit(resource, &mut limit) };
    (rc == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

fn or_none(limit: Option<u64>) -> String {
    limit.map_or_else(|| "none".to_owned(), |n| n.to_string())
}

/// A context with its threads, and what `first` makes with it, a socket among it: libzmq starts
/// them with the first.
///
/// # Errors
///
/// What libzmq or its user would need is not to be had.
pub fn start<T>(
    needs: &Needs,
    first: impl FnOnce(&zmq::Context) -> zmq::Result<T>,
) -> Result<(zmq::Context, T), Lack> {
    // First, since threads end the process too if they find no memory.
    if let Some(memory) = needs.memory {
        try_memory(memory, needs.threads)?;
    }
    let context = zmq::Context::new();
    // Held to the end, so that all of it is there at once.
    let threads = try_threads(needs.threads)?;
    let descriptors = try_descriptors(needs.descriptors)?;
    drop((descriptors, threads));
    let made = threads::start(|| first(&context)).map_err(Lack::Other)?;
    Ok((context, made))
}

fn try_descriptors(needed: usize) -> Result<Vec<OwnedFd>, Lack> {
    let mut all: Vec<OwnedFd> = Vec::with_capacity(needed);
    for left in 0..needed {
        let next = match all.first() {
            None => File::open("/dev/null").map(OwnedFd::from),
            Some(first) => first.try_clone(),
        };
        all.push(next.map_err(|error| Lack::Descriptors {
            needed,
            left,
            error,
        })?);
    }
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

/// Bytes of a stack: what libzmq's threads get, which ask for no size, and no less than ours.
fn stack() -> usize {
    let system = limit(libc::RLIMIT_STACK).and_then(|n| usize::try_from(n).ok());
    system.unwrap_or(0).max(threads::STACK)
}

fn try_threads(needed: usize) -> Result<Threads, Lack> {
    let mut threads = Threads {
        all: Vec::with_capacity(needed),
        ids: Vec::with_capacity(needed),
    };
    let (tell, told) = channel();
    for left in 0..needed {
        let (end, ended) = channel::<()>();
        let tell = tell.clone();
        let run = move || {
            // Whoever does not want to know has failed already.
            let _ = tell.send((gettid(), set_own_scheduling()));
            let _ = ended.recv();
        };
        let builder = Builder::new().name("acc-try".into()).stack_size(stack());
        let thread = threads::without_signals(|| builder.spawn(run));
        let thread = thread.map_err(|error| Lack::Threads {
            needed,
            left,
            error,
        })?;
        threads.all.push((end, thread));
    }
    for (id, result) in told.iter().take(needed) {
        threads.ids.push(id);
        result.map_err(Lack::Scheduling)?;
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
fn try_memory(bytes: usize, threads: usize) -> Result<(), Lack> {
    let sizes = [
        (libc::PROT_NONE, threads.saturating_mul(ARENA)),
        (
            libc::PROT_READ | libc::PROT_WRITE,
            bytes.saturating_add(threads.saturating_mul(stack())),
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
            result = Err(Lack::Memory(io::Error::last_os_error()));
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

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: Needs = Needs {
        threads: 4,
        descriptors: 24,
        memory: Some(64 << 20),
    };

    fn start_socket(needs: &Needs) -> Result<(), String> {
        match start(needs, |context| context.socket(zmq::PAIR)) {
            Ok(_) => Ok(()),
            Err(lack) => Err(lack.to_string()),
        }
    }

    #[test]
    fn what_is_missing_is_named_with_its_limit() {
        start_socket(&NEEDS).unwrap();
        // Some systems allow a billion, and some have no limit.
        let mut limits = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: `limits` is valid for writes, and then for reads.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limits), 0);
            limits.rlim_cur = limits.rlim_cur.min(4096);
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limits), 0);
        }
        let most = limit(libc::RLIMIT_NOFILE).unwrap();
        // More than there can be.
        let needs = Needs {
            descriptors: most as usize + 1,
            ..NEEDS
        };
        let text = start_socket(&needs).unwrap_err();
        assert!(text.contains(&format!("limit is {most}")), "{text}");
        assert!(text.contains("ulimit -n"), "{text}");
        let needs = Needs {
            memory: Some(usize::MAX),
            ..NEEDS
        };
        let text = start_socket(&needs).unwrap_err();
        assert!(text.contains("memory"), "{text}");
        let needs = Needs {
            memory: None,
            ..NEEDS
        };
        start_socket(&needs).unwrap();
        start_socket(&NEEDS).unwrap();
    }

    #[test]
    fn threads_that_were_tried_count_no_more() {
        let threads = try_threads(NEEDS.threads).unwrap();
        let entry = |id: &libc::pid_t| format!("/proc/self/task/{id}");
        let entries: Vec<_> = threads.ids.iter().map(entry).collect();
        assert_eq!(entries.len(), NEEDS.threads);
        assert!(entries.iter().all(|entry| Path::new(entry).exists()));
        drop(threads);
        assert!(!entries.iter().any(|entry| Path::new(entry).exists()));
    }

    #[test]
    fn what_libzmq_refuses_is_told() {
        let Err(lack) = start(&NEEDS, |_| Err::<(), _>(zmq::Error::EMFILE)) else {
            panic!("a socket that was not made");
        };
        let text = lack.to_string();
        assert!(text.starts_with("ZeroMQ has refused a socket: "), "{text}");
    }
}
