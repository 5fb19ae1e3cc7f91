//! The clients of one ring: how they are woken, and how their departure is noticed.
//!
//! Each client has its own pipe, into which the service puts a byte when it has published a frame.
//! The write end does not block. A pipe has room for one byte, and a full one is skipped, because the
//! byte in it wakes the reader anyway. A client leaves by closing the read end; the kernel does this too when a process is
//! killed. The write end then reports `EPOLLERR`. All write ends are in one epoll set, whose
//! descriptor becomes readable as soon as a client has left, even while no frames are published.
//!
//! The *render thread* wakes clients (through the writer). The *main thread* adds and removes them.
//! Both hold the lock of the list during a few system calls that cannot block. Waking allocates
//! nothing.
//!
//! A write to a pipe without a reader raises SIGPIPE. Rust programs start with that signal ignored,
//! and the daemon does not change this. The write therefore fails with `EPIPE`, and the client is
//! marked as gone until the main thread removes it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use portraitd_protocol::layout::HEADER_BYTES;
use portraitd_protocol::sequence_lock::newest;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, tee};

use super::budget::RingShare;
use super::error::PublishError;
use super::memory::{RingBody, RingHead, watch_readable};
use super::shared_file::SharedFile;

/// Size of a client's pipe in bytes: one page, the least that the kernel allows.
const PIPE_BYTES: usize = 4096;

/// The most clients of one ring. A board has a few. A program that attaches without end must not
/// use up the descriptors that other clients need.
pub const MAX_CLIENTS: usize = 64;

/// What a client of a ring receives.
#[derive(Debug)]
pub struct ClientFds {
    /// Number of the client; it is used once per ring.
    pub id: u64,
    /// The ring's memory: a description of the client's own, for reading.
    pub memory: OwnedFd,
    /// The read end of the client's pipe.
    pub event: OwnedFd,
}

impl ClientFds {
    /// Waits until the ring has a frame or its pipe has ended. Reads nothing.
    ///
    /// # Errors
    /// If the runtime cannot watch the pipe.
    pub(crate) async fn readable(&self) -> std::io::Result<()> {
        watch_readable(self.event.try_clone()?)?.readable().await.map(drop)
    }
}

#[derive(Debug)]
struct Client {
    id: u64,
    event: OwnedFd,
    /// The shortest time between two wake-ups, in nanoseconds; 0 for a client that wants every
    /// frame.
    interval_ns: u64,
    /// The planned time of the next wake-up, in nanoseconds.
    due_ns: u64,
    gone: bool,
}

impl Client {
    /// Whether the client is to be woken for the frame of this time. The requested rate is kept on
    /// average, even if frames arrive irregularly.
    fn take_turn(&mut self, now_ns: u64) -> bool {
        if self.interval_ns == 0 {
            return true;
        }
        // A frame that arrives up to a quarter of an interval early counts as the one that is due.
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
    /// Held by the writer while it draws.
    body: Arc<Mutex<RingBody>>,
    file: SharedFile,
    /// What the ring's memory is charged to, until it is free.
    share: Mutex<Option<RingShare>>,
    /// The slots are to be zeroed as soon as no slot is being drawn.
    wipe_due: AtomicBool,
    /// Clients were attached when the ring was wiped, so the header is left.
    header_read: AtomicBool,
    /// The epoll set with the write ends of all clients.
    hangups: OwnedFd,
    closed: AtomicBool,
    list: Mutex<List>,
}

/// Handle on the clients of one ring. Clones refer to the same ring, and any thread may hold one.
#[derive(Clone, Debug)]
pub struct RingClients(Arc<Shared>);

impl RingClients {
    pub(super) fn new(
        head: RingHead,
        body: Arc<Mutex<RingBody>>,
        file: SharedFile,
        share: Option<RingShare>,
    ) -> Result<Self, PublishError> {
        let hangups = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(PublishError::call("epoll_create1"))?;
        let list = Mutex::new(List { clients: Vec::new(), next_id: 1 });
        Ok(Self(Arc::new(Shared {
            head,
            body,
            file,
            share: Mutex::new(share),
            wipe_due: AtomicBool::new(false),
            header_read: AtomicBool::new(false),
            hangups,
            closed: AtomicBool::new(false),
            list,
        })))
    }

