// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who may connect.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use accelerator_curve::new_pair;
use accelerator_peers::{channel::HostPeer, GuestEndpoint, PATIENCE};
use accelerator_protocol::{
    channel::ChannelKind::{self, Nic, Serial},
    keys::{file_text, z85_encode, Key, Pair},
};

use crate::support::*;

/// How long a host knocks that nobody is to hear. Too short makes the test
/// weaker, never wrong.
const KNOCK: Duration = Duration::from_millis(1000);

fn pair() -> Pair {
    let (public, secret) = new_pair().unwrap();
    Pair { public, secret }
}

/// A simulator with keys, and the files that say so.
struct Keyed {
    folder: Folder,
    server: Pair,
    client: Pair,
}

impl Keyed {
    fn new() -> Self {
        let keyed = Self {
            folder: Folder::new(),
            server: pair(),
            client: pair(),
        };
        let Pair { public, secret } = &keyed.server;
        keyed.write("own", 0o600, &file_text(public, Some(secret)));
        keyed.write("known", 0o644, &file_text(&keyed.client.public, None));
        keyed
    }

    fn write(&self, name: &str, mode: u32, text: &str) {
        let path = self.folder.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.folder.path(name).display().to_string()
    }

    fn simulator(&self, clients: &str) -> Simulator {
        let (own, clients) = (self.path("own"), self.path(clients));
        let environment = [
            ("ACCELERATOR_CURVE_SECRET", &own[..]),
            ("ACCELERATOR_CURVE_CLIENTS", &clients[..]),
        ];
        Simulator::start_with(Language::C99, &environment)
    }
}

/// Connects while the simulator polls.
fn connect_keyed(sim: &mut Simulator, endpoint: &str, pair: &Pair, server: &Key) -> GuestEndpoint {
    let (endpoint, pair, server) = (endpoint.to_owned(), pair.clone(), *server);
    let guest = std::thread::spawn(move || {
        let keys = Some((&pair, &server));
        GuestEndpoint::connect_keyed(&endpoint, MEMORY, 65536, 64, PATIENCE, keys)
    });
    sim.link(true);
    guest.join().unwrap().unwrap()
}

/// Nobody gets a session, whoever knocks; the simulator hears of nothing.
fn knocks_in_vain(sim: &mut Simulator, endpoint: &str, keys: Option<(&Pair, &Key)>) {
    let endpoint = endpoint.to_owned();
    let keys = keys.map(|(p, k)| (p.clone(), *k));
    let guest = std::thread::spawn(move || {
        let keys = keys.as_ref().map(|(p, k)| (p, k));
        GuestEndpoint::connect_keyed(&endpoint, MEMORY, 65536, 64, KNOCK, keys).map(drop)
    });
    let deadline = Instant::now() + KNOCK;
    while Instant::now() < deadline {
        assert_eq!(sim.poll(READY), NONE);
    }
    let result = guest.join().unwrap();
    assert!(
        matches!(result, Err(accelerator_peers::Error::Timeout { .. })),
        "{result:?}"
    );
    assert_eq!(sim.poll(READY), NONE);
}

/// Over `ipc://` and over TCP on all addresses: with the right keys everything
/// is as without any.
#[test]
fn the_right_keys_work() {
    let keyed = Keyed::new();
    let port = free_port();
    for (bind, connect) in [
        (keyed.folder.endpoint("s"), keyed.folder.endpoint("s")),
        (format!("tcp://*:{port}"), format!("tcp://127.0.0.1:{port}")),
    ] {
        let mut sim = keyed.simulator("known");
        sim.usual(&bind);
        assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
        let mut guest = connect_keyed(&mut sim, &connect, &keyed.client, &keyed.server.public);
        guest.write(0, 0x40, 4, 0x1234_5678, PATIENCE).unwrap();
        assert_eq!(sim.next_mmio(MMIO_WRITE).data, 0x1234_5678);
        let data: Vec<u8> = (0..4096).map(|i| (i * 7) as u8).collect();
        let tag = sim.dma_write(MEMORY, &data);
        serve(&mut guest, 1);
        sim.expect(READY, DMA_WRITE_DONE);
        assert_eq!(sim.results("get_dma_write"), [0, tag, 0]);
        assert_eq!(guest.memory()[..4096], data);
        guest.close().unwrap();
        sim.link(false);
        // A second session, with a handshake of its own.
        let guest = connect_keyed(&mut sim, &connect, &keyed.client, &keyed.server.public);
        drop(guest);
        let log = sim.finish();
        assert!(!log.contains("WARN"), "{log}");
    }
}

