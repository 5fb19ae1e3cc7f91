//! The settings of a camera: range, default, spelling and error text of each, in one place.
//!
//! The configuration file, the setters of the D-Bus interfaces and the command lines all check
//! values here, so that they accept the same values and reject others with the same words. Words
//! such as the framing mode are in [`words`](crate::words); their defaults are here.

use std::fmt;
use std::str::FromStr;

use crate::words::{BackgroundMode, FramingMode, FramingSpeed, StreamKind};

/// Why a value is not accepted. The message names the value and what would be accepted, but not the
/// setting: the caller knows whether that is a key of a file, a D-Bus property or a flag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// A number out of range, of the wrong kind, or odd where it must be even.
    #[error("{value} is not {expected}")]
    Number {
        /// The value, as text.
        value: String,
        /// The accepted range, in words.
        expected: String,
    },
    /// A text that is not a number.
    #[error("\"{text}\" is not a number")]
    NotANumber {
        /// The text, see [`excerpt`].
        text: String,
    },
    /// A text that is not a colour.
    #[error("`{text}` is not a colour as #203040 (a hash and six hexadecimal digits) or one of {}", Color::names())]
    Color {
        /// The text, see [`excerpt`].
        text: String,
    },
    /// A rectangle that is empty, or not within the picture.
    #[error("{rectangle} is not [x, y, width, height] in fractions inside 0 to 1")]
    Rectangle {
        /// The rectangle, as text.
        rectangle: String,
    },
    /// A text that is not four numbers with commas.
    #[error("\"{text}\" is not x,y,width,height")]
    FourNumbers {
        /// The text, see [`excerpt`].
        text: String,
    },
    /// More than [`MAX_ZONES`] zones.
    #[error("{count} zones are more than {MAX_ZONES}")]
    TooManyZones {
        /// The number of zones.
        count: usize,
    },
    /// A text that cannot name a camera.
    #[error("`{text}` is not a name: 1 to 32 of a-z, 0-9, _ and -")]
    CameraName {
        /// The text, see [`excerpt`].
        text: String,
    },
    /// A text that cannot name a model.
    #[error("`{text}` is not a model's name: 1 to 64 of letters, digits, _, - and .")]
    ModelName {
        /// The text, see [`excerpt`].
        text: String,
    },
}

/// The number of characters of a stranger's text that a message repeats.
pub const EXCERPT_CHARACTERS: usize = 80;

/// A stranger's text, for one line of an error or a log: its first 80 characters, with control
/// characters and quotes escaped, and `...` if it is longer.
///
/// The texts of clients, files and devices may be of any length. Every message that repeats one does
/// so through this function.
///
/// ```
/// use portraitd_protocol::settings::excerpt;
/// assert_eq!(excerpt("fps"), "fps");
/// assert_eq!(excerpt("a\nb\u{1b}[2J"), "a\\nb\\u{1b}[2J");
/// assert_eq!(excerpt(&"x".repeat(81)), format!("{}...", "x".repeat(80)));
/// ```
#[must_use]
pub fn excerpt(text: &str) -> String {
    let end = text.char_indices().nth(EXCERPT_CHARACTERS).map_or(text.len(), |(at, _)| at);
    let dots = if end < text.len() { "..." } else { "" };
    format!("{}{dots}", text[..end].escape_debug())
}

/// The numbers that a setting accepts: `lowest` to `highest`, both included.
///
/// Its `Display` completes the sentence "the value is not ...".
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NumberRange {
    /// The lowest accepted value.
    pub lowest: f64,
    /// The highest accepted value.
    pub highest: f64,
    /// The value of a setting that nobody has set.
    pub default: f64,
    /// Whether 0 is accepted too, although it is outside of the range: it then has a meaning of its
    /// own.
    pub or_zero: bool,
}

impl NumberRange {
    const fn new(lowest: f64, highest: f64, default: f64) -> Self {
        Self { lowest, highest, default, or_zero: false }
    }

