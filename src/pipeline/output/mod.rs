//! `[[camera.output]]`: a stream written to a V4L2 output node, so that any program that reads webcams sees it.
//!
//! One thread a node. It is a client of its camera like any other: it attaches, reads the ring, and leaves, so nothing of
//! the camera or of its other clients depends on it. Where the driver tells whether anybody reads the node (v4l2loopback),
//! it is attached only while somebody does; else always, and the camera stays on.
//!
//! ```text
//!              node opened              a reader, or unknown            camera open
//! (closed) ----------------> (waiting) ----------------------> (asked) ------------> (attached) -- pictures --> node
//!    ^                          ^                                                      |  |
//!    |   node gone, refuses     |      no reader any more; ring closed; format changed |  |
//!    +--------------------------+------------------------------------------------------+--+
//!      waits 0.5 s, doubling to 30 s; a change of /dev wakes it
//! ```
//!
//! Readers are never left without pictures or with an old one: where the camera has none for a second, black is written.

mod repack;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portraitd_client::ring::Wait;
use portraitd_client::{FrameCopy, Ring, RingError};
use portraitd_protocol::{ServiceError, StreamKind};
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::demand::{Demand, Wake};
use crate::publish::dbus::service::{AttachOptions, AttachRequest, Attachment, ClientName};
use crate::service::logging::Repeat;
use portraitd_media::blank::fill_black;
use portraitd_media::clock::monotonic_ns;
use portraitd_media::{Colorimetry, Matrix, OwnedPicture, Picture, PixelFormat, Plane, Range, Size};
use portraitd_media::{FrameFormat, SourceError};
use portraitd_v4l2::{Output, WriteOutcome};

/// The first wait after a failure; each next one is twice as long.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// The longest wait between tries.
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// A node that was open this long has recovered: the next failure is retried soon.
const RECOVERED: Duration = Duration::from_secs(10);
/// How long one wait lasts, so that a reader, a change of the node or the end of the service is noticed.
const POLL: Duration = Duration::from_millis(100);
/// After this long without a picture black is written.
const SILENCE: Duration = Duration::from_secs(1);
/// The same complaint is logged no more often.
const REPEAT_NS: u64 = 60_000_000_000;

/// What the pictures of a node mean, unless the driver insists: what nearly every webcam sends, and its readers expect.
const COLOR: Colorimetry = Colorimetry { matrix: Matrix::Bt601, range: Range::Limited };

/// An open node.
pub(super) trait Node {
    /// What its pictures must be.
    fn format(&self) -> FrameFormat;
    /// Takes the driver's news; the new format where it has one.
    fn refresh(&mut self) -> Result<Option<FrameFormat>, SourceError>;
    /// Whether anybody reads; `None` where the driver does not tell.
    fn has_reader(&self) -> Option<bool>;
    /// Writes a picture, without waiting.
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

/// Opens a node, again and again.
pub(super) trait Opener: Send {
    /// What a person calls the node.
    fn name(&self) -> String;
    /// Opens it for pictures of about this size and rate.
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

/// Asks the camera for a ring. The answer comes when the camera is open; to drop the receiver is to want it no more.
pub(super) type Attach = Box<dyn Fn(AttachRequest) -> oneshot::Receiver<Result<Attachment, ServiceError>> + Send>;

/// How far a node's tie to its camera has come.
enum Tie {
    /// None; one may be asked for from this moment on.
    Apart(Instant),
    /// Asked for.
    Asked(oneshot::Receiver<Result<Attachment, ServiceError>>),
    /// Pictures come.
    Attached(Box<Ring>),
}

/// What writes one stream to one node.
pub(super) struct OutputWriter {
    opener: Box<dyn Opener>,
    camera: String,
    stream: StreamKind,
    size: Size,
    frame_rate: f32,
    attach: Attach,
    control: Arc<Demand>,
    complaint: Repeat,
}

impl OutputWriter {
    /// Writes `stream` of `camera` at about `size` and `frame_rate`. `control` wakes and ends it.
    pub(super) fn new(
        opener: Box<dyn Opener>,
        camera: &str,
        stream: StreamKind,
        (size, frame_rate): (Size, f32),
        attach: Attach,
        control: Arc<Demand>,
    ) -> Self {
        // Nobody has to ask for a node: it is wanted as long as the service runs.
        control.add(stream);
        let camera = camera.to_owned();
        Self { opener, camera, stream, size, frame_rate, attach, control, complaint: Repeat::new(REPEAT_NS) }
    }

    /// Runs until the service ends.
    pub(super) fn run(mut self) {
        let mut retry = FIRST_RETRY;
        loop {
            let kicks = self.control.kicks();
            let started = Instant::now();
            let Err(error) = self.serve() else { return };
            if started.elapsed() > RECOVERED {
                retry = FIRST_RETRY;
                self.complaint.reset();
            }
            self.complain(&format!("{error}; trying again"));
            match self.control.wait_retry(kicks, retry, Duration::ZERO) {
                Wake::Kicked => retry = FIRST_RETRY,
                Wake::Shutdown => return,
                _ => retry = (retry * 2).min(LONGEST_RETRY),
            }
        }
    }

