//! The state that the threads of one camera share. Each part has one owner with one lock.
//!
//! | owner | state | after a panic under its lock |
//! |---|---|---|
//! | [`SharedDirector`] | the director, its last answers | it is built again from its settings |
//! | [`Scene`] | the number of the current scene | goes on: a number |
//! | [`Statistics`] | counts and times | goes on: sums and assignments |
//! | [`Published`] | the state on D-Bus | goes on: assignments |
//! | [`Availability`] | whether the source is open; the generation | goes on: assignments |
//! | [`Background`] | what stands behind the people | goes on: a copy is changed, then assigned |
//! | [`SharedValue`] | tuning, the next model | goes on: a copy is changed, then assigned |
//! | [`Demand`] | the number of clients of each stream | goes on: counts and assignments |
//!
//! # Order of locks
//! No owner's lock is taken while another owner's lock is held. There are two exceptions. The inner
//! locks are always the last ones:
//!
//! - While the lock of [`Scene`] is held, [`Published`] and the newest observation ([`Latest`]) may
//!   change, so that nothing of an old scene is published after a new one has started.
//! - While the main thread holds the lock of the table of rings (`camera/rings.rs`), it may take
//!   the lock of a ring's list of clients.

mod availability;
mod director;
mod published;
mod scene;
mod statistics;
mod value;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use portraitd_framing::{SettingsError, Shot, Subject};
use portraitd_media::{ControlValues, FormatRequest, Frame, FrameFormat, Latest, Orientation, UnitRect};
use portraitd_protocol::{CameraState, ServiceError};
use portraitd_vision::Observation;
use portraitd_vision::net::Model;
use tracing::error;

use self::scene::Scene;
use super::background::{Background, BackgroundSettings};
use super::demand::Demand;
use crate::publish::dbus::service::PublishedState;

pub(super) use availability::{Availability, Opened, OutageReason, WaitPolicy};
pub(super) use director::{FramingChoice, SharedDirector};
pub(super) use published::Published;
pub(super) use statistics::Statistics;
pub(super) use value::SharedValue;

/// The settings of the threads. They read them again for every frame.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tuning {
    /// The size and rate to ask the source for.
    pub(super) wanted: FormatRequest,
    /// How the frames of the source are turned.
    pub(super) orientation: Orientation,
    /// The wanted values of the source's controls.
    pub(super) controls: Arc<ControlValues>,
    /// From the last client's departure to the closing of the camera.
    pub(super) idle_close: Duration,
    /// The least time between two inference passes; zero for no limit.
    pub(super) inference_interval: Duration,
    /// How long after its capture a frame's composite waits for the frame's own mask.
    pub(super) mask_budget: Duration,
    /// Areas whose people are ignored, as fractions of the frame.
    pub(super) zones: Arc<[UnitRect]>,
}

/// A frame with what was observed in it.
#[derive(Clone)]
pub(super) struct ObservedFrame {
    pub(super) frame: Frame,
    /// `None` if the net failed.
    pub(super) observation: Option<Arc<Observation>>,
}

/// What the threads of one camera share.
pub(super) struct Shared {
    name: String,
    pub(super) demand: Arc<Demand>,
    pub(super) frames: Latest<Frame>,
    pub(super) observations: Latest<Arc<Observation>>,
    /// The newest observed frame, for pictures that show a frame with its own mask. It holds one
    /// lease on a buffer of the source, and none while nobody asks for it.
    pub(super) observed: Latest<ObservedFrame>,
    pub(super) director: SharedDirector,
    pub(super) published: Published,
    pub(super) availability: Availability,
    pub(super) statistics: Statistics,
    pub(super) tuning: SharedValue<Tuning>,
    pub(super) background: Background,
    /// A loaded model that the vision thread is to use from now on.
    pub(super) next_model: SharedValue<Option<Model>>,
    scene: Scene,
    /// Increases when what was shown so far must not be seen any more, see [`Shared::picture_epoch`].
    picture_epoch: AtomicU64,
    /// Whether the vision thread runs.
    observing: AtomicBool,
    /// The number of [`ObservedDemand`]s.
    observed_demand: AtomicUsize,
}

