// SPDX-License-Identifier: MIT OR Apache-2.0

//! A plan as text. `docs/faults.md` has the grammar.

use std::{fmt, ops::RangeInclusive, time::Duration};

/// Bytes of a plan, at most.
pub const MAX_TEXT: usize = 64 * 1024;

/// Faults of a plan, at most.
pub const MAX_RULES: usize = 256;

/// No fault lasts longer than an hour.
pub const MAX_DELAY: Duration = Duration::from_secs(3600);

/// As many clocks: of 1 ns that is an hour and a half.
const MAX_CLOCKS: u64 = 5_000_000_000_000;

/// A requester gives a completion up after this (PCIe base spec, Completion Timeout Value: the
/// default range ends there).
const COMPLETION_TIMEOUT: Duration = Duration::from_millis(50);

/// How long a link is down unless the plan says so.
const LINK_DOWN: Duration = Duration::from_millis(100);

/// How long a pin is high that nobody has raised, unless the plan says so.
const PULSE: Duration = Duration::from_millis(1);

/// What a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The guest reads a BAR.
    Read = 1,
    /// The guest writes a BAR.
    Write = 2,
    /// The card reads memory.
    DmaRead = 4,
    /// The card writes memory.
    DmaWrite = 8,
    /// The card raises a vector of MSI-X or MSI.
    Msi = 16,
    /// The guest resets the function.
    Reset = 32,
    /// The card gives its INTx pin another level.
    Intx = 64,
    /// A frame for the card.
    NicRx = 128,
    /// A frame of the card.
    NicTx = 256,
    /// A byte for the card.
    SerialRx = 512,
    /// A byte of the card.
    SerialTx = 1024,
}

const WHAT_WORDS: [(&str, What); 11] = [
    ("read", What::Read),
    ("write", What::Write),
    ("dma-read", What::DmaRead),
    ("dma-write", What::DmaWrite),
    ("msi", What::Msi),
    ("reset", What::Reset),
    ("intx", What::Intx),
    ("nic-rx", What::NicRx),
    ("nic-tx", What::NicTx),
    ("serial-rx", What::SerialRx),
    ("serial-tx", What::SerialTx),
];

const MMIO: u16 = What::Read as u16 | What::Write as u16;
const DMA: u16 = What::DmaRead as u16 | What::DmaWrite as u16;
const INTERRUPT: u16 = What::Msi as u16 | What::Intx as u16;
/// Of a PCIe function.
const ANY: u16 = MMIO | DMA | INTERRUPT | What::Reset as u16;
const NIC: u16 = What::NicRx as u16 | What::NicTx as u16;
const SERIAL: u16 = What::SerialRx as u16 | What::SerialTx as u16;
/// Of the channels.
const CHANNEL: u16 = NIC | SERIAL;

impl What {
    /// As a plan has it.
    pub fn name(self) -> &'static str {
        names(self as u16)[0]
    }
}

/// Names of the transactions of a set.
fn names(set: u16) -> Vec<&'static str> {
    WHAT_WORDS
        .iter()
        .filter(|w| set & w.1 as u16 != 0)
        .map(|w| w.0)
        .collect()
}

/// How long something takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// Simulated clocks.
    Clocks(u64),
    /// Time of the machine that the simulator runs on.
    Time(Duration),
}

/// The faults as a plan has them.
const FAULTS: [&str; 11] = [
    "ur",
    "ca",
    "poison",
    "lose",
    "late",
    "double",
    "spurious",
    "corrupt",
    "dead",
    "link-down",
    "stuck",
];

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The completer does not support the request.
    Unsupported,
    /// The completer aborts the request.
    Abort,
    /// The data is marked as damaged on its way.
    Poison,
    /// Nothing comes. The requester of a read gives up after the delay.
    Lose(Delay),
    /// The answer comes so late, the vector, or the end of the reset.
    Late(Delay),
    /// The vector comes twice, or the frame.
    Double,
    /// This vector comes as well, which the card has not raised.
    Spurious(u16),
    /// The INTx pin is high for so long, which the card has not raised.
    Pulse(Delay),
    /// Bits of the data are the other way round.
    Xor(u64),
    /// The data is this.
    Value(u64),
    /// From now on the card reads all ones, takes no write and makes no request; until a reset,
    /// or until another plan comes.
    Dead {
        /// A reset brings it back.
        until_reset: bool,
    },
    /// The link goes down, and up after the delay.
    LinkDown(Delay),
    /// From now on the INTx pin has this level, until a reset or another plan.
    Stuck {
        /// Of the pin.
        level: bool,
        /// A reset frees it.
        until_reset: bool,
    },
}

