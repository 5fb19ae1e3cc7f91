//! Controls of a camera: exposure, white balance, focus and whatever else its driver offers. What
//! they are called, and which values they take.

use std::collections::BTreeMap;
use std::fmt;

use crate::settings::excerpt;
use crate::spelling::nearest;

/// The id of the control that reports or closes the shutter (`V4L2_CID_PRIVACY`). It is not set here.
pub const PRIVACY_ID: u32 = 0x009a_0910;
/// The most controls of one camera that can be set.
pub const MAX_SET: usize = 128;

/// A control of a device.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Control {
    /// The id of the control (`V4L2_CID_...`).
    pub id: u32,
    /// The driver's name for it, such as `White Balance, Automatic`.
    pub name: String,
    /// The type: `integer`, `boolean`, `menu`, `button`, `integer64`, `string`, `bitmask`,
    /// `integer-menu`, `other`.
    pub kind: &'static str,
    /// The smallest value.
    pub minimum: i32,
    /// The largest value.
    pub maximum: i32,
    /// The distance between two values.
    pub step: i32,
    /// The default value.
    pub default: i32,
    /// The current value; `None` if it cannot be read or is not a single number.
    pub value: Option<i32>,
    /// Whether it can only be read.
    pub read_only: bool,
    /// Whether another control prevents it from having an effect.
    pub inactive: bool,
    /// The items of a menu: number and text.
    pub menu: Vec<(u32, String)>,
}

/// A value that somebody wants a control to have.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum ControlValue {
    /// A switch.
    Switch(bool),
    /// A number; the number of an item of a menu.
    Number(i64),
    /// The text of an item of a menu.
    Text(String),
}

impl fmt::Display for ControlValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(switch) => switch.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => write!(f, "\"{}\"", excerpt(text)),
        }
    }
}

/// Wanted values, by the [`key`](Control::key) of their control.
pub type ControlValues = BTreeMap<String, ControlValue>;

/// Why a control does not get a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The device has no such control.
    #[error("there is no control {}{hint}; there are {known}", excerpt(key))]
    Unknown {
        /// The name that was given.
        key: String,
        /// The name that was probably meant, as the end of a sentence; or nothing.
        hint: String,
        /// The names of all controls.
        known: String,
    },
    /// The control can only be read.
    #[error("{key}: can only be read")]
    ReadOnly {
        /// The name of the control.
        key: String,
    },
    /// Another control prevents this one from having an effect.
    #[error("{key}: has no effect now, because another control prevents it, such as an automatic one that is on")]
    Inactive {
        /// The name of the control.
        key: String,
    },
    /// The value is not one of the control's.
    #[error("{key}: {value} is not {expected}")]
    Value {
        /// The name of the control.
        key: String,
        /// The value, as text.
        value: String,
        /// What is accepted.
        expected: String,
    },
    /// The control is of a kind that is not set here.
    #[error("{key}: {reason}")]
    Kind {
        /// The name of the control.
        key: String,
        /// Why it cannot be set.
        reason: String,
    },
    /// The driver refuses the value.
    #[error("{key}: the driver refuses {value}: {reason}")]
    Refused {
        /// The name of the control.
        key: String,
        /// The value.
        value: i32,
        /// The error of the driver.
        reason: String,
    },
}

/// The key of a control in configurations and commands, from the driver's name: letters and digits in
/// lower case, and one underscore for everything between them. `v4l2-ctl` spells it in the same way.
///
/// ```
/// use portraitd_protocol::control::key_of;
/// assert_eq!(key_of("White Balance, Automatic"), "white_balance_automatic");
/// assert_eq!(key_of("exposure_time_absolute"), "exposure_time_absolute");
/// ```
#[must_use]
pub fn key_of(name: &str) -> String {
    let mut key = String::with_capacity(name.len());
    for part in name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()) {
        if !key.is_empty() {
            key.push('_');
        }
        key.extend(part.chars().map(|c| c.to_ascii_lowercase()));
    }
    key
}

impl Control {
    /// The name of the control in configurations and commands: see [`key_of`].
    #[must_use]
    pub fn key(&self) -> String {
        key_of(&self.name)
    }

    /// Whether it can be set at all: a number, a switch or a menu that is not only for reading, and
    /// not the shutter.
    #[must_use]
    pub fn is_settable(&self) -> bool {
        !self.read_only
            && self.id != PRIVACY_ID
            && matches!(self.kind, "integer" | "boolean" | "menu" | "integer-menu" | "bitmask")
    }

