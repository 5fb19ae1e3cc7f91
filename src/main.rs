//! The command line of portraitd. Each subcommand is a file in `cli/`, and uses the library.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
