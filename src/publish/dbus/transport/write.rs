//! The half of the socket that zbus writes to. It sees replies go out, which ends their calls.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use portraitd_protocol::settings::excerpt;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::Interest;
use zbus::Message;
use zbus::connection::socket::WriteHalf;
use zbus::export::async_trait::async_trait;
use zbus::fdo::ConnectionCredentials;
use zbus::message::{Flags, Type};

use super::{Shared, credentials, reply};

/// The most descriptors that are sent with one message: an attachment has two.
const MAX_FDS: usize = 16;
/// An error of zbus whose text is longer than this is cut to the length of an excerpt, in bytes.
const LIBRARY_TEXT_BYTES: usize = 160;

/// The half of the socket that zbus writes to.
#[derive(Debug)]
pub(in crate::publish::dbus) struct Writer(Arc<Shared>);

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }
}

/// Writes some of `bytes`, and `fds` with the first of them.
async fn write_some(shared: &Shared, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let write = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors in one message"));
        }
        let slices = [io::IoSlice::new(bytes)];
        match sendmsg(&shared.stream, &slices, &mut ancillary, SendFlags::NOSIGNAL)? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            written => Ok(written),
        }
    };
    shared.stream.async_io(Interest::WRITABLE, write).await
}

/// Writes a whole message, or waits until it can. Nothing is queued here: while the other end does
/// not read, the calls whose replies wait stay in flight, and their number is limited.
pub(super) async fn write_message(shared: &Shared, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let _writing = shared.writing.lock().await;
    let mut written = 0;
    while written < bytes.len() {
        let fds = if written == 0 { fds } else { &[] };
        written += write_some(shared, &bytes[written..], fds).await?;
    }
    Ok(())
}

/// The bytes of an error of zbus itself whose text repeats too much of the caller's: zbus puts the
/// names of unknown objects and properties into its errors, and those of values it does not expect,
/// at any length. `None` for every other message.
fn shortened(message: &Message, serial: impl FnOnce() -> u32) -> Option<Vec<u8>> {
    let header = message.header();
    let name = header.error_name()?.as_str();
    if message.message_type() != Type::Error || !name.starts_with("org.freedesktop.DBus.Error.") {
        return None;
    }
    let body = message.body();
    let text = body.deserialize::<&str>().ok()?;
    if text.len() <= LIBRARY_TEXT_BYTES && !text.chars().any(char::is_control) {
        return None;
    }
    let caller = header.destination().map_or("", |name| name.as_str());
    Some(reply::error(serial(), caller, header.reply_serial()?.get(), name, &excerpt(text)))
}

#[async_trait]
impl WriteHalf for Writer {
    async fn send_message(&mut self, message: &Message) -> zbus::Result<()> {
        let header = message.header();
        let mut answered = None;
        match message.message_type() {
            Type::MethodCall if !header.primary().flags().contains(Flags::NO_REPLY_EXPECTED) => {
                self.0.gate().called(header.primary().serial_num().get());
            }
            Type::MethodReturn | Type::Error => {
                let caller = header.destination().map_or("", |name| name.as_str());
                answered = header.reply_serial().map(|serial| (self.0.counted(caller).to_owned(), serial.get()));
            }
            _ => {}
        }
        if let Some((caller, serial)) = &answered
            && self.0.gate().is_silent(caller, *serial)
        {
            self.0.gate().finish(caller, *serial);
            return Ok(());
        }
        let written = match shortened(message, || self.0.gate().own_serial()) {
            Some(error) => write_message(&self.0, &error, &[]).await,
            None => {
                let fds: Vec<_> = message.data().fds().iter().map(AsFd::as_fd).collect();
                write_message(&self.0, message.data(), &fds).await
            }
        };
        if let Some((caller, serial)) = answered {
            self.0.gate().finish(&caller, serial);
        }
        written.map_err(zbus::Error::from)
    }

    async fn sendmsg(&mut self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        write_some(&self.0, bytes, fds).await
    }

    async fn close(&mut self) -> io::Result<()> {
        rustix::net::shutdown(&self.0.stream, rustix::net::Shutdown::Both).map_err(io::Error::from)
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }

    async fn peer_credentials(&mut self) -> io::Result<ConnectionCredentials> {
        credentials(&self.0)
    }
}
