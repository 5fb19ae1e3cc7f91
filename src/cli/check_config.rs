//! `portraitd check-config`: reads all layers, and prints the settings in force or the first
//! mistake with its place.

use std::path::PathBuf;

use anyhow::Context;
use portraitd::service::config::{Config, ConfigSources, Flags};
use portraitd::source::SourceSpec;
use portraitd_media::image;
use portraitd_vision::net::EngineOptions;

use super::library_of;
use portraitd::command_line::print_line;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Read this file instead of those in /usr/lib/portraitd and /etc/portraitd
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the whole configuration as one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = Config::load(&ConfigSources::system(arguments.config, Flags::default()))?;
    check(&config)?;
    if !arguments.json {
        return print_line(config.summary());
    }
    for warning in &config.warnings {
        eprintln!("portraitd: {warning}");
    }
    print_line(serde_json::to_string_pretty(&config)?)
}

/// Checks what the configuration refers to: models and images. `run` would refuse to start without
/// them, or run without them.
fn check(config: &Config) -> anyhow::Result<()> {
    let library = library_of(config)?;
    for camera in &config.cameras {
        let of = |key: &str| format!("`camera.{}.{key}`", camera.name);
        camera.device.parse::<SourceSpec>().with_context(|| of("device"))?;
        library.load(&camera.segmentation.model, EngineOptions::default()).with_context(|| of("segmentation.model"))?;
        if let Some(path) = &camera.background.image {
            image::read(path).with_context(|| of("background.image"))?;
        }
    }
    Ok(())
}
