//! An open video node: who it is, what it offers, and how it is set up. No streaming here.

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
use portraitd_media::Size;
use portraitd_media::{FormatRequest, SourceError};

/// A device that enumerates without end is asked no further than this.
const MOST_FORMATS: u32 = 128;
const MOST_SIZES: u32 = 128;
const MOST_RATES: u32 = 64;

/// Sizes that a device offers in one format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// One size.
    Discrete(Size),
    /// All sizes from the least to the greatest in steps.
    Stepwise {
        /// The least.
        least: Size,
        /// The greatest.
        greatest: Size,
        /// Steps of width and height.
        step: Size,
    },
}

impl Sizes {
    /// The size nearest to `wanted` that is offered.
    pub fn nearest(self, wanted: Size) -> Size {
        match self {
            Self::Discrete(size) => size,
            Self::Stepwise { least, greatest, step } => Size::new(
                nearest(wanted.width, least.width, greatest.width, step.width),
                nearest(wanted.height, least.height, greatest.height, step.height),
            ),
        }
    }
}

/// `wanted` within the bounds, on a step; bounds that are no bounds are read as one value.
fn nearest(wanted: u32, least: u32, greatest: u32, step: u32) -> u32 {
    let greatest = greatest.max(least);
    let inside = wanted.clamp(least, greatest);
    let below = inside - (inside - least) % step.max(1);
    match below.checked_add(step) {
        Some(above) if above <= greatest && above - inside < inside - below => above,
        _ => below,
    }
}

/// Frame rates that a device offers in one size, in frames a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// The rates; the slowest and the fastest where all between are offered.
    pub rates: Vec<f32>,
    /// Whether all between the two are offered.
    pub continuous: bool,
}

/// A format that a device offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferedFormat {
    /// The four-character code.
    pub code: FourCc,
    /// The driver's words for it.
    pub description: [u8; 32],
    /// Whether it is made by conversion in software.
    pub emulated: bool,
}

