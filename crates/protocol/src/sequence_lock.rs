//! The order of a slot's `lock` and the ring's `latest`: the few atomic steps that both sides of a ring must take.
//!
//! A slot is a sequence lock. Frame `index` (counted from 1) lives in slot `(index - 1) % slots`. The writer makes
//! `lock` odd (`2 * index - 1`), writes the slot, makes `lock` even (`2 * index`), and only then says `latest = index`.
//! A reader takes `latest`, looks whether `lock == 2 * index`, copies, and looks again. If `lock` has changed, the writer
//! came round in between and the copy is thrown away.
//!
//! Why each ordering is what it is:
//! - *Writer, before the pixels*: the odd store must be seen no later than any byte that follows it. A release fence after
//!   the store keeps all later writes behind it: a reader that has seen such a byte, and then passes its acquire fence,
//!   sees the odd lock too.
//! - *Writer, after the pixels*: the even store is a release, so whoever reads it with acquire sees the whole frame.
//! - *Reader, before the copy*: the first look is an acquire load, so the copy cannot begin before it.
//! - *Reader, after the copy*: an acquire fence keeps every load of the copy before the second look.
//!
//! The copy itself must be made of loads that may race (relaxed atomics here, see [`crate::ring`]).
//!
//! The steps are generic over the atomic, so that the tests run this very code under loom, which tries every order
//! that the memory model allows.

use std::sync::atomic::Ordering;

/// A 64-bit atomic that can be loaded: how a reader sees `lock` and `latest`.
pub trait Load64 {
    /// Loads the value.
    fn load(&self, order: Ordering) -> u64;
    /// A fence of the same memory model.
    fn fence(order: Ordering);
}

/// A 64-bit atomic that can be stored too: how the writer sees `lock` and `latest`.
pub trait Store64: Load64 {
    /// Stores a value.
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

/// The slot of frame `index` (from 1) in a ring of `slots`.
#[inline]
pub const fn slot_of(index: u64, slots: u64) -> u64 {
    index.wrapping_sub(1) % slots
}

/// What `lock` is while frame `index` is complete.
#[inline]
pub const fn lock_value(index: u64) -> u64 {
    index.wrapping_mul(2)
}

/// Writer: frame `index` is about to be written into the slot of `lock`.
#[inline]
pub fn begin_write<A: Store64>(lock: &A, index: u64) {
    lock.store(lock_value(index).wrapping_sub(1), Ordering::Relaxed);
    A::fence(Ordering::Release);
}

/// Writer: frame `index` is complete.
#[inline]
pub fn finish_write<A: Store64>(lock: &A, latest: &A, index: u64) {
    lock.store(lock_value(index), Ordering::Release);
    latest.store(index, Ordering::Release);
}

/// Reader: the index of the newest complete frame; 0 before the first.
#[inline]
pub fn newest<A: Load64>(latest: &A) -> u64 {
    latest.load(Ordering::Acquire)
}

/// Reader, before the copy: whether the slot holds frame `index` now.
#[inline]
pub fn holds<A: Load64>(lock: &A, index: u64) -> bool {
    lock.load(Ordering::Acquire) == lock_value(index)
}

/// Reader, after the copy: whether the slot held frame `index` all the while.
#[inline]
pub fn held<A: Load64>(lock: &A, index: u64) -> bool {
    A::fence(Ordering::Acquire);
    lock.load(Ordering::Relaxed) == lock_value(index)
}
