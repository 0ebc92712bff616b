// SPDX-License-Identifier: MIT OR Apache-2.0

//! `accelerator-replay`: the guest's side of a record, against any simulator.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::Ordering,
    time::Duration,
};

use accelerator_host::Keys;
use accelerator_protocol::{
    channel::ChannelKind,
    channel_endpoint,
    keys::{read_pair, read_public},
    parse_endpoint_within, Reach,
};
use accelerator_record::{Record, Source, SourceKind};
use accelerator_replay::{
    beside,
    plan::{Plan, What},
    player::Rules,
    run::{self, Found, Options, Outcome, STOP},
    simulator::{Folder, Simulator},
};
use accelerator_trace::registers::Registers;

const HELP: &str = "\
Plays the guest's side of a record (+accelerator_record=FILE +accelerator_record_data=1) against
a simulator, without QEMU, and compares what the card does.

Usage: accelerator-replay FILE [OPTIONS] --endpoint ENDPOINT
       accelerator-replay FILE [OPTIONS] -- SIMULATOR [ARGUMENTS]

  --endpoint E         where a simulator listens: a port, tcp://... or ipc://...; without it
                       SIMULATOR is started, and ends with the replay
  --all                do not stop at the first difference; 20 of them are shown
  --registers FILE     names of registers, which are volatile, and what of them to ignore
  --poll REGISTER      volatile: read it again until it has the value of the record
  --ignore REGISTER[=BITS]  do not compare it, or these bits of it
  --wrong NUMBER       this answer or DMA write of the record is the bug: to be the same is a
                       difference, to be another is none. May be given more than once
  --clocks             send nothing before the simulated clock at which the record has it
  --exact-order        DMA requests and interrupts come in the order of the record
  --exact-clocks       an access takes as many clocks as in the record
  --timeout SECONDS    what does not come in this time does not come (default 10)
  --source NAME        of several functions in the record, the one to play
  --no-channels        no host opens network and serial channels
  --curve-secret FILE  our pair of keys, of a simulator that wants keys
  --curve-server KEY   its public key: a file, or the 40 characters
  --record FILE        where SIMULATOR writes the record of the replay, or with --endpoint the
                       one that it writes: it says at which clock a difference is
  --help

REGISTER is a name in the file of --registers, or BAR0+0x2c.

Status 0 if nothing differs, 1 if something does, 2 if the record cannot be played.
";

/// Differences that are shown of all.
const SHOWN: usize = 20;

#[derive(Default)]
struct Arguments {
    file: String,
    endpoint: Option<String>,
    all: bool,
    registers: Option<String>,
    poll: Vec<String>,
    ignore: Vec<String>,
    wrong: HashSet<u64>,
    clocks: bool,
    exact_order: bool,
    exact_clocks: bool,
    timeout: u64,
    source: Option<String>,
    no_channels: bool,
    curve_secret: Option<String>,
    curve_server: Option<String>,
    record: Option<PathBuf>,
    simulator: Vec<String>,
}

fn number(name: &str, text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.trim_start_matches('#').parse(),
    };
    parsed.map_err(|_| format!("{name} is {text}, expected a number"))
}

fn arguments() -> Result<Option<Arguments>, String> {
    let mut a = Arguments {
        timeout: 10,
        ..Arguments::default()
    };
    let mut files = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--help" | "-h" => return Ok(None),
            "--endpoint" => a.endpoint = Some(value()?),
            "--all" => a.all = true,
            "--registers" => a.registers = Some(value()?),
            "--poll" => a.poll.push(value()?),
            "--ignore" => a.ignore.push(value()?),
            "--wrong" => {
                a.wrong.insert(number("--wrong", &value()?)?);
            }
            "--clocks" => a.clocks = true,
            "--exact-order" => a.exact_order = true,
            "--exact-clocks" => a.exact_clocks = true,
            "--timeout" => {
                a.timeout = number("--timeout", &value()?)?;
                if a.timeout == 0 {
                    return Err("--timeout is 0, expected seconds from 1 on".into());
                }
            }
            "--source" => a.source = Some(value()?),
            "--no-channels" => a.no_channels = true,
            "--curve-secret" => a.curve_secret = Some(value()?),
            "--curve-server" => a.curve_server = Some(value()?),
            "--record" => a.record = Some(value()?.into()),
            "--" => {
                a.simulator = args.collect();
                break;
            }
            _ if arg.starts_with('-') => return Err(format!("unknown option {arg}, see --help")),
            _ => files.push(arg),
        }
    }
    match <[String; 1]>::try_from(files) {
        Ok([file]) => a.file = file,
        Err(files) => {
            return Err(format!(
                "{} files given, expected one; see --help",
                files.len()
            ))
        }
    }
    if a.endpoint.is_some() != a.simulator.is_empty() {
        return Err("either --endpoint or -- SIMULATOR is needed; see --help".into());
    }
    Ok(Some(a))
}

