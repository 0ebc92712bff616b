// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faults: plans that QEMU gives the simulator, and what errors that a fault has made leave in
//! config space of the card and of the port above it (PCIe base spec, Error Signaling and Logging,
//! Status Register, Secondary Status Register).

use std::time::{Duration, Instant};

use accelerator_peers::{hdl::sample_config, Event};
use accelerator_protocol::{
    wire::{ErrorKind, Frame, Status},
    Config,
};
use accelerator_qtest::{
    machine::ok,
    pci::{self, capability, reg, CARD, ROOT_PORT},
    Machine, Options, PATIENCE,
};
use serde_json::json;

const PATH: &str = "/machine/peripheral/card";

/// Advanced Error Reporting of card and port.
const AER: u16 = 0x100;
const UNCORRECTABLE_STATUS: u16 = AER + 0x04;
const CORRECTABLE_STATUS: u16 = AER + 0x10;
const CORRECTABLE_MASK: u16 = AER + 0x14;
const ROOT_COMMAND: u16 = AER + 0x2c;
const ROOT_STATUS: u16 = AER + 0x30;

const UNSUPPORTED: u32 = 1 << 20;
const ABORT: u32 = 1 << 15;
const TIMEOUT: u32 = 1 << 14;
const POISONED: u32 = 1 << 12;
const ADVISORY: u32 = 1 << 13;

/// Of Status and Secondary Status.
const STATUS: u16 = 0x06;
const SECONDARY_STATUS: u16 = 0x1e;
const DETECTED_PARITY: u32 = 0x8000;
const RECEIVED_MASTER_ABORT: u32 = 0x2000;
const RECEIVED_TARGET_ABORT: u32 = 0x1000;
const SIGNALED_TARGET_ABORT: u32 = 0x0800;
const MASTER_PARITY: u32 = 0x0100;
/// Those five. Signaled and Received System Error (bit 14) tell of the messages.
const ERRORS: u32 = 0xb900;

/// Of Root Error Status: a correctable error, an uncorrectable one, non-fatal ones.
const CORRECTABLE: u32 = 1;
const UNCORRECTABLE: u32 = 1 << 2;
const NON_FATAL: u32 = 1 << 5;

/// A machine whose card and port report all errors; with Parity Error Response if so.
fn start(parity: bool) -> Machine {
    let mut m = Machine::start(sample_config(2));
    let q = &mut m.qemu;
    pci::enable_ecam(q);
    for function in [ROOT_PORT, CARD] {
        let express = function.expect(q, capability::EXPRESS);
        let control = function.get(q, express + 8, 2);
        function.set(q, express + 8, 2, control | 0xf);
        // Advisory non-fatal errors are masked after a reset.
        function.set_extended(q, CORRECTABLE_MASK, 0);
    }
    // Bridge Control: SERR# Enable, and Parity Error Response Enable.
    ROOT_PORT.set(q, reg::BRIDGE_CONTROL, 2, 2 | u32::from(parity));
    ROOT_PORT.set_extended(q, ROOT_COMMAND, 7);
    if parity {
        CARD.change_command(q, 0x40, 0);
    }
    m
}

/// All that an error has left, which is cleared: Uncorrectable Error Status and Status of the
/// card, those of the port, and Root Error Status.
#[derive(Debug, PartialEq, Eq, Default)]
struct Left {
    card: u32,
    status: u32,
    port: u32,
    secondary: u32,
    root: u32,
    advisory: bool,
}

fn take(m: &mut Machine) -> Left {
    let q = &mut m.qemu;
    let left = Left {
        card: CARD.get_extended(q, UNCORRECTABLE_STATUS),
        status: CARD.get(q, STATUS, 2) & ERRORS,
        port: ROOT_PORT.get_extended(q, UNCORRECTABLE_STATUS),
        secondary: ROOT_PORT.get(q, SECONDARY_STATUS, 2) & ERRORS,
        root: ROOT_PORT.get_extended(q, ROOT_STATUS) & 0x7f,
        advisory: CARD.get_extended(q, CORRECTABLE_STATUS) & ADVISORY != 0,
    };
    CARD.set_extended(q, UNCORRECTABLE_STATUS, left.card);
    CARD.set_extended(q, CORRECTABLE_STATUS, ADVISORY);
    CARD.set(q, STATUS, 2, left.status);
    ROOT_PORT.set_extended(q, UNCORRECTABLE_STATUS, left.port);
    ROOT_PORT.set(q, SECONDARY_STATUS, 2, left.secondary);
    ROOT_PORT.set_extended(q, ROOT_STATUS, left.root);
    // A one clears each of them.
    assert_eq!(CARD.get(q, STATUS, 2) & ERRORS, 0);
    assert_eq!(ROOT_PORT.get(q, SECONDARY_STATUS, 2) & ERRORS, 0);
    left
}

