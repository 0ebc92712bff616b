// SPDX-License-Identifier: MIT OR Apache-2.0

//! A client of vfio-user that is not QEMU, and says what it likes.

use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    os::{
        fd::{AsRawFd, FromRawFd, RawFd},
        unix::net::UnixStream,
    },
    path::Path,
    time::{Duration, Instant},
};

use accelerator_peers::PATIENCE;

pub const VERSION: u16 = 1;
pub const DMA_MAP: u16 = 2;
pub const DMA_UNMAP: u16 = 3;
pub const GET_INFO: u16 = 4;
pub const GET_REGION_INFO: u16 = 5;
pub const GET_IRQ_INFO: u16 = 7;
pub const SET_IRQS: u16 = 8;
pub const REGION_READ: u16 = 9;
pub const REGION_WRITE: u16 = 10;
pub const DEVICE_RESET: u16 = 13;
pub const WRITE_MULTI: u16 = 15;

pub const NO_REPLY: u32 = 0x10;

/// Region of configuration space.
pub const CONFIG: u32 = 7;

pub const INTX: u32 = 0;
pub const MSI: u32 = 1;
pub const MSIX: u32 = 2;
/// SET_IRQS: eventfds that are rung.
pub const TRIGGER: u32 = 4 | 32;

/// What QEMU 10.1 says of itself.
const ABILITIES: &[u8] =
    b"{\"capabilities\": {\"max_msg_fds\": 16, \"migration\": {\"pgsize\": 4096, \
\"max_bitmap_size\": 268435456}, \"max_data_xfer_size\": 1048576, \"pgsizes\": 4096, \
\"max_dma_maps\": 65535, \"write_multiple\": true}}\0";

/// Concatenates numbers.
macro_rules! body {
    ($($number:expr),* $(,)?) => {{
        let mut body: Vec<u8> = Vec::new();
        $(body.extend_from_slice(&$number.to_ne_bytes());)*
        body
    }};
}
pub(crate) use body;

#[derive(Debug)]
pub struct Reply {
    pub id: u16,
    pub command: u16,
    /// Of a reply that says that the command has failed.
    pub error: Option<i32>,
    pub body: Vec<u8>,
}

pub struct Client {
    pub socket: UnixStream,
    id: u16,
}

impl Client {
    pub fn connect(path: &Path) -> Self {
        let socket = UnixStream::connect(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { socket, id: 0x100 }
    }

    /// Connects and agrees on a version.
    pub fn agreed(path: &Path) -> Self {
        let mut client = Self::connect(path);
        client.version().unwrap();
        client
    }

    pub fn version(&mut self) -> Result<Vec<u8>, i32> {
        let mut body = body![0_u16, 0_u16];
        body.extend(ABILITIES);
        self.call(VERSION, &body)
    }

    /// As QEMU begins: the guest's memory, and what the device is.
    pub fn begun(path: &Path, memory: &File, address: u64, bytes: u64) -> Self {
        let mut client = Self::agreed(path);
        client.map(address, bytes, 3, 0, memory).unwrap();
        client
            .call(GET_INFO, &body![16_u32, 0_u32, 0_u32, 0_u32])
            .unwrap();
        client
    }

    /// A header, as the client has it.
    pub fn header(id: u16, command: u16, size: u32, flags: u32) -> Vec<u8> {
        body![id, command, size, flags, 0_u32]
    }

    /// Sends a message and returns its id.
    pub fn send(&mut self, command: u16, flags: u32, body: &[u8]) -> u16 {
        self.send_with(command, flags, body, &[])
    }

    pub fn send_with(&mut self, command: u16, flags: u32, body: &[u8], files: &[RawFd]) -> u16 {
        self.id = self.id.wrapping_add(1);
        let mut message = Self::header(self.id, command, 16 + body.len() as u32, flags);
        message.extend(body);
        self.raw(&message, files);
        self.id
    }

    /// Sends bytes with descriptors.
    pub fn raw(&mut self, bytes: &[u8], files: &[RawFd]) {
        assert!(self.try_raw(bytes, files), "the server has closed it");
    }

    /// Whether they could be sent.
    pub fn try_raw(&mut self, bytes: &[u8], files: &[RawFd]) -> bool {
        if files.is_empty() {
            return self.socket.write_all(bytes).is_ok();
        }
        let mut part = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        let mut control = vec![0_u64; 4 + files.len()];
        let data = std::mem::size_of_val(files) as u32;
        // SAFETY: all zeros is a value of this struct; the buffers are there until the call
        // returns, and the control buffer has room for one header with the descriptors.
        let sent = unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = &mut part;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(data) as _;
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(data) as _;
            let place = libc::CMSG_DATA(header).cast::<RawFd>();
            std::ptr::copy_nonoverlapping(files.as_ptr(), place, files.len());
            libc::sendmsg(self.socket.as_raw_fd(), &message, libc::MSG_NOSIGNAL)
        };
        sent == bytes.len() as isize
    }

