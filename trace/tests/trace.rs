// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the tool makes of a record, and that it makes something of any.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
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
    ftr::{self, Viewer},
    html,
    perfetto::{self, Clock},
    registers::Registers,
    summary,
    tracks::track_of,
};
use base64::{engine::general_purpose::STANDARD, Engine};
use flate2::read::ZlibDecoder;
use ftr_parser::types::{Timescale, FTR};
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

fn streams(place: &Place) -> FTR {
    let mut out = Vec::new();
    let record = Record::open(&place.0).unwrap();
    ftr::write(&record, &Registers::default(), Viewer::Surfer, &mut out).unwrap();
    ftr_parser::parse::parse_ftr_from_bytes(out).expect("FTR")
}

/// All transactions of a generator.
fn generated<'a>(
    all: &'a FTR,
    stream: &str,
    generator: &str,
) -> &'a [ftr_parser::types::Transaction] {
    let stream = all.get_stream_from_name(stream.to_owned());
    let stream = stream.unwrap_or_else(|| panic!("no {generator}")).id;
    let found = all.get_generator_from_name(Some(stream), generator.to_owned());
    &found
        .unwrap_or_else(|| panic!("no {generator}"))
        .transactions
}

#[test]
fn streams_are_what_surfer_reads() {
    let mut entries: Vec<Entry> = (0..5).flat_map(|i| round(6 * i)).collect();
    let last = entries.len() - 1;
    entries[last].data = u64::MAX;
    entries[last].status = STATUS_REFUSED;
    // The other source has no period: 1 ns.
    entries.push(Entry {
        kind: Kind::Msix as u8,
        source: 1,
        number: 31,
        clock: 2,
        address: 7,
        ..Entry::default()
    });
    let all = streams(&record(&entries, &[]));
    // What Surfer writes behind all of the times below.
    assert_eq!(all.time_scale, Timescale::Ps);
    let mut names: Vec<_> = all.tx_streams.values().map(|s| &*s.name).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "other, \"2\" interrupts",
            "sort CPU reads",
            "sort CPU writes",
            "sort DMA reads",
            "sort DMA writes",
            "sort interrupts"
        ]
    );
    let reads = generated(&all, "sort DMA reads", "dma_read");
    assert_eq!(reads.len(), 10);
    let find = |number: usize| reads.iter().find(|t| t.get_tx_id().0 == number).unwrap();
    // From the third clock to the seventh, of 4 ns each; the first edge is 2 ns after the begin.
    let first = find(2);
    assert_eq!(first.get_start_time(), 6000_u32.into());
    assert_eq!(first.get_end_time(), 22_000_u32.into());
    let value = |t: &ftr_parser::types::Transaction, name: &str| {
        let found = t.attributes.iter().find(|a| a.name == name);
        found.unwrap_or_else(|| panic!("no {name}")).value()
    };
    for (name, expected) in [
        ("what", "64 bytes"),
        ("address", "0x1000"),
        ("length", "64"),
        ("bytes", "64"),
        ("clock", "2"),
        ("clocks", "4"),
        ("answered", "18000"),
        ("direct", "false"),
        ("outcome", "ok"),
        ("host_wait_ns", "40"),
    ] {
        assert_eq!(value(first, name), expected, "{name}");
    }
    let refused = generated(&all, "sort CPU reads", "mmio_read")
        .last()
        .unwrap();
    assert_eq!(value(refused, "outcome"), "refused");
    assert_eq!(value(refused, "data"), "0xffffffffffffffff");
    let write = generated(&all, "sort DMA writes", "dma_write");
    assert_eq!(value(&write[0], "direct"), "true");
    let other = generated(&all, "other, \"2\" interrupts", "msix");
    assert_eq!(other[0].get_start_time(), 1500_u32.into());

    // From each doorbell to the first and the last DMA and to the interrupt.
    assert_eq!(all.tx_relations.len(), 15);
    let of_first: Vec<_> = all.tx_relations[..3]
        .iter()
        .map(|r| (&*r.name, r.source_tx_id.0, r.sink_tx_id.0))
        .collect();
    assert_eq!(
        of_first,
        [("doorbell", 1, 2), ("last DMA", 2, 4), ("interrupt", 4, 5)]
    );
    for relation in &all.tx_relations {
        for (stream, number) in [
            (relation.source_stream_id, relation.source_tx_id),
            (relation.sink_stream_id, relation.sink_tx_id),
        ] {
            let generators = &all.tx_streams[&stream].generators;
            let there = generators.iter().any(|g| {
                let all = &all.tx_generators[g].transactions;
                all.iter().any(|t| t.get_tx_id() == number)
            });
            assert!(there, "{relation:?}");
        }
    }
}

