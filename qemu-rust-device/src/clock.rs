// SPDX-License-Identifier: GPL-2.0-or-later

//! Guest time that follows the simulator's.
//!
//! QEMU asks its accelerator what time it is for the guest and how many ticks
//! the TSC has counted (`cpus_get_virtual_clock` and `cpus_get_elapsed_ticks` in
//! `system/cpus.c`). TCG leaves both to QEMU, which takes the wall's clock, or
//! with `-icount` counts instructions. Here a third answer is put into the same
//! two places: the time that the simulator has told last. Between two frames
//! guest time stands still, so it never is ahead of the simulator's, and all
//! that depends on it (HPET, PIT, APIC timer, ACPI timer, TSC) keeps together.
//!
//! vCPUs go on executing all the time, nothing is blocked, and `stop`, resets and
//! QEMU's end know nothing of this. While nobody follows, or the simulator is
//! away, guest time goes on from where it is at the wall's pace.

use std::{
    ffi::CStr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use accelerator_protocol::limit::{Limit, LINES, PERIOD};
use log::{info, warn};

use crate::{
    bindings,
    glue::{error, Result},
    pci::runs,
};

/// The shortest and the longest step of guest time, in nanoseconds.
pub const STEPS: std::ops::RangeInclusive<u32> = 100..=100_000_000;

/// A single frame moves guest time by this much at most; what is more is
/// forgotten. It takes a simulator that sends nonsense, or a QEMU that has not
/// run for a while.
const MOST: u64 = 1_000_000_000;

/// How long the machine has to run by itself before the relation of the TSC to
/// the clock is known well enough.
const SETTLED: i64 = 100_000_000;

/// Where guest time comes from.
enum Source {
    /// QEMU's own clock, with what was lost or won so far.
    Own { ns: i64, ticks: i64 },
    /// The simulator.
    Simulator(Follow),
}

struct Follow {
    /// Simulated time of the last frame.
    told: u64,
    /// Guest time.
    ns: i64,
    /// Both at the beginning, so that no rounding adds up.
    begin_ns: i64,
    begin_ticks: i64,
    /// Ticks of the TSC in a number of nanoseconds.
    ratio: (i64, i64),
}

impl Follow {
    fn ticks(&self) -> i64 {
        let (ticks, ns) = self.ratio;
        let since = i128::from(self.ns - self.begin_ns) * i128::from(ticks) / i128::from(ns);
        self.begin_ticks.saturating_add(since as i64)
    }
}

struct State {
    /// Address of the device that drives the clock, and its name.
    driver: Option<(usize, String)>,
    source: Source,
    /// Of lines about a simulator that is there, and that is away.
    there: Limit,
    away: Limit,
}

static STATE: Mutex<State> = Mutex::new(State {
    driver: None,
    source: Source::Own { ns: 0, ticks: 0 },
    there: Limit::new(LINES, PERIOD),
    away: Limit::new(LINES, PERIOD),
});

fn state() -> MutexGuard<'static, State> {
    // Nothing that is done under the lock can leave it half done.
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn drives(&self, device: usize) -> bool {
        matches!(&self.driver, Some((address, _)) if *address == device)
    }

    /// From the simulator's time back to QEMU's own. Whether there was a change.
    fn let_run(&mut self) -> bool {
        let Source::Simulator(follow) = &self.source else {
            return false;
        };
        self.source = Source::Own {
            ns: follow.ns - own_clock(),
            ticks: follow.ticks() - own_ticks(),
        };
        true
    }
}

fn own_clock() -> i64 {
    // SAFETY: may be called from any thread.
    unsafe { bindings::cpu_get_clock() }
}

fn own_ticks() -> i64 {
    // SAFETY: may be called from any thread.
    unsafe { bindings::cpu_get_ticks() }
}

/// Guest time, for QEMU.
extern "C" fn virtual_clock() -> i64 {
    match &state().source {
        Source::Own { ns, .. } => own_clock() + ns,
        Source::Simulator(follow) => follow.ns,
    }
}

/// Ticks of the TSC, for QEMU.
extern "C" fn elapsed_ticks() -> i64 {
    match &state().source {
        Source::Own { ticks, .. } => own_ticks() + ticks,
        Source::Simulator(follow) => follow.ticks(),
    }
}

type Hook = Option<extern "C" fn() -> i64>;

