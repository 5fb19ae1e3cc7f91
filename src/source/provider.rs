//! Frames from another program (`docs/design/provider.md`): the place where a provider's offer
//! lies, and the source that reads it.
//!
//! The *main thread* puts an offer on the [`Desk`] of its camera and takes it away. The *capture
//! thread* opens the [`ProviderSource`], which tells the provider that somebody looks, and copies
//! its frames.
//!
//! # Protection against providers
//! Nothing here waits for a provider, and nothing of it is believed.
//!
//! - The memory is checked before it is mapped ([`check_memory`]): it cannot shrink, so reading it
//!   raises no SIGBUS, and it has no holes and cannot get any, so reading it takes no memory of the
//!   service.
//! - The header is read once. What is believed of it lies within the memory ([`Ring::open`]).
//! - A frame is copied once, and its slot's lock is compared before and after. A frame that was
//!   overwritten meanwhile counts as damaged.
//! - The service reads from no descriptor of a provider. Frames are announced by an eventfd in an
//!   edge-triggered epoll set, and the socket to the provider is shut for receiving: so nothing
//!   that a provider puts there has to be read or closed by the service.
//! - A provider that announces frames without end is looked at once in [`REST`], and its frames are
//!   taken at the configured rate.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portraitd_client::ring::{Ring, RingError, SlotView, Torn};
use portraitd_media::clock::monotonic_ns;
use portraitd_media::frame::MemoryPool;
use portraitd_media::{FormatRequest, Frame, FrameFormat, Source, SourceError, Stream, StreamCounters, StreamEvent};
use portraitd_protocol::layout::MAX_OFFERED_BYTES;
use portraitd_protocol::{RingLayout, SlotFlags, StreamKind};
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::fs::SealFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType, send, shutdown, socketpair};
use tokio::task::AbortHandle;

use crate::publish::RingShare;
use crate::publish::dbus::service::Client;

/// The name of such a source, and the value of `device` in the configuration.
pub const NAME: &str = "provider";
/// The number of frames that readers can hold at the same time.
pub const BUFFERS: usize = 6;
/// A provider that has announced a frame, but has none, is not looked at again before this time.
const REST: Duration = Duration::from_millis(1);
/// The rate of a camera whose configuration and whose provider say none, in frames a second.
const DEFAULT_RATE: f32 = 30.0;
/// The most frames a second that are taken where the configuration says no rate.
const MOST_FRAMES: f32 = 240.0;
/// The oldest capture time that is believed, in nanoseconds.
const MAX_AGE_NS: u64 = 5_000_000_000;
/// What memory of a provider must be sealed against.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE);
/// `f_type` of memfds without huge pages. Reading a hole of the others can raise SIGBUS.
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;

/// Why the memory of a provider is not taken.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// A seal is missing, or this is no memfd.
    #[error("the memory needs the seals F_SEAL_SHRINK, F_SEAL_GROW and F_SEAL_FUTURE_WRITE, and has {seals:#x}")]
    Seals {
        /// The seals that it has.
        seals: u32,
    },
    /// It is a memfd of huge pages.
    #[error("the memory is of huge pages, which are not taken")]
    HugePages,
    /// It is too large.
    #[error("the memory has {bytes} bytes, and a provider may have {MAX_OFFERED_BYTES}")]
    TooLarge {
        /// Its length.
        bytes: u64,
    },
    /// It has holes.
    #[error(
        "only {allocated} of the memory's {bytes} bytes are allocated: allocate it with fallocate before it is sealed"
    )]
    Holes {
        /// The bytes that are allocated.
        allocated: u64,
        /// Its length.
        bytes: u64,
    },
    /// The ring is of another stream.
    #[error("the ring is of the stream {0}, and a provider's is `source`")]
    Stream(StreamKind),
    /// The header is not valid, or the memory cannot be mapped.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A system call failed.
    #[error("{call}: {error}")]
    System {
        /// The name of the call.
        call: &'static str,
        /// Its error.
        error: std::io::Error,
    },
}

