//! What the threads of one camera share.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portraitd_protocol::{BackgroundMode, CameraState, FramingState, ServiceError};
use tokio::sync::watch;

use super::demand::Demand;
use super::shot::{FramingChoice, ShotKeeper};
use crate::publish::dbus::service::{Dictionary, DictionaryValue, FramingStatus, PublishedState};
use crate::service::metrics::Histogram;
use portraitd_framing::{Limits, SettingsError, Shot, Subject};
use portraitd_media::{FormatRequest, Frame, FrameFormat, Latest, StreamCounters};
use portraitd_media::{OwnedPicture, UnitRect};
use portraitd_vision::Observation;
use portraitd_vision::net::Model;

/// The bounds of the histograms of an inference, seconds.
const INFERENCE_BOUNDS_S: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];

/// What an open source delivers, and which rings are of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Opened {
    pub(super) format: FrameFormat,
    pub(super) generation: u32,
}

/// How far the opening of the source has come; a waiting attach watches it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Opening {
    /// Counts the tries.
    pub(super) attempt: u64,
    /// What the last one came to; `None` while it is under way, or nobody needs the camera.
    pub(super) outcome: Option<Result<Opened, ServiceError>>,
}

/// Why a camera does not run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trouble {
    /// In words, for `LastError`.
    pub(super) reason: String,
    /// What is answered to whoever waits for the camera.
    pub(super) refusal: ServiceError,
}

impl Trouble {
    /// `refusal` makes the answer of the reason.
    pub(super) fn new(reason: String, refusal: fn(String) -> ServiceError) -> Self {
        Self { refusal: refusal(reason.clone()), reason }
    }
}

/// Figures for `Stats` and the metrics file.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    pub(super) frames: u64,
    /// Of streams that are closed already.
    closed: StreamCounters,
    current: StreamCounters,
    pub(super) reopened: u64,
    pub(super) inference: Histogram,
    pub(super) inference_last_s: f64,
    pub(super) masks: u64,
    pub(super) mask_capture_ns: u64,
    /// Masks a second, smoothed over about ten of them.
    mask_rate: f64,
    pub(super) published: u64,
    /// From capture stamp to published, of the last frame, nanoseconds.
    pub(super) latency_ns: u64,
}

impl Figures {
    /// What all streams have lost since the start.
    pub(super) const fn lost(&self) -> StreamCounters {
        StreamCounters {
            dropped: self.closed.dropped + self.current.dropped,
            corrupt: self.closed.corrupt + self.current.corrupt,
            starved: self.closed.starved + self.current.starved,
        }
    }
}

/// What stands behind the people.
#[derive(Clone, Debug)]
pub(super) struct Backdrop {
    /// Counts the changes; a render thread prepares its copy anew when it differs.
    pub(super) version: u64,
    pub(super) mode: BackgroundMode,
    pub(super) color: [u8; 3],
    pub(super) blur: f64,
    pub(super) image: Option<Arc<OwnedPicture>>,
}

/// What the configuration sets for the threads; they read it anew for every frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tuning {
    /// What to ask of the source.
    pub(super) wanted: FormatRequest,
    /// From the last client's leaving to the closing of the camera.
    pub(super) idle_close: Duration,
    /// Least time between two inferences; zero for none.
    pub(super) inference_interval: Duration,
    /// How long after capture a composite waits for its frame's own mask.
    pub(super) mask_budget: Duration,
}

