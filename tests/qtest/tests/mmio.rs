// SPDX-License-Identifier: MIT OR Apache-2.0

//! Accesses of the guest to BARs.

use std::time::Duration;

use accelerator_peers::{hdl::sample_config, Event};
use accelerator_protocol::wire::Status;
use accelerator_qtest::{
    machine::{ok, QUIET},
    Machine, Options, PATIENCE,
};

fn with(properties: &str) -> Machine {
    Machine::start_with(
        sample_config(4),
        &Options {
            properties: properties.into(),
            ..Options::default()
        },
    )
}

#[test]
fn every_size_at_every_alignment() {
    let mut m = with("");
    let pattern = 0x8877_6655_4433_2211;
    for bar in [0, 2] {
        for len in [1, 2, 4, 8] {
            for offset in 0..17 {
                // One access is one frame: `write` and `read` take exactly one.
                m.write(bar, offset, len, pattern ^ offset);
                m.read(bar, offset, len, pattern.rotate_left(offset as u32));
            }
        }
    }
    m.expect_quiet();
}

#[test]
fn the_last_bytes_of_a_bar() {
    let mut m = with("");
    for (bar, size) in [(0, 0x2000), (2, 0x1_0000)] {
        for len in [1, 2, 4, 8] {
            let offset = size - u64::from(len);
            m.write(bar, offset, len, 0x0102_0304_0506_0708);
            m.read(bar, offset, len, 0x1817_1615_1413_1211);
        }
    }
}

#[test]
fn a_failed_read_is_all_ones() {
    let mut m = with("");
    for len in [1, 2, 4, 8] {
        m.qemu.start_load(m.bar(0), len);
        let tag = ok(m.hdl.expect_read(0, 0, len));
        ok(m.hdl.read_ended(tag, len, Status::Refused, 0x1234));
        let ones = accelerator_protocol::host::mask(u64::MAX, len);
        assert_eq!(m.qemu.reply_value(), ones);
    }
    m.check_alive();
}

#[test]
fn a_failed_write_is_told() {
    let mut m = with("");
    m.qemu.store(m.bar(0), 4, 1);
    let tag = ok(m.hdl.expect_write(0, 0, 4, 1));
    ok(m.hdl.write_done(tag, Status::Refused));
    m.qemu.expect_line(&["card", "write", "Refused"]);
    m.check_alive();
}

#[test]
fn posted_writes_return_at_once_until_the_window_is_full() {
    for window in [1u32, 3, 64] {
        let mut m = with(&format!("write-window={window}"));
        let addr = m.bar(0);
        // The endpoint takes nothing, and yet these return.
        for i in 0..window {
            m.qemu.store(addr + 8 * u64::from(i), 8, u64::from(i));
        }
        // This one has to wait.
        m.qemu.start_store(addr, 4, 0xabc);
        assert_eq!(m.qemu.try_reply(QUIET), None, "window {window}");
        let first = ok(m.hdl.expect_write(0, 0, 8, 0));
        for i in 1..window {
            ok(m.hdl.expect_write(0, 8 * u64::from(i), 8, u64::from(i)));
        }
        // Not even sent: the window is a promise to the other side.
        m.expect_quiet();
        ok(m.hdl.write_done(first, Status::Ok));
        m.qemu.reply();
        let last = ok(m.hdl.expect_write(0, 0, 4, 0xabc));
        // The next one waits again.
        m.qemu.start_store(addr, 2, 0xdef);
        assert_eq!(m.qemu.try_reply(QUIET), None);
        for tag in first + 1..=last {
            ok(m.hdl.write_done(tag, Status::Ok));
        }
        m.qemu.reply();
        let tag = ok(m.hdl.expect_write(0, 0, 2, 0xdef));
        ok(m.hdl.write_done(tag, Status::Ok));
        m.check_alive();
    }
}

#[test]
fn the_end_of_a_stream_arrives_although_nothing_is_reported() {
    let mut m = with("");
    let addr = m.bar(0);
    // More than are sent one by one, fewer than fill a message.
    for i in 0..30 {
        m.qemu.store(addr + 8 * i, 8, i);
    }
    // No read and no report moves them on.
    let tags: Vec<u32> = (0..30)
        .map(|i| ok(m.hdl.expect_write(0, 8 * i, 8, i)))
        .collect();
    for tag in tags {
        ok(m.hdl.write_done(tag, Status::Ok));
    }
    m.check_alive();
}

#[test]
fn a_read_comes_behind_a_stream_and_a_write_behind_the_read() {
    let mut m = with("");
    let addr = m.bar(0);
    for i in 0..100 {
        m.qemu.store(addr + 8 * i, 8, i);
    }
    m.qemu.start_load(addr, 4);
    for i in 0..100 {
        let tag = ok(m.hdl.expect_write(0, 8 * i, 8, i));
        ok(m.hdl.write_done(tag, Status::Ok));
    }
    let tag = ok(m.hdl.expect_read(0, 0, 4));
    ok(m.hdl.read_done(tag, 4, 0x5eed));
    assert_eq!(m.qemu.reply_value(), 0x5eed);
    m.qemu.store(addr, 4, 1);
    let tag = ok(m.hdl.expect_write(0, 0, 4, 1));
    ok(m.hdl.write_done(tag, Status::Ok));
    m.check_alive();
}

