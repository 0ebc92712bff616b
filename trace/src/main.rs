// SPDX-License-Identifier: MIT OR Apache-2.0

//! `accelerator-trace`: what the record of a simulation says.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    process::ExitCode,
};

use accelerator_record::{reader::Skipped, Record};
use accelerator_trace::{
    csv,
    perfetto::{self, Clock},
    registers::Registers,
    summary,
};

const HELP: &str = "\
What the record of a simulation says (+accelerator_record=FILE).

Usage: accelerator-trace summary|csv|perfetto FILE [OPTIONS]

  summary   counts, bytes, latencies by kind and register, the longest waits, and
            what was outstanding at the end
  csv       a line for each entry, after one with their names
  perfetto  trace events in JSON, for https://ui.perfetto.dev: accesses, DMA,
            interrupts and resets, with arrows from a doorbell to the DMA to the
            interrupt that followed

  --registers FILE  names of registers, in TOML: [[register]] with bar, offset, name,
                    and if needed width (bytes, 4) and source (name of a bridge)
  --clock CLOCK     of perfetto: simulated (default), or host
  --out FILE        write there instead of to standard output
  --help

Status 0 if all is well, 1 if the record cannot be read, 2 for wrong arguments.
";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Job {
    Summary,
    Csv,
    Perfetto,
}

struct Options {
    job: Job,
    file: String,
    registers: Option<String>,
    clock: Clock,
    out: Option<String>,
}

fn options() -> Result<Option<Options>, String> {
    let (mut words, mut registers, mut out) = (Vec::new(), None, None);
    let mut clock = None;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--help" | "-h" => return Ok(None),
            "--registers" => registers = Some(value()?),
            "--out" => out = Some(value()?),
            "--clock" => {
                clock = Some(match &*value()? {
                    "simulated" => Clock::Simulated,
                    "host" => Clock::Host,
                    other => return Err(format!("--clock is {other}, expected simulated or host")),
                });
            }
            _ if arg.starts_with("--") => return Err(format!("unknown option {arg}, see --help")),
            _ => words.push(arg),
        }
    }
    let [job, file] = <[String; 2]>::try_from(words)
        .map_err(|_| "expected summary, csv or perfetto, and a file; see --help".to_owned())?;
    let job = match &*job {
        "summary" => Job::Summary,
        "csv" => Job::Csv,
        "perfetto" => Job::Perfetto,
        _ => return Err(format!("{job}: expected summary, csv or perfetto")),
    };
    if clock.is_some() && job != Job::Perfetto {
        return Err("--clock is for perfetto".to_owned());
    }
    Ok(Some(Options {
        job,
        file,
        registers,
        clock: clock.unwrap_or(Clock::Simulated),
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

fn run(options: &Options) -> Result<(), String> {
    let registers = match &options.registers {
        None => Registers::default(),
        Some(file) => std::fs::read_to_string(file)
            .map_err(|e| e.to_string())
            .and_then(|text| Registers::parse(&text))
            .map_err(|e| format!("{file}: {e}"))?,
    };
    let file = &options.file;
    let record = Record::open(Path::new(file)).map_err(|e| format!("{file}: {e}"))?;
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
        Job::Csv => csv::write(&record, &registers, &mut out).map(|s| tell(file, s)),
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
