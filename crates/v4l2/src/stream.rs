//! A capture device that streams.
//!
//! Everything here runs on the camera's capture thread, but for the drop of the last lease on a frame, which may happen
//! anywhere (see [`super::mapping`]).
//!
//! ```text
//!            open                      start
//! (closed) --------> configured ---------------> streaming --+--> lost   (each further call gives the same error)
//!                        ^                          |        |
//!                        |      source changed      |        +-- ENODEV, hang-up: gone
//!                        +--------------------------+        +-- EIO again and again, a queue that refuses: io
//!                                                            +-- no signal, no format of use: unsupported
//! ```
//!
//! While it streams, [`Stream::next`] waits in `poll([device, eventfd])`. The device wakes it for a frame, an event or an
//! error; the eventfd for a buffer that was let go while the driver had too few.
//!
//! Frames that are flagged as damaged, are shorter than their format, or do not decode are counted as `corrupt` and given
//! back at once. A gap in the driver's sequence counts as `dropped`. **The driver's last buffer is never lent**: where
//! readers hold all others, new frames are given back unread, and each counts as `starved`; so a reader that never lets
//! go is seen in the counters and the log, and the stream goes on as soon as it does.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::clock::{Sequences, Stamps};
use super::device::{Device, interval, rate};
use super::error::Phase;
use super::formats::{Encoding, FourCc, Layout, layout};
use super::jpeg;
use super::mapping::{DriverBuffer, Returns};
use super::negotiate::{Choice, Negotiation, negotiate};
use super::queue::{CallError, MOST_FAILURES, Queue};
use super::sys::{self, BufferState, BufferType, DeviceFormat, MAX_PLANES};
use portraitd_media::clock::monotonic_ns;
use portraitd_media::frame::MemoryPool;
use portraitd_media::{
    Buffer, FormatRequest, Frame, FrameFormat, Lease, SourceError, Stream, StreamCounters, StreamEvent,
};

/// Buffers to ask the driver for: two in its hands, one newest, one with the vision, one with a render thread.
const RAW_BUFFERS: u32 = 5;
/// Buffers for frames that are decoded at once and never lent.
const JPEG_BUFFERS: u32 = 3;
/// Decoded pictures: one newest, one with the vision, one with a render thread, one being decoded.
const JPEG_PICTURES: usize = 4;
/// Candidates that are tried before a device is given up.
const MOST_ATTEMPTS: usize = 16;
/// Events taken from a device in one go.
const MOST_EVENTS: u32 = 64;

/// What a device was set up to.
struct Setup {
    layout: Layout,
    format: FrameFormat,
    negotiation: Negotiation,
}

/// How far a stream has come.
enum State {
    /// Frames flow.
    Streaming(Queue),
    /// The device is to be closed.
    Lost,
}

/// An open, streaming capture device.
pub struct CaptureStream {
    device: Device,
    wanted: FormatRequest,
    setup: Setup,
    state: State,
    returns: Arc<Returns>,
    stamps: Stamps,
    sequences: Sequences,
    counters: StreamCounters,
    /// Decoder and pictures of a compressed format.
    jpeg: Option<(jpeg::Decoder, MemoryPool)>,
    options: Options,
    /// Whether the privacy control is set.
    private: bool,
    failures: u32,
}

/// What may be forced on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The only four-character code to take.
    pub code: Option<FourCc>,
    /// The control that says that the shutter is closed: `V4L2_CID_PRIVACY`, or one of a driver's own.
    pub privacy_control: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { code: None, privacy_control: sys::CONTROL_PRIVACY }
    }
}

impl CaptureStream {
    /// Opens the device at `path`, negotiates a format near `wanted` and starts it.
    ///
    /// # Errors
    /// [`SourceError`] with what it is that stands in the way.
    pub fn open(path: &Path, wanted: &FormatRequest) -> Result<Self, SourceError> {
        Self::open_with(path, wanted, Options::default())
    }

    /// As [`CaptureStream::open`], with some choices forced.
    ///
    /// # Errors
    /// As [`CaptureStream::open`].
    pub fn open_with(path: &Path, wanted: &FormatRequest, options: Options) -> Result<Self, SourceError> {
        let device = Device::open(path)?;
        let returns = new_returns(&device)?;
        let mut private = false;
        // Neither is there in every driver; what is not there does not happen. A change of the source is an event of its
        // input.
        let input = sys::current_input(&device).map_or(0, |input| input.index);
        let _ = sys::subscribe_event(&device, sys::EVENT_SOURCE_CHANGE, input);
        if sys::subscribe_event(&device, sys::EVENT_CONTROL, options.privacy_control).is_ok() {
            private = sys::get_control(&device, options.privacy_control).is_ok_and(|value| value != 0);
        }
        let (setup, queue) = configure(&device, wanted, options, &returns)?;
        let mut stream = Self {
            device,
            wanted: *wanted,
            jpeg: picture_pool(&setup),
            setup,
            state: State::Streaming(queue),
            returns,
            stamps: Stamps::default(),
            sequences: Sequences::default(),
            counters: StreamCounters::default(),
            options,
            private,
            failures: 0,
        };
        stream.log_setup();
        Ok(stream)
    }

