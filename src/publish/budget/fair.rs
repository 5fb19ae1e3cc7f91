//! A first mask and a first view for every user, even if others have used up the limits.
//!
//! The reserve serves two further users. After that, the largest ring of the user that has most is
//! ended for a user that asks for little, if it has more than an equal part. The clients of the
//! ended ring attach again; they may get `Busy`. `docs/design/quotas.md` has the rule.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tracing::info;

use super::{ATTACHMENTS, Amounts, Limit, RINGS, RingBudget, RingShare};
use crate::publish::error::PublishError;

/// How long the memory of a ring that is ended may take to become free: a slot may still be drawn.
const FREED_WITHIN: Duration = Duration::from_secs(1);

/// A camera, which has rings and can end them.
pub trait RingHolder: Send + Sync {
    /// The bytes of the largest ring of a user to which clients are attached.
    fn largest_ring(&self, user: u32) -> Option<usize>;

    /// Ends that ring. Returns whether there was one.
    fn end_largest_ring(&self, user: u32) -> bool;
}

/// A kind of thing with a limit, and the part of [`Amounts`] that counts it.
type Kind = (Limit, fn(&Amounts) -> usize);

impl RingBudget {
    fn kinds(&self) -> [Kind; 3] {
        [
            (self.0.bytes, |amounts| amounts.bytes),
            (RINGS, |amounts| amounts.rings),
            (ATTACHMENTS, |amounts| amounts.attachments),
        ]
    }

    /// Adds a camera whose rings may be ended for users that have little.
    pub fn register(&self, holder: Weak<dyn RingHolder>) {
        let mut holders = self.0.holders.lock().unwrap_or_else(PoisonError::into_inner);
        holders.retain(|holder| holder.strong_count() > 0);
        holders.push(holder);
    }

    fn holders(&self) -> Vec<Arc<dyn RingHolder>> {
        let holders = self.0.holders.lock().unwrap_or_else(PoisonError::into_inner);
        holders.iter().filter_map(Weak::upgrade).collect()
    }

    /// Charges `amounts` to a user. If there is no room, but the user would then have no more than
    /// a first mask and view and no more than an equal part, rings of users with more than an equal
    /// part are ended until there is room.
    ///
    /// # Errors
    /// As [`RingBudget::take`].
    pub async fn take_fairly(&self, user: u32, amounts: Amounts) -> Result<RingShare, PublishError> {
        loop {
            let error = match self.take(user, amounts) {
                Ok(share) => return Ok(share),
                Err(error) => error,
            };
            let freed = self.0.freed.notified();
            let Some(other) = self.larger_users(user, amounts).into_iter().find(|other| self.end_largest_ring(*other))
            else {
                return Err(error);
            };
            info!("the largest ring of user {other} is ended, because user {user} has less and needs room: {error}");
            // Each round ends a ring, so the rounds are bounded.
            let _ = tokio::time::timeout(FREED_WITHIN, freed).await;
        }
    }

    /// The users that have more than an equal part of the lacking resource, those with most first.
    /// Empty if `user` is not entitled to end rings of others for `amounts`.
    fn larger_users(&self, user: u32, amounts: Amounts) -> Vec<u32> {
        let ledger = self.ledger();
        let used = |user: u32| ledger.users.get(&user).map(|account| account.used).unwrap_or_default();
        let mine = used(user);
        let others =
            ledger.users.iter().filter(|(other, account)| **other != user && account.used != Amounts::default());
        let others: Vec<(u32, Amounts)> = others.map(|(other, account)| (*other, account.used)).collect();
        let mut larger: Vec<(usize, u32)> = Vec::new();
        for (limit, of) in self.kinds() {
            let (more, equal) = (of(&amounts), limit.all / (others.len() + 1));
            if of(&mine).saturating_add(more) > limit.share.min(equal) && more > 0 {
                return Vec::new();
            }
            if !limit.allows(of(&ledger.total), of(&mine), more) {
                larger =
                    others.iter().map(|(other, used)| (of(used), *other)).filter(|(used, _)| *used > equal).collect();
            }
        }
        // What root and the service's own user hold cannot be taken back: their memory is sealed.
        let own = rustix::process::geteuid().as_raw();
        larger.retain(|(_, other)| *other != 0 && *other != own);
        larger.sort_unstable_by(|a, b| b.cmp(a));
        larger.into_iter().map(|(_, other)| other).collect()
    }

