//! The memory that all rings together may use.
//!
//! The memory of a ring is charged to the service, whichever client asked for the ring. Without a
//! limit, a client that asks for many large pictures could get the service killed by the kernel's
//! out-of-memory handling.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::PublishError;

/// Half of what the unit allows the service (`MemoryMax=`): one ring of 3840x2160 in RGB, or ten of
/// 1920x1080 in NV12.
const DEFAULT_BYTES: usize = 128 << 20;

/// The budget of all rings. Clones share it.
#[derive(Clone, Debug)]
pub struct RingBudget(Arc<Account>);

#[derive(Debug)]
struct Account {
    limit: usize,
    used: AtomicUsize,
}

/// The part of the budget that one ring uses. Dropping it returns the bytes.
#[derive(Debug)]
pub struct RingShare {
    budget: RingBudget,
    bytes: usize,
}

impl Default for RingBudget {
    fn default() -> Self {
        Self::new(DEFAULT_BYTES)
    }
}

impl RingBudget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Account { limit, used: AtomicUsize::new(0) }))
    }

    /// Reserves `bytes` for a ring.
    ///
    /// # Errors
    /// [`PublishError::OverBudget`] if fewer are left.
    pub fn take(&self, bytes: usize) -> Result<RingShare, PublishError> {
        let Account { limit, used } = &*self.0;
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| sum <= limit);
        match used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(RingShare { budget: self.clone(), bytes }),
            Err(used) => Err(PublishError::OverBudget { wanted: bytes, used, limit: *limit }),
        }
    }
}

impl Drop for RingShare {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let budget = RingBudget::new(100);
        let first = budget.take(60).expect("room");
        let error = budget.clone().take(41).expect_err("one budget");
        assert!(matches!(error, PublishError::OverBudget { wanted: 41, used: 60, limit: 100 }), "{error}");
        let second = budget.take(40).expect("all of it");
        budget.take(1).expect_err("none left");
        budget.take(usize::MAX).expect_err("no overflow");
        drop(first);
        budget.take(60).expect("room again");
        drop(second);
        budget.take(100).expect("all of it");
    }
}