fn keys(a: &Arguments) -> Result<Option<Keys>, String> {
    match (&a.curve_secret, &a.curve_server) {
        (None, None) => Ok(None),
        (Some(secret), Some(server)) => Ok(Some(Keys {
            own: read_pair(Path::new(secret))?,
            server: read_public(server)?,
        })),
        _ => Err("--curve-secret and --curve-server need each other; see --help".into()),
    }
}

fn registers(a: &Arguments) -> Result<Registers, String> {
    let mut registers = match &a.registers {
        None => Registers::default(),
        Some(file) => Registers::read(file)?,
    };
    for name in &a.poll {
        registers
            .set_volatile(name)
            .map_err(|e| format!("--poll: {e}"))?;
    }
    for text in &a.ignore {
        let (name, bits) = match text.split_once('=') {
            Some((name, bits)) => (name, Some(number("--ignore", bits)?)),
            None => (text.as_str(), None),
        };
        registers
            .set_ignored(name, bits)
            .map_err(|e| format!("--ignore: {e}"))?;
    }
    Ok(registers)
}

/// Numbers of `--wrong` are those of reads that were answered, or of DMA writes.
fn check_wrong(plan: &Plan, wrong: &HashSet<u64>) -> Result<(), String> {
    let known: HashSet<u64> = plan
        .sights
        .iter()
        .filter(|s| {
            let answer = matches!(s.what, What::Read { .. } | What::DmaWrite { .. });
            answer || s.what.channel().is_some()
        })
        .map(|s| s.number)
        .collect();
    match wrong.iter().find(|n| !known.contains(n)) {
        None => Ok(()),
        Some(n) => Err(format!(
            "--wrong: transaction #{n} of the record is no read that was answered, no DMA write \
             and nothing that a channel has given"
        )),
    }
}

/// Accesses that took another number of clocks than in the record.
fn exact_clocks(
    file: &Path,
    beside: &Path,
    source: &str,
    registers: &Registers,
) -> Result<usize, String> {
    let differences = beside::other_clocks(file, beside, source)?;
    for (there, here) in differences.iter().take(SHOWN) {
        let name = registers.name(source, there.bar, there.offset);
        println!(
            "#{} {name} at clock {}: expected an answer after {} clocks, got one after {}\n  \
             in the replay: #{} at clock {}",
            there.number, there.clock, there.clocks, here.clocks, here.number, here.clock
        );
    }
    Ok(differences.len())
}

fn show(found: &Found) {
    let d = &found.difference;
    if d.number == 0 {
        print!("after the end of the record");
    } else {
        print!("#{}", d.number);
    }
    if !d.what.is_empty() {
        print!(" {}", d.what);
    }
    if d.number != 0 {
        print!(" at clock {}", d.clock);
    }
    println!(": expected {}, got {}", d.expected, d.got);
    if let Some((number, clock)) = found.here {
        println!("  in the replay: #{number} at clock {clock}");
    }
}

fn report(outcome: &Outcome, differences: usize) {
    let c = &outcome.counts;
    outcome.found.iter().for_each(show);
    if outcome.differences > outcome.found.len() {
        println!("and {} more", outcome.differences - outcome.found.len());
    }
    println!(
        "{}: {} reads, {} writes, {} DMA requests and {} interrupts as in the record",
        match differences {
            0 => "same".to_owned(),
            1 => "1 difference".to_owned(),
            n => format!("{n} differences"),
        },
        c.reads,
        c.writes,
        c.dma,
        c.interrupts
    );
    if c.frames + c.bytes != 0 {
        println!("{} frames and {} bytes of channels", c.frames, c.bytes);
    }
    for (count, what) in [
        (c.again, "reads of volatile registers were repeated"),
        (c.early, "DMA requests were answered before their time"),
        (
            c.void,
            "requests, frames or bytes came right before a reset that the record has not",
        ),
    ] {
        if count != 0 {
            println!("{count} {what}");
        }
    }
    let seconds = outcome.time.as_secs_f64();
    if let Some(clocks) = outcome.clocks {
        println!(
            "{clocks} clocks in {seconds:.1} s, {:.0} a second",
            clocks as f64 / seconds.max(1e-3)
        );
    }
    if !outcome.whole {
        println!("the rest of the record was not played");
    }
}

/// Plusargs that have each function listen where it is not in the way.
fn endpoints(
    sources: &[Source],
    plan: &Plan,
    folder: &Folder,
) -> (Vec<String>, String, Vec<String>) {
    let at = |i: usize| format!("ipc://{}", folder.path().join(format!("{i}")).display());
    let functions: Vec<_> = sources
        .iter()
        .filter(|s| s.kind == SourceKind::Function)
        .collect();
    let (mut of_channels, mut channels) = (Vec::new(), Vec::new());
    for (i, source) in sources.iter().enumerate() {
        let kind = match source.kind {
            SourceKind::Function => continue,
            SourceKind::Nic => "nic",
            SourceKind::Uart => "uart",
        };
        let (name, place) = (&source.name, format!("{}.{kind}", at(i)));
        of_channels.push(format!("+accelerator_{kind}_endpoint_{name}={place}"));
        let is_it = |s: &Source| (s.kind, &s.name) == (source.kind, name);
        if plan.channels.iter().any(is_it) {
            channels.push(place);
        }
    }
    if functions.len() == 1 {
        of_channels.push(format!("+accelerator_endpoint={}", at(0)));
        return (of_channels, at(0), channels);
    }
    let ours = functions
        .iter()
        .position(|s| s.name == plan.source.name)
        .unwrap_or(0);
    let arguments = functions
        .iter()
        .enumerate()
        .map(|(i, s)| format!("+accelerator_endpoint_{}={}", s.name, at(i)));
    (arguments.chain(of_channels).collect(), at(ours), channels)
}

