//! The subcommands of `portraitd`. Results are written to standard output, everything else to
//! standard error. With `--json` the output is one JSON document.

mod check_config;
mod devices;
mod doctor;
mod models;
mod moved;
mod run;
mod start_error;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use portraitd::command_line::{check_directory, exit_code, usage_exit_code};
use portraitd::service::config::Config;
use portraitd_media::file::FileOptions;
use portraitd_scene::{SceneName, SceneOptions};
use portraitd_vision::net::Library;

const EXAMPLES: &str = "\
Examples:
  portraitd devices                                  the cameras, and the format chosen for each
  portraitd check-config                             the settings in force, or every mistake
  portraitd run --bus session --source scene:walk    a trial without camera and privileges

`portraitd COMMAND --help` describes a command; `portraitctl` is the client.";

/// The help of a command that takes a source, with the names of the scenes.
fn sources_help(examples: &str) -> String {
    let names = SceneName::ALL.map(SceneName::name).join(", ");
    format!(
        "{examples}\n\nScenes: {names}.\nOptions: scene:NAME?OPTION&OPTION ({}), file:PATH?OPTION ({}).",
        SceneOptions::OPTIONS,
        FileOptions::OPTIONS
    )
}

#[derive(Debug, Parser)]
#[command(
    name = "portraitd",
    version,
    about = "A camera as a service: person masks and person-centred views",
    after_help = EXAMPLES
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service
    Run(run::Arguments),
    /// List the models
    Models(models::Arguments),
    /// List the cameras
    Devices(devices::Arguments),
    /// Check the configuration and show the values in force
    CheckConfig(check_config::Arguments),
    /// Say what is wrong on this system, and how to mend it
    #[command(
        after_help = "It reads and asks, and changes nothing. As root it sees more. Exit status: 0 without errors \
        (warnings do not count), else 1."
    )]
    Doctor(doctor::Arguments),
}

/// The models of a configuration. The default directory may be missing, because the built-in models
/// are always available.
fn library_of(config: &Config) -> anyhow::Result<Library> {
    if config.models_dir != Config::default().models_dir {
        check_directory("`models_dir`", &config.models_dir)?;
    }
    Ok(Library::new(vec![config.models_dir.clone()]))
}

/// Runs the command line.
pub(crate) fn main() -> ExitCode {
    if let Some(code) = portraitd_vision::net::intercept() {
        return code;
    }
    if let Some(code) = moved::refusal() {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage_exit_code(&error),
    };
    let outcome = match cli.command {
        Command::Run(arguments) => run::run(arguments),
        Command::Models(arguments) => models::run(&arguments),
        Command::Devices(arguments) => devices::run(&arguments),
        Command::CheckConfig(arguments) => check_config::run(arguments),
        Command::Doctor(arguments) => doctor::run(arguments),
    };
    exit_code("portraitd", outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn man_pages_and_completions_are_up_to_date() {
        use clap::CommandFactory;
        let different = portraitd_manual::differences(Cli::command()).expect("packaging/manual");
        assert!(different.is_empty(), "PORTRAITD_BLESS=1 cargo test man_pages writes {different:#?}");
    }
}