    /// Why this format was chosen.
    pub const fn negotiation(&self) -> &Negotiation {
        &self.setup.negotiation
    }

    /// The four-character code that the device delivers.
    pub const fn code(&self) -> FourCc {
        self.setup.layout.code
    }

    pub(super) const fn device(&self) -> &Device {
        &self.device
    }

    /// Where the device was opened.
    pub fn path(&self) -> &Path {
        self.device.path()
    }

    /// Frames whose driver stamp could not be used and was replaced by the time of dequeueing.
    pub const fn mapped_stamps(&self) -> u64 {
        self.stamps.mapped()
    }

    /// Buffers in the queue, and how many of them the driver has now.
    pub const fn buffers(&self) -> (usize, usize) {
        match &self.state {
            State::Streaming(queue) => (queue.len(), queue.queued()),
            State::Lost => (0, 0),
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
            why = %self.setup.negotiation.reasons.join("; "),
            "camera set up"
        );
    }

    fn lose(&mut self, error: SourceError) -> SourceError {
        if let State::Streaming(queue) = std::mem::replace(&mut self.state, State::Lost) {
            queue.stop(&self.device);
        }
        error
    }

    fn lose_call(&mut self, (call, errno): CallError) -> SourceError {
        let error = self.device.error(call, errno, Phase::Streaming);
        self.lose(error)
    }

    /// Takes the device's events. `Some` where there is something to tell.
    fn events(&mut self) -> Result<Option<StreamEvent>, SourceError> {
        let (mut changed, mut told) = (false, false);
        for _ in 0..MOST_EVENTS {
            let Ok(event) = sys::dequeue_event(&self.device) else { break };
            if event.kind == sys::EVENT_SOURCE_CHANGE {
                changed = true;
            } else if event.kind == sys::EVENT_CONTROL && event.id == self.options.privacy_control {
                let set = event.control_value() != 0;
                told |= set != self.private;
                self.private = set;
            }
            if event.pending == 0 {
                break;
            }
        }
        if changed {
            return self.renegotiate().map(Some);
        }
        Ok(told.then_some(StreamEvent::Nothing))
    }

