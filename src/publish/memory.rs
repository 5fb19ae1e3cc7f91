//! The one place of this component with unsafe code: the writer's mapping of a ring, and the promise to tokio that a
//! descriptor stays open while it is watched.
//!
//! The mapping is split once into two owners that never overlap. [`RingHead`] is the first 4096 bytes after they were
//! written: it may be shared between threads and touches two atomics only. [`RingBody`] is the slots: one thread has it,
//! and borrows one slot at a time. Other processes read both at any time and can write neither (seals, see
//! [`super::ring`]), so the exclusive borrow of a slot's bytes is true on this side; the readers' side of the race is
//! theirs to handle, with atomic loads and the slot's lock.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use portraitd_protocol::layout::{HEADER_BYTES, RingLayout, header, slot};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The mapping itself; unmapped when both owners are gone.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a mapping belongs to the process and not to a thread. Who may touch which bytes is up to the two owners.
unsafe impl Send for Mapping {}
// SAFETY: as above; the type itself gives no access to the bytes.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` mapped; both owners, and with them all borrows, are gone.
        // An error would mean wrong arguments, which cannot be; there is nothing to be done then.
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

/// Maps `fd`, which must be as long as `layout` says, for writing, and writes the header.
///
/// # Errors
/// What `mmap` says.
pub(super) fn map(fd: impl AsFd, layout: &RingLayout) -> rustix::io::Result<(RingHead, RingBody)> {
    let bytes = layout.total_bytes();
    // SAFETY: a fresh mapping at an address of the kernel's choice overlaps nothing of ours.
    let start =
        unsafe { mmap(std::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, fd, 0) }?;
    let start = NonNull::new(start.cast::<u8>()).ok_or(rustix::io::Errno::NOMEM)?;
    let mapping = Arc::new(Mapping { start, bytes });
    let encoded = layout.encode();
    // SAFETY: the mapping is at least a header long, writable, and known to nobody else yet.
    unsafe { start.as_ptr().copy_from_nonoverlapping(encoded.as_ptr(), HEADER_BYTES) };
    let slot_count = usize::try_from(layout.slot_count).expect("64 at most");
    let body = RingBody { mapping: Arc::clone(&mapping), slot_count, slot_bytes: layout.slot_bytes };
    Ok((RingHead(mapping), body))
}

impl RingHead {
    /// The index of the newest complete frame.
    pub(super) fn latest(&self) -> &AtomicU64 {
        // SAFETY: within the header and aligned (const-asserted in the layout; a mapping begins at a page). The header
        // is touched through atomics only once `map` has returned. It stays mapped while `self` is borrowed.
        unsafe { &*self.0.start.as_ptr().wrapping_add(header::LATEST).cast() }
    }

    /// Says that no more frames will come.
    pub(super) fn close(&self) {
        // SAFETY: as in `latest`.
        let closed: &AtomicU32 = unsafe { &*self.0.start.as_ptr().wrapping_add(header::CLOSED).cast() };
        closed.store(1u32.to_le(), Ordering::Release);
    }
}

impl RingBody {
    /// Slot `index` (from 0): its lock, and all of its bytes that follow the lock.
    ///
    /// # Panics
    /// If there is no such slot.
    pub(super) fn slot(&mut self, index: usize) -> (&AtomicU64, &mut [u8]) {
        assert!(index < self.slot_count, "slot {index} of {}", self.slot_count);
        let start = self.mapping.start.as_ptr().wrapping_add(HEADER_BYTES + index * self.slot_bytes);
        const LOCK_BYTES: usize = size_of::<AtomicU64>();
        const { assert!(slot::LOCK == 0) };
        // SAFETY: the slot lies within the mapping (the index is checked, and `map` mapped what the layout says) and is
        // aligned to 64 bytes. The lock is touched through atomics only; it is not part of the slice.
        let lock = unsafe { &*start.cast::<AtomicU64>() };
        // SAFETY: as above; `&mut self` keeps a second borrow of any slot away, `RingHead` never reaches the slots, and
        // no other process can write them. The memory was zeroed by the kernel, so every byte is initialised.
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(start.wrapping_add(LOCK_BYTES), self.slot_bytes - LOCK_BYTES) };
        (lock, bytes)
    }
}

/// Watches `fd` for becoming readable, on the runtime of the caller.
///
/// # Errors
/// Where the kernel cannot watch such a descriptor.
///
/// # Panics
/// Outside of a tokio runtime with I/O.
pub(super) fn watch_readable(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, and is the same descriptor, until it is dropped; the `AsyncFd` owns it and never
    // lends it out mutably here.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}
