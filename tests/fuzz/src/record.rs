// SPDX-License-Identifier: MIT OR Apache-2.0

//! The file of a record, damaged and cut.

use accelerator_record::{
    layout::{Header, ENTRIES_OFFSET, ENTRY_BYTES, HEADER_BYTES, MAJOR},
    Record,
};

/// A file whose header is good but for 8 bytes, if the input says so, and whose entries are the
/// input, with good sequences if it says so. Either it is refused with a text, or it is read to
/// its end, where each entry has a higher sequence than the one before.
pub fn record(input: &[u8]) {
    let (control, entries) = input.split_at(input.len().min(16));
    let at = |i: usize| control.get(i).copied().unwrap_or(0);
    let ring = u64::from(at(0) % 64);
    let mut file = vec![0; HEADER_BYTES];
    let header = Header {
        major: MAJOR,
        ring,
        ..Header::default()
    };
    file[..ENTRIES_OFFSET].copy_from_slice(&header.encode());
    // The newest entry, from what the ring can hold to what it cannot.
    file[ENTRIES_OFFSET] = at(1);
    if at(2) & 1 != 0 {
        let place = usize::from(at(3)) % 128;
        file[place..place + 8].copy_from_slice(&[8, 9, 10, 11, 12, 13, 14, 15].map(at));
    }
    file.extend_from_slice(entries);
    if at(2) & 2 != 0 {
        let newest = u64::from(at(1));
        for (slot, entry) in (0..).zip(file[HEADER_BYTES..].chunks_exact_mut(ENTRY_BYTES)) {
            // Some are left as they are.
            if entry[63] & 7 != 0 {
                let turn = match ring {
                    0 => 0,
                    _ => newest.saturating_sub(slot + 1) / ring * ring,
                };
                entry[..8].copy_from_slice(&(slot + 1 + turn).to_le_bytes());
            }
        }
    }
    if at(2) & 4 != 0 {
        let rest = file.len() * usize::from(at(4)) / 256;
        file.truncate(rest);
    }
    let slots = (file.len().saturating_sub(HEADER_BYTES) / ENTRY_BYTES) as u64;
    let record = match Record::new(&file[..]) {
        Ok(record) => record,
        Err(e) => {
            assert!(!e.to_string().is_empty());
            return;
        }
    };
    let mut reader = record.read().expect("memory can be read");
    let (mut last, mut count) = (0, 0);
    for next in reader.by_ref() {
        let (sequence, _) = next.expect("memory can be read");
        assert!(sequence > last, "{sequence} after {last}");
        last = sequence;
        count += 1;
    }
    let skipped = reader.skipped();
    assert!(count + skipped.damaged + skipped.overwritten <= slots);
}
