//! The vision thread: decides which frames the net sees, and passes on what it saw.
//!
//! It takes the newest frame whenever it is free, at most `max_rate` a second, and none while no attached stream needs
//! a mask. The frame path never waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portraitd_protocol::{FramingMode, StreamKind};
use tracing::{debug, error, info, warn};

use super::pace::{Advice, Level, Pace};
use super::shared::Shared;
use crate::service::logging::Repeat;
use crate::service::notify::Progress;
use portraitd_framing::{MOST_PEOPLE, Subject};
use portraitd_media::UnitRect;
use portraitd_media::latest::WaitOutcome;
use portraitd_vision::net::{EngineOptions, Library, Model};
use portraitd_vision::{Observation, ObserveError, Observer, TrackedPerson};

/// How long one wait for a frame lasts.
const POLL: Duration = Duration::from_millis(200);
/// The same complaint is logged no more often.
const REPEAT_NS: u64 = 10_000_000_000;

/// Observations that are not read any more are written again.
#[derive(Default)]
struct Pool(Vec<Arc<Observation>>);

impl Pool {
    /// A fresh or forgotten observation, filled by `fill`. Allocates only while the number of readers grows.
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

/// What the vision thread works with.
pub(super) struct Vision {
    shared: Arc<Shared>,
    observer: Observer,
    /// Where the wanted net is taken from, and a smaller one.
    library: Library,
    engine: EngineOptions,
    /// The name of the net that is wanted; another one may run, to keep up.
    wanted: String,
    pace: Pace,
    progress: Progress,
}

impl Vision {
    pub(super) fn new(
        shared: Arc<Shared>,
        model: Model,
        library: Library,
        engine: EngineOptions,
        progress: Progress,
    ) -> Result<Self, ObserveError> {
        let wanted = model.manifest().name.clone();
        Ok(Self { shared, observer: Observer::new(model)?, library, engine, wanted, pace: Pace::new(), progress })
    }

    /// Whether an attached stream shows or needs who is a person.
    fn is_needed(&self) -> bool {
        let demand = &self.shared.demand;
        let framed = || {
            let mode = self.shared.published.borrow().framing.mode;
            matches!(mode, FramingMode::Once | FramingMode::Follow)
        };
        demand.clients_of(StreamKind::Mask) > 0
            || demand.clients_of(StreamKind::Composite) > 0
            || (demand.clients_of(StreamKind::View) > 0 && framed())
    }

    /// Runs until there are no more frames.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut pool = Pool::default();
        let mut complaint = Repeat::new(REPEAT_NS);
        let mut seen = 0;
        let mut due_ns = 0u64;
        let mut last_look = Duration::ZERO;
        self.progress.idle(true);
        loop {
            let scene = shared.scene();
            let frame = match shared.frames.wait_newer(seen, POLL) {
                WaitOutcome::New(frame, count) => {
                    seen = count;
                    frame
                }
                WaitOutcome::TimedOut => continue,
                WaitOutcome::Closed => return,
            };
            if let Some(model) = shared.take_model() {
                self.wanted.clone_from(&model.manifest().name);
                self.pace = Pace::new();
                shared.leave_out(String::new());
                self.take(model);
            }
            if !self.is_needed() {
                shared.nobody_asks();
                continue;
            }
            let tuning = shared.tuning();
            let interval = self.pace.interval(tuning.inference_interval, last_look);
            let interval_ns = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
            // A quarter of an interval early still counts as the one that is due, so that jitter does not halve the rate.
            let restarted = due_ns > frame.capture_ns.saturating_add(interval_ns.saturating_mul(2));
            if !restarted && frame.capture_ns.saturating_add(interval_ns / 4) < due_ns {
                continue;
            }
            due_ns = due_ns.saturating_add(interval_ns);
            if restarted || due_ns < frame.capture_ns {
                due_ns = frame.capture_ns.saturating_add(interval_ns);
            }
            self.progress.idle(false);
            let started = Instant::now();
            let zoned = |person: &TrackedPerson| shared.with_zones(|zones| is_within(person, zones));
            let observed = pool.fill(|observation| {
                self.observer.observe(&frame.picture(), frame.sequence, frame.capture_ns, zoned, observation)
            });
            drop(frame);
            let took = started.elapsed();
            self.progress.advance();
            self.progress.idle(true);
            match observed {
                Ok(observation) => {
                    let inferences = observation.inferences;
                    publish(&shared, scene, observation);
                    if inferences > 0 {
                        last_look = took / inferences;
                        self.keep_pace(last_look, tuning.mask_budget);
                    }
                }
                Err(failure) => {
                    shared.mask_failed(&failure.to_string());
                    if let Some(repeats) = complaint.check(portraitd_media::clock::monotonic_ns()) {
                        error!(camera = shared.name(), repeats, "no mask: {failure}");
                    }
                }
            }
        }
    }
}

