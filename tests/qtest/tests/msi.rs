// SPDX-License-Identifier: MIT OR Apache-2.0

//! MSI of the card. All vectors write to one address, the number of the vector in the low
//! bits of what they write.

use std::time::{Duration, Instant};

use accelerator_peers::{
    hdl::{sample_config, RawEndpoint},
    Event,
};
use accelerator_protocol::{
    wire::{frame_type, split, Reason, ResetKind},
    Config, Frame, Msi,
};
use accelerator_qtest::{
    machine::{device_args, ok},
    pci::{self, capability, command, reg, MsiSeen, MsixSeen, CARD, ROOT_PORT},
    qemu::Launch,
    Machine, Scratch, PATIENCE,
};
use serde_json::json;

/// Where the messages go.
const MESSAGE: u64 = 0x30_0000;

/// What they are, of vector 0.
const DATA: u16 = 0xc0e0;

/// Where the messages of MSI-X go.
const MSIX_MESSAGE: u64 = 0x31_0000;
const MSIX_DATA: u32 = 0xdead_0000;

/// A card with so many vectors of MSI-X and of MSI.
fn card(msix: u16, vectors: u8, masking: bool) -> Config {
    Config {
        msi: Some(Msi { vectors, masking }),
        ..sample_config(msix)
    }
}

/// A machine with MSI enabled, and all vectors granted.
fn start(vectors: u8) -> (Machine, MsiSeen) {
    let mut m = Machine::start(card(0, vectors, true));
    let msi = enable(&mut m, vectors.trailing_zeros() as u8);
    (m, msi)
}

fn enable(m: &mut Machine, granted: u8) -> MsiSeen {
    let msi = MsiSeen::find(&mut m.qemu, CARD).expect("no MSI capability");
    msi.program(&mut m.qemu, MESSAGE, DATA);
    msi.control(&mut m.qemu, true, granted);
    msi
}

/// Takes a message: what is there, and nothing left behind.
#[track_caller]
fn take_at(m: &mut Machine, place: u64) -> u32 {
    // The answer to a DMA read comes after everything before it, refused or not.
    let _ = m.hdl.dma_read(0, 1);
    let found = m.qemu.load(place, 4) as u32;
    m.qemu.store(place, 4, 0);
    found
}

#[track_caller]
fn take(m: &mut Machine) -> u32 {
    take_at(m, MESSAGE)
}

fn message(vector: u16) -> u32 {
    u32::from(DATA | vector)
}

/// The capability says what the simulator does, stands behind the others, and is off.
#[test]
fn the_capability_is_what_was_asked_for() {
    for (i, vectors) in [1, 2, 4, 8, 16, 32].into_iter().enumerate() {
        for masking in [false, true] {
            let with_msix = (i + usize::from(masking)) % 2 == 0;
            let msix = if with_msix { 4 } else { 0 };
            let mut m = Machine::start(card(msix, vectors, masking));
            let q = &mut m.qemu;
            let msi = MsiSeen::find(q, CARD).unwrap();
            assert_eq!((msi.vectors, msi.masking), (vectors.into(), masking));
            assert_eq!(CARD.find(q, capability::MSIX).is_some(), with_msix);
            // MSI-X is where it is without MSI.
            let places = if with_msix {
                (Some(0x84), 0x90)
            } else {
                (None, 0x84)
            };
            assert_eq!((CARD.find(q, capability::MSIX), msi.at), places);
            assert_eq!(CARD.expect(q, capability::EXPRESS), 0x40);
            assert_eq!(CARD.expect(q, capability::POWER_MANAGEMENT), 0x7c);
            assert_eq!(msi.state(q), (false, 0));
            assert_eq!(CARD.get(q, msi.at + 4, 4), 0);
            assert_eq!(CARD.get(q, msi.at + 8, 4), 0);
            assert_eq!(CARD.get(q, msi.at + 12, 4), 0);
            // Mask and pending bits, or nothing.
            for at in [16, 20] {
                CARD.set(q, msi.at + at, 4, u32::MAX);
            }
            let all = u32::MAX >> (32 - vectors);
            let mask = if masking { all } else { 0 };
            assert_eq!(CARD.get(q, msi.at + 16, 4), mask);
            assert_eq!(CARD.get(q, msi.at + 20, 4), 0);
        }
    }
}

#[test]
fn each_vector_raises_its_message() {
    for vectors in [1, 2, 4, 8, 16, 32] {
        let (mut m, _) = start(vectors);
        for vector in 0..vectors.into() {
            ok(m.hdl.msix(vector));
            assert_eq!(take(&mut m), message(vector), "{vector} of {vectors}");
        }
        // None beyond them.
        let vector = vectors.into();
        ok(m.hdl.inject(&Frame::Msix { vector }));
        let line = format!("vector {vector} ignored");
        m.qemu.expect_line(&["ERROR", "card", &line]);
        assert_eq!(take(&mut m), 0);
    }
}

