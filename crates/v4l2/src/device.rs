//! An open video node: its identity, capabilities and offered formats. Streaming is in `stream` and
//! `output`.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::error::{Phase, classify};
use super::formats::FourCc;
use super::negotiate::Candidate;
use super::sys::{self, BufferType};
use portraitd_media::{FormatRequest, Size, SourceError};

// The longest lists that are read, because a faulty driver may enumerate without end.
const MAX_FORMATS: u32 = 128;
const MAX_SIZES: u32 = 128;
const MAX_RATES: u32 = 64;

/// One entry of the list of frame sizes that a device offers for a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameSizes {
    /// Exactly this size.
    Discrete(Size),
    /// All sizes from the smallest to the largest, in steps.
    Stepwise {
        /// The smallest width and height, in pixels.
        min: Size,
        /// The largest width and height, in pixels.
        max: Size,
        /// The steps of width and height, in pixels.
        step: Size,
    },
}

impl FrameSizes {
    /// The offered size that is nearest to `wanted`.
    pub fn nearest(self, wanted: Size) -> Size {
        match self {
            Self::Discrete(size) => size,
            Self::Stepwise { min, max, step } => Size::new(
                nearest(wanted.width, min.width, max.width, step.width),
                nearest(wanted.height, min.height, max.height, step.height),
            ),
        }
    }
}

/// The value `min + n * step` of at most `max` that is nearest to `wanted`; `min` if `max` is
/// smaller.
fn nearest(wanted: u32, min: u32, max: u32, step: u32) -> u32 {
    let max = max.max(min);
    let inside = wanted.clamp(min, max);
    let below = inside - (inside - min) % step.max(1);
    match below.checked_add(step) {
        Some(above) if above <= max && above - inside < inside - below => above,
        _ => below,
    }
}

/// The frame rates that a device offers for one format and size, in frames a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FrameRates {
    /// The offered rates; only the slowest and the fastest if `continuous`. Empty if the driver
    /// does not report them.
    pub rates: Vec<f32>,
    /// Whether all rates between the two are offered.
    pub continuous: bool,
}

/// A pixel format that a device offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferedFormat {
    /// Its four-character code.
    pub code: FourCc,
    /// The driver's description: text that ends at the first zero byte.
    pub description: [u8; 32],
    /// Whether the driver or a library below it produces the format by conversion in software.
    pub emulated: bool,
}

