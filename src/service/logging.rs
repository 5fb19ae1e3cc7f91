//! Logs: structured events to the journal if the service manager connected it, otherwise text to
//! stderr.
//!
//! The main thread calls [`init`] once, before any other thread starts. Every thread may log.
//! Neither pictures nor parts of pictures are ever logged.
//!
//! Fields of events become fields of the journal: `journalctl CAMERA=main` finds
//! `info!(camera = "main", frame_seq = 7, "...")`.

use rustix::fs::fstat;
use std::io::IsTerminal as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};

use super::log_limit::LogLimit;

/// Why logging cannot be started or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is refused.
    #[error("log filter: {0}")]
    Filter(#[from] FilterError),
    /// This process has started logging before.
    #[error("logging has been started already in this process")]
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

/// Where logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// To the system's journal, with its native protocol.
    Journal,
    /// To standard error, as text.
    Stderr,
}

/// Running logging, whose filter can be changed.
pub struct Logging {
    target: LogTarget,
    filter: reload::Handle<Targets, Registry>,
}

impl std::fmt::Debug for Logging {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Logging").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Logging {
    /// Where logs are written.
    #[must_use]
    pub fn target(&self) -> LogTarget {
        self.target
    }

    /// Replaces the filter.
    ///
    /// # Errors
    /// [`LogError::Filter`]. The old filter then stays in force.
    pub fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        let filter = parse_filter(filter)?;
        self.filter.reload(filter).map_err(|error| FilterError::Library { message: error.to_string() }.into())
    }
}

/// Checks a filter: a level (`off error warn info debug trace`), or directives as
/// `info,portraitd_media=debug`, in the form of the variable `RUST_LOG` of other programs.
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
        // `Targets` takes a single word for a target: with a misspelt level, only events of that
        // target would be logged.
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

/// Whether stderr is connected to the journal: the service manager passes the device and inode of
/// its connection.
fn is_journal(journal_stream: Option<&str>, device: u64, inode: u64) -> bool {
    let Some((named_device, named_inode)) = journal_stream.and_then(|stream| stream.split_once(':')) else {
        return false;
    };
    named_device.parse() == Ok(device) && named_inode.parse() == Ok(inode)
}

/// Chooses the target by the environment and stderr of this process.
fn target() -> LogTarget {
    let journal_stream = std::env::var("JOURNAL_STREAM").ok();
    match fstat(std::io::stderr()) {
        // The types of these fields differ between architectures.
        #[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions)]
        Ok(stat) => match (u64::try_from(stat.st_dev), u64::try_from(stat.st_ino)) {
            (Ok(device), Ok(inode)) if is_journal(journal_stream.as_deref(), device, inode) => LogTarget::Journal,
            _ => LogTarget::Stderr,
        },
        Err(_) => LogTarget::Stderr,
    }
}

/// Starts logging.
///
/// # Errors
/// [`LogError`]: the filter is refused, or logging has been started already.
pub fn init(filter: &str) -> Result<Logging, LogError> {
    let (filter, handle) = reload::Layer::new(parse_filter(filter)?);
    let journal = match target() {
        LogTarget::Journal => tracing_journald::layer().ok(),
        LogTarget::Stderr => None,
    };
    let (target, output) = match journal {
        // Fields get no prefix, so that `CAMERA=main` finds them.
        Some(journal) => {
            let journal = journal.with_field_prefix(None).with_syslog_identifier("portraitd".to_owned());
            (LogTarget::Journal, journal.boxed())
        }
        None => {
            let text = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
            // No timestamps: a journal that reads our stderr adds its own, and at a terminal lines
            // appear at once.
            (LogTarget::Stderr, text.without_time().with_target(true).boxed())
        }
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(LogLimit)
        .with(output)
        .try_init()
        .map_err(|_| LogError::Started)?;
    Ok(Logging { target, filter: handle })
}

/// Limits repeated messages: the first one passes, then one per interval, with the number of those
/// suppressed before it.
///
/// It is pure: time is an argument, in nanoseconds of a monotonic clock. A clock that goes back
/// counts as standing still.
///
/// ```
/// use portraitd::service::logging::Repeat;
/// let mut repeat = Repeat::new(10_000_000_000);
/// assert_eq!(repeat.check(1), Some(0)); // log it
/// assert_eq!(repeat.check(2), None); // suppress it
/// assert_eq!(repeat.check(10_000_000_001), Some(1)); // log it, and that one more was suppressed
/// ```
#[derive(Clone, Debug)]
pub struct Repeat {
    interval_ns: u64,
    logged_ns: Option<u64>,
    suppressed: u64,
}

impl Repeat {
    /// Allows one message per interval, in nanoseconds. With 0, every message passes.
    #[must_use]
    pub const fn new(interval_ns: u64) -> Self {
        Self { interval_ns, logged_ns: None, suppressed: 0 }
    }

    /// Whether to log the message now: `Some(n)` if so, where `n` messages were suppressed since
    /// the last one.
    pub fn check(&mut self, now_ns: u64) -> Option<u64> {
        match self.logged_ns {
            Some(logged) if now_ns.saturating_sub(logged) < self.interval_ns => {
                self.suppressed = self.suppressed.saturating_add(1);
                None
            }
            _ => {
                self.logged_ns = Some(now_ns);
                Some(std::mem::take(&mut self.suppressed))
            }
        }
    }

    /// Starts over, because the problem has ended: the next message passes. Returns the number of
    /// suppressed messages.
    pub fn reset(&mut self) -> u64 {
        self.logged_ns = None;
        std::mem::take(&mut self.suppressed)
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
    fn repeats_are_suppressed_and_counted() {
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

    /// The child process of [`events_go_to_stderr_and_the_filter_can_change`].
    #[test]
    fn logs_something() {
        if std::env::var_os("PORTRAITD_TEST_LOGGING").is_none() {
            return;
        }
        let logging = init("info").expect("starts");
        assert_eq!(logging.target(), LogTarget::Stderr);
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
        // A process can start logging only once, so a child process does. Its stderr is a pipe,
        // whatever the variable says.
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
