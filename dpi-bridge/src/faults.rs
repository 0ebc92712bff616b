// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where the plan of faults of a bridge comes from, and what of it is for frames and bytes. What
//! becomes of the rest is `run/faults.rs`.
//!
//! NIC and serial channels have no call of their own for a plan, and the host has no way to send
//! one to them: those of a process have the plan that a bridge was given last.

use std::{
    env::VarError,
    fs::File,
    io::Read,
    sync::{
        atomic::{AtomicU64, Ordering},
        Mutex, MutexGuard, PoisonError,
    },
};

use accelerator_faults::{Fault, Faults, Injected, Plan, Transaction, What, MAX_TEXT};
use accelerator_protocol::limit::Limit;

use crate::{
    error::{fail, Code, Error, Result},
    limited::limited,
    record::{self, Observer},
    words::Words,
};

/// Environment variable: the file of the plan, where the design says none.
pub const VARIABLE: &str = "ACCELERATOR_FAULTS";

fn read(file: &str) -> std::result::Result<Plan, String> {
    let mut text = String::new();
    File::open(file)
        .and_then(|f| f.take(MAX_TEXT as u64 + 1).read_to_string(&mut text))
        .map_err(|e| e.to_string())?;
    Plan::parse(&text).map_err(|e| e.to_string())
}

/// The plan in the file that the design has named, or else the environment; nothing if neither
/// has.
///
/// # Errors
///
/// `Code::Invalid` for a file that cannot be read or is no plan.
pub fn wanted(file: Option<&str>) -> Result<Option<Plan>> {
    let file = match file {
        Some(file) => file.to_owned(),
        None => match std::env::var(VARIABLE) {
            Ok(file) => file.trim().to_owned(),
            Err(VarError::NotPresent) => String::new(),
            Err(VarError::NotUnicode(_)) => fail!(Invalid, "{VARIABLE} is not UTF-8"),
        },
    };
    if file.is_empty() {
        return Ok(None);
    }
    read(&file)
        .map(Some)
        .map_err(|e| Error::new(Code::Invalid, format!("the plan of faults {file}: {e}")))
}

/// The plan of the channels, and how often it was set.
static PLAN: Mutex<Option<Plan>> = Mutex::new(None);
static SET: AtomicU64 = AtomicU64::new(0);

fn plan() -> MutexGuard<'static, Option<Plan>> {
    // Nothing in here panics with the lock held.
    PLAN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The channels have this plan from now on, from its beginning.
pub fn set(new: &Plan) {
    *plan() = Some(new.clone());
    SET.fetch_add(1, Ordering::Release);
}

/// The same of a plan that a bridge begins with: several bridges may have the same one, and so
/// may a channel.
pub fn set_first(new: &Plan) {
    let mut plan = plan();
    if plan.as_ref() != Some(new) {
        *plan = Some(new.clone());
        SET.fetch_add(1, Ordering::Release);
    }
}

/// What goes wrong with a frame or a byte.
#[derive(Clone, Copy, Debug)]
pub struct Failing {
    /// Of the transaction.
    pub number: u64,
    injected: Injected,
}

impl Failing {
    /// The fault.
    pub const fn fault(&self) -> Fault {
        self.injected.fault
    }

    /// Changes the data, if that is the fault.
    pub fn corrupt(&self, data: &mut [u8]) {
        let (value, keep) = match self.injected.fault {
            Fault::Xor(bits) => (bits, true),
            Fault::Value(value) => (value, false),
            _ => return,
        };
        // What is beyond the end of a frame is its last byte.
        let last = data.len().saturating_sub(1);
        let first = usize::try_from(self.injected.byte).map_or(last, |byte| byte.min(last));
        // Of a value the bytes up to its highest one.
        let bytes = value.to_le_bytes();
        let count = (8 - value.leading_zeros() as usize / 8).max(1);
        for (byte, new) in data[first..].iter_mut().zip(&bytes[..count]) {
            *byte = if keep { *byte ^ new } else { *new };
        }
    }
}