fn system(call: &'static str) -> impl FnOnce(Errno) -> OfferError {
    move |errno| OfferError::System { call, error: errno.into() }
}

/// Checks that memory can be mapped and read, whatever its provider does later.
///
/// # Errors
/// [`OfferError`].
fn check_memory(memory: &OwnedFd) -> Result<(), OfferError> {
    let seals = rustix::fs::fcntl_get_seals(memory).unwrap_or(SealFlags::empty());
    if !seals.contains(SEALS) {
        return Err(OfferError::Seals { seals: seals.bits() });
    }
    let kind = rustix::fs::fstatfs(memory).map_err(system("fstatfs"))?.f_type;
    if kind != TMPFS_MAGIC {
        return Err(OfferError::HugePages);
    }
    let status = rustix::fs::fstat(memory).map_err(system("fstat"))?;
    let bytes = u64::try_from(status.st_size).unwrap_or(u64::MAX);
    if bytes > MAX_OFFERED_BYTES as u64 {
        return Err(OfferError::TooLarge { bytes });
    }
    // Pages beyond the end would stand in for holes before it. This frees them: the size stays, so the
    // seals allow it, and because of the seals no others can come and no holes can be made.
    rustix::fs::ftruncate(memory, bytes).map_err(system("ftruncate"))?;
    let status = rustix::fs::fstat(memory).map_err(system("fstat"))?;
    let allocated = u64::try_from(status.st_blocks).unwrap_or(0).saturating_mul(512);
    if allocated < bytes {
        return Err(OfferError::Holes { allocated, bytes });
    }
    Ok(())
}

/// What a provider gets for its offer.
#[derive(Debug)]
pub struct ProviderFds {
    /// An eventfd, to which 1 is added for each frame.
    pub event: OwnedFd,
    /// A socket that brings a byte for each change of who looks.
    pub demand: OwnedFd,
}

/// The memory of a provider, checked, and the connection to it.
#[derive(Debug)]
pub struct OfferedFrames {
    ring: Ring,
    /// The other end of the provider's `demand`.
    demand: OwnedFd,
    /// An epoll set: the provider's announcements, and its end.
    events: OwnedFd,
    /// An epoll set: its end alone.
    end: OwnedFd,
}

/// The bits of an event of an epoll set.
const ANNOUNCED: u64 = 0;
const ENDED: u64 = 1;

impl OfferedFrames {
    /// Checks and maps the memory of a provider. Returns it with what the provider gets.
    ///
    /// # Errors
    /// [`OfferError`].
    pub fn open(memory: OwnedFd) -> Result<(Self, ProviderFds), OfferError> {
        check_memory(&memory)?;
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(system("eventfd"))?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(system("socketpair"))?;
        // Nothing can come from there: neither bytes nor descriptors.
        shutdown(&ours, Shutdown::Read).map_err(system("shutdown"))?;
        let set = || epoll::create(epoll::CreateFlags::CLOEXEC).map_err(system("epoll_create1"));
        let (events, end) = (set()?, set()?);
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&events, &event, epoll::EventData::new_u64(ANNOUNCED), edge).map_err(system("epoll_ctl"))?;
        for set in [&events, &end] {
            // No events are requested: the kernel always reports a hang-up.
            epoll::add(set, &ours, epoll::EventData::new_u64(ENDED), epoll::EventFlags::empty())
                .map_err(system("epoll_ctl"))?;
        }
        let kept = event.try_clone().map_err(|error| OfferError::System { call: "dup", error })?;
        let ring = Ring::open(memory, kept)?;
        match ring.layout().stream {
            StreamKind::Source => {}
            stream => return Err(OfferError::Stream(stream)),
        }
        Ok((Self { ring, demand: ours, events, end }, ProviderFds { event, demand: theirs }))
    }

    /// The layout of the provider's ring.
    pub const fn layout(&self) -> &RingLayout {
        self.ring.layout()
    }

    /// A descriptor that becomes readable when the provider has ended.
    ///
    /// # Errors
    /// If the process has no descriptors left.
    pub fn end(&self) -> std::io::Result<OwnedFd> {
        self.end.try_clone()
    }
}