impl Fault {
    /// As a plan has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unsupported => "ur",
            Self::Abort => "ca",
            Self::Poison => "poison",
            Self::Lose(_) => "lose",
            Self::Late(_) => "late",
            Self::Double => "double",
            Self::Spurious(_) | Self::Pulse(_) => "spurious",
            Self::Xor(_) | Self::Value(_) => "corrupt",
            Self::Dead { .. } => "dead",
            Self::LinkDown(_) => "link-down",
            Self::Stuck { .. } => "stuck",
        }
    }

    /// Its number in a record (record/FORMAT.md, kind `fault`).
    pub const fn number(self) -> u8 {
        match self {
            Self::Unsupported => 1,
            Self::Abort => 2,
            Self::Poison => 3,
            Self::Lose(_) => 4,
            Self::Late(_) => 5,
            Self::Double => 6,
            Self::Spurious(_) | Self::Pulse(_) => 7,
            Self::Xor(_) | Self::Value(_) => 8,
            Self::Dead { .. } => 9,
            Self::LinkDown(_) => 10,
            Self::Stuck { .. } => 11,
        }
    }

    /// The transactions that it can be for.
    const fn fits(self) -> u16 {
        match self {
            Self::Unsupported | Self::Abort | Self::Poison => MMIO | DMA,
            Self::Lose(_) => MMIO | DMA | INTERRUPT | CHANNEL,
            Self::Late(_) => What::Read as u16 | DMA | INTERRUPT | What::Reset as u16 | NIC,
            Self::Double => What::Msi as u16 | NIC,
            Self::Xor(_) | Self::Value(_) => MMIO | CHANNEL,
            Self::Spurious(_)
            | Self::Pulse(_)
            | Self::Dead { .. }
            | Self::LinkDown(_)
            | Self::Stuck { .. } => ANY,
        }
    }

    /// Whether it is for one transaction unless the plan says more: it is not over with that.
    const fn once(self) -> bool {
        matches!(
            self,
            Self::Spurious(_)
                | Self::Pulse(_)
                | Self::Dead { .. }
                | Self::LinkDown(_)
                | Self::Stuck { .. }
        )
    }
}

/// A fault and what it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Line of the plan, from 1.
    pub line: u32,
    /// What goes wrong.
    pub fault: Fault,
    /// Kinds of transactions, bits of [`What`].
    on: u16,
    /// Bridge that it is for; all of them if there is none.
    card: Option<String>,
    bar: Option<u8>,
    /// Offsets in the BAR.
    offset: Option<RangeInclusive<u64>>,
    /// Addresses of DMA.
    addr: Option<RangeInclusive<u64>>,
    vector: Option<RangeInclusive<u64>>,
    /// Level that the INTx pin is given.
    level: Option<u64>,
    /// Bytes of a frame.
    length: Option<RangeInclusive<u64>>,
    /// Of a frame that is corrupted, the first byte that is.
    pub(crate) byte: u64,
    /// Numbers of transactions.
    number: Option<RangeInclusive<u64>>,
    /// Which of those that all of the above is true of, from 1.
    pub(crate) nth: Option<RangeInclusive<u64>>,
    pub(crate) probability: f64,
    pub(crate) times: u64,
}

