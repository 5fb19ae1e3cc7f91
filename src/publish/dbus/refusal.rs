//! The answer of a service that cannot start.
//!
//! A bus that starts the service for a call keeps the call until the name appears, or for 25
//! seconds: dbus-daemon does not learn from systemd that the service has failed. So the service takes
//! its name, answers these calls with the reason, and only then ends.

use std::time::Duration;

use futures_util::StreamExt;
use portraitd_protocol::ServiceError;
use zbus::MessageStream;
use zbus::connection::Builder;
use zbus::fdo::{DBusProxy, RequestNameFlags, RequestNameReply};
use zbus::message::Type;
use zbus::names::WellKnownName;

use super::transport::Transport;
use super::{Bus, SERVICE_NAME};

/// How long to wait for a further call: the bus delivers those that it has kept as soon as the name
/// is owned.
const QUIET: Duration = Duration::from_millis(300);
/// The most calls that are answered.
const MOST_CALLS: usize = 256;

/// Takes the name of the service on a bus for a moment, and answers every call with
/// `org.portraitd.Error.Failed` and this reason. What fails here is not reported: the reason is the
/// error that matters, and the caller reports it.
pub async fn refuse_calls(bus: &Bus, reason: &str) {
    let _ = answer(bus, reason).await;
}

async fn answer(bus: &Bus, reason: &str) -> zbus::Result<()> {
    let address = bus.address().ok_or(zbus::Error::Unsupported)??;
    let connection = Builder::socket(Transport::connect(&address).await?).build().await?;
    // It receives from now on, so no call is lost between the name and the stream.
    let mut messages = MessageStream::from(&connection);
    let name = WellKnownName::try_from(SERVICE_NAME)?;
    // Not by the connection's own method, which expects objects behind the name.
    let reply = DBusProxy::new(&connection).await?.request_name(name, RequestNameFlags::DO_NOT_QUEUE).await?;
    if reply != RequestNameReply::PrimaryOwner {
        return Err(zbus::Error::NameTaken);
    }
    let error = ServiceError::Failed(format!("portraitd cannot start: {reason}"));
    let mut answered = 0;
    while answered < MOST_CALLS
        && let Ok(Some(message)) = tokio::time::timeout(QUIET, messages.next()).await
    {
        let message = message?;
        if message.message_type() == Type::MethodCall {
            connection.reply_dbus_error(&message.header(), error.clone()).await?;
            answered += 1;
        }
    }
    connection.close().await
}
