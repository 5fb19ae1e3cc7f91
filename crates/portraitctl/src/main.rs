//! portraitctl: looks at portraitd's cameras, changes their settings, and takes pictures from their streams.
//!
//! One thread, one tokio runtime. Exit codes: 0, 1 for a failure (one line on stderr), 2 for wrong usage.

mod attach;
mod json;
mod set;
mod show;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use portraitd_client::connect::{Bus, connect_fd, inherited_fd};
use portraitd_client::feed::FeedError;
use portraitd_client::{PixelFormat, ServiceError, StreamKind};
use zbus::Connection;

/// Looks at portraitd's cameras, changes their settings, and takes pictures from their streams.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    /// The bus: system, session, the address of another one, or fd:N for a socket without bus that this program was
    /// started with.
    #[arg(long, global = true, default_value = "system", value_name = "BUS")]
    bus: String,
    /// The camera's name; may be left out where there is only one.
    #[arg(long, global = true, value_name = "NAME")]
    camera: Option<String>,
    /// Prints JSON: one document, or one a line where a stream is asked for.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the cameras.
    List,
    /// Shows every property of a camera.
    Status,
    /// Prints a line for every property that changes, until interrupted.
    Watch {
        /// Ends after this many changes.
        #[arg(long, value_name = "N")]
        changes: Option<u64>,
    },
    /// Attaches to a stream and reads its frames, also across changes of size or format.
    Attach(AttachArguments),
    /// Saves the newest picture of a stream as PNG.
    Snapshot {
        /// mask, view, composite or source.
        stream: StreamKind,
        /// The file; - is stdout.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Changes settings, each as KEY=VALUE.
    #[command(after_help = set::keys())]
    Set {
        /// For example framing.mode=follow or background.color=#203040.
        #[arg(required = true, value_name = "KEY=VALUE")]
        settings: Vec<set::Setting>,
    },
    /// Frames anew, now.
    Reframe,
    /// Shows the figures that the service measures.
    Stats,
}

/// What `attach` is to do.
#[derive(Args, Debug)]
struct AttachArguments {
    /// mask, view, composite or source.
    stream: StreamKind,
    /// Ends after this many frames; without, runs until interrupted.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    frames: Option<u64>,
    /// Saves the last frame: .png, .ppm or .pgm.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Appends every frame's planes to a file, without padding; - is stdout.
    #[arg(long, value_name = "FILE", conflicts_with = "out")]
    raw: Option<PathBuf>,
    /// Width of the pictures in pixels; even, 16 to 4096.
    #[arg(long, requires = "height", value_name = "PIXELS")]
    width: Option<u32>,
    /// Height of the pictures in pixels; even, 16 to 4096.
    #[arg(long, requires = "width", value_name = "PIXELS")]
    height: Option<u32>,
    /// NV12 or RGB3, GREY for the mask.
    #[arg(long, value_name = "FOURCC", value_parser = parse_format)]
    format: Option<PixelFormat>,
    /// The most frames a second.
    #[arg(long, value_name = "N")]
    fps: Option<u32>,
    /// What a composite shows: view or full.
    #[arg(long, value_name = "PART")]
    crop: Option<portraitd_client::CropMode>,
    /// Where in a view the whole room is shown: top-left, top-right, bottom-left, bottom-right, or none
    #[arg(long, value_name = "CORNER")]
    inset: Option<portraitd_client::Inset>,
    /// How fine a mask is: net, quarter or full
    #[arg(long)]
    resolution: Option<portraitd_client::MaskResolution>,
    /// Waits for a service that does not run, and for a camera that is not there, is in use, or fails, instead of giving
    /// up.
    #[arg(long)]
    wait: bool,
    /// Prints a line for every frame.
    #[arg(long, short)]
    verbose: bool,
}

