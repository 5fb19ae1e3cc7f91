//! What video devices there are, for `portraitd devices`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::device::{Device, Sizes};
use super::formats::FourCc;
use super::negotiate::negotiate;
use super::paths;
use super::sys::{self, BufferType};
use portraitd_media::Size;
use portraitd_media::{FormatRequest, SourceError};

/// A device that lists controls without end is asked no further than this.
const MOST_CONTROLS: usize = 512;
const MOST_MENU_ITEMS: u32 = 256;

/// One video node.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DeviceInfo {
    /// The node, `/dev/videoN`.
    pub path: PathBuf,
    /// The name to put into a configuration: by id, else by path.
    pub stable_name: Option<PathBuf>,
    /// Links under `/dev/v4l/by-id`.
    pub by_id: Vec<PathBuf>,
    /// Links under `/dev/v4l/by-path`.
    pub by_path: Vec<PathBuf>,
    /// Why nothing more is known: no permission, gone.
    pub error: Option<String>,
    /// Name of the kernel's driver.
    pub driver: String,
    /// Name of the product.
    pub card: String,
    /// Place on the bus.
    pub bus: String,
    /// What the node can do: `capture`, `output`, `multi-planar`, `memory-to-memory`, `metadata`, `streaming`, `read-write`,
    /// `media-controller`.
    pub capabilities: Vec<&'static str>,
    /// Whether portraitd can capture from it.
    pub usable: bool,
    /// How the format for the default wish would be chosen, or why there is none; a sentence each.
    pub negotiation: Vec<String>,
    /// Formats of its capture queue, else of its output queue.
    pub formats: Vec<FormatInfo>,
    /// Controls.
    pub controls: Vec<ControlInfo>,
    /// Whether it has a control that tells whether its shutter is closed.
    pub privacy: bool,
    /// Hardware crop, where it has one.
    pub crop: Option<CropInfo>,
    /// Which of `pan`, `tilt`, `zoom` its controls move.
    pub pan_tilt_zoom: Vec<&'static str>,
}

/// A format of a node.
#[derive(Clone, Debug, Serialize)]
pub struct FormatInfo {
    /// The four-character code.
    pub code: String,
    /// The driver's words.
    pub description: String,
    /// Whether portraitd takes it.
    pub usable: bool,
    /// Whether it is made by conversion in software.
    pub emulated: bool,
    /// Its sizes; empty where the driver does not tell.
    pub sizes: Vec<SizeInfo>,
}

/// A size of a format, or a range of sizes.
#[derive(Clone, Debug, Serialize)]
pub struct SizeInfo {
    /// Width in pixels; the greatest of a range.
    pub width: u32,
    /// Height in pixels; the greatest of a range.
    pub height: u32,
    /// The least width and height of a range.
    pub least: Option<[u32; 2]>,
    /// Steps of width and height of a range.
    pub step: Option<[u32; 2]>,
    /// Frames a second in this size: each that is offered, or the slowest and the fastest.
    pub rates: Vec<f32>,
    /// Whether all rates between the two are offered.
    pub rates_continuous: bool,
}

/// A control of a device.
#[derive(Clone, Debug, Serialize)]
pub struct ControlInfo {
    /// The kernel's number for it.
    pub id: u32,
    /// The driver's words.
    pub name: String,
    /// `integer`, `boolean`, `menu`, `button`, `integer64`, `string`, `bitmask`, `integer-menu`, `other`.
    pub kind: &'static str,
    /// The least value.
    pub minimum: i32,
    /// The greatest value.
    pub maximum: i32,
    /// The step.
    pub step: i32,
    /// The value after a reset.
    pub default: i32,
    /// The value now, where it can be read as one number.
    pub value: Option<i32>,
    /// Whether it cannot be set.
    pub read_only: bool,
    /// Whether another control keeps it from having an effect.
    pub inactive: bool,
    /// A menu's items: number and words.
    pub menu: Vec<(u32, String)>,
}

/// Hardware crop: rectangles in the sensor's pixels (x, y, width, height).
#[derive(Clone, Debug, Serialize)]
pub struct CropInfo {
    /// Where a crop may lie.
    pub bounds: [i64; 4],
    /// What shows the whole picture.
    pub default: [i64; 4],
    /// What is set.
    pub current: [i64; 4],
}

/// All video nodes, by number, with what they offer. No node is set up or streamed; each is opened once.
///
/// # Errors
/// [`SourceError::Io`] where `/dev` cannot be read. What keeps a single node from being asked is in its entry.
pub fn devices() -> Result<Vec<DeviceInfo>, SourceError> {
    let io = |error| SourceError::Io { source_name: paths::DEV.to_owned(), call: "readdir", error };
    Ok(paths::nodes().map_err(io)?.iter().map(|node| describe(node)).collect())
}

