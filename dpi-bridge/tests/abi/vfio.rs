// SPDX-License-Identifier: MIT OR Apache-2.0

//! The library as a vfio-user server.

use std::{
    fs::File,
    os::{fd::AsRawFd, unix::fs::FileExt},
    path::PathBuf,
    time::{Duration, Instant},
};

use accelerator_carrier::file;

use crate::{support::*, vfio_client::*};

const BYTES: u64 = 0x1_0000;

/// Vendor, device and what else the usual bridge has; AXI base of BAR 0 is [`BAR0_BASE`].
const BAR0: u32 = 0;
const BAR2: u32 = 2;
const COMMAND: u64 = 4;

struct Bench {
    _folder: Folder,
    path: PathBuf,
    sim: Simulator,
    memory: File,
}

impl Bench {
    fn endpoint(path: &std::path::Path) -> String {
        format!("vfio-user:{}", path.display())
    }

    fn with(environment: &[(&str, &str)], more: &[&str]) -> Self {
        let folder = Folder::new();
        let path = folder.path("s");
        let mut sim = Simulator::start_with(Language::C99, environment);
        sim.usual(&Self::endpoint(&path));
        for call in more {
            assert_eq!(sim.call(call), 0, "{}", sim.last_error());
        }
        assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
        Self {
            _folder: folder,
            path,
            sim,
            memory: file::sealed(c"test", BYTES).unwrap().into(),
        }
    }

    fn new() -> Self {
        Self::with(&[], &[])
    }

    /// A client whose session is up, with memory space and bus mastering enabled.
    fn client(&mut self) -> Client {
        let mut client = Client::begun(&self.path, &self.memory, MEMORY, BYTES);
        client.set_config(COMMAND, &[6, 0]);
        self.sim.link(true);
        client
    }

    /// Whether the simulator still serves a client.
    fn is_well(&mut self) {
        let mut client = self.client();
        let id = client.begin_read(BAR0, 8, 4);
        self.answer_read(MMIO_READ_AT_8, 0x1234_5678);
        assert_eq!(client.read_done(id), 0x1234_5678_u32.to_le_bytes());
        drop(client);
        self.sim.link(false);
    }

    fn answer_read(&mut self, at: i64, data: u64) {
        let mmio = self.sim.next_mmio(MMIO_READ);
        assert_eq!(mmio.addr, at);
        let call = format!("mmio_read_done {} 0 {data}", mmio.tag);
        assert_eq!(self.sim.call(&call), 0);
    }

    /// Takes a write and says that it is done.
    fn take_write(&mut self) -> client_write::Write {
        let mmio = self.sim.next_mmio(MMIO_WRITE);
        assert_eq!(self.sim.call(&format!("mmio_write_done {} 0", mmio.tag)), 0);
        (mmio.addr - BAR0_BASE, mmio.len, mmio.data)
    }

    /// A DMA read of up to 64 bytes.
    fn dma_read(&mut self, addr: u64, bytes: usize) -> Result<Vec<u8>, i64> {
        let tag = i64::from(self.sim.call(&format!("dma_read {addr} {bytes}")));
        self.sim.expect(READY, DMA_READ_DONE);
        let done = self.sim.results("get_dma_read");
        assert_eq!(done[..2], [0, tag]);
        if done[2] != 0 {
            return Err(done[2]);
        }
        let (result, lanes) = self.sim.beat(tag, 0, bytes);
        assert_eq!(result, 0);
        Ok(lanes[..bytes].to_vec())
    }

    /// A DMA write; its status.
    fn dma_write(&mut self, addr: u64, data: &[u8]) -> i64 {
        let tag = self.sim.dma_write(addr, data);
        self.sim.expect(READY, DMA_WRITE_DONE);
        let done = self.sim.results("get_dma_write");
        assert_eq!(done[..2], [0, tag]);
        done[2]
    }
}

mod client_write {
    /// Offset in BAR 0, bytes, data.
    pub type Write = (i64, i64, u64);
}

const MMIO_READ_AT_8: i64 = BAR0_BASE + 8;

/// QEMU has the table of a vfio-user device itself.
#[test]
fn a_table_in_the_rtl_is_refused() {
    let folder = Folder::new();
    let mut sim = Simulator::start();
    sim.usual(&Bench::endpoint(&folder.path("s")));
    assert_eq!(sim.call("set_msix_in_rtl 1"), 0);
    let words = [
        "MSI-X table is in the RTL",
        "vfio-user-pci",
        "accelerator-pcie",
    ];
    sim.fails("start", EINVAL, &words);
    assert_eq!(sim.call("set_msix_in_rtl 0"), 0);
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    sim.finish();
}

