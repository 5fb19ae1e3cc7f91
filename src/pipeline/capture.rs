//! The capture thread of a camera: opens the source when somebody needs it, passes its frames on, closes it when nobody
//! looks, and after any trouble tries again, for ever.
//!
//! ```text
//!            client            opened           first frame       shutter closed
//!   idle --------------> starting ----> (open) -----------> running <-----------> private
//!    ^                    ^   |                              |  |
//!    |  nobody for the    |   | cannot be opened             |  | no frame for max(2 s, 5 frame times)
//!    |  grace period      |   v                              |  v
//!    +------------------- absent / failed <---------------- stalled
//!                          waits 0.5 s, doubling to 30 s; a change of /dev or another client wakes it
//! ```
//!
//! A camera that cannot be had keeps the name of its trouble as its state until it can, or until nobody has asked for it
//! for the grace period; what was wrong stays in `LastError`.
//!
//! While a camera's shutter is closed its pictures go no further: black frames, marked as private, take their place, at its
//! own rate, or one a second where it sends none.
//!
//! `run` is a loop of [`Capture::run_once`]; the whole outage policy is in `run`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portraitd_protocol::{CameraState, ServiceError};
use tracing::{debug, info, warn};

use super::demand::Wake;
use super::shared::{Shared, Trouble};
use crate::service::notify::Progress;
use portraitd_media::clock::monotonic_ns;
use portraitd_media::{BlankFrames, FormatRequest, FrameFormat, Source, SourceError, Stream, StreamEvent};
use portraitd_v4l2::clock::StallDetector;

/// The first wait after a failure; each next one is twice as long.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// The longest wait between tries.
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// How long one wait for a frame lasts, so that a lost client or the end of the service is noticed.
const POLL: Duration = Duration::from_millis(100);
/// A stream that has run this long has recovered: the next failure is retried soon.
const RECOVERED: Duration = Duration::from_secs(10);
/// How often a black frame is shown for a camera that sends none while its shutter is closed.
const BLANK_EVERY_NS: u64 = 1_000_000_000;

/// Why a stream was closed.
#[derive(Debug)]
enum Ended {
    /// Nobody needs it.
    Unwanted,
    /// The service ends.
    Shutdown,
    /// No frame came for too long.
    Stalled(Duration),
    /// A finite source came to its end.
    Finished,
    /// The source failed.
    Failed(SourceError),
    /// The configuration asks for another size or rate now.
    Reconfigured,
}

/// What the capture thread works with.
pub(super) struct Capture {
    shared: Arc<Shared>,
    source: Box<dyn Source>,
    progress: Progress,
}

impl Capture {
    pub(super) fn new(shared: Arc<Shared>, source: Box<dyn Source>, progress: Progress) -> Self {
        Self { shared, source, progress }
    }

    /// Runs until the service ends.
    pub(super) fn run(self) {
        let mut retry = FIRST_RETRY;
        loop {
            self.progress.idle(true);
            self.shared.set_state(CameraState::Idle, None);
            if self.shared.demand.wait_wanted() == Wake::Shutdown {
                break;
            }
            while !self.shared.demand.is_shut_down() {
                self.progress.idle(false);
                let kicks = self.shared.demand.kicks();
                let started = Instant::now();
                let ended = self.run_once();
                self.progress.idle(true);
                if started.elapsed() > RECOVERED {
                    retry = FIRST_RETRY;
                }
                let absent = |reason| Trouble::new(reason, ServiceError::CameraAbsent);
                let (state, trouble) = match ended {
                    Ended::Unwanted | Ended::Shutdown => break,
                    Ended::Reconfigured => continue,
                    Ended::Stalled(limit) => {
                        let reason = format!("{}: no frame for {} s", self.source.name(), limit.as_secs_f32());
                        (CameraState::Stalled, absent(reason))
                    }
                    Ended::Finished => (CameraState::Absent, absent(format!("{}: has ended", self.source.name()))),
                    Ended::Failed(error) => trouble_of(&error),
                };
                warn!(camera = self.shared.name(), "{}; trying again in {retry:?}", trouble.reason);
                self.shared.set_state(state, Some(trouble));
                self.shared.count_reopen();
                match self.shared.demand.wait_retry(kicks, retry, self.shared.tuning().idle_close) {
                    Wake::TimedOut | Wake::Wanted => retry = (retry * 2).min(LONGEST_RETRY),
                    Wake::Kicked => retry = FIRST_RETRY,
                    Wake::Unwanted | Wake::Shutdown => break,
                }
            }
            if self.shared.demand.is_shut_down() {
                break;
            }
        }
        self.shared.frames.close();
    }

