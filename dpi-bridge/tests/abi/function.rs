// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the guest sets in config space, as the simulator hears of it.

use accelerator_peers::{GuestEndpoint, PATIENCE};
use accelerator_protocol::{
    function::{Function, Power},
    wire::{Frame, Reason, ResetKind, VERSION_MINOR},
};
use accelerator_record::Kind;

use crate::{record::entries, support::*};

const FUNCTION: i32 = 8;
const READY_FUNCTION: i32 = 16;
const ALL: i32 = READY | READY_FUNCTION;

/// As `acc_get_function` returns it.
fn seen(f: &Function) -> [i64; 8] {
    [
        0,
        f.flags().into(),
        f.power as i64,
        128 << f.max_payload,
        128 << f.max_read_request,
        f.requester_id.into(),
        f.link_speed.into(),
        f.link_width.into(),
    ]
}

/// After a reset, before the host has told.
fn fresh(sim_link: (u8, u8)) -> Function {
    Function {
        link_speed: sim_link.0,
        link_width: sim_link.1,
        ..Function::default()
    }
}

fn at_work() -> Function {
    Function {
        memory_space: true,
        bus_master: true,
        intx_disable: true,
        msix_enable: true,
        msix_mask: true,
        extended_tag: true,
        relaxed_ordering: false,
        no_snoop: false,
        msi_enable: false,
        msi_granted: 0,
        msi_mask: 0,
        power: Power::D0,
        max_payload: 1,
        max_read_request: 5,
        requester_id: 0x1238,
        link_speed: 4,
        link_width: 16,
        addresses: Some(PLACES),
    }
}

/// Of BARs, one of which is not mapped.
const PLACES: [u64; 6] = [0xfe80_0000, 1 << 63, 0x10, u64::MAX, 0, 0x1234_5670];

/// As `acc_get_bar` returns them all.
fn places(sim: &mut Simulator) -> Vec<Vec<i64>> {
    (0..6)
        .map(|bar| sim.results(&format!("get_bar {bar}")))
        .collect()
}

/// None of them is known.
fn nowhere() -> Vec<Vec<i64>> {
    vec![vec![0, 0]; 6]
}

#[track_caller]
fn fetched(sim: &mut Simulator) -> Vec<i64> {
    sim.expect(ALL, FUNCTION);
    sim.results("get_function")
}

/// What the guest has sent is here: an answer to DMA came behind it, and passed it.
fn all_here(sim: &mut Simulator, guest: &mut GuestEndpoint) {
    guest.take_activity();
    let tag = sim.dma_write(MEMORY, &[1]);
    serve(guest, 1);
    sim.expect(READY_DMA_WRITE | READY_FUNCTION, DMA_WRITE_DONE);
    assert_eq!(sim.results("get_dma_write"), [0, tag, 0]);
}

#[test]
fn the_rtl_hears_what_the_guest_sets() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    // From the first poll on, before there is a host.
    assert_eq!(sim.poll(ALL), NONE);
    let mut guest = connect(&mut sim, &endpoint);
    let link = (guest.config().link_speed, guest.config().link_width);
    let enabled = Function {
        memory_space: true,
        bus_master: true,
        ..Function::default()
    };
    assert_eq!(sim.results("get_function"), seen(&fresh(link)));
    assert_eq!(fetched(&mut sim), seen(&enabled));
    sim.expect_nothing(ALL);
    // Fetched again it is the same.
    assert_eq!(sim.results("get_function"), seen(&enabled));

    guest.set_function(at_work()).unwrap();
    assert_eq!(fetched(&mut sim), seen(&at_work()));
    // One that is not fetched stays, and gives way to the one after it.
    let asleep = Function {
        power: Power::D3hot,
        ..at_work()
    };
    guest.set_function(asleep).unwrap();
    sim.expect(ALL, FUNCTION);
    assert_eq!(sim.poll(ALL), FUNCTION);
    guest.set_function(at_work()).unwrap();
    guest.set_function(enabled).unwrap();
    all_here(&mut sim, &mut guest);
    assert_eq!(fetched(&mut sim), seen(&enabled));
    sim.expect_nothing(ALL);

    // A reset leaves what it leaves, in the reset already.
    guest.start_reset(ResetKind::Flr).unwrap();
    assert_eq!(sim.reset(), 1);
    let reset = Function {
        requester_id: enabled.requester_id,
        link_speed: enabled.link_speed,
        link_width: enabled.link_width,
        ..Function::default()
    };
    assert_eq!(sim.results("get_function"), seen(&reset));
    assert_eq!(fetched(&mut sim), seen(&Function::default()));
    assert_eq!(sim.call("reset_done"), 0);
    guest.close().unwrap();
    sim.link(false);
    assert_eq!(sim.results("get_function"), seen(&fresh(link)));
    assert_eq!(sim.raw("get_function 0 null").split(' ').next(), Some("-1"));
    sim.finish();
}

