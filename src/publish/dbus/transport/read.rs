//! The half of the socket that zbus reads from. It decides which messages are passed on.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::Interest;
use zbus::Message;
use zbus::connection::AuthMechanism;
use zbus::connection::socket::ReadHalf;
use zbus::export::async_trait::async_trait;
use zbus::fdo::ConnectionCredentials;

use super::body::{self, Limits, Refused};
use super::foreign::{self, Foreign};
use super::gate::Full;
use super::header::{FIXED_BYTES, Fields, Fixed, Kind, NO_REPLY_EXPECTED};
use super::long_header::LongHeader;
use super::waiting::{Size, Waiting};
use super::write::write_message;
use super::{
    ANSWERS_ONLY, AUTHENTICATION, BUS_NAME, BUS_SIGNAL_BYTES, CALL_BYTES, CALL_FDS, CHUNK, HEADER_BYTES, REPLY_BYTES,
    SIGNAL_BYTES, SIGNALS, Shared, TAKE_DESCRIPTOR, TURNS, credentials, reply,
};

/// The descriptors that one read can bring, as the kernel limits it.
const MAX_READ_FDS: usize = 253;

/// The half of the socket that zbus reads from.
#[derive(Debug)]
pub(in crate::publish::dbus) struct Reader {
    shared: Arc<Shared>,
    chunk: Box<[u8]>,
    /// Calls of clients that the bus was asked about.
    waiting: Waiting<Call>,
    /// Calls whose clients have become known.
    ready: VecDeque<Call>,
}

/// A whole call that was found good.
#[derive(Debug)]
struct Call {
    fixed: Fixed,
    sender: String,
    bytes: Vec<u8>,
    fds: Foreign,
}

