//! Composites.
//!
//! What of a frame may be shown is decided by [`MatteRules`] alone (`docs/design/fail-closed.md`):
//!
//! - Of an observed frame with its own mask, people are shown. A frame whose mask lacks parts of
//!   people, because the pass only looked for others, is left out.
//! - Of a newer frame, only people who have not moved since a mask of at most 400 ms are shown.
//!   Only composites that are not strict show such frames.
//!
//! Without observations (the shutter is closed, the net fails, hangs or is not there) only the
//! background is shown.

use portraitd_media::clock::monotonic_ns;
use portraitd_media::{Frame, PixelRect};
use portraitd_protocol::layout::MAX_PEOPLE;
use portraitd_protocol::{CropMode, Person, SlotFlags};
use portraitd_render::composite::{CompositeRenderer, PreparedBackground};
use portraitd_render::{MatteRules, ShownMatte};
use portraitd_vision::{GateSampler, Observation};

use super::masked::{Masked, MaskedFrames};
use super::{RenderLoop, fit_aspect, flag, publish_current, slot_info};

/// After observed frames were left out for this long, a composite shows the next one, although
/// parts of people may be missing.
const LEFT_OUT_NS: u64 = 500_000_000;

/// The state of a thread that draws composites.
struct Composites {
    renderer: CompositeRenderer,
    rules: MatteRules,
    gate: GateSampler,
    frames: MaskedFrames,
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
            frames: MaskedFrames::new(self.epoch),
        };
        while let Some((frame, masked)) = self.next_masked(&mut composites.frames) {
            if self.draw_composite(&mut composites, &frame, &masked) {
                composites.frames.published(&frame);
                self.shared.statistics.frame_published(monotonic_ns().saturating_sub(frame.capture_ns));
            }
        }
    }

    /// Draws one frame. Returns whether it was published.
    fn draw_composite(&mut self, composites: &mut Composites, frame: &Frame, masked: &Masked) -> bool {
        let Composites { renderer, rules, gate, frames } = composites;
        let (size, shown) = (frame.format.size, (frame.sequence, frame.capture_ns));
        let is_own = |observation: &Observation| (observation.sequence, observation.capture_ns) == shown;
        let (observation, is_still, matte) = match masked {
            _ if frame.private => (None, false, ShownMatte::nothing()),
            Masked::Own(Some(observation)) => {
                (Some(observation), observation.still, rules.own(observation, shown, size))
            }
            Masked::Newest(Some(observation)) if is_own(observation) => {
                (Some(observation), observation.still, rules.own(observation, shown, size))
            }
            Masked::Newest(Some(observation)) => {
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
            Masked::Own(None) | Masked::Newest(None) => (None, false, ShownMatte::nothing()),
        };
        let is_observed = matches!(masked, Masked::Own(Some(_)));
        if is_observed && matte.has_mask() && !matte.is_complete() && frames.waited_ns() < LEFT_OUT_NS {
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
