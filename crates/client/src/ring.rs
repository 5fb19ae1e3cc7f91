//! Reading a ring: open it from the two descriptors that `Attach` returned, wait for a frame, take the newest.
//!
//! A [`Ring`] belongs to one thread at a time; nothing here spawns one. The memory is the writer's, so everything read
//! from it is taken as possibly hostile: the header is copied and checked once ([`RingLayout::parse`]), the seal against
//! shortening is required (else a read could raise SIGBUS), and pixels are copied by loads that may race.
//!
//! A frame is never returned torn. The copy is checked against the slot's lock ([`portraitd_protocol::sequence_lock`]); when the writer came
//! round meanwhile, the copy is thrown away, counted in [`Ring::torn`], and the newest frame is tried instead.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::SealFlags;

use crate::memory::ReadOnlyMemory;
use portraitd_protocol::layout::{
    HEADER_BYTES, LayoutError, MAX_PEOPLE, Person, RingLayout, SLOT_HEADER_BYTES, SlotFlags, header, slot,
};
use portraitd_protocol::sequence_lock::{held, holds, newest, slot_of};

/// How often a torn copy is tried again before the reader goes back to waiting. A reader that is torn this often is too
/// slow for the ring, and the next wake will bring a newer frame anyway.
const ATTEMPTS: u32 = 4;

/// Why a ring cannot be opened or waited for.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The memory could be shortened under us.
    #[error("the ring's memory is not sealed against shrinking (seals: {seals:#x})")]
    NotSealed {
        /// The seals it has; 0 where it can have none.
        seals: u32,
    },
    /// Its header cannot be.
    #[error("the ring's header: {0}")]
    Layout(#[from] LayoutError),
    /// A system call failed.
    #[error("{call}: {error}")]
    System {
        /// The call, by its name in the manual.
        call: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

fn system(call: &'static str) -> impl FnOnce(rustix::io::Errno) -> RingError {
    move |errno| RingError::System { call, error: errno.into() }
}

/// What a wait ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A frame newer than the last one read is there.
    Frame,
    /// No frame in time.
    Timeout,
    /// No more frames will come: the service closed this ring (attach again), or has gone.
    Closed,
}

/// Everything that a slot says about its frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FrameInfo {
    /// Counts the ring's frames from 1.
    pub index: u64,
    /// The camera's number of the frame.
    pub sequence: u64,
    /// When it was taken, `CLOCK_MONOTONIC` nanoseconds.
    pub capture_ns: u64,
    /// When it was published, `CLOCK_MONOTONIC` nanoseconds.
    pub publish_ns: u64,
    /// `sequence` of the frame that the mask was made from.
    pub mask_sequence: u64,
    /// How much older than this frame that frame is, nanoseconds.
    pub mask_age_ns: u64,
    /// x, y, width, height of the part of the source that is shown, in source pixels.
    pub crop: [f32; 4],
    /// What a reader must know about the frame and its mask.
    pub flags: SlotFlags,
    people: [Person; MAX_PEOPLE],
    people_count: usize,
}

impl FrameInfo {
    /// The people seen, sixteen at most.
    pub fn people(&self) -> &[Person] {
        &self.people[..self.people_count]
    }

    /// Whether the mask numbers mean something.
    pub const fn mask_valid(&self) -> bool {
        self.flags.contains(SlotFlags::MASK_VALID)
    }

    fn parse(index: u64, bytes: &[u8; SLOT_HEADER_BYTES]) -> Self {
        let u32_at = |offset: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(&bytes[offset..offset + 4]);
            u32::from_le_bytes(word)
        };
        let u64_at = |offset: usize| u64::from(u32_at(offset)) | u64::from(u32_at(offset + 4)) << 32;
        let f32_at = |offset: usize| f32::from_bits(u32_at(offset));
        let rectangle_at = |offset: usize| std::array::from_fn(|i| f32_at(offset + 4 * i));
        let people_count = portraitd_protocol::layout::to_usize(u32_at(slot::PEOPLE)).min(MAX_PEOPLE);
        let people = std::array::from_fn(|i| {
            let start = slot::PERSON + i * slot::PERSON_BYTES;
            if i < people_count {
                Person { id: u32_at(start), rectangle: rectangle_at(start + 4), confidence: f32_at(start + 20) }
            } else {
                Person::default()
            }
        });
        Self {
            index,
            sequence: u64_at(slot::SEQUENCE),
            capture_ns: u64_at(slot::CAPTURE_NS),
            publish_ns: u64_at(slot::PUBLISH_NS),
            mask_sequence: u64_at(slot::MASK_SEQUENCE),
            mask_age_ns: u64_at(slot::MASK_AGE_NS),
            crop: rectangle_at(slot::CROP),
            flags: SlotFlags::from_bits_retain(u32_at(slot::FLAGS)),
            people,
            people_count,
        }
    }
}

