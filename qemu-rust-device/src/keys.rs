// SPDX-License-Identifier: GPL-2.0-or-later

//! Keys of the connection to the simulator, and what its handshake came to.
//! Nothing here knows QEMU.

use std::path::Path;

use accelerator_protocol::{
    keys::{read_pair, read_public, Key, Pair},
    parse_endpoint, Reach,
};

/// Who we are, and whom we want to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Our own.
    pub pair: Pair,
    /// The simulator's public key.
    pub server: Key,
}

/// What a user can say about who may connect.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given<'a> {
    /// Property `curve-secret`.
    pub secret: Option<&'a str>,
    /// Property `curve-server`.
    pub server: Option<&'a str>,
    /// Property `insecure`.
    pub insecure: bool,
}

impl Given<'_> {
    /// Which endpoints that allows, and the keys to use.
    ///
    /// # Errors
    ///
    /// A text that names the property.
    pub fn resolve(self) -> Result<(Reach, Option<Keys>), String> {
        match (self.secret, self.server) {
            (None, None) if self.insecure => Ok((Reach::Anywhere, None)),
            (None, None) => Ok((Reach::Loopback, None)),
            _ if self.insecure => {
                Err("property insecure is on together with keys, expected one or the other".into())
            }
            (Some(_), None) => Err(
                "property curve-secret is set without curve-server, the simulator's public key"
                    .into(),
            ),
            (None, Some(_)) => Err(
                "property curve-server is set without curve-secret, the file with our own keys"
                    .into(),
            ),
            (Some(secret), Some(server)) => {
                let pair = read_pair(Path::new(secret))
                    .map_err(|e| format!("property curve-secret: {e}"))?;
                let server =
                    read_public(server).map_err(|e| format!("property curve-server: {e}"))?;
                Ok((Reach::Anywhere, Some(Keys { pair, server })))
            }
        }
    }
}

/// Sets up a socket before it connects to `endpoint`.
///
/// # Errors
///
/// Of ZeroMQ; `EINVAL` from a libzmq without CURVE.
pub fn apply(socket: &zmq::Socket, keys: Option<&Keys>, endpoint: &str) -> zmq::Result<()> {
    socket.set_ipv6(endpoint.starts_with("tcp://["))?;
    if let Some(Keys { pair, server }) = keys {
        socket.set_curve_publickey(&pair.public)?;
        socket.set_curve_secretkey(&pair.secret)?;
        socket.set_curve_serverkey(server)?;
    }
    Ok(())
}

/// What to tell the user about an endpoint that everybody may reach.
pub fn exposed(endpoint: &str, keys: Option<&Keys>) -> Option<String> {
    (keys.is_none() && parse_endpoint(endpoint).is_err()).then(|| {
        format!(
            "whoever answers at {endpoint} can read and write the guest's memory, and whoever \
             listens in can read along (property insecure)"
        )
    })
}

/// Events of the socket that tell about handshakes that failed.
pub const FAILURES: u16 = NO_DETAIL | PROTOCOL | AUTH;

/// The one that says the least.
pub const NO_DETAIL: u16 = 0x0800;
// Numbers of zmq.h, as the one above.
const PROTOCOL: u16 = 0x2000;
const AUTH: u16 = 0x4000;
const CRYPTOGRAPHIC: u32 = 0x1100_0001;
const MECHANISM_MISMATCH: u32 = 0x1100_0002;

/// Why a handshake failed, if this event says so: what to look at, for a person.
pub fn failure(event: u16, value: u32, keyed: bool) -> Option<&'static str> {
    Some(match (event, value) {
        (AUTH, _) => {
            "it does not know our public key (the file in the simulator's \
             ACCELERATOR_CURVE_CLIENTS has to hold the public key of the pair in curve-secret)"
        }
        (PROTOCOL, CRYPTOGRAPHIC) => {
            "its key is another one than curve-server, or it expects other keys"
        }
        (PROTOCOL, MECHANISM_MISMATCH) if keyed => {
            "we use keys and it does not (set ACCELERATOR_CURVE_SECRET and \
             ACCELERATOR_CURVE_CLIENTS for the simulator, or leave curve-secret and curve-server \
             out)"
        }
        (PROTOCOL, MECHANISM_MISMATCH) => {
            "it uses keys and we do not (set curve-secret and curve-server)"
        }
        (PROTOCOL, _) => "it does not speak ZeroMQ",
        (NO_DETAIL, _) if keyed => {
            "it hung up during the handshake, as a simulator does whose key is another one than \
             curve-server, or that uses no keys (set ACCELERATOR_CURVE_SECRET and \
             ACCELERATOR_CURVE_CLIENTS for it)"
        }
        (NO_DETAIL, _) => {
            "it hung up during the handshake, as a simulator does that uses keys (set curve-secret \
             and curve-server)"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_choice_is_none() {
        let given = |secret, server, insecure| {
            Given {
                secret,
                server,
                insecure,
            }
            .resolve()
        };
        assert_eq!(given(None, None, false), Ok((Reach::Loopback, None)));
        assert_eq!(given(None, None, true), Ok((Reach::Anywhere, None)));
        for (secret, server, insecure, part) in [
            (Some("s"), None, false, "curve-server"),
            (None, Some("k"), false, "curve-secret"),
            (Some("s"), Some("k"), true, "insecure"),
            (Some("/none/s"), Some("k"), false, "/none/s"),
        ] {
            let text = given(secret, server, insecure).unwrap_err();
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn numbers_are_those_of_zmq() {
        use zmq::SocketEvent as E;
        assert_eq!(NO_DETAIL, E::HANDSHAKE_FAILED_NO_DETAIL.to_raw());
        assert_eq!(PROTOCOL, E::HANDSHAKE_FAILED_PROTOCOL.to_raw());
        assert_eq!(AUTH, E::HANDSHAKE_FAILED_AUTH.to_raw());
    }
}
