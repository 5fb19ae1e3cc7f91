//! Decides which frame is drawn with which mask, for all pictures that need both: composites, and
//! masks with refined edges.
//!
//! - *An observed frame with its own mask*, one inference pass later than a view. Strict composites
//!   (`background.strict`, the default) show no other frames, so a slow net lowers their frame rate.
//!   The first picture of every ring, and the first one after the camera was closed, is such a frame
//!   too: a snapshot shows who is there.
//! - *The newest frame* otherwise. It waits for its own mask until `segmentation.budget_ms` after its
//!   capture, and then takes the newest mask there is.
//!
//! Where observed frames are needed and none comes for two seconds (or three inference intervals),
//! or the shutter is closed, the newest frame comes without a mask.
//!
//! What of the frame may be shown with the mask is decided elsewhere
//! ([`MatteRules`](portraitd_render::MatteRules)).

use std::sync::Arc;
use std::time::Duration;

use portraitd_media::Frame;
use portraitd_media::clock::monotonic_ns;
use portraitd_media::latest::WaitOutcome;
use portraitd_protocol::StreamKind;
use portraitd_vision::Observation;

use super::{POLL, RenderLoop};
use crate::pipeline::shared::{ObservedDemand, ObservedFrame, Shared};

/// The newest frame comes without a mask if no frame was observed for this long, or for three times
/// the configured interval of inference passes.
const UNOBSERVED: Duration = Duration::from_secs(2);

/// The mask that a frame is drawn with.
pub(super) enum Masked {
    /// The frame's own; `None` if it was not observed.
    Own(Option<Arc<Observation>>),
    /// The newest one of a frame of this size, which may be another frame's.
    Newest(Option<Arc<Observation>>),
}

impl Masked {
    pub(super) fn observation(&self) -> Option<&Observation> {
        let (Self::Own(observation) | Self::Newest(observation)) = self;
        observation.as_deref()
    }
}

/// What a render thread remembers of the frames that it drew.
pub(super) struct MaskedFrames {
    seen_observed: u64,
    seen_frames: u64,
    /// The picture epoch of the frames. Another one starts with a first picture again.
    epoch: u64,
    /// Whether the next picture is the first one.
    is_first: bool,
    /// The capture time of the frame that was published last.
    shown_ns: u64,
    /// When that was.
    shown_at_ns: u64,
    /// Held while observed frames are needed.
    demand: Option<ObservedDemand>,
}

impl MaskedFrames {
    pub(super) fn new(epoch: u64) -> Self {
        let shown_at_ns = monotonic_ns();
        Self { seen_observed: 0, seen_frames: 0, epoch, is_first: true, shown_ns: 0, shown_at_ns, demand: None }
    }

    /// The frame was published.
    pub(super) fn published(&mut self, frame: &Frame) {
        self.is_first = false;
        (self.shown_ns, self.shown_at_ns) = (frame.capture_ns, monotonic_ns());
    }

    /// The time since a frame was published, nanoseconds.
    pub(super) fn waited_ns(&self) -> u64 {
        monotonic_ns().saturating_sub(self.shown_at_ns)
    }
}

impl RenderLoop {
    /// Waits for the next frame to draw. `None` if the thread is to end, or if the frames have
    /// another format.
    pub(super) fn next_masked(&mut self, frames: &mut MaskedFrames) -> Option<(Frame, Masked)> {
        while !self.is_over() {
            self.wipe_if_over();
            if frames.epoch != self.epoch {
                (frames.epoch, frames.is_first, frames.shown_at_ns) = (self.epoch, true, monotonic_ns());
            }
            let is_strict = self.key.stream == StreamKind::Composite && self.shared.background.current().strict;
            let next = if (is_strict || frames.is_first) && self.shared.is_observing() {
                frames.demand.get_or_insert_with(|| Shared::demand_observed(&self.shared));
                match self.shared.observed.wait_newer(frames.seen_observed, POLL) {
                    // The frame is seen again after the slots are wiped.
                    WaitOutcome::New(..) if !self.is_current() => None,
                    WaitOutcome::New(ObservedFrame { frame, observation }, count) => {
                        frames.seen_observed = count;
                        Some((frame, Masked::Own(observation)))
                    }
                    WaitOutcome::TimedOut => self.unobserved(frames).map(|frame| (frame, Masked::Own(None))),
                    WaitOutcome::Closed => return None,
                }
            } else {
                frames.demand = None;
                match self.shared.frames.wait_newer(frames.seen_frames, POLL) {
                    WaitOutcome::New(..) if !self.is_current() => None,
                    WaitOutcome::New(frame, count) => {
                        frames.seen_frames = count;
                        // After an observed frame, the newest one may be the same.
                        let is_other = frame.capture_ns != frames.shown_ns;
                        is_other.then(|| {
                            let newest = self.newest_for(&frame);
                            (frame, Masked::Newest(newest))
                        })
                    }
                    WaitOutcome::TimedOut => None,
                    WaitOutcome::Closed => return None,
                }
            };
            if let Some((frame, masked)) = next.filter(|_| self.is_current()) {
                return (frame.format == self.format).then_some((frame, masked));
            }
        }
        None
    }

    /// The newest frame, if no observed frame is to be expected: the shutter is closed, or the
    /// vision thread has given none for long.
    fn unobserved(&self, frames: &MaskedFrames) -> Option<Frame> {
        let (frame, _) = self.shared.frames.latest()?;
        let limit = UNOBSERVED.max(self.shared.tuning.get().inference_interval.saturating_mul(3));
        let is_newer = frame.capture_ns > frames.shown_ns;
        (is_newer && (frame.private || Duration::from_nanos(frames.waited_ns()) > limit)).then_some(frame)
    }

    /// The frame's own mask if it comes within the budget, else the newest one of a frame of this
    /// size.
    fn newest_for(&self, frame: &Frame) -> Option<Arc<Observation>> {
        let budget = self.shared.tuning.get().mask_budget;
        let mut seen = 0;
        let mut newest = None;
        loop {
            if let Some((observation, count)) = self.shared.observations.latest() {
                let own = observation.capture_ns >= frame.capture_ns;
                seen = count;
                newest = Some(observation);
                if own {
                    break;
                }
            }
            let waited = Duration::from_nanos(monotonic_ns().saturating_sub(frame.capture_ns));
            let left = budget.saturating_sub(waited);
            if left.is_zero() || !matches!(self.shared.observations.wait_newer(seen, left), WaitOutcome::New(..)) {
                break;
            }
        }
        newest.filter(|observation| observation.frame == frame.format.size)
    }
}
