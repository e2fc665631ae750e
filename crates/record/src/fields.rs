//! Header and trailer fields wherever they are kept: one small view that encoding,
//! selection and lookups share, so that nobody converts a header list to another
//! type on the hot path. Does not know what any field means.

#[cfg(test)]
mod tests;

use crate::pb;

/// A list of fields in the order received. Object safe, so that a view of a
/// request needs no type parameter.
pub trait Fields {
    /// How many field lines there are.
    fn count(&self) -> usize;
    /// Name and value of one line; `index` is below [`Fields::count`].
    fn field(&self, index: usize) -> (&[u8], &[u8]);
}

/// One field line.
pub trait Field {
    /// As received.
    fn name(&self) -> &[u8];
    /// As received.
    fn value(&self) -> &[u8];
}

/// No fields.
pub const NONE: &'static dyn Fields = &[] as &[(&[u8], &[u8]); 0];

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> Field for (N, V) {
    fn name(&self) -> &[u8] {
        self.0.as_ref()
    }

    fn value(&self) -> &[u8] {
        self.1.as_ref()
    }
}

impl Field for pb::Header {
    fn name(&self) -> &[u8] {
        &self.name
    }

    fn value(&self) -> &[u8] {
        &self.value
    }
}

impl<T: Field> Fields for &[T] {
    fn count(&self) -> usize {
        self.len()
    }

    fn field(&self, index: usize) -> (&[u8], &[u8]) {
        (self[index].name(), self[index].value())
    }
}

impl<T: Field> Fields for Vec<T> {
    fn count(&self) -> usize {
        self.len()
    }

    fn field(&self, index: usize) -> (&[u8], &[u8]) {
        (self[index].name(), self[index].value())
    }
}

impl<T: Field, const N: usize> Fields for [T; N] {
    fn count(&self) -> usize {
        N
    }

    fn field(&self, index: usize) -> (&[u8], &[u8]) {
        (self[index].name(), self[index].value())
    }
}

/// All lines, in order.
pub fn iter(fields: &dyn Fields) -> impl Iterator<Item = (&[u8], &[u8])> {
    (0..fields.count()).map(|index| fields.field(index))
}

/// Values of all lines with this name (RFC 9110 section 5.1: names are
/// case-insensitive), in order.
pub fn all<'a>(fields: &'a dyn Fields, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    iter(fields).filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| v)
}

/// Value of the first line with this name.
pub fn first<'a>(fields: &'a dyn Fields, name: &'a str) -> Option<&'a [u8]> {
    all(fields, name).next()
}

/// Value of the first cookie with this (case-sensitive) name in any Cookie line
/// (RFC 6265 section 5.4; HTTP/2 may split the pairs over several lines).
pub fn cookie<'a>(fields: &'a dyn Fields, name: &'a str) -> Option<&'a [u8]> {
    all(fields, "cookie").flat_map(|line| line.split(|b| *b == b';')).find_map(|pair| {
        let pair = pair.trim_ascii();
        let equals = memchr::memchr(b'=', pair)?;
        (pair[..equals].trim_ascii() == name.as_bytes()).then(|| pair[equals + 1..].trim_ascii())
    })
}
