// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who may connect, from the environment.

use std::path::Path;

use accelerator_curve::Guard;
use accelerator_protocol::{
    keys::{
        parse_switch, read_pair, read_publics, z85_encode, Choice, Key, Names, Pair,
        CLIENTS_VARIABLE, INSECURE_VARIABLE, SECRET_VARIABLE,
    },
    limit::Limit,
    parse_endpoint, parse_endpoint_within, Reach,
};

use crate::{
    error::{Code, Error, Result},
    limited::limited,
};

/// What the user asked for.
#[derive(Clone, Debug)]
pub enum Security {
    /// Nothing: endpoints on this machine, whoever can reach them.
    Loopback,
    /// Any endpoint, whoever can reach it.
    Insecure,
    /// Any endpoint, and only those who own one of these keys.
    Keys {
        /// Ours.
        pair: Pair,
        /// Theirs.
        clients: Vec<Key>,
    },
}

const NAMES: Names = Names {
    kind: "",
    secret: SECRET_VARIABLE,
    others: CLIENTS_VARIABLE,
    whose: "the public keys of those who may connect",
    insecure: INSECURE_VARIABLE,
};

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.trim().is_empty())
}

impl Security {
    /// Reads the environment, and the files that it names.
    ///
    /// # Errors
    ///
    /// `Code::Invalid` with a text that names the variable.
    pub fn from_environment() -> Result<Self> {
        Self::of(
            variable(SECRET_VARIABLE).as_deref(),
            variable(CLIENTS_VARIABLE).as_deref(),
            variable(INSECURE_VARIABLE).as_deref(),
        )
        .map_err(|text| Error::new(Code::Invalid, text))
    }

    fn of(
        secret: Option<&str>,
        clients: Option<&str>,
        insecure: Option<&str>,
    ) -> std::result::Result<Self, String> {
        let insecure = parse_switch(INSECURE_VARIABLE, insecure)?;
        match NAMES.choose(secret, clients, insecure)? {
            Choice::Insecure => Ok(Self::Insecure),
            Choice::Nothing => Ok(Self::Loopback),
            Choice::Keys { secret, others } => Ok(Self::Keys {
                pair: read_pair(Path::new(secret))
                    .map_err(|e| format!("{SECRET_VARIABLE}: {e}"))?,
                clients: read_publics(others).map_err(|e| format!("{CLIENTS_VARIABLE}: {e}"))?,
            }),
        }
    }

    /// Which endpoints are allowed.
    pub const fn reach(&self) -> Reach {
        match self {
            Self::Loopback => Reach::Loopback,
            Self::Insecure | Self::Keys { .. } => Reach::Anywhere,
        }
    }

    /// Sets up a socket that is about to be bound to `endpoint`. What is
    /// returned has to live as long as the socket.
    ///
    /// # Errors
    ///
    /// `Code::Invalid` for an endpoint that is not allowed, `Code::Io` for what
    /// libzmq or the system refuses.
    pub fn apply(
        &self,
        context: &zmq::Context,
        socket: &zmq::Socket,
        endpoint: &str,
        target: &str,
    ) -> Result<Option<Guard>> {
        parse_endpoint_within(endpoint, self.reach()).map_err(|e| Error::new(Code::Invalid, e))?;
        let Self::Keys { pair, clients } = self else {
            if parse_endpoint(endpoint).is_err() {
                log::warn!(
                    target: target,
                    "whoever reaches {endpoint} can read and write the guest's memory \
                     ({INSECURE_VARIABLE} is set)"
                );
            }
            return Ok(None);
        };
        let known = clients.len();
        let target = target.to_owned();
        let mut count = 0_u64;
        // It can try as often as it likes, and we need not say so each time.
        let mut limit = Limit::default();
        let refused = move |address: &str, key: &[u8]| {
            count += 1;
            let key = || {
                key.try_into()
                    .map_or_else(|_| "none".into(), |k| z85_encode(&k))
            };
            limited!(
                limit,
                warn,
                &target,
                "refused a host at {address}: its public key {} is not among the {known} of \
                 {CLIENTS_VARIABLE} (refusal {count})",
                key()
            );
        };
        accelerator_curve::serve(context, socket, pair, clients, refused)
            .map(Some)
            .map_err(|e| Error::new(Code::Io, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_choice_is_none() {
        assert!(matches!(
            Security::of(None, None, None),
            Ok(Security::Loopback)
        ));
        assert!(matches!(
            Security::of(None, None, Some("1")),
            Ok(Security::Insecure)
        ));
        for (secret, clients, insecure, parts) in [
            (Some("s"), None, None, ["without", CLIENTS_VARIABLE]),
            (None, Some("c"), None, ["without", SECRET_VARIABLE]),
            (Some("s"), Some("c"), Some("1"), ["together", "keys"]),
            (None, None, Some("perhaps"), [INSECURE_VARIABLE, "perhaps"]),
            (
                Some("/none/s"),
                Some("c"),
                None,
                [SECRET_VARIABLE, "/none/s"],
            ),
        ] {
            let text = Security::of(secret, clients, insecure).unwrap_err();
            assert!(parts.iter().all(|p| text.contains(p)), "{text}");
        }
    }
}
