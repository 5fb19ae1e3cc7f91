//! A render thread, which draws the frames of one ring. It waits for the next frame (for the mask:
//! the next observation), asks the director for the crop, draws into the ring's next slot, and
//! publishes the slot.
//!
//! Composites are in the module [`composite`]. Which mask they and masks with refined edges are drawn
//! with is in the module [`masked`].
//!
//! When pictures that were shown before must not be seen any more (the shutter or the camera has
//! closed, or the format has changed), the thread wipes all slots of its ring before it draws
//! again.

mod composite;
mod masked;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use portraitd_kernels::blend::Matte;
use portraitd_protocol::layout::MAX_PEOPLE;
use portraitd_protocol::{CropMode, Inset, Person, RingLayout, SlotFlags, StreamKind};
use tracing::{error, warn};

use self::masked::MaskedFrames;
use super::shared::Shared;
use crate::publish::{RingWriter, SlotInfo, SlotWriter};
use crate::service::logging::Repeat;
use crate::service::panics::caught;
use portraitd_framing::Shot;
use portraitd_media::clock::monotonic_ns;
use portraitd_media::latest::WaitOutcome;
use portraitd_media::{Frame, FrameFormat};
use portraitd_media::{PixelFormat, PixelRect, Size};
use portraitd_render::mask::{EdgeRenderer, draw_mask};
use portraitd_render::shown::MASK_TOO_OLD_NS;
use portraitd_render::view::ViewRenderer;
use portraitd_vision::Observation;

/// The longest wait for a frame, after which the thread checks whether it is to end.
const POLL: Duration = Duration::from_millis(100);
/// A mask that is this much older than the frame is marked as stale.
const MASK_STALE_NS: u64 = 100_000_000;
/// The least time between two equal log messages.
const REPEAT_NS: u64 = 10_000_000_000;

/// What identifies a ring. Clients that ask for the same share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RingKey {
    pub(super) stream: StreamKind,
    pub(super) size: Size,
    pub(super) format: PixelFormat,
    pub(super) crop: CropMode,
    /// Whether the edges of a mask follow those of the frame.
    pub(super) edges: bool,
    pub(super) inset: Inset,
    pub(super) generation: u32,
}

/// A handle on a render thread. Dropping it does not stop the thread.
pub(super) struct RenderThread {
    stop: Arc<AtomicBool>,
    layout: RingLayout,
    thread: JoinHandle<()>,
}

impl RenderThread {
    /// The layout of its ring.
    pub(super) const fn layout(&self) -> &RingLayout {
        &self.layout
    }

    /// Tells the thread to end. It does so after the frame that it draws, or within 100 ms.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    pub(super) fn into_thread(self) -> JoinHandle<()> {
        self.thread
    }

    /// Starts the thread that draws into `ring`. If it panics, it wipes and closes the ring and calls
    /// `panicked`.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub(super) fn start(
        shared: Arc<Shared>,
        key: RingKey,
        format: FrameFormat,
        ring: RingWriter,
        panicked: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let layout = *ring.layout();
        let log_limit = Repeat::new(REPEAT_NS);
        let epoch = shared.picture_epoch();
        let render = RenderLoop { shared, key, format, ring, stop: Arc::clone(&stop), epoch, log_limit };
        let run = move || {
            let (shared, clients) = (Arc::clone(&render.shared), render.ring.clients());
            if let Err(panic) = caught(|| render.run()) {
                clients.wipe();
                let (camera, stream) = (shared.name(), key.stream.as_str());
                error!(camera, stream, "a render thread has panicked, so its clients are disconnected: {panic}");
                panicked();
            }
        };
        let thread = std::thread::Builder::new().name(format!("render-{}", key.stream)).spawn(run)?;
        Ok(Self { stop, layout, thread })
    }
}

/// The state of a render thread.
struct RenderLoop {
    shared: Arc<Shared>,
    key: RingKey,
    /// The format of the frames that the ring was made for. A frame of another format ends the
    /// thread.
    format: FrameFormat,
    ring: RingWriter,
    stop: Arc<AtomicBool>,
    /// The picture epoch of what the slots show, see [`Shared::picture_epoch`].
    epoch: u64,
    log_limit: Repeat,
}

