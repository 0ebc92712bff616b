// SPDX-License-Identifier: MIT OR Apache-2.0

//! Guest memory that the card reaches without asking QEMU: which, and when not.

use std::{
    thread,
    time::{Duration, Instant},
};

use accelerator_peers::{hdl::sample_config, memory::wanted, Event};
use accelerator_qtest::{
    guest::Vcpu,
    machine::{ok, Options},
    pci::{capability, command, CARD},
    Machine, PATIENCE,
};
use serde_json::json;

const CARD_PATH: &str = "/machine/peripheral/card";

/// Guest memory that nobody else uses.
const PLACE: u64 = 0x10_0000;
const RAM_END: u64 = 0x800_0000;

/// RAM that is a shared file.
const SHARED: &str = "-object memory-backend-memfd,id=ram,size=128M,share=on \
                      -machine memory-backend=ram";

fn start_with(args: &str, properties: &str, vcpus: u32) -> Machine {
    Machine::start_with(
        sample_config(1),
        &Options {
            args: args.into(),
            properties: properties.into(),
            vcpus,
            ..Options::default()
        },
    )
}

fn start() -> Machine {
    let mut m = start_with(SHARED, "", 0);
    expect_reach(&mut m);
    m
}

fn reaches(m: &mut Machine, addr: u64) -> bool {
    m.hdl.reach_read(addr, &mut [0; 8])
}

/// The files come by themselves, a little later.
#[track_caller]
fn expect_reach(m: &mut Machine) {
    let begin = Instant::now();
    while !reaches(m, PLACE) {
        assert!(begin.elapsed() < PATIENCE, "guest memory is not reached");
        thread::sleep(Duration::from_millis(1));
    }
}

#[track_caller]
fn guest_memory(m: &mut Machine, expected: &str) {
    let found = m.qemu.qom_get(CARD_PATH, "guest-memory");
    let found = found.as_str().expect("a text");
    assert!(found.contains(expected), "{found:?} is not {expected:?}");
}

#[test]
fn shared_memory_of_the_guest_is_reached_with_exact_bytes() {
    if !wanted() {
        let mut m = start_with(SHARED, "", 0);
        guest_memory(&mut m, "not mapped: the session does not go through shared");
        return;
    }
    let mut m = start();
    guest_memory(&mut m, "mapped: 12");
    // Each of 256 patterns in the low half, its complement in the high half, at changing
    // alignment.
    let mut expected = vec![0xee_u8; 256 * 32];
    m.qemu.fill_memory(PLACE, expected.len(), 0xee);
    for pattern in 0..=255_u8 {
        let at = usize::from(pattern) * 32 + usize::from(pattern % 13);
        let data: Vec<u8> = (0..16).map(|i| pattern.wrapping_mul(7) ^ i).collect();
        let enables = [pattern, !pattern];
        assert!(m.hdl.reach_write(PLACE + at as u64, &data, Some(&enables)));
        for i in 0..16 {
            if enables[i / 8] >> (i % 8) & 1 != 0 {
                expected[at + i] = data[i];
            }
        }
    }
    assert!(m.qemu.read_memory(PLACE, expected.len()) == expected);
    let mut found = vec![0; 4096];
    assert!(m.hdl.reach_read(PLACE + 3, &mut found));
    assert!(found == expected[3..4099]);
    // The whole of it, and nothing beside it.
    assert!(reaches(&mut m, 0));
    assert!(reaches(&mut m, RAM_END - 8));
    assert!(!reaches(&mut m, RAM_END - 4));
    for hole in [RAM_END, 0xfffc_0000, 0xffff_fff8, 1 << 32, u64::MAX - 7] {
        assert!(!reaches(&mut m, hole), "{hole:#x}");
    }
    m.check_alive();
    // What was moved counts, as if QEMU had done it.
    m.qemu.qmp("quit", json!({}));
    let line = m.qemu.expect_line(&["closed:", "bytes DMA"]);
    assert!(line.contains("and 2048 to the host"), "{line}");
}

/// While it is so nothing is reached, and when it is over all is as before.
#[track_caller]
fn nothing_is_reached(m: &mut Machine, what: &str) {
    assert!(!reaches(m, PLACE), "{what}: read");
    assert!(!m.hdl.reach_write(PLACE, &[1; 8], None), "{what}: write");
}

