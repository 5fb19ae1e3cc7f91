//! Detects the type of a file by its first bytes. The name is never used.

use std::fmt;

/// The type of a file, according to its first bytes. The text is made for error messages, for
/// example "a GIF picture".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A PNG picture.
    Png,
    /// A JPEG picture (JFIF, EXIF or without either).
    Jpeg,
    /// Uncompressed video that begins with `YUV4MPEG2`.
    Y4m,
    /// A well-known format that cannot be read here: its name with an article.
    Known(&'static str),
    /// Printable UTF-8 text.
    Text,
    /// No bytes.
    Empty,
    /// Anything else: the first four bytes, padded with zeros.
    Unknown([u8; 4]),
}

const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// The first bytes of other formats that users pass by mistake.
const KNOWN: [(&[u8], &str); 13] = [
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"\0\0\x01\0", "an icon"),
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"\x7fELF", "a program"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\x89PNG\n", "a PNG picture damaged by a text-mode transfer"),
];

impl Content {
    /// How a file of this type can be made readable, as the end of an error's text; empty if nothing
    /// is known.
    pub fn advice(self) -> &'static str {
        let Self::Known(name) = self else { return "" };
        if name == "a HEIF picture" {
            "; convert it first: `heif-convert FILE picture.jpg` (Debian: libheif-examples)"
        } else if name == "a GIF picture" {
            "; convert it first: `ffmpeg -i FILE -frames:v 1 picture.png`, or all of its frames as a video: \
             `ffmpeg -i FILE -pix_fmt yuv420p -f yuv4mpegpipe -`, read from `-`"
        } else if name.ends_with("video") {
            "; decode it with `ffmpeg -i FILE -pix_fmt yuv420p -f yuv4mpegpipe -`, and read that from `-`, standard input"
        } else if name.ends_with("picture") {
            "; convert it first: `ffmpeg -i FILE picture.png`"
        } else {
            ""
        }
    }
}

/// Detects the type from the first bytes of a file. 64 bytes are sufficient.
pub fn sniff(bytes: &[u8]) -> Content {
    if bytes.is_empty() {
        return Content::Empty;
    }
    if bytes.starts_with(PNG_SIGNATURE) {
        return Content::Png;
    }
    if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
        return Content::Jpeg;
    }
    if bytes.starts_with(b"YUV4MPEG2") {
        return Content::Y4m;
    }
    if bytes.starts_with(b"RIFF") {
        return match bytes.get(8..12) {
            Some(b"WEBP") => Content::Known("a WebP picture"),
            Some(b"AVI ") => Content::Known("an AVI video"),
            _ => Content::Known("a RIFF file"),
        };
    }
    if bytes.get(4..8) == Some(b"ftyp") {
        return match bytes.get(8..12) {
            Some(b"avif" | b"avis") => Content::Known("an AVIF picture"),
            Some(b"heic" | b"heix" | b"mif1" | b"msf1") => Content::Known("a HEIF picture"),
            _ => Content::Known("an MP4 video"),
        };
    }
    if let Some((_, name)) = KNOWN.iter().find(|(prefix, _)| bytes.starts_with(prefix)) {
        return Content::Known(name);
    }
    if is_text(&bytes[..bytes.len().min(64)]) {
        return Content::Text;
    }
    let mut first = [0; 4];
    first.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    Content::Unknown(first)
}

/// Whether the bytes are printable UTF-8 text or white space. The last character may be incomplete.
fn is_text(bytes: &[u8]) -> bool {
    let valid = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !valid.is_empty() && valid.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\x0c'))
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Png => f.write_str("a PNG picture"),
            Self::Jpeg => f.write_str("a JPEG picture"),
            Self::Y4m => f.write_str("a y4m video"),
            Self::Known(name) => f.write_str(name),
            Self::Text => f.write_str("text"),
            Self::Empty => f.write_str("an empty file"),
            Self::Unknown([a, b, c, d]) => write!(f, "data that begins {a:02x} {b:02x} {c:02x} {d:02x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_detected_from_the_first_bytes() {
        let cases: [(&[u8], &str); 10] = [
            (b"\x89PNG\r\n\x1a\n....", "a PNG picture"),
            (b"\xff\xd8\xff\xe0", "a JPEG picture"),
            (b"YUV4MPEG2 W4 H4\n", "a y4m video"),
            (b"RIFF....WEBPVP8 ", "a WebP picture"),
            (b"....ftypheic", "a HEIF picture"),
            (b"GIF89a", "a GIF picture"),
            (b"# not a picture\n", "text"),
            ("Gr\u{fc}\u{df}e".as_bytes(), "text"),
            (b"", "an empty file"),
            (b"\x00\x01\x02\x03\x04", "data that begins 00 01 02 03"),
        ];
        for (bytes, name) in cases {
            assert_eq!(sniff(bytes).to_string(), name);
        }
    }

    #[test]
    fn formats_that_ffmpeg_reads_have_advice() {
        let cases: [(&[u8], &str); 7] = [
            (b"RIFF....WEBPVP8 ", "`ffmpeg -i FILE picture.png`"),
            (b"BM", "`ffmpeg -i FILE picture.png`"),
            (b"....ftypheic", "`heif-convert FILE picture.jpg`"),
            (b"GIF89a", "-frames:v 1 picture.png`"),
            (b"....ftypisom", "-pix_fmt yuv420p -f yuv4mpegpipe -`"),
            (b"\x1aE\xdf\xa3", "-pix_fmt yuv420p -f yuv4mpegpipe -`"),
            (b"RIFF....AVI LIST", "-pix_fmt yuv420p -f yuv4mpegpipe -`"),
        ];
        for (bytes, command) in cases {
            let content = sniff(bytes);
            assert!(content.advice().contains(command), "{content}: {}", content.advice());
        }
        for bytes in [b"# text\n".as_slice(), b"", b"\x7fELF", b"PK\x03\x04", b"\x89PNG\n"] {
            let content = sniff(bytes);
            assert_eq!(content.advice(), "", "{content}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_have_a_description(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            proptest::prop_assert!(!sniff(&bytes).to_string().is_empty());
        }
    }
}
