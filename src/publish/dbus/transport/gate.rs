//! The account of a connection: calls in flight, and calls of our own that wait for a reply.
//!
//! A call is in flight from when it is passed on until its reply has been written. The account is
//! pure: it does no I/O, and times are arguments.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Calls in flight from one connection to the bus.
pub(super) const SENDER_CALLS: usize = 16;
/// Calls in flight of one user.
pub(super) const USER_CALLS: usize = 96;
/// Calls in flight in all.
pub(super) const TOTAL_CALLS: usize = 256;
/// A call of somebody whose user is not known yet is refused from this number in all: when the user
/// becomes known, the calls count as that user's, who could take everything otherwise. The rest is for
/// users that are known.
pub(super) const STRANGERS_UNTIL: usize = TOTAL_CALLS / 2;
/// Bytes of the calls in flight of one user.
pub(super) const USER_BYTES: usize = 512 << 10;
/// Bytes of the calls in flight in all.
pub(super) const TOTAL_BYTES: usize = 4 << 20;
/// Our own calls that wait for a reply. Each call in flight makes a few.
const PENDING_CALLS: usize = 4096;
/// Users of connections that are remembered.
const KNOWN_USERS: usize = 1024;
/// Questions to the bus about users that wait for an answer.
const QUESTIONS: usize = 64;
/// After this time a call no longer counts. The handler of a call may have panicked, or have failed
/// to encode its reply, and then no reply is ever written.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// Serials of messages that the transport itself sends. Those of zbus count up from 1.
const OWN_SERIALS: u32 = 0xf000_0000;

/// A call in flight.
#[derive(Clone, Copy, Debug)]
struct Call {
    serial: u32,
    bytes: usize,
    /// The caller wants no reply, so the reply is not written.
    silent: bool,
    since: Instant,
}

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The sender has [`SENDER_CALLS`] calls in flight.
    Sender,
    /// The sender's user has as many calls or bytes in flight as one user may have.
    User,
    /// There are as many calls or bytes in flight as there may be.
    Total,
}

impl Full {
    /// The text for the caller.
    pub(super) fn text(self) -> String {
        let (user, total) = (USER_BYTES >> 10, TOTAL_BYTES >> 20);
        match self {
            Self::Sender => format!("a connection may have {SENDER_CALLS} calls in flight: wait for their replies"),
            Self::User => {
                format!("a user may have {USER_CALLS} calls or {user} KiB in flight: wait for their replies")
            }
            Self::Total => format!("{TOTAL_CALLS} calls or {total} MiB are in flight: try again later"),
        }
    }
}

/// The account.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// The calls in flight by sender. A sender without calls has no entry.
    calls: HashMap<Box<str>, Vec<Call>>,
    /// The users of senders, with the order in which they were learned.
    users: HashMap<Box<str>, u32>,
    learned: VecDeque<Box<str>>,
    /// Our own questions about users: serial and sender.
    questions: VecDeque<(u32, Box<str>)>,
    /// The serials of the calls of zbus that wait for a reply.
    pending: BTreeSet<u32>,
    own_serial: u32,
    /// The bus has answered the first call of the connection.
    greeted: bool,
}

impl Gate {
    /// Whether this reply of the bus is its first. The handshake sends the call itself, `Hello`, and
    /// nobody else can send anything before it is answered.
    pub(super) fn greet(&mut self) -> bool {
        !std::mem::replace(&mut self.greeted, true)
    }

    /// The serial of the next message that the transport itself sends.
    pub(super) fn own_serial(&mut self) -> u32 {
        self.own_serial = (self.own_serial + 1) % 0x0fff_ffff;
        OWN_SERIALS + self.own_serial
    }

