//! What the interfaces of one camera share: its service and state, and who may ask for what.

use std::sync::Arc;
use std::time::Duration;

use portraitd_protocol::{CameraState, ServiceError, StreamKind};
use tokio::sync::watch;
use zbus::Connection;
use zbus::message::{Flags, Header};

use super::authority::Right;
use super::changes::Announced;
use super::client_watch::ClientWatch;
use super::image::ImageReader;
use super::permissions::Permissions;
use super::service::{CameraService, Client, PublishedState, SettingChange};

/// The longest time that a snapshot waits for a camera that is being closed.
const CLOSING: Duration = Duration::from_secs(4);

/// State that the interfaces of one camera share.
pub(super) struct CameraContext {
    pub(super) service: Arc<dyn CameraService>,
    pub(super) state: watch::Receiver<PublishedState>,
    pub(super) announced: Arc<Announced>,
    pub(super) permissions: Arc<Permissions>,
    pub(super) client_watch: Arc<ClientWatch>,
    pub(super) images: ImageReader,
}

impl CameraContext {
    pub(super) fn new(
        service: Arc<dyn CameraService>,
        permissions: Arc<Permissions>,
        client_watch: Arc<ClientWatch>,
    ) -> Arc<Self> {
        let state = service.state();
        let announced = Arc::new(Announced::new(state.borrow().clone()));
        Arc::new(Self { service, state, announced, permissions, client_watch, images: ImageReader::default() })
    }

    /// Whether a client has made the camera private and it is closed. Waits while it is being closed.
    pub(super) async fn is_closed_by_a_client(&self) -> bool {
        let is_settled = |state: &PublishedState| !state.camera.private || state.camera.state == CameraState::Private;
        let mut state = self.state.clone();
        // An error if the service ends, which the next call notices too.
        let settled = tokio::time::timeout(CLOSING, state.wait_for(is_settled)).await;
        settled.is_ok_and(|state| state.is_ok_and(|state| state.camera.private))
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&PublishedState) -> T) -> T {
        read(&self.state.borrow())
    }

    /// Applies a setting. The setter announces the property itself, so `note` records it as
    /// announced.
    pub(super) async fn apply(
        &self,
        setting: SettingChange,
        note: impl FnOnce(&mut PublishedState, &PublishedState) + Send,
    ) -> Result<(), ServiceError> {
        self.service.apply(setting).await?;
        let new = self.state.borrow().clone();
        self.announced.note(|announced| note(announced, &new));
        Ok(())
    }

    pub(super) async fn allowed(
        &self,
        stream: &str,
        connection: &Connection,
        header: &Header<'_>,
    ) -> Result<(StreamKind, Client), ServiceError> {
        let stream = StreamKind::try_from(stream)
            .map_err(|error| ServiceError::NoSuchStream(format!("{error} (camera {})", self.service.name())))?;
        Ok((stream, self.may(Right::See(stream), connection, header).await?))
    }

    /// The caller, if it may do something.
    pub(super) async fn may(
        &self,
        right: Right,
        connection: &Connection,
        header: &Header<'_>,
    ) -> Result<Client, ServiceError> {
        let client = self.client_watch.client(connection, header).await?;
        let interactive = header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
        self.permissions.ask(connection, &client, right, interactive).await?;
        Ok(client)
    }
}
