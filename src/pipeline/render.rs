//! A render thread: draws one ring. It waits for the next frame (or, for the mask, the next observation), asks the
//! director for the crop, draws into the ring's next slot, and publishes. It waits for the net only where a composite
//! needs its frame's own mask, and then no longer than a budget.
//!
//! *Fail closed*: a composite whose mask is missing or too old shows its background alone. The room is never written into
//! a composite's slot, not even for an instant.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use portraitd_kernels::blend::Matte;
use portraitd_protocol::layout::MAX_PEOPLE;
use portraitd_protocol::{CropMode, Inset, Person, RingLayout, SlotFlags, StreamKind};
use tracing::warn;

use super::shared::Shared;
use crate::publish::{RingWriter, SlotInfo};
use crate::service::logging::Repeat;
use portraitd_framing::Shot;
use portraitd_media::clock::monotonic_ns;
use portraitd_media::latest::WaitOutcome;
use portraitd_media::{Frame, FrameFormat};
use portraitd_media::{PixelFormat, PixelRect, Size};
use portraitd_render::composite;
use portraitd_render::composite::CompositeRenderer;
use portraitd_render::mask::{EdgeRenderer, draw_mask};
use portraitd_render::view::ViewRenderer;
use portraitd_vision::Observation;

/// How long one wait lasts, so that a stop is noticed.
const POLL: Duration = Duration::from_millis(100);
/// A mask this much older than its frame is not used any more.
const MASK_TOO_OLD_NS: u64 = 400_000_000;
/// A mask older than this is flagged as stale.
const MASK_STALE_NS: u64 = 100_000_000;
/// The same complaint is logged no more often.
const REPEAT_NS: u64 = 10_000_000_000;

/// What makes two clients share a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RingKey {
    pub(super) stream: StreamKind,
    pub(super) size: Size,
    pub(super) format: PixelFormat,
    pub(super) crop: CropMode,
    /// Whether a mask's edges follow the frame's.
    pub(super) edges: bool,
    pub(super) inset: Inset,
    pub(super) generation: u32,
}

/// A running render thread. Dropping it lets the thread end by itself.
pub(super) struct Handle {
    stop: Arc<AtomicBool>,
    layout: RingLayout,
    thread: JoinHandle<()>,
}

impl Handle {
    /// The shape of its ring.
    pub(super) const fn layout(&self) -> &RingLayout {
        &self.layout
    }

    /// Tells the thread to end; it does within a turn of its wait.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    pub(super) fn into_thread(self) -> JoinHandle<()> {
        self.thread
    }
}

/// What a render thread works with.
pub(super) struct Job {
    shared: Arc<Shared>,
    key: RingKey,
    /// The frames that the ring was made for; others end it.
    format: FrameFormat,
    ring: RingWriter,
    stop: Arc<AtomicBool>,
    complaint: Repeat,
}

