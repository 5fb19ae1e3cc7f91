//! Changes of a camera's settings, by D-Bus and by a reload of the configuration.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use portraitd_media::{OwnedPicture, Size, UnitRect};
use portraitd_protocol::{CameraState, ServiceError};
use portraitd_vision::net::{EngineOptions, Library, Model};
use tracing::warn;

use super::attachments::busy;
use super::{Camera, Inner, failed, invalid};
use crate::pipeline::background::BackgroundSettings;
use crate::pipeline::background_image;
use crate::pipeline::blocking::{Worker, run_blocking};
use crate::pipeline::shared::{FramingChoice, Tuning};
use crate::publish::dbus::service::{BackgroundStatus, Fractions, FramingStatus, SettingChange};
use crate::publish::{Amounts, RingShare};
use crate::service::config;

/// How long a camera may take to close when it is made private.
const CLOSING: Duration = Duration::from_secs(5);

/// A new configuration of a camera that has been read and checked, ready to take effect.
pub struct Reconfiguration {
    tuning: Tuning,
    choice: FramingChoice,
    background: BackgroundSettings,
    allow_source: bool,
    /// The net, if it differs from the current one.
    model: Option<Model>,
}

impl Camera {
    /// Reads and checks everything that a new configuration of this camera needs. Nothing changes
    /// yet. The name, the device and the outputs are not looked at: another device or other outputs
    /// need another [`Camera`].
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub async fn prepare(&self, config: &config::CameraConfig) -> Result<Reconfiguration, ServiceError> {
        let inner = &self.inner;
        let choice = framing_choice(&config.framing);
        inner.shared.director.check(choice).map_err(|error| invalid(&error))?;
        let image = background_image::read_configured(config.background.image.clone()).await?;
        let name = &config.segmentation.model;
        let current = inner.shared.published.read(|state| state.segmentation.model.clone());
        // In safe mode the service runs without a net, so none is loaded.
        let model = match inner.mask_size.get() {
            Some(_) if current != *name => Some(inner.load_model(name.clone()).await?),
            _ => None,
        };
        Ok(Reconfiguration {
            tuning: tuning_of(config),
            choice,
            background: background_of(&config.background, image),
            allow_source: config.allow_source,
            model,
        })
    }

    /// Puts a prepared configuration into effect. It replaces what clients have set over D-Bus.
    pub fn reconfigure(&self, new: Reconfiguration) {
        let Reconfiguration { tuning, choice, background, allow_source, model } = new;
        let (inner, shared) = (&self.inner, &self.inner.shared);
        inner.allow_source.store(allow_source, Ordering::Release);
        inner.allow_inset.store(allows_inset(&choice), Ordering::Release);
        inner.release_source_clients();
        let (zones, orientation) = (Arc::clone(&tuning.zones), tuning.orientation);
        let controls_before = shared.tuning.get().controls;
        shared.tuning.set(tuning);
        inner.controls_changed(&controls_before);
        let BackgroundSettings { mode, color, blur, strict, .. } = background;
        let status = BackgroundStatus { mode, color, blur, strict };
        shared.background.change(|current| *current = background);
        shared.director.follow(0);
        let published = |framing: &mut FramingStatus| {
            framing.subject = 0;
            framing.mode = choice.mode;
            framing.speed = choice.speed;
            framing.max_zoom = choice.max_zoom.into();
            framing.manual_crop = choice.manual_crop.to_tuple();
            framing.zones = zones.iter().map(|zone| zone.to_tuple()).collect();
        };
        if let Err(error) = shared.replace_framing(choice, |state| published(&mut state.framing)) {
            // The settings were checked for the frame size of a moment ago, and the size has
            // changed since.
            warn!(camera = shared.name(), "views show the middle of the frame: {error}");
        }
        shared.published.change(|state| {
            state.background = status;
            (state.camera.rotate, state.camera.mirror) = (orientation.rotation, orientation.mirror);
        });
        if let Some(model) = model {
            inner.use_model(model);
        }
    }
}