/// Keeping up.
impl Vision {
    /// Puts a net in the place of the one that runs.
    fn take(&mut self, model: Model) {
        let (camera, name) = (self.shared.name(), model.manifest().name.clone());
        match Observer::new(model) {
            Ok(observer) => self.observer = observer,
            Err(failure) => error!(camera, model = name, "model not taken: {failure}"),
        }
        info!(camera, model = self.observer.model().manifest().name, "model in use");
    }

    /// Loads a net and takes it; returns whether it is in use.
    fn load(&mut self, name: &str) -> bool {
        match self.library.load(name, self.engine) {
            Ok(model) => {
                self.take(model);
                true
            }
            Err(failure) => {
                error!(camera = self.shared.name(), model = name, "model not loaded: {failure}");
                false
            }
        }
    }

    /// The largest net of the library whose input is smaller than that of the one that runs.
    fn smaller_net(&self) -> Option<String> {
        let now = self.observer.model().manifest().input.size().area();
        let manifests = self.library.entries().into_iter().filter_map(|entry| entry.manifest.ok());
        let smaller = manifests.filter(|manifest| manifest.input.size().area() < now);
        smaller.max_by_key(|manifest| manifest.input.size().area()).map(|manifest| manifest.name)
    }

    /// Leaves something out where looks take too long, and takes it up again where there is time.
    fn keep_pace(&mut self, look: Duration, budget: Duration) {
        let level = self.pace.level();
        let slow = self.pace.slow_look();
        let next = match self.pace.looked(look, budget) {
            Advice::Stay => return,
            Advice::Less if level == Level::Everything => Level::FewerLooks,
            Advice::Less if level == Level::FewerLooks => match self.smaller_net() {
                Some(name) if self.load(&name) => Level::SmallerNet,
                _ => Level::FramingOnly,
            },
            Advice::Less => Level::FramingOnly,
            Advice::More if level == Level::FramingOnly => {
                if self.observer.model().manifest().name == self.wanted {
                    Level::FewerLooks
                } else {
                    Level::SmallerNet
                }
            }
            Advice::More if level == Level::SmallerNet => {
                let wanted = self.wanted.clone();
                if self.load(&wanted) { Level::FewerLooks } else { Level::SmallerNet }
            }
            Advice::More => Level::Everything,
        };
        self.pace.enter(next);
        let what = match next {
            Level::Everything => String::new(),
            Level::FewerLooks => "fewer looks".to_owned(),
            Level::SmallerNet => format!("a smaller net ({})", self.observer.model().manifest().name),
            Level::FramingOnly => "framing only".to_owned(),
        };
        let camera = self.shared.name();
        if next > level {
            let (slow, budget) = (slow.as_secs_f64() * 1e3, budget.as_secs_f64() * 1e3);
            let what = format!("{what}: a mask takes {slow:.0} ms, and may take {budget:.0} (segmentation.budget_ms)");
            warn!(camera, "{what}");
            self.shared.leave_out(what);
        } else {
            info!(camera, "there is time again: {}", if what.is_empty() { "nothing is left out" } else { &what });
            self.shared.leave_out(if what.is_empty() { what } else { format!("{what}: more did not keep the budget") });
        }
    }
}

/// Tells the director and the render threads what was seen.
fn publish(shared: &Shared, scene: u64, observation: Arc<Observation>) {
    let mut subjects = [Subject { id: 0, bounds: UnitRect::WHOLE }; MOST_PEOPLE];
    let mut count = 0;
    for (to, subject) in subjects.iter_mut().zip(portraitd_render::subjects(&observation)) {
        *to = subject;
        count += 1;
    }
    if !shared.see(scene, observation, &subjects[..count]) {
        debug!(camera = shared.name(), "the scene changed while it was looked at");
    }
}

/// Whether the person's centre lies in one of `zones`.
fn is_within(person: &TrackedPerson, zones: &[UnitRect]) -> bool {
    let (x, y) = person.bounds.center();
    zones.iter().any(|zone| x >= zone.x && x <= zone.right() && y >= zone.y && y <= zone.bottom())
}
