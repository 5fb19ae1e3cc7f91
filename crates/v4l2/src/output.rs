//! Writes pictures to a V4L2 output node: v4l2loopback, a gadget, a display. With v4l2loopback,
//! other programs see a webcam.
//!
//! [`Output::write`] copies a picture to one of the driver's buffers and never waits: while the
//! driver holds every buffer, the picture is skipped. After an error the node must be opened again.
//!
//! The caller lists the pixel formats that it can produce, and the first one that the device
//! accepts is used. [`Output::format`] returns the result. If the reader sets the device to another
//! format, the driver sends an event, the output follows, and [`WriteOutcome::FormatChanged`] tells
//! the caller.

use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use super::device::{Device, interval};
use super::error::Phase;
use super::formats::{BufferLayout, Encoding, FourCc, TABLE};
use super::mapping::ReturnedBuffers;
use super::queue::{CallError, Queue};
use super::sys::{self, BufferType, DeviceFormat, MAX_PLANES};
use portraitd_media::{Colorimetry, FrameFormat, Matrix, Picture, PixelFormat, Range, Size, SourceError};

/// Buffers to ask the driver for: one that is shown, one that waits, one that is written.
const BUFFERS: u32 = 3;

// Values of `enum v4l2_colorspace`.
const COLORSPACE_REC709: u32 = 3;
const COLORSPACE_SRGB: u32 = 8;
const COLORSPACE_BT2020: u32 = 10;

/// The result of [`Output::write`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WriteOutcome {
    /// The picture was given to the driver.
    Queued,
    /// The picture was not written, because the driver holds every buffer.
    Skipped,
    /// The picture was not written, because the driver reports no reader.
    NoReader,
    /// The picture was not written, because the device has another format now. Later pictures must
    /// have this one.
    FormatChanged(FrameFormat),
}

/// An open output node. Its stream is stopped when it is dropped.
pub struct Output {
    device: Device,
    buffer_type: BufferType,
    layout: BufferLayout,
    format: FrameFormat,
    queue: Option<Queue>,
    started: bool,
    readers: Option<u32>,
    written: u64,
    skipped: u64,
}

impl Output {
    /// Opens the node at `path` for pictures of about `size` (pixels) and `frame_rate` (frames a
    /// second), in the first of `formats` that the device accepts. `color` is announced to the
    /// device.
    ///
    /// # Errors
    /// [`SourceError`]: the node is absent, busy, not permitted, or accepts none of `formats`; or a
    /// call failed.
    pub fn open(
        path: &Path,
        size: Size,
        frame_rate: f32,
        formats: &[PixelFormat],
        color: Colorimetry,
    ) -> Result<Self, SourceError> {
        let device = Device::open(path)?;
        let Some(buffer_type) = device.output_type() else {
            return Err(device.unsupported("is not an output device that supports streaming"));
        };
        let layout = negotiate(&device, buffer_type, size, formats, color)?;
        // Drivers need not support these events. Without support the event does not occur, so
        // errors are ignored.
        let _ = sys::subscribe_event(&device, sys::EVENT_SOURCE_CHANGE, 0);
        let _ = sys::subscribe_event(&device, sys::EVENT_LOOPBACK_READERS, 0);
        if let Some(seconds) = interval(frame_rate) {
            let _ = sys::set_time_per_frame(&device, buffer_type, seconds);
        }
        let mut output = Self {
            device,
            buffer_type,
            format: frame_format(&layout, frame_rate),
            layout,
            queue: None,
            started: false,
            readers: None,
            written: 0,
            skipped: 0,
        };
        output.allocate().map_err(|(call, errno)| output.device.error(call, errno, Phase::Opening))?;
        tracing::info!(
            device = %output.device.path().display(),
            code = %output.layout.code,
            size = %output.format.size,
            color = ?output.format.color,
            "output device set up"
        );
        Ok(output)
    }

    /// The pixel format and size that pictures must have. Their strides may differ.
    pub const fn format(&self) -> FrameFormat {
        self.format
    }

    /// Whether a program reads from the device; `None` if the driver does not report readers.
    pub const fn has_reader(&self) -> Option<bool> {
        match self.readers {
            Some(count) => Some(count > 0),
            None => None,
        }
    }

    /// The number of pictures that were written, and the number that were skipped because the
    /// driver held every buffer.
    pub const fn counts(&self) -> (u64, u64) {
        (self.written, self.skipped)
    }