#[test]
fn streams_have_the_unit_of_the_format_for_those_who_keep_to_it() {
    let (place, out) = (record(&round(0), &[]), Place::new());
    let mut files = Vec::new();
    for viewer in [&["--viewer", "scviewer"][..], &["--viewer", "surfer"], &[]] {
        let (record, to) = (place.0.to_str().unwrap(), out.0.to_str().unwrap());
        let output = run(&[&["ftr", record, "--out", to], viewer].concat());
        assert!(output.status.success(), "{output:?}");
        files.push(fs::read(&out.0).unwrap());
    }
    // RFC 8949: the tag of CBOR, an array without end, then tag 6, a string of bytes, and in it
    // an array of two, the first of which is negative.
    let unit = |file: &[u8]| {
        assert_eq!(file[..4], [0xd9, 0xd9, 0xf7, 0x9f]);
        assert_eq!((file[4], file[5] >> 5, file[6]), (0xc6, 2, 0x82));
        assert_eq!(file[7] >> 5, 1);
        -1 - i32::from(file[7] & 0x1f)
    };
    // LWTR4SC: the exponent of the smallest step in seconds.
    assert_eq!(unit(&files[0]), -12);
    assert_eq!(unit(&files[1]), -16);
    assert_eq!(files[1], files[2]);
    // Nothing else differs.
    assert_eq!(files[0][..7], files[1][..7]);
    assert_eq!(files[0][8..], files[1][8..]);
}

#[test]
fn streams_of_many_blocks_are_read_from_a_file() {
    let entries: Vec<Entry> = (0..2000).flat_map(|i| round(6 * i)).collect();
    let (place, out) = (record(&entries, &[]), Place::new());
    let output = run(&[
        "ftr",
        place.0.to_str().unwrap(),
        "--out",
        out.0.to_str().unwrap(),
    ]);
    assert!(output.status.success());
    let mut all = ftr_parser::parse::parse_ftr(out.0.clone()).expect("FTR");
    let streams: Vec<_> = all.tx_streams.keys().copied().collect();
    for stream in streams {
        all.load_stream_into_memory(stream).expect("a stream");
    }
    let count: usize = all
        .tx_generators
        .values()
        .map(|g| g.transactions.len())
        .sum();
    assert_eq!((count, all.tx_relations.len()), (12_000, 6000));
    // The edge of the last clock, 35,995.
    assert_eq!(all.max_timestamp, 143_978_000.into());
}

/// The value of a column of a page.
fn column<const N: usize>(page: &str, name: &str) -> Vec<[u8; N]> {
    let start = format!("id=\"column-{name}\">");
    let text = page.split(&start).nth(1).expect("a column");
    let text = text.split("</script>").next().unwrap();
    let packed = STANDARD.decode(text).expect("base64");
    let mut bytes = Vec::new();
    ZlibDecoder::new(&*packed).read_to_end(&mut bytes).unwrap();
    bytes.as_chunks().0.to_vec()
}

fn page_of(place: &Place) -> (String, Value) {
    let mut out = Vec::new();
    let record = Record::open(&place.0).unwrap();
    html::write(&record, &Registers::default(), "a </script> b", &mut out).unwrap();
    let page = String::from_utf8(out).unwrap();
    let meta = page.split("id=\"meta\">").nth(1).unwrap();
    let meta = serde_json::from_str(meta.split("</script>").next().unwrap()).expect("JSON");
    (page, meta)
}