#[test]
fn an_interrupt_comes_after_the_data_that_it_announces() {
    let (mut m, _) = start(2);
    let buffer = 0x40_0000;
    for round in 1..32u8 {
        ok(m.hdl.start_dma_write(buffer, &[round; 4096], None));
        ok(m.hdl.msix(1));
        while m.qemu.load(MESSAGE, 4) == 0 {}
        assert_eq!(m.qemu.read_memory(buffer, 4096), [round; 4096]);
        m.qemu.store(MESSAGE, 4, 0);
        ok(m.hdl.next_event(PATIENCE).map(|_| ()));
    }
}

#[test]
fn a_masked_vector_is_pending_until_unmasked() {
    for vectors in [4, 32] {
        let (mut m, msi) = start(vectors);
        let last = u16::from(vectors) - 1;
        msi.mask(&mut m.qemu, 1 << last | 1 << 1);
        for vector in [last, 1, last] {
            ok(m.hdl.msix(vector));
            assert_eq!(take(&mut m), 0, "masked");
        }
        assert_eq!(msi.pending(&mut m.qemu), 1 << last | 1 << 1);
        // The others are not masked, and pending bits are not the guest's to write.
        ok(m.hdl.msix(2));
        assert_eq!(take(&mut m), message(2));
        CARD.set(&mut m.qemu, msi.at + 20, 4, 0);
        assert_eq!(msi.pending(&mut m.qemu), 1 << last | 1 << 1);
        msi.mask(&mut m.qemu, 1 << 1);
        assert_eq!(take(&mut m), message(last), "once, however often raised");
        assert_eq!(msi.pending(&mut m.qemu), 1 << 1);
        msi.mask(&mut m.qemu, 0);
        assert_eq!(take(&mut m), message(1));
        assert_eq!(msi.pending(&mut m.qemu), 0);
    }
}

/// A guest may grant fewer vectors than the card has. A vector is taken modulo their number,
/// so that none is lost, and its mask and pending bit are those of the one that it becomes.
#[test]
fn vectors_share_what_the_guest_has_granted() {
    let (mut m, msi) = start(32);
    for granted in 0..=5u8 {
        msi.control(&mut m.qemu, true, granted);
        let many = 1 << granted;
        for vector in 0..32 {
            ok(m.hdl.msix(vector));
            assert_eq!(take(&mut m), message(vector % many), "{vector} of {many}");
        }
        let told = m.hdl.function().unwrap();
        assert!(told.msi_enable && told.msi_granted == granted, "{told:?}");
    }
    msi.control(&mut m.qemu, true, 2);
    msi.mask(&mut m.qemu, 1 << 1);
    for vector in [1, 5, 9, 29] {
        ok(m.hdl.msix(vector));
        assert_eq!((take(&mut m), msi.pending(&mut m.qemu)), (0, 1 << 1));
    }
    msi.mask(&mut m.qemu, 0);
    assert_eq!(take(&mut m), message(1));
    // What is granted later is granted.
    msi.control(&mut m.qemu, true, 3);
    ok(m.hdl.msix(5));
    assert_eq!(take(&mut m), message(5));
    // Pending vectors that are not granted any more are gone.
    msi.mask(&mut m.qemu, 1 << 5);
    ok(m.hdl.msix(5));
    assert_eq!((take(&mut m), msi.pending(&mut m.qemu)), (0, 1 << 5));
    msi.control(&mut m.qemu, true, 1);
    assert_eq!(msi.pending(&mut m.qemu), 0);
}

/// More than there are, which no guest may write, are as many as there are.
#[test]
fn no_more_is_granted_than_there_is() {
    let mut m = Machine::start(card(0, 4, true));
    for granted in 3..8 {
        let msi = MsiSeen::find(&mut m.qemu, CARD).unwrap();
        msi.control(&mut m.qemu, false, granted);
        ok(m.hdl.msix(3));
        let _ = take(&mut m);
        assert_eq!(m.hdl.function().unwrap().msi_granted, 2, "{granted}");
        enable(&mut m, granted);
        for vector in 0..4 {
            ok(m.hdl.msix(vector));
            assert_eq!(take(&mut m), message(vector), "{vector}, {granted}");
        }
        assert_eq!(m.hdl.function().unwrap().msi_granted, 2, "{granted}");
    }
}