/// An open video node. Closed when it is dropped.
#[derive(Debug)]
pub struct Device {
    fd: OwnedFd,
    path: PathBuf,
    capability: sys::Capability,
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Device {
    /// Opens the node at `path` for reading and writing, in non-blocking mode. Symbolic links are
    /// followed.
    ///
    /// # Errors
    /// [`SourceError::Absent`], `Permission`, `Busy`, `Io`, or `Unsupported` if it is not a video
    /// device.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let fail = |call, errno| classify(path, call, errno, Phase::Opening);
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| fail("open", Errno::NOENT))?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = rustix::fs::open(&*name, flags, Mode::empty()).map_err(|errno| match errno {
            // A directory, or a file on a read-only file system, is not a camera.
            Errno::ISDIR | Errno::ROFS => fail("open", Errno::NOTTY),
            errno => fail("open", errno),
        })?;
        let status = rustix::fs::fstat(&fd).map_err(|errno| fail("fstat", errno))?;
        if FileType::from_raw_mode(status.st_mode) != FileType::CharacterDevice {
            return Err(fail("VIDIOC_QUERYCAP", Errno::NOTTY));
        }
        let capability = sys::query_capability(&fd).map_err(|errno| match errno {
            // Other kinds of devices return these errors for an unknown call.
            Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS => fail("VIDIOC_QUERYCAP", Errno::NOTTY),
            errno => fail("VIDIOC_QUERYCAP", errno),
        })?;
        Ok(Self { fd, path: path.to_owned(), capability })
    }

    /// The path under which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn capability(&self) -> &sys::Capability {
        &self.capability
    }

    /// The error of the system call `call` on this device.
    pub(super) fn error(&self, call: &'static str, errno: Errno, phase: Phase) -> SourceError {
        classify(&self.path, call, errno, phase)
    }

    /// The error for a device that cannot do what is needed. `reason` continues a sentence whose
    /// subject is the device.
    pub(super) fn unsupported(&self, reason: impl Into<String>) -> SourceError {
        SourceError::Unsupported { source_name: self.path.display().to_string(), reason: reason.into() }
    }

    /// The `V4L2_CAP_...` flags of this node (not of the whole device).
    pub const fn capabilities(&self) -> u32 {
        if self.capability.capabilities & sys::CAP_DEVICE_CAPS != 0 {
            self.capability.device_caps
        } else {
            self.capability.capabilities
        }
    }

    /// The queue to capture from; `None` if the node cannot capture with streaming.
    /// Memory-to-memory devices (codecs, scalers) are not cameras.
    pub fn capture_type(&self) -> Option<BufferType> {
        let has = |flag| self.capabilities() & flag != 0;
        if has(sys::CAP_VIDEO_M2M | sys::CAP_VIDEO_M2M_MPLANE) || !has(sys::CAP_STREAMING) {
            None
        } else if has(sys::CAP_VIDEO_CAPTURE_MPLANE) {
            Some(BufferType::CaptureMulti)
        } else if has(sys::CAP_VIDEO_CAPTURE) {
            Some(BufferType::Capture)
        } else {
            None
        }
    }

    /// Whether the node accepts pictures, with or without streaming.
    pub(super) const fn is_output(&self) -> bool {
        self.capabilities() & (sys::CAP_VIDEO_OUTPUT | sys::CAP_VIDEO_OUTPUT_MPLANE) != 0
    }

    /// The queue to write to; `None` if the node cannot output with streaming.
    pub fn output_type(&self) -> Option<BufferType> {
        let has = |flag| self.capabilities() & flag != 0;
        if has(sys::CAP_VIDEO_M2M | sys::CAP_VIDEO_M2M_MPLANE) || !has(sys::CAP_STREAMING) {
            None
        } else if has(sys::CAP_VIDEO_OUTPUT_MPLANE) {
            Some(BufferType::OutputMulti)
        } else if has(sys::CAP_VIDEO_OUTPUT) {
            Some(BufferType::Output)
        } else {
            None
        }
    }

    /// The pixel formats of a queue, in the driver's order.
    ///
    /// # Errors
    /// [`SourceError`] if the driver fails with an error that does not mark the end of the list.
    pub fn formats(&self, buffer_type: BufferType) -> Result<Vec<OfferedFormat>, SourceError> {
        let mut formats = Vec::new();
        for index in 0..MAX_FORMATS {
            match sys::enumerate_format(self, buffer_type, index) {
                Ok(found) => formats.push(OfferedFormat {
                    code: FourCc(found.pixel_format),
                    description: found.description,
                    emulated: found.flags & sys::FORMAT_FLAG_EMULATED != 0,
                }),
                Err(Errno::INVAL | Errno::NOTTY) => break,
                Err(errno) => return Err(self.error("VIDIOC_ENUM_FMT", errno, Phase::Opening)),
            }
        }
        Ok(formats)
    }

    /// The sizes of a format; empty if the driver does not report them.
    pub fn sizes(&self, code: FourCc) -> Vec<FrameSizes> {
        let mut sizes = Vec::new();
        for index in 0..MAX_SIZES {
            // Drivers disagree on the error that ends the list, so every error does.
            let Ok(found) = sys::enumerate_frame_size(self, code.0, index) else { break };
            let [a, b, c, d, e, f] = found.values;
            if found.kind == sys::KIND_DISCRETE {
                sizes.push(FrameSizes::Discrete(Size::new(a, b)));
            } else {
                let (min, max, step) = (Size::new(a, d), Size::new(b, e), Size::new(c, f));
                sizes.push(FrameSizes::Stepwise { min, max, step });
                break;
            }
        }
        sizes
    }

    /// The frame rates of a format in a size; empty if the driver does not report them.
    pub fn rates(&self, code: FourCc, size: Size) -> FrameRates {
        let mut rates = FrameRates::default();
        for index in 0..MAX_RATES {
            let found = sys::enumerate_frame_interval(self, code.0, (size.width, size.height), index);
            let Ok(found) = found else { break };
            if found.kind == sys::KIND_DISCRETE {
                rates.rates.extend(rate(found.values[0]));
            } else {
                // The longest interval is the slowest rate.
                rates.rates.extend([found.values[1], found.values[0]].into_iter().filter_map(rate));
                rates.continuous = rates.rates.len() == 2;
                break;
            }
        }
        rates
    }

    /// One candidate for each format and discrete size. A range of sizes gives one candidate: the
    /// size nearest to `wanted`.
    ///
    /// # Errors
    /// As [`Device::formats`].
    pub fn candidates(&self, buffer_type: BufferType, wanted: &FormatRequest) -> Result<Vec<Candidate>, SourceError> {
        let current = sys::get_format(self, buffer_type).ok().map(|format| Size::new(format.width, format.height));
        let mut candidates = Vec::new();
        for format in self.formats(buffer_type)? {
            let mut sizes: Vec<Size> = self
                .sizes(format.code)
                .into_iter()
                .map(|sizes| sizes.nearest(wanted.size.or(current).unwrap_or_default()))
                .collect();
            if sizes.is_empty() {
                // A driver that lists no sizes has only one (a receiver) or accepts any (many
                // boards). Try the requested one and the current one.
                sizes.extend(wanted.size.into_iter().chain(current));
                sizes.dedup();
            }
            for size in sizes {
                let usable = format.code.encoding().is_some();
                let FrameRates { mut rates, continuous } =
                    if usable { self.rates(format.code, size) } else { FrameRates::default() };
                if let (true, [slowest, fastest], Some(requested)) = (continuous, rates.as_slice(), wanted.frame_rate)
                    && *slowest <= requested
                    && requested <= *fastest
                {
                    rates.push(requested);
                }
                candidates.push(Candidate { code: format.code, size, rates, emulated: format.emulated });
            }
        }
        Ok(candidates)
    }
}