#[test]
fn one_completion_may_report_many_writes() {
    let mut m = with("write-window=8");
    let addr = m.bar(0);
    for i in 0..8 {
        m.qemu.store(addr + i, 1, i);
    }
    m.qemu.start_store(addr, 4, 0xabc);
    assert_eq!(m.qemu.try_reply(QUIET), None);
    let mut last = 0;
    for i in 0..8 {
        last = ok(m.hdl.expect_write(0, i, 1, i));
    }
    ok(m.hdl.inject(&accelerator_protocol::Frame::MmioWriteDone {
        tag: last,
        status: Status::Ok,
    }));
    m.qemu.reply();
    // Room for seven more.
    for i in 0..7 {
        m.qemu.store(addr + i, 1, i);
    }
    m.qemu.start_store(addr, 4, 0xdef);
    assert_eq!(m.qemu.try_reply(QUIET), None);
}

#[test]
fn without_posting_a_write_waits_for_its_completion() {
    let mut m = with("posted-writes=off");
    let addr = m.bar(0);
    for i in 0..3 {
        m.qemu.start_store(addr, 4, i);
        let tag = ok(m.hdl.expect_write(0, 0, 4, i));
        assert_eq!(m.qemu.try_reply(QUIET), None);
        ok(m.hdl.write_done(tag, Status::Ok));
        m.qemu.reply();
    }
}

#[test]
fn the_wire_has_the_order_of_the_guest() {
    let mut m = with("");
    let addr = m.bar(0);
    m.qemu.store(addr, 4, 1);
    m.qemu.store(addr + 4, 2, 2);
    m.qemu.start_load(addr, 4);
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(ok(m.hdl.next_event(PATIENCE)));
    }
    let [Event::Write { data: 1, .. }, Event::Write { data: 2, .. }, Event::Read { tag, .. }] =
        seen[..]
    else {
        panic!("{seen:?}");
    };
    // The read is answered before the writes are reported done: also that is
    // the device's right, for instance if B responses are slow.
    ok(m.hdl.read_done(tag, 4, 7));
    assert_eq!(m.qemu.reply_value(), 7);
}

