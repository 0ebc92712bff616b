// SPDX-License-Identifier: MIT OR Apache-2.0

//! Wire protocol between the `accelerator-pcie` QEMU device (the *host*: root
//! complex, CPU and memory) and an HDL simulator (the *device*: the PCIe
//! function in RTL).
//!
//! `PROTOCOL.md` beside this crate is the normative description; this crate is
//! its reference implementation:
//!
//! * [`wire`] encodes and decodes frames. Decoding checks everything that can
//!   be checked without a session and names the field and both values when it
//!   refuses one.
//! * [`config`] is what a device says about itself in the handshake, and the
//!   rules that it has to keep.
//! * [`function`] is what the guest has set in config space, as a device is told.
//! * [`host`] and [`device`] are the two halves of a session: which frame may
//!   come when, which tags are outstanding, what is stale. They know neither
//!   sockets nor QEMU nor a simulator, nor each other; what both speak of is in
//!   [`session`].
//! * [`channel`] has the two halves of a session of a NIC or serial channel,
//!   which is a connection of its own beside the PCIe stream.
//! * [`door`] is which of several hosts has the session of a device, [`knock`] what a host does
//!   when its connection to a device comes and goes.
//! * [`keys`] reads the keys of connections beyond the machine itself.
//! * [`said`] is text of the other side, which is shown as one printable line.
//! * [`limit`] is how many lines of a log others can cause.
//!
//! The crate has no dependencies and contains no `unsafe` code. It builds with
//! Rust 1.77, the minimum of QEMU 10.1.

#![forbid(unsafe_code)]

pub mod channel;
pub mod config;
pub mod device;
pub mod door;
pub mod function;
pub mod host;
pub mod keys;
pub mod knock;
pub mod limit;
pub mod said;
pub mod session;
mod told;
pub mod wire;

pub use config::{Bar, Capability, Config, ConfigError, Msi, Msix};
pub use function::{Function, Power};
pub use wire::{Frame, Header, WireError};

/// TCP port of the PCIe channel when neither `NPU_COSIM_PORT` nor an endpoint
/// is given. The two ports above it belong to the NIC and the serial channel.
pub const DEFAULT_PORT: u16 = 7557;

/// Name of the environment variable that holds the base port.
pub const PORT_VARIABLE: &str = "NPU_COSIM_PORT";

/// Longest endpoint that [`parse_endpoint`] accepts, in bytes. A Unix socket
/// path is limited to 107 bytes by Linux (`struct sockaddr_un`).
pub const MAX_ENDPOINT: usize = 128;

/// Turns what a user writes into a ZeroMQ endpoint.
///
/// * `7557`: that TCP port on the loopback interface
/// * `tcp://127.0.0.1:7557`, `tcp://localhost:7557`, `tcp://[::1]:7557`
/// * `ipc:///run/user/1000/card0`: a Unix socket
///
/// Whoever can reach the socket owns the guest's memory, therefore addresses
/// that are not loopback are refused; [`parse_endpoint_within`] allows them.
///
/// # Errors
///
/// A message that names the endpoint and what is wrong with it.
pub fn parse_endpoint(text: &str) -> Result<String, String> {
    parse_endpoint_within(text, Reach::Loopback)
}

/// Which endpoints a user may give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those that nobody outside of the machine can reach.
    Loopback,
    /// All: both sides have keys, or the user said that none are wanted.
    Anywhere,
}