/// What becomes of a message whose header has been read.
enum Verdict {
    /// Its body is read and it is passed on, with its length in bytes below the limits.
    Pass,
    /// It is drained.
    Drop(&'static str),
    /// It is drained, and the sender of the call gets an error.
    Refuse(&'static str, String),
    /// It is drained, and zbus gets an error in its place.
    Replace(u32),
    /// It answers a question of the transport.
    Answer(u32),
}

/// Bytes that the handshake received too many, and the descriptors of the current message.
struct Received<'a> {
    bytes: &'a mut Vec<u8>,
    fds: Foreign,
}

fn broken(text: &'static str) -> zbus::Error {
    io::Error::new(io::ErrorKind::InvalidData, text).into()
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, chunk: vec![0; CHUNK].into(), waiting: Waiting::default(), ready: VecDeque::new() }
    }

    async fn read_exact(
        shared: &Shared,
        received: &mut Received<'_>,
        mut buffer: &mut [u8],
    ) -> Result<(), zbus::Error> {
        let known = received.bytes.len().min(buffer.len());
        buffer[..known].copy_from_slice(&received.bytes[..known]);
        received.bytes.drain(..known);
        buffer = &mut buffer[known..];
        while !buffer.is_empty() {
            let (count, mut fds) = receive(shared, buffer).await?;
            if count == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed").into());
            }
            // A message with more is refused anyway, and then these are closed.
            let room = (CALL_FDS + MAX_READ_FDS).saturating_sub(received.fds.0.len());
            received.fds.0.extend(fds.0.drain(..room.min(fds.0.len())));
            buffer = &mut buffer[count..];
        }
        Ok(())
    }

    /// Reads and forgets `count` bytes, and their descriptors. `see` gets each chunk.
    async fn drain(
        &mut self,
        received: &mut Received<'_>,
        mut count: usize,
        mut see: impl FnMut(&[u8]) + Send,
    ) -> Result<(), zbus::Error> {
        received.fds.clear();
        while count > 0 {
            let step = count.min(self.chunk.len());
            Self::read_exact(&self.shared, received, &mut self.chunk[..step]).await?;
            received.fds.clear();
            see(&self.chunk[..step]);
            count -= step;
        }
        Ok(())
    }

    /// Reads and forgets the fields of a header. Returns the sender, if it was found.
    async fn drain_header(&mut self, received: &mut Received<'_>, fixed: &Fixed) -> zbus::Result<Option<String>> {
        let mut header = LongHeader::new(fixed.endian);
        self.drain(received, fixed.header_bytes - FIXED_BYTES, |chunk| header.push(chunk)).await?;
        Ok(header.sender())
    }

    async fn refuse(&self, sender: &str, serial: u32, name: &str, text: &str) -> io::Result<()> {
        let own = self.shared.gate().own_serial();
        write_message(&self.shared, &reply::error(own, sender, serial, name, text), &[]).await
    }

    /// Decides by the header alone.
    fn judge(shared: &Shared, fixed: &Fixed, fields: &Fields<'_>, fds: usize) -> Verdict {
        let from_bus = shared.bus && fields.sender == BUS_NAME;
        let declared = usize::try_from(fields.unix_fds).unwrap_or(usize::MAX);
        match fixed.kind {
            Kind::Call if fixed.total() > CALL_BYTES => {
                let text = format!("a call may have {CALL_BYTES} bytes, and this one has {}", fixed.total());
                Verdict::Refuse(reply::LIMITS_EXCEEDED, text)
            }
            Kind::Call if declared > CALL_FDS || fds > CALL_FDS => {
                let text =
                    format!("a call may carry {CALL_FDS} descriptor, and this one carries {}", declared.max(fds));
                Verdict::Refuse(reply::LIMITS_EXCEEDED, text)
            }
            Kind::Call if fds > 0 && !TAKE_DESCRIPTOR.contains(&fields.member) => Verdict::Refuse(
                reply::INVALID_ARGS,
                format!("only {} take a descriptor", TAKE_DESCRIPTOR.join(" and ")),
            ),
            Kind::Call if declared != fds => {
                let text = format!("the call declares {declared} descriptors and carries {fds}");
                Verdict::Refuse(reply::INVALID_ARGS, text)
            }
            Kind::Call if !fixed.wants_reply() && ANSWERS_ONLY.contains(&fields.member) => {
                Verdict::Drop("it asks for no reply, and its method only returns something")
            }
            Kind::Call => Verdict::Pass,
            Kind::Return | Kind::Error if from_bus && shared.gate().asked(fields.reply_serial) => {
                Verdict::Answer(fields.reply_serial)
            }
            Kind::Return | Kind::Error if from_bus && fixed.total() <= BUS_SIGNAL_BYTES && shared.gate().greet() => {
                Verdict::Pass
            }
            Kind::Return | Kind::Error if !shared.gate().replied(fields.reply_serial) => {
                Verdict::Drop("a reply to no call of ours")
            }
            Kind::Return | Kind::Error if fixed.total() > REPLY_BYTES || declared != fds => {
                Verdict::Replace(fields.reply_serial)
            }
            Kind::Return | Kind::Error => Verdict::Pass,
            Kind::Signal if from_bus && fixed.total() <= BUS_SIGNAL_BYTES && fds == 0 => Verdict::Pass,
            Kind::Signal if from_bus => Verdict::Drop("a signal of the bus that is too large"),
            Kind::Signal if !shared.bus || !SIGNALS.contains(&fields.interface) => {
                Verdict::Drop("a signal that nobody here listens to")
            }
            Kind::Signal if fixed.total() > SIGNAL_BYTES || fds > 0 || declared > 0 => {
                Verdict::Drop("a signal that is too large")
            }
            Kind::Signal => Verdict::Pass,
            Kind::Unknown => Verdict::Drop("a message of an unknown type"),
        }
    }

    /// Counts a call of a user, after other tasks had turns if there are too many in flight.
    async fn admit(&self, call: &Call, user: u32) -> Result<(), Full> {
        let (sender, fixed) = (self.shared.counted(&call.sender), &call.fixed);
        let mut turns = 0;
        loop {
            let silent = !fixed.wants_reply();
            let now = Instant::now();
            let result = self.shared.gate().admit((sender, user), fixed.serial, fixed.total(), silent, now);
            if result.is_ok() || turns == TURNS {
                return result;
            }
            turns += 1;
            tokio::task::yield_now().await;
        }
    }

    /// The user of a sender, if it is known. Without a bus there is one sender only.
    fn user(&self, sender: &str) -> Option<u32> {
        if self.shared.bus { self.shared.gate().client(sender).map(|client| client.user) } else { Some(0) }
    }

    /// Asks the bus about a client, if that is to be done now.
    async fn ask(&self, name: &str) -> io::Result<()> {
        let serial = self.shared.gate().ask(name);
        match serial {
            Some(serial) => write_message(&self.shared, &reply::client_question(serial, name), &[]).await,
            None => Ok(()),
        }
    }

    /// Lets a call wait until it is known whose it is.
    async fn wait(&mut self, call: Call) -> zbus::Result<()> {
        let sender = call.sender.clone();
        let size = Size { bytes: call.bytes.len(), fds: call.fds.0.len() };
        for (refused, full) in self.waiting.push(&sender, size, call) {
            self.turn_away_call(&refused, reply::LIMITS_EXCEEDED, &full.text()).await?;
        }
        Ok(self.ask(&sender).await?)
    }

    /// The bus has answered a question: the calls of the client go on, or are refused.
    async fn answered(&mut self, serial: u32, who: Option<(u32, Option<u32>)>) -> zbus::Result<()> {
        let name = self.shared.gate().answer(serial, who);
        if let Some(name) = name {
            let calls = self.waiting.take(&name);
            if who.is_some() {
                self.ready.extend(calls);
            } else {
                for call in calls {
                    let text = "the bus does not say which user this connection belongs to";
                    self.turn_away_call(&call, reply::ACCESS_DENIED, text).await?;
                }
            }
        }
        // A client that waits may not have been asked about, because there were too many questions.
        let next = {
            let gate = self.shared.gate();
            self.waiting.senders().find(|name| !gate.is_asked(name)).map(str::to_owned)
        };
        match next {
            Some(name) => Ok(self.ask(&name).await?),
            None => Ok(()),
        }
    }

    /// Passes on a call of a sender that is known. `None` if it was refused.
    async fn deliver(&mut self, mut call: Call, sequence: u64) -> zbus::Result<Option<Message>> {
        let Some(user) = self.user(&call.sender) else {
            // It was forgotten meanwhile, because many others came.
            self.wait(call).await?;
            return Ok(None);
        };
        if let Err(full) = self.admit(&call, user).await {
            self.turn_away_call(&call, reply::LIMITS_EXCEEDED, &full.text()).await?;
            return Ok(None);
        }
        // zbus then replies to every call, so that the gate sees when each has ended.
        call.bytes[2] &= !NO_REPLY_EXPECTED;
        // zbus closes the descriptors of a message on this thread. It gets some of our own.
        let stand_ins: io::Result<Vec<_>> = call.fds.0.iter().map(|_| foreign::stand_in()).collect();
        let parsed = match stand_ins {
            Ok(mut stand_ins) => Parsed.receive_message(sequence, &mut call.bytes, &mut stand_ins).await,
            Err(error) => Err(error.into()),
        };
        let sender = self.shared.counted(&call.sender);
        match parsed {
            Ok(message) => {
                self.shared.gate().keep(sender, call.fixed.serial, call.fds);
                Ok(Some(message))
            }
            Err(error) => {
                self.shared.gate().finish(sender, call.fixed.serial);
                let text = format!("the message cannot be parsed: {error}");
                self.turn_away_call(&call, reply::INVALID_ARGS, &text).await?;
                Ok(None)
            }
        }
    }

    /// Refuses a call that has been read.
    async fn turn_away_call(&self, call: &Call, name: &str, text: &str) -> zbus::Result<()> {
        self.shared.note_refused(&call.sender, text);
        if call.fixed.wants_reply() {
            self.refuse(&call.sender, call.fixed.serial, name, text).await?;
        }
        Ok(())
    }

    /// Drains the rest of a message and refuses it.
    async fn turn_away(
        &mut self,
        received: &mut Received<'_>,
        fixed: &Fixed,
        sender: &str,
        rest: usize,
        (name, text): (&str, &str),
    ) -> zbus::Result<()> {
        self.shared.note_refused(sender, text);
        self.drain(received, rest, |_| {}).await?;
        if fixed.wants_reply() {
            self.refuse(sender, fixed.serial, name, text).await?;
        }
        Ok(())
    }

    /// Reads the body of a message that may pass, and checks it. `None` if it was refused.
    async fn pass(
        &mut self,
        received: &mut Received<'_>,
        fixed: &Fixed,
        head: &Head,
        mut bytes: Vec<u8>,
        sequence: u64,
    ) -> zbus::Result<Option<Message>> {
        bytes.resize(fixed.total(), 0);
        Self::read_exact(&self.shared, received, &mut bytes[fixed.header_bytes..]).await?;
        let refused = if received.fds.0.len() != head.fds {
            Some((reply::INVALID_ARGS, "the message carries other descriptors than it declares".to_owned()))
        } else if fixed.kind == Kind::Call {
            let checked = body::check(&bytes[fixed.header_bytes..], &head.signature, fixed.endian, Limits::CALL);
            checked.err().map(refusal_of_body)
        } else {
            None
        };
        if let Some((name, text)) = refused {
            self.turn_away(received, fixed, &head.sender, 0, (name, &text)).await?;
            return Ok(None);
        }
        if fixed.kind != Kind::Call {
            return match Parsed.receive_message(sequence, &mut bytes, &mut received.fds.0).await {
                Ok(message) => Ok(Some(message)),
                Err(error) => {
                    self.shared.note_refused(&head.sender, &format!("the message cannot be parsed: {error}"));
                    Ok(None)
                }
            };
        }
        let (sender, fds) = (head.sender.clone(), std::mem::take(&mut received.fds));
        let call = Call { fixed: *fixed, sender, bytes, fds };
        self.deliver(call, sequence).await
    }

    /// Reads the next message. `None` if it is not passed on.
    async fn next(&mut self, received: &mut Received<'_>, sequence: u64) -> zbus::Result<Option<Message>> {
        let mut start = [0; FIXED_BYTES];
        Self::read_exact(&self.shared, received, &mut start).await?;
        let fixed = Fixed::parse(&start).ok_or_else(|| broken("the bytes are not the start of a D-Bus message"))?;
        if fixed.header_bytes > HEADER_BYTES {
            let sender = self.drain_header(received, &fixed).await?;
            let text = format!("a header may have {HEADER_BYTES} bytes, and this one has {}", fixed.header_bytes);
            self.shared.note_refused(sender.as_deref().unwrap_or_default(), &text);
            self.drain(received, fixed.body_bytes, |_| {}).await?;
            // Without a sender the bus would not know whose answer it is.
            if fixed.wants_reply() && (sender.is_some() || !self.shared.bus) {
                let sender = sender.unwrap_or_default();
                self.refuse(&sender, fixed.serial, reply::LIMITS_EXCEEDED, &text).await?;
            }
            return Ok(None);
        }
        let mut bytes = start.to_vec();
        bytes.resize(fixed.header_bytes, 0);
        Self::read_exact(&self.shared, received, &mut bytes[FIXED_BYTES..]).await?;
        let Ok(fields) = Fields::parse(&bytes, fixed.endian) else {
            self.shared.note_refused("", "its header is malformed");
            self.drain(received, fixed.body_bytes, |_| {}).await?;
            return Ok(None);
        };
        let verdict = Self::judge(&self.shared, &fixed, &fields, received.fds.0.len());
        let head = Head::new(&fields);
        match verdict {
            Verdict::Pass => self.pass(received, &fixed, &head, bytes, sequence).await,
            Verdict::Drop(reason) => {
                self.turn_away(received, &fixed, &head.sender, fixed.body_bytes, ("", reason)).await?;
                Ok(None)
            }
            Verdict::Refuse(name, text) => {
                self.turn_away(received, &fixed, &head.sender, fixed.body_bytes, (name, &text)).await?;
                Ok(None)
            }
            Verdict::Replace(serial) => {
                let text = format!("the reply is not accepted: it has {} bytes", fixed.total());
                self.turn_away(received, &fixed, &head.sender, fixed.body_bytes, ("", &text)).await?;
                let own = self.shared.gate().own_serial();
                let mut error = reply::error(own, "", serial, reply::FAILED, &text);
                Parsed.receive_message(sequence, &mut error, &mut Vec::new()).await.map(Some)
            }
            Verdict::Answer(serial) => {
                let mut who = None;
                if fixed.kind == Kind::Return && fixed.total() <= REPLY_BYTES {
                    bytes.resize(fixed.total(), 0);
                    Self::read_exact(&self.shared, received, &mut bytes[fixed.header_bytes..]).await?;
                    let message = Parsed.receive_message(sequence, &mut bytes, &mut received.fds.0).await;
                    who = message.ok().and_then(|message| {
                        let who: ConnectionCredentials = message.body().deserialize().ok()?;
                        Some((who.unix_user_id()?, who.process_id()))
                    });
                } else {
                    self.drain(received, fixed.body_bytes, |_| {}).await?;
                }
                self.answered(serial, who).await?;
                Ok(None)
            }
        }
    }
}

