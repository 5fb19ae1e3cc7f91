//! Who may see a stream, and who may provide frames.
//!
//! A stream shows people, so on the system bus polkit is asked before each attach and each
//! snapshot, and again when its answer may have changed (`permissions`). The same holds for a program
//! that provides what is shown.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, join};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use portraitd_media::clock::monotonic_ns;
use portraitd_protocol::{ServiceError, StreamKind};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use zbus::fdo::DBusProxy;
use zbus::message::Type;
use zbus::names::UniqueName;
use zbus::proxy::CacheProperties;
use zbus::{Connection, MatchRule, Message, MessageStream, Variant};
use zbus_polkit::policykit1::{AuthorityProxy, CheckAuthorizationFlags, Subject};

use super::questions::{Full, PASSWORD_OF_USER, Place, Places};
use super::service::Client;
use crate::service::logging::Repeat;

/// Polkit's name on the bus.
const POLKIT: &str = "org.freedesktop.PolicyKit1";
/// How long polkit may take to answer without asking anybody. It gives a rule fifteen seconds and
/// answers nobody meanwhile, and some versions lose the end of a rule and wait as long (`docs/upstream.md`).
const ANSWER: Duration = Duration::from_secs(20);
/// The same where something else is decided without an answer, and so must be decided soon: for
/// root, for the user that runs the daemon, and for attachments that run.
const QUICK_ANSWER: Duration = Duration::from_secs(5);
/// How long somebody may take to answer polkit's question for a password.
const QUESTION: Duration = Duration::from_secs(180);
/// How long polkit counts as working after an answer.
const WORKING: Duration = Duration::from_secs(10);
/// Signals that are kept until they are read. Each means no more than "ask again".
const QUEUED: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Right {
    /// To see a stream.
    See(StreamKind),
    /// To provide the frames of a camera.
    Provide,
}

impl Right {
    /// Its polkit action.
    pub fn action(self) -> String {
        match self {
            Self::See(stream) => format!("org.portraitd.attach-{stream}"),
            Self::Provide => "org.portraitd.provide".to_owned(),
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::See(stream) => stream.fmt(f),
            Self::Provide => f.write_str("provide"),
        }
    }
}

/// The question whether a client may do something.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizationRequest<'a> {
    /// The connection of the client.
    pub connection: &'a Connection,
    /// The client.
    pub client: &'a Client,
    /// What the client asks for.
    pub right: Right,
    /// Whether the client is willing to wait while somebody is asked for a password.
    pub interactive: bool,
    /// Whether it makes use of this already: such questions are not held up by those of others.
    pub running: bool,
}

/// How a permission was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// The client has the permission.
    Standing,
    /// Somebody typed a password for this request.
    Password,
}

/// Why a client may not see a stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The client does not have the permission.
    #[error("{0}")]
    Denied(String),
    /// The client has the permission only if somebody types a password.
    #[error("{0}")]
    NeedsPassword(String),
    /// There is no answer.
    #[error("{0}")]
    Unknown(String),
    /// There is no answer to this question now, because too many are open or answers take too long,
    /// but others are answered.
    #[error("{0}")]
    Delayed(String),
    /// Nobody can be asked for a password now, because too many questions are open.
    #[error("{0}")]
    Busy(String),
}

impl From<Refusal> for ServiceError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Busy(text) => Self::Busy(text),
            refusal => Self::NotAuthorized(refusal.to_string()),
        }
    }
}

/// Decides who may do what.
pub trait Authority: Send + Sync {
    /// Decides whether the client of a request may do it.
    ///
    /// # Errors
    /// [`Refusal`] if the client may not, or if nobody knows.
    fn check<'a>(&'a self, request: AuthorizationRequest<'a>) -> BoxFuture<'a, Result<Grant, Refusal>>;

    /// Whether every client may see everything, now and later.
    fn allows_everybody(&self) -> bool {
        false
    }

    /// Why every client except root will be refused, if that is known before a client asks. By
    /// default nothing is known.
    fn outage<'a>(&'a self, connection: &'a Connection) -> BoxFuture<'a, Option<String>> {
        let _ = connection;
        std::future::ready(None).boxed()
    }

