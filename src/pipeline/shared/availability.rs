//! Whether the source of a camera is open, and how clients wait for it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use portraitd_media::FrameFormat;
use portraitd_protocol::{CameraState, ServiceError};
use tokio::sync::watch;

/// How long a client's attach waits for the source to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// An open source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::pipeline) struct Opened {
    pub(in crate::pipeline) format: FrameFormat,
    /// Rings of another generation are not of this format.
    pub(in crate::pipeline) generation: u32,
}

/// How far the opening of the source has come.
#[derive(Clone, Debug, Default, PartialEq)]
struct Opening {
    /// The number of attempts so far.
    attempt: u64,
    /// The result of the last attempt; `None` while it is under way, or while no client needs the
    /// camera.
    outcome: Option<Result<Opened, ServiceError>>,
    /// The camera is stopped and will not be opened any more.
    stopped: bool,
}

/// Why a camera is not running.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::pipeline) struct OutageReason {
    /// The text of `LastError`.
    pub(in crate::pipeline) text: String,
    /// The error for clients that wait for the camera.
    pub(in crate::pipeline) error: ServiceError,
}

impl OutageReason {
    /// `error` makes the clients' error of the text.
    pub(in crate::pipeline) fn new(text: String, error: fn(String) -> ServiceError) -> Self {
        Self { error: error(text.clone()), text }
    }
}

/// How long an attach waits for a camera that cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum WaitPolicy {
    /// Until the next attempt has failed, for at most 10 s.
    OneAttempt,
    /// Until the camera opens, however long that takes.
    Unlimited,
}

/// The owner of the opening's state and of the generation.
#[derive(Debug)]
pub(in crate::pipeline) struct Availability {
    device: String,
    opening: watch::Sender<Opening>,
    generation: AtomicU32,
}

/// A wait for the source to open. It starts when it is made, before the demand that causes the
/// opening.
#[derive(Debug)]
pub(in crate::pipeline) struct OpeningWait {
    device: String,
    opening: watch::Receiver<Opening>,
    /// A failure of this attempt or an earlier one is old news.
    stale_attempt: u64,
}

impl Availability {
    /// `device` is the name of the device in errors.
    pub(super) fn new(device: String) -> Self {
        Self { device, opening: watch::Sender::new(Opening::default()), generation: AtomicU32::new(1) }
    }

    /// The generation of the rings that are current. Only the capture thread changes it.
    pub(in crate::pipeline) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// Tells waiting clients about a state of the camera. `error` is theirs if the camera cannot be
    /// opened.
    pub(super) fn set_state(&self, state: CameraState, error: Option<ServiceError>) {
        self.opening.send_modify(|opening| match state {
            CameraState::Starting => {
                opening.attempt += 1;
                opening.outcome = None;
            }
            CameraState::Idle => opening.outcome = None,
            CameraState::Running | CameraState::Private => {}
            _ => opening.outcome = Some(Err(error.unwrap_or_else(|| ServiceError::Failed(state.to_string())))),
        });
    }

    /// The source is open. `format_changed` starts a new generation, which is returned.
    ///
    /// Waiting clients learn the new generation before [`Availability::generation`] ends the rings
    /// of the old one.
    pub(super) fn set_open(&self, format: FrameFormat, format_changed: bool) -> u32 {
        let generation = self.generation() + u32::from(format_changed);
        self.opening.send_modify(|opening| opening.outcome = Some(Ok(Opened { format, generation })));
        self.generation.store(generation, Ordering::Release);
        generation
    }

    /// The camera is stopped: every wait, now and later, ends with an error.
    pub(in crate::pipeline) fn stop(&self) {
        self.opening.send_modify(|opening| opening.stopped = true);
    }

    pub(in crate::pipeline) fn start_wait(&self) -> OpeningWait {
        let opening = self.opening.subscribe();
        let stale_attempt = {
            let before = opening.borrow();
            // A failure that is already known says nothing about the next attempt. One under way
            // counts.
            if before.outcome.is_some() { before.attempt } else { before.attempt.saturating_sub(1) }
        };
        OpeningWait { device: self.device.clone(), opening, stale_attempt }
    }
}

impl OpeningWait {
    /// Waits until the source is open.
    ///
    /// # Errors
    /// The error of the attempt, or `CameraAbsent` if it takes too long; `Failed` if the camera is
    /// stopped.
    pub(in crate::pipeline) async fn opened(mut self, policy: WaitPolicy) -> Result<Opened, ServiceError> {
        let (device, stale_attempt) = (&self.device, self.stale_attempt);
        let stopped = || ServiceError::Failed(format!("{device}: the camera was stopped"));
        let finished = self.opening.wait_for(|opening| match &opening.outcome {
            _ if opening.stopped => true,
            Some(Ok(_)) => true,
            Some(Err(_)) => policy == WaitPolicy::OneAttempt && opening.attempt > stale_attempt,
            None => false,
        });
        let limit = if policy == WaitPolicy::OneAttempt { OPEN_TIMEOUT } else { Duration::MAX };
        match tokio::time::timeout(limit, finished).await {
            Ok(Ok(opening)) if opening.stopped => Err(stopped()),
            Ok(Ok(opening)) => opening.outcome.clone().unwrap_or_else(|| Err(stopped())),
            Ok(Err(_)) => Err(stopped()),
            Err(_) => {
                let seconds = OPEN_TIMEOUT.as_secs();
                Err(ServiceError::CameraAbsent(format!("{device}: not open after {seconds} s")))
            }
        }
    }
}
