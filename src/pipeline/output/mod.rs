//! `[[camera.output]]`: writes a stream to a V4L2 output node, so that every program that reads
//! webcams sees it.
//!
//! There is one thread per node. It is a client of its camera like any other: it attaches, reads
//! the ring, and leaves. The camera and its other clients do not depend on it. If the driver
//! reports whether a program reads the node (v4l2loopback), the thread is attached only while one
//! does. Otherwise it is always attached, and the camera stays on.
//!
//! ```text
//!          node opened             reader, or unknown            camera open
//! (closed) -----------> (detached) ------------------> (pending) -----------> (attached) --> node
//!    ^                      ^                                                     |  |
//!    | node gone or failed  |  no reader any more; ring closed; format changed    |  |
//!    +----------------------+-----------------------------------------------------+--+
//!      waits 0.5 s, doubling to 30 s; a change of /dev ends the wait
//! ```
//!
//! If the camera has delivered no picture for a second, the thread writes black, so that readers do
//! not see an old picture.

mod repack;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portraitd_client::ring::Wait;
use portraitd_client::{FrameCopy, Ring, RingError};
use portraitd_protocol::{ServiceError, StreamKind};
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::BACKOFF;
use super::demand::{Demand, Wake};
use crate::publish::ClientFds;
use crate::service::logging::Repeat;
use crate::service::panics::caught;
use portraitd_media::blank::fill_black;
use portraitd_media::clock::monotonic_ns;
use portraitd_media::{Colorimetry, Matrix, OwnedPicture, Picture, PixelFormat, Plane, Range, Size};
use portraitd_media::{FrameFormat, SourceError};
use portraitd_v4l2::{Output, WriteOutcome};

/// The longest wait for a picture, after which readers, changes of the node and shutdown are
/// checked again.
const POLL: Duration = Duration::from_millis(100);
/// After this long without a picture, black is written. Also the wait after a failed attach.
const SILENCE: Duration = Duration::from_secs(1);
/// The least time between two equal log messages.
const REPEAT_NS: u64 = 60_000_000_000;

/// The colorimetry of a node's pictures, unless the driver insists on another. Nearly every webcam
/// sends this one, and programs expect it.
const COLOR: Colorimetry = Colorimetry { matrix: Matrix::Bt601, range: Range::Limited };

/// An open node.
pub(super) trait Node {
    /// The format that its pictures must have.
    fn format(&self) -> FrameFormat;
    /// Handles the driver's events. Returns the new format if it has changed.
    fn refresh(&mut self) -> Result<Option<FrameFormat>, SourceError>;
    /// Whether a program reads the node; `None` if the driver does not report it.
    fn has_reader(&self) -> Option<bool>;
    /// Writes a picture. Does not wait.
    fn write(&mut self, picture: &Picture<'_>) -> Result<WriteOutcome, SourceError>;
}

impl Node for Output {
    fn format(&self) -> FrameFormat {
        Self::format(self)
    }

    fn refresh(&mut self) -> Result<Option<FrameFormat>, SourceError> {
        Self::refresh(self)
    }

    fn has_reader(&self) -> Option<bool> {
        Self::has_reader(self)
    }

    fn write(&mut self, picture: &Picture<'_>) -> Result<WriteOutcome, SourceError> {
        Self::write(self, picture)
    }
}

/// Opens a node, as often as needed.
pub(super) trait Opener: Send {
    /// The name of the node in logs.
    fn name(&self) -> String;
    /// Opens the node for pictures of about this size and rate.
    fn open(&self, size: Size, frame_rate: f32) -> Result<Box<dyn Node>, SourceError>;
}

/// A node by its path.
pub(super) struct DeviceNode(pub(super) PathBuf);

impl Opener for DeviceNode {
    fn name(&self) -> String {
        self.0.display().to_string()
    }

