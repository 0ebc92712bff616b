// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a record of a simulation says.
//!
//! * [`transactions`] puts the entries of one transaction together;
//! * [`registers`] is how the user calls what is in the BARs;
//! * [`tracks`] is how transactions are arranged and called, [`chains`] what followed what;
//! * [`summary`], [`csv`], [`perfetto`], [`html`], [`ftr`] and [`markers`] write it.

#![forbid(unsafe_code)]

pub mod chains;
pub mod csv;
pub mod ftr;
pub mod html;
pub mod markers;
pub mod perfetto;
pub mod registers;
pub mod summary;
pub mod tracks;
pub mod transactions;

use accelerator_record::layout::{
    STATUS_ABORTED, STATUS_DROPPED, STATUS_FAULT, STATUS_OK, STATUS_REFUSED, STATUS_TOO_LONG,
};

/// Name of a status.
pub fn status_name(status: u8) -> &'static str {
    match status {
        STATUS_OK => "ok",
        STATUS_REFUSED => "refused",
        STATUS_FAULT => "fault",
        STATUS_ABORTED => "aborted",
        STATUS_DROPPED => "dropped",
        STATUS_TOO_LONG => "too long",
        _ => "unknown",
    }
}
