//! What the clients of each user may use of the service (see `docs/design/quotas.md`).
//!
//! Whatever a client asks for is charged to its user before it is made: bytes of memory, rings,
//! attachments, snapshots. A part of each is kept for users that have little, and when that is used
//! up, those that have most give way ([`RingBudget::take_fairly`]), so that a first client of another
//! user is always served.
//!
//! A charge is given back when what it stands for is provably free. Memory that a client may still
//! hold stays charged, and is looked at again ([`RingBudget::sweep`]).

mod fair;
mod group;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::Notify;

use super::error::PublishError;
use super::shared_file::SharedFile;
pub use fair::RingHolder;
use group::MemoryGroup;

/// Half of what the unit allows the service (`MemoryMax=`): one ring of 3840x2160 in RGB, or ten of
/// 1920x1080 in NV12.
const DEFAULT_BYTES: usize = 128 << 20;

/// What the kernel may keep of a file or pipe that a client holds, its pages not counted. Some ways
/// to hold a file cannot be observed (`O_PATH`), so each is charged this residue, which is given
/// back at [`RESIDUE_RATE`].
const FILE_RESIDUE: f64 = 2048.0;
/// The same for one more open description of a file.
const DESCRIPTION_RESIDUE: f64 = 256.0;
/// The most residue of one user, in bytes.
const RESIDUE_LIMIT: f64 = 32.0 * 1024.0 * 1024.0;
/// How fast residue is given back, in bytes per second.
const RESIDUE_RATE: f64 = 2048.0;

/// A limit on one kind of thing.
#[derive(Clone, Copy, Debug)]
struct Limit {
    /// The most of all users together.
    all: usize,
    /// The part of it that is kept for users that have at most `share`.
    reserve: usize,
    /// What a user may have while only the reserve is left.
    share: usize,
    /// The most of one user.
    user: usize,
}

impl Limit {
    const fn new(all: usize, reserve: usize, share: usize) -> Self {
        Self { all, reserve, share, user: all - reserve }
    }

    /// Whether a user that has `used` of `total` may have `more`.
    fn allows(&self, total: usize, used: usize, more: usize) -> bool {
        let (Some(total), Some(used)) = (total.checked_add(more), used.checked_add(more)) else { return false };
        more == 0
            || (total <= self.all && used <= self.user && (total <= self.all - self.reserve || used <= self.share))
    }
}

/// Each ring has a thread, and the unit allows 128 (`TasksMax=`).
const RINGS: Limit = Limit::new(32, 8, 2);
/// Each attachment has a pipe, and a process may open 1024 descriptors by default.
const ATTACHMENTS: Limit = Limit::new(256, 64, 16);
const SNAPSHOTS: Limit = Limit { all: 8, reserve: 4, share: 1, user: 2 };
/// Each picture that a client keeps has a descriptor here, until the client lets go of it.
const PICTURES: Limit = Limit { all: 256, reserve: 64, share: 8, user: 64 };
/// Each image that is being read has a thread.
const IMAGES: Limit = Limit { all: 8, reserve: 4, share: 1, user: 4 };

/// Amounts that are charged together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Memory, in bytes.
    pub bytes: usize,
    /// Rings.
    pub rings: usize,
    /// Attachments.
    pub attachments: usize,
    /// Snapshots in flight.
    pub snapshots: usize,
    /// Pictures that clients keep, and those that are being made.
    pub pictures: usize,
    /// Images that are being read.
    pub images: usize,
}

impl Amounts {
    const NONE: Self = Self { bytes: 0, rings: 0, attachments: 0, snapshots: 0, pictures: 0, images: 0 };

    /// One ring of this size, which takes whole pages.
    pub fn ring(bytes: usize) -> Self {
        let bytes = bytes.checked_next_multiple_of(rustix::param::page_size()).unwrap_or(usize::MAX);
        Self { bytes, rings: 1, ..Self::NONE }
    }

    /// One attachment.
    pub const ATTACHMENT: Self = Self { attachments: 1, ..Self::NONE };

    /// One snapshot in flight.
    pub const SNAPSHOT: Self = Self { snapshots: 1, ..Self::NONE };

