//! The daemon itself in the guest, with a bus of its own and `portraitctl` as its client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use portraitd::camera::v4l2::CaptureStream;
use serde_json::Value;

use super::Test;
use super::lab::{Lab, Outcome, SMALL, command, frame, set};

pub const TESTS: [Test; 4] = [
    ("daemon-devices", listing),
    ("daemon-auto", auto),
    ("daemon-survival", survival),
    ("daemon-two-cameras", two_cameras),
];

const BUS: &str = "unix:path=/tmp/lab-bus";

/// Programs that end with the test.
struct Programs {
    bus: Child,
    daemon: Child,
    control: PathBuf,
}

impl Drop for Programs {
    fn drop(&mut self) {
        for program in [&mut self.daemon, &mut self.bus] {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

impl Programs {
    fn start(lab: &Lab, arguments: &[&str], configuration: &str) -> Result<Self> {
        let _ = fs::remove_file("/tmp/lab-bus");
        fs::write("/tmp/portraitd.toml", configuration)?;
        let bus = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", &format!("--address={BUS}")])
            .stdin(Stdio::null())
            .spawn()
            .context("dbus-daemon")?;
        let until = Instant::now() + Duration::from_secs(20);
        while !Path::new("/tmp/lab-bus").exists() {
            ensure!(Instant::now() < until, "no bus");
            std::thread::sleep(Duration::from_millis(50));
        }
        let daemon = Command::new(&lab.daemon)
            .args(["run", "--config", "/tmp/portraitd.toml", "--bus", BUS, "--log", "warn"])
            .args(arguments)
            .stdin(Stdio::null())
            .spawn()
            .context("portraitd")?;
        let mut programs = Self { bus, daemon, control: lab.daemon.with_file_name("portraitctl") };
        let until = Instant::now() + Duration::from_secs(40);
        while let Err(error) = programs.control(&["list", "--json"]) {
            ensure!(Instant::now() < until, "the service does not come: {error:#}");
            if let Some(status) = programs.daemon.try_wait()? {
                bail!("portraitd ended: {status}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(programs)
    }

    fn control(&self, arguments: &[&str]) -> Result<String> {
        let words = [&["--bus", BUS], arguments].concat();
        let output = command(&self.control.to_string_lossy(), &words)?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts a client in the background.
    fn client(&self, arguments: &[&str]) -> Result<Client> {
        let child = Command::new(&self.control)
            .args(["--bus", BUS])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Client(Some(child)))
    }

    fn camera(&self, name: &str) -> Result<Value> {
        let status: Value = serde_json::from_str(&self.control(&["--camera", name, "status", "--json"])?)?;
        status.get("camera").or_else(|| status.get("Camera1")).cloned().with_context(|| status.to_string())
    }

    /// Waits until the camera is in the state; what it says then.
    fn state(&self, name: &str, wanted: &str) -> Result<Value> {
        let until = Instant::now() + Duration::from_secs(45);
        loop {
            let camera = self.camera(name)?;
            if camera["State"] == wanted {
                return Ok(camera);
            }
            ensure!(Instant::now() < until, "{name} does not become {wanted}: {camera}");
        }
    }
}

/// A `portraitctl` in the background.
struct Client(Option<Child>);

impl Client {
    /// Waits for its end; its summary.
    fn summary(mut self) -> Result<Value> {
        let output = self.0.take().context("running")?.wait_with_output()?;
        ensure!(output.status.success(), "portraitctl: {}", output.status);
        let text = String::from_utf8(output.stdout)?;
        Ok(serde_json::from_str(text.lines().last().unwrap_or_default())?)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

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

const SMALL_CAMERA: &str = "[[camera]]\nname = \"main\"\nwidth = 640\nheight = 360\nfps = 15\n";

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
    // The bars, as the client sees them: the first is white, the last black.
    let view = portraitd::pixel::image::read(Path::new("/tmp/view.png"))?;
    let picture = view.as_picture();
    let size = picture.size();
    let (right, middle) = (usize::try_from(size.width)? - 8, usize::try_from(size.height)? / 2);
    let [white, black] = [super::lab::pixel(&picture, 8, middle), super::lab::pixel(&picture, right, middle)];
    ensure!(white.iter().all(|value| *value > 240.0) && black.iter().all(|value| *value < 15.0), "{white:?} {black:?}");
    // Nobody looks any more: the camera is closed, and another program can have it.
    programs.state("main", "idle")?;
    frame(&mut CaptureStream::open(&lab.camera(0), &SMALL)?)?;
    Ok(said.join(", "))
}

fn bind(file: &str) -> Result<()> {
    fs::write(Path::new("/sys/bus/platform/drivers/vivid").join(file), "vivid.0").context(file.to_owned())
}

/// Each trouble is a named state, and passes without a restart; an attached client goes on by itself.
fn survival(lab: &Lab) -> Outcome {
    let path = lab.camera(0);
    let other = CaptureStream::open(&path, &SMALL)?;
    let source = path.display().to_string();
    let programs = Programs::start(lab, &["--source", &source], SMALL_CAMERA)?;
    let client = programs.client(&["attach", "view", "--frames", "100", "--json"])?;
    // Busy.
    let camera = programs.state("main", "failed")?;
    ensure!(camera["LastError"].as_str().is_some_and(|error| error.contains("in use by another program")), "{camera}");
    drop(other);
    programs.state("main", "running")?;
    // Stalled.
    set(&path, "Percentage of Dropped Buffers", 100)?;
    programs.state("main", "stalled")?;
    set(&path, "Percentage of Dropped Buffers", 0)?;
    let before = programs.state("main", "running")?;
    // Unplugged, and plugged again as another node.
    let number = fs::canonicalize(&path)?;
    let keeps_the_number = fs::File::open(&number)?;
    bind("unbind")?;
    lab.link()?;
    let camera = programs.state("main", "absent")?;
    bind("bind")?;
    lab.wait_for_nodes(4)?;
    lab.reset()?;
    ensure!(fs::canonicalize(&path)? != number, "it has its old number again");
    let after = programs.state("main", "running")?;
    drop(keeps_the_number);
    let summary = client.summary()?;
    ensure!(summary["frames"] == 100 && summary["torn"] == 0, "{summary}");
    Ok(format!(
        "absent: {}; generation {} -> {}; {summary}",
        camera["LastError"], before["Generation"], after["Generation"]
    ))
}

/// One daemon, two cameras: the first's trouble does not reach the second's client.
fn two_cameras(lab: &Lab) -> Outcome {
    let configuration: String = [("first", lab.camera(0)), ("second", lab.camera(1))]
        .iter()
        .map(|(name, path)| {
            format!(
                "[[camera]]\nname = \"{name}\"\ndevice = \"{}\"\nwidth = 640\nheight = 360\nfps = 15\n",
                path.display()
            )
        })
        .collect();
    let programs = Programs::start(lab, &[], &configuration)?;
    let first = programs.client(&["--camera", "first", "attach", "view", "--json"])?;
    let second = programs.client(&["--camera", "second", "attach", "view", "--frames", "60", "--json"])?;
    programs.state("first", "running")?;
    programs.state("second", "running")?;
    set(&lab.camera(0), "Inject Fatal Streaming Error", 1)?;
    set(&lab.camera(0), "Percentage of Dropped Buffers", 100)?;
    programs.state("first", "stalled")?;
    set(&lab.camera(0), "Percentage of Dropped Buffers", 0)?;
    programs.state("first", "running")?;
    let camera = programs.camera("second")?;
    ensure!(camera["State"] == "running" && camera["LastError"].as_str().is_none_or(str::is_empty), "{camera}");
    let summary = second.summary()?;
    ensure!(summary["frames"] == 60 && summary["reattached"] == 0, "{summary}");
    drop(first);
    Ok(summary.to_string())
}