/// What is kept of the fields of a header.
struct Head {
    sender: String,
    signature: Vec<u8>,
    fds: usize,
}

impl Head {
    fn new(fields: &Fields<'_>) -> Self {
        let fds = usize::try_from(fields.unix_fds).unwrap_or(usize::MAX);
        Self { sender: fields.sender.to_owned(), signature: fields.signature.to_vec(), fds }
    }
}

fn refusal_of_body(refused: Refused) -> (&'static str, String) {
    let Limits { entries, values, depth } = Limits::CALL;
    match refused {
        Refused::Malformed => (reply::INVALID_ARGS, "the arguments do not match their signature".to_owned()),
        Refused::Entries => {
            (reply::LIMITS_EXCEEDED, format!("an array or dictionary of a call may have {entries} entries"))
        }
        Refused::Values => (reply::LIMITS_EXCEEDED, format!("the arguments of a call may have {values} values in all")),
        Refused::Depth => (reply::LIMITS_EXCEEDED, format!("the arguments of a call may nest {depth} deep")),
    }
}

/// Reads what is free of the socket into `buffer`, with the descriptors that came with it.
async fn receive(shared: &Shared, buffer: &mut [u8]) -> io::Result<(usize, Foreign)> {
    let read = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_READ_FDS))];
        let room = if foreign::may_take_more() { space.len() } else { 0 };
        let mut ancillary = RecvAncillaryBuffer::new(&mut space[..room]);
        let mut slices = [IoSliceMut::new(&mut *buffer)];
        let received = recvmsg(&shared.stream, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        let mut fds = Foreign::default();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.0.extend(rights);
            }
        }
        Ok((received.bytes, fds))
    };
    shared.stream.async_io(Interest::READABLE, read).await
}

