//! `stats`: the figures that the service measures.

use anyhow::Result;
use portraitd_client::feed::find_camera;
use serde_json::json;
use zbus::Connection;

use crate::output::{print_json, print_text, to_text, values_to_json};

/// Runs the command.
pub(crate) async fn run(connection: &Connection, camera: Option<&str>, json: bool) -> Result<()> {
    let stats = find_camera(connection, camera).await?.stats().await?;
    let stats = values_to_json(&stats);
    if json {
        return Ok(print_json(&json!(stats))?);
    }
    for (name, value) in stats {
        print_text(&format!("{name} = {}", to_text(&value)))?;
    }
    Ok(())
}
