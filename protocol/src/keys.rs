// SPDX-License-Identifier: MIT OR Apache-2.0

//! Keys of ZeroMQ's CURVE: their files and how they are given on either side.
//!
//! A file of keys is one as pyzmq and czmq write it: lines `public-key = "…"`
//! and `secret-key = "…"` with 40 characters of Z85 (ZeroMQ RFC 32). A list of
//! public keys is a file with several such lines, or with nothing but a key on
//! a line, or a folder of such files.

use std::{fmt, fs, io, path::Path};

/// Environment variable of the simulator: file with its own pair of keys. The
/// device's property is `curve-secret`.
pub const SECRET_VARIABLE: &str = "ACCELERATOR_CURVE_SECRET";

/// Environment variable of the simulator: public keys of those who may
/// connect, a key, a file or a folder.
pub const CLIENTS_VARIABLE: &str = "ACCELERATOR_CURVE_CLIENTS";

/// Environment variable of the simulator: `1` lets it listen beyond loopback
/// without keys. The device's property is `insecure`.
pub const INSECURE_VARIABLE: &str = "ACCELERATOR_INSECURE";

/// Longest file of keys that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// A public or a secret key.
pub type Key = [u8; 32];

const Z85: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// The 40 characters that stand for a key.
pub fn z85_encode(key: &Key) -> String {
    let mut text = String::with_capacity(40);
    for four in key.chunks_exact(4) {
        let mut value = four.iter().fold(0, |v, &b| v << 8 | u32::from(b));
        let mut five = [0; 5];
        for place in five.iter_mut().rev() {
            *place = Z85[(value % 85) as usize];
            value /= 85;
        }
        text.extend(five.iter().map(|&b| char::from(b)));
    }
    text
}

/// The key that 40 characters stand for, if they do.
pub fn z85_decode(text: &str) -> Option<Key> {
    let text = text.as_bytes();
    if text.len() != 40 {
        return None;
    }
    let mut key = [0; 32];
    for (four, five) in key.chunks_exact_mut(4).zip(text.chunks_exact(5)) {
        let mut value = 0u32;
        for c in five {
            let digit = Z85.iter().position(|z| z == c)? as u32;
            value = value.checked_mul(85)?.checked_add(digit)?;
        }
        four.copy_from_slice(&value.to_be_bytes());
    }
    Some(key)
}

/// A pair of keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// For everybody.
    pub public: Key,
    /// For its owner alone.
    pub secret: Key,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pair({})", z85_encode(&self.public))
    }
}

/// What the user of one end can say about keys, as it is called there.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// What these are, with a space behind it: `property `, or nothing.
    pub kind: &'static str,
    /// That of the file with our own pair.
    pub secret: &'static str,
    /// That of the public keys of others.
    pub others: &'static str,
    /// Whose keys those are, for a message.
    pub whose: &'static str,
    /// That of the switch that does without.
    pub insecure: &'static str,
}

/// What the user of one end has said about keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<'a> {
    /// Nothing: only ends on this machine get together.
    Nothing,
    /// That anybody may connect.
    Insecure,
    /// That only those with keys may.
    Keys {
        /// Where our own pair is.
        secret: &'a str,
        /// Where the public keys of others are, or one of them.
        others: &'a str,
    },
}

impl Names {
    /// What was said; half a choice is none.
    ///
    /// # Errors
    ///
    /// A text that names what does not fit.
    pub fn choose<'a>(
        &self,
        secret: Option<&'a str>,
        others: Option<&'a str>,
        insecure: bool,
    ) -> Result<Choice<'a>, String> {
        let Self { kind, whose, .. } = self;
        match (secret, others) {
            (None, None) if insecure => Ok(Choice::Insecure),
            (None, None) => Ok(Choice::Nothing),
            _ if insecure => Err(format!(
                "{kind}{} is on together with keys, expected one or the other",
                self.insecure
            )),
            (Some(_), None) => Err(format!(
                "{kind}{} is set without {}, {whose}",
                self.secret, self.others
            )),
            (None, Some(_)) => Err(format!(
                "{kind}{} is set without {}, the file with our own keys",
                self.others, self.secret
            )),
            (Some(secret), Some(others)) => Ok(Choice::Keys { secret, others }),
        }
    }
}

/// What a file of keys holds.
#[derive(Default)]
struct Lines {
    public: Vec<Key>,
    secret: Vec<Key>,
}

