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

/// The most rings of a camera. Each has a thread.
const MAX_RINGS: usize = 16;
/// The most attachments of one client to one camera. No program needs more, and a program that
/// attaches again and again must leave places for others.
const MAX_ATTACHMENTS: usize = 16;

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
    /// The clients of attaches under way, each with the number of its [`ClientPlace`].
    reserved: Vec<(u64, Client)>,
}

struct Entry {
    serial: u64,
    key: RingKey,
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
    /// Its part of the memory limit.
    pub(super) _share: RingShare,
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
}

/// A place among the attachments of a client. Dropping it gives the place back.
pub(super) struct ClientPlace<'a> {
    table: &'a RingTable,
    number: u64,
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
    /// Marks the ring closed for its clients and tells its render thread to end.
    pub(super) fn end(&self) {
        self.clients.close();
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

    /// Reserves a place among the attachments of a client.
    ///
    /// # Errors
    /// `Busy` if the client has [`MAX_ATTACHMENTS`]; `Failed` if the camera is stopped.
    pub(super) fn reserve(&self, client: &Client) -> Result<ClientPlace<'_>, ServiceError> {
        let mut table = self.lock();
        if table.closed {
            return Err(stopped());
        }
        let attached = table.attachments.iter().filter(|attached| attached.client.name == client.name).count();
        let reserved = table.reserved.iter().filter(|(_, reserved)| reserved.name == client.name).count();
        if attached + reserved >= MAX_ATTACHMENTS {
            return Err(ServiceError::Busy(format!("this client is attached {MAX_ATTACHMENTS} times already")));
        }
        let number = table.next_number;
        table.next_number += 1;
        table.reserved.push((number, client.clone()));
        Ok(ClientPlace { table: self, number })
    }

    /// Attaches the client of `place` to the ring `made`, or to an open ring of this key. Takes
    /// `demand` if it succeeds.
    ///
    /// # Errors
    /// The error of `allowed`; `Busy` if the camera has [`MAX_RINGS`] or the ring has too many
    /// clients; `Failed` if the system has no descriptors left or the camera is stopped. A ring
    /// `made` that nobody uses has ended then.
    pub(super) fn attach(
        &self,
        place: &ClientPlace<'_>,
        key: &RingKey,
        made: Option<u64>,
        interval: Option<Duration>,
        demand: &mut Option<DemandGuard>,
        allowed: impl FnOnce() -> Result<(), ServiceError>,
    ) -> Result<Attempt<'_>, ServiceError> {
        let mut table = self.lock();
        let attempt = self.attach_locked(&mut table, place, key, made, interval, demand, allowed);
        if !matches!(attempt, Ok(Attempt::Attached { .. }))
            && let Some(serial) = made
        {
            table.end_if_unused(serial);
        }
        attempt
    }

    #[expect(clippy::too_many_arguments, reason = "the arguments of `attach`, and the locked table")]
    fn attach_locked(
        &self,
        table: &mut Table,
        place: &ClientPlace<'_>,
        key: &RingKey,
        made: Option<u64>,
        interval: Option<Duration>,
        demand: &mut Option<DemandGuard>,
        allowed: impl FnOnce() -> Result<(), ServiceError>,
    ) -> Result<Attempt<'_>, ServiceError> {
        if table.closed {
            return Err(stopped());
        }
        allowed()?;
        let usable = |entry: &Entry| match made {
            Some(serial) => entry.serial == serial,
            None => entry.key == *key && !entry.is_closed(),
        };
        let Some(entry) = table.entries.iter().find(|entry| usable(entry)) else {
            if made.is_some() {
                return Ok(Attempt::Closed);
            }
            if table.entries.len() >= MAX_RINGS {
                let hint = format!("{MAX_RINGS} streams of different kinds and sizes are served already");
                return Err(ServiceError::Busy(hint));
            }
            let serial = table.next_number;
            table.next_number += 1;
            let ring = RingState::Pending(watch::Sender::new(()));
            table.entries.push(Entry { serial, key: *key, ring });
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
        let client = table.reserved.iter().find(|(number, _)| *number == place.number);
        if let (Some((_, client)), Some(demand)) = (client.cloned(), demand.take()) {
            table.attachments.push(Attached { client, key: *key, serial, id: fds.id, _demand: demand });
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

impl Drop for ClientPlace<'_> {
    fn drop(&mut self) {
        self.table.lock().reserved.retain(|(number, _)| *number != self.number);
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
