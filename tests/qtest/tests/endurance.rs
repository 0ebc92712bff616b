// SPDX-License-Identifier: MIT OR Apache-2.0

//! Cards and ways of starting QEMU that are out of the ordinary.

use accelerator_peers::{hdl::sample_config, Event};
use accelerator_protocol::{
    config::{Bar, Msix},
    Config,
};
use accelerator_qtest::{
    machine::ok,
    pci::{capability, CARD},
    Machine, Options, Scratch, PATIENCE,
};
use serde_json::json;

#[test]
fn a_bar_of_64_gib() {
    let size = 1 << 36;
    let mut config = sample_config(0);
    config.bars[2].size = size;
    let mut m = Machine::start(config);
    assert_eq!(m.size_bar(2).map(|b| b.size), Some(size));
    for offset in [0, 1 << 32, (1 << 35) + 4, size - 4] {
        m.write(2, offset, 4, offset >> 4);
        m.read(2, offset, 4, 0x1234_0000 + (offset >> 30));
    }
    m.check_alive();
}

#[test]
fn each_of_1024_vectors() {
    const PLACES: u64 = 0x0400_0000;
    let mut config: Config = sample_config(1);
    config.bars[4] = Bar {
        size: 0x1_0000,
        ..Bar::default()
    };
    config.msix = Some(Msix {
        vectors: 1024,
        table_bar: 4,
        pba_bar: 4,
        table_offset: 0,
        pba_offset: 0x8000,
        in_rtl: false,
    });
    let mut m = Machine::start(config);
    let msix = m.enable_msix();
    assert_eq!(msix.vectors, 1024);
    m.qemu.fill_memory(PLACES, 4 * 1024, 0);
    for vector in 0..1024 {
        let place = PLACES + 4 * u64::from(vector);
        msix.program(
            &mut m.qemu,
            &m.bars,
            vector,
            place,
            0x1000 + u32::from(vector),
        );
    }
    for vector in 0..1024 {
        ok(m.hdl.msix(vector));
    }
    // The answer comes after everything before it.
    ok(m.hdl.dma_read(PLACES, 4));
    let memory = m.qemu.read_memory(PLACES, 4 * 1024);
    for (vector, word) in memory.chunks_exact(4).enumerate() {
        assert_eq!(word, (0x1000 + vector as u32).to_le_bytes(), "{vector}");
    }
}

/// Started stopped, as for a debugger: there is a session, and it works when the
/// machine goes on.
#[test]
fn started_with_s() {
    let mut m = Machine::start_with(
        sample_config(1),
        &Options {
            args: "-S".into(),
            ..Options::default()
        },
    );
    let status = m.qemu.qmp("query-status", json!({}));
    assert_eq!(status["running"], false, "{status}");
    m.qemu.qmp("cont", json!({}));
    m.qemu.expect_event("RESUME");
    m.check_alive();
}

/// A QEMU in the background; it ends with this.
struct Daemon(std::path::PathBuf);

impl Daemon {
    fn pid(&self) -> Option<String> {
        let text = std::fs::read_to_string(&self.0).ok()?;
        Some(text.trim().to_owned())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            // It may have ended already.
            let _ = std::process::Command::new("kill")
                .args(["-9", &pid])
                .status();
        }
    }
}

#[test]
fn started_with_daemonize() {
    let scratch = Scratch::new();
    let daemon = Daemon(scratch.path("pid"));
    let mut m = Machine::start_with(
        sample_config(1),
        &Options {
            args: format!("-daemonize -pidfile {}", daemon.0.display()),
            ..Options::default()
        },
    );
    // The one that was started ends, and the card stays.
    assert!(m.qemu.wait_exit(PATIENCE).success());
    assert!(daemon.pid().is_some(), "nobody is in the background");
    m.check_alive();
    m.qemu.start_qmp("quit", json!({}));
    match ok(m.hdl.next_event(PATIENCE)) {
        Event::Down { .. } => {}
        other => panic!("expected the end of the session, got {other:?}"),
    }
}

/// Function level resets with DMA on its way in both directions: none of it is
/// answered after the reset, and the card works.
#[test]
fn two_hundred_resets_under_dma() {
    let mut m = Machine::start(sample_config(2));
    let control = CARD.expect(&mut m.qemu, capability::EXPRESS) + 8;
    for round in 0..200u64 {
        for i in 0..8 {
            ok(m.hdl.start_dma_read(0x0100_0000 + 64 * i, 64));
            ok(m.hdl
                .start_dma_write(0x0200_0000 + 64 * i, &[round as u8; 64], None));
        }
        let old = CARD.get(&mut m.qemu, control, 2);
        CARD.set(&mut m.qemu, control, 2, old | 0x8000);
        let tag = loop {
            match ok(m.hdl.next_event(PATIENCE)) {
                Event::Reset { tag, .. } => break tag,
                Event::DmaReadDone { .. } | Event::DmaWriteDone { .. } => {}
                other => panic!("expected a reset, got {other:?}"),
            }
        };
        ok(m.hdl.reset_done(tag));
        m.enable_card();
        if round % 20 == 0 {
            m.check_alive();
        }
    }
    m.check_alive();
}
