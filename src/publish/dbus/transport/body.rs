//! Walks over encoded values and counts them, without building any.
//!
//! A value of a few bytes on the wire becomes ten times as much when it is deserialised: an empty
//! array takes four bytes there, and a `Variant` with a vector here. So a call is refused by the
//! *number* of its values too, before anything is deserialised.

use super::header::Endian;

/// What a body may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Entries of one array or dictionary.
    pub(super) entries: usize,
    /// Values in all, containers included.
    pub(super) values: usize,
    /// Containers within containers.
    pub(super) depth: usize,
}

impl Limits {
    /// The limits of the body of a call.
    pub(super) const CALL: Self = Self { entries: 32, values: 512, depth: 16 };
    /// The limits of a header field that the transport does not know.
    pub(super) const HEADER: Self = Self { entries: 1024, values: 4096, depth: 16 };
}

/// The bytes do not follow the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It does not follow the protocol, or not its signature.
    Malformed,
    /// An array has more entries than allowed.
    Entries,
    /// There are more values than allowed.
    Values,
    /// Containers nest deeper than allowed.
    Depth,
}

impl From<Malformed> for Refused {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Checks the body of a message against its signature and the limits.
///
/// # Errors
/// Why it is refused.
pub(super) fn check(body: &[u8], signature: &[u8], endian: Endian, limits: Limits) -> Result<(), Refused> {
    let mut walker = Walker::new(body, 0, endian, limits);
    let mut rest = signature;
    while !rest.is_empty() {
        rest = walker.value(rest, 0)?;
    }
    if walker.at_end() { Ok(()) } else { Err(Refused::Malformed) }
}

/// The length of the first complete type of a signature.
fn type_length(signature: &[u8], depth: usize) -> Result<usize, Malformed> {
    // 32 arrays and 32 structures within each other is what the protocol allows.
    if depth > 64 {
        return Err(Malformed);
    }
    match signature.first().ok_or(Malformed)? {
        b'a' => Ok(1 + type_length(&signature[1..], depth + 1)?),
        open @ (b'(' | b'{') => {
            let close = if *open == b'(' { b')' } else { b'}' };
            let mut at = 1;
            while *signature.get(at).ok_or(Malformed)? != close {
                at += type_length(&signature[at..], depth + 1)?;
            }
            if at == 1 { Err(Malformed) } else { Ok(at + 1) }
        }
        code if alignment(*code).is_some() => Ok(1),
        _ => Err(Malformed),
    }
}

/// The alignment of a type by its first character, in bytes.
fn alignment(code: u8) -> Option<usize> {
    Some(match code {
        b'y' | b'g' | b'v' => 1,
        b'n' | b'q' => 2,
        b'b' | b'i' | b'u' | b'h' | b's' | b'o' | b'a' => 4,
        b'x' | b't' | b'd' | b'(' | b'{' => 8,
        _ => return None,
    })
}

/// The size of a type whose values all have one, in bytes.
fn fixed_size(code: u8) -> Option<usize> {
    match code {
        b's' | b'o' | b'a' | b'g' | b'v' | b'(' | b'{' => None,
        code => alignment(code),
    }
}

/// A position in encoded values. Alignment counts from the start of the bytes.
pub(super) struct Walker<'a> {
    bytes: &'a [u8],
    at: usize,
    endian: Endian,
    limits: Limits,
    values: usize,
}

impl<'a> Walker<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize, endian: Endian, limits: Limits) -> Self {
        Self { bytes, at, endian, limits, values: 0 }
    }

    pub(super) fn at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(count).ok_or(Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(taken)
    }

    /// Goes to the next multiple of `alignment`. The bytes between are zero.
    pub(super) fn align(&mut self, alignment: usize) -> Result<(), Malformed> {
        let padding = self.take(self.at.next_multiple_of(alignment) - self.at)?;
        if padding.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(Malformed) }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn word(&mut self) -> Result<u32, Malformed> {
        self.align(4)?;
        let bytes = self.take(4)?.try_into().map_err(|_| Malformed)?;
        Ok(self.endian.u32(bytes))
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.word()?).map_err(|_| Malformed)
    }

    /// The bytes of a string or an object path, without the zero that ends it.
    pub(super) fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.length()?;
        let text = self.take(length)?;
        if self.byte()? == 0 { Ok(text) } else { Err(Malformed) }
    }

    /// The bytes of a signature, without the zero that ends it.
    pub(super) fn signature(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::from(self.byte()?);
        let signature = self.take(length)?;
        if self.byte()? == 0 { Ok(signature) } else { Err(Malformed) }
    }

    /// Passes over one value of a signature that is exactly one complete type, as in a variant.
    pub(super) fn single(&mut self, signature: &[u8]) -> Result<(), Refused> {
        self.value_of_variant(signature, 0)
    }

    fn value_of_variant(&mut self, signature: &[u8], depth: usize) -> Result<(), Refused> {
        if type_length(signature, 0)? != signature.len() {
            return Err(Refused::Malformed);
        }
        self.value(signature, depth).map(drop)
    }

    /// Passes over the value of the first complete type of `signature`, and returns the rest of it.
    fn value<'s>(&mut self, signature: &'s [u8], depth: usize) -> Result<&'s [u8], Refused> {
        let (this, rest) = signature.split_at(type_length(signature, 0)?);
        if depth > self.limits.depth {
            return Err(Refused::Depth);
        }
        self.values += 1;
        if self.values > self.limits.values {
            return Err(Refused::Values);
        }
        let code = this[0];
        self.align(alignment(code).ok_or(Malformed)?)?;
        match code {
            b's' | b'o' => drop(self.string()?),
            b'g' => drop(self.signature()?),
            b'v' => {
                let inner = self.signature()?;
                self.value_of_variant(inner, depth + 1)?;
            }
            b'a' => self.array(&this[1..], depth)?,
            b'(' | b'{' => {
                let mut inner = &this[1..this.len() - 1];
                while !inner.is_empty() {
                    inner = self.value(inner, depth + 1)?;
                }
            }
            code => drop(self.take(fixed_size(code).ok_or(Malformed)?)?),
        }
        Ok(rest)
    }

    fn array(&mut self, element: &[u8], depth: usize) -> Result<(), Refused> {
        let length = self.length()?;
        let code = *element.first().ok_or(Malformed)?;
        // The padding before the first entry is not part of the length, and is there without one.
        self.align(alignment(code).ok_or(Malformed)?)?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len()).ok_or(Malformed)?;
        if let Some(size) = fixed_size(code) {
            let entries = length / size;
            if entries > self.limits.entries {
                return Err(Refused::Entries);
            }
            self.values += entries;
            self.take(length)?;
            return if length % size != 0 {
                Err(Refused::Malformed)
            } else if self.values > self.limits.values {
                Err(Refused::Values)
            } else {
                Ok(())
            };
        }
        let mut entries = 0;
        while self.at < end {
            entries += 1;
            if entries > self.limits.entries {
                return Err(Refused::Entries);
            }
            self.value(element, depth + 1)?;
        }
        if self.at == end { Ok(()) } else { Err(Refused::Malformed) }
    }
}
