//! The capture thread of a camera. It opens the source when a client needs it, passes its frames
//! on, and closes it when no client needs it any more. After a failure it tries again, without end.
//!
//! ```text
//!           client             opened           first frame       shutter closed
//!   idle -------------> starting ----> (open) -----------> running <-----------> private
//!    ^                   ^   |                              |  |
//!    | no client for the |   | cannot be opened             |  | no frame for
//!    | grace period      |   v                              |  v max(2 s, 5 frame times)
//!    +------------------ absent / failed <---------------- stalled
//!      waits 0.5 s, doubling to 30 s; a change of /dev or another client ends the wait
//! ```
//!
//! Clients can end that wait as often as they like, so after a failure the next attempt starts a
//! quarter of a second after the failed one at the earliest, whatever asks for it. A client that
//! comes while nothing has failed lately does not wait.
//!
//! A camera that is not available keeps the state that names the failure (absent, failed, stalled)
//! until it is available, or until no client has asked for it for the grace period. `LastError`
//! keeps the reason.
//!
//! A client can make the camera private (`Camera1.Private`). Then it is closed from every state,
//! and stays closed until a client ends that. Readers get black frames meanwhile, in the format of
//! the last ones.
//!
//! While the camera's shutter is closed, its frames are replaced by black ones that are marked as
//! private: at the camera's own rate, or one per second if it sends none.
//!
//! `run` is a loop of [`Capture::run_once`] and holds the whole outage policy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portraitd_protocol::{CameraState, ServiceError};
use tracing::{debug, info, warn};

use super::BACKOFF;
use super::camera::apply_controls;
use super::demand::Wake;
use super::shared::{OutageReason, Shared, Tuning};
use crate::service::logging::Repeat;
use crate::service::notify::Progress;
use crate::service::panics::caught;
use portraitd_media::clock::monotonic_ns;
use portraitd_media::{
    BlankFrames, Colorimetry, ControlValues, FormatRequest, FrameFormat, Opening, Orientation, PixelFormat, Producer,
    Size, Source, SourceError, Stream, StreamEvent, upright,
};
use portraitd_v4l2::clock::StallDetector;

/// The longest wait for a frame, after which demand and shutdown are checked again.
const POLL: Duration = Duration::from_millis(100);
/// The time between two black frames if the camera sends none while its shutter is closed.
const BLANK_INTERVAL_NS: u64 = 1_000_000_000;
/// The time between two black frames while a client keeps the camera private.
const PRIVATE_INTERVAL: Duration = Duration::from_millis(200);

/// The shortest time from the start of an attempt that failed to the start of the next one.
pub(super) const ATTEMPT_INTERVAL: Duration = Duration::from_millis(250);
/// A failure that repeats is logged once in this time, in nanoseconds.
pub(super) const FAILURE_LOG_NS: u64 = 60_000_000_000;
/// The opening and the closing of the camera are logged once in this time, in nanoseconds: clients
/// cause them.
const OPENING_LOG_NS: u64 = 1_000_000_000;

/// The keys of the controls with which a device turns its pictures.
const FLIP_KEYS: [&str; 2] = ["horizontal_flip", "vertical_flip"];

/// Why a stream was closed.
#[derive(Debug)]
enum Ended {
    /// No client needs it.
    Unwanted,
    /// The camera is to stop.
    Shutdown,
    /// No frame came for this long.
    Stalled(Duration),
    /// A finite source, such as a file, is at its end.
    Finished,
    /// The source failed.
    Failed(SourceError),
    /// The configuration asks for another size or rate now.
    Reconfigured,
    /// A client has made the camera private.
    Private,
    /// The source, or this thread, has panicked with this message.
    Panicked(String),
}

/// The state of the capture thread.
pub(super) struct Capture {
    shared: Arc<Shared>,
    source: Arc<dyn Source>,
    progress: Progress,
    log: CaptureLog,
}

/// Limits what clients can make this thread log.
pub(super) struct CaptureLog {
    /// The failure that was logged last.
    failure: String,
    failures: Repeat,
    openings: Repeat,
    controls: Repeat,
    closings: Repeat,
}

impl CaptureLog {
    pub(super) fn new() -> Self {
        Self {
            failure: String::new(),
            failures: Repeat::new(FAILURE_LOG_NS),
            openings: Repeat::new(OPENING_LOG_NS),
            controls: Repeat::new(OPENING_LOG_NS),
            closings: Repeat::new(OPENING_LOG_NS),
        }
    }

    /// Whether to log this failure, as in [`Repeat::check`]. Another one than the last is news.
    pub(super) fn failed(&mut self, failure: &str, now_ns: u64) -> Option<u64> {
        if self.failure != failure {
            failure.clone_into(&mut self.failure);
            self.failures.reset();
        }
        self.failures.check(now_ns)
    }

