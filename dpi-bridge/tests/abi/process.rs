// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the library is to its process: system calls, leaks, threads, languages,
//! symbols, log.

use std::{
    collections::BTreeSet, fs, os::unix::process::ExitStatusExt, path::Path, process::Command,
    time::Duration,
};

use accelerator_peers::{GuestEndpoint, PATIENCE};
use accelerator_protocol::wire::ResetKind;

use crate::support::*;

/// Starts the mode `quiet` in a program without sanitizers, which make system
/// calls of their own.
pub fn quiet(endpoint: &str, what: &str) -> Process {
    let program = program(Language::C99, false);
    Process::start(
        program,
        &["quiet", endpoint, what],
        &[("ACCELERATOR_ZMQ_WARN_MS", "0")],
    )
}

#[test]
fn an_idle_poll_makes_no_system_call() {
    let folder = Folder::new();
    let (status, text) = quiet(&folder.endpoint("s"), "IDLE").end();
    assert!(status.success(), "{status}: {text}");
}

#[test]
fn an_idle_poll_with_a_host_makes_no_system_call() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let process = quiet(&endpoint, "LINK");
    let guest = GuestEndpoint::connect(&endpoint, MEMORY, 4096, PATIENCE).unwrap();
    let (status, text) = process.end();
    assert!(status.success(), "{status}: {text}");
    drop(guest);
}

/// That the two tests before can fail: with something to receive the same
/// program is killed for its first system call.
#[test]
fn a_poll_that_receives_is_caught() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let process = quiet(&endpoint, "MESSAGE");
    let mut guest = GuestEndpoint::connect(&endpoint, MEMORY, 4096, PATIENCE).unwrap();
    assert_eq!(process.line(), "now");
    guest.start_read(0, 0, 4).unwrap();
    let (status, text) = process.end();
    assert_eq!(status.signal(), Some(libc::SIGSYS), "{status}: {text}");
}

/// That the sanitizers are there: a leak is found.
#[test]
fn a_leak_is_caught() {
    let process = Process::start(program(Language::C99, true), &["leak"], &[]);
    let (status, text) = process.end();
    assert!(!status.success());
    assert!(
        text.contains("LeakSanitizer") && text.contains("4321"),
        "{text}"
    );
}

#[test]
fn one_bridge_can_be_used_from_several_threads() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let environment = [("ACCELERATOR_LOG_LEVEL", "warn")];
    Process::start(
        program(Language::C99, true),
        &["threads", &endpoint],
        &environment,
    )
    .finish();
}

/// The header in both languages, with everything that a device does: accesses
/// of every size and alignment, DMA in the middle of reads, writes with holes,
/// interrupts behind data, resets, random back-pressure.
#[test]
fn a_device_written_in_c_or_cxx_behaves() {
    for (language, seed) in [(Language::C99, "1"), (Language::Cxx11, "2")] {
        let folder = Folder::new();
        let endpoint = folder.endpoint("s");
        let process = Process::start(
            program(language, true),
            &["device", &endpoint, seed],
            &[("ACCELERATOR_LOG_LEVEL", "info")],
        );
        let mut guest =
            GuestEndpoint::connect_with(&endpoint, MEMORY, 65536, 16, PATIENCE).unwrap();
        use_device(&mut guest, seed.parse().unwrap());
        guest.close().unwrap();
        let line = process.line();
        assert!(line.starts_with("sessions=1 "), "{line}");
        process.finish();
    }
}

