// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sockets and hosts that come and go.

use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixListener,
    },
    time::{Duration, Instant},
};

use accelerator_peers::{Error, GuestEndpoint, PATIENCE};
use accelerator_protocol::wire::{Frame, Reason, ResetKind};

use crate::support::*;

#[test]
fn the_socket_file_is_private_and_goes_with_the_bridge() {
    let folder = Folder::new();
    let path = folder.path("s");
    let sim = Simulator::with_bridge(&folder.endpoint("s"));
    let meta = fs::symlink_metadata(&path).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    sim.finish();
    assert!(!path.exists());
}

#[test]
fn a_socket_file_that_nobody_listens_on_is_replaced() {
    let folder = Folder::new();
    let path = folder.path("s");
    let endpoint = folder.endpoint("s");
    // Left over from a simulator that was killed.
    let mut dead = Simulator::with_bridge(&endpoint);
    dead.kill();
    drop(dead);
    assert!(path.exists());
    let mut sim = Simulator::with_bridge(&endpoint);
    connect(&mut sim, &endpoint).close().unwrap();
    sim.finish();
    assert!(!path.exists());
}

#[test]
fn a_socket_that_somebody_uses_is_left_alone() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut first = Simulator::with_bridge(&endpoint);
    let mut second = Simulator::start();
    second.usual(&endpoint);
    second.fails(
        "start",
        EIO,
        &[&endpoint, "in use", "acc_open", "NPU_COSIM_PORT"],
    );
    // The first one still works, and keeps its file.
    connect(&mut first, &endpoint).close().unwrap();
    // Tried again once it is gone.
    first.finish();
    assert_eq!(second.call("start"), 0, "{}", second.last_error());
    connect(&mut second, &endpoint).close().unwrap();
    second.finish();

    // Somebody else's socket in our place is not ours to remove.
    let mut sim = Simulator::with_bridge(&endpoint);
    fs::remove_file(folder.path("s")).unwrap();
    let other = UnixListener::bind(folder.path("s")).unwrap();
    assert_eq!(sim.poll(READY), NONE);
    sim.finish();
    assert!(folder.path("s").exists());
    drop(other);
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let folder = Folder::new();
    let path = folder.path("s");
    fs::write(&path, "precious").unwrap();
    let mut sim = Simulator::start();
    sim.usual(&folder.endpoint("s"));
    let text = path.display().to_string();
    sim.fails("start", EIO, &[&text, "is not a socket"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(folder.path("elsewhere"), &path).unwrap();
    sim.fails("start", EIO, &["is not a socket"]);
    sim.slot = 1;
    sim.usual(&folder.endpoint("no/such/folder"));
    sim.fails("start", EIO, &["no/such/folder", "no such directory"]);
    assert_eq!(sim.call("close"), 0);
    sim.slot = 0;
    sim.finish();
}

#[test]
fn a_tcp_port_that_is_taken_is_told() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut sim = Simulator::start();
    sim.usual(&port.to_string());
    let endpoint = format!("tcp://127.0.0.1:{port}");
    sim.fails("start", EIO, &[&endpoint, "in use", "another simulator"]);
    drop(listener);
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    connect(&mut sim, &endpoint).close().unwrap();
    sim.finish();
}

/// One that was killed ends a moment after nobody waits for it any more.
#[test]
fn a_predecessor_that_still_ends_is_outlasted() {
    let folder = Folder::new();
    let path = folder.path("s");
    for endpoint in [
        folder.endpoint("s"),
        format!("vfio-user:{}", path.display()),
    ] {
        let listener = UnixListener::bind(&path).unwrap();
        let ending = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            drop(listener);
        });
        let mut sim = Simulator::start();
        sim.usual(&endpoint);
        assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
        ending.join().unwrap();
        sim.finish();
    }
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let ending = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(listener);
    });
    let mut sim = Simulator::start();
    sim.usual(&port.to_string());
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    ending.join().unwrap();
    sim.finish();
}

