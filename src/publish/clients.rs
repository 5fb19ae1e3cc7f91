//! The clients of one ring, and how they are woken and missed.
//!
//! Each client has a pipe of its own: one byte a published frame, the write end non-blocking, a full pipe skipped (its
//! bytes wake the reader all the same). A client leaves by closing the read end, which the kernel also does for a process
//! that was killed; the write end then reports `EPOLLERR`. All write ends are in one epoll set, whose descriptor becomes
//! readable as soon as somebody has left, whether frames are published or not.
//!
//! Threads: the *render thread* wakes ([`RingClients::wake`], through the writer) and the *main thread* adds, removes and
//! reaps. Both take the list's lock for a few system calls that cannot block; nothing is allocated by waking.
//!
//! Writing to a pipe without reader raises SIGPIPE. Rust programs start with that signal ignored, and the daemon keeps it
//! so; then the write fails with `EPIPE`, and the client is marked as gone until the main thread reaps it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portraitd_protocol::sequence_lock::newest;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::error::PublishError;
use super::memory::{RingHead, watch_readable};

/// Bytes of a client's pipe: one page, the least that the kernel gives.
const PIPE_BYTES: usize = 4096;

/// The most clients of one ring. A board has a handful; a program that attaches for ever must not cost everybody theirs.
pub const MAX_CLIENTS: usize = 64;

/// What a client of a ring is given.
#[derive(Debug)]
pub struct ClientFds {
    /// Names the client among all that this ring has had.
    pub id: u64,
    /// The ring's memory.
    pub memory: OwnedFd,
    /// The read end of the client's pipe.
    pub event: OwnedFd,
}

#[derive(Debug)]
struct Client {
    id: u64,
    event: OwnedFd,
    /// 0 for a client that wants every frame.
    interval_ns: u64,
    /// When it is to be woken next.
    due_ns: u64,
    gone: bool,
}

impl Client {
    /// Whether a client that asked for a limited rate is due; keeps the rate over time, whatever the jitter.
    fn take_turn(&mut self, now_ns: u64) -> bool {
        if self.interval_ns == 0 {
            return true;
        }
        // A frame may be a quarter of an interval early and still count as the one that is due.
        if now_ns.saturating_add(self.interval_ns / 4) < self.due_ns {
            return false;
        }
        let next = self.due_ns.saturating_add(self.interval_ns);
        self.due_ns = if next < now_ns { now_ns.saturating_add(self.interval_ns) } else { next };
        true
    }
}

#[derive(Debug)]
struct List {
    clients: Vec<Client>,
    next_id: u64,
}

#[derive(Debug)]
struct Shared {
    head: RingHead,
    memory: OwnedFd,
    /// Holds every client's write end; see the module's text.
    hangups: OwnedFd,
    closed: AtomicBool,
    list: Mutex<List>,
}

/// The clients of one ring: a handle that any thread may clone and keep.
#[derive(Clone, Debug)]
pub struct RingClients(Arc<Shared>);

impl RingClients {
    pub(super) fn new(head: RingHead, memory: OwnedFd) -> Result<Self, PublishError> {
        let hangups = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(PublishError::call("epoll_create1"))?;
        let list = Mutex::new(List { clients: Vec::new(), next_id: 1 });
        Ok(Self(Arc::new(Shared { head, memory, hangups, closed: AtomicBool::new(false), list })))
    }

    pub(super) fn head(&self) -> &RingHead {
        &self.0.head
    }