/// A read in whose place an error comes, and what that has left by the time it returns.
fn failed_read(m: &mut Machine, kind: ErrorKind) -> Left {
    m.qemu.start_load(m.bar(0) + 0x40, 4);
    let tag = ok(m.hdl.expect_read(0, 0x40, 4));
    ok(m.hdl.error(kind, Some(tag)));
    ok(m.hdl.read_ended(tag, 4, Status::Refused, 0));
    assert_eq!(m.qemu.reply_value(), 0xffff_ffff);
    take(m)
}

/// An error beside the accesses; the read behind it has what it has left before it.
fn error(m: &mut Machine, kind: ErrorKind) -> Left {
    ok(m.hdl.error(kind, None));
    m.read(0, 0x44, 4, 0x1234_5678);
    take(m)
}

const NOTHING: Left = Left {
    card: 0,
    status: 0,
    port: 0,
    secondary: 0,
    root: 0,
    advisory: false,
};

#[test]
fn of_reads() {
    let mut m = start(false);
    assert_eq!(take(&mut m), NOTHING);
    assert_eq!(
        failed_read(&mut m, ErrorKind::ReadUnsupported),
        Left {
            card: UNSUPPORTED,
            secondary: RECEIVED_MASTER_ABORT,
            root: CORRECTABLE,
            advisory: true,
            ..NOTHING
        }
    );
    assert_eq!(
        failed_read(&mut m, ErrorKind::ReadAborted),
        Left {
            card: ABORT,
            status: SIGNALED_TARGET_ABORT,
            secondary: RECEIVED_TARGET_ABORT,
            root: CORRECTABLE,
            advisory: true,
            ..NOTHING
        }
    );
    assert_eq!(
        failed_read(&mut m, ErrorKind::ReadPoisoned),
        Left {
            port: POISONED,
            secondary: DETECTED_PARITY,
            root: UNCORRECTABLE | NON_FATAL,
            ..NOTHING
        }
    );
    assert_eq!(
        failed_read(&mut m, ErrorKind::ReadTimeout),
        Left {
            card: TIMEOUT,
            root: UNCORRECTABLE | NON_FATAL,
            ..NOTHING
        }
    );
    m.qemu.expect_line(&[
        "WARN",
        "card",
        "error of PCI Express by a fault: a read answered with Unsupported Request",
    ]);
}

#[test]
fn of_writes_and_dma() {
    let mut m = start(false);
    let reported = UNCORRECTABLE | NON_FATAL;
    for (kind, expected) in [
        (
            ErrorKind::WriteUnsupported,
            Left {
                card: UNSUPPORTED,
                root: reported,
                ..NOTHING
            },
        ),
        (
            ErrorKind::WriteAborted,
            Left {
                card: ABORT,
                status: SIGNALED_TARGET_ABORT,
                root: reported,
                ..NOTHING
            },
        ),
        (
            ErrorKind::WritePoisoned,
            Left {
                card: POISONED,
                status: DETECTED_PARITY,
                root: reported,
                ..NOTHING
            },
        ),
        (
            ErrorKind::DmaUnsupported,
            Left {
                status: RECEIVED_MASTER_ABORT,
                ..NOTHING
            },
        ),
        (
            ErrorKind::DmaAborted,
            Left {
                status: RECEIVED_TARGET_ABORT,
                ..NOTHING
            },
        ),
        (
            ErrorKind::DmaReadPoisoned,
            Left {
                card: POISONED,
                status: DETECTED_PARITY,
                root: reported,
                ..NOTHING
            },
        ),
        (
            ErrorKind::DmaWritePoisoned,
            Left {
                port: POISONED,
                secondary: DETECTED_PARITY,
                root: reported,
                ..NOTHING
            },
        ),
        (
            ErrorKind::DmaTimeout,
            Left {
                card: TIMEOUT,
                root: reported,
                ..NOTHING
            },
        ),
    ] {
        assert_eq!(error(&mut m, kind), expected, "{kind:?}");
    }
}

/// Whoever asked for what is poisoned notes it where it answers to parity errors.
#[test]
fn poisoned_data_and_parity_error_response() {
    let mut m = start(true);
    let both = DETECTED_PARITY | MASTER_PARITY;
    let left = error(&mut m, ErrorKind::DmaReadPoisoned);
    assert_eq!((left.status, left.secondary), (both, 0));
    let left = error(&mut m, ErrorKind::DmaWritePoisoned);
    assert_eq!(
        (left.status, left.secondary),
        (MASTER_PARITY, DETECTED_PARITY)
    );
    let left = error(&mut m, ErrorKind::WritePoisoned);
    assert_eq!((left.status, left.secondary), (DETECTED_PARITY, 0));
    let left = failed_read(&mut m, ErrorKind::ReadPoisoned);
    assert_eq!((left.status, left.secondary), (0, both));
}