impl RenderLoop {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire) || self.shared.availability.generation() > self.key.generation
    }

    /// Wipes the slots if what they show is over: when the shutter has closed, or when there is the
    /// first frame after the camera was closed or its format changed. Until then clients may read
    /// the last frame. To be called before a frame is taken.
    fn wipe_if_over(&mut self) {
        let epoch = self.shared.picture_epoch();
        if epoch != self.epoch && (self.shared.published.is_private() || self.shared.frames.latest().is_some()) {
            self.epoch = epoch;
            self.ring.clear();
        }
    }

    /// Whether a frame that was taken since [`Self::wipe_if_over`] may still be shown.
    fn is_current(&self) -> bool {
        !self.is_over() && self.shared.picture_epoch() == self.epoch
    }

    /// Draws until it is told to end, or until a frame has another format. Dropping the ring closes
    /// it for its clients.
    fn run(mut self) {
        match self.key.stream {
            StreamKind::Mask if self.key.edges => self.draw_refined_masks(),
            StreamKind::Mask => self.draw_masks(),
            StreamKind::View | StreamKind::Source => {
                let mut view = ViewRenderer::new();
                self.draw_frames(|render, frame, shot| render.draw_view(&mut view, frame, shot));
            }
            // Composite, the only stream left. A stream that is added later must not show the room
            // by mistake.
            _ => self.draw_composites(),
        }
    }

    fn draw_frames(&mut self, mut draw: impl FnMut(&mut Self, &Frame, Shot)) {
        let mut seen = 0;
        while !self.is_over() {
            self.wipe_if_over();
            match self.shared.frames.wait_newer(seen, POLL) {
                WaitOutcome::New(frame, count) => {
                    if !self.is_current() {
                        continue;
                    }
                    seen = count;
                    if frame.format != self.format {
                        return;
                    }
                    let shot = self.shared.shot(frame.sequence, frame.capture_ns);
                    draw(self, &frame, shot);
                    let latency = monotonic_ns().saturating_sub(frame.capture_ns);
                    self.shared.statistics.frame_published(latency);
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
            self.wipe_if_over();
            match self.shared.observations.wait_newer(seen, POLL) {
                WaitOutcome::New(observation, count) => {
                    if !self.is_current() {
                        continue;
                    }
                    seen = count;
                    if observation.frame != self.format.size {
                        continue;
                    }
                    let shot = self.shared.shot(observation.sequence, observation.capture_ns);
                    let Some(mask) = observation.mask_view() else { continue };
                    let degraded = self.degraded_flag();
                    let Some(mut slot) = self.ring.begin() else { return };
                    let whole = PixelRect::of_size(self.format.size);
                    if let Err(error) = draw_mask(&mut matte, &mask, whole, &mut slot.picture()) {
                        drop(slot);
                        self.log_failure(&error);
                        continue;
                    }
                    let mut people = [Person::default(); MAX_PEOPLE];
                    let count = list_people(&observation, self.format.size, &mut people);
                    let info = SlotInfo {
                        sequence: observation.sequence,
                        capture_ns: observation.capture_ns,
                        mask_sequence: observation.mask_sequence,
                        mask_age_ns: observation.capture_ns.saturating_sub(observation.mask_capture_ns),
                        crop: shot.crop,
                        flags: SlotFlags::MASK_VALID
                            | flag(SlotFlags::STILL, observation.still)
                            | flag(SlotFlags::PRIVATE, self.shared.published.is_private())
                            | degraded,
                        people: &people[..count],
                    };
                    publish_current(&self.shared, self.epoch, slot, &info);
                    self.shared.statistics.frame_published(monotonic_ns().saturating_sub(observation.capture_ns));
                }
                WaitOutcome::TimedOut => {}
                WaitOutcome::Closed => return,
            }
        }
    }

    /// Draws masks of the frame's own size whose edges follow those of the frame.
    fn draw_refined_masks(&mut self) {
        let mut renderer = EdgeRenderer::new();
        let mut frames = MaskedFrames::new(self.epoch);
        while let Some((frame, masked)) = self.next_masked(&mut frames) {
            if self.draw_edges(&mut renderer, &frame, masked.observation()) {
                frames.published(&frame);
                self.shared.statistics.frame_published(monotonic_ns().saturating_sub(frame.capture_ns));
            }
        }
    }

    /// Draws one mask with refined edges. Returns whether it was published.
    fn draw_edges(&mut self, renderer: &mut EdgeRenderer, frame: &Frame, observation: Option<&Observation>) -> bool {
        let observation = observation.filter(|observation| {
            observation.capture_ns.abs_diff(frame.capture_ns) <= MASK_TOO_OLD_NS && !observation.mask.is_empty()
        });
        let shot = self.shared.shot(frame.sequence, frame.capture_ns);
        let whole = PixelRect::of_size(frame.format.size);
        let degraded = self.degraded_flag();
        let Some(mut slot) = self.ring.begin() else { return false };
        let mut picture = slot.picture();
        if let Some(mask) = observation.and_then(Observation::mask_view) {
            if let Err(error) = renderer.render(&frame.picture(), whole, &mask, &mut picture) {
                drop(slot);
                self.log_failure(&error);
                return false;
            }
        } else {
            (0..picture.size().height as usize).for_each(|y| picture.row_mut(0, y).fill(0));
        }
        let mut people = [Person::default(); MAX_PEOPLE];
        let info = slot_info(frame, shot.crop, observation, degraded, &mut people);
        publish_current(&self.shared, self.epoch, slot, &info)
    }

    fn draw_view(&mut self, view: &mut ViewRenderer, frame: &Frame, shot: Shot) {
        let size = frame.format.size;
        let crop = match self.key.stream {
            StreamKind::View => fit_aspect(shot.crop, self.key.size),
            _ => fit_aspect(PixelRect::of_size(size), self.key.size),
        };
        let observation = self.shared.observations.latest().map(|(observation, _)| observation);
        let observation = observation.filter(|observation| observation.frame == size);
        let degraded = self.degraded_flag();
        let Some(mut slot) = self.ring.begin() else { return };
        if let Err(error) = view.render_with_inset(&frame.picture(), crop, self.key.inset, &mut slot.picture()) {
            drop(slot);
            self.log_failure(&error);
            return;
        }
        let mut people = [Person::default(); MAX_PEOPLE];
        let info = slot_info(frame, crop, observation.as_deref(), degraded, &mut people);
        publish_current(&self.shared, self.epoch, slot, &info);
    }

    /// The slot flag for the time in which `Degraded` is not empty.
    fn degraded_flag(&self) -> SlotFlags {
        flag(SlotFlags::DEGRADED, self.shared.published.is_degraded())
    }

    fn log_failure(&mut self, error: &dyn std::fmt::Display) {
        if let Some(repeats) = self.log_limit.check(monotonic_ns()) {
            let (camera, stream) = (self.shared.name(), self.key.stream.as_str());
            warn!(camera, stream, repeats, "a frame could not be drawn: {error}");
        }
    }
}

/// `flag` if `set`, else no flag.
fn flag(flag: SlotFlags, set: bool) -> SlotFlags {
    if set { flag } else { SlotFlags::empty() }
}

/// The description of a frame in its slot. `degraded` is the flag of [`RenderLoop::degraded_flag`].
fn slot_info<'a>(
    frame: &Frame,
    crop: PixelRect,
    observation: Option<&Observation>,
    degraded: SlotFlags,
    people: &'a mut [Person; MAX_PEOPLE],
) -> SlotInfo<'a> {
    let flags = degraded | flag(SlotFlags::PRIVATE, frame.private);
    let mut info =
        SlotInfo { sequence: frame.sequence, capture_ns: frame.capture_ns, crop, flags, ..SlotInfo::default() };
    if let Some(observation) = observation {
        // A mask that was retained because nothing has moved counts as new, however old it is.
        let late = frame.capture_ns.saturating_sub(observation.confirmed_ns()) > MASK_STALE_NS;
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

/// Publishes the slot, unless what it shows must not be seen any more. Then the next
/// [`RenderLoop::wipe_if_over`] zeroes it. Returns whether it was published.
fn publish_current(shared: &Shared, epoch: u64, slot: SlotWriter<'_>, info: &SlotInfo<'_>) -> bool {
    let is_current = shared.picture_epoch() == epoch;
    if is_current {
        slot.publish(info);
    }
    is_current
}

/// Writes the published people, with boxes in pixels of the frame. Returns how many there are.
fn list_people(observation: &Observation, frame: Size, people: &mut [Person; MAX_PEOPLE]) -> usize {
    let mut count = 0;
    for (to, from) in people.iter_mut().zip(&observation.people) {
        let PixelRect { x, y, width, height } = from.bounds.to_pixels(frame);
        *to = Person { id: from.id, rectangle: [x, y, width, height], confidence: from.confidence };
        count += 1;
    }
    count
}

/// The largest part of `crop` with the aspect of `size`. It is cut from both sides, or from the
/// bottom; never from the top, where heads are.
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
    fn a_crop_of_another_aspect_is_cut_at_the_sides_or_the_bottom() {
        let crop = PixelRect::new(100.0, 50.0, 640.0, 360.0);
        assert_eq!(fit_aspect(crop, Size::new(1280, 720)), crop);
        assert_eq!(fit_aspect(crop, Size::new(360, 360)), PixelRect::new(240.0, 50.0, 360.0, 360.0));
        assert_eq!(fit_aspect(crop, Size::new(640, 320)), PixelRect::new(100.0, 50.0, 640.0, 320.0));
        assert_eq!(fit_aspect(crop, Size::new(3840, 2161)), crop, "less than half a pixel is not worth a cut");
    }
}
