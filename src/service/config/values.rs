//! Values with rules of their own, and the rules.
//!
//! Every rule runs while a value is deserialised, so that the parser knows the value's place and the error can name it.
//! The same functions serve settings that come in by D-Bus.

use serde::Serializer;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where control is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bus {
    /// The system bus.
    System,
    /// The session bus.
    Session,
    /// No bus: peer to peer only.
    None,
    /// A bus at a D-Bus server address, as `unix:path=/run/bus`.
    Address(String),
}

impl FromStr for Bus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
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
                _ => Err(format!(
                    "`{}` is not system, session, none or a D-Bus address as unix:path=/run/bus",
                    shown(text)
                )),
            },
        }
    }
}

impl fmt::Display for Bus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::System => "system",
            Self::Session => "session",
            Self::None => "none",
            Self::Address(address) => address,
        })
    }
}

/// A colour of the screen: red, green, blue, 0 to 255 each, full range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color {
    /// Red.
    pub red: u8,
    /// Green.
    pub green: u8,
    /// Blue.
    pub blue: u8,
}

impl FromStr for Color {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{}` is not a colour as #203040 (a hash and six hexadecimal digits)", shown(text));
        let digits = text.strip_prefix('#').ok_or_else(bad)?;
        if digits.len() != 6 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let part = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| bad());
        Ok(Self { red: part(0)?, green: part(2)?, blue: part(4)? })
    }
}

impl fmt::Display for Color {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "#{:02x}{:02x}{:02x}", self.red, self.green, self.blue)
    }
}

/// Makes a type a string in files, by its `FromStr` and `Display`.
macro_rules! as_text {
    ($name:ty) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                values::text(from)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
    };
}

use super::values;
as_text!(Bus);
as_text!(Color);

/// A camera's name: it becomes the last part of its D-Bus path, a metrics label and part of variables' names.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), String> {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if name.is_empty() || name.len() > 32 || !name.chars().all(known) {
        return Err(format!("`{}` is not a name: 1 to 32 of a-z, 0-9, _ and -", shown(name)));
    }
    Ok(())
}

/// A model's name: its manifest is `models_dir/NAME.toml`.
///
/// # Errors
/// What is wrong with it.
pub fn check_model(name: &str) -> Result<(), String> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(known) {
        return Err(format!("`{}` is not a model's name: 1 to 64 of letters, digits, _, - and .", shown(name)));
    }
    Ok(())
}

/// A source of frames, by its form only: whether it is there is known when it is opened.
///
/// # Errors
/// What is wrong with it.
pub fn check_source(source: &str) -> Result<(), String> {
    // What stands behind a question mark is for the source to understand.
    let without_options = source.split_once('?').map_or(source, |(name, _)| name);
    let good = match without_options.split_once(':') {
        Some(("scene", scene)) => check_name(scene).is_ok(),
        Some(("file", path)) => !path.is_empty(),
        _ => source == "auto" || without_options == "scene" || (source.starts_with('/') && source.len() > 1),
    };
    if good && !source.contains('\0') {
        return Ok(());
    }
    Err(format!("`{}` is not a source: auto, an absolute path, scene, scene:NAME or file:PATH", shown(source)))
}

/// The path of a device node to write to.
///
/// # Errors
/// What is wrong with it.
pub fn check_output_device(path: &str) -> Result<(), String> {
    if path.starts_with('/') && path.len() > 1 && !path.contains('\0') {
        return Ok(());
    }
    Err(format!("`{}` is not the absolute path of a device", shown(path)))
}

/// Checks one area whose people are ignored: x, y, width, height as fractions of the picture.
///
/// # Errors
/// What is wrong with it.
pub fn check_zone(zone: [f64; 4]) -> Result<(), String> {
    let [x, y, width, height] = zone;
    // One part in a million: 0.1 + 0.9 and the like do not fail by rounding.
    let inside = |start: f64, length: f64| start >= 0.0 && length > 0.0 && start + length <= 1.0 + 1e-6;
    if inside(x, width) && inside(y, height) {
        return Ok(());
    }
    Err(format!("[{x}, {y}, {width}, {height}] is not [x, y, width, height] in fractions inside 0 to 1"))
}

/// A string, shortened and made printable for a message.
pub(super) fn shown(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    let dots = if short.len() < text.len() { "..." } else { "" };
    format!("{}{dots}", short.escape_debug())
}

/// Accepts a number from `lowest` to `highest`, whole or not, and `zero` if it has a meaning of its own.
struct Number {
    lowest: f64,
    highest: f64,
    zero: bool,
    whole: bool,
}

impl Number {
    fn check<E: Error>(&self, value: f64) -> Result<f64, E> {
        if (self.lowest..=self.highest).contains(&value) || (self.zero && value == 0.0) {
            return Ok(value);
        }
        Err(E::custom(format!("{value} is not {self}")))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.whole { "a whole number" } else { "a number" };
        write!(out, "{kind} from {} to {}", self.lowest, self.highest)?;
        if self.zero { out.write_str(", or 0") } else { Ok(()) }
    }
}

impl Visitor<'_> for Number {
    type Value = f64;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<f64, E> {
        if self.whole {
            return Err(E::custom(format!("{value:?} is not {self}")));
        }
        self.check(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<f64, E> {
        // Every value that the check lets through is under 2^32, where an f64 is exact.
        match i32::try_from(value) {
            Ok(value) => self.check(f64::from(value)),
            Err(_) => Err(E::custom(format!("{value} is not {self}"))),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<f64, E> {
        match i32::try_from(value) {
            Ok(value) => self.check(f64::from(value)),
            Err(_) => Err(E::custom(format!("{value} is not {self}"))),
        }
    }
}

fn number<'de, D: Deserializer<'de>>(from: D, lowest: f64, highest: f64, zero: bool) -> Result<f64, D::Error> {
    from.deserialize_any(Number { lowest, highest, zero, whole: false })
}

fn whole<'de, D: Deserializer<'de>>(from: D, lowest: u32, highest: u32, zero: bool) -> Result<u32, D::Error> {
    let visitor = Number { lowest: lowest.into(), highest: highest.into(), zero, whole: true };
    let value = from.deserialize_any(visitor)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and between two u32, checked")]
    Ok(value as u32)
}

/// A string; anything else is refused by its type.
pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
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

fn checked<'de, D: Deserializer<'de>>(from: D, check: fn(&str) -> Result<(), String>) -> Result<String, D::Error> {
    let value = text(from)?;
    check(&value).map_err(D::Error::custom)?;
    Ok(value)
}

// One function a key, for `#[serde(deserialize_with)]`. The limits stand here and in `systemd/portraitd.toml`.

pub(super) fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    checked(from, check_name)
}

