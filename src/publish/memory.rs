//! The unsafe code of this component: the writer's mapping of a ring, and the guarantee for tokio
//! that a descriptor stays open while it is watched.
//!
//! The mapping is split once into two owners that do not overlap. [`RingHead`] covers the header
//! (4096 bytes), after it was written. Threads may share it, and it accesses two atomics only.
//! [`RingBody`] covers the slots. One thread owns it and borrows one slot at a time.
//!
//! Other processes can read both at any time and can write neither (see the seals in `ring.rs`).
//! The exclusive borrow of a slot's bytes is therefore sound on this side. Readers handle the race
//! on their side, with atomic loads and the lock of the slot.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use portraitd_protocol::layout::{HEADER_BYTES, RingLayout, header, slot};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The mapping. It is removed when both owners are dropped.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a mapping belongs to the process and not to a thread. The two owners control the access
// to its bytes.
unsafe impl Send for Mapping {}
// SAFETY: as above. The type itself gives no access to the bytes.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: these are the address and size that `map` mapped. Both owners are dropped, and
        // all borrows with them. An error would mean wrong arguments, which is impossible here.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// The atomics of the ring's header.
#[derive(Debug)]
pub(super) struct RingHead(Arc<Mapping>);

/// The slots.
#[derive(Debug)]
pub(super) struct RingBody {
    mapping: Arc<Mapping>,
    slot_count: usize,
    slot_bytes: usize,
}

/// Maps `fd`, which must have the size of `layout`, for writing, and writes the header.
///
/// # Errors
/// If `mmap` fails.
pub(super) fn map(fd: impl AsFd, layout: &RingLayout) -> rustix::io::Result<(RingHead, RingBody)> {
    let bytes = layout.total_bytes();
    // SAFETY: a new mapping at an address that the kernel chooses does not overlap any memory in
    // use.
    let start =
        unsafe { mmap(std::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, fd, 0) }?;
    let start = NonNull::new(start.cast::<u8>()).ok_or(rustix::io::Errno::NOMEM)?;
    // A core dump must not contain pictures.
    // SAFETY: the range was just mapped, and the advice changes no byte of it.
    unsafe { madvise(start.as_ptr().cast(), bytes, Advice::LinuxDontDump) }?;
    let mapping = Arc::new(Mapping { start, bytes });
    let encoded = layout.encode();
    // SAFETY: the mapping is writable, at least as long as the header, and no other thread or
    // process knows it yet.
    unsafe { start.as_ptr().copy_from_nonoverlapping(encoded.as_ptr(), HEADER_BYTES) };
    let slot_count = usize::try_from(layout.slot_count).expect("at most 64");
    let body = RingBody { mapping: Arc::clone(&mapping), slot_count, slot_bytes: layout.slot_bytes };
    Ok((RingHead(mapping), body))
}

impl RingHead {
    /// The header field with the index of the newest complete frame.
    pub(super) fn latest(&self) -> &AtomicU64 {
        // SAFETY: the field is within the header and aligned (the layout asserts this at compile
        // time, and a mapping begins at a page). After `map` has returned, the header is accessed
        // through atomics only. It stays mapped while `self` is borrowed.
        unsafe { &*self.0.start.as_ptr().wrapping_add(header::LATEST).cast() }
    }

    /// Marks the ring as closed, in memory that all readers see.
    pub(super) fn close(&self) {
        // SAFETY: as in `latest`.
        let closed: &AtomicU32 = unsafe { &*self.0.start.as_ptr().wrapping_add(header::CLOSED).cast() };
        closed.store(1u32.to_le(), Ordering::Release);
    }
}

impl RingBody {
    /// The lock of slot `index` (from 0), and the bytes that follow the lock.
    ///
    /// # Panics
    /// If the ring has no such slot.
    pub(super) fn slot(&mut self, index: usize) -> (&AtomicU64, &mut [u8]) {
        assert!(index < self.slot_count, "slot {index} of {}", self.slot_count);
        let start = self.mapping.start.as_ptr().wrapping_add(HEADER_BYTES + index * self.slot_bytes);
        const LOCK_BYTES: usize = size_of::<AtomicU64>();
        const { assert!(slot::LOCK == 0) };
        // SAFETY: the slot is within the mapping (the index is checked, and `map` mapped the size
        // of the layout) and aligned to 64 bytes. The lock is accessed through atomics only, and is
        // not part of the slice below.
        let lock = unsafe { &*start.cast::<AtomicU64>() };
        // SAFETY: as above. `&mut self` excludes a second borrow of any slot, `RingHead` does not
        // access the slots, and no other process can write to them. The kernel zeroed the memory,
        // so every byte is initialised.
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(start.wrapping_add(LOCK_BYTES), self.slot_bytes - LOCK_BYTES) };
        (lock, bytes)
    }
}

impl RingBody {
    /// Overwrites all slots with zero.
    pub(super) fn fill_zero(&mut self) {
        for index in 0..self.slot_count {
            let (lock, bytes) = self.slot(index);
            // Odd: a reader discards what it has copied.
            lock.store(1u64.to_le(), Ordering::Release);
            std::sync::atomic::fence(Ordering::SeqCst);
            bytes.fill(0);
            lock.store(0, Ordering::Release);
        }
    }
}

/// Registers `fd` with the caller's runtime, to wait until it is readable.
///
/// # Errors
/// If the kernel cannot watch such a descriptor.
///
/// # Panics
/// Outside of a tokio runtime with I/O.
pub(crate) fn watch_readable(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open, and stays the same descriptor, until it is dropped. The
    // `AsyncFd` owns it, and nothing here borrows it mutably.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}
