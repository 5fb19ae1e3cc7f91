//! The end of a client's attachments when it leaves the bus.
//!
//! The pipes of the rings show the end of a client's process. This module is for a client that
//! leaves the bus and keeps its descriptors, or has passed them to another process. Who a client is
//! has been asked by the transport.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures_util::StreamExt;
use portraitd_protocol::ServiceError;
use tokio::sync::OnceCell;
use tokio::task::AbortHandle;
use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::message::Header;
use zbus::names::BusName;

use super::authority::Right;
use super::service::{CameraService, Client, ClientName};
use super::transport::{Clients, Descriptors, Foreign};
use crate::service::panics::vital;

/// What is called with a client that has left.
type OnDeparture = Box<dyn Fn(&ClientName) + Send + Sync>;

/// The clients of one connection, and the cameras that must know when they leave.
pub(super) struct ClientWatch {
    /// The only client of a connection without a bus.
    peer: Client,
    /// The clients of a bus.
    clients: Option<Clients>,
    descriptors: Descriptors,
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
    pub(super) fn new(peer: Client, clients: Option<Clients>, descriptors: Descriptors) -> Arc<Self> {
        let (cameras, on_departure, departures) = (Mutex::default(), OnceLock::new(), OnceCell::new());
        Arc::new(Self { peer, clients, descriptors, cameras, on_departure, departures })
    }

    /// The descriptor that came with a call, or an empty one if it was taken before.
    ///
    /// The argument of a handler is a stand-in. Closing the client's descriptor may wait for the
    /// client, and zbus would do that on the main thread.
    pub(super) fn descriptor(&self, header: &Header<'_>) -> Foreign {
        self.descriptors.take(header)
    }

    /// Calls `then` with each client that leaves from now on.
    pub(super) fn on_departure(&self, then: OnDeparture) {
        let _ = self.on_departure.set(then);
    }

    /// Every attachment and every offer of frames: the client and the permission that it needs. A view
    /// with the whole room in a corner is two.
    pub(super) fn uses(&self) -> Vec<(Client, Right)> {
        let found = Mutex::new(Vec::new());
        self.end_uses(&|client, right| {
            lock(&found).push((client.clone(), right));
            false
        });
        found.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the attachments and offers for which `which` holds.
    pub(super) fn end_uses(&self, which: &(dyn Fn(&Client, Right) -> bool + Sync)) {
        let cameras = lock(&self.cameras).clone();
        for camera in cameras {
            camera.end_attachments(&|client, stream| which(client, Right::See(stream)));
            camera.end_offer(&|client| which(client, Right::Provide));
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
        let (Some(clients), Some(sender)) = (&self.clients, header.sender()) else { return Ok(self.peer.clone()) };
        let unknown = |error: &dyn std::fmt::Display| {
            ServiceError::NotAuthorized(format!("the bus does not say who {sender} is: {error}"))
        };
        let is_watched = self.departures.initialized();
        self.departures.get_or_try_init(|| self.watch(connection)).await.map_err(|error| unknown(&error))?;
        if !is_watched {
            // The first client of all may have left before departures were watched.
            let bus = DBusProxy::new(connection).await.map_err(|error| unknown(&error))?;
            let owner = bus.name_has_owner(BusName::Unique(sender.clone())).await;
            if !owner.map_err(|error| unknown(&error))? {
                clients.forget(sender.as_str());
            }
        }
        clients.find(sender.as_str()).ok_or_else(|| unknown(&"it has left"))
    }

    /// Whether the client has not left yet.
    pub(super) fn is_here(&self, client: &Client) -> bool {
        self.clients.as_ref().is_none_or(|clients| clients.find(client.name.as_str()).is_some())
    }

    fn released(&self, client: &ClientName) {
        if let Some(clients) = &self.clients {
            clients.forget(client.as_str());
        }
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
        let cameras = lock(&self.cameras).clone();
        for camera in cameras {
            camera.end_attachments(&|_, _| true);
            camera.end_offer(&|_| true);
            camera.released(&self.peer.name);
        }
    }

    /// Starts the task that hears of every client that leaves the bus. One match rule serves all
    /// clients: a bus limits the rules of a connection.
    async fn watch(self: &Arc<Self>, connection: &Connection) -> zbus::Result<AbortHandle> {
        let bus = DBusProxy::new(connection).await?;
        let mut changes = bus.receive_name_owner_changed_with_args(&[(2, "")]).await?;
        let watch = Arc::downgrade(self);
        let task = tokio::spawn(vital("clients on the bus", async move {
            // Ends only if the connection ends, which `all_left` handles.
            while let Some(change) = changes.next().await {
                let Some(watch) = watch.upgrade() else { return };
                if let Ok(arguments) = change.args()
                    && let BusName::Unique(name) = arguments.name()
                {
                    watch.released(&ClientName::new(name.as_str()));
                }
            }
        }));
        Ok(task.abort_handle())
    }
}

impl Drop for ClientWatch {
    fn drop(&mut self) {
        if let Some(task) = self.departures.get() {
            task.abort();
        }
    }
}
