//! `snapshot`: the newest picture of a stream as PNG.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use portraitd_client::StreamKind;
use portraitd_client::feed::find_camera;
use serde_json::json;
use zbus::Connection;

use crate::output::Output;

/// Runs the command. `out` may be `-` for standard output; then nothing else is printed there.
pub(crate) async fn run(
    connection: &Connection,
    camera: Option<&str>,
    stream: StreamKind,
    out: &Path,
    output: Output,
) -> Result<()> {
    check_name(out)?;
    let png = find_camera(connection, camera).await?.snapshot(stream.as_str()).await?;
    let mut png = File::from(OwnedFd::from(png));
    let bytes = if out == Path::new("-") {
        io::copy(&mut png, &mut io::stdout())?
    } else {
        let file = File::create(out).with_context(|| format!("{}", out.display()))?;
        io::copy(&mut png, &mut &file).with_context(|| format!("{}", out.display()))?
    };
    if out == Path::new("-") {
        return Ok(());
    }
    let document = json!(HashMap::from([("out", json!(out)), ("bytes", json!(bytes))]));
    output.done(&document, format_args!("{}: a PNG picture of the {stream}, {bytes} bytes", out.display()))
}

/// Refuses the name of another kind of picture: the file would not be what its name says.
fn check_name(out: &Path) -> Result<()> {
    let others =
        ["jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "ppm", "pgm", "pnm", "avif", "heic", "mp4", "y4m"];
    let extension = out.extension().unwrap_or_default().to_ascii_lowercase();
    if others.iter().any(|other| extension == *other) {
        bail!("--out {}: a snapshot is a PNG picture: the name must end with .png", out.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_has_the_name_of_what_it_is() {
        for good in ["view.png", "view.PNG", "view", "-", "/dev/null", "view.v2"] {
            assert!(check_name(Path::new(good)).is_ok(), "{good}");
        }
        for bad in ["view.jpg", "a.b.JPEG", "view.ppm"] {
            let error = check_name(Path::new(bad)).expect_err(bad).to_string();
            assert!(error.contains(bad) && error.contains(".png"), "{error}");
        }
    }
}
