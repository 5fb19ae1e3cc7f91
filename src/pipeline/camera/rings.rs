//! The table of a camera's rings, behind one lock: the rings that exist or are being made, the
//! attachments, and the places that are reserved while an attach is under way.
//!
//! The lock is held for short sections that search and change lists and start no allocation of ring
//! memory. While it is held, only the lock of a ring's client list is taken.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use portraitd_protocol::{RingLayout, ServiceError};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::pipeline::demand::DemandGuard;
use crate::pipeline::render::{RenderThread, RingKey};
use crate::publish::dbus::service::Client;
use crate::publish::{ClientFds, PublishError, RingClients, RingShare};

/// The owner of the table.
#[derive(Default)]
pub(super) struct RingTable(Mutex<Table>);

#[derive(Default)]
struct Table {
    /// The camera is stopped: nothing is added any more.
    closed: bool,
    next_number: u64,
    entries: Vec<Entry>,
    attachments: Vec<Attached>,
}

struct Entry {
    serial: u64,
    key: RingKey,
    /// Only clients of this user share the ring.
    user: u32,
    ring: RingState,
}

enum RingState {
    /// Its memory is being allocated. Dropping the sender wakes the attaches that wait for it.
    Pending(watch::Sender<()>),
    Live(Box<LiveRing>),
}

/// A ring with its render thread.
pub(super) struct LiveRing {
    pub(super) clients: RingClients,
    pub(super) thread: RenderThread,
    /// The task that notices clients that have left.
    pub(super) watcher: AbortHandle,
}

/// A client's use of a ring.
pub(super) struct Attached {
    pub(super) client: Client,
    /// What the client sees.
    pub(super) key: RingKey,
    /// The ring.
    pub(super) serial: u64,
    /// The ring's number of the client.
    pub(super) id: u64,
    _demand: DemandGuard,
    _share: RingShare,
}

/// A client that attaches, and what it has reserved. Dropping it gives everything back.
pub(super) struct Joining {
    pub(super) client: Client,
    pub(super) demand: DemandGuard,
    /// One attachment of its user.
    pub(super) share: RingShare,
}

/// A place for a ring that is being made. Dropping it gives the place back, and another attach may
/// make the ring.
pub(super) struct RingPlace<'a> {
    table: &'a RingTable,
    serial: u64,
}

/// What has come of an attempt to attach.
pub(super) enum Attempt<'a> {
    /// The client is attached.
    Attached { fds: ClientFds, layout: RingLayout, consumers: usize },
    /// Another attach makes the ring. Try again when the sender of this is gone.
    BeingMade(watch::Receiver<()>),
    /// There is no such ring. Make it in this place and try again.
    Missing(RingPlace<'a>),
    /// The ring that was made for this attach was closed meanwhile, because the source's format has
    /// changed.
    Closed,
}

impl LiveRing {
    /// Wipes the ring and closes it for its clients, and tells its render thread to end.
    pub(super) fn end(&self) {
        self.clients.wipe();
        self.thread.stop();
        self.watcher.abort();
    }
}

impl Entry {
    fn live(&self) -> Option<&LiveRing> {
        match &self.ring {
            RingState::Live(ring) => Some(ring),
            RingState::Pending(_) => None,
        }
    }

    fn is_closed(&self) -> bool {
        self.live().is_some_and(|ring| ring.clients.is_closed())
    }
}

impl Table {
    /// Ends the ring if no client is attached to it.
    fn end_if_unused(&mut self, serial: u64) {
        if self.attachments.iter().any(|attached| attached.serial == serial) {
            return;
        }
        if let Some(index) = self.entries.iter().position(|entry| entry.serial == serial && entry.live().is_some()) {
            let entry = self.entries.swap_remove(index);
            entry.live().inspect(|ring| ring.end());
        }
    }
}

impl RingTable {
    fn lock(&self) -> MutexGuard<'_, Table> {
        // The critical sections search the lists, and add or remove whole entries: a panic leaves
        // each list whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of rings, those that are being made included.
    pub(super) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// The number of attachments.
    pub(super) fn attachments(&self) -> usize {
        self.lock().attachments.len()
    }

