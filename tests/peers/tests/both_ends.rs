// SPDX-License-Identifier: MIT OR Apache-2.0

//! The two endpoints against each other over real sockets, and the program
//! `accelerator-endpoint` as a user starts it.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use accelerator_peers::{
    device::ID, guest::Activity, hdl::sample_config, Error, GuestEndpoint, HdlEndpoint,
    RegisterDevice, PATIENCE,
};
use accelerator_protocol::wire::{Reason, ResetKind, Status};

const BASE: u64 = 0x1_0000_0000;

/// An ipc endpoint that no other test uses.
fn fresh_endpoint() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("acc-peers-{}-{n}", std::process::id()));
    format!("ipc://{}", path.display())
}

/// A device that serves one session in a thread of its own.
fn device(endpoint: &str, vectors: u16) -> JoinHandle<Result<(), Error>> {
    let mut hdl = HdlEndpoint::bind(endpoint, sample_config(vectors)).unwrap();
    thread::spawn(move || {
        hdl.wait_for_session(PATIENCE)?;
        RegisterDevice::new().serve(&mut hdl, PATIENCE)
    })
}

#[test]
fn registers_dma_and_interrupts() {
    let endpoint = fresh_endpoint();
    let hdl = device(&endpoint, 4);
    let mut guest = GuestEndpoint::connect(&endpoint, BASE, 0x10000, PATIENCE).unwrap();
    assert_eq!(guest.config(), &sample_config(4));
    assert_eq!(guest.read(0, 0, 4, PATIENCE).unwrap(), u64::from(ID));

    // Byte enables: one byte in the middle of the scratch register.
    guest.write(0, 4, 4, 0x1122_3344, PATIENCE).unwrap();
    guest.write(0, 6, 1, 0xaa, PATIENCE).unwrap();
    assert_eq!(guest.read(0, 4, 4, PATIENCE).unwrap(), 0x11aa_3344);
    // Unaligned and longer than a register.
    assert_eq!(guest.read(0, 1, 8, PATIENCE).unwrap(), 0x11_aa33_4450_444e);

    // From host memory to the buffer and back to another place.
    for (i, b) in guest.memory_mut()[..256].iter_mut().enumerate() {
        *b = i as u8 ^ 0x5a;
    }
    for (command, addr) in [(1, BASE), (2, BASE + 0x8000)] {
        guest.write(0, 8, 8, addr, PATIENCE).unwrap();
        guest.write(0, 0x10, 4, 256, PATIENCE).unwrap();
        guest.write(0, 0x14, 4, command, PATIENCE).unwrap();
        guest.wait_msix(0, PATIENCE).unwrap();
        assert_eq!(guest.read(0, 0x18, 4, PATIENCE).unwrap(), 0);
    }
    assert_eq!(guest.memory()[..256], guest.memory()[0x8000..0x8100]);

    // A read of host memory in the middle of answering.
    guest.memory_mut()[..4].copy_from_slice(&[1, 2, 3, 4]);
    guest.write(0, 8, 8, BASE, PATIENCE).unwrap();
    assert_eq!(guest.read(0, 0x28, 4, PATIENCE).unwrap(), 0x0403_0201);

    guest.write(0, 0x20, 4, 3, PATIENCE).unwrap();
    guest.wait_msix(3, PATIENCE).unwrap();
    guest.close().unwrap();
    hdl.join().unwrap().unwrap();
}

#[test]
fn a_read_that_is_held_lets_others_pass() {
    let endpoint = fresh_endpoint();
    let hdl = device(&endpoint, 4);
    let mut guest = GuestEndpoint::connect(&endpoint, BASE, 0x1000, PATIENCE).unwrap();
    let held = [
        guest.start_read(0, 0x30, 4).unwrap(),
        guest.start_read(0, 0x30, 2).unwrap(),
    ];
    guest.write(0, 4, 4, 0x600d, PATIENCE).unwrap();
    assert_eq!(guest.read(0, 4, 4, PATIENCE).unwrap(), 0x600d);
    guest.write(0, 0x34, 4, 0x1234_5678, PATIENCE).unwrap();
    for (tag, value) in held.into_iter().zip([0x1234_5678, 0x5678]) {
        assert_eq!(guest.finish_read(tag, PATIENCE).unwrap(), value);
    }
    guest.close().unwrap();
    hdl.join().unwrap().unwrap();
}

