// SPDX-License-Identifier: MIT OR Apache-2.0

//! Each call: its arguments, its order, and handles that are none.

use accelerator_protocol::{Bar, Capability, Msi, Msix};

use crate::support::*;

/// Every function that takes a handle, with good arguments.
const CALLS: [&str; 32] = [
    "close",
    "set_id 0x10ee 1 0 0 0 0",
    "set_bar 0 4096 0 0",
    "set_msix 1 0 0 0 16",
    "set_msix_in_rtl 1",
    "set_msi 1 0",
    "add_capability 9 0 1 \
     00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
     000000000000000000000000000000000000",
    "set_link 1 1",
    "set_intx 1",
    "set_clock 1000",
    "set_shared_memory 1",
    "start",
    "poll 15",
    "get_mmio",
    "mmio_read_done 1 0 0",
    "mmio_write_done 1 0",
    "dma_read 0 64",
    "get_dma_read",
    "dma_read_beat 1 0 1",
    "dma_write_begin 0",
    "dma_write_beat 0 1 \
     00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
     000000000000000000000000000000000000 0000000000000000",
    "dma_write_end",
    "get_dma_write",
    "msix 0",
    "intx 0",
    "get_reset",
    "reset_done",
    "get_link",
    "get_function",
    "get_msi",
    "get_bar 0",
    "stat 0",
];

fn is_setting(call: &str) -> bool {
    call.starts_with("set_") || call.starts_with("add_")
}

/// A call of `acc_add_capability`; the body is what its words hold, of which
/// `bytes` count.
fn add_capability(id: i32, offset: i32, bytes: i32, body: &[u8]) -> String {
    let mut beat = [0xee; 64];
    beat[..body.len()].copy_from_slice(body);
    let hex: String = beat.iter().map(|b| format!("{b:02x}")).collect();
    format!("add_capability {id} {offset} {bytes} {hex}")
}

/// What a function returns for a handle, by its raw value.
fn with_handle(sim: &mut Simulator, call: &str, handle: &str) -> String {
    let (name, rest) = call.split_once(' ').unwrap_or((call, ""));
    sim.raw(&format!("{name} {handle} {rest}"))
}

#[test]
fn handles_that_are_none_are_refused_by_every_call() {
    let folder = Folder::new();
    let mut sim = Simulator::with_bridge(&folder.endpoint("s"));
    let good = sim.raw("value 0");
    let number = u64::from_str_radix(good.trim_start_matches("0x"), 16).unwrap();
    // A bridge that was closed, and one in the same place that was not.
    sim.slot = 1;
    sim.usual(&folder.endpoint("t"));
    let closed = sim.raw("value 1");
    assert_eq!(sim.call("close"), 0);
    sim.usual(&folder.endpoint("t"));
    assert_ne!(sim.raw("value 1"), closed);

    let mut bad: Vec<String> = vec![closed];
    for value in [
        0,
        1,
        8,
        number + 1,
        number - 1,
        number << 8,
        !number,
        u64::MAX,
        0x7fff_0000_0000,
    ] {
        bad.push(format!("{value:#x}"));
    }
    for call in CALLS {
        for handle in &bad {
            let answer = with_handle(&mut sim, call, handle);
            let result = answer.split(' ').next().unwrap();
            assert_eq!(result, EINVAL.to_string(), "{call} {handle}: {answer}");
            // Outputs are as they were.
            let outputs = [
                "get_mmio",
                "get_dma_read",
                "get_dma_write",
                "get_reset",
                "get_link",
            ];
            if outputs.contains(&call) {
                assert!(
                    answer[3..].split(' ').all(|w| w == POISON.to_string()),
                    "{answer}"
                );
            }
        }
        let text = sim.null_error();
        assert!(
            text.contains("is no handle of an open bridge"),
            "{call}: {text:?}"
        );
    }
    with_handle(&mut sim, "poll 15", "0x0");
    assert!(sim.null_error().contains("the handle is null"));
    // The good one never noticed.
    sim.slot = 0;
    assert_eq!(sim.poll(READY), NONE);
    assert_eq!(sim.last_error(), "");
    sim.slot = 1;
    assert_eq!(sim.call("close"), 0);
    sim.slot = 0;
    sim.finish();
}

