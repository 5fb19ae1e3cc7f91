//! The subcommands of the laboratory. Results go to standard output, everything else to standard
//! error. With `--json` the output is one JSON document; commands that write a stream print one
//! document per line.

mod bench;
mod demo;
mod demo_client;
mod direct;
mod eval;
mod layers;
mod model;
mod progress;
mod room;
mod scene;
mod segment;
mod sheet;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use portraitd::command_line::{exit_code, library_in, one_line, print_line, usage_exit_code};

use portraitd_scene::{SceneName, SceneOptions};

use model::ModelArguments;

const EXAMPLES: &str = "\
Examples:
  portraitd-lab demo
  portraitd-lab segment photo.jpg --out masks --composite '#203040'
  portraitd-lab eval scene:walk

`portraitd-lab COMMAND --help` describes a command.";

#[derive(Debug, Parser)]
#[command(
    name = "portraitd-lab",
    version,
    about = "Demonstrates, evaluates and measures portraitd, without a camera or a running daemon",
    after_help = EXAMPLES
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service on a synthetic scene and draw a contact sheet of its streams
    Demo(demo::Arguments),
    /// Write masks, views and composites of pictures and videos
    Segment(segment::Arguments),
    /// Compute the crops for a trace of people's boxes
    Direct(direct::Arguments),
    /// Score masks against known ones, and measure how steady masks, boxes and crops are
    Eval(eval::Arguments),
    /// Measure the time of the net, or of the whole frame path, on this machine
    Bench(bench::Arguments),
    /// Compare the tensors of a net between the engines, and with those of another framework
    Layers(layers::Arguments),
    /// Count the room in composites while the net is slow
    Room(room::Arguments),
    /// The client process of `demo`
    #[command(hide = true)]
    DemoClient(demo_client::Arguments),
}

/// Checks the value of `--out` where results are several files.
fn results_directory(out: &Path) -> anyhow::Result<()> {
    if out.as_os_str() == "-" {
        anyhow::bail!("--out -: the results are several files, so they need a directory (`./-` for one of this name)");
    }
    Ok(())
}

/// The names of the scenes, for the end of a help.
fn scenes(examples: &str) -> String {
    let names = SceneName::ALL.map(SceneName::name).join(", ");
    format!(
        "{examples}\n\nScenes: {names}.\nOptions of a scene, as in 'scene:two?size=640x360&fps=15': {}.",
        SceneOptions::OPTIONS
    )
}

/// Runs the command line.
pub(crate) fn main() -> ExitCode {
    if let Some(code) = portraitd_vision::net::intercept() {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage_exit_code(&error),
    };
    let outcome = match cli.command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Segment(arguments) => segment::run(&arguments),
        Command::Direct(arguments) => direct::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Layers(arguments) => layers::run(&arguments),
        Command::Room(arguments) => room::run(&arguments),
        Command::DemoClient(arguments) => demo_client::run(&arguments),
    };
    exit_code("portraitd-lab", outcome)
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