#[test]
fn ipv6_loopback_works_where_the_system_has_it() {
    let listener = match std::net::TcpListener::bind("[::1]:0") {
        Ok(listener) => listener,
        Err(e) => {
            // Then the bridge has to say so.
            let mut sim = Simulator::start();
            sim.usual("tcp://[::1]:7999");
            sim.fails("start", EIO, &["tcp://[::1]:7999"]);
            sim.finish();
            assert_ne!(e.kind(), std::io::ErrorKind::AddrInUse);
            return;
        }
    };
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut sim = Simulator::with_bridge(&endpoint);
    let endpoint_of_host = endpoint.clone();
    let host = std::thread::spawn(move || {
        let context = zmq::Context::new();
        let socket = context.socket(zmq::DEALER).unwrap();
        socket.set_ipv6(true).unwrap();
        socket.set_linger(0).unwrap();
        socket.set_rcvtimeo(PATIENCE.as_millis() as i32).unwrap();
        socket.connect(&endpoint_of_host).unwrap();
        let mut session = accelerator_protocol::host::HostSession::new(5, 1);
        let mut out = Vec::new();
        session.init("host", &mut out);
        socket.send(&out, 0).unwrap();
        let config = socket.recv_bytes(0).unwrap();
        session.frame(&config).unwrap();
        out.clear();
        session.accept(&mut out);
        socket.send(&out, 0).unwrap();
        (socket, context)
    });
    sim.link(true);
    drop(host.join().unwrap());
    sim.link(false);
    sim.finish();
}

#[test]
fn the_host_hears_of_the_end_of_the_simulation() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut guest = connect(&mut sim, &endpoint);
    guest.start_read(0, 0, 4).unwrap();
    sim.next_mmio(MMIO_READ);
    sim.dma_write(MEMORY, &[3; 4096]);
    sim.finish();
    let e = guest.pump_until("BYE", PATIENCE, |_| false).unwrap_err();
    assert!(
        matches!(
            e,
            Error::Down {
                reason: Reason::Closing,
                ..
            }
        ),
        "{e}"
    );
    // What was sent before it arrived before it.
    assert_eq!(guest.memory()[..4096], [3; 4096]);
}

/// Closing is bounded, also with a host that takes nothing.
#[test]
fn closing_does_not_wait_for_a_host_that_does_not_read() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let environment = [("ACCELERATOR_LOG_LEVEL", "warn")];
    let mut sim = Simulator::start_with(Language::C99, &environment);
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0);
    let host = Raw::connect(&endpoint);
    host.up(&mut sim);
    sim.flood(0);
    let begin = Instant::now();
    let log = sim.finish();
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
    assert!(
        log.contains("were not taken by the host before the bridge closed"),
        "{log}"
    );
    drop(host);
}

#[test]
fn a_host_that_leaves_and_comes_back() {
    let folder = Folder::new();
    for endpoint in [
        folder.endpoint("s"),
        format!("tcp://127.0.0.1:{}", free_port()),
    ] {
        let mut sim = Simulator::with_bridge(&endpoint);
        for round in 1..=10 {
            let mut guest = connect(&mut sim, &endpoint);
            // Something outstanding everywhere.
            guest.start_read(0, 0, 4).unwrap();
            let read = sim.next_mmio(MMIO_READ);
            guest.write(0, 0, 4, round, PATIENCE).unwrap();
            let write = sim.next_mmio(MMIO_WRITE);
            guest.write(0, 0, 4, round, PATIENCE).unwrap();
            guest.start_read(0, 0, 4).unwrap();
            let dma = i64::from(sim.call(&format!("dma_read {MEMORY} 64")));
            assert!(dma >= 0);
            assert_eq!(sim.call(&format!("dma_write_begin {MEMORY}")), 0);
            // In order, or as if it was killed.
            if round % 2 == 0 {
                guest.close().unwrap();
            }
            drop(guest);
            sim.expect(0, LINK_DOWN);
            // The RTL does not know yet: no effect.
            assert_eq!(sim.call(&format!("mmio_read_done {} 0 5", read.tag)), 0);
            assert_eq!(sim.call("msix 0"), ELINK);
            assert_eq!(sim.poll(READY), LINK_DOWN);
            assert_eq!(sim.results("get_link"), [0, 0]);
            // Now it does.
            assert_eq!(
                sim.call(&format!("mmio_write_done {} 0", write.tag)),
                EINVAL
            );
            assert_eq!(sim.beat(dma, 0, 1).0, EINVAL);
            assert_eq!(sim.call("dma_write_end"), ESTATE);
            sim.fails(
                &format!("dma_read {MEMORY} 64"),
                ELINK,
                &["the link is down"],
            );
            assert_eq!(sim.call(&format!("dma_write_begin {MEMORY}")), ELINK);
            assert_eq!(sim.call("msix 0"), ELINK);
            sim.expect_nothing(READY);
            assert_eq!(sim.stat(5), round as i64);
        }
        sim.finish();
    }
}