/// What a copy of a provider's frame is made with.
#[derive(Clone, Copy, Debug)]
pub struct Copying {
    /// The number of the frame.
    pub sequence: u64,
    /// The present time, in nanoseconds.
    pub now_ns: u64,
    /// The capture time of the frame before, in nanoseconds.
    pub last_ns: u64,
}

impl OfferedFrames {
    /// Copies the newest frame to a buffer of `pool`, if it was not read before. The inner `None`:
    /// all buffers are lent. Tries it once.
    ///
    /// # Errors
    /// [`Torn`] if the provider writes to it meanwhile, or has not finished it.
    pub fn copy(
        &mut self,
        pool: &mut MemoryPool,
        Copying { sequence, now_ns, last_ns }: Copying,
    ) -> Result<Option<Option<Frame>>, Torn> {
        self.ring.read_once(|view| {
            let info = view.info();
            let fill = |bytes: &mut [u8]| {
                copy_planes(view, bytes);
                Ok::<_, std::convert::Infallible>(())
            };
            let Ok(frame) = pool.fill(sequence, capture_time(info.capture_ns, now_ns, last_ns), fill);
            frame.map(|mut frame| {
                frame.private = info.flags.contains(SlotFlags::PRIVATE);
                frame
            })
        })
    }

    /// Buffers for copies of the frames.
    pub fn pool(&self, frame_rate: f32) -> MemoryPool {
        let layout = self.layout();
        let mut strides_bytes = [0; 3];
        for (stride, plane) in strides_bytes.iter_mut().zip(layout.planes()) {
            *stride = plane.stride;
        }
        let (pixel_format, size, color) = (layout.format, layout.size, layout.color);
        MemoryPool::new(FrameFormat { pixel_format, size, strides_bytes, color, frame_rate }, BUFFERS)
    }
}

impl OfferedFrames {
    /// Tells the provider whether somebody looks. Returns whether it can still be told.
    fn tell(&self, looking: bool) -> bool {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        send(&self.demand, &[u8::from(looking)], flags).is_ok()
    }

    /// Waits until the provider announces a frame, `timeout` at most.
    fn wait(&self, timeout: Duration) -> Waited {
        let mut events = Vec::<epoll::Event>::with_capacity(2);
        let timeout = Timespec::try_from(timeout).ok();
        match epoll::wait(&self.events, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) if events.iter().any(|event| event.data.u64() == ENDED) => Waited::Ended,
            Ok(_) if events.is_empty() => Waited::Nothing,
            Ok(_) => Waited::Announced,
            Err(_) => Waited::Nothing,
        }
    }
}

/// The memory that the frames of a ring take in the service, in bytes.
pub fn buffer_bytes(layout: &RingLayout) -> usize {
    layout.planes().iter().map(|plane| plane.stride * plane.rows).sum::<usize>() * BUFFERS
}

/// An offer that lies on a desk.
pub struct Offer {
    /// Its number.
    pub id: u64,
    /// Who has made it.
    pub client: Client,
    /// How many frames a second there are, about, as the provider says.
    pub frame_rate: Option<u32>,
    /// The frames.
    pub frames: OfferedFrames,
    /// What its buffers are charged to.
    pub share: RingShare,
    /// The task that waits for its end.
    pub watch: AbortHandle,
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// The offer of a camera's provider. At most one lies here.
#[derive(Default)]
pub struct Desk {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last_id: u64,
    offer: Option<Arc<Mutex<Offer>>>,
    /// Of `offer`, so that nobody has to wait for its lock.
    owner: Option<(u64, Client)>,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        // The critical sections only assign.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the next offer.
    pub fn next_id(&self) -> u64 {
        let mut state = self.state();
        state.last_id += 1;
        state.last_id
    }

    /// Whether `client` may make an offer now: there is none, or it is its own.
    pub fn is_free_for(&self, client: &Client) -> bool {
        self.state().owner.as_ref().is_none_or(|(_, owner)| owner.name == client.name)
    }