fn parse(text: &str, path: &Path) -> Result<Lines, String> {
    let mut lines = Lines::default();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        // A key may begin with the character of a comment.
        if let Some(key) = z85_decode(line) {
            lines.public.push(key);
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            // Headings of the format, "metadata" and "curve", and blank lines.
            if line.len() >= 40 {
                return Err(format!(
                    "{} line {}: this is no key (40 characters of Z85)",
                    path.display(),
                    number + 1
                ));
            }
            continue;
        };
        let list = match name.trim() {
            "public-key" => &mut lines.public,
            "secret-key" => &mut lines.secret,
            _ => continue,
        };
        match z85_decode(value.trim().trim_matches('"')) {
            Some(key) => list.push(key),
            None => {
                return Err(format!(
                    "{} line {}: {} is no key (40 characters of Z85)",
                    path.display(),
                    number + 1,
                    name.trim()
                ))
            }
        }
    }
    Ok(lines)
}

fn read(path: &Path) -> Result<Lines, String> {
    let fail = |e: io::Error| format!("cannot read the keys in {}: {e}", path.display());
    let size = fs::metadata(path).map_err(fail)?.len();
    if size > MAX_FILE {
        return Err(format!(
            "{} has {size} bytes, which is no file of keys",
            path.display()
        ));
    }
    parse(&fs::read_to_string(path).map_err(fail)?, path)
}

/// The pair of keys in a file that nobody but its owner can read.
///
/// # Errors
///
/// A message that names the file and what is wrong with it.
pub fn read_pair(path: &Path) -> Result<Pair, String> {
    let lines = read(path)?;
    let ([public], [secret]) = (&lines.public[..], &lines.secret[..]) else {
        return Err(format!(
            "{} has {} public and {} secret keys, expected one of each: scripts/make-keys.sh makes \
             such a file (NAME.key_secret)",
            path.display(),
            lines.public.len(),
            lines.secret.len()
        ));
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).map_or(0, |m| m.permissions().mode());
        if mode & 0o077 != 0 {
            return Err(format!(
                "{} holds a secret key and has mode {:04o}: others must not reach it, \
                 chmod 600 it",
                path.display(),
                mode & 0o7777
            ));
        }
    }
    Ok(Pair {
        public: *public,
        secret: *secret,
    })
}

/// One public key: the name of a file with it, or the key itself.
///
/// # Errors
///
/// A message that names what was given and what is wrong with it.
pub fn read_public(text: &str) -> Result<Key, String> {
    match &read_publics(text)?[..] {
        [key] => Ok(*key),
        keys => Err(format!(
            "{text} has {} public keys, expected one",
            keys.len()
        )),
    }
}

