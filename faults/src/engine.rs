// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which transaction gets a fault.

use crate::plan::{Fault, Plan, Rule, What};

/// A transaction that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// What it is.
    pub what: What,
    /// Its number, as in the record.
    pub number: u64,
    /// Of an access, 0 to 5.
    pub bar: u8,
    /// Of an access the offset in its BAR, of DMA the bus address, of an interrupt the vector, of
    /// INTx the level.
    pub address: u64,
    /// Bytes; 0 where there are none.
    pub length: u32,
}

/// What goes wrong with a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injected {
    /// Line of the plan.
    pub line: u32,
    /// The fault.
    pub fault: Fault,
    /// Of a frame that is corrupted, the first byte that is.
    pub byte: u64,
}

/// Pseudo-random numbers of a rule: SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom
/// Number Generators, 2014).
#[derive(Clone, Copy, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// True with this probability. 53 bits are what a double holds exactly.
    fn hits(&mut self, probability: f64) -> bool {
        ((self.next() >> 11) as f64 / (1_u64 << 53) as f64) < probability
    }
}

#[derive(Clone, Debug)]
struct State {
    rule: Rule,
    /// Transactions that the rule is for so far.
    seen: u64,
    /// Those that it has had the fault for.
    injected: u64,
    random: Random,
}

/// A plan at work.
#[derive(Clone, Debug)]
pub struct Faults {
    rules: Vec<State>,
    injected: u64,
}

impl Faults {
    /// From its beginning.
    pub fn new(plan: Plan) -> Self {
        // Each rule has numbers of its own, so that another one that is added changes nothing.
        let mut seeds = Random(plan.seed);
        let rules = plan.rules.into_iter().map(|rule| State {
            rule,
            seen: 0,
            injected: 0,
            random: Random(seeds.next()),
        });
        Self {
            rules: rules.collect(),
            injected: 0,
        }
    }

    /// Whether it has no fault for anything.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// How many faults the plan has.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// How many transactions had one so far.
    pub const fn injected(&self) -> u64 {
        self.injected
    }

