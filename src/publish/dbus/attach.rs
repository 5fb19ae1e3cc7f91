//! The options of `Attach` and the layout that it returns, between `a{sv}` and types.

use std::collections::BTreeMap;

use portraitd_protocol::{CropMode, Inset, MaskResolution, RingLayout, ServiceError, StreamKind};
use zbus::{OwnedVariant, Variant};

use super::service::{AttachOptions, DictionaryValue};
use portraitd_media::{PixelFormat, Size};

/// The smallest and largest side that a client may ask for, in pixels.
const SIDES: std::ops::RangeInclusive<u32> = 16..=4096;
/// The highest limit of frames a second that makes sense.
const MAX_FRAME_RATE: u32 = 240;

fn invalid(text: impl Into<String>) -> ServiceError {
    ServiceError::InvalidArgument(text.into())
}

fn number(key: &str, value: &OwnedVariant) -> Result<u32, ServiceError> {
    u32::try_from(value).map_err(|_| {
        let found = Variant::try_from(value).map(|value| value.value_signature().to_string()).unwrap_or_default();
        invalid(format!("option `{key}`: a value of type `u` is wanted, not `{found}`"))
    })
}

fn word<'a>(key: &str, value: &'a OwnedVariant) -> Result<&'a str, ServiceError> {
    <&str>::try_from(value).map_err(|_| {
        let found = Variant::try_from(value).map(|value| value.value_signature().to_string()).unwrap_or_default();
        invalid(format!("option `{key}`: a value of type `s` is wanted, not `{found}`"))
    })
}

fn side(key: &str, value: &OwnedVariant) -> Result<u32, ServiceError> {
    let side = number(key, value)?;
    if SIDES.contains(&side) && side.is_multiple_of(2) {
        Ok(side)
    } else {
        Err(invalid(format!("option `{key}`: {side} is not an even number of {} to {}", SIDES.start(), SIDES.end())))
    }
}

fn format(stream: StreamKind, word: &str) -> Result<PixelFormat, ServiceError> {
    let (known, expected): (&[PixelFormat], _) = match stream {
        StreamKind::Mask => (&[PixelFormat::Grey], "GREY"),
        _ => (&[PixelFormat::Nv12, PixelFormat::Rgb24], "NV12 or RGB3"),
    };
    let format = known.iter().find(|format| format.fourcc() == word.as_bytes());
    format.copied().ok_or_else(|| invalid(format!("option `format`: {word:?} is not {expected} (stream {stream})")))
}

/// Checks the options of a request for `stream`.
///
/// # Errors
/// `InvalidArgument` that names the option: unknown, of another type, or out of range.
pub fn parse_options(
    stream: StreamKind,
    options: &BTreeMap<String, OwnedVariant>,
) -> Result<AttachOptions, ServiceError> {
    let mut parsed = AttachOptions::of_stream(stream);
    let (mut width, mut height) = (None, None);
    for (key, value) in options {
        match key.as_str() {
            "width" => width = Some(side(key, value)?),
            "height" => height = Some(side(key, value)?),
            "format" => parsed.format = format(stream, word(key, value)?)?,
            "fps" => {
                let limit = number(key, value)?;
                if !(1..=MAX_FRAME_RATE).contains(&limit) {
                    return Err(invalid(format!("option `fps`: {limit} is not 1 to {MAX_FRAME_RATE}")));
                }
                parsed.frame_rate_limit = Some(limit);
            }
            "crop" if stream == StreamKind::Composite => {
                parsed.crop = CropMode::try_from(word(key, value)?)
                    .map_err(|error| invalid(format!("option `crop`: {error}")))?;
            }
            "crop" => return Err(invalid(format!("option `crop`: of the composite only, not of {stream}"))),
            "inset" if stream == StreamKind::View => {
                parsed.inset =
                    Inset::try_from(word(key, value)?).map_err(|error| invalid(format!("option `inset`: {error}")))?;
            }
            "inset" => return Err(invalid(format!("option `inset`: of the view only, not of {stream}"))),
            "resolution" if stream == StreamKind::Mask => {
                parsed.resolution = MaskResolution::try_from(word(key, value)?)
                    .map_err(|error| invalid(format!("option `resolution`: {error}")))?;
            }
            "resolution" => return Err(invalid(format!("option `resolution`: of the mask only, not of {stream}"))),
            _ => {
                let known = "width, height, format, fps, crop, resolution, inset";
                return Err(invalid(format!("option `{key}`: unknown (known are {known})")));
            }
        }
    }
    if width.is_some() && options.contains_key("resolution") {
        return Err(invalid("option `resolution`: not together with `width` and `height`"));
    }
    parsed.size = match (width, height) {
        (None, None) => None,
        (Some(width), Some(height)) => Some(Size::new(width, height)),
        (Some(_), None) => return Err(invalid("option `height`: needed where `width` is given")),
        (None, Some(_)) => return Err(invalid("option `width`: needed where `height` is given")),
    };
    Ok(parsed)
}

