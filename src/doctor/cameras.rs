//! Findings about the video devices that the configuration names.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use portraitd_media::{FormatRequest, Size};
use portraitd_v4l2::formats::Encoding;
use portraitd_v4l2::{Candidate, DeviceInfo, negotiate};

use super::{RESTART, Report, Surroundings, shown};
use crate::service::config::CameraConfig;
use crate::source::SourceSpec;

/// The most processes, and descriptors of one, that are looked at.
const MOST: usize = 8192;
/// Raw pictures that a USB 2 device can send, in bytes a second.
const USB2_BYTES_S: f64 = 24e6;

/// A program that has a device open.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    node: PathBuf,
    process: u32,
    program: String,
}

pub(super) fn examine(surroundings: &Surroundings, report: &mut Report) {
    let Ok(config) = &surroundings.settings else { return };
    let mut nodes: Vec<&DeviceInfo> = Vec::new();
    for camera in &config.cameras {
        let device = match camera.device.parse::<SourceSpec>() {
            Ok(SourceSpec::Auto) => of_auto(surroundings, camera, report),
            Ok(SourceSpec::Device(path)) => of_path(surroundings, camera, &path, report),
            // Scenes and files need no device.
            _ => None,
        };
        let Some(device) = device else { continue };
        format(surroundings, camera, device, report);
        if !nodes.iter().any(|other| other.path == device.path) {
            nodes.push(device);
        }
    }
    for device in &nodes {
        permission(surroundings, device, report);
    }
    busy(surroundings, &nodes, report);
}

/// The device that `auto` takes.
fn of_auto<'a>(surroundings: &'a Surroundings, camera: &CameraConfig, report: &mut Report) -> Option<&'a DeviceInfo> {
    let devices = &surroundings.devices;
    if let Some(usable) = devices.iter().find(|device| device.usable) {
        return Some(usable);
    }
    let place = format!("camera {}", camera.name);
    if devices.is_empty() {
        let what = "there is no video device: no camera is connected, or its driver is not loaded".to_owned();
        let remedy = [
            "lsusb",
            "journalctl -k -n 50",
            "sudo modprobe uvcvideo",
            "to go on without a camera: device = \"scene:walk\"",
        ];
        report.error("no-camera", "/dev/video*", what, &remedy);
        return None;
    }
    let closed: Vec<&DeviceInfo> = devices.iter().filter(|device| could_not_look(device)).collect();
    for device in &closed {
        unseen(device, report);
    }
    if let Some(device) = closed.first() {
        return Some(device);
    }
    let names: Vec<String> =
        devices.iter().map(|device| format!("{} ({})", device.path.display(), device.card)).collect();
    let what = format!("no video device has a format that can be used: {}", names.join(", "));
    report.error("no-usable-camera", place, what, &["portraitd devices"]);
    None
}

/// The device under the name that the configuration gives.
fn of_path<'a>(
    surroundings: &'a Surroundings,
    camera: &CameraConfig,
    path: &Path,
    report: &mut Report,
) -> Option<&'a DeviceInfo> {
    let real = surroundings.root().resolve(path);
    let found = surroundings.devices.iter().find(|device| Some(&device.path) == real.as_ref());
    let Some(device) = found else {
        let what = format!("the camera {} names {}, and there is no such video device", camera.name, path.display());
        let names: Vec<String> = surroundings
            .devices
            .iter()
            .filter(|device| device.usable)
            .map(|device| format!("device = {:?}", shown(device.stable_name.as_ref().unwrap_or(&device.path))))
            .collect();
        let mut remedy = vec!["is it connected? journalctl -k -n 50", "portraitd devices"];
        remedy.extend(names.iter().map(String::as_str));
        report.error("camera-missing", shown(path), what, &remedy);
        return None;
    };
    if could_not_look(device) {
        unseen(device, report);
    } else if !device.usable {
        let what = match device.formats.as_slice() {
            [] => format!("{} is not a camera ({})", device.card, device.capabilities.join(" ")),
            formats => {
                let codes: Vec<&str> = formats.iter().map(|format| format.code.as_str()).collect();
                format!("{} has no format that can be used: {}", device.card, codes.join(" "))
            }
        };
        report.error("camera-format", shown(&device.path), what, &["portraitd devices", "name another device"]);
        return None;
    }
    Some(device)
}

/// Whether this process could not open the device.
fn could_not_look(device: &DeviceInfo) -> bool {
    device.error.is_some() && device.formats.is_empty()
}

fn unseen(device: &DeviceInfo, report: &mut Report) {
    let reason = device.error.as_deref().unwrap_or_default();
    let text = format!("the formats of {}: {reason}; run the command as root", device.path.display());
    if !report.unseen.contains(&text) {
        report.unseen.push(text);
    }
}

