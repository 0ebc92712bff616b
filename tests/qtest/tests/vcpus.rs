// SPDX-License-Identifier: MIT OR Apache-2.0

//! What goes on while a vCPU waits for the RTL, and what ends the wait.

use std::time::{Duration, Instant};

use accelerator_protocol::wire::ResetKind;
use accelerator_qtest::{
    machine::ok,
    waits::{start, timed, wait_in, FIRST, SECOND},
    PATIENCE,
};
use serde_json::json;

#[test]
fn all_else_goes_on_while_an_access_waits() {
    let serial = std::env::temp_dir().join(format!("accq-serial-{}", std::process::id()));
    let mut m = start("", &format!("-serial file:{}", serial.display()));
    let msix = m.enable_msix();
    let bars = m.bars;
    msix.program(&mut m.qemu, &bars, 1, 0x30_0000, 0xc0de);
    let tag = wait_in(&mut m, 0x40);

    // The monitors answer.
    let mut longest = Duration::ZERO;
    for _ in 0..100 {
        let begin = Instant::now();
        let status = m.qemu.qmp("query-status", json!({}));
        longest = longest.max(begin.elapsed());
        assert_eq!(status["status"], "running");
    }
    println!(
        "longest of 100 query-status: {:.3} s",
        longest.as_secs_f64()
    );
    let arguments = json!({"command-line": "info status"});
    let text = timed("HMP info status", || {
        m.qemu.qmp("human-monitor-command", arguments)
    });
    assert!(
        text.as_str().is_some_and(|t| t.contains("running")),
        "{text}"
    );

    // So does the other vCPU, with the serial port.
    let took = SECOND.expect_progress(&mut m.qemu);
    println!("1000 rounds of the other vCPU: {:.3} s", took.as_secs_f64());
    for &byte in b"still here" {
        SECOND.put_serial(&mut m.qemu, byte);
        let begin = Instant::now();
        while !SECOND.is_done(&mut m.qemu) {
            assert!(begin.elapsed() < PATIENCE, "the serial port hangs");
        }
    }
    let begin = Instant::now();
    while std::fs::read(&serial).unwrap_or_default() != b"still here" {
        assert!(
            begin.elapsed() < PATIENCE,
            "nothing came out of the serial port"
        );
    }
    let _ = std::fs::remove_file(&serial);

    // And DMA and interrupts of the card.
    ok(m.hdl.dma_write(0x40_0000, &[0xa5; 4096], None));
    assert_eq!(m.qemu.read_memory(0x40_0000, 4096), [0xa5; 4096]);
    assert_eq!(ok(m.hdl.dma_read(0x40_0000, 64)), [0xa5; 64]);
    ok(m.hdl.msix(1));
    let begin = Instant::now();
    while m.qemu.load(0x30_0000, 4) != 0xc0de {
        assert!(begin.elapsed() < PATIENCE, "the interrupt is lost");
    }

    // All that time it has waited.
    assert!(!FIRST.is_done(&mut m.qemu));
    ok(m.hdl.read_done(tag, 4, 0x1357_9bdf));
    assert_eq!(FIRST.loaded(&mut m.qemu), 0x1357_9bdf);
}

#[test]
fn two_vcpus_wait_at_once() {
    let mut m = start("", "");
    for round in 0..20 {
        let first = wait_in(&mut m, 0x40);
        let addr = m.bar(0) + 0x44;
        SECOND.start_load(&mut m.qemu, addr);
        let second = ok(m.hdl.expect_read(0, 0x44, 4));
        assert_ne!(first, second);
        // The one that serves the link is answered last, and first.
        let answers = [(first, 0x1111 + round), (second, 0x2222 + round)];
        let order = if round % 2 == 0 { [1, 0] } else { [0, 1] };
        for i in order {
            ok(m.hdl.read_done(answers[i].0, 4, answers[i].1));
            let vcpu = [FIRST, SECOND][i];
            assert_eq!(u64::from(vcpu.loaded(&mut m.qemu)), answers[i].1);
        }
    }
    FIRST.expect_progress(&mut m.qemu);
    SECOND.expect_progress(&mut m.qemu);
}

