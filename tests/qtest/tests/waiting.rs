// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the rest of QEMU need not wait for while somebody waits for the RTL, and
//! what the RTL has to wait for while the machine is stopped.

use std::time::Instant;

use accelerator_peers::{hdl::sample_config, Event};
use accelerator_protocol::wire::Status;
use accelerator_qtest::{
    machine::{ok, QUIET},
    pci::{capability, command, reg, Function, CARD, ROOT_PORT},
    waits::{start, timed, wait_in, FIRST, SECOND},
    Machine, Options, PATIENCE,
};
use serde_json::json;

/// It waits until all that RCU has to free before is free.
#[test]
fn a_device_add_that_fails_is_answered_while_a_vcpu_waits() {
    let mut m = start("", "");
    let tag = wait_in(&mut m, 0x40);
    let id = m
        .qemu
        .start_qmp("device_add", json!({"driver": "e1000", "bus": "nowhere"}));
    let result = timed("device_add", || m.qemu.finish_qmp(id));
    assert!(result.is_err_and(|e| e.contains("nowhere")));
    timed("query-status", || m.qemu.qmp("query-status", json!({})));
    assert!(!FIRST.is_done(&mut m.qemu));
    ok(m.hdl.read_done(tag, 4, 0x1234));
    assert_eq!(FIRST.loaded(&mut m.qemu), 0x1234);
}

/// Each change of the map leaves a view of memory that RCU has to free, about
/// half a megabyte.
#[test]
fn memory_is_freed_while_a_vcpu_waits() {
    const ROUNDS: u64 = 500;
    const MOST_KIB: u64 = 64 * 1024;
    let mut m = start("", "");
    let tag = wait_in(&mut m, 0x40);
    let before = m.qemu.memory_kib();
    for round in 1..=ROUNDS {
        CARD.change_command(&mut m.qemu, 0, command::MEMORY);
        CARD.change_command(&mut m.qemu, command::MEMORY, 0);
        if round % 20 == 0 {
            // RCU frees when it gets to it; this waits for it.
            let id = m
                .qemu
                .start_qmp("device_add", json!({"driver": "e1000", "bus": "nowhere"}));
            assert!(m.qemu.finish_qmp(id).is_err());
        }
    }
    let grown = m.qemu.memory_kib().saturating_sub(before);
    println!("BARs {ROUNDS} times off and on while a vCPU waits: {grown} KiB more");
    assert!(grown < MOST_KIB, "{grown} KiB more");
    assert!(!FIRST.is_done(&mut m.qemu));
    ok(m.hdl.read_done(tag, 4, 0x4321));
    assert_eq!(FIRST.loaded(&mut m.qemu), 0x4321);
    FIRST.expect_progress(&mut m.qemu);
}

/// The region is gone when the completion comes, and so is what it was found in.
#[test]
fn a_vcpu_comes_back_to_a_map_that_has_changed() {
    let mut m = start("", "");
    let bars = m.bars;
    for round in 0..20 {
        let tag = wait_in(&mut m, 0x40);
        CARD.change_command(&mut m.qemu, 0, command::MEMORY);
        ok(m.hdl.dma_write(0x40_0000, &[round; 4096], None));
        ok(m.hdl.msix(0));
        let id = m
            .qemu
            .start_qmp("device_add", json!({"driver": "e1000", "bus": "nowhere"}));
        assert!(m.qemu.finish_qmp(id).is_err());
        ok(m.hdl.read_done(tag, 4, 0x1000 + u64::from(round)));
        assert_eq!(FIRST.loaded(&mut m.qemu), 0x1000 + u32::from(round));
        assert_eq!(m.qemu.read_memory(0x40_0000, 4096), [round; 4096]);
        CARD.change_command(&mut m.qemu, command::MEMORY, 0);
    }
    assert_eq!(m.bars, bars);
    FIRST.expect_progress(&mut m.qemu);
    m.check_alive();
}

