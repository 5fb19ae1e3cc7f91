//! `list`: the cameras with name, state and device.

use anyhow::Result;
use portraitd_client::feed::camera_at;
use portraitd_client::proxy::ManagerProxy;
use serde_json::json;
use zbus::Connection;
use zbus::proxy::CacheProperties;

use crate::output::{print_json, print_text, to_text};

/// Runs the command.
pub(crate) async fn run(connection: &Connection, json: bool) -> Result<()> {
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
        return Ok(print_json(&json!({"version": manager.version().await?, "cameras": cameras}))?);
    }
    if cameras.is_empty() {
        print_text("no cameras")?;
    }
    for camera in cameras {
        let [name, state, device] = ["name", "state", "device"].map(|key| to_text(&camera[key]));
        print_text(&format!("{name}  {state}  {device}"))?;
    }
    Ok(())
}