    /// The number that the driver takes for `value`. Whether the control is active is not looked at.
    ///
    /// # Errors
    /// [`ControlError`]: it can only be read, is of another kind, or `value` is none of its values.
    pub fn check(&self, value: &ControlValue) -> Result<i32, ControlError> {
        if self.read_only {
            return Err(ControlError::ReadOnly { key: self.key() });
        }
        if !self.is_settable() {
            let reason = match self.id {
                PRIVACY_ID => "the shutter is not set here; make the camera private instead".to_owned(),
                _ => format!("a control of the kind {} cannot be set", self.kind),
            };
            return Err(ControlError::Kind { key: self.key(), reason });
        }
        let number = match value {
            ControlValue::Number(number) => i32::try_from(*number).ok(),
            ControlValue::Switch(switch) if self.kind == "boolean" => Some(i32::from(*switch)),
            ControlValue::Text(text) => {
                let item = self.menu.iter().find(|(_, item)| item.trim().eq_ignore_ascii_case(text.trim()));
                item.and_then(|(number, _)| i32::try_from(*number).ok())
            }
            ControlValue::Switch(_) => None,
        };
        number.filter(|number| self.accepts(*number)).ok_or_else(|| ControlError::Value {
            key: self.key(),
            value: value.to_string(),
            expected: self.expected(),
        })
    }

    fn accepts(&self, number: i32) -> bool {
        let (wide, minimum) = (i64::from(number), i64::from(self.minimum));
        match self.kind {
            "menu" | "integer-menu" => self.menu.iter().any(|(item, _)| i64::from(*item) == wide),
            // The largest value has all bits that exist.
            "bitmask" => number & !self.maximum == 0,
            _ => {
                (minimum..=i64::from(self.maximum)).contains(&wide)
                    && (wide - minimum) % i64::from(self.step.max(1)) == 0
            }
        }
    }

    /// The accepted values, to follow "is not".
    fn expected(&self) -> String {
        match self.kind {
            "boolean" => "true or false".to_owned(),
            "menu" | "integer-menu" => {
                let items: Vec<_> = self.menu.iter().map(|(_, item)| format!("\"{}\"", excerpt(item))).collect();
                format!("one of {}", items.join(", "))
            }
            "bitmask" => format!("a whole number with bits of {:#x}", self.maximum),
            _ if self.step > 1 => {
                format!("a whole number from {} to {} in steps of {}", self.minimum, self.maximum, self.step)
            }
            _ => format!("a whole number from {} to {}", self.minimum, self.maximum),
        }
    }

    /// A number of this control as configurations write it: a switch, the text of an item, a number.
    #[must_use]
    pub fn written(&self, number: i32) -> ControlValue {
        let item = self.menu.iter().find(|(item, _)| i64::from(*item) == i64::from(number));
        match (self.kind, item) {
            ("boolean", _) => ControlValue::Switch(number != 0),
            ("menu" | "integer-menu", Some((_, text))) => ControlValue::Text(text.trim().to_owned()),
            _ => ControlValue::Number(number.into()),
        }
    }

    /// Its values, default and flags, for people: the end of a line of a configuration file.
    #[must_use]
    pub fn note(&self) -> String {
        let mut note = match self.kind {
            "boolean" => String::new(),
            _ => self.expected().trim_start_matches("a whole number ").to_owned() + ", ",
        };
        note += &format!("default {}", self.written(self.default));
        if self.inactive {
            note += ", without effect now";
        }
        note
    }
}

