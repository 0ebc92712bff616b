// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a device reaches of the memory that a host lists.

use std::{
    fs::File,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    sync::Arc,
};

use accelerator_carrier::{
    file,
    permit::{Area, Gate, Marks, AREAS},
    reach::{Files, Known, Reach, PAGE},
    segment::{self, PermitPage, Segment},
};
use proptest::prelude::*;

/// A memory file of so many pages.
fn memory(pages: u64) -> File {
    file::sealed(c"test", pages * PAGE).unwrap().into()
}

struct Bench {
    gate: Gate<PermitPage>,
    reach: Reach<PermitPage>,
    files: Arc<Files>,
    ram: File,
    marks: File,
}

/// RAM of 8 pages (file 0), marks (file 1).
fn bench() -> Bench {
    let segment = Segment::of_other(segment::file().unwrap().as_fd()).unwrap();
    let files = Arc::new(Files::default());
    let ram = memory(8);
    let marks = memory(1);
    for file in [&ram, &marks] {
        files.add(file.try_clone().unwrap().into()).unwrap();
    }
    Bench {
        gate: Gate::new(PermitPage::new(&segment)),
        reach: Reach::new(PermitPage::new(&segment), Arc::clone(&files)),
        files,
        ram,
        marks,
    }
}

fn area(address: u64, pages: u64) -> Area {
    Area {
        address,
        bytes: pages * PAGE,
        file: 0,
        offset: 0,
        writable: true,
        marks: None,
    }
}

fn close(gate: &mut Gate<PermitPage>) {
    assert!(gate.close(|| panic!("nobody is inside")));
}

#[test]
fn only_what_is_listed_and_only_while_the_gate_is_open() {
    let mut b = bench();
    let mut data = [0; 16];
    assert!(!b.reach.read(0x10000, &mut data));
    assert!(b.gate.open(&[area(0x10000, 2), area(0x20000, 1)]));
    for (address, reached) in [
        (0xffff, false),
        (0x10000, true),
        (0x11ff0, true),
        (0x11ff1, false),
        (0x12000, false),
        (0x20ff0, true),
        (0x21000, false),
        (u64::MAX - 3, false),
    ] {
        assert_eq!(b.reach.read(address, &mut data), reached, "{address:#x}");
        assert_eq!(b.reach.write(address, &data, None), reached);
    }
    assert!(!b.reach.read(0x10000, &mut []));
    assert!(!b.reach.write(0x10000, &[], None));
    assert_eq!(
        b.reach.known(),
        Known {
            areas: 2,
            bytes: 3 * PAGE
        }
    );
    assert_eq!(b.gate.traffic(), (48, 48));
    // Two areas over the same memory are the same bytes.
    assert!(b.reach.write(0x10008, b"eight by", None));
    assert!(b.reach.read(0x20008, &mut data[..8]));
    assert_eq!(&data[..8], b"eight by");
    let mut there = [0; 8];
    b.ram.read_exact_at(&mut there, 8).unwrap();
    assert_eq!(&there, b"eight by");
    close(&mut b.gate);
    assert!(!b.reach.read(0x10000, &mut data));
    assert!(!b.reach.write(0x10000, &data, None));
    // Another list.
    assert!(b.gate.open(&[area(0x30000, 1)]));
    assert!(!b.reach.read(0x10000, &mut data));
    assert!(b.reach.read(0x30000, &mut data));
}

#[test]
fn memory_that_is_not_to_be_written_to_is_read_only() {
    let mut b = bench();
    let rom = Area {
        writable: false,
        ..area(0, 1)
    };
    assert!(b.gate.open(&[rom]));
    assert!(b.reach.read(0, &mut [0; 4]));
    assert!(!b.reach.write(0, &[0; 4], None));
}

#[test]
fn a_page_with_a_mark_is_not_written_to() {
    let mut b = bench();
    let first = 61;
    let marked = Area {
        marks: Some(Marks { file: 1, first }),
        ..area(0, 8)
    };
    assert!(b.gate.open(&[marked]));
    assert!(b.reach.write(0, &[1; 4096], None));
    // Pages 2 and 4: bits 63 and 65.
    b.marks
        .write_all_at(&(1_u64 << 63).to_le_bytes(), 0)
        .unwrap();
    b.marks.write_all_at(&2_u64.to_le_bytes(), 8).unwrap();
    for page in 0..8 {
        let free = page != 2 && page != 4;
        assert_eq!(b.reach.write(page * PAGE, &[1], None), free, "{page}");
        assert_eq!(
            b.reach.write(page * PAGE + 4095, &[1], None),
            free,
            "{page}"
        );
        assert!(b.reach.read(page * PAGE, &mut [0]));
        let both = page != 7 && free && page != 1 && page != 3;
        let last = page * PAGE + 4095;
        assert_eq!(b.reach.write(last, &[1; 2], None), both, "{page}");
    }
    // Over all of them, with unmarked ones at both ends.
    assert!(!b.reach.write(0, &[1; 7 * 4096], None));
    b.marks.write_all_at(&[0; 16], 0).unwrap();
    assert!(b.reach.write(0, &[1; 7 * 4096], None));
    // Marks that are not there.
    close(&mut b.gate);
    for (file, first) in [(1, 8 * PAGE - 4), (7, 0), (1, u64::MAX), (1, u64::MAX - 7)] {
        let lies = Area {
            marks: Some(Marks { file, first }),
            ..area(0, 8)
        };
        assert!(b.gate.open(&[lies]));
        assert!(!b.reach.write(7 * PAGE, &[1], None), "{file} {first:#x}");
        close(&mut b.gate);
    }
}

