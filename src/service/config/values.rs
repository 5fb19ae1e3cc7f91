//! How each value of a configuration is read.
//!
//! A value is checked while it is deserialised, so that the parser still knows where the value
//! stands and the error can name the place. The ranges and the error texts are those of
//! [`portraitd_protocol::settings`], which the setters of the D-Bus interfaces use too. Rules that
//! only the configuration has are here.

use super::error::ValueError;
use super::model::VERSION;
use crate::service::logging::check_filter;
use crate::source::SourceSpec;
use portraitd_media::{ControlValue, ControlValues, Rotation};
use portraitd_protocol::control::{MAX_SET, key_of};
use portraitd_protocol::settings::{
    self, Color, CountRange, NumberRange, check_camera_name, check_model_name, check_rectangle, check_zone_count,
    excerpt,
};
use serde::Serializer;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The bus on which the service offers its control interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusConfig {
    /// The system bus.
    System,
    /// The session bus.
    Session,
    /// No bus: the service has no control interfaces.
    None,
    /// The bus at a D-Bus server address, as `unix:path=/run/bus`.
    Address(String),
}

impl FromStr for BusConfig {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "system" => Ok(Self::System),
            "session" => Ok(Self::Session),
            "none" => Ok(Self::None),
            _ => match text.split_once(':') {
                Some((transport, rest))
                    if !rest.is_empty()
                        && !transport.is_empty()
                        && transport.chars().all(|c| c.is_ascii_lowercase() || c == '-') =>
                {
                    Ok(Self::Address(text.to_owned()))
                }
                _ => Err(ValueError::Bus { text: excerpt(text) }),
            },
        }
    }
}

impl fmt::Display for BusConfig {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::System => "system",
            Self::Session => "session",
            Self::None => "none",
            Self::Address(address) => address,
        })
    }
}

impl<'de> Deserialize<'de> for BusConfig {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        text(from)?.parse().map_err(D::Error::custom)
    }
}

impl serde::Serialize for BusConfig {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

pub(super) fn color<'de, D: Deserializer<'de>>(from: D) -> Result<Color, D::Error> {
    text(from)?.parse().map_err(D::Error::custom)
}

pub(super) fn write_color<S: Serializer>(color: &Color, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(color)
}

/// Reads a number that may be written with or without a fraction.
struct Number(NumberRange);

impl Visitor<'_> for Number {
    type Value = f64;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<f64, E> {
        self.0.check(value).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<f64, E> {
        // Accepted values are far below 2^31, so those beyond it need no conversion.
        match i32::try_from(value) {
            Ok(value) => self.visit_f64(f64::from(value)),
            Err(_) => Err(E::custom(format_args!("{value} is not {}", self.0))),
        }
    }
}

/// Reads a whole number.
struct Count(CountRange);

impl Visitor<'_> for Count {
    type Value = u32;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<u32, E> {
        Err(E::custom(format_args!("{value:?} is not {}", self.0)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<u32, E> {
        self.0.check(value).map_err(E::custom)
    }
}

fn number<'de, D: Deserializer<'de>>(from: D, range: NumberRange) -> Result<f64, D::Error> {
    from.deserialize_any(Number(range))
}

fn count<'de, D: Deserializer<'de>>(from: D, range: CountRange) -> Result<u32, D::Error> {
    from.deserialize_any(Count(range))
}

/// Reads a string. Every other type is refused.
fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = String;
        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a string in quotes")
        }
        fn visit_str<E: Error>(self, value: &str) -> Result<String, E> {
            Ok(value.to_owned())
        }
    }
    from.deserialize_any(Text)
}

fn checked<'de, D: Deserializer<'de>, R, C: fmt::Display>(
    from: D,
    check: impl FnOnce(&str) -> Result<R, C>,
) -> Result<String, D::Error> {
    let value = text(from)?;
    check(&value).map_err(D::Error::custom)?;
    Ok(value)
}

// One function for each kind of key, for `#[serde(deserialize_with)]`. `systemd/portraitd.toml`
// repeats the ranges.

pub(super) fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    checked(from, check_camera_name)
}

pub(super) fn model<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    checked(from, check_model_name)
}

pub(super) fn source<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    checked(from, str::parse::<SourceSpec>)
}

pub(super) fn output_device<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    checked(from, |path| {
        let good = path.starts_with('/') && path.len() > 1 && !path.contains('\0');
        if good { Ok(()) } else { Err(ValueError::OutputDevice { text: excerpt(path) }) }
    })
}

pub(super) fn log<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    checked(from, check_filter)
}

pub(super) fn directory<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    checked(from, |path| match path {
        "" => Err(ValueError::EmptyPath),
        path if path.contains('\0') => Err(ValueError::NulInPath),
        _ => Ok(()),
    })
    .map(PathBuf::from)
}

