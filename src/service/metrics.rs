//! Metrics as Prometheus text, in a file that the textfile collector of node_exporter reads.
//!
//! The main thread makes a [`Report`] every few seconds and writes it with [`replace_file`]. A
//! reader sees either the old file or the new one, both complete. The directory must be writable
//! for the service, and the name of the file must end in `.prom`.
//!
//! PrometheusText format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
//! `docs/design/dependencies.md` explains why no crate writes it.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{File, Permissions};
use std::hash::BuildHasher as _;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};

/// The type of a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only increases, until the service restarts. Its name ends in `_total`.
    Counter,
    /// Increases and decreases.
    Gauge,
}

/// Prometheus text, written family by family.
#[derive(Clone, Debug, Default)]
pub struct PrometheusText {
    out: String,
}

/// Appends the value of a label, escaped as the format requires.
fn escape(value: &str, out: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

impl PrometheusText {
    /// An empty text.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a family. Its samples must follow.
    pub fn family(&mut self, name: &str, kind: MetricKind, help: &str) {
        let kind = if kind == MetricKind::Counter { "counter" } else { "gauge" };
        self.out.push_str("# HELP ");
        self.out.push_str(name);
        self.out.push(' ');
        // In a help text, backslash and line feed are escaped, and quotes are not.
        self.out.push_str(&help.replace('\\', "\\\\").replace('\n', "\\n"));
        let _ = writeln!(self.out, "\n# TYPE {name} {kind}");
    }

    /// Writes one sample.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.out.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.out.push(if index == 0 { '{' } else { ',' });
            self.out.push_str(label);
            self.out.push_str("=\"");
            escape(text, &mut self.out);
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        self.out.push(' ');
        self.number(value);
        self.out.push('\n');
    }

    fn number(&mut self, value: f64) {
        // Writing to a string cannot fail. The format accepts Rust's text of a finite number, but
        // has its own words for the other values.
        let _ = match value {
            value if value.is_nan() => self.out.write_str("NaN"),
            f64::INFINITY => self.out.write_str("+Inf"),
            f64::NEG_INFINITY => self.out.write_str("-Inf"),
            value => write!(self.out, "{value}"),
        };
    }

    /// The text that was written so far.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.out
    }
}

/// A count as the value of a sample. It is exact up to 2^53, which no count reaches.
fn as_f64(count: u64) -> f64 {
    #[expect(clippy::as_conversions, reason = "u64 to f64 has no From")]
    let value = count as f64;
    value
}

/// The metrics of one camera. Everybody can read them, so none of them tells whether or where people
/// are, or whether something moves: nothing of masks and inference passes is among them.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraReport {
    /// The name of the camera.
    pub name: String,
    /// The state of the camera, as on D-Bus.
    pub state: String,
    /// Frames per second from the source.
    pub camera_fps: f64,
    /// The number of attached clients.
    pub consumers: u32,
    /// How often the source was opened again after a failure.
    pub reopened: u64,
    /// The number of frames from the source.
    pub frames: u64,
    /// The number of frames that the source lost.
    pub dropped: u64,
    /// The number of damaged frames.
    pub corrupt: u64,
}

/// All metrics at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The version of the program.
    pub version: String,
    /// Seconds since the start.
    pub uptime_s: f64,
    /// Whether the service runs in safe mode.
    pub safe_mode: bool,
    /// The reports of all cameras.
    pub cameras: Vec<CameraReport>,
}

