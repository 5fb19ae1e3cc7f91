//! The vision thread: decides which frames are observed, and publishes the observations.
//!
//! It takes the newest frame whenever it is free, at most `max_rate` per second, and none while no
//! attached stream needs a mask. The frame path never waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portraitd_protocol::{FramingMode, StreamKind};
use tracing::{debug, error, info, warn};

use super::BACKOFF;
use super::degrade::{Advice, Degradation, Level};
use super::heads::{HeadLoader, look_interval_ns};
use super::shared::Shared;
use super::turns::{PassTimes, Turns};
use crate::service::logging::Repeat;
use crate::service::notify::Progress;
use crate::service::panics::caught;
use portraitd_media::latest::WaitOutcome;
use portraitd_media::{Frame, UnitRect};
use portraitd_render::SubjectList;
use portraitd_vision::net::{EngineOptions, Library, Model};
use portraitd_vision::{Observation, ObserveError, Observer, TrackedPerson};

/// How long one wait for a frame lasts.
const POLL: Duration = Duration::from_millis(200);
/// The least time between two equal log messages.
const REPEAT_NS: u64 = 10_000_000_000;

/// Recycles the observations that no reader holds.
#[derive(Default)]
struct Pool(Vec<Arc<Observation>>);

impl Pool {
    /// An observation that no reader holds, filled by `fill`. Allocates only while the number of
    /// readers grows.
    fn fill<E>(&mut self, fill: impl FnOnce(&mut Observation) -> Result<(), E>) -> Result<Arc<Observation>, E> {
        let free = self.0.iter().position(|observation| Arc::strong_count(observation) == 1);
        let index = free.unwrap_or_else(|| {
            self.0.push(Arc::new(Observation::default()));
            self.0.len() - 1
        });
        if let Some(observation) = Arc::get_mut(&mut self.0[index]) {
            fill(observation)?;
        }
        Ok(Arc::clone(&self.0[index]))
    }
}

/// The state of the vision thread.
pub(super) struct Vision {
    shared: Arc<Shared>,
    observer: Observer,
    /// Where the configured net and smaller ones are loaded from.
    library: Library,
    engine: EngineOptions,
    turns: Turns,
    /// The name of the net that the configuration or a client has chosen. A smaller one may run
    /// instead.
    chosen: String,
    degradation: Degradation,
    heads: HeadLoader,
    progress: Progress,
}

impl Vision {
    pub(super) fn new(
        shared: Arc<Shared>,
        model: Model,
        library: Library,
        engine: EngineOptions,
        turns: Turns,
        progress: Progress,
    ) -> Result<Self, ObserveError> {
        let chosen = model.manifest().name.clone();
        let observer = Observer::new(model)?;
        shared.set_observing(true);
        let (degradation, heads) = (Degradation::new(), HeadLoader::default());
        Ok(Self { shared, observer, library, engine, turns, chosen, degradation, heads, progress })
    }

    /// Whether an attached stream needs to know where people are.
    fn is_needed(&self) -> bool {
        let demand = &self.shared.demand;
        let framed = || matches!(self.shared.published.framing_mode(), FramingMode::Once | FramingMode::Follow);
        demand.clients_of(StreamKind::Mask) > 0
            || demand.clients_of(StreamKind::Composite) > 0
            || (demand.clients_of(StreamKind::View) > 0 && framed())
    }

    /// Runs until the camera is to stop. After a panic nothing is observed until the thread starts
    /// again, 0.5 s later and at most 30 s if it panics again and again: composites show only their
    /// background, and `Degraded` names the panic.
    pub(super) fn run(mut self) {
        let _ended = Ended(Arc::clone(&self.shared));
        let mut backoff = BACKOFF;
        loop {
            let started = Instant::now();
            let Err(panic) = caught(|| self.observe_frames()) else { return };
            self.progress.idle(true);
            backoff.worked_for(started.elapsed());
            let (camera, wait) = (self.shared.name(), backoff.wait());
            error!(camera, "the vision thread has panicked; it starts again in {wait:?}: {panic}");
            self.shared.set_observing(false);
            self.shared.start_new_scene();
            self.shared.published.mask_failed(&format!("a defect of the program: {panic}"));
            if matches!(self.shared.frames.wait_newer(u64::MAX, wait), WaitOutcome::Closed) {
                return;
            }
            backoff.double();
            // The net computes its mask from its input alone. Everything else may be half changed.
            let observer = match Observer::new(self.observer.into_model()) {
                Ok(observer) => observer,
                Err(failure) => return error!(camera, "nothing is observed any more: {failure}"),
            };
            self = Self { observer, heads: HeadLoader::default(), ..self };
            self.shared.set_observing(true);
        }
    }

