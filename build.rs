// SPDX-License-Identifier: MIT OR Apache-2.0

//! Makes the device a normal crate outside QEMU's build.
//!
//! Inside QEMU, Meson compiles `qemu-rust-device/` with the bindings that it
//! generates. For cargo, and so for clippy and rust-analyzer, this script
//! looks for a QEMU build tree:
//!
//! * `ACCELERATOR_QEMU_BUILD`: a build tree of a QEMU with our patches, as the link
//!   `build/qemu/build-tree` of `scripts/build-qemus.sh` leads to it.
//!
//! From there it takes QEMU's own Rust crates and our bindings; if the tree
//! was only configured, it runs bindgen on the headers itself. Without the
//! variable, the parts that need QEMU are left out, and everything else is
//! built and tested.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The releases of QEMU, whose lines are simple: the file says so.
const RELEASES: &str = include_str!("patches/releases.toml");

const VARIABLE: &str = "ACCELERATOR_QEMU_BUILD";

/// Where `scripts/build-qemus.sh` puts the device in QEMU's tree.
const DEVICE_DIR: &str = "rust/hw/misc/accelerator-pcie";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed={VARIABLE}");
    println!("cargo:rerun-if-changed=patches/releases.toml");
    let releases: Vec<&str> = values("cfg").collect();
    for cfg in ["qemu", "MESON"].iter().chain(&releases) {
        println!("cargo:rustc-check-cfg=cfg({cfg})");
    }
    let Some(build) = env::var_os(VARIABLE).filter(|v| !v.is_empty()) else {
        return;
    };
    let build = PathBuf::from(build);
    if let Err(e) = use_qemu(&build) {
        panic!(
            "{VARIABLE}={}: {e}\nExpected the build tree of a QEMU that \
             scripts/build-qemus.sh has built; unset it to leave out what needs QEMU.",
            build.display()
        );
    }
}

fn use_qemu(build: &Path) -> Result<(), String> {
    let source = source_dir(build)?;
    let version = fs::read_to_string(source.join("VERSION"))
        .map_err(|e| format!("no VERSION in {}: {e}", source.display()))?;
    let version = version.trim();
    let cfg = values("versions")
        .zip(values("cfg"))
        .find(|(patterns, _)| patterns.split(['"', ',', ' ']).any(|p| fits(version, p)))
        .map(|(_, cfg)| cfg)
        .ok_or_else(|| {
            let known: Vec<String> = values("versions").map(|v| v.replace('"', "")).collect();
            format!(
                "QEMU {version} has no glue, expected one of {}",
                known.join(", ")
            )
        })?;

    // Libraries, and the procedural macros that they name.
    let mut crates = Vec::new();
    find(
        build,
        &|p| p.extension().is_some_and(|e| e == "rlib" || e == "so"),
        6,
        &mut crates,
    );
    let names = if cfg == "qemu_10_1" {
        ["libqemu_api.rlib"].as_slice()
    } else {
        ["libqom.rlib", "libhwcore.rlib", "libsystem.rlib"].as_slice()
    };
    for name in names {
        if !crates.iter().any(|c| c.ends_with(name)) {
            return Err(format!("{name} is not there yet; build QEMU first"));
        }
    }
    let directories: BTreeSet<&Path> = crates.iter().filter_map(|c| c.parent()).collect();
    for directory in directories {
        println!("cargo:rustc-link-search=all={}", directory.display());
    }

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?).join("bindings.inc.rs");
    let mut made = Vec::new();
    find(
        &build.join(DEVICE_DIR),
        &|p| p.file_name().is_some_and(|n| n == "bindings.inc.rs"),
        4,
        &mut made,
    );
    if let Some(bindings) = made.first() {
        println!("cargo:rerun-if-changed={}", bindings.display());
        fs::copy(bindings, &out).map_err(|e| format!("{}: {e}", bindings.display()))?;
    } else {
        generate(&source, build, &out)?;
    }
    // Where QEMU's macro for trace events looks for what is generated.
    println!("cargo:rustc-env=MESON_BUILD_ROOT={}", build.display());
    println!("cargo:rustc-cfg=qemu");
    println!("cargo:rustc-cfg={cfg}");
    Ok(())
}

