//! Model manifests (TOML): the facts about a net that its ONNX file does not contain.
//! `models/README.md` explains each key for people who add a model.

use std::path::Path;

use portraitd_media::Size;
use portraitd_media::text::line_and_column;
use serde::Deserialize;

use super::error::ModelError;

/// The order of a tensor's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TensorLayout {
    /// Batch, channel, row, column.
    Nchw,
    /// Batch, row, column, channel.
    Nhwc,
}

/// The shape of a tensor with one picture: `[1, channels, height, width]` or
/// `[1, height, width, channels]`.
pub fn tensor_shape(layout: TensorLayout, channels: usize, size: Size) -> [usize; 4] {
    let (width, height) = (size.width as usize, size.height as usize);
    match layout {
        TensorLayout::Nchw => [1, channels, height, width],
        TensorLayout::Nhwc => [1, height, width, channels],
    }
}

/// The order of the colour channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColorOrder {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

/// How a picture with another aspect ratio is fitted to the net's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Both axes are scaled independently to fill the input.
    Stretch,
    /// The aspect ratio is kept. The remaining area repeats the nearest border pixel; it is never
    /// filled with zeros.
    PadReplicate,
}

/// The function that turns the net's output into probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// The output is already a probability, 0..=1.
    None,
    /// The logistic function.
    Sigmoid,
    /// Softmax over all channels, of which there are at least two.
    Softmax,
    /// The largest of at least two channels: 1 where it is the person's, 0 elsewhere. A mask of
    /// [`Activation::Softmax`] has softer outlines.
    Argmax,
    /// The one channel is the number of each pixel's class: 1 where it is
    /// [`Output::person_channel`], 0 elsewhere.
    ClassIndex,
}

/// The most classes of a net.
const MAX_CHANNELS: usize = 1024;

/// The manifest of a model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The name that configurations use: 1 to 64 of `[a-z0-9-]`.
    pub name: String,
    /// The name that people read.
    pub title: String,
    /// File name of the ONNX file, in the directory of the manifest.
    pub file: String,
    /// SHA-256 checksum of the ONNX file: 64 hexadecimal digits.
    pub sha256: String,
    /// SPDX licence expression of the weights.
    pub licence: String,
    /// Where the weights come from.
    pub source: String,
    /// File name of the model card, in the directory of the manifest.
    pub card: String,
    /// The input tensor.
    pub input: Input,
    /// The output tensor.
    pub output: Output,
    /// The intended use.
    pub scope: Scope,
}

/// The input tensor. For each channel `value = (pixel / 255 - mean) / std`; the channels have the
/// order `color_order`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Width in pixels, 8..=2048.
    pub width: u32,
    /// Height in pixels, 8..=2048.
    pub height: u32,
    /// Order of the axes.
    pub layout: TensorLayout,
    /// Order of the channels.
    pub color_order: ColorOrder,
    /// Subtracted from each channel, as a fraction of the full range.
    pub mean: [f32; 3],
    /// Divisor of each channel, as a fraction of the full range.
    pub std: [f32; 3],
    /// How pictures with another aspect ratio are fitted.
    pub fit: Fit,
}

impl Input {
    /// The input's size in pixels.
    pub const fn size(&self) -> Size {
        Size::new(self.width, self.height)
    }
}

/// The output tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Order of the axes.
    pub layout: TensorLayout,
    /// Number of channels, 1..=1024: one for the person alone, or one for each class.
    pub channels: usize,
    /// The function that turns the values into probabilities.
    pub activation: Activation,
    /// Index of the channel for persons, from 0; with [`Activation::ClassIndex`], their class.
    pub person_channel: usize,
}

/// The intended use of a model, from its model card.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// The distance in metres beyond which people are out of scope.
    pub max_distance_m: Option<f32>,
    /// People whose height is below this fraction of the net's input, 0..=1, are out of scope.
    pub min_person_height: f32,
    /// How many people the model is made for, and of what kind.
    pub people: String,
    /// Uses that the authors of the model exclude.
    pub out_of_scope: Vec<String>,
}

/// A value that is not in its range.
struct InvalidValue {
    key: &'static str,
    /// What is wrong, to be read after the key.
    reason: String,
}

