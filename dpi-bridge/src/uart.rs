// SPDX-License-Identifier: MIT OR Apache-2.0

//! A UART channel: bytes between a character device of the host and the RTL.

use std::collections::VecDeque;

use accelerator_faults::{Fault, What};
use accelerator_protocol::{
    channel::{ChannelEvent, ChannelKind},
    limit::Limit,
};
use accelerator_record::{Source, SourceKind};
use log::info;

use crate::{
    channel::{Port, Sink},
    error::{within, Result},
    faults,
    limited::limited,
    record::Observer,
    registry::Behind,
    words::Words,
};

/// Bytes of the host that are kept for the RTL at most.
pub(crate) const RX_BYTES: u32 = 4096;

/// Bytes of the RTL that are kept for the host at most.
pub(crate) const TX_BYTES: usize = 4096;

/// Bytes of the RTL are gathered until there are so many, or until so many polls
/// have passed without another one: a message for each byte would keep the
/// RTL waiting.
const GATHER_BYTES: usize = 64;
const GATHER_POLLS: u32 = 16;

/// Poll: a byte from the host waits.
pub(crate) const RX: u32 = 1;
/// Poll: there is room for a byte to the host.
pub(crate) const TX: u32 = 2;
/// Poll: a host is there.
pub(crate) const HOST: u32 = 4;

struct State {
    /// Bytes of the host, oldest first, with the numbers of their transactions; 0 of those that
    /// have none yet.
    waiting: VecDeque<(u8, u64)>,
    host: bool,
    /// A session has begun since the last poll.
    opened: bool,
    /// What the record has of it.
    recorded: bool,
    faults: faults::Channel,
    observer: Option<Observer>,
    /// Bytes that a fault has lost, and for which the host gets credit.
    lost: u32,
}

impl Sink for State {
    fn opened(&mut self, _target: &str, _mac: [u8; 6], _link: bool) {
        // Those of the session before would come on top of what this host may
        // send.
        self.waiting.clear();
        self.lost = 0;
        self.host = true;
        self.opened = true;
    }

    fn down(&mut self) {
        self.host = false;
    }

    fn event(&mut self, target: &str, event: ChannelEvent<'_>) {
        let ChannelEvent::Bytes(data) = event else {
            return;
        };
        if !self.faults.any() {
            self.waiting.extend(data.iter().map(|&byte| (byte, 0)));
            return;
        }
        for &byte in data {
            match self.fails(target, What::SerialRx, byte) {
                (Some(byte), number) => self.waiting.push_back((byte, number)),
                (None, _) => self.lost += 1,
            }
        }
    }
}

impl State {
    /// Records what the RTL hears of the host.
    fn observe(&mut self) {
        let before = std::mem::replace(&mut self.recorded, self.host);
        let opened = std::mem::take(&mut self.opened);
        if let Some(observer) = &mut self.observer {
            if before && (!self.host || opened) {
                observer.channel(false, 0);
            }
            if self.host && (!before || opened) {
                observer.channel(true, 0);
            }
        }
    }

    /// What becomes of a byte, if anything, and the number of its transaction, if it has one.
    fn fails(&mut self, target: &str, what: What, byte: u8) -> (Option<u8>, u64) {
        match self.faults.decide(target, what, 1, &mut self.observer) {
            None => (Some(byte), 0),
            Some(failing) => {
                let mut data = [byte];
                failing.corrupt(&mut data);
                let lost = matches!(failing.fault(), Fault::Lose(_));
                ((!lost).then_some(data[0]), failing.number)
            }
        }
    }
}

/// Everything behind one handle of `acc_uart_open`.
pub struct Uart {
    port: Port,
    state: State,
    /// Bytes of the RTL that were not sent yet.
    pending: VecDeque<u8>,
    /// Polls since the last of them came.
    polls: u32,
    from_host: u64,
    to_host: u64,
    dropped: Limit,
    drops: u64,
}