impl Report {
    /// The report as Prometheus text.
    #[must_use]
    pub fn to_text(&self) -> String {
        type ValueOf = fn(&CameraReport) -> f64;
        let families: [(&str, MetricKind, &str, ValueOf); 6] = [
            ("portraitd_camera_fps", MetricKind::Gauge, "Frames a second from the source", |camera| camera.camera_fps),
            ("portraitd_consumers", MetricKind::Gauge, "Attached clients", |camera| camera.consumers.into()),
            ("portraitd_reopen_total", MetricKind::Counter, "Times the source was opened again", |camera| {
                as_f64(camera.reopened)
            }),
            ("portraitd_frames_total", MetricKind::Counter, "Frames from the source", |camera| as_f64(camera.frames)),
            ("portraitd_frames_dropped_total", MetricKind::Counter, "Frames the source lost", |camera| {
                as_f64(camera.dropped)
            }),
            ("portraitd_frames_corrupt_total", MetricKind::Counter, "Frames that came damaged", |camera| {
                as_f64(camera.corrupt)
            }),
        ];
        let mut text = PrometheusText::new();
        text.family("portraitd_build_info", MetricKind::Gauge, "The program; always 1");
        text.sample("portraitd_build_info", &[("version", &self.version)], 1.0);
        text.family("portraitd_uptime_seconds", MetricKind::Gauge, "Seconds since the start");
        text.sample("portraitd_uptime_seconds", &[], self.uptime_s);
        text.family("portraitd_safe_mode", MetricKind::Gauge, "1: without the net, after crashes");
        text.sample("portraitd_safe_mode", &[], f64::from(u8::from(self.safe_mode)));
        if self.cameras.is_empty() {
            return text.out;
        }
        text.family("portraitd_camera_state", MetricKind::Gauge, "The camera's state; 1 for the one it is in");
        for camera in &self.cameras {
            text.sample("portraitd_camera_state", &[("camera", &camera.name), ("state", &camera.state)], 1.0);
        }
        for (name, kind, help, value) in families {
            text.family(name, kind, help);
            for camera in &self.cameras {
                text.sample(name, &[("camera", &camera.name)], value(camera));
            }
        }
        text.out
    }
}

/// Replaces a file atomically: it writes a new file beside it and renames it. Readers see either
/// the old content or the new one, also after a crash of the process. Everybody may read the file,
/// although the umask of the unit is strict.
///
/// The new file has a random name, is created by this call and by nobody before it, and no link is
/// followed to it or from its final name: whoever else may write to the folder can remove the file,
/// but cannot direct the write to a file of the service's user.
///
/// The content may be lost in a power cut, because nothing is synchronised with the disk.
///
/// # Errors
/// If the folder cannot be written, or if everybody may write to it and rename the files of others
/// in it (`/tmp` has the sticky bit, which forbids that). The old file then stays as it is.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // One descriptor of the folder for everything: a link that is exchanged meanwhile has no effect.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&folder)?.st_mode);
    if mode.contains(Mode::WOTH) && !mode.contains(Mode::SVTX) {
        let reason = "everybody may replace the files of this folder; take the write permission of others from it";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    let (file, new) = create_new(&folder, name)?;
    let written = file.set_permissions(Permissions::from_mode(0o644)).and_then(|()| (&file).write_all(content));
    let replaced = written.and_then(|()| Ok(rustix::fs::renameat(&folder, &new, &folder, name)?));
    if replaced.is_err() {
        let _ = rustix::fs::unlinkat(&folder, &new, AtFlags::empty());
    }
    replaced
}