/// The frame rate, in frames a second, of an interval in seconds (numerator, denominator); `None`
/// for a zero.
pub(super) fn rate([numerator, denominator]: [u32; 2]) -> Option<f32> {
    (numerator != 0 && denominator != 0).then(|| denominator as f32 / numerator as f32)
}

/// The interval, in seconds (numerator, denominator), of `rate` frames a second. Whole rates and
/// NTSC rates are exact; others are rounded to a thousandth. `None` outside 0.001 to 100,000.
pub(super) fn interval(rate: f32) -> Option<[u32; 2]> {
    if !rate.is_finite() || !(0.001..=100_000.0).contains(&rate) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within 0..=100_000_000, checked above"
    )]
    let whole = |number: f32| number.round() as u32;
    if (rate - rate.round()).abs() < 1e-3 && rate >= 0.5 {
        return Some([1, whole(rate)]);
    }
    let ntsc = rate * 1.001;
    if (ntsc - ntsc.round()).abs() < 1e-3 && ntsc >= 0.5 {
        return Some([1001, whole(ntsc) * 1000]);
    }
    Some([1000, whole(rate * 1000.0)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_that_is_not_a_camera_is_refused() {
        let open = |path: &str| Device::open(Path::new(path)).expect_err("not a camera");
        assert!(matches!(open("/dev/video-that-is-not-there"), SourceError::Absent { .. }));
        for path in ["/dev/null", "/dev", "/proc/self/mem", "/etc/passwd"] {
            let error = open(path);
            assert!(
                matches!(error, SourceError::Unsupported { .. } | SourceError::Permission { .. }),
                "{path}: {error:?}"
            );
        }
    }

    #[test]
    fn rates_and_intervals_are_each_others_inverse() {
        for (rate_wanted, expected) in
            [(30.0, [1, 30]), (29.97, [1001, 30_000]), (7.5, [1000, 7500]), (0.5, [1000, 500])]
        {
            assert_eq!(interval(rate_wanted), Some(expected));
            assert!((rate(expected).expect("a rate") - rate_wanted).abs() < 0.001);
        }
        for odd in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e9] {
            assert_eq!(interval(odd), None);
        }
        assert_eq!(rate([0, 30]), None);
        assert_eq!(rate([1, 0]), None);
    }

    #[test]
    fn the_nearest_size_is_on_a_step() {
        let sizes = FrameSizes::Stepwise { min: Size::new(32, 16), max: Size::new(1920, 1080), step: Size::new(16, 8) };
        assert_eq!(sizes.nearest(Size::new(1280, 720)), Size::new(1280, 720));
        assert_eq!(sizes.nearest(Size::new(1287, 727)), Size::new(1280, 728));
        assert_eq!(sizes.nearest(Size::new(0, 9999)), Size::new(32, 1080));
        let odd = FrameSizes::Stepwise { min: Size::new(9, 9), max: Size::new(3, 3), step: Size::new(0, u32::MAX) };
        assert_eq!(odd.nearest(Size::new(5, u32::MAX)), Size::new(9, 9));
    }

    proptest! {
        #[test]
        fn a_nearest_value_is_within_bounds(wanted in any::<u32>(), min in any::<u32>(), max in any::<u32>(), step in any::<u32>()) {
            let value = nearest(wanted, min, max, step);
            prop_assert!(value >= min && value <= max.max(min));
            prop_assert_eq!((value - min) % step.max(1), 0);
        }
    }
}
