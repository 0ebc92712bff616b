// SPDX-License-Identifier: MIT OR Apache-2.0

//! What carries a session: shared memory where it can be had, else the socket, and the user
//! is told why.

use accelerator_peers::{
    hdl::sample_config,
    memory::{wanted, Sharing},
    HdlEndpoint,
};
use accelerator_qtest::{
    machine::{device_args, ok, Options},
    qemu::Launch,
    Machine, Scratch, PATIENCE,
};

const CARD: &str = "/machine/peripheral/card";

/// A machine whose session goes through what `carrier` begins with.
#[track_caller]
fn goes_through(sharing: Sharing, properties: &str, carrier: &str) {
    let mut m = Machine::start_with(
        sample_config(1),
        &Options {
            properties: properties.into(),
            sharing: Some(sharing),
            ..Options::default()
        },
    );
    let found = m.qemu.qom_get(CARD, "carrier");
    let found = found.as_str().expect("a text");
    assert!(found.starts_with(carrier), "{found:?} is not {carrier:?}");
    let why = found
        .split_once(": ")
        .map_or("shared memory", |(_, why)| why);
    m.qemu
        .expect_line(&["INFO", "the session goes through", why]);
    m.check_alive();
    // Without a session it goes through nothing, and the next one is tried anew.
    m.kill_endpoint();
    m.qemu.expect_line(&["is down"]);
    assert_eq!(m.qemu.qom_get(CARD, "carrier"), "none: there is no session");
    m.restart_endpoint(sample_config(1));
    ok(m.hdl.wait_for_session(PATIENCE));
    m.settle_resets();
    m.check_alive();
    let found = m.qemu.qom_get(CARD, "carrier");
    let good = wanted() && !properties.contains("off");
    assert_eq!(found == "shared memory", good, "{found}");
}

#[test]
fn shared_memory_is_used_where_it_is_offered() {
    if wanted() {
        goes_through(Sharing::Good, "", "shared memory");
        goes_through(Sharing::Good, "shared-memory=on", "shared memory");
        // A thread that waits sleeps at once.
        goes_through(Sharing::Good, "poll-max-ns=0", "shared memory");
    } else {
        let why = "socket: the simulator does not offer shared memory";
        goes_through(Sharing::Good, "", why);
    }
}

#[test]
fn a_session_without_goes_through_the_socket_and_says_why() {
    goes_through(
        Sharing::Good,
        "shared-memory=off",
        "socket: shared memory is off",
    );
    goes_through(
        Sharing::Silent,
        "",
        "socket: the simulator does not offer shared memory",
    );
    if wanted() {
        goes_through(
            Sharing::Absent,
            "",
            "socket: no shared memory: Connection refused",
        );
        goes_through(
            Sharing::Stopped,
            "",
            "socket: no shared memory: the simulator has not handed it over in 1 s",
        );
        goes_through(
            Sharing::Unsealed,
            "",
            "socket: no shared memory: the memory file is not sealed",
        );
    }
}

#[test]
fn one_who_insists_is_told_why_not() {
    for (sharing, why) in [
        (Sharing::Silent, "does not offer shared memory"),
        (Sharing::Absent, "Connection refused"),
        (Sharing::Unsealed, "is not sealed"),
    ] {
        if !wanted() && sharing != Sharing::Silent {
            continue;
        }
        let scratch = Scratch::new();
        let endpoint = scratch.endpoint();
        let mut hdl = HdlEndpoint::bind(&endpoint, sample_config(1)).unwrap();
        hdl.share(sharing);
        let mut qemu = Launch::new()
            .args(&device_args(&endpoint, "shared-memory=on"))
            .spawn(&scratch);
        let e = hdl.wait_for_session(PATIENCE).unwrap_err();
        assert!(e.to_string().contains(why), "{e}");
        assert_eq!(qemu.wait_exit(PATIENCE).code(), Some(1));
        qemu.expect_line(&["shared-memory is on, but", why]);
    }
}
