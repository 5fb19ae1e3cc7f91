//! The newest picture of a stream, as PNG.
//!
//! A snapshot waits for its picture on the main thread and is encoded by the one worker for
//! snapshots, row by row into the memory that the client receives. Everything is charged to the
//! client's user before it is made: the place, the ring (if there is none yet), the copy of the
//! frame, and the file. A file that the client keeps stays charged.

use std::io::{BufWriter, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portraitd_client::{FrameCopy, Ring, Wait, picture};
use portraitd_protocol::{ServiceError, StreamKind};

use super::Inner;
use super::attachments::busy;
use crate::pipeline::blocking::{Worker, run_blocking};
use crate::pipeline::shared::WaitPolicy;
use crate::publish::dbus::service::{AttachOptions, AttachRequest, Attachment, Client};
use crate::publish::{Amounts, ClientFds, Contents, PublishError, RingShare, SharedFile};

/// How long a snapshot waits for its picture.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Inner {
    /// Attaches in the name of `client`, reads one frame, and leaves. The attachment counts as one
    /// of the client's.
    pub(super) async fn snapshot(
        self: &Arc<Self>,
        client: Client,
        stream: StreamKind,
    ) -> Result<OwnedFd, ServiceError> {
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        let _place = self.budget.take(client.user, Amounts::SNAPSHOT).map_err(|error| busy(&error))?;
        loop {
            let options = AttachOptions::of_stream(stream);
            let request = AttachRequest { client: client.clone(), stream, options };
            let Attachment { fds, layout } = self.attach(request, WaitPolicy::OneAttempt).await?;
            let late = |_| ServiceError::Failed(format!("no picture within {} s", TIMEOUT.as_secs()));
            let readable = tokio::time::timeout_at(deadline, fds.readable()).await.map_err(late)?;
            readable.map_err(|error| ServiceError::Failed(error.to_string()))?;
            // The copy of the frame takes less than a slot.
            let (copy, file) = (layout.slot_bytes, most_bytes(layout.size.width, layout.size.height));
            let share = self.budget.take(client.user, Amounts::picture(copy + file)).map_err(|error| busy(&error))?;
            let encode = move || encode(fds, share, deadline.into_std());
            if let Some(png) = run_blocking(Worker::Snapshots, encode).await?.map_err(ServiceError::Failed)? {
                return Ok(png);
            }
            // The ring was closed because the source has another format now: attach to its
            // successor.
            if tokio::time::Instant::now() >= deadline {
                return Err(ServiceError::Failed("the source keeps changing its format".into()));
            }
        }
    }
}

/// The most bytes that a PNG of this size takes: rows that cannot be compressed, and what the
/// format adds to them.
fn most_bytes(width: u32, height: u32) -> usize {
    let side = |side: u32| usize::try_from(side).unwrap_or(usize::MAX);
    let rows = (3 * side(width) + 1).saturating_mul(side(height));
    rows + rows / 64 + (64 << 10)
}

/// The newest picture of a ring as PNG; `None` if the ring is closed before there is one. What is
/// charged for it is kept until the client lets go of it.
fn encode(fds: ClientFds, mut share: RingShare, deadline: Instant) -> Result<Option<OwnedFd>, String> {
    let mut ring = Ring::open(fds.memory, fds.event).map_err(|error| error.to_string())?;
    let mut frame = FrameCopy::default();
    while !ring.latest(&mut frame) {
        // The pipe was readable, so this waits only if the writer overtakes.
        let left = deadline.saturating_duration_since(Instant::now()).min(Duration::from_millis(100));
        if left.is_zero() {
            return Err(format!("no picture within {} s", TIMEOUT.as_secs()));
        }
        if ring.wait(Some(left)).map_err(|error| error.to_string())? == Wait::Closed {
            return Ok(None);
        }
    }
    // The attachment ends here: its ring need not be drawn while the picture is encoded.
    drop(ring);
    let (file, bytes) = write_file(&frame, share.user()).map_err(|error| format!("the picture: {error}"))?;
    drop(frame);
    share.shrink(Amounts::picture(bytes));
    let png = file.for_client().map_err(|error| error.to_string())?;
    share.budget().clone().keep(file, share);
    Ok(Some(png))
}

/// Writes a frame to a new file as PNG. Returns the file and the memory that
/// it takes.
fn write_file(frame: &FrameCopy, user: u32) -> Result<(SharedFile, usize), PublishError> {
    let file = SharedFile::create("portraitd-snapshot", user)?;
    let failed = |error| PublishError::System { call: "write", error };
    let mut out = BufWriter::with_capacity(64 << 10, file.writer()?);
    picture::write_frame_png(frame, &mut out).map_err(failed)?;
    out.flush().map_err(failed)?;
    drop(out);
    file.seal(Contents::Picture)?;
    let bytes = file.resident()?;
    Ok((file, bytes))
}