fn parse_format(text: &str) -> Result<PixelFormat, String> {
    <[u8; 4]>::try_from(text.as_bytes())
        .ok()
        .and_then(PixelFormat::from_fourcc)
        .ok_or_else(|| format!("{text:?} is not one of NV12 RGB3 GREY"))
}

async fn connect(bus: &str) -> Result<Connection> {
    if let Some(number) = bus.strip_prefix("fd:") {
        let number = number.parse().with_context(|| format!("--bus {bus}: not the number of a descriptor"))?;
        let socket = inherited_fd(number).with_context(|| format!("--bus {bus}"))?;
        return connect_fd(socket).await.with_context(|| format!("--bus {bus}"));
    }
    let bus: Bus = bus.parse()?;
    bus.connect().await.with_context(|| format!("connecting to the {bus}"))
}

async fn run(cli: Cli) -> Result<()> {
    let connection = connect(&cli.bus).await?;
    let camera = cli.camera.as_deref();
    match cli.command {
        Command::List => show::list(&connection, cli.json).await,
        Command::Status => show::status(&connection, camera, cli.json).await,
        Command::Watch { changes } => show::watch(&connection, camera, changes, cli.json).await,
        Command::Attach(arguments) => attach::attach(&connection, camera, &arguments, cli.json).await,
        Command::Snapshot { stream, out } => show::snapshot(&connection, camera, stream, &out, cli.json).await,
        Command::Set { settings } => set::set(&connection, camera, &settings, cli.json).await,
        Command::Reframe => set::reframe(&connection, camera, cli.json).await,
        Command::Stats => show::stats(&connection, camera, cli.json).await,
    }
}

/// An error in words, on one line: each cause once, and what the bus only names told from its side of the matter.
fn explain(error: &anyhow::Error, bus: &str) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let service = cause.downcast_ref::<ServiceError>().or_else(|| match cause.downcast_ref::<FeedError>() {
            Some(FeedError::Service(error)) => Some(error),
            _ => None,
        });
        let words = match service {
            Some(error) if error.is_not_running() => {
                let Ok(bus) = bus.parse::<Bus>();
                format!("portraitd is not running on the {bus} (--bus names another)")
            }
            Some(ServiceError::Bus(zbus::Error::FDO(error))) => error.to_string(),
            Some(ServiceError::Bus(error)) => error.to_string(),
            _ => cause.to_string(),
        };
        // Some errors say in their own text what is told as their cause once more.
        if !text.ends_with(&words) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&words);
        }
        if service.is_some() {
            break;
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether the error is that nobody reads our output any more, as with `portraitctl ... | head -1`.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn main() -> ExitCode {
    // Wrong usage ends here, with code 2.
    let cli = Cli::parse();
    let bus = cli.bus.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.context("a runtime").and_then(|runtime| runtime.block_on(run(cli)));
    let result = result.and_then(|()| std::io::stdout().flush().map_err(Into::into));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "portraitctl: {}", explain(&error, &bus));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_once_and_in_words() {
        let error = anyhow::anyhow!("no such file").context("connecting: no such file").context("so");
        assert_eq!(explain(&error, "system"), "so: connecting: no such file");
        let absent = ServiceError::from(zbus::fdo::Error::ServiceUnknown("not\nactivatable".into()));
        assert_eq!(
            explain(&absent.clone().into(), "session"),
            "portraitd is not running on the session bus (--bus names another)"
        );
        assert_eq!(
            explain(&FeedError::Service(absent).into(), "session"),
            explain(&anyhow::anyhow!(ServiceError::from(zbus::fdo::Error::NameHasNoOwner(String::new()))), "session")
        );
        let denied = ServiceError::from(zbus::fdo::Error::AccessDenied("by the\npolicy".into()));
        assert!(explain(&denied.into(), "system").ends_with("AccessDenied: by the policy"));
        let busy = ServiceError::Busy("in use".into());
        assert_eq!(explain(&busy.into(), "system"), "org.portraitd.Error.Busy: in use");
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