    /// Observes frames until the camera is to stop.
    fn observe_frames(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut pool = Pool::default();
        let mut log_limit = Repeat::new(REPEAT_NS);
        let mut seen = 0;
        let mut due_ns = 0u64;
        let (mut last_pass, mut last_look) = (Duration::ZERO, Duration::ZERO);
        let mut passes = PassTimes::default();
        self.progress.idle(true);
        loop {
            let frame = match shared.frames.wait_newer(seen, POLL) {
                WaitOutcome::New(frame, count) => {
                    seen = count;
                    frame
                }
                WaitOutcome::TimedOut => continue,
                WaitOutcome::Closed => return,
            };
            if let Some(model) = shared.next_model.take() {
                self.chosen.clone_from(&model.manifest().name);
                self.degradation = Degradation::new();
                shared.published.set_reduction(String::new());
                self.use_model(model);
                passes = PassTimes::default();
            }
            if !self.is_needed() {
                shared.discard_observation();
                continue;
            }
            let tuning = shared.tuning.get();
            let interval = self.degradation.interval(tuning.inference_interval, last_pass);
            let interval_ns = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
            // A frame that is a quarter of an interval early counts as due, so that jitter does not
            // halve the rate.
            let restarted = due_ns > frame.capture_ns.saturating_add(interval_ns.saturating_mul(2));
            if !restarted && frame.capture_ns.saturating_add(interval_ns / 4) < due_ns {
                continue;
            }
            due_ns = due_ns.saturating_add(interval_ns);
            if restarted || due_ns < frame.capture_ns {
                due_ns = frame.capture_ns.saturating_add(interval_ns);
            }
            // Others may have the cores for a while. The newest frame then counts.
            drop(frame);
            let asked = Instant::now();
            let Some(turn) = self.turns.take(passes.pace(), || !shared.frames.is_closed()) else { return };
            let waited = asked.elapsed();
            let scene = shared.scene();
            let Some((frame, count)) = shared.frames.latest() else { continue };
            seen = count;
            self.progress.idle(false);
            let started = Instant::now();
            let is_ignored = |person: &TrackedPerson| is_within(person, &tuning.zones);
            // In a composite, people who move must come from one frame.
            let has_composites = shared.demand.clients_of(StreamKind::Composite) > 0;
            self.observer.set_most_windows(if has_composites { 1 } else { Observer::MAX_WINDOWS });
            // A board that is too slow for the net has no time for heads.
            let is_fast = self.degradation.level() == Level::Full;
            self.observer.set_look_interval(if is_fast { look_interval_ns(last_look) } else { u64::MAX });
            let observed = pool.fill(|observation| {
                self.observer.observe(&frame.picture(), frame.sequence, frame.capture_ns, is_ignored, observation)
            });
            let took = started.elapsed();
            drop(turn);
            let frame = shared.wants_observed_frames().then_some(frame);
            if frame.is_none() {
                // The lease on its buffer ends.
                shared.observed.clear();
            }
            self.progress.advance();
            self.progress.idle(true);
            match observed {
                Ok(observation) => {
                    let inferences = observation.inferences;
                    let look = Duration::from_nanos(observation.look_ns);
                    let is_somebody_there = !observation.people.is_empty();
                    publish(&shared, scene, frame, observation);
                    if !look.is_zero() {
                        last_look = look;
                    }
                    if let Some(detector) =
                        self.heads.poll(shared.name(), (&self.library, self.engine), is_fast && is_somebody_there)
                    {
                        self.observer.set_heads(Some(detector));
                    }
                    if inferences > 0 {
                        last_pass = took.saturating_sub(look) / inferences;
                        passes.record(last_pass);
                        self.adapt(waited + last_pass, tuning.mask_budget);
                    }
                }
                Err(failure) => {
                    if let Some(frame) = frame {
                        shared.frame_not_observed(scene, frame);
                    }
                    shared.published.mask_failed(&failure.to_string());
                    if let Some(repeats) = log_limit.check(portraitd_media::clock::monotonic_ns()) {
                        error!(camera = shared.name(), repeats, "no mask could be made from a frame: {failure}");
                    }
                }
            }
        }
    }
}

