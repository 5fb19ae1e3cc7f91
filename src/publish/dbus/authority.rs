//! Who may see a stream.
//!
//! A stream shows people, so on the system bus polkit is asked before each attach and each
//! snapshot.

use std::collections::HashMap;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portraitd_protocol::{ServiceError, StreamKind};
use zbus::Connection;
use zbus::message::Header;
use zbus::proxy::CacheProperties;
use zbus_polkit::policykit1::{AuthorityProxy, CheckAuthorizationFlags, Subject};

use super::service::Client;

/// The question whether a caller may see a stream.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizationRequest<'a> {
    /// The connection on which the call arrived.
    pub connection: &'a Connection,
    /// The header of the call.
    pub header: &'a Header<'a>,
    /// The client that asks.
    pub client: &'a Client,
    /// The stream that the client asks for.
    pub stream: StreamKind,
    /// Whether the caller is willing to wait while somebody is asked for a password.
    pub interactive: bool,
}

/// Decides who may see which stream.
pub trait Authority: Send + Sync {
    /// Decides whether the client of a request may see the stream.
    ///
    /// # Errors
    /// `NotAuthorized` if the client may not.
    fn check<'a>(&'a self, request: AuthorizationRequest<'a>) -> BoxFuture<'a, Result<(), ServiceError>>;
}

/// Allows every request: for the session bus and for connections without a bus, which only the same
/// user can open.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Authority for AllowAll {
    fn check<'a>(&'a self, _: AuthorizationRequest<'a>) -> BoxFuture<'a, Result<(), ServiceError>> {
        std::future::ready(Ok(())).boxed()
    }
}

/// Asks polkit, with one action for each stream: `org.portraitd.attach-mask`, `-view`,
/// `-composite`, `-source`.
///
/// If polkit cannot be asked (it is not installed, does not start, or does not know the action),
/// only root and the user that runs the daemon are allowed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Polkit;

/// The polkit action of a stream.
pub fn action_of(stream: StreamKind) -> String {
    format!("org.portraitd.attach-{stream}")
}

/// Why polkit gave no answer.
#[derive(Debug, thiserror::Error)]
enum PolkitError {
    #[error(transparent)]
    Caller(#[from] zbus_polkit::Error),
    #[error(transparent)]
    Call(#[from] zbus::Error),
}

async fn ask_polkit(request: &AuthorizationRequest<'_>) -> Result<bool, PolkitError> {
    let subject = Subject::new_for_message_header(request.header)?;
    let proxy = AuthorityProxy::builder(request.connection).cache_properties(CacheProperties::No).build().await?;
    let flags = if request.interactive {
        CheckAuthorizationFlags::ALLOW_USER_INTERACTION
    } else {
        CheckAuthorizationFlags::empty()
    };
    let action = action_of(request.stream);
    Ok(proxy.check_authorization(&subject, &action, &HashMap::new(), flags, "").await?.is_authorized)
}

impl Authority for Polkit {
    fn check<'a>(&'a self, request: AuthorizationRequest<'a>) -> BoxFuture<'a, Result<(), ServiceError>> {
        async move {
            let action = action_of(request.stream);
            let error = match ask_polkit(&request).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(ServiceError::NotAuthorized(format!("polkit does not allow {action}"))),
                Err(error) => error,
            };
            let own_user = rustix::process::geteuid().as_raw();
            let user = request.client.user;
            if user == 0 || user == own_user {
                tracing::debug!(
                    %error, %action, client = %request.client,
                    "polkit cannot be asked; the request is allowed, because the caller is root or our own user"
                );
                return Ok(());
            }
            tracing::warn!(
                %error, %action, client = %request.client,
                "polkit cannot be asked, so the request is refused; check that polkit is installed and knows the action"
            );
            Err(ServiceError::NotAuthorized(format!(
                "polkit cannot be asked about {action}, and without polkit only root is allowed: {error}"
            )))
        }
        .boxed()
    }
}
