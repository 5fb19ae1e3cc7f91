//! Faults through the whole daemon with a client attached: each fault is a named state on the bus
//! and passes without a restart, and the client continues without intervention.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use portraitd_v4l2::CaptureStream;
use serde_json::Value;

use super::lab::{HDMI, Lab, Outcome, SMALL, TELEVISION, input, set};
use super::programs::{Client, Programs, camera_at};
use super::usb;
use super::uvc::{Camera, Sent};
use super::{Skipped, Test};

pub const TESTS: [Test; 7] = [
    ("daemon-busy", busy),
    ("daemon-survival", survival),
    ("daemon-unplug", unplug),
    ("daemon-permission-denied", permission),
    ("daemon-format-change", format_change),
    ("daemon-interlaced", interlaced),
    ("daemon-privacy", privacy),
];

/// A bit of the flags of a slot.
const PRIVATE: u64 = 1 << 4;

fn says(camera: &Value, words: &str) -> Result<()> {
    ensure!(camera["LastError"].as_str().is_some_and(|error| error.contains(words)), "{words}: {camera}");
    Ok(())
}

/// Another program uses the camera: a waiting client gets it as soon as it is free, and another one
/// is told the reason.
fn busy(lab: &Lab) -> Outcome {
    let path = lab.camera(0);
    let other = CaptureStream::open(&path, &SMALL)?;
    let programs = Programs::start(lab, &[], &camera_at(&path, ""))?;
    let refused = programs.control(&["attach", "view", "--frames", "1"]).err().context("attached to a busy camera")?;
    ensure!(refused.to_string().contains("in use by another program"), "{refused}");
    let client = programs.client(&["attach", "view", "--wait", "--frames", "20", "--json"])?;
    says(&programs.state("main", "failed")?, "in use by another program")?;
    let found = programs.doctor(lab)?;
    let (finds, us) =
        (|id: &str| found.iter().find(|(found, _)| found == id), format!("(process {})", std::process::id()));
    ensure!(finds("camera-busy").is_some_and(|(_, what)| what.contains(&us)), "not named as {us}: {found:?}");
    ensure!(finds("camera-state").is_some_and(|(_, what)| what.contains("in use by another program")), "{found:?}");
    drop(other);
    programs.state("main", "running")?;
    // It does not disturb a camera that streams, and does not name the service itself.
    let found = programs.doctor(lab)?;
    ensure!(!found.iter().any(|(id, _)| id == "camera-busy" || id == "camera-state"), "{found:?}");
    let summary = client.summary()?;
    ensure!(summary["frames"] == 20 && summary["reattached"] == 0, "{summary}");
    // There are no more clients, and the reason can still be read.
    says(&programs.state("main", "idle")?, "in use by another program")?;
    Ok(summary.to_string())
}

/// The second camera: at the end, its client and the bus must report no fault.
fn undisturbed(programs: &Programs, beside: Client) -> Result<Value> {
    let camera = programs.camera("second")?;
    ensure!(camera["State"] == "running" && camera["LastError"] == "", "{camera}");
    let stats: Value = serde_json::from_str(&programs.control(&["--camera", "second", "stats", "--json"])?)?;
    ensure!(stats["reopened"] == 0, "{stats}");
    let summary = beside.interrupt()?;
    ensure!(summary["reattached"] == 0 && summary["torn"] == 0, "{summary}");
    Ok(summary)
}

fn second(lab: &Lab) -> String {
    camera_at(&lab.camera(1), "").replace("\"main\"", "\"second\"")
}

/// A stall, a driver that fails, a device whose every call fails. A second camera with a client
/// runs at the same time.
fn survival(lab: &Lab) -> Outcome {
    let path = lab.camera(0);
    let programs = Programs::start(lab, &[], &format!("{}{}", camera_at(&path, ""), second(lab)))?;
    let beside = programs.client(&["--camera", "second", "attach", "view", "--json"])?;
    let client = programs.client(&["--camera", "main", "attach", "view", "--json"])?;
    programs.state("second", "running")?;
    programs.state("main", "running")?;
    set(&path, "Percentage of Dropped Buffers", 100)?;
    says(&programs.state("main", "stalled")?, "no frame for")?;
    set(&path, "Percentage of Dropped Buffers", 0)?;
    programs.state("main", "running")?;
    for (fault, words) in
        [("Inject Fatal Streaming Error", "Input/output error"), ("Disconnect", "removed while streaming")]
    {
        set(&path, fault, 1)?;
        programs
            .until("main", words, |camera| camera["LastError"].as_str().is_some_and(|error| error.contains(words)))?;
        programs.state("main", "running")?;
    }
    let camera = programs.camera("main")?;
    ensure!(camera["Generation"] == 1, "the same pictures, another generation: {camera}");
    let summary = client.interrupt()?;
    ensure!(summary["torn"] == 0 && summary["reattached"] == 0, "the client lost its ring: {summary}");
    Ok(format!("client {summary}, beside {}", undisturbed(&programs, beside)?))
}

