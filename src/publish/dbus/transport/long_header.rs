//! Finds the sender in a header that is too long to be read as a whole.
//!
//! An object path has no limit of its own, and a bus puts the sender after the fields of the
//! client. The header is therefore parsed as the bytes come, in pieces of any size. Of each field
//! at most [`KEPT`] bytes are kept.

use super::header::{Endian, FIXED_BYTES};

/// The most fields that are parsed. The protocol has nine, and a bus removes unknown ones.
const FIELDS: usize = 32;
/// The longest text that is kept, in bytes, with the zero that ends it: a name, or a signature.
const KEPT: usize = 256;
/// The code of the field with the sender.
const SENDER: u8 = 7;

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Code of a field, and the length of its signature.
    Start,
    /// The signature, with its zero.
    Signature,
    /// The length of a string or array.
    Length,
    /// The length of a signature as a value.
    ShortLength,
    /// The sender, with its zero.
    Sender,
}

/// A header of which a part has been seen.
#[derive(Debug)]
pub(super) struct LongHeader {
    endian: Endian,
    /// Position in the message of the next byte.
    at: usize,
    part: Part,
    /// Bytes that are passed over before the part: padding, or a value of no use.
    skip: usize,
    /// Bytes of the part.
    wanted: usize,
    kept: Vec<u8>,
    code: u8,
    /// The first character of the signature, and of an array's entries.
    kind: [u8; 2],
    fields: usize,
    sender: Option<String>,
    /// The sender was found, or the fields cannot be followed.
    done: bool,
}

impl LongHeader {
    /// The fields of a header, from the byte behind its fixed part on.
    pub(super) fn new(endian: Endian) -> Self {
        Self {
            endian,
            at: FIXED_BYTES,
            part: Part::Start,
            skip: 0,
            wanted: 2,
            kept: Vec::new(),
            code: 0,
            kind: [0; 2],
            fields: 0,
            sender: None,
            done: false,
        }
    }