/// What each release has for a key, without the quotes or brackets around it. A key of theirs that
/// is read here is in one line, and in every release.
fn values(key: &'static str) -> impl Iterator<Item = &'static str> {
    RELEASES.lines().filter_map(move |line| {
        let value = line.strip_prefix(key)?.strip_prefix(" = ")?;
        Some(value.trim_matches(|c| "[]\"".contains(c)))
    })
}

/// Whether a version is the one of a pattern, which may end in a star.
fn fits(version: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => version.starts_with(start),
        None => version == pattern,
    }
}

/// The source tree that a build tree was configured from, which Meson notes.
fn source_dir(build: &Path) -> Result<PathBuf, String> {
    let info = build.join("meson-info/meson-info.json");
    let text = fs::read_to_string(&info).map_err(|e| format!("{}: {e}", info.display()))?;
    let (_, rest) = text
        .split_once("\"source\"")
        .ok_or_else(|| format!("{} does not name the source tree", info.display()))?;
    let path = rest.split('"').nth(1).unwrap_or_default();
    Ok(PathBuf::from(path))
}

fn find(directory: &Path, want: &dyn Fn(&Path) -> bool, depth: u32, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => find(&path, want, depth - 1, found),
            Ok(kind) if kind.is_file() && want(&path) => found.push(path),
            _ => {}
        }
    }
}

/// Runs bindgen as Meson would.
fn generate(source: &Path, build: &Path, out: &Path) -> Result<(), String> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("no manifest directory")?)
        .join("qemu-rust-device");
    let arguments = here.join("bindgen.args");
    println!("cargo:rerun-if-changed={}", arguments.display());
    println!(
        "cargo:rerun-if-changed={}",
        here.join("wrapper.h").display()
    );
    let text = fs::read_to_string(&arguments).map_err(|e| e.to_string())?;
    let lines: Vec<&str> = text.lines().collect();

    let mut builder = bindgen::builder()
        .header(here.join("wrapper.h").display().to_string())
        .ctypes_prefix("std::os::raw")
        .generate_comments(false)
        .derive_default(true)
        .prepend_enum_name(false)
        .layout_tests(false)
        .clang_arg("-D_GNU_SOURCE");
    let mut rest = lines.iter();
    while let Some(option) = rest.next() {
        let mut value = || rest.next().copied().unwrap_or_default();
        builder = match *option {
            "--allowlist-type" => builder.allowlist_type(value()),
            "--allowlist-function" => builder.allowlist_function(value()),
            "--allowlist-var" => builder.allowlist_var(value()),
            "--opaque-type" => builder.opaque_type(value()),
            "--blocklist-type" => builder.blocklist_type(value()),
            "--raw-line" => builder.raw_line(value()),
            "--ctypes-prefix" => {
                value();
                builder
            }
            _ => builder,
        };
    }
    for directory in [
        source.to_path_buf(),
        source.join("include"),
        source.join("host/include/x86_64"),
        source.join("host/include/generic"),
        source.join("linux-headers"),
        build.to_path_buf(),
        build.join("qapi"),
    ] {
        builder = builder.clang_arg(format!("-I{}", directory.display()));
    }
    let glib = Command::new("pkg-config")
        .args(["--cflags", "glib-2.0"])
        .output()
        .map_err(|e| format!("pkg-config: {e}"))?;
    if !glib.status.success() {
        return Err(String::from_utf8_lossy(&glib.stderr).into_owned());
    }
    builder = builder.clang_args(String::from_utf8_lossy(&glib.stdout).split_whitespace());
    builder
        .generate()
        .map_err(|e| format!("bindgen: {e}"))?
        .write_to_file(out)
        .map_err(|e| format!("{}: {e}", out.display()))
}