/// A frame copied out of a ring. Use one again and again: its memory is kept.
#[derive(Clone, Debug, Default)]
pub struct FrameCopy {
    info: FrameInfo,
    layout: Option<RingLayout>,
    /// The planes as they lie in the slot, without the slot's header.
    data: Vec<u8>,
}

impl FrameCopy {
    /// What the slot said about it.
    pub const fn info(&self) -> &FrameInfo {
        &self.info
    }

    /// The shape of the ring it came from; `None` before the first frame.
    pub const fn layout(&self) -> Option<&RingLayout> {
        self.layout.as_ref()
    }

    /// Plane `index`: its bytes and its stride in bytes. Empty where there is none.
    pub fn plane(&self, index: usize) -> (&[u8], usize) {
        let plane = self.layout.as_ref().and_then(|layout| layout.planes().get(index));
        plane.map_or((&[], 0), |plane| {
            let start = plane.offset - SLOT_HEADER_BYTES;
            (&self.data[start..start + plane.stride * plane.rows], plane.stride)
        })
    }

    /// The rows of plane `index`, without padding.
    pub fn rows(&self, index: usize) -> impl Iterator<Item = &[u8]> {
        let row_bytes =
            self.layout.as_ref().and_then(|layout| layout.planes().get(index)).map_or(0, |plane| plane.row_bytes);
        let (data, stride) = self.plane(index);
        data.chunks_exact(stride.max(1)).map(move |row| &row[..row_bytes])
    }
}

/// A frame that still lies in the ring, for a reader that needs a part of it. What it yields may be torn until
/// [`Ring::read`] has looked at the lock again.
#[derive(Debug)]
pub struct SlotView<'a> {
    memory: &'a ReadOnlyMemory,
    layout: &'a RingLayout,
    start: usize,
    info: FrameInfo,
}

impl SlotView<'_> {
    /// What the slot says about the frame.
    pub const fn info(&self) -> &FrameInfo {
        &self.info
    }

    /// The shape of the ring.
    pub const fn layout(&self) -> &RingLayout {
        self.layout
    }

    /// Copies the start of row `y` of plane `plane` into `out`; returns how many bytes, which is less than `out.len()`
    /// where the row is shorter, and 0 where there is no such row.
    pub fn copy_row(&self, plane: usize, y: usize, out: &mut [u8]) -> usize {
        let Some(plane) = self.layout.planes().get(plane).filter(|plane| y < plane.rows) else {
            return 0;
        };
        let bytes = plane.row_bytes.min(out.len());
        self.memory.copy_to(self.start + plane.offset + y * plane.stride, &mut out[..bytes]);
        bytes
    }
}

/// An attached ring.
#[derive(Debug)]
pub struct Ring {
    memory: ReadOnlyMemory,
    event: OwnedFd,
    layout: RingLayout,
    last: u64,
    torn: u64,
    skipped: u64,
}

impl Ring {
    /// Opens the ring of `memory`, whose frames `event` announces: the two descriptors that `Attach` returns.
    ///
    /// # Errors
    /// [`RingError::NotSealed`] for memory that is not sealed against shrinking, [`RingError::Layout`] for a header that
    /// cannot be, [`RingError::System`] where the system refuses.
    #[expect(clippy::needless_pass_by_value, reason = "the mapping is what keeps the memory; the descriptor goes here")]
    pub fn open(memory: OwnedFd, event: OwnedFd) -> Result<Self, RingError> {
        // A descriptor that is no memfd gives EINVAL here.
        let seals = rustix::fs::fcntl_get_seals(&memory).unwrap_or(SealFlags::empty());
        if !seals.contains(SealFlags::SHRINK) {
            return Err(RingError::NotSealed { seals: seals.bits() });
        }
        let size = u64::try_from(rustix::fs::fstat(&memory).map_err(system("fstat"))?.st_size).unwrap_or(0);
        if size < HEADER_BYTES as u64 {
            let (needed, available) = (HEADER_BYTES as u64, size);
            return Err(LayoutError::Short { what: "the header", needed, available }.into());
        }
        let mut bytes = Box::new([0; HEADER_BYTES]);
        ReadOnlyMemory::map(&memory, HEADER_BYTES).map_err(system("mmap"))?.copy_to(0, bytes.as_mut_slice());
        let layout = RingLayout::parse(&bytes, size)?;
        let memory = ReadOnlyMemory::map(&memory, layout.total_bytes()).map_err(system("mmap"))?;
        Ok(Self { memory, event, layout, last: 0, torn: 0, skipped: 0 })
    }

