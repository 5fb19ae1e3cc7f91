//! Subcommands that moved to `portraitd-lab` in 0.1.0. For one release they exit with status 2 and
//! name the new program.

use std::process::ExitCode;

const MOVED: [&str; 6] = ["demo", "segment", "direct", "eval", "bench", "layers"];

/// If the command line names a subcommand that has moved: prints a message to standard error and
/// returns the exit code.
pub(super) fn refusal() -> Option<ExitCode> {
    let name = std::env::args().nth(1)?;
    MOVED.contains(&name.as_str()).then(|| {
        eprintln!("portraitd: the subcommand `{name}` has moved to portraitd-lab: run `portraitd-lab {name}`");
        ExitCode::from(2)
    })
}
