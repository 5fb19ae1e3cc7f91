//! `portraitd-lab direct`: runs the director alone on a trace of people's boxes.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::PathBuf;

use anyhow::Context;
use portraitd_lab::trace;

const EXAMPLES: &str = "\
Example: one person in the middle, no mask for the second frame, then nobody

  portraitd-lab direct - <<'END'
  {\"frame\": [1280, 720], \"max_zoom\": 3}
  {\"t\": 0.0, \"people\": [[0.4, 0.3, 0.2, 0.6]]}
  {\"t\": 0.033, \"people\": null}
  {\"t\": 0.067, \"people\": []}
  END

The first line is optional. It sets frame, output, max_zoom, speed, mode, manual_crop or lead_room.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// A file of JSON lines `{"t": s, "people": [[x, y, w, h], ...] | null}`; `-` is standard input
    trace: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let output = BufWriter::new(std::io::stdout().lock());
    let name = arguments.trace.display();
    if arguments.trace.as_os_str() == "-" {
        return trace::run(std::io::stdin().lock(), output).context("standard input");
    }
    let file = File::open(&arguments.trace).with_context(|| name.to_string())?;
    trace::run(BufReader::new(file), output).with_context(|| name.to_string())
}
