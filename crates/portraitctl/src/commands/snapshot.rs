//! `snapshot`: the newest picture of a stream as PNG.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result};
use portraitd_client::StreamKind;
use portraitd_client::feed::find_camera;
use serde_json::json;
use zbus::Connection;

use crate::output::print_json;

/// Runs the command. `out` may be `-` for standard output; then nothing else is printed there.
pub(crate) async fn run(
    connection: &Connection,
    camera: Option<&str>,
    stream: StreamKind,
    out: &Path,
    json: bool,
) -> Result<()> {
    let png = find_camera(connection, camera).await?.snapshot(stream.as_str()).await?;
    let mut png = File::from(OwnedFd::from(png));
    let bytes = if out == Path::new("-") {
        io::copy(&mut png, &mut io::stdout())?
    } else {
        let file = File::create(out).with_context(|| format!("{}", out.display()))?;
        io::copy(&mut png, &mut &file).with_context(|| format!("{}", out.display()))?
    };
    if json && out != Path::new("-") {
        print_json(&json!(HashMap::from([("out", json!(out)), ("bytes", json!(bytes))])))?;
    }
    Ok(())
}
