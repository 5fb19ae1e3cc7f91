//! `list`: the cameras with name, state and device.

use std::path::Path;

use anyhow::Result;
use portraitd_client::feed::camera_at;
use portraitd_client::proxy::ManagerProxy;
use serde_json::json;
use zbus::Connection;
use zbus::proxy::CacheProperties;

use crate::output::{print_json, print_text, to_text};

/// Whether a device has no node in the folder `dev`, or there is none for `auto`. The service opens
/// a camera only for a client, so until then it calls a camera idle that is not there.
fn is_missing(device: &str, dev: &Path) -> bool {
    if device == "auto" {
        let mut nodes = std::fs::read_dir(dev).into_iter().flatten().flatten();
        return !nodes.any(|node| node.file_name().as_encoded_bytes().starts_with(b"video"));
    }
    device.strip_prefix("/dev/").is_some_and(|node| !dev.join(node).exists())
}

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
        let absent = if is_missing(&device, Path::new("/dev")) {
            "  (not there: is a camera connected? `portraitd devices` lists cameras)"
        } else {
            ""
        };
        print_text(&format!("{name}  {state}  {device}{absent}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_camera_that_is_not_there_is_known_before_it_is_opened() {
        let dev = tempfile::tempdir().expect("folder");
        assert!(is_missing("auto", dev.path()) && is_missing("/dev/video0", dev.path()));
        assert!(is_missing("auto", &dev.path().join("none")));
        for other in ["scene:walk", "file:/dev/x", "-"] {
            assert!(!is_missing(other, dev.path()), "{other}");
        }
        std::fs::write(dev.path().join("video0"), b"").expect("a node");
        assert!(!is_missing("auto", dev.path()) && !is_missing("/dev/video0", dev.path()));
        assert!(is_missing("/dev/video1", dev.path()));
    }
}