/// Puts our functions where TCG has none.
fn install() -> Result<()> {
    // SAFETY: the name of the accelerator is a constant of QEMU's.
    let accelerator = unsafe { CStr::from_ptr(bindings::current_accel_name()) };
    if accelerator != c"tcg" {
        return Err(error(format!(
            "guest time cannot follow the simulator's with the accelerator {}, where the host's \
             clock is the guest's; it needs -accel tcg",
            accelerator.to_string_lossy()
        )));
    }
    let hooks: [(u32, extern "C" fn() -> i64); 2] = [
        (bindings::ACCELERATOR_VIRTUAL_CLOCK, virtual_clock),
        (bindings::ACCELERATOR_ELAPSED_TICKS, elapsed_ticks),
    ];
    // SAFETY: looks a class up by its name; classes live as long as QEMU.
    let class: *mut u8 =
        unsafe { bindings::object_class_by_name(c"tcg-accel-ops".as_ptr()) }.cast();
    if class.is_null() {
        return Err(error("this QEMU has no class tcg-accel-ops".into()));
    }
    let place = |offset: u32| {
        // SAFETY: the class is an `AccelOpsClass`, and the offsets are those of
        // pointers to functions in it.
        unsafe { class.add(offset as usize).cast::<Hook>() }
    };
    for (offset, hook) in hooks {
        // SAFETY: valid as said above. Nobody else writes there after the start.
        let there = unsafe { place(offset).read_volatile() };
        if there.is_some_and(|there| there as usize != hook as usize) {
            return Err(error(
                "guest time cannot follow the simulator's with -icount, where it is the number of \
                 instructions executed"
                    .into(),
            ));
        }
    }
    for (offset, hook) in hooks {
        // SAFETY: as above. An aligned pointer is written in one piece; a thread
        // that reads the old one gets the same time from QEMU itself.
        unsafe { place(offset).write_volatile(Some(hook)) };
    }
    Ok(())
}

/// Makes `device` the one that drives guest time.
///
/// # Errors
///
/// Another device does, or it is not possible with this accelerator.
pub fn claim(device: usize, name: &str) -> Result<()> {
    let mut state = state();
    match &state.driver {
        Some((address, other)) if *address != device => Err(error(format!(
            "guest time follows the simulator of {other} already, and can follow only one"
        ))),
        Some(_) => Ok(()),
        None => {
            // The functions take the lock, but nobody calls them from here.
            install()?;
            state.driver = Some((device, name.to_owned()));
            Ok(())
        }
    }
}

/// `device` drives guest time no more, if it did.
pub fn release(device: usize) {
    let mut state = state();
    if state.drives(device) {
        state.let_run();
        if let Some((_, name)) = state.driver.take() {
            info!("{name}: guest time does not follow the simulator's");
        }
    }
}

/// The simulator of `device` is away: guest time runs by itself until it is back.
pub fn lost(device: usize) {
    let mut state = state();
    if state.drives(device) && state.let_run() {
        let note = state.away.admit(Instant::now());
        if let (Some((_, name)), Some(note)) = (&state.driver, note) {
            warn!("{name}: guest time runs by itself until the simulator is back{note}");
        }
    }
}

/// The simulator of `device` has come to a time. Called by whoever serves the
/// link, with or without the big QEMU lock.
pub fn told(device: usize, told: u64) {
    let mut state = state();
    if !state.drives(device) {
        return;
    }
    match &mut state.source {
        Source::Own { ns, ticks } => {
            let (clock, own) = (own_clock(), own_ticks());
            if clock < SETTLED || !runs() {
                return;
            }
            let follow = Follow {
                told,
                ns: clock + *ns,
                begin_ns: clock + *ns,
                begin_ticks: own + *ticks,
                ratio: (own, clock),
            };
            state.source = Source::Simulator(follow);
            let note = state.there.admit(Instant::now());
            if let (Some((_, name)), Some(note)) = (&state.driver, note) {
                info!("{name}: guest time follows the simulator's{note}");
            }
        }
        Source::Simulator(follow) => {
            let passed = told.saturating_sub(follow.told).min(MOST);
            follow.told = told;
            // What the simulator does while the guest is stopped takes no time.
            if passed == 0 || !runs() {
                return;
            }
            follow.ns = follow.ns.saturating_add(passed as i64);
        }
    }
    drop(state);
    // The main loop may sleep until a time that has come.
    // SAFETY: may be called from any thread.
    unsafe { bindings::qemu_notify_event() };
}

/// Guest time is the simulator's now.
pub fn follows(device: usize) -> bool {
    let state = state();
    state.drives(device) && matches!(state.source, Source::Simulator(_))
}
