//! Writes frames of a synthetic scene and their truth as PNG, and prints the time to render a
//! frame.
//!
//! `cargo run --release -p portraitd-lab --example scene -- SOURCE OUT [STEP]` writes every STEP-th
//! frame (default 30) of one period of `scene:...` to `OUT/NNNN.png`, and its truth to
//! `OUT/NNNN.alpha.png`.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use portraitd::source::SourceSpec;
use portraitd_media::{OwnedPicture, PixelFormat, image};
use portraitd_scene::{Scene, Scratch};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, out, ..] = arguments.as_slice() else { bail!("usage: scene SOURCE OUT [STEP]") };
    let step = arguments.get(2).map_or(Ok(30), |text| text.parse()).context("STEP")?;
    let SourceSpec::Scene(mut options) = source.parse()? else { bail!("{source}: not a scene such as scene:walk") };
    options.pixel_format = PixelFormat::Nv12;
    let started = Instant::now();
    let scene = Scene::new(&options)?;
    println!("the scene was created in {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    std::fs::create_dir_all(out)?;
    for sequence in (0..scene.period_frames()).step_by(step) {
        let truth = scene.truth(sequence);
        let path = |kind: &str| Path::new(out).join(format!("{sequence:04}{kind}.png"));
        image::write_png(&path(""), &to_rgb(&scene.picture(sequence)).as_picture())?;
        image::write_png(&path(".alpha"), &truth.alpha.as_picture())?;
    }
    let mut picture = scene.picture(0);
    let mut scratch = Scratch::default();
    let (started, frames) = (Instant::now(), scene.period_frames().min(300));
    for sequence in 0..frames {
        scene.render(sequence, &mut scratch, picture.bytes_mut());
    }
    println!("{:.2} ms per frame", started.elapsed().as_secs_f64() * 1e3 / frames as f64);
    Ok(())
}

/// Converts NV12 (BT.601, limited range) to RGB.
fn to_rgb(picture: &OwnedPicture) -> OwnedPicture {
    let size = picture.size();
    let width = size.width as usize;
    let mut rgb = Vec::with_capacity(width * size.height as usize * 3);
    for (at, luma) in picture.plane(0).iter().enumerate() {
        let (x, y) = (at % width, at / width);
        let chroma = &picture.plane(1)[y / 2 * width + x / 2 * 2..];
        let level = (f32::from(*luma) - 16.0) / 219.0;
        let (cb, cr) = ((f32::from(chroma[0]) - 128.0) / 224.0, (f32::from(chroma[1]) - 128.0) / 224.0);
        for value in [level + 1.402 * cr, level - 0.344_136 * cb - 0.714_136 * cr, level + 1.772 * cb] {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=255 by the clamp")]
            let byte = (value * 255.0 + 0.5).clamp(0.0, 255.0) as u8;
            rgb.push(byte);
        }
    }
    OwnedPicture::new(PixelFormat::Rgb24, size, picture.color(), rgb).expect("every pixel was made")
}
