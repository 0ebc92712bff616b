// SPDX-License-Identifier: MIT OR Apache-2.0

//! `accelerator-fuzz`: runs the fuzz targets, on stable Rust.

use std::{
    collections::BTreeMap,
    panic::{catch_unwind, AssertUnwindSafe},
    process::ExitCode,
    time::{Duration, Instant},
};

use accelerator_fuzz::{
    frames,
    input::{self, Random, TYPES},
    reach, record, ring, sessions, typed, Half, Outcome,
};

const HELP: &str = "\
Random and damaged frames against both halves of the protocol.

Usage: accelerator-fuzz [OPTIONS]

  --inputs N      how many inputs (default 1000000), over all targets in turn
  --seconds S     no more than so long (default 3600)
  --seed N        seed of the inputs (default: a new one, which is printed)
  --from N        index of the first input (default 0); with --inputs 1, that of
                  a failure that was reported
  --help

Targets are one for each of 29 frame types and 2 unknown ones at each of the 6
halves (host and device of the PCIe stream, of a NIC channel, of a serial
channel), the bytes as a message, whole sessions, a ring in shared memory that
somebody writes to, and the file of a record. A failure is reported with
its seed, its index and the input.
";

struct Options {
    inputs: u64,
    limit: Duration,
    seed: u64,
    from: u64,
}

fn options() -> Result<Option<Options>, String> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |d| d.as_nanos() as u64);
    let mut options = Options {
        inputs: 1_000_000,
        limit: Duration::from_secs(3600),
        seed: now % 1_000_000_000,
        from: 0,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || {
            let text = args.next().ok_or(format!("{arg} needs a value"))?;
            text.parse::<u64>()
                .map_err(|_| format!("{arg} {text}: expected a number"))
        };
        match arg.as_str() {
            "--help" | "-h" => return Ok(None),
            "--inputs" => options.inputs = value()?,
            "--seconds" => options.limit = Duration::from_secs(value()?),
            "--seed" => options.seed = value()?,
            "--from" => options.from = value()?,
            _ => return Err(format!("unknown option {arg}, see --help")),
        }
    }
    Ok(Some(options))
}

/// Runs one input; `None` if it made a target panic.
fn run(index: u64, seed: u64, counts: &mut BTreeMap<(Half, u8), [u64; 3]>) -> Option<u32> {
    let mut random = Random::new(seed, index);
    let targets = (TYPES.len() * Half::ALL.len()) as u64 + 5;
    let target = index % targets;
    let attempt = |name: &str, bytes: &[u8], f: &dyn Fn(&[u8]) -> Option<Outcome>| {
        catch_unwind(AssertUnwindSafe(|| f(bytes))).map_err(|_| {
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            eprintln!("FAILED {name} --seed {seed} --from {index} --inputs 1\n{hex}");
        })
    };
    if target == targets - 1 {
        let bytes = input::session(&mut random);
        let target = |b: &[u8]| {
            sessions(b);
            None
        };
        attempt("sessions", &bytes, &target).ok()?;
        return Some(0);
    }
    if target == targets - 5 {
        let entries = random.below(60) as usize;
        let rest = random.below(64) as usize;
        let bytes = random.bytes(16 + 64 * entries + rest);
        let target = |b: &[u8]| {
            record(b);
            None
        };
        attempt("record", &bytes, &target).ok()?;
        return Some(0);
    }
    if target == targets - 4 {
        let steps = 1 + random.below(100) as usize;
        let bytes = random.bytes(9 * steps);
        let target = |b: &[u8]| {
            reach(b);
            None
        };
        attempt("reach", &bytes, &target).ok()?;
        return Some(0);
    }
    if target == targets - 3 {
        let bytes = {
            let steps = 1 + random.below(200) as usize;
            random.bytes(9 * steps)
        };
        let target = |b: &[u8]| {
            ring(b);
            None
        };
        attempt("ring", &bytes, &target).ok()?;
        return Some(0);
    }
    if target == targets - 2 {
        let kind = TYPES[random.below(TYPES.len() as u64) as usize];
        let bytes = input::typed(kind, &mut random);
        let target = |b: &[u8]| {
            frames(&b[1..]);
            None
        };
        attempt("frames", &bytes, &target).ok()?;
        return Some(0);
    }
    let half = Half::ALL[(target / TYPES.len() as u64) as usize];
    let kind = TYPES[(target % TYPES.len() as u64) as usize];
    let bytes = input::typed(kind, &mut random);
    let name = format!("{half:?} type {kind:#04x}");
    let outcome = attempt(&name, &bytes, &|b| Some(typed(half, b))).ok()?;
    let which = match outcome {
        Some(Outcome::Taken) => 0,
        Some(Outcome::Ignored) | None => 1,
        Some(Outcome::Refused) => 2,
    };
    counts.entry((half, kind)).or_default()[which] += 1;
    Some(1)
}