    /// Writes one picture without waiting.
    ///
    /// # Errors
    /// [`SourceError::Unsupported`] if the picture does not have [`Output::format`]; the output
    /// stays usable. After any other error the output must be dropped and opened again: `Gone` if
    /// the node was removed, otherwise the call that failed.
    pub fn write(&mut self, picture: &Picture<'_>) -> Result<WriteOutcome, SourceError> {
        if let Some(format) = self.refresh()? {
            return Ok(WriteOutcome::FormatChanged(format));
        }
        if (picture.format(), picture.size()) != (self.format.pixel_format, self.format.size) {
            return Err(self.device.unsupported(format!(
                "accepts {} {} and was given {} {}",
                self.format.pixel_format,
                self.format.size,
                picture.format(),
                picture.size()
            )));
        }
        // The first picture is always written: v4l2loopback is visible to readers only after that.
        if self.readers == Some(0) && self.written > 0 {
            return Ok(WriteOutcome::NoReader);
        }
        let result = self.queue_picture(picture);
        result.map_err(|(call, errno)| self.device.error(call, errno, Phase::Streaming))
    }

    /// Allocates buffers for the current format. The stream starts with the first picture.
    fn allocate(&mut self) -> Result<(), CallError> {
        self.started = false;
        // Buffers of an output are never lent, so none is returned this way.
        let returns = Arc::new(ReturnedBuffers::new().map_err(|errno| ("eventfd", errno))?);
        self.queue = Some(Queue::allocate(&self.device, self.buffer_type, &self.layout, BUFFERS, &returns)?);
        Ok(())
    }

    /// Copies the picture to a free buffer and queues it.
    fn queue_picture(&mut self, picture: &Picture<'_>) -> Result<WriteOutcome, CallError> {
        let Some(queue) = &mut self.queue else { return Err(("VIDIOC_QBUF", Errno::NODEV)) };
        // The driver returns buffers only while it streams. The loop is limited to the buffers that
        // it holds, because v4l2loopback returns a buffer at every call.
        for _ in 0..if self.started { queue.queued() } else { 0 } {
            let Some((buffer, _)) = queue.dequeue(&self.device)? else { break };
            queue.put_back(&buffer);
        }
        let Some(buffer) = queue.take_free() else {
            self.skipped += 1;
            return Ok(WriteOutcome::Skipped);
        };
        let mut used = [0_u32; MAX_PLANES];
        for (plane, layout) in self.layout.planes.iter().enumerate().take(picture.format().plane_count()) {
            let memory = buffer.memory_mut(layout.memory);
            // `Queue::allocate` has checked that the plane fits.
            let Some(range) = layout.range(0, memory.len()) else { return Err(("VIDIOC_QBUF", Errno::INVAL)) };
            let (row_bytes, _) = picture.format().plane_extent(plane, picture.size());
            let source = picture.plane(plane);
            for (y, row) in memory[range].chunks_mut(layout.stride_bytes.max(1)).enumerate() {
                row[..row_bytes].copy_from_slice(&source.row(y)[..row_bytes]);
            }
            // The size of a frame is the size that its format names, including the padding of the
            // last row.
            let all = self.layout.size_image[layout.memory].min(buffer.memory_bytes(layout.memory));
            used[layout.memory] = u32::try_from(all).unwrap_or(u32::MAX);
        }
        let index = buffer.index();
        queue.submit(&self.device, index, &used[..self.layout.memory_planes])?;
        self.written += 1;
        if !self.started {
            queue.start(&self.device)?;
            self.started = true;
        }
        Ok(WriteOutcome::Queued)
    }

    /// Reads the driver's events: the number of readers, and a change of the format. Returns the
    /// new format if it changed. [`Output::write`] does the same; this is for a caller that has
    /// nothing to write.
    ///
    /// # Errors
    /// The errors of [`Output::write`].
    pub fn refresh(&mut self) -> Result<Option<FrameFormat>, SourceError> {
        let mut changed = false;
        loop {
            let event = match sys::dequeue_event(&self.device) {
                Ok(event) => event,
                // With these errors, drivers report that the node was removed. Any other error
                // means "no event".
                Err(errno @ (Errno::NODEV | Errno::NXIO | Errno::SHUTDOWN)) => {
                    return Err(self.device.error("VIDIOC_DQEVENT", errno, Phase::Streaming));
                }
                Err(_) => break,
            };
            match event.kind {
                sys::EVENT_SOURCE_CHANGE => changed = true,
                sys::EVENT_LOOPBACK_READERS => self.readers = Some(event.first_word()),
                _ => {}
            }
            if event.pending == 0 {
                break;
            }
        }
        if !changed {
            return Ok(None);
        }
        let actual = sys::get_format(&self.device, self.buffer_type)
            .map_err(|errno| self.device.error("VIDIOC_G_FMT", errno, Phase::Streaming))?;
        let layout = BufferLayout::from_device(&actual).map_err(|error| self.device.unsupported(error.to_string()))?;
        if layout == self.layout {
            return Ok(None);
        }
        if let Some(queue) = self.queue.take() {
            queue.stop(&self.device);
        }
        self.format = frame_format(&layout, self.format.frame_rate);
        self.layout = layout;
        self.allocate().map_err(|(call, errno)| self.device.error(call, errno, Phase::Streaming))?;
        Ok(Some(self.format))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.stop(&self.device);
        }
    }
}

