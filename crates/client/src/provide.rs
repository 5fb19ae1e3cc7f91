//! Frames for the service: a *provider* is a program that delivers the pictures of a camera whose
//! configuration says `device = "provider"`.
//!
//! The service says when somebody looks and when nobody does ([`Provider::changed`]), so that a
//! sensor is off while nobody looks. A frame is written to memory that the service reads
//! ([`Provider::publish`]); the newest one counts, so a provider never waits for the service.
//!
//! ```no_run
//! # async fn example(connection: zbus::Connection) -> Result<(), portraitd_client::provide::ProvideError> {
//! use portraitd_client::provide::{OfferedRing, Provider};
//! use portraitd_client::{Colorimetry, PixelFormat, Size};
//!
//! let ring = OfferedRing::new(PixelFormat::Grey, Colorimetry::default(), Size::new(640, 360))?;
//! let mut provider = Provider::offer(&connection, "door", ring, Some(30)).await?;
//! while provider.until_wanted().await? {
//!     // One picture of one shade. A real provider waits for its sensor here.
//!     provider.publish(None, |planes| planes.plane(0).0.fill(128));
//!     tokio::time::sleep(std::time::Duration::from_millis(33)).await;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Dropping a [`Provider`] ends the offer: the camera is then absent. `docs/design/provider.md`
//! specifies what the service accepts.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;

use portraitd_protocol::layout::{HEADER_BYTES, LayoutError, MAX_OFFERED_BYTES, MIN_SLOTS, header, slot};
use portraitd_protocol::sequence_lock::{begin_write, finish_write, slot_of};
use portraitd_protocol::{Colorimetry, PixelFormat, RingLayout, ServiceError, Size, StreamKind};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use tokio::net::UnixStream;
use zbus::{Connection, Variant};

use crate::clock::monotonic_ns;
use crate::connect::camera_path;
use crate::memory::WritableMemory;
use crate::proxy::ProviderProxy;

/// Why frames cannot be provided.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvideError {
    /// The pictures cannot be laid out.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The ring would exceed [`MAX_OFFERED_BYTES`].
    #[error("four pictures of {size} in {format} take {bytes} bytes; a provider may have {MAX_OFFERED_BYTES}")]
    TooLarge {
        /// The size of the pictures.
        size: Size,
        /// Their format.
        format: PixelFormat,
        /// The size of the ring.
        bytes: usize,
    },
    /// The service refuses the offer, or cannot be reached.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A system call failed.
    #[error("{call}: {error}")]
    System {
        /// The name of the call.
        call: &'static str,
        /// Its error.
        error: std::io::Error,
    },
}

fn system<E: Into<std::io::Error>>(call: &'static str) -> impl FnOnce(E) -> ProvideError {
    move |error| ProvideError::System { call, error: error.into() }
}

/// The memory of frames that are offered to the service. This process writes it; the service reads
/// it.
#[derive(Debug)]
pub struct OfferedRing {
    memory: WritableMemory,
    file: OwnedFd,
    layout: RingLayout,
    /// The index of the newest frame, from 1.
    published: u64,
}

