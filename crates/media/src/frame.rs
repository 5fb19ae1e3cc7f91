//! Frames: pictures that a source lends, with reference counts.
//!
//! A [`Frame`] holds a [`Lease`] on a [`Buffer`] of its source. Readers on any thread hold clones.
//! When the last lease is dropped, the source may fill the buffer again ([`Buffer::released`]). A
//! reader that never releases its frames is visible in the source's counter of starved frames.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portraitd_kernels::picture::{Colorimetry, Picture, PictureError, PixelFormat, Plane, Size};

/// The format of the frames of a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameFormat {
    /// The pixel format: planes and order of components.
    pub pixel_format: PixelFormat,
    /// The picture size, in pixels.
    pub size: Size,
    /// The bytes from one row to the next, for each plane.
    pub strides_bytes: [usize; 3],
    /// The matrix and range of the colours.
    pub color: Colorimetry,
    /// The nominal frame rate, in frames a second; 0 if the source does not know it.
    pub frame_rate: f32,
}

impl FrameFormat {
    /// A format without padding between rows.
    pub fn packed(pixel_format: PixelFormat, size: Size, color: Colorimetry, frame_rate: f32) -> Self {
        let strides_bytes = std::array::from_fn(|plane| pixel_format.plane_extent(plane, size).0);
        Self { pixel_format, size, strides_bytes, color, frame_rate }
    }
}

/// Memory of a source that holds one frame at a time. Implementations have one count of leases for
/// each buffer.
pub trait Buffer: Send + Sync {
    /// The bytes of plane `plane` of the current frame, from the first pixel on; empty if there is
    /// no such plane.
    fn plane(&self, plane: usize) -> &[u8];

    /// The number of leases on this buffer.
    fn leases(&self) -> &AtomicUsize;

    /// Called each time the last lease is dropped, on the thread that drops it. It must not block.
    fn released(&self);
}

/// The right to read a [`Buffer`]. The bytes of the buffer do not change while a lease exists.
pub struct Lease(Arc<dyn Buffer>);

impl Lease {
    /// A new lease on a buffer. Allocates nothing.
    pub fn new(buffer: Arc<dyn Buffer>) -> Self {
        buffer.leases().fetch_add(1, Ordering::AcqRel);
        Self(buffer)
    }
}

impl Clone for Lease {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.0))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.0.leases().fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.released();
        }
    }
}

/// One captured picture. A clone is cheap and shares the memory.
#[derive(Clone)]
pub struct Frame {
    /// The number of the frame in the stream, from 0. A gap means that frames were lost.
    pub sequence: u64,
    /// The capture timestamp of the driver, in `CLOCK_MONOTONIC` nanoseconds.
    pub capture_ns: u64,
    /// The format of this frame.
    pub format: FrameFormat,
    /// Whether the picture is black because the shutter of the camera is closed.
    pub private: bool,
    pub(super) lease: Lease,
}

impl Frame {
    /// A frame of `format` in the buffer of `lease`.
    ///
    /// # Errors
    /// [`PictureError`] if the buffer is too short for the format. The lease is dropped.
    pub fn new(sequence: u64, capture_ns: u64, format: FrameFormat, lease: Lease) -> Result<Self, PictureError> {
        let frame = Self { sequence, capture_ns, format, private: false, lease };
        frame.checked_picture()?;
        Ok(frame)
    }

    fn checked_picture(&self) -> Result<Picture<'_>, PictureError> {
        let planes = std::array::from_fn(|index| {
            if index < self.format.pixel_format.plane_count() {
                Plane { data: self.lease.0.plane(index), stride_bytes: self.format.strides_bytes[index] }
            } else {
                Plane::default()
            }
        });
        Picture::new(self.format.pixel_format, self.format.size, self.format.color, planes)
    }

    /// The picture, borrowed from the buffer.
    pub fn picture(&self) -> Picture<'_> {
        self.checked_picture().expect("checked by `Frame::new`, and a leased buffer does not change")
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("sequence", &self.sequence)
            .field("capture_ns", &self.capture_ns)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