    /// The source delivers: the next failure is news.
    pub(super) fn works(&mut self) {
        self.failure.clear();
    }
}

/// The settings for which a source was opened. With others, it is opened again.
#[derive(Clone, Copy, PartialEq)]
struct OpenedFor {
    wanted: FormatRequest,
    orientation: Orientation,
    /// The device turns its pictures itself, if it can. Not so if the settings have values for the
    /// controls that it would use.
    device_turns: bool,
}

impl OpenedFor {
    fn of(tuning: &Tuning) -> Self {
        let device_turns = !FLIP_KEYS.iter().any(|key| tuning.controls.contains_key(*key));
        Self { wanted: tuning.wanted, orientation: tuning.orientation, device_turns }
    }
}

impl Capture {
    pub(super) fn new(shared: Arc<Shared>, source: Arc<dyn Source>, progress: Progress) -> Self {
        Self { shared, source, progress, log: CaptureLog::new() }
    }

    /// Runs until the camera is to stop.
    pub(super) fn run(mut self) {
        let mut backoff = BACKOFF;
        let mut earliest = Instant::now();
        loop {
            self.progress.idle(true);
            if self.shared.demand.is_private() {
                self.stay_private();
            }
            self.shared.set_state(CameraState::Idle, None);
            match self.shared.demand.wait_wanted() {
                Wake::Shutdown => break,
                Wake::Private => continue,
                _ => {}
            }
            while !self.shared.demand.is_shut_down() {
                self.shared.demand.rest(earliest);
                self.progress.idle(false);
                let retry_requests = self.shared.demand.retry_requests();
                let started = Instant::now();
                // Unwinding closes the stream. The next attempt opens the source again.
                let ended = caught(|| self.run_once()).unwrap_or_else(|panic| {
                    self.forget_frames();
                    Ended::Panicked(panic)
                });
                self.progress.idle(true);
                backoff.worked_for(started.elapsed());
                let absent = |text| OutageReason::new(text, ServiceError::CameraAbsent);
                let (state, reason) = match ended {
                    Ended::Unwanted | Ended::Private | Ended::Shutdown => break,
                    Ended::Reconfigured => continue,
                    Ended::Stalled(limit) => {
                        let text = format!("{}: no frame for {} s", self.source.name(), limit.as_secs_f32());
                        (CameraState::Stalled, absent(text))
                    }
                    Ended::Finished => (CameraState::Absent, absent(format!("{}: has ended", self.source.name()))),
                    Ended::Failed(error) => outage_of(&error),
                    Ended::Panicked(panic) => {
                        let text = format!("{}: a defect of the program: {panic}", self.source.name());
                        (CameraState::Failed, OutageReason::new(text, ServiceError::Failed))
                    }
                };
                earliest = started + ATTEMPT_INTERVAL;
                if let Some(repeats) = self.log.failed(&reason.text, monotonic_ns()) {
                    warn!(
                        camera = self.shared.name(),
                        repeats,
                        "{}; trying again in {:?}",
                        reason.text,
                        backoff.wait()
                    );
                }
                self.shared.set_state(state, Some(reason));
                self.shared.statistics.count_reopen();
                match self.shared.demand.wait_retry(retry_requests, backoff.wait(), self.shared.tuning.get().idle_close)
                {
                    Wake::TimedOut | Wake::Wanted => backoff.double(),
                    Wake::RetryNow => backoff.reset(),
                    Wake::Unwanted | Wake::Private | Wake::Shutdown => break,
                }
            }
            if self.shared.demand.is_shut_down() {
                break;
            }
        }
        self.shared.frames.close();
    }

    /// Gives black frames to whoever looks, with the source closed, until a client ends that or the
    /// camera is to stop.
    fn stay_private(&self) {
        info!(camera = self.shared.name(), "the camera is private: it stays closed until a client ends that");
        let format = self.shared.director.format().unwrap_or_else(|| assumed_format(&self.shared.tuning.get()));
        let blank = BlankFrames::new(format);
        self.shared.frames.clear();
        self.shared.make_private(format);
        let mut sequence = 0;
        while self.shared.demand.wait_private(if sequence == 0 { Duration::ZERO } else { PRIVATE_INTERVAL }) {
            self.shared.frames.put(blank.frame(sequence, monotonic_ns()));
            sequence += 1;
        }
        self.shared.frames.clear();
        info!(camera = self.shared.name(), "the camera is not private any more");
    }

