//! How many questions to polkit may be open, and of whom.
//!
//! A bus keeps a pending reply for each call until it is answered, and a system bus allows 128 of a
//! connection. Beyond that no question is possible, whoever asks. Somebody whose authentication
//! agent does not answer keeps a question open for minutes. So questions for a password, plain
//! questions and those about running attachments have places of their own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Open questions for a password, in all and of one user.
const PASSWORD: usize = 12;
pub(super) const PASSWORD_OF_USER: usize = 2;
/// Open questions that polkit answers by itself, in all and of one user.
const PLAIN: usize = 24;
const PLAIN_OF_USER: usize = 8;
/// Open questions about attachments that run.
const RUNNING: usize = 12;

/// The places of one kind, in all and by user.
#[derive(Debug)]
struct Kind {
    all: Arc<Semaphore>,
    of_user: usize,
    users: Mutex<HashMap<u32, Arc<Semaphore>>>,
}

impl Kind {
    fn new(all: usize, of_user: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), of_user, users: Mutex::default() }
    }

    fn user(&self, user: u32) -> Arc<Semaphore> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        // Who has a place, or waits for one, has a clone.
        users.retain(|_, places| Arc::strong_count(places) > 1);
        Arc::clone(users.entry(user).or_insert_with(|| Arc::new(Semaphore::new(self.of_user))))
    }

    /// Waits for a place. Users wait beside each other: one who asks much waits for itself first.
    async fn wait(&self, user: u32) -> Place {
        let own = self.user(user).acquire_owned().await;
        let all = Arc::clone(&self.all).acquire_owned().await;
        Place { _places: [own.ok(), all.ok()] }
    }

    fn take(&self, user: u32) -> Result<Place, Full> {
        let own = self.user(user).try_acquire_owned().map_err(|_| Full::User)?;
        let all = Arc::clone(&self.all).try_acquire_owned().map_err(|_| Full::All)?;
        Ok(Place { _places: [Some(own), Some(all)] })
    }
}

/// Why somebody cannot be asked for a password now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The user has [`PASSWORD_OF_USER`] questions open.
    User,
    /// All users together have as many open as there may be.
    All,
}

/// The place of an open question. It is free again when the value is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _places: [Option<OwnedSemaphorePermit>; 2],
}

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    password: Kind,
    plain: Kind,
    running: Kind,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            password: Kind::new(PASSWORD, PASSWORD_OF_USER),
            plain: Kind::new(PLAIN, PLAIN_OF_USER),
            running: Kind::new(RUNNING, RUNNING),
        }
    }
}

impl Places {
    /// A place for a question for a password, at once: the others may stay open for minutes.
    ///
    /// # Errors
    /// [`Full`] if there is none.
    pub(super) fn password(&self, user: u32) -> Result<Place, Full> {
        self.password.take(user)
    }

    /// Waits for a place for a question that polkit answers by itself; `running` says whether it is
    /// about an attachment that runs.
    pub(super) async fn plain(&self, user: u32, running: bool) -> Place {
        if running { self.running.wait(user).await } else { self.plain.wait(user).await }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// The pending replies that a system bus allows a connection.
    const BUS: usize = 128;

    #[test]
    fn one_user_leaves_places_for_others_and_all_together_for_the_running() {
        const { assert!(PASSWORD + PLAIN + RUNNING <= BUS / 2) };
        let places = Places::default();
        let passwords = [places.password(1), places.password(1), places.password(1)];
        assert_eq!(passwords[2].as_ref().expect_err("the third"), &Full::User);
        let others: Vec<_> = (2..100).map_while(|user| places.password(user).ok()).collect();
        assert_eq!(others.len(), PASSWORD - PASSWORD_OF_USER);
        assert_eq!(places.password(100).expect_err("no more"), Full::All);

        let plain = |user| places.plain(user, false).now_or_never();
        let own: Vec<_> = (0..100).map_while(|_| plain(1)).collect();
        assert_eq!(own.len(), PLAIN_OF_USER);
        let more: Vec<_> = (2..100).map_while(plain).collect();
        assert_eq!(more.len(), PLAIN - PLAIN_OF_USER);
        let running: Vec<_> = (0..100).map_while(|_| places.plain(7, true).now_or_never()).collect();
        assert_eq!(running.len(), RUNNING);

        drop((passwords, others, own));
        assert!(places.password(1).is_ok() && plain(1).is_some());
    }
}