    /// Puts an offer on the desk, in place of an earlier one of the same client. Gives it back if
    /// there is one of another client.
    ///
    /// # Errors
    /// The offer.
    pub fn put(&self, offer: Offer) -> Result<(), Box<Offer>> {
        let mut state = self.state();
        if state.owner.as_ref().is_some_and(|(_, owner)| owner.name != offer.client.name) {
            return Err(Box::new(offer));
        }
        state.owner = Some((offer.id, offer.client.clone()));
        let before = state.offer.replace(Arc::new(Mutex::new(offer)));
        drop(state);
        drop(before);
        Ok(())
    }

    /// Takes the offer away for which `gone` holds, by its number and client. Returns whether there
    /// was one.
    pub fn withdraw(&self, gone: impl FnOnce(u64, &Client) -> bool) -> bool {
        let mut state = self.state();
        if !state.owner.as_ref().is_some_and(|(id, client)| gone(*id, client)) {
            return false;
        }
        state.owner = None;
        let before = state.offer.take();
        drop(state);
        drop(before);
        true
    }

    /// Who provides the frames now.
    pub fn owner(&self) -> Option<Client> {
        self.state().owner.as_ref().map(|(_, client)| client.clone())
    }

    fn current(&self) -> Option<(u64, Arc<Mutex<Offer>>)> {
        let state = self.state();
        Some((state.owner.as_ref()?.0, Arc::clone(state.offer.as_ref()?)))
    }
}

/// A camera whose frames come from another program.
pub struct ProviderSource(Arc<Desk>);

impl ProviderSource {
    /// The source that reads the offer on `desk`.
    pub const fn new(desk: Arc<Desk>) -> Self {
        Self(desk)
    }
}

impl Source for ProviderSource {
    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn open(&self, wanted: &FormatRequest) -> Result<Box<dyn Stream>, SourceError> {
        let absent = || SourceError::NoProducer { source_name: self.name(), reason: "no program provides frames" };
        let (id, offer) = self.0.current().ok_or_else(absent)?;
        let (look, pool) = Look::begin(id, offer, wanted).ok_or_else(|| {
            self.0.withdraw(|current, _| current == id);
            absent()
        })?;
        Ok(Box::new(ProviderStream {
            desk: Arc::clone(&self.0),
            wanted: *wanted,
            look,
            pool,
            earliest: Instant::now(),
            sequence: 0,
            last_ns: 0,
            private: false,
            counters: StreamCounters::default(),
        }))
    }
}

/// An offer while somebody looks: the provider is told at the beginning and at the end.
struct Look {
    id: u64,
    offer: Arc<Mutex<Offer>>,
    /// The least time from one frame to the next.
    interval: Duration,
}

fn lock(offer: &Mutex<Offer>) -> MutexGuard<'_, Offer> {
    // After a panic the copy of a frame may be half done, which the next one overwrites.
    offer.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What ended a wait for a frame.
enum Waited {
    Announced,
    Nothing,
    Ended,
}

impl Look {
    /// Begins to look, and makes the buffers for the frames. `None` if the provider cannot be told.
    fn begin(id: u64, offer: Arc<Mutex<Offer>>, wanted: &FormatRequest) -> Option<(Self, MemoryPool)> {
        let mut guard = lock(&offer);
        // What was there before shows a moment at which nobody looked.
        guard.frames.ring.skip();
        #[expect(clippy::cast_precision_loss, reason = "240 at most")]
        let provided = guard.frame_rate.map(|rate| rate as f32);
        let frame_rate = provided.or(wanted.frame_rate).unwrap_or(DEFAULT_RATE);
        let pool = guard.frames.pool(frame_rate);
        let told = guard.frames.tell(true);
        drop(guard);
        let most = wanted.frame_rate.unwrap_or(MOST_FRAMES).clamp(1.0, MOST_FRAMES);
        // A tenth less, because no program keeps its rate exactly.
        told.then(|| (Self { id, offer, interval: Duration::from_secs_f32(0.9 / most) }, pool))
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        // A provider that has not read for so long that it cannot be told would go on with its
        // sensor: the end of the offer is what it sees instead. The shutdown is seen as a hang-up
        // here too.
        let offer = lock(&self.offer);
        if !offer.frames.tell(false) {
            let _ = shutdown(&offer.frames.demand, Shutdown::Both);
        }
    }
}

struct ProviderStream {
    desk: Arc<Desk>,
    wanted: FormatRequest,
    look: Look,
    pool: MemoryPool,
    /// The provider is not looked at before this time.
    earliest: Instant,
    sequence: u64,
    /// The capture time of the last frame.
    last_ns: u64,
    private: bool,
    counters: StreamCounters,
}

/// The capture time of a frame that is read at `now_ns`: the provider's, if that can be, and in any
/// case later than that of the frame before.
fn capture_time(provided_ns: u64, now_ns: u64, last_ns: u64) -> u64 {
    let is_possible = provided_ns <= now_ns && now_ns - provided_ns <= MAX_AGE_NS;
    let ns = if is_possible { provided_ns } else { now_ns };
    ns.max(last_ns.saturating_add(1))
}

impl ProviderStream {
    /// Copies the newest frame, if there is one that was not taken yet.
    fn take(&mut self) -> Option<StreamEvent> {
        let copying = Copying { sequence: self.sequence + 1, now_ns: monotonic_ns(), last_ns: self.last_ns };
        let copied = lock(&self.look.offer).frames.copy(&mut self.pool, copying);
        if matches!(copied, Ok(None)) {
            return None;
        }
        self.earliest = Instant::now() + self.look.interval;
        match copied {
            Ok(Some(Some(frame))) => {
                (self.sequence, self.last_ns, self.private) = (frame.sequence, frame.capture_ns, frame.private);
                return Some(StreamEvent::Frame(frame));
            }
            Ok(_) => self.counters.starved += 1,
            Err(Torn) => self.counters.corrupt += 1,
        }
        None
    }