/// A simulator can report as many as it likes.
#[test]
fn errors_do_not_fill_the_log() {
    let begin = Instant::now();
    let mut m = start(false);
    for _ in 0..500 {
        ok(m.hdl.error(ErrorKind::WritePoisoned, None));
    }
    m.read(0, 0, 4, 1);
    m.qemu
        .expect_line(&["WARN", "more like this are left out for"]);
    m.qemu.expect_few_lines(&["WARN"], 19, begin);
    m.check_alive();
}

/// Gives a plan by QMP while the endpoint answers, or not; what QMP has said.
fn give(m: &mut Machine, plan: &str, answer: Option<(bool, &str)>) -> Result<(), String> {
    let arguments = json!({"path": PATH, "property": "faults", "value": plan});
    let id = m.qemu.start_qmp("qom-set", arguments);
    if let Some((refused, text)) = answer {
        let found = ok(m.hdl.next_event(PATIENCE));
        assert_eq!(found, Event::Faults { text: plan.into() });
        ok(m.hdl.faults_done(refused, text));
    }
    m.qemu.finish_qmp(id).map(drop)
}

fn said(m: &mut Machine) -> String {
    let text = m.qemu.qom_get(PATH, "faults");
    text.as_str().unwrap().to_owned()
}

#[test]
fn plans_by_qmp() {
    let mut m = Machine::start(sample_config(0));
    assert_eq!(said(&mut m), "");
    let plan = "ur on=read bar=0 offset=0x10";
    give(&mut m, plan, Some((false, "1 fault, seed 1"))).unwrap();
    assert_eq!(said(&mut m), "1 fault, seed 1");
    let e = give(&mut m, "ur", Some((true, "line 1: on is missing"))).unwrap_err();
    assert!(e.contains("line 1: on is missing"), "{e}");
    // That is in force which was.
    assert_eq!(said(&mut m), "1 fault, seed 1");
    m.qemu
        .expect_line(&["plan of faults refused", "line 1: on is missing"]);
    let long = "#".repeat(4097);
    let e = give(&mut m, &long, None).unwrap_err();
    assert!(e.contains("4097 bytes, at most 4096"), "{e}");
    // What the simulator says is one line, of what can be printed.
    let e = give(&mut m, "x", Some((true, "a\n\u{1b}[2J"))).unwrap_err();
    assert!(e.contains("a\\n\\u{1b}[2J"), "{e}");
    m.check_alive();
}

/// Nobody waits for a simulator that does not answer for longer than for an access.
#[test]
fn a_plan_that_is_not_answered() {
    let mut m = Machine::start_with(
        sample_config(0),
        &Options {
            properties: "other-timeout=200".into(),
            ..Options::default()
        },
    );
    for _ in 0..8 {
        let begin = Instant::now();
        let e = give(&mut m, "", None).unwrap_err();
        assert!(e.contains("does not answer"), "{e}");
        assert!(begin.elapsed() >= Duration::from_millis(200));
        assert!(begin.elapsed() < PATIENCE);
    }
    assert_eq!(said(&mut m), "a plan that is not answered");
    let e = give(&mut m, "", None).unwrap_err();
    assert!(e.contains("has not answered 8 plans"), "{e}");
    // It comes to itself, and accesses go as ever.
    for _ in 0..8 {
        let found = ok(m.hdl.next_event(PATIENCE));
        assert!(matches!(found, Event::Faults { .. }), "{found:?}");
        ok(m.hdl.faults_done(false, "no faults"));
    }
    m.read(0, 0, 4, 7);
    give(&mut m, "", Some((false, "no faults"))).unwrap();
    m.kill_endpoint();
    m.qemu.expect_line(&["is down"]);
    let e = give(&mut m, "", None).unwrap_err();
    assert!(e.contains("link to the simulator is down"), "{e}");
}

/// An answer that nobody has asked for ends the session, and nothing more.
#[test]
fn an_answer_to_no_plan_breaks_the_protocol() {
    let config: Config = sample_config(0);
    let mut m = Machine::start(config);
    ok(m.hdl.inject(&Frame::FaultsDone {
        tag: 3,
        refused: false,
        text: "",
    }));
    m.qemu
        .expect_line(&["ERROR", "FAULTS_DONE has tag 3, outstanding is none"]);
    assert!(m.qemu.is_running());
}