#[test]
fn quit_and_sigterm_end_a_machine_that_waits() {
    for how in ["quit", "SIGTERM"] {
        let mut m = start("", "");
        wait_in(&mut m, 0);
        let status = timed(&format!("from {how} to the end of QEMU"), || {
            if how == "quit" {
                m.qemu.start_qmp("quit", json!({}));
            } else {
                m.qemu.terminate();
            }
            m.qemu.wait_exit(PATIENCE)
        });
        assert_eq!(status.code(), Some(0), "{how}");
    }
}

#[test]
fn stop_waits_for_the_access_and_says_so() {
    let mut m = start("", "");
    let tag = wait_in(&mut m, 0x40);
    let stop = m.qemu.start_qmp("stop", json!({}));
    m.qemu.expect_line(&[
        "WARN",
        "card",
        "asked to stop",
        "BAR 0 offset 0x40",
        &format!("tag {tag}"),
    ]);
    ok(m.hdl.read_done(tag, 4, 0x1234_5678));
    assert_eq!(m.qemu.finish_qmp(stop), Ok(json!({})));
    assert_eq!(m.qemu.qmp("query-status", json!({}))["status"], "paused");
    m.qemu.qmp("cont", json!({}));
    // Nothing was lost.
    assert_eq!(FIRST.loaded(&mut m.qemu), 0x1234_5678);
    FIRST.expect_progress(&mut m.qemu);
    m.qemu.expect_lines(&["asked to stop"], 1);
}

#[test]
fn what_ends_an_access_ends_a_stop_that_waits_for_it() {
    for how in ["SIGTERM", "death", "timeout"] {
        let properties = if how == "timeout" {
            "completion-timeout=2000"
        } else {
            ""
        };
        let mut m = start(properties, "");
        wait_in(&mut m, 0x40);
        let stop = m.qemu.start_qmp("stop", json!({}));
        m.qemu.expect_line(&["asked to stop"]);
        match how {
            "SIGTERM" => {
                m.qemu.terminate();
                assert_eq!(m.qemu.wait_exit(PATIENCE).code(), Some(0));
                continue;
            }
            "death" => m.kill_endpoint(),
            _ => {}
        }
        assert_eq!(m.qemu.finish_qmp(stop), Ok(json!({})), "{how}");
        m.qemu.qmp("cont", json!({}));
        assert_eq!(FIRST.loaded(&mut m.qemu), u32::MAX, "{how}");
    }
}

#[test]
fn a_reset_gives_the_access_up() {
    let mut m = start("", "");
    for _ in 0..2 {
        let tag = wait_in(&mut m, 0x40);
        // The guest does not try again after the reset.
        FIRST.forget(&mut m.qemu);
        let begin = Instant::now();
        m.qemu.qmp("system_reset", json!({}));
        m.qemu.expect_event("RESET");
        println!(
            "from system_reset to the reset: {:.3} s",
            begin.elapsed().as_secs_f64()
        );
        m.qemu.expect_line(&[
            "WARN",
            "card",
            "BAR 0 offset 0x40",
            &format!("tag {tag}"),
            "given up, since the machine is reset",
        ]);
        let reset = ok(m.hdl.expect_reset(ResetKind::Cold));
        ok(m.hdl.reset_done(reset));
        FIRST.expect_progress(&mut m.qemu);
        SECOND.expect_progress(&mut m.qemu);
        m.enumerate();
        m.settle();
        m.check_alive();
    }
}

#[test]
fn a_completion_timeout_frees_the_vcpu() {
    let mut m = start("completion-timeout=200", "");
    let tag = wait_in(&mut m, 0x40);
    assert_eq!(FIRST.loaded(&mut m.qemu), u32::MAX);
    ok(m.hdl.read_done(tag, 4, 1));
    let tag = wait_in(&mut m, 0x48);
    ok(m.hdl.read_done(tag, 4, 0x77));
    assert_eq!(FIRST.loaded(&mut m.qemu), 0x77);
}