impl Inner {
    /// Changes one setting, for D-Bus.
    pub(super) async fn apply(&self, setting: SettingChange) -> Result<(), ServiceError> {
        let shared = &self.shared;
        let framing = |change: &dyn Fn(&mut FramingChoice), publish: &dyn Fn(&mut FramingStatus)| {
            shared.change_framing(change, |state| publish(&mut state.framing)).map_err(|error| invalid(&error))
        };
        match setting {
            SettingChange::Private(private) => self.set_private(private).await?,
            SettingChange::Rotate(rotation) => {
                shared.tuning.update(|tuning| tuning.orientation.rotation = rotation);
                shared.published.change(|state| state.camera.rotate = rotation);
            }
            SettingChange::Mirror(mirror) => {
                shared.tuning.update(|tuning| tuning.orientation.mirror = mirror);
                shared.published.change(|state| state.camera.mirror = mirror);
            }
            SettingChange::FramingMode(mode) => framing(&|choice| choice.mode = mode, &|status| status.mode = mode)?,
            SettingChange::ManualCrop(crop) => {
                framing(&|choice| choice.manual_crop = rectangle(crop), &|status| status.manual_crop = crop)?;
            }
            SettingChange::MaxZoom(zoom) => {
                framing(&|choice| choice.max_zoom = narrow(zoom), &|status| status.max_zoom = zoom)?;
            }
            SettingChange::Speed(speed) => framing(&|choice| choice.speed = speed, &|status| status.speed = speed)?,
            SettingChange::Subject(id) => {
                let open = shared.published.read(|state| state.camera.format.is_some());
                if id != 0 && !(open && shared.director.follow(id)) {
                    return Err(ServiceError::NotSupported("the camera is closed, so nobody is seen".into()));
                }
                if id == 0 {
                    shared.director.follow(0);
                }
                shared.published.change(|state| state.framing.subject = id);
            }
            SettingChange::Zones(zones) => {
                shared.tuning.update(|tuning| tuning.zones = zones.iter().copied().map(rectangle).collect());
                shared.published.change(|state| state.framing.zones = zones);
            }
            SettingChange::Model(name) => self.change_model(name).await?,
            SettingChange::BackgroundMode(mode) => {
                shared.background.change(|background| background.mode = mode);
                shared.published.change(|state| state.background.mode = mode);
            }
            SettingChange::BackgroundColor(color) => {
                shared.background.change(|background| background.color = color);
                shared.published.change(|state| state.background.color = color);
            }
            SettingChange::BackgroundBlur(blur) => {
                shared.background.change(|background| background.blur = blur);
                shared.published.change(|state| state.background.blur = blur);
            }
            SettingChange::BackgroundStrict(strict) => {
                shared.background.change(|background| background.strict = strict);
                shared.published.change(|state| state.background.strict = strict);
            }
        }
        Ok(())
    }

    /// Makes the camera private and waits until it is closed, or ends the private state. If the
    /// camera is private and closed already, attachments to its black frames go on.
    ///
    /// # Errors
    /// `Failed` if the camera is not closed within [`CLOSING`]. It stays private then.
    async fn set_private(&self, private: bool) -> Result<(), ServiceError> {
        let shared = &self.shared;
        let closed = shared.demand.is_private() && shared.published.is_private();
        let closes = private && !closed;
        if let Err(error) = self.privacy.set(shared.name(), private) {
            warn!(
                camera = shared.name(),
                private, "a restart of the service will not know whether the camera is private: {error}"
            );
        }
        shared.demand.set_private(private);
        shared.published.change(|state| state.camera.private = private);
        if closes {
            // At once, however long the driver takes to close.
            self.end_all_attachments();
        }
        if private {
            let mut state = shared.published.subscribe();
            let closed = state.wait_for(|state| state.camera.state == CameraState::Private || !state.camera.private);
            if tokio::time::timeout(CLOSING, closed).await.is_err() {
                let text =
                    format!("the camera is not closed after {} s; it stays private when it is", CLOSING.as_secs());
                return Err(ServiceError::Failed(text));
            }
        }
        if closes {
            // Whoever attached before the camera was closed may have seen a frame.
            self.end_all_attachments();
        }
        Ok(())
    }

