//! `portraitd check-config`: reads all layers, and prints the settings in force, or every mistake
//! with its place.

use std::path::PathBuf;

use portraitd::service::config::compare;
use portraitd::service::config::{Config, ConfigSources, Flags};
use portraitd::source::SourceSpec;
use portraitd_media::image;
use portraitd_vision::net::EngineOptions;

use super::library_of;
use portraitd::command_line::{one_line, print_line};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Read this file instead of those in /usr/lib/portraitd and /etc/portraitd
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the whole configuration as one JSON document
    #[arg(long)]
    json: bool,
    /// Compare with FILE and print the settings that differ: another configuration file, or what
    /// `check-config --json` of another release printed. Exit status 1 if a setting differs
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = Config::check(&ConfigSources::system(arguments.config, Flags::default()))
        .map_err(|mistakes| all_of(mistakes.into_iter().map(Into::into).collect()))?;
    let mistakes = check(&config)?;
    if !mistakes.is_empty() {
        return Err(all_of(mistakes));
    }
    if let Some(path) = &arguments.against {
        return print_differences(&compare::read(path)?, &config, arguments.json);
    }
    if !arguments.json {
        return print_line(config.summary());
    }
    for warning in config.warnings.iter().chain(&config.hidden) {
        eprintln!("portraitd: {warning}");
    }
    print_line(serde_json::to_string_pretty(&config)?)
}

/// Prints what differs from an older configuration. New keys alone are no failure: they have the
/// value that keeps the old behaviour.
fn print_differences(old: &compare::Old, config: &Config, json: bool) -> anyhow::Result<()> {
    for warning in &old.warnings {
        eprintln!("portraitd: {warning}");
    }
    let differences = compare::differences(&old.settings, &serde_json::to_value(config)?);
    if json {
        print_line(serde_json::to_string_pretty(&differences)?)?;
    } else {
        for difference in &differences {
            print_line(difference)?;
        }
    }
    match differences.iter().filter(|difference| difference.changes_behaviour()).count() {
        0 => Ok(()),
        1 => anyhow::bail!("one setting differs"),
        count => anyhow::bail!("{count} settings differ"),
    }
}

/// Prints all mistakes but the last, one a line, and returns the last, which the caller prints.
fn all_of(mut mistakes: Vec<anyhow::Error>) -> anyhow::Error {
    let last = mistakes.pop().unwrap_or_else(|| anyhow::anyhow!("the configuration is refused"));
    for mistake in mistakes {
        eprintln!("portraitd: {}", one_line(&mistake));
    }
    last
}

/// Checks what the configuration refers to: models and images. `run` would refuse to start without
/// them, or run without them.
fn check(config: &Config) -> anyhow::Result<Vec<anyhow::Error>> {
    let library = library_of(config)?;
    let mut mistakes = Vec::new();
    for camera in &config.cameras {
        let mut of = |key: &str, checked: anyhow::Result<()>| {
            mistakes.extend(checked.err().map(|error| error.context(format!("`camera.{}.{key}`", camera.name))));
        };
        of("device", camera.device.parse::<SourceSpec>().map(drop).map_err(Into::into));
        let net = library.load(&camera.segmentation.model, EngineOptions::default());
        of("segmentation.model", net.map(drop).map_err(Into::into));
        if let Some(path) = &camera.background.image {
            of("background.image", image::read(path).map(drop).map_err(Into::into));
        }
    }
    Ok(mistakes)
}
