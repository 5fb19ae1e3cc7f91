//! The daemon in the guest, with its own bus and `portraitctl` as its client.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use portraitd_v4l2::CaptureStream;
use serde_json::Value;

use super::Test;
use super::lab::{Lab, Outcome, SMALL, command, frame};
use super::programs::{Programs, SMALL_CAMERA};

pub const TESTS: [Test; 5] = [
    ("daemon-devices", listing),
    ("daemon-auto", auto),
    ("daemon-controls", controls),
    ("daemon-flips", flips),
    ("daemon-resident-1080p", resident),
];

/// The largest memory of the daemon while a camera of 1920x1080 has clients, in KiB
/// (SPECIFICATION.md, C5).
const MOST_RESIDENT: u64 = 48 * 1024;

fn listing(lab: &Lab) -> Outcome {
    let output = command(&lab.daemon.to_string_lossy(), &["devices", "--json"])?;
    let found: Value = serde_json::from_slice(&output.stdout)?;
    let found = found.as_array().context("not an array")?;
    ensure!(found.len() == 4, "{} nodes", found.len());
    let usable = found.iter().filter(|device| device["usable"] == true).count();
    ensure!(usable == 2, "{usable} usable");
    for device in found {
        ensure!(device["driver"] == "vivid" && device["formats"].as_array().is_some_and(|formats| formats.len() > 20));
        ensure!(device["stable_name"].as_str().is_some_and(|name| name.starts_with("/dev/v4l/by-path/")));
    }
    let text = command(&lab.daemon.to_string_lossy(), &["devices"])?;
    let text = String::from_utf8(text.stdout)?;
    ensure!(text.contains("/dev/v4l/by-path/platform-vivid-000-capture") && text.contains("NV12"), "{text}");
    Ok(String::new())
}

/// `portraitd run --source auto` serves `view` and `mask` from the camera.
fn auto(lab: &Lab) -> Outcome {
    let programs = Programs::start(lab, &["--source", "auto"], SMALL_CAMERA)?;
    let mut said = Vec::new();
    for stream in ["view", "mask"] {
        let picture = format!("/tmp/{stream}.png");
        let text = programs.control(&["attach", stream, "--frames", "5", "--out", &picture, "--json"])?;
        let summary: Value = serde_json::from_str(text.lines().last().unwrap_or_default())?;
        ensure!(summary["frames"] == 5 && summary["torn"] == 0, "{stream}: {summary}");
        ensure!(fs::read(&picture)?.starts_with(b"\x89PNG"), "{stream}: no picture");
        said.push(format!("{stream} 5 frames"));
    }
    // The colour bars, as the client receives them: the first is white, the last is black.
    let view = portraitd_media::image::read(Path::new("/tmp/view.png"))?;
    let picture = view.as_picture();
    let size = picture.size();
    let (right, middle) = (usize::try_from(size.width)? - 8, usize::try_from(size.height)? / 2);
    let [white, black] = [super::lab::pixel(&picture, 8, middle), super::lab::pixel(&picture, right, middle)];
    ensure!(white.iter().all(|value| *value > 240.0) && black.iter().all(|value| *value < 15.0), "{white:?} {black:?}");
    // Without clients the camera is closed, and another program can open it.
    programs.state("main", "idle")?;
    frame(&mut CaptureStream::open(&lab.camera(0), &SMALL)?)?;
    Ok(said.join(", "))
}

/// Controls of the configuration and of clients, at each opening. The lines of `portraitd devices` are
/// a configuration.
fn controls(lab: &Lab) -> Outcome {
    let camera = lab.camera(0);
    let configuration = format!(
        "[[camera]]\nname = \"main\"\ndevice = \"{}\"\nwidth = 640\nheight = 360\nidle_close_s = 0\n\
         [camera.controls]\nbrightness = 77\ngain_automatic = false\ngain = 50\nnothing = 1\n",
        camera.display()
    );
    let programs = Programs::start(lab, &[], &configuration)?;
    let value = |key: &str| -> anyhow::Result<Value> {
        let list: Vec<Value> = serde_json::from_str(&programs.control(&["controls", "--json"])?)?;
        let control = list.into_iter().find(|control| control["key"] == key);
        Ok(control.with_context(|| format!("no {key}"))?["value"].clone())
    };
    let refused = |assignment: &str, reason: &str| -> anyhow::Result<()> {
        let error = programs.control(&["set", assignment]).err().with_context(|| format!("{assignment} is taken"))?;
        ensure!(format!("{error:#}").contains(reason), "{assignment}: {error:#}");
        Ok(())
    };
    ensure!(value("brightness")? == 128, "before the camera is opened: {}", value("brightness")?);
    programs.frames("view", 3, &[])?;
    programs.state("main", "idle")?;
    ensure!(value("brightness")? == 77 && value("gain")? == 50, "{} {}", value("brightness")?, value("gain")?);
    refused("controls.brightness=999", "999 is not a whole number from 0 to 255")?;
    refused("controls.brigthness=9", "did you mean brightness?")?;
    programs.control(&["set", "controls.gain_automatic=on"])?;
    refused("controls.gain=40", "has no effect now")?;
    programs.control(&["set", "controls.brightness=90"])?;
    // What another program leaves behind does not stay.
    super::lab::set(&camera, "Brightness", 10)?;
    programs.frames("view", 3, &[])?;
    ensure!(value("brightness")? == 90, "at the next opening: {}", value("brightness")?);
    programs.control(&["set", "controls.brightness="])?;
    ensure!(value("brightness")? == 128, "after a reset: {}", value("brightness")?);
    let text = String::from_utf8(command(&lab.daemon.to_string_lossy(), &["devices"])?.stdout)?;
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let start = lines.iter().position(|line| *line == "[camera.controls]").context("no controls")?;
    let printed = lines[start..].iter().take_while(|line| line.contains(['[', '='])).copied().collect::<Vec<_>>();
    let file = format!("[[camera]]\n{}\n", printed.join("\n"));
    fs::write("/tmp/printed.toml", &file)?;
    command(&lab.daemon.to_string_lossy(), &["check-config", "--config", "/tmp/printed.toml"])?;
    Ok(format!("{} controls", printed.len() - 1))
}

