//! Pictures written to a V4L2 output node: v4l2loopback, a gadget, a display. Other programs then see a webcam.
//!
//! The render thread that makes the pictures calls [`Output::write`], which copies one into a buffer of the driver's and
//! never waits: where the driver has not finished with any buffer, the picture is skipped. An error means that the node
//! has to be opened anew later; the camera and its other clients are not concerned.
//!
//! The output negotiates by asking: the caller lists the formats that it can make, the first that the device takes is
//! used, and [`Output::format`] says which and at what size. Where the device is set to another format by its reader
//! (an event of the driver's), the output follows and [`Written::FormatChanged`] tells the caller.

use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use super::device::{Device, interval};
use super::error::Phase;
use super::formats::{Encoding, FourCc, Layout, TABLE, layout};
use super::mapping::Returns;
use super::queue::{CallError, Queue};
use super::sys::{self, BufferType, DeviceFormat, MAX_PLANES};
use portraitd_media::{Colorimetry, Matrix, Picture, PixelFormat, Range, Size};
use portraitd_media::{FrameFormat, SourceError};

/// Buffers to ask for: one shown, one waiting, one being written.
const BUFFERS: u32 = 3;

// `enum v4l2_colorspace`.
const COLORSPACE_REC709: u32 = 3;
const COLORSPACE_SRGB: u32 = 8;
const COLORSPACE_BT2020: u32 = 10;

/// What became of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Written {
    /// The driver has it.
    Queued,
    /// The driver still had every buffer: this one was left out.
    Skipped,
    /// Nobody reads, as far as the driver tells: it was left out.
    NoReader,
    /// The device has another format now; pictures of it are wanted from here on. This one was left out.
    FormatChanged(FrameFormat),
}

/// An open output node.
pub struct Output {
    device: Device,
    buffer_type: BufferType,
    layout: Layout,
    format: FrameFormat,
    queue: Option<Queue>,
    started: bool,
    readers: Option<u32>,
    written: u64,
    skipped: u64,
}