    /// Follows the next bytes.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.done {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            let kept = if self.skip == 0 { (self.wanted - self.kept.len()).min(bytes.len() - skipped) } else { 0 };
            self.kept.extend(&bytes[skipped..skipped + kept]);
            self.at += skipped + kept;
            bytes = &bytes[skipped + kept..];
            if self.skip == 0 && self.kept.len() == self.wanted {
                let kept = std::mem::take(&mut self.kept);
                self.done = self.finish(&kept).is_none();
            }
        }
    }

    /// The sender, if the bytes so far have it.
    pub(super) fn sender(self) -> Option<String> {
        self.sender
    }

    /// Expects `skip` bytes of no use and then `wanted` bytes.
    fn expect(&mut self, part: Part, skip: usize, wanted: usize) -> Option<()> {
        (self.part, self.skip, self.wanted) = (part, skip, wanted);
        (wanted <= KEPT).then_some(())
    }

    fn padding(&self, alignment: usize) -> usize {
        self.at.next_multiple_of(alignment) - self.at
    }

    /// Expects the next field behind `rest` bytes of this one.
    fn next_field(&mut self, rest: usize) -> Option<()> {
        self.fields += 1;
        let end = self.at.checked_add(rest)?;
        let skip = rest + (end.checked_next_multiple_of(8)? - end);
        if self.fields < FIELDS { self.expect(Part::Start, skip, 2) } else { None }
    }

    /// A part is complete. `None` if the rest need not or cannot be followed.
    fn finish(&mut self, kept: &[u8]) -> Option<()> {
        let endian = self.endian;
        let word = || kept.try_into().ok().and_then(|word| usize::try_from(endian.u32(word)).ok());
        match self.part {
            Part::Start => {
                self.code = *kept.first()?;
                self.expect(Part::Signature, 0, usize::from(*kept.get(1)?) + 1)
            }
            Part::Signature => {
                self.kind = [*kept.first()?, kept.get(1).copied().unwrap_or(0)];
                let alone = kept.len() == 2;
                match self.kind[0] {
                    b's' | b'o' if alone => self.expect(Part::Length, self.padding(4), 4),
                    b'a' => self.expect(Part::Length, self.padding(4), 4),
                    b'g' if alone => self.expect(Part::ShortLength, 0, 1),
                    b'y' if alone => self.next_field(1),
                    b'n' | b'q' if alone => self.next_field(self.padding(2) + 2),
                    b'b' | b'i' | b'u' | b'h' if alone => self.next_field(self.padding(4) + 4),
                    b'x' | b't' | b'd' if alone => self.next_field(self.padding(8) + 8),
                    // A structure or variant, which no field of the protocol has.
                    _ => None,
                }
            }
            Part::Length if self.kind[0] == b'a' => {
                let wide = matches!(self.kind[1], b'x' | b't' | b'd' | b'(' | b'{');
                let rest = word()?.checked_add(if wide { self.padding(8) } else { 0 })?;
                self.next_field(rest)
            }
            Part::Length => {
                let length = word()?.checked_add(1)?;
                if (self.code, self.kind[0]) == (SENDER, b's') {
                    self.expect(Part::Sender, 0, length)
                } else {
                    self.next_field(length)
                }
            }
            Part::ShortLength => self.next_field(usize::from(*kept.first()?) + 1),
            Part::Sender => {
                let name = kept.strip_suffix(&[0])?;
                self.sender = String::from_utf8(name.to_vec()).ok();
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use zbus::Message;

    use super::*;

    fn sender(fields: &[u8], piece: usize) -> Option<String> {
        let mut header = LongHeader::new(Endian::Little);
        fields.chunks(piece).for_each(|piece| header.push(piece));
        header.sender()
    }

    #[test]
    fn the_sender_is_found_wherever_it_is_and_whatever_the_pieces_are() {
        let path = format!("/{}", "a".repeat(40_000));
        let call = Message::method_call(path, "Get").interface("org.freedesktop.DBus.Properties");
        let call = call.destination("org.portraitd").sender(":1.42").build(&("a", "b")).expect("message");
        let data = call.data();
        let fields = u32::from_le_bytes(data[12..16].try_into().expect("four bytes")) as usize;
        let fields = &data[FIXED_BYTES..FIXED_BYTES + fields];
        for piece in [1, 2, 3, 5, 7, 8, 100, 4096, 16 << 10, 100_000] {
            assert_eq!(sender(fields, piece).as_deref(), Some(":1.42"), "pieces of {piece}");
        }
    }

    #[test]
    fn values_of_every_kind_are_passed_over() {
        let mut fields = Vec::new();
        for (kind, value) in [
            (&b"y"[..], &b"\x01"[..]),
            (b"q", b"\x01\x02"),
            (b"u", b"\x01\0\0\0"),
            (b"t", b"\0\0\0\0\x01\0\0\0\0\0\0\0"),
            (b"g", b"\x02su\0"),
            (b"ay", b"\0\0\0\x03\0\0\0abc"),
            (b"at", b"\0\0\0\x08\0\0\0\0\0\0\0abcdefgh"),
            (b"s", b"\x01\0\0\0x\0"),
        ] {
            fields.resize(fields.len().next_multiple_of(8), 0);
            fields.extend([99, u8::try_from(kind.len()).expect("short")]);
            fields.extend(kind);
            fields.push(0);
            // Where a value is to be aligned, its padding is written out above.
            fields.extend(value);
        }
        fields.resize(fields.len().next_multiple_of(8), 0);
        fields.extend(b"\x07\x01s\0\x05\0\0\0:1.42\0");
        assert_eq!(sender(&fields, 3).as_deref(), Some(":1.42"));
    }

    #[test]
    fn what_cannot_be_followed_has_no_sender_and_keeps_little() {
        for fields in [
            &b"\x07\x01s\0\xff\xff\xff\xff:1.42\0"[..],
            b"\x07\x01s\0\x04\0\0\0:1.42\0",
            b"\x63\x01v\0\x01s\0\0\0\0\0\0",
            b"\x63\x02ss\0",
            b"\x63\x00\0",
        ] {
            assert_eq!(sender(fields, 4), None, "{fields:?}");
        }
        let mut header = LongHeader::new(Endian::Big);
        for _ in 0..1000 {
            header.push(&[0xff; 1000]);
            assert!(header.kept.capacity() <= 2 * KEPT);
        }
    }
}
