//! The capture thread of a camera: opens the source when somebody needs it, passes its frames on, closes it when nobody
//! looks, and after any trouble tries again, for ever.
//!
//! ```text
//!            client            opened           first frame
//!   idle --------------> starting ----> (open) -----------> running
//!    ^                    ^   |                              |  |
//!    |  nobody for the    |   | cannot be opened             |  | no frame for max(2 s, 5 frame times)
//!    |  grace period      |   v                              |  v
//!    +------------------- absent / failed / private <------- stalled
//!                          waits 0.5 s, doubling to 30 s; a change of /dev wakes it
//! ```
//!
//! `run` is a loop of [`Capture::run_once`]; the whole outage policy is in `run`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portraitd_client::CameraState;
use tracing::{debug, info, warn};

use super::demand::Wake;
use super::shared::Shared;
use crate::camera::{CameraError, Source, Stream, StreamEvent};
use crate::service::notify::Progress;

/// The first wait after a failure; each next one is twice as long.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// The longest wait between tries.
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// How long one wait for a frame lasts, so that a lost client or the end of the service is noticed.
const POLL: Duration = Duration::from_millis(100);
/// A stream that has run this long has recovered: the next failure is retried soon.
const RECOVERED: Duration = Duration::from_secs(10);

/// After this long without a frame a stream counts as stalled. `frame_rate` in frames a second, 0 for unknown.
pub(crate) fn stall_limit(frame_rate: f32) -> Duration {
    let five_frames =
        if frame_rate > 0.0 { Duration::from_secs_f32((5.0 / frame_rate).min(60.0)) } else { Duration::ZERO };
    five_frames.max(Duration::from_secs(2))
}

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
    Failed(CameraError),
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
                let started = Instant::now();
                let ended = self.run_once();
                self.progress.idle(true);
                if started.elapsed() > RECOVERED {
                    retry = FIRST_RETRY;
                }
                let (state, reason) = match ended {
                    Ended::Unwanted | Ended::Shutdown => break,
                    Ended::Stalled(limit) => (
                        CameraState::Stalled,
                        format!("{}: no frame for {} s", self.source.name(), limit.as_secs_f32()),
                    ),
                    Ended::Finished => (CameraState::Absent, format!("{}: has ended", self.source.name())),
                    Ended::Failed(error) => (state_of(&error), error.to_string()),
                };
                warn!(camera = self.shared.name(), "{reason}; trying again in {retry:?}");
                self.shared.set_state(state, Some(reason));
                self.shared.count_reopen();
                match self.shared.demand.wait_retry(retry) {
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
        let mut stream = match self.source.open(&self.shared.wanted()) {
            Ok(stream) => stream,
            Err(error) => return Ended::Failed(error),
        };
        let format = stream.format();
        info!(camera = self.shared.name(), source = self.source.name(), size = %format.size, pixel_format = %format.pixel_format,
            "camera opened");
        self.shared.set_format(format);
        let ended = self.pump(stream.as_mut());
        // No frame outlives its stream in the slot; readers that still hold one keep its memory alive.
        self.shared.frames.clear();
        drop(stream);
        info!(camera = self.shared.name(), source = self.source.name(), reason = ?ended, "camera closed");
        ended
    }

    fn pump(&self, stream: &mut dyn Stream) -> Ended {
        let mut limit = stall_limit(stream.format().frame_rate);
        let mut last_frame = Instant::now();
        let mut running = false;
        loop {
            if self.shared.demand.is_shut_down() {
                return Ended::Shutdown;
            }
            if self.shared.demand.expired(self.shared.idle_close()) {
                return Ended::Unwanted;
            }
            match stream.next(POLL) {
                Ok(StreamEvent::Frame(frame)) => {
                    last_frame = Instant::now();
                    self.progress.advance();
                    self.shared.frame_captured(stream.counters());
                    self.shared.frames.put(frame);
                    if !running {
                        running = true;
                        self.shared.set_state(CameraState::Running, None);
                    }
                }
                Ok(StreamEvent::Nothing) => {
                    self.progress.advance();
                    if last_frame.elapsed() > limit {
                        return Ended::Stalled(limit);
                    }
                }
                Ok(StreamEvent::FormatChanged(format)) => {
                    debug!(camera = self.shared.name(), size = %format.size, "format changed");
                    limit = stall_limit(format.frame_rate);
                    self.shared.set_format(format);
                }
                Ok(StreamEvent::End) => return Ended::Finished,
                Err(error) => return Ended::Failed(error),
            }
        }
    }
}

/// The state that an error of a source puts its camera in.
fn state_of(error: &CameraError) -> CameraState {
    match error {
        CameraError::Absent { .. } | CameraError::Gone { .. } => CameraState::Absent,
        _ => CameraState::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_camera_is_given_more_time() {
        assert_eq!(stall_limit(30.0), Duration::from_secs(2));
        assert_eq!(stall_limit(0.0), Duration::from_secs(2));
        assert_eq!(stall_limit(1.0), Duration::from_secs(5));
        assert_eq!(stall_limit(0.01), Duration::from_secs(60));
    }
}