#[test]
fn before_the_start_nothing_but_configuration() {
    let folder = Folder::new();
    let mut sim = Simulator::start();
    sim.usual(&folder.endpoint("s"));
    for call in CALLS {
        let configuration = is_setting(call) || ["close", "start", "stat 0"].contains(&call);
        if !configuration {
            sim.fails(call, ESTATE, &["acc_start was not called"]);
        }
    }
    sim.finish();
}

#[test]
fn after_the_start_no_configuration() {
    let folder = Folder::new();
    let mut sim = Simulator::with_bridge(&folder.endpoint("s"));
    for call in CALLS {
        if is_setting(call) || call == "start" {
            sim.fails(call, ESTATE, &["fixed once acc_start was called"]);
        }
    }
    sim.finish();
}

#[test]
fn arguments_out_of_range_are_named_with_their_range() {
    let folder = Folder::new();
    let mut sim = Simulator::start();
    assert_eq!(sim.raw("abi_version"), "1");
    sim.usual(&folder.endpoint("s"));
    for (call, words) in [
        ("set_id 0 1 1 1 1 1", &["vendor is 0", "1 to 0xfffe"][..]),
        ("set_id 0xffff 1 1 1 1 1", &["vendor is 65535"][..]),
        (
            "set_id 1 0x10000 1 1 1 1",
            &["device is 65536", "0 to 0xffff"][..],
        ),
        ("set_id 1 -1 1 1 1 1", &["device is -1"][..]),
        ("set_id 1 1 0x10000 1 1 1", &["subvendor"][..]),
        ("set_id 1 1 1 0x10000 1 1", &["subdevice"][..]),
        (
            "set_id 1 1 1 1 0x1000000 1",
            &["class_code", "0xffffff"][..],
        ),
        ("set_id 1 1 1 1 1 256", &["revision is 256", "0xff"][..]),
        ("set_bar 6 4096 0 0", &["bar is 6", "0 to 0x5"][..]),
        ("set_bar -1 4096 0 0", &["bar is -1"][..]),
        ("set_bar 0 4096 8 0", &["flags is 8"][..]),
        (
            "set_bar 0 4096 4 0",
            &["BAR 0", "I/O space", "BAR of memory", "pci_iomap"][..],
        ),
        ("set_bar 0 -4096 0 0", &["size of BAR 0 is -4096"][..]),
        ("set_msix 2049 0 0 0 0", &["vectors is 2049", "0x800"][..]),
        ("set_msix -1 0 0 0 0", &["vectors is -1"][..]),
        ("set_msix 1 6 0 0 0", &["table_bar is 6"][..]),
        ("set_msix 1 0 -8 0 0", &["table_offset is -8"][..]),
        ("set_msix 1 0 0 -1 0", &["pba_bar is -1"][..]),
        ("set_msix 1 0 0 0 -8", &["pba_offset is -8"][..]),
        ("set_msix_in_rtl 2", &["in_rtl is 2"][..]),
        ("set_msix_in_rtl -1", &["in_rtl is -1"][..]),
        ("set_msi 3 0", &["vectors is 3", "8, 16 or 32"][..]),
        ("set_msi -1 0", &["vectors is -1"][..]),
        ("set_msi 64 0", &["vectors is 64"][..]),
        ("set_msi 4 2", &["masking is 2"][..]),
        ("set_msi 4 -1", &["masking is -1"][..]),
        ("set_link 0 1", &["speed is 0", "1 to 0x6"][..]),
        ("set_link 7 1", &["speed is 7"][..]),
        (
            "set_link 1 3",
            &["width is 3", "1, 2, 4, 8, 12, 16 or 32"][..],
        ),
        ("set_intx 5", &["pin is 5"][..]),
        ("set_clock -1", &["period_ps is -1"][..]),
        ("set_shared_memory 3", &["mode is 3", "0 to 0x2"][..]),
        ("stat 8", &["which is 8", "0 to 7"][..]),
        ("stat -1", &["which is -1"][..]),
    ] {
        sim.fails(call, EINVAL, words);
    }
    for (id, offset, bytes, words) in [
        (0, 0, 1, &["id is 0", "1 to 0xfe"][..]),
        (0x100, 0, 1, &["id is 256"][..]),
        (9, -4, 1, &["offset is -4", "0 to 0xfc"][..]),
        (9, 0x100, 1, &["offset is 256"][..]),
        (9, 0, 0, &["bytes is 0", "1 to 0x40"][..]),
        (9, 0, 65, &["bytes is 65"][..]),
    ] {
        sim.fails(&add_capability(id, offset, bytes, &[]), EINVAL, words);
    }
    sim.fails(
        "add_capability null",
        EINVAL,
        &["the pointer for body is null"],
    );
    // None of them has changed anything.
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    let mut guest = connect(&mut sim, &folder.endpoint("s"));
    assert_eq!(guest.config().device, 0x7024);
    guest.close().unwrap();

    for (call, words) in [
        ("poll 32", &["ready is 32", "0 to 0x1f"][..]),
        ("poll -1", &["ready is -1"][..]),
        ("dma_read 0 0", &["bytes is 0", "1 to 0x1000"][..]),
        ("dma_read 0 4097", &["bytes is 4097"][..]),
        ("dma_read_beat 1 64 1", &["lane is 64"][..]),
        ("dma_read_beat 1 0 65", &["bytes is 65"][..]),
        ("dma_read_beat 1 -1 1", &["lane is -1"][..]),
        ("dma_read_beat 1 0 0", &["bytes is 0"][..]),
        ("dma_read_beat 1 60 5", &["5 bytes from lane 60", "64"][..]),
        ("dma_read_beat 77 0 1", &["tag 77 is no DMA read"][..]),
        ("mmio_read_done 1 2 0", &["status is 2"][..]),
        ("mmio_read_done 1 0 0", &["tag 1 is no read"][..]),
        ("mmio_write_done 1 -1", &["status is -1"][..]),
        (
            "mmio_write_done 9 0",
            &["tag 9 is not the oldest write"][..],
        ),
        ("msix 4", &["vector is 4", "0 to 0x3"][..]),
        ("msix -1", &["vector is -1"][..]),
        ("intx 2", &["level is 2"][..]),
    ] {
        sim.fails(call, EINVAL, words);
    }
    sim.finish();
}

