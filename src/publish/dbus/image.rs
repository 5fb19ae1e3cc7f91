//! Pictures of clients, which are passed as descriptors.
//!
//! A client can pass any descriptor: a memfd, a file, a pipe, a socket or a device. It is read on a
//! separate thread, not on one of the runtime. A read that never returns, for example from a file
//! on a dead network, then blocks that thread only.
//!
//! A camera reads one image of each [`Kind`] at a time. A pipe that brings nothing, or a file whose
//! file system does not answer, therefore makes only others of its kind wait. Reading a memfd never
//! waits for anybody, so a client that passes one is never `Busy` because of a slow one.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portraitd_protocol::ServiceError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_type;
use rustix::net::{RecvFlags, recv};
use rustix::pipe::{SpliceFlags, fcntl_getpipe_size, splice};
use tokio::sync::oneshot;

use super::transport::Foreign;
use crate::publish::{Amounts, RingShare};

/// An image is charged to its user in steps of this size, in bytes, before memory is taken for it.
const CHARGE_STEP: usize = 1 << 20;
/// The largest accepted image, in bytes.
pub const MAX_IMAGE_BYTES: usize = 32 << 20;
/// How long the transfer through a pipe, or from a file, may take.
const READ_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a pipe may bring nothing.
const SILENCE_TIMEOUT: Duration = Duration::from_millis(500);

/// What an image is read from, by what reading it can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Memory: a memfd, or a file on a tmpfs. Reading never waits.
    Memory,
    /// Another file. Reading may wait for a disk, a server, or a program (FUSE).
    File,
    /// A pipe or socket. It is never read such that reading waits for its writer.
    Pipe,
}

impl Kind {
    /// The kind of `fd`. No file system is asked, since it might not answer: only memory has seals,
    /// only a pipe has a size, and only a socket has a type. What else there is, such as a device, is
    /// a `File` here, and is refused when it is read.
    fn of(fd: &OwnedFd) -> Self {
        if rustix::fs::fcntl_get_seals(fd).is_ok() {
            Self::Memory
        } else if fcntl_getpipe_size(fd).is_ok() || socket_type(fd).is_ok() {
            Self::Pipe
        } else {
            Self::File
        }
    }
}

/// Reads images for one camera, one of each kind at a time.
#[derive(Debug, Default)]
pub struct ImageReader {
    busy: [Arc<AtomicBool>; 3],
}

impl ImageReader {
    /// Reads all of a descriptor: a file or memfd from its beginning, a pipe or socket until its end. The
    /// bytes are charged to the user of `share` as they come.
    ///
    /// # Errors
    /// `Busy` while another image of the same kind is read, and if the user has no room for it.
    /// `InvalidArgument` for a descriptor of another kind, an empty image, or one of more than
    /// [`MAX_IMAGE_BYTES`]. `Failed` if reading fails or takes longer than three seconds, or if a
    /// pipe brings nothing for half a second.
    pub(super) async fn read(&self, image: Foreign, share: RingShare) -> Result<(Vec<u8>, RingShare), ServiceError> {
        let kind = Kind::of(image.one()?);
        let busy = &self.busy[kind as usize];
        if busy.swap(true, Ordering::AcqRel) {
            let text = "another image is being read; pass this one as a memfd, or try again";
            return Err(ServiceError::Busy(text.into()));
        }
        let busy = BusyGuard(Arc::clone(busy));
        let read = move || {
            let into = Image::new(MAX_IMAGE_BYTES, share);
            read_all(image.into_one()?, kind, into, Instant::now() + READ_TIMEOUT, SILENCE_TIMEOUT)
        };
        on_thread(busy, read).await
    }
}