    /// Its shape.
    pub const fn layout(&self) -> &RingLayout {
        &self.layout
    }

    /// Counts the rings of a stream; a new one after every change of size or format.
    pub const fn generation(&self) -> u32 {
        self.layout.generation
    }

    /// Whether the writer has said that no more frames will come. [`Ring::wait`] also notices a writer that has died.
    pub fn closed(&self) -> bool {
        self.memory.load_u32(header::CLOSED) != 0
    }

    /// How many copies were found torn, thrown away and tried again.
    pub const fn torn(&self) -> u64 {
        self.torn
    }

    /// How many frames were published and not read, because a newer one was there already.
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Waits until a frame is announced that is newer than the last one read; without `timeout`, for ever.
    ///
    /// # Errors
    /// [`RingError::System`] where polling or reading the pipe fails.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Wait, RingError> {
        // A timeout too long to be added to a clock is none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            // One that is too long for the system call is waited for in pieces.
            let left = left.map(|left| left.min(Duration::from_secs(86_400)));
            let timespec = left.map(|left| Timespec::try_from(left).expect("a day at most"));
            let mut fds = [PollFd::new(&self.event, PollFlags::IN)];
            match poll(&mut fds, timespec.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(system("poll")(errno)),
            }
            let events = fds[0].revents();
            if events.contains(PollFlags::IN) {
                self.drain()?;
            }
            // Looked at after the drain: the writer publishes first and writes the byte afterwards, so a frame whose
            // byte was drained is seen here, and one that is not seen here has its byte still to come.
            if events.contains(PollFlags::IN) && newest(self.memory.word(header::LATEST)) > self.last {
                return Ok(Wait::Frame);
            }
            if self.closed() || (events.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)) {
                return Ok(Wait::Closed);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(Wait::Timeout);
            }
        }
    }

    /// Takes the waiting bytes out of the pipe. Done by [`Ring::wait`]; for callers with an event loop of their own,
    /// who poll [`Ring::as_fd`], drain, and then read.
    ///
    /// Call it only when the descriptor is readable: it may block otherwise.
    ///
    /// # Errors
    /// [`RingError::System`] where reading the pipe fails.
    pub fn drain(&mut self) -> Result<(), RingError> {
        let mut bytes = [0; 4096];
        match rustix::io::read(&self.event, &mut bytes) {
            Ok(_) | Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(()),
            Err(errno) => Err(system("read")(errno)),
        }
    }

    /// Copies the newest frame to `out`, if it is newer than the last one read; returns whether it did. `out` is
    /// meaningful only then.
    pub fn latest(&mut self, out: &mut FrameCopy) -> bool {
        let planes = self.layout.planes();
        let end = planes.iter().map(|plane| plane.offset + plane.stride * plane.rows).max().unwrap_or(0);
        out.data.resize(end.saturating_sub(SLOT_HEADER_BYTES), 0);
        out.layout = Some(self.layout);
        let data = &mut out.data;
        let info = self.read(|view| {
            view.memory.copy_to(view.start + SLOT_HEADER_BYTES, data);
            view.info
        });
        info.is_some_and(|info| {
            out.info = info;
            true
        })
    }

    /// Lets `take` read the newest frame in place, if it is newer than the last one read, and returns what `take`
    /// returned: only if the frame was whole all the while. `take` is called again with a newer frame where it was not,
    /// so it must not keep what it saw.
    pub fn read<T>(&mut self, mut take: impl FnMut(&SlotView<'_>) -> T) -> Option<T> {
        for _ in 0..ATTEMPTS {
            let index = newest(self.memory.word(header::LATEST));
            if index <= self.last {
                return None;
            }
            let slot = usize::try_from(slot_of(index, self.layout.slot_count.into())).expect("under the slot count");
            let start = self.layout.slot_offset(slot);
            let lock = self.memory.word(start + slot::LOCK);
            if holds(lock, index) {
                let mut bytes = [0; SLOT_HEADER_BYTES];
                self.memory.copy_to(start, &mut bytes);
                let info = FrameInfo::parse(index, &bytes);
                let taken = take(&SlotView { memory: &self.memory, layout: &self.layout, start, info });
                if held(lock, index) {
                    if self.last != 0 {
                        self.skipped += index - self.last - 1;
                    }
                    self.last = index;
                    return Some(taken);
                }
            }
            self.torn += 1;
        }
        None
    }
}

impl AsFd for Ring {
    /// The pipe that becomes readable with every frame, for event loops. It reports a hang-up when the writer has gone.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
