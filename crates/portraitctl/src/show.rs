//! `list`, `status`, `watch`, `snapshot` and `stats`: reading.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use portraitd_client::StreamKind;
use portraitd_client::connect::SERVICE_NAME;
use portraitd_client::feed::{camera_at, find_camera};
use portraitd_client::proxy::ManagerProxy;
use serde_json::{Value as Json, json};
use zbus::fdo::PropertiesProxy;
use zbus::names::InterfaceName;
use zbus::proxy::CacheProperties;
use zbus::{Connection, OwnedObjectPath};

use crate::json::{print_line, to_json, to_text, values_to_json};

/// The interfaces of a camera, by the names that this tool gives them.
const INTERFACES: [(&str, &str); 4] = [
    ("camera", "org.portraitd.Camera1"),
    ("framing", "org.portraitd.Framing1"),
    ("segmentation", "org.portraitd.Segmentation1"),
    ("background", "org.portraitd.Background1"),
];

/// Prints a line for people.
fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// `list`.
pub async fn list(connection: &Connection, json: bool) -> Result<()> {
    let manager = ManagerProxy::builder(connection).cache_properties(CacheProperties::No).build().await?;
    let mut cameras = Vec::new();
    for path in manager.cameras().await? {
        let camera = camera_at(connection, path.clone()).await?;
        cameras.push(json!({
            "name": camera.name().await?,
            "device": camera.device().await?,
            "state": camera.state().await?.to_string(),
            "consumers": camera.consumers().await?,
            "path": path.as_str(),
        }));
    }
    if json {
        return Ok(print_line(&json!({"version": manager.version().await?, "cameras": cameras}))?);
    }
    if cameras.is_empty() {
        say("no cameras")?;
    }
    for camera in cameras {
        let [name, state, device] = ["name", "state", "device"].map(|key| to_text(&camera[key]));
        say(&format!("{name}  {state}  {device}"))?;
    }
    Ok(())
}

async fn properties_at(connection: &Connection, path: OwnedObjectPath) -> Result<PropertiesProxy<'static>> {
    let proxy = PropertiesProxy::builder(connection).destination(SERVICE_NAME).path(path).build().await?;
    Ok(proxy)
}

async fn path_of(connection: &Connection, camera: Option<&str>) -> Result<OwnedObjectPath> {
    Ok(find_camera(connection, camera).await?.inner().path().to_owned().into())
}

/// `status`.
pub async fn status(connection: &Connection, camera: Option<&str>, json: bool) -> Result<()> {
    let properties = properties_at(connection, path_of(connection, camera).await?).await?;
    let mut all = BTreeMap::new();
    for (short, interface) in INTERFACES {
        let values = properties.get_all(InterfaceName::try_from(interface)?).await?;
        all.insert(short, values_to_json(&values));
    }
    if json {
        return Ok(print_line(&json!(all))?);
    }
    for (short, _) in INTERFACES {
        for (name, value) in &all[short] {
            say(&format!("{short}.{name} = {}", to_text(value)))?;
        }
    }
    Ok(())
}

/// `stats`.
pub async fn stats(connection: &Connection, camera: Option<&str>, json: bool) -> Result<()> {
    let stats = find_camera(connection, camera).await?.stats().await?;
    let stats = values_to_json(&stats);
    if json {
        return Ok(print_line(&json!(stats))?);
    }
    for (name, value) in stats {
        say(&format!("{name} = {}", to_text(&value)))?;
    }
    Ok(())
}

/// `watch`.
pub async fn watch(connection: &Connection, camera: Option<&str>, limit: Option<u64>, json: bool) -> Result<()> {
    let properties = properties_at(connection, path_of(connection, camera).await?).await?;
    let mut signals = properties.receive_properties_changed().await?;
    let mut left = limit;
    while left != Some(0) {
        let signal = tokio::select! {
            signal = signals.next() => signal,
            () = connection.closed() => None,
            interrupted = tokio::signal::ctrl_c() => return interrupted.context("waiting for an interrupt"),
        };
        let Some(signal) = signal else { anyhow::bail!("the connection has ended") };
        let arguments = signal.args()?;
        let interface = arguments.interface_name().as_str();
        let Some((short, _)) = INTERFACES.iter().find(|(_, name)| *name == interface) else { continue };
        let changed: BTreeMap<&str, Json> =
            arguments.changed_properties().iter().map(|(name, value)| (*name, to_json(value))).collect();
        for (name, value) in changed {
            if left == Some(0) {
                break;
            }
            if json {
                print_line(&json!({"interface": interface, "property": name, "value": value}))?;
            } else {
                say(&format!("{short}.{name} = {}", to_text(&value)))?;
                io::stdout().flush()?;
            }
            left = left.map(|left| left - 1);
        }
    }
    Ok(())
}

/// `snapshot`.
pub async fn snapshot(
    connection: &Connection,
    camera: Option<&str>,
    stream: StreamKind,
    out: &Path,
    json: bool,
) -> Result<()> {
    let png = find_camera(connection, camera).await?.snapshot(stream.as_str()).await?;
    let mut png = File::from(OwnedFd::from(png));
    let bytes = if out == Path::new("-") {
        io::copy(&mut png, &mut io::stdout())?
    } else {
        let file = File::create(out).with_context(|| format!("{}", out.display()))?;
        io::copy(&mut png, &mut &file).with_context(|| format!("{}", out.display()))?
    };
    if json && out != Path::new("-") {
        print_line(&json!(HashMap::from([("out", json!(out)), ("bytes", json!(bytes))])))?;
    }
    Ok(())
}