    /// Opens the source and passes its frames on until it ends.
    fn run_once(&mut self) -> Ended {
        self.shared.set_state(CameraState::Starting, None);
        let Tuning { wanted, orientation, controls, .. } = self.shared.tuning.get();
        let opened_for = OpenedFor::of(&self.shared.tuning.get());
        let begun = if opened_for.device_turns {
            self.source.begin_turned(&wanted, orientation)
        } else {
            self.source.begin(&wanted).map(|opening| (opening, orientation))
        };
        let opened = match begun {
            Ok((Opening::Open(stream), left)) => Ok((stream, left)),
            Ok((Opening::Waiting(mut producer), left)) => {
                self.await_producer(producer.as_mut(), opened_for).map(|stream| (stream, left))
            }
            Err(error) => Err(Ended::Failed(error)),
        };
        let upright = |(stream, left)| upright(stream, left, &self.source.name()).map_err(Ended::Failed);
        let mut stream = match opened.and_then(upright) {
            Ok(stream) => stream,
            Err(ended) => return ended,
        };
        let format = stream.format();
        if let Some(repeats) = self.log.openings.check(monotonic_ns()) {
            info!(camera = self.shared.name(), source = self.source.name(), size = %format.size,
                pixel_format = %format.pixel_format, repeats, "camera opened");
        }
        self.apply_controls(&controls);
        self.shared.set_format(format);
        let ended = self.pump(stream.as_mut(), opened_for);
        self.forget_frames();
        if matches!(ended, Ended::Reconfigured) && self.shared.tuning.get().orientation != orientation {
            self.shared.turned();
        }
        drop(stream);
        if let Some(repeats) = self.log.closings.check(monotonic_ns()) {
            info!(camera = self.shared.name(), source = self.source.name(), reason = ?ended, repeats, "camera closed");
        }
        ended
    }

    /// Waits for the program that produces the frames, for as long as somebody looks. After the time
    /// that a camera has for its first frame, this one is absent until the program begins.
    fn await_producer(&mut self, producer: &mut dyn Producer, opened_for: OpenedFor) -> Result<Box<dyn Stream>, Ended> {
        let mut patience = StallDetector::starting(0.0, monotonic_ns());
        let mut retry_requests = self.shared.demand.retry_requests();
        let mut told = false;
        loop {
            self.check_wanted(opened_for)?;
            if let Some(stream) = producer.wait(POLL).map_err(Ended::Failed)? {
                return Ok(stream);
            }
            self.progress.advance();
            let requests = self.shared.demand.retry_requests();
            if told && requests != retry_requests {
                // Another client gets an attempt of its own.
                (retry_requests, told) = (requests, false);
                patience = StallDetector::starting(0.0, monotonic_ns());
                self.shared.set_state(CameraState::Starting, None);
            } else if !told && patience.stalled(monotonic_ns()) {
                told = true;
                let (state, reason) = outage_of(&producer.missing());
                if let Some(repeats) = self.log.failed(&reason.text, monotonic_ns()) {
                    warn!(camera = self.shared.name(), repeats, "{}; waiting for it", reason.text);
                }
                self.shared.set_state(state, Some(reason));
            }
        }
    }

    /// Whether the source is still to be open, as it was opened for `opened_for`.
    fn check_wanted(&self, opened_for: OpenedFor) -> Result<(), Ended> {
        if self.shared.demand.is_shut_down() {
            return Err(Ended::Shutdown);
        }
        if self.shared.demand.is_private() {
            return Err(Ended::Private);
        }
        let tuning = self.shared.tuning.get();
        if self.shared.demand.expired(tuning.idle_close) {
            return Err(Ended::Unwanted);
        }
        if OpenedFor::of(&tuning) != opened_for {
            return Err(Ended::Reconfigured);
        }
        Ok(())
    }

    /// Gives the controls of the source their wanted values. What does not succeed is logged: the
    /// camera is of use without.
    fn apply_controls(&mut self, wanted: &ControlValues) {
        if wanted.is_empty() {
            return;
        }
        let failed = apply_controls(self.source.as_ref(), wanted);
        if failed.is_empty() {
            return;
        }
        if let Some(repeats) = self.log.controls.check(monotonic_ns()) {
            for error in failed {
                warn!(camera = self.shared.name(), source = self.source.name(), repeats, "controls: {error}");
            }
        }
    }

    /// The slots between the threads must not keep a frame of a closed stream. Readers that still
    /// hold one keep its memory alive.
    fn forget_frames(&self) {
        self.shared.frames.clear();
        self.shared.observed.clear();
    }

