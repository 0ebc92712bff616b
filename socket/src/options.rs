// SPDX-License-Identifier: MIT OR Apache-2.0

//! Options of a socket.

use std::time::Duration;

use accelerator_protocol::wire::MAX_MESSAGE;

/// Messages that libzmq keeps of what came. Beyond it the socket stops reading and the other
/// end's queue fills. With [`MAX_MESSAGE`] it bounds what a hostile peer can make us keep.
pub const HIGH_WATER: i32 = 256;

/// How long libzmq may try to get rid of what was sent, a goodbye for instance, when a socket
/// closes.
pub const LINGER: Duration = Duration::from_millis(300);

/// A number of milliseconds, as libzmq takes it.
pub fn ms(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

/// What every socket sets that is about to be bound to or connected to `endpoint`. What came
/// is bounded by it; what was sent is up to the caller.
///
/// # Errors
///
/// Of libzmq.
pub fn set(socket: &zmq::Socket, endpoint: &str) -> zmq::Result<()> {
    socket.set_maxmsgsize(MAX_MESSAGE as i64)?;
    socket.set_rcvhwm(HIGH_WATER)?;
    socket.set_ipv6(endpoint.starts_with("tcp://["))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_set() {
        let socket = zmq::Context::new().socket(zmq::DEALER).unwrap();
        for (endpoint, ipv6) in [
            ("tcp://[::1]:7557", true),
            ("tcp://127.0.0.1:7557", false),
            ("ipc:///tmp/[", false),
        ] {
            set(&socket, endpoint).unwrap();
            assert_eq!(socket.is_ipv6(), Ok(ipv6), "{endpoint}");
        }
        assert_eq!(socket.get_maxmsgsize(), Ok(MAX_MESSAGE as i64));
        assert_eq!(socket.get_rcvhwm(), Ok(HIGH_WATER));
        assert_eq!(ms(LINGER), 300);
        assert_eq!(ms(Duration::MAX), i32::MAX);
    }
}
