//! Reads files whose names come from outside: from the configuration, a manifest or a command line.
//!
//! Such a name can lead to a FIFO, whose opening waits for a writer, or to a device that never ends.
//! Only regular files are read, and no more of them than the caller's limit.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

/// Opens a regular file for reading. Opening never waits: a FIFO or a device is refused.
///
/// # Errors
/// The error of the system, or [`ErrorKind::InvalidInput`] with the kind of the file if it is not a
/// regular one.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // O_NONBLOCK: opening a FIFO does not wait for its writer, nor a device for its carrier. It has
    // no effect on regular files. O_NOCTTY: a terminal does not become that of this process.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
    if kind == FileType::RegularFile {
        return Ok(File::from(fd));
    }
    let kind = match kind {
        FileType::Directory => "a folder",
        FileType::Fifo => "a FIFO",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Socket => "a socket",
        _ => "another kind of file",
    };
    Err(io::Error::new(ErrorKind::InvalidInput, format!("a regular file is needed here, and this is {kind}")))
}

/// Reads a whole regular file of at most `limit` bytes.
///
/// # Errors
/// Those of [`open_regular`] and of reading, or [`ErrorKind::FileTooLarge`] if the file has more
/// than `limit` bytes. A file that grows while it is read counts with what was read.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open_regular(path)?;
    let too_large = || {
        let limit = if limit >= 1 << 20 { format!("{} MiB", limit >> 20) } else { format!("{} KiB", limit >> 10) };
        io::Error::new(ErrorKind::FileTooLarge, format!("larger than {limit}, the limit for this file"))
    };
    let length = file.metadata()?.len();
    if length > limit {
        return Err(too_large());
    }
    // Files in /proc and /sys have the length 0 and contents, so the length is only a hint.
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;

    #[test]
    fn a_regular_file_is_read_up_to_the_limit() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("file");
        std::fs::write(&path, vec![7; 4096]).expect("write");
        assert_eq!(read_regular(&path, 4096).expect("read"), vec![7; 4096]);
        let error = read_regular(&path, 4095).expect_err("too large");
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert_eq!(error.to_string(), "larger than 3 KiB, the limit for this file");
        let error = read_regular(&folder.path().join("missing"), 1).expect_err("missing");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        // It has contents, and the length 0.
        assert!(read_regular(Path::new("/proc/self/status"), 1 << 16).expect("read").starts_with(b"Name:"));
        let error = read_regular(Path::new("/proc/self/status"), 16).expect_err("too large");
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    }

    #[test]
    fn fifos_devices_sockets_and_folders_are_refused_without_waiting() {
        let folder = tempfile::tempdir().expect("folder");
        let fifo = folder.path().join("fifo");
        rustix::fs::mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).expect("fifo");
        let cases = [(fifo.as_path(), "a FIFO"), (Path::new("/dev/zero"), "a device"), (folder.path(), "a folder")];
        for (path, kind) in cases {
            let error = read_regular(path, 1 << 20).expect_err(kind);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert!(error.to_string().ends_with(kind), "{error}");
        }
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).expect("link");
        assert!(open_regular(&link).is_err(), "a link leads to what it names");
    }
}