    const fn or_zero(self) -> Self {
        Self { or_zero: true, ..self }
    }

    /// Returns the value if it is accepted.
    ///
    /// # Errors
    /// [`SettingError::Number`]; also for a value that is not a number.
    pub fn check(&self, value: f64) -> Result<f64, SettingError> {
        if (self.lowest..=self.highest).contains(&value) || (self.or_zero && value == 0.0) {
            return Ok(value);
        }
        Err(SettingError::Number { value: value.to_string(), expected: self.to_string() })
    }
}

impl fmt::Display for NumberRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number from {} to {}", self.lowest, self.highest)?;
        if self.or_zero { f.write_str(", or 0") } else { Ok(()) }
    }
}

/// The whole numbers that a setting accepts: `lowest` to `highest`, both included.
///
/// Its `Display` completes the sentence "the value is not ...".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountRange {
    /// The lowest accepted value.
    pub lowest: u32,
    /// The highest accepted value.
    pub highest: u32,
    /// The value of a setting that nobody has set.
    pub default: u32,
    /// Whether 0 is accepted too, although it is outside of the range: it then has a meaning of its
    /// own.
    pub or_zero: bool,
    /// Whether only even numbers are accepted.
    pub even: bool,
}

impl CountRange {
    const fn new(lowest: u32, highest: u32, default: u32) -> Self {
        Self { lowest, highest, default, or_zero: false, even: false }
    }

    const fn even(self) -> Self {
        Self { even: true, ..self }
    }

    const fn or_zero(self) -> Self {
        Self { or_zero: true, ..self }
    }

    /// Returns the value if it is accepted.
    ///
    /// # Errors
    /// [`SettingError::Number`].
    pub fn check(&self, value: impl Into<i64>) -> Result<u32, SettingError> {
        let value = value.into();
        let accepted = |value: &u32| {
            let in_range = (self.lowest..=self.highest).contains(value) || (self.or_zero && *value == 0);
            in_range && (!self.even || value.is_multiple_of(2))
        };
        u32::try_from(value)
            .ok()
            .filter(accepted)
            .ok_or_else(|| SettingError::Number { value: value.to_string(), expected: self.to_string() })
    }
}

impl fmt::Display for CountRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.even { "an even number" } else { "a whole number" };
        write!(f, "{kind} from {} to {}", self.lowest, self.highest)?;
        if self.or_zero { f.write_str(", or 0") } else { Ok(()) }
    }
}

/// Framing: the strongest magnification of the view.
pub const MAX_ZOOM: NumberRange = NumberRange::new(1.0, 4.0, 2.0);
/// Framing: the least magnification of the view. 1 shows the whole frame.
pub const MIN_ZOOM: NumberRange = NumberRange::new(1.0, 4.0, 1.0);
/// Framing: the extra room in the direction in which people walk, as a fraction of the crop.
pub const LEAD_ROOM: NumberRange = NumberRange::new(0.0, 0.25, 0.0);
/// Background: whether a composite shows a frame only with the mask that was made from it.
pub const BACKGROUND_STRICT: bool = true;
/// Background: the standard deviation of the blur, as a fraction of the picture's height.
pub const BLUR: NumberRange = NumberRange::new(0.0, 0.25, 0.05);
/// Camera: frames per second; 0 means the source's own rate.
pub const FRAME_RATE: NumberRange = NumberRange::new(1.0, 240.0, 30.0).or_zero();
/// Segmentation: the most inference passes per second; 0 means one per frame.
pub const INFERENCE_RATE: NumberRange = NumberRange::new(1.0, 240.0, 30.0).or_zero();
/// Segmentation: the time that a mask may take, in milliseconds after capture.
pub const MASK_BUDGET_MS: NumberRange = NumberRange::new(1.0, 1000.0, 30.0);
/// Camera: the grace period, in seconds.
pub const IDLE_CLOSE_S: NumberRange = NumberRange::new(0.0, 3600.0, 3.0);
/// The number of threads of one inference pass.
pub const THREADS: CountRange = CountRange::new(1, 2, 1);
/// Camera: the width of the frames, in pixels; 0 means the source's own.
pub const FRAME_WIDTH: CountRange = CountRange::new(16, 8192, 1280).even().or_zero();
/// Camera: the height of the frames, in pixels; 0 means the source's own.
pub const FRAME_HEIGHT: CountRange = CountRange { default: 720, ..FRAME_WIDTH };
/// Framing: the width or height of the view, in pixels; 0 means the source's.
pub const VIEW_SIDE: CountRange = CountRange { default: 0, ..FRAME_WIDTH };
/// Attach options `width` and `height`, in pixels. The default is not used: without the option, a
/// stream has a size of its own.
pub const ATTACH_SIDE: CountRange = CountRange::new(16, 4096, 0).even();
/// Attach option `fps`: the maximum number of wake-ups a second. The default is not used: without
/// the option, a client is woken for every frame.
pub const ATTACH_RATE: CountRange = CountRange::new(1, 240, 0);