#[test]
fn refused_dma() {
    let endpoint = fresh_endpoint();
    let hdl = device(&endpoint, 0);
    let mut guest = GuestEndpoint::connect(&endpoint, BASE, 0x1000, PATIENCE).unwrap();
    let command = |guest: &mut GuestEndpoint, addr| {
        guest.write(0, 8, 8, addr, PATIENCE).unwrap();
        guest.write(0, 0x10, 4, 8, PATIENCE).unwrap();
        guest.write(0, 0x14, 4, 2, PATIENCE).unwrap();
        guest.read(0, 0x18, 4, PATIENCE).unwrap()
    };
    assert_eq!(command(&mut guest, BASE), Status::Ok as u64);
    assert_eq!(command(&mut guest, BASE - 1), Status::Fault as u64);
    assert_eq!(command(&mut guest, BASE + 0xff9), Status::Fault as u64);
    guest.set_bus_master(false);
    assert_eq!(command(&mut guest, BASE), Status::Refused as u64);
    guest.close().unwrap();
    hdl.join().unwrap().unwrap();
}

#[test]
fn a_reset_voids_what_is_outstanding() {
    let endpoint = fresh_endpoint();
    let mut hdl = HdlEndpoint::bind(&endpoint, sample_config(2)).unwrap();
    let guest = thread::spawn(move || {
        let mut guest = GuestEndpoint::connect(&endpoint, BASE, 0x1000, PATIENCE).unwrap();
        guest.start_read(0, 0, 4).unwrap();
        guest.write(0, 4, 4, 7, PATIENCE).unwrap();
        guest.start_reset(ResetKind::Flr).unwrap();
        let tag = guest.start_read(0, 0x10, 2).unwrap();
        assert_eq!(guest.finish_read(tag, PATIENCE).unwrap(), 0xbeef);
        guest
            .pump_until("reset answered", PATIENCE, |g| !g.session().reset_pending())
            .unwrap();
        guest.wait_msix(1, PATIENCE).unwrap();
        guest
    });
    hdl.wait_for_session(PATIENCE).unwrap();
    let old_read = hdl.expect_read(0, 0, 4).unwrap();
    let old_write = hdl.expect_write(0, 4, 4, 7).unwrap();
    // Sent before we have seen the reset: void.
    hdl.start_dma_write(BASE, &[0xff; 16], None).unwrap();
    hdl.msix(0).unwrap();
    let reset = hdl.expect_reset(ResetKind::Flr).unwrap();
    assert!(hdl.read_done(old_read, 4, 0).is_err());
    assert!(hdl.write_done(old_write, Status::Ok).is_err());
    assert!(hdl.start_dma_read(BASE, 4).is_err());
    assert!(hdl.msix(1).is_err());
    let read = hdl.expect_read(0, 0x10, 2).unwrap();
    hdl.read_done(read, 2, 0xbeef).unwrap();
    hdl.reset_done(reset).unwrap();
    assert!(hdl.reset_done(reset).is_err());
    hdl.msix(1).unwrap();
    let mut guest = guest.join().unwrap();
    // The order of frames decides whether the first two were served before the
    // reset; after it nothing of them may be left outstanding.
    let served = guest
        .take_activity()
        .iter()
        .any(|a| matches!(a, Activity::DmaWrite { .. }));
    assert_eq!(served, guest.memory()[0] == 0xff);
    assert_eq!(guest.session().writes_outstanding(), 0);
}

#[test]
fn a_second_host_is_told_that_the_device_is_busy() {
    let endpoint = fresh_endpoint();
    let hdl = device(&endpoint, 1);
    let mut first = GuestEndpoint::connect(&endpoint, BASE, 16, PATIENCE).unwrap();
    match GuestEndpoint::connect(&endpoint, BASE, 16, PATIENCE) {
        Err(Error::Down { reason, text }) => {
            assert_eq!(reason, Reason::Busy);
            assert!(text.contains("another host"), "{text}");
        }
        Err(e) => panic!("{e}"),
        Ok(_) => panic!("two sessions at once"),
    }
    // The first one is not disturbed.
    assert_eq!(first.read(0, 0, 4, PATIENCE).unwrap(), u64::from(ID));
    first.close().unwrap();
    hdl.join().unwrap().unwrap();
}

