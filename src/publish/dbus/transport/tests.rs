//! The transport against a peer that writes bytes: every message is passed on whole, answered with
//! an error, or dropped, and the next one is read from its own start.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use zbus::connection::socket::{ReadHalf, Socket, WriteHalf};
use zbus::message::Flags;
use zbus::{Message, Variant};

use super::body::{Limits, Refused, check};
use super::gate::SENDER_CALLS;
use super::header::{Endian, FIXED_BYTES, Fields, Fixed, Kind};
use super::read::Parsed;
use super::{CALL_BYTES, TAKE_DESCRIPTOR, Transport, reply};

/// A message as it is written to the socket, with descriptors.
type Sent = (Vec<u8>, Vec<OwnedFd>);

/// What became of the messages of a peer.
#[derive(Debug, Default)]
struct Outcome {
    /// Those that zbus got.
    passed: Vec<Message>,
    /// What the transport wrote to the peer.
    answers: Vec<Message>,
}

impl Outcome {
    /// The errors by the serials of their calls.
    fn errors(&self) -> BTreeMap<u32, (String, String)> {
        let error = |message: &Message| {
            let header = message.header();
            let name = header.error_name()?.to_string();
            Some((header.reply_serial()?.get(), (name, message.body().deserialize::<String>().expect("text"))))
        };
        self.answers.iter().filter_map(error).collect()
    }
}

fn method(name: &str, sender: &str, body: &(impl serde::Serialize + zbus::DynamicType), flags: Flags) -> Message {
    let call = Message::method_call("/org/portraitd", name).interface("org.portraitd.Test").with_flags(flags);
    call.sender(sender).build(body).expect("message")
}

fn call_of(sender: &str, body: &(impl serde::Serialize + zbus::DynamicType), flags: Flags) -> Message {
    method("Test", sender, body, flags)
}

fn call(body: &(impl serde::Serialize + zbus::DynamicType)) -> Message {
    call_of(":1.7", body, Flags::empty())
}

fn serial(message: &Message) -> u32 {
    message.primary_header().serial_num().get()
}

fn sent(message: &Message) -> Sent {
    (message.data().to_vec(), Vec::new())
}

/// Writes messages from a thread of its own, because a socket holds less than a large one has.
fn write_all(peer: &Arc<Mutex<UnixStream>>, messages: Vec<Sent>) -> std::thread::JoinHandle<()> {
    let peer = Arc::clone(peer);
    std::thread::spawn(move || {
        for (mut bytes, fds) in messages {
            let mut peer = peer.lock().expect("whole");
            if !fds.is_empty() {
                let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
                let count = sendmsg(&*peer, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::empty()).expect("sent");
                bytes.drain(..count);
            }
            // Fails when the reader has given up, which is what some tests are about.
            let _ = peer.write_all(&bytes);
        }
    })
}

/// Reads what the transport writes until it closes its end, and answers its questions about clients
/// as a bus does: all belong to one user.
fn answer_all(mut socket: UnixStream, peer: Arc<Mutex<UnixStream>>) -> Vec<Message> {
    let mut answers = Vec::new();
    // Written by a thread of its own, because reading must go on meanwhile.
    let (credentials, written) = std::sync::mpsc::channel::<Message>();
    std::thread::spawn(move || {
        for answer in written {
            // Fails when the test is over.
            let _ = peer.lock().expect("whole").write_all(answer.data());
        }
    });
    loop {
        let mut start = [0; FIXED_BYTES];
        if socket.read_exact(&mut start).is_err() {
            return answers;
        }
        let mut bytes = start.to_vec();
        bytes.resize(Fixed::parse(&start).expect("our own message").total(), 0);
        socket.read_exact(&mut bytes[FIXED_BYTES..]).expect("whole messages");
        let message = run(Parsed.receive_message(1, &mut bytes, &mut Vec::new()));
        let header = message.header();
        if header.member().is_some_and(|member| member == "GetConnectionCredentials") {
            let user = BTreeMap::from([("UnixUserID", Variant::from(1000_u32))]);
            let answer = Message::method_return(&header).sender("org.freedesktop.DBus").build(&user);
            credentials.send(answer.expect("message")).expect("the thread waits");
        }
        drop(header);
        answers.push(message);
    }
}

/// Runs what does not wait.
fn run(future: impl Future<Output = zbus::Result<Message>>) -> Message {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    runtime.block_on(future).expect("our own message")
}

