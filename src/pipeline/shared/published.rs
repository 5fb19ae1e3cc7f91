//! The slow state of a camera as the bus shows it: the part of the boundary to D-Bus that the
//! threads write to.

use portraitd_framing::Limits;
use portraitd_media::FrameFormat;
use portraitd_protocol::{CameraState, FramingMode, FramingState};
use tokio::sync::watch;

use super::value::SharedValue;
use crate::publish::dbus::service::{Dictionary, DictionaryValue, PublishedState};

/// The owner of the published state. Readers see a new value at once; the bus announces what
/// differs.
#[derive(Debug)]
pub(in crate::pipeline) struct Published {
    state: watch::Sender<PublishedState>,
    /// How inference is reduced at the moment; empty if it is not. A failure of the net hides it
    /// until the next mask.
    reduction: SharedValue<String>,
}

impl Published {
    pub(super) fn new(state: PublishedState) -> Self {
        Self { state: watch::Sender::new(state), reduction: SharedValue::default() }
    }

    pub(in crate::pipeline) fn subscribe(&self) -> watch::Receiver<PublishedState> {
        self.state.subscribe()
    }

    /// Calls `read` with the state. No other owner may be used in it.
    pub(in crate::pipeline) fn read<T>(&self, read: impl FnOnce(&PublishedState) -> T) -> T {
        read(&self.state.borrow())
    }

    /// Changes the state and announces it.
    pub(in crate::pipeline) fn change(&self, change: impl FnOnce(&mut PublishedState)) {
        self.state.send_modify(change);
    }

    pub(in crate::pipeline) fn camera_state(&self) -> CameraState {
        self.read(|state| state.camera.state)
    }

    /// Whether the camera's shutter is closed, or a client keeps the camera closed.
    pub(in crate::pipeline) fn is_private(&self) -> bool {
        self.camera_state() == CameraState::Private
    }

    pub(in crate::pipeline) fn framing_mode(&self) -> FramingMode {
        self.read(|state| state.framing.mode)
    }

    /// Whether `Degraded` names a reduction or a failure.
    pub(in crate::pipeline) fn is_degraded(&self) -> bool {
        self.read(|state| !state.segmentation.degraded.is_empty())
    }

    /// Publishes a state of the camera. `last_error` stays as it is if it is `None`.
    pub(super) fn set_camera_state(&self, new: CameraState, is_open: bool, last_error: Option<String>) {
        self.state.send_if_modified(|state| {
            let camera = &mut state.camera;
            let last_error = last_error.unwrap_or_else(|| camera.last_error.clone());
            let changed = camera.state != new || camera.last_error != last_error;
            camera.state = new;
            camera.last_error = last_error;
            if !is_open {
                camera.format = None;
                state.framing.state = FramingState::Inactive;
                state.framing.subject = 0;
            }
            changed
        });
    }

    pub(super) fn set_format(&self, format: FrameFormat, generation: u32, limits: Option<Limits>) {
        let limits = limits.map(limit_values).unwrap_or_default();
        self.change(|state| {
            state.camera.format = Some(format);
            state.camera.generation = generation;
            state.framing.limits = limits;
        });
    }

    /// Publishes what the director does, and whom it follows.
    pub(super) fn set_framing_state(&self, new: FramingState, subject: u32) {
        self.state.send_if_modified(|state| {
            let framing = &mut state.framing;
            let changed = (framing.state, framing.subject) != (new, subject);
            (framing.state, framing.subject) = (new, subject);
            changed
        });
    }

    /// Changes the framing settings. `limits` are what they allow, if the camera's format is known and
    /// suits them.
    pub(super) fn change_framing(&self, limits: Option<Limits>, change: impl FnOnce(&mut PublishedState)) {
        let limits = limits.map(limit_values).unwrap_or_default();
        self.change(|state| {
            change(state);
            state.framing.limits = limits;
        });
    }

    /// The people are unknown: nobody is reported as present.
    pub(super) fn clear_present(&self) {
        self.state.send_if_modified(|state| std::mem::take(&mut state.segmentation.present));
    }

    /// Publishes the result of a mask. The text of an earlier failure is replaced by that of the
    /// reduction, if any.
    pub(super) fn mask_made(&self, present: bool) {
        // Copied only after a failure, so that a mask on a degraded board allocates nothing.
        let failed = self.read(|state| !state.segmentation.healthy);
        let reduction = failed.then(|| self.reduction.get());
        self.state.send_if_modified(|state| {
            let segmentation = &mut state.segmentation;
            let changed = segmentation.present != present || !segmentation.healthy;
            if let Some(reduction) = reduction {
                segmentation.degraded = reduction;
            }
            (segmentation.present, segmentation.healthy) = (present, true);
            changed
        });
    }

    /// Publishes how inference is reduced; an empty text if it is not. While the net fails, the
    /// failure stays published.
    pub(in crate::pipeline) fn set_reduction(&self, reduction: String) {
        self.reduction.set(reduction.clone());
        self.state.send_if_modified(|state| {
            let segmentation = &mut state.segmentation;
            let changed = segmentation.healthy && segmentation.degraded != reduction;
            if changed {
                segmentation.degraded = reduction;
            }
            changed
        });
    }

    /// Publishes that the net failed.
    pub(in crate::pipeline) fn mask_failed(&self, reason: &str) {
        self.state.send_if_modified(|state| {
            let segmentation = &mut state.segmentation;
            let changed = segmentation.healthy || segmentation.degraded != reason;
            segmentation.healthy = false;
            reason.clone_into(&mut segmentation.degraded);
            changed
        });
    }

    pub(in crate::pipeline) fn set_consumers(&self, consumers: usize) {
        let consumers = u32::try_from(consumers).unwrap_or(u32::MAX);
        self.change(|state| state.camera.consumers = consumers);
    }
}

/// `Framing1.Limits`: zoom factors, pixels of the source, and crops per second.
fn limit_values(limits: Limits) -> Dictionary {
    let number = |value: f32| DictionaryValue::F64(value.into());
    [
        ("max_zoom", number(limits.max_zoom)),
        ("min_zoom", number(limits.min_zoom)),
        ("zoom_without_upscaling", number(limits.zoom_without_upscaling)),
        ("smallest_crop_width", number(limits.smallest_crop.0)),
        ("smallest_crop_height", number(limits.smallest_crop.1)),
        ("largest_crop_width", number(limits.largest_crop.width)),
        ("largest_crop_height", number(limits.largest_crop.height)),
        ("top_speed", number(limits.speed.1)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