impl Rule {
    /// Whether it is for such a transaction, whichever of them.
    pub(crate) fn is_for(&self, t: &crate::Transaction) -> bool {
        let covers = |range: &Option<RangeInclusive<u64>>| {
            let last = t.address.saturating_add(u64::from(t.length.max(1)) - 1);
            range
                .as_ref()
                .is_none_or(|r| *r.start() <= last && t.address <= *r.end())
        };
        self.on & t.what as u16 != 0
            && self.bar.is_none_or(|bar| bar == t.bar)
            && (t.what as u16 & MMIO == 0 || covers(&self.offset))
            && (t.what as u16 & DMA == 0 || covers(&self.addr))
            && (t.what != What::Msi || covers(&self.vector))
            && (t.what != What::Intx || self.level.is_none_or(|level| level == t.address))
            && self
                .length
                .as_ref()
                .is_none_or(|r| r.contains(&t.length.into()))
            && self.number.as_ref().is_none_or(|r| r.contains(&t.number))
    }
}

/// Faults in the order in which they are looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Of the probabilities.
    pub seed: u64,
    /// In the order of the text.
    pub rules: Vec<Rule>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            rules: Vec::new(),
        }
    }
}

/// What is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    /// From 1; 0 for all of the text.
    pub line: u32,
    /// For a person.
    pub text: String,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.text),
            line => write!(f, "line {line}: {}", self.text),
        }
    }
}

impl std::error::Error for PlanError {}

/// A decimal number, or a hexadecimal one behind 0x.
fn number(name: &str, text: &str, most: u64) -> Result<u64, String> {
    let value = match text.strip_prefix("0x") {
        Some(digits) if !digits.starts_with('+') => u64::from_str_radix(digits, 16).ok(),
        None if !text.starts_with('+') => text.parse().ok(),
        _ => None,
    };
    match value {
        Some(value) if value <= most => Ok(value),
        _ => Err(format!(
            "{name} is {text:?}, expected a number from 0 to {most:#x}"
        )),
    }
}

/// A number or two with a dash in between.
fn range(name: &str, text: &str, most: u64) -> Result<RangeInclusive<u64>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(name, first, most)?, number(name, last, most)?);
    if first > last {
        return Err(format!("{name} is {text:?}, whose end is before its begin"));
    }
    Ok(first..=last)
}

fn delay(name: &str, text: &str) -> Result<Delay, String> {
    let bad = || {
        format!(
            "{name} is {text:?}, expected a whole number with clocks, us, ms or s behind it, one \
             hour at most"
        )
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (value, unit) = text.split_at(digits);
    let value: u64 = value.parse().map_err(|_| bad())?;
    let time = match unit {
        "clocks" if value <= MAX_CLOCKS => return Ok(Delay::Clocks(value)),
        "us" => Duration::from_micros(value),
        "ms" => Duration::from_millis(value),
        "s" => Duration::from_secs(value),
        _ => return Err(bad()),
    };
    if time > MAX_DELAY {
        return Err(bad());
    }
    Ok(Delay::Time(time))
}

fn probability(text: &str) -> Result<f64, String> {
    // Only digits and one point: no "inf", no exponent.
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match text.parse::<f64>() {
        Ok(p) if plain && p > 0.0 && p <= 1.0 => Ok(p),
        _ => Err(format!(
            "p is {text:?}, expected a probability above 0 and up to 1"
        )),
    }
}

fn kinds(text: &str) -> Result<u16, String> {
    if text == "any" {
        return Ok(ANY);
    }
    text.split(',').try_fold(0, |set, name| {
        WHAT_WORDS
            .iter()
            .find(|w| w.0 == name)
            .map(|w| set | w.1 as u16)
            .ok_or_else(|| {
                format!(
                    "on is {text:?}, expected any, or {}",
                    names(ANY | CHANNEL).join(", ")
                )
            })
    })
}

/// What stands behind the name of a fault, each once.
struct Words<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Words<'a> {
    fn new(words: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut all: Vec<(&str, &str)> = Vec::new();
        for word in words {
            let Some((name, value)) = word.split_once('=') else {
                return Err(format!("{word:?} has no value, expected NAME=VALUE"));
            };
            if all.iter().any(|w| w.0 == name) {
                return Err(format!("{name} is there twice"));
            }
            all.push((name, value));
        }
        Ok(Self(all))
    }

    fn take(&mut self, name: &str) -> Option<&'a str> {
        let i = self.0.iter().position(|w| w.0 == name)?;
        Some(self.0.remove(i).1)
    }

    fn take_range(&mut self, name: &str, most: u64) -> Result<Option<RangeInclusive<u64>>, String> {
        self.take(name)
            .map(|text| range(name, text, most))
            .transpose()
    }

    fn take_delay(&mut self, name: &str, otherwise: Option<Duration>) -> Result<Delay, String> {
        match (self.take(name), otherwise) {
            (Some(text), _) => delay(name, text),
            (None, Some(time)) => Ok(Delay::Time(time)),
            (None, None) => Err(format!("{name} is missing, as in {name}=200us")),
        }
    }
}

