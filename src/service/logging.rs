//! Logs: to the journal with its own fields when the service manager started us, else to stderr for people.
//!
//! [`init`] is called once, by the main thread, before any other thread starts. Events may come from every thread. No
//! picture, nor any part of one, is ever logged.
//!
//! Fields of events become the journal's own: `info!(camera = "main", frame_seq = 7, "...")` is found by
//! `journalctl CAMERA=main`.

use rustix::fs::fstat;
use std::io::IsTerminal as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};

/// Why logging cannot start or change.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is refused.
    #[error("log filter: {0}")]
    Filter(#[from] FilterError),
    /// Logging was started before, by us or by a program that we are part of.
    #[error("logging was started already")]
    Started,
}

/// Why a log filter is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A part of the filter is neither a level nor a directive.
    #[error("`{}` is not a level ({}) or a directive as target=level", directive.escape_debug(), LEVELS.join(" "))]
    Directive {
        /// The part.
        directive: String,
    },
    /// The logging library refuses the filter as a whole.
    #[error("{message}")]
    Library {
        /// The message of the library.
        message: String,
    },
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Where logs go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The system's journal, natively.
    Journal,
    /// Standard error, as text.
    Stderr,
}

/// Logging that runs; its filter can be changed.
pub struct Logging {
    target: Target,
    filter: reload::Handle<Targets, Registry>,
}

impl std::fmt::Debug for Logging {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Logging").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Logging {
    /// Where logs go.
    #[must_use]
    pub fn target(&self) -> Target {
        self.target
    }

    /// Changes what is logged, from now on.
    ///
    /// # Errors
    /// [`LogError::Filter`]; what was logged before is still logged.
    pub fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        let filter = parse_filter(filter)?;
        self.filter.reload(filter).map_err(|error| FilterError::Library { message: error.to_string() }.into())
    }
}

/// Checks a filter: a level (`off error warn info debug trace`), or directives as `info,portraitd_media=debug`, in the
/// form of the variable `RUST_LOG` of other programs.
///
/// # Errors
/// [`FilterError`].
pub fn check_filter(filter: &str) -> Result<(), FilterError> {
    parse_filter(filter).map(drop)
}

fn parse_filter(filter: &str) -> Result<Targets, FilterError> {
    let refuse = |directive: &str| Err(FilterError::Directive { directive: directive.to_owned() });
    if filter.trim().is_empty() {
        return refuse(filter);
    }
    let directives: Vec<&str> = filter.split(',').map(str::trim).collect();
    for directive in &directives {
        // `Targets` takes a single word for a target: with a misspelt level, only events of that target would be logged.
        let is_level = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(directive));
        if !is_level && !directive.contains('=') {
            return refuse(directive);
        }
        if directive.parse::<Targets>().is_err() {
            return refuse(directive);
        }
    }
    directives.join(",").parse::<Targets>().map_err(|error| FilterError::Library { message: error.to_string() })
}

/// Whether this stream is the journal's own: the service manager names the device and inode of what it connected.
fn is_journal(journal_stream: Option<&str>, device: u64, inode: u64) -> bool {
    let Some((named_device, named_inode)) = journal_stream.and_then(|stream| stream.split_once(':')) else {
        return false;
    };
    named_device.parse() == Ok(device) && named_inode.parse() == Ok(inode)
}

/// Where logs should go, by this process's environment and stderr.
fn target() -> Target {
    let journal_stream = std::env::var("JOURNAL_STREAM").ok();
    match fstat(std::io::stderr()) {
        // The types of these fields differ between architectures.
        #[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions)]
        Ok(stat) => match (u64::try_from(stat.st_dev), u64::try_from(stat.st_ino)) {
            (Ok(device), Ok(inode)) if is_journal(journal_stream.as_deref(), device, inode) => Target::Journal,
            _ => Target::Stderr,
        },
        Err(_) => Target::Stderr,
    }
}

/// Starts logging.
///
/// # Errors
/// [`LogError`]: the filter is wrong, or logging runs already.
pub fn init(filter: &str) -> Result<Logging, LogError> {
    let (filter, handle) = reload::Layer::new(parse_filter(filter)?);
    let journal = match target() {
        Target::Journal => tracing_journald::layer().ok(),
        Target::Stderr => None,
    };
    let (target, output) = match journal {
        // No prefix: `CAMERA=main` is what people look for.
        Some(journal) => {
            let journal = journal.with_field_prefix(None).with_syslog_identifier("portraitd".to_owned());
            (Target::Journal, journal.boxed())
        }
        None => {
            let text = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
            // The journal, where it reads our stderr after all, stamps lines itself; people at a terminal see them come.
            (Target::Stderr, text.without_time().with_target(true).boxed())
        }
    };
    tracing_subscriber::registry().with(filter).with(output).try_init().map_err(|_| LogError::Started)?;
    Ok(Logging { target, filter: handle })
}

