//! Metrics as Prometheus text, in a file that node_exporter's textfile collector reads.
//!
//! The main thread makes a [`Report`] every few seconds and writes it with [`replace_file`]: a reader sees the old file or
//! the new one, never half of one. The directory must be writable for the service; the file's name ends in `.prom`.
//!
//! Text format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::Write as _;
use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// What a family of samples is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the service restarts. Its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// Prometheus text under construction.
#[derive(Clone, Debug, Default)]
pub struct Text {
    out: String,
}

/// A label's value, escaped as the format asks.
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

impl Text {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a family; its samples follow.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        self.head(name, if kind == Kind::Counter { "counter" } else { "gauge" }, help);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.out.push_str("# HELP ");
        self.out.push_str(name);
        self.out.push(' ');
        // A help text escapes backslash and line feed, but not quotes.
        self.out.push_str(&help.replace('\\', "\\\\").replace('\n', "\\n"));
        let _ = writeln!(self.out, "\n# TYPE {name} {kind}");
    }

    /// One sample.
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
        // Writing to a string cannot fail. Rust's shortest form that reads back as the same number is the format's own,
        // but for the names of the values that are none.
        let _ = match value {
            value if value.is_nan() => self.out.write_str("NaN"),
            f64::INFINITY => self.out.write_str("+Inf"),
            f64::NEG_INFINITY => self.out.write_str("-Inf"),
            value => write!(self.out, "{value}"),
        };
    }

    /// The samples of one histogram; the family's head must have been written with [`Text::histogram_family`].
    pub fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        let mut up_to = 0_u64;
        for (index, count) in histogram.counts.iter().enumerate() {
            up_to += count;
            let bound = histogram.bounds.get(index).map_or_else(|| "+Inf".to_owned(), ToString::to_string);
            let mut with_bound: Vec<(&str, &str)> = labels.to_vec();
            with_bound.push(("le", &bound));
            self.sample(&bucket, &with_bound, as_f64(up_to));
        }
        self.sample(&format!("{name}_sum"), labels, histogram.sum);
        self.sample(&format!("{name}_count"), labels, as_f64(up_to));
    }

    /// Begins a family of histograms.
    pub fn histogram_family(&mut self, name: &str, help: &str) {
        self.head(name, "histogram", help);
    }

    /// The text so far.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.out
    }
}

/// A count as a sample's value: exact up to 2^53, and a count that high is not reached in the life of a board.
fn as_f64(count: u64) -> f64 {
    #[expect(clippy::as_conversions, reason = "u64 to f64 has no From")]
    let value = count as f64;
    value
}

/// Observations counted by size.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Upper bounds of the buckets, rising; one more bucket takes the rest.
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// Bounds for the time of an inference, seconds: from a fast x86 core to a slow board without vectors.
    pub const INFERENCE_SECONDS: &'static [f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.033, 0.05, 0.1, 0.2, 0.5, 1.0];

    /// An empty one. The bounds must rise.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        debug_assert!(bounds.is_sorted(), "bounds rise");
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Counts one. A value that is not a number is not one.
    pub fn observe(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        let bucket = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
        self.sum += value;
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// The figures of one camera.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraReport {
    /// Its name.
    pub name: String,
    /// Its state, as on D-Bus.
    pub state: String,
    /// Frames a second that the source gives.
    pub camera_fps: f64,
    /// Masks a second.
    pub process_fps: f64,
    /// Frames a second that got no mask of their own.
    pub skipped_fps: f64,
    /// Age of the newest mask, seconds; `None`: there is none.
    pub mask_age_s: Option<f64>,
    /// Attached clients.
    pub consumers: u32,
    /// Times that the source was opened again after a failure.
    pub reopened: u64,
    /// Moves of the crop.
    pub framing_moves: u64,
    /// Frames that came.
    pub frames: u64,
    /// Frames that the source lost.
    pub dropped: u64,
    /// Frames that came damaged.
    pub corrupt: u64,
    /// Seconds an inference.
    pub inference: Histogram,
}

/// All figures at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Version of the program.
    pub version: String,
    /// Seconds since the start.
    pub uptime_s: f64,
    /// Whether the service runs without the net after crashes.
    pub safe_mode: bool,
    /// The cameras.
    pub cameras: Vec<CameraReport>,
}

