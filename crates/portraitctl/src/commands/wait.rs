//! `wait`: until the service is ready, for scripts that start or update it.

use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt;
use futures_util::stream::select_all;
use portraitd_client::connect::{ROOT_PATH, SERVICE_NAME};
use portraitd_client::feed::camera_at;
use portraitd_client::proxy::ManagerProxy;
use portraitd_client::{CameraState, Word};
use serde_json::json;
use zbus::message::Type;
use zbus::names::BusName;
use zbus::proxy::CacheProperties;
use zbus::{Connection, MatchRule, MessageStream};

use crate::output::{print_json, print_text};

/// A service that is ready.
struct Ready {
    version: String,
    /// Name and state of each camera.
    cameras: Vec<(String, String)>,
}

/// Runs the command. It starts no service.
pub(crate) async fn run(connection: &Connection, camera: Option<&str>, limit: Duration, json: bool) -> Result<()> {
    let end = tokio::time::Instant::now() + limit;
    // Before the first look, so that no change is missed.
    let mut changes = select_all(changes(connection).await?);
    loop {
        let looked = tokio::time::timeout_at(end, look(connection, camera)).await;
        let reason = match looked {
            Ok(Ok(ready)) => return print(&ready, json),
            Ok(Err(reason)) => format!("{reason:#}"),
            Err(_) => "portraitd does not answer".to_owned(),
        };
        tokio::select! {
            change = changes.next() => if change.is_none() { anyhow::bail!("the connection has ended; {reason}") },
            () = connection.closed() => anyhow::bail!("the connection has ended; {reason}"),
            () = tokio::time::sleep_until(end) => anyhow::bail!("not ready after {} s: {reason}", limit.as_secs_f64()),
        }
    }
}

/// The signals after which the service may have become ready.
async fn changes(connection: &Connection) -> Result<Vec<MessageStream>> {
    let of = |interface: &'static str, member: &'static str| {
        MatchRule::builder().msg_type(Type::Signal).interface(interface).member(member)
    };
    let mut rules = vec![of("org.freedesktop.DBus.Properties", "PropertiesChanged").path_namespace(ROOT_PATH)];
    if connection.is_bus() {
        rules.push(of("org.freedesktop.DBus", "NameOwnerChanged").arg(0, SERVICE_NAME));
    }
    let mut streams = Vec::new();
    for rule in rules {
        streams.push(MessageStream::for_match_rule(rule.build()?, connection, None).await?);
    }
    Ok(streams)
}

/// The service if it is ready, or why it is not.
async fn look(connection: &Connection, camera: Option<&str>) -> Result<Ready> {
    if connection.is_bus() {
        let bus = zbus::fdo::DBusProxy::new(connection).await?;
        // A call would start the service.
        anyhow::ensure!(bus.name_has_owner(BusName::try_from(SERVICE_NAME)?).await?, "portraitd is not running");
    }
    let manager = ManagerProxy::builder(connection).cache_properties(CacheProperties::No).build().await?;
    let mut cameras = Vec::new();
    for path in manager.cameras().await? {
        let proxy = camera_at(connection, path).await?;
        let name = proxy.name().await?;
        if camera.is_some_and(|wanted| wanted != name) {
            continue;
        }
        let state = proxy.state().await?;
        // A state that this program does not know is no reason to fail.
        if let Word::Known(CameraState::Absent | CameraState::Starting | CameraState::Stalled | CameraState::Failed) =
            state
        {
            let error = proxy.last_error().await?;
            let reason = if error.is_empty() { String::new() } else { format!(": {error}") };
            anyhow::bail!("camera {name} is {state}{reason}");
        }
        cameras.push((name, state.to_string()));
    }
    match camera {
        Some(name) if cameras.is_empty() => anyhow::bail!("there is no camera named {name:?}"),
        _ => Ok(Ready { version: manager.version().await?, cameras }),
    }
}

fn print(ready: &Ready, json: bool) -> Result<()> {
    if json {
        let camera = |(name, state): &(String, String)| json!({"name": name, "state": state});
        let cameras: Vec<_> = ready.cameras.iter().map(camera).collect();
        return Ok(print_json(&json!({"version": ready.version, "cameras": cameras}))?);
    }
    let cameras: Vec<String> = ready.cameras.iter().map(|(name, state)| format!("{name} {state}")).collect();
    Ok(print_text(&format!("portraitd {} is ready: {}", ready.version, cameras.join(", ")))?)
}
