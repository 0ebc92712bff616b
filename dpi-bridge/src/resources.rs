// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a socket needs of the system. libzmq ends the process when it cannot
//! have a descriptor or a thread that it needs, so it is tried before.

use std::{
    fs::File,
    io,
    sync::mpsc::{channel, Sender},
    thread::{Builder, JoinHandle},
};

/// Descriptors of a socket with its context, its watcher, keys and a first
/// connection, and some for what else the process does at that moment.
const DESCRIPTORS: usize = 24;

/// Threads of libzmq, the watcher, and the one that checks keys.
const THREADS: usize = 4;

/// What the system gives a thread if nobody asks for another size.
const STACK: usize = 2 << 20;

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

fn descriptors(count: usize) -> Result<(), String> {
    let mut held = Vec::with_capacity(count);
    for n in 0..count {
        match File::open("/dev/null") {
            Ok(file) => held.push(file),
            Err(e) => {
                return Err(format!(
                    "a socket needs up to {count} file descriptors, {n} are left ({e}; the \
                     process's limit is {}, ulimit -n)",
                    or_none(limit(libc::RLIMIT_NOFILE))
                ))
            }
        }
    }
    Ok(())
}

fn threads(count: usize) -> Result<(), String> {
    // As libzmq's threads, which ask for no size.
    let stack = limit(libc::RLIMIT_STACK).map_or(STACK, |n| n as usize);
    // All at the same time: each waits until its sender is dropped.
    let start = || -> io::Result<(Sender<()>, JoinHandle<()>)> {
        let (end, wait) = channel::<()>();
        let thread = Builder::new().stack_size(stack).spawn(move || {
            let _ = wait.recv();
        })?;
        Ok((end, thread))
    };
    let mut held = Vec::with_capacity(count);
    let mut result = Ok(());
    for n in 0..count {
        match start() {
            Ok(thread) => held.push(thread),
            Err(e) => {
                result = Err(format!(
                    "a socket needs up to {count} threads, {n} can be started ({e}; the user's \
                     limit is {}, ulimit -u; memory and the limits of a container count too)",
                    or_none(limit(libc::RLIMIT_NPROC))
                ));
                break;
            }
        }
    }
    for (end, thread) in held {
        drop(end);
        // It does nothing that could panic.
        let _ = thread.join();
    }
    result
}

/// Whether there is what a socket needs.
///
/// # Errors
///
/// A text that names what is missing and its limit.
pub fn check() -> Result<(), String> {
    descriptors(DESCRIPTORS)?;
    threads(THREADS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_limit() {
        check().unwrap();
        let limit = limit(libc::RLIMIT_NOFILE).unwrap();
        // More than there can be.
        let text = descriptors(limit as usize + 1).unwrap_err();
        assert!(text.contains(&format!("limit is {limit}")), "{text}");
        assert!(text.contains("ulimit -n"), "{text}");
        check().unwrap();
    }
}
