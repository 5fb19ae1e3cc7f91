//! Safe mode: after three crashes within a minute, the service starts without inference.
//!
//! Each start is recorded in a small file, and a clean stop removes the records. A start that finds
//! three records of the last 60 s uses safe mode. The file is in `$RUNTIME_DIRECTORY`, which the
//! unit preserves over restarts, or in `$STATE_DIRECTORY`. Without either, nothing is recorded.
//!
//! Times are those of `CLOCK_BOOTTIME`, so records of another boot do not count. A file that cannot
//! be read, or has wrong content, counts as missing: the guard must never prevent the service from
//! starting.

use std::io;
use std::path::{Path, PathBuf};

use portraitd_media::bounded::read_regular;

/// The number of crashes that leads to safe mode.
pub const CRASHES: usize = 3;

/// The text of `Segmentation1.Degraded` in safe mode. `doctor` recognises it.
pub const SAFE_MODE: &str = "without the net, after repeated crashes";

/// The time within which these crashes must happen, nanoseconds.
pub const WINDOW_NS: u64 = 60_000_000_000;

const FILE: &str = "starts";
/// The largest file that is read, in bytes; what this module writes has less than 1 KiB.
const MAX_FILE_BYTES: u64 = 64 << 10;
const HEADER: &str = "portraitd starts 1";
/// The most records in the file. More would not change any decision.
const MOST_RECORDS: usize = 16;

/// The recorded starts, which have not ended cleanly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Starts {
    boot: String,
    /// Time of each start, nanoseconds since the boot.
    times_ns: Vec<u64>,
}

impl Starts {
    /// Reads the content of the file. `None` if it is wrong.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != HEADER {
            return None;
        }
        let boot = lines.next()?.strip_prefix("boot ")?.to_owned();
        let times_ns = lines.map(|line| line.strip_prefix("start ")?.parse().ok()).collect::<Option<Vec<u64>>>()?;
        Some(Self { boot, times_ns })
    }

    /// The content of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}\nboot {}\n", self.boot);
        for time in &self.times_ns {
            text.push_str(&format!("start {time}\n"));
        }
        text
    }

    /// Records a start. Returns the new records, and the number of earlier starts that crashed
    /// within [`WINDOW_NS`].
    #[must_use]
    pub fn begin(self, boot: &str, now_ns: u64) -> (Self, usize) {
        let mut times_ns = if self.boot == boot { self.times_ns } else { Vec::new() };
        // A time in the future comes from another clock and is not a crash.
        times_ns.retain(|&time| time <= now_ns && now_ns - time < WINDOW_NS);
        let crashes = times_ns.len();
        let surplus = (crashes + 1).saturating_sub(MOST_RECORDS);
        times_ns.drain(..surplus);
        times_ns.push(now_ns);
        (Self { boot: boot.to_owned(), times_ns }, crashes)
    }
}

/// The record of this run. [`CrashGuard::end`] removes all records; dropping the guard does not.
#[derive(Debug)]
pub struct CrashGuard {
    path: Option<PathBuf>,
    crashes: usize,
}