/// Whether the service's user may open the node: the unit gives it the group `video`.
fn permission(surroundings: &Surroundings, device: &DeviceInfo, report: &mut Report) {
    const RW_OTHERS: u32 = 0o006;
    const RW_GROUP: u32 = 0o060;
    let root = surroundings.root();
    let Ok(metadata) = root.at(&device.path).metadata() else { return };
    if !surroundings.has_unit() {
        return;
    }
    let (mode, groups) = (metadata.mode(), root.groups());
    let group = groups.iter().find(|group| group.number == metadata.gid());
    let is_video = group.is_some_and(|group| group.name == "video");
    if mode & RW_OTHERS == RW_OTHERS || (is_video && mode & RW_GROUP == RW_GROUP) {
        return;
    }
    let name = group.map_or_else(|| metadata.gid().to_string(), |group| group.name.clone());
    let what = format!(
        "the service may not open it: it belongs to the group {name} with mode {:04o}, and the unit has the group video",
        mode & 0o7777
    );
    let step = format!("sudo systemctl edit portraitd    # [Service] SupplementaryGroups={name}");
    let remedy: &[&str] = if is_video {
        &["a udev rule: SUBSYSTEM==\"video4linux\", GROUP=\"video\", MODE=\"0660\"", "sudo udevadm trigger"]
    } else {
        &[&step, RESTART]
    };
    report.error("camera-permission", shown(&device.path), what, remedy);
}

/// The configured rate against the one that the device offers.
fn format(surroundings: &Surroundings, camera: &CameraConfig, device: &DeviceInfo, report: &mut Report) {
    let wanted = camera.wanted();
    let candidates = device.candidates(&wanted);
    let Some(choice) = negotiate(&wanted, &candidates).choice else { return };
    let (Some(asked), Some(rate)) = (wanted.frame_rate, choice.frame_rate) else { return };
    // 29.97 counts as 30.
    if rate >= asked * 0.99 {
        return;
    }
    let mut what = format!(
        "{} sends {} in {} with {rate} frames/s at most, and {asked} are configured",
        device.card, choice.size, choice.code
    );
    let raw_bytes_s = match choice.code.encoding() {
        Some(Encoding::Raw { pixels, .. }) => {
            let planes = (0..pixels.plane_count()).map(|plane| pixels.plane_extent(plane, choice.size));
            planes.map(|(row, rows)| row as f64 * rows as f64).sum::<f64>() * f64::from(asked)
        }
        _ => 0.0,
    };
    if is_usb2(surroundings, device) && raw_bytes_s > USB2_BYTES_S {
        let (needed, limit) = (raw_bytes_s / 1e6, USB2_BYTES_S / 1e6);
        what +=
            &format!("; it is connected by USB 2, which carries {limit:.0} MB/s, and these pictures need {needed:.0}");
    }
    let remedy = match fast_enough(&candidates, &wanted, asked) {
        Some(size) => format!("[[camera]] width = {}, height = {}: {asked} frames/s", size.width, size.height),
        None => format!("[[camera]] fps = {rate}"),
    };
    report.warning("format-slow", shown(&device.path), what, &[&remedy, "portraitd devices"]);
}

/// Whether the device is connected at the speed of USB 2.
fn is_usb2(surroundings: &Surroundings, device: &DeviceInfo) -> bool {
    let Some(node) = device.path.file_name().and_then(|name| name.to_str()) else { return false };
    // `device` is the interface; the folder above it is the device.
    surroundings.root().number(format!("/sys/class/video4linux/{node}/device/../speed")) == Some(480)
}

/// The largest size below the wanted one that the device sends fast enough.
fn fast_enough(candidates: &[Candidate], wanted: &FormatRequest, rate: f32) -> Option<Size> {
    let limit = wanted.size.map_or(u64::MAX, Size::area);
    let fast = candidates.iter().filter(|candidate| {
        candidate.code.encoding().is_some()
            && candidate.size.area() < limit
            && candidate.rates.iter().any(|offered| *offered >= rate * 0.99)
    });
    fast.map(|candidate| candidate.size).max_by_key(|size| size.area())
}

/// Programs that have one of the nodes open.
fn busy(surroundings: &Surroundings, nodes: &[&DeviceInfo], report: &mut Report) {
    if nodes.is_empty() {
        return;
    }
    let (holders, hidden) = holders(surroundings, nodes);
    if hidden > 0 {
        report
            .unseen
            .push(format!("which devices {hidden} processes of other users have open; run the command as root"));
    }
    for device in nodes {
        let of_node: Vec<String> = holders
            .iter()
            .filter(|holder| holder.node == device.path)
            .map(|holder| format!("{} (process {})", holder.program, holder.process))
            .collect();
        if !of_node.is_empty() {
            let what =
                format!("{} has it open; while it captures, the service cannot use the camera", of_node.join(", "));
            let look = format!("sudo fuser -v {}", device.path.display());
            report.warning(
                "camera-busy",
                shown(&device.path),
                what,
                &[&look, "end the other program, or let it read portraitd's view"],
            );
        }
    }
}

/// The programs that have one of the nodes open, without this one and the service; and the number of
/// processes whose descriptors could not be read.
fn holders(surroundings: &Surroundings, nodes: &[&DeviceInfo]) -> (Vec<Holder>, usize) {
    let root = surroundings.root();
    let (mut holders, mut hidden) = (Vec::<Holder>::new(), 0);
    for process in root.names("/proc", MOST).iter().filter_map(|name| name.parse::<u32>().ok()) {
        if process == std::process::id() {
            continue;
        }
        let program = root.text(format!("/proc/{process}/comm")).unwrap_or_default();
        if program == "portraitd" {
            continue;
        }
        let Ok(descriptors) = std::fs::read_dir(root.at(format!("/proc/{process}/fd"))) else {
            hidden += 1;
            continue;
        };
        for target in descriptors.take(MOST).filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()) {
            let holder = || Holder { node: target.clone(), process, program: program.clone() };
            if nodes.iter().any(|device| device.path == target) && !holders.contains(&holder()) {
                holders.push(holder());
            }
        }
    }
    (holders, hidden)
}
