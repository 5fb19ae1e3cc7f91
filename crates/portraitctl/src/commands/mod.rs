//! The subcommands, one module each, and what several of them need.

pub(crate) mod attach;
pub(crate) mod controls;
pub(crate) mod list;
#[cfg(feature = "preview")]
pub(crate) mod preview;
pub(crate) mod provide;
pub(crate) mod reframe;
pub(crate) mod set;
pub(crate) mod snapshot;
pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod wait;
pub(crate) mod watch;

use std::collections::BTreeMap;

use anyhow::Result;
use portraitd_client::connect::SERVICE_NAME;
use portraitd_client::feed::find_camera;
use portraitd_client::protocol::names;
use serde_json::Value as Json;
use zbus::fdo::PropertiesProxy;
use zbus::names::InterfaceName;
use zbus::{Connection, OwnedObjectPath};

use crate::output::values_to_json;

/// The interfaces of a camera: the short name that this program prints, and the name on the bus.
const INTERFACES: [(&str, &str); 4] = [
    ("camera", names::CAMERA_INTERFACE),
    ("framing", names::FRAMING_INTERFACE),
    ("segmentation", names::SEGMENTATION_INTERFACE),
    ("background", names::BACKGROUND_INTERFACE),
];

/// Properties by the short name of their interface and their own name.
type Properties = BTreeMap<&'static str, BTreeMap<String, Json>>;

/// Every property of a camera that the caller may read.
async fn all_properties(properties: &PropertiesProxy<'_>) -> Result<Properties> {
    let mut all = BTreeMap::new();
    for (short, interface) in INTERFACES {
        all.insert(short, values_to_json(&properties.get_all(InterfaceName::try_from(interface)?).await?));
    }
    Ok(all)
}

async fn properties_at(connection: &Connection, path: OwnedObjectPath) -> Result<PropertiesProxy<'static>> {
    let proxy = PropertiesProxy::builder(connection).destination(SERVICE_NAME).path(path).build().await?;
    Ok(proxy)
}

/// The object path of the camera named `camera`, or of the only camera.
async fn path_of(connection: &Connection, camera: Option<&str>) -> Result<OwnedObjectPath> {
    Ok(find_camera(connection, camera).await?.inner().path().to_owned().into())
}