impl CrashGuard {
    /// Records this start in the folder that the service manager provides.
    #[must_use]
    pub fn from_environment() -> Self {
        let folder = ["RUNTIME_DIRECTORY", "STATE_DIRECTORY"].iter().find_map(|variable| {
            // Several folders are joined by colons.
            let folders = std::env::var(variable).ok()?;
            folders.split(':').next().filter(|first| first.starts_with('/')).map(PathBuf::from)
        });
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let now_ns = seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0));
        match folder {
            Some(folder) => Self::begin(&folder, boot.trim(), now_ns),
            None => Self { path: None, crashes: 0 },
        }
    }

    /// Records a start in a folder. `boot` identifies the boot of the system, and `now_ns` is the
    /// time since that boot.
    #[must_use]
    pub fn begin(folder: &Path, boot: &str, now_ns: u64) -> Self {
        let path = folder.join(FILE);
        let text = read_regular(&path, MAX_FILE_BYTES).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let before = text.and_then(|text| Starts::parse(&text)).unwrap_or_default();
        let (starts, crashes) = before.begin(boot, now_ns);
        if let Err(error) = super::metrics::replace_file(&path, starts.to_text().as_bytes()) {
            tracing::warn!(
                path = %path.display(), %error,
                "this start cannot be recorded, so crashes will not lead to safe mode; make the folder writable"
            );
        }
        Self { path: Some(path), crashes }
    }

    /// The number of crashes within the last minute.
    #[must_use]
    pub fn crashes(&self) -> usize {
        self.crashes
    }

    /// Whether to start without inference.
    #[must_use]
    pub fn safe_mode(&self) -> bool {
        self.crashes >= CRASHES
    }

    /// Removes the records, because the run ends cleanly.
    ///
    /// # Errors
    /// If the file cannot be removed. The next start then counts this run as a crash.
    pub fn end(self) -> io::Result<()> {
        match self.path.map(std::fs::remove_file) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_third_crash_in_a_minute_makes_the_next_start_careful() {
        let folder = tempfile::tempdir().expect("folder");
        let start = |second: u64| CrashGuard::begin(folder.path(), "boot-a", second * SECOND);
        assert!(!start(100).safe_mode());
        assert!(!start(110).safe_mode());
        assert!(!start(120).safe_mode());
        let fourth = start(130);
        assert!(fourth.safe_mode());
        assert_eq!(fourth.crashes(), 3);
        // Once the crashes are a minute old, inference is tried again.
        let later = start(181);
        assert_eq!(later.crashes(), 1, "only the start at 130 s is in the window");
        assert!(!later.safe_mode());
    }

    #[test]
    fn a_clean_end_wipes_the_slate() {
        let folder = tempfile::tempdir().expect("folder");
        for second in 0..10 {
            let guard = CrashGuard::begin(folder.path(), "boot-a", second * SECOND);
            assert_eq!(guard.crashes(), 0);
            guard.end().expect("end");
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0, "nothing is left behind");
    }

    #[test]
    fn another_boot_and_a_clock_that_went_back_do_not_count() {
        let folder = tempfile::tempdir().expect("folder");
        for second in 50..55 {
            let _ = CrashGuard::begin(folder.path(), "boot-a", second * SECOND);
        }
        assert_eq!(CrashGuard::begin(folder.path(), "boot-a", 10 * SECOND).crashes(), 0);
        for second in 50..55 {
            let _ = CrashGuard::begin(folder.path(), "boot-a", second * SECOND);
        }
        assert_eq!(CrashGuard::begin(folder.path(), "boot-b", 56 * SECOND).crashes(), 0);
    }

    #[test]
    fn a_spoilt_file_is_as_good_as_none() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(FILE);
        let good = "portraitd starts 1\nboot b\nstart 1\nstart 2\nstart 3\n";
        std::fs::write(&path, good).expect("write");
        assert_eq!(CrashGuard::begin(folder.path(), "b", 4).crashes(), 3, "the good one counts");
        let spoilt: [&[u8]; 7] = [
            b"",
            b"\xff\xfe\x00",
            b"portraitd starts 2\nboot b\nstart 1\nstart 2\nstart 3\n",
            b"portraitd starts 1\n",
            b"portraitd starts 1\nboot b\nstart 1\nstart two\nstart 3\n",
            b"portraitd starts 1\nboot b\nstart 1\nstart 2\nstart 3",
            b"portraitd starts 1\nboot b\nstart 1\nstart -2\nstart 99999999999999999999999\n",
        ];
        for text in spoilt {
            std::fs::write(&path, text).expect("write");
            assert_eq!(CrashGuard::begin(folder.path(), "b", 4).crashes(), 0, "{:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_does_not_stop_the_start() {
        let guard = CrashGuard::begin(Path::new("/proc/no/such/folder"), "b", 1);
        assert!(!guard.safe_mode());
        guard.end().expect("nothing to remove");
    }

    proptest! {
        #[test]
        fn notes_survive_writing_and_reading(boot in "[a-z0-9-]{0,36}", times in proptest::collection::vec(any::<u64>(), 0..20)) {
            let starts = Starts { boot, times_ns: times };
            prop_assert_eq!(Starts::parse(&starts.to_text()), Some(starts));
        }

        #[test]
        fn any_text_is_read_without_panic_and_notes_stay_few(text in "\\PC*", starts in proptest::collection::vec(0_u64..1000, 0..100)) {
            let mut notes = Starts::parse(&text).unwrap_or_default();
            for now in starts {
                let (next, crashes) = notes.begin("b", now);
                prop_assert!(next.times_ns.len() <= MOST_RECORDS && crashes <= MOST_RECORDS);
                notes = next;
            }
        }
    }
}
