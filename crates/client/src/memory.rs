//! All unsafe code of this crate: a read-only mapping of memory that another process writes, a
//! writable mapping of memory that others read, and the duplication of a descriptor that is known
//! only by its number.
//!
//! No reference to plain bytes of the mapping is ever created, because another process may change
//! them at any time. Bytes are copied by relaxed atomic loads or by assembly, which are the defined
//! ways to read them. The atomic words of the ring have a type that can only be loaded
//! ([`SharedU64`]), because a store to the read-only mapping would raise SIGSEGV.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

use portraitd_protocol::sequence_lock::Load64;

const WORD: usize = size_of::<usize>();

/// A shared, read-only mapping of the first bytes of a file.
#[derive(Debug)]
pub(crate) struct ReadOnlyMemory {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping belongs to the process and not to a thread, and it is only read, by atomic
// loads.
unsafe impl Send for ReadOnlyMemory {}
// SAFETY: as above; all methods take `&self` and load atomically.
unsafe impl Sync for ReadOnlyMemory {}

/// An atomic `u64` in a read-only mapping. It can be loaded and not stored.
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
    /// Maps the first `bytes` bytes of `fd`. The caller must have checked that the file is that
    /// long and sealed against shrinking (`F_SEAL_SHRINK`): reading a mapping beyond the end of a
    /// shortened file raises SIGBUS.
    ///
    /// # Errors
    /// The error of `mmap`; `EINVAL` if `bytes` is 0.
    pub(crate) fn map(fd: impl AsFd, bytes: usize) -> rustix::io::Result<Self> {
        if bytes == 0 {
            return Err(rustix::io::Errno::INVAL);
        }
        // SAFETY: the kernel chooses the address, so the new mapping does not overlap any existing
        // one.
        let start = unsafe { mmap(std::ptr::null_mut(), bytes, ProtFlags::READ, MapFlags::SHARED, fd, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(rustix::io::Errno::NOMEM)?;
        let memory = Self { start, bytes };
        // A core dump must not contain pictures.
        // SAFETY: the range was just mapped, and the advice changes no byte of it.
        unsafe { madvise(memory.start.as_ptr().cast(), bytes, Advice::LinuxDontDump) }?;
        Ok(memory)
    }

    /// A pointer to `T` at `offset`. Panics unless it lies within the mapping and is aligned.
    fn at<T>(&self, offset: usize) -> *const T {
        assert!(offset.checked_add(size_of::<T>()).is_some_and(|end| end <= self.bytes), "within the mapping");
        assert!(offset.is_multiple_of(align_of::<T>()), "aligned");
        self.start.as_ptr().wrapping_add(offset).cast_const().cast()
    }

    /// The atomic `u64` at `offset`. Panics unless it lies within the mapping and is aligned.
    pub(crate) fn word(&self, offset: usize) -> &SharedU64 {
        // SAFETY: `at` checks range and alignment, and the mapping starts at a page. The memory
        // stays mapped while `self` is borrowed. An atomic may change behind a shared reference,
        // and `SharedU64` never stores.
        unsafe { &*self.at::<SharedU64>(offset) }
    }

    /// Loads the atomic `u32` at `offset` with acquire ordering. Panics unless it lies within the
    /// mapping and is aligned.
    pub(crate) fn load_u32(&self, offset: usize) -> u32 {
        // SAFETY: as in `word`.
        let word = unsafe { &*self.at::<AtomicU32>(offset) };
        u32::from_le(word.load(Ordering::Acquire))
    }

    /// Copies `out.len()` bytes from `offset`. If another process writes the bytes meanwhile, the
    /// copy is an arbitrary mixture of old and new. The caller must detect that with the slot's
    /// lock.
    ///
    /// # Panics
    /// If the range does not lie within the mapping.
    pub(crate) fn copy_to(&self, offset: usize, out: &mut [u8]) {
        assert!(offset.checked_add(out.len()).is_some_and(|end| end <= self.bytes), "within the mapping");
        let source = self.start.as_ptr().wrapping_add(offset).cast_const();
        let (blocks, rest) = out.as_chunks_mut::<{ blocks::BYTES }>();
        // SAFETY: both ranges have this length, the source lies within the mapping, as asserted above,
        // and `blocks` is borrowed for writing.
        unsafe { blocks::copy(source, blocks) };
        // SAFETY: as above; the rest of the source begins after the blocks.
        unsafe { copy_words(source.wrapping_add(blocks.len() * blocks::BYTES), rest) };
    }
}

/// Copies `out.len()` bytes by relaxed atomic loads, one machine word at a time.
///
/// # Safety
/// As many bytes must be readable at `source` for the whole call.
unsafe fn copy_words(mut source: *const u8, out: &mut [u8]) {
    let head = source.align_offset(WORD).min(out.len());
    let (head, rest) = out.split_at_mut(head);
    let (words, tail) = rest.as_chunks_mut::<WORD>();
    for byte in head {
        // SAFETY: the caller says that the address is readable. An `AtomicU8` needs no alignment.
        *byte = unsafe { &*source.cast::<AtomicU8>() }.load(Ordering::Relaxed);
        source = source.wrapping_add(1);
    }
    for word in words {
        // SAFETY: as above, and the head ended at a multiple of the word's size.
        *word = unsafe { &*source.cast::<AtomicUsize>() }.load(Ordering::Relaxed).to_ne_bytes();
        source = source.wrapping_add(WORD);
    }
    for byte in tail {
        // SAFETY: as for the head.
        *byte = unsafe { &*source.cast::<AtomicU8>() }.load(Ordering::Relaxed);
        source = source.wrapping_add(1);
    }
}

/// The copy of whole blocks. The compiler does not join atomic loads into vectors, so that a copy of
/// one word at a time needs up to twice the time of `memcpy` where the bytes are in a cache. Assembly
/// may read memory that another process changes: what it loads is not known to the compiler.
mod blocks {
    /// The length of a block.
    pub(super) const BYTES: usize = 64;

    /// Copies blocks by loads of 16 bytes.
    ///
    /// # Safety
    /// As many bytes must be readable at `source` for the whole call.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    pub(super) unsafe fn copy(source: *const u8, out: &mut [[u8; BYTES]]) {
        if out.is_empty() {
            return;
        }
        // SAFETY: it reads `out.len()` blocks, which the caller allows, writes as many to `out`, and
        // every register and flag that it changes is named. Every x86-64 has these instructions.
        unsafe {
            std::arch::asm!(
                "2:",
                "movdqu {a}, [{from}]",
                "movdqu {b}, [{from} + 16]",
                "movdqu {c}, [{from} + 32]",
                "movdqu {d}, [{from} + 48]",
                "movdqu [{to}], {a}",
                "movdqu [{to} + 16], {b}",
                "movdqu [{to} + 32], {c}",
                "movdqu [{to} + 48], {d}",
                "add {from}, 64",
                "add {to}, 64",
                "dec {left}",
                "jnz 2b",
                from = inout(reg) source => _,
                to = inout(reg) out.as_mut_ptr() => _,
                left = inout(reg) out.len() => _,
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                options(nostack),
            );
        }
    }

    /// Copies blocks by loads of 16 bytes.
    ///
    /// # Safety
    /// As many bytes must be readable at `source` for the whole call.
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    pub(super) unsafe fn copy(source: *const u8, out: &mut [[u8; BYTES]]) {
        if out.is_empty() {
            return;
        }
        // SAFETY: as for x86-64. Every 64-bit ARM that runs Linux has these instructions.
        unsafe {
            std::arch::asm!(
                "2:",
                "ldp {a:q}, {b:q}, [{from}], #32",
                "ldp {c:q}, {d:q}, [{from}], #32",
                "stp {a:q}, {b:q}, [{to}], #32",
                "stp {c:q}, {d:q}, [{to}], #32",
                "subs {left}, {left}, #1",
                "b.ne 2b",
                from = inout(reg) source => _,
                to = inout(reg) out.as_mut_ptr() => _,
                left = inout(reg) out.len() => _,
                a = out(vreg) _,
                b = out(vreg) _,
                c = out(vreg) _,
                d = out(vreg) _,
                options(nostack),
            );
        }
    }

    /// Copies blocks one word at a time.
    ///
    /// # Safety
    /// As many bytes must be readable at `source` for the whole call.
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    pub(super) unsafe fn copy(source: *const u8, out: &mut [[u8; BYTES]]) {
        // SAFETY: the caller's.
        unsafe { super::copy_words(source, out.as_flattened_mut()) }
    }
}

impl Drop for ReadOnlyMemory {
    fn drop(&mut self) {
        // SAFETY: the arguments are those of the mapping that `map` created, and no reference into
        // it outlives `self`. The call fails only for invalid arguments, and these are valid.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// A shared mapping of a file that this process writes and others only read.
#[derive(Debug)]
pub(crate) struct WritableMemory {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping belongs to the process and not to a thread, and the type gives access to its
// bytes by the rules of borrowing.
unsafe impl Send for WritableMemory {}
// SAFETY: as above; through `&self` only atomics are accessible.
unsafe impl Sync for WritableMemory {}

impl WritableMemory {
    /// Maps the first `bytes` bytes of `fd`, a file of at least this length that nobody else
    /// writes.
    ///
    /// # Errors
    /// The error of `mmap`; `EINVAL` if `bytes` is 0.
    pub(crate) fn map(fd: impl AsFd, bytes: usize) -> rustix::io::Result<Self> {
        if bytes == 0 {
            return Err(rustix::io::Errno::INVAL);
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address, so the new mapping does not overlap any existing
        // one.
        let start = unsafe { mmap(std::ptr::null_mut(), bytes, access, MapFlags::SHARED, fd, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(rustix::io::Errno::NOMEM)?;
        let memory = Self { start, bytes };
        // SAFETY: the range was just mapped, and the advice changes no byte of it.
        unsafe { madvise(memory.start.as_ptr().cast(), bytes, Advice::LinuxDontDump) }?;
        Ok(memory)
    }

    fn at(&self, offset: usize, bytes: usize) -> *mut u8 {
        assert!(offset.checked_add(bytes).is_some_and(|end| end <= self.bytes), "within the mapping");
        self.start.as_ptr().wrapping_add(offset)
    }

    /// The atomic `u64` at `offset`. Panics unless it lies within the mapping and is aligned.
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(align_of::<AtomicU64>()), "aligned");
        // SAFETY: range and alignment are checked, and the mapping starts at a page. The memory
        // stays mapped while `self` is borrowed, and `bytes_mut` needs `&mut self`.
        unsafe { &*self.at(offset, size_of::<AtomicU64>()).cast() }
    }

    /// The bytes from `offset` on. Panics unless they lie within the mapping.
    pub(crate) fn bytes_mut(&mut self, offset: usize, bytes: usize) -> &mut [u8] {
        // SAFETY: the range is checked, the kernel has initialised the memory, and `&mut self`
        // excludes other references of this process. No other process writes to it.
        unsafe { std::slice::from_raw_parts_mut(self.at(offset, bytes), bytes) }
    }
}

impl Drop for WritableMemory {
    fn drop(&mut self) {
        // SAFETY: the arguments are those of the mapping that `map` created, and no reference into
        // it outlives `self`.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// Duplicates a descriptor that is known only by its number.
///
/// # Errors
/// `EBADF` if the descriptor is not open.
pub(crate) fn duplicate(number: u16) -> std::io::Result<OwnedFd> {
    // SAFETY: the number is not -1. The borrow lasts for one `fcntl`, which returns EBADF if the
    // descriptor is not open. Nothing is closed, so an owner of the descriptor keeps it.
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
            for length in (0..40).chain(120..140).chain([4000]) {
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

    /// Prints what a copy costs beside a plain one of as many bytes, with both in the processor's
    /// caches and with neither, and one of a word at a time:
    /// `cargo test --release -p portraitd-client --lib copy_costs -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    fn copy_costs_beside_a_plain_copy() {
        use std::time::{Duration, Instant};

        let mut other = vec![0_u8; 64 << 20];
        for (width, cold) in [640, 1280, 1920].into_iter().flat_map(|width| [(width, false), (width, true)]) {
            let bytes = width * (width / 16 * 9) * 3 / 2;
            let flags = rustix::fs::MemfdFlags::CLOEXEC;
            let file = rustix::fs::memfd_create("test", flags).expect("a memfd");
            rustix::fs::ftruncate(&file, bytes as u64).expect("length");
            let mut written = WritableMemory::map(&file, bytes).expect("map");
            let memory = ReadOnlyMemory::map(&file, bytes).expect("map");
            let (mut from, mut to) = (vec![1; bytes], vec![0; bytes]);
            let mut least = [Duration::MAX; 3];
            for round in 0..if cold { 60 } else { 600 } {
                let shade = u8::try_from(round % 200).expect("under 200");
                for (kind, least) in least.iter_mut().enumerate() {
                    from.fill(shade);
                    written.bytes_mut(0, bytes).fill(shade);
                    if cold {
                        std::hint::black_box(&mut other).fill(shade);
                    }
                    let begun = Instant::now();
                    match kind {
                        0 => to.copy_from_slice(std::hint::black_box(&from)),
                        1 => memory.copy_to(0, &mut to),
                        // SAFETY: the mapping has this length.
                        _ => unsafe { copy_words(memory.start.as_ptr(), &mut to) },
                    }
                    std::hint::black_box(&mut to);
                    *least = (*least).min(begun.elapsed());
                }
            }
            let [plain, blocks, words] = least.map(|time| time.as_secs_f64());
            eprintln!(
                "{bytes} bytes, cold {cold}: plain {:?}, blocks {:.2}, words {:.2}",
                least[0],
                blocks / plain,
                words / plain
            );
        }
    }
}