/// Sends messages to the transport and a call after them, by which it is seen that the reader has
/// not lost its place. Nothing answers the calls that are passed on.
fn exchange(bus: bool, mut messages: Vec<Sent>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let (ours, peer) = UnixStream::pair().expect("sockets");
        let (mut reader, writer) = Transport::new(ours, bus).expect("transport").split().take();
        let mark = call_of(":9.9", &"mark", Flags::empty());
        messages.push(sent(&mark));
        let answered = peer.try_clone().expect("the same socket");
        let peer = Arc::new(Mutex::new(peer));
        let written = write_all(&peer, messages);
        let answers = std::thread::spawn(move || answer_all(answered, peer));
        let mut outcome = Outcome::default();
        for sequence in 1.. {
            let message = reader.receive_message(sequence, &mut Vec::new(), &mut Vec::new()).await.expect("goes on");
            let header = message.header();
            if header.sender().is_some_and(|sender| sender.as_str() == ":9.9") {
                assert_eq!(message.body().deserialize::<&str>().expect("whole"), "mark");
                break;
            }
            drop(header);
            outcome.passed.push(message);
        }
        written.join().expect("writer");
        drop((reader, writer));
        outcome.answers = answers.join().expect("reader");
        outcome
    })
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc").count()
}

#[test]
fn a_call_is_passed_on_as_it_is() {
    let options = BTreeMap::from([("width", Variant::from(64_u32)), ("format", Variant::from("NV12"))]);
    let message = call(&("mask", options));
    let outcome = exchange(true, vec![sent(&message)]);
    assert_eq!(outcome.passed.len(), 1);
    assert_eq!(&**outcome.passed[0].data(), &**message.data());
    // The transport asks the bus who the sender is, once a sender.
    let asked: Vec<_> = outcome.answers.iter().map(|question| question.body().deserialize::<String>()).collect();
    assert_eq!(asked, [Ok(":1.7".to_owned()), Ok(":9.9".to_owned())]);
    assert!(outcome.answers.iter().all(|m| m.header().member().expect("a call") == "GetConnectionCredentials"));
}

#[test]
fn a_large_call_is_drained_and_answered() {
    let huge = call(&"x".repeat(30 << 20));
    let just_over = call(&"x".repeat(CALL_BYTES));
    let silent = call_of(":1.7", &"x".repeat(CALL_BYTES), Flags::NO_REPLY_EXPECTED);
    let good = call(&"x".repeat(CALL_BYTES - 512));
    let outcome = exchange(true, [&huge, &just_over, &silent, &good].map(sent).into());
    assert_eq!(outcome.passed.iter().map(serial).collect::<Vec<_>>(), [serial(&good)]);
    let errors = outcome.errors();
    assert_eq!(errors.keys().copied().collect::<Vec<_>>(), [serial(&huge), serial(&just_over)]);
    let (name, text) = &errors[&serial(&huge)];
    assert_eq!(name, reply::LIMITS_EXCEEDED);
    assert!(text.starts_with("a call may have 65536 bytes, and this one has 314"), "{text}");
    assert!(outcome.answers.iter().all(|answer| {
        let to = answer.header().destination().map(|name| name.to_string());
        to.as_deref() == Some(":1.7") || to.as_deref() == Some("org.freedesktop.DBus")
    }));
}

#[test]
fn bodies_that_grow_when_they_are_deserialised_are_refused() {
    let zone = (0.0, 0.0, 1.0, 1.0);
    let zones = call(&("org.portraitd.Framing1", "Zones", Variant::from(vec![zone; 1900])));
    let options: BTreeMap<_, _> = (0..33).map(|n| (format!("option{n}"), Variant::from(n))).collect();
    let options = call(&("mask", options));
    let bytes = call(&vec![7_u8; 1000]);
    // 20 rows of 30 empty arrays.
    let empty = call(&vec![vec![Vec::<u8>::new(); 30]; 20]);
    let nested = call(&(0..40).fold(Variant::from(1), |inner, _| Variant::Variant(Box::new(inner))));
    let allowed = call(&(Variant::from(vec![zone; 16]), vec![vec![1_u32; 10]; 10]));
    let outcome = exchange(true, [&zones, &options, &bytes, &empty, &nested, &allowed].map(sent).into());
    assert_eq!(outcome.passed.iter().map(serial).collect::<Vec<_>>(), [serial(&allowed)]);
    let errors = outcome.errors();
    let text = |message: &Message| errors[&serial(message)].1.as_str();
    for message in [&zones, &options, &bytes] {
        assert_eq!(text(message), "an array or dictionary of a call may have 32 entries");
    }
    assert_eq!(text(&empty), "the arguments of a call may have 512 values in all");
    assert_eq!(text(&nested), "the arguments of a call may nest 16 deep");
}