/// The cable is pulled, and the camera returns as another `videoN`.
fn unplug(lab: &Lab) -> Outcome {
    usb::modules(lab)?;
    let bright: Vec<u8> = [200, 128].repeat(160 * 120);
    let plug = || Camera::plug(0, &usb::profile(), vec![Sent::good(&bright)]);
    let camera = plug()?;
    let number = usb::node()?;
    lab.link()?;
    let path = lab.link_of(&number)?;
    let usb_camera = camera_at(&path, "").replace("640", "160").replace("360", "120");
    let programs = Programs::start(lab, &[], &format!("{usb_camera}{}", second(lab)))?;
    let beside = programs.client(&["--camera", "second", "attach", "view", "--json"])?;
    let client = programs.client(&["--camera", "main", "attach", "view", "--json"])?;
    programs.state("second", "running")?;
    programs.state("main", "running")?;
    // An open descriptor of the old node keeps its number in use.
    let keeps_the_number = fs::File::open(&number)?;
    drop(camera);
    usb::gone()?;
    let absent = programs.state("main", "absent")?;
    lab.link()?;
    let camera = plug()?;
    let next = usb::node()?;
    ensure!(next != number, "it has its old number again");
    lab.link()?;
    let after = programs.state("main", "running")?;
    ensure!(after["Generation"] == 1, "the same pictures, another generation: {after}");
    drop(keeps_the_number);
    let summary = client.interrupt()?;
    ensure!(summary["torn"] == 0 && summary["reattached"] == 0, "the client lost its ring: {summary}");
    let beside = undisturbed(&programs, beside)?;
    drop((programs, camera));
    usb::gone()?;
    let (before, after) = (number.display(), next.display());
    Ok(format!("{before} -> {after}, {}; client {summary}, beside {beside}", absent["LastError"]))
}

/// The first folder on the way to a file that only its owner may enter.
fn closed_folder(path: &Path) -> Option<&Path> {
    let closed = |folder: &&Path| fs::metadata(folder).is_ok_and(|found| found.permissions().mode() & 0o001 == 0);
    path.ancestors().skip(1).filter(closed).last()
}

/// A node that the daemon's user may not open, until its permissions are changed.
fn permission(lab: &Lab) -> Outcome {
    if let Some(folder) = closed_folder(&lab.daemon) {
        let reason = format!(
            "another user cannot start the daemon: others may not enter {0} (`chmod o+x {0}` would allow it)",
            folder.display()
        );
        return Err(Skipped(reason).into());
    }
    let path = lab.camera(0);
    let node = fs::canonicalize(&path)?;
    let allow = |mode| fs::set_permissions(&node, fs::Permissions::from_mode(mode));
    let before = fs::metadata(&node)?.permissions().mode();
    allow(0o600)?;
    let programs = Programs::start_as(65534, lab, &[], &camera_at(&path, ""))?;
    let client = programs.client(&["attach", "view", "--wait", "--frames", "10", "--json"])?;
    let denied = programs.state("main", "failed")?;
    says(&denied, "permission denied")?;
    allow(0o666)?;
    programs.state("main", "running")?;
    let summary = client.summary()?;
    allow(before)?;
    Ok(format!("{}; {summary}", denied["LastError"]))
}

