// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where the plan of faults of a bridge comes from. What becomes of it is `run/faults.rs`.

use std::{env::VarError, fs::File, io::Read};

use accelerator_faults::{Plan, MAX_TEXT};

use crate::error::{fail, Code, Error, Result};

/// Environment variable: the file of the plan, where the design says none.
pub const VARIABLE: &str = "ACCELERATOR_FAULTS";

fn read(file: &str) -> std::result::Result<Plan, String> {
    let mut text = String::new();
    File::open(file)
        .and_then(|f| f.take(MAX_TEXT as u64 + 1).read_to_string(&mut text))
        .map_err(|e| e.to_string())?;
    Plan::parse(&text).map_err(|e| e.to_string())
}

/// The plan in the file that the design has named, or else the environment; nothing if neither
/// has.
///
/// # Errors
///
/// `Code::Invalid` for a file that cannot be read or is no plan.
pub fn wanted(file: Option<&str>) -> Result<Option<Plan>> {
    let file = match file {
        Some(file) => file.to_owned(),
        None => match std::env::var(VARIABLE) {
            Ok(file) => file.trim().to_owned(),
            Err(VarError::NotPresent) => String::new(),
            Err(VarError::NotUnicode(_)) => fail!(Invalid, "{VARIABLE} is not UTF-8"),
        },
    };
    if file.is_empty() {
        return Ok(None);
    }
    read(&file)
        .map(Some)
        .map_err(|e| Error::new(Code::Invalid, format!("the plan of faults {file}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let e = wanted(Some("/none/plan")).unwrap_err();
        assert_eq!(e.code, Code::Invalid);
        assert!(
            e.text
                .starts_with("the plan of faults /none/plan: No such file"),
            "{e}"
        );
        // All zeros, without an end.
        let e = wanted(Some("/dev/zero")).unwrap_err();
        assert!(e.text.contains("65537 bytes, at most 65536"), "{e}");
        assert_eq!(wanted(Some("")), Ok(None));
    }
}
