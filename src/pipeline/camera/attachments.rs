//! Attaching clients to rings, making rings, and letting clients go.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use portraitd_media::{FrameFormat, Size, even_size, packed_bytes};
use portraitd_protocol::{CropMode, Inset, MaskResolution, ServiceError, StreamKind};
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::journal::AttachNote;
use super::rings::{Attached, Attempt, Joining, LiveRing, RingPlace};
use super::{Inner, failed};
use crate::pipeline::blocking::{Worker, run_blocking};
use crate::pipeline::demand::DemandGuard;
use crate::pipeline::output::{AttachOutput, OutputRequest};
use crate::pipeline::render::{RenderThread, RingKey};
use crate::pipeline::shared::{Opened, WaitPolicy};
use crate::publish::dbus::service::{AttachOptions, AttachRequest, Attachment, Client};
use crate::publish::{Amounts, PublishError, RingHolder, RingSpec, RingWriter};
use crate::service::panics::vital;

/// Slots of a ring: the newest, the one that is being written, and two for readers that still copy
/// older ones.
const SLOTS: u32 = 4;

impl Inner {
    /// Attaches a client, which opens the camera if it is closed.
    ///
    /// If the future is dropped, everything that the attach has reserved is given back.
    pub(super) async fn attach(
        self: &Arc<Self>,
        request: AttachRequest,
        policy: WaitPolicy,
    ) -> Result<Attachment, ServiceError> {
        let AttachRequest { client, stream, options } = request;
        self.check_source(stream, options.inset)?;
        if stream == StreamKind::Mask && self.mask_size.get().is_none() {
            let reason = "there are no masks: the service runs without a net, after repeated crashes";
            return Err(ServiceError::NotSupported(reason.into()));
        }
        let user = client.user;
        let share = self.budget.take_fairly(user, Amounts::ATTACHMENT).await.map_err(|error| busy(&error))?;
        let mut wait = self.shared.availability.start_wait();
        // The request comes first: it is for a retry that waits, and not for the attempt that the
        // demand itself starts.
        self.shared.demand.retry_now();
        let note = AttachNote::new(&self.journal, self.shared.name(), &client, stream);
        let demand = DemandGuard::new(&self.shared.demand, stream).noted(&note);
        let mut joining = Some(Joining { client, demand, share });
        loop {
            let opened = wait.opened(policy).await?;
            if let Some(attachment) = self.attach_to(opened, user, stream, &options, &mut joining).await? {
                note.attached();
                return Ok(attachment);
            }
            wait = self.shared.availability.start_wait();
        }
    }

    /// Attaches a client to a ring of an open source. Returns `None` if the source's format changed
    /// meanwhile.
    async fn attach_to(
        self: &Arc<Self>,
        Opened { format, generation }: Opened,
        user: u32,
        stream: StreamKind,
        options: &AttachOptions,
        joining: &mut Option<Joining>,
    ) -> Result<Option<Attachment>, ServiceError> {
        let key = RingKey {
            stream,
            size: options.size.unwrap_or_else(|| self.default_size(stream, options.resolution, &format)),
            format: options.format,
            crop: if stream == StreamKind::Composite { options.crop } else { CropMode::View },
            edges: stream == StreamKind::Mask && options.size.is_none() && options.resolution == MaskResolution::Full,
            inset: options.inset,
            generation,
        };
        self.release_closed_rings();
        let mut made = None;
        loop {
            // The configuration may have changed while the camera was opened or the ring was made.
            let allowed = || self.check_source(stream, options.inset);
            match self.rings.attach(joining, &key, made, options.interval(), allowed)? {
                Attempt::Attached { fds, layout, consumers } => {
                    self.shared.published.set_consumers(consumers);
                    return Ok(Some(Attachment { fds, layout }));
                }
                Attempt::BeingMade(mut ready) => {
                    // Ends with an error when the ring is made, or when making it has failed.
                    let _ = ready.changed().await;
                }
                Attempt::Missing(ring_place) => {
                    made = Some(ring_place.serial());
                    self.make_ring(ring_place, user, &key, &format).await?;
                }
                Attempt::Closed => return Ok(None),
            }
        }
    }

    /// Makes a ring in its place and starts its render thread and the task that watches its
    /// clients.
    ///
    /// The memory, up to 128 MiB, is allocated on another thread and without a lock. Its share of
    /// the limit goes with it: if this future is dropped, that thread gives both back.
    async fn make_ring(
        self: &Arc<Self>,
        place: RingPlace<'_>,
        user: u32,
        key: &RingKey,
        format: &FrameFormat,
    ) -> Result<(), ServiceError> {
        let spec = RingSpec {
            stream: key.stream,
            generation: key.generation,
            format: key.format,
            color: format.color,
            size: key.size,
            slots: SLOTS,
        };
        let mut bytes = spec.layout().map_err(|error| failed(&error))?.total_bytes();
        if key.stream == StreamKind::Composite {
            // The renderer keeps a background image at the size of the ring.
            bytes += packed_bytes(key.format, key.size);
        }
        let share = self.budget.take_fairly(user, Amounts::ring(bytes)).await.map_err(|error| busy(&error))?;
        let allocate = move || RingWriter::charged(&spec, share);
        let writer = run_blocking(Worker::Rings, allocate).await?.map_err(|error| failed(&error))?;
        let clients = writer.clients();
        let (inner, serial) = (Arc::downgrade(self), place.serial());
        // The ring shows nothing any more. Its clients attach again.
        let panicked = move || {
            if let Some(inner) = inner.upgrade() {
                inner.ended(inner.rings.expel(|attached| attached.serial == serial));
            }
        };
        let thread = RenderThread::start(Arc::clone(&self.shared), *key, *format, writer, panicked);
        let thread = thread.map_err(|error| ServiceError::Failed(format!("the render thread: {error}")))?;
        let (inner, watched, serial) = (Arc::downgrade(self), clients.clone(), place.serial());
        let watcher = self.runtime.spawn(vital("clients of a ring", async move {
            let left = |id| {
                if let Some(inner) = inner.upgrade() {
                    inner.release(|attached| attached.serial == serial && attached.id == id);
                }
            };
            if let Err(error) = watched.watch(left).await {
                warn!("the clients of a ring cannot be watched, so it stays when they leave: {error}");
            }
        }));
        debug!(camera = self.shared.name(), stream = %key.stream, size = %key.size, "ring opened");
        place.fill(LiveRing { clients, thread, watcher: watcher.abort_handle() });
        Ok(())
    }

