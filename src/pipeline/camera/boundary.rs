//! The camera as the D-Bus objects use it.

use std::os::fd::OwnedFd;

use futures_util::future::BoxFuture;
use portraitd_media::{Control, ControlValue};
use portraitd_protocol::{FramingMode, ServiceError, StreamKind};
use tokio::sync::watch;

use super::Camera;
use super::attachments::busy;
use crate::pipeline::shared::WaitPolicy;
use crate::publish::dbus::service::{
    AttachRequest, Attachment, CameraService, Client, ClientName, Dictionary, Fractions, OfferRequest, PublishedPerson,
    PublishedState, SettingChange,
};
use crate::publish::{Amounts, RingShare};
use crate::service::panics::answered;
use crate::source::provider::ProviderFds;

impl CameraService for Camera {
    fn name(&self) -> &str {
        self.inner.shared.name()
    }

    fn state(&self) -> watch::Receiver<PublishedState> {
        self.inner.shared.published.subscribe()
    }

    fn crop(&self) -> Fractions {
        self.inner.shared.director.newest_crop().to_tuple()
    }

    fn rate(&self) -> f64 {
        self.inner.shared.statistics.mask_rate()
    }

    fn people(&self) -> Vec<PublishedPerson> {
        self.inner.people()
    }

    fn stats(&self) -> Dictionary {
        self.inner.stats()
    }

    fn attach(&self, request: AttachRequest) -> BoxFuture<'_, Result<Attachment, ServiceError>> {
        Box::pin(answered(self.inner.attach(request, WaitPolicy::OneAttempt)))
    }

    fn snapshot(&self, client: Client, stream: StreamKind) -> BoxFuture<'_, Result<OwnedFd, ServiceError>> {
        Box::pin(answered(self.inner.snapshot(client, stream)))
    }

    fn apply(&self, setting: SettingChange) -> BoxFuture<'_, Result<(), ServiceError>> {
        Box::pin(answered(self.inner.apply(setting)))
    }

    fn reframe(&self) -> BoxFuture<'_, Result<(), ServiceError>> {
        Box::pin(answered(async {
            let mode = self.inner.shared.published.framing_mode();
            if matches!(mode, FramingMode::Off | FramingMode::Manual) {
                return Err(ServiceError::NotSupported(format!("framing is {mode}")));
            }
            self.inner.shared.director.reframe();
            Ok(())
        }))
    }

    fn controls(&self) -> BoxFuture<'_, Result<Vec<Control>, ServiceError>> {
        Box::pin(answered(self.inner.controls()))
    }

    fn set_control(&self, name: String, value: ControlValue) -> BoxFuture<'_, Result<(), ServiceError>> {
        Box::pin(answered(self.inner.set_control(name, value)))
    }

    fn reset_controls(&self, name: Option<String>) -> BoxFuture<'_, Result<(), ServiceError>> {
        Box::pin(answered(self.inner.reset_controls(name)))
    }

    fn charge_image(&self, user: u32) -> Result<RingShare, ServiceError> {
        self.inner.budget.take(user, Amounts::IMAGE).map_err(|error| busy(&error))
    }

    fn set_image(&self, image: Option<(Vec<u8>, RingShare)>) -> BoxFuture<'_, Result<(), ServiceError>> {
        Box::pin(answered(self.inner.set_image(image)))
    }

    fn offer(&self, request: OfferRequest) -> BoxFuture<'_, Result<ProviderFds, ServiceError>> {
        Box::pin(answered(self.inner.offer(request)))
    }

    fn end_offer(&self, which: &(dyn Fn(&Client) -> bool + Sync)) {
        self.inner.end_offer(|_, client| which(client));
    }

    fn released(&self, client: &ClientName) {
        self.inner.release(|attached| attached.client.name == *client);
        self.inner.end_offer(|_, owner| owner.name == *client);
    }

    fn end_attachments(&self, which: &(dyn Fn(&Client, StreamKind) -> bool + Sync)) {
        self.inner.end_attachments(which);
    }
}
