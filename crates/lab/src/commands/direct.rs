//! `portraitd-lab direct`: the director alone, on a trace of people's boxes.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::PathBuf;

use anyhow::Context;
use portraitd_lab::trace;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// JSON lines `{"t": s, "people": [[x, y, w, h], ...] | null}`; `-` is standard input
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
