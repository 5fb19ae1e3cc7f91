//! What is counted for a connection: who the clients are, calls in flight, and calls of our own
//! that wait for a reply.
//!
//! A call is in flight from the moment it is passed on until its reply has been written. The module
//! is pure: it does no I/O, and times are arguments.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::foreign::Foreign;
use crate::publish::dbus::service::{Client, ClientName};

/// Calls in flight from one connection to the bus.
pub(super) const SENDER_CALLS: usize = 16;
/// Calls in flight of one user.
pub(super) const USER_CALLS: usize = 96;
/// Calls in flight in all.
pub(super) const TOTAL_CALLS: usize = 256;
/// Bytes of the calls in flight of one user.
pub(super) const USER_BYTES: usize = 512 << 10;
/// Bytes of the calls in flight in all.
pub(super) const TOTAL_BYTES: usize = 4 << 20;
/// Of [`TOTAL_CALLS`], those that only root may have: other users can fill the rest, and an
/// administrator must still be able to look and to reload.
const ROOT_CALLS: usize = SENDER_CALLS;
/// Of [`TOTAL_BYTES`], those that only root may have.
const ROOT_BYTES: usize = USER_BYTES;
/// Our own calls that wait for a reply. Each call in flight makes a few.
const PENDING_CALLS: usize = 4096;
/// Clients whose user is remembered. If more call, the oldest one without a call in flight is
/// forgotten. The bus is asked about it again at its next call.
const KNOWN_CLIENTS: usize = 1024;
/// Questions to the bus about clients that wait for an answer. A system bus allows 128 of a
/// connection in all.
const QUESTIONS: usize = 64;
/// After this time a call no longer counts. The handler of a call may have panicked, or have failed
/// to encode its reply, and then no reply is ever written.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// The interval in which calls are removed that no longer count.
const FORGETTING_INTERVAL: Duration = Duration::from_secs(60);

/// Serials of messages that the transport itself sends. Those of zbus count up from 1.
const OWN_SERIALS: u32 = 0xf000_0000;

/// A call in flight.
#[derive(Debug)]
struct Call {
    serial: u32,
    bytes: usize,
    /// The caller wants no reply, so the reply is not written.
    silent: bool,
    since: Instant,
    /// The descriptors that came with the call, until its handler takes them.
    fds: Foreign,
}

/// The calls in flight of one connection.
#[derive(Debug)]
struct Sender {
    user: u32,
    calls: Vec<Call>,
}

/// A number of calls, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    calls: usize,
    bytes: usize,
}

impl Sum {
    fn add(&mut self, bytes: usize) {
        self.calls += 1;
        self.bytes += bytes;
    }

    fn subtract(&mut self, bytes: usize) {
        self.calls -= 1;
        self.bytes -= bytes;
    }

    const fn has_room(self, calls: usize, bytes: usize, more: usize) -> bool {
        self.calls < calls && self.bytes + more <= bytes
    }
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
    senders: HashMap<Box<str>, Sender>,
    /// The calls in flight by user. A user without calls has no entry.
    users: HashMap<u32, Sum>,
    total: Sum,
    /// When calls that no longer count were last removed.
    swept: Option<Instant>,
    clients: HashMap<Box<str>, Client>,
    /// The names of the clients, in the order in which they were learned.
    learned: VecDeque<Box<str>>,
    /// Our own questions about clients: serial and name.
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

    /// Counts a call of a sender of `user`, or says why it may not be passed on.
    pub(super) fn admit(
        &mut self,
        (sender, user): (&str, u32),
        serial: u32,
        bytes: usize,
        silent: bool,
        now: Instant,
    ) -> Result<(), Full> {
        self.forget_old_calls(now);
        if self.senders.get(sender).is_some_and(|sender| sender.calls.len() >= SENDER_CALLS) {
            return Err(Full::Sender);
        }
        if !self.users.get(&user).copied().unwrap_or_default().has_room(USER_CALLS, USER_BYTES, bytes) {
            return Err(Full::User);
        }
        let (reserved_calls, reserved_bytes) = if user == 0 { (0, 0) } else { (ROOT_CALLS, ROOT_BYTES) };
        if !self.total.has_room(TOTAL_CALLS - reserved_calls, TOTAL_BYTES - reserved_bytes, bytes) {
            return Err(Full::Total);
        }
        self.total.add(bytes);
        self.users.entry(user).or_default().add(bytes);
        let entry = self.senders.entry(sender.into()).or_insert_with(|| Sender { user, calls: Vec::new() });
        entry.calls.push(Call { serial, bytes, silent, since: now, fds: Foreign::default() });
        Ok(())
    }

