// SPDX-License-Identifier: MIT OR Apache-2.0

//! Writes a record as a driver and its card make it: `generate FILE COUNT`, of so many
//! transactions. For tests of what reads records; the same each time, but for when it was begun.

use std::{path::Path, process::ExitCode};

use accelerator_record::{
    layout::{FLAG_DIRECT, NO_BAR, STATUS_REFUSED},
    monotonic_ns, Contents, Entry, Kind, Size, Source, Writer,
};

/// Clocks from one doorbell to the next.
const ROUND: u64 = 400;

/// Writes entries of a source, each at a clock; both clocks go on.
struct Card {
    writer: Writer,
    source: u8,
    began: u64,
    clock: u64,
    number: u64,
    left: u64,
}

impl Card {
    fn entry(&mut self, after: u64, entry: Entry) -> Result<(), String> {
        self.clock += after;
        let entry = Entry {
            source: self.source,
            clock: self.clock,
            // A machine that simulates 4 million clocks a second.
            host_ns: self.began + self.clock * 250,
            ..entry
        };
        let written = self.writer.write(&entry, Contents::default());
        written.map_err(|e| e.to_string())
    }

    /// The next transaction: what begins it, and the kinds and clocks of what follows.
    fn transaction(&mut self, first: Entry, next: &[(Kind, u64, Entry)]) -> Result<(), String> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        self.number += 1;
        let number = self.number;
        self.entry(2, Entry { number, ..first })?;
        for (kind, after, entry) in next {
            let kind = *kind as u8;
            self.entry(
                *after,
                Entry {
                    kind,
                    number,
                    bar: NO_BAR,
                    ..*entry
                },
            )?;
        }
        Ok(())
    }
}

fn of(kind: Kind, bar: u8, address: u64, length: u32, data: u64) -> Entry {
    Entry {
        kind: kind as u8,
        bar,
        address,
        length,
        data,
        ..Entry::default()
    }
}

fn generate(file: &str, count: u64) -> Result<(), String> {
    let size = Size::Grow(64 << 30);
    let mut writer = Writer::create(Path::new(file), size, false).map_err(|e| e.to_string())?;
    let source = Source {
        name: "sort".to_owned(),
        clock_period_ps: 4000,
        ..Source::default()
    };
    let source = writer.add(&source).map_err(|e| e.to_string())?;
    let mut card = Card {
        writer,
        source,
        began: monotonic_ns(),
        clock: 10,
        number: 0,
        left: count,
    };
    let nothing = Entry::default();
    let length = |length| Entry {
        length,
        ..Entry::default()
    };
    let mut round = 0;
    while card.left != 0 {
        let begin = card.clock;
        let done = [(Kind::Taken, 1, nothing), (Kind::MmioWriteDone, 3, nothing)];
        card.transaction(of(Kind::MmioWrite, 0, 0x2c, 4, round), &done)?;
        for burst in 0..4 {
            let address = 0x1000_0000 + (round * 4 + burst) * 4096 % (1 << 24);
            // Each goes to QEMU, and takes a little longer than the one before.
            let read = [
                (Kind::DmaAnswered, 10 + round % 17, nothing),
                (Kind::DmaReadDone, 1 + burst * 3, length(4096)),
            ];
            card.transaction(of(Kind::DmaRead, NO_BAR, address, 4096, 0), &read)?;
            let write = Entry {
                flags: FLAG_DIRECT,
                ..of(Kind::DmaWrite, NO_BAR, address, 4096, round)
            };
            card.transaction(write, &[(Kind::DmaWriteDone, 5, length(4096))])?;
        }
        card.transaction(of(Kind::Msix, NO_BAR, round % 2, 0, 0), &[])?;
        let answer = |status| Entry {
            length: 4,
            data: round,
            status,
            ..Entry::default()
        };
        let status = if round % 1000 == 999 {
            STATUS_REFUSED
        } else {
            0
        };
        let read = [
            (Kind::Taken, 1, nothing),
            (Kind::MmioReadDone, 4, answer(status)),
        ];
        card.transaction(of(Kind::MmioRead, 0, 0x10, 4, 0), &read)?;
        // Now and then the driver does something else, sometimes for long.
        let rounds = match round {
            _ if round % 5000 == 4999 => 3000,
            _ if round % 100 == 99 => 40,
            _ => 0,
        };
        card.clock = card.clock.max(begin + ROUND) + rounds * ROUND;
        round += 1;
    }
    // One that never ends.
    card.left = 1;
    card.transaction(
        of(Kind::MmioRead, 0, 0x14, 4, 0),
        &[(Kind::Taken, 1, nothing)],
    )
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let written = match &args[..] {
        [file, count] => match count.parse::<u64>() {
            Ok(count @ 1..) => generate(file, count - 1),
            _ => Err(format!("{count}: expected how many transactions")),
        },
        _ => Err("expected FILE and COUNT".to_owned()),
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("generate: {e}");
            ExitCode::FAILURE
        }
    }
}
