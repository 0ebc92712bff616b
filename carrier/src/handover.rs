// SPDX-License-Identifier: MIT OR Apache-2.0

//! How the other process gets the memory file: by a Unix socket with a name that only the two
//! know, in no folder, and only if it belongs to the same user. The connection is the
//! [`Bell`] from then on.

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
};

use crate::random;

/// Bytes of a name: hexadecimal digits of a random number with 128 bits.
pub const NAME_LEN: usize = 32;

/// Prefix of the names in the abstract namespace.
const PREFIX: &str = "accelerator-";

fn check(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Whether a name could be one of ours.
pub fn is_name(name: &str) -> bool {
    name.len() == NAME_LEN
        && name
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Fails unless the process at the other end belongs to our user.
fn check_user(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut theirs = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut length = std::mem::size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: both are valid for writes, and the length is that of the first.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            std::ptr::from_mut(&mut theirs).cast(),
            &mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it has no arguments and cannot fail.
    let ours = unsafe { libc::geteuid() };
    if theirs.uid != ours {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "the other process belongs to user {}, not {ours}",
                theirs.uid
            ),
        ));
    }
    Ok(())
}

/// The file, for whoever comes first and is of our user.
#[derive(Debug)]
pub struct Offer {
    listener: UnixListener,
    name: String,
    file: OwnedFd,
}

impl Offer {
    /// Listens.
    ///
    /// # Errors
    ///
    /// Of the system calls.
    pub fn new(file: OwnedFd) -> io::Result<Self> {
        let mut bytes = [0_u8; NAME_LEN / 2];
        random::fill(&mut bytes)?;
        let name: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let address = SocketAddr::from_abstract_name(format!("{PREFIX}{name}"))?;
        let listener = UnixListener::bind_addr(&address)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            name,
            file,
        })
    }

    /// What the other side has to know, [`NAME_LEN`] bytes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Readable when somebody came.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Hands the file over to whoever came; not to another user. `None` if nobody is there.
    ///
    /// # Errors
    ///
    /// Of the system calls; of another user's process, which has got nothing.
    pub fn hand_over(&self) -> io::Result<Option<Bell>> {
        let connection = match self.listener.accept() {
            Ok((connection, _)) => OwnedFd::from(connection),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(e) => return Err(e),
        };
        check_user(connection.as_fd())?;
        send_file(connection.as_fd(), self.file.as_fd())?;
        Ok(Some(Bell(connection)))
    }
}

/// Room for the control message with one descriptor, aligned as its header is.
#[repr(C)]
union Control {
    bytes: [u8; 64],
    header: libc::cmsghdr,
}

fn send_file(connection: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<()> {
    let mut byte = 0_u8;
    let mut part = libc::iovec {
        iov_base: std::ptr::from_mut(&mut byte).cast(),
        iov_len: 1,
    };
    let mut control = Control { bytes: [0; 64] };
    let fd = file.as_raw_fd();
    let size = std::mem::size_of_val(&fd) as u32;
    // SAFETY: all zeros is a valid message header. The control message lies in `control`,
    // which has room for a header and a descriptor, as CMSG_SPACE says.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        message.msg_control = std::ptr::from_mut(&mut control).cast();
        message.msg_controllen = libc::CMSG_SPACE(size) as _;
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size) as _;
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(fd);
        libc::sendmsg(
            connection.as_raw_fd(),
            &message,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    check(sent).map(|_| ())
}

/// Receives bytes, and the file that came with them, without waiting.
fn receive(connection: BorrowedFd<'_>, bytes: &mut [u8]) -> (io::Result<usize>, Option<OwnedFd>) {
    let mut part = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let mut control = Control { bytes: [0; 64] };
    let size = std::mem::size_of::<i32>() as u32;
    // SAFETY: all zeros is a valid message header; both buffers are valid for writes and
    // for their lengths. The kernel writes no more descriptors than have room, closed on
    // exec; the one there is new and nobody else's.
    let (received, file) = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        message.msg_control = std::ptr::from_mut(&mut control).cast();
        message.msg_controllen = libc::CMSG_LEN(size) as _;
        let received = libc::recvmsg(
            connection.as_raw_fd(),
            &mut message,
            libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC,
        );
        let header = libc::CMSG_FIRSTHDR(&message);
        let file = (received >= 0
            && !header.is_null()
            && (*header).cmsg_level == libc::SOL_SOCKET
            && (*header).cmsg_type == libc::SCM_RIGHTS
            && (*header).cmsg_len as usize == libc::CMSG_LEN(size) as usize)
            .then(|| {
                let fd = libc::CMSG_DATA(header).cast::<i32>().read_unaligned();
                OwnedFd::from_raw_fd(fd)
            });
        (received, file)
    };
    (check(received), file)
}

/// The other process's side: a connection by which the file comes.
#[derive(Debug)]
pub struct Claim(OwnedFd);

