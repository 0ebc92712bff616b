// SPDX-License-Identifier: MIT OR Apache-2.0

//! Threads that are to run as soon as they are woken.
//!
//! A message passes through four threads that do next to nothing each. Where
//! a vCPU or a simulator keeps every CPU busy, Linux lets each of them wait
//! until a time slice is over, some milliseconds. Such a thread asks for
//!
//! * a short time slice, with which it gets the CPU at once when it wakes, and
//!   has to give it back sooner. That is `sched_runtime` of `sched_setattr(2)`
//!   for ordinary threads, from Linux 6.12, and needs no privilege;
//! * more weight, which is its nice value, where that is permitted (`CAP_SYS_NICE`
//!   or `RLIMIT_NICE`). A thread that has used a little more than its share
//!   when the thread that it wakes takes the CPU from it is not eligible any
//!   more, and stays runnable until the next tick of the scheduler, up to
//!   4 ms. With more weight what it has used counts for less.
//!
//! Where the system refuses either, all is as before.

use std::{
    cell::Cell,
    io,
    mem::MaybeUninit,
    sync::OnceLock,
    thread::{Builder, JoinHandle},
};

/// Environment variable: nice value of these threads, -20 to 0; 0 leaves it.
const NICE_VARIABLE: &str = "ACCELERATOR_NICE";
const NICE_DEFAULT: i32 = -20;

/// The shortest that Linux takes.
const SLICE_NS: u64 = 100_000;

/// `struct sched_attr` in its first version, which every kernel takes.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

const SIZE: u32 = std::mem::size_of::<Attributes>() as u32;

fn get() -> Option<Attributes> {
    let mut attributes = Attributes::default();
    // SAFETY: the kernel writes at most the size that is given; 0 is the
    // calling thread.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_sched_getattr,
            0,
            std::ptr::addr_of_mut!(attributes),
            SIZE,
            0,
        )
    };
    (rc == 0 && attributes.policy == libc::SCHED_OTHER as u32).then_some(attributes)
}

fn set(attributes: &Attributes) -> bool {
    // SAFETY: `attributes` has the size that it says and is only read.
    unsafe {
        libc::syscall(
            libc::SYS_sched_setattr,
            0,
            std::ptr::from_ref(attributes),
            0,
        ) == 0
    }
}

/// What `text` asks for, if it is a nice value that these threads may have.
fn parse_nice(text: &str) -> Option<i32> {
    text.parse().ok().filter(|n| (-20..=0).contains(n))
}

fn nice() -> i32 {
    static NICE: OnceLock<i32> = OnceLock::new();
    *NICE.get_or_init(|| match std::env::var(NICE_VARIABLE) {
        Ok(text) if !text.is_empty() => parse_nice(&text).unwrap_or_else(|| {
            log::warn!("{NICE_VARIABLE} is {text:?}, expected -20 to 0: taken as {NICE_DEFAULT}");
            NICE_DEFAULT
        }),
        _ => NICE_DEFAULT,
    })
}

/// Gives the calling thread, whose attributes are given, a short slice, and
/// more weight if it may have it. Whether anything was changed.
fn hurry(mut attributes: Attributes) -> bool {
    attributes.runtime = SLICE_NS;
    let own = attributes.nice;
    attributes.nice = own.min(nice());
    if set(&attributes) {
        return true;
    }
    let refused = attributes.nice != own;
    attributes.nice = own;
    refused && set(&attributes)
}

/// Has the calling thread run as soon as it is woken.
pub fn promptly() {
    if let Some(attributes) = get() {
        hurry(attributes);
    }
}

/// Gives the calling thread a short slice and no more weight: for one that does
/// other things too. Threads that it starts from now on have it as well.
pub fn short_slice() {
    thread_local! {
        static DONE: Cell<bool> = const { Cell::new(false) };
    }
    if !DONE.replace(true) {
        if let Some(mut attributes) = get() {
            attributes.runtime = SLICE_NS;
            set(&attributes);
        }
    }
}

/// Calls `start`; threads that it starts run as soon as they are woken.
pub fn start<T>(start: impl FnOnce() -> T) -> T {
    let old = get();
    let changed = old.is_some_and(hurry);
    let value = start();
    if let (true, Some(old)) = (changed, old) {
        set(&old);
    }
    value
}

/// Bytes of a thread's stack: what libzmq's threads have, and QEMU's.
pub const STACK: usize = 8 << 20;

/// Calls `start`; no signal is delivered to threads that it starts.
pub fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut old = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the sets are valid, and only the mask of this thread is changed. A
    // new thread begins with it.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
    }
    let value = start();
    // SAFETY: `old` was filled in above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), std::ptr::null_mut()) };
    value
}

/// Starts a thread with [`STACK`] that no signal is delivered to.
///
/// # Errors
///
/// There can be no thread now.
pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    without_signals(|| {
        Builder::new()
            .name(name.into())
            .stack_size(STACK)
            .spawn(run)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_started_gets_a_short_slice_and_weight() {
        std::thread::spawn(|| {
            let before = get().unwrap();
            let inside = start(|| std::thread::spawn(get)).join().unwrap().unwrap();
            let after = get().unwrap();
            // Before 6.12 Linux tells no slice of ordinary threads.
            assert_eq!(inside.runtime == 0, before.runtime == 0);
            if before.runtime != 0 {
                assert_eq!(inside.runtime, SLICE_NS);
                assert!(before.runtime > SLICE_NS);
            }
            assert_eq!(
                (after.runtime, after.nice, after.policy),
                (before.runtime, before.nice, before.policy)
            );
            // Not everybody may have more weight.
            let permitted = std::thread::spawn(|| {
                let mut a = get().unwrap();
                a.nice = nice();
                set(&a)
            });
            let expected = if permitted.join().unwrap() {
                before.nice.min(nice())
            } else {
                before.nice
            };
            assert_eq!(inside.nice, expected);
            promptly();
            let now = get().unwrap();
            assert_eq!((now.runtime, now.nice), (inside.runtime, inside.nice));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn only_threads_that_are_started_without_signals_have_none() {
        let blocked = || {
            let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
            // SAFETY: a null new mask changes nothing, and the old one is filled in.
            unsafe {
                libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), mask.as_mut_ptr());
                [libc::SIGTERM, libc::SIGINT].map(|n| libc::sigismember(mask.as_ptr(), n) == 1)
            }
        };
        let inside = without_signals(|| std::thread::spawn(blocked));
        assert_eq!(inside.join().unwrap(), [true; 2]);
        let (tell, told) = std::sync::mpsc::channel();
        let thread = spawn("test", move || tell.send(blocked()).unwrap()).unwrap();
        thread.join().unwrap();
        assert_eq!(told.recv(), Ok([true; 2]));
        assert_eq!(blocked(), [false; 2]);
    }

    #[test]
    fn nice_values_that_these_threads_may_have() {
        for (text, value) in [("-20", Some(-20)), ("-1", Some(-1)), ("0", Some(0))] {
            assert_eq!(parse_nice(text), value);
        }
        for text in ["1", "-21", "", "x", "-1.5"] {
            assert_eq!(parse_nice(text), None, "{text:?}");
        }
    }
}