impl Job {
    pub(super) fn start(
        shared: Arc<Shared>,
        key: RingKey,
        format: FrameFormat,
        ring: RingWriter,
    ) -> std::io::Result<Handle> {
        let stop = Arc::new(AtomicBool::new(false));
        let layout = *ring.layout();
        let job = Self { shared, key, format, ring, stop: Arc::clone(&stop), complaint: Repeat::new(REPEAT_NS) };
        let thread = std::thread::Builder::new().name(format!("render-{}", key.stream)).spawn(move || job.run())?;
        Ok(Handle { stop, layout, thread })
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire) || self.shared.generation() > self.key.generation
    }

    /// Draws until told to stop, or until frames have another format. Dropping the ring closes it for its clients.
    fn run(mut self) {
        match self.key.stream {
            StreamKind::Mask if self.key.edges => {
                let mut renderer = EdgeRenderer::new();
                self.draw_frames(|job, frame, shot| job.draw_edges(&mut renderer, frame, shot));
            }
            StreamKind::Mask => self.draw_masks(),
            StreamKind::View | StreamKind::Source => {
                let mut view = ViewRenderer::new();
                self.draw_frames(|job, frame, shot| job.draw_view(&mut view, frame, shot));
            }
            // Composite, the only stream left. A stream that is added later must not show the room by mistake.
            _ => {
                let mut renderer = CompositeRenderer::new();
                self.draw_frames(|job, frame, shot| job.draw_composite(&mut renderer, frame, shot));
            }
        }
    }

    fn draw_frames(&mut self, mut draw: impl FnMut(&mut Self, &Frame, Shot)) {
        let mut seen = 0;
        while !self.is_over() {
            match self.shared.frames.wait_newer(seen, POLL) {
                WaitOutcome::New(frame, count) => {
                    seen = count;
                    if frame.format != self.format {
                        return;
                    }
                    let shot = self.shared.shot(frame.sequence, frame.capture_ns);
                    draw(self, &frame, shot);
                    let latency = monotonic_ns().saturating_sub(frame.capture_ns);
                    self.shared.frame_published(latency);
                }
                WaitOutcome::TimedOut => {}
                WaitOutcome::Closed => return,
            }
        }
    }

    fn draw_masks(&mut self) {
        let mut matte = Matte::new();
        let mut seen = 0;
        while !self.is_over() {
            match self.shared.observations.wait_newer(seen, POLL) {
                WaitOutcome::New(observation, count) => {
                    seen = count;
                    if observation.frame != self.format.size {
                        continue;
                    }
                    let shot = self.shared.shot(observation.sequence, observation.capture_ns);
                    let Some(mask) = observation.mask_view() else { continue };
                    let mut slot = self.ring.begin();
                    let whole = PixelRect::of_size(self.format.size);
                    if let Err(error) = draw_mask(&mut matte, &mask, whole, &mut slot.picture()) {
                        self.complain(&error);
                        continue;
                    }
                    let mut people = [Person::default(); MAX_PEOPLE];
                    let count = list_people(&observation, self.format.size, &mut people);
                    slot.publish(&SlotInfo {
                        sequence: observation.sequence,
                        capture_ns: observation.capture_ns,
                        mask_sequence: observation.mask_sequence,
                        mask_age_ns: observation.capture_ns.saturating_sub(observation.mask_capture_ns),
                        crop: shot.crop,
                        flags: SlotFlags::MASK_VALID
                            | flag(SlotFlags::STILL, observation.still)
                            | flag(SlotFlags::PRIVATE, self.shared.is_private()),
                        people: &people[..count],
                    });
                    self.shared.frame_published(monotonic_ns().saturating_sub(observation.capture_ns));
                }
                WaitOutcome::TimedOut => {}
                WaitOutcome::Closed => return,
            }
        }
    }

    /// A mask of the frame's own size, whose edges follow the frame's: it waits for its frame's mask as a composite does.
    fn draw_edges(&mut self, renderer: &mut EdgeRenderer, frame: &Frame, shot: Shot) {
        let observation = self.mask_for(frame);
        let whole = PixelRect::of_size(frame.format.size);
        let mut slot = self.ring.begin();
        let mut picture = slot.picture();
        if let Some(mask) = observation.as_ref().and_then(|observation| observation.mask_view()) {
            if let Err(error) = renderer.render(&frame.picture(), whole, &mask, &mut picture) {
                self.complain(&error);
                return;
            }
        } else {
            (0..picture.size().height as usize).for_each(|y| picture.row_mut(0, y).fill(0));
        }
        let mut people = [Person::default(); MAX_PEOPLE];
        let info = slot_info(frame, shot.crop, observation.as_deref(), &mut people);
        slot.publish(&info);
    }

    fn draw_view(&mut self, view: &mut ViewRenderer, frame: &Frame, shot: Shot) {
        let size = frame.format.size;
        let crop = match self.key.stream {
            StreamKind::View => fit_aspect(shot.crop, self.key.size),
            _ => fit_aspect(PixelRect::of_size(size), self.key.size),
        };
        let observation = self.shared.observations.latest().map(|(observation, _)| observation);
        let observation = observation.filter(|observation| observation.frame == size);
        let mut slot = self.ring.begin();
        if let Err(error) = view.render_with_inset(&frame.picture(), crop, self.key.inset, &mut slot.picture()) {
            self.complain(&error);
            return;
        }
        let mut people = [Person::default(); MAX_PEOPLE];
        let info = slot_info(frame, crop, observation.as_deref(), &mut people);
        slot.publish(&info);
    }

    fn draw_composite(&mut self, renderer: &mut CompositeRenderer, frame: &Frame, shot: Shot) {
        let crop = match self.key.crop {
            CropMode::Full => fit_aspect(PixelRect::of_size(frame.format.size), self.key.size),
            _ => fit_aspect(shot.crop, self.key.size),
        };
        let observation = self.mask_for(frame);
        let backdrop = self.shared.backdrop();
        let wanted = composite::PreparedBackground {
            version: backdrop.version,
            mode: backdrop.mode,
            color: backdrop.color,
            blur: backdrop.blur,
            image: backdrop.image.as_deref(),
        };
        let mask = observation.as_ref().and_then(|observation| observation.mask_view());
        let mut slot = self.ring.begin();
        if let Err(error) = renderer.render(&frame.picture(), crop, mask.as_ref(), &wanted, &mut slot.picture()) {
            self.complain(&error);
            return;
        }
        let mut people = [Person::default(); MAX_PEOPLE];
        let info = slot_info(frame, crop, observation.as_deref(), &mut people);
        slot.publish(&info);
    }

    /// The frame's own mask if it comes in time, else the newest if it is young enough.
    fn mask_for(&self, frame: &Frame) -> Option<Arc<Observation>> {
        let usable = |observation: &Observation| {
            observation.capture_ns.abs_diff(frame.capture_ns) <= MASK_TOO_OLD_NS
                && observation.frame == frame.format.size
                && !observation.mask.is_empty()
        };
        let budget = self.shared.tuning().mask_budget;
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
        newest.filter(|observation| usable(observation))
    }

    fn complain(&mut self, error: &dyn std::fmt::Display) {
        if let Some(repeats) = self.complaint.check(monotonic_ns()) {
            let (camera, stream) = (self.shared.name(), self.key.stream.as_str());
            warn!(camera, stream, repeats, "a frame could not be drawn: {error}");
        }
    }
}