    /// For the thread of an output node, which has no runtime: attaches on the main thread, however
    /// long the camera takes to open.
    pub(super) fn attach_from_thread(inner: &Arc<Self>) -> AttachOutput {
        let inner = Arc::downgrade(inner);
        Box::new(move |OutputRequest { node, stream, size, format }| {
            let (mut answer, receiver) = oneshot::channel();
            if let Some(inner) = inner.upgrade() {
                let options = AttachOptions { size: Some(size), format, ..AttachOptions::of_stream(stream) };
                let request = AttachRequest { client: Client::output_node(&node), stream, options };
                let runtime = inner.runtime.clone();
                runtime.spawn(async move {
                    tokio::select! {
                        () = answer.closed() => {}
                        attached = inner.attach(request, WaitPolicy::Unlimited) => {
                            drop(answer.send(attached.map(|attachment| attachment.fds)));
                        }
                    }
                });
            }
            receiver
        })
    }

    /// Size of a stream's pictures for a client that asks for none.
    fn default_size(&self, stream: StreamKind, resolution: MaskResolution, format: &FrameFormat) -> Size {
        match stream {
            StreamKind::Mask => match resolution {
                MaskResolution::Quarter => even_size(Size::new(format.size.width / 4, format.size.height / 4)),
                MaskResolution::Full => even_size(format.size),
                _ => self.mask_size.get().unwrap_or(Size::new(256, 144)),
            },
            StreamKind::Source => even_size(format.size),
            _ => self.shared.director.output().unwrap_or_else(|| even_size(format.size)),
        }
    }

    /// Refuses what shows the whole room if the configuration forbids it.
    fn check_source(&self, stream: StreamKind, inset: Inset) -> Result<(), ServiceError> {
        let hint = if !shows_source(stream, inset) {
            return Ok(());
        } else if inset != Inset::None && !self.allow_inset.load(Ordering::Acquire) {
            "option `inset`: it shows the whole frame, which the configuration does not allow (min_zoom)"
        } else if self.allow_source.load(Ordering::Acquire) {
            return Ok(());
        } else if stream == StreamKind::Source {
            "the configuration does not allow the stream `source` (allow_source)"
        } else {
            "option `inset`: it shows the stream `source`, which the configuration does not allow (allow_source)"
        };
        Err(ServiceError::NoSuchStream(hint.into()))
    }

    /// Lets the clients go that see the whole room, where the configuration forbids it now.
    pub(super) fn release_source_clients(&self) {
        let shown = self.rings.serials(|key, _| self.check_source(key.stream, key.inset).is_err());
        if !shown.is_empty() {
            info!(
                camera = self.shared.name(),
                "the stream `source` or the option `inset` is not allowed any more: its clients are disconnected"
            );
            self.ended(self.rings.expel(|attached| shown.contains(&attached.serial)));
        }
    }

    /// Ends the attachments of programs for which `which` holds, by client and stream.
    pub(super) fn end_attachments(&self, which: &(dyn Fn(&Client, StreamKind) -> bool + Sync)) {
        let ended = self.rings.expel(|Attached { client, key, .. }| {
            let also_source = key.inset != Inset::None;
            !client.is_output_node() && (which(client, key.stream) || also_source && which(client, StreamKind::Source))
        });
        self.ended(ended);
    }

    /// Ends all attachments, those of output nodes too, and wipes what their rings show.
    pub(super) fn end_all_attachments(&self) {
        self.ended(self.rings.expel(|_| true));
    }

    /// Lets the rings of an earlier format go, which are closed and only take memory. Clients that
    /// still hold them have to attach again.
    fn release_closed_rings(&self) {
        let closed = self.rings.serials(|_, is_closed| is_closed);
        self.release(|attached| closed.contains(&attached.serial));
    }

    /// Ends the attachments for which `gone` holds, and the rings that have no others.
    pub(super) fn release(&self, gone: impl Fn(&Attached) -> bool) {
        self.ended(self.rings.release(gone));
    }

    /// Attachments have ended, and this many are left; `None` if none has ended.
    fn ended(&self, left: Option<usize>) {
        if let Some(consumers) = left {
            self.shared.published.set_consumers(consumers);
        }
    }
}

impl RingHolder for Inner {
    fn largest_ring(&self, user: u32) -> Option<usize> {
        self.rings.largest(user).map(|(_, bytes)| bytes)
    }

    fn end_largest_ring(&self, user: u32) -> bool {
        let Some((serial, _)) = self.rings.largest(user) else { return false };
        let left = self.rings.expel(|attached| attached.serial == serial);
        self.ended(left);
        left.is_some()
    }
}

/// The error of a client that is over a limit.
pub(super) fn busy(error: &PublishError) -> ServiceError {
    ServiceError::Busy(error.to_string())
}

/// Whether a ring shows the whole room, and not only the people and what is around them.
fn shows_source(stream: StreamKind, inset: Inset) -> bool {
    stream == StreamKind::Source || inset != Inset::None
}
