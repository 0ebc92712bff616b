// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who may answer: keys, no keys, wrong keys.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixDatagram, UnixStream},
    },
    time::{Duration, Instant},
};

use accelerator_peers::{channel::DevicePeer, hdl::sample_config, HdlEndpoint};
use accelerator_protocol::{
    channel::ChannelKind::{Nic, Serial},
    keys::{file_text, z85_encode, Key, Pair},
};
use accelerator_qtest::{machine::device_args, qemu::Launch, Qemu, Scratch, PATIENCE};

/// Milliseconds that QEMU looks for a simulator that it is not to accept.
const BRIEFLY: &str = "handshake-timeout=1500";

/// Keys of both sides, QEMU's in files.
struct Keyed {
    scratch: Scratch,
    server: Pair,
    client: Pair,
}

fn pair() -> Pair {
    let (public, secret) = accelerator_peers::new_pair().unwrap();
    Pair { public, secret }
}

impl Keyed {
    fn new() -> Self {
        let keyed = Self {
            scratch: Scratch::new(),
            server: pair(),
            client: pair(),
        };
        let Pair { public, secret } = &keyed.client;
        keyed.write("own", 0o600, &file_text(public, Some(secret)));
        keyed.write("server", 0o644, &file_text(&keyed.server.public, None));
        keyed
    }

    fn write(&self, name: &str, mode: u32, text: &str) {
        let path = self.scratch.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.scratch.path(name).display().to_string()
    }

    /// The properties that give QEMU its keys.
    fn properties(&self) -> String {
        let (own, server) = (self.path("own"), self.path("server"));
        format!("curve-secret={own},curve-server={server}")
    }

    fn endpoint(&self, clients: &[Key]) -> HdlEndpoint {
        let keys = Some((&self.server, clients));
        HdlEndpoint::bind_keyed(&self.scratch.endpoint(), sample_config(0), keys).unwrap()
    }

    fn start(&self, endpoint: &str, properties: &str) -> Qemu {
        let mut qemu = Launch::new()
            .args(&device_args(endpoint, properties))
            .env("ACCELERATOR_LOG_LEVEL", "info")
            .spawn(&self.scratch);
        qemu.connect();
        qemu
    }

    /// Starts QEMU, which has to give up; what it says.
    fn gives_up(&self, properties: &str) -> String {
        let mut qemu = self.start(&self.scratch.endpoint(), &format!("{properties},{BRIEFLY}"));
        assert_eq!(qemu.wait_exit(PATIENCE).code(), Some(1));
        qemu.said().join("\n")
    }
}

#[track_caller]
fn no_session(hdl: &mut HdlEndpoint) {
    let event = hdl.try_event(std::time::Duration::ZERO).unwrap();
    assert_eq!(event, None, "the simulator heard of a host");
}

#[test]
fn the_right_keys_work() {
    let keyed = Keyed::new();
    let mut hdl = keyed.endpoint(&[pair().public, keyed.client.public]);
    let mut qemu = keyed.start(&keyed.scratch.endpoint(), &keyed.properties());
    hdl.wait_for_session(PATIENCE).unwrap();
    qemu.wait_ready();
    // The simulator comes back with the same keys.
    drop(hdl);
    qemu.expect_line(&["the connection was lost"]);
    let mut hdl = keyed.endpoint(&[keyed.client.public]);
    hdl.wait_for_session(PATIENCE).unwrap();
}

/// The key itself in place of its file.
#[test]
fn the_public_key_can_be_given_as_text() {
    let keyed = Keyed::new();
    let mut hdl = keyed.endpoint(&[keyed.client.public]);
    let properties = format!(
        "curve-secret={},curve-server={}",
        keyed.path("own"),
        z85_encode(&keyed.server.public)
    );
    let mut qemu = keyed.start(&keyed.scratch.endpoint(), &properties);
    hdl.wait_for_session(PATIENCE).unwrap();
    qemu.wait_ready();
}

#[test]
fn a_key_that_is_not_listed_is_told() {
    let keyed = Keyed::new();
    let mut hdl = keyed.endpoint(&[pair().public]);
    let text = keyed.gives_up(&keyed.properties());
    assert!(text.contains("does not know our public key"), "{text}");
    assert!(text.contains("ACCELERATOR_CURVE_CLIENTS"), "{text}");
    no_session(&mut hdl);
}

#[test]
fn another_simulator_than_expected_is_told() {
    let keyed = Keyed::new();
    let mut hdl = keyed.endpoint(&[keyed.client.public]);
    keyed.write("server", 0o644, &file_text(&pair().public, None));
    let text = keyed.gives_up(&keyed.properties());
    assert!(text.contains("another one than curve-server"), "{text}");
    no_session(&mut hdl);
}