impl Manifest {
    /// Parses and checks the text of a manifest. `path` is used in messages only.
    ///
    /// # Errors
    /// [`ModelError::Manifest`], with line and column where they are known: the text is not TOML, a
    /// key is unknown or missing, or a value is out of range.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ModelError> {
        let manifest: Self = toml::from_str(text).map_err(|error| ModelError::Manifest {
            path: path.to_owned(),
            position: error.span().map(|span| line_and_column(text, span.start)),
            reason: error.message().replace('\n', "; "),
        })?;
        manifest.check().map_err(|InvalidValue { key, reason }| ModelError::Manifest {
            path: path.to_owned(),
            position: position_of(text, key),
            reason: format!("`{key}` {reason}"),
        })?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), InvalidValue> {
        let invalid = |key, reason| Err(InvalidValue { key, reason });
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.bytes().all(plain) {
            return invalid("name", "must be 1 to 64 of a-z, 0-9 and -".into());
        }
        if self.file.is_empty() || self.file.contains('/') {
            return invalid("file", "must be a file beside the manifest, without a path".into());
        }
        if self.sha256.len() != 64 || !self.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return invalid("sha256", "must be 64 hexadecimal digits".into());
        }
        for (key, value) in [("width", self.input.width), ("height", self.input.height)] {
            if !(8..=2048).contains(&value) {
                return invalid(key, format!("is {value} and must be within 8..=2048"));
            }
        }
        if !self.input.mean.iter().all(|mean| mean.is_finite()) {
            return invalid("mean", "must be numbers".into());
        }
        if !self.input.std.iter().all(|std| std.is_finite() && *std != 0.0) {
            return invalid("std", "must be numbers other than 0".into());
        }
        let Output { channels, activation, person_channel, .. } = self.output;
        if !(1..=MAX_CHANNELS).contains(&channels) {
            return invalid("channels", format!("is {channels} and must be within 1..={MAX_CHANNELS}"));
        }
        if activation == Activation::ClassIndex {
            if channels != 1 {
                return invalid("activation", "class-index needs 1 channel, which is the class".into());
            }
            if person_channel >= MAX_CHANNELS {
                return invalid("person_channel", format!("is {person_channel} and must be below {MAX_CHANNELS}"));
            }
        } else if person_channel >= channels {
            return invalid(
                "person_channel",
                format!("is {person_channel}, and there are {channels} channels, counted from 0"),
            );
        } else if channels == 1 && matches!(activation, Activation::Softmax | Activation::Argmax) {
            return invalid("activation", "softmax and argmax need 2 channels or more".into());
        }
        if !(0.0..=1.0).contains(&self.scope.min_person_height) {
            return invalid("min_person_height", "must be a fraction within 0..=1".into());
        }
        Ok(())
    }
}

/// Line and column of `key = ` in `text`. Only `layout` occurs twice in a manifest, and it is never
/// asked for.
fn position_of(text: &str, key: &str) -> Option<(usize, usize)> {
    text.lines().enumerate().find_map(|(index, line)| {
        let rest = line.trim_start().strip_prefix(key)?;
        rest.trim_start().starts_with('=').then(|| (index + 1, line.len() - line.trim_start().len() + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = include_str!("../../../../models/selfie-landscape.toml");

    fn error_of(text: &str) -> String {
        Manifest::parse(text, Path::new("m.toml")).expect_err("must be refused").to_string()
    }

    #[test]
    fn the_shipped_manifests_are_good() {
        let manifest = Manifest::parse(GOOD, Path::new("m.toml")).expect("good");
        assert_eq!(manifest.input.size(), Size::new(256, 144));
        let general = include_str!("../../../../models/selfie-general.toml");
        assert_eq!(Manifest::parse(general, Path::new("m.toml")).expect("good").input.size(), Size::new(256, 256));
    }

    #[test]
    fn errors_name_line_and_column() {
        assert_eq!(
            error_of(&GOOD.replace("width = 256", "wdith = 256")),
            "m.toml:10:1: unknown field `wdith`, expected one of `width`, `height`, `layout`, `color_order`, `mean`, \
             `std`, `fit`"
        );
        assert_eq!(
            error_of(&GOOD.replace("channels = 1", "channels = 0")),
            "m.toml:21:1: `channels` is 0 and must be within 1..=1024"
        );
        assert_eq!(
            error_of(&GOOD.replace("person_channel = 0", "person_channel = 1")),
            "m.toml:24:1: `person_channel` is 1, and there are 1 channels, counted from 0"
        );
        assert_eq!(
            error_of(&GOOD.replace("width = 256", "width = 0")),
            "m.toml:10:1: `width` is 0 and must be within 8..=2048"
        );
        assert_eq!(
            error_of(&GOOD.replace("file = \"", "file = \"../")),
            "m.toml:3:1: `file` must be a file beside the manifest, without a path"
        );
        assert!(error_of(&GOOD.replace("std = [1.0", "std = [0.0")).contains("`std` must be numbers other than 0"));
        assert!(error_of("name = ").starts_with("m.toml:1:"));
    }

    #[test]
    fn outputs_of_many_classes() {
        let with = |channels: &str, activation: &str, person: &str| {
            let text = GOOD
                .replace("\nchannels = 1", &format!("\nchannels = {channels}"))
                .replace("activation = \"none\"", &format!("activation = \"{activation}\""))
                .replace("person_channel = 0", &format!("person_channel = {person}"));
            Manifest::parse(&text, Path::new("m.toml")).map_err(|error| error.to_string())
        };
        for (channels, activation, person) in
            [("21", "softmax", "15"), ("21", "argmax", "15"), ("1", "class-index", "15"), ("19", "none", "11")]
        {
            let output = with(channels, activation, person).expect("good").output;
            assert_eq!(output.person_channel.to_string(), person);
        }
        let refused = [
            ("21", "softmax", "21", "`person_channel` is 21, and there are 21 channels"),
            ("1", "argmax", "0", "`activation` softmax and argmax need 2 channels or more"),
            ("21", "class-index", "15", "`activation` class-index needs 1 channel"),
            ("1", "class-index", "1024", "`person_channel` is 1024 and must be below 1024"),
            ("1025", "softmax", "15", "`channels` is 1025 and must be within 1..=1024"),
        ];
        for (channels, activation, person, reason) in refused {
            let error = with(channels, activation, person).expect_err("must be refused");
            assert!(error.contains(reason), "{error}");
        }
    }
}
