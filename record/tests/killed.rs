// SPDX-License-Identifier: MIT OR Apache-2.0

//! A writer that is killed by SIGKILL at any moment leaves whole entries, all of those that it
//! had written.
//!
//! The program starts itself: the writer tells after each hundred entries how many there are, and
//! is killed.

use std::{
    collections::hash_map::RandomState,
    fs,
    hash::BuildHasher,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use accelerator_record::{
    layout::{Body, Entry},
    writer::MIN_RING,
    Contents, Kind, Record, Size, State, Writer,
};

const ROUNDS: u64 = 24;

fn entry(number: u64) -> Entry {
    Entry {
        kind: Kind::DmaRead as u8,
        number,
        clock: number.rotate_left(7),
        host_ns: !number,
        address: number * 5,
        data: number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        length: number as u32,
        tag: !number as u32,
        ..Entry::default()
    }
}

fn write(path: &Path, size: Size) -> ! {
    let mut writer = Writer::create(path, size, false).unwrap();
    let mut out = std::io::stdout();
    loop {
        for _ in 0..100 {
            let number = writer.number();
            writer.write(&entry(number), Contents::default()).unwrap();
        }
        let written = writer.number() - 1;
        writeln!(out, "{written}").unwrap();
        out.flush().unwrap();
    }
}

fn killed(size: &str, round: u64, ring: bool) {
    let name = format!("killed-{}-{size}-{round}", std::process::id());
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["write", size])
        .arg(&path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // It has begun.
    let mut told: u64 = lines.next().unwrap().unwrap().parse().unwrap();
    let random = RandomState::new().hash_one(round);
    std::thread::sleep(Duration::from_micros(random % 20_000));
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines.map_while(Result::ok) {
        // The last line may be one in part, and then is not larger.
        told = told.max(line.parse().unwrap_or(0));
    }
    let record = Record::open(&path).unwrap();
    assert_eq!(record.state().unwrap(), Some(State::Writing));
    let mut reader = record.read().unwrap();
    let mut entries = Vec::new();
    for next in reader.by_ref() {
        let (sequence, body) = next.unwrap();
        let Body::Entry(found) = body else {
            panic!("{body:?}");
        };
        // Each hundred has taken a number of its own.
        assert_eq!(found, entry(found.number), "torn");
        assert_eq!(found.number, sequence + (sequence - 1) / 100);
        entries.push(sequence);
    }
    let skipped = reader.skipped();
    let (first, last) = (entries[0], *entries.last().unwrap());
    let numbers_told = told - told / 101;
    assert!(
        last >= numbers_told,
        "{last} entries, {numbers_told} were told"
    );
    assert_eq!(entries.len() as u64, last + 1 - first);
    assert_eq!(first, skipped.before + 1 + skipped.damaged);
    // The one that was being written over is the oldest.
    assert!(skipped.damaged <= u64::from(ring), "{skipped:?}");
    assert_eq!(skipped.overwritten, 0);
    fs::remove_file(&path).unwrap();
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, write_, size, path] = &args[..] {
        assert_eq!(write_, "write");
        let size = match &**size {
            "ring" => Size::Ring(MIN_RING),
            _ => Size::default(),
        };
        write(Path::new(path), size);
    }
    for round in 0..ROUNDS {
        killed("ring", round, true);
        killed("grow", round, false);
    }
    println!("{} writers were killed", 2 * ROUNDS);
}
