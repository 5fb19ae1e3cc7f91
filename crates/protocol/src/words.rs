//! The words of the D-Bus interfaces: streams, modes and states. Each is an enum with the spelling
//! that goes over the bus.
//!
//! A newer service may use words that this version does not know. [`Word`] is a value that accepts
//! them: the client's proxies use it, so that a program does not fail because of a new camera
//! state.

use std::fmt;

/// The error for a word that an enum does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not one of {expected}", .word.escape_debug())]
#[non_exhaustive]
pub struct UnknownWord {
    /// The first [`EXCERPT_CHARACTERS`](crate::settings::EXCERPT_CHARACTERS) characters of the word.
    pub word: String,
    /// The words that the enum knows, separated by a comma and a space.
    pub expected: String,
}

/// A word as it came over D-Bus: one that `T` knows, or one that a newer service has added.
///
/// ```
/// use portraitd_protocol::{CameraState, Word};
///
/// let state: Word<CameraState> = "running".into();
/// assert_eq!(state, CameraState::Running);
/// let newer: Word<CameraState> = "updating".into();
/// assert_eq!(newer.known(), None);
/// assert_eq!(newer.to_string(), "updating");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Word<T> {
    /// A word that this version knows.
    Known(T),
    /// Any other word, as it was spelled.
    Other(String),
}

impl<T: Copy> Word<T> {
    /// The value, or `None` for a word that this version does not know.
    pub const fn known(&self) -> Option<T> {
        match self {
            Self::Known(value) => Some(*value),
            Self::Other(_) => None,
        }
    }
}

impl<T> From<T> for Word<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T: PartialEq> PartialEq<T> for Word<T> {
    fn eq(&self, other: &T) -> bool {
        matches!(self, Self::Known(value) if value == other)
    }
}

impl<T: fmt::Display> fmt::Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(value) => value.fmt(f),
            Self::Other(word) => f.write_str(word),
        }
    }
}

impl<T: fmt::Display> serde::Serialize for Word<T> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de, T> serde::Deserialize<'de> for Word<T>
where
    Self: for<'a> From<&'a str>,
{
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(<std::borrow::Cow<'de, str>>::deserialize(from)?.as_ref().into())
    }
}

#[cfg(feature = "dbus")]
impl<T> zbus::Type for Word<T> {
    const SIGNATURE: &'static zbus::Signature = &zbus::Signature::Str;
}

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            /// Every value that this version knows, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The spelling on D-Bus, in JSON and on the command line.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl TryFrom<&str> for $name {
            type Error = UnknownWord;

            fn try_from(word: &str) -> Result<Self, UnknownWord> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownWord {
                        // Words are short. The beginning is sufficient to recognize one that was
                        // not meant.
                        word: word.chars().take($crate::settings::EXCERPT_CHARACTERS).collect(),
                        expected: [$($word),+].join(", "),
                    }),
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownWord;

            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                Self::try_from(word)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let word = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                Self::try_from(&*word).map_err(serde::de::Error::custom)
            }
        }

        impl From<&str> for Word<$name> {
            fn from(word: &str) -> Self {
                $name::try_from(word).map_or_else(|_| Self::Other(word.to_owned()), Self::Known)
            }
        }

        #[cfg(feature = "dbus")]
        impl zbus::Type for $name {
            const SIGNATURE: &'static zbus::Signature = &zbus::Signature::Str;
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// A stream of a camera.
    StreamKind {
        /// The probability that each pixel belongs to a person, 0 to 255. It carries no picture.
        Mask = "mask",
        /// The crop that the director chose, with the people and the room around them.
        View = "view",
        /// The people in front of another background. It never shows the room, except blurred
        /// beyond recognition.
        Composite = "composite",
        /// The whole frame as the camera delivers it. Available only if the configuration allows
        /// it.
        Source = "source",
    }
}

impl StreamKind {
    /// The number that stands for the stream in a ring's header, 1 to 4.
    pub const fn code(self) -> u32 {
        match self {
            Self::Mask => 1,
            Self::View => 2,
            Self::Composite => 3,
            Self::Source => 4,
        }
    }