#[test]
fn what_ends_the_permission_has_ended_it_when_it_is_answered() {
    if !wanted() {
        return;
    }
    let mut m = start();
    let power = CARD.expect(&mut m.qemu, capability::POWER_MANAGEMENT) + 4;
    // More often than a session takes files.
    for _ in 0..70 {
        CARD.change_command(&mut m.qemu, 0, command::BUS_MASTER);
        nothing_is_reached(&mut m, "Bus Master Enable");
        guest_memory(&mut m, "not mapped");
        CARD.change_command(&mut m.qemu, command::BUS_MASTER, 0);
        assert!(reaches(&mut m, PLACE));

        CARD.set(&mut m.qemu, power, 2, 3);
        nothing_is_reached(&mut m, "D3hot");
        CARD.set(&mut m.qemu, power, 2, 0);
        assert!(reaches(&mut m, PLACE));

        m.qemu.qmp("stop", json!({}));
        nothing_is_reached(&mut m, "stop");
        m.qemu.qmp("cont", json!({}));
        assert!(reaches(&mut m, PLACE));
    }
    m.qemu.qmp("system_reset", json!({}));
    let tag = loop {
        match ok(m.hdl.next_event(PATIENCE)) {
            Event::Reset { tag, .. } => break tag,
            Event::Function(_) => {}
            other => panic!("{other:?}"),
        }
    };
    nothing_is_reached(&mut m, "reset of the machine");
    m.enumerate();
    nothing_is_reached(&mut m, "a reset that is under way");
    ok(m.hdl.reset_done(tag));
    expect_reach(&mut m);
    m.check_alive();
    // Another simulator begins anew.
    m.kill_endpoint();
    m.qemu.expect_line(&["is down"]);
    m.restart_endpoint(sample_config(1));
    ok(m.hdl.wait_for_session(PATIENCE));
    m.settle_resets();
    expect_reach(&mut m);
    m.check_alive();
}

#[test]
fn memory_that_cannot_be_reached_is_told_with_the_option_to_add() {
    if !wanted() {
        return;
    }
    let mut m = start_with("", "", 0);
    nothing_is_reached(&mut m, "private memory");
    guest_memory(&mut m, "not mapped: guest memory is not shared");
    m.qemu
        .expect_line(&["INFO", "memory-backend-memfd,id=ram,size=SIZE,share=on"]);
    m.check_alive();
    drop(m);
    let mut m = start_with(SHARED, "direct-dma=off", 0);
    nothing_is_reached(&mut m, "off");
    guest_memory(&mut m, "not mapped: direct-dma is off");
    m.check_alive();
    drop(m);
    let folder = std::path::Path::new("/dev/shm");
    assert!(folder.is_dir());
    let file = folder.join(format!("accelerator-{}", std::process::id()));
    let args = format!(
        "-object memory-backend-file,id=ram,size=128M,share=on,mem-path={} \
         -machine memory-backend=ram",
        file.display()
    );
    let mut m = start_with(&args, "", 0);
    let removed = std::fs::remove_file(&file);
    nothing_is_reached(&mut m, "a file that is not sealed");
    guest_memory(
        &mut m,
        "not mapped: the file of guest memory can be made shorter",
    );
    m.check_alive();
    removed.expect("the file is there");
}

#[test]
fn nothing_is_reached_behind_an_iommu() {
    if !wanted() {
        return;
    }
    let args = format!("{SHARED} -device intel-iommu,intremap=off");
    let mut m = start_with(&args, "", 0);
    nothing_is_reached(&mut m, "an IOMMU");
    guest_memory(&mut m, "not mapped: an IOMMU translates");
    m.check_alive();
}