#[test]
fn an_area_that_lies_is_not_used() {
    let mut b = bench();
    let good = area(0x10000, 8);
    for lie in [
        Area {
            bytes: 9 * PAGE,
            ..good
        },
        Area {
            offset: PAGE,
            ..good
        },
        Area {
            offset: u64::MAX - PAGE + 1,
            ..good
        },
        Area {
            offset: 8,
            bytes: PAGE,
            ..good
        },
        Area {
            bytes: PAGE + 8,
            ..good
        },
        Area {
            address: 0x10008,
            ..good
        },
        Area {
            address: u64::MAX - PAGE + 1,
            ..good
        },
        Area {
            bytes: u64::MAX - PAGE + 1,
            ..good
        },
        Area { file: 2, ..good },
        Area {
            file: u32::MAX,
            ..good
        },
    ] {
        assert!(b.gate.open(&[lie]));
        assert!(!b.reach.read(lie.address, &mut [0; 8]), "{lie:?}");
        assert!(!b.reach.write(lie.address, &[0; 8], None), "{lie:?}");
        assert_eq!(b.reach.known().areas, 0);
        close(&mut b.gate);
    }
    assert!(b.gate.open(&[good]));
    assert!(b.reach.read(0x10000, &mut [0; 8]));
}

#[test]
fn files_come_when_they_come_and_some_are_of_no_use() {
    let mut b = bench();
    let later = Area {
        file: 2,
        ..area(0, 1)
    };
    assert!(b.gate.open(&[later]));
    assert!(!b.reach.read(0, &mut [0]));
    let unsealed: OwnedFd = File::open("/dev/zero").unwrap().into();
    let e = b.files.add(unsealed).unwrap_err();
    assert!(e.to_string().contains("not sealed"), "{e}");
    assert!(!b.reach.read(0, &mut [0]));
    // It has a number all the same.
    close(&mut b.gate);
    assert!(b.gate.open(&[Area { file: 3, ..later }]));
    b.files.add(memory(1).into()).unwrap();
    assert!(b.reach.read(0, &mut [0]));
    let e = b.files.add(File::open("/dev/null").unwrap().into());
    assert!(e.is_err());
    let refused = (0..100)
        .filter(|_| b.files.add(memory(1).into()).is_err())
        .count();
    assert_eq!(refused, 100 - (64 - 5));
}

#[test]
fn more_areas_than_the_list_has_are_left_out() {
    let mut b = bench();
    let areas: Vec<Area> = (0..AREAS as u64 + 2).map(|i| area(i << 20, 1)).collect();
    assert!(b.gate.open(&areas));
    assert!(b.reach.read((AREAS as u64 - 1) << 20, &mut [0]));
    assert!(!b.reach.read((AREAS as u64) << 20, &mut [0]));
}

proptest! {
    /// Whatever stands in the list, only bytes of the files are touched.
    #[test]
    fn any_list_is_safe(
        areas in prop::collection::vec(
            (any::<u64>(), any::<u64>(), any::<u32>(), any::<u64>(), any::<(bool, bool)>()), 0..70),
        aligned in any::<bool>(),
        accesses in prop::collection::vec((any::<u64>(), 1..5000_usize), 1..20),
    ) {
        let mut b = bench();
        let mask = if aligned { !(PAGE - 1) } else { u64::MAX };
        let areas: Vec<Area> = areas
            .into_iter()
            .map(|(address, bytes, file, offset, (small, marked))| Area {
                address: address & mask,
                bytes: if small { (bytes % (10 * PAGE)) & mask } else { bytes & mask },
                file: if small { file % 3 } else { file },
                offset: if small { (offset % (10 * PAGE)) & mask } else { offset & mask },
                writable: true,
                marks: marked.then_some(Marks { file: file % 4, first: offset >> 12 }),
            })
            .collect();
        prop_assert!(b.gate.open(&areas));
        for (address, bytes) in accesses {
            let mut data = vec![0; bytes];
            let near = areas.get(address as usize % (areas.len() + 1));
            let address = near.map_or(address, |a| a.address.wrapping_add(address % (11 * PAGE)));
            b.reach.read(address, &mut data);
            b.reach.write(address, &data, None);
        }
    }
}
