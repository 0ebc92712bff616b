// SPDX-License-Identifier: MIT OR Apache-2.0

//! How values lie in a payload: each is described once, for both directions.

use std::ops::RangeInclusive;

use super::error::{field, WireError};

/// Reads little-endian values from the front of a payload whose length was
/// checked by the caller; running out is still an error, not a panic.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    /// Name of the frame.
    what: &'static str,
    /// Name of its reserved bytes.
    reserved: &'static str,
    /// Bytes of the whole payload.
    whole: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8], what: &'static str, reserved: &'static str) -> Self {
        Self {
            rest: bytes,
            what,
            reserved,
            whole: bytes.len(),
        }
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        if n > self.rest.len() {
            return Err(WireError::Truncated {
                what: self.what,
                need: n,
                have: self.rest.len(),
            });
        }
        let (head, tail) = self.rest.split_at(n);
        self.rest = tail;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Whether nothing is left.
    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Fails unless exactly so many bytes are left.
    pub(super) fn left(&self, n: usize) -> Result<(), WireError> {
        if self.rest.len() != n {
            return Err(WireError::Length {
                frame: self.what,
                found: self.whole,
                expected: self.whole - self.rest.len() + n,
            });
        }
        Ok(())
    }
}

/// A value that lies in a payload in one way.
pub(super) trait Field<'a>: Sized {
    fn get(r: &mut Reader<'a>) -> Result<Self, WireError>;
    fn put(&self, out: &mut Vec<u8>);
}

macro_rules! integers {
    ($($type:ty),+) => {$(
        impl Field<'_> for $type {
            #[inline]
            fn get(r: &mut Reader<'_>) -> Result<Self, WireError> {
                Ok(Self::from_le_bytes(r.array()?))
            }

            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )+};
}

integers!(u8, u16, u32, u64);

/// One of the ways in which a value lies in a payload, with what it may be.
pub(super) trait Codec<'a> {
    type Value;
    fn get(&self, r: &mut Reader<'a>) -> Result<Self::Value, WireError>;
    fn put(&self, value: &Self::Value, out: &mut Vec<u8>);
}

/// So many reserved bytes.
pub(super) struct Zero(pub(super) usize);

impl Codec<'_> for Zero {
    type Value = ();

    fn get(&self, r: &mut Reader<'_>) -> Result<(), WireError> {
        match r.take(self.0)?.iter().find(|&&b| b != 0) {
            Some(&bad) => Err(field(r.reserved, bad, "0")),
            None => Ok(()),
        }
    }

    fn put(&self, (): &(), out: &mut Vec<u8>) {
        out.resize(out.len() + self.0, 0);
    }
}

/// An integer that is within a range: its name, the range, and the range in words.
pub(super) struct Within<T>(
    pub(super) &'static str,
    pub(super) RangeInclusive<T>,
    pub(super) &'static str,
);

impl<'a, T: Field<'a> + Copy + PartialOrd + Into<u64>> Codec<'a> for Within<T> {
    type Value = T;

    fn get(&self, r: &mut Reader<'a>) -> Result<T, WireError> {
        let value = T::get(r)?;
        if !self.1.contains(&value) {
            return Err(field(self.0, value, self.2));
        }
        Ok(value)
    }

    fn put(&self, value: &T, out: &mut Vec<u8>) {
        value.put(out);
    }
}

/// A truth value in 32 bits: its name.
pub(super) struct Flag(pub(super) &'static str);

impl Codec<'_> for Flag {
    type Value = bool;

    fn get(&self, r: &mut Reader<'_>) -> Result<bool, WireError> {
        match u32::get(r)? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(field(self.0, found, "0 or 1")),
        }
    }

    fn put(&self, value: &bool, out: &mut Vec<u8>) {
        u32::from(*value).put(out);
    }
}

