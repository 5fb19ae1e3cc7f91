//! Writing a ring (see `docs/design/ring.md`): pictures that other processes read from shared memory.
//!
//! A [`RingWriter`] belongs to one *render thread*. It borrows a slot, the thread draws into it, and publishing makes the
//! slot the newest and wakes the clients. The writer never waits for a reader: one that is too slow finds its copy torn
//! and takes a newer frame. Nothing is allocated once the ring is made. The *main thread* holds a [`RingClients`] handle
//! and adds and misses clients with it.
//!
//! # What clients can do to the memory
//! Clients get the very descriptor of the memfd, duplicated. It is mapped writable here *before* `F_SEAL_FUTURE_WRITE` is
//! set; from then on the kernel refuses every `write` to it, every new writable shared mapping, every `mprotect` that
//! would make a mapping writable, and punching holes, for all holders and also after opening it anew through `/proc`. So
//! a read-only descriptor would add nothing, and needs no `/proc`. `F_SEAL_SHRINK` and `F_SEAL_GROW` fix the size, which
//! keeps readers from SIGBUS, and `F_SEAL_SEAL` fixes the seals.

use portraitd_protocol::layout::{HEADER_BYTES, MAX_PEOPLE, PlaneLayout, SLOT_HEADER_BYTES, slot};
use portraitd_protocol::sequence_lock::{begin_write, finish_write, slot_of};
use portraitd_protocol::{Person, RingLayout, StreamKind};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;

use super::clients::{ClientFds, RingClients};
use super::error::PublishError;
use super::memory::{RingBody, map};
use portraitd_media::{Colorimetry, PictureMut, PixelFormat, PixelRect, PlaneMut, Size};

/// What a ring carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSpec {
    /// Which stream.
    pub stream: StreamKind,
    /// Counts the rings of a stream; clients compare it with what they were attached to.
    pub generation: u32,
    /// How pixels lie.
    pub format: PixelFormat,
    /// What luma and chroma mean; of no meaning for RGB and grey.
    pub color: Colorimetry,
    /// Size of the pictures, in pixels.
    pub size: Size,
    /// Slots, 4 at least.
    pub slots: u32,
}

impl RingSpec {
    /// The shape of the ring, which says how much memory it takes.
    ///
    /// # Errors
    /// [`PublishError::Layout`].
    pub fn layout(&self) -> Result<RingLayout, PublishError> {
        let color =
            if self.format.is_rgb() || self.format == PixelFormat::Grey { Colorimetry::default() } else { self.color };
        let size = (self.size.width, self.size.height);
        RingLayout::new(self.stream, self.generation, self.format, color, size, self.slots)
            .map_err(|error| PublishError::Layout { size: self.size, format: self.format, error })
    }
}

/// What a slot says about its frame, beside the pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SlotInfo<'a> {
    /// The camera's number of the frame.
    pub sequence: u64,
    /// When it was taken, `CLOCK_MONOTONIC` nanoseconds.
    pub capture_ns: u64,
    /// `sequence` of the frame that the mask was made from.
    pub mask_sequence: u64,
    /// How much older than this frame that frame is, nanoseconds.
    pub mask_age_ns: u64,
    /// The part of the source that is shown, in source pixels.
    pub crop: PixelRect,
    /// See [`portraitd_protocol::layout::flags`].
    pub flags: u32,
    /// The people, boxes in source pixels; those after the sixteenth are left out.
    pub people: &'a [Person],
}

/// The writer of one ring.
#[derive(Debug)]
pub struct RingWriter {
    body: RingBody,
    layout: RingLayout,
    format: PixelFormat,
    size: Size,
    /// The index of the newest frame.
    published: u64,
    clients: RingClients,
}

impl RingWriter {
    /// Makes a ring. All of its memory is taken now, so that a lack of memory shows here and not in the middle of a frame.
    ///
    /// # Errors
    /// [`PublishError::Layout`] for a size or slot count that cannot be; [`PublishError::System`] where the kernel has no
    /// memory or is older than 5.1 (it then lacks `F_SEAL_FUTURE_WRITE`).
    pub fn new(spec: &RingSpec) -> Result<Self, PublishError> {
        let layout = spec.layout()?;
        let memory = create_memfd(spec.stream).map_err(PublishError::call("memfd_create"))?;
        rustix::fs::fallocate(&memory, FallocateFlags::empty(), 0, layout.total_bytes() as u64)
            .map_err(PublishError::call("fallocate"))?;
        let (head, body) = map(&memory, &layout).map_err(PublishError::call("mmap"))?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&memory, seals).map_err(PublishError::call("fcntl(F_ADD_SEALS)"))?;
        let clients = RingClients::new(head, memory)?;
        Ok(Self { body, layout, format: spec.format, size: spec.size, published: 0, clients })
    }

    /// The ring's shape.
    pub const fn layout(&self) -> &RingLayout {
        &self.layout
    }

    /// Size of the pictures.
    pub const fn size(&self) -> Size {
        self.size
    }

    /// A handle on the clients, for the main thread.
    pub fn clients(&self) -> RingClients {
        self.clients.clone()
    }

    /// A new client; see [`RingClients::add_client`].
    ///
    /// # Errors
    /// As there.
    pub fn add_client(&self) -> Result<ClientFds, PublishError> {
        self.clients.add_client(None)
    }

    /// Borrows the slot of the next frame. It holds what was drawn `slots` frames ago. A slot writer that is dropped
    /// without [`SlotWriter::publish`] leaves the newest frame as it is; its slot is the next one again.
    pub fn begin(&mut self) -> SlotWriter<'_> {
        let index = self.published + 1;
        let slot = usize::try_from(slot_of(index, self.layout.slot_count.into())).expect("under the slot count");
        let (lock, bytes) = self.body.slot(slot);
        begin_write(lock, index);
        SlotWriter {
            index,
            lock,
            bytes,
            layout: &self.layout,
            format: self.format,
            size: self.size,
            published: &mut self.published,
            clients: &self.clients,
        }
    }

    /// Says that no more frames will come; see [`RingClients::close`]. Dropping the writer does it too.
    pub fn close(&self) {
        self.clients.close();
    }
}