impl OfferedRing {
    /// Makes the memory for four pictures, and seals it as the service wants it: no one can change
    /// its size, punch holes into it or map it for writing again.
    ///
    /// # Errors
    /// [`ProvideError::Layout`] and [`ProvideError::TooLarge`] for pictures that cannot be offered;
    /// [`ProvideError::System`] if the system has no memory, or is older than Linux 5.1.
    pub fn new(format: PixelFormat, color: Colorimetry, size: Size) -> Result<Self, ProvideError> {
        let layout = RingLayout::new(StreamKind::Source, 1, format, color, size, MIN_SLOTS)?;
        let bytes = layout.total_bytes();
        if bytes > MAX_OFFERED_BYTES {
            return Err(ProvideError::TooLarge { size, format, bytes });
        }
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // Linux before 6.3 does not know `MFD_NOEXEC_SEAL`.
        let file = match rustix::fs::memfd_create("portraitd-provider", flags | MemfdFlags::NOEXEC_SEAL) {
            Err(Errno::INVAL) => rustix::fs::memfd_create("portraitd-provider", flags),
            result => result,
        };
        let file = file.map_err(system("memfd_create"))?;
        // All of it now: the service refuses memory with holes, which it would have to fill.
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes as u64).map_err(system("fallocate"))?;
        let mut memory = WritableMemory::map(&file, bytes).map_err(system("mmap"))?;
        memory.bytes_mut(0, HEADER_BYTES).copy_from_slice(layout.encode().as_slice());
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE;
        rustix::fs::fcntl_add_seals(&file, seals).map_err(system("fcntl(F_ADD_SEALS)"))?;
        Ok(Self { memory, file, layout, published: 0 })
    }

    /// The layout of the ring.
    pub const fn layout(&self) -> &RingLayout {
        &self.layout
    }

    /// The memory, for a program that passes it to the service itself.
    pub fn memory(&self) -> impl AsFd + '_ {
        &self.file
    }

    /// Writes a frame and makes it the newest. `capture_ns` is when it was captured, in
    /// `CLOCK_MONOTONIC` nanoseconds; without it, now. `fill` writes the planes.
    pub fn write(&mut self, capture_ns: Option<u64>, fill: impl FnOnce(&mut Planes<'_>)) {
        let index = self.published + 1;
        let slot = usize::try_from(slot_of(index, self.layout.slot_count.into())).expect("under the slot count");
        let start = self.layout.slot_offset(slot);
        begin_write(self.memory.word(start + slot::LOCK), index);
        let now = monotonic_ns();
        // The lock stays as it is: it is not among these bytes.
        let from = start + slot::SEQUENCE;
        let bytes = self.memory.bytes_mut(from, self.layout.slot_bytes - slot::SEQUENCE);
        for (field, value) in
            [(slot::SEQUENCE, index), (slot::CAPTURE_NS, capture_ns.unwrap_or(now)), (slot::PUBLISH_NS, now)]
        {
            let at = field - slot::SEQUENCE;
            bytes[at..at + size_of::<u64>()].copy_from_slice(&value.to_le_bytes());
        }
        fill(&mut Planes { bytes, layout: &self.layout });
        finish_write(self.memory.word(start + slot::LOCK), self.memory.word(header::LATEST), index);
        self.published = index;
    }
}

/// The planes of a frame while it is written. They have the bytes of the frame of four frames ago.
#[derive(Debug)]
pub struct Planes<'a> {
    /// The slot, from its second word on.
    bytes: &'a mut [u8],
    layout: &'a RingLayout,
}

impl Planes<'_> {
    /// The bytes of plane `index` with the padding of its rows, and its stride in bytes. Empty and
    /// 0 if the format has no such plane.
    pub fn plane(&mut self, index: usize) -> (&mut [u8], usize) {
        match self.layout.planes().get(index) {
            Some(plane) => {
                let start = plane.offset - slot::SEQUENCE;
                (&mut self.bytes[start..start + plane.stride * plane.rows], plane.stride)
            }
            None => (&mut [], 0),
        }
    }

    /// Copies a picture whose planes follow one another without padding, as in raw video.
    ///
    /// # Panics
    /// If `packed` is shorter than the picture.
    pub fn copy_packed(&mut self, packed: &[u8]) {
        let mut rest = packed;
        for index in 0..self.layout.planes().len() {
            let plane = self.layout.planes()[index];
            let (bytes, stride) = self.plane(index);
            for row in bytes.chunks_exact_mut(stride) {
                let (from, after) = rest.split_at(plane.row_bytes);
                row[..plane.row_bytes].copy_from_slice(from);
                rest = after;
            }
        }
    }
}

/// A program that provides the frames of a camera. Dropping it ends the offer.
#[derive(Debug)]
pub struct Provider {
    camera: ProviderProxy<'static>,
    ring: OfferedRing,
    link: Link,
    frame_rate: Option<u32>,
}

