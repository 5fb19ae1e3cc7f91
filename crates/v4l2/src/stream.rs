//! A capture device that streams.
//!
//! Everything here runs on the camera's capture thread, except the drop of the last lease on a
//! frame, which may happen on any thread (`mapping.rs`).
//!
//! ```text
//!            open               start
//! (closed) --------> configured -------> streaming --+--> failed (`Gone` from then on)
//!                        ^                   |       |
//!                        |  source changed   |       +-- ENODEV, hang-up: `Gone`
//!                        +-------------------+       +-- repeated EIO, refused buffers: `Io`
//!                                                    +-- no signal or format: `Unsupported`
//! ```
//!
//! After a failure, open the device again.
//!
//! While it streams, [`Stream::next`] waits in `poll([device, eventfd])`. The device ends the wait
//! for a frame, an event or an error. The eventfd ends it when a buffer is returned while the
//! driver has too few.
//!
//! - Frames that the driver marks as damaged, that are shorter than their format, or that cannot be
//!   decoded are counted as `corrupt`, and their buffers are returned to the driver at once.
//! - A gap in the driver's sequence numbers is counted as `dropped`.
//! - **The driver's last buffer is never lent.** While readers hold all others, new frames are
//!   returned to the driver unread, and each is counted as `starved`. A reader that never releases
//!   a frame is therefore visible in the counters and the log, and the stream continues as soon as
//!   the frame is released.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::clock::{SequenceCounter, TimestampMapper};
use super::device::Device;
use super::error::Phase;
use super::flip::Flips;
use super::formats::FourCc;
use super::jpeg;
use super::mapping::{DriverBuffer, ReturnedBuffers};
use super::negotiate::Negotiation;
use super::queue::{CallError, MAX_FAILURES, Queue};
use super::setup::{CaptureOptions, Setup, configure};
use super::sys::{self, BufferState};
use portraitd_media::clock::monotonic_ns;
use portraitd_media::frame::MemoryPool;
use portraitd_media::{
    Buffer, FormatRequest, Frame, FrameFormat, Lease, Orientation, SourceError, Stream, StreamCounters, StreamEvent,
};

/// Decoded pictures: the newest, one for inference, one for a render thread, one that is being
/// decoded.
const JPEG_PICTURES: usize = 4;
/// The number of events that are taken from a device at a time.
const MAX_EVENTS: u32 = 64;

/// Whether the device delivers frames.
enum State {
    /// The stream runs with these buffers.
    Streaming(Queue),
    /// An error ended the stream. The device must be closed.
    Failed,
}

/// An open capture device that streams.
pub struct CaptureStream {
    device: Device,
    wanted: FormatRequest,
    setup: Setup,
    state: State,
    returns: Arc<ReturnedBuffers>,
    timestamps: TimestampMapper,
    sequences: SequenceCounter,
    counters: StreamCounters,
    /// Decoder and pictures of a compressed format.
    jpeg: Option<(jpeg::Decoder, MemoryPool)>,
    options: CaptureOptions,
    /// The value of the privacy control: the shutter is closed.
    private: bool,
    /// What the device does to its pictures, and what is left of `options.turn`.
    flips: Flips,
    left: Orientation,
    /// Failed calls in a row.
    failures: u32,
}

impl CaptureStream {
    /// Opens the device at `path`, negotiates the offered format nearest to `wanted`, and starts
    /// the stream.
    ///
    /// # Errors
    /// [`SourceError`]: the device is absent, busy, not permitted, or offers no usable format; or a
    /// call failed.
    pub fn open(path: &Path, wanted: &FormatRequest) -> Result<Self, SourceError> {
        Self::open_with(path, wanted, CaptureOptions::default())
    }

    /// Opens the device as [`CaptureStream::open`] does, with `options`.
    ///
    /// # Errors
    /// As [`CaptureStream::open`].
    pub fn open_with(path: &Path, wanted: &FormatRequest, options: CaptureOptions) -> Result<Self, SourceError> {
        let device = Device::open(path)?;
        let returns = new_returns(&device)?;
        let mut private = false;
        // Drivers need not support these events. Without support the event does not occur, so
        // errors are ignored. The id of a source change event is the number of the input.
        let input = sys::current_input(&device).map_or(0, |input| input.index);
        let _ = sys::subscribe_event(&device, sys::EVENT_SOURCE_CHANGE, input);
        if sys::subscribe_event(&device, sys::EVENT_CONTROL, options.privacy_control).is_ok() {
            private = sys::get_control(&device, options.privacy_control).is_ok_and(|value| value != 0);
        }
        let (flips, left) = options.turn.map_or_else(Default::default, |orientation| Flips::set(&device, orientation));
        flips.watch(&device);
        let (setup, queue) = configure(&device, wanted, options, &returns)?;
        let mut stream = Self {
            device,
            wanted: *wanted,
            jpeg: picture_pool(&setup),
            setup,
            state: State::Streaming(queue),
            returns,
            timestamps: TimestampMapper::default(),
            sequences: SequenceCounter::default(),
            counters: StreamCounters::default(),
            options,
            private,
            flips,
            left,
            failures: 0,
        };
        stream.log_setup();
        Ok(stream)
    }

