//! `portraitd check-config`: reads all layers, and says what they come to, or where the first mistake is.

use std::path::PathBuf;

use portraitd::service::config::{Config, Flags, Sources};

use super::print_line;

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
    let config = Config::load(&Sources::system(arguments.config, Flags::default()))?;
    for warning in &config.warnings {
        eprintln!("portraitd: {warning}");
    }
    if arguments.json { print_line(serde_json::to_string_pretty(&config)?) } else { print_line(config.summary()) }
}
