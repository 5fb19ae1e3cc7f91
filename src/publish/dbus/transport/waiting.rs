//! Calls of clients whose user is not known yet. They wait until the bus has said which user the
//! client belongs to, so that every call in flight is counted by its user.
//!
//! The transport asks the bus at a client's first call, and the answer comes within a round trip.
//! If too much waits meanwhile, calls of the client that has most waiting are refused, so that a
//! new client with one call is served beside others that send many.

use std::collections::{HashMap, VecDeque};

use super::gate::{Full, SENDER_CALLS};

/// Calls that wait in all.
const CALLS: usize = 1024;
/// Bytes of the calls that wait in all.
const BYTES: usize = 1 << 20;
/// Descriptors of the calls that wait in all.
const FDS: usize = 32;

/// What a call takes while it waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) bytes: usize,
    pub(super) fds: usize,
}

#[derive(Debug)]
struct Call<T> {
    sender: Box<str>,
    size: Size,
    call: T,
}

/// The calls, in the order in which they came.
#[derive(Debug)]
pub(super) struct Waiting<T>(VecDeque<Call<T>>);

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Waiting<T> {
    /// Adds a call. Returns those that are refused instead, perhaps this one.
    pub(super) fn push(&mut self, sender: &str, size: Size, call: T) -> Vec<(T, Full)> {
        if self.0.iter().filter(|waiting| *waiting.sender == *sender).count() >= SENDER_CALLS {
            return vec![(call, Full::Sender)];
        }
        self.0.push_back(Call { sender: sender.into(), size, call });
        let mut refused = Vec::new();
        while self.is_over() {
            refused.extend(self.newest_of_largest().map(|call| (call, Full::Total)));
        }
        refused
    }

    /// The calls of a sender, in the order in which they came.
    pub(super) fn take(&mut self, sender: &str) -> Vec<T> {
        let (taken, rest): (VecDeque<_>, _) =
            std::mem::take(&mut self.0).into_iter().partition(|call| *call.sender == *sender);
        self.0 = rest;
        taken.into_iter().map(|call: Call<T>| call.call).collect()
    }

    /// Whose calls wait.
    pub(super) fn senders(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|call| &*call.sender)
    }

    fn is_over(&self) -> bool {
        let sum = |of: fn(&Size) -> usize| self.0.iter().map(|call| of(&call.size)).sum::<usize>();
        self.0.len() > CALLS || sum(|size| size.bytes) > BYTES || sum(|size| size.fds) > FDS
    }

    /// Takes out the last call of the sender that takes the largest part of what is limited.
    fn newest_of_largest(&mut self) -> Option<T> {
        let mut parts = HashMap::<&str, usize>::new();
        for Call { sender, size, .. } in &self.0 {
            *parts.entry(sender).or_default() += BYTES / CALLS + size.bytes + size.fds * (BYTES / FDS);
        }
        let largest = parts.values().copied().max()?;
        let at = self.0.iter().rposition(|call| parts.get(&*call.sender) == Some(&largest))?;
        self.0.remove(at).map(|call| call.call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Size = Size { bytes: 200, fds: 0 };

    #[test]
    fn calls_wait_in_order_and_by_sender() {
        let mut waiting = Waiting::default();
        for n in 0..10 {
            assert!(waiting.push(if n % 2 == 0 { ":even" } else { ":odd" }, SMALL, n).is_empty());
        }
        assert_eq!(waiting.take(":odd"), [1, 3, 5, 7, 9]);
        assert_eq!(waiting.senders().collect::<Vec<_>>(), [":even"; 5]);
        assert_eq!(waiting.take(":odd"), [0; 0]);
    }

    #[test]
    fn a_sender_has_no_more_calls_waiting_than_it_may_have_in_flight() {
        let mut waiting = Waiting::default();
        let refused: Vec<_> = (0..100).flat_map(|n| waiting.push(":1.1", SMALL, n)).collect();
        assert_eq!((refused[0], refused.len()), ((SENDER_CALLS, Full::Sender), 100 - SENDER_CALLS));
    }

    #[test]
    fn whoever_has_most_is_refused_first() {
        for size in [SMALL, Size { bytes: 60_000, fds: 0 }, Size { bytes: 200, fds: 1 }] {
            let mut waiting = Waiting::default();
            let mut refused = 0;
            for n in 0..2000 {
                // A hundred senders with many calls, whose names say so.
                refused += waiting.push(&format!(":many.{}", n % 100), size, "many").len();
            }
            assert!(refused > 0 && waiting.0.len() <= CALLS);
            let refused = waiting.push(":new", SMALL, "new");
            assert!(refused.iter().all(|refused| *refused == ("many", Full::Total)), "{refused:?}");
            assert_eq!(waiting.take(":new"), ["new"]);
            assert!(!waiting.is_over());
        }
    }
}