#[test]
fn fetching_what_was_not_announced_is_refused() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut guest = connect(&mut sim, &endpoint);
    const GETS: [&str; 5] = [
        "get_mmio",
        "get_dma_read",
        "get_dma_write",
        "get_reset",
        "get_link",
    ];
    for call in GETS {
        let results = sim.results(call);
        assert_eq!(results[0], ESTATE.into(), "{call}");
        assert!(results[1..].iter().all(|&r| r == POISON), "{results:?}");
        assert!(sim
            .last_error()
            .contains("without an acc_poll that returned"));
    }
    sim.fails("dma_write_end", ESTATE, &["without acc_dma_write_begin"]);
    assert_eq!(sim.write_beat(0, 1, &[0; 64], 1), ESTATE);
    assert_eq!(sim.call("dma_write_begin 0"), 0);
    sim.fails("dma_write_begin 0", ESTATE, &["twice"]);
    sim.fails("dma_write_end", EINVAL, &["no beats"]);
    sim.fails("dma_write_end", ESTATE, &["without"]);
    sim.fails("reset_done", ESTATE, &["without a reset"]);

    // The wrong one for what was announced, and null pointers, leave it there.
    guest.start_read(0, 8, 4).unwrap();
    sim.expect(READY, MMIO_READ);
    for call in &GETS[1..] {
        assert_eq!(sim.call(call), ESTATE, "{call}");
    }
    sim.fails("get_mmio null", EINVAL, &["the pointer for tag is null"]);
    let mmio = sim.get_mmio();
    assert_eq!((mmio.bar, mmio.addr, mmio.len), (0, BAR0_BASE + 8, 4));
    // Once only.
    assert_eq!(sim.call("get_mmio"), ESTATE);
    // Announced again and again until it is fetched, or another poll finds
    // that it is not ready.
    guest.start_read(0, 16, 4).unwrap();
    sim.expect(READY, MMIO_READ);
    assert_eq!(sim.poll(READY), MMIO_READ);
    assert_eq!(sim.poll(READY & !READY_READ), NONE);
    assert_eq!(sim.call("get_mmio"), ESTATE);
    assert_eq!(sim.poll(READY), MMIO_READ);
    assert_eq!(sim.get_mmio().addr, BAR0_BASE + 16);
    for call in ["dma_read_beat null", "dma_write_beat null"] {
        sim.fails(call, EINVAL, &["is null"]);
    }
    sim.finish();
}