    /// The stream for a number in a ring's header, or `None` for a number that is not assigned.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|stream| stream.code() == code)
    }
}

words! {
    /// The state of a camera (`org.portraitd.Camera1.State`).
    CameraState {
        /// The device is not connected.
        Absent = "absent",
        /// The camera is closed because nothing needs its frames.
        Idle = "idle",
        /// The camera is being opened.
        Starting = "starting",
        /// The camera delivers frames.
        Running = "running",
        /// The camera is open and has stopped delivering frames.
        Stalled = "stalled",
        /// The privacy shutter or switch of the camera is closed.
        Private = "private",
        /// The camera cannot be used. The property `LastError` gives the reason.
        Failed = "failed",
    }
}

words! {
    /// How the crop of a camera is chosen (`org.portraitd.Framing1.Mode`).
    FramingMode {
        /// The crop is the whole frame.
        Off = "off",
        /// The people are framed after each call of `Reframe`; then the crop stays where it is.
        Once = "once",
        /// The crop follows the people.
        Follow = "follow",
        /// The crop is the property `ManualCrop`.
        Manual = "manual",
    }
}

words! {
    /// The state of the director (`org.portraitd.Framing1.State`).
    FramingState {
        /// The director does nothing, because framing is off or the camera is closed.
        Inactive = "inactive",
        /// The crop is moving.
        Framing = "framing",
        /// The crop rests where the director wants it.
        Converged = "converged",
        /// There is nobody in the frame.
        Lost = "lost",
    }
}

words! {
    /// How fast the crop moves (`org.portraitd.Framing1.Speed`).
    FramingSpeed {
        /// The crop responds at 0.75 times the normal rate.
        Calm = "calm",
        /// The default speed.
        Normal = "normal",
        /// The crop responds at 1.25 times the normal rate.
        Quick = "quick",
    }
}

words! {
    /// What a composite shows behind the people (`org.portraitd.Background1.Mode`).
    BackgroundMode {
        /// Black.
        None = "none",
        /// The colour of the property `Color`.
        Color = "color",
        /// The image that was set with `SetImage`.
        Image = "image",
        /// The room, blurred so strongly that nothing in it can be recognized.
        Blur = "blur",
    }
}

words! {
    /// The part of the frame that a composite shows (attach option `crop`).
    CropMode {
        /// The crop that the director chose.
        View = "view",
        /// The whole frame.
        Full = "full",
    }
}

words! {
    /// The corner of a view in which a small picture of the whole frame is shown (attach option
    /// `inset`).
    Inset {
        /// The view has no inset.
        None = "none",
        /// The upper left corner.
        TopLeft = "top-left",
        /// The upper right corner.
        TopRight = "top-right",
        /// The lower left corner.
        BottomLeft = "bottom-left",
        /// The lower right corner.
        BottomRight = "bottom-right",
    }
}

words! {
    /// The size of a mask (attach option `resolution`), for clients that do not ask for a width and
    /// height.
    MaskResolution {
        /// The size of the net's output. It is the smallest, and people who are small in the frame
        /// lose detail.
        Net = "net",
        /// A quarter of the frame's width and height.
        Quarter = "quarter",
        /// The size of the frame.
        Full = "full",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_and_code_comes_back() {
        for stream in StreamKind::ALL {
            assert_eq!(StreamKind::try_from(stream.as_str()), Ok(*stream));
            assert_eq!(StreamKind::from_code(stream.code()), Some(*stream));
        }
        assert_eq!(StreamKind::from_code(0), None);
        let error = StreamKind::try_from("Mask").expect_err("words are lower case");
        assert_eq!(error.to_string(), "`Mask` is not one of mask, view, composite, source");
    }

    #[test]
    fn a_word_keeps_a_spelling_that_is_not_known() {
        let word: Word<CameraState> = "asleep".into();
        assert_eq!(word, Word::Other("asleep".to_owned()));
        assert_ne!(word, CameraState::Idle);
        assert_eq!(Word::<FramingMode>::from("once").known(), Some(FramingMode::Once));
        assert_eq!(Word::from(FramingMode::Once).to_string(), "once");
    }
}
