//! Permissions that live: what a client may see is asked when it attaches, and again whenever the
//! answer may have changed. An attachment whose permission has ended ends with it.
//!
//! Who has the permission for the mask may also read whether and where people are. Those properties
//! are read often, so their answers are remembered for a short time, and until anything changes.
//!
//! Everything runs on the main thread.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use portraitd_protocol::{ServiceError, StreamKind, names};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use zbus::Connection;
use zbus::message::Header;

use super::authority::{Authority, AuthorizationRequest, Grant, Refusal, Right};
use super::client_watch::ClientWatch;
use super::service::{Client, ClientName};

/// The properties that show whether or where people are and whose changes are announced: they go to
/// the listeners only.
const ANNOUNCED: [(&str, &str); 2] = [(names::SEGMENTATION_INTERFACE, "Present"), (names::FRAMING_INTERFACE, "State")];
/// The entries of `Camera1.Stats` that depend on people. Composites and masks come at the rate of the
/// inference passes and as late as they end, and passes run while something moves.
const STATS: [&str; 6] = ["framing_moves", "inference_ms", "mask_age_ms", "masks", "frames_published", "latency_ms"];

/// How long the answer about the mask is remembered.
const REMEMBERED: Duration = Duration::from_secs(10);
/// The most answers that are remembered.
const MAX_ANSWERS: usize = 1024;
/// The most clients that are told about changes, in total and of one user.
const MAX_LISTENERS: usize = 128;
const MAX_LISTENERS_OF_USER: usize = 16;
/// The most questions under way in one pass.
const QUESTIONS: usize = 8;
/// The rest between two passes.
const REST: Duration = Duration::from_millis(250);
/// The wait before another pass if a question got no answer.
const RETRY: Duration = Duration::from_secs(1);
/// How long an attachment outlives the last answer about its permission.
const GRACE: Duration = Duration::from_secs(10);
/// ... if others get answers meanwhile.
const LONG_GRACE: Duration = Duration::from_secs(60);

/// Whether the changes of a property go to the listeners only.
pub(super) fn is_guarded(interface: &str, property: &str) -> bool {
    ANNOUNCED.contains(&(interface, property))
}

/// Whether an entry of `Camera1.Stats` needs the permission for the mask.
pub(super) fn is_guarded_figure(name: &str) -> bool {
    STATS.contains(&name)
}

/// The permission to know whether and where people are.
const SEE_MASK: Right = Right::See(StreamKind::Mask);

/// A permission that somebody makes use of.
type Use = (Client, Right);

/// The permissions of the clients of one connection.
pub(super) struct Permissions {
    authority: Arc<dyn Authority>,
    client_watch: Arc<ClientWatch>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Increases when answers may have changed. An answer to a question of an earlier epoch is not
    /// remembered.
    epoch: u64,
    /// Whether the client may see the mask, and when that was answered.
    answers: HashMap<ClientName, (Result<(), Refusal>, Instant)>,
    /// The clients that are told about changes, the one that asked last at the end.
    listeners: Vec<Client>,
    /// Permissions that somebody has typed a password for.
    passwords: HashSet<(ClientName, Right)>,
    /// The clients that wait for the answer to a question. A sender is dropped when its client leaves.
    asking: Vec<(ClientName, oneshot::Sender<()>)>,
}

impl State {
    fn remember(&mut self, client: &Client, answer: Result<(), Refusal>) {
        if answer.is_ok() {
            self.listen(client);
        }
        let now = Instant::now();
        if self.answers.len() >= MAX_ANSWERS {
            self.answers.retain(|_, (_, at)| now.duration_since(*at) < REMEMBERED);
        }
        if self.answers.len() >= MAX_ANSWERS {
            self.answers.clear();
        }
        self.answers.insert(client.name.clone(), (answer, now));
    }

    /// Makes the client a listener. One that asked long ago gives way, of the same user first.
    fn listen(&mut self, client: &Client) {
        self.listeners.retain(|listener| listener.name != client.name);
        let of_user = |listener: &Client| listener.user == client.user;
        if self.listeners.iter().filter(|listener| of_user(listener)).count() >= MAX_LISTENERS_OF_USER {
            let oldest = self.listeners.iter().position(of_user);
            oldest.map(|index| self.listeners.remove(index));
        } else if self.listeners.len() >= MAX_LISTENERS {
            self.listeners.remove(0);
        }
        self.listeners.push(client.clone());
    }
}

/// The permission of a client that has it, as far as it is known now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Kept,
    Ended,
    Unknown,
    /// Unknown, while others get answers.
    Delayed,
}