#[test]
fn a_page_has_every_transaction() {
    let mut entries: Vec<Entry> = (0..5).flat_map(|i| round(6 * i)).collect();
    entries.truncate(5 * 14 - 1);
    let place = record(&entries, &[]);
    let (page, meta) = page_of(&place);
    assert_eq!(meta["count"], 30);
    assert_eq!(meta["title"], "a </script> b");
    assert_eq!(meta["outstanding_count"], 1);
    assert_eq!(meta["outstanding"][0]["who"], "the RTL has it");
    assert_eq!(meta["longest"].as_array().unwrap().len(), 10);
    let mut sum = 0.0;
    let numbers = column(&page, "number").into_iter().map(|bytes| {
        sum += f64::from_le_bytes(bytes);
        sum as u64
    });
    assert_eq!(numbers.collect::<Vec<_>>(), (1..=30).collect::<Vec<_>>());
    let clocks: Vec<f64> = column(&page, "clocks")
        .into_iter()
        .map(f64::from_le_bytes)
        .collect();
    assert_eq!(clocks[..6], [4.0, 4.0, 4.0, 1.0, 0.0, 2.0]);
    let lanes: Vec<u32> = column(&page, "lane")
        .into_iter()
        .map(u32::from_le_bytes)
        .collect();
    // Two DMA reads at once.
    assert_eq!(lanes, [0, 0, 1, 0, 0, 0].repeat(5));
    let outcomes: Vec<[u8; 1]> = column(&page, "outcome");
    assert_eq!(
        meta["outcomes"][usize::from(outcomes[29][0])],
        "outstanding"
    );
    assert_eq!(meta["outcomes"][usize::from(outcomes[28][0])], "ok");
    assert!(outcomes.iter().all(|o| u64::from(o[0]) < 9));
    // Nothing is fetched from anywhere.
    let before_library = page.split("<script").next().unwrap();
    assert!(before_library.contains("Content-Security-Policy"));
    assert!(before_library.contains("default-src 'none'"));
    for what in [" src=", "@import", "url("] {
        assert!(!before_library.contains(what), "{what}");
    }
}

#[test]
fn markers_are_where_transactions_begin() {
    let (place, out) = (record(&round(0), &[]), Place::new());
    let (file, out) = (place.0.to_str().unwrap(), out.0.to_str().unwrap());
    let output = run(&[
        "markers",
        file,
        "--transaction",
        "#6",
        "--transaction",
        "2",
        "--out",
        out,
    ]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    let names = [format!("{out}.gtkw"), format!("{out}.sucl")];
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{}\n{}\n", names[0], names[1])
    );
    // Clocks 11 and 2.
    let texts = names.map(|name| {
        let text = fs::read_to_string(&name).unwrap();
        fs::remove_file(name).unwrap();
        text
    });
    assert!(texts[0].contains(" 42000 42000 6000 -1 "), "{}", texts[0]);
    assert!(
        texts[0].contains("[markername] A6_mmio_read_BAR0+0x30\n"),
        "{}",
        texts[0]
    );
    assert_eq!(
        texts[1],
        "marker_set 6_mmio_read_BAR0+0x30 42000\nmarker_set 2_dma_read_64_bytes 6000\n\
         cursor_set 42000\n"
    );
    for (more, expected) in [
        (
            &["--transaction", "99"][..],
            "no transaction with the number 99",
        ),
        (&["--transaction", "2", "--waves", file], "it is no FST"),
        (
            &["--transaction", "2", "--waves", "/nowhere"],
            "/nowhere: No such file",
        ),
    ] {
        let output = run(&[&["markers", file, "--out", out], more].concat());
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(expected), "{text}");
        assert!(!Path::new(&format!("{out}.gtkw")).exists());
    }
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
        for job in ["summary", "html", "csv", "perfetto", "ftr", "markers"] {
            let mut args = vec![job, file];
            if job == "markers" {
                args.extend(["--transaction", "1", "--out", file]);
            }
            let output = run(&args);
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
        &["pdf", file][..],
        &["summary"],
        &["csv", file, "--clock", "host"],
        &["html", file, "--transaction", "1"],
        &["ftr", file, "--waves", "waves.fst"],
        &["ftr", file, "--viewer", "gtkwave"],
        &["csv", file, "--viewer", "surfer"],
        &["markers", file, "--transaction", "1"],
        &["markers", file, "--out", file],
        &["markers", file, "--out", file, "--transaction", "first"],
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
    // Few, since each page has a library of megabytes in it.
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    #[test]
    fn any_entries_give_a_page(entries in proptest::collection::vec(any_entry(), 0..200)) {
        let (page, meta) = page_of(&record(&entries, &[1, 2, 3]));
        let begun = entries.iter().filter(|e| e.kind().is_some_and(|k| track_of(k).is_some()));
        prop_assert_eq!(&meta["count"], begun.count());
        for spec in meta["columns"].as_array().unwrap() {
            let bytes = match spec["type"].as_str().unwrap() {
                "f64" => 8,
                "u32" => 4,
                "u16" => 2,
                _ => 1,
            };
            let column = column::<1>(&page, spec["name"].as_str().unwrap());
            prop_assert_eq!((column.len() / bytes) as u64, meta["count"].as_u64().unwrap());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever a record says, even if it makes no sense, all of them but the page end well.
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
        let streamed: usize =
            streams(&place).tx_generators.values().map(|g| g.transactions.len()).sum();
        if orderly {
            let begun = entries.iter().filter(|e| e.kind().is_some_and(|k| track_of(k).is_some()));
            prop_assert_eq!(streamed, begun.count());
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
