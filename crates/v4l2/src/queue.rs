//! A device's queue of buffers, for capture and for output: allocation by the driver, mapping,
//! queueing, dequeueing.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::io::Errno;

use super::formats::BufferLayout;
use super::mapping::{DriverBuffer, MAX_BUFFERS, ReturnedBuffers};
use super::sys::{self, BufferState, BufferType, MAX_PLANES};

/// A system call that failed: its name, and the error.
pub(super) type CallError = (&'static str, Errno);

/// The number of failures of one call in a row that are no longer tolerated.
pub(super) const MAX_FAILURES: u32 = 16;

/// The buffers of a configured device. Dropping the queue frees no memory: the kernel does when the
/// device is closed and no mapping is left.
pub(super) struct Queue {
    buffer_type: BufferType,
    buffers: Vec<Arc<DriverBuffer>>,
    returns: Arc<ReturnedBuffers>,
    /// The buffers that can be queued, one bit for each.
    pending: usize,
    /// The number of buffers that belong to the driver.
    queued: usize,
    failures: u32,
}

impl Queue {
    /// Makes the driver allocate about `count` buffers for frames of `layout`, and maps them.
    /// `returns` must not be shared with another queue, because buffers are identified only by
    /// their index.
    ///
    /// # Errors
    /// The call that failed; `EINVAL` if the buffers cannot hold the format that the driver set.
    pub(super) fn allocate(
        device: impl AsFd,
        buffer_type: BufferType,
        layout: &BufferLayout,
        count: u32,
        returns: &Arc<ReturnedBuffers>,
    ) -> Result<Self, CallError> {
        let fd = device.as_fd();
        let granted = sys::request_buffers(fd, buffer_type, count).map_err(|errno| ("VIDIOC_REQBUFS", errno))?;
        let mut buffers = Vec::new();
        for index in 0..granted.min(MAX_BUFFERS) {
            let state = sys::query_buffer(fd, buffer_type, index).map_err(|errno| ("VIDIOC_QUERYBUF", errno))?;
            let buffer = DriverBuffer::new(fd, &state, layout.planes, Arc::clone(returns), buffer_type.is_output())
                .map_err(|errno| ("mmap", errno))?;
            let fits = layout.planes.iter().all(|plane| {
                // A compressed frame is never larger than its buffer, whatever size the format has.
                layout.is_compressed() || plane.range(0, buffer.memory_bytes(plane.memory)).is_some()
            });
            if buffer.index() != index || state.plane_count != layout.memory_planes || !fits {
                return Err(("VIDIOC_QUERYBUF", Errno::INVAL));
            }
            buffers.push(Arc::new(buffer));
        }
        if buffers.len() < 2 {
            return Err(("VIDIOC_REQBUFS", Errno::NOMEM));
        }
        let pending = (1 << buffers.len()) - 1;
        Ok(Self { buffer_type, buffers, returns: Arc::clone(returns), pending, queued: 0, failures: 0 })
    }

    /// The number of buffers.
    pub(super) const fn len(&self) -> usize {
        self.buffers.len()
    }

    /// The number of buffers that belong to the driver.
    pub(super) const fn queued(&self) -> usize {
        self.queued
    }

    /// Queues every free buffer, including the ones that readers have returned.
    ///
    /// # Errors
    /// The device is gone, or refused [`MAX_FAILURES`] times in a row. A buffer that was refused is
    /// queued by a later call.
    pub(super) fn feed(&mut self, device: impl AsFd) -> Result<(), CallError> {
        self.pending |= self.returns.take();
        for (index, buffer) in self.buffers.iter().enumerate() {
            if self.pending & (1 << index) == 0 {
                continue;
            }
            buffer.set_queued();
            match sys::queue_buffer(device.as_fd(), self.buffer_type, buffer.index(), None) {
                Ok(()) => {
                    self.pending &= !(1 << index);
                    self.queued += 1;
                    self.failures = 0;
                }
                Err(errno) => {
                    buffer.set_dequeued(&[0; MAX_PLANES]);
                    self.failures += 1;
                    let gone = matches!(errno, Errno::NODEV | Errno::NXIO | Errno::SHUTDOWN);
                    if gone || self.failures >= MAX_FAILURES {
                        return Err(("VIDIOC_QBUF", errno));
                    }
                }
            }
        }
        Ok(())
    }

    /// Marks a dequeued buffer that was not lent as free.
    pub(super) fn put_back(&mut self, buffer: &DriverBuffer) {
        self.pending |= 1 << buffer.index();
    }

    /// Takes a buffer that the driver has finished with; `None` if there is none.
    ///
    /// # Errors
    /// The error of `VIDIOC_DQBUF`, or `EINVAL` for a buffer that does not exist.
    pub(super) fn dequeue(&mut self, device: impl AsFd) -> Result<Option<(Arc<DriverBuffer>, BufferState)>, CallError> {
        match sys::dequeue_buffer(device, self.buffer_type) {
            Ok(state) => {
                let index = usize::try_from(state.index).unwrap_or(usize::MAX);
                let Some(buffer) = self.buffers.get(index) else { return Err(("VIDIOC_DQBUF", Errno::INVAL)) };
                buffer.set_dequeued(&state.data_offset);
                self.queued = self.queued.saturating_sub(1);
                Ok(Some((Arc::clone(buffer), state)))
            }
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(("VIDIOC_DQBUF", errno)),
        }
    }

    /// For output: a free buffer that can be written and then queued with [`Queue::submit`].
    pub(super) fn take_free(&mut self) -> Option<&mut DriverBuffer> {
        let index = usize::try_from(self.pending.trailing_zeros()).unwrap_or(usize::MAX);
        // Buffers of an output queue are never lent, so this is the only reference.
        self.buffers.get_mut(index).and_then(Arc::get_mut)
    }

    /// For output: queues buffer `index`, which holds a frame of `bytes_used` bytes in each memory
    /// plane.
    ///
    /// # Errors
    /// The error of `VIDIOC_QBUF`; the buffer stays free.
    pub(super) fn submit(&mut self, device: impl AsFd, index: u32, bytes_used: &[u32]) -> Result<(), CallError> {
        let position = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(buffer) = self.buffers.get(position) else { return Err(("VIDIOC_QBUF", Errno::INVAL)) };
        buffer.set_queued();
        if let Err(errno) = sys::queue_buffer(device, self.buffer_type, index, Some(bytes_used)) {
            buffer.set_dequeued(&[0; MAX_PLANES]);
            return Err(("VIDIOC_QBUF", errno));
        }
        self.pending &= !(1 << position);
        self.queued += 1;
        Ok(())
    }

    /// Starts the stream.
    ///
    /// # Errors
    /// The error of `VIDIOC_STREAMON`, for example `ENOSPC` if the USB bus has no bandwidth left.
    pub(super) fn start(&mut self, device: impl AsFd) -> Result<(), CallError> {
        sys::stream_on(device, self.buffer_type).map_err(|errno| match errno {
            Errno::NOSPC => ("VIDIOC_STREAMON (the USB bus has no bandwidth left)", errno),
            errno => ("VIDIOC_STREAMON", errno),
        })
    }

    /// Stops the stream and releases the buffers. Frames that are still lent stay readable.
    pub(super) fn stop(self, device: impl AsFd) {
        let fd = device.as_fd();
        // The call fails for a device that is gone, which needs no stop.
        let _ = sys::stream_off(fd, self.buffer_type);
        let buffer_type = self.buffer_type;
        drop(self);
        // Some kernels return `EBUSY` while a buffer is mapped. They free the buffers when the
        // device is closed.
        let _ = sys::request_buffers(fd, buffer_type, 0);
    }
}