    fn end_largest_ring(&self, user: u32) -> bool {
        let holders = self.holders();
        let sized = holders.iter().filter_map(|holder| Some((holder.largest_ring(user)?, holder)));
        sized.max_by_key(|(bytes, _)| *bytes).is_some_and(|(_, holder)| holder.end_largest_ring(user))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// The rings of several users.
    #[derive(Default)]
    struct Rings(Mutex<Vec<RingShare>>);

    impl Rings {
        fn of(&self, user: u32) -> Option<usize> {
            let rings = self.0.lock().expect("whole");
            let of_user = rings.iter().enumerate().filter(|(_, ring)| ring.user() == user);
            of_user.max_by_key(|(_, ring)| ring.amounts.bytes).map(|(at, _)| at)
        }
    }

    impl RingHolder for Rings {
        fn largest_ring(&self, user: u32) -> Option<usize> {
            let at = self.of(user)?;
            Some(self.0.lock().expect("whole")[at].amounts.bytes)
        }

        fn end_largest_ring(&self, user: u32) -> bool {
            let at = self.of(user);
            // A charge is given back without the lock.
            let ended = at.map(|at| self.0.lock().expect("whole").swap_remove(at));
            ended.is_some()
        }
    }

    const MIB: usize = 1 << 20;
    /// Users that are neither root nor whoever runs the test.
    const FIRST: u32 = 3_000_000_000;

    fn rig() -> (RingBudget, Arc<Rings>) {
        let (budget, rings) = (RingBudget::new(128 * MIB), Arc::new(Rings::default()));
        let holder: Weak<dyn RingHolder> = Arc::<Rings>::downgrade(&rings);
        budget.register(holder);
        (budget, rings)
    }

    /// A mask and a view in turns until no more are to be had.
    async fn take_all(budget: &RingBudget, rings: &Rings, user: u32, size: usize) -> usize {
        let mut had = 0;
        while let Ok(share) = budget.take_fairly(user, Amounts::ring(size)).await {
            rings.0.lock().expect("whole").push(share);
            had += 1;
        }
        had
    }

    #[tokio::test]
    async fn every_one_of_ten_users_gets_a_mask_and_a_view_whatever_the_others_take() {
        let (budget, rings) = rig();
        for user in FIRST..FIRST + 10 {
            for size in [MIB / 4, 12 * MIB] {
                let share = budget.take_fairly(user, Amounts::ring(size)).await;
                rings.0.lock().expect("whole").push(share.unwrap_or_else(|error| panic!("user {user}: {error}")));
            }
            // Then it takes what there is, in large rings and in small ones.
            take_all(&budget, &rings, user, 12 * MIB).await;
            take_all(&budget, &rings, user, MIB).await;
            assert!(budget.ledger().total.bytes <= 128 * MIB);
        }
    }

    #[tokio::test]
    async fn nobody_loses_a_ring_for_a_user_that_has_more_than_a_first_view() {
        let (budget, rings) = rig();
        let had = take_all(&budget, &rings, FIRST, 12 * MIB).await;
        assert_eq!(had, 8);
        assert_eq!(take_all(&budget, &rings, FIRST + 1, 12 * MIB).await, 1);
        assert_eq!(take_all(&budget, &rings, FIRST + 2, 12 * MIB).await, 1);
        assert_eq!(budget.used_by(FIRST).bytes, 96 * MIB, "the reserve was enough");
        // From now on it takes rings of the first user, and never one of those that have less.
        assert_eq!(take_all(&budget, &rings, FIRST + 3, 12 * MIB).await, 1);
        assert_eq!(budget.used_by(FIRST).bytes, 84 * MIB);
        assert_eq!(budget.used_by(FIRST + 1).bytes, 12 * MIB);
    }

    #[tokio::test]
    async fn what_cannot_be_taken_back_is_not_ended() {
        let (budget, rings) = rig();
        take_all(&budget, &rings, 0, 12 * MIB).await;
        for user in FIRST..FIRST + 2 {
            assert_eq!(take_all(&budget, &rings, user, 12 * MIB).await, 1);
        }
        let before = rings.0.lock().expect("whole").len();
        budget.take_fairly(FIRST + 2, Amounts::ring(12 * MIB)).await.expect_err("no room");
        assert_eq!(rings.0.lock().expect("whole").len(), before);
    }
}
