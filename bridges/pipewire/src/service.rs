//! The cameras of the service, and when they change.

use std::num::NonZero;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::SelectAll;
use portraitd_client::connect::{Bus, ROOT_PATH, SERVICE_NAME};
use portraitd_client::feed::camera_at;
use portraitd_client::proxy::ManagerProxy;
use tracing::info;
use zbus::fdo::DBusProxy;
use zbus::proxy::CacheProperties;
use zbus::{Connection, MatchRule, MessageStream};

/// How long one answer of the service may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Signals that wait to be read. Older ones are dropped: each leads to the same reading.
const SIGNALS: NonZero<usize> = NonZero::new(16).expect("not zero");

/// A connection to the bus of the service.
pub(crate) struct Service {
    connection: Connection,
    signals: SelectAll<MessageStream>,
}

impl Service {
    /// Connects to the bus, and listens to the service on it.
    pub(crate) async fn connect(bus: &Bus) -> zbus::Result<Self> {
        let connection = bus.connect().await?;
        let signal = || MatchRule::builder().msg_type(zbus::message::Type::Signal);
        let rules = [
            signal().sender(SERVICE_NAME).path(ROOT_PATH).interface("org.freedesktop.DBus.Properties").build(),
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
        Ok(Self { connection, signals })
    }

    pub(crate) fn connection(&self) -> Connection {
        self.connection.clone()
    }

    /// Waits until the list of cameras may have changed. `None` when the connection has ended.
    pub(crate) async fn changed(&mut self) -> Option<()> {
        self.signals.next().await.map(|_| ())
    }

    /// The names of the cameras; `None` while the service does not run. It is not started for it.
    pub(crate) async fn cameras(&self) -> zbus::Result<Option<Vec<String>>> {
        let no_answer = || zbus::Error::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        tokio::time::timeout(PATIENCE, cameras(&self.connection)).await.map_err(|_| no_answer())?
    }
}

async fn cameras(connection: &Connection) -> zbus::Result<Option<Vec<String>>> {
    let bus = DBusProxy::new(connection).await?;
    if !bus.name_has_owner(SERVICE_NAME.try_into()?).await? {
        return Ok(None);
    }
    let failed = |error: portraitd_client::ServiceError| zbus::Error::Failure(error.to_string());
    let manager = ManagerProxy::builder(connection).cache_properties(CacheProperties::No).build().await?;
    let mut names = Vec::new();
    for path in manager.cameras().await.map_err(failed)? {
        // A camera can go while it is read.
        match camera_at(connection, path.clone()).await?.name().await {
            Ok(name) => names.push(name),
            Err(error) => info!("{path} cannot be read: {error}"),
        }
    }
    Ok(Some(names))
}
