//! A device's queue of buffers: allocated by the driver, mapped, queued and dequeued. For capture and for output.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::io::Errno;

use super::formats::Layout;
use super::mapping::{DriverBuffer, MAX_BUFFERS, Returns};
use super::sys::{self, BufferState, BufferType, MAX_PLANES};

/// A system call that failed: its name in the manual, and why.
pub(super) type CallError = (&'static str, Errno);

/// So many failures in a row of one call are the device's state, and no accident.
pub(super) const MOST_FAILURES: u32 = 16;

/// The buffers of a device that is set up. Frees nothing by itself: closing the device does, once no mapping is left.
pub(super) struct Queue {
    buffer_type: BufferType,
    buffers: Vec<Arc<DriverBuffer>>,
    returns: Arc<Returns>,
    /// Buffers to give to the driver, a bit each.
    pending: usize,
    /// Buffers that the driver has.
    queued: usize,
    failures: u32,
}

impl Queue {
    /// Has the driver allocate about `count` buffers for frames of `layout`, and maps them. `returns` is this queue's own:
    /// buffers of another queue, put down there, would be taken for its.
    ///
    /// # Errors
    /// What the driver says; `EINVAL` where its buffers cannot hold the format that it set.
    pub(super) fn allocate(
        device: impl AsFd,
        buffer_type: BufferType,
        layout: &Layout,
        count: u32,
        returns: &Arc<Returns>,
    ) -> Result<Self, CallError> {
        let fd = device.as_fd();
        let granted = sys::request_buffers(fd, buffer_type, count).map_err(|errno| ("VIDIOC_REQBUFS", errno))?;
        let mut buffers = Vec::new();
        for index in 0..granted.min(MAX_BUFFERS) {
            let state = sys::query_buffer(fd, buffer_type, index).map_err(|errno| ("VIDIOC_QUERYBUF", errno))?;
            let buffer = DriverBuffer::new(fd, &state, layout.planes, Arc::clone(returns), buffer_type.is_output())
                .map_err(|errno| ("mmap", errno))?;
            let fits = layout.planes.iter().all(|place| {
                // A compressed frame is at most its buffer, whatever the format says.
                layout.is_compressed() || place.range(0, buffer.memory_bytes(place.memory)).is_some()
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

    /// Buffers in all.
    pub(super) const fn len(&self) -> usize {
        self.buffers.len()
    }

    /// Buffers that the driver has.
    pub(super) const fn queued(&self) -> usize {
        self.queued
    }

    /// Gives the driver every buffer that is free.
    ///
    /// # Errors
    /// Where the driver refused too often in a row, or is gone. One refusal is tried again with the next call.
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
                    if gone || self.failures >= MOST_FAILURES {
                        return Err(("VIDIOC_QBUF", errno));
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts a dequeued buffer that was not lent back among the free.
    pub(super) fn put_back(&mut self, buffer: &DriverBuffer) {
        self.pending |= 1 << buffer.index();
    }

    /// A frame that the driver has finished with, or `None`.
    ///
    /// # Errors
    /// What the driver says.
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

    /// A free buffer to be written and then queued with [`Queue::submit`]; for output.
    pub(super) fn take_free(&mut self) -> Option<&mut DriverBuffer> {
        let index = usize::try_from(self.pending.trailing_zeros()).unwrap_or(usize::MAX);
        // Nobody else holds buffers of an output queue.
        self.buffers.get_mut(index).and_then(Arc::get_mut)
    }

    /// Gives the driver buffer `index`, which holds a frame of so many bytes in each memory plane; for output.
    ///
    /// # Errors
    /// What the driver says; the buffer stays free.
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
    /// What the driver says.
    pub(super) fn start(&mut self, device: impl AsFd) -> Result<(), CallError> {
        sys::stream_on(device, self.buffer_type).map_err(|errno| match errno {
            Errno::NOSPC => ("VIDIOC_STREAMON (the USB bus has no bandwidth left)", errno),
            errno => ("VIDIOC_STREAMON", errno),
        })
    }

    /// Stops the stream and lets the buffers go. Frames that are still lent stay readable.
    pub(super) fn stop(self, device: impl AsFd) {
        let fd = device.as_fd();
        // A device that is gone cannot be stopped, and need not be.
        let _ = sys::stream_off(fd, self.buffer_type);
        let buffer_type = self.buffer_type;
        drop(self);
        // `EBUSY` from kernels that cannot free what somebody has mapped: closing the device does it.
        let _ = sys::request_buffers(fd, buffer_type, 0);
    }
}
