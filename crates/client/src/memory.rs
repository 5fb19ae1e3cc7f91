//! The one place of this crate with unsafe code: a read-only mapping of memory that another process writes, and taking
//! over a descriptor that is known by its number.
//!
//! No reference to plain bytes of the mapping is ever made, because they may change at any moment. Bytes leave it by
//! relaxed atomic loads, word by word, which is the only defined way to read what another thread or process may write.
//! The words of the ring's protocol are lent out as a type that can be loaded only ([`SharedU64`]): the mapping is
//! read-only, and a store would raise SIGSEGV.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use portraitd_protocol::sequence_lock::Load64;

const WORD: usize = size_of::<usize>();

/// A shared, read-only mapping of the first bytes of a file.
#[derive(Debug)]
pub(crate) struct ReadOnlyMemory {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping belongs to the process and not to a thread, and is only read, by atomic loads.
unsafe impl Send for ReadOnlyMemory {}
// SAFETY: as above; all methods take `&self` and load atomically.
unsafe impl Sync for ReadOnlyMemory {}

/// An atomic word of a read-only mapping.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct SharedU64(AtomicU64);

impl Load64 for SharedU64 {
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        u64::from_le(self.0.load(order))
    }

    #[inline]
    fn fence(order: Ordering) {
        fence(order);
    }
}

impl ReadOnlyMemory {
    /// Maps the first `bytes` of `fd`. The caller has made sure that the file has as many and cannot be shortened
    /// (`F_SEAL_SHRINK`); a file that is cut short under a mapping raises SIGBUS.
    ///
    /// # Errors
    /// What `mmap` says.
    pub(crate) fn map(fd: impl AsFd, bytes: usize) -> rustix::io::Result<Self> {
        if bytes == 0 {
            return Err(rustix::io::Errno::INVAL);
        }
        // SAFETY: a fresh mapping at an address of the kernel's choice overlaps nothing of ours.
        let start = unsafe { mmap(std::ptr::null_mut(), bytes, ProtFlags::READ, MapFlags::SHARED, fd, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Self { start, bytes })
    }

    /// A pointer to `T` at `offset`, checked for place and alignment.
    fn at<T>(&self, offset: usize) -> *const T {
        assert!(offset.checked_add(size_of::<T>()).is_some_and(|end| end <= self.bytes), "within the mapping");
        assert!(offset.is_multiple_of(align_of::<T>()), "aligned");
        self.start.as_ptr().wrapping_add(offset).cast_const().cast()
    }

    /// The atomic `u64` at `offset`.
    pub(crate) fn word(&self, offset: usize) -> &SharedU64 {
        // SAFETY: `at` has checked place and alignment (the mapping begins at a page). The memory stays mapped while
        // `self` is borrowed. An atomic may change under a shared reference, and `SharedU64` never stores.
        unsafe { &*self.at::<SharedU64>(offset) }
    }

    /// Loads the `u32` at `offset`, with acquire.
    pub(crate) fn load_u32(&self, offset: usize) -> u32 {
        // SAFETY: as in `word`.
        let word = unsafe { &*self.at::<AtomicU32>(offset) };
        u32::from_le(word.load(Ordering::Acquire))
    }

    /// Copies `out.len()` bytes from `offset` by relaxed loads. Bytes that are being written meanwhile come out in any
    /// mixture; the caller must find that out by the slot's lock.
    ///
    /// # Panics
    /// If the range is not within the mapping.
    pub(crate) fn copy_to(&self, offset: usize, out: &mut [u8]) {
        assert!(offset.checked_add(out.len()).is_some_and(|end| end <= self.bytes), "within the mapping");
        let mut source = self.start.as_ptr().wrapping_add(offset).cast_const();
        let head = source.align_offset(WORD).min(out.len());
        let (head, rest) = out.split_at_mut(head);
        let (words, tail) = rest.as_chunks_mut::<WORD>();
        for byte in head {
            // SAFETY: within the mapping, as asserted above; an `AtomicU8` has no alignment to keep.
            *byte = unsafe { &*source.cast::<AtomicU8>() }.load(Ordering::Relaxed);
            source = source.wrapping_add(1);
        }
        for word in words {
            // SAFETY: within the mapping; aligned, since the head went up to a multiple of the word's size.
            *word = unsafe { &*source.cast::<AtomicUsize>() }.load(Ordering::Relaxed).to_ne_bytes();
            source = source.wrapping_add(WORD);
        }
        for byte in tail {
            // SAFETY: as for the head.
            *byte = unsafe { &*source.cast::<AtomicU8>() }.load(Ordering::Relaxed);
            source = source.wrapping_add(1);
        }
    }
}

impl Drop for ReadOnlyMemory {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` mapped, and no reference into it outlives `self`.
        // An error would mean that the arguments are wrong, which they cannot be; there is nothing to be done then.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// A duplicate of a descriptor that is known by its number only.
///
/// # Errors
/// `EBADF` where it is not open.
pub(crate) fn duplicate(number: u16) -> std::io::Result<OwnedFd> {
    // SAFETY: not -1. The borrow lasts for one `fcntl`, which answers EBADF for a number that is not open; nothing is
    // closed, so nobody who owns the descriptor loses it.
    unsafe { BorrowedFd::borrow_raw(number.into()) }.try_clone_to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_whole_at_every_offset_and_length() {
        let file = tempfile::tempfile().expect("file");
        let bytes: Vec<u8> = (0..=255u8).cycle().take(5000).collect();
        std::io::Write::write_all(&mut &file, &bytes).expect("write");
        let memory = ReadOnlyMemory::map(&file, bytes.len()).expect("map");
        for offset in 0..40 {
            for length in (0..40).chain([4000]) {
                let mut out = vec![0; length];
                memory.copy_to(offset, &mut out);
                assert_eq!(out, bytes[offset..offset + length], "{offset} {length}");
            }
        }
        assert_eq!(memory.load_u32(8), u32::from_le_bytes([8, 9, 10, 11]));
        assert!(ReadOnlyMemory::map(&file, 0).is_err());
    }

    #[test]
    #[should_panic(expected = "within the mapping")]
    fn a_copy_over_the_end_is_refused() {
        let file = tempfile::tempfile().expect("file");
        file.set_len(100).expect("length");
        ReadOnlyMemory::map(&file, 100).expect("map").copy_to(usize::MAX - 2, &mut [0; 8]);
    }
}
