//! A node of PipeWire: one stream of one camera, attached to the service while a consumer looks.

use std::io;
use std::rc::{Rc, Weak};

use portraitd_client::connect::camera_path;
use portraitd_client::feed::{FeedError, camera_at};
use portraitd_client::{Feed, FrameCopy, Size};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tracing::{info, warn};
use zbus::Connection;

use crate::formats::{Picture, offered};
use crate::listing::Key;
use crate::pw::{self, Event, Handle, Stream};

/// What happens to nodes and to the connection to PipeWire.
#[derive(Debug)]
pub(crate) enum Happened {
    /// The connection to PipeWire has ended.
    Lost(String),
    /// A node cannot be used any more.
    Failed(Key, String),
    /// The service refuses a stream.
    Refused(Key, String),
}

/// What consumers want of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Demand {
    /// What PipeWire has agreed on with them.
    picture: Option<Picture>,
    /// Whether at least one of them is linked and runs.
    is_streaming: bool,
}

impl Demand {
    /// The pictures to deliver now.
    fn wanted(&self) -> Option<Picture> {
        self.picture.filter(|_| self.is_streaming)
    }
}

/// A node. It is on PipeWire's list as long as this exists.
pub(crate) struct Node {
    feeding: AbortHandle,
    _stream: Rc<Stream>,
}

impl Node {
    /// Puts a node on PipeWire's list. Must be called in a `LocalSet`. `service` is the connection to
    /// the service's bus, while there is one.
    pub(crate) fn new(
        connection: &Rc<pw::Connection>,
        key: &Key,
        sizes: &[Size],
        service: watch::Receiver<Option<Connection>>,
        events: &mpsc::UnboundedSender<Happened>,
    ) -> io::Result<Self> {
        let (name, description) = (format!("portraitd.{}.{}", key.camera, key.stream), key.to_string());
        let properties = [
            ("media.type", "Video"),
            ("media.category", "Capture"),
            ("media.role", "Camera"),
            ("media.class", "Video/Source"),
            ("node.name", name.as_str()),
            ("node.description", description.as_str()),
            ("node.nick", key.camera.as_str()),
        ];
        let sender = watch::Sender::new(Demand::default());
        let demand = sender.subscribe();
        let (owner, failed) = (key.clone(), events.clone());
        let stream = Stream::new(connection, &name, &properties, &offered(key.stream, sizes), move |handle, event| {
            match event {
                Event::Streaming(is_streaming) => {
                    let changes = sender.send_if_modified(|demand| {
                        std::mem::replace(&mut demand.is_streaming, is_streaming) != is_streaming
                    });
                    if changes && !is_streaming {
                        // Whoever comes next gets no picture that waited here.
                        handle.flush();
                    }
                }
                Event::Format(pod) => {
                    let picture = pod.and_then(|pod| choose(handle, &owner, pod));
                    sender.send_if_modified(|demand| std::mem::replace(&mut demand.picture, picture) != picture);
                }
                Event::Failed(reason) => _ = failed.send(Happened::Failed(owner.clone(), reason.to_owned())),
            }
        })?;
        let stream = Rc::new(stream);
        let feeding =
            Feeding { key: key.clone(), stream: Rc::downgrade(&stream), demand, service, events: events.clone() };
        let feeding = tokio::task::spawn_local(feeding.run()).abort_handle();
        Ok(Self { feeding, _stream: stream })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.feeding.abort();
    }
}

/// Takes over the format that PipeWire has agreed on, and answers with the buffers for it.
fn choose(handle: Handle<'_>, key: &Key, pod: &[u8]) -> Option<Picture> {
    match Picture::parse(key.stream, pod) {
        Ok(picture) => {
            if let Err(error) = handle.set_buffers(&picture.buffer_params()) {
                warn!("{key}: PipeWire refuses the buffers: {error}");
            }
            Some(picture)
        }
        Err(error) => {
            warn!("{key}: a consumer asks for a format that there is not: {error}");
            handle.fail(&error.to_string());
            None
        }
    }
}

/// The task that brings frames from the service to a node.
struct Feeding {
    key: Key,
    /// The node owns its stream.
    stream: Weak<Stream>,
    demand: watch::Receiver<Demand>,
    /// The connection to the bus of the service, while there is one.
    service: watch::Receiver<Option<Connection>>,
    events: mpsc::UnboundedSender<Happened>,
}

impl Feeding {
    async fn run(mut self) {
        // It ends with the node, or with the program.
        while let Ok(demand) = self.demand.wait_for(|demand| demand.wanted().is_some()).await.map(|demand| *demand) {
            let Some(picture) = demand.wanted() else { continue };
            let Picture { format, size, rate } = picture;
            let rate = rate.map(|rate| format!(", up to {rate} frames a second")).unwrap_or_default();
            info!("{}: somebody looks: {format} {size}{rate}", self.key);
            let mut demand = self.demand.clone();
            tokio::select! {
                biased;
                changed = demand.wait_for(|demand| demand.wanted() != Some(picture)) => if changed.is_err() { return },
                refused = self.deliver(&picture) => {
                    let _ = self.events.send(Happened::Refused(self.key.clone(), refused));
                    return;
                }
            }
            // The feed is gone with the future above, and so is the attachment.
            info!("{}: nobody looks", self.key);
        }
    }

    /// Delivers pictures until the service refuses to, which is returned as a text.
    async fn deliver(&self, picture: &Picture) -> String {
        let mut connections = self.service.clone();
        // A copy of a frame is kept only while somebody looks.
        let mut frame = FrameCopy::default();
        loop {
            let Ok(connection) = connections.wait_for(Option::is_some).await.map(|found| found.clone()) else {
                return std::future::pending().await;
            };
            let Some(connection) = connection else { continue };
            let Ok(camera) = camera_at(&connection, camera_path(&self.key.camera)).await else {
                wait_for_another(&mut connections, &connection).await;
                continue;
            };
            let mut feed = Feed::when_available(camera, self.key.stream, picture.options());
            loop {
                match feed.next(&mut frame).await {
                    Ok(()) => self.push(&frame, picture),
                    Err(FeedError::Service(error)) => return error.to_string(),
                    Err(FeedError::Disconnected) => break,
                    Err(error) => return error.to_string(),
                }
            }
            wait_for_another(&mut connections, &connection).await;
        }
    }

    fn push(&self, frame: &FrameCopy, picture: &Picture) {
        if let Some(stream) = self.stream.upgrade() {
            stream.handle().push(frame, picture);
        }
    }
}

/// Waits until there is another connection than `old`, which has ended.
async fn wait_for_another(connections: &mut watch::Receiver<Option<Connection>>, old: &Connection) {
    let is_other = |found: &Option<Connection>| {
        found
            .as_ref()
            .is_none_or(|found| found.unique_name() != old.unique_name() || found.server_guid() != old.server_guid())
    };
    if connections.wait_for(is_other).await.is_err() {
        std::future::pending::<()>().await;
    }
}