#[test]
fn others_get_nowhere_and_are_told_of() {
    let keyed = Keyed::new();
    let endpoint = keyed.folder.endpoint("s");
    let mut sim = keyed.simulator("known");
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    let (client, server) = (&keyed.client, &keyed.server.public);
    let stranger = pair();
    // No keys; another server's key; a key that is not listed; a listed key
    // without the secret that belongs to it.
    for _ in 0..3 {
        // More often than there are lines of a kind, which leaves the others theirs.
        knocks_in_vain(&mut sim, &endpoint, None);
    }
    knocks_in_vain(&mut sim, &endpoint, Some((client, &stranger.public)));
    knocks_in_vain(&mut sim, &endpoint, Some((&stranger, server)));
    let thief = Pair {
        public: client.public,
        secret: stranger.secret,
    };
    knocks_in_vain(&mut sim, &endpoint, Some((&thief, server)));
    // They do not stand in the way of one who may.
    let mut guest = connect_keyed(&mut sim, &endpoint, client, server);
    knocks_in_vain(&mut sim, &endpoint, Some((&stranger, server)));
    guest.write(0, 0, 4, 1, PATIENCE).unwrap();
    sim.next_mmio(MMIO_WRITE);
    drop(guest);
    let log = sim.finish();
    let warning = |parts: &[&str]| {
        let line = |l: &&str| l.contains("WARN") && parts.iter().all(|p| l.contains(p));
        assert!(log.lines().any(|l| line(&l)), "no warning with {parts:?}");
    };
    warning(&["got no further", "only one side use"]);
    warning(&["expects another key of ours"]);
    warning(&["refused a host", &z85_encode(&stranger.public)]);
    assert!(!log.contains(&z85_encode(&stranger.secret)));
    assert!(!log.contains(&z85_encode(&keyed.server.secret)));
}

/// A host with keys and a simulator without.
#[test]
fn keys_on_one_side_only_are_no_session() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    knocks_in_vain(&mut sim, &endpoint, Some((&pair(), &pair().public)));
    let log = sim.finish();
    assert!(log.contains("only one side use"), "{log}");
}

#[test]
fn a_folder_of_keys_lets_all_of_them_in() {
    let keyed = Keyed::new();
    let second = pair();
    fs::create_dir(keyed.folder.path("all")).unwrap();
    keyed.write("all/a.key", 0o644, &file_text(&keyed.client.public, None));
    keyed.write("all/b.key", 0o644, &file_text(&second.public, None));
    let endpoint = keyed.folder.endpoint("s");
    let mut sim = keyed.simulator("all");
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    for client in [&keyed.client, &second] {
        let mut guest = connect_keyed(&mut sim, &endpoint, client, &keyed.server.public);
        guest.close().unwrap();
        sim.link(false);
    }
    sim.finish();
}

#[test]
fn beyond_loopback_needs_keys_or_the_word_insecure() {
    let port = free_port();
    let all = format!("tcp://*:{port}");
    let mut sim = Simulator::start();
    assert!(!sim.open(&all, "card"));
    let text = sim.null_error();
    for part in [
        "not a loopback address",
        "make-keys.sh",
        "ACCELERATOR_CURVE_SECRET",
        "ACCELERATOR_INSECURE=1",
    ] {
        assert!(text.contains(part), "{text}");
    }
    sim.end();

    let mut sim = Simulator::start_with(Language::C99, &[("ACCELERATOR_INSECURE", "1")]);
    sim.usual(&all);
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    drop(connect(&mut sim, &format!("tcp://127.0.0.1:{port}")));
    let log = sim.finish();
    assert!(
        log.contains("WARN") && log.contains("whoever reaches"),
        "{log}"
    );
}