/// A render thread's need for observed frames. It ends when this is dropped.
pub(super) struct ObservedDemand(Arc<Shared>);

impl Drop for ObservedDemand {
    fn drop(&mut self) {
        self.0.observed_demand.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Shared {
    pub(super) fn new(
        name: &str,
        tuning: Tuning,
        choice: FramingChoice,
        state: PublishedState,
        background: BackgroundSettings,
    ) -> Self {
        Self {
            name: name.to_owned(),
            demand: Arc::default(),
            frames: Latest::default(),
            observations: Latest::default(),
            observed: Latest::default(),
            director: SharedDirector::new(name, choice),
            availability: Availability::new(state.camera.device.clone()),
            published: Published::new(state),
            statistics: Statistics::new(),
            tuning: SharedValue::new(tuning),
            background: Background::new(background),
            next_model: SharedValue::new(None),
            scene: Scene::default(),
            picture_epoch: AtomicU64::new(0),
            observing: AtomicBool::new(false),
            observed_demand: AtomicUsize::new(0),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Publishes a state of the camera and tells clients that wait for it. `reason` says why it is
    /// not running.
    pub(super) fn set_state(&self, state: CameraState, reason: Option<OutageReason>) {
        let is_closed =
            matches!(state, CameraState::Idle | CameraState::Absent | CameraState::Failed | CameraState::Stalled);
        let (text, error) = reason.map(|OutageReason { text, error }| (text, error)).unzip();
        self.availability.set_state(state, error);
        self.published.set_camera_state(state, !is_closed, text);
        if is_closed || state == CameraState::Private {
            // From now on it is unknown who is in the room. An old mask must not be combined with a
            // later picture, and the pictures in the slots must be wiped.
            self.start_new_scene();
            self.picture_epoch.fetch_add(1, Ordering::AcqRel);
        }
        if is_closed {
            self.director.restart();
            self.statistics.stream_closed();
        }
    }

    /// Nothing will come from this camera any more: the source is closed, the rings are closed, and
    /// every attach is refused. The watchdog is not fed from now on.
    pub(super) fn give_up(&self, reason: &str) {
        error!(camera = self.name, "the camera is given up: {reason}");
        self.demand.shut_down();
        self.set_state(CameraState::Failed, Some(OutageReason::new(reason.to_owned(), ServiceError::Failed)));
        self.availability.stop();
        self.frames.close();
        self.observations.close();
        self.observed.close();
    }

    /// A client has made the camera private, and the source is closed: nothing that was seen counts
    /// any more. Readers get black frames of `format`.
    pub(super) fn make_private(&self, format: FrameFormat) {
        self.set_state(CameraState::Private, None);
        self.director.restart();
        self.statistics.stream_closed();
        self.set_format(format);
    }

    /// Pictures are turned in another way from now on: nothing that was seen is in its place any more.
    pub(super) fn turned(&self) {
        self.start_new_scene();
        self.picture_epoch.fetch_add(1, Ordering::AcqRel);
        self.director.restart();
    }

    /// Takes the format of the source. If it differs from the last one, the rings of the old format
    /// are closed.
    pub(super) fn set_format(&self, format: FrameFormat) {
        let changed = self.director.set_format(format);
        let generation = self.availability.set_open(format, changed);
        self.published.set_format(format, generation, self.director.limits());
        if changed {
            self.start_new_scene();
            self.picture_epoch.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// A number that increases when earlier pictures must not be shown any more: the shutter or the
    /// camera was closed, or the format has changed. When a render thread sees another number than
    /// before, it wipes its slots and publishes no frame that it took before.
    pub(super) fn picture_epoch(&self) -> u64 {
        self.picture_epoch.load(Ordering::Acquire)
    }

    /// Whether frames are observed: the vision thread exists and has not ended.
    pub(super) fn is_observing(&self) -> bool {
        self.observing.load(Ordering::Acquire)
    }

    pub(super) fn set_observing(&self, observing: bool) {
        self.observing.store(observing, Ordering::Release);
    }

    /// Asks for observed frames while the result is held.
    pub(super) fn demand_observed(shared: &Arc<Self>) -> ObservedDemand {
        shared.observed_demand.fetch_add(1, Ordering::AcqRel);
        ObservedDemand(Arc::clone(shared))
    }

    /// Whether a render thread needs observed frames.
    pub(super) fn wants_observed_frames(&self) -> bool {
        self.observed_demand.load(Ordering::Acquire) > 0
    }

    /// The number of the current scene; for [`Shared::accept_observation`]. To be read before a
    /// frame is taken.
    pub(super) fn scene(&self) -> u64 {
        self.scene.current()
    }

    /// Discards what was seen, and what a thread will still find in a frame that it took before.
    pub(super) fn start_new_scene(&self) {
        let scene = self.scene.start_new(|| {
            self.observations.clear();
            self.observed.clear();
            self.published.clear_present();
        });
        self.director.enter_scene(scene);
    }

    /// Discards the last observation, if there is one: while no client needs masks, it would be
    /// shown forever.
    pub(super) fn discard_observation(&self) {
        self.observed.clear();
        if self.observations.latest().is_some() {
            self.start_new_scene();
        }
    }

    /// Gives an observation to the director, the render threads and D-Bus, with its `frame` if a
    /// composite waits for it. Returns false, and publishes nothing, if a new scene has started
    /// since `scene`.
    pub(super) fn accept_observation(
        &self,
        scene: u64,
        frame: Option<Frame>,
        observation: Arc<Observation>,
        subjects: &[Subject],
    ) -> bool {
        if !self.director.observe(scene, observation.capture_ns, subjects) {
            return false;
        }
        // Steps the director, in case no render thread does.
        self.shot(observation.sequence, observation.capture_ns);
        let (capture_ns, inference_ns) = (observation.capture_ns, observation.inference_ns);
        self.scene.while_current(scene, || {
            // Counted first: whoever has seen the observation finds it in the figures.
            self.statistics.mask_made(capture_ns, inference_ns);
            self.published.mask_made(!observation.people.is_empty());
            if let Some(frame) = frame {
                self.observed.put(ObservedFrame { frame, observation: Some(Arc::clone(&observation)) });
            }
            self.observations.put(observation);
        })
    }

    /// Gives a frame in which nothing could be observed to the composites that wait for it: they
    /// show only their background.
    pub(super) fn frame_not_observed(&self, scene: u64, frame: Frame) {
        self.scene.while_current(scene, || self.observed.put(ObservedFrame { frame, observation: None }));
    }

    /// The shot of the frame with this number and capture timestamp. Publishes the director's state
    /// if it changed.
    pub(super) fn shot(&self, sequence: u64, capture_ns: u64) -> Shot {
        let shot = self.director.shot(sequence, capture_ns);
        self.published.set_framing_state(shot.state, shot.subject);
        shot
    }

    /// Changes the framing settings, and publishes them as `publish` says with the limits that
    /// follow from them.
    ///
    /// # Errors
    /// [`SettingsError`] says what is wrong with the settings. In that case nothing changes.
    pub(super) fn change_framing(
        &self,
        change: impl FnOnce(&mut FramingChoice),
        publish: impl FnOnce(&mut PublishedState),
    ) -> Result<(), SettingsError> {
        let limits = self.director.change(change)?;
        self.published.change_framing(limits, publish);
        Ok(())
    }

    /// Replaces the framing settings, and publishes them as `publish` says. They take effect even if
    /// the director refuses them for frames of the current format: then views show the middle of the
    /// frame, and no more than the settings allow.
    ///
    /// # Errors
    /// Why the director refuses them.
    pub(super) fn replace_framing(
        &self,
        choice: FramingChoice,
        publish: impl FnOnce(&mut PublishedState),
    ) -> Result<(), SettingsError> {
        let replaced = self.director.replace(choice);
        let limits = replaced.as_ref().map_or_else(|_| self.director.limits(), |limits| *limits);
        self.published.change_framing(limits, publish);
        replaced.map(drop)
    }
}