/// The signal on the input changes while a client is attached: its ring is closed, and it attaches
/// to the next one.
fn format_change(lab: &Lab) -> Outcome {
    let path = lab.camera(0);
    input(&path, HDMI)?;
    set(&path, "Enable Capture Scaler", 0)?;
    set(&path, "DV Timings Signal Mode", 4)?;
    set(&path, "DV Timings", 0)?;
    let configuration = camera_at(&path, "").replace("640", "0").replace("360", "0");
    let programs = Programs::start(lab, &[], &configuration)?;
    let client = programs.client(&["attach", "view", "--json"])?;
    let before = programs.state("main", "running")?;
    ensure!(before["Format"]["width"] == 640, "{before}");
    set(&path, "DV Timings", 2)?;
    let after = programs.until("main", "another generation", |camera| camera["Generation"] == 2)?;
    ensure!(after["Format"]["width"] == 720, "{after}");
    let frames = programs.frames("view", 3, &[])?;
    ensure!(frames[2]["width"] == 720 && frames[2]["generation"] == 2, "{}", frames[2]);
    let summary = client.interrupt()?;
    ensure!(summary["reattached"] == 1 && summary["generation"] == 2 && summary["torn"] == 0, "{summary}");
    drop(programs);
    lab.renew()?;
    Ok(summary.to_string())
}

fn interlaced(lab: &Lab) -> Outcome {
    let path = lab.camera(0);
    input(&path, TELEVISION)?;
    // The height of a whole frame: at half of it, vivid delivers one field, which is a progressive
    // picture.
    let configuration = camera_at(&path, "idle_close_s = 60").replace("640", "720").replace("360", "480");
    let programs = Programs::start(lab, &[], &configuration)?;
    let refused =
        programs.control(&["attach", "view", "--frames", "1"]).err().context("attached to interlaced frames")?;
    ensure!(refused.to_string().contains("interlaced pictures"), "{refused}");
    let camera = programs.state("main", "failed")?;
    says(&camera, "interlaced pictures")?;
    Ok(camera["LastError"].to_string())
}

/// The luma of a picture that the client saved, at its centre.
fn middle(path: &str) -> Result<f32> {
    let picture = portraitd_media::image::read(Path::new(path))?;
    let size = picture.size();
    let (x, y) = (usize::try_from(size.width)? / 2, usize::try_from(size.height)? / 2);
    Ok(super::lab::pixel(&picture.as_picture(), x, y)[1])
}

/// The shutter of a USB camera: while it is closed, the picture is black and marked as private,
/// even if the camera sends nothing.
fn privacy(lab: &Lab) -> Outcome {
    usb::modules(lab)?;
    let bright: Vec<u8> = [200, 128].repeat(160 * 120);
    let camera = Camera::plug(0, &usb::profile(), vec![Sent::good(&bright)])?;
    let node = usb::node()?;
    let configuration = camera_at(&node, "").replace("640", "160").replace("360", "120").replace("15", "30");
    let programs = Programs::start(lab, &[], &configuration)?;
    let client = programs.client(&["attach", "view", "--json"])?;
    programs.state("main", "running")?;
    let open = programs.frames("view", 3, &["--out", "/tmp/open.png"])?;
    ensure!(open[2]["flags"].as_u64().is_some_and(|flags| flags & PRIVATE == 0), "{}", open[2]);
    ensure!(middle("/tmp/open.png")? > 150.0, "not what the camera sends");
    camera.set_private(true);
    programs.state("main", "private")?;
    for stream in ["view", "mask"] {
        let closed = programs.frames(stream, 3, &["--out", "/tmp/closed.png"])?;
        ensure!(closed[2]["flags"].as_u64().is_some_and(|flags| flags & PRIVATE != 0), "{stream}: {}", closed[2]);
        ensure!(middle("/tmp/closed.png")? < 5.0, "{stream}: a closed shutter shows something");
    }
    camera.set_private(false);
    programs.state("main", "running")?;
    programs.frames("view", 3, &["--out", "/tmp/open.png"])?;
    ensure!(middle("/tmp/open.png")? > 150.0, "not what the camera sends");
    // With a closed shutter, missing frames are not a stall. With an open one they are.
    camera.set_private(true);
    programs.state("main", "private")?;
    camera.fall_silent();
    let silent = programs.frames("view", 5, &[])?;
    ensure!(silent[4]["flags"].as_u64().is_some_and(|flags| flags & PRIVATE != 0), "{}", silent[4]);
    ensure!(programs.camera("main")?["State"] == "private");
    camera.set_private(false);
    programs.state("main", "stalled")?;
    let summary = client.interrupt()?;
    ensure!(summary["reattached"] == 0, "{summary}");
    drop((programs, camera));
    usb::gone()?;
    Ok(summary.to_string())
}