/// The most zones of a camera.
pub const MAX_ZONES: usize = 16;

/// The framing mode of a camera whose configuration sets none.
pub const FRAMING_MODE: FramingMode = FramingMode::Follow;
/// The framing speed of a camera whose configuration sets none.
pub const FRAMING_SPEED: FramingSpeed = FramingSpeed::Normal;
/// The background mode of a camera whose configuration sets none.
pub const BACKGROUND_MODE: BackgroundMode = BackgroundMode::Color;
/// The background colour of a camera whose configuration sets none.
pub const BACKGROUND_COLOR: Color = Color { red: 0x20, green: 0x30, blue: 0x40 };
/// The stream of an output node whose configuration sets none.
pub const OUTPUT_STREAM: StreamKind = StreamKind::View;
/// The name of a camera whose configuration sets none.
pub const CAMERA_NAME: &str = "main";
/// The model of a camera whose configuration sets none.
pub const MODEL: &str = "selfie-landscape";

/// The basic colour keywords of CSS (Color Module Level 3, section 4.1).
const COLOR_NAMES: [(&str, [u8; 3]); 16] = [
    ("aqua", [0, 255, 255]),
    ("black", [0, 0, 0]),
    ("blue", [0, 0, 255]),
    ("fuchsia", [255, 0, 255]),
    ("gray", [128, 128, 128]),
    ("green", [0, 128, 0]),
    ("lime", [0, 255, 0]),
    ("maroon", [128, 0, 0]),
    ("navy", [0, 0, 128]),
    ("olive", [128, 128, 0]),
    ("purple", [128, 0, 128]),
    ("red", [255, 0, 0]),
    ("silver", [192, 192, 192]),
    ("teal", [0, 128, 128]),
    ("white", [255, 255, 255]),
    ("yellow", [255, 255, 0]),
];

/// A colour of the screen: red, green and blue, 0 to 255 each, full range. As text: `#rrggbb`. The
/// basic names of CSS, such as `navy`, are read too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color {
    /// Red.
    pub red: u8,
    /// Green.
    pub green: u8,
    /// Blue.
    pub blue: u8,
}

impl Color {
    /// The names that are read, joined by commas.
    #[must_use]
    pub fn names() -> String {
        COLOR_NAMES.map(|(name, _)| name).join(", ")
    }
}

impl FromStr for Color {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        if let Some((_, rgb)) = COLOR_NAMES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)) {
            return Ok((*rgb).into());
        }
        let refused = || SettingError::Color { text: excerpt(text) };
        let digits = text.strip_prefix('#').ok_or_else(refused)?;
        if digits.len() != 6 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(refused());
        }
        let part = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| refused());
        Ok(Self { red: part(0)?, green: part(2)?, blue: part(4)? })
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.red, self.green, self.blue)
    }
}

