//! Descriptors that others have sent.
//!
//! Closing one may wait for as long as its sender likes: a socket that lingers, or a file of a file
//! system that the sender serves. The thread that reads from the bus must not do it.

use std::os::fd::OwnedFd;
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};

use tracing::warn;

/// The thread that closes descriptors, or `None` if it could not be started.
static CLOSER: LazyLock<Option<Sender<Vec<OwnedFd>>>> = LazyLock::new(|| {
    let (sender, receiver) = channel::<Vec<OwnedFd>>();
    let started =
        std::thread::Builder::new().name("close".to_owned()).spawn(move || receiver.into_iter().for_each(drop));
    started.inspect_err(|error| warn!("no thread to close the descriptors of clients: {error}")).ok().map(|_| sender)
});

/// Descriptors of others. Those that are left when it is dropped are closed by another thread.
#[derive(Debug, Default)]
pub(in crate::publish::dbus) struct Foreign(pub Vec<OwnedFd>);

impl Foreign {
    /// The only descriptor, if it is memory that can be sealed: closing that never waits.
    pub(in crate::publish::dbus) fn into_memfd(mut self) -> Option<OwnedFd> {
        match self.0.as_slice() {
            [fd] if rustix::fs::fcntl_get_seals(fd).is_ok() => self.0.pop(),
            _ => None,
        }
    }

    /// Has all of them closed.
    pub(super) fn clear(&mut self) {
        let fds = std::mem::take(&mut self.0);
        if fds.is_empty() {
            return;
        }
        match &*CLOSER {
            // The thread only ends with the process.
            Some(closer) => drop(closer.send(fds)),
            None => drop(fds),
        }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Waits until everything that was dropped before is closed.
#[cfg(test)]
pub(super) fn wait_until_closed() {
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().expect("sockets");
    drop(Foreign(vec![ours.into()]));
    assert_eq!(std::io::Read::read(&mut theirs, &mut [0]).expect("closed"), 0);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A listening TCP socket whose accepted connection has unsent data and lingers: `close` waits.
    #[test]
    fn a_descriptor_that_does_not_close_holds_nobody_up() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let sending = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let receiving = listener.accept().expect("accepted");
        sending.set_nonblocking(true).expect("set");
        while std::io::Write::write(&mut &sending, &[0; 1 << 16]).is_ok() {}
        sending.set_nonblocking(false).expect("set");
        rustix::net::sockopt::set_socket_linger(&sending, Some(Duration::from_secs(3600))).expect("set");
        let (done, waits) = channel();
        std::thread::spawn(move || {
            drop(Foreign(vec![sending.into()]));
            let _ = done.send(());
        });
        waits.recv_timeout(Duration::from_secs(60)).expect("dropping returns while closing waits");
        drop(receiving);
    }
}