    /// A picture of this size that a client keeps.
    pub const fn picture(bytes: usize) -> Self {
        Self { bytes, pictures: 1, ..Self::NONE }
    }

    /// What a program provides frames with: memory, and a pair of descriptors.
    pub const fn offer(bytes: usize) -> Self {
        Self { bytes, ..Self::ATTACHMENT }
    }

    /// One image that is being read.
    pub const IMAGE: Self = Self { images: 1, ..Self::NONE };

    /// Memory alone.
    pub const fn memory(bytes: usize) -> Self {
        Self { bytes, ..Self::NONE }
    }

    fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.rings += other.rings;
        self.attachments += other.attachments;
        self.snapshots += other.snapshots;
        self.pictures += other.pictures;
        self.images += other.images;
    }

    fn subtract(&mut self, other: Self) {
        self.bytes -= other.bytes;
        self.rings -= other.rings;
        self.attachments -= other.attachments;
        self.snapshots -= other.snapshots;
        self.pictures -= other.pictures;
        self.images -= other.images;
    }
}

/// The budget of all cameras. Clones share it.
#[derive(Clone, Debug)]
pub struct RingBudget(Arc<Shared>);

struct Shared {
    bytes: Limit,
    ledger: Mutex<Ledger>,
    holders: Mutex<Vec<Weak<dyn RingHolder>>>,
    /// What the system allows this process.
    group: Option<MemoryGroup>,
    /// Something was given back.
    freed: Notify,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("bytes", &self.bytes).field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Ledger {
    total: Amounts,
    users: HashMap<u32, Account>,
    /// Memory that clients may still hold, with its charge.
    kept: Vec<(SharedFile, RingShare)>,
}

#[derive(Clone, Copy, Debug)]
struct Account {
    used: Amounts,
    /// At `since`, in bytes.
    residue: f64,
    since: Instant,
}

impl Account {
    fn leave(&mut self, bytes: f64, now: Instant) {
        (self.residue, self.since) = (self.residue(now) + bytes, now);
    }

    fn residue(&self, now: Instant) -> f64 {
        (self.residue - now.saturating_duration_since(self.since).as_secs_f64() * RESIDUE_RATE).max(0.0)
    }
}

/// What is charged to a user. Dropping it gives it back.
#[derive(Debug)]
pub struct RingShare {
    budget: RingBudget,
    user: u32,
    amounts: Amounts,
}

impl Default for RingBudget {
    fn default() -> Self {
        Self::with(DEFAULT_BYTES, MemoryGroup::of_this_process())
    }
}

impl RingBudget {
    /// A budget of `limit` bytes. A quarter is kept for users that use at most an eighth.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self::with(limit, None)
    }