/// The example of the README, as a user builds and runs it.
#[test]
fn the_example_is_a_card() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let program = build("examples/memory.c", Language::C99, true);
    let mut process = Process::start(&program, &[&endpoint], &[]);
    let mut guest = GuestEndpoint::connect(&endpoint, MEMORY, 4096, PATIENCE).unwrap();
    assert_eq!(process.line(), "link up");
    for i in 1..=100_u32 {
        let target = MEMORY + 8 * u64::from(i);
        guest.write(0, 4088, 4, target, PATIENCE).unwrap();
        guest.write(0, 4092, 4, i.into(), PATIENCE).unwrap();
        guest.wait_msix(0, PATIENCE).unwrap();
        assert_eq!(guest.memory()[8 * i as usize..][..4], i.to_le_bytes());
    }
    assert_eq!(
        guest.read(0, 4087, 8, PATIENCE).unwrap(),
        (MEMORY + 800) << 8 | 100 << 40
    );
    guest.reset(ResetKind::Flr, PATIENCE).unwrap();
    assert_eq!(guest.read(0, 4088, 8, PATIENCE).unwrap(), 0);
    guest.close().unwrap();
    assert_eq!(process.line(), "link down");
    process.terminate();
    process.finish();
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// Random accesses to the device of the C program, each result compared with a
/// model of its memory and the guest's.
fn use_device(guest: &mut GuestEndpoint, seed: u64) {
    const WINDOW: u64 = 2304;
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut ram = vec![0_u8; 2048];
    for (i, byte) in guest.memory_mut().iter_mut().enumerate() {
        *byte = (i * 7 + i / 256) as u8;
    }
    let mut host = guest.memory().to_vec();
    let mut window = None;
    let mut interrupts = 0;
    for _ in 0..3000 {
        let len = 1 + random.below(8);
        let mask = u64::MAX >> (64 - 8 * len);
        let value = random.below(u64::MAX) & mask;
        let bytes = value.to_le_bytes();
        match random.below(12) {
            // Memory of the device.
            0..=3 => {
                let at = random.below(2048 - len + 1);
                ram[at as usize..][..len as usize].copy_from_slice(&bytes[..len as usize]);
                guest.write(0, at, len as u8, value, PATIENCE).unwrap();
            }
            4..=6 => {
                let at = random.below(2048 - len + 1) as usize;
                let mut expected = [0; 8];
                expected[..len as usize].copy_from_slice(&ram[at..][..len as usize]);
                let found = guest.read(0, at as u64, len as u8, PATIENCE).unwrap();
                assert_eq!(found, u64::from_le_bytes(expected), "at {at:#x} len {len}");
            }
            // Memory of the guest, through the device.
            7 => {
                let at = 64 * random.below((65536 - 512) / 64) + random.below(64);
                window = Some(at);
                guest.write(0, 2048, 8, MEMORY + at, PATIENCE).unwrap();
            }
            8 | 9 => {
                let Some(window) = window else { continue };
                let at = random.below(256 - len + 1);
                let mut expected = [0; 8];
                expected[..len as usize]
                    .copy_from_slice(&host[(window + at) as usize..][..len as usize]);
                let found = guest.read(0, WINDOW + at, len as u8, PATIENCE).unwrap();
                assert_eq!(
                    found,
                    u64::from_le_bytes(expected),
                    "DMA at {at:#x} len {len}"
                );
            }
            10 => {
                let Some(window) = window else { continue };
                let at = random.below(256 - len + 1);
                host[(window + at) as usize..][..len as usize]
                    .copy_from_slice(&bytes[..len as usize]);
                guest
                    .write(0, WINDOW + at, len as u8, value, PATIENCE)
                    .unwrap();
                // The interrupt comes behind the data.
                guest.wait_msix(1, PATIENCE).unwrap();
                interrupts += 1;
                assert_eq!(guest.memory(), &host[..]);
            }
            _ => {
                if random.below(8) == 0 {
                    guest.reset(ResetKind::Flr, PATIENCE).unwrap();
                    ram.fill(0);
                    window = None;
                }
            }
        }
    }
    guest.flush(PATIENCE).unwrap();
    assert_eq!(guest.memory(), &host[..]);
    assert!(interrupts > 100);
    // Bus mastering off: the device's read fails, and with it the guest's.
    guest.write(0, 2048, 8, MEMORY, PATIENCE).unwrap();
    guest.set_bus_master(false);
    let refused = guest.read(0, WINDOW, 4, PATIENCE).unwrap_err();
    assert!(refused.to_string().contains("Refused"), "{refused}");
}

fn symbols(file: &Path, arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new("nm")
        .args(arguments)
        .arg(file)
        .output()
        .expect("nm cannot be run (apt-get install binutils)");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|l| l.split_whitespace().nth(2).map(str::to_owned))
        .collect()
}

/// What the header declares, the shared library exports, and nothing else. The
/// static library has at least that.
#[test]
fn libraries_have_the_symbols_of_the_header() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = fs::read_to_string(root.join("include/accelerator_dpi.h")).unwrap();
    // A declaration begins in the first column.
    let declared: BTreeSet<String> = header
        .lines()
        .filter(|l| !l.starts_with([' ', '/', '#', '*']))
        .filter_map(|l| l.split_once('(')?.0.split([' ', '*']).next_back())
        .map(str::to_owned)
        .collect();
    assert_eq!(declared.len(), 53, "{declared:?}");
    assert!(
        declared.iter().all(|s| s.starts_with("acc_")),
        "{declared:?}"
    );

    let shared = build_folder().join("libaccelerator_dpi.so");
    let exported = symbols(&shared, &["--dynamic", "--defined-only", "--extern-only"]);
    assert_eq!(exported, declared);
    let archive = build_folder().join("libaccelerator_dpi.a");
    let defined = symbols(&archive, &["--defined-only", "--extern-only"]);
    assert!(defined.is_superset(&declared));
}

/// libzmq is built with eventfd (.cargo/config.toml): without it each of its
/// mailboxes is a socket pair.
#[test]
fn libzmq_uses_eventfd() {
    let context = zmq::Context::new();
    let socket = context.socket(zmq::ROUTER).unwrap();
    let fd = socket.get_fd().unwrap();
    let link = fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
    assert!(link.to_string_lossy().contains("eventfd"), "{link:?}");
}

