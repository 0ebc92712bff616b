// SPDX-License-Identifier: GPL-2.0-or-later

//! Accesses to BARs.

use std::time::Duration;

use accelerator_protocol::wire::Status;
use log::{debug, error, trace};

use super::{
    moment::Moment,
    serving::{access_failed, has_failed, is_serving, serves},
    voice::Kind,
    wait::{Access, Got, Want},
    Link, Shared,
};

/// A write is sent at once, unless it is part of a stream: so many were written
/// without the device having caught up in between, and it still has not. Then
/// up to so many are gathered into one message.
const STREAM: u32 = 16;
const GATHER: u32 = 64;

/// Gathered writes are sent when one on its way is reported, or at the latest
/// after this time: a device may report none before it has seen the next.
const GATHER_LIMIT: Duration = Duration::from_millis(1);

/// All ones, in the low `len` bytes.
pub(super) const fn ones(len: u8) -> u64 {
    accelerator_protocol::host::mask(u64::MAX, len)
}

impl Link {
    /// Reads `len` bytes, 1 to 8, from a BAR. All ones if the device does not
    /// answer.
    pub fn read(&self, bar: u8, offset: u64, len: u8) -> u64 {
        let access = Access {
            write: false,
            bar,
            offset,
            len,
        };
        if has_failed() {
            return ones(len);
        }
        let data = self.read_from(access);
        if data.is_none() && is_serving() {
            access_failed();
        }
        data.unwrap_or_else(|| ones(len))
    }

    fn read_from(&self, access: Access) -> Option<u64> {
        let Access {
            bar, offset, len, ..
        } = access;
        let mut shared = self.lock();
        if self.is_its_own(&mut shared, access) || self.hopeless(&mut shared, access) {
            return None;
        }
        let mut out = std::mem::take(&mut shared.out);
        let tag = shared.session.read(bar, offset, len, &mut out);
        self.send(&mut shared, &mut out);
        shared.out = out;
        let Some(tag) = tag else {
            trace!("{}: {access} while the link is down", self.name());
            return None;
        };
        shared.counters.reads += 1;
        trace!("{}: {access}, tag {tag}", self.name());
        self.root.moment(Moment::Read {
            tag,
            bar,
            offset,
            len,
        });
        let got = self.wait(shared, Want::Read(tag), access);
        self.root.moment(match got {
            Got::Data(status, data) => Moment::ReadDone { tag, status, data },
            Got::Done | Got::Void | Got::Timeout => Moment::ReadUnanswered { tag },
        });
        match got {
            Got::Data(Status::Ok, data) => {
                trace!("{}: tag {tag} is {data:#x}", self.name());
                Some(data)
            }
            Got::Data(status, _) => {
                debug!("{}: {access}, tag {tag} failed: {status:?}", self.name());
                None
            }
            Got::Done | Got::Void | Got::Timeout => {
                debug!("{}: {access}, tag {tag} was not answered", self.name());
                None
            }
        }
    }

    /// Writes the low `len` bytes of `data`, 1 to 8, to a BAR. Returns at once
    /// if writes are posted and the window has room.
    pub fn write(&self, bar: u8, offset: u64, len: u8, data: u64) {
        let access = Access {
            write: true,
            bar,
            offset,
            len,
        };
        if !has_failed() && !self.write_to(access, data) && is_serving() {
            access_failed();
        }
    }

    /// Whether the write is on its way.
    fn write_to(&self, access: Access, data: u64) -> bool {
        let Access {
            bar, offset, len, ..
        } = access;
        loop {
            let mut shared = self.lock();
            if self.is_its_own(&mut shared, access) {
                return false;
            }
            if !shared.session.is_up() {
                trace!("{}: {access} while the link is down", self.name());
                return false;
            }
            if !shared.session.can_write() {
                if self.hopeless(&mut shared, access) {
                    return false;
                }
                // Full: a thread that waits for room serves the link, so that
                // it can come.
                match self.wait(shared, Want::Window, access) {
                    Got::Done => continue,
                    Got::Data(..) | Got::Void | Got::Timeout => return false,
                }
            }
            let under_way = shared
                .session
                .writes_outstanding()
                .saturating_sub(shared.gathered);
            let mut out = std::mem::take(&mut shared.out);
            let tag = shared.session.write(bar, offset, len, data, &mut out);
            shared.out = out;
            let Some(tag) = tag else { return false };
            shared.gathered += 1;
            shared.streak = if under_way == 0 {
                0
            } else {
                shared.streak.saturating_add(1)
            };
            shared.counters.writes += 1;
            trace!("{}: {access} of {data:#x}, tag {tag}", self.name());
            self.root.moment(Moment::Write {
                tag,
                bar,
                offset,
                len,
                data,
            });
            if !self.settings.posted_writes {
                self.flush(&mut shared);
                return matches!(self.wait(shared, Want::Write(tag), access), Got::Done);
            } else if shared.memory.is_used()
                || shared.streak < STREAM
                || shared.gathered >= GATHER
                || !shared.session.can_write()
            {
                self.flush(&mut shared);
                self.pass_on(&mut shared);
            } else if !shared.gather_timer {
                match self.late.set(GATHER_LIMIT) {
                    Ok(()) => shared.gather_timer = true,
                    Err(e) => {
                        error!("{}: no timer for gathered writes: {e}", self.name());
                        self.flush(&mut shared);
                    }
                }
            }
            return true;
        }
    }

    /// An access by the card itself, or by one that waits for it: nobody would answer it.
    fn is_its_own(&self, shared: &mut Shared, access: Access) -> bool {
        let own = serves(self);
        if own {
            self.say(shared, Kind::Refused, || {
                format!(
                    "{access} comes from DMA of the card itself, or of one that it waits for: it \
                     is not forwarded"
                )
            });
        }
        own
    }

    /// An access that all of QEMU would wait for, of a device that has just not
    /// answered such an access.
    fn hopeless(&self, shared: &mut Shared, access: Access) -> bool {
        let hopeless = shared.deaf && (is_serving() || !self.root.may_wait());
        if hopeless {
            self.say(shared, Kind::Refused, || {
                format!(
                    "{access} is not forwarded: it is no vCPU's own, and the simulator still \
                     owes the answer to one that was given up"
                )
            });
        }
        hopeless
    }
}