/// What comes that the card has not raised.
fn raised(words: &mut Words<'_>) -> Result<Fault, String> {
    match words.take("raise") {
        Some("intx") => Ok(Fault::Pulse(words.take_delay("for", Some(PULSE))?)),
        Some(text) => Ok(Fault::Spurious(number("raise", text, 2047)? as u16)),
        None => Err("raise is missing, the vector that comes, or intx".to_owned()),
    }
}

fn until_reset(words: &mut Words<'_>) -> Result<bool, String> {
    match words.take("until") {
        None => Ok(false),
        Some("reset") => Ok(true),
        Some(text) => Err(format!("until is {text:?}, expected reset")),
    }
}

fn rule(line: u32, name: &str, words: &mut Words<'_>) -> Result<Rule, String> {
    if !FAULTS.contains(&name) {
        return Err(format!(
            "there is no fault {name:?}; there are {}",
            FAULTS.join(", ")
        ));
    }
    let on = words
        .take("on")
        .ok_or_else(|| "on is missing, as in on=read".to_owned())
        .and_then(kinds)?;
    let fault = match name {
        "ur" => Fault::Unsupported,
        "ca" => Fault::Abort,
        "poison" => Fault::Poison,
        "lose" => {
            let read = What::Read as u16 | What::DmaRead as u16;
            if on & read == 0 {
                Fault::Lose(Delay::Clocks(0))
            } else {
                Fault::Lose(words.take_delay("delay", Some(COMPLETION_TIMEOUT))?)
            }
        }
        "late" => Fault::Late(words.take_delay("delay", None)?),
        "double" => Fault::Double,
        "spurious" => raised(words)?,
        "corrupt" => match (words.take("xor"), words.take("value")) {
            (Some(text), None) => Fault::Xor(number("xor", text, u64::MAX)?),
            (None, Some(text)) => Fault::Value(number("value", text, u64::MAX)?),
            _ => return Err("expected one of xor=BITS and value=NUMBER".into()),
        },
        "dead" => Fault::Dead {
            until_reset: until_reset(words)?,
        },
        "stuck" => match words.take("at") {
            Some(text) => Fault::Stuck {
                level: number("at", text, 1)? != 0,
                until_reset: until_reset(words)?,
            },
            None => return Err("at is missing, the level of the pin, 0 or 1".into()),
        },
        // The last of them.
        _ => Fault::LinkDown(words.take_delay("for", Some(LINK_DOWN))?),
    };
    if on & !fault.fits() != 0 {
        return Err(format!(
            "{name} is for {}, not for {}",
            names(fault.fits()).join(", "),
            names(on & !fault.fits()).join(", ")
        ));
    }
    let of = |name: &str, set: u16, given: bool| match given && on & !set != 0 {
        true => Err(format!(
            "{name} is for {}, and on has {} as well",
            names(set).join(", "),
            names(on & !set).join(", ")
        )),
        false => Ok(()),
    };
    let bar = words
        .take("bar")
        .map(|text| number("bar", text, 5).map(|b| b as u8))
        .transpose()?;
    let offset = words.take_range("offset", u64::MAX)?;
    let addr = words.take_range("addr", u64::MAX)?;
    let vector = words.take_range("vector", 2047)?;
    of("bar", MMIO, bar.is_some())?;
    of("offset", MMIO, offset.is_some())?;
    of("addr", DMA, addr.is_some())?;
    of("vector", What::Msi as u16, vector.is_some())?;
    let level = words
        .take("level")
        .map(|text| number("level", text, 1))
        .transpose()?;
    of("level", What::Intx as u16, level.is_some())?;
    let length = words.take_range("length", u64::MAX)?;
    of("length", NIC, length.is_some())?;
    let corrupts = matches!(fault, Fault::Xor(_) | Fault::Value(_));
    let byte = match words.take("byte") {
        Some(text) if corrupts => {
            of("byte", NIC, true)?;
            number("byte", text, u64::MAX)?
        }
        Some(_) => return Err(format!("{name} has no byte")),
        None => 0,
    };
    let nth = words.take_range("nth", u64::MAX)?;
    if nth.as_ref().is_some_and(|r| *r.start() == 0) {
        return Err("nth counts from 1".into());
    }
    let times = match words.take("times") {
        Some(text) => number("times", text, u64::MAX)?,
        None if fault.once() => 1,
        None => u64::MAX,
    };
    let rule = Rule {
        line,
        fault,
        on,
        card: words.take("card").map(str::to_owned),
        bar,
        offset,
        addr,
        vector,
        level,
        length,
        byte,
        number: words.take_range("number", u64::MAX)?,
        nth,
        probability: words.take("p").map_or(Ok(1.0), probability)?,
        times,
    };
    match words.0.first() {
        Some((word, _)) => Err(format!("{name} has no {word}")),
        None => Ok(rule),
    }
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, and its line.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        if text.len() > MAX_TEXT {
            return Err(PlanError {
                line: 0,
                text: format!("the plan has {} bytes, at most {MAX_TEXT}", text.len()),
            });
        }
        let mut plan = Self::default();
        for (i, line) in text.lines().enumerate() {
            let number = i as u32 + 1;
            let line = line.split('#').next().unwrap_or_default();
            for part in line.split(';') {
                plan.statement(number, part)
                    .map_err(|text| PlanError { line: number, text })?;
            }
        }
        Ok(plan)
    }

    fn statement(&mut self, line: u32, text: &str) -> Result<(), String> {
        let mut words = text.split_whitespace();
        let Some(first) = words.next() else {
            return Ok(());
        };
        if let Some(seed) = first.strip_prefix("seed=") {
            if let Some(word) = words.next() {
                return Err(format!(
                    "{word:?} behind the seed, expected ; or a new line"
                ));
            }
            self.seed = number("seed", seed, u64::MAX)?;
            return Ok(());
        }
        if self.rules.len() >= MAX_RULES {
            return Err(format!("there are {MAX_RULES} faults, which is the most"));
        }
        self.rules.push(rule(line, first, &mut Words::new(words)?)?);
        Ok(())
    }

    fn of(mut self, name: &str, kinds: u16) -> Self {
        self.rules.retain(|rule| {
            rule.on & kinds != 0 && rule.card.as_deref().is_none_or(|card| card == name)
        });
        self
    }

    /// What of it is for the bridge of this name.
    pub fn of_card(self, name: &str) -> Self {
        self.of(name, ANY)
    }

    /// What of it is for the NIC or serial channel of this name.
    pub fn of_channel(self, name: &str) -> Self {
        self.of(name, CHANNEL)
    }

    /// How many of its faults are for frames or bytes of any channel, and for nothing else.
    pub fn of_channels(&self) -> usize {
        self.rules.iter().filter(|r| r.on & ANY == 0).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Rule {
        let mut plan = Plan::parse(text).unwrap();
        assert_eq!(plan.rules.len(), 1, "{text}");
        plan.rules.remove(0)
    }

    #[test]
    fn statements_and_comments() {
        let plan =
            Plan::parse("# a plan\n\nseed=0x2a\nur on=read # why\nca on=write;double on=msi")
                .unwrap();
        assert_eq!(plan.seed, 42);
        let lines: Vec<_> = plan.rules.iter().map(|r| (r.line, r.fault)).collect();
        assert_eq!(
            lines,
            [
                (4, Fault::Unsupported),
                (5, Fault::Abort),
                (5, Fault::Double)
            ]
        );
        assert_eq!(Plan::parse("").unwrap(), Plan::default());
    }

    #[test]
    fn what_faults_take() {
        for (text, fault) in [
            ("lose on=read", Fault::Lose(Delay::Time(COMPLETION_TIMEOUT))),
            ("lose on=msi", Fault::Lose(Delay::Clocks(0))),
            (
                "late on=dma-read delay=7clocks",
                Fault::Late(Delay::Clocks(7)),
            ),
            (
                "late on=reset delay=2s",
                Fault::Late(Delay::Time(Duration::from_secs(2))),
            ),
            ("spurious on=any raise=3", Fault::Spurious(3)),
            (
                "spurious on=write raise=intx",
                Fault::Pulse(Delay::Time(PULSE)),
            ),
            (
                "spurious on=any raise=intx for=9clocks",
                Fault::Pulse(Delay::Clocks(9)),
            ),
            (
                "stuck on=intx level=1 at=1",
                Fault::Stuck {
                    level: true,
                    until_reset: false,
                },
            ),
            (
                "stuck on=read at=0 until=reset",
                Fault::Stuck {
                    level: false,
                    until_reset: true,
                },
            ),
            ("lose on=intx,nic-rx", Fault::Lose(Delay::Clocks(0))),
            (
                "late on=nic-tx length=60-1514 delay=2ms",
                Fault::Late(Delay::Time(Duration::from_millis(2))),
            ),
            ("double on=nic-rx", Fault::Double),
            ("corrupt on=serial-tx value=0x3f", Fault::Value(0x3f)),
            ("corrupt on=read xor=0x80", Fault::Xor(0x80)),
            ("corrupt on=write value=5", Fault::Value(5)),
            ("dead on=read", Fault::Dead { until_reset: false }),
            (
                "dead on=read until=reset",
                Fault::Dead { until_reset: true },
            ),
            (
                "link-down on=write for=300us",
                Fault::LinkDown(Delay::Time(Duration::from_micros(300))),
            ),
        ] {
            assert_eq!(one(text).fault, fault, "{text}");
        }
        assert_eq!(one("ur on=read").times, u64::MAX);
        assert_eq!(one("dead on=read").times, 1);
        assert_eq!(one("link-down on=read times=4").times, 4);
        assert_eq!(one("stuck on=intx at=1").times, 1);
        assert_eq!(one("corrupt on=nic-rx xor=1 byte=12").byte, 12);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, line, part) in [
            ("\nurr on=read", 2, "no fault \"urr\"; there are ur, ca,"),
            ("ur", 1, "on is missing"),
            ("ur on=reads", 1, "on is \"reads\", expected any, or read,"),
            (
                "ur on=msi",
                1,
                "ur is for read, write, dma-read, dma-write, not for msi",
            ),
            ("ur on=any", 1, "not for msi, reset, intx"),
            ("ur on=nic-rx", 1, "not for nic-rx"),
            ("late on=serial-rx delay=1us", 1, "not for serial-rx"),
            ("double on=intx", 1, "double is for msi, nic-rx, nic-tx"),
            ("stuck on=nic-tx at=1", 1, "not for nic-tx"),
            ("stuck on=intx", 1, "at is missing"),
            ("stuck on=intx at=2", 1, "at is \"2\""),
            ("stuck on=intx at=1 until=1s", 1, "expected reset"),
            ("lose on=intx level=2", 1, "level is \"2\""),
            (
                "lose on=msi level=1",
                1,
                "level is for intx, and on has msi",
            ),
            (
                "lose on=serial-rx length=1",
                1,
                "length is for nic-rx, nic-tx",
            ),
            (
                "corrupt on=read xor=1 byte=2",
                1,
                "byte is for nic-rx, nic-tx",
            ),
            ("lose on=nic-rx byte=2", 1, "lose has no byte"),
            ("spurious on=read raise=intx for=2h", 1, "for is \"2h\""),
            ("spurious on=read raise=pin", 1, "raise is \"pin\""),
            ("late on=write delay=1us", 1, "not for write"),
            ("late on=read", 1, "delay is missing"),
            (
                "late on=read delay=5",
                1,
                "delay is \"5\", expected a whole number",
            ),
            ("late on=read delay=2h", 1, "expected a whole number"),
            ("late on=read delay=3601s", 1, "one hour at most"),
            (
                "late on=read delay=99999999999999999999s",
                1,
                "whole number",
            ),
            (
                "ur on=read bar=6",
                1,
                "bar is \"6\", expected a number from 0 to 0x5",
            ),
            (
                "ur on=read,dma-read bar=0",
                1,
                "bar is for read, write, and on has dma-read",
            ),
            ("ur on=read addr=0", 1, "addr is for dma-read, dma-write"),
            ("ur on=read offset=8-4", 1, "whose end is before its begin"),
            ("ur on=read offset=-4", 1, "offset is \"\", expected"),
            ("ur on=read offset=0x+4", 1, "expected a number"),
            ("ur on=read p=0", 1, "expected a probability"),
            ("ur on=read p=1.5", 1, "expected a probability"),
            ("ur on=read p=nan", 1, "expected a probability"),
            ("ur on=read nth=0", 1, "nth counts from 1"),
            ("ur on=read on=write", 1, "on is there twice"),
            ("ur on=read often", 1, "\"often\" has no value"),
            ("ur on=read delay=1us", 1, "ur has no delay"),
            ("corrupt on=read", 1, "one of xor=BITS and value=NUMBER"),
            ("corrupt on=read xor=1 value=2", 1, "one of xor=BITS"),
            ("spurious on=read", 1, "raise is missing"),
            ("dead on=read until=never", 1, "expected reset"),
            ("seed=1 ur on=read", 1, "\"ur\" behind the seed"),
            ("seed=x", 1, "seed is \"x\""),
        ] {
            let e = Plan::parse(text).unwrap_err();
            assert_eq!(e.line, line, "{text}: {e}");
            assert!(e.text.contains(part), "{text}: {e}");
        }
        let many = "ur on=read\n".repeat(MAX_RULES + 1);
        assert_eq!(Plan::parse(&many).unwrap_err().line, MAX_RULES as u32 + 1);
        let long = "#".repeat(MAX_TEXT + 1);
        let e = Plan::parse(&long).unwrap_err();
        assert_eq!(e.to_string(), "the plan has 65537 bytes, at most 65536");
    }

    #[test]
    fn a_plan_is_for_all_cards_or_one() {
        let plan =
            Plan::parse("ur on=read\nca on=read card=sort\npoison on=read card=nic").unwrap();
        let lines = |name| -> Vec<u32> {
            let plan = plan.clone().of_card(name);
            plan.rules.iter().map(|r| r.line).collect()
        };
        assert_eq!(lines("sort"), [1, 2]);
        assert_eq!(lines("nic"), [1, 3]);
        assert_eq!(lines(""), [1]);
    }

    #[test]
    fn a_plan_is_for_a_card_and_its_channels() {
        let text = "lose on=nic-rx,msi\ncorrupt on=nic-tx xor=1 card=net0\nlose on=serial-rx\n\
                    ur on=read\nspurious on=any raise=1";
        let plan = Plan::parse(text).unwrap();
        let lines = |plan: Plan| -> Vec<u32> { plan.rules.iter().map(|r| r.line).collect() };
        assert_eq!(lines(plan.clone().of_card("sort")), [1, 4, 5]);
        assert_eq!(lines(plan.clone().of_channel("net0")), [1, 2, 3]);
        assert_eq!(lines(plan.clone().of_channel("net1")), [1, 3]);
        assert_eq!(plan.of_channels(), 2);
    }

    /// Nothing that somebody writes ends in a panic.
    #[test]
    fn any_text_is_a_plan_or_refused() {
        const WORDS: [&str; 30] = [
            "ur",
            "lose",
            "late",
            "spurious",
            "dead",
            "corrupt",
            "on=read",
            "on=any",
            "on=msi",
            "delay=5us",
            "delay=us",
            "offset=0-",
            "offset=0x-1",
            "p=0.5",
            "nth=1-2",
            "times=0",
            "=",
            ";",
            "#",
            "\n",
            "seed=3",
            "\u{1f980}",
            "raise=2048",
            "for=1clocks",
            "stuck",
            "at=1",
            "on=nic-rx,intx",
            "level=1",
            "raise=intx",
            "byte=9",
        ];
        let mut state = 9_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..8 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                text += WORDS[(state >> 33) as usize % WORDS.len()];
                if state >> 60 != 0 {
                    text += " ";
                }
            }
            if let Err(e) = Plan::parse(&text) {
                assert!(!e.text.is_empty());
            }
        }
    }
}
