//! Parts that the command lines of `portraitd` and `portraitd-lab` share: where models come from,
//! how results and errors are printed, and the exit codes (0 for success, 1 for a failure with one
//! line on standard error, 2 for wrong usage).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use portraitd_vision::net::Library;

/// The models of the directory `--models-dir`, followed by the built-in ones.
///
/// # Errors
/// If the directory cannot be read.
pub fn library_in(directory: Option<&Path>) -> anyhow::Result<Library> {
    if let Some(directory) = directory {
        check_directory("--models-dir", directory)?;
    }
    Ok(Library::new(directory.map(Path::to_owned).into_iter().collect::<Vec<PathBuf>>()))
}

/// Checks that a directory of models can be read. The error names `key`, the flag or setting.
///
/// # Errors
/// If it cannot be read.
pub fn check_directory(key: &str, path: &Path) -> anyhow::Result<()> {
    std::fs::read_dir(path).map(drop).with_context(|| format!("{key}: {}", path.display()))
}

/// An error with its causes on one line. Some errors repeat the text of their cause; it is written
/// once.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&cause);
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The exit code for an outcome. An error is printed on one line after the program's name; a broken
/// pipe on standard output (`portraitd models | head`) counts as success.
pub fn exit_code(program: &str, outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// Prints an error of the command line, or the requested help, and returns the exit code that clap
/// chose.
pub fn usage_exit_code(error: &clap::Error) -> ExitCode {
    let code = u8::try_from(error.exit_code()).unwrap_or(2);
    let _ = error.print();
    ExitCode::from(code)
}

/// Whether an error means that the reader of our output has closed it (`portraitd models | head`),
/// which is not a failure.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// Writes a line to standard output and flushes it.
///
/// # Errors
/// If standard output cannot be written.
pub fn print_line(text: impl std::fmt::Display) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
