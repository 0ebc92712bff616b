// SPDX-License-Identifier: MIT OR Apache-2.0

//! The program as a client finds it that is not QEMU.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read},
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use accelerator_vfio_user::{ticks, BAR_BYTES, DEVICE, VENDOR};
use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_DATA_EVENTFD, VFIO_IRQ_SET_DATA_NONE,
    VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX,
};
use vfio_user::Client;

const ID: u64 = 0x000;
const SCRATCH: u64 = 0x008;
const DOORBELL: u64 = 0x020;
const RUNG: u64 = 0x028;
const MSIX_GO: u64 = 0x030;
const MSIX_TICKS: u64 = 0x038;
const WRITES: u64 = 0x090;

/// Long enough for a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program in a folder of its own.
struct Program {
    child: Child,
    folder: PathBuf,
}

impl Program {
    fn start() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let folder = std::env::temp_dir().join(format!(
            "accelerator-vfio-user-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        ));
        std::fs::create_dir(&folder).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_accelerator-vfio-user"))
            .arg(folder.join("socket"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "listening\n");
        Self { child, folder }
    }

    fn connect(&self) -> Client {
        Client::new(&self.folder.join("socket")).unwrap()
    }

    /// Ticks of the kernel's clock, mostly hundredths of a second, in which it used a CPU.
    fn cpu(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split(' ').collect();
        fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn read(client: &mut Client, offset: u64) -> u64 {
    let mut data = [0; 8];
    client.region_read(0, offset, &mut data).unwrap();
    u64::from_le_bytes(data)
}

fn write(client: &mut Client, offset: u64, value: u64) {
    client
        .region_write(0, offset, &value.to_le_bytes())
        .unwrap();
}

/// What stands in for an eventfd: this end gets what is written to the one that is passed.
fn enable_vector(client: &mut Client) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    client
        .set_irqs(
            VFIO_PCI_MSIX_IRQ_INDEX,
            VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
            0,
            1,
            &[theirs.as_raw_fd()],
        )
        .unwrap();
    ours
}

fn wait_for(vector: &mut UnixStream) {
    let mut count = [0; 8];
    vector.read_exact(&mut count).unwrap();
    assert_eq!(u64::from_ne_bytes(count), 1);
}

#[test]
fn configuration_space() {
    let program = Program::start();
    let mut client = program.connect();
    let mut config = [0; 256];
    client
        .region_read(VFIO_PCI_CONFIG_REGION_INDEX, 0, &mut config)
        .unwrap();
    assert_eq!(config[..2], VENDOR.to_le_bytes());
    assert_eq!(config[2..4], DEVICE.to_le_bytes());
    assert_eq!(config[9..12], [0, 0, 0x12]);
    // MSI-X with one vector, and nothing behind it.
    let msix = usize::from(config[0x34]);
    assert_eq!(config[msix..msix + 4], [0x11, 0, 0, 0]);
    assert_eq!(client.region(0).unwrap().size, BAR_BYTES);
    assert!((1..7).all(|bar| client.region(bar).unwrap().size == 0));
    assert_eq!(
        client.get_irq_info(VFIO_PCI_MSIX_IRQ_INDEX).unwrap().count,
        1
    );
    assert_eq!(
        client.get_irq_info(VFIO_PCI_INTX_IRQ_INDEX).unwrap().count,
        0
    );

    // Command and BAR 0 keep what they have, the ids nothing.
    client
        .region_write(VFIO_PCI_CONFIG_REGION_INDEX, 0, &[0xff; 0x14])
        .unwrap();
    client
        .region_read(VFIO_PCI_CONFIG_REGION_INDEX, 0, &mut config[..0x14])
        .unwrap();
    assert_eq!(config[..2], VENDOR.to_le_bytes());
    assert_eq!(config[4..6], 0x0546_u16.to_le_bytes());
    assert_eq!(config[0x10..0x14], 0xffff_e000_u32.to_le_bytes());
}

#[test]
fn registers() {
    let program = Program::start();
    let mut client = program.connect();
    assert_eq!(read(&mut client, ID), 0x4843_4e42);
    write(&mut client, SCRATCH, 0x8877_6655_4433_2211);
    assert_eq!(read(&mut client, SCRATCH), 0x8877_6655_4433_2211);
    // Each size at each place of its own.
    for bytes in [1, 2, 4] {
        for place in (0..8).step_by(bytes) {
            let mut data = vec![0; bytes];
            client
                .region_read(0, SCRATCH + place as u64, &mut data)
                .unwrap();
            let expected: Vec<u8> = (place..place + bytes)
                .map(|i| 0x11 * (i as u8 + 1))
                .collect();
            assert_eq!(data, expected);
        }
    }
    client.region_write(0, SCRATCH + 2, &[0xaa, 0xbb]).unwrap();
    assert_eq!(read(&mut client, SCRATCH), 0x8877_6655_bbaa_2211);
    // The two to SCRATCH, and this one that goes nowhere.
    write(&mut client, ID, 0);
    assert_eq!(read(&mut client, WRITES), 3);
    assert_eq!(read(&mut client, ID), 0x4843_4e42);

    client.reset().unwrap();
    assert_eq!(read(&mut client, SCRATCH), 0);
    assert_eq!(read(&mut client, WRITES), 0);
}

#[test]
fn doorbell() {
    let program = Program::start();
    let mut client = program.connect();
    assert_eq!(read(&mut client, RUNG), 0);
    for _ in 0..3 {
        let before = ticks();
        write(&mut client, DOORBELL, 0);
        let after = ticks();
        let rung = read(&mut client, RUNG);
        assert!(before <= rung && rung <= after, "{before} {rung} {after}");
    }
}

#[test]
fn interrupt() {
    let program = Program::start();
    let mut client = program.connect();
    // Nobody waits for it.
    write(&mut client, MSIX_GO, 0);
    let mut vector = enable_vector(&mut client);

    let before = ticks();
    write(&mut client, MSIX_GO, 0);
    wait_for(&mut vector);
    let raised = read(&mut client, MSIX_TICKS);
    assert!(before <= raised && raised <= ticks());

    // Later, and the registers answer meanwhile. A machine that has no time for us until then
    // gets another chance, with more of it.
    let mut last = raised;
    let answered = [300, 3_000, 20_000].into_iter().any(|delay| {
        let begin = Instant::now();
        write(&mut client, MSIX_GO, delay * 1_000);
        let meanwhile = read(&mut client, MSIX_TICKS);
        let answered = begin.elapsed() < Duration::from_millis(delay);
        assert!(!answered || meanwhile == last, "{meanwhile} {last}");
        wait_for(&mut vector);
        assert!(begin.elapsed() >= Duration::from_millis(delay));
        let later = read(&mut client, MSIX_TICKS);
        assert!(later > last);
        last = later;
        answered
    });
    assert!(answered, "the registers do not answer before the interrupt");

    // By the client itself, as the protocol has it.
    let trigger = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
    client
        .set_irqs(VFIO_PCI_MSIX_IRQ_INDEX, trigger, 0, 1, &[])
        .unwrap();
    wait_for(&mut vector);

    // Taken back: the end that was passed is closed, and nothing comes any more.
    client
        .set_irqs(VFIO_PCI_MSIX_IRQ_INDEX, trigger, 0, 0, &[])
        .unwrap();
    write(&mut client, MSIX_GO, 0);
    let mut rest = Vec::new();
    vector.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
}

#[test]
fn idle_costs_nothing() {
    let program = Program::start();
    let mut client = program.connect();
    let _vector = enable_vector(&mut client);
    write(&mut client, SCRATCH, 1);
    let before = program.cpu();
    std::thread::sleep(Duration::from_millis(500));
    // One may be what came before.
    assert!(program.cpu() - before <= 1);
    assert_eq!(read(&mut client, SCRATCH), 1);
}

#[test]
fn the_next_client() {
    let program = Program::start();
    let mut client = program.connect();
    write(&mut client, SCRATCH, 1);
    let mut vector = enable_vector(&mut client);
    drop(client);
    // What the first one passed is closed with it.
    let mut rest = Vec::new();
    vector.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    let mut client = program.connect();
    assert_eq!(read(&mut client, SCRATCH), 0);
}

#[test]
fn a_socket_that_is_taken() {
    let program = Program::start();
    let output = Command::new(env!("CARGO_BIN_EXE_accelerator-vfio-user"))
        .arg(program.folder.join("socket"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("exists"), "{text}");
    // The first one goes on.
    let error = std::fs::read(program.folder.join("socket")).unwrap_err();
    assert_ne!(error.kind(), ErrorKind::NotFound);
    assert_eq!(read(&mut program.connect(), ID), 0x4843_4e42);
}
