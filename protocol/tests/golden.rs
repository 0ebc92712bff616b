// SPDX-License-Identifier: MIT OR Apache-2.0

//! The golden vectors, both ways. Their bytes were put together by
//! `golden/make.py`, which knows PROTOCOL.md and not this crate.

use accelerator_protocol::{
    wire::{split, ChannelKind, ErrorKind, Init, Open, Reason, ResetKind, Status},
    Bar, Capability, Config, Frame, Function, Msi, Msix, Power,
};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../golden/v1.json")).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    assert_eq!(text.len() % 2, 0, "{text}");
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
        .collect()
}

/// A number, or a string in hex.
fn number(value: &Value) -> u64 {
    match value {
        Value::String(s) => u64::from_str_radix(s.strip_prefix("0x").unwrap(), 16).unwrap(),
        _ => value.as_u64().unwrap(),
    }
}

fn small<T: TryFrom<u64>>(value: &Value) -> T
where
    T::Error: std::fmt::Debug,
{
    number(value).try_into().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn status(value: &Value) -> Status {
    [Status::Ok, Status::Refused, Status::Fault, Status::Aborted][number(value) as usize]
}

fn reason(value: &Value) -> Reason {
    [
        Reason::Closing,
        Reason::Version,
        Reason::Protocol,
        Reason::Configuration,
        Reason::Busy,
    ][number(value) as usize]
}

fn error(value: &Value) -> ErrorKind {
    [
        ErrorKind::ReadUnsupported,
        ErrorKind::WriteUnsupported,
        ErrorKind::ReadAborted,
        ErrorKind::WriteAborted,
        ErrorKind::ReadPoisoned,
        ErrorKind::WritePoisoned,
        ErrorKind::ReadTimeout,
        ErrorKind::DmaUnsupported,
        ErrorKind::DmaAborted,
        ErrorKind::DmaReadPoisoned,
        ErrorKind::DmaWritePoisoned,
        ErrorKind::DmaTimeout,
    ][number(value) as usize - 1]
}

fn kind(value: &Value) -> ChannelKind {
    [ChannelKind::Nic, ChannelKind::Serial][number(value) as usize - 1]
}

fn config(f: &Value) -> Config {
    let mut config = Config {
        vendor: small(&f["vendor"]),
        device: small(&f["device"]),
        subsystem_vendor: small(&f["subsystem_vendor"]),
        subsystem: small(&f["subsystem"]),
        class: small(&f["class"]),
        revision: small(&f["revision"]),
        intx_pin: small(&f["intx_pin"]),
        link_speed: small(&f["link_speed"]),
        link_width: small(&f["link_width"]),
        clock_period_ps: small(&f["clock_period_ps"]),
        ..Config::default()
    };
    let m = &f["msix"];
    if !m.is_null() {
        config.msix = Some(Msix {
            vectors: small(&m["vectors"]),
            table_bar: small(&m["table_bar"]),
            pba_bar: small(&m["pba_bar"]),
            table_offset: small(&m["table_offset"]),
            pba_offset: small(&m["pba_offset"]),
            // Version 1.5 has none.
            in_rtl: m["in_rtl"].as_bool().unwrap_or_default(),
        });
    }
    // Version 1.2 has none.
    let m = &f["msi"];
    if !m.is_null() {
        config.msi = Some(Msi {
            vectors: small(&m["vectors"]),
            masking: m["masking"].as_bool().unwrap(),
        });
    }
    for (bar, b) in config.bars.iter_mut().zip(f["bars"].as_array().unwrap()) {
        *bar = Bar {
            size: number(&b["size"]),
            axi_base: number(&b["axi_base"]),
            is_64bit: b["is_64bit"].as_bool().unwrap(),
            prefetchable: b["prefetchable"].as_bool().unwrap(),
        };
    }
    for c in f["capabilities"].as_array().unwrap() {
        config.capabilities.push(Capability {
            id: small(&c["id"]),
            offset: small(&c["offset"]),
            body: hex(text(&c["body"])),
        });
    }
    config
}

/// Builds the frame of a vector from its fields. `data` and `enables` lend it
/// the bytes.
fn build<'a>(
    vector: &'a Value,
    data: &'a mut Vec<u8>,
    enables: &'a mut Option<Vec<u8>>,
) -> Frame<'a> {
    let f = &vector["fields"];
    let tag = small(&vector["tag"]);
    let name = text(&vector["frame"]);
    if f["data"].is_string() && !name.starts_with("MMIO") {
        *data = hex(text(&f["data"]));
        *enables = f["enables"].as_str().map(hex);
    }
    match name {
        "INIT" => Frame::Init(Init {
            features: number(&f["features"]),
            write_window: small(&f["write_window"]),
            max_data: small(&f["max_data"]),
            name: text(&f["name"]),
        }),
        "CONFIG" => Frame::Config(config(f)),
        "READY" => Frame::Ready,
        "REFUSE" => Frame::Refuse {
            reason: reason(&f["reason"]),
            text: text(&f["text"]),
        },
        "BYE" => Frame::Bye {
            reason: reason(&f["reason"]),
        },
        "NOOP" => Frame::Noop,
        "SHARE" => Frame::Share {
            name: text(&f["name"]),
        },
        "ATTACH" => Frame::Attach {
            attached: f["attached"].as_bool().unwrap(),
        },
        "MMIO_READ" => Frame::MmioRead {
            tag,
            bar: small(&f["bar"]),
            len: small(&f["len"]),
            offset: number(&f["offset"]),
        },
        "MMIO_WRITE" => Frame::MmioWrite {
            tag,
            bar: small(&f["bar"]),
            len: small(&f["len"]),
            offset: number(&f["offset"]),
            data: number(&f["data"]),
        },
        "MMIO_READ_DONE" => Frame::MmioReadDone {
            tag,
            status: status(&f["status"]),
            data: number(&f["data"]),
        },
        "MMIO_WRITE_DONE" => Frame::MmioWriteDone {
            tag,
            status: status(&f["status"]),
        },
        "DMA_READ" => Frame::DmaRead {
            tag,
            addr: number(&f["addr"]),
            len: small(&f["len"]),
        },
        "DMA_WRITE" => Frame::DmaWrite {
            tag,
            addr: number(&f["addr"]),
            data,
            enables: enables.as_deref(),
        },
        "DMA_READ_DONE" => Frame::DmaReadDone {
            tag,
            status: status(&f["status"]),
            data,
        },
        "DMA_WRITE_DONE" => Frame::DmaWriteDone {
            tag,
            status: status(&f["status"]),
        },
        "MSIX" => Frame::Msix {
            vector: small(&f["vector"]),
        },
        "INTX" => Frame::Intx {
            level: f["level"].as_bool().unwrap(),
        },
        "RESET" => Frame::Reset {
            tag,
            kind: [ResetKind::Flr, ResetKind::Hot, ResetKind::Cold]
                [number(&f["kind"]) as usize - 1],
        },
        "RESET_DONE" => Frame::ResetDone { tag },
        "CLOCK" => Frame::Clock {
            interval: number(&f["interval"]),
        },
        "TIME" => Frame::Time {
            ns: number(&f["ns"]),
        },
        "FUNCTION" => Frame::Function(Function {
            memory_space: f["memory_space"].as_bool().unwrap(),
            bus_master: f["bus_master"].as_bool().unwrap(),
            intx_disable: f["intx_disable"].as_bool().unwrap(),
            msix_enable: f["msix_enable"].as_bool().unwrap(),
            msix_mask: f["msix_mask"].as_bool().unwrap(),
            extended_tag: f["extended_tag"].as_bool().unwrap(),
            relaxed_ordering: f["relaxed_ordering"].as_bool().unwrap(),
            no_snoop: f["no_snoop"].as_bool().unwrap(),
            // Version 1.2 has no MSI.
            msi_enable: f["msi_enable"].as_bool().unwrap_or(false),
            msi_granted: f["msi_granted"].as_u64().unwrap_or(0) as u8,
            msi_mask: f["msi_mask"].as_u64().unwrap_or(0) as u32,
            power: [Power::D0, Power::D1, Power::D2, Power::D3hot][number(&f["power"]) as usize],
            max_payload: small(&f["max_payload"]),
            max_read_request: small(&f["max_read_request"]),
            requester_id: small(&f["requester_id"]),
            link_speed: small(&f["link_speed"]),
            link_width: small(&f["link_width"]),
            // Version 1.4 has none.
            addresses: f["addresses"].as_array().map(|all| {
                let all: Vec<u64> = all.iter().map(number).collect();
                all.try_into().unwrap()
            }),
        }),
        "FAULTS" => Frame::Faults {
            tag,
            text: text(&f["text"]),
        },
        "FAULTS_DONE" => Frame::FaultsDone {
            tag,
            refused: f["refused"].as_bool().unwrap(),
            text: text(&f["text"]),
        },
        "ERROR" => Frame::Error {
            tag,
            kind: error(&f["kind"]),
        },
        "OPEN" => Frame::Open(Open {
            kind: kind(&f["kind"]),
            credit: small(&f["credit"]),
            mac: hex(text(&f["mac"])).try_into().unwrap(),
            link: f["link"].as_bool().unwrap(),
            name: text(&f["name"]),
        }),
        "ACCEPT" => Frame::Accept {
            kind: kind(&f["kind"]),
            credit: small(&f["credit"]),
            link: f["link"].as_bool().unwrap(),
        },
        "NIC_FRAME" => Frame::NicFrame { data },
        "NIC_LINK" => Frame::NicLink {
            up: f["up"].as_bool().unwrap(),
        },
        "SERIAL" => Frame::Serial { data },
        "CREDIT" => Frame::Credit {
            amount: small(&f["amount"]),
        },
        other => panic!("no frame {other}"),
    }
}