#[test]
fn what_a_client_finds() {
    let mut bench = Bench::with(&[], &["set_msi 4 1"]);
    // All of this without a poll of the simulator.
    let mut client = Client::begun(&bench.path, &bench.memory, MEMORY, BYTES);
    let info = client.call(GET_INFO, &body![16_u32, 0_u32, 0_u32, 0_u32]);
    assert_eq!(info.unwrap(), body![16_u32, 3_u32, 9_u32, 5_u32]);
    for (index, size) in [
        (0_u32, 65536_u64),
        (1, 0),
        (2, 65536),
        (6, 0),
        (7, 4096),
        (8, 0),
    ] {
        let asked = body![32_u32, 0_u32, index, 0_u32, 0_u64, 0_u64];
        let found = client.call(GET_REGION_INFO, &asked).unwrap();
        let flags = if size == 0 { 0_u32 } else { 3 };
        assert_eq!(found, body![32_u32, flags, index, 0_u32, size, 0_u64]);
    }
    for (index, flags, count) in [(INTX, 7_u32, 1_u32), (MSI, 1, 4), (MSIX, 1, 4)] {
        let asked = body![16_u32, 0_u32, index, 0_u32];
        let found = client.call(GET_IRQ_INFO, &asked).unwrap();
        assert_eq!(found, body![16_u32, flags, index, count]);
    }
    let config = client.config(0, 4096);
    assert_eq!(config[..4], [0xee, 0x10, 0x24, 0x70]);
    assert_eq!(config[8..12], [1, 0, 0, 0x12]);
    assert_eq!(config[0x2c..0x30], [0xee, 0x10, 7, 0]);
    assert_eq!(config[0x10..0x14], [0; 4]);
    assert_eq!(config[0x18..0x20], [0xc, 0, 0, 0, 0, 0, 0, 0]);
    for id in [0x01, 0x05, 0x10, 0x11] {
        client.find(id);
    }
    // What there is not.
    for (command, body) in [
        (
            GET_REGION_INFO,
            body![32_u32, 0_u32, 9_u32, 0_u32, 0_u64, 0_u64],
        ),
        (GET_IRQ_INFO, body![16_u32, 0_u32, 3_u32, 0_u32]),
        (6, vec![]),
        (14, vec![]),
        (16, vec![]),
        (0, vec![]),
    ] {
        assert!(client.call(command, &body).is_err(), "command {command}");
    }
    bench.sim.link(true);
    drop(client);
    bench.sim.link(false);
    let log = bench.sim.finish();
    assert!(log.contains("waits for QEMU at vfio-user:"), "{log}");
}

#[test]
fn every_width_and_place_reaches_the_rtl() {
    let mut bench = Bench::new();
    let mut client = bench.client();
    for len in 1..=8_u32 {
        for offset in 0..8_u64 {
            let id = client.begin_read(BAR0, 0x100 + offset, len);
            let mmio = bench.sim.next_mmio(MMIO_READ);
            assert_eq!((mmio.bar, mmio.len), (0, len.into()));
            assert_eq!(mmio.addr, BAR0_BASE + 0x100 + offset as i64);
            let value = 0x8877_6655_4433_2211_u64 >> (8 * (8 - len));
            let call = format!("mmio_read_done {} 0 {value}", mmio.tag);
            assert_eq!(bench.sim.call(&call), 0);
            assert_eq!(client.read_done(id), value.to_le_bytes()[..len as usize]);
            client.post(BAR0, 0x100 + offset, &value.to_le_bytes()[..len as usize]);
            let expected = (0x100 + offset as i64, i64::from(len), value);
            assert_eq!(bench.take_write(), expected);
        }
    }
    // An error of the RTL reads as ones.
    let id = client.begin_read(BAR0, 0, 2);
    let mmio = bench.sim.next_mmio(MMIO_READ);
    assert_eq!(
        bench.sim.call(&format!("mmio_read_done {} 1 0", mmio.tag)),
        0
    );
    assert_eq!(client.read_done(id), [0xff, 0xff]);
    // The last byte, and what is beyond.
    client.post(BAR0, 0xffff, &[7]);
    assert_eq!(bench.take_write(), (0xffff, 1, 7));
    for (region, offset, count) in [
        (0, 0xffff, 2),
        (0, 0x1_0000, 1),
        (0, u64::MAX, 1),
        (0, 0, 9),
        (0, 0, 0),
        (1, 0, 4),
        (6, 0, 4),
        (9, 0, 4),
        (CONFIG, 4093, 4),
        (CONFIG, 0, u32::MAX),
        (u32::MAX, 0, 4),
    ] {
        let id = client.begin_read(region, offset, count);
        assert!(client.answer(id).is_err(), "{region} {offset:#x} {count}");
    }
    drop(client);
    bench.sim.link(false);
    bench.sim.finish();
}

#[test]
fn writes_are_posted_or_not_and_pushed_by_reads() {
    let mut bench = Bench::new();
    let mut client = bench.client();
    // The client wants to know: it does not before the RTL is done.
    let body = Client::write_message(BAR0, 0x10, &[1, 2, 3, 4]);
    let id = client.send(REGION_WRITE, 0, &body);
    let mmio = bench.sim.next_mmio(MMIO_WRITE);
    assert!(client.is_silent());
    assert_eq!(
        bench.sim.call(&format!("mmio_write_done {} 0", mmio.tag)),
        0
    );
    assert_eq!(client.answer(id).unwrap(), body![0x10_u64, 0_u32, 4_u32]);
    // Gathered ones, with a read behind them.
    let mut gathered = body![3_u64];
    for i in 0..3_u8 {
        gathered.extend(body![u64::from(i) * 8, BAR0, 4_u32]);
        gathered.extend([i; 8]);
    }
    client.send(WRITE_MULTI, NO_REPLY, &gathered);
    let id = client.begin_read(BAR0, 8, 4);
    for i in 0..3 {
        let value = 0x0101_0101 * i as u64;
        assert_eq!(bench.take_write(), (8 * i, 4, value));
    }
    bench.answer_read(MMIO_READ_AT_8, 5);
    assert_eq!(client.read_done(id), [5, 0, 0, 0]);
    drop(client);
    bench.sim.link(false);
    bench.sim.finish();
}

