//! Writing a ring (see `docs/design/ring.md`): pictures that other processes read from shared
//! memory.
//!
//! A [`RingWriter`] belongs to one *render thread*. It borrows a slot, and the thread draws into
//! it. Publishing makes the slot the newest one and wakes the clients. The writer never waits for a
//! reader: a reader that is too slow finds its copy torn and reads a newer frame. Once the ring
//! exists, nothing is allocated. The *main thread* adds and removes clients through a
//! [`RingClients`] handle.
//!
//! # Protection against clients
//! The memory is a [`SharedFile`](super::shared_file): no client can write to it or change its
//! size. The service maps it writable before it is sealed.
//!
//! # The end of a ring
//! [`RingClients::wipe`] closes the ring and zeroes its slots. A slot that is being drawn at that
//! moment is zeroed as soon as it is finished, and is not published. After that no slot can be
//! begun: whoever still holds the memory sees nothing new.

use portraitd_protocol::layout::{HEADER_BYTES, MAX_PEOPLE, PlaneLayout, SLOT_HEADER_BYTES, slot};
use portraitd_protocol::sequence_lock::{begin_write, finish_write, slot_of};
use portraitd_protocol::{Person, RingLayout, SlotFlags, StreamKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::budget::RingShare;
use super::clients::{ClientFds, RingClients};
use super::error::PublishError;
use super::memory::{RingBody, map};
use super::shared_file::{Contents, SharedFile};
use portraitd_media::{Colorimetry, PictureMut, PixelFormat, PixelRect, PlaneMut, Size};

/// Stream, format and size of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSpec {
    /// The stream.
    pub stream: StreamKind,
    /// The generation of the source. Rings of older generations are closed.
    pub generation: u32,
    /// Format of the pixels.
    pub format: PixelFormat,
    /// Matrix and range of the colours. Ignored for RGB and grey.
    pub color: Colorimetry,
    /// Size of the pictures, in pixels.
    pub size: Size,
    /// Number of slots, 4 to 64.
    pub slots: u32,
}

impl RingSpec {
    /// The layout of the ring, which also gives its size in bytes.
    ///
    /// # Errors
    /// [`PublishError::Layout`].
    pub fn layout(&self) -> Result<RingLayout, PublishError> {
        let color = if self.format.has_chroma() { self.color } else { Colorimetry::default() };
        RingLayout::new(self.stream, self.generation, self.format, color, self.size, self.slots)
            .map_err(|error| PublishError::Layout { size: self.size, format: self.format, error })
    }
}

/// The description of a frame, which its slot contains beside the pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SlotInfo<'a> {
    /// The camera's sequence number of the frame.
    pub sequence: u64,
    /// Capture timestamp, `CLOCK_MONOTONIC` nanoseconds.
    pub capture_ns: u64,
    /// `sequence` of the frame that the mask belongs to.
    pub mask_sequence: u64,
    /// Age of that frame relative to this one, nanoseconds.
    pub mask_age_ns: u64,
    /// The shown part of the source, in source pixels.
    pub crop: PixelRect,
    /// What a reader must know about the frame and its mask.
    pub flags: SlotFlags,
    /// The people, with boxes in source pixels. Only the first 16 are written.
    pub people: &'a [Person],
}

/// The writer of one ring.
#[derive(Debug)]
pub struct RingWriter {
    body: Arc<Mutex<RingBody>>,
    layout: RingLayout,
    format: PixelFormat,
    size: Size,
    /// The index of the newest frame.
    published: u64,
    clients: RingClients,
}

impl RingWriter {
    /// Creates a ring for clients of the service's own user. All of its memory is allocated here,
    /// so that a lack of memory does not appear later, in the middle of a frame.
    ///
    /// # Errors
    /// [`PublishError::Layout`] for an impossible size or slot count. [`PublishError::System`] if
    /// the kernel has no memory or is older than 5.1 (it then lacks `F_SEAL_FUTURE_WRITE`).
    pub fn new(spec: &RingSpec) -> Result<Self, PublishError> {
        Self::create(spec, rustix::process::geteuid().as_raw(), None)
    }

    /// Creates a ring for clients of the user to whom its memory is charged. The charge is given
    /// back when the memory is free.
    ///
    /// # Errors
    /// As [`RingWriter::new`].
    pub fn charged(spec: &RingSpec, share: RingShare) -> Result<Self, PublishError> {
        Self::create(spec, share.user(), Some(share))
    }

    fn create(spec: &RingSpec, user: u32, share: Option<RingShare>) -> Result<Self, PublishError> {
        let layout = spec.layout()?;
        let file = SharedFile::create(&format!("portraitd-{}", spec.stream), user)?;
        file.allocate(layout.total_bytes())?;
        let (head, body) = map(&file, &layout).map_err(PublishError::call("mmap"))?;
        file.seal(Contents::Ring)?;
        let body = Arc::new(Mutex::new(body));
        let clients = RingClients::new(head, Arc::clone(&body), file, share)?;
        Ok(Self { body, layout, format: spec.format, size: spec.size, published: 0, clients })
    }