    fn with(limit: usize, group: Option<MemoryGroup>) -> Self {
        let bytes = Limit::new(limit, limit / 4, limit / 8);
        let (ledger, holders) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { bytes, ledger, holders, group, freed: Notify::new() }))
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // The critical sections assign numbers and move whole entries.
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Charges `amounts` to a user.
    ///
    /// # Errors
    /// [`PublishError::OverBudget`] or [`PublishError::OverQuota`] if a limit forbids it.
    pub fn take(&self, user: u32, amounts: Amounts) -> Result<RingShare, PublishError> {
        if let Ok(share) = self.try_take(user, amounts) {
            return Ok(share);
        }
        // What was kept may be free by now.
        self.sweep();
        self.try_take(user, amounts)
    }

    fn try_take(&self, user: u32, amounts: Amounts) -> Result<RingShare, PublishError> {
        if let Some(group) = &self.0.group
            && group.room().is_some_and(|room| room == 0 || room < amounts.bytes as u64)
        {
            return Err(PublishError::OutOfMemory { limit: group.limit() });
        }
        let now = Instant::now();
        let mut ledger = self.ledger();
        let total = ledger.total;
        let none = Account { used: Amounts::default(), residue: 0.0, since: now };
        let mut account = ledger.users.get(&user).copied().unwrap_or(none);
        let used = account.used;
        let bytes = self.0.bytes;
        if !bytes.allows(total.bytes, used.bytes, amounts.bytes) {
            let (wanted, limit) = (amounts.bytes, bytes.all);
            return Err(PublishError::OverBudget { wanted, used: total.bytes, by_user: used.bytes, limit });
        }
        let kinds = [
            ("streams of different kinds and sizes", RINGS, total.rings, used.rings, amounts.rings),
            ("attachments", ATTACHMENTS, total.attachments, used.attachments, amounts.attachments),
            ("snapshots in flight", SNAPSHOTS, total.snapshots, used.snapshots, amounts.snapshots),
            ("pictures that are kept", PICTURES, total.pictures, used.pictures, amounts.pictures),
            ("images being read", IMAGES, total.images, used.images, amounts.images),
        ];
        for (what, limit, total, used, more) in kinds {
            if !limit.allows(total, used, more) {
                return Err(PublishError::OverQuota { what, by_user: used, used: total, limit: limit.all });
            }
        }
        let residue = (amounts.rings + amounts.snapshots) as f64 * FILE_RESIDUE
            + amounts.attachments as f64 * DESCRIPTION_RESIDUE;
        account.leave(residue, now);
        if residue > 0.0 && account.residue > RESIDUE_LIMIT {
            return Err(PublishError::TooFast);
        }
        account.used.add(amounts);
        ledger.users.insert(user, account);
        ledger.total.add(amounts);
        Ok(RingShare { budget: self.clone(), user, amounts })
    }

    /// Keeps the charge for memory until no client holds it.
    pub(crate) fn keep(&self, file: SharedFile, share: RingShare) {
        self.ledger().kept.push((file, share));
        self.sweep();
    }

    /// Gives back what was charged for memory that no client holds any more. Returns whether any is
    /// still held.
    pub fn sweep(&self) -> bool {
        let mut ledger = self.ledger();
        let freed: Vec<_> = ledger.kept.extract_if(.., |(file, _)| file.is_unused()).collect();
        let held = !ledger.kept.is_empty();
        // A charge is given back under the lock.
        drop(ledger);
        for (file, _) in &freed {
            // Without this, a descriptor that was opened with O_PATH would pin the memory.
            file.free(0);
        }
        held
    }

    /// What is charged to a user.
    pub fn used_by(&self, user: u32) -> Amounts {
        self.ledger().users.get(&user).map(|account| account.used).unwrap_or_default()
    }

    fn give_back(&self, user: u32, amounts: Amounts) {
        let now = Instant::now();
        let mut ledger = self.ledger();
        ledger.total.subtract(amounts);
        if let Some(account) = ledger.users.get_mut(&user) {
            account.used.subtract(amounts);
        }
        ledger.users.retain(|_, account| account.used != Amounts::default() || account.residue(now) > 0.0);
        drop(ledger);
        self.0.freed.notify_waiters();
    }
}

impl RingShare {
    /// Charges the user for something that a client may have kept open: a pipe, or what an offer of
    /// frames was made with.
    pub(crate) fn leave_residue(&self) {
        if let Some(account) = self.budget.ledger().users.get_mut(&self.user) {
            account.leave(FILE_RESIDUE, Instant::now());
        }
    }

    /// The user to whom this is charged.
    pub const fn user(&self) -> u32 {
        self.user
    }

    /// The budget that this is charged against.
    pub const fn budget(&self) -> &RingBudget {
        &self.budget
    }

    /// Charges more to the same user.
    ///
    /// # Errors
    /// As [`RingBudget::take`]. What was charged stays charged.
    pub fn grow(&mut self, more: Amounts) -> Result<(), PublishError> {
        let mut share = self.budget.take(self.user, more)?;
        self.amounts.add(std::mem::take(&mut share.amounts));
        Ok(())
    }

    /// Gives all but `kept` back. Amounts that are larger than the charged ones change nothing.
    pub fn shrink(&mut self, kept: Amounts) {
        let Amounts { bytes, rings, attachments, snapshots, pictures, images } = self.amounts;
        let kept = Amounts {
            bytes: kept.bytes.min(bytes),
            rings: kept.rings.min(rings),
            attachments: kept.attachments.min(attachments),
            snapshots: kept.snapshots.min(snapshots),
            pictures: kept.pictures.min(pictures),
            images: kept.images.min(images),
        };
        let mut rest = self.amounts;
        rest.subtract(kept);
        self.amounts = kept;
        self.budget.give_back(self.user, rest);
    }
}