/// Frames that a half has to take: if it never does, the inputs are too bad to
/// find anything.
fn has_to_take(half: Half) -> &'static [u8] {
    use accelerator_protocol::wire::frame_type as t;
    match half {
        Half::Host => &[
            t::CONFIG,
            t::REFUSE,
            t::BYE,
            t::SHARE,
            t::MMIO_READ_DONE,
            t::MMIO_WRITE_DONE,
            t::DMA_READ,
            t::DMA_WRITE,
            t::MSIX,
            t::INTX,
            t::RESET_DONE,
            t::TIME,
            t::FAULTS_DONE,
            t::ERROR,
        ],
        Half::Device => &[
            t::INIT,
            t::READY,
            t::REFUSE,
            t::BYE,
            t::ATTACH,
            t::MMIO_READ,
            t::MMIO_WRITE,
            t::DMA_READ_DONE,
            t::DMA_WRITE_DONE,
            t::RESET,
            t::CLOCK,
            t::FUNCTION,
            t::FAULTS,
        ],
        Half::HostNic => &[t::ACCEPT, t::NIC_FRAME, t::NIC_LINK, t::CREDIT, t::BYE],
        Half::DeviceNic => &[t::OPEN, t::NIC_FRAME, t::NIC_LINK, t::CREDIT, t::BYE],
        Half::HostSerial => &[t::ACCEPT, t::SERIAL, t::CREDIT, t::BYE],
        Half::DeviceSerial => &[t::OPEN, t::SERIAL, t::CREDIT, t::BYE],
    }
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            eprintln!("accelerator-fuzz: {e}");
            return ExitCode::from(2);
        }
    };
    println!("seed {}", options.seed);
    let begin = Instant::now();
    let mut counts = BTreeMap::new();
    let mut done = 0;
    let mut failed = 0;
    while done < options.inputs {
        if run(options.from + done, options.seed, &mut counts).is_none() {
            failed += 1;
            if failed == 10 {
                break;
            }
        }
        done += 1;
        if done % 4096 == 0 && begin.elapsed() >= options.limit {
            break;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("half          frames taken     ignored     refused");
    for half in Half::ALL {
        let of_half = counts.iter().filter(|((h, _), _)| *h == half);
        let sum = of_half.fold([0; 3], |sum: [u64; 3], (_, c)| {
            [sum[0] + c[0], sum[1] + c[1], sum[2] + c[2]]
        });
        let name = format!("{half:?}");
        println!("{name:12} {:13} {:11} {:11}", sum[0], sum[1], sum[2]);
    }
    // A short run may not have come to everything.
    if done >= 100_000 {
        for half in Half::ALL {
            for &kind in has_to_take(half) {
                let taken = counts.get(&(half, kind)).map_or(0, |c| c[0]);
                if taken == 0 {
                    eprintln!("{half:?} never took a frame of type {kind:#04x}");
                    failed += 1;
                }
            }
        }
    }
    println!("{done} inputs in {seconds:.1} s, {failed} failures");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