    /// The layout of the ring.
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

    /// Adds a client that wants every frame, see [`RingClients::add_client`].
    ///
    /// # Errors
    /// Those of [`RingClients::add_client`].
    pub fn add_client(&self) -> Result<ClientFds, PublishError> {
        self.clients.add_client(None)
    }

    /// Borrows the slot of the next frame; `None` if the ring is closed. The slot contains the
    /// picture of `slots` frames ago. If the slot writer is dropped without
    /// [`SlotWriter::publish`], the newest frame stays the newest, and the same slot is used next.
    pub fn begin(&mut self) -> Option<SlotWriter<'_>> {
        let index = self.published + 1;
        let slot = usize::try_from(slot_of(index, self.layout.slot_count.into())).expect("under the slot count");
        // A panic while a slot is drawn leaves half a picture, whose lock says so.
        let mut body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: whoever closes the ring after this finds the slot being drawn.
        if self.clients.is_closed() {
            return None;
        }
        begin_write(body.slot(slot).0, index);
        Some(SlotWriter {
            index,
            slot,
            body: Some(body),
            layout: &self.layout,
            format: self.format,
            size: self.size,
            published: &mut self.published,
            clients: &self.clients,
        })
    }

    /// Overwrites all slots with zero and keeps the ring open: for a source that is covered. No
    /// slot holds a frame until the next one is published.
    pub fn clear(&mut self) {
        self.body.lock().unwrap_or_else(PoisonError::into_inner).fill_zero();
    }

    /// Marks the ring as closed, see [`RingClients::close`]. Dropping the writer does this too.
    pub fn close(&self) {
        self.clients.close();
    }
}

impl Drop for RingWriter {
    fn drop(&mut self) {
        self.clients.close();
        self.clients.wipe_if_due();
    }
}

/// The slot of the next frame while it is drawn.
#[derive(Debug)]
pub struct SlotWriter<'a> {
    index: u64,
    slot: usize,
    /// `None` only while the writer is dropped.
    body: Option<MutexGuard<'a, RingBody>>,
    layout: &'a RingLayout,
    format: PixelFormat,
    size: Size,
    published: &'a mut u64,
    clients: &'a RingClients,
}

const LOCK_BYTES: usize = size_of::<u64>();

impl SlotWriter<'_> {
    /// Number of the frame in this ring, from 1.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The planes, each with all rows and their padding. The start and the stride of a plane are
    /// multiples of 64 bytes. If the format has fewer than three planes, the others are empty.
    pub fn planes(&mut self) -> [PlaneMut<'_>; 3] {
        let (_, mut rest) = self.body.as_mut().expect("not dropped").slot(self.slot);
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

    /// The slot as a picture to draw into.
    pub fn picture(&mut self) -> PictureMut<'_> {
        let (format, size) = (self.format, self.size);
        PictureMut::new(format, size, self.planes()).expect("the layout was made for this format and size")
    }

    /// Makes the frame the newest one, with the current time as its publish time, and wakes the
    /// clients. Does nothing if the ring was closed while the frame was drawn.
    pub fn publish(self, info: &SlotInfo<'_>) {
        self.publish_at(info, portraitd_media::clock::monotonic_ns());
    }

    /// As [`SlotWriter::publish`], with a given publish time (`CLOCK_MONOTONIC` nanoseconds).
    pub fn publish_at(mut self, info: &SlotInfo<'_>, now_ns: u64) {
        if self.clients.is_closed() {
            return;
        }
        let (lock, bytes) = self.body.as_mut().expect("not dropped").slot(self.slot);
        let mut put = |offset: usize, value: &[u8]| {
            bytes[offset - LOCK_BYTES..offset - LOCK_BYTES + value.len()].copy_from_slice(value);
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
        put(slot::FLAGS, &info.flags.bits().to_le_bytes());
        let people = &info.people[..info.people.len().min(MAX_PEOPLE)];
        put(slot::PEOPLE, &u32::try_from(people.len()).expect("at most 16").to_le_bytes());
        for (index, person) in people.iter().enumerate() {
            let start = slot::PERSON + index * slot::PERSON_BYTES;
            put(start, &person.id.to_le_bytes());
            for (place, value) in person.rectangle.into_iter().chain([person.confidence]).enumerate() {
                put(start + 4 + 4 * place, &value.to_le_bytes());
            }
        }
        finish_write(lock, self.clients.head().latest(), self.index);
        *self.published = self.index;
        self.clients.wake(now_ns);
    }
}

impl Drop for SlotWriter<'_> {
    fn drop(&mut self) {
        self.body = None;
        self.clients.wipe_if_due();
    }
}

const _: () = assert!(HEADER_BYTES.is_multiple_of(64) && SLOT_HEADER_BYTES > LOCK_BYTES);