/// MSI has nowhere to note a vector while it is off.
#[test]
fn disabled_msi_raises_nothing() {
    let (mut m, msi) = start(2);
    msi.control(&mut m.qemu, false, 1);
    ok(m.hdl.msix(1));
    assert_eq!((take(&mut m), msi.pending(&mut m.qemu)), (0, 0));
    msi.control(&mut m.qemu, true, 1);
    assert_eq!(take(&mut m), 0);
    ok(m.hdl.msix(1));
    assert_eq!(take(&mut m), message(1));
}

#[test]
fn without_bus_mastering_or_power_no_message_is_written() {
    let (mut m, _) = start(2);
    CARD.change_command(&mut m.qemu, 0, command::BUS_MASTER);
    ok(m.hdl.msix(1));
    assert_eq!(take(&mut m), 0);
    CARD.change_command(&mut m.qemu, command::BUS_MASTER, 0);
    assert_eq!(take(&mut m), 0);
    let power = CARD.expect(&mut m.qemu, capability::POWER_MANAGEMENT) + 4;
    CARD.set(&mut m.qemu, power, 2, 3);
    ok(m.hdl.msix(1));
    assert_eq!(take(&mut m), 0, "D3hot");
    CARD.set(&mut m.qemu, power, 2, 0);
    assert_eq!(take(&mut m), 0);
    ok(m.hdl.msix(1));
    assert_eq!(take(&mut m), message(1));
}

/// In D3hot a function sends nothing, what it has pending included.
#[test]
fn asleep_an_unmasked_vector_stays_pending() {
    let (mut m, msi) = start(2);
    msi.mask(&mut m.qemu, 1 << 1);
    ok(m.hdl.msix(1));
    assert_eq!((take(&mut m), msi.pending(&mut m.qemu)), (0, 1 << 1));
    let power = CARD.expect(&mut m.qemu, capability::POWER_MANAGEMENT) + 4;
    CARD.set(&mut m.qemu, power, 2, 3);
    msi.mask(&mut m.qemu, 0);
    assert_eq!(take(&mut m), 0);
    assert_eq!(msi.pending(&mut m.qemu), 1 << 1);
    CARD.set(&mut m.qemu, power, 2, 0);
    assert_eq!(take(&mut m), message(1));
    assert_eq!(msi.pending(&mut m.qemu), 0);
}

/// The guest enables one of the two, and that one raises the vectors.
#[test]
fn beside_msix_the_enabled_one_delivers() {
    let mut m = Machine::start(card(4, 8, true));
    let bars = m.bars;
    let msix = MsixSeen::find(&mut m.qemu, CARD).unwrap();
    for vector in 0..4 {
        let data = MSIX_DATA | u32::from(vector);
        msix.program(&mut m.qemu, &bars, vector, MSIX_MESSAGE, data);
    }
    let msi = MsiSeen::find(&mut m.qemu, CARD).unwrap();
    msi.program(&mut m.qemu, MESSAGE, DATA);
    for (with_msix, with_msi) in [
        (true, false),
        (false, true),
        (true, true),
        (false, true),
        (true, false),
    ] {
        msix.control(&mut m.qemu, with_msix, false);
        msi.control(&mut m.qemu, with_msi, 3);
        for vector in 0..8 {
            ok(m.hdl.msix(vector));
            // Both is what no guest may do.
            let expected = match (with_msix, vector) {
                (true, 0..=3) => (MSIX_DATA | u32::from(vector), 0),
                (true, _) => (0, 0),
                (false, _) => (0, message(vector)),
            };
            let found = (take_at(&mut m, MSIX_MESSAGE), take(&mut m));
            assert_eq!(found, expected, "{with_msix} {with_msi} {vector}");
        }
        if with_msix {
            // MSI has it, but that is not what is enabled.
            let line = ["ERROR", "vector 7 ignored", "enabled 4 vectors"];
            m.qemu.expect_line(&line);
        }
        let told = m.hdl.function().unwrap();
        assert_eq!((told.msix_enable, told.msi_enable), (with_msix, with_msi));
    }
    // With neither MSI-X has it pending, as without MSI.
    msix.control(&mut m.qemu, false, false);
    ok(m.hdl.msix(2));
    assert_eq!((take_at(&mut m, MSIX_MESSAGE), take(&mut m)), (0, 0));
    assert!(msix.is_pending(&mut m.qemu, &bars, 2));
    assert_eq!(msi.pending(&mut m.qemu), 0);
}