/// Whoever unplugs does not wait for the RTL, and nobody waits for a card that is gone.
#[test]
fn a_card_is_unplugged_while_a_vcpu_waits() {
    let mut m = start(
        "write-window=128",
        "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
    );
    let addr = m.bar(0);
    wait_in(&mut m, 0x40);
    for n in 0..60 {
        m.qemu.store(addr + 4 * n, 4, n);
    }
    for _ in 0..4 {
        ok(m.hdl.start_dma_read(0x40_0000, 4096));
        ok(m.hdl.start_dma_write(0x40_0000, &[0xa5; 4096], None));
    }
    m.qemu.qmp("device_del", json!({"id": "card"}));
    assert!(!FIRST.is_done(&mut m.qemu), "the guest has to let go first");
    // What pciehp does: power and its indicator off.
    let slot = ROOT_PORT.expect(&mut m.qemu, capability::EXPRESS) + 0x18;
    let control = ROOT_PORT.get(&mut m.qemu, slot, 2);
    ROOT_PORT.set(&mut m.qemu, slot, 2, control & !0x300 | 0x300 | 0x400);
    assert_eq!(FIRST.loaded(&mut m.qemu), 0xffff_ffff);
    ok(m.hdl.expect_down(PATIENCE));
    // Its end waits for a grace period, and QEMU 10.1 hurries vCPUs that never leave the guest, as
    // these, only for who drains RCU, as a device_add that fails.
    let id = m
        .qemu
        .start_qmp("device_add", json!({"driver": "e1000", "bus": "nowhere"}));
    assert!(m.qemu.finish_qmp(id).is_err());
    m.qemu.expect_event("DEVICE_DELETED");
    assert!(!CARD.is_present(&mut m.qemu));
    FIRST.expect_progress(&mut m.qemu);
    SECOND.expect_progress(&mut m.qemu);
}

#[test]
fn a_monitor_that_reads_a_bar_is_answered_soon() {
    let mut m = start("other-timeout=300", "");
    let addr = m.bar(0) + 0x40;
    let command = |count| json!({"command-line": format!("xp /{count}wx {addr:#x}")});
    let text = timed("xp of one register", || {
        m.qemu.qmp("human-monitor-command", command(1))
    });
    assert!(text.as_str().unwrap().contains("0xffffffff"), "{text}");
    let late = ok(m.hdl.expect_read(0, 0x40, 4));
    m.qemu.expect_line(&["WARN", "no vCPU's own", "given up"]);
    // No time is lost again, and the log is not flooded.
    let text = timed("xp of 200 registers", || {
        m.qemu.qmp("human-monitor-command", command(200))
    });
    assert_eq!(text.as_str().unwrap().matches("0xffffffff").count(), 200);
    assert!(m.qemu.count_lines(&["is not forwarded"]) < 20);
    // The RTL answers again.
    ok(m.hdl.read_done(late, 4, 1));
    m.qemu.expect_line(&["late completion"]);
    let id = m.qemu.start_qmp("human-monitor-command", command(1));
    let tag = ok(m.hdl.expect_read(0, 0x40, 4));
    ok(m.hdl.read_done(tag, 4, 0x600d_600d));
    let text = m.qemu.finish_qmp(id).unwrap();
    assert!(text.as_str().unwrap().contains("0x600d600d"), "{text}");
}