    fn forget_old_calls(&mut self, now: Instant) {
        let swept = *self.swept.get_or_insert(now);
        if now.saturating_duration_since(swept) < FORGETTING_INTERVAL {
            return;
        }
        self.swept = Some(now);
        let old = |call: &Call| now.saturating_duration_since(call.since) >= FORGOTTEN_AFTER;
        let mut forgotten = Vec::new();
        for (name, sender) in &self.senders {
            forgotten.extend(sender.calls.iter().filter(|call| old(call)).map(|call| (name.clone(), call.serial)));
        }
        forgotten.iter().for_each(|(sender, serial)| self.finish(sender, *serial));
    }

    /// Whether the reply to a call is not to be written, because its sender wants none.
    pub(super) fn is_silent(&self, sender: &str, serial: u32) -> bool {
        let calls = self.senders.get(sender).map(|sender| &sender.calls);
        calls.and_then(|calls| calls.iter().find(|call| call.serial == serial)).is_some_and(|call| call.silent)
    }

    /// Keeps the descriptors of a call in flight until they are taken or the call has ended.
    pub(super) fn keep(&mut self, name: &str, serial: u32, fds: Foreign) {
        if let Some(call) = self.call(name, serial) {
            call.fds = fds;
        }
    }

    /// The descriptors of a call in flight. None are left.
    pub(super) fn take(&mut self, name: &str, serial: u32) -> Foreign {
        self.call(name, serial).map(|call| std::mem::take(&mut call.fds)).unwrap_or_default()
    }

    fn call(&mut self, name: &str, serial: u32) -> Option<&mut Call> {
        self.senders.get_mut(name)?.calls.iter_mut().find(|call| call.serial == serial)
    }