    /// An item for each moment from which on `check` may answer differently. The default never has
    /// one.
    ///
    /// # Errors
    /// If the bus does not deliver such signals.
    fn changes<'a>(&'a self, connection: &'a Connection) -> BoxFuture<'a, zbus::Result<BoxStream<'static, ()>>> {
        let _ = connection;
        std::future::ready(Ok(stream::pending().boxed())).boxed()
    }
}

/// Allows every request: for the session bus and for connections without a bus, which only the same
/// user can open.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Authority for AllowAll {
    fn check<'a>(&'a self, _: AuthorizationRequest<'a>) -> BoxFuture<'a, Result<Grant, Refusal>> {
        std::future::ready(Ok(Grant::Standing)).boxed()
    }

    fn allows_everybody(&self) -> bool {
        true
    }
}

/// Asks polkit, with one action for each stream: `org.portraitd.attach-mask`, `-view`,
/// `-composite`, `-source`; and `org.portraitd.provide`.
///
/// If polkit cannot be asked (it is not installed, does not start, does not answer in
/// time, or does not know the action), only root and the user that runs the daemon are allowed.
#[derive(Clone, Debug, Default)]
pub struct Polkit(Arc<PolkitState>);

#[derive(Debug, Default)]
struct PolkitState {
    places: Places,
    /// The number of questions so far, of which each has its own cancellation id.
    asked: AtomicU64,
    /// When polkit last answered a question.
    answered: Mutex<Option<Instant>>,
}

/// Limits the warnings that polkit cannot be asked: any user can cause one with each call. One in
/// ten seconds, for all connections of the process.
static UNASKED: Mutex<Repeat> = Mutex::new(Repeat::new(10_000_000_000));

