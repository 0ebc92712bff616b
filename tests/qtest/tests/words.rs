// SPDX-License-Identifier: MIT OR Apache-2.0

//! What QEMU tells of the device: its help against its documentation, and why
//! a machine with it cannot be moved.

use std::{collections::BTreeMap, path::Path};

use accelerator_peers::hdl::sample_config;
use accelerator_qtest::{qemu::Launch, Machine, Scratch, PATIENCE};
use serde_json::json;

/// Properties of a device, as `-device NAME,help` has them: what stands behind
/// each name.
fn help(device: &str) -> BTreeMap<String, String> {
    let scratch = Scratch::new();
    let mut qemu = Launch::bare()
        .args(&format!("-device {device},help"))
        .spawn(&scratch);
    assert_eq!(qemu.wait_exit(PATIENCE).code(), Some(0));
    qemu.said()
        .iter()
        .filter_map(|line| line.strip_prefix("stdout:   "))
        .filter_map(|line| line.split_once('='))
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .collect()
}

#[test]
fn the_help_and_the_documentation_have_the_same_properties() {
    let mut ours = help("accelerator-pcie");
    // What every PCI device has.
    for name in help("pci-testdev").keys() {
        ours.remove(name);
    }
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/device.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let table = docs
        .split("## Properties\n")
        .nth(1)
        .and_then(|t| t.split("\n## ").next())
        .expect("a section with the properties");
    let documented: BTreeMap<&str, &str> = table
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('|').map(str::trim).skip(1);
            let names = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
            let default = cells.next()?;
            // Several in a row stand as `one`, `two`.
            Some(names.split("`, `").map(move |name| (name, default)))
        })
        .flatten()
        .collect();
    assert!(
        documented.keys().eq(ours.keys()),
        "documented: {:?}\nin the help: {:?}",
        documented.keys(),
        ours.keys()
    );
    for (name, text) in &ours {
        assert!(text.contains(" - "), "{name} has no description: {text}");
        let default = documented[name.as_str()].split(' ').next().unwrap_or("");
        if documented[name.as_str()] == "off when started" {
            assert!(!text.contains("(default: "), "{name}: {text}");
            continue;
        }
        match default {
            // Not to be given on the command line.
            "read-only" => assert!(!text.contains("(default: "), "{name}: {text}"),
            "on" => assert!(
                text.contains("(default: on)") || text.contains("(default: true)"),
                "{name}: {text}"
            ),
            "off" => assert!(
                text.contains("(default: off)") || text.contains("(default: false)"),
                "{name}: {text}"
            ),
            value if value == "auto" || value.starts_with(|c: char| c.is_ascii_digit()) => assert!(
                text.contains(&format!("(default: {value})")),
                "{name} is documented with {value}: {text}"
            ),
            // None, or found out: only a text can be absent. Of one that is given at run time
            // QEMU says `<string>`.
            _ => assert!(
                text.starts_with("<str>") || text.starts_with("<string>"),
                "{name}: {text}"
            ),
        }
    }
}

#[test]
fn a_machine_with_the_card_is_not_moved() {
    let mut m = Machine::start(sample_config(0));
    let uri = format!("file:{}", m.path("state").display());
    let id = m.qemu.start_qmp("migrate", json!({"uri": uri}));
    let text = m.qemu.finish_qmp(id).unwrap_err();
    assert!(
        text.contains("non-migratable device") && text.contains("accelerator-pcie"),
        "{text}"
    );
    let arguments = json!({"command-line": "savevm before"});
    let text = m.qemu.qmp("human-monitor-command", arguments);
    let text = text.as_str().unwrap();
    assert!(
        text.contains("non-migratable device") && text.contains("accelerator-pcie"),
        "{text}"
    );
    m.check_alive();
}