/// As [`parse_endpoint`], and with [`Reach::Anywhere`] also `tcp://` with any
/// host name or address, `tcp://*:PORT` to listen on all of them.
///
/// # Errors
///
/// As [`parse_endpoint`].
pub fn parse_endpoint_within(text: &str, reach: Reach) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("the endpoint is empty".into());
    }
    if text.len() > MAX_ENDPOINT {
        return Err(format!(
            "endpoint of {} bytes, at most {MAX_ENDPOINT} are allowed",
            text.len()
        ));
    }
    if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Err(format!("endpoint {text:?} contains control characters"));
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(format!("tcp://127.0.0.1:{}", parse_port(text, text)?));
    }
    if let Some(path) = text.strip_prefix("ipc://") {
        if path.is_empty() || path == "*" {
            return Err(format!("endpoint {text:?} names no socket path"));
        }
        if path.len() > 107 {
            return Err(format!(
                "endpoint {text:?}: socket path of {} bytes, the system allows 107",
                path.len()
            ));
        }
        return Ok(text.to_owned());
    }
    if let Some(address) = text.strip_prefix("tcp://") {
        let (host, port) = address
            .rsplit_once(':')
            .ok_or_else(|| format!("endpoint {text:?} has no port"))?;
        let port = parse_port(port, text)?;
        return match host {
            "127.0.0.1" | "[::1]" => Ok(format!("tcp://{host}:{port}")),
            "localhost" => Ok(format!("tcp://127.0.0.1:{port}")),
            _ if reach == Reach::Loopback => Err(format!(
                "endpoint {text:?}: {host} is not a loopback address (127.0.0.1, [::1], \
                 localhost), and whoever reaches this socket can read and write the guest's \
                 memory. Give both sides keys, which scripts/make-keys.sh makes (QEMU: properties \
                 curve-secret and curve-server; simulator: {} and {}), or say that nobody else is \
                 on that network (QEMU: insecure=on; simulator: {}=1)",
                keys::SECRET_VARIABLE,
                keys::CLIENTS_VARIABLE,
                keys::INSECURE_VARIABLE,
            )),
            _ if is_host(host) => Ok(format!("tcp://{host}:{port}")),
            _ => Err(format!(
                "endpoint {text:?}: {host:?} is neither a host name nor an address; an IPv6 \
                 address stands in brackets"
            )),
        };
    }
    Err(format!(
        "endpoint {text:?} is neither a port number nor tcp://… nor ipc://…"
    ))
}

/// Whether both ends of an endpoint, which [`parse_endpoint_within`] has returned, are on one
/// machine: a Unix socket or the loopback interface.
pub fn is_local(endpoint: &str) -> bool {
    ["ipc://", "tcp://127.0.0.1:", "tcp://[::1]:"]
        .iter()
        .any(|prefix| endpoint.starts_with(prefix))
}

/// Endpoint of the NIC or serial channel beside the PCIe channel at
/// `endpoint`, which is one that [`parse_endpoint`] has returned: the next port
/// for the NIC and the one after it for the serial channel, or the same path
/// with `.nic` or `.uart` behind it.
///
/// # Errors
///
/// A message that names the endpoint if there is no such port or the path gets
/// too long.
pub fn channel_endpoint(endpoint: &str, kind: wire::ChannelKind) -> Result<String, String> {
    let (step, suffix) = match kind {
        wire::ChannelKind::Nic => (1, ".nic"),
        wire::ChannelKind::Serial => (2, ".uart"),
    };
    if endpoint.starts_with("ipc://") {
        return parse_endpoint(&format!("{endpoint}{suffix}"));
    }
    let (address, port) = endpoint
        .rsplit_once(':')
        .ok_or_else(|| format!("endpoint {endpoint:?} has no port"))?;
    let port = parse_port(port, endpoint)?;
    match port.checked_add(step) {
        Some(port) => Ok(format!("{address}:{port}")),
        None => Err(format!(
            "endpoint {endpoint:?} leaves no port for the {kind:?} channel, which has {step} more"
        )),
    }
}

fn is_host(host: &str) -> bool {
    let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(v6) => {
            !v6.is_empty()
                && v6
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'.' | b'%'))
        }
        None => host == "*" || (!host.is_empty() && host.bytes().all(name)),
    }
}

fn parse_port(port: &str, whole: &str) -> Result<u16, String> {
    match port.parse::<u16>() {
        Ok(p) if p != 0 => Ok(p),
        _ => Err(format!(
            "endpoint {whole:?}: port {port:?} is not a number from 1 to 65535"
        )),
    }
}

/// The endpoint to use when the user gave none: [`PORT_VARIABLE`] if it is
/// set, otherwise [`DEFAULT_PORT`] on the loopback interface.
///
/// # Errors
///
/// The message of [`parse_endpoint`], with the variable's name in front.
pub fn default_endpoint(variable: Option<&str>) -> Result<String, String> {
    default_endpoint_within(variable, Reach::Loopback)
}

