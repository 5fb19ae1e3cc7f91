//! Descriptors that others have sent.
//!
//! Closing one may wait for as long as its sender likes: a socket that lingers, or a file of a file
//! system that the sender serves. The thread that reads from the bus must not do it.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{LazyLock, Mutex, PoisonError};

use portraitd_protocol::ServiceError;
use rustix::event::{EventfdFlags, eventfd};
use tracing::warn;

/// The most threads that close descriptors. One whose closing waits does not hold up the others.
const MAX_CLOSERS: usize = 4;
/// One more thread is started when this many descriptors wait for each that there is.
const WAITING_PER_CLOSER: usize = 8;
/// With more descriptors than this that wait to be closed, no more are taken from the socket.
const BACKLOG: usize = 256;

/// The threads that close descriptors.
struct Closers {
    sender: Sender<OwnedFd>,
    receiver: Mutex<Receiver<OwnedFd>>,
    /// Descriptors that wait to be closed, and those that are being closed.
    waiting: AtomicUsize,
    threads: AtomicUsize,
}

static CLOSERS: LazyLock<Closers> = LazyLock::new(|| {
    let (sender, receiver) = channel();
    Closers { sender, receiver: Mutex::new(receiver), waiting: AtomicUsize::new(0), threads: AtomicUsize::new(0) }
});

impl Closers {
    /// Has a descriptor closed. It stays open if no thread can be started: the next call tries again.
    fn close(&'static self, fd: OwnedFd) {
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        // The receiver is never dropped.
        drop(self.sender.send(fd));
        let threads = self.threads.load(Ordering::Relaxed);
        if threads < MAX_CLOSERS && waiting >= threads * WAITING_PER_CLOSER {
            let started = std::thread::Builder::new().name("close".to_owned()).spawn(|| self.run());
            match started {
                Ok(_) => drop(self.threads.fetch_add(1, Ordering::Relaxed)),
                Err(error) => warn!("cannot start a thread to close the descriptors of clients: {error}"),
            }
        }
    }

    fn run(&self) {
        // One thread waits for the next descriptor, the others for that thread.
        let next = || self.receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        while let Ok(fd) = next() {
            // A socket that lingers would wait, and a few of them would hold up those of others.
            let _ = rustix::net::sockopt::set_socket_linger(&fd, None);
            drop(fd);
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Whether more descriptors may be taken. If not, the kernel discards those of the next messages.
pub(super) fn may_take_more() -> bool {
    CLOSERS.waiting.load(Ordering::Relaxed) < BACKLOG
}

/// A descriptor of our own, whose closing never waits.
///
/// # Errors
/// The error of `eventfd`: too many descriptors are open.
pub(super) fn stand_in() -> std::io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC)?)
}

/// Descriptors of others. Those that are left when it is dropped are closed by another thread.
#[derive(Debug, Default)]
pub(in crate::publish::dbus) struct Foreign(pub Vec<OwnedFd>);

impl Foreign {
    /// The only descriptor.
    ///
    /// # Errors
    /// `InvalidArgument` if there is none, or more than one.
    pub(in crate::publish::dbus) fn one(&self) -> Result<&OwnedFd, ServiceError> {
        match self.0.as_slice() {
            [fd] => Ok(fd),
            _ => Err(ServiceError::InvalidArgument("the call must carry one descriptor".into())),
        }
    }

    /// The only descriptor, for a caller that may wait when it closes it.
    ///
    /// # Errors
    /// As [`Self::one`].
    pub(in crate::publish::dbus) fn into_one(mut self) -> Result<OwnedFd, ServiceError> {
        self.one()?;
        Ok(self.0.remove(0))
    }

    /// The only descriptor, if it is memory that can be sealed: closing that never waits.
    pub(in crate::publish::dbus) fn into_memfd(self) -> Option<OwnedFd> {
        rustix::fs::fcntl_get_seals(self.one().ok()?).ok()?;
        self.into_one().ok()
    }

    /// Has all of them closed.
    pub(super) fn clear(&mut self) {
        std::mem::take(&mut self.0).into_iter().for_each(|fd| CLOSERS.close(fd));
    }
}

impl From<OwnedFd> for Foreign {
    fn from(fd: OwnedFd) -> Self {
        Self(vec![fd])
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
    while CLOSERS.waiting.load(Ordering::Relaxed) > 0 {
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A socket that has unsent data and lingers, and the end that does not read: `close` waits until
    /// that is dropped.
    fn lingering() -> (OwnedFd, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let sending = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let receiving = listener.accept().expect("accepted").0;
        sending.set_nonblocking(true).expect("set");
        while std::io::Write::write(&mut &sending, &[0; 1 << 16]).is_ok() {}
        sending.set_nonblocking(false).expect("set");
        rustix::net::sockopt::set_socket_linger(&sending, Some(Duration::from_secs(3600))).expect("set");
        (sending.into(), receiving)
    }

    #[test]
    fn sockets_that_linger_hold_up_neither_the_caller_nor_other_descriptors() {
        let count = MAX_CLOSERS * WAITING_PER_CLOSER + 1;
        let (sockets, receiving): (Vec<_>, Vec<_>) = (0..count).map(|_| lingering()).unzip();
        let (done, waits) = channel();
        std::thread::spawn(move || {
            drop(Foreign(sockets));
            let _ = done.send(());
        });
        waits.recv_timeout(Duration::from_secs(60)).expect("dropping returns");
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().expect("sockets");
        drop(Foreign::from(OwnedFd::from(ours)));
        theirs.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
        assert_eq!(std::io::Read::read(&mut theirs, &mut [0]).expect("closed"), 0);
        drop(receiving);
    }
}