/// A buffer in ordinary memory, for sources that produce their own pictures.
#[derive(Debug)]
pub struct MemoryBuffer {
    planes: [std::ops::Range<usize>; 3],
    bytes: Box<[u8]>,
    leases: AtomicUsize,
}

/// A fixed number of [`MemoryBuffer`]s of one format. Nothing is allocated after its creation.
#[derive(Debug)]
pub struct MemoryPool {
    format: FrameFormat,
    buffers: Vec<Arc<MemoryBuffer>>,
}

impl MemoryPool {
    /// `count` buffers for frames of `format`. The planes follow each other, with the strides of
    /// `format`.
    pub fn new(format: FrameFormat, count: usize) -> Self {
        let mut planes: [std::ops::Range<usize>; 3] = [0..0, 0..0, 0..0];
        let mut end = 0;
        for (plane, range) in planes.iter_mut().enumerate().take(format.pixel_format.plane_count()) {
            let (_, rows) = format.pixel_format.plane_extent(plane, format.size);
            *range = end..end + format.strides_bytes[plane] * rows;
            end = range.end;
        }
        let buffers = (0..count)
            .map(|_| {
                Arc::new(MemoryBuffer {
                    planes: planes.clone(),
                    bytes: vec![0; end].into_boxed_slice(),
                    leases: AtomicUsize::new(0),
                })
            })
            .collect();
        Self { format, buffers }
    }

    /// The format of the frames.
    pub const fn format(&self) -> FrameFormat {
        self.format
    }

    /// Calls `fill` with the planes of a free buffer and lends the buffer as a frame; `None` if
    /// every buffer is lent.
    ///
    /// # Errors
    /// The error of `fill`. The buffer stays free.
    pub fn fill<E>(
        &mut self,
        sequence: u64,
        capture_ns: u64,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Option<Frame>, E> {
        // A lease holds a clone of the `Arc`, so a buffer with a single reference has no reader.
        let Some(buffer) = self.buffers.iter_mut().find(|buffer| Arc::strong_count(buffer) == 1) else {
            return Ok(None);
        };
        let Some(memory) = Arc::get_mut(buffer) else { return Ok(None) };
        fill(&mut memory.bytes)?;
        let lease = Lease::new(Arc::clone(buffer) as Arc<dyn Buffer>);
        Ok(Frame::new(sequence, capture_ns, self.format, lease).ok())
    }
}

impl Buffer for MemoryBuffer {
    fn plane(&self, plane: usize) -> &[u8] {
        self.planes.get(plane).map_or(&[], |range| &self.bytes[range.clone()])
    }

    fn leases(&self) -> &AtomicUsize {
        &self.leases
    }

    fn released(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey_pool(count: usize) -> MemoryPool {
        let format = FrameFormat::packed(PixelFormat::Grey, Size::new(4, 2), Colorimetry::default(), 30.0);
        MemoryPool::new(format, count)
    }

    fn lend(pool: &mut MemoryPool, value: u8) -> Option<Frame> {
        pool.fill(0, 0, |bytes| {
            bytes.fill(value);
            Ok::<_, std::convert::Infallible>(())
        })
        .expect("infallible")
    }

    #[test]
    fn a_lent_buffer_is_not_filled_before_the_last_clone_is_dropped() {
        let mut pool = grey_pool(2);
        let first = lend(&mut pool, 1).expect("free");
        let second = lend(&mut pool, 2).expect("free");
        assert!(lend(&mut pool, 3).is_none(), "both are lent");
        let clone = first.clone();
        drop(first);
        assert!(lend(&mut pool, 3).is_none(), "a clone is still alive");
        assert_eq!(clone.picture().plane(0).row(0)[0], 1);
        drop(clone);
        let third = lend(&mut pool, 3).expect("free again");
        assert_eq!(third.picture().plane(0).row(1)[3], 3);
        assert_eq!(second.picture().plane(0).row(0)[0], 2);
    }

    #[test]
    fn a_failed_fill_leaves_the_buffer_free() {
        let mut pool = grey_pool(1);
        assert_eq!(pool.fill(0, 0, |_| Err("no")).expect_err("fails"), "no");
        assert!(lend(&mut pool, 1).is_some());
    }
}