#[test]
fn descriptors_of_refused_messages_are_closed() {
    let before = open_descriptors();
    let file = || OwnedFd::from(File::open("/dev/null").expect("a file"));
    let with = |count: usize, declared: usize| {
        // zbus does not build a message that declares other descriptors than it has.
        let fds: Vec<_> = (0..declared).map(|_| zbus::OwnedFd::from(file())).collect();
        let message = method(TAKE_DESCRIPTOR[0], ":1.7", &fds, Flags::empty());
        (serial(&message), (message.data().to_vec(), (0..count).map(|_| file()).collect()))
    };
    let (one, message_of_one) = with(1, 1);
    let (many, message_of_many) = with(16, 16);
    let (undeclared, message_undeclared) = with(3, 0);
    let (missing, message_missing) = with(0, 1);
    let signal = Message::signal("/x", "org.example.Flood", "Flood").sender(":1.7").build(&()).expect("message");
    let with_signal = (signal.data().to_vec(), (0..16).map(|_| file()).collect());
    let large = (call(&"x".repeat(1 << 20)).data().to_vec(), (0..100).map(|_| file()).collect());
    let other = call(&vec![zbus::OwnedFd::from(file())]);
    let with_other = (other.data().to_vec(), vec![file()]);
    let messages =
        vec![message_of_many, message_undeclared, message_missing, with_signal, large, with_other, message_of_one];
    let outcome = exchange(true, messages);
    assert_eq!(outcome.passed.iter().map(serial).collect::<Vec<_>>(), [one]);
    assert_eq!(outcome.passed[0].data().fds().len(), 1);
    let errors = outcome.errors();
    assert!(errors[&many].1.contains("1 descriptor, and this one carries 16"), "{errors:?}");
    assert!(errors.contains_key(&undeclared), "{errors:?}");
    assert_eq!(errors[&serial(&other)].1, "only SetImage and Offer take a descriptor");
    assert!(errors[&missing].1.contains("declares 1 descriptors and carries 0"), "{errors:?}");
    drop(outcome);
    super::foreign::wait_until_closed();
    // Tests of other threads open some too, but not hundreds.
    assert!(open_descriptors() < before + 60, "{before} before, {} after", open_descriptors());
}

#[test]
fn signals_of_strangers_and_replies_to_no_call_are_dropped() {
    let signal = |sender: &str, interface: &str, size: usize| {
        let signal = Message::signal("/org/freedesktop/DBus", interface.to_owned(), "NameOwnerChanged");
        signal.sender(sender.to_owned()).build(&("x".repeat(size), "y", "")).expect("message")
    };
    let of_bus = signal("org.freedesktop.DBus", "org.freedesktop.DBus", 10);
    let polkit = signal(":1.2", "org.freedesktop.PolicyKit1.Authority", 10);
    let forged = signal(":1.7", "org.freedesktop.DBus", 10);
    let nobodys = signal(":1.7", "org.example.Flood", 50_000);
    let large = signal(":1.7", "org.freedesktop.PolicyKit1.Authority", 50_000);
    let request = call(&());
    let spoofed = Message::method_return(&request.header()).sender(":1.7").build(&"x".repeat(70_000)).expect("message");
    let error = Message::error(&request.header(), "org.example.E").sender(":1.7").build(&"x").expect("message");
    let messages = [&forged, &nobodys, &of_bus, &large, &spoofed, &error, &polkit].map(sent);
    let outcome = exchange(true, messages.into());
    assert_eq!(outcome.passed.iter().map(serial).collect::<Vec<_>>(), [serial(&of_bus), serial(&polkit)]);
    assert!(outcome.errors().is_empty());
    // Without a bus nobody sends signals that anybody listens to, whatever sender they name.
    assert!(exchange(false, [&of_bus, &polkit, &spoofed].map(sent).into()).passed.is_empty());
}