/// Finds the control with the key `key`, in any spelling.
///
/// # Errors
/// [`ControlError::Unknown`], with the known names.
pub fn find<'a>(controls: &'a [Control], key: &str) -> Result<&'a Control, ControlError> {
    let wanted = key_of(key);
    controls.iter().find(|control| control.key() == wanted).ok_or_else(|| {
        let keys: Vec<String> = controls.iter().filter(|control| control.is_settable()).map(Control::key).collect();
        let near = nearest(&wanted, keys.iter().map(String::as_str));
        let hint = near.map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
        let known = if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
        ControlError::Unknown { key: key.to_owned(), hint, known }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(name: &str, kind: &'static str, (minimum, maximum, step): (i32, i32, i32)) -> Control {
        Control {
            id: 1,
            name: name.to_owned(),
            kind,
            minimum,
            maximum,
            step,
            default: minimum,
            value: None,
            read_only: false,
            inactive: false,
            menu: Vec::new(),
        }
    }

    fn frequency() -> Control {
        let menu = vec![(0, "Disabled".to_owned()), (1, "50 Hz".to_owned()), (3, "Auto".to_owned())];
        Control { menu, ..control("Power Line Frequency", "menu", (0, 3, 1)) }
    }

    #[test]
    fn keys_are_spelled_as_v4l2_ctl_spells_them() {
        for (name, key) in [("Gain", "gain"), ("  Focus, (Absolute)", "focus_absolute"), ("größe", "gr_e"), ("", "")]
        {
            assert_eq!(key_of(name), key);
        }
    }

    #[test]
    fn each_kind_accepts_its_values_and_names_them_in_errors() {
        use ControlValue::{Number, Switch, Text};
        let text = |text: &str| Text(text.to_owned());
        let gain = control("Gain", "integer", (-10, 100, 5));
        assert_eq!(gain.check(&Number(-5)), Ok(-5));
        for (value, shown) in [
            (Number(101), "101"),
            (Number(-11), "-11"),
            (Number(3), "3"),
            (Number(i64::MAX), "9223372036854775807"),
            (Switch(true), "true"),
            (text("5"), "\"5\""),
        ] {
            let error = gain.check(&value).expect_err("refused").to_string();
            assert_eq!(error, format!("gain: {shown} is not a whole number from -10 to 100 in steps of 5"));
        }
        let auto = control("Auto", "boolean", (0, 1, 1));
        assert_eq!((auto.check(&Switch(true)), auto.check(&Number(0))), (Ok(1), Ok(0)));
        assert_eq!(auto.check(&Number(2)).expect_err("refused").to_string(), "auto: 2 is not true or false");
        assert_eq!((frequency().check(&text(" 50 hz")), frequency().check(&Number(3))), (Ok(1), Ok(3)));
        let error = frequency().check(&Number(2)).expect_err("a gap of the menu").to_string();
        assert_eq!(error, "power_line_frequency: 2 is not one of \"Disabled\", \"50 Hz\", \"Auto\"");
        let bits = control("Bits", "bitmask", (0, 0b101, 0));
        assert_eq!(bits.check(&Number(4)), Ok(4));
        assert!(bits.check(&Number(2)).is_err() && bits.check(&Number(-1)).is_err());
    }

    #[test]
    fn what_is_not_set_here_is_refused_with_the_reason() {
        let error = |control: Control| control.check(&ControlValue::Number(0)).expect_err("refused").to_string();
        assert_eq!(error(Control { read_only: true, ..frequency() }), "power_line_frequency: can only be read");
        assert!(error(control("Name", "string", (0, 9, 1))).contains("of the kind string cannot be set"));
        assert!(error(Control { id: PRIVACY_ID, ..control("Privacy", "boolean", (0, 1, 1)) }).contains("private"));
    }

    #[test]
    fn an_unknown_name_is_told_with_those_that_exist() {
        let controls = [control("Gain", "integer", (0, 9, 1)), frequency(), control("Name", "string", (0, 9, 1))];
        assert_eq!(find(&controls, "Power-Line frequency").map(|control| control.kind), Ok("menu"));
        let error = find(&controls, "gian").expect_err("unknown").to_string();
        assert_eq!(error, "there is no control gian (did you mean gain?); there are gain, power_line_frequency");
        assert_eq!(find(&[], "x").expect_err("none").to_string(), "there is no control x; there are none");
    }

    #[test]
    fn a_value_is_written_as_it_is_read() {
        for (control, numbers) in [
            (frequency(), vec![0, 1, 3]),
            (control("Auto", "boolean", (0, 1, 1)), vec![0, 1]),
            (control("Gain", "integer", (0, 9, 1)), vec![0, 9]),
        ] {
            for number in numbers {
                assert_eq!(control.check(&control.written(number)), Ok(number), "{control:?}");
            }
        }
        assert_eq!(frequency().note(), "one of \"Disabled\", \"50 Hz\", \"Auto\", default \"Disabled\"");
        let gain = Control { inactive: true, ..control("Gain", "integer", (0, 9, 1)) };
        assert_eq!(gain.note(), "from 0 to 9, default 0, without effect now");
    }
}
