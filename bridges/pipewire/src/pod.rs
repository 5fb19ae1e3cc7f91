//! PipeWire's pods: values with a size and a type, padded to 8 bytes, in the byte order of the
//! machine. Only what video formats and buffers need. Nothing here does I/O.

/// The types of values, from `spa/utils/type.h`.
const ID: u32 = 3;
const INT: u32 = 4;
const RECTANGLE: u32 = 10;
const FRACTION: u32 = 11;
const OBJECT: u32 = 15;
const CHOICE: u32 = 19;
/// The size and the type before a value, in bytes.
const HEAD: usize = 8;
/// The longest pod that is read, in bytes.
const MAX_BYTES: usize = 4096;

/// The kinds of choices, from `spa/pod/pod.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// A default, a least and a greatest value.
    Range = 1,
    /// A default, and the values that there are.
    Enum = 3,
    /// A default, and bits that may be set.
    Flags = 4,
}

/// A value of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Id(u32),
    Int(u32),
    /// Width and height.
    Rectangle(u32, u32),
    /// Numerator and denominator.
    Fraction(u32, u32),
}

impl Value {
    const fn kind(self) -> u32 {
        match self {
            Self::Id(_) => ID,
            Self::Int(_) => INT,
            Self::Rectangle(..) => RECTANGLE,
            Self::Fraction(..) => FRACTION,
        }
    }

    fn words(self) -> impl Iterator<Item = u32> {
        let (first, second) = match self {
            Self::Id(value) | Self::Int(value) => (value, None),
            Self::Rectangle(first, second) | Self::Fraction(first, second) => (first, Some(second)),
        };
        std::iter::once(first).chain(second)
    }
}

/// An object being written.
///
/// The memory is of 64-bit words, since PipeWire reads pods at addresses that are multiples of 8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object(Vec<u64>);

/// Numbers of 32 bits as numbers of 64 bits that lie the same way in memory.
fn join(words: &[u32]) -> impl Iterator<Item = u64> {
    words.chunks(2).map(|pair| {
        let mut bytes = [0; 8];
        for (word, place) in pair.iter().zip(bytes.chunks_exact_mut(4)) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        u64::from_ne_bytes(bytes)
    })
}

fn count(number: usize) -> u32 {
    u32::try_from(number).expect("a pod of ours is small")
}

impl Object {
    pub(crate) fn new(kind: u32, id: u32) -> Self {
        let mut object = Self(Vec::new());
        object.0.extend(join(&[8, OBJECT, kind, id]));
        object
    }

    /// Adds a property: its key, the size and type of its value, and the value.
    fn add(mut self, key: u32, kind: u32, body: &[u32]) -> Self {
        self.0.extend(join(&[key, 0, count(4 * body.len()), kind]));
        self.0.extend(join(body));
        let bytes = count(8 * self.0.len() - HEAD);
        let head: Vec<u64> = join(&[bytes, OBJECT]).collect();
        self.0[0] = head[0];
        self
    }

    /// Adds a property with one value.
    pub(crate) fn with(self, key: u32, value: Value) -> Self {
        let body: Vec<u32> = value.words().collect();
        self.add(key, value.kind(), &body)
    }

    /// Adds a property with a choice of values of one type, the default first.
    pub(crate) fn with_choice(self, key: u32, choice: Choice, values: &[Value]) -> Self {
        let Some(first) = values.first() else { return self };
        let mut body = vec![choice as u32, 0, count(4 * first.words().count()), first.kind()];
        body.extend(values.iter().flat_map(|value| value.words()));
        self.add(key, CHOICE, &body)
    }

    /// The whole pod.
    pub(crate) fn words(&self) -> &[u64] {
        &self.0
    }

    /// The whole pod, as bytes.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_ne_bytes)
}

/// The values of an object's properties that have one, with their keys. Of a choice it is the
/// default. What is of another type is left out.
///
/// `None` if the bytes are no object.
pub(crate) fn properties(bytes: &[u8]) -> Option<Vec<(u32, Value)>> {
    if bytes.len() > MAX_BYTES || word(bytes, 4)? != OBJECT {
        return None;
    }
    let end = HEAD + usize::try_from(word(bytes, 0)?).ok()?;
    let bytes = bytes.get(..end)?;
    let mut found = Vec::new();
    let mut at = HEAD + 8;
    while at < end {
        let (key, size, kind) = (word(bytes, at)?, word(bytes, at + 8)?, word(bytes, at + 12)?);
        let body = at + 16;
        let value = if kind == CHOICE {
            value_at(bytes, word(bytes, body + 12)?, body + 16)
        } else {
            value_at(bytes, kind, body)
        };
        found.extend(value.map(|value| (key, value)));
        at = body.checked_add(usize::try_from(size).ok()?.checked_next_multiple_of(8)?)?;
    }
    Some(found)
}

fn value_at(bytes: &[u8], kind: u32, at: usize) -> Option<Value> {
    let first = word(bytes, at)?;
    Some(match kind {
        ID => Value::Id(first),
        INT => Value::Int(first),
        RECTANGLE => Value::Rectangle(first, word(bytes, at + 4)?),
        FRACTION => Value::Fraction(first, word(bytes, at + 4)?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> Object {
        Object::new(0x40003, 4).with(1, Value::Id(2)).with(0x20003, Value::Rectangle(640, 360)).with_choice(
            0x20004,
            Choice::Enum,
            &[Value::Fraction(30, 1), Value::Fraction(30, 1), Value::Fraction(15, 1)],
        )
    }

    #[test]
    fn an_object_lies_as_the_headers_say() {
        let words: Vec<u32> =
            object().bytes().chunks(4).map(|word| u32::from_ne_bytes(word.try_into().expect("4"))).collect();
        let expected = [
            &[112, 15, 0x40003, 4][..],
            &[1, 0, 4, 3, 2, 0],
            &[0x20003, 0, 8, 10, 640, 360],
            &[0x20004, 0, 40, 19, 3, 0, 8, 11, 30, 1, 30, 1, 15, 1],
        ];
        assert_eq!(words, expected.concat());
    }

    #[test]
    fn what_is_written_is_read() {
        let expected = [(1, Value::Id(2)), (0x20003, Value::Rectangle(640, 360)), (0x20004, Value::Fraction(30, 1))];
        assert_eq!(properties(&object().bytes()).expect("an object"), expected);
    }

    #[test]
    fn what_is_cut_or_broken_is_refused() {
        let whole = object().bytes();
        for length in 0..whole.len() {
            assert_eq!(properties(&whole[..length]), None, "{length} bytes");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut broken = whole.clone();
                broken[at] = value;
                // It neither panics nor runs for ever.
                let _ = properties(&broken);
            }
        }
    }
}