    fn open(&self, size: Size, frame_rate: f32) -> Result<Box<dyn Node>, SourceError> {
        Ok(Box::new(Output::open(&self.0, size, frame_rate, &repack::FORMATS, COLOR)?))
    }
}

/// A node's request for a ring.
#[derive(Clone, Debug)]
pub(super) struct OutputRequest {
    /// The name of the node, which stands for the client.
    pub(super) node: String,
    pub(super) stream: StreamKind,
    pub(super) size: Size,
    /// The format of the ring's pictures.
    pub(super) format: PixelFormat,
}

/// The answer to a request: the descriptors of a ring.
type RingAnswer = oneshot::Receiver<Result<ClientFds, ServiceError>>;

/// Asks the camera for a ring. The answer comes when the camera is open. Dropping the receiver
/// cancels the request.
pub(super) type AttachOutput = Box<dyn Fn(OutputRequest) -> RingAnswer + Send>;

/// The state of a node's attachment to its camera.
enum OutputAttachment {
    /// The node is not attached. The next request may be made from this moment on.
    Detached(Instant),
    /// The ring has been requested, and the camera has not answered yet.
    Pending(RingAnswer),
    /// The ring delivers pictures.
    Attached(Box<Ring>),
}

impl OutputAttachment {
    /// The state of a node that is not attached and may attach again at once.
    fn detached() -> Self {
        Self::Detached(Instant::now())
    }
}

/// Writes one stream to one node.
pub(super) struct OutputWriter {
    opener: Box<dyn Opener>,
    camera: String,
    stream: StreamKind,
    size: Size,
    frame_rate: f32,
    attach: AttachOutput,
    control: Arc<Demand>,
    log_limit: Repeat,
}

impl OutputWriter {
    /// A writer of `stream` of `camera` at about `size` and `frame_rate`. `control` wakes and ends
    /// it.
    pub(super) fn new(
        opener: Box<dyn Opener>,
        camera: &str,
        stream: StreamKind,
        (size, frame_rate): (Size, f32),
        attach: AttachOutput,
        control: Arc<Demand>,
    ) -> Self {
        // The node is wanted as long as the camera runs.
        control.add(stream);
        let camera = camera.to_owned();
        Self { opener, camera, stream, size, frame_rate, attach, control, log_limit: Repeat::new(REPEAT_NS) }
    }

    pub(super) const fn stream(&self) -> StreamKind {
        self.stream
    }

    /// Runs until the camera is to stop.
    pub(super) fn run(mut self) {
        let mut backoff = BACKOFF;
        loop {
            let retry_requests = self.control.retry_requests();
            let started = Instant::now();
            let error = match caught(|| self.serve()) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                // Unwinding has closed the node and ended the attachment.
                Err(panic) => format!("{}: a defect of the program: {panic}", self.opener.name()),
            };
            if backoff.worked_for(started.elapsed()) {
                self.log_limit.reset();
            }
            self.log_failure(&format!("{error}; trying again in {:?}", backoff.wait()));
            match self.control.wait_retry(retry_requests, backoff.wait(), Duration::ZERO) {
                Wake::RetryNow => backoff.reset(),
                Wake::Shutdown => return,
                _ => backoff.double(),
            }
        }
    }

    fn log_failure(&mut self, reason: &str) {
        if let Some(repeats) = self.log_limit.check(monotonic_ns()) {
            warn!(camera = self.camera, output = self.opener.name(), repeats, "{reason}");
        }
    }

    fn pause(&self) {
        self.control.wait_retry(self.control.retry_requests(), POLL, Duration::ZERO);
    }

    /// Opens the node and writes to it until the camera is to stop.
    fn serve(&mut self) -> Result<(), SourceError> {
        let mut node = self.opener.open(self.size, self.frame_rate)?;
        let mut canvas = self.canvas(node.format())?;
        info!(camera = self.camera, output = self.opener.name(), stream = %self.stream, size = %node.format().size,
            pixel_format = %node.format().pixel_format, "output opened");
        let mut attachment = OutputAttachment::detached();
        let mut frame = FrameCopy::default();
        // The first picture is black: some drivers show a node to programs only once it has a
        // picture.
        let mut written: Option<Instant> = None;
        while !self.control.is_shut_down() {
            let mut changed = node.refresh()?;
            if node.has_reader() == Some(false) {
                attachment = OutputAttachment::detached();
            }
            attachment = match attachment {
                OutputAttachment::Detached(_) if node.has_reader() == Some(false) => {
                    self.pause();
                    attachment
                }
                OutputAttachment::Detached(due) if Instant::now() < due => {
                    self.pause();
                    attachment
                }
                OutputAttachment::Detached(_) => OutputAttachment::Pending((self.attach)(self.request(node.format()))),
                OutputAttachment::Pending(answer) => self.poll_answer(answer),
                OutputAttachment::Attached(mut ring) => match ring.wait(Some(POLL)) {
                    Ok(Wait::Frame) => {
                        if ring.latest(&mut frame)
                            && let Some(picture) = canvas.draw(&frame)
                        {
                            changed = changed.or(changed_format(node.write(&picture)?));
                            written = Some(Instant::now());
                        }
                        OutputAttachment::Attached(ring)
                    }
                    Ok(Wait::Timeout) => OutputAttachment::Attached(ring),
                    Ok(Wait::Closed) => OutputAttachment::detached(),
                    Err(error) => self.detach_after(&error),
                },
            };
            if written.is_none_or(|written| written.elapsed() >= SILENCE) {
                changed = changed.or(changed_format(node.write(&canvas.black())?));
                written = Some(Instant::now());
            }
            if let Some(format) = changed {
                info!(camera = self.camera, output = self.opener.name(), size = %format.size,
                    pixel_format = %format.pixel_format, "the output's format changed");
                canvas = self.canvas(format)?;
                attachment = OutputAttachment::detached();
                written = None;
            }
        }
        Ok(())
    }