#[test]
fn the_log_level_is_obeyed() {
    for (level, words, missing) in [
        ("off", &[][..], &["ERROR", "INFO"][..]),
        (
            "error",
            &["ERROR accelerator[card]: acc_start"][..],
            &["INFO"][..],
        ),
        ("", &["INFO  accelerator[card]"][..], &["DEBUG"][..]),
        (
            "DEBUG",
            &["DEBUG accelerator[card]: tag=1 #1 MMIO read BAR 0 addr 0x100010 len 4"][..],
            &["TRACE"][..],
        ),
        (
            "trace",
            &["TRACE accelerator[card]: Read { tag: 1, "][..],
            &[][..],
        ),
        (
            "loud",
            &["ACCELERATOR_LOG_LEVEL is \"loud\", expected off, error, "][..],
            &["DEBUG"][..],
        ),
    ] {
        let folder = Folder::new();
        let endpoint = folder.endpoint("s");
        let environment = [("ACCELERATOR_LOG_LEVEL", level)];
        let mut sim = Simulator::start_with(Language::C99, &environment);
        sim.usual(&endpoint);
        assert_eq!(sim.call("set_msix 4 1 0 2 0x8000"), 0);
        sim.fails("start", EINVAL, &["msix.table_bar is 1"]);
        assert_eq!(sim.call("set_msix 4 2 0 2 0x8000"), 0);
        assert_eq!(sim.call("start"), 0);
        let mut guest = connect(&mut sim, &endpoint);
        guest.start_read(0, 0x10, 4).unwrap();
        sim.next_mmio(MMIO_READ);
        let log = sim.finish();
        for word in words {
            assert!(log.contains(word), "{level}: {word:?} is not in:\n{log}");
        }
        for word in missing {
            assert!(!log.contains(word), "{level}: {word:?} is in:\n{log}");
        }
    }
}

/// Who waits for whom is said, once a wait lasts long.
#[test]
fn long_waits_are_mentioned() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let environment = [
        ("ACCELERATOR_ZMQ_WARN_MS", "60"),
        ("ACCELERATOR_LOG_LEVEL", "warn"),
    ];
    let mut sim = Simulator::start_with(Language::C99, &environment);
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0);
    let mut guest = connect(&mut sim, &endpoint);
    let nap = || std::thread::sleep(Duration::from_millis(400));

    // The simulator does not poll.
    nap();
    guest.start_read(0, 0x20, 8).unwrap();
    nap();
    let read = sim.next_mmio(MMIO_READ);
    // The RTL does not answer.
    nap();
    assert_eq!(sim.call(&format!("mmio_read_done {} 0 1", read.tag)), 0);
    guest.write(0, 0x30, 2, 5, PATIENCE).unwrap();
    let write = sim.next_mmio(MMIO_WRITE);
    nap();
    assert_eq!(sim.call(&format!("mmio_write_done {} 0", write.tag)), 0);
    // The host does not answer.
    let tag = sim.call(&format!("dma_read {MEMORY} 16"));
    nap();
    guest.pump_for(Duration::from_millis(50)).unwrap();
    sim.expect(READY, DMA_READ_DONE);
    assert_eq!(sim.call("get_dma_read"), 0);
    // The RTL stays in reset.
    guest.start_reset(ResetKind::Hot).unwrap();
    sim.reset();
    nap();
    assert_eq!(sim.call("reset_done"), 0);

    let log = sim.finish();
    let deaf = "WARN  accelerator[card]: the simulator does not call acc_poll";
    assert!(log.contains(deaf), "{log}");
    for text in [
        "the guest waits for the RTL to answer MMIO read tag 1 (8 bytes at AXI address 0x100020)"
            .to_owned(),
        "the RTL has not answered MMIO write tag 1 (2 bytes at AXI address 0x100030)".to_owned(),
        format!(
            "the RTL waits for the host to answer DMA read tag {tag} (16 bytes at bus address \
             {MEMORY:#x})"
        ),
        "the guest waits for the RTL to leave reset 1 (acc_reset_done)".to_owned(),
    ] {
        let times = log.matches(&text).count();
        assert!(
            (1..=4).contains(&times),
            "{times} times {text:?} in:\n{log}"
        );
    }
}

#[test]
fn waits_are_not_mentioned_if_not_wanted() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let environment = [
        ("ACCELERATOR_ZMQ_WARN_MS", "0"),
        ("ACCELERATOR_LOG_LEVEL", "warn"),
    ];
    let mut sim = Simulator::start_with(Language::C99, &environment);
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0);
    let mut guest = connect(&mut sim, &endpoint);
    guest.start_read(0, 0x20, 8).unwrap();
    sim.next_mmio(MMIO_READ);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(sim.finish(), "");
}

#[test]
fn a_bad_warning_time_is_told() {
    let environment = [("ACCELERATOR_ZMQ_WARN_MS", "soon")];
    let mut sim = Simulator::start_with(Language::C99, &environment);
    assert!(sim.open("7557", "card"));
    let log = sim.finish();
    assert!(
        log.contains("ACCELERATOR_ZMQ_WARN_MS is \"soon\", expected milliseconds"),
        "{log}"
    );
}
