// SPDX-License-Identifier: MIT OR Apache-2.0

//! `accelerator-keys`: makes pairs of keys. `scripts/make-keys.sh` calls it.

use std::{
    fs::{DirBuilder, OpenOptions, Permissions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
    process::ExitCode,
};

use accelerator_curve::new_pair;
use accelerator_protocol::keys::file_text;

const HELP: &str = "\
Makes ZeroMQ CURVE keys.

Usage: accelerator-keys DIR NAME...

Makes DIR (mode 0700) if it is not there, and for each NAME the files
DIR/NAME.key_secret with a new pair of keys and DIR/NAME.key with its public
key, mode 0600. Nothing that is there is overwritten.
";

/// Makes a file that was not there.
fn write(path: &Path, text: &str) -> Result<(), String> {
    let fail = |e| format!("cannot write {}: {e}", path.display());
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(fail)?;
    file.write_all(text.as_bytes()).map_err(fail)
}

fn run(folder: &Path, names: &[String]) -> Result<(), String> {
    if let Some(bad) = names.iter().find(|n| n.is_empty() || n.contains('/')) {
        return Err(format!("{bad:?} is no name of a file"));
    }
    if folder.is_dir() {
        let mode = std::fs::metadata(folder).map_or(0, |m| m.permissions().mode());
        if mode & 0o022 != 0 {
            return Err(format!(
                "others can write to {} (mode {:04o}): choose another folder",
                folder.display(),
                mode & 0o7777
            ));
        }
    } else {
        let fail = |e| format!("cannot make {}: {e}", folder.display());
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(fail)?;
        // Whatever the mask of the process takes away.
        std::fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(fail)?;
    }
    let file = |name: &String, end: &str| folder.join(format!("{name}.{end}"));
    let there = |path: &Path| path.symlink_metadata().is_ok();
    for name in names {
        for end in ["key_secret", "key"] {
            let path = file(name, end);
            if there(&path) {
                return Err(format!("{} is there already", path.display()));
            }
        }
    }
    for name in names {
        let (public, secret) = new_pair().map_err(|e| format!("no random numbers: {e}"))?;
        write(
            &file(name, "key_secret"),
            &file_text(&public, Some(&secret)),
        )?;
        write(&file(name, "key"), &file_text(&public, None))?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|a| a == "--help" || a == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let [folder, names @ ..] = &args[..] else {
        eprint!("{HELP}");
        return ExitCode::from(2);
    };
    match run(Path::new(folder), names) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("accelerator-keys: {e}");
            ExitCode::FAILURE
        }
    }
}