/// What is to be known of the node at `path`.
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
    info.driver = text(&capability.driver);
    info.card = text(&capability.card);
    info.bus = text(&capability.bus_info);
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
            description: text(&format.description),
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

fn size_info(device: &Device, code: FourCc, sizes: Sizes) -> SizeInfo {
    let (size, least, step) = match sizes {
        Sizes::Discrete(size) => (size, None, None),
        Sizes::Stepwise { least, greatest, step } => (greatest, Some(least), Some(step)),
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
    let mut last = 0;
    while info.controls.len() < MOST_CONTROLS {
        let Ok(found) = sys::query_control(device, last | sys::CONTROL_FLAG_NEXT) else { break };
        if found.id <= last {
            break;
        }
        last = found.id;
        let kind = match found.kind {
            1 => "integer",
            2 => "boolean",
            3 => "menu",
            4 => "button",
            5 => "integer64",
            6 => continue,
            7 => "string",
            8 => "bitmask",
            9 => "integer-menu",
            _ => "other",
        };
        if found.flags & sys::CONTROL_FLAG_DISABLED != 0 {
            continue;
        }
        let readable =
            found.flags & sys::CONTROL_FLAG_WRITE_ONLY == 0 && !matches!(kind, "integer64" | "string" | "other");
        info.controls.push(ControlInfo {
            id: found.id,
            name: text(&found.name),
            kind,
            minimum: found.minimum,
            maximum: found.maximum,
            step: found.step,
            default: found.default_value,
            value: readable.then(|| sys::get_control(device, found.id).ok()).flatten(),
            read_only: found.flags & sys::CONTROL_FLAG_READ_ONLY != 0,
            inactive: found.flags & sys::CONTROL_FLAG_INACTIVE != 0,
            menu: menu(device, &found, kind),
        });
    }
    let has = |ids: &[u32]| info.controls.iter().any(|control| ids.contains(&control.id));
    // Absolute, relative and speed, or continuous: `V4L2_CID_PAN_ABSOLUTE` and its neighbours.
    let moves = [
        ("pan", [0x009a_0908, 0x009a_0904, 0x009a_0920]),
        ("tilt", [0x009a_0909, 0x009a_0905, 0x009a_0921]),
        ("zoom", [0x009a_090d, 0x009a_090e, 0x009a_090f]),
    ];
    info.pan_tilt_zoom = moves.iter().filter(|(_, ids)| has(ids)).map(|(name, _)| *name).collect();
    info.privacy = has(&[sys::CONTROL_PRIVACY]);
}

fn menu(device: &Device, control: &sys::QueryControl, kind: &str) -> Vec<(u32, String)> {
    let (Ok(first), Ok(last)) = (u32::try_from(control.minimum), u32::try_from(control.maximum)) else {
        return Vec::new();
    };
    if !matches!(kind, "menu" | "integer-menu") {
        return Vec::new();
    }
    (first..=last.min(first.saturating_add(MOST_MENU_ITEMS)))
        .filter_map(|index| {
            // Numbers without an item are left out by the driver.
            let name = sys::query_menu(device, control.id, index).ok()?;
            let words = if kind == "menu" {
                text(&name)
            } else {
                let [a, b, c, d, e, f, g, h, ..] = name;
                i64::from_ne_bytes([a, b, c, d, e, f, g, h]).to_string()
            };
            Some((index, words))
        })
        .collect()
}

/// The text in a field of the kernel's: up to the first zero byte, whatever is no UTF-8 replaced, no control characters.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_text_whatever_is_in_it() {
        assert_eq!(text(b"vivid\0\0rest"), "vivid");
        assert_eq!(text(b"full"), "full");
        assert_eq!(text(b"\xff\x1b[31m\0"), "\u{fffd}\u{fffd}[31m");
        assert_eq!(text(b""), "");
    }

    #[test]
    fn capabilities_are_words() {
        let both = sys::CAP_VIDEO_CAPTURE_MPLANE | sys::CAP_STREAMING;
        assert_eq!(capability_names(both), ["capture", "multi-planar", "streaming"]);
    }

    #[test]
    fn a_node_that_is_not_there_says_so_in_its_entry() {
        let info = describe(Path::new("/dev/video-nothing"));
        assert!(info.error.expect("an error").contains("not there"));
        assert!(!info.usable);
    }
}