/// Where the BARs are comes and goes with the rest.
#[test]
fn the_rtl_hears_where_bars_are() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    assert_eq!(sim.poll(ALL), NONE);
    assert_eq!(places(&mut sim), nowhere());
    let mut guest = connect(&mut sim, &endpoint);
    fetched(&mut sim);
    assert_eq!(places(&mut sim), nowhere());
    guest.set_function(at_work()).unwrap();
    // Not known before it is fetched.
    sim.expect(ALL, FUNCTION);
    assert_eq!(places(&mut sim), nowhere());
    fetched(&mut sim);
    let known = |place: u64| match place {
        u64::MAX => vec![0, 0],
        place => vec![1, place as i64],
    };
    assert_eq!(places(&mut sim), PLACES.map(known));
    guest.start_reset(ResetKind::Flr).unwrap();
    assert_eq!(sim.reset(), 1);
    assert_eq!(places(&mut sim), nowhere());
    assert_eq!(sim.call("reset_done"), 0);
    sim.fails("get_bar 6", EINVAL, &["bar is 6", "0 to 0x5"]);
    sim.fails("get_bar -1", EINVAL, &["bar is -1"]);
    assert_eq!(sim.raw("get_bar 0 null").split(' ').next(), Some("-1"));
    sim.finish();
}

/// A function with MSI-X of four vectors and MSI of eight.
fn with_msi(endpoint: &str) -> Simulator {
    let mut sim = Simulator::start();
    sim.usual(endpoint);
    assert_eq!(sim.call("set_msi 8 1"), 0);
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    sim
}

/// What the guest has set of MSI is told with the rest, and which vectors there are
/// depends on what it has enabled.
#[test]
fn the_rtl_hears_of_msi() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = with_msi(&endpoint);
    assert_eq!(sim.poll(ALL), NONE);
    assert_eq!(sim.results("get_msi"), [0, 1, 0]);
    let mut guest = connect(&mut sim, &endpoint);
    fetched(&mut sim);
    // Neither: those of either.
    assert_eq!(sim.call("msix 7"), 0);
    guest.wait_msix(7, PATIENCE).unwrap();
    sim.fails("msix 8", EINVAL, &["vector is 8", "0 to 0x7"]);

    let idle = Function {
        msix_enable: false,
        msix_mask: false,
        ..at_work()
    };
    let msi = Function {
        msi_enable: true,
        msi_granted: 2,
        msi_mask: 0x8000_0005,
        ..idle
    };
    guest.set_function(msi).unwrap();
    // Not known before it is fetched.
    sim.expect(ALL, FUNCTION);
    assert_eq!(sim.results("get_msi"), [0, 1, 0]);
    let flags = sim.results("get_function")[1];
    assert_eq!(flags & (8 | 256), 256);
    assert_eq!(
        sim.results("get_msi"),
        [0, 4, i64::from(0x8000_0005_u32 as i32)]
    );
    // More than were granted: the host folds them. More than there are: none.
    assert_eq!(sim.call("msix 7"), 0);
    guest.wait_msix(7, PATIENCE).unwrap();
    sim.fails("msix 8", EINVAL, &["vector is 8", "0 to 0x7"]);

    guest
        .set_function(Function {
            msix_enable: true,
            ..idle
        })
        .unwrap();
    assert_eq!(fetched(&mut sim)[1] & (8 | 256), 8);
    assert_eq!(sim.results("get_msi"), [0, 1, 0]);
    assert_eq!(sim.call("msix 3"), 0);
    guest.wait_msix(3, PATIENCE).unwrap();
    sim.fails("msix 4", EINVAL, &["vector is 4", "0 to 0x3"]);

    // A reset takes it back, in the reset already.
    guest.set_function(msi).unwrap();
    fetched(&mut sim);
    guest.start_reset(ResetKind::Flr).unwrap();
    assert_eq!(sim.reset(), 1);
    assert_eq!(sim.results("get_msi"), [0, 1, 0]);
    assert_eq!(sim.call("reset_done"), 0);
    assert_eq!(sim.raw("get_msi 0 null").split(' ').next(), Some("-1"));
    sim.finish();
}

