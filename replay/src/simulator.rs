// SPDX-License-Identifier: MIT OR Apache-2.0

//! A simulator that is started for the replay, and ends with it.

use std::{
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use accelerator_protocol::keys::{CLIENTS_VARIABLE, SECRET_VARIABLE};

/// How long it may take to end: it closes its waveform.
const END: Duration = Duration::from_secs(20);

/// A folder for the socket, and for the record of the replay.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new one, which goes away with this.
    ///
    /// # Errors
    ///
    /// Of the system.
    pub fn new() -> io::Result<Self> {
        let root = std::env::temp_dir();
        for i in 0..100 {
            let path = root.join(format!("accelerator-replay-{}-{i}", std::process::id()));
            match std::fs::DirBuilder::new().create(&path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                other => return other.map(|()| Self(path)),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It is in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A simulator.
#[derive(Debug)]
pub struct Simulator {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Simulator {
    /// Starts it; it writes its record to `record`. Without `keys` it has none: nobody but this
    /// user reaches its socket.
    ///
    /// # Errors
    ///
    /// Of the system.
    pub fn start(words: &[String], record: Option<&Path>, keys: bool) -> io::Result<Self> {
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .stdin(Stdio::null())
            // Ours has the report.
            .stdout(io::stderr());
        if let Some(record) = record {
            command
                .env("ACCELERATOR_RECORD", record)
                .env_remove("ACCELERATOR_RECORD_SIZE")
                .env_remove("ACCELERATOR_RECORD_DATA");
        }
        if !keys {
            command
                .env_remove(SECRET_VARIABLE)
                .env_remove(CLIENTS_VARIABLE);
        }
        // SAFETY: the call has no pointers and is allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                // If we are killed, it ends too.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                Ok(())
            });
        }
        Ok(Self {
            child: command.spawn()?,
            ended: None,
        })
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// As [`Self::ended`], of one that is about to end.
    pub fn ends(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + Duration::from_millis(500);
        while self.ended().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        self.ended
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        // A process id of ours: it was not waited for.
        if let Ok(pid) = libc::pid_t::try_from(self.child.id()) {
            // SAFETY: no pointers are passed.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        let deadline = Instant::now() + END;
        while self.ended().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        if self.ended.is_none() {
            eprintln!(
                "accelerator-replay: the simulator did not end within {} s",
                END.as_secs()
            );
            // It may have ended just now.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
