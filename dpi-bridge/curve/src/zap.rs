// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who may connect: the answering side of ZeroMQ's authentication protocol
//! (RFC 27). libzmq asks it over a socket inside the process for each peer
//! that has proved to own its public key.

use std::{
    os::{fd::AsRawFd, unix::net::UnixStream},
    thread::JoinHandle,
};

use accelerator_protocol::keys::Key;

/// Where libzmq asks.
const DOOR: &str = "inproc://zeromq.zap.01";

type Refused = Box<dyn FnMut(&str, &[u8]) + Send>;

/// Answers until it is dropped. The sockets of the context have to be closed
/// before, or find nobody at the door.
pub struct Guard {
    // Its end tells the thread to end.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by the hook.
            let _ = thread.join();
        }
    }
}

pub fn start(
    context: &zmq::Context,
    clients: Vec<Key>,
    mut refused: Refused,
) -> Result<Guard, String> {
    let bind = || -> zmq::Result<zmq::Socket> {
        let door = context.socket(zmq::REP)?;
        door.set_linger(0)?;
        door.bind(DOOR)?;
        Ok(door)
    };
    let door = bind().map_err(|e| format!("cannot bind {DOOR}: {e}"))?;
    let system = |e: std::io::Error| format!("cannot start the thread that checks keys: {e}");
    let (stop, stopped) = UnixStream::pair().map_err(system)?;
    let thread = std::thread::Builder::new()
        .name("acc-keys".into())
        .spawn(move || {
            block_signals();
            loop {
                let mut items = [
                    zmq::PollItem::from_fd(stopped.as_raw_fd(), zmq::POLLIN),
                    door.as_poll_item(zmq::POLLIN),
                ];
                match zmq::poll(&mut items, -1) {
                    Ok(_) | Err(zmq::Error::EINTR) => {}
                    // Nobody is let in any more.
                    Err(_) => return,
                }
                if !items[0].get_revents().is_empty() {
                    return;
                }
                while let Ok(request) = door.recv_multipart(zmq::DONTWAIT) {
                    let reply = answer(&request, &clients, &mut refused);
                    if door.send_multipart(reply, 0).is_err() {
                        return;
                    }
                }
            }
        })
        .map_err(system)?;
    Ok(Guard {
        stop: Some(stop),
        thread: Some(thread),
    })
}

/// Keeps signals away, so that the program's own threads handle them.
fn block_signals() {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `set` is valid for writes, `sigfillset` initializes it before
    // `pthread_sigmask` reads it, and a null old set is allowed.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
    }
}

/// The request has version, request id, domain, address, routing id, mechanism
/// and the credentials, which for CURVE are the public key.
fn answer(request: &[Vec<u8>], clients: &[Key], refused: &mut Refused) -> [Vec<u8>; 6] {
    let part = |i: usize| request.get(i).map_or(&[][..], Vec::as_slice);
    let (address, key) = (part(3), part(6));
    let known = part(0) == b"1.0"
        && part(5) == b"CURVE"
        && request.len() == 7
        && clients.iter().any(|client| client[..] == *key);
    let (code, text): (&[u8], &[u8]) = if known {
        (b"200", b"OK")
    } else {
        refused(&String::from_utf8_lossy(address), key);
        (b"400", b"this key may not connect")
    };
    let reply: [&[u8]; 6] = [b"1.0", part(1), code, text, b"", b""];
    reply.map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn only_listed_keys_are_let_in() {
        let (sender, calls) = channel();
        let mut refused: Refused = Box::new(move |address, key| {
            sender.send((address.to_owned(), key.to_vec())).unwrap();
        });
        let request = |mechanism: &[u8], key: &[u8]| -> Vec<Vec<u8>> {
            let parts: [&[u8]; 7] = [b"1.0", b"17", b"d", b"::1", b"", mechanism, key];
            parts.map(<[u8]>::to_vec).to_vec()
        };
        let mut code = |request: &[Vec<u8>]| {
            let reply = answer(request, &[[1; 32], [2; 32]], &mut refused);
            assert_eq!((&reply[0][..], &reply[1][..]), (&b"1.0"[..], &b"17"[..]));
            String::from_utf8(reply[2].clone()).unwrap()
        };
        assert_eq!(code(&request(b"CURVE", &[2; 32])), "200");
        assert!(calls.try_recv().is_err());
        for (mechanism, key) in [
            (&b"CURVE"[..], &[3; 32][..]),
            (b"CURVE", &[2; 31]),
            (b"CURVE", b""),
            (b"NULL", &[2; 32]),
        ] {
            assert_eq!(code(&request(mechanism, key)), "400");
            assert_eq!(calls.recv().unwrap(), ("::1".into(), key.to_vec()));
        }
        let mut other = request(b"CURVE", &[2; 32]);
        other[0] = b"1.1".to_vec();
        assert_eq!(code(&other).as_str(), "400");
        other[0] = b"1.0".to_vec();
        other.truncate(6);
        assert_eq!(code(&other).as_str(), "400");
    }
}
