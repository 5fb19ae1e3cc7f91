//! The objects on a real bus. Each test starts a dbus-daemon of its own.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portraitd::publish::dbus::authority::{Authority, Polkit};
use portraitd::publish::dbus::{Bus, ServeError, serve};
use portraitd_client::feed::{AttachOptions, find_camera};
use portraitd_client::{Feed, FrameCopy, Ring, Wait};
use portraitd_protocol::{ServiceError, StreamKind};
use zbus::connection::Builder;
use zbus::message::Flags;
use zbus::{OwnedVariant, interface};

use crate::fake::{FakeCamera, eventually, is_whole, publication, publication_with, runtime};

/// A bus that is stopped when the value is dropped.
pub struct PrivateBus {
    daemon: Child,
    pub bus: Bus,
    pub address: String,
}

impl PrivateBus {
    /// Starts a bus. Returns `None`, with a message, if the machine has no dbus-daemon.
    pub fn start() -> Option<Self> {
        Self::start_with(&["--session"])
    }

    /// Starts a bus with other arguments, which name its configuration.
    pub fn start_with(arguments: &[&str]) -> Option<Self> {
        let daemon = Command::new("dbus-daemon")
            .args(arguments)
            .args(["--nofork", "--nopidfile", "--print-address=1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let mut daemon = match daemon {
            Ok(daemon) => daemon,
            Err(error) => {
                eprintln!("SKIPPED, NOT TESTED: dbus-daemon does not start: {error}");
                return None;
            }
        };
        let mut address = String::new();
        let stdout = daemon.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut address).expect("the address");
        let address = address.trim().to_owned();
        Some(Self { daemon, bus: address.parse().expect("infallible"), address })
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        self.daemon.kill().expect("our own child");
        self.daemon.wait().expect("its end");
    }
}

#[test]
fn the_service_takes_its_name_once() {
    let Some(bus) = PrivateBus::start() else { return };
    runtime().block_on(async {
        let camera = FakeCamera::new("front");
        let _server = serve(&bus.bus, publication(&[&camera])).await.expect("serve");
        let error = serve(&bus.bus, publication(&[&camera])).await.expect_err("the name is taken");
        assert!(matches!(error, ServeError::NameTaken { .. }), "{error}");
        let nowhere = Bus::Address("unix:path=/nonexistent/bus".into());
        let error = serve(&nowhere, publication(&[&camera])).await.expect_err("no bus there");
        assert!(error.to_string().starts_with("the bus at unix:path=/nonexistent/bus: "), "{error}");
    });
}

#[test]
fn a_client_that_leaves_the_bus_loses_its_rings_though_it_keeps_the_descriptors() {
    let Some(bus) = PrivateBus::start() else { return };
    runtime().block_on(async {
        let camera = FakeCamera::new("front");
        let _server = serve(&bus.bus, publication(&[&camera])).await.expect("serve");
        let client = bus.bus.connect().await.expect("client");
        let name = client.unique_name().expect("on a bus").to_string();
        let proxy = find_camera(&client, None).await.expect("camera");
        let mut rings = Vec::new();
        for _ in 0..2 {
            let (memory, event, _) = proxy.attach("mask", &HashMap::new()).await.expect("attach");
            rings.push(Ring::open(memory.into(), event.into()).expect("ring"));
        }
        assert_eq!(camera.clients(), 2);
        drop(proxy);
        client.close().await.expect("close");
        let mut left = camera.left.subscribe();
        left.wait_for(|left| left.iter().any(|left| left.as_str() == name)).await.expect("released");
        assert_eq!(camera.clients(), 0);
        assert_eq!(camera.left.borrow().len(), 1, "once a client, not once an attachment");
        for mut ring in rings {
            assert_eq!(ring.wait(Some(Duration::from_secs(60))).expect("wait"), Wait::Closed);
        }
    });
}

#[test]
fn a_feed_outlives_a_restart_of_the_service() {
    let Some(bus) = PrivateBus::start() else { return };
    runtime().block_on(async {
        let camera = FakeCamera::new("front");
        let server = serve(&bus.bus, publication(&[&camera])).await.expect("serve");
        let client = bus.bus.connect().await.expect("client");
        let proxy = find_camera(&client, None).await.expect("camera");
        let mut feed = Feed::attach(proxy, StreamKind::View, AttachOptions::default()).await.expect("attach");
        let _publishing = camera.publish_for_ever(Duration::from_millis(1));
        let mut frame = FrameCopy::default();
        feed.next(&mut frame).await.expect("frame");

        let connection = server.connection().clone();
        drop(server);
        connection.close().await.expect("close");
        camera.close_rings();
        let again = async {
            // The feed has failed to attach once by then; it retries after 50 ms.
            tokio::time::sleep(Duration::from_millis(120)).await;
            serve(&bus.bus, publication(&[&camera])).await.expect("serve again")
        };
        let reading = async {
            while feed.counters().reattached == 0 {
                feed.next(&mut frame).await.expect("frame");
            }
        };
        let (_server, ()) = futures_util::future::join(again, reading).await;
        assert!(is_whole(&frame));
    });
}

