//! The driver's buffers, mapped into our memory, and the rules for access to them.
//!
//! A [`DriverBuffer`] is either *queued* (it belongs to the driver, and nobody here may read it) or
//! *dequeued* (it is ours). A dequeued buffer may be lent ([`Lease`](portraitd_media::Lease)). When
//! its last lease is dropped, on any thread, the buffer is marked in [`ReturnedBuffers`], which
//! never blocks, and the capture thread queues it again.
//!
//! The dropping thread does not queue it, because `VIDIOC_QBUF` takes the driver's lock, which a
//! USB driver may hold for the duration of a transfer.
//!
//! The memory lives as long as any `Arc` of the buffer, also after the device was closed or
//! unplugged: the kernel frees the pages with their last mapping.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, Result};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

use super::formats::PlaneLayout;
use super::sys::{BufferState, MAX_PLANES};
use portraitd_media::Buffer;

/// The largest number of buffers of a queue (`VIDEO_MAX_FRAME`). [`ReturnedBuffers`] has one bit
/// for each.
pub(super) const MAX_BUFFERS: u32 = 32;

/// A mapping of pages of a device. It is unmapped when it is dropped.
struct Mapping {
    start: NonNull<c_void>,
    bytes: usize,
}

// SAFETY: a `Mapping` is the only owner of its address range and hands out no reference by itself.
// `DriverBuffer` decides when its bytes may be read or written.
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
        // SAFETY: no address is requested, so no existing mapping is replaced. The result is owned
        // by this value.
        let start = unsafe { mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, fd, u64::from(offset)) }?;
        // A core dump must not contain pictures. A driver that maps its own memory may refuse, and
        // then dumps leave such memory out anyway.
        // SAFETY: the range was just mapped, and the advice changes no byte of it.
        let _ = unsafe { madvise(start, bytes, Advice::LinuxDontDump) };
        NonNull::new(start).map(|start| Self { start, bytes }).ok_or(Errno::NOMEM)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` and is unmapped once. Slices of it borrow the
        // `DriverBuffer` that owns this value, so none is left. The call fails only for a range
        // that is not a mapping.
        let unmapped = unsafe { munmap(self.start.as_ptr(), self.bytes) };
        debug_assert!(unmapped.is_ok());
    }
}

/// The buffers that are no longer lent and wait to be queued again.
pub(super) struct ReturnedBuffers {
    /// One bit for each buffer, by its index.
    buffers: AtomicUsize,
    /// Whether a returned buffer must wake the capture thread, because the driver has too few
    /// buffers.
    wake_on_return: AtomicBool,
    /// An eventfd on which the capture thread waits.
    wake: OwnedFd,
}

impl ReturnedBuffers {
    pub(super) fn new() -> Result<Self> {
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { buffers: AtomicUsize::new(0), wake_on_return: AtomicBool::new(false), wake })
    }

    fn put(&self, index: u32) {
        // Sequentially consistent with `set_wake_on_return` and `take`: either this thread sees the
        // request to wake, or the capture thread sees the bit.
        self.buffers.fetch_or(1 << index, Ordering::SeqCst);
        if self.wake_on_return.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Ends the wait of the capture thread.
    pub(super) fn wake(&self) {
        // The write fails only if the counter would overflow, and then the thread is awake.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// Takes all returned buffers, one bit for each.
    pub(super) fn take(&self) -> usize {
        self.buffers.swap(0, Ordering::SeqCst)
    }

    /// Sets whether each returned buffer wakes the capture thread. Call [`ReturnedBuffers::take`]
    /// afterwards.
    pub(super) fn set_wake_on_return(&self, wake_on_return: bool) {
        self.wake_on_return.store(wake_on_return, Ordering::SeqCst);
    }

    /// Resets the eventfd after a wait that it ended.
    pub(super) fn clear_wake(&self) {
        let mut count = [0; 8];
        // The read fails with `EAGAIN` if the eventfd is not set.
        let _ = rustix::io::read(&self.wake, &mut count);
    }
}

impl AsFd for ReturnedBuffers {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// One buffer of a driver, with all its memory planes.
pub(super) struct DriverBuffer {
    index: u32,
    memories: [Option<Mapping>; MAX_PLANES],
    planes: [PlaneLayout; 3],
    /// The first byte of the current frame in each memory plane.
    data_offsets: [AtomicUsize; MAX_PLANES],
    /// Whether the buffer belongs to the driver.
    queued: AtomicBool,
    leases: AtomicUsize,
    returns: Arc<ReturnedBuffers>,
}

impl DriverBuffer {
    /// Maps the buffer that `state` (the result of `VIDIOC_QUERYBUF`) describes. `planes` are the
    /// colour planes of a frame.
    pub(super) fn new(
        fd: BorrowedFd<'_>,
        state: &BufferState,
        planes: [PlaneLayout; 3],
        returns: Arc<ReturnedBuffers>,
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
            planes,
            data_offsets: Default::default(),
            queued: AtomicBool::new(false),
            leases: AtomicUsize::new(0),
            returns,
        })
    }

    pub(super) const fn index(&self) -> u32 {
        self.index
    }

    /// The length of memory plane `plane`, in bytes; 0 if there is no such plane.
    pub(super) fn memory_bytes(&self, plane: usize) -> usize {
        self.memories.get(plane).and_then(Option::as_ref).map_or(0, |mapping| mapping.bytes)
    }

    /// Marks the buffer as the driver's. Must be called before `VIDIOC_QBUF`.
    ///
    /// # Panics
    /// If a lease on it exists: the capture thread queues only buffers that were returned.
    pub(super) fn set_queued(&self) {
        assert_eq!(self.leases.load(Ordering::Acquire), 0, "a buffer that is read must not be queued");
        self.queued.store(true, Ordering::Release);
    }

    /// Marks the buffer as ours, with a frame that begins at byte `data_offsets` of each memory
    /// plane.
    pub(super) fn set_dequeued(&self, data_offsets: &[u32; MAX_PLANES]) {
        for (current, &offset) in self.data_offsets.iter().zip(data_offsets) {
            current.store(usize::try_from(offset).unwrap_or(usize::MAX), Ordering::Relaxed);
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

    /// All bytes of memory plane `plane`; empty while the buffer is queued.
    pub(super) fn memory(&self, plane: usize) -> &[u8] {
        let Some((start, bytes)) = self.address(plane) else { return &[] };
        // SAFETY: the range is readable and mapped as long as `self` lives, and all bytes are valid
        // `u8`. Nobody writes it: `memory_mut` needs an exclusive borrow, and the driver writes
        // only to queued buffers. `queued` becomes true only in `set_queued`, on the capture
        // thread, for buffers without a lease. Readers on other threads hold a lease for as long as
        // they hold a slice (`Frame` keeps the lease and lends pictures that borrow it). A device
        // that writes to a dequeued buffer changes only pixel values: no decision of this program
        // relies on them.
        unsafe { std::slice::from_raw_parts(start, bytes) }
    }

    /// All bytes of memory plane `plane` for writing; empty while the buffer is queued.
    pub(super) fn memory_mut(&mut self, plane: usize) -> &mut [u8] {
        let Some((start, bytes)) = self.address(plane) else { return &mut [] };
        // SAFETY: as in `memory`, and `self` is borrowed exclusively. Callers map for writing
        // (`Output`). A write to a read-only mapping ends the process and corrupts nothing.
        unsafe { std::slice::from_raw_parts_mut(start, bytes) }
    }
}

impl Buffer for DriverBuffer {
    fn plane(&self, plane: usize) -> &[u8] {
        let Some(layout) = self.planes.get(plane) else { return &[] };
        let Some(offset) = self.data_offsets.get(layout.memory) else { return &[] };
        let memory = self.memory(layout.memory);
        layout.range(offset.load(Ordering::Relaxed), memory.len()).map_or(&[], |range| &memory[range])
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

    /// A buffer in ordinary memory, described as a driver describes its buffers.
    fn buffer(bytes: u32, plane: PlaneLayout, writable: bool) -> (DriverBuffer, Arc<ReturnedBuffers>) {
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
        let returns = Arc::new(ReturnedBuffers::new().expect("eventfd"));
        let planes = [plane, PlaneLayout::default(), PlaneLayout::default()];
        let buffer = DriverBuffer::new(memory.as_fd(), &state, planes, Arc::clone(&returns), writable).expect("mapped");
        (buffer, returns)
    }

    const PLANE: PlaneLayout = PlaneLayout { memory: 0, offset: 2, stride_bytes: 2, extent_bytes: 4 };

    #[test]
    fn a_queued_buffer_cannot_be_read() {
        let (buffer, _) = buffer(4096, PLANE, false);
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
    fn the_last_lease_returns_the_buffer_and_wakes_only_on_request() {
        let (buffer, returns) = buffer(4096, PLANE, false);
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
        returns.set_wake_on_return(true);
        drop(lend());
        assert!(woken());
        assert_eq!(returns.take(), 1 << 3);
    }

    #[test]
    #[should_panic(expected = "a buffer that is read must not be queued")]
    fn a_buffer_that_is_read_cannot_be_queued() {
        let (buffer, _) = buffer(4096, PLANE, false);
        let buffer = Arc::new(buffer);
        let _lease = Lease::new(Arc::clone(&buffer) as Arc<dyn Buffer>);
        buffer.set_queued();
    }

    #[test]
    fn written_bytes_are_read_and_an_empty_range_cannot_be_mapped() {
        let (mut buffer, _) = buffer(4096, PLANE, true);
        buffer.memory_mut(0)[3] = 99;
        assert_eq!(buffer.plane(0), [3, 99, 5, 6]);
        assert!(buffer.memory_mut(1).is_empty());
        assert_eq!((buffer.memory_bytes(0), buffer.memory_bytes(8)), (4096, 0));
        assert!(Mapping::new(buffer.returns.as_fd(), 0, 0, false).is_err());
    }
}
