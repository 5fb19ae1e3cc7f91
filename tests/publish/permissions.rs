//! Permissions that live, and what only the permission for the mask shows: on a bus with a fake
//! polkit and a fake logind.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{BoxFuture, join};
use futures_util::{FutureExt, StreamExt};
use portraitd::publish::dbus::authority::{Authority, AuthorizationRequest, Grant, Polkit, Refusal};
use portraitd::publish::dbus::{Server, camera_path, peer_pair, serve};
use portraitd_client::feed::find_camera;
use portraitd_client::proxy::{CameraProxy, FramingProxy, SegmentationProxy};
use portraitd_client::{Ring, Wait};
use portraitd_protocol::{FramingState, ServiceError, StreamKind, names};
use tokio::sync::oneshot;
use zbus::connection::Builder;
use zbus::fdo::{ManagedObjects, ObjectManagerProxy, PropertiesProxy};
use zbus::message::Flags;
use zbus::names::InterfaceName;
use zbus::object_server::SignalEmitter;
use zbus::proxy::CacheProperties;
use zbus::{Connection, OwnedVariant, Variant, interface};

use crate::bus::PrivateBus;
use crate::fake::{FakeCamera, eventually, publication_with, runtime};

/// What the fake polkit answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    /// Only with a password, which is typed at once if the question is allowed.
    Password,
    /// Only with a password, and the agent that is to ask for it never answers.
    Ignored,
}

#[derive(Default)]
struct Rules {
    /// By unique name and stream; everything else is denied.
    answers: HashMap<(String, &'static str), Answer>,
    asked: Vec<(String, String)>,
    /// The cancellation ids of the questions that an agent does not answer.
    open: Vec<(String, oneshot::Sender<()>)>,
}

/// A polkit whose answers a test changes.
#[derive(Clone, Default)]
struct FakePolkit(Arc<Mutex<Rules>>);

#[interface(name = "org.freedesktop.PolicyKit1.Authority")]
impl FakePolkit {
    async fn check_authorization(
        &self,
        subject: (String, HashMap<String, OwnedVariant>),
        action: &str,
        _details: HashMap<String, String>,
        flags: u32,
        cancellation: String,
    ) -> zbus::fdo::Result<((bool, bool, HashMap<String, String>),)> {
        let (_kind, subject) = subject;
        let name = <&str>::try_from(&subject["name"]).expect("a name").to_owned();
        let stream = action.rsplit('-').next().expect("a stream").to_owned();
        let (answer, ignored) = {
            let mut rules = self.0.lock().expect("polkit");
            let answer = rules.answers.iter().find(|((known, of), _)| *known == name && *of == stream);
            let answer = answer.map(|(_, answer)| *answer);
            rules.asked.push((name, stream));
            let ignored = (answer == Some(Answer::Ignored) && flags == 1).then(|| {
                let (sender, receiver) = oneshot::channel();
                rules.open.push((cancellation, sender));
                receiver
            });
            (answer, ignored)
        };
        if let Some(ignored) = ignored {
            let _ = ignored.await;
            return Err(zbus::fdo::Error::Failed("cancelled".into()));
        }
        let allowed = answer == Some(Answer::Yes) || (answer == Some(Answer::Password) && flags == 1);
        let challenge = matches!(answer, Some(Answer::Password | Answer::Ignored)) && !allowed;
        Ok(((allowed, challenge, HashMap::new()),))
    }

    fn cancel_check_authorization(&self, cancellation: &str) {
        self.0.lock().expect("polkit").open.retain(|(id, _)| id != cancellation);
    }

    #[zbus(signal)]
    async fn changed(emitter: &SignalEmitter<'_>) -> zbus::Result<()>;
}

/// A bus with polkit, the service and its camera.
struct World {
    // Dropped before the bus.
    _server: Server,
    camera: Arc<FakeCamera>,
    rules: Arc<Mutex<Rules>>,
    polkit: Connection,
    bus: PrivateBus,
}

impl World {
    async fn new() -> Option<Self> {
        let bus = PrivateBus::start()?;
        let polkit = FakePolkit::default();
        let rules = Arc::clone(&polkit.0);
        let polkit = Builder::address(bus.address.as_str())
            .serve_at("/org/freedesktop/PolicyKit1/Authority", polkit)
            .name("org.freedesktop.PolicyKit1")
            .build()
            .await
            .expect("polkit");
        let camera = FakeCamera::new("front");
        let server = serve(&bus.bus, publication_with(&[&camera], Arc::new(Polkit::default()))).await.expect("serve");
        Some(Self { _server: server, camera, rules, polkit, bus })
    }

