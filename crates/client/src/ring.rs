//! Reads a ring: opens it from the two descriptors that `Attach` returned, waits for frames, and
//! copies the newest.
//!
//! A [`Ring`] is used by one thread at a time, and this module starts none. The memory belongs to
//! the writer, so nothing in it is trusted: the header is copied and validated once
//! ([`RingLayout::parse`]), the seal against shrinking is required (without it a read could raise
//! SIGBUS), and pixels are copied by loads that may race with the writer.
//!
//! A torn frame is never returned. Each copy is checked with the slot's lock
//! ([`portraitd_protocol::sequence_lock`]). If the writer has overtaken the reader, the copy is
//! discarded and counted in [`Ring::torn`], and the reader tries the newest frame.

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

/// The number of copies that are attempted before the reader returns to waiting. A reader that is
/// overtaken this often is too slow for the ring, and the next wake-up announces a newer frame
/// anyway.
const ATTEMPTS: u32 = 4;

/// An error of opening a ring or of waiting for a frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The memory is not sealed against shrinking, so that reading it could raise SIGBUS.
    #[error("the ring's memory is not sealed against shrinking (seals: {seals:#x})")]
    NotSealed {
        /// The seals of the memory; 0 if it is not a memfd.
        seals: u32,
    },
    /// The header of the ring is not valid.
    #[error("the ring's header is not valid: {0}")]
    Layout(#[from] LayoutError),
    /// A system call failed.
    #[error("{call} failed on the ring: {error}")]
    System {
        /// The name of the system call.
        call: &'static str,
        /// The error that it returned.
        error: io::Error,
    },
}

fn system(call: &'static str) -> impl FnOnce(rustix::io::Errno) -> RingError {
    move |errno| RingError::System { call, error: errno.into() }
}

/// The result of waiting for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// There is a frame that is newer than the last one read.
    Frame,
    /// No frame was published within the timeout.
    Timeout,
    /// No more frames will come: the service has closed this ring or has ended. Attach again.
    Closed,
}

/// The description of a frame, from the header of its slot.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FrameInfo {
    /// Number of the frame within the ring, counted from 1.
    pub index: u64,
    /// The camera's sequence number of the frame. Gaps show frames that were lost.
    pub sequence: u64,
    /// Capture timestamp, `CLOCK_MONOTONIC` nanoseconds.
    pub capture_ns: u64,
    /// Time of publication, `CLOCK_MONOTONIC` nanoseconds.
    pub publish_ns: u64,
    /// Sequence number of the frame that the mask was made from.
    pub mask_sequence: u64,
    /// How much older that frame is than this one, in nanoseconds.
    pub mask_age_ns: u64,
    /// x, y, width, height of the part of the source that the picture shows, in source pixels.
    pub crop: [f32; 4],
    /// The state of the mask and the camera, including bits that this version does not know.
    pub flags: SlotFlags,
    people: [Person; MAX_PEOPLE],
    people_count: usize,
}

impl FrameInfo {
    /// The people in the frame, at most [`MAX_PEOPLE`]. They are valid if [`FrameInfo::mask_valid`]
    /// is `true`.
    pub fn people(&self) -> &[Person] {
        &self.people[..self.people_count]
    }

    /// Whether the frame has a mask: [`SlotFlags::MASK_VALID`] is set.
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

/// A copy of a frame. Reuse it for every frame: its memory is allocated once per ring.
#[derive(Clone, Debug, Default)]
pub struct FrameCopy {
    info: FrameInfo,
    layout: Option<RingLayout>,
    /// The planes with the offsets of the slot, minus the size of the slot's header.
    data: Vec<u8>,
}

impl FrameCopy {
    /// The description of the frame; all zero before the first frame.
    pub const fn info(&self) -> &FrameInfo {
        &self.info
    }

    /// The layout of the ring that the frame came from; `None` before the first frame.
    pub const fn layout(&self) -> Option<&RingLayout> {
        self.layout.as_ref()
    }