/// A text at the end of a payload: its length in 32 bits, reserved bytes, and then itself.
pub(super) struct Text {
    /// Its name.
    pub(super) name: &'static str,
    /// Name of the length.
    pub(super) length: &'static str,
    /// Most bytes. A longer text is cut when it is sent.
    pub(super) limit: usize,
    /// That in words.
    pub(super) expected: &'static str,
    /// Reserved bytes.
    pub(super) gap: usize,
}

impl<'a> Codec<'a> for Text {
    type Value = &'a str;

    fn get(&self, r: &mut Reader<'a>) -> Result<&'a str, WireError> {
        let length = u32::get(r)?;
        Zero(self.gap).get(r)?;
        if length as usize > self.limit {
            return Err(field(self.length, length, self.expected));
        }
        r.left(length as usize)?;
        std::str::from_utf8(r.rest()).map_err(|_| WireError::Text { name: self.name })
    }

    fn put(&self, value: &&'a str, out: &mut Vec<u8>) {
        let text = cut(value, self.limit);
        (text.len() as u32).put(out);
        Zero(self.gap).put(&(), out);
        out.extend_from_slice(text.as_bytes());
    }
}

fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Bytes that are a whole payload: what their number is called, what it may be, and that in
/// words.
pub(super) struct Bytes(
    pub(super) &'static str,
    pub(super) RangeInclusive<usize>,
    pub(super) &'static str,
);

impl<'a> Codec<'a> for Bytes {
    type Value = &'a [u8];

    fn get(&self, r: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
        if !self.1.contains(&r.rest.len()) {
            return Err(field(self.0, r.rest.len() as u64, self.2));
        }
        Ok(r.rest())
    }

    fn put(&self, value: &&'a [u8], out: &mut Vec<u8>) {
        out.extend_from_slice(value);
    }
}

/// Reads what a list describes, in this order. Each of the list is a variable, which gets
/// the value, and after a colon its [`Codec`], which may use those before it; without one
/// the value is a [`Field`]. `_` is of no interest.
macro_rules! get {
    ($r:ident;) => {};
    ($r:ident; _: $codec:expr $(, $($more:tt)*)?) => {
        $codec.get($r)?;
        get!($r; $($($more)*)?);
    };
    ($r:ident; ($($name:ident),+): $codec:expr $(, $($more:tt)*)?) => {
        let ($($name),+) = $codec.get($r)?;
        get!($r; $($($more)*)?);
    };
    ($r:ident; $name:ident: $codec:expr $(, $($more:tt)*)?) => {
        let $name = $codec.get($r)?;
        get!($r; $($($more)*)?);
    };
    ($r:ident; $name:ident $(, $($more:tt)*)?) => {
        let $name = Field::get($r)?;
        get!($r; $($($more)*)?);
    };
}

/// Writes what [`get`] reads.
macro_rules! put {
    ($out:ident;) => {};
    ($out:ident; _: $codec:expr $(, $($more:tt)*)?) => {
        $codec.put(&(), $out);
        put!($out; $($($more)*)?);
    };
    ($out:ident; ($($name:ident),+): $codec:expr $(, $($more:tt)*)?) => {
        $codec.put(&($($name),+), $out);
        put!($out; $($($more)*)?);
    };
    ($out:ident; $name:ident: $codec:expr $(, $($more:tt)*)?) => {
        $codec.put(&$name, $out);
        put!($out; $($($more)*)?);
    };
    ($out:ident; $name:ident $(, $($more:tt)*)?) => {
        $name.put($out);
        put!($out; $($($more)*)?);
    };
}

/// Has the fields of a type lie in a payload as a list for [`get`] says.
macro_rules! fields {
    ($type:ident { $($field:ident),+ } [$($layout:tt)*]) => {
        impl<'a> Field<'a> for $type<'a> {
            fn get(r: &mut Reader<'a>) -> Result<Self, WireError> {
                get!(r; $($layout)*);
                Ok(Self { $($field),+ })
            }

            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field),+ } = *self;
                put!(out; $($layout)*);
            }
        }
    };
}

pub(super) use {fields, get, put};