#[test]
fn the_configuration_reaches_the_host() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::start();
    assert!(sim.open(&endpoint, "identity"));
    for call in [
        "set_id 0x1234 0x5678 0x9abc 0xdef0 0x0b4001 0xa5",
        "set_bar 0 65536 1 0x7f00000000",
        "set_bar 2 0x10000000000 3 -0x10000000000",
        "set_bar 4 16 2 0xfffffff0",
        "set_bar 5 0x80000000 0 0",
        "set_msix 2048 0 0x1000 0 0xf000",
        "set_msix_in_rtl 1",
        "set_msi 16 1",
        "set_link 6 32",
        "set_intx 4",
        "set_clock 3333",
    ] {
        assert_eq!(sim.call(call), 0, "{call}: {}", sim.last_error());
    }
    let longest: Vec<u8> = (0..64).map(|i| i * 3 + 1).collect();
    for call in [
        add_capability(9, 0xc0, 5, &[7, 0xaa, 0xbb, 0xcc, 0xdd]),
        add_capability(0x12, 0, 1, &[0x55]),
        add_capability(9, 0x60, 64, &longest),
    ] {
        assert_eq!(sim.call(&call), 0, "{call}: {}", sim.last_error());
    }
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    let guest = connect(&mut sim, &endpoint);
    let config = guest.config();
    let capability = |id, offset, body: &[u8]| Capability {
        id,
        offset,
        body: body.to_vec(),
    };
    assert_eq!(
        config.capabilities,
        [
            capability(9, 0xc0, &[7, 0xaa, 0xbb, 0xcc, 0xdd]),
            capability(0x12, 0, &[0x55]),
            capability(9, 0x60, &longest),
        ]
    );
    assert_eq!(
        (
            config.vendor,
            config.device,
            config.subsystem_vendor,
            config.subsystem
        ),
        (0x1234, 0x5678, 0x9abc, 0xdef0)
    );
    assert_eq!((config.class, config.revision), (0x0b_4001, 0xa5));
    assert_eq!((config.link_speed, config.link_width), (6, 32));
    assert_eq!((config.intx_pin, config.clock_period_ps), (4, 3333));
    assert_eq!(
        config.msix,
        Some(Msix {
            vectors: 2048,
            table_bar: 0,
            pba_bar: 0,
            table_offset: 0x1000,
            pba_offset: 0xf000,
            in_rtl: true,
        })
    );
    assert_eq!(
        config.msi,
        Some(Msi {
            vectors: 16,
            masking: true,
        })
    );
    let bar = |size, axi_base, is_64bit, prefetchable| Bar {
        size,
        axi_base,
        is_64bit,
        prefetchable,
    };
    assert_eq!(
        config.bars,
        [
            bar(1 << 16, 0x7f_0000_0000, true, false),
            Bar::default(),
            bar(1 << 40, 0xffff_ff00_0000_0000, true, true),
            Bar::default(),
            bar(16, 0xffff_fff0, false, true),
            bar(1 << 31, 0, false, false),
        ]
    );
    sim.finish();
}

