// SPDX-License-Identifier: MIT OR Apache-2.0

//! Messages with descriptors on a Unix socket, without waiting.

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
};

use super::wire::{Header, HEADER, MAX_FILES};

/// Bytes that wait for a client which does not read, at most. It has one access outstanding,
/// or a few, so that this is one which reads nothing at all.
const MOST: usize = 1 << 20;

/// A message of a client.
#[derive(Debug)]
pub struct Message {
    pub header: Header,
    /// What follows the header.
    pub body: Vec<u8>,
    /// What came with it. Those that nobody takes are closed.
    pub files: Vec<OwnedFd>,
}

/// What a look at the socket found.
#[derive(Debug)]
pub enum Got {
    Message(Message),
    /// Not all of a message is there.
    Nothing,
    /// The client has closed it.
    End,
}

/// The connection of a client.
pub struct Stream {
    socket: UnixStream,
    head: [u8; HEADER],
    header: Option<Header>,
    /// Bytes of the head, or of the body once the header is known.
    have: usize,
    body: Vec<u8>,
    files: Vec<OwnedFd>,
    /// Bytes that were read.
    read: u64,
    /// What was not sent yet.
    rest: Vec<u8>,
}

/// Room for a control message with that many descriptors, in words, so that it is aligned.
const CONTROL: usize = 4 + MAX_FILES.div_ceil(2);

impl Stream {
    /// Takes a connection.
    ///
    /// # Errors
    ///
    /// Of the system.
    pub fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            head: [0; HEADER],
            header: None,
            have: 0,
            body: Vec::new(),
            files: Vec::new(),
            read: 0,
            rest: Vec::new(),
        })
    }

    /// The socket.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Bytes that were read of it.
    pub const fn arrived(&self) -> u64 {
        self.read
    }

    /// Bytes that the client has sent by now, as far as the kernel has them.
    pub fn sent(&self) -> u64 {
        let mut bytes: libc::c_int = 0;
        // SAFETY: the kernel writes one number.
        let rc = unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::FIONREAD, &mut bytes) };
        self.read + if rc == 0 { bytes.max(0) as u64 } else { 0 }
    }

    /// The process at the other end, if the system tells.
    pub fn process(&self) -> Option<i32> {
        let mut peer = libc::ucred {
            pid: 0,
            uid: 0,
            gid: 0,
        };
        let mut size = std::mem::size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: `peer` is valid for `size` bytes.
        let rc = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                std::ptr::from_mut(&mut peer).cast(),
                &mut size,
            )
        };
        (rc == 0 && peer.pid > 0).then_some(peer.pid)
    }

    /// Takes the next message. Never more than one is taken from the socket, so that descriptors
    /// are those of the message that they came with.
    ///
    /// # Errors
    ///
    /// Why nothing more can be read of this client.
    pub fn receive(&mut self) -> Result<Got, String> {
        loop {
            if self.header.is_none() && self.have == HEADER {
                let header = Header::new(&self.head)?;
                self.header = Some(header);
                self.have = 0;
                self.body = vec![0; header.size as usize - HEADER];
            }
            if let Some(header) = self.header.filter(|_| self.have == self.body.len()) {
                self.header = None;
                self.have = 0;
                return Ok(Got::Message(Message {
                    header,
                    body: std::mem::take(&mut self.body),
                    files: std::mem::take(&mut self.files),
                }));
            }
            match self.fill() {
                Ok(0) => return Ok(Got::End),
                Ok(bytes) => {
                    self.have += bytes;
                    self.read += bytes as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Got::Nothing),
                // It has closed without having read everything.
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(Got::End),
                Err(e) => return Err(format!("cannot read from its socket: {e}")),
            }
            if self.files.len() > MAX_FILES {
                return Err(format!("a message with more than {MAX_FILES} descriptors"));
            }
        }
    }

    /// Reads what is missing of the head, or else of the body, and what came with it.
    fn fill(&mut self) -> io::Result<usize> {
        let Self {
            head, body, have, ..
        } = self;
        let buffer = if self.header.is_some() {
            &mut body[*have..]
        } else {
            &mut head[*have..]
        };
        let mut part = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        let mut control = [0_u64; CONTROL];
        // SAFETY: all zeros is a value of this struct of integers and pointers.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = std::mem::size_of_val(&control) as _;
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: the message names buffers that are valid for their lengths.
        let bytes = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &mut message, flags) };
        if bytes < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has filled `message` in; its control buffer is still there.
        unsafe { take_files(&message, &mut self.files) };
        if message.msg_flags & libc::MSG_CTRUNC != 0 {
            return Err(io::Error::other(
                "more descriptors than can be taken, or than this process has room for",
            ));
        }
        Ok(bytes as usize)
    }

    /// Sends, or keeps for [`Stream::flush`] what there is no room for.
    ///
    /// # Errors
    ///
    /// Why nothing more can be sent to this client.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.rest.extend_from_slice(bytes);
        self.flush()?;
        if self.rest.len() > MOST {
            return Err(format!(
                "{} bytes wait for it to read them, at most {MOST} may",
                self.rest.len()
            ));
        }
        Ok(())
    }

    /// Whether something waits for room.
    pub fn has_rest(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Sends what was kept, as far as there is room.
    ///
    /// # Errors
    ///
    /// As for [`Stream::send`].
    pub fn flush(&mut self) -> Result<(), String> {
        let mut sent = 0;
        let result = loop {
            let rest = &self.rest[sent..];
            if rest.is_empty() {
                break Ok(());
            }
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            let fd = self.socket.as_raw_fd();
            // SAFETY: the buffer is valid for its length.
            let bytes = unsafe { libc::send(fd, rest.as_ptr().cast(), rest.len(), flags) };
            if bytes >= 0 {
                sent += bytes as usize;
                continue;
            }
            match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e if e.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                e => break Err(format!("cannot write to its socket: {e}")),
            }
        };
        self.rest.drain(..sent);
        result
    }
}

/// Takes the descriptors out of the control messages of `message`.
///
/// # Safety
///
/// `recvmsg` has filled `message` in, and its control buffer is valid and aligned for a
/// `cmsghdr`.
unsafe fn take_files(message: &libc::msghdr, files: &mut Vec<OwnedFd>) {
    // SAFETY: promised.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !at.is_null() {
        // SAFETY: the macros give headers within the buffer, or null; the kernel has written
        // those, and as many descriptors behind each as its length says, which are ours now.
        unsafe {
            if (*at).cmsg_level == libc::SOL_SOCKET && (*at).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*at).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(at).cast::<RawFd>();
                for i in 0..bytes / std::mem::size_of::<RawFd>() {
                    files.push(OwnedFd::from_raw_fd(data.add(i).read_unaligned()));
                }
            }
            at = libc::CMSG_NXTHDR(message, at);
        }
    }
}