    /// The ranking of the offered formats, and the reasons for the choice.
    pub const fn negotiation(&self) -> &Negotiation {
        &self.setup.negotiation
    }

    /// The four-character code of the frames, as the driver set it.
    pub const fn code(&self) -> FourCc {
        self.setup.layout.code
    }

    /// What is left of [`CaptureOptions::turn`] to be done to the frames: nothing or all of it.
    pub const fn left(&self) -> Orientation {
        self.left
    }

    pub(super) const fn device(&self) -> &Device {
        &self.device
    }

    /// The path under which the device was opened.
    pub fn path(&self) -> &Path {
        self.device.path()
    }

    /// The number of frames whose driver timestamp was unusable and was replaced by the time of
    /// dequeueing.
    pub const fn replaced_timestamps(&self) -> u64 {
        self.timestamps.replaced()
    }

    /// The number of buffers in the queue, and how many of them the driver holds now. Both are 0
    /// after a failure.
    pub const fn buffers(&self) -> (usize, usize) {
        match &self.state {
            State::Streaming(queue) => (queue.len(), queue.queued()),
            State::Failed => (0, 0),
        }
    }

    fn log_setup(&mut self) {
        let device = self.device.path().display();
        tracing::info!(
            %device,
            code = %self.setup.layout.code,
            size = %self.setup.format.size,
            frame_rate = self.setup.format.frame_rate,
            color = ?self.setup.format.color,
            reasons = %self.setup.negotiation.reasons.join("; "),
            "capture device set up"
        );
    }

    /// Stops the stream for good and returns `error`.
    fn fail(&mut self, error: SourceError) -> SourceError {
        if let State::Streaming(queue) = std::mem::replace(&mut self.state, State::Failed) {
            queue.stop(&self.device);
        }
        error
    }

    fn fail_call(&mut self, (call, errno): CallError) -> SourceError {
        let error = self.device.error(call, errno, Phase::Streaming);
        self.fail(error)
    }

    /// Reads the pending events of the device. `Some` if the format or the privacy control changed.
    fn events(&mut self) -> Result<Option<StreamEvent>, SourceError> {
        let (mut source_changed, mut privacy_changed) = (false, false);
        for _ in 0..MAX_EVENTS {
            let Ok(event) = sys::dequeue_event(&self.device) else { break };
            if event.kind == sys::EVENT_SOURCE_CHANGE {
                source_changed = true;
            } else if event.kind == sys::EVENT_CONTROL && event.id == self.options.privacy_control {
                let set = event.control_value() != 0;
                privacy_changed |= set != self.private;
                self.private = set;
            } else if event.kind == sys::EVENT_CONTROL {
                self.flips.restore(&self.device, event.id, event.control_value());
            }
            if event.pending == 0 {
                break;
            }
        }
        if source_changed {
            return self.renegotiate().map(Some);
        }
        Ok(privacy_changed.then_some(StreamEvent::Nothing))
    }

    /// After a change of the source: stops the stream, negotiates again and starts it.
    fn renegotiate(&mut self) -> Result<StreamEvent, SourceError> {
        let before = self.setup.format;
        if let State::Streaming(queue) = std::mem::replace(&mut self.state, State::Failed) {
            queue.stop(&self.device);
        }
        self.sequences.restart();
        // Readers may still hold frames of the old queue, whose buffers must not be returned to the
        // new one.
        self.returns = new_returns(&self.device)?;
        let (setup, queue) = match configure(&self.device, &self.wanted, self.options, &self.returns) {
            // Some kernels cannot change the format while a reader holds a frame. Open the device
            // again.
            Err(SourceError::Busy { .. }) => {
                let reopened = Self::open_with(self.device.path(), &self.wanted, self.options);
                let mut reopened = match reopened {
                    Err(SourceError::Busy { .. }) => return Err(self.busy_with_itself()),
                    result => result?,
                };
                if reopened.left != self.left {
                    // The frames would be turned wrongly from now on. Whoever opens it again asks.
                    return Err(self.busy_with_itself());
                }
                reopened.counters = self.counters;
                reopened.sequences = self.sequences;
                reopened.timestamps = self.timestamps;
                let format = reopened.setup.format;
                *self = reopened;
                return Ok(StreamEvent::FormatChanged(format));
            }
            result => result?,
        };
        self.jpeg = picture_pool(&setup);
        self.setup = setup;
        self.state = State::Streaming(queue);
        self.log_setup();
        let format = self.setup.format;
        Ok(if format == before { StreamEvent::Nothing } else { StreamEvent::FormatChanged(format) })
    }