impl Output {
    /// Opens the node at `path` for pictures of about `size` and `frame_rate`, in the first of `formats` that it takes.
    ///
    /// # Errors
    /// [`SourceError`], as for a camera: absent, busy, not permitted, nothing in common.
    pub fn open(
        path: &Path,
        size: Size,
        frame_rate: f32,
        formats: &[PixelFormat],
        color: Colorimetry,
    ) -> Result<Self, SourceError> {
        let device = Device::open(path)?;
        let Some(buffer_type) = device.output_type() else {
            return Err(device.unsupported("is not an output device that streams"));
        };
        let layout = negotiate(&device, buffer_type, size, formats, color)?;
        // What the driver does not know does not happen.
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
            "output set up"
        );
        Ok(output)
    }

    /// The format that pictures must have: pixel format and size. Their strides are their own.
    pub const fn format(&self) -> FrameFormat {
        self.format
    }

    /// Whether anybody reads; `None` where the driver does not tell.
    pub const fn has_reader(&self) -> Option<bool> {
        match self.readers {
            Some(count) => Some(count > 0),
            None => None,
        }
    }

    /// Pictures given to the driver, and pictures left out because it was not ready.
    pub const fn counts(&self) -> (u64, u64) {
        (self.written, self.skipped)
    }

    /// Writes one picture, without waiting.
    ///
    /// # Errors
    /// [`SourceError::Unsupported`] where the picture is not of [`Output::format`] (the output stays open), else what the
    /// driver said, after which the output is to be dropped and opened anew: `Gone` where the node is no more.
    pub fn write(&mut self, picture: &Picture<'_>) -> Result<Written, SourceError> {
        if let Some(format) = self.refresh()? {
            return Ok(Written::FormatChanged(format));
        }
        if (picture.format(), picture.size()) != (self.format.pixel_format, self.format.size) {
            return Err(self.device.unsupported(format!(
                "takes {} {} and got {} {}",
                self.format.pixel_format,
                self.format.size,
                picture.format(),
                picture.size()
            )));
        }
        // One picture is written all the same: v4l2loopback shows itself to readers only then.
        if self.readers == Some(0) && self.written > 0 {
            return Ok(Written::NoReader);
        }
        let result = self.give(picture);
        result.map_err(|(call, errno)| self.device.error(call, errno, Phase::Streaming))
    }

    fn allocate(&mut self) -> Result<(), CallError> {
        self.started = false;
        // Buffers of an output are never lent: nothing comes back by it.
        let returns = Arc::new(Returns::new().map_err(|errno| ("eventfd", errno))?);
        self.queue = Some(Queue::allocate(&self.device, self.buffer_type, &self.layout, BUFFERS, &returns)?);
        Ok(())
    }

    fn give(&mut self, picture: &Picture<'_>) -> Result<Written, CallError> {
        let Some(queue) = &mut self.queue else { return Err(("VIDIOC_QBUF", Errno::NODEV)) };
        // The driver gives buffers back only once it runs. No more are taken than it has: v4l2loopback gives one whenever it is
        // asked.
        for _ in 0..if self.started { queue.queued() } else { 0 } {
            let Some((buffer, _)) = queue.dequeue(&self.device)? else { break };
            queue.put_back(&buffer);
        }
        let Some(buffer) = queue.take_free() else {
            self.skipped += 1;
            return Ok(Written::Skipped);
        };
        let mut used = [0_u32; MAX_PLANES];
        for (plane, place) in self.layout.planes.iter().enumerate().take(picture.format().plane_count()) {
            let memory = buffer.memory_mut(place.memory);
            // Checked when the buffer was allocated.
            let Some(range) = place.range(0, memory.len()) else { return Err(("VIDIOC_QBUF", Errno::INVAL)) };
            let (row_bytes, _) = picture.format().plane_extent(plane, picture.size());
            let source = picture.plane(plane);
            for (y, row) in memory[range].chunks_mut(place.stride_bytes.max(1)).enumerate() {
                row[..row_bytes].copy_from_slice(&source.row(y)[..row_bytes]);
            }
            // A frame fills the memory that its format names: the padding of the last row counts.
            let all = self.layout.size_image[place.memory].min(buffer.memory_bytes(place.memory));
            used[place.memory] = u32::try_from(all).unwrap_or(u32::MAX);
        }
        let index = buffer.index();
        queue.submit(&self.device, index, &used[..self.layout.memory_planes])?;
        self.written += 1;
        if !self.started {
            queue.start(&self.device)?;
            self.started = true;
        }
        Ok(Written::Queued)
    }

    /// Takes the driver's events: who reads, and the new format where the device has one. Done by [`Output::write`] too; for
    /// a caller that has nothing to write.
    ///
    /// # Errors
    /// As [`Output::write`].
    pub fn refresh(&mut self) -> Result<Option<FrameFormat>, SourceError> {
        let mut changed = false;
        loop {
            let event = match sys::dequeue_event(&self.device) {
                Ok(event) => event,
                // How drivers say that the node is gone. Any other error is "no event".
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
        let got = sys::get_format(&self.device, self.buffer_type)
            .map_err(|errno| self.device.error("VIDIOC_G_FMT", errno, Phase::Streaming))?;
        let layout = layout(&got).map_err(|reason| self.device.unsupported(reason))?;
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

fn frame_format(layout: &Layout, frame_rate: f32) -> FrameFormat {
    FrameFormat::packed(layout.encoding.picture_format(), layout.size, layout.color, frame_rate)
}

/// Sets the first of `formats` that the device takes.
fn negotiate(
    device: &Device,
    buffer_type: BufferType,
    size: Size,
    formats: &[PixelFormat],
    color: Colorimetry,
) -> Result<Layout, SourceError> {
    let offered = device.formats(buffer_type)?;
    let makes = |code: FourCc, wanted: PixelFormat| matches!(code.encoding(), Some(Encoding::Raw { pixels, .. }) if pixels == wanted);
    let mut refusal = None;
    for &wanted in formats {
        for (code, encoding) in TABLE.iter().filter(|(code, _)| makes(*code, wanted)) {
            if !offered.iter().any(|format| format.code == *code) {
                continue;
            }
            let request = request(*code, encoding.memory_planes(), size, color);
            match sys::set_format(device, buffer_type, &request) {
                Ok(got) => match layout(&got) {
                    Ok(layout) if layout.encoding.picture_format() == wanted && !layout.is_compressed() => {
                        return Ok(layout);
                    }
                    Ok(layout) => refusal = Some(format!("was asked for {code} and takes {}", layout.code)),
                    Err(reason) => refusal = Some(reason),
                },
                Err(errno @ Errno::INVAL) => refusal = Some(format!("refuses {code} {size} ({errno})")),
                Err(errno) => return Err(device.error("VIDIOC_S_FMT", errno, Phase::Opening)),
            }
        }
    }
    let reason = refusal.unwrap_or_else(|| {
        let codes: Vec<String> = offered.iter().map(|format| format.code.to_string()).collect();
        let names: Vec<String> = formats.iter().map(PixelFormat::to_string).collect();
        format!("takes {}; portraitd can make {}", codes.join(" "), names.join(" "))
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
        // The colour space whose default is the matrix: some drivers listen to nothing else.
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
    fn what_is_no_output_says_so() {
        let open = |path: &str| {
            let formats = [PixelFormat::Yuyv];
            Output::open(Path::new(path), Size::new(640, 480), 30.0, &formats, Colorimetry::default())
                .err()
                .expect("none")
        };
        assert!(matches!(open("/dev/video-nothing"), SourceError::Absent { .. }));
        assert!(matches!(open("/dev/null"), SourceError::Unsupported { .. }));
    }

    #[test]
    fn matrix_and_range_are_named_to_the_driver() {
        let color = Colorimetry { matrix: Matrix::Bt709, range: Range::Full };
        let asked = request(FourCc::new(*b"YUYV"), 1, Size::new(2, 2), color);
        assert_eq!((asked.ycbcr_encoding, asked.quantization, asked.field), (2, 1, sys::FIELD_NONE));
        assert_eq!(asked.colorspace, COLORSPACE_REC709, "for drivers that listen to the colour space alone");
        let asked = request(FourCc::new(*b"RGB3"), 1, Size::new(2, 2), Colorimetry::default());
        assert_eq!((asked.quantization, asked.colorspace), (1, COLORSPACE_SRGB));
    }
}
