// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a host does when the connection to a device comes and goes. Of the two ends it is the
//! one that connects, and that begins a session; who of several hosts has it, [`crate::door`]
//! says at the other end.

use crate::session::State;

/// What has become of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is there.
    There,
    /// It was there, and is not any more.
    Lost,
    /// The other end has not taken it, and this is why.
    Refused(&'static str),
}

/// Whose sessions they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A function's that nobody has been shown. Somebody waits for it, and says for how long.
    NewFunction,
    /// A function's that a guest has, or a guest had before its device went away.
    Function,
    /// A channel's. The card works without.
    Channel,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// Begin the session: INIT or OPEN.
    Begin,
    /// The session will not be answered: take a new one, and begin it when there is a
    /// connection.
    Renew,
    /// The session is over, or there will be none on this socket; why.
    End(&'static str),
}

impl Change {
    /// What to do about it, with a session that stands there.
    pub const fn step(self, session: State, whose: Whose) -> Step {
        match (self, session, whose) {
            (Self::There, State::Idle, _) => Step::Begin,
            (Self::There, ..) | (Self::Lost, State::Idle, _) => Step::Nothing,
            // Another program, or a simulator that just died.
            (Self::Lost, State::Init | State::Configured, Whose::NewFunction)
            | (Self::Lost, State::Init, Whose::Channel) => Step::Renew,
            (Self::Lost, ..) => Step::End("the connection was lost"),
            // Whoever waits is told when the time is over.
            (Self::Refused(_), _, Whose::NewFunction) => Step::Nothing,
            (Self::Refused(why), State::Idle, _) => Step::End(why),
            (Self::Refused(_), ..) => Step::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_by_what_happens_and_where_the_session_stands() {
        use State::{Closed, Configured, Idle, Init, Up};
        use Step::{Begin, End, Nothing, Renew};
        const LOST: Step = End("the connection was lost");
        const WHY: Step = End("why");
        let changes = [Change::There, Change::Lost, Change::Refused("why")];
        for (state, whose, steps) in [
            (Idle, Whose::NewFunction, [Begin, Nothing, Nothing]),
            (Idle, Whose::Function, [Begin, Nothing, WHY]),
            (Idle, Whose::Channel, [Begin, Nothing, WHY]),
            (Init, Whose::NewFunction, [Nothing, Renew, Nothing]),
            (Init, Whose::Function, [Nothing, LOST, Nothing]),
            (Init, Whose::Channel, [Nothing, Renew, Nothing]),
            (Configured, Whose::NewFunction, [Nothing, Renew, Nothing]),
            (Configured, Whose::Function, [Nothing, LOST, Nothing]),
            (Up, Whose::NewFunction, [Nothing, LOST, Nothing]),
            (Up, Whose::Function, [Nothing, LOST, Nothing]),
            (Up, Whose::Channel, [Nothing, LOST, Nothing]),
            (Closed, Whose::NewFunction, [Nothing, LOST, Nothing]),
            (Closed, Whose::Function, [Nothing, LOST, Nothing]),
            (Closed, Whose::Channel, [Nothing, LOST, Nothing]),
        ] {
            let found = changes.map(|change| change.step(state, whose));
            assert_eq!(found, steps, "{state:?} {whose:?}");
        }
    }
}