/// The faults of a channel.
pub struct Channel {
    name: String,
    words: &'static Words,
    /// What [`SET`] was when the next one was made.
    set: u64,
    faults: Option<Faults>,
    lines: Limit,
}

impl Channel {
    /// Of a channel of this name.
    ///
    /// # Errors
    ///
    /// `Code::Invalid` for a file that the environment names and that is no plan.
    pub fn new(name: &str, words: &'static Words) -> Result<Self> {
        if let Some(plan) = wanted(None)? {
            set_first(&plan);
        }
        Ok(Self {
            name: name.to_owned(),
            words,
            set: 0,
            faults: None,
            lines: Limit::default(),
        })
    }

    fn renew(&mut self, set: u64) {
        self.set = set;
        let plan = plan().clone().unwrap_or_default();
        let faults = Faults::new(plan.of_channel(&self.name));
        self.faults = (!faults.is_empty()).then_some(faults);
        if self.faults.is_some() {
            // Delays may be in clocks.
            self.words.count_clocks();
        }
    }

    /// Whether there may be a fault for anything.
    pub fn any(&mut self) -> bool {
        let set = SET.load(Ordering::Acquire);
        if set != self.set {
            self.renew(set);
        }
        self.faults.is_some()
    }

    /// What goes wrong with a frame or a byte.
    pub fn decide(
        &mut self,
        target: &str,
        what: What,
        bytes: usize,
        observer: &mut Option<Observer>,
    ) -> Option<Failing> {
        if !self.any() {
            return None;
        }
        let number = record::number();
        let transaction = Transaction {
            what,
            number,
            bar: 0,
            address: 0,
            // At most that of a frame.
            length: bytes as u32,
        };
        let injected = self.faults.as_mut()?.decide(&transaction)?;
        let (name, line, what) = (injected.fault.name(), injected.line, what.name());
        limited!(
            self.lines,
            info,
            target,
            "fault of line {line}: {name}, {what} #{number} of {bytes} bytes"
        );
        if let Some(observer) = observer {
            observer.fault(number, injected.fault.number(), line);
        }
        Some(Failing { number, injected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_corrupted_where_the_plan_says() {
        for (text, data, expected) in [
            ("xor=1", vec![0x10, 0x20], vec![0x11, 0x20]),
            ("xor=0x8001 byte=1", vec![1, 2, 3], vec![1, 3, 0x83]),
            // Beyond the end.
            ("xor=0x8001 byte=2", vec![1, 2, 3], vec![1, 2, 2]),
            ("xor=1 byte=99", vec![1, 2, 3], vec![1, 2, 2]),
            ("value=0", vec![1, 2, 3], vec![0, 2, 3]),
            ("value=0x1234 byte=1", vec![1, 2, 3], vec![1, 0x34, 0x12]),
            ("xor=1", vec![], vec![]),
        ] {
            let plan = Plan::parse(&format!("corrupt on=nic-rx {text}")).unwrap();
            let injected = Faults::new(plan)
                .decide(&Transaction {
                    what: What::NicRx,
                    number: 1,
                    bar: 0,
                    address: 0,
                    length: 3,
                })
                .unwrap();
            let mut got = data.clone();
            Failing {
                number: 1,
                injected,
            }
            .corrupt(&mut got);
            assert_eq!(got, expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let e = wanted(Some("/none/plan")).unwrap_err();
        assert_eq!(e.code, Code::Invalid);
        assert!(
            e.text
                .starts_with("the plan of faults /none/plan: No such file"),
            "{e}"
        );
        // All zeros, without an end.
        let e = wanted(Some("/dev/zero")).unwrap_err();
        assert!(e.text.contains("65537 bytes, at most 65536"), "{e}");
        assert_eq!(wanted(Some("")), Ok(None));
    }
}
