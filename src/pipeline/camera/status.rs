//! Figures and states of a camera, for D-Bus and for the metrics file.

use std::collections::BTreeMap;

use portraitd_media::clock::monotonic_ns;
use portraitd_protocol::{CameraState, FramingState};
use portraitd_vision::net::{Library, Model};

use super::{Camera, Inner};
use crate::pipeline::shared::FramingChoice;
use crate::publish::dbus::service::{
    BackgroundStatus, CameraStatus, Dictionary, DictionaryValue, FramingStatus, PublishedPerson, PublishedState,
    SegmentationStatus,
};
use crate::service::config;
use crate::service::crash::SAFE_MODE;
use crate::service::metrics::CameraReport;
use crate::service::status_line::CameraLine;

impl Camera {
    /// The number of attached clients.
    pub fn consumers(&self) -> usize {
        self.inner.rings.attachments()
    }

    /// The number of rings.
    pub fn rings(&self) -> usize {
        self.inner.rings.len()
    }

    /// The camera in the status line of the service.
    pub fn line(&self) -> CameraLine {
        let shared = &self.inner.shared;
        let (clients, frames) = (self.consumers(), shared.statistics.figures().frames);
        let state = shared.published.subscribe().borrow().clone();
        CameraLine {
            name: shared.name().to_owned(),
            state: state.camera.state,
            clients,
            frames,
            last_error: state.camera.last_error,
            degraded: state.segmentation.degraded,
        }
    }

    /// The camera's figures for the metrics file. `uptime_s` is the time over which counts become
    /// rates, in seconds.
    pub fn report(&self, uptime_s: f64) -> CameraReport {
        let shared = &self.inner.shared;
        let figures = shared.statistics.figures();
        let lost = figures.lost();
        CameraReport {
            name: shared.name().to_owned(),
            state: shared.published.camera_state().to_string(),
            camera_fps: if uptime_s > 0.0 { figures.frames as f64 / uptime_s } else { 0.0 },
            consumers: u32::try_from(self.consumers()).unwrap_or(u32::MAX),
            reopened: figures.reopened,
            frames: figures.frames,
            dropped: lost.dropped,
            corrupt: lost.corrupt,
        }
    }
}

impl Inner {
    /// `Camera1.Stats`.
    pub(super) fn stats(&self) -> Dictionary {
        let figures = self.shared.statistics.figures();
        let lost = figures.lost();
        let mut values: Dictionary = BTreeMap::new();
        let mut put = |name: &str, value: DictionaryValue| values.insert(name.to_owned(), value);
        put("frames", DictionaryValue::U64(figures.frames));
        put("frames_dropped", DictionaryValue::U64(lost.dropped));
        put("frames_corrupt", DictionaryValue::U64(lost.corrupt));
        put("frames_starved", DictionaryValue::U64(lost.starved));
        put("frames_published", DictionaryValue::U64(figures.published));
        put("masks", DictionaryValue::U64(figures.masks));
        put("inference_ms", DictionaryValue::F64(figures.inference_last_s * 1e3));
        put("latency_ms", DictionaryValue::F64(figures.latency_ns as f64 * 1e-6));
        put("reopened", DictionaryValue::U64(figures.reopened));
        put("framing_moves", DictionaryValue::U64(self.shared.director.moves()));
        put("rings", DictionaryValue::U64(self.rings.len() as u64));
        if figures.masks > 0 {
            let age_ns = monotonic_ns().saturating_sub(figures.mask_capture_ns);
            put("mask_age_ms", DictionaryValue::F64(age_ns as f64 * 1e-6));
        }
        values
    }

    /// `Segmentation1.People`: the people of the newest mask.
    pub(super) fn people(&self) -> Vec<PublishedPerson> {
        let Some((observation, _)) = self.shared.observations.latest() else { return Vec::new() };
        let person = |person: &portraitd_vision::TrackedPerson| {
            let (x, y, width, height) = person.bounds.to_tuple();
            (person.id, x, y, width, height)
        };
        observation.people.iter().map(person).collect()
    }
}

/// The published state of a camera that has not been opened yet.
pub(super) fn first_state(
    config: &config::CameraConfig,
    choice: &FramingChoice,
    device: &str,
    library: &Library,
    model: Option<&Model>,
) -> PublishedState {
    PublishedState {
        camera: CameraStatus {
            device: device.to_owned(),
            state: CameraState::Idle,
            format: None,
            consumers: 0,
            generation: 1,
            last_error: String::new(),
            private: false,
            rotate: config.rotate,
            mirror: config.mirror,
        },
        framing: FramingStatus {
            mode: choice.mode,
            state: FramingState::Inactive,
            manual_crop: choice.manual_crop.to_tuple(),
            max_zoom: choice.max_zoom.into(),
            speed: choice.speed,
            subject: 0,
            zones: config.framing.zones.iter().map(|zone| (*zone).into()).collect(),
            limits: Dictionary::new(),
        },
        segmentation: SegmentationStatus {
            model: model.map(|model| model.manifest().name.clone()).unwrap_or_default(),
            models: library.names(),
            present: false,
            healthy: model.is_some(),
            degraded: if model.is_some() { String::new() } else { SAFE_MODE.into() },
        },
        background: BackgroundStatus {
            mode: config.background.mode,
            color: config.background.color.into(),
            blur: config.background.blur,
            strict: config.background.strict,
        },
    }
}