#[test]
fn intx_gives_way() {
    let mut m = Machine::start(Config {
        intx_pin: 1,
        ..card(0, 2, false)
    });
    // Interrupt Status is bit 3 of Status.
    let asserted = |m: &mut Machine| {
        ok(m.hdl.dma_read(0, 1));
        CARD.get(&mut m.qemu, reg::STATUS, 2) >> 3 & 1 != 0
    };
    for _ in 0..2 {
        ok(m.hdl.intx(true));
        assert!(asserted(&mut m));
        let msi = enable(&mut m, 1);
        assert!(!asserted(&mut m), "MSI is enabled");
        ok(m.hdl.intx(false));
        ok(m.hdl.intx(true));
        assert!(!asserted(&mut m));
        msi.control(&mut m.qemu, false, 0);
        assert!(asserted(&mut m), "the level is as it was");
        ok(m.hdl.intx(false));
        assert!(!asserted(&mut m));
    }
}

/// Each kind of reset leaves MSI off and nothing masked or pending, and the simulator knows.
#[test]
fn a_reset_takes_all_of_it_back() {
    type Reset = fn(&mut Machine);
    let resets: [(ResetKind, Reset); 3] = [
        (ResetKind::Flr, |m| {
            let at = CARD.expect(&mut m.qemu, capability::EXPRESS) + 8;
            let control = CARD.get(&mut m.qemu, at, 2);
            CARD.set(&mut m.qemu, at, 2, control | 0x8000);
        }),
        (ResetKind::Hot, |m| {
            let control = ROOT_PORT.get(&mut m.qemu, reg::BRIDGE_CONTROL, 2);
            for value in [control | 0x40, control & !0x40] {
                ROOT_PORT.set(&mut m.qemu, reg::BRIDGE_CONTROL, 2, value);
            }
        }),
        (ResetKind::Cold, |m| {
            m.qemu.qmp("system_reset", json!({}));
            m.qemu.expect_event("RESET");
        }),
    ];
    let (mut m, msi) = start(8);
    for (kind, reset) in resets {
        msi.mask(&mut m.qemu, 0x81);
        ok(m.hdl.msix(7));
        assert_eq!((take(&mut m), msi.pending(&mut m.qemu)), (0, 0x80));
        reset(&mut m);
        let tag = ok(m.hdl.expect_reset(kind));
        ok(m.hdl.reset_done(tag));
        m.enumerate();
        assert_eq!(msi.state(&mut m.qemu), (false, 0), "{kind:?}");
        for at in (4..24).step_by(4) {
            assert_eq!(CARD.get(&mut m.qemu, msi.at + at, 4), 0, "{kind:?} {at}");
        }
        ok(m.hdl.msix(7));
        assert_eq!(take(&mut m), 0);
        let told = m.hdl.function().unwrap();
        assert!(!told.msi_enable && told.msi_granted == 0 && told.msi_mask == 0);
        enable(&mut m, 3);
        ok(m.hdl.msix(7));
        assert_eq!(take(&mut m), message(7), "{kind:?}");
    }
}

/// The simulator hears of each change, mask included.
#[test]
fn each_change_is_told() {
    let (mut m, msi) = start(16);
    let told = |m: &mut Machine| {
        let _ = take(m);
        let f = m.hdl.function().unwrap();
        (f.msi_enable, f.msi_granted, f.msi_mask)
    };
    assert_eq!(told(&mut m), (true, 4, 0));
    msi.mask(&mut m.qemu, 0xa5a5);
    assert_eq!(told(&mut m), (true, 4, 0xa5a5));
    msi.mask(&mut m.qemu, u32::MAX);
    assert_eq!(told(&mut m), (true, 4, 0xffff), "sixteen there are");
    msi.control(&mut m.qemu, true, 0);
    assert_eq!(told(&mut m), (true, 0, 0xffff));
    msi.control(&mut m.qemu, false, 0);
    assert_eq!(told(&mut m), (false, 0, 0xffff));
}

/// What the guest has set is QEMU's to keep: a simulator that comes back is told, and its
/// vectors reach the guest at once.
#[test]
fn a_simulator_that_comes_back_finds_it_as_it_was() {
    let (mut m, msi) = start(8);
    msi.mask(&mut m.qemu, 1 << 3);
    ok(m.hdl.msix(3));
    assert_eq!((take(&mut m), msi.pending(&mut m.qemu)), (0, 1 << 3));
    m.kill_endpoint();
    m.qemu.expect_line(&["is down"]);
    m.restart_endpoint(card(0, 8, true));
    ok(m.hdl.wait_for_session(PATIENCE));
    m.settle_resets();
    m.check_alive();
    let told = m.hdl.function().unwrap();
    assert_eq!(
        (told.msi_enable, told.msi_granted, told.msi_mask),
        (true, 3, 1 << 3)
    );
    ok(m.hdl.msix(6));
    assert_eq!(take(&mut m), message(6));
    msi.mask(&mut m.qemu, 0);
    assert_eq!(take(&mut m), message(3), "pending from before");
}

