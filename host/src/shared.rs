// SPDX-License-Identifier: MIT OR Apache-2.0

//! The shared memory that a simulator offers in the handshake.

use std::{
    fs::File,
    os::fd::AsFd,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use accelerator_carrier::{
    handover::{Bell, Claim},
    segment::Segment,
};

use crate::{system, Error};

/// What the simulator has handed over.
pub struct Shared {
    /// Mapped.
    pub segment: Arc<Segment>,
    /// Wakes the other side.
    pub bell: Arc<Bell>,
    /// The file itself.
    pub file: File,
}

/// Gets it by its name.
///
/// # Errors
///
/// It is not there, or nobody hands it over in time.
pub fn claim(name: &str, patience: Duration) -> Result<Shared, Error> {
    let claim = Claim::new(name).map_err(system("nobody offers shared memory"))?;
    let deadline = Instant::now() + patience;
    let file = loop {
        match claim.take().map_err(system("cannot take shared memory"))? {
            Some(file) => break file,
            None if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
            None => {
                return Err(system("no shared memory came")(
                    std::io::ErrorKind::TimedOut.into(),
                ))
            }
        }
    };
    let segment = Segment::of_other(file.as_fd()).map_err(system("cannot map a memory file"))?;
    Ok(Shared {
        segment,
        bell: Arc::new(claim.into_bell()),
        file: File::from(file),
    })
}