/// The layout that `Attach` returns: all that the ring's header says, and the camera's name.
pub fn layout_values(camera: &str, layout: &RingLayout) -> BTreeMap<&'static str, Variant<'static>> {
    use portraitd_protocol::layout::{HEADER_BYTES, VERSION};
    let narrow = |value: usize| u32::try_from(value).expect("a u32 in the header too");
    let planes: Vec<(u32, u32, u32)> =
        layout.planes().iter().map(|plane| (narrow(plane.offset), narrow(plane.stride), narrow(plane.rows))).collect();
    BTreeMap::from([
        ("camera", Variant::from(camera.to_owned())),
        ("stream", Variant::from(layout.stream.as_str())),
        ("generation", Variant::from(layout.generation)),
        ("version", Variant::from(VERSION)),
        ("header_bytes", Variant::from(narrow(HEADER_BYTES))),
        ("slot_count", Variant::from(layout.slot_count)),
        ("slot_bytes", Variant::from(narrow(layout.slot_bytes))),
        ("format", Variant::from(layout.format.to_string())),
        ("width", Variant::from(layout.width)),
        ("height", Variant::from(layout.height)),
        ("planes", Variant::from(planes)),
        ("matrix", Variant::from(layout.matrix_name())),
        ("range", Variant::from(layout.range_name())),
    ])
}

/// A value as a variant of its D-Bus type.
pub fn variant(value: &DictionaryValue) -> Variant<'static> {
    match value {
        DictionaryValue::U64(value) => Variant::from(*value),
        DictionaryValue::F64(value) => Variant::from(*value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, Variant<'static>)]) -> BTreeMap<String, OwnedVariant> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), OwnedVariant::try_from(value).expect("no descriptor")))
            .collect()
    }

    fn error(stream: StreamKind, pairs: &[(&str, Variant<'static>)]) -> String {
        match parse_options(stream, &options(pairs)) {
            Err(ServiceError::InvalidArgument(text)) => text,
            other => panic!("{pairs:?} gave {other:?}"),
        }
    }

    #[test]
    fn what_is_not_asked_for_has_defaults() {
        let none = BTreeMap::new();
        assert_eq!(parse_options(StreamKind::Mask, &none).expect("valid").format, PixelFormat::Grey);
        assert_eq!(parse_options(StreamKind::View, &none).expect("valid").format, PixelFormat::Nv12);
        let asked = options(&[
            ("width", 640u32.into()),
            ("height", 360u32.into()),
            ("format", "RGB3".into()),
            ("fps", 10u32.into()),
            ("crop", "full".into()),
        ]);
        let parsed = parse_options(StreamKind::Composite, &asked).expect("valid");
        assert_eq!(
            parsed,
            AttachOptions {
                size: Some(Size::new(640, 360)),
                format: PixelFormat::Rgb24,
                frame_rate_limit: Some(10),
                crop: CropMode::Full,
                resolution: MaskResolution::Net,
                inset: Inset::None
            }
        );
        assert_eq!(parsed.interval(), Some(std::time::Duration::from_millis(100)));
        let corner = options(&[("inset", "top-right".into())]);
        assert_eq!(parse_options(StreamKind::View, &corner).expect("valid").inset, Inset::TopRight);
        let fine = options(&[("resolution", "quarter".into())]);
        assert_eq!(parse_options(StreamKind::Mask, &fine).expect("valid").resolution, MaskResolution::Quarter);
    }

    #[test]
    fn what_cannot_be_names_the_option() {
        use StreamKind::{Composite, Mask, View};
        let both = |width: u32, height: u32| [("width", width.into()), ("height", height.into())];
        assert_eq!(error(View, &both(641, 360)), "option `width`: 641 is not an even number of 16 to 4096");
        assert_eq!(error(Composite, &[("inset", "none".into())]), "option `inset`: of the view only, not of composite");
        assert!(error(View, &[("inset", "middle".into())]).starts_with("option `inset`: `middle` is not one of none"));
        assert_eq!(error(View, &[("resolution", "net".into())]), "option `resolution`: of the mask only, not of view");
        assert_eq!(
            error(Mask, &[("resolution", "8k".into())]),
            "option `resolution`: `8k` is not one of net, quarter, full"
        );
        let twice = [("width", 64u32.into()), ("height", 64u32.into()), ("resolution", "net".into())];
        assert_eq!(error(Mask, &twice), "option `resolution`: not together with `width` and `height`");
        assert_eq!(error(View, &both(640, 14)), "option `height`: 14 is not an even number of 16 to 4096");
        assert_eq!(error(View, &both(4098, 360)), "option `width`: 4098 is not an even number of 16 to 4096");
        assert_eq!(error(View, &[("width", 640u32.into())]), "option `height`: needed where `width` is given");
        assert_eq!(error(View, &[("width", 640i32.into())]), "option `width`: a value of type `u` is wanted, not `i`");
        assert_eq!(error(View, &[("format", 1u32.into())]), "option `format`: a value of type `s` is wanted, not `u`");
        assert_eq!(
            error(View, &[("format", "GREY".into())]),
            "option `format`: \"GREY\" is not NV12 or RGB3 (stream view)"
        );
        assert_eq!(error(Mask, &[("format", "NV12".into())]), "option `format`: \"NV12\" is not GREY (stream mask)");
        assert_eq!(error(View, &[("fps", 0u32.into())]), "option `fps`: 0 is not 1 to 240");
        assert_eq!(error(View, &[("crop", "full".into())]), "option `crop`: of the composite only, not of view");
        assert_eq!(error(Composite, &[("crop", "half".into())]), "option `crop`: `half` is not one of view, full");
        assert!(error(View, &[("widht", 1u32.into())]).starts_with("option `widht`: unknown"));
    }
}