#[test]
fn a_block_arrives_in_order() {
    let mut m = with("");
    let data: Vec<u8> = (0..64).collect();
    m.qemu.write_memory(m.bar(2) + 0x100, &data);
    let mut got = Vec::new();
    while got.len() < data.len() {
        match ok(m.hdl.next_event(PATIENCE)) {
            Event::Write {
                tag,
                bar: 2,
                len,
                offset,
                data,
            } => {
                assert_eq!(offset, 0x100 + got.len() as u64);
                got.extend_from_slice(&data.to_le_bytes()[..len.into()]);
                ok(m.hdl.write_done(tag, Status::Ok));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(got, data);
}

#[test]
fn dma_in_the_middle_of_a_read() {
    let mut m = with("");
    let place = 0x20_0000;
    m.qemu.store(place, 8, 0x0123_4567_89ab_cdef);
    for _ in 0..16 {
        m.qemu.start_load(m.bar(0) + 0x40, 8);
        let tag = ok(m.hdl.expect_read(0, 0x40, 8));
        // QEMU waits for us and serves us meanwhile.
        let data = ok(m.hdl.dma_read(place, 8));
        ok(m.hdl.dma_write(place + 8, &data, None));
        let data = u64::from_le_bytes(data.try_into().unwrap());
        ok(m.hdl.read_done(tag, 8, data));
        assert_eq!(m.qemu.reply_value(), 0x0123_4567_89ab_cdef);
        assert_eq!(m.qemu.load(place + 8, 8), 0x0123_4567_89ab_cdef);
        m.qemu.store(place + 8, 8, 0);
    }
}

#[test]
fn dma_while_a_write_waits_for_room() {
    let mut m = with("write-window=1");
    let place = 0x20_0000;
    m.qemu.store(place, 4, 0xfeed_f00d);
    let addr = m.bar(0);
    m.qemu.store(addr, 4, 1);
    m.qemu.start_store(addr, 4, 2);
    let tag = ok(m.hdl.expect_write(0, 0, 4, 1));
    // The RTL takes the first write only when it has its data.
    assert_eq!(ok(m.hdl.dma_read(place, 4)), 0xfeed_f00du32.to_le_bytes());
    ok(m.hdl.write_done(tag, Status::Ok));
    m.qemu.reply();
    let tag = ok(m.hdl.expect_write(0, 0, 4, 2));
    ok(m.hdl.write_done(tag, Status::Ok));
    m.check_alive();
}

#[test]
fn a_read_pushes_earlier_dma_writes() {
    let mut m = with("");
    let place = 0x20_0000;
    for round in 0..32u64 {
        m.qemu.start_load(m.bar(0), 4);
        let tag = ok(m.hdl.expect_read(0, 0, 4));
        // "Done" is only read after the buffer is written.
        let block = [round as u8 + 1; 4096];
        ok(m.hdl.start_dma_write(place, &block, None));
        ok(m.hdl.read_done(tag, 4, 1));
        assert_eq!(m.qemu.reply_value(), 1);
        assert_eq!(m.qemu.read_memory(place, 4096), block);
        let done = ok(m.hdl.next_event(PATIENCE));
        assert!(
            matches!(
                done,
                Event::DmaWriteDone {
                    status: Status::Ok,
                    ..
                }
            ),
            "{done:?}"
        );
    }
}

#[test]
fn a_completion_timeout_reads_as_all_ones() {
    let mut m = with("completion-timeout=150");
    let addr = m.bar(0) + 0x24;
    m.qemu.start_load(addr, 4);
    let tag = ok(m.hdl.expect_read(0, 0x24, 4));
    assert_eq!(m.qemu.reply_value(), 0xffff_ffff);
    m.qemu.expect_line(&[
        "card",
        "completion timeout",
        "BAR 0",
        "0x24",
        &format!("tag {tag}"),
    ]);
    // The late answer belongs to nobody and does no harm.
    ok(m.hdl.read_done(tag, 4, 0x1111_1111));
    m.read(0, 0, 4, 0x2222_2222);
    m.check_alive();
}

#[test]
fn a_timeout_also_ends_the_wait_for_room() {
    let mut m = with("completion-timeout=150,write-window=1");
    let addr = m.bar(0);
    m.qemu.store(addr, 4, 1);
    m.qemu.store(addr + 4, 4, 2);
    m.qemu.expect_line(&["card", "completion timeout", "write"]);
    let tag = ok(m.hdl.expect_write(0, 0, 4, 1));
    ok(m.hdl.write_done(tag, Status::Ok));
    m.check_alive();
}

#[test]
fn a_long_wait_is_told() {
    let mut m = Machine::start_with(
        sample_config(0),
        &Options {
            env: vec![("ACCELERATOR_ZMQ_WARN_MS", "50")],
            ..Options::default()
        },
    );
    m.qemu.start_load(m.bar(0) + 0x18, 2);
    let tag = ok(m.hdl.expect_read(0, 0x18, 2));
    let line = m
        .qemu
        .expect_line(&["WARN", "card", "BAR 0", "0x18", &format!("tag {tag}")]);
    assert!(line.contains(&m.endpoint()), "{line}");
    ok(m.hdl.read_done(tag, 2, 3));
    assert_eq!(m.qemu.reply_value(), 3);
}

#[test]
fn no_wait_is_told_with_a_limit_of_0() {
    let mut m = Machine::start_with(
        sample_config(0),
        &Options {
            env: vec![("ACCELERATOR_ZMQ_WARN_MS", "0")],
            ..Options::default()
        },
    );
    m.qemu.start_load(m.bar(0) + 0x18, 2);
    let tag = ok(m.hdl.expect_read(0, 0x18, 2));
    // Longer than what is told of otherwise.
    std::thread::sleep(Duration::from_millis(1300));
    ok(m.hdl.read_done(tag, 2, 3));
    assert_eq!(m.qemu.reply_value(), 3);
    assert_eq!(m.qemu.count_lines(&["WARN"]), 0);
}

#[test]
fn accesses_to_the_msix_table_stay_in_qemu() {
    let mut m = with("");
    let table = m.bar(4);
    m.qemu.store(table, 4, 0x1122_3344);
    assert_eq!(m.qemu.load(table, 4), 0x1122_3344);
    m.qemu.load(table + 0x8000, 8);
    m.expect_quiet();
    // Beside the table the BAR is the RTL's: four vectors are 64 bytes.
    m.write(4, 64, 4, 5);
    m.read(4, 0x8008, 4, 6);
}

#[test]
fn many_accesses() {
    let mut m = with("write-window=16");
    let addr = m.bar(0);
    for round in 0..200u64 {
        for i in 0..8 {
            m.qemu.start_store(addr + 8 * i, 8, round << 8 | i);
        }
        m.qemu.start_load(addr, 4);
        for i in 0..8 {
            let tag = ok(m.hdl.expect_write(0, 8 * i, 8, round << 8 | i));
            ok(m.hdl.write_done(tag, Status::Ok));
        }
        let tag = ok(m.hdl.expect_read(0, 0, 4));
        ok(m.hdl.read_done(tag, 4, round));
        for _ in 0..8 {
            m.qemu.reply();
        }
        assert_eq!(m.qemu.reply_value(), round);
    }
    assert!(matches!(
        m.hdl.try_event(Duration::from_millis(50)),
        Ok(None)
    ));
}
