// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the tool makes of a record, and that it makes something of any.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use accelerator_record::{
    layout::{Body, Entry, FLAG_DIRECT, NO_BAR, STATUS_REFUSED},
    Contents, Kind, Record, Size, Source, Writer,
};
use accelerator_trace::{
    csv,
    perfetto::{self, Clock},
    registers::Registers,
    summary,
};
use proptest::prelude::*;
use serde_json::Value;

/// A file that goes when the test ends.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("trace-{}-{count}", std::process::id());
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A record of these entries, of a bridge "sort" with 4 ns and one "other" without a period.
fn record(entries: &[Entry], data: &[u8]) -> Place {
    let place = Place::new();
    let mut writer = Writer::create(&place.0, Size::default(), true).unwrap();
    for (name, clock_period_ps) in [("sort", 4000), ("other, \"2\"", 0)] {
        let source = Source {
            name: name.to_owned(),
            clock_period_ps,
            ..Source::default()
        };
        writer.add(&source).unwrap();
    }
    for entry in entries {
        let contents = match entry.kind() {
            Some(Kind::DmaWrite) => Contents {
                data,
                enables: None,
            },
            _ => Contents::default(),
        };
        writer.write(entry, contents).unwrap();
    }
    place
}

/// A round as a driver and its card make it, one clock and 10 ns each entry.
fn round(from: u64) -> Vec<Entry> {
    let of = |number: u64, kind: Kind, bar: u8, address: u64, length: u32| Entry {
        kind: kind as u8,
        number: from + number,
        bar,
        address,
        length,
        ..Entry::default()
    };
    let mut entries = vec![
        of(1, Kind::MmioWrite, 0, 0x2c, 4),
        of(1, Kind::Taken, NO_BAR, 0, 0),
        of(2, Kind::DmaRead, NO_BAR, 0x1000, 64),
        of(3, Kind::DmaRead, NO_BAR, 0x1040, 64),
        of(1, Kind::MmioWriteDone, NO_BAR, 0, 0),
        of(2, Kind::DmaAnswered, NO_BAR, 0, 0),
        of(2, Kind::DmaReadDone, NO_BAR, 0, 64),
        of(3, Kind::DmaReadDone, NO_BAR, 0, 64),
        of(4, Kind::DmaWrite, NO_BAR, 0x2000, 100),
        of(4, Kind::DmaWriteDone, NO_BAR, 0, 90),
        of(5, Kind::Msix, NO_BAR, 3, 0),
        of(6, Kind::MmioRead, 0, 0x30, 4),
        of(6, Kind::Taken, NO_BAR, 0, 0),
        of(6, Kind::MmioReadDone, NO_BAR, 0, 4),
    ];
    for (entry, clock) in entries.iter_mut().zip(3 * from..) {
        entry.clock = clock;
        entry.host_ns = clock * 10;
    }
    entries[8].flags = FLAG_DIRECT;
    entries
}

