// SPDX-License-Identifier: MIT OR Apache-2.0

//! The file of a Unix socket that only its owner can use.
//!
//! libzmq would make it with the mode that the process's umask leaves, and remove
//! whatever had the name before. The umask belongs to the whole process, whose
//! other threads may make files at that moment, so it is not touched: Linux gives
//! the file the mode of the socket that is bound.

use std::{
    fs,
    io::{self, ErrorKind},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{FileTypeExt, MetadataExt},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
};

/// Connections that wait to be taken. libzmq's own number.
const BACKLOG: libc::c_int = 100;

/// The file of a socket on which somebody listens; goes with this.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Only if it is still ours; another simulator may have replaced it.
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|m| m.dev() == self.device && m.ino() == self.inode);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Why there is no listening socket.
#[derive(Debug)]
pub enum Error {
    /// Somebody else listens there.
    InUse,
    /// There is a file that is no socket.
    NoSocket,
    /// Of the system.
    Io(io::Error),
}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// A Unix stream socket with a file that has only the owner's permissions from
/// the beginning, listening.
///
/// # Errors
///
/// [`Error`], with the file untouched unless it was a socket that nobody
/// listens on.
pub fn listen(path: &Path) -> Result<(OwnedFd, SocketFile), Error> {
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => return Err(Error::NoSocket),
        Ok(_) => match UnixStream::connect(path) {
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
                log::debug!("{} is left over from an earlier run", path.display());
                fs::remove_file(path)?;
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            _ => return Err(Error::InUse),
        },
        Err(_) => {}
    }
    let (address, length) = address(path)?;
    // SAFETY: no memory is involved.
    let fd = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: it was opened by the call above, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: the descriptor is open and `address` valid for `length` bytes.
    let rc = unsafe {
        match libc::fchmod(fd, 0o600) {
            0 => libc::bind(fd, std::ptr::from_ref(&address).cast(), length),
            failed => failed,
        }
    };
    if rc != 0 {
        return Err(match io::Error::last_os_error() {
            // Another simulator was quicker.
            e if e.kind() == ErrorKind::AddrInUse => Error::InUse,
            e => Error::Io(e),
        });
    }
    let meta = fs::symlink_metadata(path)?;
    let file = SocketFile {
        // The working directory may be another one when we close.
        path: std::path::absolute(path)?,
        device: meta.dev(),
        inode: meta.ino(),
    };
    // SAFETY: no memory is involved.
    if unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok((socket, file))
}

/// The address of a path, which has a zero byte behind it.
fn address(path: &Path) -> io::Result<(libc::sockaddr_un, libc::socklen_t)> {
    // SAFETY: all zeros is a value of this struct of integers.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() >= address.sun_path.len() || bytes.contains(&0) {
        return Err(ErrorKind::InvalidInput.into());
    }
    for (place, &byte) in address.sun_path.iter_mut().zip(bytes) {
        *place = byte as libc::c_char;
    }
    let length = std::mem::offset_of!(libc::sockaddr_un, sun_path) + bytes.len() + 1;
    Ok((address, length as libc::socklen_t))
}
