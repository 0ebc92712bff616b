// SPDX-License-Identifier: MIT OR Apache-2.0

//! The committed header is what `src/ffi.rs` and the files under `src/ffi` say.
//!
//! After a change of them, `ACCELERATOR_UPDATE_HEADER=1 cargo test -p
//! accelerator-dpi --test header` writes it anew.

use std::{fs, path::Path};

#[test]
fn header_is_generated_from_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let mut generated = Vec::new();
    cbindgen::Builder::new()
        .with_config(config)
        .with_src(root.join("src/ffi.rs"))
        .with_src(root.join("src/ffi/function.rs"))
        .with_src(root.join("src/ffi/nic.rs"))
        .with_src(root.join("src/ffi/record.rs"))
        .with_src(root.join("src/ffi/uart.rs"))
        .generate()
        .unwrap()
        .write(&mut generated);
    let generated = String::from_utf8(generated).unwrap();

    let path = root.join("include/accelerator_dpi.h");
    if std::env::var_os("ACCELERATOR_UPDATE_HEADER").is_some_and(|v| v == "1") {
        fs::write(&path, &generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    for (number, (ours, theirs)) in committed.lines().zip(generated.lines()).enumerate() {
        assert_eq!(
            ours,
            theirs,
            "line {} of include/accelerator_dpi.h (left) differs from what src/ffi gives \
             (right); run with ACCELERATOR_UPDATE_HEADER=1",
            number + 1
        );
    }
    assert_eq!(committed.len(), generated.len(), "one is longer");
}

/// A header goes into other people's files: what it defines is recognisably
/// ours. Constants of the modules beside `src/ffi.rs` would be in it if they
/// were `pub`.
#[test]
fn every_macro_has_our_prefix() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/accelerator_dpi.h");
    let header = fs::read_to_string(path).unwrap();
    let names: Vec<&str> = header
        .lines()
        .filter_map(|l| l.strip_prefix("#define ")?.split_whitespace().next())
        .collect();
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        assert!(
            name.starts_with("ACC_") || name == "ACCELERATOR_DPI_H",
            "{name}"
        );
    }
}
