// SPDX-License-Identifier: MIT OR Apache-2.0

//! A QEMU with the card, the card's other half, and what both see.

use std::time::Duration;

use accelerator_peers::{memory::Sharing, Event, HdlEndpoint, PATIENCE};
use accelerator_protocol::{config::Config, wire::Status};

use crate::{
    pci::{self, command, BarSeen, MsixSeen, CARD},
    qemu::{Launch, Qemu, Scratch},
};

/// How long nothing has to happen before a test takes it that nothing will.
/// A test that is wrong about it passes too easily, never fails.
pub const QUIET: Duration = Duration::from_millis(200);

/// How to start a machine.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Further properties of the device, separated by commas.
    pub properties: String,
    /// Further arguments of QEMU, before those of the card, separated by blanks.
    pub args: String,
    /// A program and its arguments that start QEMU, as [`Launch::within`] has them.
    pub within: Vec<String>,
    /// How many vCPUs run the ROM of [`crate::guest`]; 0 for none.
    pub vcpus: u32,
    /// Environment variables.
    pub env: Vec<(&'static str, &'static str)>,
    /// What the card's other half does with shared memory, if not what it should.
    pub sharing: Option<Sharing>,
}

/// A machine with the card behind a root port.
pub struct Machine {
    /// The card's other half.
    pub hdl: HdlEndpoint,
    /// QEMU.
    pub qemu: Qemu,
    /// Bus addresses of the card's BARs.
    pub bars: [Option<u64>; 6],
    // Last, so that QEMU is gone before its sockets are.
    scratch: Scratch,
}

/// The arguments that plug a root port with a card in. An access of qtest's is no
/// vCPU's; it may take as long as a test has patience, unless the properties say
/// otherwise.
pub fn device_args(endpoint: &str, properties: &str) -> String {
    let comma = if properties.is_empty() { "" } else { "," };
    let patience = if properties.contains("other-timeout=") {
        String::new()
    } else {
        format!(",other-timeout={}", PATIENCE.as_millis())
    };
    format!(
        "-device pcie-root-port,id=rp0,bus=pcie.0,addr=4.0 \
         -device accelerator-pcie,id=card,bus=rp0,endpoint={endpoint}{patience}{comma}{properties}"
    )
}

impl Machine {
    /// Starts one with the defaults.
    ///
    /// # Panics
    ///
    /// It does not come up.
    #[track_caller]
    pub fn start(config: Config) -> Self {
        Self::start_with(config, &Options::default())
    }

    /// Starts a machine, enumerates the bus, places BARs, and switches memory
    /// and bus mastering on. The reset of the machine is answered.
    ///
    /// # Panics
    ///
    /// It does not come up.
    #[track_caller]
    pub fn start_with(config: Config, options: &Options) -> Self {
        let scratch = Scratch::new();
        let endpoint = scratch.endpoint();
        let mut hdl = HdlEndpoint::bind(&endpoint, config).expect("cannot bind");
        if let Some(sharing) = options.sharing {
            hdl.share(sharing);
        }
        let mut launch = Launch::new()
            .within(&options.within)
            .args(&options.args)
            .args(&device_args(&endpoint, &options.properties))
            .env("ACCELERATOR_LOG_LEVEL", "debug");
        if options.vcpus > 0 {
            let rom = scratch.path("rom");
            crate::guest::write_rom(&rom);
            launch = launch.guest(options.vcpus, &rom);
        }
        for (name, value) in &options.env {
            launch = launch.env(name, value);
        }
        let mut qemu = launch.spawn(&scratch);
        qemu.connect();
        hdl.wait_for_session(PATIENCE)
            .unwrap_or_else(|e| panic!("no session with QEMU: {e}"));
        qemu.wait_ready();
        let mut machine = Self {
            hdl,
            qemu,
            bars: [None; 6],
            scratch,
        };
        machine.enumerate();
        machine.settle();
        machine
    }

    /// What firmware does: buses, windows, BARs, Command.
    ///
    /// # Panics
    ///
    /// There is no card.
    #[track_caller]
    pub fn enumerate(&mut self) {
        pci::enable_root_port(&mut self.qemu);
        self.enable_card();
    }

    /// Places the card's BARs and switches memory and bus mastering on.
    ///
    /// # Panics
    ///
    /// There is no card.
    #[track_caller]
    pub fn enable_card(&mut self) {
        assert!(CARD.is_present(&mut self.qemu), "no card behind the port");
        self.bars = pci::place_bars(&mut self.qemu, CARD);
        CARD.change_command(&mut self.qemu, command::MEMORY | command::BUS_MASTER, 0);
    }

    /// Answers the resets that have come until now.
    ///
    /// # Panics
    ///
    /// Something else came.
    #[track_caller]
    pub fn settle(&mut self) {
        // A read comes after everything that was sent before it.
        let placed = self.bars.iter().position(|b| b.is_some_and(|a| a != 0));
        let marker = placed.filter(|&b| {
            let msix = self.hdl.config().msix;
            msix.is_none_or(|m| usize::from(m.table_bar) != b && usize::from(m.pba_bar) != b)
        });
        if let Some(bar) = marker {
            let addr = self.bar(bar as u8);
            self.qemu.start_load(addr, 1);
        }
        loop {
            match self
                .hdl
                .try_event(if marker.is_some() { PATIENCE } else { QUIET })
            {
                Ok(Some(Event::Reset { tag, .. })) => ok(self.hdl.reset_done(tag)),
                // With the property sim-clock.
                Ok(Some(Event::Clock { .. })) => {}
                Ok(Some(Event::Read { tag, len: 1, .. })) if marker.is_some() => {
                    ok(self.hdl.read_done(tag, 1, 0x5a));
                    assert_eq!(self.qemu.reply_value(), 0x5a);
                    return;
                }
                Ok(None) if marker.is_none() => return,
                other => panic!("expected a reset or the read, got {other:?}"),
            }
        }
    }