/// Runs `read` on a thread of its own. Other images of this kind are refused until it has ended, also
/// by a panic.
async fn on_thread<T: Send + 'static>(
    busy: BusyGuard,
    read: impl FnOnce() -> Result<T, ServiceError> + Send + 'static,
) -> Result<T, ServiceError> {
    let (sender, receiver) = oneshot::channel();
    let work = move || {
        let result = read();
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

struct BusyGuard(Arc<AtomicBool>);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn too_slow() -> ServiceError {
    ServiceError::Failed(format!("reading the image took longer than {} s", READ_TIMEOUT.as_secs()))
}

fn too_silent(silence: Duration) -> ServiceError {
    let text = format!("the pipe of the image brought nothing for {} ms; pass a file or a memfd", silence.as_millis());
    ServiceError::Failed(text)
}

fn too_large(limit: usize) -> ServiceError {
    ServiceError::InvalidArgument(format!("the image is larger than {} MiB", limit >> 20))
}

fn failed(error: impl Into<io::Error>) -> ServiceError {
    ServiceError::Failed(format!("cannot read the image: {}", error.into()))
}

/// The bytes of an image that is being read.
struct Image {
    bytes: Vec<u8>,
    /// The most bytes.
    limit: usize,
    share: RingShare,
}

impl Image {
    const fn new(limit: usize, share: RingShare) -> Self {
        Self { bytes: Vec::new(), limit, share }
    }

    fn append(&mut self, chunk: &[u8]) -> Result<(), ServiceError> {
        if self.bytes.len() + chunk.len() > self.limit {
            return Err(too_large(self.limit));
        }
        if self.bytes.capacity() - self.bytes.len() < chunk.len() {
            let more = CHARGE_STEP.max(chunk.len());
            self.share.grow(Amounts::memory(more)).map_err(|error| ServiceError::Busy(error.to_string()))?;
            self.bytes.reserve_exact(more);
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }
}

fn read_all(
    fd: OwnedFd,
    kind: Kind,
    mut image: Image,
    deadline: Instant,
    silence: Duration,
) -> Result<(Vec<u8>, RingShare), ServiceError> {
    let file = File::from(fd);
    match kind {
        Kind::Memory | Kind::File => {
            let about = file.metadata().map_err(failed)?;
            if !about.is_file() {
                let text = "the image must be a file, a pipe or a socket, not a device or a folder";
                return Err(ServiceError::InvalidArgument(text.into()));
            }
            if about.len() > image.limit as u64 {
                return Err(too_large(image.limit));
            }
            read_file(&file, &mut image)?;
        }
        Kind::Pipe => read_pipe(&file.into(), &mut image, deadline, silence)?,
    }
    if image.bytes.is_empty() {
        return Err(ServiceError::InvalidArgument("the image is empty".into()));
    }
    Ok((image.bytes, image.share))
}

/// Reads from the beginning, whatever the position of the descriptor: after writing a memfd, it is
/// at the end.
fn read_file(file: &File, image: &mut Image) -> Result<(), ServiceError> {
    let mut chunk = vec![0; 64 << 10];
    loop {
        match file.read_at(&mut chunk, image.bytes.len() as u64) {
            Ok(0) => return Ok(()),
            Ok(count) => image.append(&chunk[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// A pipe or socket that is read without waiting. Its description is shared with the client, so it
/// cannot be made nonblocking: the client could undo this.
///
/// What `poll` reports is only a hint. Another process may have read the bytes since, and a socket
/// with a low-water mark (`SO_RCVLOWAT`) waits for more than one.
struct Stream<'a> {
    fd: &'a OwnedFd,
    /// Takes what a pipe has. `None` for a socket.
    own: Option<(PipeReader, PipeWriter)>,
}

impl<'a> Stream<'a> {
    fn new(fd: &'a OwnedFd) -> io::Result<Self> {
        let own = if socket_type(fd).is_ok() { None } else { Some(io::pipe()?) };
        Ok(Self { fd, own })
    }

    /// Reads what there is, 0 bytes at the end.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing now.
    fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        let Some((reader, writer)) = &mut self.own else {
            return Ok(recv(self.fd, chunk, RecvFlags::DONTWAIT)?.0);
        };
        let count = splice(self.fd, None, &*writer, None, chunk.len(), SpliceFlags::NONBLOCK)?;
        reader.read_exact(&mut chunk[..count])?;
        Ok(count)
    }
}

/// Reads to the end. The deadline is for the whole, and `silence` for each wait.
fn read_pipe(fd: &OwnedFd, image: &mut Image, deadline: Instant, silence: Duration) -> Result<(), ServiceError> {
    let mut stream = Stream::new(fd).map_err(failed)?;
    let mut chunk = vec![0; 64 << 10];
    let mut heard = Instant::now();
    loop {
        let until = deadline.min(heard + silence);
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(if until == deadline { too_slow() } else { too_silent(silence) });
        }
        let timeout = Timespec::try_from(left).map_err(|_| too_slow())?;
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(failed(errno)),
        }
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                image.append(&chunk[..count])?;
                heard = Instant::now();
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::RingBudget;
    use std::io::{Seek, Write};
    use std::path::Path;

    /// Reads within a minute.
    fn read(fd: impl Into<OwnedFd>, limit: usize) -> Result<Vec<u8>, ServiceError> {
        let (fd, minute) = (fd.into(), Duration::from_secs(60));
        let kind = Kind::of(&fd);
        Ok(read_all(fd, kind, Image::new(limit, share()), Instant::now() + minute, minute)?.0)
    }

    fn share() -> RingShare {
        RingBudget::default().take(1, Amounts::IMAGE).expect("room")
    }

    #[test]
    fn an_image_is_charged_before_it_is_read_and_no_more_than_its_user_may_have() {
        let (size, minute) = (5 << 20, Duration::from_secs(60));
        for (room, fits) in [(16 << 20, true), (4 << 20, false)] {
            let budget = RingBudget::new(room);
            let share = budget.take(1, Amounts::IMAGE).expect("room");
            let mut file = tempfile::tempfile().expect("file");
            file.write_all(&vec![7; size]).expect("write");
            let image = Image::new(MAX_IMAGE_BYTES, share);
            let read = read_all(file.into(), Kind::File, image, Instant::now() + minute, minute);
            match read {
                Ok((bytes, share)) if fits => {
                    assert_eq!(bytes.len(), size);
                    assert!((size..=size + CHARGE_STEP).contains(&budget.used_by(1).bytes));
                    assert!(bytes.capacity() <= budget.used_by(1).bytes);
                    drop(share);
                }
                Err(ServiceError::Busy(text)) if !fits => assert!(text.contains("MiB"), "{text}"),
                other => panic!("{other:?}"),
            }
            assert_eq!(budget.used_by(1), Amounts::default(), "given back");
        }
    }

    #[test]
    fn a_user_reads_four_images_at_once_and_leaves_room_for_others() {
        let budget = RingBudget::default();
        let mut all: Vec<_> = std::iter::from_fn(|| budget.take(1, Amounts::IMAGE).ok()).collect();
        assert_eq!(all.len(), 4);
        all.extend((2..6).map(|user| budget.take(user, Amounts::IMAGE).expect("another user")));
    }

    #[test]
    fn a_file_is_read_from_its_beginning() {
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(b"picture").expect("write");
        assert_eq!(file.stream_position().expect("position"), 7);
        assert_eq!(read(file, 100).expect("read"), b"picture");
    }

    #[test]
    fn a_pipe_is_read_to_its_end_and_no_further_than_allowed() {
        let (reader, writer) = std::io::pipe().expect("pipe");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut writer = writer;
                writer.write_all(&[7; 200_000]).expect("write");
            });
            assert_eq!(read(reader, 200_000).expect("read"), vec![7; 200_000]);
        });
        let (reader, mut writer) = std::io::pipe().expect("pipe");
        writer.write_all(&[7; 101]).expect("write");
        let error = read(reader, 100).expect_err("too large");
        assert!(matches!(error, ServiceError::InvalidArgument(_)), "{error}");
    }

    #[test]
    fn a_pipe_that_brings_nothing_ends_at_the_deadline_or_when_it_is_silent() {
        let minute = Duration::from_secs(60);
        for (deadline, silence, text) in
            [(Duration::ZERO, minute, "longer than 3 s"), (minute, Duration::ZERO, "brought nothing")]
        {
            let (reader, _writer) = std::io::pipe().expect("pipe");
            let error =
                read_all(reader.into(), Kind::Pipe, Image::new(100, share()), Instant::now() + deadline, silence)
                    .expect_err("nothing came");
            assert!(matches!(error, ServiceError::Failed(_)), "{error}");
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    /// Makes reading wait for this many bytes.
    #[expect(unsafe_code, reason = "no crate that is used here sets this option")]
    fn low_water(socket: &std::os::unix::net::UnixStream, bytes: std::ffi::c_int) {
        use std::ffi::{c_int, c_uint};
        use std::os::fd::AsRawFd;
        const SOL_SOCKET: c_int = 1;
        const SO_RCVLOWAT: c_int = 18;
        unsafe extern "C" {
            fn setsockopt(socket: c_int, level: c_int, name: c_int, value: *const c_int, length: c_uint) -> c_int;
        }
        // SAFETY: the descriptor is open, and the value is an int, which has four bytes.
        let result = unsafe { setsockopt(socket.as_raw_fd(), SOL_SOCKET, SO_RCVLOWAT, &raw const bytes, 4) };
        assert_eq!(result, 0);
    }

    #[test]
    fn a_socket_with_a_low_water_mark_is_silent_too() {
        let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().expect("sockets");
        low_water(&theirs, 65536);
        ours.write_all(b"x").expect("write");
        let (sender, receiver) = std::sync::mpsc::channel();
        let deadline = Instant::now() + Duration::from_secs(60);
        std::thread::spawn(move || {
            let silence = Duration::from_millis(50);
            sender.send(read_all(theirs.into(), Kind::Pipe, Image::new(100, share()), deadline, silence).err())
        });
        let error = receiver.recv_timeout(Duration::from_secs(30)).expect("it ends").expect("nothing more came");
        assert!(error.to_string().contains("brought nothing"), "{error}");
    }

    #[test]
    fn reading_what_another_has_taken_does_not_wait() {
        let (reader, _writer) = std::io::pipe().expect("pipe");
        let (socket, _other) = std::os::unix::net::UnixStream::pair().expect("sockets");
        for fd in [OwnedFd::from(reader), OwnedFd::from(socket)] {
            assert_eq!(Kind::of(&fd), Kind::Pipe);
            let error = Stream::new(&fd).expect("stream").read(&mut [0; 10]).expect_err("nothing is there");
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[tokio::test]
    async fn a_silent_pipe_does_not_make_a_memfd_or_a_file_wait() {
        let images = Arc::new(ImageReader::default());
        let (reader, writer) = std::io::pipe().expect("pipe");
        let slow = tokio::spawn({
            let images = Arc::clone(&images);
            async move { images.read(OwnedFd::from(reader).into(), share()).await }
        });
        // Until the first call has the place of the pipes.
        while !images.busy[Kind::Pipe as usize].load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
        let memory = rustix::fs::memfd_create("portraitd-test", rustix::fs::MemfdFlags::CLOEXEC).expect("memfd");
        let mut memory = File::from(memory);
        memory.write_all(b"png").expect("write");
        assert_eq!(images.read(OwnedFd::from(memory).into(), share()).await.expect("read").0, b"png");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let file = File::open(folder.join("Cargo.toml")).expect("file");
        assert!(images.read(OwnedFd::from(file).into(), share()).await.expect("read").0.starts_with(b"[workspace]"));
        drop(writer);
        assert!(slow.await.expect("task").is_err(), "it brought nothing");
    }

    #[tokio::test]
    async fn a_reading_thread_that_panics_is_an_error_and_frees_its_place() {
        let busy = Arc::new(AtomicBool::new(true));
        let guard = BusyGuard(Arc::clone(&busy));
        let read = on_thread::<()>(guard, || std::panic::resume_unwind(Box::new("injected"))).await;
        assert!(matches!(&read, Err(ServiceError::Failed(text)) if text.contains("without a result")), "{read:?}");
        assert!(!busy.load(Ordering::Acquire));
    }

    #[test]
    fn devices_directories_and_empty_files_are_refused() {
        for path in ["/dev/zero", "/tmp", "/dev/null"] {
            let file = File::open(path).expect(path);
            let error = read(file, 100).expect_err(path);
            assert!(matches!(error, ServiceError::InvalidArgument(_)), "{path}: {error}");
        }
        let empty = tempfile::tempfile().expect("file");
        assert!(matches!(read(empty, 100), Err(ServiceError::InvalidArgument(_))));
        let large = tempfile::tempfile().expect("file");
        large.set_len(101).expect("length");
        assert!(matches!(read(large, 100), Err(ServiceError::InvalidArgument(_))));
    }
}
