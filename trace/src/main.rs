// SPDX-License-Identifier: MIT OR Apache-2.0

//! `accelerator-trace`: what the record of a simulation says.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Write},
    path::Path,
    process::ExitCode,
};

use accelerator_record::{
    reader::{Bytes, Skipped},
    Record,
};
use accelerator_trace::{
    csv,
    ftr::{self, Viewer},
    html,
    markers::{self, FST_HEAD},
    perfetto::{self, Clock},
    registers::Registers,
    summary,
};

const HELP: &str = "\
What the record of a simulation says (+accelerator_record=FILE).

Usage: accelerator-trace summary|html|csv|perfetto|ftr|markers FILE [OPTIONS]

  summary   counts, bytes, latencies by kind and register, the longest waits, and
            what was outstanding at the end
  html      a page for any browser, in one file that needs no network: time line,
            filters, distributions, tables, and the fields of each transaction
  csv       a line for each entry, after one with their names
  perfetto  trace events in JSON, for https://ui.perfetto.dev: accesses, DMA,
            interrupts and resets, with arrows from a doorbell to the DMA to the
            interrupt that followed
  ftr       transaction streams with relations, for Surfer and SCViewer
  markers   where transactions begin in the waveform: OUT.gtkw for GTKWave, OUT.sucl for
            Surfer (surfer --command-file OUT.sucl WAVES)

  --registers FILE  names of registers, in TOML: [[register]] with bar, offset, name,
                    and if needed width (bytes, 4) and source (name of a bridge)
  --clock CLOCK     of perfetto: simulated (default), or host
  --viewer VIEWER   of ftr: surfer (default), or scviewer; each takes another number in
                    the file for picoseconds
  --transaction N   of markers: a transaction; again for more, 26 at most
  --waves FILE      of markers: the FST, which both then open and whose unit they take;
                    picoseconds otherwise
  --out FILE        write there instead of to standard output; markers needs it
  --help

Status 0 if all is well, 1 if the record cannot be read, 2 for wrong arguments.
";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Job {
    Summary,
    Html,
    Csv,
    Perfetto,
    Ftr,
    Markers,
}

impl Job {
    /// All of them, with their names.
    const ALL: [(&'static str, Self); 6] = [
        ("summary", Self::Summary),
        ("html", Self::Html),
        ("csv", Self::Csv),
        ("perfetto", Self::Perfetto),
        ("ftr", Self::Ftr),
        ("markers", Self::Markers),
    ];
}

struct Options {
    job: Job,
    file: String,
    registers: Option<String>,
    clock: Clock,
    viewer: Viewer,
    transactions: Vec<u64>,
    waves: Option<String>,
    out: Option<String>,
}

fn options() -> Result<Option<Options>, String> {
    let (mut words, mut registers, mut out) = (Vec::new(), None, None);
    let (mut clock, mut viewer, mut transactions, mut waves) = (None, None, Vec::new(), None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--help" | "-h" => return Ok(None),
            "--registers" => registers = Some(value()?),
            "--out" => out = Some(value()?),
            "--waves" => waves = Some(value()?),
            "--transaction" => {
                let text = value()?;
                let number = text.strip_prefix('#').unwrap_or(&text).parse();
                transactions.push(
                    number.map_err(|_| {
                        format!("--transaction is {text}, expected the number of one")
                    })?,
                );
            }
            "--clock" => {
                clock = Some(match &*value()? {
                    "simulated" => Clock::Simulated,
                    "host" => Clock::Host,
                    other => return Err(format!("--clock is {other}, expected simulated or host")),
                });
            }
            "--viewer" => {
                viewer = Some(match &*value()? {
                    "surfer" => Viewer::Surfer,
                    "scviewer" => Viewer::ScViewer,
                    other => {
                        return Err(format!("--viewer is {other}, expected surfer or scviewer"))
                    }
                });
            }
            _ if arg.starts_with("--") => return Err(format!("unknown option {arg}, see --help")),
            _ => words.push(arg),
        }
    }
    let names = Job::ALL.map(|(name, _)| name).join(", ");
    let [job, file] = <[String; 2]>::try_from(words)
        .map_err(|_| format!("expected one of {names}, and a file; see --help"))?;
    let job = Job::ALL
        .iter()
        .find(|(name, _)| *name == job)
        .ok_or(format!("{job}: expected one of {names}"))?
        .1;
    if clock.is_some() && job != Job::Perfetto {
        return Err("--clock is for perfetto".to_owned());
    }
    if viewer.is_some() && job != Job::Ftr {
        return Err("--viewer is for ftr".to_owned());
    }
    if job == Job::Markers {
        if out.is_none() {
            return Err("markers needs --out: it writes two files".to_owned());
        }
        if !(1..=markers::MOST).contains(&transactions.len()) {
            return Err(format!(
                "markers needs 1 to {} --transaction",
                markers::MOST
            ));
        }
    } else if waves.is_some() || !transactions.is_empty() {
        return Err("--waves and --transaction are for markers".to_owned());
    }
    Ok(Some(Options {
        job,
        file,
        registers,
        clock: clock.unwrap_or(Clock::Simulated),
        viewer: viewer.unwrap_or_default(),
        transactions,
        waves,
        out,
    }))
}