/// Public keys: the name of a file with them or of a folder with such files
/// (`*.key`), or one key itself.
///
/// # Errors
///
/// A message that names what was given and what is wrong with it, no key at
/// all for instance.
pub fn read_publics(text: &str) -> Result<Vec<Key>, String> {
    let path = Path::new(text);
    if !path.exists() {
        if let Some(key) = z85_decode(text) {
            return Ok(vec![key]);
        }
    }
    let mut keys = Vec::new();
    if path.is_dir() {
        let fail = |e: io::Error| format!("cannot read the folder {text}: {e}");
        for entry in fs::read_dir(path).map_err(fail)? {
            let file = entry.map_err(fail)?.path();
            if file.extension().is_some_and(|e| e == "key") {
                keys.extend(read(&file)?.public);
            }
        }
    } else {
        keys = read(path)?.public;
    }
    if keys.is_empty() {
        return Err(format!(
            "there is no public key in {text}: expected a file with lines public-key = \"…\", a \
             folder with files *.key, or 40 characters of Z85"
        ));
    }
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// The text of a file with a pair of keys, or with a public key alone.
pub fn file_text(public: &Key, secret: Option<&Key>) -> String {
    let mut text = String::new();
    if secret.is_some() {
        text.push_str("# ZeroMQ CURVE key pair. Keep it to its owner.\n");
    } else {
        text.push_str("# ZeroMQ CURVE public key.\n");
    }
    text.push_str("metadata\ncurve\n");
    text.push_str(&format!("    public-key = \"{}\"\n", z85_encode(public)));
    if let Some(secret) = secret {
        text.push_str(&format!("    secret-key = \"{}\"\n", z85_encode(secret)));
    }
    text
}

/// Whether a text that a user gave for yes or no says yes.
///
/// # Errors
///
/// It is neither; a message that names it.
pub fn parse_switch(name: &str, text: Option<&str>) -> Result<bool, String> {
    match text.map(str::trim) {
        None | Some("" | "0" | "off" | "no") => Ok(false),
        Some("1" | "on" | "yes") => Ok(true),
        Some(text) => Err(format!("{name} is {text:?}, expected 1 or 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 32, and every value of a group at its borders.
    #[test]
    fn half_a_choice_is_none() {
        const NAMES: Names = Names {
            kind: "property ",
            secret: "mine",
            others: "theirs",
            whose: "the keys of others",
            insecure: "open",
        };
        let choose = |secret, others, insecure| NAMES.choose(secret, others, insecure);
        assert_eq!(choose(None, None, false), Ok(Choice::Nothing));
        assert_eq!(choose(None, None, true), Ok(Choice::Insecure));
        let keys = Choice::Keys {
            secret: "s",
            others: "k",
        };
        assert_eq!(choose(Some("s"), Some("k"), false), Ok(keys));
        for (secret, others, insecure, text) in [
            (
                Some("s"),
                None,
                false,
                "property mine is set without theirs, the keys of others",
            ),
            (
                None,
                Some("k"),
                false,
                "property theirs is set without mine, the file with our own keys",
            ),
            (
                Some("s"),
                Some("k"),
                true,
                "property open is on together with keys, expected one or the other",
            ),
            (
                None,
                Some("k"),
                true,
                "property open is on together with keys, expected one or the other",
            ),
        ] {
            assert_eq!(choose(secret, others, insecure), Err(text.to_owned()));
        }
    }

    #[test]
    fn z85() {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&[0x86, 0x4f, 0xd2, 0x6f, 0xb5, 0x59, 0xf7, 0x5b]);
        let text = z85_encode(&key);
        assert!(text.starts_with("HelloWorld00000"), "{text}");
        assert_eq!(z85_decode(&text), Some(key));
        assert_eq!(z85_decode(&z85_encode(&[0xff; 32])), Some([0xff; 32]));
        // One more than 2^32 - 1, a character outside, another length.
        assert_eq!(z85_decode(&"%nSc1".repeat(8)), None);
        assert_eq!(z85_decode(&"#####".repeat(8)), None);
        assert_eq!(z85_decode(&"0000 ".repeat(8)), None);
        assert_eq!(z85_decode(&"0".repeat(39)), None);
        assert_eq!(z85_decode(&"é".repeat(20)), None);
    }

    #[test]
    fn files() {
        let path = Path::new("x");
        let (public, secret) = ([1; 32], [2; 32]);
        let lines = parse(&file_text(&public, Some(&secret)), path).unwrap();
        assert_eq!((lines.public, lines.secret), (vec![public], vec![secret]));
        let lines = parse(&file_text(&public, None), path).unwrap();
        assert_eq!((lines.public, lines.secret), (vec![public], vec![]));
        // A bare key that looks like a comment.
        let key = z85_decode(&format!("#{}", &z85_encode(&[0; 32])[1..]));
        assert!(key.is_none());
        let text = z85_encode(&[5; 32]);
        assert_eq!(
            parse(&format!("\n {text} \n"), path).unwrap().public,
            [[5; 32]]
        );
        for bad in [
            format!("public-key = \"{}\"", &text[1..]),
            format!("secret-key = {text}x"),
            format!("{text}x"),
        ] {
            let e = parse(&bad, path).err().unwrap();
            assert!(e.starts_with("x line 1: "), "{e}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let pair = Pair {
            public: [1; 32],
            secret: [2; 32],
        };
        assert!(!format!("{pair:?}").contains(&z85_encode(&[2; 32])));
    }

    #[cfg(unix)]
    #[test]
    fn given_keys() {
        use std::os::unix::fs::PermissionsExt;
        let folder = std::env::temp_dir().join(format!("acc-keys-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, text: &str, mode| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let (a, b, secret) = ([1; 32], [2; 32], [3; 32]);
        let pair = file("a.key_secret", &file_text(&a, Some(&secret)), 0o600);
        assert_eq!(read_pair(&pair), Ok(Pair { public: a, secret }));
        let open = file("b.key_secret", &file_text(&b, Some(&secret)), 0o640);
        assert!(read_pair(&open).unwrap_err().contains("mode 0640"));
        let public = file("a.key", &file_text(&a, None), 0o644);
        assert!(read_pair(&public).unwrap_err().contains("1 public and 0"));
        let text = |p: &Path| p.display().to_string();
        assert_eq!(read_public(&text(&public)), Ok(a));
        assert_eq!(read_public(&z85_encode(&b)), Ok(b));
        assert!(read_public(&text(&folder.join("none"))).is_err());
        // A folder: its *.key, each once, and no secrets.
        file("b.key", &file_text(&b, None), 0o644);
        file("c.key", &file_text(&b, None), 0o644);
        assert_eq!(read_publics(&text(&folder)), Ok(vec![a, b]));
        assert!(read_public(&text(&folder))
            .unwrap_err()
            .contains("2 public"));
        let empty = file("empty", "curve\n", 0o600);
        assert!(read_publics(&text(&empty)).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn switches() {
        assert_eq!(parse_switch("X", None), Ok(false));
        assert_eq!(parse_switch("X", Some("1")), Ok(true));
        assert!(parse_switch("X", Some("maybe")).unwrap_err().contains("X"));
    }
}