impl Drop for RingShare {
    fn drop(&mut self) {
        self.budget.give_back(self.user, self.amounts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(bytes: usize) -> Amounts {
        Amounts::memory(bytes)
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let budget = RingBudget::new(100);
        let first = budget.take(1, bytes(60)).expect("room");
        let error = budget.clone().take(1, bytes(16)).expect_err("the reserve");
        assert!(matches!(error, PublishError::OverBudget { wanted: 16, used: 60, limit: 100, .. }), "{error}");
        let mut second = budget.take(1, bytes(15)).expect("all but the reserve");
        budget.take(1, bytes(1)).expect_err("none left");
        budget.take(1, bytes(usize::MAX)).expect_err("no overflow");
        second.shrink(bytes(5));
        budget.take(1, bytes(10)).expect("room again");
        drop(first);
        budget.take(1, bytes(70)).expect("room again");
        second.grow(bytes(3)).expect("room");
        second.grow(bytes(90)).expect_err("too much");
        assert_eq!(budget.used_by(1).bytes, 8);
        drop(second);
        assert_eq!(budget.used_by(1), Amounts::default());
    }

    #[test]
    fn a_user_that_takes_all_leaves_the_reserve_for_others() {
        let budget = RingBudget::new(128 << 20);
        let _greedy = budget.take(1, bytes(96 << 20)).expect("all but the reserve");
        let _second = budget.take(2, bytes(16 << 20)).expect("a first view");
        budget.take(2, bytes(1)).expect_err("no more from the reserve");
        let _third = budget.take(3, bytes(16 << 20)).expect("a first view");
        budget.take(1, bytes(1)).expect_err("not from the reserve");
        let attachments: Vec<_> = std::iter::from_fn(|| budget.take(1, Amounts::ATTACHMENT).ok()).collect();
        assert_eq!(attachments.len(), 192);
        let rings: Vec<_> = std::iter::from_fn(|| budget.take(1, Amounts::ring(0)).ok()).collect();
        assert_eq!(rings.len(), 24);
        let snapshots: Vec<_> = std::iter::from_fn(|| budget.take(1, Amounts::SNAPSHOT).ok()).collect();
        assert_eq!(snapshots.len(), 2);
        let mut kept = Vec::new();
        for user in [2, 3] {
            let all = Amounts { rings: 2, attachments: 16, snapshots: 1, images: 1, ..Amounts::NONE };
            kept.push(budget.take(user, all).expect("a mask and a view"));
        }
    }

    #[test]
    fn files_that_are_made_without_end_are_charged_by_a_rate() {
        let budget = RingBudget::default();
        let made = (0..100_000).take_while(|_| budget.take(1, Amounts::ring(0)).is_ok()).count();
        assert!((16_384..17_000).contains(&made), "{made}");
        budget.take(2, Amounts::ring(0)).expect("another user");
    }

    #[test]
    fn the_pictures_that_one_user_keeps_leave_descriptors_for_others() {
        let budget = RingBudget::default();
        let mut kept = Vec::new();
        while let Ok(mut share) = budget.take(1, Amounts::picture(9000)) {
            share.shrink(Amounts::picture(1500));
            kept.push(share);
        }
        assert_eq!(kept.len(), PICTURES.user);
        budget.take(2, Amounts::picture(9000)).expect("another user");
        kept.pop();
        budget.take(1, Amounts::picture(9000)).expect("one was let go");
    }

    #[test]
    fn memory_that_a_client_holds_stays_charged() {
        let own = rustix::process::geteuid().as_raw();
        for user in [own, own + 1] {
            let budget = RingBudget::new(1 << 20);
            let file = SharedFile::create("test", user).expect("memory");
            file.allocate(4096).expect("memory");
            let client = file.for_client().expect("descriptor");
            budget.keep(file, budget.take(user, bytes(4096)).expect("room"));
            assert!(budget.sweep());
            assert_eq!(budget.used_by(user).bytes, 4096);
            drop(client);
            assert!(!budget.sweep());
            assert_eq!(budget.used_by(user).bytes, 0);
        }
    }
}
