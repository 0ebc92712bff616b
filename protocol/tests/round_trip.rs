// SPDX-License-Identifier: MIT OR Apache-2.0

//! Properties of the codec: what is encoded decodes to the same, and what
//! decodes encodes to the same bytes.

mod common;

use accelerator_protocol::{
    function::UNMAPPED,
    wire::{
        split, ChannelKind, ErrorKind, Init, Open, Reason, ResetKind, Status, HEADER_LEN, MAX_DATA,
        MAX_NAME, MAX_NIC_FRAME, MAX_SERIAL, MAX_TEXT, MIN_NIC_FRAME,
    },
    Bar, Capability, Config, Frame, Function, Msi, Msix, Power,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

fn status() -> impl Strategy<Value = Status> {
    select(vec![
        Status::Ok,
        Status::Refused,
        Status::Fault,
        Status::Aborted,
    ])
}

fn reason() -> impl Strategy<Value = Reason> {
    select(vec![
        Reason::Closing,
        Reason::Version,
        Reason::Protocol,
        Reason::Configuration,
        Reason::Busy,
    ])
}

fn msix() -> impl Strategy<Value = Msix> {
    any::<(u16, u8, u8, u32, u32, bool)>().prop_map(
        |(vectors, table_bar, pba_bar, table_offset, pba_offset, in_rtl)| Msix {
            vectors,
            table_bar,
            pba_bar,
            table_offset,
            pba_offset,
            in_rtl,
        },
    )
}

fn msi() -> impl Strategy<Value = Msi> {
    any::<(u8, bool)>().prop_map(|(vectors, masking)| Msi { vectors, masking })
}

fn function() -> impl Strategy<Value = Function> {
    let power = select(vec![Power::D0, Power::D1, Power::D2, Power::D3hot]);
    let link = (1..=6u8, select(vec![1, 2, 4, 8, 12, 16, 32u8]));
    (
        any::<[bool; 9]>(),
        power,
        0..=5u8,
        0..=5u8,
        any::<u16>(),
        link,
        (0..=5u8, any::<u32>()),
        option::of(any::<[u64; 6]>()),
    )
        .prop_map(
            |(
                flags,
                power,
                max_payload,
                max_read_request,
                requester_id,
                (link_speed, link_width),
                (msi_granted, msi_mask),
                addresses,
            )| {
                let [memory_space, bus_master, intx_disable, msix_enable, msix_mask, ..] = flags;
                Function {
                    memory_space,
                    bus_master,
                    intx_disable,
                    msix_enable,
                    msix_mask,
                    extended_tag: flags[5],
                    relaxed_ordering: flags[6],
                    no_snoop: flags[7],
                    msi_enable: flags[8],
                    msi_granted,
                    msi_mask,
                    power,
                    max_payload,
                    max_read_request,
                    requester_id,
                    link_speed,
                    link_width,
                    // Multiples of 16, or nowhere.
                    addresses: addresses
                        .map(|all| all.map(|a| if a % 2 == 0 { a & !15 } else { UNMAPPED })),
                }
            },
        )
}

fn bar() -> impl Strategy<Value = Bar> {
    any::<(u64, u64, bool, bool)>().prop_map(|(size, axi_base, is_64bit, prefetchable)| Bar {
        size,
        axi_base,
        is_64bit,
        prefetchable,
    })
}

fn capability() -> impl Strategy<Value = Capability> {
    (any::<u8>(), any::<u8>(), vec(any::<u8>(), 0..300)).prop_map(|(id, offset, body)| Capability {
        id,
        offset,
        body,
    })
}

/// Any configuration that can be written down, whether it keeps the rules or
/// not.
fn config() -> impl Strategy<Value = Config> {
    (
        any::<(u16, u16, u16, u16, u32)>(),
        any::<(u8, u8, u8, u8, u32)>(),
        (option::of(msix()), option::of(msi())),
        proptest::array::uniform6(bar()),
        vec(capability(), 0..=16),
    )
        .prop_map(|(ids, small, (msix, msi), bars, capabilities)| Config {
            vendor: ids.0,
            device: ids.1,
            subsystem_vendor: ids.2,
            subsystem: ids.3,
            class: ids.4,
            revision: small.0,
            intx_pin: small.1,
            link_speed: small.2,
            link_width: small.3,
            clock_period_ps: small.4,
            msix,
            msi,
            bars,
            capabilities,
        })
}

/// A frame that owns its bytes.
#[derive(Clone, Debug)]
enum Owned {
    Init(u64, u32, u32, String),
    Config(Config),
    Refuse(Reason, String),
    DmaWrite(u32, u64, Vec<u8>, Option<Vec<u8>>),
    DmaReadDone(u32, Status, Vec<u8>),
    Open(ChannelKind, u32, [u8; 6], bool, String),
    NicFrame(Vec<u8>),
    Serial(Vec<u8>),
    Plain(Frame<'static>),
}

impl Owned {
    fn frame(&self) -> Frame<'_> {
        match self {
            Self::Init(features, write_window, max_data, name) => Frame::Init(Init {
                features: *features,
                write_window: *write_window,
                max_data: *max_data,
                name,
            }),
            Self::Config(config) => Frame::Config(config.clone()),
            Self::Refuse(reason, text) => Frame::Refuse {
                reason: *reason,
                text,
            },
            Self::DmaWrite(tag, addr, data, enables) => Frame::DmaWrite {
                tag: *tag,
                addr: *addr,
                data,
                enables: enables.as_deref(),
            },
            Self::DmaReadDone(tag, status, data) => Frame::DmaReadDone {
                tag: *tag,
                status: *status,
                data,
            },
            Self::Open(kind, credit, mac, link, name) => Frame::Open(Open {
                kind: *kind,
                credit: *credit,
                mac: *mac,
                link: *link,
                name,
            }),
            Self::NicFrame(data) => Frame::NicFrame { data },
            Self::Serial(data) => Frame::Serial { data },
            Self::Plain(frame) => frame.clone(),
        }
    }
}

/// Text of at most `limit` bytes.
fn text(limit: usize) -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..limit / 4).prop_map(|c| c.into_iter().collect())
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        9 => vec(any::<u8>(), 1..200),
        1 => (1..=MAX_DATA).prop_map(|n| vec![0x5a; n]),
    ]
}