impl Standing {
    /// Whether the use ends, after questions have been without an answer for this long.
    fn is_over(self, waited: Duration) -> bool {
        match self {
            Self::Kept => false,
            Self::Ended => true,
            Self::Unknown => waited >= GRACE,
            Self::Delayed => waited >= LONG_GRACE,
        }
    }
}

impl Permissions {
    pub(super) fn new(authority: Arc<dyn Authority>, client_watch: Arc<ClientWatch>) -> Arc<Self> {
        let permissions = Arc::new(Self { authority, client_watch, state: Mutex::default() });
        let weak = Arc::downgrade(&permissions);
        permissions.client_watch.on_departure(Box::new(move |client| {
            if let Some(permissions) = weak.upgrade() {
                permissions.forget(client);
            }
        }));
        permissions
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The critical sections add and remove whole entries.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether every client may see everything.
    pub(super) fn allow_everybody(&self) -> bool {
        self.authority.allows_everybody()
    }

    fn forget(&self, client: &ClientName) {
        let mut state = self.state();
        state.answers.remove(client);
        state.listeners.retain(|listener| listener.name != *client);
        state.passwords.retain(|(name, _)| name != client);
        state.asking.retain(|(name, _)| name != client);
    }

    /// Waits until the client leaves the bus.
    fn departure(&self, client: &Client) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        if self.client_watch.is_here(client) {
            let mut state = self.state();
            state.asking.retain(|(_, sender)| !sender.is_closed());
            state.asking.push((client.name.clone(), sender));
        }
        receiver
    }

    /// The moment of a question, for [`Permissions::confirm`].
    pub(super) fn epoch(&self) -> u64 {
        self.state().epoch
    }

    /// Asks whether a client may do something.
    ///
    /// # Errors
    /// `NotAuthorized`; `Busy` if too many questions for a password are open.
    pub(super) async fn ask(
        &self,
        connection: &Connection,
        client: &Client,
        right: Right,
        interactive: bool,
    ) -> Result<(), ServiceError> {
        let epoch = self.epoch();
        let request = AuthorizationRequest { connection, client, right, interactive, running: false };
        let grant = tokio::select! {
            grant = self.authority.check(request) => grant?,
            // Nobody needs the answer. A dialog for a password closes with the question.
            _ = self.departure(client) => return Err(ServiceError::NotAuthorized(format!("{client} has left"))),
        };
        let mut state = self.state();
        if grant == Grant::Password {
            state.passwords.insert((client.name.clone(), right));
        }
        if right == SEE_MASK && state.epoch == epoch && !self.allow_everybody() {
            state.remember(client, Ok(()));
        }
        Ok(())
    }

    /// Asks again about a permission that was given at `epoch`, if it may have ended since: opening
    /// a camera takes seconds, and nothing else would notice an attachment that is not there yet.
    ///
    /// # Errors
    /// `NotAuthorized` if the client does not have the permission any more, or nobody knows.
    pub(super) async fn confirm(
        &self,
        connection: &Connection,
        client: &Client,
        rights: &[Right],
        epoch: u64,
    ) -> Result<(), ServiceError> {
        if self.epoch() == epoch {
            return Ok(());
        }
        for right in rights {
            if self.standing(connection, client, *right, false).await != Standing::Kept {
                let text = format!("the permission for {right} ended while the request was under way");
                return Err(ServiceError::NotAuthorized(text));
            }
        }
        Ok(())
    }

    /// Whether the caller may see the mask, and with it whether and where people are. Without a
    /// header it is unknown who will see the answer.
    ///
    /// # Errors
    /// `NotAuthorized`.
    pub(super) async fn may_see_people(
        &self,
        connection: &Connection,
        header: Option<&Header<'_>>,
    ) -> Result<(), ServiceError> {
        if self.allow_everybody() {
            return Ok(());
        }
        let Some(header) = header else {
            return Err(ServiceError::NotAuthorized("it is unknown who asks".into()));
        };
        let client = self.client_watch.client(connection, header).await?;
        let epoch = {
            let mut state = self.state();
            if let Some((answer, at)) = state.answers.get(&client.name)
                && at.elapsed() < REMEMBERED
            {
                let answer = answer.clone();
                if answer.is_ok() {
                    state.listen(&client);
                }
                return answer.map_err(ServiceError::from);
            }
            state.epoch
        };
        let request =
            AuthorizationRequest { connection, client: &client, right: SEE_MASK, interactive: false, running: false };
        let answer = self.authority.check(request).await.map(drop);
        let mut state = self.state();
        if state.epoch == epoch {
            state.remember(&client, answer.clone());
        }
        drop(state);
        answer.map_err(ServiceError::from)
    }