#[test]
fn frames_encode_to_their_bytes_and_back() {
    let vectors = vectors();
    let frames = vectors["frames"].as_array().unwrap();
    let mut names = std::collections::BTreeSet::new();
    for vector in frames {
        let title = format!("{}: {}", text(&vector["frame"]), text(&vector["title"]));
        let bytes = hex(text(&vector["bytes"]));
        let session = number(&vector["session"]);
        let (mut data, mut enables) = (Vec::new(), None);
        let frame = build(vector, &mut data, &mut enables);
        names.insert(frame.name());
        assert_eq!(frame.name(), text(&vector["frame"]));

        let mut encoded = Vec::new();
        frame.encode(session, &mut encoded);
        assert_eq!(encoded, bytes, "{title}");

        let (header, payload, rest) = split(&bytes).expect(&title);
        assert_eq!(header.session, session, "{title}");
        assert_eq!(u64::from(header.tag), number(&vector["tag"]), "{title}");
        assert!(rest.is_empty(), "{title}");
        assert_eq!(Frame::decode(&header, payload).expect(&title), frame);
    }
    assert_eq!(names.len(), 32, "not every frame has a vector: {names:?}");
}

/// What 1.2 to 1.5 have sent is read in the same way now, and sent in the same way, but for the
/// minor version in the header.
#[test]
fn frames_of_earlier_versions_have_not_changed() {
    for (minor, count, text) in [
        (2, 66, include_str!("../golden/v1.2.json")),
        (3, 69, include_str!("../golden/v1.3.json")),
        (4, 85, include_str!("../golden/v1.4.json")),
        (5, 86, include_str!("../golden/v1.5.json")),
    ] {
        have_not_changed(minor, count, text);
    }
}