    /// What goes wrong with a transaction: the fault of the first rule that has one for it. All
    /// rules count it.
    pub fn decide(&mut self, transaction: &Transaction) -> Option<Injected> {
        let mut first = None;
        for state in &mut self.rules {
            let rule = &state.rule;
            if !rule.is_for(transaction) {
                continue;
            }
            state.seen += 1;
            if rule.nth.as_ref().is_some_and(|r| !r.contains(&state.seen)) {
                continue;
            }
            let hits = state.random.hits(rule.probability);
            if hits && first.is_none() && state.injected < rule.times {
                state.injected += 1;
                first = Some(Injected {
                    line: rule.line,
                    fault: rule.fault,
                    byte: rule.byte,
                });
            }
        }
        self.injected += u64::from(first.is_some());
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Faults {
        Faults::new(Plan::parse(text).unwrap())
    }

    fn access(what: What, number: u64, bar: u8, address: u64, length: u32) -> Transaction {
        Transaction {
            what,
            number,
            bar,
            address,
            length,
        }
    }

    fn read(number: u64, address: u64) -> Transaction {
        access(What::Read, number, 0, address, 4)
    }

    /// The numbers of those of `count` reads at 0 that get a fault.
    fn hit(text: &str, count: u64) -> Vec<u64> {
        let mut faults = faults(text);
        (1..=count)
            .filter(|&n| faults.decide(&read(n, 0)).is_some())
            .collect()
    }

    #[test]
    fn where_and_what() {
        let mut f = faults("ur on=read bar=2 offset=0x10-0x17\nca on=write");
        for (t, line) in [
            (access(What::Read, 1, 2, 0x10, 4), Some(1)),
            (access(What::Read, 1, 0, 0x10, 4), None),
            // It reaches into the range, or ends before it.
            (access(What::Read, 1, 2, 0x0c, 8), Some(1)),
            (access(What::Read, 1, 2, 0x0c, 4), None),
            (access(What::Read, 1, 2, 0x17, 1), Some(1)),
            (access(What::Read, 1, 2, 0x18, 1), None),
            (access(What::Write, 1, 2, 0x10, 4), Some(2)),
            (access(What::DmaRead, 1, 0, 0x10, 4), None),
        ] {
            assert_eq!(f.decide(&t).map(|i| i.line), line, "{t:?}");
        }
        let mut f = faults("lose on=msi vector=1-2; poison on=dma-write addr=0x1000-0x1fff");
        for (t, hits) in [
            (access(What::Msi, 1, 0, 0, 0), false),
            (access(What::Msi, 1, 0, 2, 0), true),
            (access(What::Msi, 1, 0, 3, 0), false),
            (access(What::DmaWrite, 1, 0, 0xfff, 2), true),
            (access(What::DmaWrite, 1, 0, 0x2000, 64), false),
            // At the end of the address space nothing wraps around.
            (access(What::DmaWrite, 1, 0, u64::MAX, 4096), false),
            (access(What::DmaRead, 1, 0, 0x1000, 64), false),
        ] {
            assert_eq!(f.decide(&t).is_some(), hits, "{t:?}");
        }
    }

    #[test]
    fn pins_frames_and_bytes() {
        let mut f = faults(
            "lose on=intx level=0; lose on=nic-rx length=60-100; corrupt on=nic-tx xor=1 byte=7; \
             lose on=serial-rx nth=2",
        );
        let mut fails = |what, address, length| {
            f.decide(&access(what, 1, 0, address, length))
                .map(|i| (i.fault.name(), i.byte))
        };
        assert_eq!(fails(What::Intx, 1, 0), None);
        assert_eq!(fails(What::Intx, 0, 0), Some(("lose", 0)));
        assert_eq!(fails(What::NicRx, 0, 59), None);
        assert_eq!(fails(What::NicRx, 0, 100), Some(("lose", 0)));
        assert_eq!(fails(What::NicTx, 0, 100), Some(("corrupt", 7)));
        assert_eq!(fails(What::SerialRx, 0, 1), None);
        assert_eq!(fails(What::SerialTx, 0, 1), None);
        assert_eq!(fails(What::SerialRx, 0, 1), Some(("lose", 0)));
    }

    #[test]
    fn which_of_them() {
        assert_eq!(hit("ur on=read nth=3", 9), [3]);
        assert_eq!(hit("ur on=read nth=2-4", 9), [2, 3, 4]);
        assert_eq!(hit("ur on=read number=5-6", 9), [5, 6]);
        assert_eq!(hit("ur on=read times=2", 9), [1, 2]);
        assert_eq!(hit("ur on=read times=0", 9), []);
        assert_eq!(hit("dead on=read", 9), [1]);
        assert_eq!(hit("ur on=read number=5-8 nth=2", 9), [6]);
    }

    #[test]
    fn the_first_wins_and_all_count() {
        let mut f = faults("ur on=read nth=2\nca on=read nth=2-3\npoison on=read times=1");
        let lines: Vec<_> = (1..=4)
            .map(|n| f.decide(&read(n, 0)).map(|i| i.line))
            .collect();
        assert_eq!(lines, [Some(3), Some(1), Some(2), None]);
        assert_eq!(f.injected(), 3);
    }

    #[test]
    fn probability_is_of_the_seed() {
        let text = |seed| format!("seed={seed}\nur on=read p=0.25");
        let first = hit(&text(7), 4000);
        assert_eq!(first, hit(&text(7), 4000));
        assert_ne!(first, hit(&text(8), 4000));
        assert!((900..1100).contains(&first.len()), "{}", first.len());
        // What comes before and after has no part in it.
        let other = format!("{}\nca on=write p=0.5", text(7));
        assert_eq!(first, hit(&other, 4000));
        assert_eq!(hit("ur on=read p=1", 3), [1, 2, 3]);
        assert_eq!(hit("ur on=read p=1.0", 3), [1, 2, 3]);
    }

    /// The numbers are those of the algorithm, on every machine.
    #[test]
    fn numbers_of_the_generator() {
        let mut random = Random(1_234_567);
        let numbers = [random.next(), random.next(), random.next()];
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }
}