    async fn client(&self, allowed: &[(&'static str, Answer)]) -> Client {
        let connection = self.bus.bus.connect().await.expect("client");
        let name = connection.unique_name().expect("on a bus").to_string();
        self.allow(&name, allowed);
        let proxy = find_camera(&connection, None).await.expect("camera");
        Client { connection, name, proxy }
    }

    /// Replaces what a client may see. polkit does not say so yet.
    fn allow(&self, name: &str, allowed: &[(&'static str, Answer)]) {
        let mut rules = self.rules.lock().expect("rules");
        rules.answers.retain(|(known, _), _| known != name);
        rules.answers.extend(allowed.iter().map(|(stream, answer)| ((name.to_owned(), *stream), *answer)));
    }

    async fn polkit_changed(&self) {
        let emitter = SignalEmitter::new(&self.polkit, "/org/freedesktop/PolicyKit1/Authority").expect("path");
        FakePolkit::changed(&emitter).await.expect("signal");
    }

    fn asked_about(&self, name: &str) -> usize {
        self.rules.lock().expect("rules").asked.iter().filter(|(asked, _)| asked == name).count()
    }
}

struct Client {
    connection: Connection,
    name: String,
    proxy: CameraProxy<'static>,
}

impl Client {
    async fn attach(&self, stream: &str) -> Result<Ring, ServiceError> {
        let (memory, event, _) = self.proxy.attach(stream, &HashMap::new()).await?;
        Ok(Ring::open(memory.into(), event.into()).expect("ring"))
    }

    async fn properties(&self) -> PropertiesProxy<'static> {
        properties(&self.connection).await
    }
}

async fn properties(connection: &Connection) -> PropertiesProxy<'static> {
    let path = camera_path("front");
    PropertiesProxy::builder(connection).destination("org.portraitd").path(path).build().await.expect("proxy")
}

async fn segmentation(connection: &Connection) -> SegmentationProxy<'static> {
    let builder = SegmentationProxy::builder(connection).path(camera_path("front"));
    builder.cache_properties(CacheProperties::No).build().await.expect("proxy")
}

async fn framing(connection: &Connection) -> FramingProxy<'static> {
    let builder = FramingProxy::builder(connection).path(camera_path("front"));
    builder.cache_properties(CacheProperties::No).build().await.expect("proxy")
}

fn interface_name(name: &'static str) -> InterfaceName<'static> {
    InterfaceName::try_from(name).expect("a name")
}

/// Waits until the ring is closed for this client.
async fn closed(mut ring: Ring) {
    tokio::task::spawn_blocking(
        move || {
            while ring.wait(Some(Duration::from_secs(60))).expect("wait") != Wait::Closed {}
        },
    )
    .await
    .expect("thread");
}

/// What each interface has that needs the permission for the mask.
const GUARDED: [(&str, &[&str]); 2] = [
    (names::SEGMENTATION_INTERFACE, &["People", "Present", "Rate"]),
    (names::FRAMING_INTERFACE, &["Crop", "State", "Subject"]),
];

async fn manager(connection: &Connection) -> ObjectManagerProxy<'static> {
    let builder = ObjectManagerProxy::builder(connection).destination("org.portraitd").path("/org/portraitd");
    builder.build().await.expect("proxy")
}

/// How many of these properties the one camera of an answer has.
fn guarded_in(objects: &ManagedObjects) -> usize {
    assert_eq!(objects.len(), 1, "one camera");
    let interfaces = objects.values().next().expect("one");
    assert_eq!(interfaces.len(), 5);
    let values = |wanted: &str| interfaces.iter().find(|(name, _)| name.as_str() == wanted).expect("an interface").1;
    let count = |(interface, guarded): &(&str, &[&str])| {
        let values = values(interface);
        guarded.iter().filter(|property| values.contains_key(**property)).count()
    };
    GUARDED.iter().map(count).sum()
}

#[test]
fn who_may_not_see_the_mask_learns_nothing_about_people() {
    runtime().block_on(async {
        let Some(world) = World::new().await else { return };
        let stranger = world.client(&[("composite", Answer::Yes)]).await;
        let properties = stranger.properties().await;
        for (interface, guarded) in GUARDED {
            let all = properties.get_all(interface_name(interface)).await.expect("the rest");
            assert!(all.len() > 2, "{interface}: what does not need it is there: {all:?}");
            for property in guarded {
                assert!(!all.contains_key(*property), "{interface}.{property}");
                let error = properties.get(interface_name(interface), property).await.expect_err(property);
                let zbus::fdo::Error::ZBus(zbus::Error::MethodError(name, ..)) = &error else { panic!("{error:?}") };
                assert_eq!(name.as_str(), "org.portraitd.Error.NotAuthorized", "{property}");
            }
        }
        let stats = stranger.proxy.stats().await.expect("stats");
        assert!(stats.contains_key("frames") && !stats.contains_key("framing_moves"), "{stats:?}");
        assert!(!stats.contains_key("latency_ms"), "{stats:?}");
        let objects = manager(&stranger.connection).await;
        assert_eq!(guarded_in(&objects.get_managed_objects().await.expect("objects")), 0);
        // Who may see the mask sees all of it.
        let friend = world.client(&[("mask", Answer::Yes)]).await;
        let properties = friend.properties().await;
        for (interface, guarded) in GUARDED {
            let all = properties.get_all(interface_name(interface)).await.expect("all");
            assert!(guarded.iter().all(|property| all.contains_key(*property)), "{all:?}");
        }
        let objects = manager(&friend.connection).await;
        assert_eq!(guarded_in(&objects.get_managed_objects().await.expect("objects")), 6);
        assert_eq!(segmentation(&friend.connection).await.people().await.expect("people").len(), 1);
        assert!(friend.proxy.stats().await.expect("stats").contains_key("framing_moves"));
    });
}

#[test]
fn changes_about_people_go_to_those_who_may_know() {
    runtime().block_on(async {
        let Some(world) = World::new().await else { return };
        let stranger = world.client(&[("composite", Answer::Yes)]).await;
        let friend = world.client(&[("mask", Answer::Yes)]).await;
        let (strange, friendly) = (stranger.properties().await, friend.properties().await);
        let mut seen_by_stranger = strange.receive_properties_changed().await.expect("signals");
        let mut seen_by_friend = friendly.receive_properties_changed().await.expect("signals");
        // Who wants to be told asks first.
        assert!(!segmentation(&friend.connection).await.present().await.expect("may know"));
        segmentation(&stranger.connection).await.present().await.expect_err("may not");
        world.camera.change(|state| {
            state.segmentation.present = true;
            state.framing.state = FramingState::Framing;
            state.segmentation.degraded = "rate".into();
            state.background.blur = 0.125;
        });
        // The background is announced last.
        let mut seen = [HashSet::new(), HashSet::new()];
        for (seen, signals) in seen.iter_mut().zip([&mut seen_by_stranger, &mut seen_by_friend]) {
            while !seen.contains("Blur") {
                let signal = signals.next().await.expect("signal");
                let arguments = signal.args().expect("arguments");
                seen.extend(arguments.changed_properties().keys().map(|name| (*name).to_owned()));
            }
        }
        let [stranger, friend] = seen;
        assert_eq!(stranger, HashSet::from(["Degraded".to_owned(), "Blur".to_owned()]));
        assert!(friend.contains("Present") && friend.contains("State") && friend.contains("Degraded"), "{friend:?}");
    });
}

#[test]
fn an_attachment_ends_when_polkit_takes_the_permission_back() {
    runtime().block_on(async {
        let Some(world) = World::new().await else { return };
        let both = [("mask", Answer::Yes), ("view", Answer::Yes)];
        let (loser, keeper) = (world.client(&both).await, world.client(&both).await);
        let lost = loser.attach("view").await.expect("attach");
        let (kept_view, kept_mask) =
            (keeper.attach("view").await.expect("attach"), loser.attach("mask").await.expect("attach"));
        assert_eq!(world.camera.clients(), 3);
        world.allow(&loser.name, &[("mask", Answer::Yes)]);
        world.polkit_changed().await;
        closed(lost).await;
        eventually("only that one has ended", || world.camera.clients() == 2).await;
        // What goes on is asked about again, and stays.
        let asked = world.asked_about(&keeper.name);
        world.polkit_changed().await;
        eventually("asked again", || world.asked_about(&keeper.name) > asked).await;
        assert_eq!(world.camera.clients(), 2);
        drop((kept_view, kept_mask));
        let error = loser.attach("view").await.expect_err("no more");
        assert!(matches!(error, ServiceError::NotAuthorized(_)), "{error}");
    });
}

#[test]
fn an_attachment_ends_with_the_active_session() {
    runtime().block_on(async {
        let Some(world) = World::new().await else { return };
        let login =
            Builder::address(world.bus.address.as_str()).name("org.freedesktop.login1").build().await.expect("logind");
        let client = world.client(&[("view", Answer::Yes)]).await;
        let ring = client.attach("view").await.expect("attach");
        let session = "/org/freedesktop/login1/session/c1";
        let changed = async |property: &str| {
            let changed = HashMap::from([(property, Variant::from(false))]);
            let body = ("org.freedesktop.login1.Session", changed, Vec::<&str>::new());
            let signal = ("org.freedesktop.DBus.Properties", "PropertiesChanged");
            login.emit_signal(None::<&str>, session, signal.0, signal.1, &body).await.expect("signal");
        };
        world.allow(&client.name, &[]);
        changed("Active").await;
        closed(ring).await;
        assert_eq!(world.camera.clients(), 0);
    });
}

#[test]
fn a_permission_that_ends_while_the_camera_opens_gives_nothing() {
    runtime().block_on(async {
        let Some(world) = World::new().await else { return };
        let client = world.client(&[("view", Answer::Yes)]).await;
        let opening = world.camera.opening.lock().await;
        let take_back = async {
            eventually("the camera opens", || world.camera.last_request.lock().expect("fake").is_some()).await;
            world.allow(&client.name, &[("mask", Answer::Yes)]);
            world.polkit_changed().await;
            // The mask's answer is forgotten with the same signal: when it is asked for again, the
            // service has noticed.
            let segmentation = segmentation(&client.connection).await;
            let before = world.asked_about(&client.name);
            while world.asked_about(&client.name) < before + 2 {
                segmentation.present().await.expect("may know");
            }
            drop(opening);
        };
        let (attached, ()) = join(client.attach("view"), take_back).await;
        let error = attached.expect_err("the permission is gone");
        assert!(matches!(error, ServiceError::NotAuthorized(_)), "{error}");
        eventually("nothing stays attached", || world.camera.clients() == 0).await;
    });
}

#[test]
fn polkit_is_not_asked_for_every_read() {
    runtime().block_on(async {
        let Some(world) = World::new().await else { return };
        for allowed in [&[("mask", Answer::Yes)][..], &[]] {
            let client = world.client(allowed).await;
            let framing = framing(&client.connection).await;
            for _ in 0..100 {
                assert_eq!(framing.crop().await.is_ok(), !allowed.is_empty());
            }
            let asked = world.asked_about(&client.name);
            assert!(asked <= 2, "{asked} questions for 100 reads");
        }
    });
}

/// An `Attach` to the view whose caller is willing to wait for a dialog.
fn interactive_attach() -> zbus::Message {
    zbus::Message::method_call("/org/portraitd/cameras/front", "Attach")
        .destination("org.portraitd")
        .interface("org.portraitd.Camera1")
        .with_flags(Flags::ALLOW_INTERACTIVE_AUTH)
        .build(&("view", HashMap::<&str, Variant<'_>>::new()))
        .expect("message")
}

#[test]
fn questions_that_nobody_answers_are_few_and_end_with_their_callers() {
    runtime().block_on(async {
        let Some(world) = World::new().await else { return };
        let client = world.client(&[("view", Answer::Ignored)]).await;
        let friend = world.client(&[("view", Answer::Yes)]).await;
        let open = || world.rules.lock().expect("rules").open.len();
        let mut replies = zbus::MessageStream::from(&client.connection);
        for _ in 0..5 {
            client.connection.send(&interactive_attach()).await.expect("send");
        }
        let mut refused = 0;
        while refused < 3 {
            let reply = tokio::time::timeout(Duration::from_secs(20), replies.next()).await.expect("refused at once");
            let reply = reply.expect("open").expect("message");
            if reply.message_type() == zbus::message::Type::Error {
                assert_eq!(reply.header().error_name().expect("a name").as_str(), "org.portraitd.Error.Busy");
                refused += 1;
            }
        }
        eventually("two are asked for a password", || open() == 2).await;
        let ids: HashSet<_> = world.rules.lock().expect("rules").open.iter().map(|(id, _)| id.clone()).collect();
        assert_eq!(ids.len(), 2, "each has an id of its own: {ids:?}");
        // Who needs no password is served meanwhile.
        let ring = friend.attach("view").await.expect("attach");
        client.connection.close().await.expect("close");
        eventually("the questions are cancelled", || open() == 0).await;
        let next = world.client(&[("view", Answer::Ignored)]).await;
        next.connection.send(&interactive_attach()).await.expect("send");
        eventually("there is room for others", || open() == 1).await;
        drop(ring);
    });
}

#[test]
fn a_password_holds_until_polkit_says_no() {
    runtime().block_on(async {
        let Some(world) = World::new().await else { return };
        let client = world.client(&[("view", Answer::Password)]).await;
        client.attach("view").await.expect_err("without a question");
        let call = interactive_attach();
        let mut replies = zbus::MessageStream::from(&client.connection);
        client.connection.send(&call).await.expect("send");
        let reply = loop {
            let message = replies.next().await.expect("open").expect("message");
            if message.header().reply_serial() == Some(call.primary_header().serial_num()) {
                break message;
            }
        };
        assert_eq!(reply.message_type(), zbus::message::Type::MethodReturn, "{reply:?}");
        assert_eq!(world.camera.clients(), 1);
        // A password is needed for the next one, and was given for this one.
        let asked = world.asked_about(&client.name);
        world.polkit_changed().await;
        eventually("asked again", || world.asked_about(&client.name) > asked).await;
        let second = client.attach("view").await;
        assert!(second.is_err());
        assert_eq!(world.camera.clients(), 1);
        world.allow(&client.name, &[]);
        world.polkit_changed().await;
        eventually("ended", || world.camera.clients() == 0).await;
    });
}

/// An authority that stops answering.
struct Silent {
    /// What it says, if not yes.
    refusal: Mutex<Option<Refusal>>,
    asked: AtomicUsize,
    changed: Mutex<Option<futures_util::stream::BoxStream<'static, ()>>>,
}

impl Authority for Silent {
    fn check<'a>(&'a self, _: AuthorizationRequest<'a>) -> BoxFuture<'a, Result<Grant, Refusal>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        std::future::ready(self.refusal.lock().expect("fake").clone().map_or(Ok(Grant::Standing), Err)).boxed()
    }

    fn changes<'a>(
        &'a self,
        _: &'a Connection,
    ) -> BoxFuture<'a, zbus::Result<futures_util::stream::BoxStream<'static, ()>>> {
        let changes = self.changed.lock().expect("fake").take().expect("once");
        std::future::ready(Ok(changes)).boxed()
    }
}

#[test]
fn without_an_answer_an_attachment_ends_after_a_while() {
    runtime().block_on(async {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<()>();
        let changes =
            futures_util::stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|()| ((), receiver)));
        let authority = Silent {
            refusal: Mutex::default(),
            asked: AtomicUsize::new(0),
            changed: Mutex::new(Some(changes.boxed())),
        };
        let authority = Arc::new(authority);
        let camera = FakeCamera::new("front");
        let publication = publication_with(&[&camera], Arc::clone(&authority) as Arc<dyn Authority>);
        let (_server, client) = peer_pair(publication).await.expect("peers");
        let proxy = find_camera(&client, None).await.expect("camera");
        let ring = proxy.attach("view", &HashMap::new()).await.expect("attach");
        let say = |refusal: Refusal| *authority.refusal.lock().expect("fake") = Some(refusal);
        // Others get answers: it goes on for more passes than ten seconds have, and nothing new begins.
        say(Refusal::Delayed("later".into()));
        sender.send(()).expect("the service listens");
        eventually("asked again and again", || authority.asked.load(Ordering::Relaxed) > 13).await;
        assert_eq!(camera.clients(), 1);
        let error = proxy.attach("view", &HashMap::new()).await.expect_err("fails closed");
        assert!(matches!(error, ServiceError::NotAuthorized(_)), "{error}");
        // The answer comes, and then nobody gets any more.
        *authority.refusal.lock().expect("fake") = None;
        let asked = authority.asked.load(Ordering::Relaxed);
        eventually("asked", || authority.asked.load(Ordering::Relaxed) > asked).await;
        say(Refusal::Unknown("gone".into()));
        sender.send(()).expect("the service listens");
        // It outlives the restart of a polkit, and no more than that.
        eventually("the attachment has ended", || camera.clients() == 0).await;
        drop(ring);
        let error = proxy.attach("view", &HashMap::new()).await.expect_err("fails closed");
        assert!(matches!(error, ServiceError::NotAuthorized(_)), "{error}");
    });
}

#[test]
fn every_action_has_the_service_as_its_owner() {
    // Without it polkit answers root only, and only root could attach.
    let policy = include_str!("../../systemd/polkit/org.portraitd.policy");
    for stream in StreamKind::ALL {
        let action = policy.split_once(&format!("<action id=\"org.portraitd.attach-{stream}\">")).expect("an action").1;
        let action = action.split_once("</action>").expect("its end").0;
        let owner = r#"<annotate key="org.freedesktop.policykit.owner">unix-user:portraitd</annotate>"#;
        assert!(action.contains(owner), "{stream}: {action}");
    }
}
