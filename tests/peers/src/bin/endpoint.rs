// SPDX-License-Identifier: MIT OR Apache-2.0

//! `accelerator-endpoint`: a small device for QEMU's `accelerator-pcie`, with
//! no simulator.

use std::{process::ExitCode, time::Duration};

use accelerator_peers::{hdl::sample_config, Error, Event, HdlEndpoint, RegisterDevice};
use accelerator_protocol::{default_endpoint, parse_endpoint, PORT_VARIABLE};

const HELP: &str = "\
A small PCIe device for QEMU's accelerator-pcie, without a simulator.

Usage: accelerator-endpoint [OPTIONS]

  --endpoint ENDPOINT  port number, tcp://127.0.0.1:PORT or ipc://PATH
                       (default: NPU_COSIM_PORT, or 7557)
  --vectors N          MSI-X vectors, 0 to 2048 (default 4)
  --once               end after the first session
  --trace              print every event
  --help

Then, in another terminal:

  qemu-system-x86_64 -M q35 -device pcie-root-port,id=rp0 \\
      -device accelerator-pcie,bus=rp0,endpoint=ENDPOINT ...

The device, vendor 0x1234 device 0xacce, has in BAR 0 an ID at 0x00 (\"ENDP\"),
a scratch register at 0x04, DMA_ADDR at 0x08 (64 bits), DMA_LEN at 0x10, DMA_CMD
at 0x14 (1: host memory to buffer, 2: buffer to host memory, then vector 0),
DMA_STATUS at 0x18, RAISE at 0x20 (raises the vector written), PULL at 0x28
(reads host memory at DMA_ADDR in the middle of answering), HOLD at 0x30 (a read is
answered when RELEASE at 0x34 is written, with its value) and a buffer of 4 KiB at
0x1000. BAR 2 is 64 KiB of memory.
";

struct Options {
    endpoint: String,
    vectors: u16,
    once: bool,
    trace: bool,
}

fn options() -> Result<Option<Options>, String> {
    let mut endpoint = None;
    let mut options = Options {
        endpoint: String::new(),
        vectors: 4,
        once: false,
        trace: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--help" | "-h" => return Ok(None),
            "--endpoint" => endpoint = Some(parse_endpoint(&value()?)?),
            "--vectors" => {
                let text = value()?;
                options.vectors = text
                    .parse()
                    .ok()
                    .filter(|n| *n <= 2048)
                    .ok_or(format!("--vectors {text}: expected 0 to 2048"))?;
            }
            "--once" => options.once = true,
            "--trace" => options.trace = true,
            _ => return Err(format!("unknown option {arg}, see --help")),
        }
    }
    options.endpoint = match endpoint {
        Some(endpoint) => endpoint,
        None => default_endpoint(std::env::var(PORT_VARIABLE).ok().as_deref())?,
    };
    Ok(Some(options))
}

fn run(options: &Options) -> Result<(), Error> {
    let mut endpoint = HdlEndpoint::bind(&options.endpoint, sample_config(options.vectors))?;
    let mut device = RegisterDevice::new();
    println!("listening on {}", options.endpoint);
    loop {
        // Woken now and then for nothing; there is nothing else to do.
        let event = match endpoint.try_event(Duration::from_secs(3600)) {
            Ok(Some(event)) => event,
            Ok(None) => continue,
            Err(e @ Error::Violation(_)) => {
                eprintln!("session ended: {e}");
                continue;
            }
            Err(e) => return Err(e),
        };
        match &event {
            Event::Offered { host, .. } => println!("host: {host}"),
            Event::Up => println!("link up"),
            Event::Down { reason, text } => {
                println!("link down: {reason:?} {text}");
                if options.once {
                    return Ok(());
                }
            }
            Event::Reset { kind, .. } => println!("reset: {kind:?}"),
            other if options.trace => println!("{other:x?}"),
            _ => {}
        }
        match device.handle(&mut endpoint, &event) {
            Ok(()) => {}
            // The host has gone in the middle: the next one may come.
            Err(e) if !matches!(e, Error::Config(_)) => eprintln!("{e}"),
            Err(e) => return Err(e),
        }
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
            eprintln!("accelerator-endpoint: {e}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("accelerator-endpoint: {e}");
            ExitCode::FAILURE
        }
    }
}
