//! The arguments of `portraitd-lab eval`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use portraitd_media::Size;

use super::super::model::ModelArguments;

const EXAMPLES: &str = "\
Examples:
  portraitd-lab eval scene:walk --json
  portraitd-lab eval 'scene:walk?size=640x360&noise=6' --seconds 10 --html page.html
  portraitd-lab eval photos/ --model selfie-general --closer 0 --edges guided";

#[derive(Debug, clap::Args)]
#[command(after_help = super::super::scenes(EXAMPLES))]
pub(in crate::commands) struct Arguments {
    /// A directory with `images/` (pictures or y4m videos) and `masks/`, or `scene:NAME`
    #[arg(value_name = "DIR|SCENE")]
    pub(super) directory: PathBuf,
    #[command(flatten)]
    pub(super) model: ModelArguments,
    /// First place each picture on a 16:9 canvas with replicated borders, so that people are small
    #[arg(long)]
    pub(super) wide: bool,
    /// Scale each picture and its truth to fit this size, and score the mask there
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    pub(super) size: Option<Size>,
    /// The method that scales the mask to the size of the picture
    #[arg(long, value_enum)]
    pub(super) edges: Option<EdgeMethod>,
    /// The number of passes on one window around all people after the full-frame pass; 0 scores the
    /// full-frame pass alone. By default pictures are segmented as `segment` does it
    #[arg(long, value_name = "N")]
    pub(super) closer: Option<usize>,
    /// Use only the first N pictures or videos
    #[arg(long, value_name = "N")]
    pub(super) count: Option<usize>,
    /// Use only the first seconds of each video; for a scene, use this time instead of one period
    #[arg(long, value_name = "SECONDS")]
    pub(super) seconds: Option<f64>,
    /// Write an HTML page with figures, charts, and the worst pictures
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

/// The method that scales a mask to the size of its picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum EdgeMethod {
    /// Interpolate between the cells of the mask
    Bilinear,
    /// Follow the edges of the picture with the guided filter, as composites do
    Guided,
}

fn parse_size(text: &str) -> Result<Size, String> {
    let sides = text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    let sides = sides.filter(|(width, height)| (16..=8192).contains(width) && (16..=8192).contains(height));
    sides.map(|(width, height)| Size::new(width, height)).ok_or_else(|| "expected WIDTHxHEIGHT, 16 to 8192 each".into())
}

/// Writes an HTML page. The error names the file.
pub(super) fn write_page(path: &Path, page: &str) -> anyhow::Result<()> {
    std::fs::write(path, page).with_context(|| path.display().to_string())?;
    eprintln!("{}: the page, {} bytes", path.display(), page.len());
    Ok(())
}
