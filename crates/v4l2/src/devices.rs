//! A description of every video device: names, formats, controls, hardware crop.

use std::path::{Path, PathBuf};

use super::controls::field_text;
use super::device::{Device, FrameSizes};
use super::formats::FourCc;
use super::negotiate::{Candidate, negotiate};
use super::paths;
use super::sys::{self, BufferType};
use portraitd_media::controls::Controls as _;
use portraitd_media::{Control, FormatRequest, Size, SourceError};

/// A video node and what it offers. With the feature `serde` it can be serialized.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct DeviceInfo {
    /// The node, `/dev/videoN`.
    pub path: PathBuf,
    /// The link to use in a configuration, because it does not change: by id, otherwise by path.
    pub stable_name: Option<PathBuf>,
    /// The links to it in `/dev/v4l/by-id`, sorted.
    pub by_id: Vec<PathBuf>,
    /// The links to it in `/dev/v4l/by-path`, sorted.
    pub by_path: Vec<PathBuf>,
    /// Why the description is incomplete, for example a missing permission.
    pub error: Option<String>,
    /// The name of the kernel driver.
    pub driver: String,
    /// The name of the product.
    pub card: String,
    /// The position on the bus, for example `usb-0000:00:14.0-1`.
    pub bus: String,
    /// The capabilities of the node: `capture`, `output`, `multi-planar`, `memory-to-memory`,
    /// `metadata`, `streaming`, `read-write`, `media-controller`.
    pub capabilities: Vec<&'static str>,
    /// Whether a stream can be captured from it.
    pub usable: bool,
    /// How the format for the default request would be chosen, or why there is none. One sentence
    /// an entry.
    pub negotiation: Vec<String>,
    /// The formats of its capture queue, or of its output queue if it cannot capture.
    pub formats: Vec<FormatInfo>,
    /// The controls that are not disabled.
    pub controls: Vec<Control>,
    /// Whether it has the control `V4L2_CID_PRIVACY`, which reports a closed shutter.
    pub privacy: bool,
    /// The hardware crop; `None` if the node has none.
    pub crop: Option<CropInfo>,
    /// Which of `pan`, `tilt`, `zoom` can be moved by its controls.
    pub pan_tilt_zoom: Vec<&'static str>,
}

/// A pixel format of a node.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct FormatInfo {
    /// The four-character code.
    pub code: String,
    /// The driver's description.
    pub description: String,
    /// Whether this crate supports it.
    pub usable: bool,
    /// Whether the driver or a library below it produces it by conversion in software.
    pub emulated: bool,
    /// Its sizes; empty if the driver does not report them.
    pub sizes: Vec<SizeInfo>,
}

/// A size of a format, or a range of sizes.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SizeInfo {
    /// Width in pixels; the largest of a range.
    pub width: u32,
    /// Height in pixels; the largest of a range.
    pub height: u32,
    /// The smallest width and height of a range, in pixels.
    pub least: Option<[u32; 2]>,
    /// The steps of width and height of a range, in pixels.
    pub step: Option<[u32; 2]>,
    /// The frame rates in this size, in frames a second: each offered one, or only the slowest and
    /// the fastest.
    pub rates: Vec<f32>,
    /// Whether all rates between the two are offered.
    pub rates_continuous: bool,
}

/// The hardware crop: rectangles in sensor pixels (x, y, width, height).
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct CropInfo {
    /// The area in which a crop may lie.
    pub bounds: [i64; 4],
    /// The crop that shows the whole picture.
    pub default: [i64; 4],
    /// The crop that is set.
    pub current: [i64; 4],
}

impl DeviceInfo {
    /// What the device offers for a request, as [`Device::candidates`] without the device. Formats
    /// without a list of sizes are left out.
    pub fn candidates(&self, wanted: &FormatRequest) -> Vec<Candidate> {
        let of_format = |format: &FormatInfo| {
            let code = <[u8; 4]>::try_from(format.code.as_bytes()).ok().map(FourCc::new);
            let emulated = format.emulated;
            let sizes = if code.is_some() { format.sizes.as_slice() } else { &[] };
            let of_size = move |info: &SizeInfo| {
                let mut rates = info.rates.clone();
                let between = |rate: &f32| matches!(rates.as_slice(), [slow, fast] if slow <= rate && rate <= fast);
                let requested = wanted.frame_rate.filter(|rate| info.rates_continuous && between(rate));
                rates.extend(requested);
                Candidate { code: code.unwrap_or(FourCc(0)), size: info.nearest(wanted), rates, emulated }
            };
            sizes.iter().map(of_size).collect::<Vec<_>>()
        };
        self.formats.iter().flat_map(of_format).collect()
    }
}