/// What the service has returned: where it is told of frames, and where it tells whether somebody
/// looks.
#[derive(Debug)]
struct Link {
    event: OwnedFd,
    demand: UnixStream,
    wanted: bool,
}

impl Provider {
    /// Offers the frames of a ring for the camera named `camera`. `frame_rate` is how many frames a
    /// second there will be, about.
    ///
    /// # Errors
    /// [`ProvideError::Service`]: `NotAuthorized`, `NotSupported` if the camera's device is not
    /// `provider`, `Busy` if it has a provider, `InvalidArgument` if the service does not take the
    /// ring.
    pub async fn offer(
        connection: &Connection,
        camera: &str,
        ring: OfferedRing,
        frame_rate: Option<u32>,
    ) -> Result<Self, ProvideError> {
        let camera = ProviderProxy::builder(connection).path(camera_path(camera)).build().await;
        let camera = camera.map_err(ServiceError::from)?;
        let link = link(&camera, &ring, frame_rate).await?;
        Ok(Self { camera, ring, link, frame_rate })
    }

    /// Offers another ring in place of this one, for pictures of another size or format.
    ///
    /// # Errors
    /// As [`Provider::offer`].
    pub async fn replace(&mut self, ring: OfferedRing) -> Result<(), ProvideError> {
        self.link = link(&self.camera, &ring, self.frame_rate).await?;
        self.ring = ring;
        Ok(())
    }

    /// The layout of the ring.
    pub const fn layout(&self) -> &RingLayout {
        self.ring.layout()
    }

    /// Whether somebody looked when the service last said so. Nobody looks at first.
    pub const fn is_wanted(&self) -> bool {
        self.link.wanted
    }

    /// Waits until the service says whether somebody looks; `None` when it has ended the offer.
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`ProvideError::System`] if the descriptor cannot be read.
    pub async fn changed(&mut self) -> Result<Option<bool>, ProvideError> {
        loop {
            self.link.demand.readable().await.map_err(system("poll"))?;
            let mut bytes = [0; 64];
            match self.link.demand.try_read(&mut bytes) {
                Ok(0) => return Ok(None),
                Ok(count) => {
                    self.link.wanted = bytes[count - 1] != 0;
                    return Ok(Some(self.link.wanted));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(system("read")(error)),
            }
        }
    }

    /// Returns true as soon as somebody looks, and false when the service has ended the offer.
    ///
    /// # Errors
    /// As [`Provider::changed`].
    pub async fn until_wanted(&mut self) -> Result<bool, ProvideError> {
        loop {
            // What the service has said meanwhile comes first.
            let news = tokio::select! {
                biased;
                news = self.changed() => Some(news?),
                () = std::future::ready(()) => None,
            };
            match news {
                Some(None) => return Ok(false),
                Some(Some(_)) => {}
                None if self.link.wanted => return Ok(true),
                None if self.changed().await?.is_none() => return Ok(false),
                None => {}
            }
        }
    }

    /// Publishes a frame, see [`OfferedRing::write`].
    pub fn publish(&mut self, capture_ns: Option<u64>, fill: impl FnOnce(&mut Planes<'_>)) {
        self.ring.write(capture_ns, fill);
        // The service takes the newest frame, however often it is told. It fails only if the offer
        // has ended, which `changed` says.
        let _ = rustix::io::write(&self.link.event, &1u64.to_ne_bytes());
    }
}

async fn link(
    camera: &ProviderProxy<'static>,
    ring: &OfferedRing,
    frame_rate: Option<u32>,
) -> Result<Link, ProvideError> {
    let memory = ring.file.try_clone().map_err(system("dup"))?;
    let options: HashMap<&str, Variant<'_>> = frame_rate.map(|rate| ("fps", rate.into())).into_iter().collect();
    let (event, demand) = camera.offer(memory.into(), &options).await?;
    let demand = StdUnixStream::from(OwnedFd::from(demand));
    demand.set_nonblocking(true).map_err(system("fcntl"))?;
    let demand = UnixStream::from_std(demand).map_err(system("epoll_ctl"))?;
    Ok(Link { event: event.into(), demand, wanted: false })
}