#[test]
fn the_start_names_the_rule_that_a_configuration_breaks() {
    let folder = Folder::new();
    let mut sim = Simulator::start();
    sim.usual(&folder.endpoint("s"));
    for (bad, good, words) in [
        (
            "set_bar 0 65535 0 0",
            "set_bar 0 65536 0 0x100000",
            &["bar[0].size", "0xffff"][..],
        ),
        (
            "set_bar 0 8 0 0",
            "set_bar 0 65536 0 0x100000",
            &["bar[0].size is 0x8"][..],
        ),
        (
            "set_bar 0 65536 0 0x1000",
            "set_bar 0 65536 0 0",
            &["bar[0].axi_base", "0x1000"][..],
        ),
        (
            "set_bar 3 4096 0 0",
            "set_bar 3 0 0 0",
            &["bar[3].size", "upper half"][..],
        ),
        (
            "set_bar 5 4096 1 0",
            "set_bar 5 0 0 0",
            &["bar[5].is_64bit"][..],
        ),
        (
            "set_msix 4 2 0 2 32",
            "set_msix 4 2 0 2 0x8000",
            &["msix.pba_offset", "overlap"][..],
        ),
        (
            "set_msix 4 2 4 2 32768",
            "set_msix 4 2 0 2 0x8000",
            &["msix.table_offset is 0x4"][..],
        ),
        (
            "set_msix 2048 2 0 2 65536",
            "set_msix 0 0 0 0 0",
            &["msix.pba_offset", "0x10000"][..],
        ),
    ] {
        assert_eq!(sim.call(bad), 0, "{bad}: {}", sim.last_error());
        sim.fails("start", EINVAL, words);
        assert_eq!(sim.call(good), 0, "{good}");
    }
    // It can be tried again.
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    sim.finish();
}

#[test]
fn capabilities_that_cannot_be_are_refused() {
    let folder = Folder::new();
    // What is wrong can only be seen as a whole, and not be taken back.
    for (slot, (calls, words)) in [
        (
            &[add_capability(0x11, 0, 4, &[])][..],
            &["capabilities[0].id", "0x11"][..],
        ),
        (
            &[add_capability(9, 0x42, 4, &[])][..],
            &["capabilities[0].offset", "0x42"][..],
        ),
        (
            &[add_capability(9, 0xfc, 4, &[])][..],
            &["capabilities[0].offset", "0xfc"][..],
        ),
        (
            &[
                add_capability(9, 0x80, 16, &[]),
                add_capability(9, 0x90, 4, &[]),
            ][..],
            &["capabilities[1].offset", "0x90", "capabilities[0]", "0x80"][..],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut sim = Simulator::start();
        sim.usual(&folder.endpoint(&format!("s{slot}")));
        for call in calls {
            assert_eq!(sim.call(call), 0, "{call}: {}", sim.last_error());
        }
        sim.fails("start", EINVAL, words);
        sim.finish();
    }
    let mut sim = Simulator::start();
    sim.usual(&folder.endpoint("many"));
    for _ in 0..16 {
        assert_eq!(sim.call(&add_capability(9, 0, 1, &[])), 0);
    }
    sim.fails(
        &add_capability(9, 0, 1, &[]),
        EINVAL,
        &["there are 16 capabilities"],
    );
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    let guest = connect(&mut sim, &folder.endpoint("many"));
    assert_eq!(guest.config().capabilities.len(), 16);
    sim.finish();
}

#[test]
fn a_function_without_interrupts_refuses_them() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::start();
    sim.usual(&endpoint);
    assert_eq!(sim.call("set_msix 0 0 0 0 0"), 0);
    assert_eq!(sim.call("set_intx 0"), 0);
    assert_eq!(sim.call("start"), 0);
    let _guest = connect(&mut sim, &endpoint);
    sim.fails("msix 0", ENOTSUP, &["neither MSI-X nor MSI"]);
    assert_eq!(sim.results("get_msi"), [0, 1, 0]);
    sim.fails("intx 1", ENOTSUP, &["no INTx"]);
    sim.finish();
}

