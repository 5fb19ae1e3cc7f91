//! The header of a D-Bus message, read without trusting any of it.
//!
//! ```text
//! byte  0  endianness: 'l' or 'B'
//!       1  type: call 1, return 2, error 3, signal 4
//!       2  flags
//!       3  protocol version: 1
//!       4  length of the body in bytes
//!       8  serial, not 0
//!      12  length of the header fields in bytes: a(yv), without the padding to 8 that follows
//! ```
//!
//! Everything here is pure and allocates nothing: results borrow from the bytes.

use super::body::{Limits, Malformed, Refused, Walker};

/// The length of the fixed part of the header, with the length of the fields.
pub(super) const FIXED_BYTES: usize = 16;
/// The longest message that the protocol allows, in bytes.
const MAX_MESSAGE_BYTES: usize = 128 << 20;
/// The longest array that the protocol allows, and so the longest header fields.
const MAX_ARRAY_BYTES: usize = 64 << 20;
/// The flag of a call whose sender wants no reply.
pub(super) const NO_REPLY_EXPECTED: u8 = 1;

/// The byte order of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endian {
    Little,
    Big,
}

impl Endian {
    pub(super) fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }
}

/// The type of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Return,
    Error,
    Signal,
    /// A type of a later version of the protocol, which asks receivers to ignore such messages.
    Unknown,
}

/// The fixed part of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fixed {
    pub(super) endian: Endian,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) serial: u32,
    /// The length of the header with its fields and padding, in bytes.
    pub(super) header_bytes: usize,
    /// The length of the body, in bytes.
    pub(super) body_bytes: usize,
}

impl Fixed {
    /// Reads the fixed part. `None` if the bytes are not the start of a message, or of one that is
    /// longer than the protocol allows: then nobody can say where the next message starts.
    pub(super) fn parse(bytes: &[u8; FIXED_BYTES]) -> Option<Self> {
        let endian = match bytes[0] {
            b'l' => Endian::Little,
            b'B' => Endian::Big,
            _ => return None,
        };
        let kind = match bytes[1] {
            0 => return None,
            1 => Kind::Call,
            2 => Kind::Return,
            3 => Kind::Error,
            4 => Kind::Signal,
            _ => Kind::Unknown,
        };
        let word = |at: usize| endian.u32([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let length = |at| usize::try_from(word(at)).ok();
        let (body_bytes, fields_bytes) = (length(4)?, length(12)?);
        if bytes[3] != 1 || word(8) == 0 || fields_bytes > MAX_ARRAY_BYTES || body_bytes > MAX_MESSAGE_BYTES {
            return None;
        }
        let header_bytes = (FIXED_BYTES + fields_bytes).next_multiple_of(8);
        let fixed = Self { endian, kind, flags: bytes[2], serial: word(8), header_bytes, body_bytes };
        (fixed.total() <= MAX_MESSAGE_BYTES).then_some(fixed)
    }

    /// The length of the whole message, in bytes.
    pub(super) fn total(&self) -> usize {
        self.header_bytes + self.body_bytes
    }

    /// Whether the sender of a call waits for a reply.
    pub(super) fn wants_reply(&self) -> bool {
        self.kind == Kind::Call && self.flags & NO_REPLY_EXPECTED == 0
    }
}

/// The fields of a header. What is absent is empty or 0: none of them may be empty or 0 itself,
/// except the signature, which then says the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields<'a> {
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) sender: &'a str,
    pub(super) destination: &'a str,
    pub(super) signature: &'a [u8],
    pub(super) reply_serial: u32,
    pub(super) unix_fds: u32,
}

/// The longest name that the protocol allows, in bytes.
const MAX_NAME_BYTES: usize = 255;

impl<'a> Fields<'a> {
    /// Reads the fields of a whole header.
    ///
    /// # Errors
    /// If they do not follow the protocol, or nest deeper than a message may here.
    pub(super) fn parse(header: &'a [u8], endian: Endian) -> Result<Self, Refused> {
        let end = header.get(12..FIXED_BYTES).and_then(|length| length.try_into().ok());
        let end = end.and_then(|length| usize::try_from(endian.u32(length)).ok()).ok_or(Malformed)?;
        let end = end.checked_add(FIXED_BYTES).ok_or(Malformed)?;
        let mut walker = Walker::new(header.get(..end).ok_or(Malformed)?, FIXED_BYTES, endian, Limits::HEADER);
        let mut fields = Self::default();
        while !walker.at_end() {
            walker.align(8)?;
            let code = walker.byte()?;
            let signature = walker.signature()?;
            match (code, signature) {
                (2, b"s") => fields.interface = name(walker.string()?)?,
                (3, b"s") => fields.member = name(walker.string()?)?,
                (6, b"s") => fields.destination = name(walker.string()?)?,
                (7, b"s") => fields.sender = sender(walker.string()?)?,
                (8, b"g") => fields.signature = walker.signature()?,
                (5, b"u") => fields.reply_serial = walker.word()?,
                (9, b"u") => fields.unix_fds = walker.word()?,
                _ => walker.single(signature)?,
            }
        }
        Ok(fields)
    }
}

/// Answers go there. A bus disconnects who writes to a name that is none.
fn sender(bytes: &[u8]) -> Result<&str, Malformed> {
    let sender = name(bytes)?;
    if zbus::names::BusName::try_from(sender).is_ok() { Ok(sender) } else { Err(Malformed) }
}

fn name(bytes: &[u8]) -> Result<&str, Malformed> {
    let name = std::str::from_utf8(bytes).map_err(|_| Malformed)?;
    if name.len() > MAX_NAME_BYTES { Err(Malformed) } else { Ok(name) }
}