/// An open video node.
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
    /// Opens the node at `path` (links are followed), for reading and writing, without waiting.
    ///
    /// # Errors
    /// [`SourceError::Absent`], `Permission`, `Busy`, `Unsupported` where it is no video device, `Io`.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let fail = |call, errno| classify(path, call, errno, Phase::Opening);
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| fail("open", Errno::NOENT))?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = rustix::fs::open(&*name, flags, Mode::empty()).map_err(|errno| match errno {
            // A directory, or a file on a read-only file system, is no camera.
            Errno::ISDIR | Errno::ROFS => fail("open", Errno::NOTTY),
            errno => fail("open", errno),
        })?;
        let status = rustix::fs::fstat(&fd).map_err(|errno| fail("fstat", errno))?;
        if FileType::from_raw_mode(status.st_mode) != FileType::CharacterDevice {
            return Err(fail("VIDIOC_QUERYCAP", Errno::NOTTY));
        }
        let capability = sys::query_capability(&fd).map_err(|errno| match errno {
            // What other kinds of devices answer to a call that they do not know.
            Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS => fail("VIDIOC_QUERYCAP", Errno::NOTTY),
            errno => fail("VIDIOC_QUERYCAP", errno),
        })?;
        Ok(Self { fd, path: path.to_owned(), capability })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn capability(&self) -> &sys::Capability {
        &self.capability
    }

    /// The error of `call` on this device.
    pub(super) fn error(&self, call: &'static str, errno: Errno, phase: Phase) -> SourceError {
        classify(&self.path, call, errno, phase)
    }

    /// An error that says what it lacks.
    pub(super) fn unsupported(&self, reason: impl Into<String>) -> SourceError {
        SourceError::Unsupported { source_name: self.path.display().to_string(), reason: reason.into() }
    }

    /// What this node can do (and not the whole device).
    pub const fn capabilities(&self) -> u32 {
        if self.capability.capabilities & sys::CAP_DEVICE_CAPS != 0 {
            self.capability.device_caps
        } else {
            self.capability.capabilities
        }
    }

    /// The queue to capture from, where it is a node for that. Memory-to-memory devices (codecs, scalers) are not cameras.
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

    /// Whether it takes pictures, in whichever way.
    pub(super) const fn is_output(&self) -> bool {
        self.capabilities() & (sys::CAP_VIDEO_OUTPUT | sys::CAP_VIDEO_OUTPUT_MPLANE) != 0
    }

    /// The queue to write to, where it is a node for that.
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

    /// The formats of a queue, in the driver's order.
    ///
    /// # Errors
    /// Where the driver fails otherwise than by the end of its list.
    pub fn formats(&self, buffer_type: BufferType) -> Result<Vec<OfferedFormat>, SourceError> {
        let mut formats = Vec::new();
        for index in 0..MOST_FORMATS {
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

    /// The sizes of a format; empty where the driver does not tell.
    pub fn sizes(&self, code: FourCc) -> Vec<Sizes> {
        let mut sizes = Vec::new();
        for index in 0..MOST_SIZES {
            // Each error is the end of the list: drivers disagree on which one it is.
            let Ok(found) = sys::enumerate_frame_size(self, code.0, index) else { break };
            let [a, b, c, d, e, f] = found.values;
            if found.kind == sys::KIND_DISCRETE {
                sizes.push(Sizes::Discrete(Size::new(a, b)));
            } else {
                let (least, greatest, step) = (Size::new(a, d), Size::new(b, e), Size::new(c, f));
                sizes.push(Sizes::Stepwise { least, greatest, step });
                break;
            }
        }
        sizes
    }

    /// The frame rates of a format in a size; empty where the driver does not tell.
    pub fn rates(&self, code: FourCc, size: Size) -> Rates {
        let mut rates = Rates::default();
        for index in 0..MOST_RATES {
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

    /// What it offers that is nearest to `wanted`, a candidate for each format and discrete size.
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
                // A driver that lists no sizes has one (a receiver), or takes any (many boards): try the wanted one, and
                // its own.
                sizes.extend(wanted.size.into_iter().chain(current));
                sizes.dedup();
            }
            for size in sizes {
                let usable = format.code.encoding().is_some();
                let Rates { mut rates, continuous } =
                    if usable { self.rates(format.code, size) } else { Rates::default() };
                if let (true, [slowest, fastest], Some(wish)) = (continuous, rates.as_slice(), wanted.frame_rate)
                    && *slowest <= wish
                    && wish <= *fastest
                {
                    rates.push(wish);
                }
                candidates.push(Candidate { code: format.code, size, rates, emulated: format.emulated });
            }
        }
        Ok(candidates)
    }
}

/// Frames a second of an interval in seconds (numerator, denominator).
pub(super) fn rate([numerator, denominator]: [u32; 2]) -> Option<f32> {
    (numerator != 0 && denominator != 0).then(|| denominator as f32 / numerator as f32)
}

/// The interval in seconds (numerator, denominator) of `rate` frames a second: whole rates and the NTSC ones exactly.
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
    fn what_is_no_camera_says_so() {
        let open = |path: &str| Device::open(Path::new(path)).expect_err("no camera");
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
        let sizes =
            Sizes::Stepwise { least: Size::new(32, 16), greatest: Size::new(1920, 1080), step: Size::new(16, 8) };
        assert_eq!(sizes.nearest(Size::new(1280, 720)), Size::new(1280, 720));
        assert_eq!(sizes.nearest(Size::new(1287, 727)), Size::new(1280, 728));
        assert_eq!(sizes.nearest(Size::new(0, 9999)), Size::new(32, 1080));
        let odd = Sizes::Stepwise { least: Size::new(9, 9), greatest: Size::new(3, 3), step: Size::new(0, u32::MAX) };
        assert_eq!(odd.nearest(Size::new(5, u32::MAX)), Size::new(9, 9));
    }

    proptest! {
        #[test]
        fn a_nearest_value_is_within_bounds(wanted in any::<u32>(), least in any::<u32>(), greatest in any::<u32>(), step in any::<u32>()) {
            let value = nearest(wanted, least, greatest, step);
            prop_assert!(value >= least && value <= greatest.max(least));
            prop_assert_eq!((value - least) % step.max(1), 0);
        }
    }
}