/// What the threads of one camera share.
pub(super) struct Shared {
    name: String,
    pub(super) demand: Demand,
    pub(super) frames: Latest<Frame>,
    pub(super) observations: Latest<Arc<Observation>>,
    pub(super) shots: Mutex<ShotKeeper>,
    pub(super) published: watch::Sender<PublishedState>,
    pub(super) opening: watch::Sender<Opening>,
    tuning: Mutex<Tuning>,
    figures: Mutex<Figures>,
    backdrop: Mutex<Arc<Backdrop>>,
    zones: Mutex<Vec<UnitRect>>,
    next_model: Mutex<Option<Model>>,
    generation: AtomicU32,
    /// Counts how often everybody was to be forgotten.
    scene: Mutex<u64>,
    /// What is left out to keep up, in words; empty for nothing.
    left_out: Mutex<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section of this file is an assignment or two: a panic elsewhere cannot leave one half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(
        name: &str,
        tuning: Tuning,
        shots: ShotKeeper,
        state: PublishedState,
        backdrop: Backdrop,
        zones: Vec<UnitRect>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            demand: Demand::default(),
            frames: Latest::default(),
            observations: Latest::default(),
            shots: Mutex::new(shots),
            published: watch::Sender::new(state),
            opening: watch::Sender::new(Opening::default()),
            tuning: Mutex::new(tuning),
            figures: Mutex::new(Figures {
                frames: 0,
                closed: StreamCounters::default(),
                current: StreamCounters::default(),
                reopened: 0,
                inference: Histogram::new(INFERENCE_BOUNDS_S),
                inference_last_s: 0.0,
                masks: 0,
                mask_capture_ns: 0,
                mask_rate: 0.0,
                published: 0,
                latency_ns: 0,
            }),
            backdrop: Mutex::new(Arc::new(backdrop)),
            zones: Mutex::new(zones),
            next_model: Mutex::new(None),
            generation: AtomicU32::new(1),
            scene: Mutex::new(0),
            left_out: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn tuning(&self) -> Tuning {
        *lock(&self.tuning)
    }

    pub(super) fn tune(&self, tuning: Tuning) {
        *lock(&self.tuning) = tuning;
    }

    /// Which rings are current: a ring of an older generation is closed. Only the capture thread changes it.
    pub(super) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// Announces a state of the camera, and to a waiting attach what has come of its wish.
    pub(super) fn set_state(&self, state: CameraState, trouble: Option<Trouble>) {
        let is_closed =
            matches!(state, CameraState::Idle | CameraState::Absent | CameraState::Failed | CameraState::Stalled);
        let (reason, refusal) = trouble.map(|Trouble { reason, refusal }| (reason, refusal)).unzip();
        self.opening.send_modify(|opening| match state {
            CameraState::Starting => {
                opening.attempt += 1;
                opening.outcome = None;
            }
            CameraState::Idle => opening.outcome = None,
            CameraState::Running | CameraState::Private => {}
            _ => opening.outcome = Some(Err(refusal.unwrap_or_else(|| ServiceError::Failed(state.to_string())))),
        });
        self.published.send_if_modified(|published| {
            let camera = &mut published.camera;
            let last_error = reason.unwrap_or_else(|| camera.last_error.clone());
            let changed = camera.state != state || camera.last_error != last_error;
            camera.state = state;
            camera.last_error = last_error;
            if is_closed {
                camera.format = None;
                published.framing.state = FramingState::Inactive;
            }
            changed
        });
        if is_closed || state == CameraState::Private {
            // Who was in the room is not to be known from now on, and a mask of the room as it was must not meet a picture
            // of the room as it will be.
            self.forget_people();
        }
        if is_closed {
            lock(&self.shots).forget();
            let mut figures = lock(&self.figures);
            let lost = figures.lost();
            figures.closed = lost;
            figures.current = StreamCounters::default();
        }
    }

    /// Whether the camera's shutter is closed.
    pub(super) fn is_private(&self) -> bool {
        self.published.borrow().camera.state == CameraState::Private
    }

    /// The source has a format: the same as before, or rings of the old one are to be closed.
    pub(super) fn set_format(&self, format: FrameFormat) {
        let changed = lock(&self.shots).set_format(format);
        let generation = self.generation() + u32::from(changed);
        // Whoever attaches from here on is of the new generation: known before the rings of the old one close.
        self.opening.send_modify(|opening| opening.outcome = Some(Ok(Opened { format, generation })));
        self.generation.store(generation, Ordering::Release);
        let limits = self.shots().limits().map(limit_values).unwrap_or_default();
        self.published.send_modify(|published| {
            published.camera.format = Some(format);
            published.camera.generation = generation;
            published.framing.limits = limits;
        });
        if changed {
            self.forget_people();
        }
    }

    /// Which scene is seen. Read before a frame is taken: what is seen in it counts only if the scene is still the same.
    pub(super) fn scene(&self) -> u64 {
        *lock(&self.scene)
    }

    /// Nobody is seen any more, and what is being looked at just now does not count.
    pub(super) fn forget_people(&self) {
        let mut scene = lock(&self.scene);
        *scene += 1;
        self.observations.clear();
        self.published.send_if_modified(|published| std::mem::take(&mut published.segmentation.present));
    }

    /// Nobody asks who is seen: what was seen last is not shown for ever. Of no cost where that is so already.
    pub(super) fn nobody_asks(&self) {
        if self.observations.latest().is_some() {
            self.forget_people();
        }
    }

    /// Tells the director and all others what was seen in a frame of `scene`. Returns whether it still counts.
    pub(super) fn see(&self, scene: u64, observation: Arc<Observation>, subjects: &[Subject]) -> bool {
        // Held to the end: a shutter that closes meanwhile has the last word.
        let current = lock(&self.scene);
        if *current != scene {
            return false;
        }
        self.shots().observe(observation.capture_ns, subjects);
        // Steps the director, in case no view does.
        self.shot(observation.sequence, observation.capture_ns);
        self.mask_made(&observation);
        self.observations.put(observation);
        true
    }

    pub(super) fn frame_captured(&self, counters: StreamCounters) {
        let mut figures = lock(&self.figures);
        figures.frames += 1;
        figures.current = counters;
    }

    pub(super) fn count_reopen(&self) {
        lock(&self.figures).reopened += 1;
    }

    fn mask_made(&self, observation: &Observation) {
        let seconds = observation.inference_ns as f64 * 1e-9;
        let mut figures = lock(&self.figures);
        if observation.inference_ns > 0 {
            figures.inference.observe(seconds);
            figures.inference_last_s = seconds;
        }
        figures.masks += 1;
        let interval_ns = observation.capture_ns.saturating_sub(figures.mask_capture_ns);
        if interval_ns > 0 {
            let rate = 1e9 / interval_ns as f64;
            figures.mask_rate += (rate - figures.mask_rate) * if interval_ns > 2_000_000_000 { 1.0 } else { 0.1 };
        }
        figures.mask_capture_ns = observation.capture_ns;
        drop(figures);
        let present = !observation.people.is_empty();
        self.published.send_if_modified(|published| {
            let segmentation = &mut published.segmentation;
            let changed = segmentation.present != present || !segmentation.healthy;
            if !segmentation.healthy {
                // What was said of the failure is over.
                lock(&self.left_out).clone_into(&mut segmentation.degraded);
            }
            (segmentation.present, segmentation.healthy) = (present, true);
            changed
        });
    }

    /// Says what is left out to keep up; empty for nothing.
    pub(super) fn leave_out(&self, what: String) {
        self.published.send_if_modified(|published| {
            let segmentation = &mut published.segmentation;
            // What failed is told first.
            let changed = segmentation.healthy && segmentation.degraded != what;
            if changed {
                what.clone_into(&mut segmentation.degraded);
            }
            changed
        });
        *lock(&self.left_out) = what;
    }

    pub(super) fn mask_failed(&self, reason: &str) {
        self.published.send_if_modified(|published| {
            let segmentation = &mut published.segmentation;
            let changed = segmentation.healthy || segmentation.degraded != reason;
            segmentation.healthy = false;
            reason.clone_into(&mut segmentation.degraded);
            changed
        });
    }

    pub(super) fn frame_published(&self, latency_ns: u64) {
        let mut figures = lock(&self.figures);
        figures.published += 1;
        figures.latency_ns = latency_ns;
    }

    /// Masks a second, over the last ones; 0 when none came for two seconds.
    pub(super) fn mask_rate(&self) -> f64 {
        let figures = lock(&self.figures);
        let age_ns = portraitd_media::clock::monotonic_ns().saturating_sub(figures.mask_capture_ns);
        if age_ns > 2_000_000_000 { 0.0 } else { figures.mask_rate }
    }

    pub(super) fn figures(&self) -> Figures {
        lock(&self.figures).clone()
    }

    pub(super) fn backdrop(&self) -> Arc<Backdrop> {
        Arc::clone(&lock(&self.backdrop))
    }

    pub(super) fn change_backdrop(&self, change: impl FnOnce(&mut Backdrop)) {
        let mut backdrop = lock(&self.backdrop);
        let mut next = Backdrop::clone(&backdrop);
        next.version += 1;
        change(&mut next);
        *backdrop = Arc::new(next);
    }

    /// Calls `read` with the zones whose people are ignored, fractions of the frame.
    pub(super) fn with_zones<T>(&self, read: impl FnOnce(&[UnitRect]) -> T) -> T {
        read(&lock(&self.zones))
    }

    pub(super) fn set_zones(&self, zones: Vec<UnitRect>) {
        *lock(&self.zones) = zones;
    }

    /// Hands a loaded model to the vision thread.
    pub(super) fn offer_model(&self, model: Model) {
        *lock(&self.next_model) = Some(model);
    }

    pub(super) fn take_model(&self) -> Option<Model> {
        lock(&self.next_model).take()
    }

    /// The crop of a frame; announces the director's state where it changed.
    pub(super) fn shot(&self, sequence: u64, capture_ns: u64) -> Shot {
        let shot = self.shots().shot(sequence, capture_ns);
        self.published.send_if_modified(|published| {
            let changed = published.framing.state != shot.state;
            published.framing.state = shot.state;
            changed
        });
        shot
    }

    /// Changes what a person can set, and how it and its limits are published.
    ///
    /// # Errors
    /// What is wrong with the choice; nothing has changed then.
    pub(super) fn choose(
        &self,
        change: impl FnOnce(&mut FramingChoice),
        publish: impl FnOnce(&mut FramingStatus),
    ) -> Result<(), SettingsError> {
        let mut shots = self.shots();
        shots.choose(change)?;
        let limits = shots.limits().map(limit_values);
        drop(shots);
        self.published.send_modify(|state| {
            publish(&mut state.framing);
            if let Some(limits) = limits {
                state.framing.limits = limits;
            }
        });
        Ok(())
    }

    /// The director's keeper.
    pub(super) fn shots(&self) -> MutexGuard<'_, ShotKeeper> {
        lock(&self.shots)
    }
}

/// `Framing1.Limits`: zooms, pixels of the source, crops a second.
fn limit_values(limits: Limits) -> Dictionary {
    let number = |value: f32| DictionaryValue::F64(value.into());
    [
        ("max_zoom", number(limits.max_zoom)),
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
