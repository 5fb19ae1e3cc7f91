//! The options of `Attach`, checked.

use std::collections::BTreeMap;

use portraitd_protocol::settings::{ATTACH_RATE, ATTACH_SIDE, CountRange, excerpt};
use portraitd_protocol::{CropMode, Inset, MaskResolution, ServiceError, StreamKind};
use zbus::{OwnedVariant, Variant};

use super::service::AttachOptions;
use portraitd_media::{PixelFormat, Size};

fn invalid(text: impl Into<String>) -> ServiceError {
    ServiceError::InvalidArgument(text.into())
}

fn number(key: &str, value: &OwnedVariant) -> Result<u32, ServiceError> {
    u32::try_from(value).map_err(|_| {
        let found = Variant::try_from(value).map(|value| value.value_signature().to_string()).unwrap_or_default();
        invalid(format!("option `{key}`: a value of type `u` is wanted, not `{}`", excerpt(&found)))
    })
}

fn word<'a>(key: &str, value: &'a OwnedVariant) -> Result<&'a str, ServiceError> {
    <&str>::try_from(value).map_err(|_| {
        let found = Variant::try_from(value).map(|value| value.value_signature().to_string()).unwrap_or_default();
        invalid(format!("option `{key}`: a value of type `s` is wanted, not `{}`", excerpt(&found)))
    })
}

fn in_range(key: &str, value: &OwnedVariant, range: CountRange) -> Result<u32, ServiceError> {
    range.check(number(key, value)?).map_err(|error| invalid(format!("option `{key}`: {error}")))
}

fn format(stream: StreamKind, word: &str) -> Result<PixelFormat, ServiceError> {
    let (known, expected): (&[PixelFormat], _) = match stream {
        StreamKind::Mask => (&[PixelFormat::Grey], "GREY"),
        _ => (&[PixelFormat::Nv12, PixelFormat::Rgb24], "NV12 or RGB3"),
    };
    let format = known.iter().find(|format| format.fourcc() == word.as_bytes());
    format.copied().ok_or_else(|| {
        let word = excerpt(word);
        invalid(format!("option `format`: \"{word}\" is not {expected} (stream {stream})"))
    })
}

/// Reads and checks the options of a request for `stream`.
///
/// # Errors
/// `InvalidArgument` with the name of the option: it is unknown, has the wrong type, or is out of
/// range.
pub fn parse_options(
    stream: StreamKind,
    options: &BTreeMap<String, OwnedVariant>,
) -> Result<AttachOptions, ServiceError> {
    let mut parsed = AttachOptions::of_stream(stream);
    let (mut width, mut height) = (None, None);
    for (key, value) in options {
        match key.as_str() {
            "width" => width = Some(in_range(key, value, ATTACH_SIDE)?),
            "height" => height = Some(in_range(key, value, ATTACH_SIDE)?),
            "format" => parsed.format = format(stream, word(key, value)?)?,
            "fps" => parsed.frame_rate_limit = Some(in_range(key, value, ATTACH_RATE)?),
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
                return Err(invalid(format!("option `{}`: unknown (known are {known})", excerpt(key))));
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

/// Reads and checks the options of an offer of frames: the frame rate, if it is given.
///
/// # Errors
/// As [`parse_options`].
pub fn parse_offer_options(options: &BTreeMap<String, OwnedVariant>) -> Result<Option<u32>, ServiceError> {
    let mut frame_rate = None;
    for (key, value) in options {
        match key.as_str() {
            "fps" => frame_rate = Some(in_range(key, value, ATTACH_RATE)?),
            _ => return Err(invalid(format!("option `{}`: unknown (known is fps)", excerpt(key)))),
        }
    }
    Ok(frame_rate)
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
        assert_eq!(error(View, &both(641, 360)), "option `width`: 641 is not an even number from 16 to 4096");
        assert_eq!(error(Composite, &[("inset", "none".into())]), "option `inset`: of the view only, not of composite");
        assert!(error(View, &[("inset", "middle".into())]).starts_with("option `inset`: `middle` is not one of none"));
        assert_eq!(error(View, &[("resolution", "net".into())]), "option `resolution`: of the mask only, not of view");
        assert_eq!(
            error(Mask, &[("resolution", "8k".into())]),
            "option `resolution`: `8k` is not one of net, quarter, full"
        );
        let twice = [("width", 64u32.into()), ("height", 64u32.into()), ("resolution", "net".into())];
        assert_eq!(error(Mask, &twice), "option `resolution`: not together with `width` and `height`");
        assert_eq!(error(View, &both(640, 14)), "option `height`: 14 is not an even number from 16 to 4096");
        assert_eq!(error(View, &both(4098, 360)), "option `width`: 4098 is not an even number from 16 to 4096");
        assert_eq!(error(View, &[("width", 640u32.into())]), "option `height`: needed where `width` is given");
        assert_eq!(error(View, &[("width", 640i32.into())]), "option `width`: a value of type `u` is wanted, not `i`");
        assert_eq!(error(View, &[("format", 1u32.into())]), "option `format`: a value of type `s` is wanted, not `u`");
        assert_eq!(
            error(View, &[("format", "GREY".into())]),
            "option `format`: \"GREY\" is not NV12 or RGB3 (stream view)"
        );
        assert_eq!(error(Mask, &[("format", "NV12".into())]), "option `format`: \"NV12\" is not GREY (stream mask)");
        assert_eq!(error(View, &[("fps", 0u32.into())]), "option `fps`: 0 is not a whole number from 1 to 240");
        assert_eq!(error(View, &[("crop", "full".into())]), "option `crop`: of the composite only, not of view");
        assert_eq!(error(Composite, &[("crop", "half".into())]), "option `crop`: `half` is not one of view, full");
        assert!(error(View, &[("widht", 1u32.into())]).starts_with("option `widht`: unknown"));
    }
}
