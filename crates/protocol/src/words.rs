//! The words of the D-Bus interfaces: streams, modes and states, each an enum with the spelling that goes over the bus.

use std::fmt;

/// A word that is none of those an enum knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not one of {expected}", .word.escape_debug())]
pub struct UnknownWord {
    /// What was given.
    pub word: String,
    /// The words that would do, separated by commas.
    pub expected: String,
}

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word that goes over the bus.
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
                        // A word of this length is a mistake or an attack; its beginning tells which.
                        word: word.chars().take(60).collect(),
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

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// A stream of pictures that a camera offers.
    StreamKind {
        /// Who is a person, pixel by pixel; no picture at all.
        Mask = "mask",
        /// The person-centred part of the picture, with the room round the people.
        View = "view",
        /// The people on another background; never the room.
        Composite = "composite",
        /// The whole picture as the camera gives it. Off unless the configuration allows it.
        Source = "source",
    }
}

impl StreamKind {
    /// The number of the stream in a ring's header.
    pub const fn code(self) -> u32 {
        match self {
            Self::Mask => 1,
            Self::View => 2,
            Self::Composite => 3,
            Self::Source => 4,
        }
    }

    /// The stream of a number in a ring's header.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|stream| stream.code() == code)
    }
}

words! {
    /// What a camera does (`org.portraitd.Camera1.State`).
    CameraState {
        /// The device is not there.
        Absent = "absent",
        /// Nobody looks, so the camera is closed.
        Idle = "idle",
        /// It is being opened.
        Starting = "starting",
        /// Frames come.
        Running = "running",
        /// It is open and gives no frames.
        Stalled = "stalled",
        /// Its privacy shutter or switch is closed.
        Private = "private",
        /// It cannot be used; `LastError` says why.
        Failed = "failed",
    }
}

words! {
    /// How the crop is chosen (`org.portraitd.Framing1.Mode`).
    FramingMode {
        /// The whole picture.
        Off = "off",
        /// Framed once on every `Reframe`, then still.
        Once = "once",
        /// Follows the people.
        Follow = "follow",
        /// `ManualCrop`.
        Manual = "manual",
    }
}

words! {
    /// What the director does (`org.portraitd.Framing1.State`).
    FramingState {
        /// Nothing: framing is off, or the camera is closed.
        Inactive = "inactive",
        /// The crop is moving.
        Framing = "framing",
        /// The crop is where it should be.
        Converged = "converged",
        /// Nobody is seen.
        Lost = "lost",
    }
}

words! {
    /// How fast the crop moves (`org.portraitd.Framing1.Speed`).
    FramingSpeed {
        /// Slower than normal.
        Calm = "calm",
        /// The default.
        Normal = "normal",
        /// Faster than normal.
        Quick = "quick",
    }
}

words! {
    /// What stands behind the people in a composite (`org.portraitd.Background1.Mode`).
    BackgroundMode {
        /// Nothing of ours: black.
        None = "none",
        /// One colour.
        Color = "color",
        /// A picture.
        Image = "image",
        /// The room, blurred beyond recognition of what is in it.
        Blur = "blur",
    }
}

words! {
    /// What part a composite shows (attach option `crop`).
    CropMode {
        /// The part that the director chose.
        View = "view",
        /// The whole frame.
        Full = "full",
    }
}

words! {
    /// Where in a view the whole room is shown, small (attach option `inset`).
    Inset {
        /// Nowhere.
        None = "none",
        /// In the upper left corner.
        TopLeft = "top-left",
        /// In the upper right corner.
        TopRight = "top-right",
        /// In the lower left corner.
        BottomLeft = "bottom-left",
        /// In the lower right corner.
        BottomRight = "bottom-right",
    }
}

words! {
    /// How fine a mask is (attach option `resolution`), where no size is asked for.
    MaskResolution {
        /// As many cells as the net has. Small, but of people who are small in the frame the net has seen more.
        Net = "net",
        /// A quarter of the frame's width and height.
        Quarter = "quarter",
        /// The frame's own.
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
}
