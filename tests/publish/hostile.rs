//! Attacks that any user of a bus can make: messages that are large, many, or forged. The service is
//! a process of its own, so that its memory and its descriptors can be measured. It must answer
//! every call, keep serving others, and stay within a bound.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all};
use futures_util::{FutureExt, StreamExt};
use portraitd::publish::dbus::authority::{Authority, AuthorizationRequest, Grant, Refusal, Right};
use portraitd::publish::dbus::serve;
use portraitd_protocol::StreamKind;
use zbus::message::Type;
use zbus::{Connection, Message, MessageStream, Variant};

use crate::bus::PrivateBus;
use crate::fake::{FakeCamera, eventually, publication, publication_with, runtime};
use crate::process::{again, plays};

/// The variable with the address of the bus on which the service is.
const ADDRESS: &str = "PORTRAITD_TEST_ADDRESS";
const SERVICE: &str = "org.portraitd";
const CAMERA: &str = "/org/portraitd/cameras/front";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const LIMITS_EXCEEDED: &str = "org.freedesktop.DBus.Error.LimitsExceeded";
/// What an attack may add to the memory of the service, in KiB.
const ALLOWED_KIB: u64 = 64 << 10;

/// Never decides about views, as polkit while somebody is asked for a password. Allows the rest.
struct Undecided;

impl Authority for Undecided {
    fn check<'a>(&'a self, request: AuthorizationRequest<'a>) -> BoxFuture<'a, Result<Grant, Refusal>> {
        match request.right {
            Right::See(StreamKind::View) => std::future::pending().boxed(),
            _ => std::future::ready(Ok(Grant::Standing)).boxed(),
        }
    }
}

/// The service in a process of its own. It is killed when the value is dropped.
struct Victim {
    process: Child,
    before_kib: u64,
    descriptors: usize,
}

impl Victim {
    fn start(bus: &PrivateBus) -> Self {
        let mut process = again("hostile::server_alone", std::process::Stdio::null(), &[(ADDRESS, &bus.address)]);
        let stdout = process.stdout.take().expect("piped");
        let serving = BufReader::new(stdout).lines().any(|line| line.is_ok_and(|line| line.contains("serving")));
        assert!(serving, "the service did not start");
        let mut victim = Self { process, before_kib: 0, descriptors: 0 };
        (victim.before_kib, victim.descriptors) = (victim.status("VmHWM:"), victim.descriptors());
        victim
    }

    /// A line of `/proc/PID/status`, in KiB.
    fn status(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let value = status.lines().find_map(|text| text.strip_prefix(line)).expect(line);
        value.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).expect("it runs").count()
    }

    /// Checks that the service serves others and never took more memory than allowed.
    async fn assert_unharmed(&self, bus: &PrivateBus) {
        let other = bus.bus.connect().await.expect("another client");
        let state =
            other.call_method(Some(SERVICE), CAMERA, Some(PROPERTIES), "GetAll", &"org.portraitd.Camera1").await;
        state.expect("it answers others");
        let grown = self.status("VmHWM:") - self.before_kib;
        println!("peak {grown} KiB above the start");
        assert!(grown < ALLOWED_KIB, "the service took {grown} KiB more at its peak");
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.process.kill().expect("our own child");
        self.process.wait().expect("its end");
    }
}

/// Attacks a service, where there is a bus, and checks that it is unharmed.
fn attack(attack: impl AsyncFnOnce(&PrivateBus, &Victim)) {
    let Some(bus) = PrivateBus::start() else { return };
    runtime().block_on(async {
        let victim = Victim::start(&bus);
        attack(&bus, &victim).await;
        victim.assert_unharmed(&bus).await;
    });
}

#[test]
fn server_alone() {
    if !plays("hostile::server_alone") {
        return;
    }
    runtime().block_on(async {
        let camera = FakeCamera::new("front");
        let bus = std::env::var(ADDRESS).expect("an address").parse().expect("infallible");
        let _server = serve(&bus, publication_with(&[&camera], Arc::new(Undecided))).await.expect("serve");
        println!("serving");
        std::future::pending::<()>().await;
    });
}

fn call(interface: &'static str, member: &'static str, body: &(impl serde::Serialize + zbus::DynamicType)) -> Message {
    let call = Message::method_call(CAMERA, member).destination(SERVICE).interface(interface);
    call.build(body).expect("message")
}

/// The error with which a call is answered: name and text.
async fn refusal(
    client: &Connection,
    interface: &'static str,
    member: &'static str,
    body: &(impl serde::Serialize + zbus::DynamicType),
) -> (String, String) {
    match client.call_method(Some(SERVICE), CAMERA, Some(interface), member, body).await {
        Err(zbus::Error::MethodError(name, text, _)) => (name.to_string(), text.unwrap_or_default()),
        Err(zbus::Error::FDO(error)) => {
            use zbus::DBusError as _;
            (error.name().to_string(), error.description().unwrap_or_default().to_owned())
        }
        other => panic!("{member}: {other:?}"),
    }
}