    fn complain(&mut self, reason: &str) {
        if let Some(repeats) = self.complaint.check(monotonic_ns()) {
            warn!(camera = self.camera, output = self.opener.name(), repeats, "{reason}");
        }
    }

    fn pause(&self) {
        self.control.wait_retry(self.control.kicks(), POLL, Duration::ZERO);
    }

    /// Opens the node and writes to it until the service ends.
    fn serve(&mut self) -> Result<(), SourceError> {
        let mut node = self.opener.open(self.size, self.frame_rate)?;
        let mut canvas = self.canvas(node.format())?;
        info!(camera = self.camera, output = self.opener.name(), stream = %self.stream, size = %node.format().size,
            pixel_format = %node.format().pixel_format, "output opened");
        let mut tie = Tie::Apart(Instant::now());
        let mut frame = FrameCopy::default();
        // The first picture is black: some drivers show a node to readers only once it has one.
        let mut written: Option<Instant> = None;
        while !self.control.is_shut_down() {
            let mut changed = node.refresh()?;
            if node.has_reader() == Some(false) {
                tie = Tie::Apart(Instant::now());
            }
            tie = match tie {
                Tie::Apart(_) if node.has_reader() == Some(false) => {
                    self.pause();
                    tie
                }
                Tie::Apart(due) if Instant::now() < due => {
                    self.pause();
                    tie
                }
                Tie::Apart(_) => Tie::Asked((self.attach)(self.request(node.format()))),
                Tie::Asked(answer) => self.await_ring(answer),
                Tie::Attached(mut ring) => match ring.wait(Some(POLL)) {
                    Ok(Wait::Frame) => {
                        if ring.latest(&mut frame)
                            && let Some(picture) = canvas.draw(&frame)
                        {
                            changed = changed.or(told(node.write(&picture)?));
                            written = Some(Instant::now());
                        }
                        Tie::Attached(ring)
                    }
                    Ok(Wait::Timeout) => Tie::Attached(ring),
                    Ok(Wait::Closed) => Tie::Apart(Instant::now()),
                    Err(error) => self.apart_after(&error),
                },
            };
            if written.is_none_or(|written| written.elapsed() >= SILENCE) {
                changed = changed.or(told(node.write(&canvas.black())?));
                written = Some(Instant::now());
            }
            if let Some(format) = changed {
                info!(camera = self.camera, output = self.opener.name(), size = %format.size,
                    pixel_format = %format.pixel_format, "the output's format changed");
                canvas = self.canvas(format)?;
                tie = Tie::Apart(Instant::now());
                written = None;
            }
        }
        Ok(())
    }

    fn canvas(&self, format: FrameFormat) -> Result<Canvas, SourceError> {
        let unsupported = |reason: String| SourceError::Unsupported { source_name: self.opener.name(), reason };
        let Size { width, height } = format.size;
        if !width.is_multiple_of(2) || !height.is_multiple_of(2) {
            return Err(unsupported(format!("has pictures of an odd size, {}, which no stream has", format.size)));
        }
        let picture = OwnedPicture::zeroed(format.pixel_format, format.size, format.color)
            .map_err(|error| unsupported(error.to_string()))?;
        Ok(Canvas { format, picture })
    }

    fn request(&self, format: FrameFormat) -> AttachRequest {
        debug!(camera = self.camera, output = self.opener.name(), "output attaches");
        let options = AttachOptions {
            size: Some(format.size),
            format: repack::ring_format(format.pixel_format, self.stream == StreamKind::Mask),
            ..AttachOptions::of_stream(self.stream)
        };
        AttachRequest { client: ClientName::new(&self.opener.name()), stream: self.stream, options }
    }

    fn await_ring(&mut self, mut answer: oneshot::Receiver<Result<Attachment, ServiceError>>) -> Tie {
        match answer.try_recv() {
            Ok(Ok(attachment)) => match Ring::open(attachment.fds.memory, attachment.fds.event) {
                Ok(ring) => Tie::Attached(Box::new(ring)),
                Err(error) => self.apart_after(&error),
            },
            Ok(Err(error)) => {
                self.complain(&error.to_string());
                Tie::Apart(Instant::now() + SILENCE)
            }
            Err(oneshot::error::TryRecvError::Empty) => {
                self.pause();
                Tie::Asked(answer)
            }
            Err(oneshot::error::TryRecvError::Closed) => Tie::Apart(Instant::now() + SILENCE),
        }
    }

    fn apart_after(&mut self, error: &RingError) -> Tie {
        self.complain(&error.to_string());
        Tie::Apart(Instant::now() + SILENCE)
    }
}

const fn told(written: WriteOutcome) -> Option<FrameFormat> {
    match written {
        WriteOutcome::FormatChanged(format) => Some(format),
        _ => None,
    }
}

/// Where pictures take the node's format.
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

    /// A ring's frame as the node takes it; `None` for one that is of another shape than was asked for.
    fn draw<'a>(&'a mut self, frame: &'a FrameCopy) -> Option<Picture<'a>> {
        let picture = picture_of(frame)?;
        if picture.size() != self.format.size {
            return None;
        }
        let same_numbers = picture.color() == self.format.color || picture.format() != PixelFormat::Nv12;
        if picture.format() == self.format.pixel_format && same_numbers {
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