    async fn change_model(&self, name: String) -> Result<(), ServiceError> {
        if self.mask_size.get().is_none() {
            return Err(ServiceError::NotSupported("the service runs without a net, after repeated crashes".into()));
        }
        // One at a time: each net takes memory until the vision thread has it.
        let Ok(_turn) = self.model_turn.try_lock() else {
            return Err(ServiceError::Busy("another model is being loaded".into()));
        };
        let model = self.load_model(name).await?;
        self.use_model(model);
        Ok(())
    }

    async fn load_model(&self, name: String) -> Result<Model, ServiceError> {
        load_model(self.library.clone(), name, self.engine).await
    }

    /// Hands a net to the vision thread.
    fn use_model(&self, model: Model) {
        let name = model.manifest().name.clone();
        self.mask_size.set(Some(model.output_size()));
        self.shared.next_model.set(Some(model));
        self.shared.published.change(|state| {
            state.segmentation.model = name;
            state.segmentation.degraded.clear();
        });
    }

    /// Takes the bytes of a PNG or JPEG as the background's picture; `None` removes it. The picture
    /// stays charged for as long as it is the background.
    pub(super) async fn set_image(&self, image: Option<(Vec<u8>, RingShare)>) -> Result<(), ServiceError> {
        let (image, charge) = match image {
            None => (None, None),
            Some((bytes, mut share)) => {
                let decode = move || {
                    let name = "the background picture".as_ref();
                    let decoding = background_image::decoding_bytes(&bytes, name)?;
                    share.grow(Amounts::memory(decoding)).map_err(|error| busy(&error))?;
                    let picture = background_image::decode(&bytes, name)?;
                    drop(bytes);
                    share.shrink(Amounts::memory(picture.bytes().len()));
                    Ok::<_, ServiceError>((picture, share))
                };
                let (picture, share) = run_blocking(Worker::Loader, decode).await??;
                (Some(picture), Some(Arc::new(share)))
            }
        };
        self.shared.background.change(|background| (background.image, background.image_charge) = (image, charge));
        Ok(())
    }
}

/// Loads a net on a thread of its own.
///
/// # Errors
/// `Failed` if the library has no such net, or it cannot be loaded.
pub async fn load_model(library: Library, name: String, engine: EngineOptions) -> Result<Model, ServiceError> {
    let loaded = run_blocking(Worker::Loader, move || library.load(&name, engine)).await?;
    loaded.map_err(|error| failed(&error))
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

#[expect(clippy::cast_possible_truncation, reason = "coordinates and zoom factors lose only digits that do not matter")]
const fn narrow(value: f64) -> f32 {
    value as f32
}

const fn rectangle((x, y, width, height): Fractions) -> UnitRect {
    UnitRect::new(narrow(x), narrow(y), narrow(width), narrow(height))
}

/// Whether a view may show the whole frame in a corner.
pub(super) fn allows_inset(choice: &FramingChoice) -> bool {
    choice.min_zoom <= 1.0
}

pub(super) fn framing_choice(framing: &config::FramingConfig) -> FramingChoice {
    FramingChoice {
        mode: framing.mode,
        speed: framing.speed,
        max_zoom: narrow(framing.max_zoom),
        min_zoom: narrow(framing.min_zoom),
        lead_room: narrow(framing.lead_room),
        manual_crop: UnitRect::WHOLE,
        output: (framing.output_width > 0 && framing.output_height > 0)
            .then(|| Size::new(framing.output_width, framing.output_height)),
    }
}

pub(super) fn tuning_of(config: &config::CameraConfig) -> Tuning {
    let config::SegmentationConfig { budget_ms, max_rate, .. } = config.segmentation;
    Tuning {
        wanted: config.wanted(),
        orientation: config.orientation(),
        controls: Arc::new(config.controls.clone()),
        idle_close: seconds(config.idle_close_s),
        inference_interval: if max_rate > 0.0 { seconds(1.0 / max_rate) } else { Duration::ZERO },
        mask_budget: seconds(budget_ms * 1e-3),
        zones: config.framing.zones.iter().map(|zone| rectangle((*zone).into())).collect(),
    }
}

pub(super) fn background_of(
    background: &config::BackgroundConfig,
    image: Option<Arc<OwnedPicture>>,
) -> BackgroundSettings {
    BackgroundSettings {
        version: 0,
        mode: background.mode,
        color: background.color.into(),
        blur: background.blur,
        strict: background.strict,
        image,
        image_charge: None,
    }
}