fn have_not_changed(minor: u8, count: usize, file: &str) {
    const MINOR: usize = 5;
    let old: Value = serde_json::from_str(file).unwrap();
    let frames = old["frames"].as_array().unwrap();
    assert_eq!(frames.len(), count);
    for vector in frames {
        let title = format!("{}: {}", text(&vector["frame"]), text(&vector["title"]));
        let mut bytes = hex(text(&vector["bytes"]));
        let (mut data, mut enables) = (Vec::new(), None);
        let frame = build(vector, &mut data, &mut enables);
        let (header, payload, _) = split(&bytes).expect(&title);
        assert_eq!(header.minor, minor, "{title}");
        assert_eq!(
            Frame::decode(&header, payload).as_ref(),
            Ok(&frame),
            "{title}"
        );
        let mut encoded = Vec::new();
        frame.encode(header.session, &mut encoded);
        bytes[MINOR] = 6;
        assert_eq!(encoded, bytes, "{title}");
    }
}

#[test]
fn configurations_keep_the_rules() {
    for vector in vectors()["frames"].as_array().unwrap() {
        if vector["frame"] == "CONFIG" {
            config(&vector["fields"]).check().unwrap();
        }
    }
}

#[test]
fn bad_frames_are_refused_with_both_values() {
    let vectors = vectors();
    for vector in vectors["refused"].as_array().unwrap() {
        let bytes = hex(text(&vector["bytes"]));
        let result = split(&bytes).and_then(|(header, payload, _)| {
            Frame::decode(&header, payload).map(|frame| format!("{frame:?}"))
        });
        match result {
            Ok(frame) => panic!("{}: decoded as {frame}", vector["title"]),
            Err(e) => {
                let (found, expected) = (e.to_string(), text(&vector["error"]));
                assert!(
                    found.starts_with(expected),
                    "{}: {found:?}, expected {expected:?}",
                    vector["title"]
                );
            }
        }
    }
}

#[test]
fn several_frames_in_one_message() {
    let vectors = vectors();
    let frames = vectors["frames"].as_array().unwrap();
    let message: Vec<u8> = frames.iter().flat_map(|v| hex(text(&v["bytes"]))).collect();
    let mut rest: &[u8] = &message;
    let mut count = 0;
    while !rest.is_empty() {
        let (header, payload, tail) = split(rest).unwrap();
        Frame::decode(&header, payload).unwrap();
        rest = tail;
        count += 1;
    }
    assert_eq!(count, frames.len());
}
