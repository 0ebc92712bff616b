// SPDX-License-Identifier: MIT OR Apache-2.0

//! Two vCPUs that run, of which one waits for the RTL: what the tests of such
//! waits have in common.

use std::time::Instant;

use accelerator_peers::hdl::sample_config;

use crate::{
    guest::Vcpu,
    machine::{ok, Machine, Options},
};

/// The vCPU that waits.
pub const FIRST: Vcpu = Vcpu(0);
/// The other one.
pub const SECOND: Vcpu = Vcpu(1);

/// A machine with two vCPUs that run, and these properties of the card and
/// arguments of QEMU.
#[track_caller]
pub fn start(properties: &str, args: &str) -> Machine {
    let mut m = Machine::start_with(
        sample_config(2),
        &Options {
            properties: properties.into(),
            args: args.into(),
            vcpus: 2,
            ..Options::default()
        },
    );
    FIRST.expect_progress(&mut m.qemu);
    SECOND.expect_progress(&mut m.qemu);
    m
}

/// Has the first vCPU read BAR 0 at `offset`; returns the tag of the read,
/// which is not answered.
#[track_caller]
pub fn wait_in(m: &mut Machine, offset: u64) -> u32 {
    let addr = m.bar(0) + offset;
    FIRST.start_load(&mut m.qemu, addr);
    ok(m.hdl.expect_read(0, offset, 4))
}

/// Runs something and says how long it took.
pub fn timed<R>(what: &str, f: impl FnOnce() -> R) -> R {
    let begin = Instant::now();
    let result = f();
    println!("{what}: {:.3} s", begin.elapsed().as_secs_f64());
    result
}