/// Reads an absolute path. An empty string removes the path that a lower layer set.
pub(super) fn optional_path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let path = checked(from, |path| {
        let good = path.is_empty() || (path.starts_with('/') && !path.contains('\0'));
        if good { Ok(()) } else { Err(ValueError::NotAbsolute { text: excerpt(path) }) }
    })?;
    Ok((!path.is_empty()).then(|| PathBuf::from(path)))
}

/// Writes an absent path as the empty string, which [`optional_path`] reads as absent.
pub(super) fn write_optional_path<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => to.collect_str(&path.display()),
        None => to.serialize_str(""),
    }
}

/// Reads the version of the configuration.
pub(super) fn version<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    match u32::deserialize(from)? {
        VERSION => Ok(VERSION),
        found => Err(D::Error::custom(ValueError::Version { found, known: VERSION })),
    }
}

pub(super) fn threads<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    count(from, settings::THREADS)
}

/// Reads a width or height: those of frames and of views have the same range.
pub(super) fn side<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    count(from, settings::FRAME_WIDTH)
}

/// Reads an angle of 0, 90, 180 or 270 degrees.
pub(super) fn rotate<'de, D: Deserializer<'de>>(from: D) -> Result<Rotation, D::Error> {
    struct Angle;
    impl Visitor<'_> for Angle {
        type Value = Rotation;
        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("0, 90, 180 or 270")
        }
        fn visit_i64<E: Error>(self, value: i64) -> Result<Rotation, E> {
            Rotation::from_degrees(value).map_err(E::custom)
        }
    }
    from.deserialize_any(Angle)
}

pub(super) fn write_rotate<S: Serializer>(rotation: &Rotation, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u32(rotation.degrees())
}

/// Reads the values of controls. Whether a camera has them is known when it is opened.
pub(super) fn controls<'de, D: Deserializer<'de>>(from: D) -> Result<ControlValues, D::Error> {
    /// A value that was checked when it was read, while the parser still knew its place.
    struct Value(ControlValue);
    struct AnyValue;
    impl Visitor<'_> for AnyValue {
        type Value = Value;
        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a whole number, true, false, or the text of an item in quotes")
        }
        fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
            Ok(Value(ControlValue::Switch(value)))
        }
        fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
            Ok(Value(ControlValue::Number(value)))
        }
        fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
            Ok(Value(ControlValue::Text(value.to_owned())))
        }
    }
    impl<'de> Deserialize<'de> for Value {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_any(AnyValue)
        }
    }
    /// A name in the spelling of the configuration.
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    struct Key(String);
    impl<'de> Deserialize<'de> for Key {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            checked(from, |name| {
                let key = key_of(name);
                if key == name && !key.is_empty() {
                    return Ok(());
                }
                Err(ValueError::ControlName { text: excerpt(name), key })
            })
            .map(Key)
        }
    }
    let controls = std::collections::BTreeMap::<Key, Value>::deserialize(from)?;
    if controls.len() > MAX_SET {
        return Err(D::Error::custom(ValueError::TooManyControls { count: controls.len() }));
    }
    Ok(controls.into_iter().map(|(key, value)| (key.0, value.0)).collect())
}

pub(super) fn frame_rate<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    number(from, settings::FRAME_RATE)
}

pub(super) fn idle_close<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    number(from, settings::IDLE_CLOSE_S)
}

pub(super) fn mask_budget<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    number(from, settings::MASK_BUDGET_MS)
}

pub(super) fn inference_rate<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    number(from, settings::INFERENCE_RATE)
}

pub(super) fn min_zoom<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    number(from, settings::MIN_ZOOM)
}

pub(super) fn max_zoom<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    number(from, settings::MAX_ZOOM)
}

pub(super) fn lead_room<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    number(from, settings::LEAD_ROOM)
}

pub(super) fn blur<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    number(from, settings::BLUR)
}

pub(super) fn zones<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<[f64; 4]>, D::Error> {
    /// A zone that was checked when it was read, while the parser still knew its place.
    struct Zone([f64; 4]);
    struct FourNumbers;
    impl<'de> Visitor<'de> for FourNumbers {
        type Value = Zone;
        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("[x, y, width, height]")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Zone, A::Error> {
            let mut zone = [0.0; 4];
            let mut length = 0;
            while let Some(number) = list.next_element::<f64>()? {
                if let Some(place) = zone.get_mut(length) {
                    *place = number;
                }
                length += 1;
            }
            if length != zone.len() {
                return Err(A::Error::custom(ValueError::NotFourNumbers { count: length }));
            }
            check_rectangle(zone).map(Zone).map_err(A::Error::custom)
        }
    }
    impl<'de> Deserialize<'de> for Zone {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_any(FourNumbers)
        }
    }
    let zones = Vec::<Zone>::deserialize(from)?;
    check_zone_count(zones.len()).map_err(D::Error::custom)?;
    Ok(zones.into_iter().map(|zone| zone.0).collect())
}