fn summary_of(place: &Place, registers: &Registers) -> String {
    let mut out = Vec::new();
    summary::write(&Record::open(&place.0).unwrap(), registers, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn events(place: &Place, clock: Clock) -> Vec<Value> {
    let mut out = Vec::new();
    let record = Record::open(&place.0).unwrap();
    perfetto::write(&record, &Registers::default(), clock, &mut out).unwrap();
    let all: Value = serde_json::from_slice(&out).expect("JSON");
    all["traceEvents"].as_array().unwrap().clone()
}

/// Each arrow has one beginning and one end, in this order, and each of its points is within an
/// event of its row; and no two events of a row overlap. How many arrows.
fn check(events: &[Value]) -> usize {
    let mut slices: BTreeMap<(u64, u64), Vec<(f64, f64)>> = BTreeMap::new();
    let mut arrows: BTreeMap<u64, Vec<(String, f64)>> = BTreeMap::new();
    let row = |e: &Value| (e["pid"].as_u64().unwrap(), e["tid"].as_u64().unwrap());
    for e in events.iter().filter(|e| e["ph"] == "X") {
        let (ts, dur) = (e["ts"].as_f64().unwrap(), e["dur"].as_f64().unwrap());
        assert!(dur > 0.0);
        slices.entry(row(e)).or_default().push((ts, ts + dur));
    }
    for slices in slices.values_mut() {
        slices.sort_by(|a, b| a.0.total_cmp(&b.0));
        for pair in slices.windows(2) {
            assert!(pair[0].1 <= pair[1].0 + 1e-7, "{pair:?}");
        }
    }
    for e in events {
        let phase = e["ph"].as_str().unwrap();
        if matches!(phase, "s" | "t" | "f") {
            let ts = e["ts"].as_f64().unwrap();
            let inside = slices[&row(e)].iter().any(|(a, b)| (*a..*b).contains(&ts));
            assert!(inside, "{e}");
            let points = arrows.entry(e["id"].as_u64().unwrap()).or_default();
            points.push((phase.to_owned(), ts));
        }
    }
    for points in arrows.values() {
        let phases: String = points.iter().map(|p| &*p.0).collect();
        assert!(
            phases.starts_with('s')
                && phases.ends_with('f')
                && phases[1..phases.len() - 1].chars().all(|c| c == 't'),
            "{phases}"
        );
        assert!(points.windows(2).all(|p| p[0].1 <= p[1].1), "{points:?}");
    }
    arrows.len()
}

#[test]
fn a_summary_counts() {
    let mut entries: Vec<Entry> = (0..10).flat_map(|i| round(6 * i)).collect();
    // What is outstanding: at QEMU, and not taken by the RTL.
    let mut left = round(60);
    left.truncate(3);
    left[1] = Entry {
        kind: Kind::MmioRead as u8,
        number: 100,
        address: 0x44,
        ..left[0]
    };
    entries.extend(left);
    let registers =
        Registers::parse("[[register]]\nbar = 0\noffset = 0x2c\nname = 'TAIL'").unwrap();
    let text = summary_of(&record(&entries, &[7; 100]), &registers);
    let counted = |name: &str, value: &str| {
        let row = format!("  {name:<28} {value}\n");
        assert!(text.contains(&row), "no {row} in\n{text}");
    };
    for (name, value) in [
        ("end", "ended in order"),
        // 13 entries and 3 with contents each.
        ("entries", "173"),
        ("mmio read", "11"),
        ("mmio write", "11"),
        ("dma read", "21"),
        ("dma write", "10"),
        ("msix", "10"),
        ("dma read bytes", "1280"),
        ("dma write bytes", "900"),
        ("mmio write bytes", "40"),
        ("dma without a message", "10"),
    ] {
        counted(name, value);
    }
    for row in [
        "mmio_write TAIL                          10       4       4       4       4       0.040",
        "mmio_read BAR0+0x30                      10       2       2       2       2       0.020",
        "dma_read                                 20       4       4       4       4       0.040",
        "Outstanding at the end: 3\n",
        "sort #61 mmio_write TAIL len 4, begun at clock 180, the RTL has not taken it\n",
        "sort #62 dma_read 0x1000 len 64, begun at clock 182, QEMU has it\n",
        "sort #100 mmio_read BAR0+0x44 len 4, begun at clock 180, the RTL has not taken it\n",
    ] {
        assert!(text.contains(row), "no {row} in\n{text}");
    }
    let waits = text.split("The longest waits\n").nth(1).unwrap();
    assert_eq!(waits.lines().take_while(|l| !l.is_empty()).count(), 10);
}

#[test]
fn a_reset_makes_void_what_was_under_way() {
    let mut entries = round(0);
    entries.truncate(4);
    for (number, kind) in [
        (20, Kind::Reset),
        (20, Kind::Taken),
        (20, Kind::ResetDone),
        // Of what is void.
        (2, Kind::DmaReadDone),
    ] {
        entries.push(Entry {
            kind: kind as u8,
            number,
            clock: 9,
            ..Entry::default()
        });
    }
    let place = record(&entries, &[]);
    let text = summary_of(&place, &Registers::default());
    for row in [
        "void by a reset or the link  3",
        "entries without a beginning  1",
        "Outstanding at the end: 0",
    ] {
        assert!(text.contains(row), "no {row} in\n{text}");
    }
    check(&events(&place, Clock::Simulated));
}

#[test]
fn csv_has_a_line_for_each_entry() {
    let mut entries = round(0);
    entries[13].source = 1;
    entries[13].status = STATUS_REFUSED;
    let place = record(&entries, &[0xab; 50]);
    let mut out = Vec::new();
    let record = Record::open(&place.0).unwrap();
    csv::write(&record, &Registers::default(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + entries.len() + 2);
    assert_eq!(lines[0], csv::HEAD);
    assert_eq!(
        lines[1],
        "1,mmio_write,sort,1,0,0.000,0,0,0x2c,BAR0+0x2c,4,0x00,0x0,ok,0,0,0,0,"
    );
    assert_eq!(
        lines[11],
        format!("11,data,sort,,,,,,,,2,,,,,,,,{}", "ab".repeat(2))
    );
    assert!(
        lines[16].contains(",\"other, \"\"2\"\"\",6,13,,130,"),
        "{}",
        lines[16]
    );
    assert!(lines[16].contains(",refused,"), "{}", lines[16]);
    // As many fields in each, outside of quotes.
    for line in lines {
        let fields = line
            .replace("\"other, \"\"2\"\"\"", "")
            .matches(',')
            .count();
        assert_eq!(fields, csv::HEAD.matches(',').count(), "{line}");
    }
}

#[test]
fn arrows_go_from_the_doorbell_to_the_interrupt() {
    let mut entries: Vec<Entry> = (0..5).flat_map(|i| round(6 * i)).collect();
    // Not before the record was begun.
    let begin = accelerator_record::monotonic_ns() + 1_000_000_000;
    entries.iter_mut().for_each(|e| e.host_ns += begin);
    let place = record(&entries, &[]);
    for clock in [Clock::Simulated, Clock::Host] {
        let events = events(&place, clock);
        assert_eq!(check(&events), 5);
        let row = |name: &str| {
            events
                .iter()
                .find(|e| e["name"] == "thread_name" && e["args"]["name"] == name)
                .unwrap_or_else(|| panic!("no row {name}"))["tid"]
                .clone()
        };
        for (phase, name) in [("s", "CPU writes"), ("f", "interrupts")] {
            let ends: Vec<_> = events.iter().filter(|e| e["ph"] == phase).collect();
            assert_eq!(ends.len(), 5);
            assert!(ends.iter().all(|e| e["tid"] == row(name)), "{ends:?}");
        }
        // Two reads at once take two rows.
        assert_ne!(row("DMA reads"), row("DMA reads 2"));
    }
    // 4 ns each clock.
    let events = events(&place, Clock::Simulated);
    let tail = events.iter().find(|e| e["name"] == "BAR0+0x2c").unwrap();
    assert_eq!((&tail["ts"], &tail["dur"]), (&0.0.into(), &0.016.into()));
}

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_accelerator-trace"))
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn a_file_that_is_none_is_told_in_a_sentence() {
    let place = Place::new();
    let file = place.0.to_str().unwrap();
    for (contents, expected) in [
        (&b"module card;\n"[..], "it is no record"),
        (b"", "it has 0 bytes"),
        (b"ACCELREC\r\n", "byte order mark"),
    ] {
        fs::write(&place.0, contents).unwrap();
        for job in ["summary", "csv", "perfetto"] {
            let output = run(&[job, file]);
            assert_eq!(output.status.code(), Some(1));
            let text = String::from_utf8(output.stderr).unwrap();
            assert!(text.contains(expected), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(output.stdout.is_empty());
        }
    }
    let output = run(&["summary", "/nowhere/at/all"]);
    assert_eq!(output.status.code(), Some(1));
    for args in [
        &["html", file][..],
        &["summary"],
        &["csv", file, "--clock", "host"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}

fn any_entry() -> impl Strategy<Value = Entry> {
    // Few numbers and kinds, so that they meet.
    (
        0_u8..36,
        0_u8..3,
        0_u8..7,
        1_u64..20,
        0_u64..100,
        any::<u64>(),
        0_u8..8,
    )
        .prop_map(|(kind, source, bar, number, step, value, status)| Entry {
            kind,
            source,
            bar,
            number,
            status,
            clock: step,
            host_ns: step * 7,
            address: value,
            data: value & 1,
            length: value as u32,
            flags: (value >> 60) as u8,
            ..Entry::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever a record says, even if it makes no sense, all three end well.
    #[test]
    fn any_entries_give_something(
        mut entries in proptest::collection::vec(any_entry(), 0..200),
        orderly: bool,
    ) {
        if orderly {
            // Clocks go forward, and each number begins once.
            let mut clock = 0;
            for (i, entry) in (1_u64..).zip(&mut entries) {
                clock += entry.clock % 5;
                entry.clock = clock;
                entry.host_ns = clock * 9;
                let begins = !matches!(
                    entry.kind(),
                    Some(Kind::Taken | Kind::MmioReadDone | Kind::MmioWriteDone | Kind::DmaReadDone
                        | Kind::DmaWriteDone | Kind::DmaAnswered | Kind::ResetDone)
                );
                if begins {
                    entry.number = i;
                } else {
                    entry.number = i.saturating_sub(entry.number);
                }
            }
        }
        let place = record(&entries, &[1, 2, 3]);
        let text = summary_of(&place, &Registers::default());
        prop_assert!(text.contains("Outstanding at the end"));
        for clock in [Clock::Simulated, Clock::Host] {
            let events = events(&place, clock);
            if orderly {
                check(&events);
            }
        }
        let record = Record::open(&place.0).unwrap();
        let mut out = Vec::new();
        csv::write(&record, &Registers::default(), &mut out).unwrap();
        let lines = out.iter().filter(|&&b| b == b'\n').count();
        let written = record.read().unwrap().map(Result::unwrap);
        prop_assert_eq!(lines, 1 + written.inspect(|(_, b)| {
            assert!(matches!(b, Body::Entry(_) | Body::Content { .. }));
        }).count());
    }
}