/// Lets the first of many equal messages through, and then one an interval, which tells how many were held back.
///
/// Pure: time is an argument, nanoseconds of a monotonic clock. A clock that goes back counts as one that stands still.
///
/// ```
/// use portraitd::service::logging::Repeat;
/// let mut repeat = Repeat::new(10_000_000_000);
/// assert_eq!(repeat.check(1), Some(0)); // say it
/// assert_eq!(repeat.check(2), None); // hold it back
/// assert_eq!(repeat.check(10_000_000_001), Some(1)); // say it, and that there was one more
/// ```
#[derive(Clone, Debug)]
pub struct Repeat {
    interval_ns: u64,
    said_ns: Option<u64>,
    held_back: u64,
}

impl Repeat {
    /// One message an interval, in nanoseconds. With 0, every message is let through.
    #[must_use]
    pub fn new(interval_ns: u64) -> Self {
        Self { interval_ns, said_ns: None, held_back: 0 }
    }

    /// Whether to say it now: `Some(n)`: yes, and `n` equal messages were held back since it was last said; `None`: no.
    pub fn check(&mut self, now_ns: u64) -> Option<u64> {
        match self.said_ns {
            Some(said) if now_ns.saturating_sub(said) < self.interval_ns => {
                self.held_back = self.held_back.saturating_add(1);
                None
            }
            _ => {
                self.said_ns = Some(now_ns);
                Some(std::mem::take(&mut self.held_back))
            }
        }
    }

    /// Forgets what was said: the trouble is over, and the next is news. Returns how many were held back.
    pub fn reset(&mut self) -> u64 {
        self.said_ns = None;
        std::mem::take(&mut self.held_back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        assert!(is_journal(Some("8:123456"), 8, 123_456));
        assert!(!is_journal(Some("8:123456"), 8, 123_457));
        assert!(!is_journal(Some("9:123456"), 8, 123_456));
        for malformed in ["", ":", "8", "8:", ":123456", "8:123456:1", "x:y", "-8:123456"] {
            assert!(!is_journal(Some(malformed), 8, 123_456), "{malformed:?}");
        }
        assert!(!is_journal(None, 8, 123_456));
    }

    #[test]
    fn filters() {
        for good in ["info", "DEBUG", "off", "warn,portraitd_media=trace", "portraitd=debug", " info , zbus=off "] {
            assert_eq!(check_filter(good), Ok(()), "{good:?}");
        }
        let error = "`inof` is not a level (off error warn info debug trace) or a directive as target=level";
        assert_eq!(check_filter("inof").expect_err("misspelt").to_string(), error);
        for bad in ["", " ", "info,", "info,,debug", "portraitd=loud", "info,portraitd"] {
            assert!(check_filter(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn repeats_are_held_back_and_counted() {
        let mut repeat = Repeat::new(100);
        assert_eq!(repeat.check(1000), Some(0));
        assert_eq!(repeat.check(1001), None);
        assert_eq!(repeat.check(1099), None);
        assert_eq!(repeat.check(1100), Some(2));
        assert_eq!(repeat.check(1199), None);
        assert_eq!(repeat.check(5000), Some(1));
        assert_eq!(repeat.check(5100), Some(0));
    }

    #[test]
    fn a_clock_that_goes_back_lets_nothing_through_early() {
        let mut repeat = Repeat::new(100);
        assert_eq!(repeat.check(1000), Some(0));
        assert_eq!(repeat.check(10), None);
        assert_eq!(repeat.check(1100), Some(1));
    }

    #[test]
    fn after_a_reset_the_next_is_news() {
        let mut repeat = Repeat::new(100);
        assert_eq!(repeat.check(0), Some(0));
        assert_eq!(repeat.check(1), None);
        assert_eq!(repeat.reset(), 1);
        assert_eq!(repeat.check(2), Some(0));
    }

    #[test]
    fn with_no_interval_everything_is_said() {
        let mut repeat = Repeat::new(0);
        assert!((0..5).all(|now| repeat.check(now) == Some(0)));
    }

    /// The other end of [`events_go_to_stderr_and_the_filter_can_change`].
    #[test]
    fn logs_something() {
        if std::env::var_os("PORTRAITD_TEST_LOGGING").is_none() {
            return;
        }
        let logging = init("info").expect("starts");
        assert_eq!(logging.target(), Target::Stderr);
        assert!(matches!(init("info"), Err(LogError::Started)));
        tracing::info!(camera = "main", "first");
        tracing::debug!("second");
        logging.set_filter("debug").expect("a filter");
        tracing::debug!("third");
        assert!(logging.set_filter("loud").is_err());
        tracing::debug!("fourth");
    }

    #[test]
    fn events_go_to_stderr_and_the_filter_can_change() {
        // A process has one logging for ever: a child is asked to log. Its stderr is a pipe, whatever the variable says.
        let child = std::process::Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "service::logging::tests::logs_something", "--nocapture"])
            .env("PORTRAITD_TEST_LOGGING", "1")
            .env("JOURNAL_STREAM", "1:2")
            .output()
            .expect("child");
        let text = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success(), "{text}");
        assert!(text.contains("INFO") && text.contains("first") && text.contains("camera=\"main\""), "{text}");
        assert!(!text.contains("second") && text.contains("third") && text.contains("fourth"), "{text}");
        assert!(!text.contains('\x1b'), "no colours into a pipe: {text}");
    }
}