    /// Opens the source and passes its frames on until it ends.
    fn run_once(&self) -> Ended {
        self.shared.set_state(CameraState::Starting, None);
        let wanted = self.shared.tuning().wanted;
        let mut stream = match self.source.open(&wanted) {
            Ok(stream) => stream,
            Err(error) => return Ended::Failed(error),
        };
        let format = stream.format();
        info!(camera = self.shared.name(), source = self.source.name(), size = %format.size, pixel_format = %format.pixel_format,
            "camera opened");
        self.shared.set_format(format);
        let ended = self.pump(stream.as_mut(), wanted);
        // No frame outlives its stream in the slot; readers that still hold one keep its memory alive.
        self.shared.frames.clear();
        drop(stream);
        info!(camera = self.shared.name(), source = self.source.name(), reason = ?ended, "camera closed");
        ended
    }

    fn pump(&self, stream: &mut dyn Stream, wanted: FormatRequest) -> Ended {
        let mut watch = StallDetector::starting(stream.format().frame_rate, monotonic_ns());
        let mut shown = Shown::Nothing;
        let mut last = (0, 0);
        loop {
            if self.shared.demand.is_shut_down() {
                return Ended::Shutdown;
            }
            let tuning = self.shared.tuning();
            if self.shared.demand.expired(tuning.idle_close) {
                return Ended::Unwanted;
            }
            if tuning.wanted != wanted {
                return Ended::Reconfigured;
            }
            let event = stream.next(POLL);
            let now_ns = monotonic_ns();
            if stream.private() {
                if !matches!(shown, Shown::Blank(_)) {
                    shown = self.close_shutter(stream.format());
                }
            } else if matches!(shown, Shown::Blank(_)) {
                info!(camera = self.shared.name(), "the shutter is open");
                // Its first picture is awaited as after the opening.
                watch = StallDetector::starting(stream.format().frame_rate, now_ns);
                shown = Shown::Nothing;
            }
            match event {
                Ok(StreamEvent::Frame(frame)) => {
                    if matches!(shown, Shown::Nothing) {
                        watch = StallDetector::new(frame.format.frame_rate, now_ns);
                        self.shared.set_state(CameraState::Running, None);
                        shown = Shown::Frames;
                    }
                    watch.frame(now_ns);
                    self.progress.advance();
                    self.shared.frame_captured(stream.counters());
                    last = (frame.sequence, now_ns);
                    match &shown {
                        Shown::Blank(blank) => self.shared.frames.put(blank.frame(frame.sequence, frame.capture_ns)),
                        _ => self.shared.frames.put(frame),
                    }
                }
                Ok(StreamEvent::Nothing) => {
                    self.progress.advance();
                    match &shown {
                        Shown::Blank(blank) if now_ns.saturating_sub(last.1) >= BLANK_EVERY_NS => {
                            last.1 = now_ns;
                            self.shared.frames.put(blank.frame(last.0, now_ns));
                        }
                        Shown::Blank(_) => {}
                        _ if watch.stalled(now_ns) => return Ended::Stalled(watch.limit()),
                        _ => {}
                    }
                }
                Ok(StreamEvent::FormatChanged(format)) => {
                    debug!(camera = self.shared.name(), size = %format.size, "format changed");
                    // A ring of the new format is not to begin with a frame of the old one.
                    self.shared.frames.clear();
                    self.shared.set_format(format);
                    watch = StallDetector::starting(format.frame_rate, now_ns);
                    shown = match shown {
                        Shown::Blank(_) => self.close_shutter(format),
                        _ => Shown::Nothing,
                    };
                }
                Ok(StreamEvent::End) => return Ended::Finished,
                Err(error) => return Ended::Failed(error),
            }
        }
    }

    /// From here on black frames are shown.
    fn close_shutter(&self, format: FrameFormat) -> Shown {
        info!(camera = self.shared.name(), "the shutter is closed");
        self.shared.frames.clear();
        self.shared.set_state(CameraState::Private, None);
        Shown::Blank(BlankFrames::new(format))
    }
}

/// What a stream's readers see.
enum Shown {
    /// Nothing yet.
    Nothing,
    /// Its frames.
    Frames,
    /// Black ones: the shutter is closed.
    Blank(BlankFrames),
}

/// The state that an error of a source puts its camera in, and what is answered to whoever waits for it.
fn trouble_of(error: &SourceError) -> (CameraState, Trouble) {
    let (state, refusal): (_, fn(String) -> ServiceError) = match error {
        SourceError::Absent { .. } | SourceError::Gone { .. } => (CameraState::Absent, ServiceError::CameraAbsent),
        SourceError::Busy { .. } => (CameraState::Failed, ServiceError::Busy),
        _ => (CameraState::Failed, ServiceError::Failed),
    };
    (state, Trouble::new(error.to_string(), refusal))
}