#[test]
fn one_large_message_costs_nothing() {
    attack(async |bus, _| {
        let client = bus.bus.connect().await.expect("client");
        let number = Variant::from(1_u8);
        let options: BTreeMap<String, &Variant<'_>> = (0..1_000_000).map(|n| (n.to_string(), &number)).collect();
        let attach = refusal(&client, "org.portraitd.Camera1", "Attach", &("mask", options)).await;
        let get_all = refusal(&client, PROPERTIES, "GetAll", &"x".repeat(30 << 20)).await;
        let zones = Variant::from(vec![(0.0, 0.0, 1.0, 1.0); 983_040]);
        let zones = refusal(&client, PROPERTIES, "Set", &("org.portraitd.Framing1", "Zones", zones)).await;
        let nested = (0..60).fold(Variant::from(1_u8), |inner, _| Variant::Variant(Box::new(inner)));
        let nested = refusal(&client, PROPERTIES, "Set", &("org.portraitd.Framing1", "Zones", nested)).await;
        for (name, text) in [attach, get_all, zones, nested] {
            assert_eq!(name, LIMITS_EXCEEDED, "{text}");
            assert!(text.starts_with("a call may have") || text.contains("may nest 16 deep"), "{text}");
        }
    });
}

#[test]
fn what_a_client_sends_is_repeated_briefly_and_escaped() {
    attack(async |bus, _| {
        let client = bus.bus.connect().await.expect("client");
        let long = "\u{7}".repeat(60_000);
        let option = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), Variant::from(value.to_owned()))]);
        let camera = "org.portraitd.Camera1";
        for (name, text) in [
            refusal(&client, camera, "Attach", &("mask", option("format", &long))).await,
            refusal(&client, camera, "Attach", &("mask", option("resolution", &long))).await,
            refusal(&client, camera, "Attach", &("mask", option(&long, "x"))).await,
            refusal(&client, camera, "Attach", &(&long, option("format", "x"))).await,
            refusal(&client, camera, "Snapshot", &long).await,
            refusal(&client, PROPERTIES, "Set", &("org.portraitd.Segmentation1", "Model", Variant::from(&*long))).await,
            refusal(&client, PROPERTIES, "Set", &("org.portraitd.Framing1", "Mode", Variant::from(&*long))).await,
            refusal(&client, PROPERTIES, "Set", &("org.portraitd.Background1", "Color", Variant::from(&*long))).await,
            refusal(&client, PROPERTIES, "Get", &(camera, &long)).await,
            refusal(&client, PROPERTIES, "GetAll", &long).await,
        ] {
            assert!(text.chars().count() < 1000 && !text.chars().any(char::is_control), "{name}: {text:?}");
        }
    });
}

#[test]
fn descriptors_that_come_with_calls_are_closed() {
    attack(async |bus, victim| {
        let client = bus.bus.connect().await.expect("client");
        let file = File::open("/dev/null").expect("a file");
        for _ in 0..100 {
            // As many as the bus lets through in one message.
            let fds: Vec<zbus::Fd<'_>> = (0..16).map(|_| zbus::Fd::from(&file)).collect();
            let (name, text) = refusal(&client, PROPERTIES, "GetAll", &("org.portraitd.Camera1", fds)).await;
            assert_eq!(name, LIMITS_EXCEEDED, "{text}");
        }
        eventually("all are closed", || victim.descriptors() <= victim.descriptors).await;
    });
}

/// Sends calls without waiting, and returns how many of their replies are errors `LimitsExceeded`
/// and how many others, until `replies` have come.
async fn send_all(client: &Connection, calls: &[Message], replies: usize) -> (usize, usize) {
    let mut received = MessageStream::from(client);
    let sending = async {
        for call in calls {
            client.send(call).await.expect("sent");
        }
    };
    let receiving = async {
        let (mut refused, mut others) = (0, 0);
        while refused + others < replies {
            let message = received.next().await.expect("the connection stays").expect("a message");
            let header = message.header();
            match message.message_type() {
                Type::Error if header.error_name().is_some_and(|name| name.as_str() == LIMITS_EXCEEDED) => refused += 1,
                Type::Error | Type::MethodReturn => others += 1,
                _ => {}
            }
        }
        (refused, others)
    };
    futures_util::future::join(sending, receiving).await.1
}