#[test]
fn messages_that_zbus_cannot_parse_do_not_end_the_connection() {
    let good = call(&"good");
    let change = |at: usize, value: u8| {
        let mut message = sent(&call(&"text"));
        message.0[at] = value;
        message
    };
    let unknown_type = change(1, 9);
    let mut no_path = call(&"text").data().to_vec();
    let path = no_path.windows(4).position(|field| field == [1, 1, b'o', 0]).expect("the path");
    no_path[path] = 77;
    let mut lying = call(&"text").data().to_vec();
    let body = lying.len() - 9;
    lying[body] = 200;
    let lying_serial = u32::from_le_bytes(lying[8..12].try_into().expect("four bytes"));
    let messages = vec![unknown_type, (no_path, Vec::new()), (lying, Vec::new()), sent(&good)];
    let outcome = exchange(false, messages);
    assert_eq!(outcome.passed.iter().map(serial).collect::<Vec<_>>(), [serial(&good)]);
    let errors = outcome.errors();
    assert_eq!(
        errors[&lying_serial],
        (reply::INVALID_ARGS.into(), "the arguments do not match their signature".into())
    );
    assert_eq!(errors.len(), 2, "{errors:?}");
}

#[test]
fn a_call_with_a_long_header_is_answered() {
    let call = |length: usize, body: usize, flags: Flags| {
        let call = Message::method_call(format!("/{}", "a".repeat(length)), "Test").with_flags(flags);
        call.sender(":1.7").build(&"x".repeat(body)).expect("message")
    };
    let long = [call(20_000, 0, Flags::empty()), call(30 << 20, 1 << 20, Flags::empty())];
    let silent = call(20_000, 100_000, Flags::NO_REPLY_EXPECTED);
    let good = call(15_000, 10, Flags::empty());
    for bus in [true, false] {
        let outcome = exchange(bus, [&long[0], &long[1], &silent, &good].map(sent).into());
        assert_eq!(outcome.passed.iter().map(serial).collect::<Vec<_>>(), [serial(&good)]);
        let errors = outcome.errors();
        assert_eq!(errors.len(), 2, "{errors:?}");
        for call in &long {
            let (name, text) = &errors[&serial(call)];
            assert!(name == reply::LIMITS_EXCEEDED && text.starts_with("a header may have 16384 bytes"), "{text}");
        }
        let to = |answer: &Message| answer.header().destination().map(|name| name.to_string());
        assert!(
            outcome
                .answers
                .iter()
                .all(|answer| to(answer).is_none_or(|name| name == ":1.7" || name == "org.freedesktop.DBus"))
        );
    }
}

#[test]
fn calls_wait_until_the_bus_has_said_whose_they_are_and_keep_their_order() {
    let calls: Vec<_> =
        (0..10).map(|n| call_of(if n % 2 == 0 { ":1.7" } else { ":1.8" }, &n, Flags::empty())).collect();
    let outcome = exchange(true, calls.iter().map(sent).collect());
    for parity in 0..2 {
        let of_one = calls.iter().skip(parity).step_by(2).map(serial);
        let sender = if parity == 0 { ":1.7" } else { ":1.8" };
        let passed = outcome.passed.iter().filter(|call| call.header().sender().is_some_and(|name| name == sender));
        assert_eq!(passed.map(serial).collect::<Vec<_>>(), of_one.collect::<Vec<_>>());
    }
    assert!(outcome.errors().is_empty());
}

#[test]
fn a_call_that_can_have_no_effect_and_wants_no_answer_is_dropped() {
    let call = |member: &'static str, flags: Flags| {
        Message::method_call("/x", member).sender(":1.7").with_flags(flags).build(&()).expect("message")
    };
    let silent = ["Attach", "GetAll", "Introspect", "Set", "Reload"].map(|name| call(name, Flags::NO_REPLY_EXPECTED));
    let answered = call("GetAll", Flags::empty());
    let outcome = exchange(true, silent.iter().chain([&answered]).map(sent).collect());
    let expected = [serial(&silent[3]), serial(&silent[4]), serial(&answered)];
    assert_eq!(outcome.passed.iter().map(serial).collect::<Vec<_>>(), expected);
    assert!(outcome.errors().is_empty());
}

