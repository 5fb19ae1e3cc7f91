//! What keeps the service from working on this system, and how to mend it: `portraitd doctor`.
//!
//! [`Surroundings`] holds what is examined: a root folder, the configuration, the video devices, and
//! what the bus answered. [`examine`] turns it into [`Finding`]s and does no I/O except reading
//! files below the root. Tests therefore make each condition in a folder of their own.
//!
//! | module | findings about |
//! |---|---|
//! | `board` | kernel, memory, processor clock, time |
//! | `cameras` | devices: presence, permission, format, other programs |
//! | `installed` | unit, bus policy, polkit, users and groups |
//! | `running` | the unit's state, the name on the bus, the state of each camera |
//! | `settings` | configuration, models, the folder of the metrics |
//! | [`bus`] | no findings: the calls on the bus |
//!
//! Nothing is changed, no stream is started, no service is started, and every call on the bus has a
//! limit of time. `docs/design/doctor.md` lists the findings.

mod board;
pub mod bus;
mod cameras;
mod installed;
mod root;
mod running;
mod settings;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

use portraitd_v4l2::DeviceInfo;
use serde::Serialize;

use crate::service::config::{BusConfig, CameraConfig, Config};
use crate::source::SourceSpec;
use bus::BusFacts;
use root::Root;

/// Remedies of several findings.
const RESTART: &str = "sudo systemctl restart portraitd";
const RELOAD_BUS: &str = "sudo busctl call org.freedesktop.DBus / org.freedesktop.DBus ReloadConfig";

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The service, or a camera of it, cannot work.
    Error,
    /// The service works, but worse than it could, or not for every user.
    Warning,
    /// Somebody has chosen this state. It is no fault, but may explain what the caller sees.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// Something that is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name, one of [`FINDINGS`]. It does not change between releases.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// Where it was found: a file, a device, a unit or a camera.
    #[serde(rename = "where")]
    pub place: String,
    /// What is wrong, in a sentence.
    pub what: String,
    /// What to do: a command for each step, or a sentence where there is none.
    #[serde(rename = "do")]
    pub remedy: Vec<String>,
}

/// The result of an examination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was found, the most severe first.
    pub findings: Vec<Finding>,
    /// What could not be examined, and why.
    pub unseen: Vec<String>,
}

impl Report {
    /// Whether something keeps the service from working.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    fn add(&mut self, severity: Severity, id: &'static str, place: impl Into<String>, what: String, remedy: &[&str]) {
        debug_assert!(FINDINGS.contains(&id), "{id} is not listed");
        let remedy = remedy.iter().map(|step| (*step).to_owned()).collect();
        self.findings.push(Finding { id, severity, place: place.into(), what, remedy });
    }

    fn error(&mut self, id: &'static str, place: impl Into<String>, what: String, remedy: &[&str]) {
        self.add(Severity::Error, id, place, what, remedy);
    }

    fn warning(&mut self, id: &'static str, place: impl Into<String>, what: String, remedy: &[&str]) {
        self.add(Severity::Warning, id, place, what, remedy);
    }

    fn note(&mut self, id: &'static str, place: impl Into<String>, what: String, remedy: &[&str]) {
        self.add(Severity::Note, id, place, what, remedy);
    }
}

/// The names of all findings.
pub const FINDINGS: &[&str] = &[
    // board
    "kernel-old",
    "no-memfd",
    "memory-low",
    "memory-limit",
    "oom-kills",
    "governor",
    "clock-unset",
    // cameras
    "no-camera",
    "no-usable-camera",
    "camera-missing",
    "camera-format",
    "camera-permission",
    "camera-busy",
    "format-slow",
    // installed
    "no-dbus",
    "unit-missing",
    "unit-masked",
    "unit-disabled",
    "policy-missing",
    "user-missing",
    "no-polkit",
    "polkit-actions",
    "caller-group",
    "caller-login",
    "caller-provider",
    // running
    "systemd-old",
    "unit-failed",
    "unit-stopped",
    "restarts",
    "name-missing",
    "service-silent",
    "safe-mode",
    "degraded",
    "camera-state",
    "no-provider",
    "camera-private",
    // settings
    "config-refused",
    "config-warning",
    "model-refused",
    "metrics-folder",
    "metrics-old",
];

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The user's number.
    pub user: u32,
    /// The numbers of the groups of this process.
    pub groups: Vec<u32>,
}

impl Caller {
    /// The user of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        let mut groups: Vec<u32> =
            rustix::process::getgroups().unwrap_or_default().iter().map(|g| g.as_raw()).collect();
        groups.push(rustix::process::getegid().as_raw());
        Self { user: rustix::process::geteuid().as_raw(), groups }
    }
}

/// What is examined.
#[derive(Debug)]
pub struct Surroundings {
    /// The folder that is read instead of `/`.
    pub root: PathBuf,
    /// Who asks.
    pub caller: Caller,
    /// The configuration in force, or why it is refused.
    pub settings: Result<Config, String>,
    /// Why models of the configuration cannot be used, with their keys.
    pub refused_models: Vec<String>,
    /// The video devices.
    pub devices: Vec<DeviceInfo>,
    /// What the bus answered.
    pub bus: BusFacts,
    /// The last warning or error of the service in the journal, if it could be read.
    pub last_words: Option<String>,
    /// Why no shared memory can be made.
    pub memfd: Option<String>,
    /// The time of day, in seconds since 1970.
    pub now_s: u64,
}

impl Surroundings {
    fn root(&self) -> Root<'_> {
        Root::new(&self.root)
    }

    /// The bus of the configuration. A refused configuration does not tell.
    fn bus_config(&self) -> BusConfig {
        self.settings.as_ref().map_or(BusConfig::System, |config| config.bus.clone())
    }

    /// The cameras whose frames another program provides.
    fn providers(&self) -> impl Iterator<Item = &CameraConfig> {
        let cameras = self.settings.iter().flat_map(|config| &config.cameras);
        cameras.filter(|camera| camera.device.parse() == Ok(SourceSpec::Provider))
    }

    /// Whether systemd runs here and the service is meant to be a unit of it.
    fn has_unit(&self) -> bool {
        self.bus_config() == BusConfig::System && self.root().exists("/run/systemd/system")
    }
}

/// Examines the surroundings.
#[must_use]
pub fn examine(surroundings: &Surroundings) -> Report {
    let mut report = Report::default();
    settings::examine(surroundings, &mut report);
    installed::examine(surroundings, &mut report);
    running::examine(surroundings, &mut report);
    cameras::examine(surroundings, &mut report);
    board::examine(surroundings, &mut report);
    // A stable sort: within a severity, what the service needs first comes first.
    report.findings.sort_by_key(|finding| finding.severity);
    report
}

/// Why this process cannot make the shared memory of a ring; `None` if it can.
#[must_use]
pub fn refused_memfd() -> Option<String> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE;
    let made = memfd_create("portraitd-doctor", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
    let sealed = made.and_then(|memory| fcntl_add_seals(&memory, seals));
    sealed.err().map(|errno| std::io::Error::from(errno).to_string())
}

/// A path as text.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