prop_compose! {
    fn dma_write()(tag: u32, addr in 0..u64::MAX - MAX_DATA as u64, data in data(), holes: bool, seed: u64)
        -> Owned
    {
        let enables = holes.then(|| {
            let mut random = common::Random(seed | 1);
            let mut bits: Vec<u8> = (0..data.len().div_ceil(8)).map(|_| random.next() as u8).collect();
            if data.len() % 8 != 0 {
                *bits.last_mut().unwrap() &= (1 << (data.len() % 8)) - 1;
            }
            bits
        });
        Owned::DmaWrite(tag, addr, data, enables)
    }
}

fn plain() -> impl Strategy<Value = Owned> {
    use Frame as F;
    let mmio = (any::<u32>(), 0..6u8, 1..=8u8, any::<u64>(), any::<u64>());
    prop_oneof![
        Just(F::Ready),
        Just(F::Noop),
        reason().prop_map(|reason| F::Bye { reason }),
        mmio.clone()
            .prop_map(|(tag, bar, len, offset, _)| F::MmioRead {
                tag,
                bar,
                len,
                offset
            }),
        mmio.prop_map(|(tag, bar, len, offset, data)| F::MmioWrite {
            tag,
            bar,
            len,
            offset,
            data: accelerator_protocol::host::mask(data, len)
        }),
        (any::<u32>(), status(), any::<u64>()).prop_map(|(tag, status, data)| F::MmioReadDone {
            tag,
            status,
            data
        }),
        (any::<u32>(), status()).prop_map(|(tag, status)| F::MmioWriteDone { tag, status }),
        (any::<u32>(), status()).prop_map(|(tag, status)| F::DmaWriteDone { tag, status }),
        (any::<u32>(), any::<u64>(), 1..=MAX_DATA as u32).prop_map(|(tag, addr, len)| {
            let addr = addr.min(u64::MAX - u64::from(len) + 1);
            F::DmaRead { tag, addr, len }
        }),
        any::<u16>().prop_map(|vector| F::Msix { vector }),
        any::<bool>().prop_map(|level| F::Intx { level }),
        any::<bool>().prop_map(|attached| F::Attach { attached }),
        select(vec![
            "00112233445566778899aabbccddeeff",
            "abcdef7890abcdef7890abcdef789012"
        ])
        .prop_map(|name| F::Share { name }),
        (
            any::<u32>(),
            select(vec![ResetKind::Flr, ResetKind::Hot, ResetKind::Cold])
        )
            .prop_map(|(tag, kind)| F::Reset { tag, kind }),
        any::<u32>().prop_map(|tag| F::ResetDone { tag }),
        (0..=1_000_000_000u64).prop_map(|interval| F::Clock { interval }),
        any::<u64>().prop_map(|ns| F::Time { ns }),
        function().prop_map(F::Function),
        (
            any::<u32>(),
            select(vec!["", "ur on=read", "# \u{1f980}\nca on=write"])
        )
            .prop_map(|(tag, text)| F::Faults { tag, text }),
        (any::<u32>(), any::<bool>(), select(vec!["", "taken"]))
            .prop_map(|(tag, refused, text)| F::FaultsDone { tag, refused, text }),
        (
            any::<u32>(),
            select(vec![
                ErrorKind::ReadUnsupported,
                ErrorKind::ReadTimeout,
                ErrorKind::DmaTimeout
            ])
        )
            .prop_map(|(tag, kind)| F::Error { tag, kind }),
        any::<bool>().prop_map(|up| F::NicLink { up }),
        (1..=65_536u32).prop_map(|amount| F::Credit { amount }),
        (1..=256u32, any::<bool>()).prop_map(|(credit, link)| F::Accept {
            kind: ChannelKind::Nic,
            credit,
            link
        }),
        (1..=65_536u32).prop_map(|credit| F::Accept {
            kind: ChannelKind::Serial,
            credit,
            link: false
        }),
    ]
    .prop_map(Owned::Plain)
}

