//! The daemon, its own bus, and `portraitctl` as its client.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::lab::{Lab, command_as, resources};

/// A camera configuration without the device: small pictures, no movement of the crop.
pub const SMALL_CAMERA: &str =
    "[[camera]]\nname = \"main\"\nwidth = 640\nheight = 360\nfps = 15\nframing.mode = \"off\"\n";

/// The configuration [`SMALL_CAMERA`] with its device and more lines.
pub fn camera_at(device: &Path, more: &str) -> String {
    format!("{SMALL_CAMERA}device = \"{}\"\n{more}\n", device.display())
}

const BUS: &str = "unix:path=/tmp/lab-bus";

/// Programs that are ended with the test.
pub struct Programs {
    bus: Child,
    daemon: Child,
    control: PathBuf,
    /// The user of the programs: a bus accepts only its own user.
    user: u32,
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
    pub fn start(lab: &Lab, arguments: &[&str], configuration: &str) -> Result<Self> {
        Self::start_as(0, lab, arguments, configuration)
    }

    /// Starts as [`Programs::start`] does, with the bus and the daemon running as the user `user`.
    pub fn start_as(user: u32, lab: &Lab, arguments: &[&str], configuration: &str) -> Result<Self> {
        let _ = fs::remove_file("/tmp/lab-bus");
        fs::write("/tmp/portraitd.toml", configuration)?;
        let bus = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", &format!("--address={BUS}")])
            .uid(user)
            .stdin(Stdio::null())
            .spawn()
            .context("dbus-daemon")?;
        let until = Instant::now() + Duration::from_secs(20);
        while !Path::new("/tmp/lab-bus").exists() {
            ensure!(Instant::now() < until, "no bus");
            std::thread::sleep(Duration::from_millis(50));
        }
        let daemon = Command::new(&lab.daemon)
            .args(["run", "--config", "/tmp/portraitd.toml", "--bus", BUS, "--log", "info"])
            .args(arguments)
            .uid(user)
            .stdin(Stdio::null())
            .spawn()
            .context("portraitd")?;
        let mut programs = Self { bus, daemon, control: lab.daemon.with_file_name("portraitctl"), user };
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

    pub fn control(&self, arguments: &[&str]) -> Result<String> {
        let words = [&["--bus", BUS], arguments].concat();
        let output = command_as(self.user, &self.control.to_string_lossy(), &words)?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What `portraitd doctor` finds: the name and the text of each finding.
    pub fn doctor(&self, lab: &Lab) -> Result<Vec<(String, String)>> {
        // It fails if there is an error among the findings.
        let arguments = ["doctor", "--config", "/tmp/portraitd.toml", "--bus", BUS, "--json"];
        let output = Command::new(&lab.daemon).args(arguments).stdin(Stdio::null()).output()?;
        let report: Value = serde_json::from_slice(&output.stdout)?;
        let findings = report["findings"].as_array().with_context(|| report.to_string())?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(findings.iter().map(|finding| (text(&finding["id"]), text(&finding["what"]))).collect())
    }

    /// The descriptors, threads and resident memory (KiB) of the daemon.
    pub fn resources(&self) -> Result<(usize, usize, u64)> {
        resources(&self.daemon.id().to_string())
    }

    /// Starts a client in the background.
    pub fn client(&self, arguments: &[&str]) -> Result<Client> {
        let child = Command::new(&self.control)
            .args(["--bus", BUS])
            .args(arguments)
            .uid(self.user)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Client(Some(child)))
    }

    pub fn camera(&self, name: &str) -> Result<Value> {
        let status: Value = serde_json::from_str(&self.control(&["--camera", name, "status", "--json"])?)?;
        status.get("camera").or_else(|| status.get("Camera1")).cloned().with_context(|| status.to_string())
    }

    /// Waits until the camera has the state. Returns the camera's properties.
    pub fn state(&self, name: &str, wanted: &str) -> Result<Value> {
        self.until(name, wanted, |camera| camera["State"] == wanted)
    }

    /// Waits until the camera's properties satisfy the condition.
    pub fn until(&self, name: &str, wanted: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let until = Instant::now() + Duration::from_secs(180);
        loop {
            let camera = self.camera(name)?;
            if is(&camera) {
                return Ok(camera);
            }
            ensure!(Instant::now() < until, "{name} does not become {wanted}: {camera}");
        }
    }

    /// Attaches for some frames. Returns the output lines: one a frame, then the summary.
    pub fn frames(&self, stream: &str, count: usize, more: &[&str]) -> Result<Vec<Value>> {
        let count = count.to_string();
        let words = [&["attach", stream, "--frames", &count, "--json", "--verbose"], more].concat();
        self.control(&words)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

/// A `portraitctl` that runs in the background.
pub struct Client(Option<Child>);

impl Client {
    /// Waits for its end. Returns its summary.
    pub fn summary(mut self) -> Result<Value> {
        let output = self.0.take().context("running")?.wait_with_output()?;
        ensure!(output.status.success(), "portraitctl: {}", output.status);
        let text = String::from_utf8(output.stdout)?;
        Ok(serde_json::from_str(text.lines().last().unwrap_or_default())?)
    }
}

impl Client {
    /// Ends it. Returns its summary.
    pub fn interrupt(self) -> Result<Value> {
        let child = self.0.as_ref().context("running")?;
        rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::INT)?;
        self.summary()
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