    /// The bytes of plane `index`, and its stride in bytes. Empty and 0 if the format has no such
    /// plane.
    pub fn plane(&self, index: usize) -> (&[u8], usize) {
        let plane = self.layout.as_ref().and_then(|layout| layout.planes().get(index));
        plane.map_or((&[], 0), |plane| {
            let start = plane.offset - SLOT_HEADER_BYTES;
            (&self.data[start..start + plane.stride * plane.rows], plane.stride)
        })
    }

    /// The rows of plane `index`, without padding. Empty if the format has no such plane.
    pub fn rows(&self, index: usize) -> impl Iterator<Item = &[u8]> {
        let row_bytes =
            self.layout.as_ref().and_then(|layout| layout.planes().get(index)).map_or(0, |plane| plane.row_bytes);
        let (data, stride) = self.plane(index);
        data.chunks_exact(stride.max(1)).map(move |row| &row[..row_bytes])
    }
}

/// A frame in the ring, for a reader that needs only a part of it. Its contents may be torn until
/// [`Ring::read`] has checked the lock again.
#[derive(Debug)]
pub struct SlotView<'a> {
    memory: &'a ReadOnlyMemory,
    layout: &'a RingLayout,
    start: usize,
    info: FrameInfo,
}

impl SlotView<'_> {
    /// The description of the frame.
    pub const fn info(&self) -> &FrameInfo {
        &self.info
    }

    /// The layout of the ring.
    pub const fn layout(&self) -> &RingLayout {
        self.layout
    }

    /// Copies plane `index` to `out` as it lies in the slot, with the padding of its rows. Copies less
    /// if `out` is shorter, and nothing if there is no such plane.
    pub fn copy_plane(&self, index: usize, out: &mut [u8]) {
        if let Some(plane) = self.layout.planes().get(index) {
            let bytes = (plane.stride * plane.rows).min(out.len());
            self.memory.copy_to(self.start + plane.offset, &mut out[..bytes]);
        }
    }

    /// Copies the beginning of row `y` of plane `plane` to `out` and returns the number of bytes
    /// copied. The number is less than `out.len()` if the row is shorter, and 0 if there is no such
    /// row.
    pub fn copy_row(&self, plane: usize, y: usize, out: &mut [u8]) -> usize {
        let Some(plane) = self.layout.planes().get(plane).filter(|plane| y < plane.rows) else {
            return 0;
        };
        let bytes = plane.row_bytes.min(out.len());
        self.memory.copy_to(self.start + plane.offset + y * plane.stride, &mut out[..bytes]);
        bytes
    }
}

/// A frame was overwritten while it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the frame was overwritten while it was read")]
pub struct Torn;