fn frame_format(layout: &BufferLayout, frame_rate: f32) -> FrameFormat {
    FrameFormat::packed(layout.encoding.picture_format(), layout.size, layout.color, frame_rate)
}

/// Sets the first of `formats` that the device accepts, and returns the format that the driver set.
fn negotiate(
    device: &Device,
    buffer_type: BufferType,
    size: Size,
    formats: &[PixelFormat],
    color: Colorimetry,
) -> Result<BufferLayout, SourceError> {
    let offered = device.formats(buffer_type)?;
    let has_pixels = |code: FourCc, wanted: PixelFormat| matches!(code.encoding(), Some(Encoding::Raw { pixels, .. }) if pixels == wanted);
    let mut refusal = None;
    for &wanted in formats {
        for (code, encoding) in TABLE.iter().filter(|(code, _)| has_pixels(*code, wanted)) {
            if !offered.iter().any(|format| format.code == *code) {
                continue;
            }
            let request = request(*code, encoding.memory_planes(), size, color);
            match sys::set_format(device, buffer_type, &request) {
                Ok(actual) => match BufferLayout::from_device(&actual) {
                    Ok(layout) if layout.encoding.picture_format() == wanted && !layout.is_compressed() => {
                        return Ok(layout);
                    }
                    Ok(layout) => refusal = Some(format!("was asked for {code} and accepts {}", layout.code)),
                    Err(error) => refusal = Some(error.to_string()),
                },
                Err(errno @ Errno::INVAL) => refusal = Some(format!("refuses {code} {size} ({errno})")),
                Err(errno) => return Err(device.error("VIDIOC_S_FMT", errno, Phase::Opening)),
            }
        }
    }
    let reason = refusal.unwrap_or_else(|| {
        let codes: Vec<String> = offered.iter().map(|format| format.code.to_string()).collect();
        let names: Vec<String> = formats.iter().map(PixelFormat::to_string).collect();
        format!("accepts {}; available are {}", codes.join(" "), names.join(" "))
    });
    Err(device.unsupported(reason))
}

fn request(code: FourCc, plane_count: usize, size: Size, color: Colorimetry) -> DeviceFormat {
    let rgb = code.encoding().is_some_and(|encoding| encoding.picture_format().is_rgb());
    DeviceFormat {
        width: size.width,
        height: size.height,
        pixel_format: code.0,
        field: sys::FIELD_NONE,
        // The colour space whose default is this matrix: some drivers ignore the fields below.
        colorspace: match color.matrix {
            Matrix::Bt709 if !rgb => COLORSPACE_REC709,
            Matrix::Bt2020 if !rgb => COLORSPACE_BT2020,
            _ => COLORSPACE_SRGB,
        },
        ycbcr_encoding: match color.matrix {
            Matrix::Bt601 => 1,
            Matrix::Bt709 => 2,
            Matrix::Bt2020 => 6,
        },
        quantization: if rgb || color.range == Range::Full { 1 } else { 2 },
        plane_count,
        bytes_per_line: [0; MAX_PLANES],
        size_image: [0; MAX_PLANES],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_an_output_is_refused() {
        let open = |path: &str| {
            let formats = [PixelFormat::Yuyv];
            Output::open(Path::new(path), Size::new(640, 480), 30.0, &formats, Colorimetry::default())
                .err()
                .expect("not an output")
        };
        assert!(matches!(open("/dev/video-nothing"), SourceError::Absent { .. }));
        assert!(matches!(open("/dev/null"), SourceError::Unsupported { .. }));
    }

    #[test]
    fn matrix_and_range_are_announced_to_the_driver() {
        let color = Colorimetry { matrix: Matrix::Bt709, range: Range::Full };
        let asked = request(FourCc::new(*b"YUYV"), 1, Size::new(2, 2), color);
        assert_eq!((asked.ycbcr_encoding, asked.quantization, asked.field), (2, 1, sys::FIELD_NONE));
        assert_eq!(asked.colorspace, COLORSPACE_REC709, "for drivers that use only the colour space");
        let asked = request(FourCc::new(*b"RGB3"), 1, Size::new(2, 2), Colorimetry::default());
        assert_eq!((asked.quantization, asked.colorspace), (1, COLORSPACE_SRGB));
    }
}