    /// Counts a call, or says why it may not be passed on.
    pub(super) fn admit(
        &mut self,
        sender: &str,
        serial: u32,
        bytes: usize,
        silent: bool,
        now: Instant,
    ) -> Result<(), Full> {
        let user = self.users.get(sender).copied();
        // Senders whose user is not known yet count as one user.
        let (mut total, mut of_user) = ((0, 0), (0, 0));
        self.calls.retain(|_, calls| {
            calls.retain(|call| now.saturating_duration_since(call.since) < FORGOTTEN_AFTER);
            !calls.is_empty()
        });
        for (other, calls) in &self.calls {
            let bytes = calls.iter().map(|call| call.bytes).sum::<usize>();
            total = (total.0 + calls.len(), total.1 + bytes);
            if self.users.get(other).copied() == user {
                of_user = (of_user.0 + calls.len(), of_user.1 + bytes);
            }
        }
        if self.calls.get(sender).is_some_and(|calls| calls.len() >= SENDER_CALLS) {
            return Err(Full::Sender);
        }
        if of_user.0 >= USER_CALLS || of_user.1 + bytes > USER_BYTES {
            return Err(Full::User);
        }
        let room = if user.is_some() { TOTAL_CALLS } else { STRANGERS_UNTIL };
        if total.0 >= room || total.1 + bytes > TOTAL_BYTES {
            return Err(Full::Total);
        }
        self.calls.entry(sender.into()).or_default().push(Call { serial, bytes, silent, since: now });
        Ok(())
    }

    /// Whether the reply to a call is not to be written, because its sender wants none.
    pub(super) fn is_silent(&self, sender: &str, serial: u32) -> bool {
        self.calls
            .get(sender)
            .and_then(|calls| calls.iter().find(|call| call.serial == serial))
            .is_some_and(|c| c.silent)
    }

    /// Uncounts a call.
    pub(super) fn finish(&mut self, sender: &str, serial: u32) {
        if let Some(calls) = self.calls.get_mut(sender) {
            if let Some(at) = calls.iter().position(|call| call.serial == serial) {
                calls.swap_remove(at);
            }
            if calls.is_empty() {
                self.calls.remove(sender);
            }
        }
    }

    /// The number of calls in flight.
    #[cfg(test)]
    pub(super) fn in_flight(&self) -> usize {
        self.calls.values().map(Vec::len).sum()
    }

    /// Notes a call of our own that wants a reply.
    pub(super) fn called(&mut self, serial: u32) {
        self.pending.insert(serial);
        if self.pending.len() > PENDING_CALLS {
            self.pending.pop_first();
        }
    }

    /// Whether a call of our own waits for this reply. It waits no longer.
    pub(super) fn replied(&mut self, serial: u32) -> bool {
        self.pending.remove(&serial)
    }

    /// The serial of the question to the bus which user `sender` is, if it must be asked.
    pub(super) fn ask_user(&mut self, sender: &str) -> Option<u32> {
        let asked = self.questions.iter().any(|(_, asked)| **asked == *sender);
        if self.users.contains_key(sender) || asked || self.questions.len() >= QUESTIONS {
            return None;
        }
        let serial = self.own_serial();
        self.questions.push_back((serial, sender.into()));
        Some(serial)
    }

    /// Whether a reply answers one of our questions about users.
    pub(super) fn asked(&self, serial: u32) -> bool {
        self.questions.iter().any(|(asked, _)| *asked == serial)
    }

