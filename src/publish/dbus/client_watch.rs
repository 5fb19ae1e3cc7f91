//! Ends the attachments of clients that leave the bus.
//!
//! The pipes of the rings show the end of a client's process. This module is for a client that
//! leaves the bus and keeps its descriptors, or has passed them to another process.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use portraitd_protocol::ServiceError;
use tokio::task::AbortHandle;
use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::message::Header;
use zbus::names::BusName;

use super::service::{CameraService, ClientName};

/// The clients of one connection, and the cameras that must know when they leave.
pub(super) struct ClientWatch {
    /// The only client of a connection without a bus.
    peer: ClientName,
    watched: Mutex<HashSet<ClientName>>,
    cameras: Mutex<Vec<Arc<dyn CameraService>>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientWatch {
    pub(super) fn new(peer: ClientName) -> Arc<Self> {
        Arc::new(Self { peer, watched: Mutex::default(), cameras: Mutex::default(), tasks: Mutex::default() })
    }

    pub(super) fn add_camera(&self, camera: Arc<dyn CameraService>) {
        lock(&self.cameras).push(camera);
    }

    pub(super) fn remove_camera(&self, name: &str) {
        lock(&self.cameras).retain(|camera| camera.name() != name);
    }

    /// The client that sent a message.
    pub(super) fn client(&self, header: &Header<'_>) -> ClientName {
        header.sender().map_or_else(|| self.peer.clone(), |sender| ClientName::new(sender.as_str()))
    }

    fn released(&self, client: &ClientName) {
        let cameras = lock(&self.cameras).clone();
        for camera in cameras {
            camera.released(client);
        }
    }

    /// Ends the attachments of all clients, because the connection itself has ended.
    pub(super) fn all_left(&self) {
        let mut clients: Vec<_> = lock(&self.watched).drain().collect();
        clients.push(self.peer.clone());
        clients.iter().for_each(|client| self.released(client));
    }

    /// Watches `client` from now on: the cameras are told when it leaves the bus, or at once if it
    /// has left already.
    ///
    /// # Errors
    /// `Failed` if the bus refuses the watch.
    pub(super) async fn watch(
        self: &Arc<Self>,
        connection: &Connection,
        client: &ClientName,
    ) -> Result<(), ServiceError> {
        if !connection.is_bus() || !lock(&self.watched).insert(client.clone()) {
            return Ok(());
        }
        match self.start(connection, client).await {
            Ok(()) => Ok(()),
            Err(error) => {
                lock(&self.watched).remove(client);
                Err(ServiceError::Failed(format!("cannot watch the client {client} on the bus: {error}")))
            }
        }
    }

    async fn start(self: &Arc<Self>, connection: &Connection, client: &ClientName) -> zbus::Result<()> {
        let bus = DBusProxy::new(connection).await?;
        let mut changes = bus.receive_name_owner_changed_with_args(&[(0, client.as_str()), (2, "")]).await?;
        let gone_already = !bus.name_has_owner(BusName::try_from(client.as_str())?).await?;
        let (watch, client) = (Arc::clone(self), client.clone());
        let task = tokio::spawn(async move {
            if !gone_already {
                // Ends without a change only if the connection ends, which `all_left` handles.
                changes.next().await;
            }
            lock(&watch.watched).remove(&client);
            watch.released(&client);
        });
        let mut tasks = lock(&self.tasks);
        tasks.retain(|task| !task.is_finished());
        tasks.push(task.abort_handle());
        Ok(())
    }
}

impl Drop for ClientWatch {
    fn drop(&mut self) {
        lock(&self.tasks).iter().for_each(AbortHandle::abort);
    }
}
