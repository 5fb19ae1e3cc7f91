//! The D-Bus object through which another program provides the frames of a camera.

use std::collections::BTreeMap;
use std::sync::Arc;

use portraitd_protocol::ServiceError;
use zbus::message::Header;
use zbus::{Connection, OwnedVariant, interface};

use super::attach::parse_offer_options;
use super::authority::Right;
use super::context::CameraContext;
use super::service::OfferRequest;

/// `org.portraitd.Provider1`.
pub(super) struct ProviderObject(pub(super) Arc<CameraContext>);

/// Frames from another program, for a camera whose device is "provider".
#[interface(name = "org.portraitd.Provider1")]
impl ProviderObject {
    /// Offers the memory of a ring, a memfd of the layout of docs/design/ring.md with the stream
    /// "source". It must be allocated as a whole and sealed with F_SEAL_SHRINK, F_SEAL_GROW and
    /// F_SEAL_FUTURE_WRITE, and have at most 64 MiB. Options: "fps" (u, 1 to 240: the rate of the
    /// frames).
    ///
    /// Returns an eventfd, to which the provider adds 1 for each frame, and a socket that brings a
    /// byte for each change: 1, somebody looks; 0, nobody does. The end of the socket is the end of
    /// the offer, in both directions. A further offer of the same client replaces the first.
    #[zbus(out_args("event", "demand"))]
    async fn offer(
        &self,
        memory: zbus::OwnedFd,
        options: BTreeMap<String, OwnedVariant>,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(zbus::OwnedFd, zbus::OwnedFd), ServiceError> {
        // A stand-in: see `ClientWatch::descriptor`.
        drop(memory);
        let camera = &self.0;
        let memory = camera.client_watch.descriptor(&header);
        let epoch = camera.permissions.epoch();
        let client = camera.may(Right::Provide, connection, &header).await?;
        let frame_rate = parse_offer_options(&options)?;
        let memory =
            memory.into_memfd().ok_or_else(|| ServiceError::InvalidArgument("memory: it is no memfd".into()))?;
        let fds = camera.service.offer(OfferRequest { client: client.clone(), memory, frame_rate }).await?;
        let confirmed = camera.permissions.confirm(connection, &client, &[Right::Provide], epoch).await;
        if confirmed.is_err() {
            camera.service.end_offer(&|owner| *owner == client);
        }
        confirmed?;
        Ok((fds.event.into(), fds.demand.into()))
    }
}