    /// The next reply; `None` if the server has closed the connection.
    pub fn receive(&mut self) -> Option<Reply> {
        let mut header = [0; 16];
        match self.socket.read_exact(&mut header) {
            Ok(()) => {}
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                ) =>
            {
                return None
            }
            Err(e) => panic!("no reply: {e}"),
        }
        let half = |at: usize| u16::from_ne_bytes(header[at..at + 2].try_into().unwrap());
        let word = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().unwrap());
        assert_eq!(word(8) & 0xf, 1, "no reply: {header:?}");
        let mut body = vec![0; word(4) as usize - 16];
        self.socket.read_exact(&mut body).unwrap();
        Some(Reply {
            id: half(0),
            command: half(2),
            error: (word(8) & 0x20 != 0).then(|| word(12) as i32),
            body,
        })
    }

    /// Whether nothing comes for a while.
    pub fn is_silent(&mut self) -> bool {
        let wait = Some(Duration::from_millis(150));
        self.socket.set_read_timeout(wait).unwrap();
        let nothing = self
            .socket
            .read_exact(&mut [0])
            .is_err_and(|e| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        nothing
    }

    /// Whether the server has closed the connection, or does so in time.
    pub fn is_closed(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if self.receive().is_none() {
                return true;
            }
        }
        false
    }

    /// The reply to that message, which is the next one.
    #[track_caller]
    pub fn answer(&mut self, id: u16) -> Result<Vec<u8>, i32> {
        let reply = self.receive().expect("the server has closed it");
        assert_eq!(reply.id, id, "to command {}: {reply:?}", reply.command);
        match reply.error {
            Some(error) => {
                assert!(reply.body.is_empty());
                Err(error)
            }
            None => Ok(reply.body),
        }
    }

    #[track_caller]
    pub fn call(&mut self, command: u16, body: &[u8]) -> Result<Vec<u8>, i32> {
        self.call_with(command, body, &[])
    }

    #[track_caller]
    pub fn call_with(
        &mut self,
        command: u16,
        body: &[u8],
        files: &[RawFd],
    ) -> Result<Vec<u8>, i32> {
        let id = self.send_with(command, 0, body, files);
        self.answer(id)
    }

    pub fn map(
        &mut self,
        address: u64,
        bytes: u64,
        flags: u32,
        offset: u64,
        file: &File,
    ) -> Result<Vec<u8>, i32> {
        let body = body![32_u32, flags, offset, address, bytes];
        self.call_with(DMA_MAP, &body, &[file.as_raw_fd()])
    }

    pub fn unmap(&mut self, address: u64, bytes: u64, flags: u32) -> Result<Vec<u8>, i32> {
        self.call(DMA_UNMAP, &body![24_u32, flags, address, bytes])
    }

    /// Asks for `count` bytes of a region.
    pub fn begin_read(&mut self, region: u32, offset: u64, count: u32) -> u16 {
        self.send(REGION_READ, 0, &body![offset, region, count])
    }

    /// What came of that.
    #[track_caller]
    pub fn read_done(&mut self, id: u16) -> Vec<u8> {
        self.answer(id).unwrap()[16..].to_vec()
    }

    #[track_caller]
    pub fn config(&mut self, offset: u64, count: u32) -> Vec<u8> {
        let id = self.begin_read(CONFIG, offset, count);
        self.read_done(id)
    }

    pub fn write_message(region: u32, offset: u64, data: &[u8]) -> Vec<u8> {
        let mut body = body![offset, region, data.len() as u32];
        body.extend(data);
        body
    }

    #[track_caller]
    pub fn set_config(&mut self, offset: u64, data: &[u8]) {
        let body = Self::write_message(CONFIG, offset, data);
        self.call(REGION_WRITE, &body).unwrap();
    }

    /// A posted write to a BAR.
    pub fn post(&mut self, bar: u32, offset: u64, data: &[u8]) {
        let body = Self::write_message(bar, offset, data);
        self.send(REGION_WRITE, NO_REPLY, &body);
    }

    /// Place of a capability.
    pub fn find(&mut self, capability: u8) -> u64 {
        let config = self.config(0, 256);
        let mut at = usize::from(config[0x34]);
        while config[at] != capability {
            at = usize::from(config[at + 1]);
            assert_ne!(at, 0, "there is no capability {capability:#x}");
        }
        at as u64
    }

    /// Gives eventfds for vectors from `start` on.
    #[track_caller]
    pub fn give(&mut self, index: u32, start: u32, eventfds: &[&Eventfd]) {
        let files: Vec<_> = eventfds.iter().map(|e| e.0.as_raw_fd()).collect();
        let count = files.len() as u32;
        let body = body![20_u32, TRIGGER, index, start, count];
        self.call_with(SET_IRQS, &body, &files).unwrap();
    }

    #[track_caller]
    pub fn set_irqs(&mut self, index: u32, flags: u32, start: u32, count: u32) {
        let body = body![20_u32, flags, index, start, count];
        self.call(SET_IRQS, &body).unwrap();
    }
}

/// What a client waits for an interrupt with.
pub struct Eventfd(pub File);

impl Eventfd {
    pub fn new() -> Self {
        // SAFETY: no memory is involved.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        assert!(fd >= 0);
        // SAFETY: it is new and nobody else's.
        Self(unsafe { File::from_raw_fd(fd) })
    }

    /// How often it was rung.
    pub fn take(&self) -> u64 {
        let mut count = [0; 8];
        match (&self.0).read(&mut count) {
            Ok(8) => u64::from_ne_bytes(count),
            _ => 0,
        }
    }

    /// Waits until it was rung; how often.
    #[track_caller]
    pub fn wait(&self) -> u64 {
        let begin = Instant::now();
        loop {
            let count = self.take();
            if count != 0 {
                return count;
            }
            assert!(begin.elapsed() < PATIENCE, "no interrupt");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
