//! The subcommands. Results go to standard output, everything else to standard error; with `--json` the output is one
//! JSON document, or one a line where a stream is asked for. Exit codes: 0, 1 for a failure (one line on standard
//! error), 2 for a wrong command line.

mod bench;
mod check_config;
mod demo;
mod demo_client;
mod devices;
mod direct;
mod eval;
mod layers;
mod models;
mod progress;
mod run;
mod segment;
mod sheet;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use portraitd::net::Library;
use portraitd::net::library::DEFAULT_MODEL;
use portraitd::service::config::Config;

#[derive(Debug, Parser)]
#[command(name = "portraitd", version, about = "A camera as a service: person masks and person-centred views")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service
    Run(run::Arguments),
    /// Show what it does: no camera, no bus, no privileges needed
    Demo(demo::Arguments),
    /// Masks, views and composites of pictures and videos
    Segment(segment::Arguments),
    /// Crops for a trace of people's boxes
    Direct(direct::Arguments),
    /// Score masks against a directory of pictures with known masks
    Eval(eval::Arguments),
    /// Measure the net, or the whole way of a frame, on this machine
    Bench(bench::Arguments),
    /// Compare a net's tensors between the engines and with another framework's
    Layers(layers::Arguments),
    /// List the models
    Models(models::Arguments),
    /// List the cameras
    Devices(devices::Arguments),
    /// Check the configuration and show what it comes to
    CheckConfig(check_config::Arguments),
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

/// The models of `--models-dir`, and the built-in ones.
fn library_in(directory: Option<&Path>) -> anyhow::Result<Library> {
    if let Some(directory) = directory {
        check_directory("--models-dir", directory)?;
    }
    Ok(Library::new(directory.map(Path::to_owned).into_iter().collect()))
}

/// The models of a configuration. The directory of the default need not be there: the built-in models are.
fn library_of(config: &Config) -> anyhow::Result<Library> {
    if config.models_dir != Config::default().models_dir {
        check_directory("`models_dir`", &config.models_dir)?;
    }
    Ok(Library::new(vec![config.models_dir.clone()]))
}

fn check_directory(key: &str, path: &Path) -> anyhow::Result<()> {
    std::fs::read_dir(path).map(drop).with_context(|| format!("{key}: {}", path.display()))
}

/// An error on one line, each cause once: some say in their own text what is told as their cause once more.
fn one_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&cause);
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap knows.
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let done = match cli.command {
        Command::Run(arguments) => run::run(arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Segment(arguments) => segment::run(&arguments),
        Command::Direct(arguments) => direct::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Layers(arguments) => layers::run(&arguments),
        Command::Models(arguments) => models::run(&arguments),
        Command::Devices(arguments) => devices::run(&arguments),
        Command::CheckConfig(arguments) => check_config::run(arguments),
        Command::DemoClient(arguments) => demo_client::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has seen enough (`portraitd models | head`).
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portraitd: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// Writes a line to standard output, and says so if it cannot.
fn print_line(text: impl std::fmt::Display) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
