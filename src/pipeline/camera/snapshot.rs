//! The newest picture of a stream, as PNG.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portraitd_client::{FrameCopy, Ring, Wait, picture};
use portraitd_protocol::{ServiceError, StreamKind};

use super::Inner;
use crate::pipeline::blocking::run_blocking;
use crate::pipeline::shared::WaitPolicy;
use crate::publish::ClientFds;
use crate::publish::dbus::service::{AttachOptions, AttachRequest, Attachment, Client};

/// How long a snapshot waits for its picture.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Inner {
    /// Attaches in the name of `client`, reads one frame, and leaves. The attachment counts as one
    /// of the client's.
    pub(super) async fn snapshot(
        self: &Arc<Self>,
        client: Client,
        stream: StreamKind,
    ) -> Result<Vec<u8>, ServiceError> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let options = AttachOptions::of_stream(stream);
            let request = AttachRequest { client: client.clone(), stream, options };
            let Attachment { fds, .. } = self.attach(request, WaitPolicy::OneAttempt).await?;
            let read = run_blocking("snapshot", move || read_png(fds, deadline)).await?;
            if let Some(png) = read.map_err(ServiceError::Failed)? {
                return Ok(png);
            }
            // The ring was closed because the source has another format now: attach to its
            // successor.
            if Instant::now() >= deadline {
                return Err(ServiceError::Failed("the source keeps changing its format".into()));
            }
        }
    }
}

/// The newest picture of a ring as PNG; `None` if the ring is closed before there is one.
fn read_png(fds: ClientFds, deadline: Instant) -> Result<Option<Vec<u8>>, String> {
    let mut ring = Ring::open(fds.memory, fds.event).map_err(|error| error.to_string())?;
    let mut frame = FrameCopy::default();
    while !ring.latest(&mut frame) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("no picture within {} s", TIMEOUT.as_secs()));
        }
        if ring.wait(Some(left)).map_err(|error| error.to_string())? == Wait::Closed {
            return Ok(None);
        }
    }
    let packed = picture::to_packed(&frame).ok_or("the frame does not match its ring's layout")?;
    let mut png = Vec::new();
    picture::write_png(&packed, &mut png).map_err(|error| error.to_string())?;
    Ok(Some(png))
}