/// Makes a message of bytes that are complete: zbus has no safe function for that, but its default
/// method takes what the handshake received too many.
#[derive(Debug)]
pub(super) struct Parsed;

impl ReadHalf for Parsed {}

#[async_trait]
impl ReadHalf for Reader {
    async fn receive_message(
        &mut self,
        sequence: u64,
        already_received_bytes: &mut Vec<u8>,
        already_received_fds: &mut Vec<OwnedFd>,
    ) -> zbus::Result<Message> {
        let fds = Foreign(std::mem::take(already_received_fds));
        let mut received = Received { bytes: already_received_bytes, fds };
        loop {
            let message = match self.ready.pop_front() {
                Some(call) => self.deliver(call, sequence).await,
                None => self.next(&mut received, sequence).await,
            };
            if self.shared.bus
                && let Err(error) = &message
            {
                // zbus ends the connection, and passes on no reason.
                tracing::warn!(%error, "the bus cannot be read any more");
            }
            if let Some(message) = message? {
                return Ok(message);
            }
            received.fds.clear();
        }
    }

    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let (count, mut fds) = receive(&self.shared, buffer).await?;
        Ok((count, std::mem::take(&mut fds.0)))
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }

    async fn peer_credentials(&mut self) -> io::Result<ConnectionCredentials> {
        credentials(&self.shared)
    }

    fn auth_mechanism(&self) -> AuthMechanism {
        AUTHENTICATION
    }
}
