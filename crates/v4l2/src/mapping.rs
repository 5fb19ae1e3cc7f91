//! The driver's buffers in our memory, and who may touch them.
//!
//! A [`DriverBuffer`] is either *queued* (the driver's: nobody here may look) or *dequeued* (ours). A dequeued one may be
//! lent ([`Lease`](portraitd_media::Lease)); when the last lease is dropped, on whichever thread, it is put down in
//! [`Returns`], which never blocks, and the capture thread queues it again. Not the dropping thread: `VIDIOC_QBUF` takes
//! the driver's lock, and a USB driver may hold that for as long as a transfer takes.
//!
//! The memory lives as long as any `Arc` of the buffer, also after the device was closed or unplugged: the kernel frees
//! pages when the last mapping of them goes.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, Result};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::formats::PlanePlace;
use super::sys::{BufferState, MAX_PLANES};
use portraitd_media::Buffer;

/// The most buffers a queue may have (`VIDEO_MAX_FRAME`): one bit each in [`Returns`].
pub(super) const MAX_BUFFERS: u32 = 32;

/// Pages of a device, mapped.
struct Mapping {
    start: NonNull<c_void>,
    bytes: usize,
}

// SAFETY: a `Mapping` is an address range that it alone owns. It hands out no reference by itself; `DriverBuffer` says
// when its bytes may be read or written.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, offset: u32, bytes: u32, writable: bool) -> Result<Self> {
        let bytes = usize::try_from(bytes).map_err(|_| Errno::NOMEM)?;
        if bytes == 0 || isize::try_from(bytes).is_err() {
            return Err(Errno::INVAL);
        }
        let protection = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: no address is asked for, so no mapping that exists is replaced; the result is owned by this value.
        let start = unsafe { mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, fd, u64::from(offset)) }?;
        NonNull::new(start).map(|start| Self { start, bytes }).ok_or(Errno::NOMEM)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` and is unmapped once. Slices of it borrow the `DriverBuffer` that owns
        // this value, so none is left. It fails only for a range that is no mapping.
        let unmapped = unsafe { munmap(self.start.as_ptr(), self.bytes) };
        debug_assert!(unmapped.is_ok());
    }
}

/// Where buffers are put down that nobody reads any more.
pub(super) struct Returns {
    /// A bit each buffer.
    buffers: AtomicUsize,
    /// Whether the capture thread has to be woken, because the driver has too few.
    hungry: AtomicBool,
    wake: OwnedFd,
}

impl Returns {
    pub(super) fn new() -> Result<Self> {
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { buffers: AtomicUsize::new(0), hungry: AtomicBool::new(false), wake })
    }

    fn put(&self, index: u32) {
        // Sequentially consistent with `set_hungry` and `take`: either this thread sees the hunger, or the capture thread
        // sees the bit.
        self.buffers.fetch_or(1 << index, Ordering::SeqCst);
        if self.hungry.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Wakes the capture thread from its wait.
    pub(super) fn wake(&self) {
        // It fails only where the count is about to overflow, and then the thread is awake.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// Takes all buffers that were put down, a bit each.
    pub(super) fn take(&self) -> usize {
        self.buffers.swap(0, Ordering::SeqCst)
    }

    /// Whether each return shall wake the capture thread. To be followed by [`Returns::take`].
    pub(super) fn set_hungry(&self, hungry: bool) {
        self.hungry.store(hungry, Ordering::SeqCst);
    }

    /// Forgets a wake-up that has been seen.
    pub(super) fn quieten(&self) {
        let mut count = [0; 8];
        // `EAGAIN` where there was none.
        let _ = rustix::io::read(&self.wake, &mut count);
    }
}

impl AsFd for Returns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// One buffer of a driver.
pub(super) struct DriverBuffer {
    index: u32,
    memories: [Option<Mapping>; MAX_PLANES],
    places: [PlanePlace; 3],
    /// Where the picture begins in each memory plane, of the frame that the buffer holds.
    data_offsets: [AtomicUsize; MAX_PLANES],
    /// Whether the driver has it.
    queued: AtomicBool,
    leases: AtomicUsize,
    returns: Arc<Returns>,
}

impl DriverBuffer {
    /// Maps what `state` (of `VIDIOC_QUERYBUF`) describes. `places` are the colour planes of a frame in it.
    pub(super) fn new(
        fd: BorrowedFd<'_>,
        state: &BufferState,
        places: [PlanePlace; 3],
        returns: Arc<Returns>,
        writable: bool,
    ) -> Result<Self> {
        if state.index >= MAX_BUFFERS {
            return Err(Errno::INVAL);
        }
        let mut memories: [Option<Mapping>; MAX_PLANES] = Default::default();
        for (plane, memory) in memories.iter_mut().enumerate().take(state.plane_count.min(MAX_PLANES)) {
            *memory = Some(Mapping::new(fd, state.map_offset[plane], state.length[plane], writable)?);
        }
        Ok(Self {
            index: state.index,
            memories,
            places,
            data_offsets: Default::default(),
            queued: AtomicBool::new(false),
            leases: AtomicUsize::new(0),
            returns,
        })
    }

    pub(super) const fn index(&self) -> u32 {
        self.index
    }

    /// Length of memory plane `plane`.
    pub(super) fn memory_bytes(&self, plane: usize) -> usize {
        self.memories.get(plane).and_then(Option::as_ref).map_or(0, |mapping| mapping.bytes)
    }

    /// Says that the driver has it from now on. To be called before `VIDIOC_QBUF`.
    ///
    /// # Panics
    /// If somebody holds a lease on it: the capture thread queues only what was put down.
    pub(super) fn set_queued(&self) {
        assert_eq!(self.leases.load(Ordering::Acquire), 0, "a buffer that is read must not be queued");
        self.queued.store(true, Ordering::Release);
    }

    /// Says that the driver gave it back with a frame that begins `data_offsets` bytes into each memory plane.
    pub(super) fn set_dequeued(&self, data_offsets: &[u32; MAX_PLANES]) {
        for (place, &offset) in self.data_offsets.iter().zip(data_offsets) {
            place.store(usize::try_from(offset).unwrap_or(usize::MAX), Ordering::Relaxed);
        }
        self.queued.store(false, Ordering::Release);
    }

    fn address(&self, plane: usize) -> Option<(*mut u8, usize)> {
        if self.queued.load(Ordering::Acquire) {
            return None;
        }
        let mapping = self.memories.get(plane)?.as_ref()?;
        Some((mapping.start.as_ptr().cast(), mapping.bytes))
    }

    /// All bytes of memory plane `plane`; nothing while the driver has it.
    pub(super) fn memory(&self, plane: usize) -> &[u8] {
        let Some((start, bytes)) = self.address(plane) else { return &[] };
        // SAFETY: the range is mapped as long as `self` lives, readable, and any bytes are valid `u8`. Nobody writes it:
        // `memory_mut` needs an exclusive borrow, and the driver writes only what is queued. `queued` becomes true only in
        // `set_queued`, on the capture thread, for buffers without a lease, and readers on other threads hold a lease for
        // as long as they hold a slice (`Frame` keeps the lease and lends pictures that borrow it). A device that writes
        // outside its turn changes the picture that is read, and nothing that this program relies on: bytes are checked
        // after they were copied or used as pixels alone.
        unsafe { std::slice::from_raw_parts(start, bytes) }
    }

    /// All bytes of memory plane `plane`, to be written; nothing while the driver has it.
    pub(super) fn memory_mut(&mut self, plane: usize) -> &mut [u8] {
        let Some((start, bytes)) = self.address(plane) else { return &mut [] };
        // SAFETY: as in `memory`, and `self` is borrowed exclusively. Callers map for writing (`Output`); where that is not
        // so the kernel kills the write, it does not corrupt anything.
        unsafe { std::slice::from_raw_parts_mut(start, bytes) }
    }
}

impl Buffer for DriverBuffer {
    fn plane(&self, plane: usize) -> &[u8] {
        let Some(place) = self.places.get(plane) else { return &[] };
        let Some(offset) = self.data_offsets.get(place.memory) else { return &[] };
        let memory = self.memory(place.memory);
        place.range(offset.load(Ordering::Relaxed), memory.len()).map_or(&[], |range| &memory[range])
    }

    fn leases(&self) -> &AtomicUsize {
        &self.leases
    }

    fn released(&self) {
        self.returns.put(self.index);
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;
    use portraitd_media::{Colorimetry, PixelFormat, Size};
    use portraitd_media::{Frame, FrameFormat, Lease};

    /// A buffer in ordinary memory, described as a driver would.
    fn buffer(bytes: u32, place: PlanePlace, writable: bool) -> (DriverBuffer, Arc<Returns>) {
        let memory = memfd_create("buffer", MemfdFlags::CLOEXEC).expect("memfd");
        ftruncate(&memory, u64::from(bytes)).expect("sized");
        rustix::io::write(&memory, &[1, 2, 3, 4, 5, 6, 7, 8]).expect("written");
        let mut state = BufferState {
            index: 3,
            flags: 0,
            field: 1,
            timestamp: [0; 2],
            sequence: 0,
            plane_count: 1,
            bytes_used: [0; MAX_PLANES],
            data_offset: [0; MAX_PLANES],
            length: [0; MAX_PLANES],
            map_offset: [0; MAX_PLANES],
        };
        state.length[0] = bytes;
        let returns = Arc::new(Returns::new().expect("eventfd"));
        let places = [place, PlanePlace::default(), PlanePlace::default()];
        let buffer = DriverBuffer::new(memory.as_fd(), &state, places, Arc::clone(&returns), writable).expect("mapped");
        (buffer, returns)
    }

    const PLACE: PlanePlace = PlanePlace { memory: 0, offset: 2, stride_bytes: 2, extent_bytes: 4 };

    #[test]
    fn a_queued_buffer_shows_nothing() {
        let (buffer, _) = buffer(4096, PLACE, false);
        assert_eq!(buffer.plane(0), [3, 4, 5, 6]);
        assert!(buffer.plane(7).is_empty());
        buffer.set_queued();
        assert!(buffer.plane(0).is_empty());
        buffer.set_dequeued(&[1; MAX_PLANES]);
        assert_eq!(buffer.plane(0), [4, 5, 6, 7], "one byte on");
        buffer.set_dequeued(&[u32::MAX; MAX_PLANES]);
        assert!(buffer.plane(0).is_empty(), "outside");
    }

    #[test]
    fn the_last_lease_puts_the_buffer_down_and_wakes_only_the_hungry() {
        let (buffer, returns) = buffer(4096, PLACE, false);
        let format = FrameFormat::packed(PixelFormat::Grey, Size::new(2, 2), Colorimetry::default(), 0.0);
        let buffer = Arc::new(buffer);
        let lend = || Frame::new(0, 0, format, Lease::new(Arc::clone(&buffer) as Arc<dyn Buffer>)).expect("fits");
        let woken = || rustix::io::read(&returns.wake, &mut [0; 8]).is_ok();
        let frame = lend();
        let clone = frame.clone();
        drop(frame);
        assert_eq!(returns.take(), 0, "a clone is alive");
        assert_eq!(clone.picture().plane(0).row(1), [5, 6]);
        drop(clone);
        assert_eq!(returns.take(), 1 << 3);
        assert!(!woken());
        returns.set_hungry(true);
        drop(lend());
        assert!(woken());
        assert_eq!(returns.take(), 1 << 3);
    }

    #[test]
    #[should_panic(expected = "a buffer that is read must not be queued")]
    fn a_buffer_that_is_read_cannot_be_queued() {
        let (buffer, _) = buffer(4096, PLACE, false);
        let buffer = Arc::new(buffer);
        let _lease = Lease::new(Arc::clone(&buffer) as Arc<dyn Buffer>);
        buffer.set_queued();
    }

    #[test]
    fn what_was_written_is_read_and_nothing_can_be_mapped_of_nothing() {
        let (mut buffer, _) = buffer(4096, PLACE, true);
        buffer.memory_mut(0)[3] = 99;
        assert_eq!(buffer.plane(0), [3, 99, 5, 6]);
        assert!(buffer.memory_mut(1).is_empty());
        assert_eq!((buffer.memory_bytes(0), buffer.memory_bytes(8)), (4096, 0));
        assert!(Mapping::new(buffer.returns.as_fd(), 0, 0, false).is_err());
    }
}
