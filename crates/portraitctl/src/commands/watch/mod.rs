//! `watch`: a table on a terminal, and elsewhere a line for every property that changes.

mod table;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use portraitd_client::protocol::spelling::snake_case;
use serde_json::{Value as Json, json};
use zbus::Connection;
use zbus::names::InterfaceName;

use super::{INTERFACES, path_of, properties_at};
use crate::output::{print_json, print_text, to_json, to_text};

/// Whether the table is shown: standard output is a terminal that can move its cursor, and nobody has
/// asked for lines.
fn on_a_terminal(limit: Option<u64>, json: bool) -> bool {
    let can_move = std::env::var("TERM").is_ok_and(|name| !name.is_empty() && name != "dumb");
    limit.is_none() && !json && can_move && io::stdout().is_terminal()
}

/// Runs the command. It ends after `limit` changes, on an interrupt, or when the connection ends.
pub(crate) async fn run(connection: &Connection, camera: Option<&str>, limit: Option<u64>, json: bool) -> Result<()> {
    if on_a_terminal(limit, json) {
        return table::run(connection, camera).await;
    }
    let properties = properties_at(connection, path_of(connection, camera).await?).await?;
    let mut signals = properties.receive_properties_changed().await?;
    // Who asks is told about people too, if the service allows it.
    for (_, interface) in INTERFACES {
        drop(properties.get_all(InterfaceName::try_from(interface)?).await?);
    }
    let mut left = limit;
    while left != Some(0) {
        let signal = tokio::select! {
            signal = signals.next() => signal,
            () = connection.closed() => None,
            interrupted = tokio::signal::ctrl_c() => return interrupted.context("waiting for an interrupt"),
        };
        let Some(signal) = signal else { anyhow::bail!("the connection to the service has ended") };
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
                print_json(&json!({"interface": interface, "property": name, "value": value}))?;
            } else {
                print_text(&format!("{short}.{} = {}", snake_case(name), to_text(&value)))?;
                io::stdout().flush()?;
            }
            left = left.map(|left| left - 1);
        }
    }
    Ok(())
}