fn channel() -> impl Strategy<Value = Owned> {
    prop_oneof![
        (1..=256u32, any::<[u8; 6]>(), any::<bool>(), text(MAX_NAME)).prop_map(
            |(credit, mut mac, link, name)| {
                mac[0] = mac[0] & !1 | 2;
                Owned::Open(ChannelKind::Nic, credit, mac, link, name)
            }
        ),
        (1..=65_536u32, text(MAX_NAME)).prop_map(|(c, n)| Owned::Open(
            ChannelKind::Serial,
            c,
            [0; 6],
            false,
            n
        )),
        vec(any::<u8>(), MIN_NIC_FRAME..=300).prop_map(Owned::NicFrame),
        Just(Owned::NicFrame(vec![0x5a; MAX_NIC_FRAME])),
        vec(any::<u8>(), 1..=300).prop_map(Owned::Serial),
        Just(Owned::Serial(vec![0x5a; MAX_SERIAL])),
    ]
}

fn frame() -> impl Strategy<Value = Owned> {
    prop_oneof![
        4 => plain(),
        1 => (any::<u64>(), 1..=4096u32, 64..=65536u32, text(MAX_NAME))
            .prop_map(|(f, w, m, n)| Owned::Init(f, w, m, n)),
        1 => config().prop_map(Owned::Config),
        1 => (reason(), text(MAX_TEXT)).prop_map(|(r, t)| Owned::Refuse(r, t)),
        2 => dma_write(),
        2 => channel(),
        1 => (any::<u32>(), data()).prop_map(|(t, d)| Owned::DmaReadDone(t, Status::Ok, d)),
        1 => (any::<u32>(), status()).prop_filter_map("an error", |(t, s)| {
            (s != Status::Ok).then(|| Owned::DmaReadDone(t, s, Vec::new()))
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_frame_decodes_to_itself(owned in frame(), session: u64) {
        let frame = owned.frame();
        let mut bytes = Vec::new();
        frame.encode(session, &mut bytes);
        let (header, payload, rest) = split(&bytes).unwrap();
        prop_assert!(rest.is_empty());
        prop_assert_eq!(header.session, session);
        prop_assert_eq!(header.length as usize, bytes.len() - HEADER_LEN);
        prop_assert_eq!(Frame::decode(&header, payload).unwrap(), frame);
    }

    #[test]
    fn frames_in_one_message_do_not_mix(all in vec(frame(), 1..6), session: u64) {
        let mut bytes = Vec::new();
        for owned in &all {
            owned.frame().encode(session, &mut bytes);
        }
        let mut rest: &[u8] = &bytes;
        for owned in &all {
            let (header, payload, tail) = split(rest).unwrap();
            prop_assert_eq!(Frame::decode(&header, payload).unwrap(), owned.frame());
            rest = tail;
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn texts_beyond_their_limit_are_cut_at_a_character(t in vec(any::<char>(), 0..300)) {
        let t: String = t.into_iter().collect();
        for (limit, frame) in [
            (MAX_NAME, Frame::Init(Init { features: 0, write_window: 1, max_data: 64, name: &t })),
            (MAX_TEXT, Frame::Refuse { reason: Reason::Protocol, text: &t }),
        ] {
            let mut bytes = Vec::new();
            frame.encode(0, &mut bytes);
            let (header, payload, _) = split(&bytes).unwrap();
            let found = match Frame::decode(&header, payload).unwrap() {
                Frame::Init(init) => init.name,
                Frame::Refuse { text, .. } => text,
                other => panic!("{other:?}"),
            };
            prop_assert!(t.starts_with(found));
            prop_assert!(found.len() <= limit);
            prop_assert!(found.len() == t.len() || found.len() + 4 > limit);
        }
    }

    #[test]
    fn random_bytes_do_not_panic(bytes in vec(any::<u8>(), 0..400)) {
        common::feed_all(&bytes);
    }

    #[test]
    fn a_random_payload_that_decodes_has_one_encoding(
        frame_type in select((0..=0x55u8).collect::<Vec<_>>()),
        tag in 0..3u32,
        payload in vec(select(vec![0, 0, 0, 0, 1, 2, 8, 64, 0xff]), 0..260),
    ) {
        let mut bytes = Vec::new();
        Frame::Noop.encode(9, &mut bytes);
        bytes[6] = frame_type;
        bytes[16..20].copy_from_slice(&tag.to_le_bytes());
        bytes[20..24].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&payload);
        let (header, payload, _) = split(&bytes).unwrap();
        if let Ok(frame) = Frame::decode(&header, payload) {
            let mut again = Vec::new();
            frame.encode(9, &mut again);
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn a_configuration_that_passes_is_sound(config in config()) {
        // Random ones hardly ever pass; what counts is that none panics and
        // that the message names something.
        match config.check() {
            Ok(()) => {}
            Err(e) => prop_assert!(!e.field.is_empty() && !e.expected.is_empty(), "{}", e),
        }
    }
}