    pub(super) fn head(&self) -> &RingHead {
        &self.0.head
    }

    fn list(&self) -> MutexGuard<'_, List> {
        // No critical section can panic in the middle of a change.
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a client and returns its descriptors, which the caller sends to the client and then
    /// closes. `interval` is the shortest time between two wake-ups; the client may still read the
    /// ring at any time. If the ring already has a frame, the pipe contains a byte.
    ///
    /// # Errors
    /// [`PublishError::Closed`] for a closed ring, [`PublishError::Full`] if it has
    /// [`MAX_CLIENTS`], and [`PublishError::System`] if the process has no descriptors left.
    pub fn add_client(&self, interval: Option<Duration>) -> Result<ClientFds, PublishError> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(PublishError::call("pipe2"))?;
        rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK).map_err(PublishError::call("fcntl(F_SETFL)"))?;
        // A smaller pipe only saves memory, so it does not matter if the kernel refuses.
        let _ = fcntl_setpipe_size(&writer, PIPE_BYTES);
        let memory = self.0.file.for_client()?;
        let interval_ns = interval.map_or(0, |interval| u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX));
        let mut list = self.list();
        // Checked under the lock: either `close` finds this client in the list, or this check finds
        // the ring closed.
        if self.0.closed.load(Ordering::Acquire) {
            return Err(PublishError::Closed);
        }
        if list.clients.len() >= MAX_CLIENTS {
            return Err(PublishError::Full(MAX_CLIENTS));
        }
        let id = list.next_id;
        // No events are requested: the kernel always reports errors.
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

    /// Removes a client, which ends its pipe. Returns whether the ring had it.
    pub fn remove_client(&self, id: u64) -> bool {
        let mut list = self.list();
        let Some(position) = list.clients.iter().position(|client| client.id == id) else {
            return false;
        };
        let client = list.clients.swap_remove(position);
        drop(list);
        self.dismiss(&client);
        true
    }

    /// Takes leave of a client that was removed from the list.
    fn dismiss(&self, client: &Client) {
        // Closing the last descriptor would remove it too, but a child process might hold another
        // one for a moment.
        let _ = epoll::delete(&self.0.hangups, &client.event);
        let mut end = [PollFd::new(&client.event, PollFlags::empty())];
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let left = poll(&mut end, Some(&none)).is_ok() && end[0].revents().contains(PollFlags::ERR);
        if !left {
            // The client keeps the pipe. Its unread bytes are a page of the service's.
            empty_pipe(&client.event);
            if let Some(share) = &*self.share() {
                share.leave_residue();
            }
        }
    }

    fn share(&self) -> MutexGuard<'_, Option<RingShare>> {
        self.0.share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the clients that have left, and returns their number.
    pub fn reap(&self) -> usize {
        self.reap_each(|_| {})
    }

    /// As [`RingClients::reap`], and calls `left` with the id of each.
    pub fn reap_each(&self, mut left: impl FnMut(u64)) -> usize {
        let mut count = 0;
        loop {
            let mut events = Vec::<epoll::Event>::with_capacity(16);
            let none = Timespec { tv_sec: 0, tv_nsec: 0 };
            match epoll::wait(&self.0.hangups, rustix::buffer::spare_capacity(&mut events), Some(&none)) {
                Ok(_) if events.is_empty() => return count,
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                // The descriptor is our own epoll set, for which no other error is possible.
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

    /// The number of clients, including those that have left and were not removed yet.
    pub fn client_count(&self) -> usize {
        self.list().clients.len()
    }

    /// A descriptor that becomes readable when a client has left, until [`RingClients::reap`] is
    /// called.
    pub fn hangup_fd(&self) -> BorrowedFd<'_> {
        self.0.hangups.as_fd()
    }

    /// Removes clients as they leave, and calls `left` with the id of each. This is the body of a
    /// task of the main thread. It ends only when the task is dropped or on an error.
    ///
    /// # Errors
    /// If the runtime cannot watch the descriptor.
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

    /// Marks the ring as closed and wakes every client, so that it attaches again. The pipes end
    /// when the last handle on the ring is dropped. Dropping the writer calls this.
    pub fn close(&self) {
        let mut list = self.list();
        self.0.closed.store(true, Ordering::Release);
        self.0.head.close();
        list.clients.iter_mut().for_each(wake_one);
    }

    /// Closes the ring and zeroes its slots, at once or, if a slot is being drawn, as soon as it is
    /// finished. Nothing is published into the ring after that, and what was charged for it is
    /// given back as soon as no client holds it. All clients are removed, which ends their pipes.
    pub fn wipe(&self) {
        self.close();
        let clients = std::mem::take(&mut self.list().clients);
        clients.iter().for_each(|client| self.dismiss(client));
        // Clients that were attached read there that the ring is closed.
        self.0.header_read.fetch_or(!clients.is_empty(), Ordering::AcqRel);
        self.0.wipe_due.store(true, Ordering::Release);
        self.wipe_if_due();
    }

    /// Zeroes the slots if [`RingClients::wipe`] has asked for it and no slot is being drawn.
    /// Whoever has drawn a slot calls this after releasing it.
    pub(super) fn wipe_if_due(&self) {
        // Either the drawing thread sees what `wipe` has stored, or `wipe` sees the released slot.
        fence(Ordering::SeqCst);
        if !self.0.wipe_due.load(Ordering::Acquire) {
            return;
        }
        let mut body = match self.0.body.try_lock() {
            Ok(body) => body,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let share = self.share().take();
        let from = if self.0.header_read.load(Ordering::Acquire) { HEADER_BYTES } else { 0 };
        if self.0.file.free(from) {
            return;
        }
        body.fill_zero();
        drop(body);
        self.0.wipe_due.store(false, Ordering::Release);
        // Without a second handle the charge is given back although clients may hold the memory.
        if let Some(share) = share
            && let Ok(file) = self.0.file.try_clone()
        {
            share.budget().clone().keep(file, share);
        }
    }

    /// Wakes the clients that are due. The writer calls this after it has published a frame at
    /// `now_ns`.
    pub(super) fn wake(&self, now_ns: u64) {
        for client in &mut self.list().clients {
            if !client.gone && client.take_turn(now_ns) {
                wake_one(client);
            }
        }
    }
}

/// Reads what is in a pipe, given its write end.
fn empty_pipe(writer: &OwnedFd) {
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if let Ok(reader) = rustix::fs::open(path, flags, Mode::empty()) {
        let _ = rustix::io::read(&reader, &mut [0; PIPE_BYTES]);
    }
}

/// A pipe with one byte, which is never read.
static WAKE_UP: LazyLock<Option<(OwnedFd, OwnedFd)>> = LazyLock::new(|| {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
    (rustix::io::write(&writer, &[1]) == Ok(1)).then_some((reader, writer))
});

fn wake_one(client: &mut Client) {
    // The byte is shared. If each were written, each would take a page, which the client could keep
    // in a pipe or socket of its own, at the service's cost.
    let woken = match &*WAKE_UP {
        Some((reader, _)) => tee(reader, &client.event, 1, SpliceFlags::NONBLOCK),
        None => rustix::io::write(&client.event, &[1]),
    };
    // EAGAIN means that the pipe is full: its byte wakes the client anyway.
    if woken == Err(Errno::PIPE) {
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