/// Creates a hidden file beside `name`, and returns it with its name.
fn create_new(folder: &OwnedFd, name: &OsStr) -> io::Result<(File, OsString)> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut attempts = 0;
    loop {
        // The seeds of the standard library's hash maps are random.
        let number = std::hash::RandomState::new().hash_one(attempts);
        // The name is hidden and does not end in `.prom`, so that the collector does not read the
        // new file.
        let mut new = OsString::from(".");
        new.push(name);
        new.push(format!(".{number:016x}.new"));
        match rustix::fs::openat(folder, &new, flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => return Ok((File::from(fd), new)),
            Err(rustix::io::Errno::EXIST) if attempts < 8 => attempts += 1,
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(name: &str) -> CameraReport {
        CameraReport {
            name: name.to_owned(),
            state: "running".to_owned(),
            camera_fps: 29.97,
            consumers: 2,
            reopened: 1,
            frames: 123_456_789,
            dropped: 3,
            corrupt: 0,
        }
    }

    #[test]
    fn a_report() {
        let cameras = vec![camera("main"), camera("front-door")];
        let report = Report { version: "0.1.0".to_owned(), uptime_s: 12.5, safe_mode: false, cameras };
        insta::assert_snapshot!(report.to_text());
    }

    #[test]
    fn no_metric_tells_of_people_or_movement() {
        let report = Report { version: "1".to_owned(), uptime_s: 0.0, safe_mode: false, cameras: vec![camera("main")] };
        let text = report.to_text().to_lowercase();
        let words =
            ["mask", "inference", "process", "skipped", "published", "latency", "people", "framing", "degraded"];
        let told: Vec<_> = words.iter().filter(|word| text.contains(**word)).collect();
        assert!(told.is_empty(), "everybody may read the file: {told:?}");
    }

    #[test]
    fn without_cameras_no_empty_families() {
        let report = Report { version: "1".to_owned(), uptime_s: 0.0, safe_mode: true, cameras: Vec::new() };
        assert!(!report.to_text().contains("camera"));
        assert!(report.to_text().contains("\nportraitd_safe_mode 1\n"));
    }

    #[test]
    fn labels_and_help_are_escaped() {
        let mut text = PrometheusText::new();
        text.family("a", MetricKind::Counter, "back\\slash \"quotes\"\nline");
        text.sample("a", &[("label", "x\"y\\z\nw"), ("other", "Grüße")], 1.0);
        let wanted = "# HELP a back\\\\slash \"quotes\"\\nline\n# TYPE a counter\na{label=\"x\\\"y\\\\z\\nw\",other=\"Grüße\"} 1\n";
        assert_eq!(text.as_str(), wanted);
    }

    #[test]
    fn numbers_read_back() {
        let mut text = PrometheusText::new();
        for value in [0.1 + 0.2, 1e-9, 1e300, -0.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            text.sample("n", &[], value);
        }
        let lines: Vec<&str> = text.as_str().lines().map(|line| &line[2..]).collect();
        assert_eq!(lines[0], "0.30000000000000004");
        assert_eq!(lines[1], "0.000000001");
        assert_eq!(lines[2].parse::<f64>(), Ok(1e300));
        assert_eq!(lines[3..], ["-0.5", "NaN", "+Inf", "-Inf"]);
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("portraitd.prom");
        replace_file(&path, b"old").expect("write");
        // As under a strict umask, which a test cannot set for itself alone.
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("mode");
        let reader = File::open(&path).expect("open");
        replace_file(&path, b"new and longer").expect("write");
        assert_eq!(std::fs::read(&path).expect("read"), b"new and longer");
        assert_eq!(std::io::read_to_string(reader).expect("read"), "old", "who has it open keeps the old one");
        let mode = std::fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "the collector is another user");
        assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 1);
        assert!(replace_file(&folder.path().join("no/such/folder/x.prom"), b"x").is_err());
        assert!(replace_file(folder.path(), b"x").is_err(), "a folder cannot be replaced");
        assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 1);
        assert!(replace_file(Path::new("/"), b"x").is_err());
    }
    #[test]
    fn no_link_is_followed_and_no_name_can_be_foreseen() {
        let folder = tempfile::tempdir().expect("folder");
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "secret").expect("write");
        std::fs::set_permissions(&secret, Permissions::from_mode(0o600)).expect("mode");
        let path = folder.path().join("portraitd.prom");
        // The name that earlier versions wrote first.
        let old_name = folder.path().join(format!(".portraitd.prom.{}.new", std::process::id()));
        for link in [&path, &old_name] {
            std::os::unix::fs::symlink(&secret, link).expect("link");
        }
        replace_file(&path, b"metrics").expect("write");
        assert_eq!(std::fs::read(&secret).expect("read"), b"secret");
        let mode = std::fs::metadata(&secret).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(path.symlink_metadata().expect("metadata").is_file(), "the link itself is replaced");
        assert_eq!(std::fs::read(&path).expect("read"), b"metrics");
        let folder = rustix::fs::open(folder.path(), OFlags::PATH, Mode::empty()).expect("folder");
        let names: std::collections::HashSet<_> =
            (0..8).map(|_| create_new(&folder, OsStr::new("x")).expect("new").1).collect();
        assert_eq!(names.len(), 8, "{names:?}");
    }

    #[test]
    fn a_folder_in_which_everybody_replaces_files_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("portraitd.prom");
        let mode = |mode| std::fs::set_permissions(folder.path(), Permissions::from_mode(mode)).expect("mode");
        mode(0o777);
        let error = replace_file(&path, b"x").expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0);
        mode(0o1777);
        replace_file(&path, b"x").expect("as in /tmp");
    }
}