/// With its table in the RTL a vector of MSI-X is a DMA write, and not for `acc_msix`; MSI beside
/// it is.
#[test]
fn messages_of_a_table_in_the_rtl_are_the_rtls() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::start();
    sim.usual(&endpoint);
    for call in ["set_msix_in_rtl 1", "set_msi 8 1", "start"] {
        assert_eq!(sim.call(call), 0, "{}", sim.last_error());
    }
    assert_eq!(sim.poll(ALL), NONE);
    let mut guest = connect(&mut sim, &endpoint);
    assert!(guest.config().msix.unwrap().in_rtl);
    fetched(&mut sim);
    let refused = |sim: &mut Simulator| {
        sim.fails(
            "msix 1",
            ENOTSUP,
            &["MSI-X table is in the RTL", "4 bytes by DMA"],
        );
    };
    // Neither is enabled.
    refused(&mut sim);
    let state = |msix_enable, msi_enable| Function {
        msix_enable,
        msi_enable,
        ..at_work()
    };
    guest.set_function(state(false, true)).unwrap();
    fetched(&mut sim);
    assert_eq!(sim.call("msix 7"), 0);
    guest.wait_msix(7, PATIENCE).unwrap();
    for msi_enable in [false, true] {
        guest.set_function(state(true, msi_enable)).unwrap();
        assert_eq!(fetched(&mut sim)[1] & 8, 8);
        refused(&mut sim);
    }
    // A read of the table is one like any other.
    let tag = guest.start_read(2, 4, 4).unwrap();
    let mmio = sim.next_mmio(MMIO_READ);
    assert_eq!((mmio.bar, mmio.addr), (2, 4));
    assert_eq!(sim.call(&format!("mmio_read_done {} 0 77", mmio.tag)), 0);
    let _ = tag;
    sim.finish();
}

/// A host of an earlier version is told why it does not get the function.
#[test]
fn an_earlier_host_is_refused_with_msi() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = with_msi(&endpoint);
    assert_eq!(sim.poll(ALL), NONE);
    let host = Raw::connect(&endpoint);
    let mut init = host.encode(&Frame::Init(accelerator_protocol::wire::Init {
        features: 0,
        write_window: 64,
        max_data: 65536,
        name: "of old",
    }));
    init[5] = 2;
    host.send(&init);
    host.wait(&mut sim);
    let (reason, text) = host.refusal();
    assert_eq!(reason, Reason::Configuration);
    assert!(
        text.contains("version 1.2") && text.contains("MsiVectors"),
        "{text}"
    );
    // One that knows it is welcome.
    let guest = connect(&mut sim, &endpoint);
    assert_eq!(guest.config().msi.unwrap().vectors, 8);
    let log = sim.finish();
    for part in [
        "a host is refused: the function has MSI",
        "version 1.2",
        "version 1.3",
    ] {
        assert!(log.contains(part), "{log}");
    }
}

/// So is one that knows MSI, and no table in the RTL.
#[test]
fn an_earlier_host_is_refused_with_a_table_in_the_rtl() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::start();
    sim.usual(&endpoint);
    assert_eq!(sim.call("set_msix_in_rtl 1"), 0);
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    let host = Raw::connect(&endpoint);
    let mut init = host.encode(&Frame::Init(accelerator_protocol::wire::Init {
        features: 0,
        write_window: 64,
        max_data: 65536,
        name: "of old",
    }));
    init[5] = 5;
    host.send(&init);
    host.wait(&mut sim);
    let (reason, text) = host.refusal();
    assert_eq!(reason, Reason::Configuration);
    for part in [
        "version 1.5",
        "version 1.6",
        "table in the RTL",
        "MsixInRtl",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let _guest = connect(&mut sim, &endpoint);
    sim.finish();
}