#[test]
fn keys_on_one_side_only_are_told() {
    let keyed = Keyed::new();
    let mut hdl = keyed.endpoint(&[keyed.client.public]);
    let text = keyed.gives_up("posted-writes=on");
    assert!(text.contains("set curve-secret and curve-server"), "{text}");
    no_session(&mut hdl);
    drop(hdl);

    let keyed = Keyed::new();
    let mut hdl = HdlEndpoint::bind(&keyed.scratch.endpoint(), sample_config(0)).unwrap();
    let text = keyed.gives_up(&keyed.properties());
    assert!(text.contains("ACCELERATOR_CURVE_SECRET"), "{text}");
    no_session(&mut hdl);
}

#[test]
fn beyond_loopback_needs_keys_or_the_word_insecure() {
    let keyed = Keyed::new();
    // Nobody is there; an address that is for examples only.
    let far = "tcp://192.0.2.1:7557";
    let refusal = |properties: &str| {
        let launch = Launch::new().args(&device_args(far, &format!("{properties},{BRIEFLY}")));
        let scratch = Scratch::new();
        let mut qemu = launch.spawn(&scratch);
        qemu.connect();
        assert_eq!(qemu.wait_exit(PATIENCE).code(), Some(1));
        qemu.said().join("\n")
    };
    let text = refusal("posted-writes=on");
    for part in [
        far,
        "not a loopback address",
        "make-keys.sh",
        "curve-secret",
        "insecure=on",
    ] {
        assert!(text.contains(part), "{text}");
    }
    // Allowed, and then nobody is there.
    let text = refusal("insecure=on");
    assert!(
        text.contains("whoever answers at tcp://192.0.2.1"),
        "{text}"
    );
    assert!(text.contains("no simulator at"), "{text}");
    let text = refusal(&keyed.properties());
    assert!(!text.contains("whoever answers"), "{text}");
    assert!(text.contains("no simulator at"), "{text}");
}

#[test]
fn half_of_the_keys_and_open_files_are_refused() {
    let keyed = Keyed::new();
    keyed.write(
        "open",
        0o640,
        &fs::read_to_string(keyed.path("own")).unwrap(),
    );
    let (own, open, server) = (keyed.path("own"), keyed.path("open"), keyed.path("server"));
    for (properties, parts) in [
        (
            format!("curve-secret={own}"),
            ["curve-secret", "curve-server"],
        ),
        (
            format!("curve-server={server}"),
            ["curve-server", "curve-secret"],
        ),
        (
            format!("curve-secret={open},curve-server={server}"),
            ["mode 0640", "chmod 600"],
        ),
        (
            format!("curve-secret={server},curve-server={server}"),
            ["0 secret keys", "make-keys.sh"],
        ),
        (
            format!("curve-secret={own},curve-server=nonsense"),
            ["curve-server", "nonsense"],
        ),
        (
            format!("{},insecure=on", keyed.properties()),
            ["insecure", "keys"],
        ),
    ] {
        let scratch = Scratch::new();
        let args = device_args(&scratch.endpoint(), &properties);
        let mut qemu = Launch::new().args(&args).spawn(&scratch);
        qemu.connect();
        assert_eq!(qemu.wait_exit(PATIENCE).code(), Some(1));
        let text = qemu.said().join("\n");
        assert!(parts.iter().all(|p| text.contains(p)), "{parts:?}: {text}");
    }
}

/// A QEMU with a network and a serial line that has keys, and the other ends.
struct Channels {
    qemu: Qemu,
    wire: UnixDatagram,
    line: UnixStream,
    _hdl: HdlEndpoint,
}

impl Channels {
    fn start(keyed: &Keyed) -> Self {
        let (ours, theirs, tty) = (keyed.path("ours"), keyed.path("theirs"), keyed.path("tty"));
        let wire = UnixDatagram::bind(&ours).unwrap();
        let mut hdl = keyed.endpoint(&[keyed.client.public]);
        let properties = format!("{},netdev=n0,chardev=c0", keyed.properties());
        let mut qemu = Launch::new()
            .args(&format!(
                "-netdev dgram,id=n0,local.type=unix,local.path={theirs},remote.type=unix,\
                 remote.path={ours} -chardev socket,id=c0,path={tty},server=on,wait=off"
            ))
            .args(&device_args(&keyed.scratch.endpoint(), &properties))
            .env("ACCELERATOR_LOG_LEVEL", "info")
            .spawn(&keyed.scratch);
        qemu.connect();
        hdl.wait_for_session(PATIENCE).unwrap();
        qemu.wait_ready();
        wire.connect(&theirs).unwrap();
        let line = UnixStream::connect(&tty).unwrap();
        wire.set_read_timeout(Some(PATIENCE)).unwrap();
        line.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            qemu,
            wire,
            line,
            _hdl: hdl,
        }
    }
}