/// The call has an order to `acc_set_msix`, which begins with a table that is QEMU's.
#[test]
fn a_table_in_the_rtl_needs_msix() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::start();
    sim.usual(&endpoint);
    assert_eq!(sim.call("set_msix 0 0 0 0 0"), 0);
    sim.fails("set_msix_in_rtl 1", EINVAL, &["no MSI-X", "acc_set_msix"]);
    assert_eq!(sim.call("set_msix_in_rtl 0"), 0);
    for call in [
        "set_msix 4 2 0 2 0x8000",
        "set_msix_in_rtl 1",
        "set_msix 4 2 0 2 0x8000",
    ] {
        assert_eq!(sim.call(call), 0, "{}", sim.last_error());
    }
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    sim.fails("set_msix_in_rtl 1", ESTATE, &["acc_start"]);
    let guest = connect(&mut sim, &endpoint);
    assert!(!guest.config().msix.unwrap().in_rtl);
    sim.finish();
}

#[test]
fn endpoints_and_names_that_cannot_be_are_refused() {
    let mut sim = Simulator::start();
    let long = "n".repeat(65);
    for (endpoint, name, words) in [
        (
            "tcp://0.0.0.0:7557",
            "card",
            &["0.0.0.0 is not a loopback address"][..],
        ),
        ("tcp://127.0.0.1", "card", &["has no port"][..]),
        ("70000", "card", &["70000", "1 to 65535"][..]),
        ("udp://127.0.0.1:1", "card", &["udp://127.0.0.1:1"][..]),
        ("ipc://@abstract", "card", &["abstract"][..]),
        ("ipc://", "card", &["names no socket path"][..]),
        ("7557", &long[..], &["name has 65 bytes, at most 64"][..]),
        ("7557", "a\u{7}b", &["control characters"][..]),
    ] {
        assert!(!sim.open(endpoint, name), "{endpoint} {name}");
        let text = sim.null_error();
        for word in words {
            assert!(text.contains(word), "{word:?} is not in {text:?}");
        }
    }
    let log = sim.end();
    assert!(log.contains("ERROR accelerator: acc_open: "), "{log}");
}

#[test]
fn the_default_endpoint_is_the_port_in_the_environment() {
    let port = free_port().to_string();
    let environment = [("NPU_COSIM_PORT", &port[..])];
    let mut sim = Simulator::start_with(Language::Cxx11, &environment);
    sim.usual("-");
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    let endpoint = format!("tcp://127.0.0.1:{port}");
    let guest = connect(&mut sim, &endpoint);
    drop(guest);
    let log = sim.finish();
    assert!(
        log.contains(&format!("waits for QEMU at {endpoint}")),
        "{log}"
    );

    let environment = [("NPU_COSIM_PORT", "none")];
    let mut sim = Simulator::start_with(Language::C99, &environment);
    // Null pointers are as good as empty strings.
    assert_eq!(sim.raw("open 0 null"), "0");
    assert!(sim.null_error().contains("NPU_COSIM_PORT: "));
    sim.end();
}

#[test]
fn many_bridges_but_not_too_many() {
    let mut sim = Simulator::start();
    for slot in 0..64 {
        sim.slot = slot;
        assert!(sim.open("7557", "card"), "{slot}");
    }
    sim.slot = 64;
    assert!(!sim.open("7557", "card"));
    assert!(sim
        .null_error()
        .contains("64 bridges and channels are open"));
    for slot in 0..64 {
        sim.slot = slot;
        assert_eq!(sim.call("close"), 0);
    }
    assert!(sim.open("7557", "card"));
    sim.finish();
}
