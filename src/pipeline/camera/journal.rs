//! Who attaches and who leaves, in the journal: with user, process and stream.
//!
//! Each user has a number of lines per interval. What is beyond is counted and not written, so that
//! a program that attaches in a loop cannot fill the journal, nor hide what other users do.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use portraitd_media::clock::monotonic_ns;
use portraitd_protocol::StreamKind;
use tracing::{info, warn};

use crate::publish::dbus::service::Client;
use crate::service::logging::Repeat;

/// The lines of a user in [`INTERVAL_NS`].
const LINES: u32 = 16;
const INTERVAL_NS: u64 = 10_000_000_000;
/// The most users with an allowance of their own. All further ones share one.
const MAX_USERS: usize = 64;
/// The user id of those that share one: no user has it.
const OTHERS: u32 = u32::MAX;

/// The lines that a user may still cause.
#[derive(Debug)]
struct Allowance {
    since_ns: u64,
    used: u32,
    surplus: Repeat,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Written,
    /// Not written; now and then it is said how many there were before this one.
    Surplus(Option<u64>),
}

#[derive(Debug, Default)]
struct Allowances(HashMap<u32, Allowance>);

impl Allowances {
    fn line_of(&mut self, user: u32, now_ns: u64) -> Line {
        if self.0.len() >= MAX_USERS && !self.0.contains_key(&user) {
            self.0.retain(|_, allowance| now_ns.saturating_sub(allowance.since_ns) < INTERVAL_NS);
        }
        let user = if self.0.len() < MAX_USERS || self.0.contains_key(&user) { user } else { OTHERS };
        let allowance = self.0.entry(user).or_insert_with(|| Allowance {
            since_ns: now_ns,
            used: 0,
            surplus: Repeat::new(INTERVAL_NS),
        });
        if now_ns.saturating_sub(allowance.since_ns) >= INTERVAL_NS {
            (allowance.since_ns, allowance.used) = (now_ns, 0);
        }
        if allowance.used < LINES {
            allowance.used += 1;
            return Line::Written;
        }
        Line::Surplus(allowance.surplus.check(now_ns))
    }
}

/// The journal's lines about the clients of one camera.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct AttachJournal(Mutex<Allowances>);

impl AttachJournal {
    /// Whether to write a line about a client of `user`.
    fn allows(&self, camera: &str, user: u32) -> bool {
        let line = self.0.lock().unwrap_or_else(PoisonError::into_inner).line_of(user, monotonic_ns());
        if let Line::Surplus(Some(repeats)) = line {
            warn!(camera, user, repeats, "a user attaches and leaves so often that not each time is logged");
        }
        line == Line::Written
    }
}

/// A client that may become attached. When the last copy is dropped, it has left.
#[derive(Debug)]
pub(in crate::pipeline) struct AttachNote {
    journal: Arc<AttachJournal>,
    camera: String,
    client: Client,
    stream: StreamKind,
    attached: AtomicBool,
}

impl AttachNote {
    pub(super) fn new(journal: &Arc<AttachJournal>, camera: &str, client: &Client, stream: StreamKind) -> Arc<Self> {
        Arc::new(Self {
            journal: Arc::clone(journal),
            camera: camera.to_owned(),
            client: client.clone(),
            stream,
            attached: AtomicBool::new(false),
        })
    }

    /// The client is attached from now on. The service's own output nodes are not logged: they have
    /// lines of their own.
    pub(super) fn attached(&self) {
        if !self.client.is_output_node() {
            self.attached.store(true, Ordering::Release);
            self.write("attached");
        }
    }

    fn write(&self, what: &str) {
        let Client { name, user, process, .. } = &self.client;
        if self.journal.allows(&self.camera, *user) {
            info!(camera = self.camera, user, process, stream = %self.stream, client = %name, "{what}");
        }
    }
}

impl Drop for AttachNote {
    fn drop(&mut self) {
        if self.attached.load(Ordering::Acquire) {
            self.write("left");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_user_is_counted_and_the_others_are_logged() {
        let mut allowances = Allowances::default();
        let lines: Vec<Line> = (0..100).map(|now| allowances.line_of(1000, now)).collect();
        assert!(lines[..16].iter().all(|line| *line == Line::Written));
        assert_eq!(lines[16], Line::Surplus(Some(0)));
        assert!(lines[17..].iter().all(|line| *line == Line::Surplus(None)));
        assert_eq!(allowances.line_of(1001, 100), Line::Written);
        assert_eq!(allowances.line_of(1000, INTERVAL_NS), Line::Written, "a new interval");
        let next: Vec<Line> = (0..100).map(|now| allowances.line_of(1000, INTERVAL_NS + 17 + now)).collect();
        assert_eq!(next[15], Line::Surplus(Some(83)));
    }

    #[test]
    fn users_without_end_take_no_memory_without_end() {
        let mut allowances = Allowances::default();
        let written = (0..10_000).filter(|user| allowances.line_of(*user, 5) == Line::Written).count();
        assert_eq!((written, allowances.0.len()), (MAX_USERS + LINES as usize, MAX_USERS + 1));
        assert_eq!(allowances.line_of(20_000, 5 + INTERVAL_NS), Line::Written);
        assert_eq!(allowances.0.len(), 1);
    }
}