#[test]
fn dma_of_another_device_to_a_bar_is_answered_soon() {
    let mut m = start(
        "other-timeout=300",
        "-device edu,bus=pcie.0,addr=6.0,dma_mask=0xffffffff",
    );
    let edu = Function { bus: 0, device: 6 };
    let at = 0xe800_0000u64;
    edu.set(&mut m.qemu, reg::BAR0, 4, at as u32);
    edu.change_command(&mut m.qemu, command::MEMORY | command::BUS_MASTER, 0);
    let addr = m.bar(0) + 0x40;
    let dma = |m: &mut Machine| {
        for (register, value) in [(0x80, addr), (0x88, 0x40000), (0x90, 4), (0x98, 1)] {
            m.qemu.store(at + register, 8, value);
        }
    };
    dma(&mut m);
    let late = ok(m.hdl.expect_read(0, 0x40, 4));
    timed("query-status", || m.qemu.qmp("query-status", json!({})));
    m.qemu.expect_line(&["WARN", "no vCPU's own", "given up"]);
    ok(m.hdl.read_done(late, 4, 1));
    m.qemu.expect_line(&["late completion"]);
    // An interrupt that needs the lock comes before the answer.
    let msix = m.enable_msix();
    let bars = m.bars;
    msix.program(&mut m.qemu, &bars, 1, 0x30_0000, 0xc0de);
    dma(&mut m);
    let tag = ok(m.hdl.expect_read(0, 0x40, 4));
    ok(m.hdl.msix(1));
    ok(m.hdl.read_done(tag, 4, 2));
    m.qemu.qmp("quit", json!({}));
    let status = m.qemu.wait_exit(PATIENCE);
    assert_eq!(status.code(), Some(0));
}

#[test]
fn the_card_stands_still_while_the_machine_is_stopped() {
    let mut m = start("", "");
    let msix = m.enable_msix();
    let bars = m.bars;
    msix.program(&mut m.qemu, &bars, 1, 0x30_0000, 0xc0de);
    m.qemu.qmp("stop", json!({}));
    let write = ok(m.hdl.start_dma_write(0x40_0000, &[0xa5; 4096], None));
    ok(m.hdl.msix(1));
    let read = ok(m.hdl.start_dma_read(0x40_0000, 4));
    // A look at a register comes after all that.
    let addr = m.bar(0) + 0x40;
    m.qemu.start_load(addr, 4);
    let tag = ok(m.hdl.expect_read(0, 0x40, 4));
    ok(m.hdl.read_done(tag, 4, 7));
    assert_eq!(m.qemu.reply_value(), 7);
    assert_eq!(m.qemu.read_memory(0x40_0000, 4096), [0; 4096]);
    assert_eq!(m.qemu.load(0x30_0000, 4), 0);
    assert!(ok(m.hdl.try_event(QUIET)).is_none());

    m.qemu.qmp("cont", json!({}));
    match ok(m.hdl.next_event(PATIENCE)) {
        Event::DmaWriteDone { tag, status } => assert_eq!((tag, status), (write, Status::Ok)),
        other => panic!("{other:?}"),
    }
    match ok(m.hdl.next_event(PATIENCE)) {
        Event::DmaReadDone { tag, status, data } => {
            assert_eq!((tag, status), (read, Status::Ok));
            assert_eq!(data, [0xa5; 4]);
        }
        other => panic!("{other:?}"),
    }
    let begin = Instant::now();
    while m.qemu.load(0x30_0000, 4) != 0xc0de {
        assert!(begin.elapsed() < PATIENCE, "the interrupt is lost");
    }
    m.check_alive();
}

#[test]
fn a_machine_that_was_not_started_yet_is_stopped_too() {
    let mut m = Machine::start_with(
        sample_config(2),
        &Options {
            args: "-S".into(),
            ..Options::default()
        },
    );
    let write = ok(m.hdl.start_dma_write(0x40_0000, &[0xa5; 4], None));
    assert!(ok(m.hdl.try_event(QUIET)).is_none());
    assert_eq!(m.qemu.read_memory(0x40_0000, 4), [0; 4]);
    m.qemu.qmp("cont", json!({}));
    match ok(m.hdl.next_event(PATIENCE)) {
        Event::DmaWriteDone { tag, .. } => assert_eq!(tag, write),
        other => panic!("{other:?}"),
    }
    assert_eq!(m.qemu.read_memory(0x40_0000, 4), [0xa5; 4]);
}
