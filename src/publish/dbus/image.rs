//! Pictures of clients, which are passed as descriptors.
//!
//! A client can pass any descriptor: a file, a memfd, a pipe, a socket or a device. It is read on a
//! separate thread, not on one of the runtime. A read that never returns, for example from a file
//! on a dead network, then blocks that thread only. Each camera has at most one such read at a
//! time.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portraitd_protocol::ServiceError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use tokio::sync::oneshot;

/// The largest accepted image, in bytes.
pub const MAX_IMAGE_BYTES: usize = 32 << 20;
/// How long the transfer through a pipe may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads images for one camera, one at a time.
#[derive(Debug, Default)]
pub struct ImageReader {
    busy: Arc<AtomicBool>,
}

impl ImageReader {
    /// Reads all of `fd`: a file or memfd from its beginning, a pipe or socket until its end.
    ///
    /// # Errors
    /// `Busy` while another image is read. `InvalidArgument` for a descriptor of another kind, an
    /// empty image, or one of more than [`MAX_IMAGE_BYTES`]. `Failed` if reading fails or takes
    /// longer than ten seconds.
    pub async fn read(&self, fd: OwnedFd) -> Result<Vec<u8>, ServiceError> {
        if self.busy.swap(true, Ordering::AcqRel) {
            return Err(ServiceError::Busy("another image is being read".into()));
        }
        let busy = BusyGuard(Arc::clone(&self.busy));
        let (sender, receiver) = oneshot::channel();
        let work = move || {
            let result = read_all(fd, MAX_IMAGE_BYTES, Instant::now() + READ_TIMEOUT);
            drop(busy);
            // The caller may have stopped waiting.
            let _ = sender.send(result);
        };
        std::thread::Builder::new()
            .name("image".into())
            .spawn(work)
            .map_err(|error| ServiceError::Failed(format!("cannot start a thread to read the image: {error}")))?;
        match tokio::time::timeout(READ_TIMEOUT + Duration::from_secs(1), receiver).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(ServiceError::Failed("the thread that read the image ended without a result".into())),
            Err(_) => Err(too_slow()),
        }
    }
}

struct BusyGuard(Arc<AtomicBool>);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn too_slow() -> ServiceError {
    ServiceError::Failed(format!("reading the image took longer than {} s", READ_TIMEOUT.as_secs()))
}

fn too_large(limit: usize) -> ServiceError {
    ServiceError::InvalidArgument(format!("the image is larger than {} MiB", limit >> 20))
}

fn failed(error: impl Into<io::Error>) -> ServiceError {
    ServiceError::Failed(format!("cannot read the image: {}", error.into()))
}

fn read_all(fd: OwnedFd, limit: usize, deadline: Instant) -> Result<Vec<u8>, ServiceError> {
    let status = rustix::fs::fstat(&fd).map_err(failed)?;
    let file = File::from(fd);
    let bytes = match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => {
            if u64::try_from(status.st_size).unwrap_or(0) > limit as u64 {
                return Err(too_large(limit));
            }
            read_file(&file, limit)?
        }
        FileType::Fifo | FileType::Socket => read_pipe(&file, limit, deadline)?,
        other => {
            let text = format!("the image must be a file, a pipe or a socket, not a {other:?}");
            return Err(ServiceError::InvalidArgument(text));
        }
    };
    if bytes.is_empty() { Err(ServiceError::InvalidArgument("the image is empty".into())) } else { Ok(bytes) }
}

/// Reads from the beginning, whatever the position of the descriptor: after writing a memfd, it is
/// at the end.
fn read_file(file: &File, limit: usize) -> Result<Vec<u8>, ServiceError> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        match file.read_at(&mut chunk, bytes.len() as u64) {
            Ok(0) => return Ok(bytes),
            Ok(count) if bytes.len() + count > limit => return Err(too_large(limit)),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

fn read_pipe(mut file: &File, limit: usize, deadline: Instant) -> Result<Vec<u8>, ServiceError> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(too_slow());
        }
        let timeout = Timespec::try_from(left).map_err(|_| too_slow())?;
        match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(failed(errno)),
        }
        match file.read(&mut chunk) {
            Ok(0) => return Ok(bytes),
            Ok(count) if bytes.len() + count > limit => return Err(too_large(limit)),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_file_is_read_from_its_beginning() {
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(b"picture").expect("write");
        assert_eq!(file.stream_position().expect("position"), 7);
        assert_eq!(read_all(file.into(), 100, soon()).expect("read"), b"picture");
    }

    #[test]
    fn a_pipe_is_read_to_its_end_and_no_further_than_allowed() {
        let (reader, writer) = std::io::pipe().expect("pipe");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut writer = writer;
                writer.write_all(&[7; 200_000]).expect("write");
            });
            assert_eq!(read_all(reader.into(), 200_000, soon()).expect("read"), vec![7; 200_000]);
        });
        let (reader, mut writer) = std::io::pipe().expect("pipe");
        writer.write_all(&[7; 101]).expect("write");
        let error = read_all(reader.into(), 100, soon()).expect_err("too large");
        assert!(matches!(error, ServiceError::InvalidArgument(_)), "{error}");
    }

    #[test]
    fn a_pipe_that_brings_nothing_ends_at_the_deadline() {
        let (reader, _writer) = std::io::pipe().expect("pipe");
        let error = read_all(reader.into(), 100, Instant::now()).expect_err("nothing came");
        assert!(matches!(error, ServiceError::Failed(_)), "{error}");
    }

    #[test]
    fn devices_directories_and_empty_files_are_refused() {
        for path in ["/dev/zero", "/tmp", "/dev/null"] {
            let file = File::open(path).expect(path);
            let error = read_all(file.into(), 100, soon()).expect_err(path);
            assert!(matches!(error, ServiceError::InvalidArgument(_)), "{path}: {error}");
        }
        let empty = tempfile::tempfile().expect("file");
        assert!(matches!(read_all(empty.into(), 100, soon()), Err(ServiceError::InvalidArgument(_))));
        let large = tempfile::tempfile().expect("file");
        large.set_len(101).expect("length");
        assert!(matches!(read_all(large.into(), 100, soon()), Err(ServiceError::InvalidArgument(_))));
    }
}
