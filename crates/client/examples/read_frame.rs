//! Reads frames of a stream and saves the last one as PNG:
//!
//! `cargo run --release -p portraitd-client --example read_frame -- session front view view.png 60`

use std::fs::File;
use std::io::BufWriter;

use anyhow::{Context, Result};
use portraitd_client::connect::Bus;
use portraitd_client::feed::{AttachOptions, find_camera};
use portraitd_client::{Feed, FrameCopy, StreamKind, picture};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bus, camera, stream, file, frames] = arguments.as_slice() else {
        anyhow::bail!("usage: read_frame BUS CAMERA STREAM FILE FRAMES");
    };
    let bus: Bus = bus.parse()?;
    let stream = StreamKind::try_from(stream.as_str())?;
    let frames: u64 = frames.parse().context("FRAMES must be a number")?;

    let connection = bus.connect().await?;
    let camera = find_camera(&connection, Some(camera)).await?;
    let mut feed = Feed::attach(camera, stream, AttachOptions::default()).await?;
    let mut frame = FrameCopy::default();
    for _ in 0..frames {
        // The feed attaches again when the camera's size or format changes.
        feed.next(&mut frame).await?;
    }
    println!("{:?}", feed.counters());
    let picture = picture::to_packed(&frame).context("no frame was read: FRAMES must be at least 1")?;
    picture::write_png(&picture, BufWriter::new(File::create(file)?))?;
    Ok(())
}