#[test]
fn more_calls_in_flight_than_allowed_are_answered_at_once() {
    // Nothing answers them here. Calls without a reply count too, and are passed on as if they
    // wanted one.
    let calls: Vec<_> = (0..1000)
        .map(|n| call_of(":1.7", &n, if n % 2 == 0 { Flags::empty() } else { Flags::NO_REPLY_EXPECTED }))
        .collect();
    let outcome = exchange(true, calls.iter().map(sent).collect());
    assert_eq!(outcome.passed.len(), SENDER_CALLS);
    assert!(outcome.passed.iter().all(|call| call.primary_header().flags().is_empty()));
    let errors = outcome.errors();
    assert_eq!(errors.len(), (1000 - SENDER_CALLS) / 2);
    assert!(errors.values().all(|(name, text)| name == reply::LIMITS_EXCEEDED && text.contains("16 calls in flight")));
}

#[test]
fn a_call_ends_with_its_reply_and_a_reply_that_nobody_wants_is_not_written() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let (ours, mut peer) = UnixStream::pair().expect("sockets");
        let (mut reader, mut writer) = Transport::new(ours, false).expect("transport").split().take();
        for round in 0..1000_u32 {
            let flags = if round % 2 == 0 { Flags::NO_REPLY_EXPECTED } else { Flags::empty() };
            let call = Message::method_call("/x", "Test").with_flags(flags).build(&round).expect("message");
            peer.write_all(call.data()).expect("room");
            let received = reader.receive_message(1, &mut Vec::new(), &mut Vec::new()).await.expect("a call");
            let answer = Message::method_return(&received.header()).build(&round).expect("message");
            writer.send_message(&answer).await.expect("sent");
            if round % 2 == 1 {
                let mut written = vec![0; answer.data().len()];
                peer.read_exact(&mut written).expect("the reply");
                assert_eq!(&written, &**answer.data());
            }
        }
    });
}

#[test]
fn errors_of_the_library_repeat_little_of_what_the_caller_sent() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let (ours, mut peer) = UnixStream::pair().expect("sockets");
        let (_reader, mut writer) = Transport::new(ours, false).expect("transport").split().take();
        let call = call(&());
        let error = |text: &str| {
            Message::error(&call.header(), "org.freedesktop.DBus.Error.UnknownProperty").build(&text).expect("message")
        };
        for (text, expected) in [
            ("Unknown property 'X'".to_owned(), "Unknown property 'X'".to_owned()),
            (format!("Unknown property '{}'", "\u{7}".repeat(60_000)), String::new()),
        ] {
            writer.send_message(&error(&text)).await.expect("sent");
            let mut start = [0; FIXED_BYTES];
            peer.read_exact(&mut start).expect("a header");
            let mut bytes = start.to_vec();
            bytes.resize(Fixed::parse(&start).expect("a message").total(), 0);
            peer.read_exact(&mut bytes[FIXED_BYTES..]).expect("the rest");
            assert!(bytes.len() < 1000, "{} bytes", bytes.len());
            let message = Parsed.receive_message(1, &mut bytes, &mut Vec::new()).await.expect("a message");
            assert_eq!(message.header().reply_serial(), Some(call.primary_header().serial_num()));
            let text = message.body().deserialize::<String>().expect("text");
            assert!(expected.is_empty() || text == expected, "{text}");
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    });
}

#[test]
fn the_start_of_a_message() {
    let mut start = *b"l\x01\x00\x01\x08\x00\x00\x00\x01\x00\x00\x00\x05\x00\x00\x00";
    let fixed = Fixed::parse(&start).expect("a call");
    assert_eq!((fixed.kind, fixed.header_bytes, fixed.body_bytes, fixed.total()), (Kind::Call, 24, 8, 32));
    start[1] = 200;
    assert_eq!(Fixed::parse(&start).expect("of a later version").kind, Kind::Unknown);
    for (at, value) in [(0, b'x'), (1, 0), (3, 2), (8, 0), (7, 0xff), (15, 0xff)] {
        let mut wrong = start;
        wrong[at] = value;
        assert_eq!(Fixed::parse(&wrong), None, "byte {at} is {value}");
    }
}