/// As [`default_endpoint`], with the endpoints that `reach` allows in the
/// variable.
///
/// # Errors
///
/// As [`default_endpoint`].
pub fn default_endpoint_within(variable: Option<&str>, reach: Reach) -> Result<String, String> {
    match variable {
        Some(value) if !value.trim().is_empty() => {
            parse_endpoint_within(value, reach).map_err(|e| format!("{PORT_VARIABLE}: {e}"))
        }
        _ => Ok(format!("tcp://127.0.0.1:{DEFAULT_PORT}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        assert_eq!(parse_endpoint("7000").unwrap(), "tcp://127.0.0.1:7000");
        assert_eq!(
            parse_endpoint("tcp://localhost:1").unwrap(),
            "tcp://127.0.0.1:1"
        );
        assert_eq!(parse_endpoint("tcp://[::1]:9").unwrap(), "tcp://[::1]:9");
        assert_eq!(parse_endpoint("ipc:///tmp/x").unwrap(), "ipc:///tmp/x");
        for bad in [
            "",
            " ",
            "0",
            "65536",
            "tcp://127.0.0.1",
            "tcp://127.0.0.1:",
            "tcp://127.0.0.1:x",
            "tcp://0.0.0.0:7557",
            "tcp://*:7557",
            "tcp://10.1.2.3:7557",
            "ipc://",
            "ipc://*",
            "udp://127.0.0.1:1",
            "inproc://x",
            "tcp://127.0.0.1:7\n",
        ] {
            // A trailing newline is trimmed, so only that one is accepted.
            assert_eq!(parse_endpoint(bad).is_ok(), bad.ends_with('\n'), "{bad:?}");
        }
        assert!(parse_endpoint(&format!("ipc://{}", "x".repeat(108))).is_err());
    }

    #[test]
    fn channels_are_beside_the_pcie_endpoint() {
        use wire::ChannelKind::{Nic, Serial};
        let of = |endpoint: &str, kind| channel_endpoint(&parse_endpoint(endpoint).unwrap(), kind);
        assert_eq!(of("7557", Nic).unwrap(), "tcp://127.0.0.1:7558");
        assert_eq!(of("tcp://[::1]:9", Serial).unwrap(), "tcp://[::1]:11");
        assert_eq!(of("ipc:///tmp/x", Nic).unwrap(), "ipc:///tmp/x.nic");
        assert_eq!(of("ipc:///tmp/x", Serial).unwrap(), "ipc:///tmp/x.uart");
        assert!(of("65534", Nic).is_ok());
        assert!(of("65534", Serial).unwrap_err().contains("65534"));
        assert!(of("65535", Nic).is_err());
        let long = format!("ipc://{}", "x".repeat(103));
        assert!(of(&long, Nic).is_ok());
        assert!(of(&long, Serial).unwrap_err().contains("108 bytes"));
    }

    #[test]
    fn beyond_loopback() {
        let good = [
            "tcp://10.1.2.3:7557",
            "tcp://*:7557",
            "tcp://0.0.0.0:7557",
            "tcp://sim-1.lan:7557",
            "tcp://[fe80::1%eth0]:7557",
            "tcp://[::]:7557",
        ];
        for text in good {
            let refused = parse_endpoint(text).unwrap_err();
            for part in [
                text,
                "curve-secret",
                "ACCELERATOR_CURVE_CLIENTS",
                "make-keys.sh",
                "insecure=on",
            ] {
                assert!(refused.contains(part), "{refused}");
            }
            assert_eq!(
                parse_endpoint_within(text, Reach::Anywhere).as_deref(),
                Ok(text)
            );
        }
        for bad in [
            "tcp://:1",
            "tcp://a b:1",
            "tcp://fe80::1:1",
            "tcp://[]:1",
            "tcp://a;b:1",
            "tcp://10.1.2.3",
            "pgm://10.1.2.3:1",
        ] {
            assert!(
                parse_endpoint_within(bad, Reach::Anywhere).is_err(),
                "{bad}"
            );
        }
        let short = parse_endpoint_within("7000", Reach::Anywhere);
        assert_eq!(short.as_deref(), Ok("tcp://127.0.0.1:7000"));
        assert!(default_endpoint(Some("tcp://10.1.2.3:1")).is_err());
        assert!(default_endpoint_within(Some("tcp://10.1.2.3:1"), Reach::Anywhere).is_ok());
    }

    #[test]
    fn environment() {
        assert_eq!(default_endpoint(None).unwrap(), "tcp://127.0.0.1:7557");
        assert_eq!(default_endpoint(Some("")).unwrap(), "tcp://127.0.0.1:7557");
        assert_eq!(default_endpoint(Some("81")).unwrap(), "tcp://127.0.0.1:81");
        assert!(default_endpoint(Some("no"))
            .unwrap_err()
            .starts_with("NPU_COSIM_PORT: "));
    }
}