impl From<[u8; 3]> for Color {
    fn from([red, green, blue]: [u8; 3]) -> Self {
        Self { red, green, blue }
    }
}

impl From<Color> for [u8; 3] {
    fn from(Color { red, green, blue }: Color) -> Self {
        [red, green, blue]
    }
}

/// Checks a zone or a manual crop: x, y, width and height as fractions of the source picture.
///
/// # Errors
/// [`SettingError::Rectangle`] if it is empty, not within the picture, or contains a value that is
/// not a number.
pub fn check_rectangle(rectangle: [f64; 4]) -> Result<[f64; 4], SettingError> {
    let [x, y, width, height] = rectangle;
    // One part in a million, so that sums such as 0.1 + 0.9 do not fail because of rounding.
    let inside = |start: f64, length: f64| start >= 0.0 && length > 0.0 && start + length <= 1.0 + 1e-6;
    if inside(x, width) && inside(y, height) {
        return Ok(rectangle);
    }
    Err(SettingError::Rectangle { rectangle: format!("[{x}, {y}, {width}, {height}]") })
}

/// Checks the number of zones.
///
/// # Errors
/// [`SettingError::TooManyZones`].
pub const fn check_zone_count(count: usize) -> Result<(), SettingError> {
    if count > MAX_ZONES { Err(SettingError::TooManyZones { count }) } else { Ok(()) }
}

/// Checks a camera's name. It becomes the last part of a D-Bus path, a label of metrics and part of
/// the names of environment variables.
///
/// # Errors
/// [`SettingError::CameraName`].
pub fn check_camera_name(name: &str) -> Result<(), SettingError> {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if name.is_empty() || name.len() > 32 || !name.chars().all(known) {
        return Err(SettingError::CameraName { text: excerpt(name) });
    }
    Ok(())
}

/// Checks a model's name. The manifest of the model is the file `NAME.toml`.
///
/// # Errors
/// [`SettingError::ModelName`].
pub fn check_model_name(name: &str) -> Result<(), SettingError> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(known) {
        return Err(SettingError::ModelName { text: excerpt(name) });
    }
    Ok(())
}

/// Reads a number as a command line gives it. The range is not checked: see [`NumberRange::check`].
///
/// # Errors
/// [`SettingError::NotANumber`].
pub fn parse_number(text: &str) -> Result<f64, SettingError> {
    text.parse().map_err(|_| SettingError::NotANumber { text: excerpt(text) })
}

