//! `portraitd devices`: every video node, with all that a person needs to choose one.

use portraitd::camera::v4l2;

use super::print_line;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let devices = v4l2::devices()?;
    if arguments.json {
        return print_line(serde_json::to_string_pretty(&devices)?);
    }
    if devices.is_empty() {
        return print_line("no video devices (is a camera connected, and its driver loaded?)");
    }
    for device in &devices {
        print_line(device)?;
    }
    Ok(())
}
