// SPDX-License-Identifier: GPL-2.0-or-later

//! Keys of the connection to the simulator, and what its handshake came to.
//! Nothing here knows QEMU.

use std::path::Path;

use accelerator_protocol::{
    keys::{read_pair, read_public, Choice, Key, Names, Pair},
    parse_endpoint, Reach,
};
use accelerator_socket::handshake::Failure;

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

const NAMES: Names = Names {
    kind: "property ",
    secret: "curve-secret",
    others: "curve-server",
    whose: "the simulator's public key",
    insecure: "insecure",
};

impl Given<'_> {
    /// Which endpoints that allows, and the keys to use.
    ///
    /// # Errors
    ///
    /// A text that names the property.
    pub fn resolve(self) -> Result<(Reach, Option<Keys>), String> {
        match NAMES.choose(self.secret, self.server, self.insecure)? {
            Choice::Insecure => Ok((Reach::Anywhere, None)),
            Choice::Nothing => Ok((Reach::Loopback, None)),
            Choice::Keys { secret, others } => {
                let pair = read_pair(Path::new(secret))
                    .map_err(|e| format!("property curve-secret: {e}"))?;
                let server =
                    read_public(others).map_err(|e| format!("property curve-server: {e}"))?;
                Ok((Reach::Anywhere, Some(Keys { pair, server })))
            }
        }
    }
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

/// What to tell the user of a handshake that failed, and what to look at.
pub fn failure(failure: Failure, keyed: bool) -> &'static str {
    match failure {
        Failure::Refused => {
            "it does not know our public key (the file in the simulator's \
             ACCELERATOR_CURVE_CLIENTS has to hold the public key of the pair in curve-secret)"
        }
        Failure::OtherKeys => "its key is another one than curve-server, or it expects other keys",
        Failure::OneSided if keyed => {
            "we use keys and it does not (set ACCELERATOR_CURVE_SECRET and \
             ACCELERATOR_CURVE_CLIENTS for the simulator, or leave curve-secret and curve-server \
             out)"
        }
        Failure::OneSided => "it uses keys and we do not (set curve-secret and curve-server)",
        Failure::NoZeroMq => "it does not speak ZeroMQ",
        Failure::HungUp if keyed => {
            "it hung up during the handshake, as a simulator does whose key is another one than \
             curve-server, or that uses no keys (set ACCELERATOR_CURVE_SECRET and \
             ACCELERATOR_CURVE_CLIENTS for it)"
        }
        Failure::HungUp => {
            "it hung up during the handshake, as a simulator does that uses keys (set curve-secret \
             and curve-server)"
        }
    }
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
}