    /// The clients that are told about changes of what only the permission for the mask shows.
    pub(super) fn listeners(&self) -> Vec<ClientName> {
        self.state().listeners.iter().map(|client| client.name.clone()).collect()
    }

    async fn standing(&self, connection: &Connection, client: &Client, right: Right, running: bool) -> Standing {
        let request = AuthorizationRequest { connection, client, right, interactive: false, running };
        match self.authority.check(request).await {
            Ok(_) => Standing::Kept,
            // The password was for this.
            Err(Refusal::NeedsPassword(_)) if self.state().passwords.contains(&(client.name.clone(), right)) => {
                Standing::Kept
            }
            Err(Refusal::Unknown(_)) => Standing::Unknown,
            Err(Refusal::Delayed(_) | Refusal::Busy(_)) => Standing::Delayed,
            Err(Refusal::Denied(_) | Refusal::NeedsPassword(_)) => Standing::Ended,
        }
    }

    /// Asks again about every permission that is in use, and ends the use of those that have ended,
    /// and of those without an answer too if questions have been without one for long. Returns
    /// whether it is known of everything that is still in use.
    async fn check_again(&self, connection: &Connection, waited: Duration) -> bool {
        let mut uses: HashSet<Use> = {
            let mut state = self.state();
            state.epoch += 1;
            state.answers.clear();
            state.listeners.iter().map(|client| (client.clone(), SEE_MASK)).collect()
        };
        uses.extend(self.client_watch.uses());
        let standings: Vec<(Use, Standing)> = stream::iter(uses)
            .map(|(client, right)| async move {
                let standing = self.standing(connection, &client, right, true).await;
                ((client, right), standing)
            })
            .buffer_unordered(QUESTIONS)
            .collect()
            .await;
        let is_open = |standing: Standing| standing != Standing::Kept && !standing.is_over(waited);
        let all_known = !standings.iter().any(|(_, standing)| is_open(*standing));
        let ended = standings.into_iter().filter(|(_, standing)| standing.is_over(waited));
        let ended: HashSet<Use> = ended.map(|(used, _)| used).collect();
        if !ended.is_empty() {
            for (client, right) in &ended {
                tracing::info!(%client, stream = %right, "the permission for the stream has ended");
            }
            {
                let mut state = self.state();
                state.listeners.retain(|client| !ended.contains(&(client.clone(), SEE_MASK)));
                state
                    .passwords
                    .retain(|(name, right)| !ended.iter().any(|(client, gone)| client.name == *name && gone == right));
            }
            self.client_watch.end_uses(&|client, right| ended.contains(&(client.clone(), right)));
        }
        all_known
    }

    /// Asks again whenever answers may have changed, one pass at a time, until the connection ends.
    /// The body of a task of the main thread.
    ///
    /// If the authority gives no answer, attachments live on for [`GRACE`] and then end; for
    /// [`LONG_GRACE`] if it answers other questions.
    pub(super) async fn keep_alive(self: Arc<Self>, connection: Connection) {
        if self.allow_everybody() {
            return;
        }
        let mut changes = match self.authority.changes(&connection).await {
            Ok(changes) => changes,
            Err(error) => {
                tracing::warn!(%error, "changes of permissions are not noticed until a client attaches again");
                return;
            }
        };
        // Signals are taken at once, also while a pass waits for answers: the reader of the
        // connection, which brings the answers, waits for a full queue of signals.
        let (sender, mut news) = watch::channel(());
        // A permission may have ended before the signals were subscribed to.
        news.mark_changed();
        let take = async {
            while changes.next().await.is_some() {
                sender.send_replace(());
            }
        };
        let passes = async {
            let mut unanswered_since: Option<Instant> = None;
            loop {
                match unanswered_since {
                    None if news.changed().await.is_err() => return,
                    None => {}
                    Some(_) => drop(timeout(RETRY, news.changed()).await),
                }
                let waited = unanswered_since.map_or(Duration::ZERO, |since| since.elapsed());
                let all_known = self.check_again(&connection, waited).await;
                unanswered_since = if all_known { None } else { Some(unanswered_since.unwrap_or_else(Instant::now)) };
                sleep(REST).await;
            }
        };
        tokio::select! {
            () = take => {}
            () = passes => {}
        }
    }
}