#[test]
fn a_thousand_calls_in_flight_of_one_client_leave_room_for_others() {
    attack(async |bus, victim| {
        let client = bus.bus.connect().await.expect("client");
        let options = BTreeMap::<String, Variant<'_>>::new();
        let calls: Vec<_> = (0..1000).map(|_| call("org.portraitd.Camera1", "Attach", &("view", &options))).collect();
        // Sixteen wait for the authority, which never answers.
        assert_eq!(send_all(&client, &calls, 984).await, (984, 0));
        // While they wait.
        victim.assert_unharmed(bus).await;
    });
}

#[test]
fn a_flood_of_calls_is_answered_in_bounded_memory_while_others_make_progress() {
    attack(async |bus, _| {
        let mut clients = Vec::new();
        for _ in 0..8 {
            clients.push(bus.bus.connect().await.expect("client"));
        }
        let calls: Vec<Vec<_>> = (0..clients.len())
            .map(|_| (0..3000).map(|_| call(PROPERTIES, "GetAll", &"org.portraitd.Camera1")).collect())
            .collect();
        let flood = join_all(clients.iter().zip(&calls).map(|(client, calls)| send_all(client, calls, calls.len())));
        let other = bus.bus.connect().await.expect("client");
        let progress = async {
            let mut answered = 0;
            while answered < 50 {
                let body = ("org.portraitd.Camera1", "State");
                let got = other.call_method(Some(SERVICE), CAMERA, Some(PROPERTIES), "Get", &body).await;
                answered += usize::from(got.is_ok());
            }
        };
        let (answers, ()) = futures_util::future::join(flood, progress).await;
        assert!(answers.iter().all(|(refused, others)| refused + others == 3000), "every call is answered");
    });
}

#[test]
fn a_caller_that_never_reads_its_replies_costs_the_service_nothing() {
    attack(async |bus, victim| {
        let path = bus.address.split(',').find_map(|part| part.strip_prefix("unix:path=")).expect("a socket");
        let mut deaf = UnixStream::connect(path).expect("the bus");
        let user: String =
            rustix::process::geteuid().as_raw().to_string().bytes().map(|byte| format!("{byte:02x}")).collect();
        deaf.write_all(format!("\0AUTH EXTERNAL {user}\r\nBEGIN\r\n").as_bytes()).expect("written");
        deaf.read_exact(&mut [0; 16]).expect("OK and the GUID");
        let hello = Message::method_call("/org/freedesktop/DBus", "Hello").destination("org.freedesktop.DBus");
        let hello = hello.interface("org.freedesktop.DBus").build(&()).expect("message");
        deaf.write_all(hello.data()).expect("written");
        let writing = tokio::task::spawn_blocking(move || {
            for _ in 0..5000 {
                let all = call(PROPERTIES, "GetAll", &"org.portraitd.Camera1");
                // The bus may end the connection of somebody who does not read.
                if deaf.write_all(all.data()).is_err() {
                    break;
                }
            }
            deaf
        });
        let deaf = writing.await.expect("written");
        victim.assert_unharmed(bus).await;
        drop(deaf);
    });
}

#[test]
fn signals_to_the_service_do_not_pile_up_and_none_is_taken_for_the_bus() {
    attack(async |bus, _| {
        let camera = FakeCamera::new("front");
        // A service under its unique name alone, in this process: the name belongs to the other one.
        let own = PrivateBus::start().expect("a second bus");
        let _server = serve(&own.bus, publication(&[&camera])).await.expect("serve");
        let client = own.bus.connect().await.expect("client");
        let attach = (("mask"), BTreeMap::<String, Variant<'_>>::new());
        let attached =
            client.call_method(Some(SERVICE), CAMERA, Some("org.portraitd.Camera1"), "Attach", &attach).await;
        attached.expect("attached");
        let attacker = own.bus.connect().await.expect("attacker");
        let name = client.unique_name().expect("on a bus").to_string();
        let forged = Message::signal("/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged");
        let forged = forged.destination(SERVICE).build(&(&name, &name, "")).expect("message");
        attacker.send(&forged).await.expect("sent");
        // The answer comes after the signal was read, and after the tasks that it wakes had turns.
        for _ in 0..20 {
            let body = ("org.portraitd.Camera1", "State");
            let got = attacker.call_method(Some(SERVICE), CAMERA, Some(PROPERTIES), "Get", &body).await;
            got.expect("answered");
        }
        assert!(camera.left.borrow().is_empty(), "nobody has left");

        let attacker = bus.bus.connect().await.expect("attacker");
        let large = "x".repeat(100_000);
        for interface in ["org.freedesktop.DBus", "org.freedesktop.PolicyKit1.Authority", "org.example.Flood"] {
            for _ in 0..300 {
                let signal = Message::signal("/org/freedesktop/DBus", interface, "NameOwnerChanged");
                let signal = signal.destination(SERVICE).build(&(&large, "", "")).expect("message");
                attacker.send(&signal).await.expect("sent");
            }
        }
    });
}
