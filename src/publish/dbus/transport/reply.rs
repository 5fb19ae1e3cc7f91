//! The few messages that the transport writes itself, as bytes.

/// The error of a call that is too large, or one too many.
pub(super) const LIMITS_EXCEEDED: &str = "org.freedesktop.DBus.Error.LimitsExceeded";
/// The error of a call whose bytes do not follow the protocol.
pub(super) const INVALID_ARGS: &str = "org.freedesktop.DBus.Error.InvalidArgs";
/// The error of a call of whose sender the bus does not say who it is.
pub(super) const ACCESS_DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";
/// The error that replaces a reply of the bus that is too large.
pub(super) const FAILED: &str = "org.freedesktop.DBus.Error.Failed";

const CALL: u8 = 1;
const ERROR: u8 = 3;

/// The bytes of a message, little-endian.
struct Encoder(Vec<u8>);

impl Encoder {
    /// A message without its lengths, which [`Encoder::finish`] fills in.
    fn new(kind: u8, flags: u8, serial: u32) -> Self {
        let mut bytes = vec![b'l', kind, flags, 1, 0, 0, 0, 0];
        bytes.extend(serial.to_le_bytes());
        bytes.extend([0; 4]);
        Self(bytes)
    }

    fn align(&mut self, alignment: usize) {
        self.0.resize(self.0.len().next_multiple_of(alignment), 0);
    }

    fn word(&mut self, word: u32) {
        self.align(4);
        self.0.extend(word.to_le_bytes());
    }

    fn string(&mut self, text: &str) {
        self.word(length(text.len()));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn field(&mut self, code: u8, kind: u8) {
        self.align(8);
        self.0.extend([code, 1, kind, 0]);
    }

    fn text_field(&mut self, code: u8, kind: u8, text: &str) {
        self.field(code, kind);
        self.string(text);
    }

    /// Adds a body of one string and fills in the lengths.
    fn finish(mut self, text: &str) -> Vec<u8> {
        self.field(8, b'g');
        self.0.extend([1, b's', 0]);
        let fields = length(self.0.len() - super::header::FIXED_BYTES);
        self.0[12..16].copy_from_slice(&fields.to_le_bytes());
        self.align(8);
        let start = self.0.len();
        self.string(text);
        let body = length(self.0.len() - start);
        self.0[4..8].copy_from_slice(&body.to_le_bytes());
        self.0
    }
}

/// Lengths of messages that this module makes: names and short texts.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a few hundred bytes")
}

/// An error in reply to the call `reply_serial`. Without a bus `destination` is empty.
pub(super) fn error(serial: u32, destination: &str, reply_serial: u32, name: &str, text: &str) -> Vec<u8> {
    let mut message = Encoder::new(ERROR, super::header::NO_REPLY_EXPECTED, serial);
    message.text_field(4, b's', name);
    message.field(5, b'u');
    message.word(reply_serial);
    if !destination.is_empty() {
        message.text_field(6, b's', destination);
    }
    message.finish(text)
}

/// The question to the bus to which user and process the connection `name` belongs.
pub(super) fn client_question(serial: u32, name: &str) -> Vec<u8> {
    let mut message = Encoder::new(CALL, 0, serial);
    message.text_field(1, b'o', "/org/freedesktop/DBus");
    message.text_field(2, b's', "org.freedesktop.DBus");
    message.text_field(3, b's', "GetConnectionCredentials");
    message.text_field(6, b's', "org.freedesktop.DBus");
    message.finish(name)
}
