//! The controls of the camera's device: exposure, white balance, focus...
//!
//! The values that the configuration and clients want are kept, and are set again at each opening of
//! the device. The device's node is opened a second time for them, on a worker, whether its stream is
//! open or not. It is not opened while the camera is private.

use std::sync::Arc;

use portraitd_media::controls::{self, Controls};
use portraitd_media::{Control, ControlError, ControlValue, ControlValues, Source};
use portraitd_protocol::ServiceError;
use portraitd_protocol::control::{MAX_SET, find};
use tracing::warn;

use super::{Inner, failed, invalid};
use crate::pipeline::blocking::{Worker, run_blocking};

/// Why something about controls failed, as the bus reports it.
fn refused(error: ControlError) -> ServiceError {
    match error {
        ControlError::Refused { .. } => failed(&error),
        error => invalid(&error),
    }
}

/// Opens the controls of a source.
fn open(source: &dyn Source) -> Result<Box<dyn Controls>, ServiceError> {
    match source.controls() {
        Ok(Some(controls)) => Ok(controls),
        Ok(None) => Err(ServiceError::NotSupported(format!("{} has no controls", source.name()))),
        Err(error) => Err(ServiceError::CameraAbsent(error.to_string())),
    }
}

/// Gives the controls of a source their wanted values. Returns what does not succeed.
pub(in crate::pipeline) fn apply(source: &dyn Source, wanted: &ControlValues) -> Vec<String> {
    match open(source) {
        Ok(device) => controls::apply(device.as_ref(), wanted).iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    }
}

impl Inner {
    /// Runs `work` with the device's controls on a worker.
    async fn with_controls<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Controls) -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        if self.shared.demand.is_private() {
            return Err(ServiceError::NotSupported("the camera is private, so its device stays closed".into()));
        }
        let source = Arc::clone(&self.source);
        run_blocking(Worker::Controls, move || work(open(source.as_ref())?.as_ref())).await?
    }

    /// `Controls1.List`.
    pub(super) async fn controls(&self) -> Result<Vec<Control>, ServiceError> {
        self.with_controls(|device| Ok(device.list())).await
    }

    /// `Controls1.Set`: sets a control now and at each opening from now on.
    pub(super) async fn set_control(&self, name: String, value: ControlValue) -> Result<(), ServiceError> {
        let _turn = self.control_turn.lock().await;
        let known = self.shared.tuning.get().controls;
        let wanted = value.clone();
        let key = self
            .with_controls(move |device| {
                let key = find(&device.list(), &name).map_err(refused)?.key();
                if known.len() >= MAX_SET && !known.contains_key(&key) {
                    return Err(ServiceError::Busy(format!("{MAX_SET} controls are set already; reset some")));
                }
                let wanted = ControlValues::from([(key.clone(), wanted)]);
                controls::apply(device, &wanted).into_iter().next().map_or(Ok(key), |error| Err(refused(error)))
            })
            .await?;
        self.shared.tuning.update(|tuning| {
            Arc::make_mut(&mut tuning.controls).insert(key, value);
        });
        Ok(())
    }

    /// `Controls1.Reset`: sets a control, or all of them, to the driver's defaults, and forgets the
    /// values that were wanted.
    pub(super) async fn reset_controls(&self, name: Option<String>) -> Result<(), ServiceError> {
        let _turn = self.control_turn.lock().await;
        let key = name.clone();
        let reset = self.with_controls(move |device| {
            let key = key.map(|name| find(&device.list(), &name).map(Control::key)).transpose().map_err(refused)?;
            controls::reset(device, key.as_deref()).map_err(refused)?;
            Ok(key)
        });
        let key = reset.await?;
        self.shared.tuning.update(|tuning| {
            let controls = Arc::make_mut(&mut tuning.controls);
            match &key {
                Some(key) => drop(controls.remove(key)),
                None => controls.clear(),
            }
        });
        Ok(())
    }

    /// A reload has changed the wanted values: an open camera gets them now.
    pub(super) fn controls_changed(&self, before: &ControlValues) {
        let wanted = self.shared.tuning.get().controls;
        let is_open = self.shared.published.read(|state| state.camera.format.is_some());
        if *wanted == *before || wanted.is_empty() || !is_open || self.shared.demand.is_private() {
            return;
        }
        let (source, camera) = (Arc::clone(&self.source), self.shared.name().to_owned());
        self.runtime.spawn(async move {
            let failed = run_blocking(Worker::Controls, move || apply(source.as_ref(), &wanted)).await;
            for error in failed.unwrap_or_else(|error| vec![error.to_string()]) {
                warn!(camera, "controls: {error}");
            }
        });
    }
}
