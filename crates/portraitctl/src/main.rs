//! portraitctl: shows portraitd's cameras, changes their settings, and reads their streams.
//!
//! The program has one thread and one tokio runtime. Exit codes: 0 for success, 1 for a failure,
//! with one line on standard error, and 2 for an invalid command line.
//!
//! | module | contents |
//! |---|---|
//! | `command_line` | flags and subcommands |
//! | `commands` | one module per subcommand |
//! | `explain` | errors as one line of text |
//! | `output` | D-Bus values as JSON and as text |

mod command_line;
mod commands;
mod explain;
mod output;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use portraitd_client::connect::{Bus, connect_fd, inherited_fd};
use zbus::Connection;

use command_line::{Cli, Command};
use commands::{attach, controls, list, provide, reframe, set, snapshot, stats, status, wait, watch};
use output::Output;

/// Connects as `--bus` says: to a bus, or over the socket of `fd:N`.
async fn connect(bus: &str) -> Result<Connection> {
    if let Some(number) = bus.strip_prefix("fd:") {
        let number = number.parse().with_context(|| format!("--bus {bus}: not the number of a descriptor"))?;
        let socket = inherited_fd(number).with_context(|| format!("--bus {bus}"))?;
        return connect_fd(socket).await.with_context(|| format!("--bus {bus}"));
    }
    let bus: Bus = bus.parse()?;
    match bus.connect().await {
        Ok(connection) => Ok(connection),
        Err(error) => {
            let advice = bus.advice(&error).map_or_else(String::new, |advice| format!("; {advice}"));
            anyhow::bail!("connecting to the {bus}: {error}{advice}")
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    let connection = connect(&cli.bus).await?;
    let (connection, camera, json) = (&connection, cli.camera.as_deref(), cli.json);
    let output = Output { json, quiet: cli.quiet };
    match cli.command {
        Command::List => list::run(connection, json).await,
        Command::Status => status::run(connection, camera, json).await,
        Command::Watch { changes } => watch::run(connection, camera, changes, json).await,
        Command::Attach(arguments) => attach::run(connection, camera, &arguments, output).await,
        Command::Snapshot { stream, out } => snapshot::run(connection, camera, stream, &out, output).await,
        Command::Set { settings } => set::run(connection, camera, &settings, output).await,
        Command::Controls => controls::run(connection, camera, json).await,
        Command::Provide { file, repeat } => provide::run(connection, camera, &file, repeat, output).await,
        #[cfg(feature = "preview")]
        Command::Preview(arguments) => commands::preview::run(connection, camera, &cli.bus, &arguments, output).await,
        Command::Reframe => reframe::run(connection, camera, output).await,
        Command::Wait { timeout } => wait::run(connection, camera, timeout, json).await,
        Command::Stats => stats::run(connection, camera, json).await,
    }
}

fn main() -> ExitCode {
    // An invalid command line ends the program here, with code 2.
    let cli = Cli::parse();
    let bus = cli.bus.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.context("starting the event loop").and_then(|runtime| runtime.block_on(run(cli)));
    let result = result.and_then(|()| std::io::stdout().flush().map_err(Into::into));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if explain::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "portraitctl: {}", explain::explain(&error, &bus));
            ExitCode::FAILURE
        }
    }
}
