//! A value that some threads of a camera replace and others read.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A value behind one lock. Readers get a clone, so the lock is never held while the value is used.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct SharedValue<T>(Mutex<T>);

impl<T> SharedValue<T> {
    pub(in crate::pipeline) const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        // The critical sections of this file clone and assign. A panic in one of them leaves the
        // old or the new value.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the value. The old one is dropped after the lock is released.
    pub(in crate::pipeline) fn set(&self, value: T) {
        let old = std::mem::replace(&mut *self.lock(), value);
        drop(old);
    }
}

impl<T: Clone> SharedValue<T> {
    pub(in crate::pipeline) fn get(&self) -> T {
        self.lock().clone()
    }

    /// Changes a copy of the value and then replaces the value by it. If `change` panics, the old
    /// value stays.
    pub(in crate::pipeline) fn update(&self, change: impl FnOnce(&mut T)) {
        let mut value = self.lock();
        let mut next = value.clone();
        change(&mut next);
        let old = std::mem::replace(&mut *value, next);
        drop(value);
        drop(old);
    }
}

impl<T> SharedValue<Option<T>> {
    /// Takes the value and leaves `None`.
    pub(in crate::pipeline) fn take(&self) -> Option<T> {
        self.lock().take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_a_change_leaves_the_old_value() {
        let value = SharedValue::new(vec![1]);
        let panicked = std::thread::scope(|scope| {
            let half_done = scope.spawn(|| {
                value.update(|value| {
                    value.push(2);
                    std::panic::resume_unwind(Box::new("injected"));
                });
            });
            half_done.join().is_err()
        });
        assert!(panicked);
        assert_eq!(value.get(), [1]);
        value.update(|value| value.push(3));
        assert_eq!(value.get(), [1, 3]);
    }
}
