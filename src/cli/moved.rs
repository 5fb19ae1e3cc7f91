//! Subcommands that moved to `portraitd-lab` in 0.1.0. For one release they exit with status 2 and name the new program.

use std::process::ExitCode;

const MOVED: [&str; 6] = ["demo", "segment", "direct", "eval", "bench", "layers"];

/// The exit code where the command line names a subcommand that has moved; the message is on standard error then.
pub(super) fn refusal() -> Option<ExitCode> {
    let name = std::env::args().nth(1)?;
    MOVED.contains(&name.as_str()).then(|| {
        eprintln!("portraitd: `{name}` is a command of portraitd-lab now: run `portraitd-lab {name}`");
        ExitCode::from(2)
    })
}