    /// Attaches the client of `joining` to the ring `made`, or to an open ring of this key and its
    /// user. Takes `joining` if it succeeds.
    ///
    /// # Errors
    /// The error of `allowed`; `Busy` if the ring has too many clients; `Failed` if the system has
    /// no descriptors left or the camera is stopped. The ring `made` is then ended if it has no
    /// client.
    pub(super) fn attach(
        &self,
        joining: &mut Option<Joining>,
        key: &RingKey,
        made: Option<u64>,
        interval: Option<Duration>,
        allowed: impl FnOnce() -> Result<(), ServiceError>,
    ) -> Result<Attempt<'_>, ServiceError> {
        let mut table = self.lock();
        let attempt = self.attach_locked(&mut table, joining, key, made, interval, allowed);
        if !matches!(attempt, Ok(Attempt::Attached { .. }))
            && let Some(serial) = made
        {
            table.end_if_unused(serial);
        }
        attempt
    }

    fn attach_locked(
        &self,
        table: &mut Table,
        joining: &mut Option<Joining>,
        key: &RingKey,
        made: Option<u64>,
        interval: Option<Duration>,
        allowed: impl FnOnce() -> Result<(), ServiceError>,
    ) -> Result<Attempt<'_>, ServiceError> {
        if table.closed {
            return Err(stopped());
        }
        allowed()?;
        let Some(user) = joining.as_ref().map(|joining| joining.client.user) else {
            return Err(ServiceError::Failed("the client is attached already".into()));
        };
        let usable = |entry: &Entry| match made {
            Some(serial) => entry.serial == serial,
            None => entry.key == *key && entry.user == user && !entry.is_closed(),
        };
        let Some(entry) = table.entries.iter().find(|entry| usable(entry)) else {
            if made.is_some() {
                return Ok(Attempt::Closed);
            }
            let serial = table.next_number;
            table.next_number += 1;
            let ring = RingState::Pending(watch::Sender::new(()));
            table.entries.push(Entry { serial, key: *key, user, ring });
            return Ok(Attempt::Missing(RingPlace { table: self, serial }));
        };
        let serial = entry.serial;
        let ring = match &entry.ring {
            RingState::Pending(ready) => return Ok(Attempt::BeingMade(ready.subscribe())),
            RingState::Live(ring) => ring,
        };
        let layout = *ring.thread.layout();
        let fds = match ring.clients.add_client(interval) {
            Ok(fds) => fds,
            Err(PublishError::Closed) => return Ok(Attempt::Closed),
            Err(error @ PublishError::Full(_)) => return Err(ServiceError::Busy(error.to_string())),
            Err(error) => return Err(ServiceError::Failed(error.to_string())),
        };
        if let Some(Joining { client, demand, share }) = joining.take() {
            table.attachments.push(Attached { client, key: *key, serial, id: fds.id, _demand: demand, _share: share });
        }
        Ok(Attempt::Attached { fds, layout, consumers: table.attachments.len() })
    }

    /// Ends the attachments for which `gone` holds, and the rings that have no others. Returns the
    /// number of attachments that are left, or `None` if none has ended.
    pub(super) fn release(&self, gone: impl Fn(&Attached) -> bool) -> Option<usize> {
        let mut table = self.lock();
        let ended: Vec<Attached> = table.attachments.extract_if(.., |attached| gone(attached)).collect();
        for attached in &ended {
            let ring = table.entries.iter().find(|entry| entry.serial == attached.serial).and_then(Entry::live);
            if let Some(ring) = ring {
                ring.clients.remove_client(attached.id);
            }
            table.end_if_unused(attached.serial);
        }
        let left = table.attachments.len();
        drop(table);
        // The demand of each attachment ends here, after the lock is released.
        (!ended.is_empty()).then_some(left)
    }

    /// Ends the rings in which `which` holds for an attachment, and all of their attachments: a
    /// client may keep what it has mapped, so the ring must not go on for others. Those attach
    /// again. Returns the number of attachments that are left, or `None` if none has ended.
    pub(super) fn expel(&self, which: impl Fn(&Attached) -> bool) -> Option<usize> {
        let mut table = self.lock();
        let serials: Vec<u64> =
            table.attachments.iter().filter(|attached| which(attached)).map(|attached| attached.serial).collect();
        let rings: Vec<Entry> = table.entries.extract_if(.., |entry| serials.contains(&entry.serial)).collect();
        rings.iter().filter_map(Entry::live).for_each(LiveRing::end);
        let ended: Vec<Attached> =
            table.attachments.extract_if(.., |attached| serials.contains(&attached.serial)).collect();
        let left = table.attachments.len();
        drop(table);
        (!ended.is_empty()).then_some(left)
    }

    /// The largest ring of a user to which clients are attached: its number and its bytes.
    pub(super) fn largest(&self, user: u32) -> Option<(u64, usize)> {
        let table = self.lock();
        let attached = |serial| table.attachments.iter().any(|attached| attached.serial == serial);
        let of_user = table.entries.iter().filter(|entry| entry.user == user && attached(entry.serial));
        let sized = of_user.filter_map(|entry| Some((entry.serial, entry.live()?.thread.layout().total_bytes())));
        sized.max_by_key(|(_, bytes)| *bytes)
    }

    /// The rings for which `which` holds; it is told the key and whether the ring is closed.
    pub(super) fn serials(&self, which: impl Fn(&RingKey, bool) -> bool) -> Vec<u64> {
        let table = self.lock();
        table.entries.iter().filter(|entry| which(&entry.key, entry.is_closed())).map(|entry| entry.serial).collect()
    }

    /// Ends all rings and attachments, and refuses new ones from now on. Returns the render
    /// threads.
    pub(super) fn close(&self) -> Vec<JoinHandle<()>> {
        let mut table = self.lock();
        table.closed = true;
        let attachments = std::mem::take(&mut table.attachments);
        let entries = std::mem::take(&mut table.entries);
        drop(table);
        drop(attachments);
        let thread = |entry: Entry| match entry.ring {
            RingState::Live(ring) => {
                ring.end();
                Some(ring.thread.into_thread())
            }
            RingState::Pending(_) => None,
        };
        entries.into_iter().filter_map(thread).collect()
    }
}

impl RingPlace<'_> {
    pub(super) const fn serial(&self) -> u64 {
        self.serial
    }

    /// Puts the ring in its place. If the camera was stopped meanwhile, the ring ends.
    pub(super) fn fill(self, ring: LiveRing) {
        let mut table = self.table.lock();
        match table.entries.iter_mut().find(|entry| entry.serial == self.serial) {
            Some(entry) => entry.ring = RingState::Live(Box::new(ring)),
            None => ring.end(),
        }
    }
}

impl Drop for RingPlace<'_> {
    fn drop(&mut self) {
        let mut table = self.table.lock();
        table.entries.retain(|entry| entry.serial != self.serial || entry.live().is_some());
    }
}

fn stopped() -> ServiceError {
    ServiceError::Failed("the camera was stopped".into())
}
