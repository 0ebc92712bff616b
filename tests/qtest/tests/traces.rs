// SPDX-License-Identifier: MIT OR Apache-2.0

//! QEMU's trace events of the card.

use accelerator_peers::hdl::sample_config;
use accelerator_qtest::{machine::ok, Machine};
use serde_json::json;

const EVENTS: &str = "accelerator_pcie_*";

/// Whether Rust code can have trace events in this QEMU: from 10.2 on.
fn has_traces(m: &mut Machine) -> bool {
    let version = m.qemu.qmp("query-version", json!({}));
    let part = |name: &str| version["qemu"][name].as_u64().unwrap_or_default();
    (part("major"), part("minor")) >= (10, 2)
}

#[test]
fn what_crosses_can_be_traced() {
    let mut m = Machine::start(sample_config(2));
    if !has_traces(&mut m) {
        let events = m
            .qemu
            .qmp("trace-event-get-state", json!({ "name": EVENTS }));
        assert_eq!(
            events,
            json!([]),
            "there are trace events, which nobody tests"
        );
        return;
    }
    m.enable_msix();
    m.write(0, 0x20, 4, 1);
    m.qemu.qmp(
        "trace-event-set-state",
        json!({ "name": EVENTS, "enable": true }),
    );
    m.read(0, 0x10, 4, 0x1234_5678);
    m.write(2, 0x18, 8, 0xabcd);
    ok(m.hdl.dma_write(0x10_0000, &[1; 24], None));
    ok(m.hdl.dma_read(0x10_0040, 16));
    // Not backed by memory.
    assert!(m.hdl.dma_read(0xf_ff00_0000_0000, 16).is_err());
    ok(m.hdl.msix(1));
    for parts in [
        [
            "accelerator_pcie_read card: tag ",
            "BAR 0, offset 0x10, 4 bytes",
        ],
        ["accelerator_pcie_read_done card: tag ", "data 0x12345678"],
        [
            "accelerator_pcie_write card: tag ",
            "BAR 2, offset 0x18, 8 bytes, data 0xabcd",
        ],
        [
            "accelerator_pcie_dma_write card: tag ",
            "address 0x100000, 24 bytes, ok",
        ],
        [
            "accelerator_pcie_dma_read card: tag ",
            "address 0x100040, 16 bytes, ok",
        ],
        [
            "accelerator_pcie_dma_read card: tag ",
            "address 0xfff0000000000, 16 bytes, fault",
        ],
        ["accelerator_pcie_vector card: ", "vector 1"],
    ] {
        m.qemu.expect_line(&parts);
    }
    m.kill_endpoint();
    m.qemu
        .expect_line(&["accelerator_pcie_link card: ", "down"]);
    // And nothing of what was before.
    assert_eq!(m.qemu.count_lines(&["accelerator_pcie_write", "BAR 0"]), 0);
}