/// Why polkit gave no answer.
#[derive(Debug, thiserror::Error)]
enum PolkitError {
    #[error(transparent)]
    Caller(#[from] zbus_polkit::Error),
    #[error(transparent)]
    Call(#[from] zbus::Error),
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    #[error("too many questions are open that polkit has not answered")]
    Crowded,
}

impl PolkitError {
    /// Whether this says nothing about polkit if it answers others.
    fn is_delay(&self) -> bool {
        match self {
            Self::Late(_) | Self::Crowded => true,
            Self::Call(zbus::Error::MethodError(name, ..)) => {
                name.as_str() == "org.freedesktop.DBus.Error.LimitsExceeded"
            }
            Self::Caller(_) | Self::Call(_) => false,
        }
    }
}

/// What polkit knows a client by. The crate makes it from the header of a call only, and a
/// permission is asked about again long after the call.
fn subject_of(client: &Client) -> Result<Subject, PolkitError> {
    let name = UniqueName::try_from(client.name.as_str())?;
    let call = Message::method_call("/", "Call").sender(name).build(&())?;
    Ok(Subject::new_for_message_header(&call.header())?)
}

impl PolkitState {
    fn answered(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether polkit has answered a question just now.
    fn is_working(&self) -> bool {
        self.answered().is_some_and(|at| at.elapsed() < WORKING)
    }

    /// Asks polkit, and cancels the question at the deadline, or if nobody waits for its answer any
    /// more. Returns whether the client is authorized, and whether a password would help.
    async fn ask(
        self: &Arc<Self>,
        request: &AuthorizationRequest<'_>,
        flags: CheckAuthorizationFlags,
        limit: Limit,
        place: Place,
    ) -> Result<(bool, bool), PolkitError> {
        let subject = subject_of(request.client)?;
        let proxy = AuthorityProxy::builder(request.connection).cache_properties(CacheProperties::No).build().await?;
        let id = format!("portraitd-{}", self.asked.fetch_add(1, Ordering::Relaxed));
        let action = request.right.action();
        let (mut sender, receiver) = oneshot::channel();
        let state = Arc::clone(self);
        tokio::spawn(async move {
            // The bus counts the question until polkit has answered it, whoever waits.
            let _place = place;
            let details = HashMap::new();
            let asked = async {
                let answer = proxy.check_authorization(&subject, &action, &details, flags, &id).await;
                if answer.is_ok() {
                    *state.answered() = Some(Instant::now());
                }
                answer
            };
            let mut asked = std::pin::pin!(asked);
            let answer = tokio::select! {
                answer = &mut asked => answer,
                () = sender.closed() => {
                    let cancel = proxy.inner().call_noreply("CancelCheckAuthorization", &id);
                    drop(join(asked, cancel).await);
                    return;
                }
            };
            let _ = sender.send(answer.map(|answer| (answer.is_authorized, answer.is_challenge)));
        });
        // The task drops the sender only after it has sent.
        let answer = timeout_at(limit.end, receiver).await.map_err(|_| PolkitError::Late(limit.of))?;
        Ok(answer.map_err(|_| PolkitError::Late(limit.of))??)
    }

    async fn check(
        self: &Arc<Self>,
        request: &AuthorizationRequest<'_>,
    ) -> Result<Result<Grant, Refusal>, PolkitError> {
        let action = request.right.action();
        let user = request.client.user;
        let quick = request.running || is_trusted(user);
        let limit = Limit::new(if quick { QUICK_ANSWER } else { ANSWER });
        let place = timeout_at(limit.end, self.places.plain(user, request.running)).await;
        let place = place.map_err(|_| PolkitError::Crowded)?;
        let (allowed, mut challenge) = self.ask(request, CheckAuthorizationFlags::empty(), limit, place).await?;
        if allowed {
            return Ok(Ok(Grant::Standing));
        }
        // Only then is somebody asked, so that it is known whether the permission hangs on a password.
        if challenge && request.interactive {
            let place = match self.places.password(user) {
                Ok(place) => place,
                Err(full) => return Ok(Err(Refusal::Busy(busy(full, &action)))),
            };
            let flags = CheckAuthorizationFlags::ALLOW_USER_INTERACTION;
            let allowed;
            (allowed, challenge) = match self.ask(request, flags, Limit::new(QUESTION), place).await {
                Err(PolkitError::Late(_)) => {
                    let limit = QUESTION.as_secs();
                    let text =
                        format!("polkit asked for a password for {action}, and nobody answered within {limit} s");
                    return Ok(Err(Refusal::NeedsPassword(text)));
                }
                answer => answer?,
            };
            if allowed {
                return Ok(Ok(Grant::Password));
            }
        }
        let text = format!("polkit does not allow {action}");
        Ok(Err(if challenge { Refusal::NeedsPassword(text) } else { Refusal::Denied(text) }))
    }
}

/// A deadline, and the time it was made from.
#[derive(Clone, Copy, Debug)]
struct Limit {
    of: Duration,
    end: Instant,
}

impl Limit {
    fn new(of: Duration) -> Self {
        Self { of, end: Instant::now() + of }
    }
}

/// Whether a user may do everything if polkit cannot be asked: root, and the user that runs the
/// daemon.
fn is_trusted(user: u32) -> bool {
    user == 0 || user == rustix::process::geteuid().as_raw()
}

/// Why polkit is not asked to ask for a password.
fn busy(full: Full, action: &str) -> String {
    match full {
        Full::User => format!(
            "{action} needs a password, and {PASSWORD_OF_USER} questions of this user for one are open: answer or close \
             them first"
        ),
        Full::All => format!("{action} needs a password, and too many questions for one are open: try again later"),
    }
}

impl Authority for Polkit {
    fn check<'a>(&'a self, request: AuthorizationRequest<'a>) -> BoxFuture<'a, Result<Grant, Refusal>> {
        async move {
            let error = match self.0.check(&request).await {
                Ok(answer) => return answer,
                Err(error) => error,
            };
            let action = request.right.action();
            if is_trusted(request.client.user) {
                tracing::debug!(
                    %error, %action, client = %request.client,
                    "polkit cannot be asked; the request is allowed, because the caller is root or our own user"
                );
                return Ok(Grant::Standing);
            }
            let repeats = UNASKED.lock().unwrap_or_else(PoisonError::into_inner).check(monotonic_ns());
            if let Some(repeats) = repeats {
                tracing::warn!(
                    %error, %action, client = %request.client, repeats,
                    "polkit cannot be asked, so the request is refused; check that polkit is installed and knows the action"
                );
            }
            if error.is_delay() && self.0.is_working() {
                return Err(Refusal::Delayed(format!("polkit cannot be asked about {action} now: {error}; try again later")));
            }
            Err(Refusal::Unknown(format!(
                "polkit cannot be asked about {action}, and without polkit only root is allowed: {error} (`portraitd doctor` \
                 says what is missing)"
            )))
        }
        .boxed()
    }

    fn outage<'a>(&'a self, connection: &'a Connection) -> BoxFuture<'a, Option<String>> {
        async move {
            let bus = DBusProxy::new(connection).await.ok()?;
            let mut names = bus.list_names().await.ok()?;
            names.extend(bus.list_activatable_names().await.ok()?);
            let is_there = names.iter().any(|name| name.as_str() == POLKIT);
            (!is_there).then(|| {
                "polkit is neither installed nor on the bus: only root may attach; `portraitd doctor` says what is missing"
                    .to_owned()
            })
        }
        .boxed()
    }

    fn changes<'a>(&'a self, connection: &'a Connection) -> BoxFuture<'a, zbus::Result<BoxStream<'static, ()>>> {
        async move {
            let mut streams = Vec::new();
            for rule in change_rules()? {
                let messages = MessageStream::for_match_rule(rule, connection, Some(QUEUED)).await?;
                streams.push(messages.filter_map(|message| {
                    std::future::ready(message.is_ok_and(|message| is_change(&message)).then_some(()))
                }));
            }
            Ok(stream::select_all(streams).boxed())
        }
        .boxed()
    }
}

/// The signals after which polkit may answer differently: its own, its end or return, and logind's
/// about sessions, of which polkit takes the active ones into account.
fn change_rules() -> zbus::Result<Vec<MatchRule<'static>>> {
    let of = |sender: &'static str, interface: &'static str, member: &'static str| {
        MatchRule::builder().msg_type(Type::Signal).sender(sender).interface(interface).member(member)
    };
    let (polkit, login) = (POLKIT, "org.freedesktop.login1");
    let rules = [
        of(polkit, "org.freedesktop.PolicyKit1.Authority", "Changed"),
        of("org.freedesktop.DBus", "org.freedesktop.DBus", "NameOwnerChanged").arg(0, polkit),
        of(login, "org.freedesktop.login1.Manager", "SessionRemoved"),
        of(login, "org.freedesktop.DBus.Properties", "PropertiesChanged").path_namespace("/org/freedesktop/login1"),
    ];
    rules.into_iter().map(zbus::match_rule::Builder::build).collect()
}

