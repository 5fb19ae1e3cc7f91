//! Memory that clients may read: a memfd, of which the service keeps a file description of its own.
//!
//! # Protection
//! A client receives a description that is opened for reading, so its file offset is its own and
//! `mmap` cannot make it writable. The file's mode is 0600: another user cannot open it again for
//! writing. Root and the service's own user could. Memory for them is therefore sealed as well
//! (`F_SEAL_FUTURE_WRITE` for rings, `F_SEAL_WRITE` for pictures). Nobody can change the size
//! (`F_SEAL_SHRINK`, `F_SEAL_GROW`), so a reader cannot get SIGBUS.
//!
//! # Taking memory back
//! The kernel counts the memory as the service's for as long as anybody holds it.
//!
//! - Memory that is not sealed is freed by a hole over the whole file ([`SharedFile::free`]), even
//!   while clients hold it. Pages that they touch after that are counted as theirs.
//! - The seal forbids holes. The service keeps its description until nobody else has the file open
//!   or mapped ([`SharedFile::is_unused`]).
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;

use super::error::PublishError;

/// What clients may not do with the contents, besides changing the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// The service writes them through the mapping that it has already.
    Ring,
    /// They are complete.
    Picture,
}

/// A memfd and the service's own description of it.
#[derive(Debug)]
pub(crate) struct SharedFile {
    own: OwnedFd,
    /// Whether a seal keeps even root and the service's own user from writing.
    sealed: bool,
}

impl SharedFile {
    /// An empty file for the clients of `user`.
    ///
    /// # Errors
    /// If the system has no memory or descriptors left, or `/proc` is missing.
    pub(crate) fn create(name: &str, user: u32) -> Result<Self, PublishError> {
        let first = create_memfd(name).map_err(PublishError::call("memfd_create"))?;
        rustix::fs::fchmod(&first, Mode::RUSR | Mode::WUSR).map_err(PublishError::call("fchmod"))?;
        // A memfd's first description does not count as a writer of the file, which `is_unused`
        // relies on.
        let own = reopen(&first, OFlags::RDWR).map_err(PublishError::call("open(/proc/self/fd)"))?;
        let sealed = user == 0 || user == rustix::process::geteuid().as_raw();
        // The signal of a broken lease: one that is ignored by default, and not SIGIO, which ends
        // the process.
        let _ = file_control(own.as_fd(), F_SETSIG, SIGURG);
        Ok(Self { own, sealed })
    }

    /// Allocates the memory now, so that a lack of it is an error here and not a signal later.
    ///
    /// # Errors
    /// If the kernel has no memory.
    pub(crate) fn allocate(&self, bytes: usize) -> Result<(), PublishError> {
        rustix::fs::fallocate(&self.own, FallocateFlags::empty(), 0, bytes as u64)
            .map_err(PublishError::call("fallocate"))
    }

    /// Writes to the file, from its beginning.
    ///
    /// # Errors
    /// If the process has no descriptors left.
    pub(crate) fn writer(&self) -> Result<std::fs::File, PublishError> {
        let fd = self.own.try_clone().map_err(|error| PublishError::System { call: "dup", error })?;
        Ok(fd.into())
    }

    /// The size in bytes.
    ///
    /// # Errors
    /// If the system fails.
    pub(crate) fn size(&self) -> Result<u64, PublishError> {
        let status = rustix::fs::fstat(&self.own).map_err(PublishError::call("fstat"))?;
        Ok(u64::try_from(status.st_size).unwrap_or(0))
    }

    /// The memory that the file takes, in bytes: whole pages.
    ///
    /// # Errors
    /// If the system fails.
    pub(crate) fn resident(&self) -> Result<usize, PublishError> {
        let status = rustix::fs::fstat(&self.own).map_err(PublishError::call("fstat"))?;
        Ok(usize::try_from(status.st_blocks).unwrap_or(0).saturating_mul(512))
    }

    /// Fixes the size and, for root and the service's own user, the contents.
    ///
    /// # Errors
    /// If the kernel is older than 5.1 (it then lacks `F_SEAL_FUTURE_WRITE`).
    pub(crate) fn seal(&self, contents: Contents) -> Result<(), PublishError> {
        let write = match contents {
            Contents::Ring => SealFlags::FUTURE_WRITE,
            Contents::Picture => SealFlags::WRITE,
        };
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        let seals = if self.sealed { seals | write } else { seals };
        rustix::fs::fcntl_add_seals(&self.own, seals).map_err(PublishError::call("fcntl(F_ADD_SEALS)"))
    }

    /// A description of its own for a client, for reading, with its offset at the beginning.
    ///
    /// # Errors
    /// If the process has no descriptors left.
    pub(crate) fn for_client(&self) -> Result<OwnedFd, PublishError> {
        reopen(&self.own, OFlags::RDONLY).map_err(PublishError::call("open(/proc/self/fd)"))
    }

    /// A second handle on the service's own description.
    ///
    /// # Errors
    /// If the process has no descriptors left.
    pub(crate) fn try_clone(&self) -> Result<Self, PublishError> {
        let own = self.own.try_clone().map_err(|error| PublishError::System { call: "dup", error })?;
        Ok(Self { own, sealed: self.sealed })
    }

    /// Frees the memory from byte `from` on, whoever holds it: it reads as zero from now on.
    /// Returns whether that is so; a sealed file cannot be freed.
    pub(crate) fn free(&self, from: usize) -> bool {
        let Ok(size) = self.size() else { return false };
        let bytes = size.saturating_sub(from as u64);
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        !self.sealed && (bytes == 0 || rustix::fs::fallocate(&self.own, hole, from as u64, bytes).is_ok())
    }

    /// Whether no other description of the file exists: no client has it open or mapped, and none
    /// is on its way to a client.
    ///
    /// The kernel grants a write lease only then. Where it has no leases for memfds, the answer is
    /// yes. A descriptor that was opened with `O_PATH` is not seen.
    pub(crate) fn is_unused(&self) -> bool {
        match file_control(self.own.as_fd(), F_SETLEASE, F_WRLCK) {
            Ok(()) => {
                let _ = file_control(self.own.as_fd(), F_SETLEASE, F_UNLCK);
                true
            }
            Err(errno) => errno != Errno::AGAIN,
        }
    }
}

impl AsFd for SharedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.own.as_fd()
    }
}

/// Creates the memfd. Linux before 6.3 does not know `MFD_NOEXEC_SEAL` and refuses unknown flags.
fn create_memfd(name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        result => result,
    }
}

fn reopen(fd: &OwnedFd, access: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::open(path, access | OFlags::CLOEXEC, Mode::empty())
}

const F_SETSIG: c_int = 10;
const F_SETLEASE: c_int = 1024;
const F_WRLCK: c_int = 1;
const F_UNLCK: c_int = 2;
const SIGURG: c_int = 23;

unsafe extern "C" {
    // rustix has no function for leases.
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
}

fn file_control(fd: BorrowedFd<'_>, command: c_int, argument: c_int) -> Result<(), Errno> {
    // SAFETY: the descriptor is open while it is borrowed, and the commands above take one `int`.
    let result = unsafe { fcntl(fd.as_raw_fd(), command, argument) };
    if result >= 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
    }
}