#[test]
fn bodies_and_signatures() {
    let of = |signature: &str, body: &[u8]| check(body, signature.as_bytes(), Endian::Little, Limits::CALL);
    assert_eq!(of("", b""), Ok(()));
    assert_eq!(of("", b"x"), Err(Refused::Malformed));
    assert_eq!(of("u", b"\x01\x00\x00\x00"), Ok(()));
    assert_eq!(of("yu", b"\x01\x00\x00\x00\x01\x00\x00\x00"), Ok(()));
    assert_eq!(of("yu", b"\x01\x01\x00\x00\x01\x00\x00\x00"), Err(Refused::Malformed), "the padding is zero");
    assert_eq!(of("s", b"\x01\x00\x00\x00x\x00"), Ok(()));
    assert_eq!(of("s", b"\xff\xff\xff\xffx\x00"), Err(Refused::Malformed));
    assert_eq!(of("au", b"\x03\x00\x00\x00xxx"), Err(Refused::Malformed), "not whole entries");
    assert_eq!(of("a(yy)", b"\x00\x00\x00\x00\x00\x00\x00\x00"), Ok(()), "padding before no entries");
    assert_eq!(of("v", b"\x02uu\x00\x00\x00\x00\x00"), Err(Refused::Malformed), "two types in one variant");
    for wrong in ["a", "(", "()", "(u", "z", "a{", ")"] {
        assert_eq!(of(wrong, &[0; 64]), Err(Refused::Malformed), "{wrong}");
    }
    let deep = "a".repeat(255);
    assert_eq!(of(&deep, &[0; 64]), Err(Refused::Malformed));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Arbitrary bytes as header and body never panic. Neither function allocates.
    #[test]
    fn arbitrary_bytes_are_read_or_refused(
        header in prop::collection::vec(any::<u8>(), 0..200),
        body in prop::collection::vec(any::<u8>(), 0..300),
        signature in "[yuvsgoxda(){}bh]{0,20}",
        big in any::<bool>(),
    ) {
        let endian = if big { Endian::Big } else { Endian::Little };
        let _ = Fields::parse(&header, endian);
        let mut plausible = b"l\x01\x00\x01\x00\x00\x00\x00\x01\x00\x00\x00".to_vec();
        plausible.extend(u32::try_from(header.len()).expect("short").to_le_bytes());
        plausible.extend(&header);
        let _ = Fields::parse(&plausible, Endian::Little);
        let _ = check(&body, signature.as_bytes(), endian, Limits::CALL);
        let _ = check(&body, &body, endian, Limits::CALL);
    }

    /// What zbus writes is read as zbus means it.
    #[test]
    fn messages_of_zbus_are_read_alike(text in ".{0,40}", numbers in prop::collection::vec(any::<u64>(), 0..20)) {
        let value = Variant::from(numbers);
        let message = call(&(&text, (1_u8, 2.5_f64, true), BTreeMap::from([(&*text, &value)])));
        let bytes = message.data();
        let fixed = Fixed::parse(&bytes[..FIXED_BYTES].try_into().expect("16 bytes")).expect("a message");
        prop_assert_eq!(fixed.total(), bytes.len());
        prop_assert_eq!(fixed.serial, serial(&message));
        let fields = Fields::parse(&bytes[..fixed.header_bytes], fixed.endian).expect("fields");
        prop_assert_eq!((fields.interface, fields.sender), ("org.portraitd.Test", ":1.7"));
        prop_assert_eq!(check(&bytes[fixed.header_bytes..], fields.signature, fixed.endian, Limits::CALL), Ok(()));
    }
}

/// An answer to such a name would end the connection.
#[test]
fn a_sender_that_is_no_name_is_not_answered() {
    let message = call(&("mask", BTreeMap::from([("width", Variant::from(64_u32))]))).data().to_vec();
    let at = message.windows(4).position(|bytes| bytes == b":1.7").expect("the sender");
    let mut damaged = message;
    damaged[at] = b'-';
    let outcome = exchange(true, vec![(damaged, Vec::new())]);
    assert!(outcome.passed.is_empty() && outcome.errors().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Messages damaged anywhere but in their lengths never make the reader lose its place: the
    /// call after them is passed on whole.
    #[test]
    fn a_damaged_message_does_not_take_the_next_with_it(
        damage in prop::collection::vec((16_usize..200, any::<u8>()), 1..20),
        kind in 1_u8..6,
        flags in any::<u8>(),
    ) {
        let options = BTreeMap::from([("width", Variant::from(64_u32)), ("format", Variant::from("NV12"))]);
        let mut message = call(&("mask", options)).data().to_vec();
        (message[1], message[2]) = (kind, flags);
        for (at, value) in damage {
            let at = at % message.len();
            if at >= FIXED_BYTES {
                message[at] = value;
            }
        }
        let outcome = exchange(true, vec![(message, Vec::new())]);
        prop_assert!(outcome.passed.len() <= 1);
    }
}