#[test]
fn memory_that_is_plugged_in_later_is_reached() {
    if !wanted() {
        return;
    }
    let more = "-m 128M,slots=1,maxmem=1G";
    let mut m = start_with(&format!("{SHARED} {more}"), "", 0);
    expect_reach(&mut m);
    let beyond = 1 << 32;
    assert!(!reaches(&mut m, beyond));
    m.qemu.qmp(
        "object-add",
        json!({"qom-type": "memory-backend-memfd", "id": "more", "size": 128 << 20}),
    );
    m.qemu.qmp(
        "device_add",
        json!({"driver": "pc-dimm", "id": "dimm", "memdev": "more"}),
    );
    let begin = Instant::now();
    while !reaches(&mut m, beyond) {
        assert!(begin.elapsed() < PATIENCE, "it is not reached");
    }
    assert!(m.hdl.reach_write(beyond, &[7; 64], None));
    assert_eq!(m.qemu.read_memory(beyond, 64), [7; 64]);
    m.check_alive();
}

/// Offset of the word in the segment that says that the device is in the middle of a copy.
const INSIDE: u64 = 532_480 + 128;

#[test]
fn a_simulator_that_stops_in_the_middle_of_a_copy_holds_nobody_up_for_long() {
    if !wanted() {
        return;
    }
    let mut m = start();
    assert!(m.hdl.scribble(INSIDE, &1_u64.to_le_bytes()));
    let begin = Instant::now();
    CARD.change_command(&mut m.qemu, 0, command::BUS_MASTER);
    let took = begin.elapsed();
    assert!(
        took > Duration::from_millis(200),
        "{took:?}: not waited for"
    );
    assert!(took < Duration::from_secs(2), "{took:?}");
    m.qemu
        .expect_line(&["ERROR", "stopped in the middle of a copy"]);
    // Nobody waits again, a quarter of a second each time, and the gate stays closed.
    let begin = Instant::now();
    for _ in 0..10 {
        CARD.change_command(&mut m.qemu, command::BUS_MASTER, 0);
        CARD.change_command(&mut m.qemu, 0, command::BUS_MASTER);
    }
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    CARD.change_command(&mut m.qemu, command::BUS_MASTER, 0);
    nothing_is_reached(&mut m, "a copy that is not over");
    assert!(m.hdl.scribble(INSIDE, &0_u64.to_le_bytes()));
    CARD.change_command(&mut m.qemu, 0, command::BUS_MASTER);
    CARD.change_command(&mut m.qemu, command::BUS_MASTER, 0);
    expect_reach(&mut m);
    m.check_alive();
}

/// `mov $value, %eax; ret`.
fn code(value: u32) -> [u8; 6] {
    let [a, b, c, d] = value.to_le_bytes();
    [0xb8, a, b, c, d, 0xc3]
}

#[test]
fn code_that_the_card_writes_is_the_code_that_runs() {
    if !wanted() {
        return;
    }
    let rounds = if std::env::var_os("TEST_LONG").is_some() {
        10_000
    } else {
        500
    };
    let mut m = start_with(SHARED, "", 2);
    expect_reach(&mut m);
    let vcpus = [Vcpu(0), Vcpu(1)];
    for vcpu in vcpus {
        vcpu.expect_progress(&mut m.qemu);
    }
    let (mut alone, mut asked) = (0, 0);
    let mut write = |m: &mut Machine, at: u64, value: u32| {
        if m.hdl.reach_write(at, &code(value), None) {
            alone += 1;
        } else {
            asked += 1;
            ok(m.hdl.dma_write(at, &code(value), None));
        }
    };
    for round in 0..rounds {
        // Both in one page, each run by another vCPU in turn.
        let values = [2 * round, 2 * round + 1];
        for (i, value) in values.into_iter().enumerate() {
            let at = PLACE + i as u64 * 64;
            write(&mut m, at, !value);
            write(&mut m, at, value);
        }
        for (i, vcpu) in vcpus.into_iter().enumerate() {
            let which = (i + round as usize) % 2;
            vcpu.start_call(&mut m.qemu, PLACE + which as u64 * 64);
        }
        for (i, vcpu) in vcpus.into_iter().enumerate() {
            let which = (i + round as usize) % 2;
            assert_eq!(vcpu.loaded(&mut m.qemu), values[which], "round {round}");
        }
    }
    // In a round the first three find code in the page, the last one does not.
    assert!(asked >= rounds, "{asked} writes were messages");
    assert!(alone >= rounds, "{alone} writes were none");
    m.check_alive();
}