    /// Uncounts a call.
    pub(super) fn finish(&mut self, name: &str, serial: u32) {
        let Some(sender) = self.senders.get_mut(name) else { return };
        let Some(at) = sender.calls.iter().position(|call| call.serial == serial) else { return };
        let call = sender.calls.swap_remove(at);
        let user = sender.user;
        if sender.calls.is_empty() {
            self.senders.remove(name);
        }
        self.total.subtract(call.bytes);
        if let Some(sum) = self.users.get_mut(&user) {
            sum.subtract(call.bytes);
            if sum.calls == 0 {
                self.users.remove(&user);
            }
        }
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

    /// A client whose user is known.
    pub(super) fn client(&self, name: &str) -> Option<&Client> {
        self.clients.get(name)
    }

    /// Forgets a client that has left.
    pub(super) fn forget(&mut self, name: &str) {
        if self.clients.remove(name).is_some() {
            self.learned.retain(|learned| **learned != *name);
        }
    }

    /// The serial for a question to the bus who `name` is. `None` if nothing is to be asked now:
    /// the user is known, the bus was asked already, or too many questions wait.
    pub(super) fn ask(&mut self, name: &str) -> Option<u32> {
        if self.clients.contains_key(name) || self.is_asked(name) || self.questions.len() >= QUESTIONS {
            return None;
        }
        let serial = self.own_serial();
        self.questions.push_back((serial, name.into()));
        Some(serial)
    }

    /// Whether the bus was asked about `name` and has not answered.
    pub(super) fn is_asked(&self, name: &str) -> bool {
        self.questions.iter().any(|(_, asked)| **asked == *name)
    }

    /// Whether a reply answers one of our questions about clients.
    pub(super) fn asked(&self, serial: u32) -> bool {
        self.questions.iter().any(|(asked, _)| *asked == serial)
    }

    /// Takes the answer to one of our questions: user and process, or `None` if the bus does not
    /// know. Returns the name of the client.
    pub(super) fn answer(&mut self, serial: u32, who: Option<(u32, Option<u32>)>) -> Option<Box<str>> {
        let at = self.questions.iter().position(|(asked, _)| *asked == serial)?;
        let (_, name) = self.questions.remove(at)?;
        if let Some((user, process)) = who {
            // A bus never gives the name of a connection to another one, so what is known stays true.
            let client = Client::new(ClientName::new(&name), user, process);
            if self.clients.insert(name.clone(), client).is_none() {
                self.learned.push_back(name.clone());
            }
            if self.learned.len() > KNOWN_CLIENTS {
                let idle = self.learned.iter().position(|name| !self.senders.contains_key(name));
                if let Some(oldest) = idle.and_then(|at| self.learned.remove(at)) {
                    self.clients.remove(&oldest);
                }
            }
        }
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills the places of a sender: how many calls were admitted, and why no more were.
    fn flood(gate: &mut Gate, sender: &str, user: u32, bytes: usize) -> (usize, Full) {
        let now = Instant::now();
        let mut admitted = 0;
        loop {
            let serial = 1 + u32::try_from(admitted).expect("few");
            match gate.admit((sender, user), serial, bytes, false, now) {
                Ok(()) => admitted += 1,
                Err(full) => return (admitted, full),
            }
        }
    }

    fn know(gate: &mut Gate, name: &str, user: u32) {
        let serial = gate.ask(name).expect("not known");
        assert!(gate.asked(serial));
        assert_eq!(gate.answer(serial, Some((user, Some(7)))).as_deref(), Some(name));
        assert_eq!(gate.client(name).map(|client| (client.user, client.process)), Some((user, Some(7))));
    }

    #[test]
    fn one_sender_one_user_and_all_have_their_share() {
        let senders_of_user = u32::try_from(USER_CALLS / SENDER_CALLS).expect("few");
        let mut gate = Gate::default();
        let mut full = 0;
        for n in 0.. {
            let user = 1000 + n / (senders_of_user + 1);
            let (admitted, reason) = flood(&mut gate, &format!(":1.{n}"), user, 100);
            full += admitted;
            match reason {
                Full::Total => break,
                Full::Sender => assert_eq!(admitted, SENDER_CALLS),
                Full::User => assert_eq!((admitted, n % (senders_of_user + 1)), (0, senders_of_user)),
            }
        }
        assert_eq!((full, gate.total.calls), (TOTAL_CALLS - ROOT_CALLS, TOTAL_CALLS - ROOT_CALLS));
        gate.finish(":1.0", 1);
        gate.finish(":1.0", 1);
        assert_eq!(flood(&mut gate, ":9.0", 99, 100), (1, Full::Total));
    }

    #[test]
    fn root_is_served_when_others_have_all_that_they_may_have() {
        for bytes in [100, 64 << 10] {
            let mut gate = Gate::default();
            for n in 0..100 {
                flood(&mut gate, &format!(":1.{n}"), 1000 + n, bytes);
            }
            assert_eq!(flood(&mut gate, ":1.100", 1100, bytes), (0, Full::Total));
            let (admitted, _) = flood(&mut gate, ":1.101", 0, bytes);
            assert_eq!(admitted, SENDER_CALLS.min(ROOT_BYTES / bytes));
        }
    }

    #[test]
    fn bytes_count_too() {
        let mut gate = Gate::default();
        let most = USER_BYTES / (64 << 10);
        assert_eq!(flood(&mut gate, ":1.0", 1, 64 << 10), (most, Full::User));
        (1..=most).for_each(|serial| gate.finish(":1.0", u32::try_from(serial).expect("few")));
        assert_eq!((gate.total, gate.users.len(), gate.senders.len()), (Sum::default(), 0, 0));
    }

    #[test]
    fn a_call_whose_reply_never_comes_is_forgotten_in_the_end() {
        let mut gate = Gate::default();
        flood(&mut gate, ":1.0", 1, 100);
        let later = Instant::now() + FORGOTTEN_AFTER;
        assert_eq!(gate.admit((":1.0", 1), 99, 100, true, later), Ok(()));
        assert_eq!(gate.total, Sum { calls: 1, bytes: 100 });
        assert!(gate.is_silent(":1.0", 99) && !gate.is_silent(":1.0", 98));
        gate.finish(":1.0", 99);
        assert!(gate.senders.is_empty() && gate.users.is_empty(), "nothing remains of a sender without calls");
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
    fn clients_and_questions_are_bounded() {
        let mut gate = Gate::default();
        let asked = (0..1000).filter(|n| gate.ask(&format!(":1.{n}")).is_some()).count();
        assert_eq!(asked, QUESTIONS);
        assert!(gate.ask(":1.0").is_none(), "asked already");
        let mut gate = Gate::default();
        know(&mut gate, ":busy", 1);
        gate.admit((":busy", 1), 1, 100, false, Instant::now()).expect("room");
        for n in 0..3000_u32 {
            know(&mut gate, &format!(":1.{n}"), n);
        }
        assert_eq!((gate.clients.len(), gate.learned.len()), (KNOWN_CLIENTS, KNOWN_CLIENTS));
        assert!(gate.client(":busy").is_some(), "it has a call in flight");
        assert!(gate.client(":1.0").is_none() && gate.client(":1.2999").is_some());
        assert!(!gate.asked(5), "not a question of ours");
        gate.forget(":1.2999");
        assert!(gate.client(":1.2999").is_none());
        assert_eq!(gate.learned.len(), KNOWN_CLIENTS - 1);
        let serial = gate.ask(":gone").expect("not known");
        assert_eq!(gate.answer(serial, None).as_deref(), Some(":gone"));
        assert!(gate.client(":gone").is_none());
    }
}