impl Claim {
    /// Connects to an [`Offer`] by its name, without waiting.
    ///
    /// # Errors
    ///
    /// Of the system calls; of another user's process.
    pub fn new(name: &str) -> io::Result<Self> {
        let name = format!("{PREFIX}{name}");
        // SAFETY: no pointers are passed.
        let fd = unsafe {
            libc::socket(
                libc::AF_UNIX,
                libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
                0,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it is new and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut address = libc::sockaddr_un {
            sun_family: libc::AF_UNIX as libc::sa_family_t,
            sun_path: [0; 108],
        };
        // An abstract name begins with a zero.
        let Some(path) = address.sun_path.get_mut(1..=name.len()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        for (to, from) in path.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        let length = std::mem::offset_of!(libc::sockaddr_un, sun_path) + 1 + name.len();
        // SAFETY: the address is valid for `length` bytes, which are less than it has.
        let result = unsafe {
            libc::connect(
                fd,
                std::ptr::from_ref(&address).cast(),
                length as libc::socklen_t,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        check_user(socket.as_fd())?;
        Ok(Self(socket))
    }

    /// Readable when the file is there, or will not come.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Takes the file. `None` if it has not come yet.
    ///
    /// # Errors
    ///
    /// Of the system calls, and if something else came.
    pub fn take(&self) -> io::Result<Option<OwnedFd>> {
        let mut byte = [0_u8];
        match receive(self.0.as_fd(), &mut byte) {
            (Ok(_), Some(file)) => Ok(Some(file)),
            (Ok(0), None) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the other process has closed the connection",
            )),
            (Ok(_), None) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the other process has sent no file",
            )),
            (Err(e), _)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(None)
            }
            (Err(e), _) => Err(e),
        }
    }

    /// The bell, once the file was taken.
    pub fn into_bell(self) -> Bell {
        Bell(self.0)
    }
}

/// Wakes the other process, and is what a thread sleeps on. A socket: unlike with an eventfd,
/// the other process cannot make our calls block, and its end is noticed.
#[derive(Debug)]
pub struct Bell(OwnedFd);

/// What [`Bell::drain`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// The bell may ring again.
    Drained,
    /// The other process is gone, or has closed its end: it stays readable.
    Gone,
}

impl Bell {
    /// Wakes the other process. If it is gone, or has not heard the last thousand, nothing
    /// is to be done.
    pub fn ring(&self) {
        // SAFETY: one byte is valid for reads.
        unsafe {
            libc::send(
                self.0.as_raw_fd(),
                [0_u8].as_ptr().cast(),
                1,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            );
        }
    }

    /// Rings, and hands a file over. False if there is no room for it at the moment.
    ///
    /// # Errors
    ///
    /// Of the system call.
    pub fn send(&self, file: BorrowedFd<'_>) -> io::Result<bool> {
        match send_file(self.0.as_fd(), file) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Readable when it has rung.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Forgets that it has rung, and has `take` take the files that came.
    pub fn drain(&self, mut take: impl FnMut(OwnedFd)) -> Rung {
        let mut bytes = [0_u8; 64];
        // Bounded: the other process may ring without end.
        for _ in 0..64 {
            let (received, file) = receive(self.0.as_fd(), &mut bytes);
            let came = file.map(&mut take).is_some();
            match received {
                Ok(0) => return Rung::Gone,
                // A file ends what is received at once.
                Ok(count) if count == bytes.len() || came => {}
                Ok(_) => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Rung::Gone,
            }
        }
        Rung::Drained
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Offer {
        Offer::new(crate::segment::file().unwrap()).unwrap()
    }

    #[test]
    fn a_file_is_handed_over_and_the_connection_rings() {
        let offer = offer();
        assert!(is_name(offer.name()));
        assert!(offer.hand_over().unwrap().is_none());
        let claim = Claim::new(offer.name()).unwrap();
        assert!(claim.take().unwrap().is_none());
        let theirs = offer.hand_over().unwrap().unwrap();
        let file = claim.take().unwrap().unwrap();
        crate::segment::Segment::of_other(file.as_fd()).unwrap();
        let ours = claim.into_bell();
        assert_eq!(ours.drain(drop), Rung::Drained);
        // One that does not listen does not stop us.
        for _ in 0..100_000 {
            ours.ring();
        }
        while theirs.drain(drop) == Rung::Drained {
            let mut poll = libc::pollfd {
                fd: theirs.descriptor().as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one element is valid.
            if unsafe { libc::poll(&mut poll, 1, 0) } == 0 {
                break;
            }
        }
        drop(ours);
        assert_eq!(theirs.drain(drop), Rung::Gone);
        theirs.ring();
    }

    #[test]
    fn what_is_not_there_is_told() {
        let name = offer().name().to_owned();
        let e = Claim::new(&name).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::ConnectionRefused);
        let e = Claim::new(&"f".repeat(200)).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn one_who_sends_something_else_is_told() {
        let listener = |name: &str| {
            let address = SocketAddr::from_abstract_name(format!("{PREFIX}{name}")).unwrap();
            UnixListener::bind_addr(&address).unwrap()
        };
        let name = format!("{:032x}", u128::from(std::process::id()) << 64);
        let listener = listener(&name);
        let claim = Claim::new(&name).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        io::Write::write_all(&mut theirs, b"hello").unwrap();
        let e = claim.take().unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::InvalidData);
        let claim = Claim::new(&name).unwrap();
        drop(listener.accept().unwrap());
        let e = claim.take().unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::UnexpectedEof);
    }
}
