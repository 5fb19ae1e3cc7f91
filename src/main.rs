//! The command line of portraitd. Each subcommand is a file in `cli/`; what it does lives in the library.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