    fn busy_with_itself(&self) -> SourceError {
        self.device.error("VIDIOC_S_FMT", Errno::BUSY, Phase::Streaming)
    }

    /// Waits once, until `deadline` at most. Returns the event that ended the wait, or `None` to
    /// wait again.
    fn wait_once(&mut self, deadline: Instant) -> Result<Option<StreamEvent>, SourceError> {
        let State::Streaming(queue) = &mut self.state else {
            return Err(self.device.error("VIDIOC_DQBUF", Errno::NODEV, Phase::Streaming));
        };
        if let Err(error) = queue.feed(&self.device) {
            return Err(self.fail_call(error));
        }
        // With fewer than two buffers the driver may stall at the next frame, so each returned
        // buffer must end the wait.
        if queue.queued() < 2 {
            self.returns.set_wake_on_return(true);
            if let Err(error) = queue.feed(&self.device) {
                return Err(self.fail_call(error));
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        let mut waits =
            [PollFd::new(&self.device, PollFlags::IN | PollFlags::PRI), PollFd::new(&self.returns, PollFlags::IN)];
        let polled = poll(&mut waits, Some(&wait));
        let (device, woken) = (waits[0].revents(), !waits[1].revents().is_empty());
        self.returns.set_wake_on_return(false);
        if woken {
            self.returns.clear_wake();
        }
        match polled {
            Err(Errno::INTR) => return Ok(None),
            Err(errno) => return Err(self.fail_call(("poll", errno))),
            Ok(0) => return Ok(Some(StreamEvent::Nothing)),
            Ok(_) => {}
        }
        if device.contains(PollFlags::PRI)
            && let Some(event) = self.events()?
        {
            return Ok(Some(event));
        }
        if device.intersects(PollFlags::IN | PollFlags::ERR | PollFlags::HUP) {
            return self.dequeue();
        }
        Ok(None)
    }

    /// Takes the next frame from the driver. `None` if it was skipped or there is none.
    fn dequeue(&mut self) -> Result<Option<StreamEvent>, SourceError> {
        let State::Streaming(queue) = &mut self.state else { return Ok(None) };
        let (buffer, state) = match queue.dequeue(&self.device) {
            Ok(Some(frame)) => frame,
            // The device ended the wait and has no frame: an error that the next call reports, or
            // an empty queue.
            Ok(None) => return self.tolerate(("poll", Errno::IO)),
            // `EIO` may mean one frame that the hardware lost, or that the device has failed.
            Err(error @ (_, Errno::IO)) => return self.tolerate(error),
            Err(error) => return Err(self.fail_call(error)),
        };
        self.failures = 0;
        let (number, lost) = self.sequences.number(state.sequence);
        self.counters.dropped += lost;
        let event = if state.flags & sys::BUFFER_FLAG_ERROR != 0 || state.field > sys::FIELD_NONE {
            self.corrupt(&buffer, "the driver marked it as damaged");
            None
        } else if self.jpeg.is_some() {
            self.decode(&buffer, &state, number)
        } else {
            self.lend(&buffer, &state, number)
        };
        Ok(event)
    }

    /// Counts a failed call that may succeed the next time. After [`MAX_FAILURES`] in a row the
    /// stream fails.
    fn tolerate(&mut self, error: CallError) -> Result<Option<StreamEvent>, SourceError> {
        // If the device has been unplugged, this call reports it more precisely.
        if let Err(errno) = sys::query_capability(&self.device) {
            return Err(self.fail_call(("VIDIOC_QUERYCAP", errno)));
        }
        self.failures += 1;
        if self.failures >= MAX_FAILURES {
            return Err(self.fail_call(error));
        }
        self.counters.corrupt += u64::from(error.0 == "VIDIOC_DQBUF");
        Ok(None)
    }

    fn put_back(&mut self, buffer: &DriverBuffer) {
        if let State::Streaming(queue) = &mut self.state {
            queue.put_back(buffer);
        }
    }

    fn corrupt(&mut self, buffer: &DriverBuffer, reason: impl std::fmt::Display) {
        self.counters.corrupt += 1;
        // Log the first, second, fourth, eighth... only: a bad cable damages every frame.
        if self.counters.corrupt.is_power_of_two() {
            let (device, count) = (self.device.path().display(), self.counters.corrupt);
            tracing::warn!(%device, count, %reason, "damaged frame skipped");
        }
        self.put_back(buffer);
    }

    fn starve(&mut self, buffer: &DriverBuffer) {
        self.counters.starved += 1;
        if self.counters.starved.is_power_of_two() {
            let (device, count) = (self.device.path().display(), self.counters.starved);
            tracing::warn!(%device, count, "frame skipped: readers hold all other buffers");
        }
        self.put_back(buffer);
    }

    /// The capture timestamp of a frame, in `CLOCK_MONOTONIC` nanoseconds.
    fn capture_ns(&mut self, state: &BufferState) -> u64 {
        let before = self.timestamps.replaced();
        let capture_ns = self.timestamps.map(state.flags, state.timestamp, monotonic_ns());
        if before == 0 && self.timestamps.replaced() == 1 {
            let device = self.device.path().display();
            tracing::warn!(%device, "the driver's timestamps are not monotonic: using the time of arrival instead");
        }
        capture_ns
    }

    /// Lends an uncompressed frame without copying it.
    fn lend(&mut self, buffer: &Arc<DriverBuffer>, state: &BufferState, number: u64) -> Option<StreamEvent> {
        if !self.setup.layout.is_whole(&state.bytes_used, &state.data_offset) {
            self.corrupt(buffer, "it is shorter than its format");
            return None;
        }
        let State::Streaming(queue) = &mut self.state else { return None };
        if queue.queued() == 0 {
            // A reader may have returned a buffer in the meantime.
            let _ = queue.feed(&self.device);
            if queue.queued() == 0 {
                self.starve(buffer);
                return None;
            }
        }
        let capture_ns = self.capture_ns(state);
        let lease = Lease::new(Arc::clone(buffer) as Arc<dyn Buffer>);
        match Frame::new(number, capture_ns, self.setup.format, lease) {
            Ok(frame) => Some(StreamEvent::Frame(frame)),
            Err(error) => {
                // `Frame::new` dropped the lease, which returned the buffer.
                self.counters.corrupt += 1;
                tracing::warn!(device = %self.device.path().display(), %error, "damaged frame skipped");
                None
            }
        }
    }

    /// Decodes a compressed frame and returns its buffer to the queue. If several frames are ready,
    /// only the newest is decoded.
    fn decode(&mut self, buffer: &DriverBuffer, state: &BufferState, number: u64) -> Option<StreamEvent> {
        if let State::Streaming(queue) = &self.state
            && queue.queued() > 0
            && self.has_another()
        {
            self.counters.dropped += 1;
            self.put_back(buffer);
            return None;
        }
        let capture_ns = self.capture_ns(state);
        let (decoder, pool) = self.jpeg.as_mut()?;
        let size = pool.format().size;
        let start = usize::try_from(state.data_offset[0]).unwrap_or(usize::MAX);
        let end = usize::try_from(state.bytes_used[0]).unwrap_or(usize::MAX);
        let bytes = buffer.memory(0).get(start..end).unwrap_or_default();
        match pool.fill(number, capture_ns, |out| decoder.decode(bytes, size, out)) {
            Ok(Some(frame)) => {
                self.put_back(buffer);
                Some(StreamEvent::Frame(frame))
            }
            Ok(None) => {
                self.starve(buffer);
                None
            }
            Err(error) => {
                self.corrupt(buffer, error);
                None
            }
        }
    }

    /// Whether the driver has another frame ready.
    fn has_another(&self) -> bool {
        let mut waits = [PollFd::new(&self.device, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut waits, Some(&now)).is_ok() && waits[0].revents() == PollFlags::IN
    }
}

impl Stream for CaptureStream {
    fn format(&self) -> FrameFormat {
        self.setup.format
    }

    fn next(&mut self, timeout: Duration) -> Result<StreamEvent, SourceError> {
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now + Duration::from_secs(3600));
        loop {
            if let Some(event) = self.wait_once(deadline)? {
                return Ok(event);
            }
            if Instant::now() >= deadline {
                return Ok(StreamEvent::Nothing);
            }
        }
    }

    fn counters(&self) -> StreamCounters {
        self.counters
    }

    fn private(&self) -> bool {
        self.private
    }
}

impl Drop for CaptureStream {
    fn drop(&mut self) {
        if let State::Streaming(queue) = std::mem::replace(&mut self.state, State::Failed) {
            queue.stop(&self.device);
        }
    }
}

/// Decoder and memory for a compressed format; `None` for formats that are lent in place.
fn picture_pool(setup: &Setup) -> Option<(jpeg::Decoder, MemoryPool)> {
    let pool = || MemoryPool::new(setup.format, JPEG_PICTURES);
    setup.layout.is_compressed().then(|| (jpeg::Decoder::default(), pool()))
}

/// A return path for the buffers of one queue.
fn new_returns(device: &Device) -> Result<Arc<ReturnedBuffers>, SourceError> {
    Ok(Arc::new(ReturnedBuffers::new().map_err(|errno| device.error("eventfd", errno, Phase::Opening))?))
}
