#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Writes v1.json: the golden vectors of the wire protocol, version 1.6.

The bytes are put together here from the tables of PROTOCOL.md, without the
Rust crate, so that the two check each other. Numbers beyond 32 bits are
strings in hex, since not every JSON reader keeps them exact.

    golden/make.py > golden/v1.json
"""

import json
import struct
import sys

SIGNATURE = b"APCI"
TYPES = {
    "INIT": 0x01,
    "CONFIG": 0x02,
    "READY": 0x03,
    "REFUSE": 0x04,
    "BYE": 0x05,
    "NOOP": 0x06,
    "SHARE": 0x07,
    "ATTACH": 0x08,
    "MMIO_READ": 0x10,
    "MMIO_WRITE": 0x11,
    "MMIO_READ_DONE": 0x12,
    "MMIO_WRITE_DONE": 0x13,
    "DMA_READ": 0x20,
    "DMA_WRITE": 0x21,
    "DMA_READ_DONE": 0x22,
    "DMA_WRITE_DONE": 0x23,
    "MSIX": 0x30,
    "INTX": 0x31,
    "RESET": 0x40,
    "RESET_DONE": 0x41,
    "CLOCK": 0x42,
    "TIME": 0x43,
    "FUNCTION": 0x44,
    "FAULTS": 0x45,
    "FAULTS_DONE": 0x46,
    "ERROR": 0x47,
    "OPEN": 0x50,
    "ACCEPT": 0x51,
    "NIC_FRAME": 0x52,
    "NIC_LINK": 0x53,
    "SERIAL": 0x54,
    "CREDIT": 0x55,
}

# Of FUNCTION, from bit 0 on.
FLAGS = [
    "memory_space",
    "bus_master",
    "intx_disable",
    "msix_enable",
    "msix_mask",
    "extended_tag",
    "relaxed_ordering",
    "no_snoop",
    "msi_enable",
]


def header(kind, session, tag, length, signature=SIGNATURE, version=(1, 6), reserved=0):
    return signature + struct.pack(
        "<BBBBQII", version[0], version[1], kind, reserved, session, tag, length
    )


def number(text):
    return int(text, 16) if isinstance(text, str) else text


def config(f):
    out = struct.pack(
        "<HHHHIBBBB",
        f["vendor"],
        f["device"],
        f["subsystem_vendor"],
        f["subsystem"],
        f["class"],
        f["revision"],
        f["intx_pin"],
        f["link_speed"],
        f["link_width"],
    )
    m, msi = f["msix"], f["msi"]
    flags = int(m is not None) | int(msi is not None) << 1
    flags |= int(m is not None and m["in_rtl"]) << 2
    if m is None:
        out += struct.pack("<I12x", flags)
    else:
        out += struct.pack(
            "<IHBBII",
            flags,
            m["vectors"],
            m["table_bar"],
            m["pba_bar"],
            m["table_offset"],
            m["pba_offset"],
        )
    for b in f["bars"]:
        flags = int(b["is_64bit"]) | int(b["prefetchable"]) << 1
        out += struct.pack("<QQII", number(b["size"]), number(b["axi_base"]), flags, 0)
    out += struct.pack("<II", f["clock_period_ps"], len(f["capabilities"]))
    out += struct.pack("<BB6x", msi["vectors"], int(msi["masking"])) if msi else bytes(8)
    for c in f["capabilities"]:
        body = bytes.fromhex(c["body"])
        out += struct.pack("<BBH", c["id"], c["offset"], len(body)) + body
    return out


def payload(name, f):
    """The payload of a frame, from its fields."""
    if name == "INIT":
        text = f["name"].encode()
        return (
            struct.pack(
                "<QIIII",
                number(f["features"]),
                f["write_window"],
                f["max_data"],
                len(text),
                0,
            )
            + text
        )
    if name == "CONFIG":
        return config(f)
    if name in ("READY", "NOOP", "RESET_DONE"):
        return b""
    if name == "REFUSE":
        text = f["text"].encode()
        return struct.pack("<II", f["reason"], len(text)) + text
    if name == "BYE":
        return struct.pack("<II", f["reason"], 0)
    if name == "SHARE":
        return f["name"].encode()
    if name == "ATTACH":
        return struct.pack("<II", int(f["attached"]), 0)
    if name == "MMIO_READ":
        return struct.pack("<BB6xQ", f["bar"], f["len"], number(f["offset"]))
    if name == "MMIO_WRITE":
        return struct.pack("<BB6xQQ", f["bar"], f["len"], number(f["offset"]), number(f["data"]))
    if name == "MMIO_READ_DONE":
        return struct.pack("<IIQ", f["status"], 0, number(f["data"]))
    if name in ("MMIO_WRITE_DONE", "DMA_WRITE_DONE"):
        return struct.pack("<II", f["status"], 0)
    if name == "DMA_READ":
        return struct.pack("<QII", number(f["addr"]), f["len"], 0)
    if name == "DMA_WRITE":
        data = bytes.fromhex(f["data"])
        enables = f["enables"]
        flags = 0 if enables is None else 1
        return (
            struct.pack("<QII", number(f["addr"]), len(data), flags)
            + data
            + bytes.fromhex(enables or "")
        )
    if name == "DMA_READ_DONE":
        data = bytes.fromhex(f["data"])
        return struct.pack("<II", f["status"], len(data)) + data
    if name == "MSIX":
        return struct.pack("<II", f["vector"], 0)
    if name == "INTX":
        return struct.pack("<II", int(f["level"]), 0)
    if name == "RESET":
        return struct.pack("<II", f["kind"], 0)
    if name == "CLOCK":
        return struct.pack("<Q", number(f["interval"]))
    if name == "TIME":
        return struct.pack("<Q", number(f["ns"]))
    if name == "FUNCTION":
        flags = sum(int(f[flag]) << bit for bit, flag in enumerate(FLAGS))
        addresses = f["addresses"] or []
        return struct.pack(
            f"<IBBBBHBBB3xI12x{len(addresses)}Q",
            flags,
            f["power"],
            f["max_payload"],
            f["max_read_request"],
            0,
            f["requester_id"],
            f["link_speed"],
            f["link_width"],
            f["msi_granted"],
            f["msi_mask"],
            *map(number, addresses),
        )
    if name == "FAULTS":
        text = f["text"].encode()
        return struct.pack("<II", len(text), 0) + text
    if name == "FAULTS_DONE":
        text = f["text"].encode()
        return struct.pack("<II", int(f["refused"]), len(text)) + text
    if name == "ERROR":
        return struct.pack("<II", f["kind"], 0)
    if name == "OPEN":
        text = f["name"].encode()
        return (
            struct.pack("<II", f["kind"], f["credit"])
            + bytes.fromhex(f["mac"])
            + struct.pack("<BBII", int(f["link"]), 0, len(text), 0)
            + text
        )
    if name == "ACCEPT":
        return struct.pack("<IIBBHI", f["kind"], f["credit"], int(f["link"]), 0, 0, 0)
    if name in ("NIC_FRAME", "SERIAL"):
        return bytes.fromhex(f["data"])
    if name == "NIC_LINK":
        return struct.pack("<II", int(f["up"]), 0)
    if name == "CREDIT":
        return struct.pack("<II", f["amount"], 0)
    raise KeyError(name)


frames = []
refused = []
SESSION = 0x0123_4567_89AB_CDEF


def good(title, sender, frame, /, tag=0, session=SESSION, **fields):
    body = payload(frame, fields)
    data = header(TYPES[frame], session, tag, len(body)) + body
    frames.append(
        {
            "title": title,
            "sender": sender,
            "frame": frame,
            "session": hex(session),
            "tag": tag,
            "fields": fields,
            "bytes": data.hex(),
        }
    )
    return data


def bad(title, data, error):
    refused.append({"title": title, "bytes": data.hex(), "error": error})


def bar(size=0, axi_base=0, is_64bit=False, prefetchable=False):
    return {
        "size": hex(size),
        "axi_base": hex(axi_base),
        "is_64bit": is_64bit,
        "prefetchable": prefetchable,
    }


MSIX = {
    "vectors": 33,
    "table_bar": 2,
    "pba_bar": 4,
    "table_offset": 0x1000,
    "pba_offset": 0x88,
    "in_rtl": False,
}

FULL = {
    "vendor": 0x10EE,
    "device": 0x7024,
    "subsystem_vendor": 0x10EE,
    "subsystem": 0x0007,
    "class": 0x120000,
    "revision": 1,
    "intx_pin": 2,
    "link_speed": 3,
    "link_width": 8,
    "msix": MSIX,
    "msi": None,
    "bars": [
        bar(0x10000, 0xFEDC_BA98_0000_0000, is_64bit=True),
        bar(),
        bar(0x100_0000_0000, 0, is_64bit=True, prefetchable=True),
        bar(),
        bar(0x8000_0000, 0x8000_0000, prefetchable=True),
        bar(16, 0x10),
    ],
    "clock_period_ps": 4000,
    "capabilities": [
        {"id": 9, "offset": 0xE0, "body": "0a112233445566"},
        {"id": 3, "offset": 0, "body": "ff"},
    ],
}
PLAIN = {
    "vendor": 1,
    "device": 0,
    "subsystem_vendor": 0,
    "subsystem": 0,
    "class": 0,
    "revision": 0,
    "intx_pin": 0,
    "link_speed": 1,
    "link_width": 1,
    "msix": None,
    "msi": None,
    "bars": [bar() for _ in range(6)],
    "clock_period_ps": 0,
    "capabilities": [],
}

MAX32 = 0xFFFF_FFFF
NOWHERE = "0xffffffffffffffff"
MAX64 = 0xFFFF_FFFF_FFFF_FFFF

init = good(
    "asks for a session",
    "host",
    "INIT",
    features="0x0",
    write_window=64,
    max_data=65536,
    name="QEMU 10.1.3, device card0",
)
good(
    "smallest values, no name, all features, largest session",
    "host",
    "INIT",
    session=MAX64,
    features=hex(MAX64),
    write_window=1,
    max_data=64,
    name="",
)
good(
    "largest window, a name of 64 bytes that is not ASCII",
    "host",
    "INIT",
    features="0x8000000000000001",
    write_window=4096,
    max_data=4096,
    name="ü" * 32,
)
conf = good("everything that there is", "device", "CONFIG", **FULL)
good("nothing that may be absent", "device", "CONFIG", session=0, **PLAIN)
both = good(
    "MSI-X and MSI",
    "device",
    "CONFIG",
    **{**FULL, "msi": {"vectors": 32, "masking": True}},
)
good(
    "MSI-X in the RTL, and MSI",
    "device",
    "CONFIG",
    **{**FULL, "msix": {**MSIX, "in_rtl": True}, "msi": {"vectors": 1, "masking": False}},
)
good(
    "MSI alone, without masking",
    "device",
    "CONFIG",
    **{**PLAIN, "msi": {"vectors": 1, "masking": False}},
)
good("accepts the configuration", "host", "READY")
good("no", "device", "REFUSE", reason=4, text="another host is here")
good(
    "no, with a long text",
    "host",
    "REFUSE",
    reason=3,
    text="configuration field bar[2].size is 0x3000, expected a power of two",
)
good("no, without a word", "device", "REFUSE", reason=1, text="")
bye = good("goodbye", "host", "BYE", reason=0)
good("goodbye because of the protocol", "device", "BYE", reason=2)
noop = good("nothing", "device", "NOOP")
share = good("shared memory", "device", "SHARE", name="0123456789abcdef" * 2)
attach = good("which is used", "host", "ATTACH", attached=True)
good("which is not used", "host", "ATTACH", attached=False)
read = good("four bytes", "host", "MMIO_READ", tag=1, bar=0, len=4, offset="0x14")
good(
    "eight bytes at an odd offset of a large BAR",
    "host",
    "MMIO_READ",
    tag=MAX32,
    bar=5,
    len=8,
    offset="0xfffffffff7",
)
good("one byte", "host", "MMIO_READ", tag=0, bar=2, len=1, offset="0x0")
write = good(
    "four bytes",
    "host",
    "MMIO_WRITE",
    tag=1,
    bar=0,
    len=4,
    offset="0x14",
    data="0xdeadbeef",
)
good(
    "eight bytes",
    "host",
    "MMIO_WRITE",
    tag=0x8000_0000,
    bar=4,
    len=8,
    offset="0x1",
    data="0x8877665544332211",
)
good(
    "three bytes, which a host may combine",
    "host",
    "MMIO_WRITE",
    tag=3,
    bar=1,
    len=3,
    offset="0x7",
    data="0x332211",
)
read_done = good("answered", "device", "MMIO_READ_DONE", tag=1, status=0, data="0x54524f53")
good(
    "AXI error response",
    "device",
    "MMIO_READ_DONE",
    tag=MAX32,
    status=1,
    data="0x0",
)
good("done up to 64", "device", "MMIO_WRITE_DONE", tag=64, status=0)
good("AXI error response", "device", "MMIO_WRITE_DONE", tag=65, status=1)
dma_read = good("a page", "device", "DMA_READ", tag=1, addr="0x12345000", len=4096)
good(
    "the last byte there is",
    "device",
    "DMA_READ",
    tag=0x7FFF_FFFF,
    addr=hex(MAX64),
    len=1,
)
good("the most", "device", "DMA_READ", tag=2, addr="0x0", len=65536)
dma_write = good(
    "four bytes",
    "device",
    "DMA_WRITE",
    tag=7,
    addr="0x100000002",
    data="00112233",
    enables=None,
)
holes = good(
    "eleven bytes with holes",
    "device",
    "DMA_WRITE",
    tag=8,
    addr="0x1000",
    data="000102030405060708090a",
    enables="a505",
)
good(
    "sixteen bytes, none enabled",
    "device",
    "DMA_WRITE",
    tag=9,
    addr="0x1000",
    data="ff" * 16,
    enables="0000",
)
dma_read_done = good("data", "host", "DMA_READ_DONE", tag=1, status=0, data="a1b2c3d4e5")
good("address fault", "host", "DMA_READ_DONE", tag=2, status=2, data="")
good("bus mastering is off", "host", "DMA_READ_DONE", tag=3, status=1, data="")
good("done", "host", "DMA_WRITE_DONE", tag=7, status=0)
good("aborted by a reset", "host", "DMA_WRITE_DONE", tag=8, status=3)
msix = good("vector 0", "device", "MSIX", vector=0)
good("vector 2047", "device", "MSIX", vector=2047)
intx = good("asserted", "device", "INTX", level=True)
good("deasserted", "device", "INTX", level=False)
good("function level reset", "host", "RESET", tag=1, kind=1)
good("hot reset", "host", "RESET", tag=2, kind=2)
good("cold reset", "host", "RESET", tag=MAX32, kind=3)
good("out of reset", "device", "RESET_DONE", tag=1)
clock = good("wants to know the time", "host", "CLOCK", interval="0x2710")
good("each second", "host", "CLOCK", interval="0x3b9aca00")
good("does not want to know it any more", "host", "CLOCK", interval="0x0")
good("the time", "device", "TIME", ns="0x123456789abcdef0")


def function(title, flags, **fields):
    values = {
        "power": 0,
        "max_payload": 0,
        "max_read_request": 2,
        "requester_id": 0x0100,
        "link_speed": 3,
        "link_width": 8,
        "msi_granted": 0,
        "msi_mask": 0,
        "addresses": None,
    }
    values.update({flag: flag in flags for flag in FLAGS})
    values.update(fields)
    return good(title, "host", "FUNCTION", **values)


state = function("after a reset", ["relaxed_ordering", "no_snoop"])
function(
    "a driver at work",
    ["memory_space", "bus_master", "intx_disable", "msix_enable", "relaxed_ordering"],
)
function(
    "masked, with extended tags",
    ["memory_space", "bus_master", "msix_enable", "msix_mask", "extended_tag"],
)
function(
    "asleep",
    [],
    power=3,
    max_payload=5,
    max_read_request=5,
    requester_id=0xFFFF,
    link_speed=6,
    link_width=32,
)
function(
    "a driver that uses MSI",
    ["memory_space", "bus_master", "msi_enable"],
    msi_granted=5,
    msi_mask=0x8000_0005,
)

mapped = function(
    "BARs with addresses",
    ["memory_space", "bus_master"],
    addresses=["0xfe800000", "0x3800000000", NOWHERE, "0x10", NOWHERE, "0xfffffffffffffff0"],
)

plan = good("a plan", "host", "FAULTS", tag=1, text="ur on=read bar=0 offset=0x10")
good("no faults any more", "host", "FAULTS", tag=MAX32, text="")
taken = good("taken", "device", "FAULTS_DONE", tag=1, refused=False, text="1 fault")
good(
    "refused",
    "device",
    "FAULTS_DONE",
    tag=2,
    refused=True,
    text="line 1: on is missing, as in on=read",
)
error = good("of a read", "device", "ERROR", tag=5, kind=1)
for error_kind in range(2, 13):
    good(f"error {error_kind}", "device", "ERROR", kind=error_kind)

nic_open = good(
    "a NIC with its link up",
    "host",
    "OPEN",
    kind=1,
    credit=64,
    mac="525400123456",
    link=True,
    name="card0",
)
good(
    "a NIC with its link down, the most credit, no name",
    "host",
    "OPEN",
    kind=1,
    credit=256,
    mac="020000000001",
    link=False,
    name="",
)
serial_open = good(
    "a serial line",
    "host",
    "OPEN",
    kind=2,
    credit=65536,
    mac="000000000000",
    link=False,
    name="ü" * 32,
)
accept = good("a NIC", "device", "ACCEPT", kind=1, credit=1, link=True)
good("a NIC whose link is down", "device", "ACCEPT", kind=1, credit=256, link=False)
serial_accept = good("a serial line", "device", "ACCEPT", kind=2, credit=4096, link=False)
frame60 = good("the shortest", "host", "NIC_FRAME", data=bytes(range(60)).hex())
good("an odd length", "device", "NIC_FRAME", data=bytes(range(61, 128)).hex())
nic_link = good("up", "host", "NIC_LINK", up=True)
good("down", "device", "NIC_LINK", up=False)
good("a byte", "host", "SERIAL", data="0a")
good("several bytes", "device", "SERIAL", data="68656c6c6f")
credit = good("a little", "host", "CREDIT", amount=1)
good("the most", "device", "CREDIT", amount=65536)


def change(data, at, value):
    return data[:at] + value + data[at + len(value) :]


def u32(value):
    return struct.pack("<I", value)


bad("nothing at all", b"", "frame header needs 24 bytes, the message has 0")
bad("a header cut short", read[:23], "frame header needs 24 bytes, the message has 23")
bad("a payload cut short", read[:-1], "frame payload needs 16 bytes, the message has 15")
bad(
    "another signature",
    change(read, 0, b"HTTP"),
    'signature is 0x50545448, expected 0x49435041 ("APCI")',
)
bad(
    "another major version",
    change(read, 4, b"\x02\x07"),
    "protocol version of the peer is 2.7, ours is 1.6",
)
bad(
    "a type that does not exist",
    change(noop, 6, b"\x7f"),
    "frame type is 0x7f, which is none of ours",
)
bad(
    "the reserved byte of the header",
    change(noop, 7, b"\x01"),
    "reserved header byte is 1 (0x1), expected 0",
)
bad(
    "a tag where there is none",
    change(noop, 16, u32(5)),
    "tag is 5 (0x5), expected 0 for a frame without one",
)
bad(
    "the largest length",
    change(read, 20, u32(MAX32)),
    "payload length is 4294967295 (0xffffffff), expected at most 73744",
)
bad(
    "too short for its type",
    header(TYPES["MMIO_READ"], SESSION, 1, 8) + bytes(8),
    "MMIO_READ payload is 8 bytes, expected 16",
)
bad(
    "too long for its type",
    header(TYPES["MSIX"], SESSION, 0, 12) + bytes(12),
    "MSIX payload is 12 bytes, expected 8",
)
bad("a BAR that does not exist", change(read, 24, b"\x06"), "BAR is 6 (0x6), expected 0 to 5")
bad(
    "no bytes",
    change(read, 25, b"\x00"),
    "access length is 0 (0x0), expected 1 to 8",
)
bad(
    "nine bytes",
    change(read, 25, b"\x09"),
    "access length is 9 (0x9), expected 1 to 8",
)
bad(
    "data beyond the length",
    change(write, 25, b"\x03"),
    "data beyond the access length is 3735928559 (0xdeadbeef), expected 0",
)
bad(
    "a status that does not exist",
    change(read_done, 24, u32(4)),
    "status is 4 (0x4), expected 0 to 3",
)
bad("DMA of nothing", change(dma_read, 32, u32(0)), "DMA length is 0 (0x0), expected 1 to 65536")
bad(
    "DMA of too much",
    change(dma_read, 32, u32(65537)),
    "DMA length is 65537 (0x10001), expected 1 to 65536",
)
bad(
    "DMA beyond the last address",
    change(dma_read, 24, struct.pack("<Q", MAX64)),
    "DMA address is 18446744073709551615 (0xffffffffffffffff)",
)
bad(
    "an unknown flag",
    change(dma_write, 36, u32(2)),
    "DMA_WRITE flags is 2 (0x2), expected 0 or 1",
)
bad(
    "enables announced that are not there",
    change(dma_write, 36, u32(1)),
    "DMA_WRITE payload is 20 bytes, expected 21",
)
bad(
    "an enable beyond the last byte",
    change(holes, len(holes) - 1, b"\x0d"),
    "last byte of the enables is 13 (0xd)",
)
bad(
    "data with an error",
    change(dma_read_done, 24, u32(1)),
    "DMA length is 5 (0x5), expected data exactly if the status is 0",
)
bad(
    "a vector beyond 16 bits",
    change(msix, 24, u32(0x10000)),
    "MSI-X vector is 65536 (0x10000)",
)
bad("a level of two", change(intx, 24, u32(2)), "INTx level is 2 (0x2), expected 0 or 1")
bad("a reason that does not exist", change(bye, 24, u32(5)), "reason is 5 (0x5), expected 0 to 4")
bad(
    "a name of other letters",
    change(share, 24, b"A"),
    "SHARE name byte is 65 (0x41), expected 0 to 9 or a to f",
)
bad("an attachment of two", change(attach, 24, u32(2)), "attached is 2 (0x2), expected 0 or 1")
bad("reserved bytes", change(attach, 31, b"\x01"), "reserved ATTACH bytes is 1 (0x1), expected 0")
bad("no window", change(init, 32, u32(0)), "write window is 0 (0x0), expected 1 to 4096")
bad("too small a request", change(init, 36, u32(63)), "max_data is 63 (0x3f), expected 64 to 65536")
bad("a name too long", change(init, 40, u32(65)), "name length is 65 (0x41), expected at most 64")
bad("a name that is not UTF-8", change(init, 48, b"\xff"), "INIT name is not UTF-8")
bad(
    "an unknown flag of a BAR",
    change(conf, 24 + 32 + 16, u32(4)),
    "BAR flags is 4 (0x4), expected 0 to 3",
)
bad(
    "an unknown flag",
    change(conf, 24 + 16, u32(9)),
    "CONFIG flags is 9 (0x9), expected 0 to 7",
)
bad(
    "a table in the RTL without MSI-X",
    change(conf, 24 + 16, u32(6)),
    "CONFIG flags is 6 (0x6), expected bit 2 without MSI-X 0",
)
bad(
    "an unknown flag of MSI",
    change(both, 24 + 185, b"\x02"),
    "MSI flags is 2 (0x2), expected 0 or 1",
)
bad(
    "MSI vectors without MSI",
    change(conf, 24 + 184, b"\x01"),
    "msi.vectors is 1 (0x1), expected 0 without MSI",
)
bad(
    "MSI flags without MSI",
    change(conf, 24 + 185, b"\x01"),
    "MSI flags is 1 (0x1), expected 0 without MSI",
)
bad(
    "reserved bytes",
    change(both, 24 + 191, b"\x01"),
    "reserved CONFIG bytes is 1 (0x1), expected 0",
)
bad(
    "MSI-X fields without MSI-X",
    change(conf, 24 + 16, u32(0)),
    "msix.vectors is 33 (0x21), expected 0 without MSI-X",
)
bad(
    "more capabilities than there may be",
    change(conf, 24 + 180, u32(17)),
    "capability count is 17 (0x11), expected at most 16",
)
bad(
    "a capability cut short",
    change(conf, 24 + 180, u32(3)),
    "CONFIG needs 1 bytes, the message has 0",
)

bad(
    "a kind that does not exist",
    change(nic_open, 24, u32(3)),
    "channel kind is 3 (0x3), expected 1 or 2",
)
bad(
    "an interval of more than a second",
    change(clock, 24, u32(1_000_000_001)),
    "clock interval is 1000000001 (0x3b9aca01), expected at most 1000000000",
)
bad(
    "an unknown flag",
    change(state, 24, u32(0x200)),
    "FUNCTION flags is 512 (0x200), expected at most 0x1ff",
)
bad("no power state", change(state, 28, b"\x04"), "power state is 4 (0x4), expected 0 to 3")
bad(
    "too large a payload",
    change(state, 29, b"\x06"),
    "max payload size is 6 (0x6), expected 0 to 5",
)
bad(
    "too large a request",
    change(state, 30, b"\x06"),
    "max read request size is 6 (0x6), expected 0 to 5",
)
bad("reserved bytes", change(state, 31, b"\x01"), "reserved FUNCTION bytes is 1 (0x1), expected 0")
bad("no link speed", change(state, 34, b"\x00"), "link speed is 0 (0x0), expected 1 to 6")
bad(
    "three lanes",
    change(state, 35, b"\x03"),
    "link width is 3 (0x3), expected 1, 2, 4, 8, 12, 16 or 32",
)
bad(
    "reserved bytes",
    change(state, 55, b"\x80"),
    "reserved FUNCTION bytes is 128 (0x80), expected 0",
)
bad(
    "more vectors than MSI has",
    change(state, 36, b"\x06"),
    "MSI vectors granted is 6 (0x6), expected 0 to 5",
)
bad("reserved bytes", change(state, 39, b"\x01"), "reserved FUNCTION bytes is 1 (0x1), expected 0")
bad("reserved bytes", change(state, 44, b"\x01"), "reserved FUNCTION bytes is 1 (0x1), expected 0")
bad(
    "no multiple of 16",
    change(mapped, 56, b"\x08"),
    "BAR address is 4269801480 (0xfe800008), expected a multiple of 16, or all ones",
)
bad(
    "addresses of five BARs",
    change(mapped[:-8], 20, u32(72)),
    "FUNCTION payload is 72 bytes, expected 80",
)
bad(
    "a long plan",
    change(plan, 24, u32(4097)),
    "plan length is 4097 (0x1001), expected at most 4096",
)
bad("a plan that is not UTF-8", change(plan, 32, b"\xff"), "FAULTS text is not UTF-8")
bad(
    "a plan cut short",
    change(plan, 24, u32(29)),
    "FAULTS payload is 36 bytes, expected 37",
)
bad("reserved bytes", change(plan, 31, b"\x01"), "reserved FAULTS bytes is 1 (0x1), expected 0")
bad("half refused", change(taken, 24, u32(2)), "refused is 2 (0x2), expected 0 or 1")
bad(
    "a long answer",
    change(taken, 28, u32(513)),
    "text length is 513 (0x201), expected at most 512",
)
bad(
    "an error that does not exist",
    change(error, 24, u32(13)),
    "error is 13 (0xd), expected 1 to 12",
)
bad("no error", change(error, 24, u32(0)), "error is 0 (0x0), expected 1 to 12")
bad("reserved bytes", change(error, 31, b"\x01"), "reserved ERROR bytes is 1 (0x1), expected 0")
bad("no credit", change(nic_open, 28, u32(0)), "credit in frames is 0 (0x0), expected 1 to 256")
bad(
    "more frames than may be",
    change(accept, 28, u32(257)),
    "credit in frames is 257 (0x101), expected 1 to 256",
)
bad(
    "more bytes than may be",
    change(serial_accept, 28, u32(65537)),
    "credit in bytes is 65537 (0x10001), expected 1 to 65536",
)
bad(
    "a group address",
    change(nic_open, 32, b"\x53"),
    "MAC address is 91620243551318 (0x535400123456), expected neither zero nor a group address",
)
bad(
    "no address",
    change(nic_open, 32, bytes(6)),
    "MAC address is 0 (0x0), expected neither zero nor a group address",
)
bad(
    "an address of a serial line",
    change(serial_open, 37, b"\x01"),
    "MAC address of a serial channel is 1 (0x1), expected 0",
)
bad("a link of two", change(nic_open, 38, b"\x02"), "link is 2 (0x2), expected 0 or 1")
bad(
    "a link of a serial line",
    change(serial_accept, 32, b"\x01"),
    "link of a serial channel is 1 (0x1), expected 0",
)
bad("reserved bytes", change(nic_open, 39, b"\x01"), "reserved OPEN bytes is 1 (0x1), expected 0")
bad("reserved bytes", change(accept, 33, b"\x01"), "reserved ACCEPT bytes is 1 (0x1), expected 0")
bad(
    "a frame too short",
    header(TYPES["NIC_FRAME"], SESSION, 0, 59) + bytes(59),
    "length of a network frame is 59 (0x3b), expected 60 to 9216",
)
bad(
    "a frame too long",
    header(TYPES["NIC_FRAME"], SESSION, 0, 9217) + bytes(9217),
    "length of a network frame is 9217 (0x2401), expected 60 to 9216",
)
bad(
    "a tag of a frame",
    change(frame60, 16, u32(1)),
    "tag is 1 (0x1), expected 0 for a frame without one",
)
bad("a link of two", change(nic_link, 24, u32(2)), "link is 2 (0x2), expected 0 or 1")
bad(
    "no bytes",
    header(TYPES["SERIAL"], SESSION, 0, 0),
    "number of serial bytes is 0 (0x0), expected 1 to 4096",
)
bad(
    "too many bytes",
    header(TYPES["SERIAL"], SESSION, 0, 4097) + bytes(4097),
    "number of serial bytes is 4097 (0x1001), expected 1 to 4096",
)
bad("no credit", change(credit, 24, u32(0)), "credit is 0 (0x0), expected 1 to 65536")
bad(
    "too much credit",
    change(credit, 24, u32(65537)),
    "credit is 65537 (0x10001), expected 1 to 65536",
)

json.dump(
    {
        "protocol": "accelerator-pcie",
        "version": "1.6",
        "frames": frames,
        "refused": refused,
    },
    sys.stdout,
    indent=1,
    ensure_ascii=True,
)
print()