    /// Passes frames on until the stream ends.
    fn pump(&mut self, stream: &mut dyn Stream, opened_for: OpenedFor) -> Ended {
        let mut watch = StallDetector::starting(stream.format().frame_rate, monotonic_ns());
        let mut delivery = Delivery::AwaitingFirst;
        let mut last = (0, 0);
        let mut starved = 0;
        loop {
            if let Err(ended) = self.check_wanted(opened_for) {
                return ended;
            }
            let event = stream.next(POLL);
            // It may have been made private while the stream waited. That frame is not passed on.
            if self.shared.demand.is_private() {
                return Ended::Private;
            }
            let now_ns = monotonic_ns();
            if stream.private() {
                if !matches!(delivery, Delivery::Blank(_)) {
                    delivery = self.close_shutter(stream.format());
                }
            } else if matches!(delivery, Delivery::Blank(_)) {
                info!(camera = self.shared.name(), "the shutter is open");
                // The first frame may take as long as after the opening of the device.
                watch = StallDetector::starting(stream.format().frame_rate, now_ns);
                delivery = Delivery::AwaitingFirst;
            }
            let counters = stream.counters();
            if counters.starved > starved {
                // All buffers are lent. The one that the last observed frame is in serves no reader
                // that is quick enough.
                starved = counters.starved;
                self.shared.observed.clear();
            }
            match event {
                Ok(StreamEvent::Frame(frame)) => {
                    if matches!(delivery, Delivery::AwaitingFirst) {
                        watch = StallDetector::new(frame.format.frame_rate, now_ns);
                        self.shared.set_state(CameraState::Running, None);
                        self.log.works();
                        delivery = Delivery::Frames;
                    }
                    watch.frame(now_ns);
                    self.progress.advance();
                    self.shared.statistics.frame_captured(counters);
                    last = (frame.sequence, now_ns);
                    match &delivery {
                        Delivery::Blank(blank) => self.shared.frames.put(blank.frame(frame.sequence, frame.capture_ns)),
                        _ => self.shared.frames.put(frame),
                    }
                }
                Ok(StreamEvent::Nothing) => {
                    self.progress.advance();
                    match &delivery {
                        Delivery::Blank(blank) if now_ns.saturating_sub(last.1) >= BLANK_INTERVAL_NS => {
                            last.1 = now_ns;
                            self.shared.frames.put(blank.frame(last.0, now_ns));
                        }
                        Delivery::Blank(_) => {}
                        _ if watch.stalled(now_ns) => return Ended::Stalled(watch.limit()),
                        _ => {}
                    }
                }
                Ok(StreamEvent::FormatChanged(format)) => {
                    debug!(camera = self.shared.name(), size = %format.size, "format changed");
                    // A ring of the new format must not start with a frame of the old one.
                    self.shared.frames.clear();
                    self.shared.set_format(format);
                    watch = StallDetector::starting(format.frame_rate, now_ns);
                    delivery = match delivery {
                        Delivery::Blank(_) => self.close_shutter(format),
                        _ => Delivery::AwaitingFirst,
                    };
                }
                Ok(StreamEvent::End) => return Ended::Finished,
                Err(error) => return Ended::Failed(error),
            }
        }
    }

    /// Publishes that the shutter is closed. From now on readers get black frames.
    fn close_shutter(&self, format: FrameFormat) -> Delivery {
        info!(camera = self.shared.name(), "the shutter is closed");
        self.shared.frames.clear();
        self.shared.set_state(CameraState::Private, None);
        Delivery::Blank(BlankFrames::new(format))
    }
}

/// The format of the black frames of a private camera that has never been open: what the
/// configuration asks for.
fn assumed_format(tuning: &Tuning) -> FrameFormat {
    let FormatRequest { size, frame_rate } = tuning.wanted;
    let size = tuning.orientation.turned(size.unwrap_or(Size::new(1280, 720)));
    FrameFormat::packed(PixelFormat::Nv12, size, Colorimetry::default(), frame_rate.unwrap_or(30.0))
}

/// What the readers of a stream get.
enum Delivery {
    /// Nothing yet: the first frame has not come.
    AwaitingFirst,
    /// The camera's frames.
    Frames,
    /// Black frames, because the shutter is closed.
    Blank(BlankFrames),
}

/// The state of a camera whose source failed with `error`, and the reason for clients.
fn outage_of(error: &SourceError) -> (CameraState, OutageReason) {
    let (state, refusal): (_, fn(String) -> ServiceError) = match error {
        SourceError::Absent { .. } | SourceError::Gone { .. } | SourceError::NoProducer { .. } => {
            (CameraState::Absent, ServiceError::CameraAbsent)
        }
        SourceError::Busy { .. } => (CameraState::Failed, ServiceError::Busy),
        _ => (CameraState::Failed, ServiceError::Failed),
    };
    (state, OutageReason::new(error.to_string(), refusal))
}
