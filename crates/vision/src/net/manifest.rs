//! Model manifests (TOML): the facts about a net that its ONNX file does not hold. `models/README.md` explains each key
//! to people who add a model.

use std::path::Path;

use serde::Deserialize;

use super::ModelError;
use portraitd_media::Size;
use portraitd_media::text::line_and_column;

/// The order of a tensor's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Batch, channel, row, column.
    Nchw,
    /// Batch, row, column, channel.
    Nhwc,
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

/// How a picture of another aspect is brought to the net's input size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Both axes are scaled to fill the input.
    Stretch,
    /// The aspect is kept; what is left over is filled with the nearest border pixel, never with zeros.
    PadReplicate,
}

/// What is still to be applied to the net's output to get probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// Nothing: the output is a probability in 0..=1.
    None,
    /// The logistic function.
    Sigmoid,
    /// Softmax over the two channels.
    Softmax,
}

/// A model's manifest.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The name that configurations use: `[a-z0-9-]`.
    pub name: String,
    /// For people.
    pub title: String,
    /// The ONNX file, beside the manifest.
    pub file: String,
    /// Of the ONNX file, in hexadecimal.
    pub sha256: String,
    /// SPDX expression of the weights.
    pub licence: String,
    /// Where the weights come from.
    pub source: String,
    /// The model card, beside the manifest.
    pub card: String,
    /// What goes in.
    pub input: Input,
    /// What comes out.
    pub output: Output,
    /// What the model is made for.
    pub scope: Scope,
}

/// What goes into the net: `value = (pixel / 255 - mean) / std`, a channel each, in `color_order`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Order of axes.
    pub layout: Layout,
    /// Order of channels.
    pub color_order: ColorOrder,
    /// Subtracted, in units of the full range.
    pub mean: [f32; 3],
    /// Divided by, in units of the full range.
    pub std: [f32; 3],
    /// How other aspects are brought to this one.
    pub fit: Fit,
}

impl Input {
    /// The input's size in pixels.
    pub const fn size(&self) -> Size {
        Size::new(self.width, self.height)
    }
}

/// What comes out of the net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Order of axes.
    pub layout: Layout,
    /// 1 (person), or 2 (person and background).
    pub channels: usize,
    /// What is still to be applied.
    pub activation: Activation,
    /// Which channel is the person.
    pub person_channel: usize,
}

/// What the model's makers say it is for. Published with the masks, and used to tell sure people from doubtful ones.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// People further away are out of scope, metres.
    pub max_distance_m: Option<f32>,
    /// People lower than this fraction of the net's picture are out of scope.
    pub min_person_height: f32,
    /// How many people, of what kind.
    pub people: String,
    /// Uses that the makers exclude.
    pub out_of_scope: Vec<String>,
}

impl Manifest {
    /// Reads a manifest's text; `path` is for messages.
    ///
    /// # Errors
    /// [`ModelError::Manifest`] with line and column for bad TOML, an unknown key, a missing key or a value out of range.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ModelError> {
        let manifest: Self = toml::from_str(text).map_err(|error| ModelError::Manifest {
            path: path.to_owned(),
            place: error.span().map(|span| line_and_column(text, span.start)),
            reason: error.message().replace('\n', "; "),
        })?;
        manifest.check().map_err(|(key, reason)| ModelError::Manifest {
            path: path.to_owned(),
            place: place_of(text, key),
            reason: format!("`{key}` {reason}"),
        })?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.bytes().all(plain) {
            return Err(("name", "must be 1 to 64 of a-z, 0-9 and -".into()));
        }
        if self.file.is_empty() || self.file.contains('/') {
            return Err(("file", "must be a file beside the manifest, without a path".into()));
        }
        if self.sha256.len() != 64 || !self.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(("sha256", "must be 64 hexadecimal digits".into()));
        }
        for (key, value) in [("width", self.input.width), ("height", self.input.height)] {
            if !(8..=2048).contains(&value) {
                return Err((key, format!("is {value} and must be within 8..=2048")));
            }
        }
        if !self.input.mean.iter().all(|mean| mean.is_finite()) {
            return Err(("mean", "must be numbers".into()));
        }
        if !self.input.std.iter().all(|std| std.is_finite() && *std != 0.0) {
            return Err(("std", "must be numbers other than 0".into()));
        }
        if !matches!(self.output.channels, 1 | 2) {
            return Err(("channels", format!("is {} and must be 1 or 2", self.output.channels)));
        }
        if self.output.person_channel >= self.output.channels {
            let (person, channels) = (self.output.person_channel, self.output.channels);
            return Err(("person_channel", format!("is {person}, and there are {channels} channels, counted from 0")));
        }
        if self.output.activation == Activation::Softmax && self.output.channels != 2 {
            return Err(("activation", "softmax needs 2 channels".into()));
        }
        if !(0.0..=1.0).contains(&self.scope.min_person_height) {
            return Err(("min_person_height", "must be a fraction within 0..=1".into()));
        }
        Ok(())
    }
}

/// Where `key = ` stands in `text`, if it does. Keys of a manifest are unique but for `layout`, which is never checked.
fn place_of(text: &str, key: &str) -> Option<(usize, usize)> {
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
            error_of(&GOOD.replace("channels = 1", "channels = 3")),
            "m.toml:21:1: `channels` is 3 and must be 1 or 2"
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
}
