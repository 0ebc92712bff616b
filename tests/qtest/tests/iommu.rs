// SPDX-License-Identifier: MIT OR Apache-2.0

//! DMA of the card goes through a virtual IOMMU, as the guest has set it up.

use accelerator_peers::{hdl::sample_config, Error};
use accelerator_protocol::wire::Status;
use accelerator_qtest::{machine::ok, Machine, Options};

/// Registers of the IOMMU (Intel VT-d specification, section 11.4).
const REGISTERS: u64 = 0xfed9_0000;
const GLOBAL_COMMAND: u64 = REGISTERS + 0x18;
const GLOBAL_STATUS: u64 = REGISTERS + 0x1c;
const ROOT_TABLE: u64 = REGISTERS + 0x20;
const SET_ROOT_TABLE: u64 = 1 << 30;
const TRANSLATION: u64 = 1 << 31;

/// Tables in guest memory: root, context of bus 1, three levels of pages.
const ROOT: u64 = 0x40_0000;
const CONTEXT: u64 = 0x40_1000;
const LEVELS: [u64; 3] = [0x40_2000, 0x40_3000, 0x40_4000];
const READ: u64 = 1;
const WRITE: u64 = 2;

/// Address that the card uses for the first of three pages, and where these
/// are in memory.
const CARD_ADDR: u64 = 0x40_0000_0000 - 0x20_0000;
const PAGES: [(u64, u64); 3] = [
    (0x20_0000, READ | WRITE),
    (0x35_0000, READ | WRITE),
    (0x31_0000, READ),
];

/// A machine whose IOMMU maps `PAGES` for the card and nothing else.
fn start() -> Machine {
    let mut m = Machine::start_with(
        sample_config(0),
        &Options {
            args: "-device intel-iommu".into(),
            ..Options::default()
        },
    );
    let q = &mut m.qemu;
    for table in [ROOT, CONTEXT, LEVELS[0], LEVELS[1], LEVELS[2]] {
        q.fill_memory(table, 4096, 0);
    }
    // Bus 1, device 0: 39 bits of address, domain 1.
    q.store(ROOT + 16, 8, CONTEXT | 1);
    q.store(CONTEXT, 8, LEVELS[0] | 1);
    q.store(CONTEXT + 8, 8, 1 << 8 | 1);
    let index = |level: u32| CARD_ADDR >> (12 + 9 * level) & 0x1ff;
    q.store(LEVELS[0] + 8 * index(2), 8, LEVELS[1] | READ | WRITE);
    q.store(LEVELS[1] + 8 * index(1), 8, LEVELS[2] | READ | WRITE);
    for (i, (page, access)) in PAGES.iter().enumerate() {
        q.store(LEVELS[2] + 8 * (index(0) + i as u64), 8, page | access);
    }
    q.store(ROOT_TABLE, 8, ROOT);
    q.store(GLOBAL_COMMAND, 4, SET_ROOT_TABLE);
    q.store(GLOBAL_COMMAND, 4, TRANSLATION);
    let status = q.load(GLOBAL_STATUS, 4);
    assert_eq!(status & TRANSLATION, TRANSLATION, "GSTS {status:#x}");
    m
}

fn status<T>(result: Result<T, Error>) -> Status {
    match result {
        Ok(_) => Status::Ok,
        Err(Error::Status { status, .. }) => status,
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn pages_that_lie_apart_in_memory() {
    let mut m = start();
    let data: Vec<u8> = (0..0x1800).map(|i| (i * 7) as u8).collect();
    ok(m.hdl.dma_write(CARD_ADDR + 0x400, &data, None));
    assert!(m.qemu.read_memory(PAGES[0].0 + 0x400, 0xc00) == data[..0xc00]);
    assert!(m.qemu.read_memory(PAGES[1].0, 0xc00) == data[0xc00..]);
    assert!(ok(m.hdl.dma_read(CARD_ADDR + 0x400, 0x1800)) == data);
    // Holes at the border of the two.
    m.qemu.fill_memory(PAGES[0].0 + 0xff8, 8, 0x11);
    m.qemu.fill_memory(PAGES[1].0, 8, 0x11);
    let enables = [0b1010_0101, 0b0101_1010];
    ok(m.hdl
        .dma_write(CARD_ADDR + 0xff8, &[0xee; 16], Some(&enables)));
    let expected = |mask: u8| -> Vec<u8> {
        (0..8)
            .map(|i| if mask >> i & 1 != 0 { 0xee } else { 0x11 })
            .collect()
    };
    let found = m.qemu.read_memory(PAGES[0].0 + 0xff8, 8);
    assert_eq!(found, expected(enables[0]));
    assert_eq!(m.qemu.read_memory(PAGES[1].0, 8), expected(enables[1]));
}

#[test]
fn what_is_not_mapped_or_not_writable_is_a_fault() {
    let mut m = start();
    m.qemu.fill_memory(PAGES[2].0, 64, 0x5a);
    assert_eq!(ok(m.hdl.dma_read(CARD_ADDR + 0x2000, 64)), [0x5a; 64]);
    let written = m.hdl.dma_write(CARD_ADDR + 0x2000, &[0; 64], None);
    assert_eq!(status(written), Status::Fault);
    assert_eq!(m.qemu.read_memory(PAGES[2].0, 64), [0x5a; 64]);
    // The address that memory has without the IOMMU is nothing to the card.
    for addr in [PAGES[0].0, CARD_ADDR - 64, CARD_ADDR + 0x3000] {
        m.qemu.fill_memory(PAGES[0].0, 64, 0x77);
        assert_eq!(status(m.hdl.dma_read(addr, 64)), Status::Fault, "{addr:#x}");
        let written = m.hdl.dma_write(addr, &[0; 64], None);
        assert_eq!(status(written), Status::Fault, "{addr:#x}");
        assert_eq!(m.qemu.read_memory(PAGES[0].0, 64), [0x77; 64]);
    }
    m.qemu.expect_line(&["ERROR", "card", "IOMMU"]);
}