impl Drop for RingWriter {
    fn drop(&mut self) {
        self.clients.close();
    }
}

/// `MFD_NOEXEC_SEAL` since Linux 6.3; older kernels refuse unknown flags.
fn create_memfd(stream: StreamKind) -> rustix::io::Result<OwnedFd> {
    let name = format!("portraitd-{stream}");
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create(&name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(&name, flags),
        result => result,
    }
}

/// The slot of the next frame, while it is being drawn.
#[derive(Debug)]
pub struct SlotWriter<'a> {
    index: u64,
    lock: &'a AtomicU64,
    /// All of the slot but for the lock.
    bytes: &'a mut [u8],
    layout: &'a RingLayout,
    format: PixelFormat,
    size: Size,
    published: &'a mut u64,
    clients: &'a RingClients,
}

const LOCK_BYTES: usize = size_of::<u64>();

impl SlotWriter<'_> {
    /// Counts the ring's frames from 1.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The planes: all rows with their padding, each plane beginning at a multiple of 64 bytes, as its stride is one.
    /// Empty ones where the format has fewer than three.
    pub fn planes(&mut self) -> [PlaneMut<'_>; 3] {
        let mut rest = &mut *self.bytes;
        let mut start = LOCK_BYTES;
        let mut planes = self.layout.planes().iter();
        std::array::from_fn(|_| {
            let Some(PlaneLayout { offset, stride, rows, .. }) = planes.next() else {
                return PlaneMut::default();
            };
            let taken = std::mem::take(&mut rest);
            let (plane, after) = taken[offset - start..].split_at_mut(stride * rows);
            rest = after;
            start = offset + stride * rows;
            PlaneMut { data: plane, stride_bytes: *stride }
        })
    }

    /// The slot as a picture to be drawn.
    pub fn picture(&mut self) -> PictureMut<'_> {
        let (format, size) = (self.format, self.size);
        PictureMut::new(format, size, self.planes()).expect("the layout was made for this format and size")
    }

    /// Makes the frame the newest, stamped with the time of now, and wakes the clients.
    pub fn publish(self, info: &SlotInfo<'_>) {
        self.publish_at(info, portraitd_media::clock::monotonic_ns());
    }

    /// As [`SlotWriter::publish`], at a given time (`CLOCK_MONOTONIC` nanoseconds).
    pub fn publish_at(self, info: &SlotInfo<'_>, now_ns: u64) {
        let mut put = |offset: usize, value: &[u8]| {
            self.bytes[offset - LOCK_BYTES..offset - LOCK_BYTES + value.len()].copy_from_slice(value);
        };
        put(slot::SEQUENCE, &info.sequence.to_le_bytes());
        put(slot::CAPTURE_NS, &info.capture_ns.to_le_bytes());
        put(slot::PUBLISH_NS, &now_ns.to_le_bytes());
        put(slot::MASK_SEQUENCE, &info.mask_sequence.to_le_bytes());
        put(slot::MASK_AGE_NS, &info.mask_age_ns.to_le_bytes());
        let PixelRect { x, y, width, height } = info.crop;
        for (place, value) in [x, y, width, height].into_iter().enumerate() {
            put(slot::CROP + 4 * place, &value.to_le_bytes());
        }
        put(slot::FLAGS, &info.flags.to_le_bytes());
        let people = &info.people[..info.people.len().min(MAX_PEOPLE)];
        put(slot::PEOPLE, &u32::try_from(people.len()).expect("16 at most").to_le_bytes());
        for (index, person) in people.iter().enumerate() {
            let start = slot::PERSON + index * slot::PERSON_BYTES;
            put(start, &person.id.to_le_bytes());
            for (place, value) in person.rectangle.into_iter().chain([person.confidence]).enumerate() {
                put(start + 4 + 4 * place, &value.to_le_bytes());
            }
        }
        finish_write(self.lock, self.clients.head().latest(), self.index);
        *self.published = self.index;
        self.clients.wake(now_ns);
    }
}

const _: () = assert!(HEADER_BYTES.is_multiple_of(64) && SLOT_HEADER_BYTES > LOCK_BYTES);
