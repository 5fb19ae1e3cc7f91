//! The flags and subcommands.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use portraitd_client::protocol::settings::excerpt;
use portraitd_client::{CropMode, Inset, MaskResolution, PixelFormat, StreamKind};

use crate::commands::set;

const EXAMPLES: &str = "\
Examples:
  portraitctl list
  portraitctl snapshot view --out view.png
  portraitctl attach mask --frames 100
  portraitctl set framing.max_zoom=1.5 background.color=navy
  portraitctl --bus session list             (portraitd was started with `run --bus session`)

`portraitctl COMMAND --help` describes a command.";

const ATTACH_EXAMPLES: &str = "\
Examples:
  portraitctl attach view --frames 60 --out view.png
  portraitctl attach view --wait --verbose --json
  portraitctl attach composite --width 640 --height 360 --format RGB3 --raw - | program
  portraitctl attach view --y4m - | ffmpeg -f yuv4mpegpipe -i - view.mp4
  portraitctl attach view --fps 15 --mjpeg - | ffplay -f mjpeg -framerate 15 -";

const SNAPSHOT_EXAMPLES: &str = "\
Examples:
  portraitctl snapshot composite --out composite.png
  portraitctl --camera door snapshot mask --out - | program";

const PROVIDE_EXAMPLES: &str = "\
Examples:
  portraitctl --camera door provide people.y4m --repeat
  ffmpeg -i rtsp://camera.example/stream -pix_fmt yuv420p -f yuv4mpegpipe - | portraitctl provide -";

#[cfg(feature = "preview")]
const PREVIEW_EXAMPLES: &str = "\
Examples:
  portraitctl preview
  portraitctl preview --listen 127.0.0.1:0              (any free port)
  ssh -t -L 8080:127.0.0.1:8080 board portraitctl preview

The address ends with a token that is new at each start. Whoever has it sees and controls the cameras
as the user can who started the command.";

/// Shows portraitd's cameras, changes their settings, and reads their streams.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// The bus: system, session, the address of another bus, or fd:N for an inherited socket
    /// without a bus.
    #[arg(long, global = true, default_value = "system", value_name = "BUS")]
    pub bus: String,
    /// The name of the camera. It may be omitted if there is only one.
    #[arg(long, global = true, value_name = "NAME")]
    pub camera: Option<String>,
    /// Prints JSON: one document, or one document per line for commands that follow a stream.
    #[arg(long, global = true)]
    pub json: bool,
    /// Does not say what is being waited for, and what was written.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists the cameras.
    List,
    /// Shows every property of a camera.
    Status,
    /// Shows a table of the cameras on a terminal, until it is interrupted; elsewhere, prints a line
    /// for every property of a camera that changes.
    Watch {
        /// Prints lines also on a terminal, and ends after this number of changes.
        #[arg(long, value_name = "N")]
        changes: Option<u64>,
    },
    /// Attaches to a stream and reads its frames, across changes of size and format.
    Attach(AttachArguments),
    /// Saves the newest picture of a stream as PNG.
    #[command(after_help = SNAPSHOT_EXAMPLES)]
    Snapshot {
        /// The stream: mask, view, composite or source.
        stream: StreamKind,
        /// The PNG file to write; - is standard output.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Changes settings.
    #[command(after_help = set::keys())]
    Set {
        /// A setting, such as framing.mode=follow or background.color=#203040. Keys are those of the
        /// configuration file; `max-zoom` and `MaxZoom` mean `max_zoom`.
        #[arg(required = true, value_name = "KEY=VALUE")]
        settings: Vec<set::Setting>,
    },
    /// Shows the controls of the camera's driver (exposure, white balance, focus...), in the form that
    /// the configuration takes. `set controls.gain=5` changes one.
    Controls,
    /// Provides the frames of a camera whose device is "provider" from a y4m video (4:2:0, 4:2:2 or
    /// grey), until its end. For root and the group portraitd-providers.
    #[command(after_help = PROVIDE_EXAMPLES)]
    Provide {
        /// The video; - is standard input, whose frames are left out while nobody looks.
        file: PathBuf,
        /// Begins again at the end of the file.
        #[arg(long)]
        repeat: bool,
    },
    /// Frames the people again, now.
    Reframe,
    /// Serves a web page that shows the cameras and changes their settings, until it is interrupted.
    /// Prints the address of the page. A camera is open only while a page shows it.
    #[cfg(feature = "preview")]
    #[command(after_help = PREVIEW_EXAMPLES)]
    Preview(PreviewArguments),
    /// Shows the figures that the service measures.
    Stats,
    /// Waits until the service is on the bus and no camera is absent, starting, stalled or failed.
    /// It starts no service and opens no camera.
    Wait {
        /// Gives up after this number of seconds, with exit status 1 and the reason.
        #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_seconds)]
        timeout: Duration,
    },
}

