//! `portraitd devices`: lists every video node, with the data needed to choose one.

use std::fmt::Write;

use portraitd_media::ControlValue;
use portraitd_v4l2::DeviceInfo;

use portraitd::command_line::print_line;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON document, with every size, rate and control
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let devices = portraitd_v4l2::devices()?;
    if arguments.json {
        return print_line(serde_json::to_string_pretty(&devices)?);
    }
    if devices.is_empty() {
        return print_line("no video devices (is a camera connected, and its driver loaded?)");
    }
    for device in &devices {
        print_line(text(device)?)?;
    }
    Ok(())
}

fn text(device: &DeviceInfo) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    write!(out, "{}: {} ({}, {})", device.path.display(), device.card, device.driver, device.bus)?;
    if let Some(error) = &device.error {
        write!(out, ": {error}")?;
        return Ok(out);
    }
    write!(
        out,
        "\n  {}{}",
        device.capabilities.join(" "),
        if device.usable { "; usable" } else { "; not for capture" }
    )?;
    if let Some(name) = &device.stable_name {
        write!(out, "\n  device = {:?}", name.display().to_string())?;
    }
    for line in &device.negotiation {
        write!(out, "\n  {line}")?;
    }
    for format in &device.formats {
        let largest = format.sizes.iter().max_by_key(|size| u64::from(size.width) * u64::from(size.height));
        let up_to = largest.map(|size| format!(", up to {}x{}", size.width, size.height)).unwrap_or_default();
        let (code, words) = (&format.code, &format.description);
        write!(out, "\n  {code}  {words}{up_to}{}", if format.usable { "" } else { " (not taken)" })?;
    }
    let settable: Vec<_> = device.controls.iter().filter(|control| control.is_settable()).collect();
    if !settable.is_empty() {
        write!(out, "\n  [camera.controls]")?;
    }
    let mut keys = std::collections::BTreeSet::new();
    // A name that comes twice means the first.
    for control in settable.into_iter().filter(|control| keys.insert(control.key())) {
        // As a configuration file takes it. The text of an item may need escapes.
        let value = match control.written(control.value.unwrap_or(control.default)) {
            ControlValue::Text(text) => format!("{text:?}"),
            value => value.to_string(),
        };
        write!(out, "\n  {} = {value}  # {}", control.key(), control.note())?;
    }
    if device.privacy {
        write!(out, "\n  has a privacy control")?;
    }
    if device.crop.is_some() || !device.pan_tilt_zoom.is_empty() {
        let crop = if device.crop.is_some() { "crop " } else { "" };
        write!(out, "\n  hardware: {crop}{}", device.pan_tilt_zoom.join(" "))?;
    }
    Ok(out)
}
