//! What the service says of its cameras.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::SelectAll;
use portraitd_client::connect::{Bus, SERVICE_NAME};
use portraitd_client::feed::AttachOptions;
use portraitd_client::proxy::{BackgroundProxy, CameraProxy, FramingProxy, ManagerProxy, SegmentationProxy};
use portraitd_client::{Feed, FrameCopy, StreamKind};
use tokio::task::AbortHandle;
use tracing::{info, warn};
use zbus::fdo::DBusProxy;
use zbus::proxy::CacheProperties;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath};

use crate::topics::Camera;

/// How long one answer of the service may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Signals that wait to be read. Older ones are dropped: each leads to the same reading.
const SIGNALS: NonZero<usize> = NonZero::new(16).expect("not zero");
/// Masks that the bridge asks for in a second, to keep the camera on.
const LOOKS: u32 = 1;

/// A connection to the bus of the service.
pub(crate) struct Service {
    connection: Connection,
    signals: SelectAll<MessageStream>,
    /// The paths of the cameras, by name.
    paths: BTreeMap<String, OwnedObjectPath>,
    /// The tasks that keep cameras on, by the camera's name.
    looks: BTreeMap<String, AbortHandle>,
}

/// The service and its cameras at one moment.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// `None` while the service does not run.
    pub(crate) version: Option<String>,
    pub(crate) cameras: Vec<Camera>,
}

impl Service {
    /// Connects to the bus, and listens to the service on it.
    pub(crate) async fn connect(bus: &Bus) -> zbus::Result<Self> {
        let connection = bus.connect().await?;
        let signal = || MatchRule::builder().msg_type(zbus::message::Type::Signal);
        let rules = [
            signal().sender(SERVICE_NAME).interface("org.freedesktop.DBus.Properties").build(),
            signal().sender(SERVICE_NAME).interface("org.freedesktop.DBus.ObjectManager").build(),
            signal()
                .sender("org.freedesktop.DBus")
                .interface("org.freedesktop.DBus")
                .member("NameOwnerChanged")
                .arg(0, SERVICE_NAME)
                .build(),
        ];
        let mut signals = SelectAll::new();
        for rule in rules {
            signals.push(MessageStream::for_match_rule(rule?, &connection, Some(SIGNALS)).await?);
        }
        Ok(Self { connection, signals, paths: BTreeMap::new(), looks: BTreeMap::new() })
    }

    /// Waits until something has changed. `None` when the connection has ended.
    pub(crate) async fn changed(&mut self) -> Option<()> {
        self.signals.next().await?.ok().map(|_| ()).or(Some(()))
    }

    /// The connection, and the path of a camera.
    pub(crate) fn camera(&self, name: &str) -> Option<(&Connection, &OwnedObjectPath)> {
        self.paths.get(name).map(|path| (&self.connection, path))
    }

    /// Reads everything. The service is not started for it.
    pub(crate) async fn read(&mut self) -> zbus::Result<Report> {
        let no_answer = || zbus::Error::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        let read = tokio::time::timeout(PATIENCE, read(&self.connection)).await;
        let (report, paths) = read.map_err(|_| no_answer())??;
        self.paths = paths;
        Ok(report)
    }

    /// Has a small mask made of every camera, so that the service knows who is there.
    pub(crate) fn look(&mut self) {
        self.looks.retain(|name, task| {
            let keep = self.paths.contains_key(name) && !task.is_finished();
            if !keep {
                task.abort();
            }
            keep
        });
        for (name, path) in &self.paths {
            self.looks
                .entry(name.clone())
                .or_insert_with(|| tokio::spawn(look_at(self.connection.clone(), path.clone())).abort_handle());
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.looks.values().for_each(AbortHandle::abort);
    }
}

/// Stays attached to a small mask of a camera. It ends if the service refuses that.
async fn look_at(connection: Connection, path: OwnedObjectPath) {
    let result = async {
        let camera = portraitd_client::feed::camera_at(&connection, path.clone()).await?;
        let options = AttachOptions::default().with_frame_rate_limit(LOOKS);
        let mut feed = Feed::when_available(camera, StreamKind::Mask, options);
        let mut frame = FrameCopy::default();
        loop {
            feed.next(&mut frame).await?;
        }
    };
    let ended: Result<(), anyhow::Error> = result.await;
    if let Err(error) = ended {
        warn!("{path} cannot be watched: {error}");
        // Not at once again: the reason is most often a missing permission.
        tokio::time::sleep(Duration::from_mins(1)).await;
    }
}

async fn read(connection: &Connection) -> zbus::Result<(Report, BTreeMap<String, OwnedObjectPath>)> {
    let mut paths = BTreeMap::new();
    let bus = DBusProxy::new(connection).await?;
    if !bus.name_has_owner(SERVICE_NAME.try_into()?).await? {
        return Ok((Report::default(), paths));
    }
    let no = CacheProperties::No;
    let manager = ManagerProxy::builder(connection).cache_properties(no).build().await?;
    let failed = |error: portraitd_client::ServiceError| zbus::Error::Failure(error.to_string());
    let version = manager.version().await.map_err(failed)?;
    let mut cameras = Vec::new();
    for path in manager.cameras().await.map_err(failed)? {
        // A camera can go while it is read.
        match read_camera(connection, &path).await {
            Ok(camera) => {
                paths.insert(camera.name.clone(), path);
                cameras.push(camera);
            }
            Err(error) => info!("{path} cannot be read: {error}"),
        }
    }
    cameras.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((Report { version: Some(version), cameras }, paths))
}

async fn read_camera(
    connection: &Connection,
    path: &OwnedObjectPath,
) -> Result<Camera, portraitd_client::ServiceError> {
    let no = CacheProperties::No;
    let camera = CameraProxy::builder(connection).path(path).cache_properties(no).build().await?;
    let framing = FramingProxy::builder(connection).path(path).cache_properties(no).build().await?;
    let segmentation = SegmentationProxy::builder(connection).path(path).cache_properties(no).build().await?;
    let background = BackgroundProxy::builder(connection).path(path).cache_properties(no).build().await?;
    let people = segmentation.people().await.ok();
    Ok(Camera {
        name: camera.name().await?,
        state: camera.state().await?.to_string(),
        private: camera.private().await.ok(),
        consumers: camera.consumers().await.ok(),
        last_error: camera.last_error().await.ok(),
        present: segmentation.present().await.ok(),
        people: people.map(|people| people.into_iter().map(|(_, x, y, w, h)| [x, y, w, h]).collect()),
        framing_mode: framing.mode().await.ok().map(|mode| mode.to_string()),
        framing_state: framing.state().await.ok().map(|state| state.to_string()),
        background: background.mode().await.ok().map(|mode| mode.to_string()),
        healthy: segmentation.healthy().await.ok(),
        degraded: segmentation.degraded().await.ok(),
    })
}