/// `flag` if `set`, else no flag.
fn flag(flag: SlotFlags, set: bool) -> SlotFlags {
    if set { flag } else { SlotFlags::empty() }
}

/// What a slot says of a frame.
fn slot_info<'a>(
    frame: &Frame,
    crop: PixelRect,
    observation: Option<&Observation>,
    people: &'a mut [Person; MAX_PEOPLE],
) -> SlotInfo<'a> {
    let flags = flag(SlotFlags::PRIVATE, frame.private);
    let mut info =
        SlotInfo { sequence: frame.sequence, capture_ns: frame.capture_ns, crop, flags, ..SlotInfo::default() };
    if let Some(observation) = observation {
        // A mask that was kept because nothing moved is as good as new, however old it is.
        let late = frame.capture_ns.saturating_sub(observation.capture_ns) > MASK_STALE_NS;
        info.mask_sequence = observation.mask_sequence;
        info.mask_age_ns = frame.capture_ns.saturating_sub(observation.mask_capture_ns);
        info.flags |= SlotFlags::MASK_VALID;
        info.flags.set(SlotFlags::STALE, late);
        info.flags.set(SlotFlags::STILL, observation.still && !late);
        let count = list_people(observation, frame.format.size, people);
        info.people = &people[..count];
    }
    info
}

fn list_people(observation: &Observation, frame: Size, people: &mut [Person; MAX_PEOPLE]) -> usize {
    let mut count = 0;
    for (to, from) in people.iter_mut().zip(&observation.people) {
        let PixelRect { x, y, width, height } = from.bounds.to_pixels(frame);
        *to = Person { id: from.id, rectangle: [x, y, width, height], confidence: from.confidence };
        count += 1;
    }
    count
}

/// The largest part of `crop` with the aspect of `size`: trimmed from both sides, or from the bottom, never from the top,
/// where the heads are.
pub(crate) fn fit_aspect(crop: PixelRect, size: Size) -> PixelRect {
    let aspect = size.aspect();
    if crop.is_empty() || aspect <= 0.0 {
        return crop;
    }
    let width = crop.height * aspect;
    if (width - crop.width).abs() < 0.5 {
        return crop;
    }
    if width < crop.width {
        PixelRect::new(crop.x + (crop.width - width) * 0.5, crop.y, width, crop.height)
    } else {
        PixelRect::new(crop.x, crop.y, crop.width, crop.width / aspect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_aspect_is_cut_from_the_sides_or_the_bottom() {
        let crop = PixelRect::new(100.0, 50.0, 640.0, 360.0);
        assert_eq!(fit_aspect(crop, Size::new(1280, 720)), crop);
        assert_eq!(fit_aspect(crop, Size::new(360, 360)), PixelRect::new(240.0, 50.0, 360.0, 360.0));
        assert_eq!(fit_aspect(crop, Size::new(640, 320)), PixelRect::new(100.0, 50.0, 640.0, 320.0));
        assert_eq!(fit_aspect(crop, Size::new(3840, 2161)), crop, "less than half a pixel is not worth a cut");
    }
}