impl SizeInfo {
    /// The size that is nearest to the wanted one; the largest if none is wanted.
    fn nearest(&self, wanted: &FormatRequest) -> Size {
        let pair = |[width, height]: [u32; 2]| Size::new(width, height);
        let max = Size::new(self.width, self.height);
        match (self.least, self.step) {
            (Some(least), Some(step)) => {
                FrameSizes::Stepwise { min: pair(least), max, step: pair(step) }.nearest(wanted.size.unwrap_or(max))
            }
            _ => max,
        }
    }
}

/// Describes all video nodes, in the order of their numbers. Each node is opened once; none is
/// configured or streamed.
///
/// # Errors
/// [`SourceError::Io`] if `/dev` cannot be read. A node that cannot be opened has the reason in
/// [`DeviceInfo::error`].
pub fn devices() -> Result<Vec<DeviceInfo>, SourceError> {
    let io = |error| SourceError::Io { source_name: paths::DEV.to_owned(), call: "readdir", error };
    Ok(paths::nodes().map_err(io)?.iter().map(|node| describe(node)).collect())
}

/// Describes the node at `path`. If it cannot be opened, the reason is in [`DeviceInfo::error`].
pub fn describe(path: &Path) -> DeviceInfo {
    let [by_id, by_path] = paths::LINK_FOLDERS.map(|folder| paths::links_to(Path::new(folder), path));
    let stable_name = by_id.first().or(by_path.first()).cloned();
    let mut info = DeviceInfo { path: path.to_owned(), stable_name, by_id, by_path, ..DeviceInfo::default() };
    let device = match Device::open(path) {
        Ok(device) => device,
        Err(error) => {
            info.error = Some(error.to_string());
            return info;
        }
    };
    let capability = device.capability();
    info.driver = field_text(&capability.driver);
    info.card = field_text(&capability.card);
    info.bus = field_text(&capability.bus_info);
    info.capabilities = capability_names(device.capabilities());
    if let Some(buffer_type) = device.capture_type().or_else(|| device.output_type()) {
        describe_formats(&device, buffer_type, &mut info);
        info.crop = crop(&device, buffer_type);
    }
    describe_controls(&device, &mut info);
    info
}

fn capability_names(capabilities: u32) -> Vec<&'static str> {
    [
        (sys::CAP_VIDEO_CAPTURE | sys::CAP_VIDEO_CAPTURE_MPLANE, "capture"),
        (sys::CAP_VIDEO_OUTPUT | sys::CAP_VIDEO_OUTPUT_MPLANE, "output"),
        (sys::CAP_VIDEO_CAPTURE_MPLANE | sys::CAP_VIDEO_OUTPUT_MPLANE | sys::CAP_VIDEO_M2M_MPLANE, "multi-planar"),
        (sys::CAP_VIDEO_M2M | sys::CAP_VIDEO_M2M_MPLANE, "memory-to-memory"),
        (sys::CAP_META_CAPTURE, "metadata"),
        (sys::CAP_STREAMING, "streaming"),
        (sys::CAP_READ_WRITE, "read-write"),
        (sys::CAP_IO_MC, "media-controller"),
    ]
    .into_iter()
    .filter_map(|(flags, name)| (capabilities & flags != 0).then_some(name))
    .collect()
}

fn describe_formats(device: &Device, buffer_type: BufferType, info: &mut DeviceInfo) {
    let formats = match device.formats(buffer_type) {
        Ok(formats) => formats,
        Err(error) => {
            info.error = Some(error.to_string());
            return;
        }
    };
    info.formats = formats
        .iter()
        .map(|format| FormatInfo {
            code: format.code.to_string(),
            description: field_text(&format.description),
            usable: format.code.encoding().is_some(),
            emulated: format.emulated,
            sizes: device.sizes(format.code).into_iter().map(|sizes| size_info(device, format.code, sizes)).collect(),
        })
        .collect();
    if buffer_type.is_output() {
        return;
    }
    match device.candidates(buffer_type, &FormatRequest::default()) {
        Ok(candidates) => {
            let negotiation = negotiate(&FormatRequest::default(), &candidates);
            info.usable = negotiation.choice.is_some();
            info.negotiation = negotiation.reasons;
        }
        Err(error) => info.error = Some(error.to_string()),
    }
}

