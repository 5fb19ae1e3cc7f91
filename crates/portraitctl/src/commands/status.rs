//! `status`: every property of a camera.

use std::collections::BTreeMap;

use anyhow::Result;
use portraitd_client::protocol::spelling::snake_case;
use serde_json::json;
use zbus::Connection;
use zbus::names::InterfaceName;

use super::{INTERFACES, path_of, properties_at};
use crate::output::{print_json, print_text, to_text, values_to_json};

/// Runs the command.
pub(crate) async fn run(connection: &Connection, camera: Option<&str>, json: bool) -> Result<()> {
    let properties = properties_at(connection, path_of(connection, camera).await?).await?;
    let mut all = BTreeMap::new();
    for (short, interface) in INTERFACES {
        let values = properties.get_all(InterfaceName::try_from(interface)?).await?;
        all.insert(short, values_to_json(&values));
    }
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