impl Report {
    /// The report as Prometheus text.
    #[must_use]
    pub fn to_text(&self) -> String {
        type Value = fn(&CameraReport) -> Option<f64>;
        let families: [(&str, Kind, &str, Value); 10] = [
            ("portraitd_camera_fps", Kind::Gauge, "Frames a second from the source", |camera| Some(camera.camera_fps)),
            ("portraitd_process_fps", Kind::Gauge, "Masks a second", |camera| Some(camera.process_fps)),
            ("portraitd_skipped_fps", Kind::Gauge, "Frames a second without a mask of their own", |camera| {
                Some(camera.skipped_fps)
            }),
            ("portraitd_mask_age_seconds", Kind::Gauge, "Age of the newest mask", |camera| camera.mask_age_s),
            ("portraitd_consumers", Kind::Gauge, "Attached clients", |camera| Some(camera.consumers.into())),
            ("portraitd_reopen_total", Kind::Counter, "Times the source was opened again", |camera| {
                Some(as_f64(camera.reopened))
            }),
            ("portraitd_framing_moves_total", Kind::Counter, "Moves of the crop", |camera| {
                Some(as_f64(camera.framing_moves))
            }),
            ("portraitd_frames_total", Kind::Counter, "Frames from the source", |camera| Some(as_f64(camera.frames))),
            ("portraitd_frames_dropped_total", Kind::Counter, "Frames the source lost", |camera| {
                Some(as_f64(camera.dropped))
            }),
            ("portraitd_frames_corrupt_total", Kind::Counter, "Frames that came damaged", |camera| {
                Some(as_f64(camera.corrupt))
            }),
        ];
        let mut text = Text::new();
        text.family("portraitd_build_info", Kind::Gauge, "The program; always 1");
        text.sample("portraitd_build_info", &[("version", &self.version)], 1.0);
        text.family("portraitd_uptime_seconds", Kind::Gauge, "Seconds since the start");
        text.sample("portraitd_uptime_seconds", &[], self.uptime_s);
        text.family("portraitd_safe_mode", Kind::Gauge, "1: without the net, after crashes");
        text.sample("portraitd_safe_mode", &[], f64::from(u8::from(self.safe_mode)));
        if self.cameras.is_empty() {
            return text.out;
        }
        text.family("portraitd_camera_state", Kind::Gauge, "The camera's state; 1 for the one it is in");
        for camera in &self.cameras {
            text.sample("portraitd_camera_state", &[("camera", &camera.name), ("state", &camera.state)], 1.0);
        }
        for (name, kind, help, value) in families {
            text.family(name, kind, help);
            for camera in &self.cameras {
                if let Some(value) = value(camera) {
                    text.sample(name, &[("camera", &camera.name)], value);
                }
            }
        }
        text.histogram_family("portraitd_inference_seconds", "Time of an inference");
        for camera in &self.cameras {
            text.histogram("portraitd_inference_seconds", &[("camera", &camera.name)], &camera.inference);
        }
        text.out
    }
}

/// Writes a file that everybody may read (whatever the umask, which is strict in the unit), so that a reader, or a crash, sees
/// the old content or the new one: a new file beside it, then a rename.
/// Not for content that must outlive a power cut: nothing is synchronised with the disk.
///
/// # Errors
/// The folder cannot be written; the old file is as it was.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    // Hidden, and not ending in `.prom`: the collector must not read it.
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(hidden);
    let written = File::create(&new).and_then(|mut file| {
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(content)
    });
    let replaced = written.and_then(|()| std::fs::rename(&new, path));
    if replaced.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(name: &str) -> CameraReport {
        let mut inference = Histogram::new(Histogram::INFERENCE_SECONDS);
        for seconds in [0.0004, 0.001, 0.0011, 0.04, 7.0, f64::NAN] {
            inference.observe(seconds);
        }
        CameraReport {
            name: name.to_owned(),
            state: "running".to_owned(),
            camera_fps: 29.97,
            process_fps: 15.0,
            skipped_fps: 14.97,
            mask_age_s: Some(0.033),
            consumers: 2,
            reopened: 1,
            framing_moves: 12,
            frames: 123_456_789,
            dropped: 3,
            corrupt: 0,
            inference,
        }
    }

    #[test]
    fn a_report() {
        let mut door = camera("front-door");
        door.mask_age_s = None;
        let cameras = vec![camera("main"), door];
        let report = Report { version: "0.1.0".to_owned(), uptime_s: 12.5, safe_mode: false, cameras };
        insta::assert_snapshot!(report.to_text());
    }

    #[test]
    fn without_cameras_no_empty_families() {
        let report = Report { version: "1".to_owned(), uptime_s: 0.0, safe_mode: true, cameras: Vec::new() };
        assert!(!report.to_text().contains("camera"));
        assert!(report.to_text().contains("\nportraitd_safe_mode 1\n"));
    }

    #[test]
    fn labels_and_help_are_escaped() {
        let mut text = Text::new();
        text.family("a", Kind::Counter, "back\\slash \"quotes\"\nline");
        text.sample("a", &[("label", "x\"y\\z\nw"), ("other", "Grüße")], 1.0);
        let wanted = "# HELP a back\\\\slash \"quotes\"\\nline\n# TYPE a counter\na{label=\"x\\\"y\\\\z\\nw\",other=\"Grüße\"} 1\n";
        assert_eq!(text.as_str(), wanted);
    }

    #[test]
    fn numbers_read_back() {
        let mut text = Text::new();
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
}