/// Tells what is missing in what was written.
fn tell(file: &str, skipped: Skipped) {
    if skipped.damaged != 0 {
        eprintln!(
            "accelerator-trace: {file}: {} entries are damaged or half written and left out",
            skipped.damaged
        );
    }
    let gone = skipped.before + skipped.overwritten;
    if gone != 0 {
        eprintln!("accelerator-trace: {file}: a ring, {gone} older entries were written over");
    }
}

/// The unit of a waveform's times.
fn unit_of(waves: &str) -> Result<i8, String> {
    let mut start = Vec::new();
    File::open(waves)
        .and_then(|file| file.take(FST_HEAD as u64).read_to_end(&mut start))
        .map_err(|e| e.to_string())
        .and_then(|_| markers::unit_of(&start))
        .map_err(|e| format!("{waves}: {e}"))
}

fn write_markers<B: Bytes>(
    options: &Options,
    record: &Record<B>,
    registers: &Registers,
) -> Result<(), String> {
    let file = &options.file;
    let waves = options.waves.as_deref();
    let unit = waves.map_or(Ok(markers::PICOSECONDS), unit_of)?;
    let found = markers::find(record, registers, &options.transactions)
        .map_err(|e| format!("{file}: {e}"))?;
    let out = options.out.as_deref().unwrap_or_default();
    for (ending, text) in [
        ("gtkw", markers::gtkwave(&found, waves, unit)),
        ("sucl", markers::surfer(&found, waves, unit)),
    ] {
        let name = format!("{out}.{ending}");
        std::fs::write(&name, text).map_err(|e| format!("{name}: {e}"))?;
        println!("{name}");
    }
    Ok(())
}

fn run(options: &Options) -> Result<(), String> {
    let registers = match &options.registers {
        None => Registers::default(),
        Some(file) => Registers::read(file)?,
    };
    let file = &options.file;
    let record = Record::open(Path::new(file)).map_err(|e| format!("{file}: {e}"))?;
    if options.job == Job::Markers {
        return write_markers(options, &record, &registers);
    }
    let (out, name): (Box<dyn Write>, &str) = match &options.out {
        None => (Box::new(io::stdout().lock()), "standard output"),
        Some(name) => {
            let file = File::create(name).map_err(|e| format!("{name}: {e}"))?;
            (Box::new(file), name)
        }
    };
    let mut out = BufWriter::new(out);
    let written = match options.job {
        Job::Summary => summary::write(&record, &registers, &mut out),
        Job::Html => html::write(&record, &registers, file, &mut out).map(|s| tell(file, s)),
        Job::Csv => csv::write(&record, &registers, &mut out).map(|s| tell(file, s)),
        Job::Ftr => {
            ftr::write(&record, &registers, options.viewer, &mut out).map(|s| tell(file, s))
        }
        // It has several files, and was written above.
        Job::Markers => Ok(()),
        Job::Perfetto => {
            perfetto::write(&record, &registers, options.clock, &mut out).map(|s| tell(file, s))
        }
    };
    written
        .and_then(|()| out.flush())
        .map_err(|e| format!("{file} to {name}: {e}"))
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            eprintln!("accelerator-trace: {e}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("accelerator-trace: {e}");
            ExitCode::FAILURE
        }
    }
}
