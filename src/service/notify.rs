//! Messages to the service manager, and the decision when to feed its watchdog.
//!
//! [`ready`], [`status`], [`reloading`], [`stopping`] and [`feed`] send to `$NOTIFY_SOCKET`.
//! Without this variable they do nothing.
//!
//! [`Watchdog`] decides whether to feed: only if every thread that should make progress has made
//! some. A process whose main loop runs while its capture thread hangs is therefore restarted. The
//! watchdog is pure. The main thread asks it with the interval [`Watchdog::ask_every_ns`], and
//! capture and vision threads hold [`Progress`] handles.

use sd_notify::NotifyState;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Whether a service manager started this process and listens to it.
#[must_use]
pub fn is_managed() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Reports that the service is ready. `systemctl status` shows `status`.
///
/// # Errors
/// If the socket cannot be written.
pub fn ready(status: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&one_line(status))])
}

/// Changes the text that `systemctl status` shows.
///
/// # Errors
/// If the socket cannot be written.
pub fn status(status: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Status(&one_line(status))])
}

/// Reports the start of a reload. [`ready`] reports its end, also if the new configuration was
/// refused.
///
/// # Errors
/// If the socket cannot be written or the clock cannot be read.
pub fn reloading() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?])
}

/// Reports that the service is stopping.
///
/// # Errors
/// If the socket cannot be written.
pub fn stopping() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status("stopping")])
}

/// Feeds the watchdog of the service manager.
///
/// # Errors
/// If the socket cannot be written.
pub fn feed() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Watchdog])
}

/// A status is one line of the protocol. A line break in it would start another message.
fn one_line(status: &str) -> String {
    status.replace(|c: char| c.is_control(), " ")
}

/// The state of a watched thread. The numbers are stored in an atomic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// It should make progress.
    Working = 0,
    /// It makes no progress by design: there is no client, or nothing to do.
    Idle = 1,
    /// It ended without a panic.
    Ended = 2,
    /// It panicked.
    Died = 3,
}

#[derive(Debug)]
struct ThreadState {
    count: AtomicU64,
    phase: AtomicU8,
}