impl Uart {
    /// Binds the channel's socket.
    ///
    /// # Errors
    ///
    /// `Code::Io` with a text that names the endpoint.
    pub fn open(endpoint: &str, name: &str, words: &'static Words) -> Result<Self> {
        let port = Port::open(ChannelKind::Serial, RX_BYTES, endpoint, name, words)?;
        let source = Source {
            kind: SourceKind::Uart,
            name: name.to_owned(),
            ..Source::default()
        };
        let observer = Observer::new(&source, &port.target, words)?;
        Ok(Self {
            port,
            state: State {
                waiting: VecDeque::new(),
                host: false,
                opened: false,
                recorded: false,
                faults: faults::Channel::new(name, words)?,
                observer,
                lost: 0,
            },
            pending: VecDeque::new(),
            polls: 0,
            from_host: 0,
            to_host: 0,
            dropped: Limit::default(),
            drops: 0,
        })
    }

    fn status(&self) -> u32 {
        let mut status = 0;
        if !self.state.waiting.is_empty() {
            status |= RX;
        }
        // Without a host bytes are taken and dropped, as on an open wire.
        if !self.state.host || self.pending.len() < TX_BYTES {
            status |= TX;
        }
        if self.state.host {
            status |= HOST;
        }
        status
    }

    fn publish(&mut self) {
        let status = self.status();
        // One of the next polls sends them, with those that come until then.
        let more = !self.pending.is_empty() && self.port.session.credit() != 0;
        self.port.publish(status, more);
    }

    /// Gives the session as much as the host has credit for.
    fn send(&mut self) {
        let (first, second) = self.pending.as_slices();
        let mut sent = self.port.session.send_bytes(first, &mut self.port.out);
        if sent == first.len() {
            sent += self.port.session.send_bytes(second, &mut self.port.out);
        }
        self.pending.drain(..sent);
        self.to_host += sent as u64;
    }

    /// `acc_uart_poll`, when the attention word says that there is work.
    ///
    /// # Errors
    ///
    /// `Code::Io` if the socket fails.
    pub fn poll(&mut self) -> Result<u32> {
        self.polls = self.polls.saturating_add(1);
        let due = self.polls >= GATHER_POLLS || self.pending.len() >= GATHER_BYTES;
        if due {
            self.send();
        }
        let result = self.port.poll(&mut self.state);
        let lost = std::mem::take(&mut self.state.lost);
        if lost != 0 {
            self.port.session.consumed(lost, &mut self.port.out);
        }
        // The host's credit may just have come.
        if due {
            self.send();
        }
        self.publish();
        result?;
        self.state.observe();
        Ok(self.status())
    }

    /// `acc_uart_get`.
    pub fn get(&mut self) -> Option<u8> {
        let (byte, number) = self.state.waiting.pop_front()?;
        self.from_host += 1;
        if let Some(observer) = &mut self.state.observer {
            observer.byte(number, false, byte);
        }
        self.port.session.consumed(1, &mut self.port.out);
        self.publish();
        Some(byte)
    }

    /// `acc_uart_put`: whether the byte was taken.
    ///
    /// # Errors
    ///
    /// `Code::Invalid` for anything but 0 to 255.
    pub fn put(&mut self, value: i32) -> Result<bool> {
        let value = within("value", value, 0, 0xff)? as u8;
        if self.pending.len() >= TX_BYTES {
            if self.state.host {
                return Ok(false);
            }
            self.drops += 1;
            limited!(
                self.dropped,
                warn,
                &self.port.target,
                "a byte of the RTL is dropped, no host has opened the channel and {TX_BYTES} \
                 wait for one"
            );
            return Ok(true);
        }
        let (byte, number) = self.state.fails(&self.port.target, What::SerialTx, value);
        self.pending.extend(byte);
        // As the RTL has given it.
        if let Some(observer) = &mut self.state.observer {
            observer.byte(number, true, value);
        }
        self.polls = 0;
        self.publish();
        Ok(true)
    }
}

impl Behind for Uart {
    const WHAT: &'static str = "UART channel";
    const KIND: usize = 2;

    fn endpoint(&self) -> &str {
        &self.port.endpoint
    }

    fn target(&self) -> &str {
        &self.port.target
    }

    fn close(mut self) {
        self.send();
        info!(
            target: &self.port.target,
            "closed; {} bytes from the host, {} bytes to the host, {} dropped without a host",
            self.from_host, self.to_host, self.drops
        );
        self.port.close();
    }
}
