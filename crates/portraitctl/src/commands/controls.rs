//! `controls`: the controls of a camera's driver, as a configuration file sets them.

use anyhow::Result;
use portraitd_client::feed::find_camera;
use portraitd_client::protocol::control::{Control, ControlValue};
use portraitd_client::proxy::{ControlsProxy, Values};
use serde_json::json;
use zbus::Connection;
use zbus::proxy::CacheProperties;

use crate::output::{print_json, print_text, values_to_json};

/// The control that a dictionary of `List` describes. What a newer service adds is left out.
fn control(values: &Values) -> Option<Control> {
    let number = |name: &str| values.get(name).and_then(|value| i32::try_from(value).ok());
    let flag = |name: &str| values.get(name).and_then(|value| bool::try_from(value).ok()).unwrap_or_default();
    let text = |name: &str| values.get(name).and_then(|value| <&str>::try_from(value).ok());
    let kinds = ["integer", "boolean", "menu", "button", "integer64", "string", "bitmask", "integer-menu"];
    Some(Control {
        id: 0,
        name: text("key")?.to_owned(),
        kind: kinds.into_iter().find(|kind| Some(*kind) == text("kind")).unwrap_or("other"),
        minimum: number("minimum")?,
        maximum: number("maximum")?,
        step: number("step")?,
        default: number("default")?,
        value: number("value"),
        read_only: flag("read_only"),
        inactive: flag("inactive"),
        menu: values.get("menu").and_then(|menu| Vec::<(u32, String)>::try_from(menu.clone()).ok()).unwrap_or_default(),
    })
}

/// A line of a configuration file that sets `control` to the value that it has.
fn line(control: &Control) -> String {
    let Some(value) = control.value else { return format!("# {} cannot be read", control.key()) };
    let value = match control.written(value) {
        ControlValue::Text(text) => format!("{text:?}"),
        value => value.to_string(),
    };
    let set = if control.is_settable() { "" } else { "# only for reading: " };
    format!("{set}{} = {value}  # {}", control.key(), control.note())
}

/// Runs the command.
pub(crate) async fn run(connection: &Connection, camera: Option<&str>, json: bool) -> Result<()> {
    let camera = find_camera(connection, camera).await?;
    let path = camera.inner().path().to_owned();
    let controls = ControlsProxy::builder(connection).path(path).cache_properties(CacheProperties::No).build().await?;
    let list = controls.list().await?;
    if json {
        let list: Vec<_> = list.iter().map(values_to_json).collect();
        return Ok(print_json(&json!(list))?);
    }
    print_text("[camera.controls]")?;
    for control in list.iter().filter_map(control) {
        print_text(&line(&control))?;
    }
    Ok(())
}