#[test]
fn without_polkit_root_and_our_own_user_may() {
    let Some(bus) = PrivateBus::start() else { return };
    runtime().block_on(async {
        let camera = FakeCamera::new("front");
        let _server = serve(&bus.bus, publication_with(&[&camera], Arc::new(Polkit::default()))).await.expect("serve");
        let client = bus.bus.connect().await.expect("client");
        let proxy = find_camera(&client, None).await.expect("camera");
        // Both ends run as the user of the test.
        assert!(proxy.attach("view", &HashMap::new()).await.is_ok());
        let outage = Polkit::default().outage(&client).await.expect("it is known at the start");
        assert!(outage.contains("only root may attach") && outage.contains("portraitd doctor"), "{outage}");
    });
}

type Question = (String, String, String, u32);

/// A minimal polkit that records the questions and allows only masks.
#[derive(Clone, Default)]
struct FakePolkit(Arc<Mutex<Vec<Question>>>);

#[interface(name = "org.freedesktop.PolicyKit1.Authority")]
impl FakePolkit {
    fn check_authorization(
        &self,
        subject: (String, HashMap<String, OwnedVariant>),
        action: String,
        _details: HashMap<String, String>,
        flags: u32,
        _cancellation: String,
    ) -> ((bool, bool, HashMap<String, String>),) {
        let (kind, details) = subject;
        let name = <&str>::try_from(&details["name"]).expect("a name").to_owned();
        let allowed = action == "org.portraitd.attach-mask";
        let with_password = action == "org.portraitd.attach-source";
        self.0.lock().expect("polkit").push((kind, name, action, flags));
        ((allowed, with_password, HashMap::new()),)
    }
}

#[test]
fn polkit_is_asked_about_the_caller_the_stream_and_nothing_else() {
    let Some(bus) = PrivateBus::start() else { return };
    runtime().block_on(async {
        let polkit = FakePolkit::default();
        let _polkit = Builder::address(bus.address.as_str())
            .serve_at("/org/freedesktop/PolicyKit1/Authority", polkit.clone())
            .name("org.freedesktop.PolicyKit1")
            .build()
            .await
            .expect("polkit");
        assert_eq!(Polkit::default().outage(&bus.bus.connect().await.expect("client")).await, None);
        let camera = FakeCamera::new("front");
        let _server = serve(&bus.bus, publication_with(&[&camera], Arc::new(Polkit::default()))).await.expect("serve");
        let client = bus.bus.connect().await.expect("client");
        let name = client.unique_name().expect("on a bus").to_string();
        let proxy = find_camera(&client, None).await.expect("camera");
        assert!(proxy.attach("mask", &HashMap::new()).await.is_ok());
        let error = proxy.attach("view", &HashMap::new()).await.expect_err("not allowed, whoever asks");
        assert!(matches!(&error, ServiceError::NotAuthorized(text) if text.contains("attach-view")), "{error}");
        assert!(matches!(proxy.snapshot("composite").await, Err(ServiceError::NotAuthorized(_))));
        assert_eq!(camera.last_request.lock().expect("fake").as_ref().expect("one").stream, StreamKind::Mask);
        // A client that permits interactive authorization.
        let call = zbus::Message::method_call("/org/portraitd/cameras/front", "Snapshot")
            .destination("org.portraitd")
            .interface("org.portraitd.Camera1")
            .with_flags(Flags::ALLOW_INTERACTIVE_AUTH)
            .build(&"source")
            .expect("message");
        client.send(&call).await.expect("send");
        eventually_len(&polkit.0, 5).await;

        let asked = polkit.0.lock().expect("polkit").clone();
        let question = |stream: &str, flags| {
            ("system-bus-name".to_owned(), name.clone(), format!("org.portraitd.attach-{stream}"), flags)
        };
        let [mask, view, composite] = ["mask", "view", "composite"].map(|stream| question(stream, 0));
        // Whether a password is needed is asked before somebody is asked for it.
        assert_eq!(asked, [mask, view, composite, question("source", 0), question("source", 1)]);
    });
}

async fn eventually_len<T>(list: &Mutex<Vec<T>>, length: usize) {
    eventually("polkit was asked often enough", || list.lock().expect("list").len() >= length).await;
}

#[test]
fn an_attachment_ends_with_its_pipe_and_the_bus_keeps_no_descriptor() {
    let Some(bus) = PrivateBus::start() else { return };
    runtime().block_on(async {
        let camera = FakeCamera::new("front");
        let _server = serve(&bus.bus, publication(&[&camera])).await.expect("serve");
        let client = bus.bus.connect().await.expect("client");
        let proxy = find_camera(&client, None).await.expect("camera");
        let (_memory, event, _) = proxy.attach("mask", &HashMap::new()).await.expect("attach");
        assert_eq!(camera.clients(), 1);
        // The client stays on the bus and closes only the pipe.
        drop(OwnedFd::from(event));
        eventually("reaped", || camera.clients() == 0).await;
        assert!(camera.left.borrow().is_empty());
    });
}