    fn gone(&self) -> SourceError {
        let id = self.look.id;
        self.desk.withdraw(|current, _| current == id);
        SourceError::Gone { source_name: NAME.to_owned() }
    }
}

/// Copies the planes of a slot to a buffer where they follow one another.
fn copy_planes(view: &SlotView<'_>, mut bytes: &mut [u8]) {
    for (index, plane) in view.layout().planes().iter().enumerate() {
        let (out, rest) = bytes.split_at_mut(plane.stride * plane.rows);
        view.copy_plane(index, out);
        bytes = rest;
    }
}

impl Stream for ProviderStream {
    fn format(&self) -> FrameFormat {
        self.pool.format()
    }

    fn next(&mut self, timeout: Duration) -> Result<StreamEvent, SourceError> {
        let deadline = Instant::now() + timeout;
        let mut announced = false;
        loop {
            let (id, offer) = self.desk.current().ok_or_else(|| self.gone())?;
            if id != self.look.id {
                (self.look, self.pool) = Look::begin(id, offer, &self.wanted).ok_or_else(|| self.gone())?;
                return Ok(StreamEvent::FormatChanged(self.format()));
            }
            let now = Instant::now();
            if self.earliest > now {
                std::thread::sleep((self.earliest - now).min(deadline.saturating_duration_since(now)));
            }
            let now = Instant::now();
            if self.earliest <= now {
                if let Some(event) = self.take() {
                    return Ok(event);
                }
                if std::mem::take(&mut announced) {
                    self.earliest = self.earliest.max(now + REST);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(StreamEvent::Nothing);
            }
            let waited = lock(&self.look.offer).frames.wait(left);
            match waited {
                Waited::Announced => announced = true,
                Waited::Nothing => return Ok(StreamEvent::Nothing),
                // A program that has made another offer has no need of this one any more.
                Waited::Ended if self.desk.current().is_some_and(|(id, _)| id != self.look.id) => {}
                Waited::Ended => return Err(self.gone()),
            }
        }
    }

    fn counters(&self) -> StreamCounters {
        self.counters
    }

    fn private(&self) -> bool {
        self.private
    }
}

#[cfg(test)]
mod tests;