/// Reads four numbers `x,y,width,height` as a command line gives them. Their range is not checked:
/// see [`check_rectangle`].
///
/// # Errors
/// [`SettingError::FourNumbers`].
pub fn parse_rectangle(text: &str) -> Result<[f64; 4], SettingError> {
    let refused = || SettingError::FourNumbers { text: excerpt(text) };
    let numbers: Result<Vec<f64>, _> = text.split(',').map(|number| number.trim().parse()).collect();
    numbers.ok().and_then(|numbers| numbers.try_into().ok()).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_include_their_ends_and_zero_only_where_it_has_a_meaning() {
        assert_eq!(MAX_ZOOM.check(1.0), Ok(1.0));
        assert_eq!(MAX_ZOOM.check(4.0), Ok(4.0));
        for value in [0.0, 0.99, 4.01, f64::NAN, f64::INFINITY, -1.0] {
            assert!(MAX_ZOOM.check(value).is_err(), "{value}");
        }
        assert_eq!(FRAME_RATE.check(0.0), Ok(0.0));
        assert!(FRAME_RATE.check(0.5).is_err());
        assert_eq!(FRAME_WIDTH.check(0), Ok(0));
        assert_eq!(ATTACH_SIDE.check(4096), Ok(4096));
        for value in [0, 14, 641, 4098, -16, i64::MAX] {
            assert!(ATTACH_SIDE.check(value).is_err(), "{value}");
        }
    }

    #[test]
    fn every_default_is_in_its_range() {
        for range in [MAX_ZOOM, MIN_ZOOM, LEAD_ROOM, BLUR, FRAME_RATE, INFERENCE_RATE, MASK_BUDGET_MS, IDLE_CLOSE_S] {
            assert_eq!(range.check(range.default), Ok(range.default));
        }
        for range in [THREADS, FRAME_WIDTH, FRAME_HEIGHT, VIEW_SIDE] {
            assert_eq!(range.check(range.default), Ok(range.default));
        }
        assert_eq!(check_camera_name(CAMERA_NAME), Ok(()));
        assert_eq!(check_model_name(MODEL), Ok(()));
    }

    #[test]
    fn a_refusal_names_the_value_and_the_range() {
        let text = |error: Result<f64, SettingError>| error.expect_err("refused").to_string();
        assert_eq!(text(MAX_ZOOM.check(7.0)), "7 is not a number from 1 to 4");
        assert_eq!(text(FRAME_RATE.check(f64::NAN)), "NaN is not a number from 1 to 240, or 0");
        let text = |error: Result<u32, SettingError>| error.expect_err("refused").to_string();
        assert_eq!(text(THREADS.check(3)), "3 is not a whole number from 1 to 2");
        assert_eq!(text(FRAME_WIDTH.check(-720)), "-720 is not an even number from 16 to 8192, or 0");
    }

    #[test]
    fn colors_are_six_digits_or_a_basic_name_of_css() {
        assert_eq!("navy".parse(), Ok(Color::from([0, 0, 128])));
        assert_eq!("White".parse(), Ok(Color::from([255, 255, 255])));
        let error = "nawy".parse::<Color>().expect_err("no such name").to_string();
        assert!(error.contains("`nawy` is not a colour as #203040") && error.contains("navy, olive"), "{error}");
        assert_eq!("#0aFf80".parse(), Ok(Color::from([0x0a, 0xff, 0x80])));
        assert_eq!(Color::from([0x0a, 0xff, 0x80]).to_string(), "#0aff80");
        for text in ["", "#", "0aff80", "#0aff8", "#0aff800", "#0aff8g", "#+aff80", "#é1234"] {
            assert!(text.parse::<Color>().is_err(), "{text}");
        }
    }

    #[test]
    fn rectangles_lie_within_the_picture() {
        for good in [[0.0, 0.0, 1.0, 1.0], [0.7, 0.1, 0.3, 0.9], [0.1 + 0.2, 0.0, 0.7, 1.0]] {
            assert_eq!(check_rectangle(good), Ok(good), "{good:?}");
        }
        let nan = f64::NAN;
        for bad in [
            [0.0, 0.0, 0.0, 1.0],
            [-0.1, 0.0, 0.5, 0.5],
            [0.6, 0.0, 0.5, 0.5],
            [nan, 0.0, 1.0, 1.0],
            [0.0, 0.0, 1.0, nan],
            [0.0, 0.0, f64::INFINITY, 1.0],
        ] {
            assert!(check_rectangle(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn excerpts_are_one_short_line() {
        assert_eq!(excerpt("a\n\"b\""), "a\\n\\\"b\\\"");
        assert_eq!(excerpt(&"ü".repeat(90)), format!("{}...", "ü".repeat(80)));
    }

    proptest! {
        #[test]
        fn colors_read_back(rgb: [u8; 3]) {
            prop_assert_eq!(Color::from(rgb).to_string().parse(), Ok(Color::from(rgb)));
        }

        #[test]
        fn nothing_makes_the_parsers_panic(text in ".{0,40}") {
            let _ = (text.parse::<Color>(), parse_rectangle(&text), parse_number(&text));
            let _ = (check_camera_name(&text), check_model_name(&text));
        }
    }
}