    /// The source has changed: stops, negotiates anew, starts.
    fn renegotiate(&mut self) -> Result<StreamEvent, SourceError> {
        let before = self.setup.format;
        if let State::Streaming(queue) = std::mem::replace(&mut self.state, State::Lost) {
            queue.stop(&self.device);
        }
        self.sequences.restart();
        // Frames of the former queue may still be read: what they give back is not of the next one.
        self.returns = new_returns(&self.device)?;
        let (setup, queue) = match configure(&self.device, &self.wanted, self.options, &self.returns) {
            // A kernel that cannot change the format while somebody holds a frame: open the device anew.
            Err(SourceError::Busy { .. }) => {
                let reopened = Self::open_with(self.device.path(), &self.wanted, self.options);
                let mut reopened = match reopened {
                    Err(SourceError::Busy { .. }) => return Err(self.busy_with_itself()),
                    result => result?,
                };
                reopened.counters = self.counters;
                reopened.sequences = self.sequences;
                reopened.stamps = self.stamps;
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

    /// One turn of the state machine: what the wait ended with, or `None` to wait again.
    fn turn(&mut self, deadline: Instant) -> Result<Option<StreamEvent>, SourceError> {
        let State::Streaming(queue) = &mut self.state else {
            return Err(self.device.error("VIDIOC_DQBUF", Errno::NODEV, Phase::Streaming));
        };
        if let Err(error) = queue.feed(&self.device) {
            return Err(self.lose_call(error));
        }
        // With so few in its hands the driver may stop at the next frame: then each return counts at once.
        if queue.queued() < 2 {
            self.returns.set_hungry(true);
            if let Err(error) = queue.feed(&self.device) {
                return Err(self.lose_call(error));
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        let mut waits =
            [PollFd::new(&self.device, PollFlags::IN | PollFlags::PRI), PollFd::new(&self.returns, PollFlags::IN)];
        let polled = poll(&mut waits, Some(&wait));
        let (device, woken) = (waits[0].revents(), !waits[1].revents().is_empty());
        self.returns.set_hungry(false);
        if woken {
            self.returns.quieten();
        }
        match polled {
            Err(Errno::INTR) => return Ok(None),
            Err(errno) => return Err(self.lose_call(("poll", errno))),
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

    /// Takes the next frame from the driver, if it is of use.
    fn dequeue(&mut self) -> Result<Option<StreamEvent>, SourceError> {
        let State::Streaming(queue) = &mut self.state else { return Ok(None) };
        let (buffer, state) = match queue.dequeue(&self.device) {
            Ok(Some(frame)) => frame,
            // The device woke us and has nothing: an error that will say more with the next call, or an empty queue.
            Ok(None) => return self.failed(("poll", Errno::IO)),
            // `EIO` may be one frame that was lost in the hardware, or the end.
            Err(error @ (_, Errno::IO)) => return self.failed(error),
            Err(error) => return Err(self.lose_call(error)),
        };
        self.failures = 0;
        let (number, lost) = self.sequences.number(state.sequence);
        self.counters.dropped += lost;
        let event = if state.flags & sys::BUFFER_FLAG_ERROR != 0 || state.field > sys::FIELD_NONE {
            self.corrupt(&buffer, "the driver says that it is damaged");
            None
        } else if self.jpeg.is_some() {
            self.decode(&buffer, &state, number)
        } else {
            self.lend(&buffer, &state, number)
        };
        Ok(event)
    }

    /// Counts a call that failed and may work the next time.
    fn failed(&mut self, error: CallError) -> Result<Option<StreamEvent>, SourceError> {
        // Ask the device itself whether it is still there: that error says more.
        if let Err(errno) = sys::query_capability(&self.device) {
            return Err(self.lose_call(("VIDIOC_QUERYCAP", errno)));
        }
        self.failures += 1;
        if self.failures >= MOST_FAILURES {
            return Err(self.lose_call(error));
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
        // The first, and then ever more rarely: a bad cable damages every frame.
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
            tracing::warn!(%device, count, "frame given back unread: readers hold every other buffer");
        }
        self.put_back(buffer);
    }

    fn stamp(&mut self, state: &BufferState) -> u64 {
        let before = self.stamps.mapped();
        let stamp = self.stamps.map(state.flags, state.timestamp, monotonic_ns());
        if before == 0 && self.stamps.mapped() == 1 {
            let device = self.device.path().display();
            tracing::warn!(%device, "the driver's time stamps are not monotonic: frames are stamped when they arrive");
        }
        stamp
    }

    /// Lends a frame whose pixels are used where they lie.
    fn lend(&mut self, buffer: &Arc<DriverBuffer>, state: &BufferState, number: u64) -> Option<StreamEvent> {
        if !self.setup.layout.is_whole(&state.bytes_used, &state.data_offset) {
            self.corrupt(buffer, "it is shorter than its format");
            return None;
        }
        let State::Streaming(queue) = &mut self.state else { return None };
        if queue.queued() == 0 {
            // Perhaps somebody let go in the meantime.
            let _ = queue.feed(&self.device);
            if queue.queued() == 0 {
                self.starve(buffer);
                return None;
            }
        }
        let capture_ns = self.stamp(state);
        let lease = Lease::new(Arc::clone(buffer) as Arc<dyn Buffer>);
        match Frame::new(number, capture_ns, self.setup.format, lease) {
            Ok(frame) => Some(StreamEvent::Frame(frame)),
            Err(error) => {
                // The lease is gone, and the buffer back with it.
                self.counters.corrupt += 1;
                tracing::warn!(device = %self.device.path().display(), %error, "frame skipped");
                None
            }
        }
    }

    /// Decodes a compressed frame and gives its buffer back. Of several that wait only the newest is decoded.
    fn decode(&mut self, buffer: &DriverBuffer, state: &BufferState, number: u64) -> Option<StreamEvent> {
        if let State::Streaming(queue) = &self.state
            && queue.queued() > 0
            && self.has_another()
        {
            self.counters.dropped += 1;
            self.put_back(buffer);
            return None;
        }
        let capture_ns = self.stamp(state);
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
            if let Some(event) = self.turn(deadline)? {
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
        if let State::Streaming(queue) = std::mem::replace(&mut self.state, State::Lost) {
            queue.stop(&self.device);
        }
    }
}

fn picture_pool(setup: &Setup) -> Option<(jpeg::Decoder, MemoryPool)> {
    let pool = || MemoryPool::new(setup.format, JPEG_PICTURES);
    setup.layout.is_compressed().then(|| (jpeg::Decoder::default(), pool()))
}

fn new_returns(device: &Device) -> Result<Arc<Returns>, SourceError> {
    Ok(Arc::new(Returns::new().map_err(|errno| device.error("eventfd", errno, Phase::Opening))?))
}

/// Sets a device up for `wanted`, allocates its buffers, queues them and starts it.
fn configure(
    device: &Device,
    wanted: &FormatRequest,
    options: Options,
    returns: &Arc<Returns>,
) -> Result<(Setup, Queue), SourceError> {
    let Some(buffer_type) = device.capture_type() else {
        return Err(device.unsupported("is not a capture device that streams"));
    };
    let fail = |(call, errno): CallError| device.error(call, errno, Phase::Opening);
    follow_signal(device)?;
    let mut candidates = device.candidates(buffer_type, wanted)?;
    if let Some(code) = options.code {
        candidates.retain(|candidate| candidate.code == code);
    }
    let negotiation = negotiate(wanted, &candidates);
    let (layout, frame_rate) = set_format(device, buffer_type, &negotiation)?;
    let picture_format = layout.encoding.picture_format();
    let mut format = FrameFormat::packed(picture_format, layout.size, layout.color, frame_rate);
    if !layout.is_compressed() {
        format.strides_bytes = layout.planes.map(|place| place.stride_bytes);
    }
    let count = if layout.is_compressed() { JPEG_BUFFERS } else { RAW_BUFFERS };
    let mut queue = Queue::allocate(device, buffer_type, &layout, count, returns).map_err(fail)?;
    let started = queue.feed(device).and_then(|()| queue.start(device));
    if let Err(error) = started {
        queue.stop(device);
        return Err(fail(error));
    }
    Ok((Setup { layout, format, negotiation }, queue))
}

/// Sets a receiver to what is on its cable.
fn follow_signal(device: &Device) -> Result<(), SourceError> {
    let Ok(input) = sys::current_input(device) else { return Ok(()) };
    if input.capabilities & sys::INPUT_CAP_DV_TIMINGS != 0 {
        match sys::query_dv_timings(device) {
            Ok(timings) => {
                // Where the call is refused the timings may be right already; if not, the format will tell.
                if let Err(errno) = sys::set_dv_timings(device, timings) {
                    tracing::debug!(device = %device.path().display(), %errno, "VIDIOC_S_DV_TIMINGS");
                }
            }
            Err(Errno::NOLINK | Errno::NOLCK) => return Err(device.unsupported("has no signal on its input")),
            Err(Errno::RANGE) => return Err(device.unsupported("has a signal on its input that it cannot take")),
            Err(_) => {}
        }
    }
    if input.status & sys::INPUT_STATUS_NO_POWER != 0 {
        return Err(device.unsupported("has no power on its input"));
    }
    if input.status & sys::INPUT_STATUS_NO_SIGNAL != 0 {
        return Err(device.unsupported("has no signal on its input"));
    }
    Ok(())
}

/// Sets the best format that the driver takes, then the frame rate.
fn set_format(
    device: &Device,
    buffer_type: BufferType,
    negotiation: &Negotiation,
) -> Result<(Layout, f32), SourceError> {
    let mut refusal = None;
    for choice in negotiation.ranking.iter().take(MOST_ATTEMPTS) {
        let got = match sys::set_format(device, buffer_type, &request(choice)) {
            Ok(got) => got,
            Err(errno @ Errno::INVAL) => {
                refusal.get_or_insert(format!("refuses {} {} ({errno})", choice.code, choice.size));
                continue;
            }
            Err(errno) => return Err(device.error("VIDIOC_S_FMT", errno, Phase::Opening)),
        };
        match layout(&got) {
            Ok(layout) => return Ok((layout, set_rate(device, buffer_type, choice))),
            Err(reason) => {
                refusal.get_or_insert(reason);
            }
        }
    }
    let reason = refusal.unwrap_or_else(|| format!("offers nothing of use: {}", negotiation.reasons.join("; ")));
    Err(device.unsupported(reason))
}

fn request(choice: &Choice) -> DeviceFormat {
    DeviceFormat {
        width: choice.size.width,
        height: choice.size.height,
        pixel_format: choice.code.0,
        field: sys::FIELD_NONE,
        colorspace: 0,
        ycbcr_encoding: 0,
        quantization: 0,
        plane_count: choice.code.encoding().map_or(1, Encoding::memory_planes),
        bytes_per_line: [0; MAX_PLANES],
        size_image: [0; MAX_PLANES],
    }
}

/// Asks for a frame rate and returns what the driver gives; 0 where it does not tell.
fn set_rate(device: &Device, buffer_type: BufferType, choice: &Choice) -> f32 {
    let Ok(current) = sys::get_parameters(device, buffer_type) else { return 0.0 };
    let wish = choice.frame_rate.and_then(interval);
    let given = match wish {
        Some(seconds) if current.capability & sys::CAP_TIME_PER_FRAME != 0 => {
            sys::set_time_per_frame(device, buffer_type, seconds).unwrap_or(current)
        }
        _ => current,
    };
    rate(given.time_per_frame).unwrap_or(0.0)
}