/// Where the channels are beside a function that is at `endpoint`.
fn beside_of(plan: &Plan, endpoint: &str) -> Result<Vec<String>, String> {
    let kind = |s: &Source| match s.kind {
        SourceKind::Uart => ChannelKind::Serial,
        _ => ChannelKind::Nic,
    };
    let kinds: Vec<ChannelKind> = plan.channels.iter().map(kind).collect();
    let twice = |(i, kind)| kinds[..i].contains(kind);
    if kinds.iter().enumerate().any(twice) {
        return Err(
            "the record has several channels of one kind, whose endpoints do not follow from \
             --endpoint: have the simulator started (-- SIMULATOR), or --no-channels"
                .into(),
        );
    }
    let kinds = kinds.into_iter();
    kinds.map(|kind| channel_endpoint(endpoint, kind)).collect()
}

/// How many differences there are.
fn replay(a: Arguments) -> Result<usize, String> {
    let registers = registers(&a)?;
    let file = Path::new(&a.file);
    let record = Record::open(file).map_err(|e| format!("{}: {e}", a.file))?;
    let made = match a.no_channels {
        true => Plan::without_channels(&record, a.source.as_deref()),
        false => Plan::new(&record, a.source.as_deref()),
    };
    let plan = made.map_err(|e| format!("{}: {e}", a.file))?;
    check_wrong(&plan, &a.wrong)?;
    for note in &plan.notes {
        eprintln!("accelerator-replay: {}: {note}", a.file);
    }
    let folder = Folder::new().map_err(|e| format!("cannot make a folder: {e}"))?;
    let keys = keys(&a)?;
    let (mut endpoint, mut simulator, mut beside) = (String::new(), None, a.record.clone());
    let channels;
    if let Some(text) = &a.endpoint {
        let reach = match keys {
            Some(_) => Reach::Anywhere,
            None => Reach::Loopback,
        };
        endpoint = parse_endpoint_within(text, reach)?;
        channels = beside_of(&plan, &endpoint)?;
    } else {
        let mut words = a.simulator.clone();
        let own = words
            .iter()
            .find_map(|w| w.strip_prefix("+accelerator_record="))
            .map(PathBuf::from);
        let (arguments, at, of_channels) = endpoints(record.sources(), &plan, &folder);
        channels = of_channels;
        words.extend(arguments);
        endpoint.push_str(&at);
        let file = own
            .clone()
            .or(beside)
            .unwrap_or_else(|| folder.path().join("record"));
        // Before the simulator writes over it.
        check_other(Path::new(&a.file), &file)?;
        let record = own.is_none().then_some(file.as_path());
        let started = Simulator::start(&words, record, keys.is_some());
        simulator = Some(started.map_err(|e| format!("{}: {e}", words[0]))?);
        beside = Some(file);
    }
    if let Some(beside) = &beside {
        check_other(file, beside)?;
    }
    if a.exact_clocks && beside.is_none() {
        return Err("--exact-clocks needs the record of the replay: --record FILE".into());
    }
    let options = Options {
        endpoint,
        channels,
        keys,
        rules: Rules {
            registers,
            wrong: a.wrong,
            exact_order: a.exact_order,
            clocks: a.clocks,
            patience: Duration::from_secs(a.timeout),
        },
        all: a.all.then_some(SHOWN),
        timeout: Duration::from_secs(a.timeout),
        beside,
    };
    let outcome = run::play(&plan, &options, simulator.as_mut())?;
    // Its record is whole then.
    drop(simulator);
    let mut differences = outcome.differences;
    if let (true, Some(beside)) = (a.exact_clocks, &options.beside) {
        let registers = &options.rules.registers;
        differences += exact_clocks(file, beside, &plan.source.name, registers)?;
    }
    report(&outcome, differences);
    Ok(differences)
}

/// The record of the replay is not the one that is played.
fn check_other(file: &Path, beside: &Path) -> Result<(), String> {
    let full = |p: &Path| p.canonicalize().ok();
    if full(beside).is_some() && full(file) == full(beside) {
        return Err("the record of the replay would be the record that is played".into());
    }
    Ok(())
}

extern "C" fn stop(_: libc::c_int) {
    STOP.store(true, Ordering::Relaxed);
}

fn main() -> ExitCode {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler stores to an atomic and does nothing else.
        unsafe { libc::signal(signal, stop as *const () as libc::sighandler_t) };
    }
    let result = match arguments() {
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Ok(Some(arguments)) => replay(arguments),
        Err(e) => Err(e),
    };
    match result {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("accelerator-replay: {e}");
            ExitCode::from(2)
        }
    }
}