    fn list(&self) -> MutexGuard<'_, List> {
        // No critical section can panic half way through a change.
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new client: its descriptors, to be sent to it and then dropped here. With `interval` it is woken no more often
    /// than that (it may still read the ring whenever it likes). If a frame is there already, a byte waits in the pipe.
    ///
    /// # Errors
    /// [`PublishError::Closed`] on a closed ring; [`PublishError::Full`] with [`MAX_CLIENTS`]; [`PublishError::System`] where the process has no descriptors left.
    pub fn add_client(&self, interval: Option<Duration>) -> Result<ClientFds, PublishError> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(PublishError::call("pipe2"))?;
        rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).map_err(PublishError::call("fcntl(F_SETFL)"))?;
        // Smaller is only tidier (and more bytes in the pipe do no harm), so a refusal is none of ours.
        let _ = fcntl_setpipe_size(&writer, PIPE_BYTES);
        let memory = self.0.memory.try_clone().map_err(|error| PublishError::System { call: "dup", error })?;
        let interval_ns = interval.map_or(0, |interval| u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX));
        let mut list = self.list();
        // Under the lock, so that `close` either sees this client or is seen here.
        if self.0.closed.load(Ordering::Acquire) {
            return Err(PublishError::Closed);
        }
        if list.clients.len() >= MAX_CLIENTS {
            return Err(PublishError::Full(MAX_CLIENTS));
        }
        let id = list.next_id;
        // No events asked for: errors are always reported.
        epoll::add(&self.0.hangups, &writer, epoll::EventData::new_u64(id), epoll::EventFlags::empty())
            .map_err(PublishError::call("epoll_ctl"))?;
        list.next_id += 1;
        let mut client = Client { id, event: writer, interval_ns, due_ns: 0, gone: false };
        if newest(self.0.head.latest()) > 0 {
            wake_one(&mut client);
        }
        list.clients.push(client);
        Ok(ClientFds { id, memory, event: reader })
    }

    /// Lets a client go whose bus name has left: its pipe ends. Returns whether it was there.
    pub fn remove_client(&self, id: u64) -> bool {
        let mut list = self.list();
        let Some(position) = list.clients.iter().position(|client| client.id == id) else {
            return false;
        };
        let client = list.clients.swap_remove(position);
        // Closing the last descriptor would do it too; a child forked just now might hold one more for a moment.
        let _ = epoll::delete(&self.0.hangups, &client.event);
        true
    }

    /// Forgets the clients that have left; returns how many.
    pub fn reap(&self) -> usize {
        self.reap_each(|_| {})
    }

    /// As [`RingClients::reap`], and tells `left` each one's id.
    pub fn reap_each(&self, mut left: impl FnMut(u64)) -> usize {
        let mut count = 0;
        loop {
            let mut events = Vec::<epoll::Event>::with_capacity(16);
            let none = Timespec { tv_sec: 0, tv_nsec: 0 };
            match epoll::wait(&self.0.hangups, rustix::buffer::spare_capacity(&mut events), Some(&none)) {
                Ok(_) if events.is_empty() => return count,
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                // The descriptor is an epoll set of ours; no other error is possible.
                Err(_) => return count,
            }
            for event in events {
                let id = event.data.u64();
                if self.remove_client(id) {
                    count += 1;
                    left(id);
                }
            }
        }
    }

    /// How many clients the ring has, those that left and were not reaped included.
    pub fn client_count(&self) -> usize {
        self.list().clients.len()
    }

    /// Becomes readable when a client has left; stays so until [`RingClients::reap`].
    pub fn hangup_fd(&self) -> BorrowedFd<'_> {
        self.0.hangups.as_fd()
    }

    /// Reaps for ever, telling `left` each client's id within a turn of the event loop after it left. For a task of the
    /// main thread; ends only by being dropped, or where the runtime has no I/O.
    ///
    /// # Errors
    /// What the runtime says when it cannot watch a descriptor.
    pub async fn watch(&self, mut left: impl FnMut(u64)) -> std::io::Result<()> {
        let hangups = watch_readable(self.0.hangups.try_clone()?)?;
        loop {
            let mut ready = hangups.readable().await?;
            self.reap_each(&mut left);
            ready.clear_ready();
        }
    }

    /// Whether [`RingClients::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// Says that no more frames will come, and wakes every client, so that it attaches again. Their pipes end when the
    /// last handle on the ring is dropped. Called by the writer when it is dropped.
    pub fn close(&self) {
        let mut list = self.list();
        self.0.closed.store(true, Ordering::Release);
        self.0.head.close();
        list.clients.iter_mut().for_each(wake_one);
    }

    /// Wakes the clients whose turn it is. Called by the writer after a frame was published at `now_ns`.
    pub(super) fn wake(&self, now_ns: u64) {
        for client in &mut self.list().clients {
            if !client.gone && client.take_turn(now_ns) {
                wake_one(client);
            }
        }
    }
}

fn wake_one(client: &mut Client) {
    // EAGAIN: the pipe is full, so the client will wake anyway.
    if rustix::io::write(&client.event, &[1]) == Err(Errno::PIPE) {
        client.gone = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(frames_a_second: u64) -> Client {
        let (_, event) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
        Client { id: 1, event, interval_ns: 1_000_000_000 / frames_a_second, due_ns: 0, gone: false }
    }

    #[test]
    fn a_limited_client_gets_its_rate_in_spite_of_jitter() {
        for (limit, camera, expected) in [(10, 30, 100), (30, 30, 300), (15, 30, 150), (20, 30, 200), (60, 30, 300)] {
            let mut client = client(limit);
            let mut turns = 0u32;
            for frame in 0..camera * 10 {
                let jitter = (frame * 7_919) % 4_000_000;
                turns += u32::from(client.take_turn(5_000_000_000 + frame * 1_000_000_000 / camera + jitter));
            }
            assert!(turns.abs_diff(expected) <= 2, "{limit} of {camera}: {turns} in 10 s");
        }
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let mut client = client(10);
        assert!(client.take_turn(1_000_000_000));
        assert!(client.take_turn(9_000_000_000));
        assert!(!client.take_turn(9_010_000_000));
    }
}
