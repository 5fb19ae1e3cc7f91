//! Who the clients of a connection are, and the end of their attachments when they leave the bus.
//!
//! A client's user is asked of the bus once and remembered until the client leaves. The pipes of
//! the rings show the end of a client's process. This module is for a client that leaves the bus
//! and keeps its descriptors, or has passed them to another process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures_util::StreamExt;
use portraitd_protocol::{ServiceError, StreamKind};
use tokio::sync::OnceCell;
use tokio::task::AbortHandle;
use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::message::Header;
use zbus::names::BusName;

use super::service::{CameraService, Client, ClientName};

/// The most clients that are remembered. If more call, one is forgotten and is asked about again at
/// its next call.
const MAX_KNOWN: usize = 1024;

/// A client that is being asked about, or is known.
type Entry = Arc<OnceCell<Client>>;

/// What is called with a client that has left.
type OnDeparture = Box<dyn Fn(&ClientName) + Send + Sync>;

/// The clients of one connection, and the cameras that must know when they leave.
pub(super) struct ClientWatch {
    /// The only client of a connection without a bus.
    peer: Client,
    known: Mutex<HashMap<ClientName, Entry>>,
    cameras: Mutex<Vec<Arc<dyn CameraService>>>,
    /// Who else must know of a client that leaves.
    on_departure: OnceLock<OnDeparture>,
    /// The task that hears of clients that leave. It runs from the first call on.
    departures: OnceCell<AbortHandle>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientWatch {
    pub(super) fn new(peer: Client) -> Arc<Self> {
        let departures = OnceCell::new();
        let (known, cameras, on_departure) = (Mutex::default(), Mutex::default(), OnceLock::new());
        Arc::new(Self { peer, known, cameras, on_departure, departures })
    }

    /// Calls `then` with each client that leaves from now on.
    pub(super) fn on_departure(&self, then: OnDeparture) {
        let _ = self.on_departure.set(then);
    }

    /// Every attachment: the client and the stream. A view with the whole room in a corner is two.
    pub(super) fn attachments(&self) -> Vec<(Client, StreamKind)> {
        let found = Mutex::new(Vec::new());
        self.end_attachments(&|client, stream| {
            lock(&found).push((client.clone(), stream));
            false
        });
        found.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the attachments for which `which` holds.
    pub(super) fn end_attachments(&self, which: &(dyn Fn(&Client, StreamKind) -> bool + Sync)) {
        let cameras = lock(&self.cameras).clone();
        for camera in cameras {
            camera.end_attachments(which);
        }
    }

    pub(super) fn add_camera(&self, camera: Arc<dyn CameraService>) {
        lock(&self.cameras).push(camera);
    }

    pub(super) fn remove_camera(&self, name: &str) {
        lock(&self.cameras).retain(|camera| camera.name() != name);
    }

    /// The client that sent a message. From now on its departure is noticed.
    ///
    /// # Errors
    /// `NotAuthorized` if the bus does not say which user the client belongs to.
    pub(super) async fn client(
        self: &Arc<Self>,
        connection: &Connection,
        header: &Header<'_>,
    ) -> Result<Client, ServiceError> {
        let Some(sender) = header.sender() else { return Ok(self.peer.clone()) };
        if !connection.is_bus() {
            return Ok(self.peer.clone());
        }
        let name = ClientName::new(sender.as_str());
        let unknown =
            |error: zbus::Error| ServiceError::NotAuthorized(format!("the bus does not say who {name} is: {error}"));
        // Before the bus is asked, so that the departure cannot be missed.
        self.departures.get_or_try_init(|| self.watch(connection)).await.map_err(unknown)?;
        let entry = self.entry(&name);
        // Calls of one client at the same time ask the bus once.
        let client = entry.get_or_try_init(|| ask(connection, &name)).await;
        client.cloned().map_err(|error| {
            lock(&self.known).remove(&name);
            unknown(error)
        })
    }

    fn entry(&self, name: &ClientName) -> Entry {
        let mut known = lock(&self.known);
        if known.len() >= MAX_KNOWN
            && !known.contains_key(name)
            && let Some(other) = known.keys().next().cloned()
        {
            known.remove(&other);
        }
        Arc::clone(known.entry(name.clone()).or_default())
    }

    fn released(&self, client: &ClientName) {
        lock(&self.known).remove(client);
        if let Some(then) = self.on_departure.get() {
            then(client);
        }
        let cameras = lock(&self.cameras).clone();
        for camera in cameras {
            camera.released(client);
        }
    }

    /// Ends the attachments of all clients, because the connection itself has ended.
    pub(super) fn all_left(&self) {
        lock(&self.known).clear();
        let cameras = lock(&self.cameras).clone();
        for camera in cameras {
            camera.end_attachments(&|_, _| true);
            camera.released(&self.peer.name);
        }
    }

    /// Starts the task that hears of every client that leaves the bus. One match rule serves all
    /// clients: a bus limits the rules of a connection.
    async fn watch(self: &Arc<Self>, connection: &Connection) -> zbus::Result<AbortHandle> {
        let bus = DBusProxy::new(connection).await?;
        let mut changes = bus.receive_name_owner_changed_with_args(&[(2, "")]).await?;
        let watch = Arc::downgrade(self);
        let task = tokio::spawn(async move {
            // Ends only if the connection ends, which `all_left` handles.
            while let Some(change) = changes.next().await {
                let Some(watch) = watch.upgrade() else { return };
                if let Ok(arguments) = change.args()
                    && let BusName::Unique(name) = arguments.name()
                {
                    watch.released(&ClientName::new(name.as_str()));
                }
            }
        });
        Ok(task.abort_handle())
    }
}

/// Asks the bus who owns a name.
async fn ask(connection: &Connection, name: &ClientName) -> zbus::Result<Client> {
    let bus = DBusProxy::new(connection).await?;
    let credentials = bus.get_connection_credentials(BusName::try_from(name.as_str())?).await?;
    let user = credentials.unix_user_id();
    let user = user.ok_or_else(|| zbus::Error::Failure("the bus knows no user of this name".to_owned()))?;
    Ok(Client::new(name.clone(), user, credentials.process_id()))
}

impl Drop for ClientWatch {
    fn drop(&mut self) {
        if let Some(task) = self.departures.get() {
            task.abort();
        }
    }
}