/// More posted writes than the RTL may have at once, and it has all of them in the end.
#[test]
fn no_posted_write_is_lost() {
    const WRITES: u32 = 6000;
    let mut bench = Bench::new();
    let mut client = bench.client();
    let sender = std::thread::spawn(move || {
        for i in 0..WRITES {
            client.post(BAR0, 0x40, &i.to_le_bytes());
        }
        client
    });
    for i in 0..WRITES {
        assert_eq!(bench.take_write(), (0x40, 4, i.into()));
    }
    drop(sender.join().unwrap());
    bench.sim.link(false);
    bench.sim.finish();
}

#[test]
fn a_read_that_waits_for_too_long_is_answered_before_qemu_gives_it_up() {
    let mut bench = Bench::with(&[("ACCELERATOR_VFIO_USER_TIMEOUT_MS", "500")], &[]);
    let mut client = bench.client();
    let begin = Instant::now();
    let id = client.begin_read(BAR0, 8, 4);
    let mmio = bench.sim.next_mmio(MMIO_READ);
    assert_eq!(client.read_done(id), [0xff; 4]);
    assert!(begin.elapsed() >= Duration::from_millis(450));
    // Completion Timeout, in Advanced Error Reporting.
    assert_eq!(client.config(0x104, 4), [0, 0x40, 0, 0]);
    // The answer comes late, to nobody.
    let call = format!("mmio_read_done {} 0 7", mmio.tag);
    assert_eq!(bench.sim.call(&call), 0);
    let id = client.begin_read(BAR0, 8, 4);
    bench.answer_read(MMIO_READ_AT_8, 8);
    assert_eq!(client.read_done(id), [8, 0, 0, 0]);
    drop(client);
    bench.sim.link(false);
    let log = bench.sim.finish();
    assert!(log.contains("has not answered a read"), "{log}");
    assert!(log.contains("x-msg-timeout"), "{log}");
}

/// So is one that the simulator has not even taken in, since it does not poll.
#[test]
fn a_simulator_that_stands_still_makes_nobody_wait_for_ever() {
    let bench = Bench::with(&[("ACCELERATOR_VFIO_USER_TIMEOUT_MS", "300")], &[]);
    let mut client = Client::begun(&bench.path, &bench.memory, MEMORY, BYTES);
    client.set_config(COMMAND, &[6, 0]);
    client.post(BAR0, 0, &[1]);
    let id = client.begin_read(BAR0, 8, 2);
    assert_eq!(client.read_done(id), [0xff; 2]);
    let body = Client::write_message(BAR0, 0, &[1]);
    assert!(client.call(REGION_WRITE, &body).is_ok());
    drop(client);
    bench.sim.finish();
}

