// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory of a host that a device reaches, while somebody writes into the page of the permission.

use std::{
    rc::Rc,
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
};

use accelerator_carrier::{
    file,
    permit::{Area, Gate, Marks, Page, AREAS, WORDS},
    reach::{Files, Reach, PAGE},
};

#[derive(Clone)]
struct Words(Rc<Vec<AtomicU64>>);

impl Page for Words {
    fn words(&self) -> &[AtomicU64] {
        &self.0
    }
}

/// Files of eight pages and of one: what lies outside of them is not mapped, or not ours.
fn files() -> Arc<Files> {
    let files = Arc::new(Files::default());
    for pages in [8, 1] {
        let file = file::sealed(c"fuzz", pages * PAGE).expect("memory for a file");
        files.add(file).expect("a file that can be mapped");
    }
    files
}

thread_local! {
    static FILES: Arc<Files> = files();
}

/// Nine bytes are a step: the host opens and closes the gate, the device reads and writes, and
/// somebody else writes any word. Each step has an end, nothing is used that is not in the
/// files, and while the gate is closed nothing is used at all.
pub fn reach(input: &[u8]) {
    let words = Words(Rc::new((0..WORDS).map(|_| AtomicU64::new(0)).collect()));
    let mut gate = Gate::new(words.clone());
    let mut reach = Reach::new(words.clone(), FILES.with(Arc::clone));
    let mut areas = Vec::new();
    let mut data = vec![0; 5000];
    let mut foreign = false;
    for step in input.chunks_exact(9) {
        let mut word = [0; 8];
        word.copy_from_slice(&step[1..]);
        let value = u64::from_le_bytes(word);
        let near = if step[0] & 8 == 0 { value % 64 } else { value };
        let bytes = value as usize % data.len();
        let address = (value >> 16) % (12 * PAGE);
        match step[0] & 7 {
            0 => {
                let pages = 1 + value % 9;
                areas.push(Area {
                    address: (value >> 8) % 4 * PAGE,
                    bytes: pages * PAGE,
                    file: (value >> 16) as u32 % 3,
                    offset: (value >> 24) % 4 * PAGE,
                    writable: value >> 32 & 1 != 0,
                    marks: (value >> 33 & 1 != 0).then_some(Marks {
                        file: (value >> 34) as u32 % 3,
                        first: value >> 40,
                    }),
                });
                areas.truncate(AREAS + 1);
                gate.close(|| false);
                gate.open(&areas);
            }
            1 => {
                gate.close(|| false);
                // Unless somebody else has opened it.
                assert!(foreign || !reach.read(address, &mut data[..bytes]));
                assert!(foreign || !reach.write(address, &data[..bytes], None));
            }
            2 => {
                reach.read(address, &mut data[..bytes]);
            }
            3 => {
                reach.write(address, &data[..bytes], None);
            }
            4 => {
                let enables = vec![step[1]; bytes.div_ceil(8)];
                reach.write(address, &data[..bytes], Some(&enables));
            }
            5 => areas.clear(),
            6 => {
                // One of the words of an area.
                let at = 64 + usize::from(step[0] >> 4) * 3 + bytes % 3;
                words.0[at].store(near & !(PAGE - 1), Ordering::Relaxed);
            }
            _ => {
                foreign = true;
                words.0[bytes % WORDS].store(near, Ordering::Relaxed);
            }
        }
        assert!(reach.known().areas <= AREAS);
    }
}