/// Among the writes it keeps its place: what is written before has been taken by
/// the RTL when the state changes, and what is asked for after has not.
#[test]
fn it_takes_its_turn_among_the_writes() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    assert_eq!(sim.poll(ALL), NONE);
    let mut guest = connect(&mut sim, &endpoint);
    fetched(&mut sim);
    guest.write(0, 0, 4, 1, PATIENCE).unwrap();
    guest.set_function(at_work()).unwrap();
    guest.write(0, 4, 4, 2, PATIENCE).unwrap();
    guest.start_read(0, 8, 4).unwrap();

    sim.expect(ALL, MMIO_WRITE);
    let first = sim.get_mmio();
    assert_eq!(first.data, 1);
    // Not accepted yet.
    assert_eq!(sim.poll(ALL & !READY_WRITE), NONE);
    assert_eq!(sim.call(&format!("mmio_write_done {} 0", first.tag)), 0);
    assert_eq!(fetched(&mut sim), seen(&at_work()));
    let second = sim.next_mmio(MMIO_WRITE);
    assert_eq!(second.data, 2);
    assert_eq!(sim.call(&format!("mmio_write_done {} 0", second.tag)), 0);
    let read = sim.next_mmio(MMIO_READ);
    assert_eq!(sim.call(&format!("mmio_read_done {} 0 3", read.tag)), 0);
    sim.finish();
}

/// A bridge that was made before there was such a thing hears nothing.
#[test]
fn who_does_not_want_to_know_is_not_told() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut guest = connect(&mut sim, &endpoint);
    guest.set_function(at_work()).unwrap();
    guest.start_read(0, 8, 4).unwrap();
    let read = sim.next_mmio(MMIO_READ);
    assert_eq!(sim.call(&format!("mmio_read_done {} 0 3", read.tag)), 0);
    sim.expect_nothing(READY);
    sim.finish();
}

/// A host of an earlier version cannot tell; it refuses what is not enabled.
#[test]
fn with_an_earlier_host_all_is_enabled() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    assert_eq!(sim.poll(ALL), NONE);
    let host = Raw::connect(&endpoint);
    let mut init = host.encode(&Frame::Init(accelerator_protocol::wire::Init {
        features: 0,
        write_window: 64,
        max_data: 65536,
        name: "of old",
    }));
    assert_eq!(init[5], VERSION_MINOR);
    init[5] = 1;
    host.send(&init);
    host.wait(&mut sim);
    let config = host.config();
    host.put(&Frame::Ready);
    sim.link(true);
    let all = Function {
        memory_space: true,
        bus_master: true,
        msix_enable: config.msix.is_some(),
        ..fresh((config.link_speed, config.link_width))
    };
    assert_eq!(fetched(&mut sim), seen(&all));
    let log = sim.finish();
    assert!(
        log.contains("speaks version 1.1 of the protocol and does not tell"),
        "{log}"
    );
}

/// What a host tells again and again with no write in between is one event.
#[test]
fn many_changes_are_one_event() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    assert_eq!(sim.poll(ALL), NONE);
    let mut guest = connect(&mut sim, &endpoint);
    for id in 0..200 {
        let function = Function {
            requester_id: id,
            ..at_work()
        };
        guest.set_function(function).unwrap();
    }
    all_here(&mut sim, &mut guest);
    let last = Function {
        requester_id: 199,
        ..at_work()
    };
    assert_eq!(fetched(&mut sim), seen(&last));
    sim.expect_nothing(ALL);
    sim.finish();
}

#[test]
fn where_bars_are_is_in_the_record() {
    let folder = Folder::new();
    let (endpoint, file) = (folder.endpoint("s"), folder.path("record"));
    let mut sim = Simulator::start();
    assert_eq!(sim.call(&format!("record {} 0 0", file.display())), 0);
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    assert_eq!(sim.poll(ALL), NONE);
    let mut guest = connect(&mut sim, &endpoint);
    fetched(&mut sim);
    let mut places = PLACES;
    for place in [PLACES[2], 0x8000] {
        places[2] = place;
        let addresses = Some(places);
        let function = Function {
            addresses,
            ..at_work()
        };
        guest.set_function(function).unwrap();
        fetched(&mut sim);
    }
    sim.finish();
    let all = entries(&file);
    let of = |kind| {
        all.iter()
            .map(|e| e.0)
            .filter(move |e| e.kind() == Some(kind))
    };
    // That of the connection tells of none, the next of all, and the last of what has changed.
    let functions: Vec<u64> = of(Kind::Function).map(|e| e.number).collect();
    assert_eq!(functions.len(), 3);
    let told: Vec<_> = of(Kind::BarAddress)
        .map(|e| (e.number, e.bar, e.address))
        .collect();
    let mut expected: Vec<_> = (0..)
        .zip(PLACES)
        .map(|(bar, address)| (functions[1], bar, address))
        .collect();
    expected.push((functions[2], 2, 0x8000));
    assert_eq!(told, expected);
}