#[test]
fn the_link_can_go_down_in_a_reset() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut guest = connect(&mut sim, &endpoint);
    guest.start_reset(ResetKind::Hot).unwrap();
    assert_eq!(sim.reset(), 2);
    drop(guest);
    sim.link(false);
    // The RTL's reset goes on and is reported; nobody is there to hear it.
    assert_eq!(sim.call("reset_done"), 0);
    assert_eq!(sim.call("reset_done"), ESTATE);
    // A reset that the RTL never heard of goes with its session.
    let host = Raw::connect(&endpoint);
    host.up(&mut sim);
    let reset = Frame::Reset {
        tag: 1,
        kind: ResetKind::Hot,
    };
    let bye = Frame::Bye {
        reason: Reason::Closing,
    };
    host.send(&[host.encode(&reset), host.encode(&bye)].concat());
    sim.link(false);
    sim.expect_nothing(READY);
    let mut guest = connect(&mut sim, &endpoint);
    guest.start_read(0, 0, 4).unwrap();
    sim.next_mmio(MMIO_READ);
    sim.finish();
}

/// Sessions that begin and end while the simulator is not looking are no
/// events.
#[test]
fn sessions_between_two_polls_are_not_told() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let host = Raw::connect(&endpoint);
    // The whole of it in one message: the handshake, an access, the end.
    let mut message = Vec::new();
    host.init();
    host.wait(&mut sim);
    host.config();
    for frame in [
        Frame::Ready,
        Frame::MmioRead {
            tag: 1,
            bar: 0,
            len: 4,
            offset: 0,
        },
        Frame::Bye {
            reason: Reason::Closing,
        },
    ] {
        message.extend(host.encode(&frame));
    }
    host.send(&message);
    sim.expect_nothing(READY);
    // An up that was told, a down and an up that were not: both come.
    let _guest = connect(&mut sim, &endpoint);
    sim.finish();
}

#[test]
fn a_second_host_is_told_that_the_device_is_busy() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut guest = connect(&mut sim, &endpoint);
    for _ in 0..3 {
        let second = endpoint.clone();
        let second = std::thread::spawn(move || {
            GuestEndpoint::connect(&second, MEMORY, 4096, PATIENCE)
                .err()
                .unwrap()
        });
        while !second.is_finished() {
            assert_eq!(sim.poll(READY), NONE);
        }
        let e = second.join().unwrap();
        let Error::Down { reason, text } = e else {
            panic!("{e}");
        };
        assert_eq!(reason, Reason::Busy);
        assert!(text.contains("another host has the session"), "{text}");
    }
    // The first one did not notice.
    let tag = guest.start_read(0, 0, 4).unwrap();
    let read = sim.next_mmio(MMIO_READ);
    assert_eq!(sim.call(&format!("mmio_read_done {} 0 77", read.tag)), 0);
    assert_eq!(guest.finish_read(tag, PATIENCE).unwrap(), 77);
    sim.finish();
}

