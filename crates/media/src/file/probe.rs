//! Opens a file and detects its type.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek};
use std::path::Path;

use crate::bounded::open_regular;
use crate::image::{Content, sniff};

/// Opens the file at `path` and detects its type from its first bytes. A y4m video is at its first
/// byte again.
///
/// # Errors
/// The file cannot be opened or read, or it is not a regular file. A pipe can be read as standard
/// input only.
pub(super) fn open(path: &Path) -> io::Result<(File, Content)> {
    let mut file = open_regular(path)?;
    let mut first = [0; 64];
    let length = read_up_to(&mut file, &mut first)?;
    let content = sniff(&first[..length]);
    if content == Content::Y4m {
        file.rewind()?;
    }
    Ok((file, content))
}

/// Reads until `out` is full or the file ends. Returns the number of bytes.
fn read_up_to(file: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < out.len() {
        match file.read(&mut out[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
