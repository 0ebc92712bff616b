// SPDX-License-Identifier: MIT OR Apache-2.0

//! A network with several queues: a tap in a network namespace, which QEMU is
//! started in.

use std::{
    collections::BTreeSet,
    process::Command,
    time::{Duration, Instant},
};

use accelerator_peers::{channel::DevicePeer, hdl::sample_config};
use accelerator_protocol::channel::ChannelKind::Nic;
use accelerator_qtest::{machine::ok, Machine, Options, PATIENCE};

const MAC: &str = "52:54:00:ab:cd:ef";

/// UDP ports that a datagram goes to; each is a flow of its own, and which queue of
/// the tap a flow takes is the kernel's choice.
const PORTS: std::ops::Range<u16> = 20_000..20_300;

/// Frames that the RTL keeps: far less than there are of each queue.
const WINDOW: u32 = 8;

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().expect("id(1)");
    output.stdout == b"0\n"
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// What starts QEMU in a namespace with the tap, the card's address on it.
fn namespace() -> Vec<String> {
    let mut command = words(if is_root() {
        "unshare --net"
    } else {
        "unshare --user --map-root-user --net"
    });
    let set_up = format!(
        "ip tuntap add dev t0 mode tap multi_queue && ip link set t0 addrgenmode none && \
         ip address add 192.0.2.1/24 dev t0 && ip link set t0 up && \
         ip neighbour add 192.0.2.2 lladdr {MAC} dev t0 && exec \"$@\""
    );
    command.extend(["sh".into(), "-c".into(), set_up, "sh".into()]);
    command
}

/// Runs a line of bash in the namespace of a process.
#[track_caller]
fn run_beside(pid: u32, line: &str) {
    let user = if is_root() {
        ""
    } else {
        "--user --preserve-credentials"
    };
    let status = Command::new("nsenter")
        .args(words(&format!("--target {pid} {user} --net")))
        .args(["bash", "-c", line])
        .status()
        .expect("nsenter(1)");
    assert!(status.success(), "'{line}': {status}");
}

/// Destination port, if the frame is one of our datagrams.
fn port(frame: &[u8]) -> Option<u16> {
    let is_udp = frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&17);
    let port = frame.get(36..38).filter(|_| is_udp)?;
    Some(u16::from_be_bytes([port[0], port[1]]))
}

/// Each queue goes on when the RTL has room again: frames of all of them arrive.
#[test]
fn every_queue_of_a_network_goes_on() {
    let mut m = Machine::start_with(
        sample_config(1),
        &Options {
            within: namespace(),
            args: "-netdev tap,id=n0,ifname=t0,queues=2,script=no,downscript=no".into(),
            properties: format!("netdev=n0,mac={MAC}"),
            ..Options::default()
        },
    );
    let endpoint = format!("{}.nic", m.endpoint());
    let mut rtl = ok(DevicePeer::bind(&endpoint, Nic, WINDOW));
    ok(rtl.pump_until("a session", PATIENCE, |r| r.inbox.sessions == 1));
    let (first, end) = (PORTS.start, PORTS.end - 1);
    run_beside(
        m.qemu.id(),
        &format!("for p in {{{first}..{end}}}; do echo x >/dev/udp/192.0.2.2/$p || exit; done"),
    );
    // The RTL has no room: both queues come to a stand with the most of it.
    let window = WINDOW as usize;
    ok(rtl.pump_until("frames", PATIENCE, |r| r.inbox.frames() == window));
    let mut missing: BTreeSet<u16> = PORTS.collect();
    let deadline = Instant::now() + PATIENCE;
    while !missing.is_empty() {
        assert!(
            Instant::now() < deadline,
            "{} of {} frames have not come",
            missing.len(),
            PORTS.len()
        );
        match ok(rtl.take_frame()) {
            Some(frame) => missing.retain(|&p| Some(p) != port(&frame)),
            None => {
                ok(rtl.pump(Duration::from_millis(50)));
            }
        }
    }
    m.check_alive();
}