/// The NIC and the serial channel have the keys of the PCI Express one.
#[test]
fn the_channels_have_the_same_keys() {
    let keyed = Keyed::new();
    let mut c = Channels::start(&keyed);
    let listed = [keyed.client.public];
    let keys = Some((&keyed.server, &listed[..]));
    let nic = format!("{}.nic", keyed.scratch.endpoint());
    let uart = format!("{}.uart", keyed.scratch.endpoint());
    let mut nic = DevicePeer::bind_keyed(&nic, Nic, 8, keys).unwrap();
    let mut uart = DevicePeer::bind_keyed(&uart, Serial, 100, keys).unwrap();
    for peer in [&mut nic, &mut uart] {
        peer.pump_until("a session", PATIENCE, |p| p.inbox.sessions == 1)
            .unwrap();
    }
    c.qemu.expect_line(&["card (NIC)", "is there"]);
    let data: Vec<u8> = (100..199).collect();
    let mut bytes = [0; 200];

    c.wire.send(&data).unwrap();
    nic.pump_until("a frame", PATIENCE, |p| p.inbox.frames() > 0)
        .unwrap();
    assert_eq!(nic.take_frame().unwrap().unwrap(), data);
    assert!(nic.send_frame(&data).unwrap());
    assert_eq!(c.wire.recv(&mut bytes).unwrap(), data.len());
    assert_eq!(bytes[..99], data);

    c.line.write_all(&data).unwrap();
    uart.pump_until("the bytes", PATIENCE, |p| p.inbox.bytes() == data.len())
        .unwrap();
    assert_eq!(uart.take_bytes(100).unwrap(), data);
    assert_eq!(uart.send_bytes(&data).unwrap(), data.len());
    c.line.read_exact(&mut bytes[..99]).unwrap();
    assert_eq!(bytes[..99], data);
}

/// Who has no key, another one or another list of hosts gets no session, no
/// frame and no byte, and can send none.
#[test]
fn a_simulator_without_the_key_gets_no_channel() {
    let keyed = Keyed::new();
    let mut c = Channels::start(&keyed);
    let listed = [keyed.client.public];
    let (stranger, nobody) = (pair(), [pair().public]);
    for keys in [
        None,
        Some((&stranger, &listed[..])),
        Some((&keyed.server, &nobody[..])),
    ] {
        let nic = format!("{}.nic", keyed.scratch.endpoint());
        let uart = format!("{}.uart", keyed.scratch.endpoint());
        let mut nic = DevicePeer::bind_keyed(&nic, Nic, 8, keys).unwrap();
        let mut uart = DevicePeer::bind_keyed(&uart, Serial, 100, keys).unwrap();
        c.line.write_all(b"secret").unwrap();
        // QEMU tries again twice a second at least.
        let deadline = Instant::now() + Duration::from_millis(1500);
        while Instant::now() < deadline {
            // QEMU drops it: it has no link.
            c.wire.send(&[7; 99]).unwrap();
            for peer in [&mut nic, &mut uart] {
                let heard = peer.pump(Duration::from_millis(20)).unwrap();
                assert!(!heard && peer.inbox.sessions == 0);
            }
        }
    }
    let info = serde_json::json!({"command-line": "info network"});
    let text = c.qemu.qmp("human-monitor-command", info).to_string();
    assert!(text.contains("rtl-link=absent"), "{text}");
    // One who has it is let in, and gets what the line still keeps.
    let keys = Some((&keyed.server, &listed[..]));
    let uart = format!("{}.uart", keyed.scratch.endpoint());
    let mut uart = DevicePeer::bind_keyed(&uart, Serial, 100, keys).unwrap();
    uart.pump_until("the bytes", PATIENCE, |p| p.inbox.bytes() == 18)
        .unwrap();
    assert_eq!(uart.take_bytes(100).unwrap(), b"secretsecretsecret");
}

/// A card that was up finds its simulator again, whoever was there meanwhile.
#[test]
fn a_stranger_at_the_endpoint_does_not_keep_the_simulator_away() {
    let keyed = Keyed::new();
    let listed = [keyed.client.public];
    let mut hdl = keyed.endpoint(&listed);
    let mut qemu = keyed.start(&keyed.scratch.endpoint(), &keyed.properties());
    hdl.wait_for_session(PATIENCE).unwrap();
    qemu.wait_ready();
    for clients in [[pair().public], listed] {
        drop(hdl);
        qemu.expect_line(&["the connection was lost"]);
        hdl = keyed.endpoint(&clients);
        if clients != listed {
            qemu.expect_line(&["no session", "does not know our public key"]);
        }
    }
    hdl.wait_for_session(PATIENCE).unwrap();
}