fn size_info(device: &Device, code: FourCc, sizes: FrameSizes) -> SizeInfo {
    let (size, least, step) = match sizes {
        FrameSizes::Discrete(size) => (size, None, None),
        FrameSizes::Stepwise { min, max, step } => (max, Some(min), Some(step)),
    };
    let rates = device.rates(code, size);
    let pair = |size: Size| [size.width, size.height];
    SizeInfo {
        width: size.width,
        height: size.height,
        least: least.map(pair),
        step: step.map(pair),
        rates: rates.rates,
        rates_continuous: rates.continuous,
    }
}

fn crop(device: &Device, buffer_type: BufferType) -> Option<CropInfo> {
    let rectangle = |target| {
        let rect = sys::get_selection(device, buffer_type, target).ok()?;
        Some([i64::from(rect.left), i64::from(rect.top), i64::from(rect.width), i64::from(rect.height)])
    };
    Some(CropInfo {
        bounds: rectangle(sys::SELECTION_CROP_BOUNDS)?,
        default: rectangle(sys::SELECTION_CROP_DEFAULT)?,
        current: rectangle(sys::SELECTION_CROP)?,
    })
}

fn describe_controls(device: &Device, info: &mut DeviceInfo) {
    info.controls = device.list();
    let has = |ids: &[u32]| info.controls.iter().any(|control| ids.contains(&control.id));
    // For each: the absolute, relative and speed (or continuous) control, beginning with
    // `V4L2_CID_PAN_ABSOLUTE`.
    let movements = [
        ("pan", [0x009a_0908, 0x009a_0904, 0x009a_0920]),
        ("tilt", [0x009a_0909, 0x009a_0905, 0x009a_0921]),
        ("zoom", [0x009a_090d, 0x009a_090e, 0x009a_090f]),
    ];
    info.pan_tilt_zoom = movements.iter().filter(|(_, ids)| has(ids)).map(|(name, _)| *name).collect();
    info.privacy = has(&[sys::CONTROL_PRIVACY]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_names() {
        let both = sys::CAP_VIDEO_CAPTURE_MPLANE | sys::CAP_STREAMING;
        assert_eq!(capability_names(both), ["capture", "multi-planar", "streaming"]);
    }

    #[test]
    fn offers_are_made_from_a_description() {
        let size = |width, height, rates: &[f32]| SizeInfo {
            width,
            height,
            least: None,
            step: None,
            rates: rates.to_vec(),
            rates_continuous: false,
        };
        let format = |code: &str, sizes| FormatInfo {
            code: code.to_owned(),
            description: String::new(),
            usable: true,
            emulated: false,
            sizes,
        };
        let range = SizeInfo {
            least: Some([16, 16]),
            step: Some([16, 16]),
            rates_continuous: true,
            ..size(1920, 1088, &[1.0, 60.0])
        };
        let formats = vec![
            format("YUYV", vec![size(640, 480, &[30.0]), size(1280, 720, &[10.0])]),
            format("NV12", vec![range]),
            format("RG10-BE", vec![size(64, 64, &[])]),
        ];
        let info = DeviceInfo { formats, ..DeviceInfo::default() };
        let wanted = FormatRequest { size: Some(Size::new(1280, 720)), frame_rate: Some(25.0) };
        let candidates = info.candidates(&wanted);
        let sizes: Vec<Size> = candidates.iter().map(|candidate| candidate.size).collect();
        assert_eq!(sizes, [Size::new(640, 480), Size::new(1280, 720), Size::new(1280, 720)]);
        assert_eq!(candidates[2].rates, [1.0, 60.0, 25.0], "the requested rate is in the range");
        let choice = negotiate(&wanted, &candidates).choice.expect("a choice");
        assert_eq!((choice.code, choice.frame_rate), (FourCc::new(*b"NV12"), Some(25.0)));
    }

    #[test]
    fn a_missing_node_has_the_error_in_its_description() {
        let info = describe(Path::new("/dev/video-nothing"));
        assert!(info.error.expect("an error").contains("not there"));
        assert!(!info.usable);
    }
}