    /// Answers the resets that come until nothing comes for a while.
    ///
    /// # Panics
    ///
    /// Something else came.
    #[track_caller]
    pub fn settle_resets(&mut self) {
        loop {
            match self.hdl.try_event(QUIET) {
                Ok(Some(Event::Reset { tag, .. })) => ok(self.hdl.reset_done(tag)),
                Ok(None) => return,
                other => panic!("expected a reset or nothing, got {other:?}"),
            }
        }
    }

    /// Bus address of a BAR.
    ///
    /// # Panics
    ///
    /// It is not placed.
    #[track_caller]
    pub fn bar(&self, bar: u8) -> u64 {
        match self.bars[usize::from(bar)] {
            Some(addr) => addr,
            None => panic!("BAR {bar} is not placed"),
        }
    }

    /// A path that goes away with the machine.
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.scratch.path(name)
    }

    /// The endpoint that the device was told.
    pub fn endpoint(&self) -> String {
        self.scratch.endpoint()
    }

    /// Drops the endpoint with its socket, as if the simulator was killed. What
    /// is in `hdl` then is one that nobody knows of.
    ///
    /// # Panics
    ///
    /// It cannot be bound.
    pub fn kill_endpoint(&mut self) {
        let nowhere = format!("ipc://{}", self.scratch.path("nowhere").display());
        let config = self.hdl.config().clone();
        self.hdl = HdlEndpoint::bind(&nowhere, config).expect("cannot bind");
    }

    /// Binds a new endpoint where the killed one was.
    ///
    /// # Panics
    ///
    /// It cannot be bound.
    pub fn restart_endpoint(&mut self, config: Config) {
        self.hdl = HdlEndpoint::bind(&self.endpoint(), config).expect("cannot bind");
    }

    /// A guest read that the endpoint answers with `value`.
    ///
    /// # Panics
    ///
    /// The endpoint sees something else, or the guest does.
    #[track_caller]
    pub fn read(&mut self, bar: u8, offset: u64, len: u8, value: u64) {
        self.qemu.start_load(self.bar(bar) + offset, len);
        let tag = ok(self.hdl.expect_read(bar, offset, len));
        ok(self.hdl.read_done(tag, len, value));
        assert_eq!(
            self.qemu.reply_value(),
            accelerator_protocol::host::mask(value, len),
            "read of {len} at BAR {bar} offset {offset:#x}"
        );
    }

    /// A guest write that the endpoint takes and reports done.
    ///
    /// # Panics
    ///
    /// The endpoint sees something else.
    #[track_caller]
    pub fn write(&mut self, bar: u8, offset: u64, len: u8, value: u64) {
        self.qemu.start_store(self.bar(bar) + offset, len, value);
        let value = accelerator_protocol::host::mask(value, len);
        let tag = ok(self.hdl.expect_write(bar, offset, len, value));
        ok(self.hdl.write_done(tag, Status::Ok));
        self.qemu.reply();
    }

    /// The machine works: an access in each direction.
    ///
    /// # Panics
    ///
    /// It does not.
    #[track_caller]
    pub fn check_alive(&mut self) {
        self.write(0, 8, 4, 0x0bad_cafe);
        self.read(0, 12, 4, 0x1234_5678);
        self.qemu.store(SPOT, 8, 0x1122_3344_5566_7788);
        let data = ok(self.hdl.dma_read(SPOT, 8));
        assert_eq!(data, 0x1122_3344_5566_7788u64.to_le_bytes());
    }

    /// Nothing comes from QEMU for a while.
    ///
    /// # Panics
    ///
    /// Something does.
    #[track_caller]
    pub fn expect_quiet(&mut self) {
        match self.hdl.try_event(QUIET) {
            Ok(None) => {}
            other => panic!("expected nothing, got {other:?}"),
        }
    }

    /// The MSI-X capability with MSI-X enabled.
    ///
    /// # Panics
    ///
    /// The card has none.
    #[track_caller]
    pub fn enable_msix(&mut self) -> MsixSeen {
        let msix = MsixSeen::find(&mut self.qemu, CARD).expect("no MSI-X capability");
        msix.control(&mut self.qemu, true, false);
        msix
    }

    /// What the guest sees of a BAR.
    #[track_caller]
    pub fn size_bar(&mut self, bar: u8) -> Option<BarSeen> {
        pci::size_bar(&mut self.qemu, CARD, bar)
    }
}

/// A place in guest memory for [`Machine::check_alive`].
const SPOT: u64 = 0x0700_0000;

/// The value, or a panic with the error as people read it.
///
/// # Panics
///
/// It is an error.
#[track_caller]
pub fn ok<T>(result: Result<T, accelerator_peers::Error>) -> T {
    match result {
        Ok(value) => value,
        Err(e) => panic!("{e}"),
    }
}
