//! The setup of a capture device: video timings, format, frame rate, buffers, start.

use std::sync::Arc;

use rustix::io::Errno;

use super::device::{Device, interval, rate};
use super::error::Phase;
use super::formats::{BufferLayout, Encoding, FourCc};
use super::mapping::ReturnedBuffers;
use super::negotiate::{Choice, Negotiation, negotiate};
use super::queue::{CallError, Queue};
use super::sys::{self, BufferType, DeviceFormat, MAX_PLANES};
use portraitd_media::{FormatRequest, FrameFormat, Orientation, SourceError};

/// Buffers to ask the driver for: two for the driver, the newest frame, one for inference, one for
/// a render thread.
const RAW_BUFFERS: u32 = 5;
/// Buffers for JPEG frames, which are decoded at once and never lent.
const JPEG_BUFFERS: u32 = 3;
/// The number of formats that are tried before the device is refused.
const MAX_ATTEMPTS: usize = 16;

/// The result of a successful setup.
pub(super) struct Setup {
    pub(super) layout: BufferLayout,
    pub(super) format: FrameFormat,
    pub(super) negotiation: Negotiation,
}

/// Settings of a capture stream that are not negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureOptions {
    /// The only four-character code to accept; `None` accepts every supported one.
    pub code: Option<FourCc>,
    /// The id of the control that is 1 while the shutter is closed: `V4L2_CID_PRIVACY`, or a
    /// driver's own control.
    pub privacy_control: u32,
    /// Has the device turn its pictures, as far as it can ([`CaptureStream::left`]); `None` leaves its
    /// controls alone.
    ///
    /// [`CaptureStream::left`]: super::CaptureStream::left
    pub turn: Option<Orientation>,
}

impl Default for CaptureOptions {
    fn default() -> Self {
        Self { code: None, privacy_control: sys::CONTROL_PRIVACY, turn: None }
    }
}

/// Sets the device to the best format for `wanted`, allocates and queues its buffers, and starts
/// the stream.
///
/// # Errors
/// [`SourceError::Unsupported`] for a device that cannot capture, has no signal or offers no
/// supported format; otherwise the error of the call that failed.
pub(super) fn configure(
    device: &Device,
    wanted: &FormatRequest,
    options: CaptureOptions,
    returns: &Arc<ReturnedBuffers>,
) -> Result<(Setup, Queue), SourceError> {
    let Some(buffer_type) = device.capture_type() else {
        return Err(device.unsupported("is not a capture device that supports streaming"));
    };
    let fail = |(call, errno): CallError| device.error(call, errno, Phase::Opening);
    apply_video_timings(device)?;
    let mut candidates = device.candidates(buffer_type, wanted)?;
    if let Some(code) = options.code {
        candidates.retain(|candidate| candidate.code == code);
    }
    let negotiation = negotiate(wanted, &candidates);
    let (layout, frame_rate) = set_format(device, buffer_type, &negotiation)?;
    let picture_format = layout.encoding.picture_format();
    let mut format = FrameFormat::packed(picture_format, layout.size, layout.color, frame_rate);
    if !layout.is_compressed() {
        format.strides_bytes = layout.planes.map(|plane| plane.stride_bytes);
    }
    let count = if layout.is_compressed() { JPEG_BUFFERS } else { RAW_BUFFERS };
    let mut queue = Queue::allocate(device, buffer_type, &layout, count, returns).map_err(fail)?;
    let started = queue.feed(device).and_then(|()| queue.start(device));
    if let Err(error) = started {
        queue.stop(device);
        return Err(fail(error));
    }
    Ok((Setup { layout, format, negotiation }, queue))
}

/// Sets a video receiver (HDMI, SDI) to the timings of the signal on its input. Does nothing for
/// other devices.
fn apply_video_timings(device: &Device) -> Result<(), SourceError> {
    let Ok(input) = sys::current_input(device) else { return Ok(()) };
    if input.capabilities & sys::INPUT_CAP_DV_TIMINGS != 0 {
        match sys::query_dv_timings(device) {
            Ok(timings) => {
                // A driver that refuses this call may have the right timings already. If not,
                // setting the format fails.
                if let Err(errno) = sys::set_dv_timings(device, timings) {
                    tracing::debug!(device = %device.path().display(), %errno, "VIDIOC_S_DV_TIMINGS failed");
                }
            }
            Err(Errno::NOLINK | Errno::NOLCK) => return Err(device.unsupported("has no signal on its input")),
            Err(Errno::RANGE) => {
                return Err(device.unsupported("has a signal on its input whose timings it does not support"));
            }
            Err(_) => {}
        }
    }
    if input.status & sys::INPUT_STATUS_NO_POWER != 0 {
        return Err(device.unsupported("has no power on its input"));
    }
    if input.status & sys::INPUT_STATUS_NO_SIGNAL != 0 {
        return Err(device.unsupported("has no signal on its input"));
    }
    Ok(())
}

/// Sets the first format of the ranking that the driver accepts, then the frame rate. Returns both
/// as the driver set them.
fn set_format(
    device: &Device,
    buffer_type: BufferType,
    negotiation: &Negotiation,
) -> Result<(BufferLayout, f32), SourceError> {
    let mut refusal = None;
    for choice in negotiation.ranking.iter().take(MAX_ATTEMPTS) {
        let actual = match sys::set_format(device, buffer_type, &request(choice)) {
            Ok(actual) => actual,
            Err(errno @ Errno::INVAL) => {
                refusal.get_or_insert(format!("refuses {} {} ({errno})", choice.code, choice.size));
                continue;
            }
            Err(errno) => return Err(device.error("VIDIOC_S_FMT", errno, Phase::Opening)),
        };
        match BufferLayout::from_device(&actual) {
            Ok(layout) => return Ok((layout, set_rate(device, buffer_type, choice))),
            Err(error) => {
                refusal.get_or_insert(error.to_string());
            }
        }
    }
    let reason = refusal.unwrap_or_else(|| format!("offers no usable format: {}", negotiation.reasons.join("; ")));
    Err(device.unsupported(reason))
}

fn request(choice: &Choice) -> DeviceFormat {
    DeviceFormat {
        width: choice.size.width,
        height: choice.size.height,
        pixel_format: choice.code.0,
        field: sys::FIELD_NONE,
        colorspace: 0,
        ycbcr_encoding: 0,
        quantization: 0,
        plane_count: choice.code.encoding().map_or(1, Encoding::memory_planes),
        bytes_per_line: [0; MAX_PLANES],
        size_image: [0; MAX_PLANES],
    }
}

/// Asks for the frame rate of `choice` and returns the actual one in frames a second; 0 if the
/// driver does not report it.
fn set_rate(device: &Device, buffer_type: BufferType, choice: &Choice) -> f32 {
    let Ok(current) = sys::get_parameters(device, buffer_type) else { return 0.0 };
    let requested = choice.frame_rate.and_then(interval);
    let actual = match requested {
        Some(seconds) if current.capability & sys::CAP_TIME_PER_FRAME != 0 => {
            sys::set_time_per_frame(device, buffer_type, seconds).unwrap_or(current)
        }
        _ => current,
    };
    rate(actual.time_per_frame).unwrap_or(0.0)
}
