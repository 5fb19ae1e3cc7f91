//! `status`: every property of a camera.

use anyhow::Result;
use portraitd_client::protocol::spelling::snake_case;
use serde_json::json;
use zbus::Connection;

use super::{INTERFACES, all_properties, path_of, properties_at};
use crate::output::{print_json, print_text, to_text};

/// Runs the command.
pub(crate) async fn run(connection: &Connection, camera: Option<&str>, json: bool) -> Result<()> {
    let all = all_properties(&properties_at(connection, path_of(connection, camera).await?).await?).await?;
    if json {
        return Ok(print_json(&json!(all))?);
    }
    for (short, _) in INTERFACES {
        for (name, value) in &all[short] {
            print_text(&format!("{short}.{} = {}", snake_case(name), to_text(value)))?;
        }
    }
    Ok(())
}
