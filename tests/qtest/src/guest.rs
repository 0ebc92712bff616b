// SPDX-License-Identifier: MIT OR Apache-2.0

//! A guest of a few instructions for each vCPU, for what no qtest command can
//! show: an access that a vCPU makes, while QEMU's main thread has its hands
//! free. qtest plays firmware all the same and steers the guest over memory.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use accelerator_peers::PATIENCE;

use crate::qemu::Qemu;

/// Where vCPU `i` has its mailbox: at `MAILBOX + i * MAILBOX_STEP`.
const MAILBOX: u64 = 0x1_0000;
const MAILBOX_STEP: u64 = 0x1000;

/// Of a mailbox: a counter that the vCPU increments all the time, what it is
/// to do, where, and the result.
const COUNTER: u64 = 0;
const COMMAND: u64 = 4;
const ADDRESS: u64 = 8;
const RESULT: u64 = 12;

/// Commands.
const NOTHING: u64 = 0;
const LOAD: u64 = 1;
const SERIAL: u64 = 2;
const CALL: u64 = 3;

/// Bytes of the ROM; the lower half of the megabyte ends with it.
const ROM: usize = 0x1_0000;

/// The ROM: both the reset vector and the startup interrupt of the other vCPUs
/// lead to its first byte, in real mode at f000:0000.
fn rom() -> Vec<u8> {
    const GDT: usize = 0x100;
    const PROTECTED: usize = 0x40;
    let mut rom = vec![0xf4; ROM];
    let mut put = |at: usize, bytes: &[u8]| rom[at..at + bytes.len()].copy_from_slice(bytes);
    put(
        0,
        &[
            0xfa, // cli
            0x2e, 0x66, 0x0f, 0x01, 0x16, 0x20, 0x01, // lgdtl %cs:0x120
            0x0f, 0x20, 0xc0, // mov %cr0, %eax
            0x0c, 0x01, // or $1, %al
            0x0f, 0x22, 0xc0, // mov %eax, %cr0
            0x66, 0xea, 0x40, 0x00, 0x0f, 0x00, 0x08, 0x00, // ljmpl $8, $0xf0040
        ],
    );
    put(
        PROTECTED,
        &[
            0x66, 0xb8, 0x10, 0x00, // mov $0x10, %ax
            0x8e, 0xd8, // mov %eax, %ds
            0x8e, 0xd0, // mov %eax, %ss
            0xa1, 0x20, 0x00, 0xe0, 0xfe, // mov 0xfee00020, %eax: APIC id
            0xc1, 0xe8, 0x18, // shr $24, %eax
            0x89, 0xc3, // mov %eax, %ebx
            0xc1, 0xe3, 0x0c, // shl $12, %ebx
            0x81, 0xc3, 0x00, 0x00, 0x01, 0x00, // add $MAILBOX, %ebx
            0x85, 0xc0, // test %eax, %eax
            0x75, 0x14, // jne 1f
            // The first one wakes the others: INIT, then startup at 0xf0000.
            0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x00, 0x45, 0x0c,
            0x00, // movl $0xc4500, 0xfee00300
            0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0xf0, 0x46, 0x0c,
            0x00, // movl $0xc46f0, 0xfee00300
            0xff, 0x03, // 1: incl (%ebx)
            0x8b, 0x43, 0x04, // mov 4(%ebx), %eax
            0x83, 0xf8, 0x01, // cmp $LOAD, %eax
            0x74, 0x2a, // je 2f
            0x83, 0xf8, 0x02, // cmp $SERIAL, %eax
            0x74, 0x17, // je 3f
            0x83, 0xf8, 0x03, // cmp $CALL, %eax
            0x75, 0xec, // jne 1b
            0x8d, 0xa3, 0x00, 0x08, 0x00, 0x00, // lea 0x800(%ebx), %esp
            0xff, 0x53, 0x08, // call *8(%ebx)
            0x89, 0x43, 0x0c, // mov %eax, 12(%ebx)
            0xc6, 0x43, 0x04, 0x00, // movb $NOTHING, 4(%ebx)
            0xeb, 0xda, // jmp 1b
            0x66, 0xba, 0xf8, 0x03, // 3: mov $0x3f8, %dx
            0x8a, 0x43, 0x08, // mov 8(%ebx), %al
            0xee, // out %al, %dx
            0xc6, 0x43, 0x04, 0x00, // movb $NOTHING, 4(%ebx)
            0xeb, 0xcc, // jmp 1b
            0x8b, 0x4b, 0x08, // 2: mov 8(%ebx), %ecx
            0x8b, 0x01, // mov (%ecx), %eax
            0x89, 0x43, 0x0c, // mov %eax, 12(%ebx)
            0xc6, 0x43, 0x04, 0x00, // movb $NOTHING, 4(%ebx)
            0xeb, 0xbe, // jmp 1b
        ],
    );
    // Nothing, flat code, flat data; and the pointer to them.
    put(
        GDT + 8,
        &[
            0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0, 0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0,
        ],
    );
    put(GDT + 0x20, &[0x17, 0x00, 0x00, 0x01, 0x0f, 0x00]);
    put(0xfff0, &[0xea, 0x00, 0x00, 0x00, 0xf0]); // ljmp $0xf000, $0
    rom
}