    fn canvas(&self, format: FrameFormat) -> Result<Canvas, SourceError> {
        let unsupported = |reason: String| SourceError::Unsupported { source_name: self.opener.name(), reason };
        let Size { width, height } = format.size;
        if !width.is_multiple_of(2) || !height.is_multiple_of(2) {
            return Err(unsupported(format!(
                "the node's pictures have the odd size {}, which no stream has",
                format.size
            )));
        }
        let picture = OwnedPicture::zeroed(format.pixel_format, format.size, format.color)
            .map_err(|error| unsupported(error.to_string()))?;
        Ok(Canvas { format, picture })
    }

    fn request(&self, format: FrameFormat) -> OutputRequest {
        debug!(camera = self.camera, output = self.opener.name(), "output attaches");
        OutputRequest {
            node: self.opener.name(),
            stream: self.stream,
            size: format.size,
            format: repack::ring_format(format.pixel_format, self.stream == StreamKind::Mask),
        }
    }

    /// Opens the ring if the answer has come; otherwise waits a moment.
    fn poll_answer(&mut self, mut answer: RingAnswer) -> OutputAttachment {
        match answer.try_recv() {
            Ok(Ok(fds)) => match Ring::open(fds.memory, fds.event) {
                Ok(ring) => OutputAttachment::Attached(Box::new(ring)),
                Err(error) => self.detach_after(&error),
            },
            Ok(Err(error)) => {
                self.log_failure(&error.to_string());
                OutputAttachment::Detached(Instant::now() + SILENCE)
            }
            Err(oneshot::error::TryRecvError::Empty) => {
                self.pause();
                OutputAttachment::Pending(answer)
            }
            Err(oneshot::error::TryRecvError::Closed) => OutputAttachment::Detached(Instant::now() + SILENCE),
        }
    }

    fn detach_after(&mut self, error: &RingError) -> OutputAttachment {
        self.log_failure(&error.to_string());
        OutputAttachment::Detached(Instant::now() + SILENCE)
    }
}

/// The new format, if the driver has changed it.
const fn changed_format(written: WriteOutcome) -> Option<FrameFormat> {
    match written {
        WriteOutcome::FormatChanged(format) => Some(format),
        _ => None,
    }
}

/// Converts pictures to the node's format.
struct Canvas {
    format: FrameFormat,
    picture: OwnedPicture,
}

impl Canvas {
    fn black(&mut self) -> Picture<'_> {
        let packed = FrameFormat::packed(self.format.pixel_format, self.format.size, self.format.color, 0.0);
        fill_black(&packed, self.picture.bytes_mut());
        self.picture.as_picture()
    }

    /// A ring's frame in the node's format; `None` if it is of another size than was requested.
    fn draw<'a>(&'a mut self, frame: &'a FrameCopy) -> Option<Picture<'a>> {
        let picture = picture_of(frame)?;
        if picture.size() != self.format.size {
            return None;
        }
        let same_colors = picture.color() == self.format.color || picture.format() != PixelFormat::Nv12;
        if picture.format() == self.format.pixel_format && same_colors {
            return Some(picture);
        }
        repack::repack(&picture, &mut self.picture.as_picture_mut(), self.format.color);
        Some(self.picture.as_picture())
    }
}

/// A frame of a ring as a picture.
fn picture_of(frame: &FrameCopy) -> Option<Picture<'_>> {
    let layout = frame.layout()?;
    let planes = std::array::from_fn(|index| {
        let (data, stride_bytes) = frame.plane(index);
        Plane { data, stride_bytes }
    });
    Picture::new(layout.format, layout.size, layout.color, planes).ok()
}

#[cfg(test)]
mod tests;