/// Whether a signal that matches a rule is one of a change: of the many properties of sessions and
/// seats, some count.
fn is_change(message: &Message) -> bool {
    let header = message.header();
    if header.member().is_none_or(|member| member.as_str() != "PropertiesChanged") {
        return true;
    }
    let body = message.body();
    let Ok((_, changed, invalidated)) = body.deserialize::<(&str, HashMap<&str, Variant<'_>>, Vec<&str>)>() else {
        return true;
    };
    changed.keys().chain(&invalidated).any(|name| matches!(*name, "Active" | "State" | "ActiveSession" | "Remote"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_the_bus_is_a_delay_and_a_missing_polkit_is_not() {
        let error = |name: &'static str| {
            let call = Message::method_call("/", "CheckAuthorization").build(&()).expect("a call");
            let name = zbus::names::ErrorName::from_static_str(name).expect("a name");
            PolkitError::Call(zbus::Error::MethodError(name.into(), None, call))
        };
        assert!(error("org.freedesktop.DBus.Error.LimitsExceeded").is_delay());
        assert!(!error("org.freedesktop.DBus.Error.NoReply").is_delay());
        assert!(!error("org.freedesktop.DBus.Error.ServiceUnknown").is_delay());
        assert!(PolkitError::Late(ANSWER).is_delay() && PolkitError::Crowded.is_delay());
        // Who has never had an answer does not know that polkit works.
        assert!(!PolkitState::default().is_working());
    }
}
