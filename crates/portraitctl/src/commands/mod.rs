//! The subcommands, one module each, and what several of them need.

pub(crate) mod attach;
pub(crate) mod list;
pub(crate) mod reframe;
pub(crate) mod set;
pub(crate) mod snapshot;
pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod wait;
pub(crate) mod watch;

use anyhow::Result;
use portraitd_client::connect::SERVICE_NAME;
use portraitd_client::feed::find_camera;
use portraitd_client::protocol::names;
use zbus::fdo::PropertiesProxy;
use zbus::{Connection, OwnedObjectPath};

/// The interfaces of a camera: the short name that this program prints, and the name on the bus.
const INTERFACES: [(&str, &str); 4] = [
    ("camera", names::CAMERA_INTERFACE),
    ("framing", names::FRAMING_INTERFACE),
    ("segmentation", names::SEGMENTATION_INTERFACE),
    ("background", names::BACKGROUND_INTERFACE),
];

async fn properties_at(connection: &Connection, path: OwnedObjectPath) -> Result<PropertiesProxy<'static>> {
    let proxy = PropertiesProxy::builder(connection).destination(SERVICE_NAME).path(path).build().await?;
    Ok(proxy)
}

/// The object path of the camera named `camera`, or of the only camera.
async fn path_of(connection: &Connection, camera: Option<&str>) -> Result<OwnedObjectPath> {
    Ok(find_camera(connection, camera).await?.inner().path().to_owned().into())
}