/// One that comes back with another MSI is another card.
#[test]
fn a_simulator_that_comes_back_with_another_msi_is_refused() {
    let (mut m, _) = start(8);
    for other in [card(0, 4, true), card(0, 8, false), sample_config(0)] {
        m.kill_endpoint();
        m.restart_endpoint(other);
        let event = ok(m.hdl.next_event(PATIENCE));
        assert!(matches!(event, Event::Offered { .. }), "{event:?}");
        let (reason, text) = ok(m.hdl.expect_down(PATIENCE));
        assert_eq!(reason, Reason::Configuration);
        assert!(text.contains("MSI: 8 vectors, with masking, now"), "{text}");
    }
    m.kill_endpoint();
    m.restart_endpoint(card(0, 8, true));
    ok(m.hdl.wait_for_session(PATIENCE));
    m.settle_resets();
    m.check_alive();
    ok(m.hdl.msix(7));
    assert_eq!(take(&mut m), message(7));
}

/// Unplugged with MSI enabled and vectors on their way, and plugged in again.
#[test]
fn unplugged_and_plugged_in_again() {
    let mut m = Machine::start(card(2, 8, true));
    for _ in 0..3 {
        let msi = enable(&mut m, 3);
        msi.mask(&mut m.qemu, 1);
        for vector in [0, 1, 7] {
            ok(m.hdl.msix(vector));
        }
        assert_eq!(take(&mut m), message(7));
        m.qemu.qmp("device_del", json!({"id": "card"}));
        for _ in 0..100 {
            let _ = m.hdl.msix(7);
        }
        m.qemu.qmp("system_reset", json!({}));
        m.qemu.expect_event("RESET");
        let deadline = Instant::now() + PATIENCE;
        while CARD.is_present(&mut m.qemu) {
            assert!(Instant::now() < deadline, "the card is still there");
            std::thread::sleep(Duration::from_millis(5));
        }
        m.kill_endpoint();
        m.restart_endpoint(card(2, 8, true));
        plug_in(&mut m);
        m.enumerate();
        m.settle();
        m.check_alive();
        let msi = MsiSeen::find(&mut m.qemu, CARD).unwrap();
        assert_eq!(msi.state(&mut m.qemu), (false, 0));
        assert_eq!(msi.pending(&mut m.qemu), 0);
    }
}

fn plug_in(m: &mut Machine) {
    let arguments = json!({
        "driver": "accelerator-pcie", "id": "card", "bus": "rp0", "endpoint": m.endpoint(),
        "other-timeout": PATIENCE.as_millis() as u64,
    });
    let id = m.qemu.start_qmp("device_add", arguments);
    ok(m.hdl.wait_for_session(PATIENCE));
    if let Err(e) = m.qemu.finish_qmp(id) {
        panic!("device_add: {e}");
    }
}

/// A simulator of version 1.2 has no MSI, and its card is what it was.
#[test]
fn an_earlier_simulator_is_served() {
    let scratch = Scratch::new();
    let endpoint = scratch.endpoint();
    let hdl = ok(RawEndpoint::bind(&endpoint));
    let mut qemu = Launch::new()
        .args(&device_args(&endpoint, ""))
        .spawn(&scratch);
    qemu.connect();
    let (peer, session) = ok(hdl.wait_for_init(PATIENCE));
    let mut config = Vec::new();
    Frame::Config(sample_config(4)).encode(session, &mut config);
    config[5] = 2;
    ok(hdl.send(&peer, &config));
    qemu.wait_ready();
    let received = ok(hdl.receive(PATIENCE)).expect("no READY").message;
    let (header, _, rest) = split(&received).unwrap();
    assert_eq!(header.frame_type, frame_type::READY);
    // It is told of its function, in which no bit is set that it does not know.
    let message = if rest.is_empty() {
        ok(hdl.receive(PATIENCE)).expect("no FUNCTION").message
    } else {
        rest.to_vec()
    };
    let (header, payload, _) = split(&message).unwrap();
    assert_eq!(header.frame_type, frame_type::FUNCTION);
    assert_eq!(payload[1..4], [0; 3]);
    assert_eq!(payload[12..], [0; 20]);
    pci::enable_root_port(&mut qemu);
    assert!(CARD.find(&mut qemu, capability::MSIX).is_some());
    assert!(MsiSeen::find(&mut qemu, CARD).is_none());
}
