// SPDX-License-Identifier: GPL-2.0-or-later

//! Threads that are to run as soon as they are woken.
//!
//! A message passes through four threads that do next to nothing each. Where
//! a vCPU or a simulator keeps every CPU busy, Linux lets each of them wait
//! until a time slice is over, some milliseconds. A thread that asks for a
//! short time slice gets the CPU at once when it wakes, and has to give it back
//! sooner: that is `sched_runtime` of `sched_setattr(2)` for ordinary threads,
//! from Linux 6.12, which needs no privilege. Elsewhere the call fails or does
//! nothing, and all is as before.

use std::cell::Cell;

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

/// Has the calling thread run as soon as it is woken. So do threads that it
/// starts from now on.
pub fn promptly() {
    thread_local! {
        static DONE: Cell<bool> = const { Cell::new(false) };
    }
    if !DONE.replace(true) {
        if let Some(mut a) = get() {
            a.runtime = SLICE_NS;
            set(&a);
        }
    }
}

/// Calls `start`; threads that it starts run as soon as they are woken.
pub fn start<T>(start: impl FnOnce() -> T) -> T {
    let old = get();
    let changed = old.is_some_and(|mut a| {
        a.runtime = SLICE_NS;
        set(&a)
    });
    let value = start();
    if let (true, Some(old)) = (changed, old) {
        set(&old);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_started_gets_a_short_slice() {
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
            assert_eq!(inside.nice, before.nice);
            promptly();
            assert_eq!(get().unwrap().runtime, inside.runtime);
        })
        .join()
        .unwrap();
    }
}