#[test]
fn a_host_that_died_makes_room_for_the_next() {
    let endpoint = fresh_endpoint();
    let mut hdl = HdlEndpoint::bind(&endpoint, sample_config(1)).unwrap();
    let hdl = thread::spawn(move || {
        let mut device = RegisterDevice::new();
        hdl.wait_for_session(PATIENCE)?;
        device.serve(&mut hdl, PATIENCE)
    });
    let first = GuestEndpoint::connect(&endpoint, BASE, 16, PATIENCE).unwrap();
    drop(first); // Without a goodbye.
    let mut second = None;
    // The socket of the first one takes a moment to go.
    for _ in 0..100 {
        match GuestEndpoint::connect(&endpoint, BASE, 16, PATIENCE) {
            Ok(guest) => {
                second = Some(guest);
                break;
            }
            Err(Error::Down {
                reason: Reason::Busy,
                ..
            }) => thread::sleep(Duration::from_millis(20)),
            Err(e) => panic!("{e}"),
        }
    }
    let mut second = second.expect("the device stayed busy");
    assert_eq!(second.read(0, 0, 4, PATIENCE).unwrap(), u64::from(ID));
    second.close().unwrap();
    hdl.join().unwrap().unwrap();
}

#[test]
fn garbage_is_refused_with_both_values() {
    let endpoint = fresh_endpoint();
    let hdl = device(&endpoint, 1);
    let mut guest = GuestEndpoint::connect(&endpoint, BASE, 16, PATIENCE).unwrap();
    guest
        .inject_raw(b"this is not a frame of this protocol")
        .unwrap();
    match guest.read(0, 0, 4, PATIENCE) {
        Err(Error::Down {
            reason: Reason::Protocol,
            text,
        }) => assert!(
            text.contains("0x73696874") && text.contains("0x49435041"),
            "{text}"
        ),
        other => panic!("{other:?}"),
    }
    assert!(matches!(hdl.join().unwrap(), Err(Error::Violation(_))));
}

#[test]
fn nobody_there() {
    let endpoint = fresh_endpoint();
    let e = GuestEndpoint::connect(&endpoint, BASE, 16, Duration::from_millis(50));
    let text = e.err().expect("nobody answered").to_string();
    assert!(text.starts_with("no configuration within"), "{text}");
}

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_accelerator-endpoint"));
    command.args(args).stdin(Stdio::null());
    command
}

#[test]
fn the_program_serves_and_ends_after_one_session() {
    let endpoint = fresh_endpoint();
    let mut child = Program(
        program(&["--endpoint", &endpoint, "--vectors", "2", "--once"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut guest = GuestEndpoint::connect(&endpoint, BASE, 0x1000, PATIENCE).unwrap();
    assert_eq!(guest.config().msix.unwrap().vectors, 2);
    assert_eq!(guest.read(0, 0, 4, PATIENCE).unwrap(), u64::from(ID));
    guest.reset(ResetKind::Hot, PATIENCE).unwrap();
    assert_eq!(guest.read(0, 0x24, 4, PATIENCE).unwrap(), 1);
    guest.close().unwrap();
    let out = child.0.stdout.take().unwrap();
    let lines: Vec<_> = BufReader::new(out).lines().map(Result::unwrap).collect();
    assert_eq!(lines[0], format!("listening on {endpoint}"));
    assert!(lines.contains(&"link up".to_owned()), "{lines:?}");
    assert!(lines.contains(&"reset: Hot".to_owned()), "{lines:?}");
    assert!(child.0.wait().unwrap().success());
}

#[test]
fn the_program_refuses_bad_arguments() {
    for (args, message) in [
        (
            &["--endpoint", "tcp://0.0.0.0:1"][..],
            "not a loopback address",
        ),
        (&["--vectors", "2049"], "--vectors 2049: expected 0 to 2048"),
        (&["--vectors"], "--vectors needs a value"),
        (&["--frobnicate"], "unknown option --frobnicate"),
    ] {
        let out = program(args).output().unwrap();
        let text = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(2), "{text}");
        assert!(text.contains(message), "{text}");
    }
    let out = program(&["--help"]).output().unwrap();
    assert!(out.status.success() && out.stderr.is_empty());
}
