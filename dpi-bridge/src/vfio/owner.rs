// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether a client shares the file of its guest's memory, or has a copy of its own of every
//! page that the guest has written: the descriptor is the same, and only the client's own list
//! of mappings tells (`proc_pid_maps(5)`).

/// Whether a process has a file mapped, but nowhere shared: `memory-backend-file` without
/// `share=on`. False also if that cannot be known.
pub fn is_private(process: i32, device: u64, number: u64) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/maps"))
        .is_ok_and(|maps| is_private_in(&maps, device, number))
}

fn is_private_in(maps: &str, device: u64, number: u64) -> bool {
    let mut found = false;
    for line in maps.lines() {
        // ADDRESSES rw-p OFFSET MAJOR:MINOR NUMBER NAME
        let mut words = line.split_ascii_whitespace().skip(1);
        let (Some(access), Some(major_minor), Some(file)) =
            (words.next(), words.nth(1), words.next())
        else {
            continue;
        };
        let is_it = file.parse() == Ok(number) && {
            let parsed = major_minor.split_once(':').and_then(|(major, minor)| {
                let hex = |text| u32::from_str_radix(text, 16).ok();
                Some(libc::makedev(hex(major)?, hex(minor)?))
            });
            parsed == Some(device)
        };
        if is_it && access.ends_with('s') {
            return false;
        }
        found |= is_it;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_never_shared_is_private() {
        let maps = "\
7f00-7f10 rw-p 00000000 00:01 77 /memfd:a (deleted)
7f10-7f20 rw-s 00000000 00:01 77 /memfd:a (deleted)
7f20-7f30 rw-p 00000000 fd:10 88 /a file
7f30-7f40 rw-p 00000000 00:00 0
garbage
";
        assert!(!is_private_in(maps, libc::makedev(0, 1), 77));
        assert!(is_private_in(maps, libc::makedev(0xfd, 0x10), 88));
        assert!(!is_private_in(maps, libc::makedev(0, 1), 88));
        assert!(!is_private_in(maps, libc::makedev(0, 1), 99));
    }

    #[test]
    fn this_very_process() {
        use std::os::{fd::AsRawFd, unix::fs::MetadataExt};
        let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        let meta = file.metadata().unwrap();
        let ours = std::process::id() as i32;
        let private = |flags| {
            // SAFETY: the kernel chooses a place that is free; it is unmapped below.
            unsafe {
                let null = std::ptr::null_mut();
                let at = libc::mmap(null, 4096, libc::PROT_READ, flags, file.as_raw_fd(), 0);
                assert_ne!(at, libc::MAP_FAILED);
                let found = is_private(ours, meta.dev(), meta.ino());
                libc::munmap(at, 4096);
                found
            }
        };
        assert!(private(libc::MAP_PRIVATE));
        assert!(!private(libc::MAP_SHARED));
        assert!(!is_private(-1, meta.dev(), meta.ino()));
    }
}
