//! `reframe`: frames the people again.

use anyhow::Result;
use portraitd_client::feed::find_camera;
use portraitd_client::proxy::FramingProxy;
use serde_json::json;
use zbus::Connection;
use zbus::proxy::CacheProperties;

use crate::output::Output;

/// Runs the command.
pub(crate) async fn run(connection: &Connection, camera: Option<&str>, output: Output) -> Result<()> {
    let path = find_camera(connection, camera).await?.inner().path().to_owned();
    FramingProxy::builder(connection).path(path).cache_properties(CacheProperties::No).build().await?.reframe().await?;
    output.done(&json!({"reframed": true}), format_args!("the people are framed again"))
}