/// The arguments of `attach`.
#[derive(Args, Debug)]
#[command(after_help = ATTACH_EXAMPLES)]
pub(crate) struct AttachArguments {
    /// The stream: mask, view, composite or source.
    pub stream: StreamKind,
    /// Ends after this number of frames. Without it, the command runs until it is interrupted.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub frames: Option<u64>,
    /// Saves the last frame as .png, .ppm or .pgm.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Writes the planes of every frame to a file, without padding; - is standard output.
    #[arg(long, value_name = "FILE", group = "pipe", conflicts_with = "out")]
    pub raw: Option<PathBuf>,
    /// Writes a video to a file, uncompressed in 4:2:0 (grey for the mask); - is standard output. Its
    /// rate is constant: frames are repeated and dropped. Its size is that of the first frame.
    #[arg(long, value_name = "FILE", group = "pipe", conflicts_with_all = ["out", "format"])]
    pub y4m: Option<PathBuf>,
    /// Writes one JPEG picture after another to a file, at a constant rate, as --y4m does.
    #[arg(long, value_name = "FILE", group = "pipe", conflicts_with_all = ["out", "format"])]
    pub mjpeg: Option<PathBuf>,
    /// The quality of JPEG pictures, 1 to 100.
    #[arg(long, value_name = "N", default_value = "85", requires = "mjpeg",
          value_parser = clap::value_parser!(u8).range(1..=100))]
    pub quality: u8,
    /// Width of the pictures in pixels: an even number from 16 to 4096.
    #[arg(long, requires = "height", value_name = "PIXELS")]
    pub width: Option<u32>,
    /// Height of the pictures in pixels: an even number from 16 to 4096.
    #[arg(long, requires = "width", value_name = "PIXELS")]
    pub height: Option<u32>,
    /// The pixel format: NV12 or RGB3, or GREY for the mask.
    #[arg(long, value_name = "FOURCC", value_parser = parse_format)]
    pub format: Option<PixelFormat>,
    /// The maximum number of frames a second, and with --y4m and --mjpeg their rate; without it that
    /// is the camera's.
    #[arg(long, value_name = "N")]
    pub fps: Option<u32>,
    /// The part of the frame that a composite shows: view or full.
    #[arg(long, value_name = "PART")]
    pub crop: Option<CropMode>,
    /// The corner of a view that shows the whole frame: top-left, top-right, bottom-left,
    /// bottom-right or none.
    #[arg(long, value_name = "CORNER")]
    pub inset: Option<Inset>,
    /// The resolution of a mask: net, quarter or full.
    #[arg(long)]
    pub resolution: Option<MaskResolution>,
    /// Waits while the service does not run or the camera is absent, in use or failing, instead of
    /// giving up; also when the service stops and starts again.
    #[arg(long)]
    pub wait: bool,
    /// Prints a line for every frame, on standard error if the frames go to standard output.
    #[arg(long, short)]
    pub verbose: bool,
}

/// The arguments of `preview`.
#[cfg(feature = "preview")]
#[derive(Args, Debug)]
pub(crate) struct PreviewArguments {
    /// The address and port to listen on. Port 0 is any free port.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub listen: std::net::SocketAddr,
    /// Listens also on an address that other machines reach. Pictures and the token then cross the
    /// network unencrypted.
    #[arg(long)]
    pub unencrypted: bool,
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| format!("\"{}\" is not a number from 0 to 86400", excerpt(text)))
}

fn parse_format(text: &str) -> Result<PixelFormat, String> {
    <[u8; 4]>::try_from(text.as_bytes())
        .ok()
        .and_then(PixelFormat::from_fourcc)
        .ok_or_else(|| format!("\"{}\" is not one of NV12 RGB3 GREY", excerpt(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn man_pages_and_completions_are_up_to_date() {
        use clap::CommandFactory;
        let different = portraitd_manual::differences(Cli::command()).expect("packaging/manual");
        assert!(different.is_empty(), "PORTRAITD_BLESS=1 cargo test man_pages writes {different:#?}");
    }
}