#[test]
fn dma_goes_where_the_client_says() {
    let mut bench = Bench::new();
    let mut client = bench.client();
    let data: Vec<u8> = (1..=64).collect();
    assert_eq!(bench.dma_write(MEMORY + 0x101, &data), 0);
    let mut found = [0; 66];
    bench.memory.read_exact_at(&mut found, 0x100).unwrap();
    assert_eq!(found[1..65], data);
    assert_eq!((found[0], found[65]), (0, 0));
    assert_eq!(bench.dma_read(MEMORY + 0x101, 64), Ok(data));
    // Holes.
    assert_eq!(bench.sim.call(&format!("dma_write_begin {MEMORY}")), 0);
    assert_eq!(bench.sim.write_beat(0, 9, &[0x77; 64], 0b1_0010_0110), 0);
    assert!(bench.sim.call("dma_write_end") >= 0);
    bench.sim.expect(READY, DMA_WRITE_DONE);
    bench.sim.results("get_dma_write");
    bench.memory.read_exact_at(&mut found[..9], 0).unwrap();
    assert_eq!(found[..9], [0, 0x77, 0x77, 0, 0, 0x77, 0, 0, 0x77]);
    // Nothing there, over the end, and memory without a descriptor.
    const FAULT: i64 = 2;
    const REFUSED: i64 = 1;
    assert_eq!(bench.dma_read(0, 4), Err(FAULT));
    assert_eq!(bench.dma_write(MEMORY + BYTES - 2, &[1; 4]), FAULT);
    let map = body![32_u32, 3_u32, 0_u64, MEMORY + BYTES, 0x1000_u64];
    client.call(DMA_MAP, &map).unwrap();
    assert_eq!(bench.dma_write(MEMORY + BYTES, &[1; 4]), FAULT);
    // Read-only.
    client.unmap(MEMORY + BYTES, 0x1000, 0).unwrap();
    client
        .map(MEMORY + BYTES, 0x1000, 1, 0, &bench.memory)
        .unwrap();
    assert_eq!(bench.dma_write(MEMORY + BYTES, &[1; 4]), REFUSED);
    assert_eq!(bench.dma_read(MEMORY + BYTES, 1), Ok(vec![0]));
    // Without bus mastering, and in D3hot.
    client.set_config(COMMAND, &[2]);
    assert_eq!(bench.dma_write(MEMORY, &[1; 4]), REFUSED);
    assert_eq!(bench.dma_read(MEMORY, 4), Err(REFUSED));
    client.set_config(COMMAND, &[6]);
    let power = client.find(1) + 4;
    client.set_config(power, &[3]);
    assert_eq!(bench.dma_read(MEMORY, 4), Err(REFUSED));
    let id = client.begin_read(BAR0, 8, 4);
    assert_eq!(client.read_done(id), [0xff; 4]);
    client.set_config(power, &[0]);
    assert_eq!(bench.dma_write(MEMORY, &[1; 4]), 0);
    // Taken back.
    assert_eq!(
        client.unmap(MEMORY, BYTES, 0).unwrap()[16..],
        BYTES.to_ne_bytes()
    );
    assert_eq!(bench.dma_write(MEMORY, &[1; 4]), FAULT);
    client.unmap(0, 0, 2).unwrap();
    assert_eq!(bench.dma_read(MEMORY + BYTES, 1), Err(FAULT));
    drop(client);
    bench.sim.link(false);
    let log = bench.sim.finish();
    assert!(log.contains("has not enabled bus mastering"), "{log}");
}

/// While a read waits for the RTL its DMA and its interrupts are done, and they are done before
/// the read is answered.
#[test]
fn a_completion_pushes_what_the_rtl_did_before_it() {
    let mut bench = Bench::new();
    let mut client = bench.client();
    let vector = Eventfd::new();
    client.give(MSIX, 1, &[&vector]);
    let msix = client.find(0x11);
    client.set_config(msix + 3, &[0x80]);
    for round in 1..50_u8 {
        let id = client.begin_read(BAR0, 8, 4);
        let mmio = bench.sim.next_mmio(MMIO_READ);
        let read = bench.dma_read(MEMORY, 4).unwrap();
        assert_eq!(read, [round - 1; 4]);
        bench.sim.dma_write(MEMORY, &[round; 64]);
        assert_eq!(bench.sim.call("msix 1"), 0);
        let call = format!("mmio_read_done {} 0 1", mmio.tag);
        assert_eq!(bench.sim.call(&call), 0);
        assert_eq!(client.read_done(id), [1, 0, 0, 0]);
        let mut found = [0; 64];
        bench.memory.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(found, [round; 64]);
        assert_eq!(vector.take(), 1);
        bench.sim.expect(READY, DMA_WRITE_DONE);
        bench.sim.results("get_dma_write");
    }
    drop(client);
    bench.sim.link(false);
    bench.sim.finish();
}