/// Degradation: the net in use, and how often it runs.
impl Vision {
    /// Replaces the net in use.
    fn use_model(&mut self, model: Model) {
        let (camera, name) = (self.shared.name(), model.manifest().name.clone());
        match Observer::new(model) {
            Ok(observer) => {
                let heads = self.observer.take_heads();
                self.observer = observer;
                self.observer.set_heads(heads);
            }
            Err(failure) => error!(camera, model = name, "the net cannot be used, so the old one stays: {failure}"),
        }
        info!(camera, model = self.observer.model().manifest().name, "net in use");
    }

    /// Loads a net and uses it. Returns whether it could be loaded.
    fn load(&mut self, name: &str) -> bool {
        match self.library.load(name, self.engine) {
            Ok(model) => {
                self.use_model(model);
                true
            }
            Err(failure) => {
                error!(camera = self.shared.name(), model = name, "the net cannot be loaded: {failure}");
                false
            }
        }
    }

    /// The name of the largest net of the library whose input is smaller than that of the net in
    /// use.
    fn smaller_net(&self) -> Option<String> {
        let now = self.observer.model().manifest().input.size().area();
        let manifests = self.library.entries().into_iter().filter_map(|entry| entry.manifest.ok());
        let smaller = manifests.filter(|manifest| manifest.input.size().area() < now);
        smaller.max_by_key(|manifest| manifest.input.size().area()).map(|manifest| manifest.name)
    }

    /// Reduces inference if passes take too long, and restores it if there is time. `pass` is the
    /// time of the last one.
    fn adapt(&mut self, pass: Duration, budget: Duration) {
        let level = self.degradation.level();
        let slow = self.degradation.slow_pass();
        let next = match self.degradation.pass_took(pass, budget) {
            Advice::Keep => return,
            Advice::Reduce if level == Level::Full => Level::FewerPasses,
            Advice::Reduce if level == Level::FewerPasses => match self.smaller_net() {
                Some(name) if self.load(&name) => Level::SmallerNet,
                _ => Level::FramingOnly,
            },
            Advice::Reduce => Level::FramingOnly,
            Advice::Restore if level == Level::FramingOnly => {
                if self.observer.model().manifest().name == self.chosen {
                    Level::FewerPasses
                } else {
                    Level::SmallerNet
                }
            }
            Advice::Restore if level == Level::SmallerNet => {
                let chosen = self.chosen.clone();
                if self.load(&chosen) { Level::FewerPasses } else { Level::SmallerNet }
            }
            Advice::Restore => Level::Full,
        };
        self.degradation.enter(next);
        let reduction = match next {
            Level::Full => String::new(),
            Level::FewerPasses => "fewer inference passes".to_owned(),
            Level::SmallerNet => format!("a smaller net ({})", self.observer.model().manifest().name),
            Level::FramingOnly => "framing only".to_owned(),
        };
        let camera = self.shared.name();
        let (slow, budget) = (slow.as_secs_f64() * 1e3, budget.as_secs_f64() * 1e3);
        let reduction = if next > level {
            let reduction = format!(
                "{reduction}: a mask takes {slow:.0} ms, over the budget of {budget:.0} ms (segmentation.budget_ms)"
            );
            warn!(camera, "inference is reduced to {reduction}");
            reduction
        } else if next == Level::Full {
            info!(camera, "inference is back within its budget: full rate restored");
            reduction
        } else {
            info!(camera, "inference is back within its budget: reduced to {reduction}");
            format!("{reduction}: full inference exceeded the budget of {budget:.0} ms (segmentation.budget_ms)")
        };
        self.shared.published.set_reduction(reduction);
    }
}

/// Says that nothing is observed any more when it is dropped.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.set_observing(false);
        // The last mask must not be used any longer.
        self.0.start_new_scene();
    }
}

/// Publishes an observation, made of a frame of `scene`. `frame` is that frame, if a composite
/// waits for it.
fn publish(shared: &Shared, scene: u64, frame: Option<Frame>, observation: Arc<Observation>) {
    let subjects = SubjectList::of(&observation);
    if !shared.accept_observation(scene, frame, observation, subjects.as_slice()) {
        debug!(
            camera = shared.name(),
            "an observation is discarded: a new scene has started since its frame was taken"
        );
    }
}

/// Whether the person's centre lies in one of `zones`.
fn is_within(person: &TrackedPerson, zones: &[UnitRect]) -> bool {
    let (x, y) = person.bounds.center();
    zones.iter().any(|zone| x >= zone.x && x <= zone.right() && y >= zone.y && y <= zone.bottom())
}
