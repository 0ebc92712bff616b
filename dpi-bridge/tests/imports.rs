// SPDX-License-Identifier: MIT OR Apache-2.0

//! The header and the SystemVerilog package with the imports say the same:
//! every function with its types, and every number.

use std::{collections::BTreeMap, fs, path::Path};

const HEADER: &str = "include/accelerator_dpi.h";
const PACKAGE: &str = "../hdl/rtl/accelerator_dpi_pkg.sv";

fn text(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Without comments.
fn code(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("/*") {
        out.push_str(&rest[..start]);
        let end = rest[start..].find("*/").expect("a comment that ends");
        rest = &rest[start + end + 2..];
    }
    out.push_str(rest);
    out.lines()
        .map(|l| l.split("//").next().unwrap_or(""))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Functions as "result name(type name, …)" in terms of C.
fn of_header() -> BTreeMap<String, String> {
    let code = code(&text(HEADER));
    let lines: Vec<&str> = code.lines().filter(|l| !l.starts_with('#')).collect();
    lines
        .join(" ")
        .replace("extern \"C\" {", "")
        .split(';')
        .filter(|s| s.contains('('))
        .map(|s| {
            let s = s.split_whitespace().collect::<Vec<_>>().join(" ");
            let (head, arguments) = s.split_once('(').unwrap();
            let at = head.rfind([' ', '*']).unwrap() + 1;
            let arguments = arguments.trim_end_matches(')');
            let arguments = if arguments == "void" { "" } else { arguments };
            let signature = format!("{}({arguments})", &head[..at]);
            (head[at..].to_owned(), signature.replace("* ", "*"))
        })
        .collect()
}

/// The C type of an argument or result, as IEEE 1800 annex H has it.
fn c_type(sv: &str, output: bool) -> String {
    match (sv, output) {
        ("int", false) => "int ".into(),
        ("int", true) => "int *".into(),
        ("longint", false) => "long long ".into(),
        ("longint", true) => "long long *".into(),
        ("string", false) => "const char *".into(),
        ("chandle", false) => "void *".into(),
        (packed, false) if packed.starts_with("bit [") => "const uint32_t *".into(),
        (packed, true) if packed.starts_with("bit [") => "uint32_t *".into(),
        other => panic!("{other:?} is no type that every simulator passes alike"),
    }
}

fn of_package() -> BTreeMap<String, String> {
    code(&text(PACKAGE))
        .split(';')
        .filter_map(|s| s.split_once("import \"DPI-C\" function "))
        .map(|(_, s)| {
            let s = s.split_whitespace().collect::<Vec<_>>().join(" ");
            let (head, arguments) = s.split_once('(').unwrap();
            let (result, name) = head.split_once(' ').unwrap();
            let arguments: Vec<String> = arguments
                .trim_end_matches(')')
                .split(',')
                .map(str::trim)
                .filter(|a| !a.is_empty())
                .map(|a| {
                    let (direction, a) = a.split_once(' ').unwrap();
                    let (sv, name) = a.rsplit_once(' ').unwrap();
                    format!("{}{name}", c_type(sv, direction == "output"))
                })
                .collect();
            let result = c_type(result, false);
            let signature = format!("{result}({})", arguments.join(", "));
            (name.to_owned(), signature)
        })
        .collect()
}

#[test]
fn functions_are_the_same() {
    let header = of_header();
    assert_eq!(header.len(), 53);
    assert_eq!(header["acc_poll"], "int (void *h, int ready)");
    assert_eq!(of_package(), header);
}

/// Names of both sides without what tells their origin: `ErrAgain` and
/// `ACC_EAGAIN` become `eagain`.
fn plain(name: &str) -> String {
    let name = name.to_ascii_lowercase().replace('_', "");
    match name.strip_prefix("err") {
        Some(rest) => format!("e{rest}"),
        None => name,
    }
}

#[test]
fn numbers_are_the_same() {
    let header: BTreeMap<String, i64> = text(HEADER)
        .lines()
        .filter_map(|l| l.strip_prefix("#define ACC_")?.split_once(' '))
        .map(|(name, value)| (plain(name), value.parse().unwrap()))
        .collect();
    let package = code(&text(PACKAGE));
    let mut compared = 0;
    for line in package.lines().map(str::trim) {
        let Some(rest) = line.strip_prefix("parameter int ") else {
            continue;
        };
        let (name, value) = rest.trim_end_matches(';').split_once('=').unwrap();
        let value: i64 = value.trim().parse().unwrap();
        let name = name.trim();
        let ours = match name {
            "MaxDmaBytes" => i64::from(accelerator_dpi::run::MAX_DMA_BYTES),
            "MaxDmaOutstanding" => accelerator_protocol::device::MAX_DMA as i64,
            "LeastDmaOutstanding" => accelerator_protocol::device::MAX_DMA_BEFORE as i64,
            // Longer names for the same.
            "ReadyDmaReadDone" => header["readydmaread"],
            "ReadyDmaWriteDone" => header["readydmawrite"],
            "StatPollsWithWork" => header["statbusypolls"],
            name => *header
                .get(&plain(name))
                .unwrap_or_else(|| panic!("the header has nothing for {name}")),
        };
        assert_eq!(value, ours, "{name}");
        compared += 1;
    }
    assert!(compared >= 42, "{compared}");
}