#[test]
fn msix_by_eventfd() {
    let mut bench = Bench::new();
    let mut client = bench.client();
    let msix = client.find(0x11);
    let vectors = [Eventfd::new(), Eventfd::new()];
    // Before it is enabled, before anybody waits, and while the function is masked.
    assert_eq!(bench.sim.call("msix 0"), 0);
    client.give(MSIX, 0, &[&vectors[0]]);
    client.set_config(msix + 3, &[0xc0]);
    assert_eq!(bench.sim.call("msix 0"), 0);
    assert_eq!(bench.sim.call("msix 1"), 0);
    // The pending bits are where the configuration has them.
    let pending = |client: &mut Client| {
        let id = client.begin_read(BAR2, 0x8000, 8);
        client.read_done(id)[0]
    };
    let begin = Instant::now();
    while pending(&mut client) != 3 {
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
    assert_eq!((vectors[0].take(), vectors[1].take()), (0, 0));
    client.set_config(msix + 3, &[0x80]);
    assert_eq!(vectors[0].wait(), 1);
    client.give(MSIX, 1, &[&vectors[1]]);
    assert_eq!(vectors[1].wait(), 1);
    assert_eq!(pending(&mut client), 0);
    // Masked by the client, who raises one itself as well.
    client.set_irqs(MSIX, 1 | 8, 0, 2);
    assert_eq!(bench.sim.call("msix 1"), 0);
    while pending(&mut client) != 2 {
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
    client.set_irqs(MSIX, 1 | 16, 1, 1);
    assert_eq!(vectors[1].wait(), 1);
    client.set_irqs(MSIX, 1 | 32, 0, 1);
    assert_eq!(vectors[0].wait(), 1);
    // Without bus mastering it is no message.
    client.set_config(COMMAND, &[2]);
    assert_eq!(bench.sim.call("msix 1"), 0);
    while pending(&mut client) != 2 {
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
    assert_eq!(vectors[1].take(), 0);
    client.set_config(COMMAND, &[6]);
    assert_eq!(vectors[1].wait(), 1);
    // The table is not the RTL's.
    let body = Client::write_message(BAR2, 12, &[0, 0, 0, 0]);
    client.call(REGION_WRITE, &body).unwrap();
    let id = client.begin_read(BAR2, 12, 4);
    assert_eq!(client.read_done(id), [0; 4]);
    let id = client.begin_read(BAR2, 28, 4);
    assert_eq!(client.read_done(id), [1, 0, 0, 0]);
    bench.sim.fails("msix 4", EINVAL, &["vector"]);
    drop(client);
    bench.sim.link(false);
    bench.sim.finish();
}

#[test]
fn msi_and_intx_by_eventfd() {
    let mut bench = Bench::with(&[], &["set_msix 0 0 0 0 0", "set_msi 4 1"]);
    let mut client = bench.client();
    let (line, vectors) = (Eventfd::new(), [Eventfd::new(), Eventfd::new()]);
    client.give(INTX, 0, &[&line]);
    assert_eq!(bench.sim.call("intx 1"), 0);
    assert_eq!(line.wait(), 1);
    assert_eq!(client.config(6, 1), [0x18]);
    // Told again, as long as it is asserted.
    client.set_irqs(INTX, 1 | 16, 0, 1);
    assert_eq!(line.wait(), 1);
    // Not while the guest has disabled it.
    client.set_config(COMMAND + 1, &[4]);
    client.set_irqs(INTX, 1 | 16, 0, 1);
    assert_eq!(line.take(), 0);
    client.set_config(COMMAND + 1, &[0]);
    assert_eq!(line.wait(), 1);
    assert_eq!(bench.sim.call("intx 0"), 0);
    let begin = Instant::now();
    while client.config(6, 1) != [0x10] {
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
    client.set_irqs(INTX, 1 | 16, 0, 1);
    assert_eq!(line.take(), 0);

    // Two of four vectors are granted, and the first is masked.
    let msi = client.find(5);
    client.give(MSI, 0, &[&vectors[0], &vectors[1]]);
    client.set_config(msi + 16, &[1]);
    client.set_config(msi + 2, &[0x11]);
    assert_eq!(bench.sim.call("msix 3"), 0);
    assert_eq!(vectors[1].wait(), 1);
    assert_eq!(bench.sim.call("msix 2"), 0);
    while client.config(msi + 20, 1) != [1] {
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
    assert_eq!(vectors[0].take(), 0);
    client.set_config(msi + 16, &[0]);
    assert_eq!(vectors[0].wait(), 1);
    assert_eq!(client.config(msi + 20, 1), [0]);
    // The pin is silent now.
    assert_eq!(bench.sim.call("intx 1"), 0);
    while client.config(6, 1) != [0x18] {
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
    assert_eq!(line.take(), 0);
    drop(client);
    bench.sim.link(false);
    bench.sim.finish();
}

#[test]
fn the_rtl_is_told_what_the_guest_sets() {
    const FUNCTION: i32 = 8;
    const ALL: i32 = READY | 16;
    let mut bench = Bench::new();
    let mut client = Client::begun(&bench.path, &bench.memory, MEMORY, BYTES);
    bench.sim.expect(ALL, LINK_UP);
    assert_eq!(bench.sim.results("get_link"), [0, 1]);
    bench.sim.expect(ALL, FUNCTION);
    assert_eq!(bench.sim.results("get_function")[1] & 3, 0);
    client.set_config(COMMAND, &[6, 0]);
    client.post(BAR0, 4, &[1]);
    bench.sim.expect(ALL, FUNCTION);
    assert_eq!(bench.sim.results("get_function")[1] & 3, 3);
    bench.sim.expect(ALL, MMIO_WRITE);
    let mmio = bench.sim.get_mmio();
    assert_eq!(
        bench.sim.call(&format!("mmio_write_done {} 0", mmio.tag)),
        0
    );
    drop(client);
    bench.sim.link(false);
    bench.sim.finish();
}

#[test]
fn resets_reach_the_rtl_and_end_every_wait() {
    const FLR: i64 = 1;
    const COLD: i64 = 3;
    let mut bench = Bench::new();
    let mut client = bench.client();
    for kind in [COLD, FLR] {
        client.set_config(COMMAND, &[6, 0]);
        // One that the RTL has, and more writes than it may have: those wait, and so does the
        // read behind them.
        let first = client.begin_read(BAR0, 8, 4);
        let mmio = bench.sim.next_mmio(MMIO_READ);
        for _ in 0..400 {
            client.post(BAR0, 0, &[1]);
        }
        let second = client.begin_read(BAR0, 12, 2);
        assert!(client.is_silent());
        let reset = if kind == COLD {
            client.send(DEVICE_RESET, 0, &[])
        } else {
            let control = {
                let id = client.begin_read(CONFIG, 0x34, 1);
                let at = client.read_done(id)[0];
                assert_eq!(at, 0x40);
                u64::from(at) + 8
            };
            let body = Client::write_message(CONFIG, control, &[0x10, 0x80]);
            client.send(REGION_WRITE, 0, &body)
        };
        assert_eq!(client.read_done(first), [0xff; 4]);
        assert_eq!(client.read_done(second), [0xff; 2]);
        client.answer(reset).unwrap();
        assert_eq!(client.config(COMMAND, 2), [0, 0]);
        client.set_config(COMMAND, &[6, 0]);
        let third = client.begin_read(BAR0, 8, 4);
        // It may have been told of a write before the reset came in.
        loop {
            match bench.sim.poll_until(READY) {
                RESET => break,
                event => assert_eq!(event, MMIO_WRITE),
            }
            bench.sim.get_mmio();
        }
        assert_eq!(bench.sim.results("get_reset"), [0, kind]);
        let call = format!("mmio_read_done {} 0 7", mmio.tag);
        assert_eq!(bench.sim.call(&call), EINVAL);
        assert_eq!(bench.sim.call("reset_done"), 0);
        bench.answer_read(MMIO_READ_AT_8, 9);
        assert_eq!(client.read_done(third), [9, 0, 0, 0]);
        assert_eq!(bench.dma_write(MEMORY, &[3; 8]), 0);
    }
    drop(client);
    bench.sim.link(false);
    bench.sim.finish();
}

#[test]
fn one_client_after_another() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        let mut client = bench.client();
        // It leaves with everything under way.
        client.begin_read(BAR0, 8, 4);
        client.post(BAR0, 8, &[1; 4]);
        assert!(bench.sim.call(&format!("dma_read {MEMORY} 4")) >= 0);
        drop(client);
        loop {
            match bench.sim.poll_until(READY) {
                LINK_DOWN => break,
                MMIO_READ | MMIO_WRITE => {
                    bench.sim.get_mmio();
                }
                DMA_READ_DONE => {
                    bench.sim.results("get_dma_read");
                }
                other => panic!("event {other}"),
            }
        }
        assert_eq!(bench.sim.results("get_link"), [0, 0]);
    }
    bench.is_well();
    bench.sim.finish();
}

#[test]
fn a_second_client_is_refused_with_a_line() {
    let mut bench = Bench::new();
    let mut client = bench.client();
    for _ in 0..3 {
        assert_eq!(Client::connect(&bench.path).version(), Err(libc::EBUSY));
    }
    // One that says nothing makes nobody wait.
    let silent = Client::connect(&bench.path);
    let id = client.begin_read(BAR0, 8, 4);
    bench.answer_read(MMIO_READ_AT_8, 3);
    assert_eq!(client.read_done(id), [3, 0, 0, 0]);
    drop((client, silent));
    bench.sim.link(false);
    bench.is_well();
    let log = bench.sim.finish();
    assert!(log.contains("another client"), "{log}");
}

#[test]
fn memory_that_is_not_shared_is_refused_with_the_line_to_add() {
    let mut bench = Bench::new();
    let info = body![16_u32, 0_u32, 0_u32, 0_u32];
    // RAM without a file, beside a ROM that has none either.
    let mut client = Client::agreed(&bench.path);
    let map = body![32_u32, 3_u32, 0_u64, 0_u64, 0x10_0000_u64];
    client.call(DMA_MAP, &map).unwrap();
    let map = body![32_u32, 1_u32, 0_u64, 0x1000_0000_u64, 0x1000_0000_u64];
    client.call(DMA_MAP, &map).unwrap();
    assert_eq!(client.call(GET_INFO, &info), Err(libc::EINVAL));
    drop(client);
    // A file that this process has mapped for itself only.
    let map = |flags| {
        // SAFETY: the kernel chooses a place that is free.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                BYTES as usize,
                libc::PROT_READ,
                flags,
                bench.memory.as_raw_fd(),
                0,
            )
        };
        assert_ne!(at, libc::MAP_FAILED);
    };
    map(libc::MAP_PRIVATE);
    let mut client = Client::agreed(&bench.path);
    client.map(0, BYTES, 3, 0, &bench.memory).unwrap();
    assert_eq!(client.call(GET_INFO, &info), Err(libc::EINVAL));
    drop(client);
    map(libc::MAP_SHARED);
    // Sessions came and went meanwhile, of which the RTL need not have heard.
    bench.sim.expect_nothing(READY);
    bench.is_well();
    let log = bench.sim.finish();
    assert!(log.contains("share=on"), "{log}");
    assert!(log.contains("it has no file"), "{log}");
    assert!(log.contains("its file is not shared"), "{log}");
}

#[test]
fn the_end_of_the_simulator_ends_every_wait() {
    let mut bench = Bench::new();
    let mut client = bench.client();
    let id = client.begin_read(BAR0, 8, 4);
    bench.sim.next_mmio(MMIO_READ);
    bench.sim.finish();
    assert_eq!(client.read_done(id), [0xff; 4]);
    assert!(client.is_closed());
    assert!(!bench.path.exists());
}

/// Each of these ends the connection, or is refused, and the next client is served.
#[test]
fn clients_that_break_the_protocol() {
    let mut bench = Bench::new();
    let version = body![0_u16, 0_u16];
    let header = Client::header;
    let with = |header: Vec<u8>, body: &[u8]| [header, body.to_vec()].concat();
    let fatal = [
        header(1, VERSION, 0, 0),
        header(1, VERSION, 15, 0),
        header(1, VERSION, u32::MAX, 0),
        header(1, VERSION, 0x10_0000, 0),
        header(1, VERSION, 16, 0),
        with(header(1, VERSION, 18, 0), &[0, 0]),
        with(header(1, VERSION, 20, 1), &version),
        with(header(1, VERSION, 20, 0xf), &version),
        with(header(1, VERSION, 20, 0), &body![1_u16, 0_u16]),
        header(1, GET_INFO, 16, 0),
        header(1, DEVICE_RESET, 16, 0x10),
        vec![0xff; 64],
    ];
    for bytes in &fatal {
        let mut client = Client::connect(&bench.path);
        client.try_raw(bytes, &[]);
        assert!(client.is_closed(), "{bytes:?}");
    }
    // A second VERSION, and a reply to nothing.
    for bytes in [
        with(header(1, VERSION, 20, 0), &version),
        header(1, 11, 16, 1),
    ] {
        let mut client = Client::agreed(&bench.path);
        client.raw(&bytes, &[]);
        assert!(client.is_closed(), "{bytes:?}");
    }
    // Messages that are too short, or whose numbers do not fit.
    let mut client = Client::agreed(&bench.path);
    for command in 2..=20 {
        for length in [0, 1, 4, 8, 12, 15, 16, 19, 23, 24, 31, 200] {
            let reset = command == DEVICE_RESET;
            let body = vec![0xff; length];
            let result = client.call(command, &body);
            let answered = reset || command == GET_INFO && length >= 4;
            assert_eq!(
                result.is_ok(),
                answered,
                "command {command}, {length} bytes"
            );
        }
    }
    for count in [0_u64, 1, 2, u64::MAX, u64::MAX / 24 + 1] {
        let body = [body![count], vec![0; 25]].concat();
        assert!(client.call(WRITE_MULTI, &body).is_err(), "{count}");
    }
    let long = [body![0_u64, BAR0, 0xffff_ffff_u32], vec![0; 8]].concat();
    assert!(client.call(REGION_WRITE, &long).is_err());
    drop(client);
    // Half a message, and gone.
    let mut client = Client::agreed(&bench.path);
    client.raw(&header(1, REGION_WRITE, 1000, 0), &[]);
    drop(client);
    bench.sim.expect_nothing(READY);
    bench.is_well();
    bench.sim.finish();
}

#[test]
fn descriptors_that_nobody_asked_for_are_closed() {
    let mut bench = Bench::new();
    let count = |sim: &Simulator| std::fs::read_dir(sim.descriptors()).unwrap().count();
    let mut client = bench.client();
    let before = count(&bench.sim);
    let null = File::open("/dev/null").unwrap();
    let fds = |n| vec![null.as_raw_fd(); n];
    // Not a memory file, too many of them, and with messages that take none.
    assert!(client.map(0, 0x1000, 3, 0, &null).is_err());
    let map = body![32_u32, 3_u32, 0_u64, 0_u64, 0x1000_u64];
    assert!(client.call_with(DMA_MAP, &map, &fds(2)).is_err());
    let irqs = |count: u32| body![20_u32, TRIGGER, MSIX, 0_u32, count];
    assert!(client.call_with(SET_IRQS, &irqs(2), &fds(1)).is_err());
    assert!(client.call_with(SET_IRQS, &irqs(1), &fds(1)).is_err());
    let info = body![16_u32, 0_u32, 0_u32, 0_u32];
    assert!(client.call_with(GET_INFO, &info, &fds(253)).is_ok());
    assert_eq!(count(&bench.sim), before);
    // An unsealed file that becomes shorter under the simulator's hands.
    let path = bench.path.with_extension("memory");
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .unwrap();
    file.set_len(0x2000).unwrap();
    client.map(0, 0x2000, 3, 0, &file).unwrap();
    assert_eq!(bench.dma_write(0x1000, &[5; 8]), 0);
    file.set_len(0).unwrap();
    assert_eq!(bench.dma_read(0x1000, 8), Err(2));
    // More than may come with one message.
    client.raw(&Client::header(9, GET_INFO, 32, 0), &fds(200));
    client.raw(&info, &fds(200));
    assert!(client.is_closed());
    bench.sim.link(false);
    bench.is_well();
    assert!(count(&bench.sim) < before);
    bench.sim.finish();
}

/// A client that asks and asks and reads nothing.
#[test]
fn a_client_that_does_not_read_is_given_up() {
    let mut bench = Bench::new();
    let mut client = bench.client();
    let message = [
        Client::header(1, REGION_READ, 32, 0),
        body![0_u64, CONFIG, 4096_u32],
    ]
    .concat();
    let mut sent = 0;
    while client.try_raw(&message, &[]) {
        sent += 1;
        assert!(sent < 1_000_000, "there is no end to it");
    }
    drop(client);
    bench.sim.link(false);
    bench.is_well();
    let log = bench.sim.finish();
    assert!(log.contains("wait for it to read them"), "{log}");
}

/// Random messages with random descriptors, while the RTL is at work.
#[test]
fn random_messages() {
    let mut bench = Bench::with(&[("ACCELERATOR_VFIO_USER_TIMEOUT_MS", "50")], &[]);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let eventfd = Eventfd::new();
    let deadline = Instant::now() + Duration::from_secs(3);
    let mut clients = 0;
    while Instant::now() < deadline {
        let mut client = Client::begun(&bench.path, &bench.memory, MEMORY, BYTES);
        clients += 1;
        client.set_config(COMMAND, &[6, 0]);
        let reader = client.socket.try_clone().unwrap();
        let drain = std::thread::spawn(move || {
            let mut reader = reader;
            let _ = std::io::copy(&mut reader, &mut std::io::sink());
        });
        for _ in 0..200 {
            let command = random() % 17;
            let length = (random() % 64) as usize;
            let mut body: Vec<u8> = (0..length).map(|_| (random() % 4) as u8).collect();
            // Often what is nearly right.
            if random() % 2 == 0 {
                for at in (0..length / 8 * 8).step_by(8) {
                    let small = random() % 3 * (random() % 0x2_0000);
                    body[at..at + 8].copy_from_slice(&small.to_ne_bytes());
                }
            }
            let flags = if random() % 3 == 0 { NO_REPLY } else { 0 };
            let files = match random() % 8 {
                0 => vec![eventfd.0.as_raw_fd(); (random() % 4) as usize],
                1 => vec![bench.memory.as_raw_fd()],
                _ => vec![],
            };
            let size = 16 + length as u32;
            let message = [Client::header(7, command as u16, size, flags), body].concat();
            if !client.try_raw(&message, &files) {
                break;
            }
            match random() % 4 {
                0 => {
                    bench.sim.call(&format!("msix {}", random() % 4));
                }
                1 => {
                    let addr = MEMORY + random() % BYTES;
                    bench
                        .sim
                        .call(&format!("dma_read {addr} {}", 1 + random() % 64));
                }
                _ => match bench.sim.poll(READY) {
                    MMIO_READ => {
                        let mmio = bench.sim.get_mmio();
                        bench.sim.call(&format!("mmio_read_done {} 0 0", mmio.tag));
                    }
                    MMIO_WRITE => {
                        let mmio = bench.sim.get_mmio();
                        bench.sim.call(&format!("mmio_write_done {} 0", mmio.tag));
                    }
                    client_event => fetch(&mut bench.sim, client_event),
                },
            }
        }
        let _ = client.socket.shutdown(std::net::Shutdown::Both);
        drain.join().unwrap();
    }
    println!("{clients} clients");
    let begin = Instant::now();
    loop {
        let event = bench.sim.call(&format!("poll_until {READY} 300"));
        if event == NONE {
            break;
        }
        fetch(&mut bench.sim, event);
        assert!(begin.elapsed() < Duration::from_secs(60), "there is no end");
    }
    bench.is_well();
    bench.sim.finish();
}

/// Fetches an event and does what follows.
fn fetch(sim: &mut Simulator, event: i32) {
    match event {
        MMIO_READ | MMIO_WRITE => {
            sim.get_mmio();
        }
        DMA_READ_DONE => {
            sim.results("get_dma_read");
        }
        DMA_WRITE_DONE => {
            sim.results("get_dma_write");
        }
        RESET => {
            sim.results("get_reset");
            assert_eq!(sim.call("reset_done"), 0);
        }
        LINK_UP | LINK_DOWN => {
            sim.results("get_link");
        }
        other => assert_eq!(other, NONE),
    }
}

#[test]
fn what_vfio_user_does_not_carry_is_said_at_once() {
    let folder = Folder::new();
    let endpoint = Bench::endpoint(&folder.path("s"));
    let mut sim = Simulator::start();
    for call in ["nic_open", "uart_open"] {
        for endpoint in [endpoint.clone(), format!("pcie:{endpoint}")] {
            assert_eq!(sim.raw(&format!("{call} 0 {endpoint} x")), "0");
            let text = sim.null_error();
            for part in ["vfio-user", "alone", "accelerator-pcie"] {
                assert!(text.contains(part), "{text}");
            }
        }
    }
    sim.usual(&endpoint);
    assert_eq!(sim.call("set_shared_memory 2"), 0);
    sim.fails("start", EINVAL, &["shared memory", "vfio-user-pci"]);
    assert_eq!(sim.call("set_shared_memory 1"), 0);
    assert_eq!(sim.call("start"), 0);
    // Another one at the same place.
    let mut other = Simulator::start();
    other.usual(&endpoint);
    other.fails("start", EIO, &["in use", "another path"]);
    other.finish();
    sim.finish();
    for (bad, part) in [
        ("vfio-user:", "no socket path"),
        ("vfio-user:@x", "abstract"),
    ] {
        let mut sim = Simulator::start();
        assert!(!sim.open(bad, "card"));
        let text = sim.null_error();
        assert!(text.contains(part), "{text}");
        sim.end();
    }
}