/// Writes the ROM to a file for `-bios`.
///
/// # Panics
///
/// It cannot be written.
pub fn write_rom(path: &Path) {
    std::fs::write(path, rom()).expect("cannot write the ROM");
}

/// One vCPU that runs the ROM.
#[derive(Clone, Copy, Debug)]
pub struct Vcpu(pub u64);

impl Vcpu {
    const fn at(self, field: u64) -> u64 {
        MAILBOX + self.0 * MAILBOX_STEP + field
    }

    /// How far its counter is.
    #[track_caller]
    pub fn counter(self, qemu: &mut Qemu) -> u32 {
        qemu.load(self.at(COUNTER), 4) as u32
    }

    /// Waits until it has gone round its loop a thousand times more, and
    /// returns how long that took.
    ///
    /// # Panics
    ///
    /// It does not.
    #[track_caller]
    pub fn expect_progress(self, qemu: &mut Qemu) -> Duration {
        let (begin, from) = (Instant::now(), self.counter(qemu));
        while self.counter(qemu).wrapping_sub(from) < 1000 {
            assert!(begin.elapsed() < PATIENCE, "vCPU {} stands still", self.0);
        }
        begin.elapsed()
    }

    /// Has it read four bytes.
    #[track_caller]
    pub fn start_load(self, qemu: &mut Qemu, address: u64) {
        assert_eq!(qemu.load(self.at(COMMAND), 4), NOTHING, "it is busy");
        qemu.store(self.at(RESULT), 4, 0x5a5a_5a5a);
        qemu.store(self.at(ADDRESS), 4, address);
        qemu.store(self.at(COMMAND), 4, LOAD);
    }

    /// Has it call code, which leaves its result in EAX.
    #[track_caller]
    pub fn start_call(self, qemu: &mut Qemu, address: u64) {
        assert_eq!(qemu.load(self.at(COMMAND), 4), NOTHING, "it is busy");
        qemu.store(self.at(ADDRESS), 4, address);
        qemu.store(self.at(COMMAND), 4, CALL);
    }

    /// Takes back what it was told, once it is at it.
    #[track_caller]
    pub fn forget(self, qemu: &mut Qemu) {
        qemu.store(self.at(COMMAND), 4, NOTHING);
    }

    /// Whether it is done with what it was told.
    #[track_caller]
    pub fn is_done(self, qemu: &mut Qemu) -> bool {
        qemu.load(self.at(COMMAND), 4) == NOTHING
    }

    /// What it has read, or was the result of a call.
    ///
    /// # Panics
    ///
    /// It does not come back.
    #[track_caller]
    pub fn loaded(self, qemu: &mut Qemu) -> u32 {
        let begin = Instant::now();
        while !self.is_done(qemu) {
            assert!(begin.elapsed() < PATIENCE, "vCPU {} does not end", self.0);
        }
        qemu.load(self.at(RESULT), 4) as u32
    }

    /// Has it write a byte to the serial port.
    #[track_caller]
    pub fn put_serial(self, qemu: &mut Qemu, byte: u8) {
        assert_eq!(qemu.load(self.at(COMMAND), 4), NOTHING, "it is busy");
        qemu.store(self.at(ADDRESS), 4, byte.into());
        qemu.store(self.at(COMMAND), 4, SERIAL);
    }
}
