//! The connection to PipeWire, whose loop runs on the thread of tokio.

use std::env;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, anyhow};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::node::Happened;
use crate::pw::Connection;

/// The most turns of PipeWire's loop before other tasks have theirs.
const TURNS: u32 = 16;

/// Where PipeWire listens.
///
/// `name` is the name of a socket or its path. Without it, it is what the environment says, as for
/// every program of PipeWire.
pub(crate) fn socket(name: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Result<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let name = name.map(str::to_owned).or_else(|| set("PIPEWIRE_REMOTE")).unwrap_or_else(|| "pipewire-0".to_owned());
    if Path::new(&name).is_absolute() {
        return Ok(name.into());
    }
    let folder = set("PIPEWIRE_RUNTIME_DIR").or_else(|| set("XDG_RUNTIME_DIR")).ok_or_else(|| {
        anyhow!(
            "where PipeWire listens is not known: XDG_RUNTIME_DIR is not set; start this program in a user's session, or \
             name the socket by --remote, such as --remote /run/user/1000/pipewire-0"
        )
    })?;
    Ok(Path::new(&folder).join(name))
}

/// As [`socket`], by the environment of this process.
pub(crate) fn socket_here(name: Option<&str>) -> Result<PathBuf> {
    socket(name, |name| env::var(name).ok())
}

/// A connection to PipeWire, and the task that runs its loop.
pub(crate) struct Remote {
    pump: AbortHandle,
    connection: Rc<Connection>,
}

impl Remote {
    /// Connects. Must be called in a `LocalSet`. Says by `events` when the connection has ended.
    pub(crate) async fn connect(path: &Path, events: mpsc::UnboundedSender<Happened>) -> Result<Self> {
        let stream = UnixStream::connect(path).await.with_context(|| {
            format!(
                "PipeWire cannot be reached at {}: is it running, and may this user connect? `systemctl --user start \
                 pipewire` starts it in a user's session, and --remote names another socket",
                path.display()
            )
        })?;
        let socket = OwnedFd::from(stream.into_std()?);
        let lost = events.clone();
        let connection = Connection::new(socket, move |reason| _ = lost.send(Happened::Lost(reason.to_owned())));
        let connection = connection.context("PipeWire's library cannot be set up")?;
        let running = connection.clone();
        let pump = tokio::task::spawn_local(async move {
            if let Err(error) = pump(&running).await {
                let _ = events.send(Happened::Lost(error.to_string()));
            }
        });
        Ok(Self { pump: pump.abort_handle(), connection })
    }

    pub(crate) const fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

/// Runs PipeWire's loop whenever it has something to do.
async fn pump(connection: &Connection) -> std::io::Result<()> {
    let ready = connection.watch()?;
    // What was sent before the loop was watched.
    while connection.iterate() {}
    loop {
        let mut guard = ready.readable().await?;
        for _ in 0..TURNS {
            if !connection.iterate() {
                guard.clear_ready();
                break;
            }
        }
        drop(guard);
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_where_pipewires_own_programs_look() {
        let of = |name, set: &[(&str, &str)]| {
            let found = |key: &str| set.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned());
            socket(name, found).map(|path| path.display().to_string())
        };
        let session = ("XDG_RUNTIME_DIR", "/run/user/7");
        assert_eq!(of(None, &[session]).expect("known"), "/run/user/7/pipewire-0");
        assert_eq!(of(None, &[session, ("PIPEWIRE_RUNTIME_DIR", "/x")]).expect("known"), "/x/pipewire-0");
        assert_eq!(of(None, &[session, ("PIPEWIRE_REMOTE", "other")]).expect("known"), "/run/user/7/other");
        assert_eq!(of(None, &[session, ("PIPEWIRE_REMOTE", "")]).expect("known"), "/run/user/7/pipewire-0");
        assert_eq!(of(Some("one"), &[session, ("PIPEWIRE_REMOTE", "other")]).expect("known"), "/run/user/7/one");
        assert_eq!(of(Some("/a/b"), &[]).expect("known"), "/a/b");
        let error = of(None, &[]).expect_err("no session").to_string();
        assert!(error.contains("XDG_RUNTIME_DIR") && error.contains("--remote"), "{error}");
    }
}