/// The device turns its pictures by its own controls, for as long as nobody wants a value for them, and
/// whatever other programs do to them.
fn flips(lab: &Lab) -> Outcome {
    let device = lab.camera(0);
    let start = |more: &str| {
        let configuration = format!(
            "[[camera]]\nname = \"main\"\ndevice = \"{}\"\nwidth = 640\nheight = 360\nidle_close_s = 0\n\
             framing.mode = \"off\"\n{more}\n",
            device.display()
        );
        Programs::start(lab, &[], &configuration)
    };
    let values = || -> anyhow::Result<[bool; 2]> {
        let listed = command("v4l2-ctl", &["-d", &device.to_string_lossy(), "-C", "horizontal_flip,vertical_flip"])?;
        let listed = String::from_utf8(listed.stdout)?;
        let on = |name: &str| listed.lines().any(|line| line.trim() == format!("{name}: 1"));
        Ok([on("horizontal_flip"), on("vertical_flip")])
    };
    // Whether the white bar of the pattern is on the right.
    let mirrored = |programs: &Programs| -> anyhow::Result<bool> {
        programs.control(&["attach", "view", "--frames", "3", "--out", "/tmp/flip.png"])?;
        let view = portraitd_media::image::read(Path::new("/tmp/flip.png"))?;
        let picture = view.as_picture();
        let (width, middle) = (usize::try_from(picture.size().width)?, usize::try_from(picture.size().height)? / 2);
        let [left, right] = [8, width - 8].map(|x| super::lab::pixel(&picture, x, middle).iter().sum::<f32>());
        ensure!((left - right).abs() > 600.0, "no bars: {left} {right}");
        Ok(right > left)
    };
    {
        let programs = start("mirror = true")?;
        ensure!(mirrored(&programs)? && values()? == [true, false], "mirror: {:?}", values()?);
        programs.control(&["set", "camera.mirror=off", "camera.rotate=180"])?;
        ensure!(mirrored(&programs)? && values()? == [true, true], "180 degrees: {:?}", values()?);
        programs.control(&["set", "camera.rotate=90"])?;
        programs.frames("view", 2, &[])?;
        ensure!(values()? == [false, false], "90 degrees are not the device's: {:?}", values()?);
        programs.control(&["set", "camera.rotate=0"])?;
        super::lab::set(&device, "Horizontal Flip", 1)?;
        ensure!(!mirrored(&programs)? && values()? == [false, false], "what another program left: {:?}", values()?);
        programs.control(&["set", "camera.mirror=on"])?;
        let client = programs.client(&["attach", "view", "--json"])?;
        programs.state("main", "running")?;
        super::lab::set(&device, "Horizontal Flip", 0)?;
        programs.frames("view", 3, &[])?;
        ensure!(mirrored(&programs)? && values()? == [true, false], "what another program does: {:?}", values()?);
        programs.control(&["set", "controls.horizontal_flip=off"])?;
        programs.frames("view", 3, &[])?;
        ensure!(mirrored(&programs)? && values()? == [false, false], "the client's value: {:?}", values()?);
        client.interrupt()?;
    }
    let programs = start("mirror = true\n[camera.controls]\nhorizontal_flip = true")?;
    ensure!(!mirrored(&programs)? && values()? == [true, false], "both: {:?}", values()?);
    Ok("mirror and 180 degrees by the device, 90 degrees and configured controls by the service".to_owned())
}

/// With 1920x1080 in and out, and clients of the view and the mask, the daemon stays within its
/// memory limit.
fn resident(lab: &Lab) -> Outcome {
    let configuration = format!(
        "[[camera]]\nname = \"main\"\ndevice = \"{}\"\nwidth = 1920\nheight = 1080\nfps = 5\n",
        lab.camera(0).display()
    );
    let programs = Programs::start(lab, &[], &configuration)?;
    let idle = programs.resources()?.2;
    let mask = programs.client(&["attach", "mask", "--json"])?;
    // The net takes some seconds to load in the guest.
    programs.until("main", "seeing", |camera| camera["Stats"]["masks"].as_u64() > Some(3))?;
    let lines = programs.frames("view", 20, &[])?;
    let summary = lines.last().context("no summary")?;
    ensure!(summary["frames"] == 20 && summary["torn"] == 0, "{summary}");
    let resident = programs.resources()?.2;
    ensure!(resident <= MOST_RESIDENT, "resident {resident} KiB");
    let (mask, format) = (mask.interrupt()?, programs.camera("main")?["Format"].clone());
    ensure!(format["width"] == 1920 && format["height"] == 1080, "{format}");
    ensure!(mask["frames"].as_u64().is_some_and(|count| count > 0), "{mask}");
    Ok(format!("{} {idle} KiB with nobody there, {resident} KiB watched", format["format"]))
}