pub(super) fn model<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    checked(from, check_model)
}

pub(super) fn source<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    checked(from, check_source)
}

pub(super) fn output_device<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    checked(from, check_output_device)
}

pub(super) fn log<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    checked(from, crate::service::logging::check_filter)
}

pub(super) fn directory<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    checked(from, |path| match path {
        "" => Err("a folder is needed".to_owned()),
        path if path.contains('\0') => Err("a path has no NUL character".to_owned()),
        _ => Ok(()),
    })
    .map(PathBuf::from)
}

/// An absolute path; an empty string takes back what a lower layer set.
pub(super) fn optional_path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let path = checked(from, |path| {
        if path.is_empty() || (path.starts_with('/') && !path.contains('\0')) {
            return Ok(());
        }
        Err(format!("`{}` is not an absolute path", shown(path)))
    })?;
    Ok((!path.is_empty()).then(|| PathBuf::from(path)))
}

/// Writes an absent path as the empty string, as it is read.
pub(super) fn write_optional_path<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => to.collect_str(&path.display()),
        None => to.serialize_str(""),
    }
}

pub(super) fn threads<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    whole(from, 1, 2, false)
}

pub(super) fn size<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let value = whole(from, 16, 8192, true)?;
    if value % 2 != 0 {
        return Err(D::Error::custom(format!("{value} is odd; pictures have even sizes")));
    }
    Ok(value)
}

pub(super) fn frame_rate<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    number(from, 1.0, 240.0, true)
}

pub(super) fn idle_close<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    number(from, 0.0, 3600.0, false)
}

pub(super) fn budget<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    number(from, 1.0, 1000.0, false)
}

pub(super) fn rate<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    number(from, 1.0, 240.0, true)
}

pub(super) fn zoom<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    number(from, 1.0, 4.0, false)
}

pub(super) fn lead_room<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    number(from, 0.0, 0.25, false)
}

pub(super) fn blur<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    number(from, 0.0, 0.25, false)
}

/// The most zones a camera may have.
pub const MAX_ZONES: usize = 16;

pub(super) fn zones<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<[f64; 4]>, D::Error> {
    /// A zone that was checked when it was read, where the parser still knows its place.
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
                return Err(A::Error::custom(format!("{length} numbers are not [x, y, width, height]")));
            }
            check_zone(zone).map_err(A::Error::custom)?;
            Ok(Zone(zone))
        }
    }
    impl<'de> Deserialize<'de> for Zone {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_any(FourNumbers)
        }
    }
    let zones = Vec::<Zone>::deserialize(from)?;
    if zones.len() > MAX_ZONES {
        return Err(D::Error::custom(format!("{} zones are more than {MAX_ZONES}", zones.len())));
    }
    Ok(zones.into_iter().map(|zone| zone.0).collect())
}
