//! The subcommands of the laboratory. Results go to standard output, everything else to standard error; with `--json` the
//! output is one JSON document, or one a line where a stream is asked for.

mod bench;
mod demo;
mod demo_client;
mod direct;
mod eval;
mod layers;
mod progress;
mod segment;
mod sheet;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use portraitd::command_line::{exit_code, library_in, one_line, print_line, usage_exit_code};
use portraitd_vision::net::Library;
use portraitd_vision::net::library::DEFAULT_MODEL;

#[derive(Debug, Parser)]
#[command(name = "portraitd-lab", version, about = "Demo, evaluation and measurements of portraitd")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what it does: no camera, no bus, no privileges needed
    Demo(demo::Arguments),
    /// Masks, views and composites of pictures and videos
    Segment(segment::Arguments),
    /// Crops for a trace of people's boxes
    Direct(direct::Arguments),
    /// Score masks against a directory of pictures with known masks
    Eval(eval::Arguments),
    /// Measure the net, or the whole frame path, on this machine
    Bench(bench::Arguments),
    /// Compare a net's tensors between the engines and with another framework's
    Layers(layers::Arguments),
    /// The client process of the demo
    #[command(hide = true)]
    DemoClient(demo_client::Arguments),
}

/// Where models come from, and which one.
#[derive(Clone, Debug, clap::Args)]
struct ModelArguments {
    /// A model's name, or the path of a manifest
    #[arg(long, value_name = "MODEL", default_value = DEFAULT_MODEL)]
    model: String,
    /// A directory of models, looked at before the built-in ones
    #[arg(long, value_name = "DIR")]
    models_dir: Option<PathBuf>,
}

impl ModelArguments {
    fn library(&self) -> anyhow::Result<Library> {
        library_in(self.models_dir.as_deref())
    }
}

/// Runs the command line.
pub fn main() -> ExitCode {
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
        Command::DemoClient(arguments) => demo_client::run(&arguments),
    };
    exit_code("portraitd-lab", outcome)
}
