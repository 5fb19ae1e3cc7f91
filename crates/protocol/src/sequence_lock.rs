//! The sequence lock of a slot: the order of the atomic accesses to a slot's `lock` and the ring's
//! `latest`.
//!
//! Frame `index` (counted from 1) lies in slot `(index - 1) % slots`.
//!
//! - The writer makes `lock` odd (`2 * index - 1`), writes the slot, makes `lock` even (`2 *
//!   index`), and then sets `latest` to `index`.
//! - A reader loads `latest`, checks that `lock` is `2 * index`, copies the frame, and checks
//!   `lock` again. If `lock` has changed, the writer has overtaken the reader, and the reader
//!   discards the copy.
//!
//! The reasons for the memory orderings:
//!
//! - *Writer, before the pixels*: a release fence follows the odd store and keeps all later writes
//!   behind it. A reader that has seen one byte of a newer frame, and then passes its acquire
//!   fence, therefore also sees the odd lock.
//! - *Writer, after the pixels*: the even store is a release. A reader that loads it with acquire
//!   sees the whole frame.
//! - *Reader, before the copy*: the first check is an acquire load, so the copy cannot begin before
//!   it.
//! - *Reader, after the copy*: an acquire fence keeps every load of the copy before the second
//!   check.
//!
//! The copy itself must consist of loads that may race with the writer's stores, such as relaxed
//! atomic loads.
//!
//! The functions are generic over the atomic type, so that the tests run the same code under loom,
//! which tries every order that the memory model allows.

use std::sync::atomic::Ordering;

/// A 64-bit atomic that can be loaded: a reader's access to `lock` and `latest`.
pub trait Load64 {
    /// Loads the value, converted from little-endian to the order of this machine.
    fn load(&self, order: Ordering) -> u64;
    /// Executes a fence in the memory model of this atomic type.
    fn fence(order: Ordering);
}

/// A 64-bit atomic that can also be stored: the writer's access to `lock` and `latest`.
pub trait Store64: Load64 {
    /// Stores a value, converted to little-endian.
    fn store(&self, value: u64, order: Ordering);
}

impl Load64 for std::sync::atomic::AtomicU64 {
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        u64::from_le(self.load(order))
    }

    #[inline]
    fn fence(order: Ordering) {
        std::sync::atomic::fence(order);
    }
}

impl Store64 for std::sync::atomic::AtomicU64 {
    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        self.store(value.to_le(), order);
    }
}

/// The slot, from 0, that holds frame `index`, from 1, in a ring of `slots` slots.
#[inline]
pub const fn slot_of(index: u64, slots: u64) -> u64 {
    index.wrapping_sub(1) % slots
}

/// The value of `lock` while the slot holds frame `index` complete.
#[inline]
pub const fn lock_value(index: u64) -> u64 {
    index.wrapping_mul(2)
}

/// Writer: marks the slot of `lock` as being written with frame `index`. Call it before the first
/// byte is written.
#[inline]
pub fn begin_write<A: Store64>(lock: &A, index: u64) {
    lock.store(lock_value(index).wrapping_sub(1), Ordering::Relaxed);
    A::fence(Ordering::Release);
}

/// Writer: marks frame `index` as complete and makes it the newest. Call it after the last byte is
/// written.
#[inline]
pub fn finish_write<A: Store64>(lock: &A, latest: &A, index: u64) {
    lock.store(lock_value(index), Ordering::Release);
    latest.store(index, Ordering::Release);
}

/// Reader: the index of the newest complete frame, or 0 before the first frame.
#[inline]
pub fn newest<A: Load64>(latest: &A) -> u64 {
    latest.load(Ordering::Acquire)
}

/// Reader, before the copy: whether the slot holds frame `index`, complete.
#[inline]
pub fn holds<A: Load64>(lock: &A, index: u64) -> bool {
    lock.load(Ordering::Acquire) == lock_value(index)
}

/// Reader, after the copy: whether the slot still holds frame `index`. If it does not, the copy
/// must be discarded.
#[inline]
pub fn held<A: Load64>(lock: &A, index: u64) -> bool {
    A::fence(Ordering::Acquire);
    lock.load(Ordering::Relaxed) == lock_value(index)
}
