//! Who may look: a stream is a picture of people, so on the system bus polkit is asked before each attach and snapshot.

use std::collections::HashMap;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portraitd_protocol::{ServiceError, StreamKind};
use zbus::names::BusName;
use zbus::{Connection, Variant};

use super::service::ClientName;

/// A request to see a stream.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizationRequest<'a> {
    /// The connection that it came by.
    pub connection: &'a Connection,
    /// Who wishes.
    pub client: &'a ClientName,
    /// What.
    pub stream: StreamKind,
    /// Whether the client is willing to wait while somebody is asked for a password.
    pub interactive: bool,
}

/// Decides who may see what.
pub trait Authority: Send + Sync {
    /// Decides on one request.
    ///
    /// # Errors
    /// `NotAuthorized`.
    fn check<'a>(&'a self, request: AuthorizationRequest<'a>) -> BoxFuture<'a, Result<(), ServiceError>>;
}

/// Everybody may: for the session bus and for connections without bus, where only the same user gets in.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Authority for AllowAll {
    fn check<'a>(&'a self, _: AuthorizationRequest<'a>) -> BoxFuture<'a, Result<(), ServiceError>> {
        std::future::ready(Ok(())).boxed()
    }
}

/// polkit decides, by one action a stream: `org.portraitd.attach-mask`, `-view`, `-composite`, `-source`.
///
/// Where polkit cannot be asked (it is not installed, does not start, or does not know the action), only root and the
/// user that runs the daemon may.
#[derive(Clone, Copy, Debug, Default)]
pub struct Polkit;

#[zbus::proxy(
    interface = "org.freedesktop.PolicyKit1.Authority",
    default_service = "org.freedesktop.PolicyKit1",
    default_path = "/org/freedesktop/PolicyKit1/Authority"
)]
trait PolkitAuthority {
    fn check_authorization(
        &self,
        subject: &(&str, HashMap<&str, Variant<'_>>),
        action_id: &str,
        details: HashMap<&str, &str>,
        flags: u32,
        cancellation_id: &str,
    ) -> zbus::Result<(bool, bool, HashMap<String, String>)>;
}

/// `AllowUserInteraction` of polkit's `CheckAuthorizationFlags`.
const ALLOW_USER_INTERACTION: u32 = 1;

/// The polkit action of a stream.
pub fn action_of(stream: StreamKind) -> String {
    format!("org.portraitd.attach-{stream}")
}

async fn ask_polkit(request: &AuthorizationRequest<'_>) -> zbus::Result<bool> {
    let proxy = PolkitAuthorityProxy::builder(request.connection)
        .cache_properties(zbus::proxy::CacheProperties::No)
        .build()
        .await?;
    let name = HashMap::from([("name", Variant::from(request.client.as_str()))]);
    let subject = ("system-bus-name", name);
    let flags = if request.interactive { ALLOW_USER_INTERACTION } else { 0 };
    let action = action_of(request.stream);
    let (authorized, _, _) = proxy.check_authorization(&subject, &action, HashMap::new(), flags, "").await?;
    Ok(authorized)
}

async fn user_of(request: &AuthorizationRequest<'_>) -> zbus::Result<u32> {
    let name = BusName::try_from(request.client.as_str())?;
    Ok(zbus::fdo::DBusProxy::new(request.connection).await?.get_connection_unix_user(name).await?)
}

impl Authority for Polkit {
    fn check<'a>(&'a self, request: AuthorizationRequest<'a>) -> BoxFuture<'a, Result<(), ServiceError>> {
        async move {
            let action = action_of(request.stream);
            match ask_polkit(&request).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(ServiceError::NotAuthorized(format!("polkit does not allow {action}"))),
                Err(error) => {
                    let ours = rustix::process::geteuid().as_raw();
                    let theirs = user_of(&request).await.ok();
                    if theirs.is_some_and(|user| user == 0 || user == ours) {
                        tracing::debug!(%error, %action, client = %request.client, "polkit not asked: root or our own user");
                        return Ok(());
                    }
                    tracing::warn!(%error, %action, client = %request.client, "polkit cannot be asked, so no");
                    let text = format!("polkit cannot be asked about {action}, and only root may without: {error}");
                    Err(ServiceError::NotAuthorized(text))
                }
            }
        }
        .boxed()
    }
}