#[test]
fn half_of_the_keys_and_open_files_are_refused() {
    let keyed = Keyed::new();
    keyed.write(
        "open",
        0o644,
        &fs::read_to_string(keyed.path("own")).unwrap(),
    );
    let (own, open, known) = (keyed.path("own"), keyed.path("open"), keyed.path("known"));
    const SECRET: &str = "ACCELERATOR_CURVE_SECRET";
    const CLIENTS: &str = "ACCELERATOR_CURVE_CLIENTS";
    for (environment, parts) in [
        (&[(SECRET, &own[..])][..], [SECRET, CLIENTS]),
        (&[(CLIENTS, &known)], [CLIENTS, SECRET]),
        (&[(SECRET, &open), (CLIENTS, &known)], [&open, "chmod 600"]),
        (
            &[(SECRET, &known), (CLIENTS, &known)],
            [&known, "make-keys.sh"],
        ),
        (&[(SECRET, &own), (CLIENTS, "/none")], [CLIENTS, "/none"]),
        (&[("ACCELERATOR_INSECURE", "so so")], ["INSECURE", "so so"]),
    ] {
        let mut sim = Simulator::start_with(Language::C99, environment);
        assert!(!sim.open(&keyed.folder.endpoint("s"), "card"));
        let text = sim.null_error();
        assert!(parts.iter().all(|p| text.contains(p)), "{parts:?}: {text}");
        sim.end();
    }
}

/// A NIC and a UART of a simulator with keys; it echoes both.
fn channels(keyed: &Keyed) -> (Process, [(ChannelKind, String); 2]) {
    let ends = [
        (Nic, keyed.folder.endpoint("n")),
        (Serial, keyed.folder.endpoint("u")),
    ];
    let (own, known) = (keyed.path("own"), keyed.path("known"));
    let process = Process::start(
        program(Language::C99, true),
        &["echo", &ends[0].1, &ends[1].1, "1"],
        &[
            ("ACCELERATOR_CURVE_SECRET", &own),
            ("ACCELERATOR_CURVE_CLIENTS", &known),
            ("ACCELERATOR_LOG_LEVEL", "debug"),
        ],
    );
    (process, ends)
}

fn open_channel(kind: ChannelKind, endpoint: &str, keys: Option<(&Pair, &Key)>) -> HostPeer {
    HostPeer::open_keyed(endpoint, kind, [0x52, 0x54, 0, 1, 2, 3], 100, keys).unwrap()
}

/// The NIC and the serial channel have the keys of the PCI Express one: with
/// them frames and bytes come back, without them nobody is heard.
#[test]
fn the_channels_have_the_same_keys() {
    let keyed = Keyed::new();
    let (process, ends) = channels(&keyed);
    let (client, server) = (&keyed.client, &keyed.server.public);
    let stranger = pair();
    let wrong = [
        None,
        Some((client, &stranger.public)),
        Some((&stranger, server)),
    ];
    for (kind, endpoint) in &ends {
        let mut others: Vec<HostPeer> = wrong
            .iter()
            .map(|keys| open_channel(*kind, endpoint, *keys))
            .collect();
        let deadline = Instant::now() + KNOCK;
        while Instant::now() < deadline {
            for host in &mut others {
                let heard = host.pump(Duration::from_millis(20)).unwrap();
                assert!(!heard && !host.session.is_up(), "{kind:?}");
            }
        }
    }
    // They do not stand in the way of one who may.
    let mut hosts = ends.map(|(kind, endpoint)| {
        let mut host = open_channel(kind, &endpoint, Some((client, server)));
        host.pump_until("ACCEPT", PATIENCE, |h| h.session.is_up())
            .unwrap();
        host
    });
    let data: Vec<u8> = (100..199).collect();
    assert!(hosts[0].send_frame(&data).unwrap());
    hosts[0]
        .pump_until("the frame", PATIENCE, |h| h.inbox.frames() > 0)
        .unwrap();
    assert_eq!(hosts[0].take_frame().unwrap().unwrap(), data);
    assert_eq!(hosts[1].send_bytes(&data).unwrap(), data.len());
    hosts[1]
        .pump_until("the bytes", PATIENCE, |h| h.inbox.bytes() == data.len())
        .unwrap();
    assert_eq!(hosts[1].take_bytes(100).unwrap(), data);
    for mut host in hosts {
        host.close().unwrap();
    }
    // Nothing of the others has come through.
    assert_eq!(process.line(), "rx=1/99 tx=1/99 dropped=0/0/0");
    let log = process.finish();
    let refused = [
        "Nic",
        "Serial",
        "refused a host",
        &z85_encode(&stranger.public),
    ];
    assert!(
        log.contains(refused[2]) && log.contains(refused[3]),
        "{log}"
    );
    assert!(!log.contains(&z85_encode(&stranger.secret)));
}
