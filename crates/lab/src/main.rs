//! The command line of `portraitd-lab`. Each subcommand is a module in `commands/`.

mod commands;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::main()
}
