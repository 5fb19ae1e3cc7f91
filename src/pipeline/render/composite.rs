//! Composites: which frame one shows, with which mask.
//!
//! What of a frame may be shown is decided by [`MatteRules`] alone (`docs/design/fail-closed.md`):
//!
//! - *Strict* (`background.strict`, the default): a composite shows the frames that the vision
//!   thread has observed, each with its own mask, one inference pass later than a view. A slow net
//!   lowers the frame rate of the composite. A frame whose mask is missing parts of people, because
//!   the pass only looked for others, is left out.
//! - *Not strict*: a composite shows the newest frame, and of that only people who have not moved
//!   since a mask of at most 400 ms.
//!
//! Without observations (the shutter is closed, the net fails, hangs or is not there) only the
//! background is shown.

use std::sync::Arc;
use std::time::Duration;

use portraitd_media::clock::monotonic_ns;
use portraitd_media::latest::WaitOutcome;
use portraitd_media::{Frame, PixelRect};
use portraitd_protocol::layout::MAX_PEOPLE;
use portraitd_protocol::{CropMode, Person, SlotFlags};
use portraitd_render::composite::{CompositeRenderer, PreparedBackground};
use portraitd_render::{MatteRules, ShownMatte};
use portraitd_vision::{GateSampler, Observation};

use super::{POLL, RenderLoop, fit_aspect, flag, publish_current, slot_info};
use crate::pipeline::shared::ObservedFrame;

/// A strict composite shows its background if no frame was observed for this long, or for three
/// times the configured interval of inference passes.
const UNOBSERVED: Duration = Duration::from_secs(2);
/// A strict composite that has left out frames for this long shows what there is.
const LEFT_OUT_NS: u64 = 500_000_000;

/// The state of a thread that draws composites.
struct Composites {
    renderer: CompositeRenderer,
    rules: MatteRules,
    gate: GateSampler,
    /// The capture time of the frame that was published last.
    shown_ns: u64,
    /// When that was.
    shown_at_ns: u64,
}

/// What is drawn of a frame.
enum Source {
    /// The frame's own mask.
    Own(Option<Arc<Observation>>),
    /// The newest mask, as far as nothing has changed since.
    Newer(Option<Arc<Observation>>),
}

impl RenderLoop {
    /// Draws composites until it is told to end, or until a frame has another format.
    pub(super) fn draw_composites(&mut self) {
        let gate = match GateSampler::new() {
            Ok(gate) => gate,
            Err(error) => return self.log_failure(&error),
        };
        let mut composites = Composites {
            renderer: CompositeRenderer::new(),
            rules: MatteRules::new(),
            gate,
            shown_ns: 0,
            shown_at_ns: monotonic_ns(),
        };
        let (mut seen, mut seen_frames) = (0, 0);
        while !self.is_over() {
            self.wipe_if_over();
            let is_strict = self.shared.background.current().strict && self.shared.is_observing();
            let (frame, source) = if is_strict {
                match self.shared.observed.wait_newer(seen, POLL) {
                    WaitOutcome::New(ObservedFrame { frame, observation }, count) => {
                        if !self.is_current() {
                            continue;
                        }
                        seen = count;
                        (frame, Source::Own(observation))
                    }
                    WaitOutcome::TimedOut => match self.unobserved_frame(&composites) {
                        Some(frame) => (frame, Source::Own(None)),
                        None => continue,
                    },
                    WaitOutcome::Closed => return,
                }
            } else {
                match self.shared.frames.wait_newer(seen_frames, POLL) {
                    WaitOutcome::New(frame, count) => {
                        if !self.is_current() {
                            continue;
                        }
                        seen_frames = count;
                        let observation = self.mask_for(&frame);
                        (frame, Source::Newer(observation))
                    }
                    WaitOutcome::TimedOut => continue,
                    WaitOutcome::Closed => return,
                }
            };
            if frame.format != self.format {
                return;
            }
            if self.draw_composite(&mut composites, &frame, &source) {
                let now_ns = monotonic_ns();
                (composites.shown_ns, composites.shown_at_ns) = (frame.capture_ns, now_ns);
                self.shared.statistics.frame_published(now_ns.saturating_sub(frame.capture_ns));
            }
        }
    }

    /// The newest frame, if no observed frame is to be expected: the shutter is closed, or the
    /// vision thread has given none for long. Only the background is shown in its place.
    fn unobserved_frame(&self, composites: &Composites) -> Option<Frame> {
        let (frame, _) = self.shared.frames.latest()?;
        let limit = UNOBSERVED.max(self.shared.tuning.get().inference_interval.saturating_mul(3));
        let waited = Duration::from_nanos(monotonic_ns().saturating_sub(composites.shown_at_ns));
        let is_newer = frame.capture_ns > composites.shown_ns;
        (is_newer && self.is_current() && (frame.private || waited > limit)).then_some(frame)
    }

    /// Draws one frame. Returns whether it was published.
    fn draw_composite(&mut self, composites: &mut Composites, frame: &Frame, source: &Source) -> bool {
        let Composites { renderer, rules, gate, shown_at_ns, .. } = composites;
        let (size, shown) = (frame.format.size, (frame.sequence, frame.capture_ns));
        let is_own = |observation: &Observation| (observation.sequence, observation.capture_ns) == shown;
        let (observation, is_still, matte) = match source {
            _ if frame.private => (None, false, ShownMatte::nothing()),
            Source::Own(Some(observation)) => {
                (Some(observation), observation.still, rules.own(observation, shown, size))
            }
            Source::Newer(Some(observation)) if is_own(observation) => {
                (Some(observation), observation.still, rules.own(observation, shown, size))
            }
            Source::Newer(Some(observation)) => {
                let cells = match gate.sample(&frame.picture()) {
                    Ok(cells) => cells,
                    Err(error) => {
                        self.log_failure(&error);
                        return false;
                    }
                };
                let matte = rules.newer(observation, frame.capture_ns, size, cells);
                (Some(observation), matte.is_still(), matte)
            }
            Source::Own(None) | Source::Newer(None) => (None, false, ShownMatte::nothing()),
        };
        let is_strict = matches!(source, Source::Own(Some(_)));
        let waited_ns = monotonic_ns().saturating_sub(*shown_at_ns);
        if is_strict && matte.has_mask() && !matte.is_complete() && waited_ns < LEFT_OUT_NS {
            return false;
        }
        let observation = observation.filter(|_| matte.has_mask());
        let shot = self.shared.shot(frame.sequence, frame.capture_ns);
        let crop = match self.key.crop {
            CropMode::Full => fit_aspect(PixelRect::of_size(size), self.key.size),
            _ => fit_aspect(shot.crop, self.key.size),
        };
        let settings = self.shared.background.current();
        let background = PreparedBackground {
            version: settings.version,
            mode: settings.mode,
            color: settings.color,
            blur: settings.blur,
            image: settings.image.as_deref(),
        };
        let degraded = self.degraded_flag();
        let Some(mut slot) = self.ring.begin() else { return false };
        if let Err(error) = renderer.render(&frame.picture(), crop, matte, &background, &mut slot.picture()) {
            drop(slot);
            self.log_failure(&error);
            return false;
        }
        let mut people = [Person::default(); MAX_PEOPLE];
        let mut info = slot_info(frame, crop, observation.map(|observation| &**observation), degraded, &mut people);
        if observation.is_some() {
            info.flags.set(SlotFlags::STILL, is_still);
            info.flags.remove(flag(SlotFlags::STALE, is_still));
        }
        publish_current(&self.shared, self.epoch, slot, &info)
    }
}