impl ThreadState {
    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Working,
            1 => Phase::Idle,
            2 => Phase::Ended,
            _ => Phase::Died,
        }
    }

    fn enter(&self, phase: Phase) {
        let before = self.phase.swap(phase as u8, Ordering::Relaxed);
        if before != phase as u8 {
            // A change of state counts as progress: a thread that has just started to work had no
            // time for more.
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The handle through which a thread reports progress. The thread owns it. Dropping it reports that
/// the thread has ended, or, during a panic, that it has died.
#[derive(Debug)]
pub struct Progress(Arc<ThreadState>);

impl Progress {
    /// Reports that the thread's loop has completed an iteration. Wait-free. For capture this is a
    /// frame *or* a wait that timed out: a camera without frames is handled elsewhere, and the
    /// watchdog only detects a loop that hangs.
    pub fn advance(&self) {
        self.0.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Reports that from now on the thread is idle by design (`true`), or should make progress
    /// (`false`).
    pub fn idle(&self, idle: bool) {
        self.0.enter(if idle { Phase::Idle } else { Phase::Working });
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.enter(if std::thread::panicking() { Phase::Died } else { Phase::Ended });
    }
}

/// The decision of the watchdog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All threads have made progress: feed.
    Feed,
    /// Some threads have made no progress yet, and there is still time.
    Wait,
    /// These threads have made no progress for half of the timeout. The watchdog is not fed until
    /// they do.
    Stuck(Vec<String>),
}

#[derive(Debug)]
struct Watched {
    name: String,
    shared: Arc<ThreadState>,
    /// Its progress counter when the watchdog was last fed.
    fed_at: u64,
}

/// Decides whether to feed the watchdog of the service manager. Times are nanoseconds of a
/// monotonic clock.
#[derive(Debug)]
pub struct Watchdog {
    timeout_ns: u64,
    fed_ns: u64,
    watched: Vec<Watched>,
}

impl Watchdog {
    /// A watchdog that expires `timeout_ns` after it was last fed. It counts as fed at `now_ns`.
    #[must_use]
    pub fn new(timeout_ns: u64, now_ns: u64) -> Self {
        Self { timeout_ns, fed_ns: now_ns, watched: Vec::new() }
    }

    /// The watchdog that the service manager has set for this process (`$WATCHDOG_USEC`,
    /// `$WATCHDOG_PID`), if any.
    #[must_use]
    pub fn from_environment(now_ns: u64) -> Option<Self> {
        let timeout = sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero())?;
        Some(Self::new(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX), now_ns))
    }

    /// The interval in which to call [`Watchdog::ask`]: a quarter of the timeout. Threads whose
    /// loop takes up to half of the timeout are then still fed in time.
    #[must_use]
    pub fn ask_every_ns(&self) -> u64 {
        (self.timeout_ns / 4).max(1_000_000)
    }

    /// Watches one more thread, which should make progress from now on.
    #[must_use]
    pub fn watch(&mut self, name: &str) -> Progress {
        let shared = Arc::new(ThreadState { count: AtomicU64::new(1), phase: AtomicU8::new(Phase::Working as u8) });
        // Registering counts as progress.
        self.watched.push(Watched { name: name.to_owned(), shared: Arc::clone(&shared), fed_at: 0 });
        Progress(shared)
    }

    /// Whether to feed now.
    pub fn ask(&mut self, now_ns: u64) -> Verdict {
        self.watched.retain(|watched| watched.shared.phase() != Phase::Ended);
        let is_stuck = |watched: &&Watched| match watched.shared.phase() {
            Phase::Idle | Phase::Ended => false,
            Phase::Died => true,
            Phase::Working => watched.shared.count.load(Ordering::Relaxed) == watched.fed_at,
        };
        let stuck: Vec<&Watched> = self.watched.iter().filter(is_stuck).collect();
        if stuck.is_empty() {
            for watched in &mut self.watched {
                watched.fed_at = watched.shared.count.load(Ordering::Relaxed);
            }
            self.fed_ns = self.fed_ns.max(now_ns);
            return Verdict::Feed;
        }
        if now_ns.saturating_sub(self.fed_ns) < self.timeout_ns / 2 {
            return Verdict::Wait;
        }
        Verdict::Stuck(stuck.iter().map(|watched| watched.name.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn with_nothing_to_watch_it_is_fed() {
        let mut watchdog = Watchdog::new(10 * SECOND, 0);
        assert!((0..10).all(|turn| watchdog.ask(turn * SECOND) == Verdict::Feed));
    }

    #[test]
    fn it_is_fed_only_when_all_have_moved() {
        let mut watchdog = Watchdog::new(10 * SECOND, 0);
        let capture = watchdog.watch("capture main");
        let vision = watchdog.watch("vision main");
        assert_eq!(watchdog.ask(SECOND), Verdict::Feed, "both have just been started");
        assert_eq!(watchdog.ask(2 * SECOND), Verdict::Wait);
        capture.advance();
        assert_eq!(watchdog.ask(3 * SECOND), Verdict::Wait, "vision has not moved");
        vision.advance();
        assert_eq!(watchdog.ask(4 * SECOND), Verdict::Feed, "capture moved since the last feeding, and now vision too");
        for _ in 0..100 {
            vision.advance();
        }
        assert_eq!(watchdog.ask(8 * SECOND), Verdict::Wait);
        assert_eq!(watchdog.ask(9 * SECOND), Verdict::Stuck(vec!["capture main".to_owned()]));
        capture.advance();
        assert_eq!(watchdog.ask(10 * SECOND), Verdict::Feed, "it came back in time");
    }

    #[test]
    fn idle_by_design_needs_no_movement() {
        let mut watchdog = Watchdog::new(10 * SECOND, 0);
        let capture = watchdog.watch("capture");
        capture.idle(true);
        for turn in 1..100 {
            assert_eq!(watchdog.ask(turn * 10 * SECOND), Verdict::Feed);
        }
        // Beginning to work is progress once; then it must move.
        capture.idle(false);
        assert_eq!(watchdog.ask(1000 * SECOND), Verdict::Feed);
        capture.idle(false);
        assert_eq!(watchdog.ask(1001 * SECOND), Verdict::Wait, "saying again that it works is no progress");
    }

    #[test]
    fn a_thread_that_ends_is_forgotten_and_one_that_panics_is_not() {
        let mut watchdog = Watchdog::new(10 * SECOND, 0);
        drop(watchdog.watch("ended"));
        assert_eq!(watchdog.ask(20 * SECOND), Verdict::Feed);
        let progress = watchdog.watch("died");
        let died = std::thread::spawn(move || {
            progress.advance();
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        assert!(died.join().is_err());
        assert_eq!(watchdog.ask(21 * SECOND), Verdict::Wait);
        assert_eq!(watchdog.ask(40 * SECOND), Verdict::Stuck(vec!["died".to_owned()]));
    }

    #[test]
    fn the_timer_leaves_room() {
        assert_eq!(Watchdog::new(10 * SECOND, 0).ask_every_ns(), 10 * SECOND / 4);
        assert_eq!(Watchdog::new(0, 0).ask_every_ns(), 1_000_000, "never a busy loop");
    }

    proptest! {
        /// Whatever happens, and however the clock goes: never fed while somebody who should move
        /// did not.
        #[test]
        fn never_fed_by_a_hung_thread(steps in proptest::collection::vec((0_u8..4, 0_u64..30 * SECOND), 1..60)) {
            let mut watchdog = Watchdog::new(10 * SECOND, 0);
            let hung = watchdog.watch("hung");
            let lively = watchdog.watch("lively");
            prop_assert_eq!(watchdog.ask(0), Verdict::Feed);
            for (step, now) in steps {
                match step {
                    0 => lively.advance(),
                    1 => lively.idle(true),
                    2 => lively.idle(false),
                    _ => {}
                }
                match watchdog.ask(now) {
                    Verdict::Feed => prop_assert!(false, "fed"),
                    Verdict::Stuck(names) => prop_assert_eq!(names.first().map(String::as_str), Some("hung")),
                    Verdict::Wait => {}
                }
            }
            drop(hung);
        }
    }

    /// The other end of [`messages_reach_the_socket`]: says everything when it is given a socket of
    /// its own.
    #[test]
    fn says_everything() {
        if std::env::var_os("PORTRAITD_TEST_NOTIFY").is_none() {
            return;
        }
        ready("camera main: idle\nSTOPPING=1").expect("ready");
        status("camera main: running").expect("status");
        reloading().expect("reloading");
        feed().expect("feed");
        stopping().expect("stopping");
        let watchdog = Watchdog::from_environment(0).expect("a watchdog is set");
        assert_eq!(watchdog.timeout_ns, 7 * SECOND);
    }

    #[test]
    fn messages_reach_the_socket() {
        // The variables of a running process must not be changed: a child gets its own.
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("notify");
        let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("socket");
        let child = std::process::Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "service::notify::tests::says_everything"])
            .env("PORTRAITD_TEST_NOTIFY", "1")
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "7000000")
            .env_remove("WATCHDOG_PID")
            .output()
            .expect("child");
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
        socket.set_nonblocking(true).expect("non-blocking");
        let mut messages = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length) = socket.recv(&mut buffer) {
            messages.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        assert_eq!(messages.len(), 5, "{messages:?}");
        assert_eq!(messages[0], "READY=1\nSTATUS=camera main: idle STOPPING=1\n");
        assert_eq!(messages[1], "STATUS=camera main: running\n");
        let usec = messages[2].strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("reloading").trim_end();
        assert!(usec.parse::<u64>().expect("a number") > 0);
        assert_eq!(messages[3], "WATCHDOG=1\n");
        assert_eq!(messages[4], "STOPPING=1\nSTATUS=stopping\n");
    }
}