/// An open ring. Dropping it closes the pipe, which ends the attachment.
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
    /// Opens a ring from the two descriptors that `Attach` returned: its memory, and the pipe that
    /// announces its frames.
    ///
    /// # Errors
    /// [`RingError::NotSealed`] if the memory is not sealed against shrinking,
    /// [`RingError::Layout`] if the header is not valid, and [`RingError::System`] if a system call
    /// fails.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "takes ownership: the mapping keeps the memory, and the descriptor is closed here"
    )]
    pub fn open(memory: OwnedFd, event: OwnedFd) -> Result<Self, RingError> {
        // The call returns EINVAL for a descriptor that is not a memfd.
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

    /// The layout of the ring.
    pub const fn layout(&self) -> &RingLayout {
        &self.layout
    }

    /// The generation of the ring, which increases when the source's size or format changes.
    pub const fn generation(&self) -> u32 {
        self.layout.generation
    }

    /// Whether the writer has closed the ring. [`Ring::wait`] also notices a writer that has died.
    pub fn closed(&self) -> bool {
        self.memory.load_u32(header::CLOSED) != 0
    }

    /// The number of copies that were torn and discarded.
    pub const fn torn(&self) -> u64 {
        self.torn
    }

    /// The number of frames that were published and not read, because a newer one was already
    /// there.
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Waits until there is a frame that is newer than the last one read. Without `timeout` it
    /// waits without limit.
    ///
    /// # Errors
    /// [`RingError::System`] if polling or reading the pipe fails.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Wait, RingError> {
        // A timeout that exceeds the range of the clock counts as none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            // A wait longer than a day is divided, because the system call has a limited range.
            let left = left.map(|left| left.min(Duration::from_secs(86_400)));
            let timespec = left.map(|left| Timespec::try_from(left).expect("a day at most"));
            let mut fds = [PollFd::new(&self.event, PollFlags::IN)];
            match poll(&mut fds, timespec.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(system("poll")(errno)),
            }
            let events = fds[0].revents();
            // A pipe whose writer has gone is readable, and a read returns no byte.
            let at_end = events.contains(PollFlags::IN) && self.read_event()? == Some(0);
            // Loaded after the drain. The writer publishes a frame before it writes the byte, so a
            // frame whose byte was drained is visible here, and the byte of a frame that is not
            // visible here is still to come.
            if events.contains(PollFlags::IN) && newest(self.memory.word(header::LATEST)) > self.last {
                return Ok(Wait::Frame);
            }
            if at_end || self.closed() || (events.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)) {
                return Ok(Wait::Closed);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(Wait::Timeout);
            }
        }
    }

    /// Removes the waiting bytes from the pipe. [`Ring::wait`] does this. It is public for programs
    /// with an event loop of their own, which poll [`Ring::as_fd`], drain, and then read.
    ///
    /// Call it only while the descriptor is readable; otherwise it may block.
    ///
    /// # Errors
    /// [`RingError::System`] if reading the pipe fails.
    pub fn drain(&mut self) -> Result<(), RingError> {
        self.read_event().map(drop)
    }

    /// Reads waiting bytes and returns their number, 0 at the end; `None` if there is nothing yet.
    fn read_event(&mut self) -> Result<Option<usize>, RingError> {
        let mut bytes = [0; 4096];
        match rustix::io::read(&self.event, &mut bytes) {
            Ok(count) => Ok(Some(count)),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(None),
            Err(errno) => Err(system("read")(errno)),
        }
    }

    /// Copies the newest frame to `out` and returns `true`, if it is newer than the last one read.
    /// Otherwise the contents of `out` are unspecified.
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

    /// Calls `take` with the newest frame, in place, and returns its result, if the frame is newer
    /// than the last one read and was not overwritten meanwhile. If it was overwritten, the result
    /// is discarded and `take` is called again with a newer frame, so `take` must not keep what it
    /// has read.
    pub fn read<T>(&mut self, mut take: impl FnMut(&SlotView<'_>) -> T) -> Option<T> {
        for _ in 0..ATTEMPTS {
            if let Ok(taken) = self.read_once(&mut take) {
                return taken;
            }
        }
        None
    }

    /// As [`Ring::read`], but tries it once, for a reader that does not trust the writer: `None` if no
    /// frame is newer than the last one read.
    ///
    /// # Errors
    /// [`Torn`] if the frame was overwritten meanwhile, or its slot holds another one.
    pub fn read_once<T>(&mut self, take: impl FnOnce(&SlotView<'_>) -> T) -> Result<Option<T>, Torn> {
        let index = newest(self.memory.word(header::LATEST));
        if index <= self.last {
            return Ok(None);
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
                    self.skipped = self.skipped.saturating_add(index - self.last - 1);
                }
                self.last = index;
                return Ok(Some(taken));
            }
        }
        self.torn += 1;
        Err(Torn)
    }

    /// Leaves the frames out that are there already: the next one that is read is published later.
    pub fn skip(&mut self) {
        self.last = newest(self.memory.word(header::LATEST));
    }
}

impl AsFd for Ring {
    /// The pipe, for event loops. It becomes readable with every frame, and reports a hang-up when
    /// the writer has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