/// A host that was killed makes room for the next one at once, also if the
/// simulator does not poll in between.
#[test]
fn a_restarted_host_takes_over() {
    let folder = Folder::new();
    for endpoint in [
        folder.endpoint("s"),
        format!("tcp://127.0.0.1:{}", free_port()),
    ] {
        let mut sim = Simulator::with_bridge(&endpoint);
        let mut guest = connect(&mut sim, &endpoint);
        for _ in 0..20 {
            guest.start_read(0, 0, 4).unwrap();
            sim.next_mmio(MMIO_READ);
            drop(guest);
            let again = endpoint.clone();
            let again = std::thread::spawn(move || {
                GuestEndpoint::connect(&again, MEMORY, 65536, PATIENCE).unwrap()
            });
            sim.link(false);
            sim.link(true);
            guest = again.join().unwrap();
        }
        sim.finish();
    }
}

/// A host that asks and then says nothing more does not keep the device for
/// ever, and one that is gone in the handshake not at all.
#[test]
fn a_handshake_that_is_not_finished_does_not_block_the_device() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let gone = Raw::connect(&endpoint);
    gone.init();
    gone.wait(&mut sim);
    gone.config();
    drop(gone);
    let guest = connect(&mut sim, &endpoint);
    drop(guest);
    sim.link(false);

    let stuck = Raw::connect(&endpoint);
    stuck.init();
    stuck.wait(&mut sim);
    stuck.config();
    // For some seconds it may take its time.
    let eager = Raw::connect(&endpoint);
    eager.init();
    eager.wait(&mut sim);
    assert_eq!(eager.refusal().0, Reason::Busy);
    std::thread::sleep(Duration::from_secs(5));
    let guest = connect(&mut sim, &endpoint);
    let (reason, text) = stuck.refusal();
    assert_eq!(reason, Reason::Busy);
    assert!(text.contains("the handshake was not finished"), "{text}");
    drop(guest);
    sim.finish();
}

/// A host that begins another session without ending the first.
#[test]
fn another_session_of_the_same_host_replaces_the_first() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut host = Raw::connect(&endpoint);
    host.up(&mut sim);
    host.put(&Frame::MmioRead {
        tag: 1,
        bar: 0,
        len: 4,
        offset: 0,
    });
    let read = sim.next_mmio(MMIO_READ);
    let old = host.session;
    host.session += 0x1_0000;
    host.init();
    sim.link(false);
    host.config();
    assert_eq!(
        sim.call(&format!("mmio_read_done {} 0 1", read.tag)),
        EINVAL
    );
    host.put(&Frame::Ready);
    sim.link(true);
    // A frame of the first session is stale.
    let new = std::mem::replace(&mut host.session, old);
    host.put(&Frame::MmioWrite {
        tag: 1,
        bar: 0,
        len: 4,
        offset: 0,
        data: 1,
    });
    host.session = new;
    sim.expect_nothing(READY);
    host.put(&Frame::MmioWrite {
        tag: 1,
        bar: 0,
        len: 4,
        offset: 0,
        data: 2,
    });
    assert_eq!(sim.next_mmio(MMIO_WRITE).data, 2);
    sim.finish();
}

#[test]
fn a_sleep_ends_when_the_host_speaks() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut guest = connect(&mut sim, &endpoint);
    sim.expect_nothing(READY);
    // The watcher may have to be told first that polls find nothing.
    let quiet = Instant::now() + PATIENCE;
    while sim.call("wait 20000") != 0 {
        assert!(Instant::now() < quiet, "there is always something");
        sim.expect_nothing(READY);
    }
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        guest.write(0, 0x10, 4, 7, PATIENCE).unwrap();
        guest
    });
    let limit = Instant::now() + PATIENCE;
    while sim.call("wait 1000000") == 0 {
        assert!(Instant::now() < limit, "the sleeper was not woken");
    }
    let write = sim.next_mmio(MMIO_WRITE);
    assert_eq!(write.data, 7);
    sim.call(&format!("mmio_write_done {} 0", write.tag));
    writer.join().unwrap().close().unwrap();
    sim.fails("wait 1000001", EINVAL, &["microseconds", "1000001"]);
    sim.finish();
}