    /// Takes the answer to one of our questions: the user, or `None` if the bus does not know.
    pub(super) fn answer(&mut self, serial: u32, user: Option<u32>) {
        let Some(at) = self.questions.iter().position(|(asked, _)| *asked == serial) else { return };
        if let (Some((_, sender)), Some(user)) = (self.questions.remove(at), user) {
            // A bus never gives the name of a connection to another one, so what is known stays true.
            if self.users.insert(sender.clone(), user).is_none() {
                self.learned.push_back(sender);
            }
            if self.learned.len() > KNOWN_USERS
                && let Some(oldest) = self.learned.pop_front()
            {
                self.users.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flood(gate: &mut Gate, sender: &str, bytes: usize) -> (usize, Full) {
        let now = Instant::now();
        let mut admitted = 0;
        loop {
            match gate.admit(sender, 1 + u32::try_from(admitted).expect("few"), bytes, false, now) {
                Ok(()) => admitted += 1,
                Err(full) => return (admitted, full),
            }
        }
    }

    fn know(gate: &mut Gate, sender: &str, user: u32) {
        let serial = gate.ask_user(sender).expect("not known");
        assert!(gate.asked(serial));
        gate.answer(serial, Some(user));
    }

    #[test]
    fn one_sender_one_user_and_all_have_their_share() {
        let senders_of_user = USER_CALLS / SENDER_CALLS;
        let mut gate = Gate::default();
        for n in 0..senders_of_user {
            assert_eq!(flood(&mut gate, &format!(":new.{n}"), 100), (SENDER_CALLS, Full::Sender));
        }
        assert_eq!(flood(&mut gate, ":new.99", 100), (0, Full::User), "nobody's user is known, so they are one");
        let mut full = USER_CALLS;
        for n in 0.. {
            let sender = format!(":1.{n}");
            know(&mut gate, &sender, n / u32::try_from(senders_of_user).expect("few"));
            let (admitted, reason) = flood(&mut gate, &sender, 100);
            full += admitted;
            if reason == Full::Total {
                break;
            }
            assert_eq!((admitted, reason), (SENDER_CALLS, Full::Sender));
        }
        assert_eq!((full, gate.in_flight()), (TOTAL_CALLS, TOTAL_CALLS));
        gate.finish(":new.0", 1);
        know(&mut gate, ":9.0", 9);
        assert_eq!(flood(&mut gate, ":9.0", 100), (1, Full::Total));
    }

    #[test]
    fn a_user_who_comes_with_new_connections_leaves_room_for_those_that_are_known() {
        let mut gate = Gate::default();
        know(&mut gate, ":dave", 2);
        for n in 0..1000 {
            let sender = format!(":1.{n}");
            let serial = gate.ask_user(&sender).expect("not known");
            let _ = gate.admit(&sender, 1, 100, false, Instant::now());
            gate.answer(serial, Some(1));
            let _ = gate.admit(&sender, 2, 100, false, Instant::now());
        }
        assert_eq!(gate.in_flight(), STRANGERS_UNTIL);
        assert_eq!(flood(&mut gate, ":dave", 100), (SENDER_CALLS, Full::Sender));
    }

    #[test]
    fn bytes_count_too() {
        let mut gate = Gate::default();
        assert_eq!(flood(&mut gate, ":1.0", 64 << 10), (USER_BYTES / (64 << 10), Full::User));
    }

    #[test]
    fn a_call_whose_reply_never_comes_is_forgotten_in_the_end() {
        let mut gate = Gate::default();
        flood(&mut gate, ":1.0", 100);
        let later = Instant::now() + FORGOTTEN_AFTER;
        assert_eq!(gate.admit(":1.0", 99, 100, true, later), Ok(()));
        assert_eq!(gate.in_flight(), 1);
        assert!(gate.is_silent(":1.0", 99) && !gate.is_silent(":1.0", 98));
        gate.finish(":1.0", 99);
        assert!(gate.calls.is_empty(), "nothing remains of a sender without calls");
    }

    #[test]
    fn only_replies_to_our_own_calls_are_known_and_the_list_is_bounded() {
        let mut gate = Gate::default();
        gate.called(7);
        assert!(!gate.replied(8));
        assert!(gate.replied(7) && !gate.replied(7));
        (0..10_000).for_each(|serial| gate.called(serial));
        assert_eq!(gate.pending.len(), PENDING_CALLS);
    }

    #[test]
    fn users_and_questions_are_bounded() {
        let mut gate = Gate::default();
        let asked = (0..1000).filter(|n| gate.ask_user(&format!(":1.{n}")).is_some()).count();
        assert_eq!(asked, QUESTIONS);
        assert!(gate.ask_user(":1.0").is_none(), "asked already");
        let mut gate = Gate::default();
        for n in 0..3000_u32 {
            know(&mut gate, &format!(":1.{n}"), n);
        }
        assert_eq!((gate.users.len(), gate.learned.len()), (KNOWN_USERS, KNOWN_USERS));
        assert!(!gate.asked(5), "not a question of ours");
    }
}
