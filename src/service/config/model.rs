//! Every setting, with its unit and default. `systemd/portraitd.toml` shows the same to users; a test keeps them equal.

use super::error::Warning;
use super::values::{self, Bus, Color};
use portraitd_media::FormatRequest;
use portraitd_media::Size;
use portraitd_protocol::{BackgroundMode, FramingMode, FramingSpeed, StreamKind};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The whole configuration, complete: what no layer says has its default.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where control is offered: `system`, `session`, `none` or a D-Bus address. Default `system`.
    pub bus: Bus,
    /// Folder of the models and their manifests. Default `/usr/share/portraitd/models`.
    #[serde(deserialize_with = "values::directory")]
    pub models_dir: PathBuf,
    /// Threads that one inference uses: 1 or 2. Default 1.
    #[serde(deserialize_with = "values::threads")]
    pub threads: u32,
    /// File that gets the metrics as Prometheus text; empty: none. Default empty.
    #[serde(deserialize_with = "values::optional_path", serialize_with = "values::write_optional_path")]
    pub metrics_file: Option<PathBuf>,
    /// What is logged: a level, or directives as `info,portraitd_media=debug`. Default `info`.
    #[serde(deserialize_with = "values::log")]
    pub log: String,
    /// The cameras, in the order in which the layers first name them; never empty once loaded.
    #[serde(rename = "camera")]
    pub cameras: Vec<CameraConfig>,
    /// Doubtful things that were accepted.
    #[serde(skip)]
    pub warnings: Vec<Warning>,
    /// The files that were read, lowest layer first.
    #[serde(skip)]
    pub files: Vec<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bus: Bus::System,
            models_dir: PathBuf::from("/usr/share/portraitd/models"),
            threads: 1,
            metrics_file: None,
            log: "info".to_owned(),
            cameras: vec![CameraConfig::default()],
            warnings: Vec::new(),
            files: Vec::new(),
        }
    }
}

/// One camera: `[[camera]]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CameraConfig {
    /// Its name, in D-Bus paths and metrics: 1 to 32 of `a-z 0-9 _ -`. Default `main`.
    #[serde(deserialize_with = "values::name")]
    pub name: String,
    /// The source: `auto`, a device by its `/dev/v4l/by-id` or `by-path` name, `scene[:NAME]`, `file:PATH`. Default `auto`.
    #[serde(deserialize_with = "values::source")]
    pub device: String,
    /// Wanted width, pixels, even; the source takes the nearest that it has; 0 (with `height = 0`): its own. Default 1280.
    #[serde(deserialize_with = "values::size")]
    pub width: u32,
    /// Wanted height, pixels, even; 0: the source's own. Default 720.
    #[serde(deserialize_with = "values::size")]
    pub height: u32,
    /// Wanted frames a second, 1 to 240; 0: the source's own. Default 30.
    #[serde(deserialize_with = "values::frame_rate")]
    pub fps: f64,
    /// Whether the stream `source`, the whole unframed room, exists at all. Default false.
    pub allow_source: bool,
    /// Seconds from the last client's leaving to the closing of the camera, 0 to 3600. Default 3.
    #[serde(deserialize_with = "values::idle_close")]
    pub idle_close_s: f64,
    /// Who is a person.
    pub segmentation: SegmentationConfig,
    /// What the view shows.
    pub framing: FramingConfig,
    /// What stands behind the people in a composite.
    pub background: BackgroundConfig,
    /// V4L2 output nodes that are written to: `[[camera.output]]`.
    #[serde(rename = "output")]
    pub outputs: Vec<OutputConfig>,
}

impl Default for CameraConfig {
    fn default() -> Self {
        Self {
            name: "main".to_owned(),
            device: "auto".to_owned(),
            width: 1280,
            height: 720,
            fps: 30.0,
            allow_source: false,
            idle_close_s: 3.0,
            segmentation: SegmentationConfig::default(),
            framing: FramingConfig::default(),
            background: BackgroundConfig::default(),
            outputs: Vec::new(),
        }
    }
}

impl CameraConfig {
    /// What to ask of the source.
    #[must_use]
    pub fn wanted(&self) -> FormatRequest {
        #[expect(clippy::cast_possible_truncation, reason = "at most 240: rounding only")]
        let frame_rate = (self.fps > 0.0).then_some(self.fps as f32);
        let size = (self.width > 0 && self.height > 0).then(|| Size::new(self.width, self.height));
        FormatRequest { size, frame_rate }
    }
}

/// `[camera.segmentation]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SegmentationConfig {
    /// The model, by its manifest's name in `models_dir`. Default `selfie-landscape`.
    #[serde(deserialize_with = "values::model")]
    pub model: String,
    /// Milliseconds that a mask may take, and that a composite waits for its frame's mask, 1 to 1000. Default 30.
    #[serde(deserialize_with = "values::budget")]
    pub budget_ms: f64,
    /// Most inferences a second, 1 to 240; 0: one a frame. Default 30.
    #[serde(deserialize_with = "values::rate")]
    pub max_rate: f64,
}

impl Default for SegmentationConfig {
    fn default() -> Self {
        Self { model: "selfie-landscape".to_owned(), budget_ms: 30.0, max_rate: 30.0 }
    }
}

/// `[camera.framing]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FramingConfig {
    /// Who decides the crop. Default `follow`.
    pub mode: FramingMode,
    /// The most that the view may enlarge, 1 to 4. Default 2.
    #[serde(deserialize_with = "values::zoom")]
    pub max_zoom: f64,
    /// How fast the crop moves. Default `normal`.
    pub speed: FramingSpeed,
    /// Room left in the direction in which people walk, as a fraction of the crop, 0 to 0.25. Default 0.
    #[serde(deserialize_with = "values::lead_room")]
    pub lead_room: f64,
    /// Areas whose people are ignored: `[x, y, width, height]` in fractions of the source picture, 16 at most. Default none.
    #[serde(deserialize_with = "values::zones")]
    pub zones: Vec<[f64; 4]>,
    /// Width of the view, pixels, even; 0 (with `output_height = 0`): the source's. Default 0.
    #[serde(deserialize_with = "values::size")]
    pub output_width: u32,
    /// Height of the view, pixels, even; 0: the source's. Default 0.
    #[serde(deserialize_with = "values::size")]
    pub output_height: u32,
}

impl Default for FramingConfig {
    fn default() -> Self {
        Self {
            mode: FramingMode::Follow,
            max_zoom: 2.0,
            speed: FramingSpeed::Normal,
            lead_room: 0.0,
            zones: Vec::new(),
            output_width: 0,
            output_height: 0,
        }
    }
}

/// `[camera.background]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackgroundConfig {
    /// What stands behind the people. Default `color`.
    pub mode: BackgroundMode,
    /// The colour of `color`, and of what an image does not cover: `#rrggbb`. Default `#203040`.
    pub color: Color,
    /// The picture of `image`: absolute path of a PNG or JPEG; empty: none. Default empty.
    #[serde(deserialize_with = "values::optional_path", serialize_with = "values::write_optional_path")]
    pub image: Option<PathBuf>,
    /// Standard deviation of `blur` as a fraction of the picture's height, as on D-Bus: 0 to 0.25; less than 0.02 is taken
    /// as 0.02, so that nobody is recognised. Default 0.05.
    #[serde(deserialize_with = "values::blur")]
    pub blur: f64,
}

impl Default for BackgroundConfig {
    fn default() -> Self {
        Self {
            mode: BackgroundMode::Color,
            color: Color { red: 0x20, green: 0x30, blue: 0x40 },
            image: None,
            blur: 0.05,
        }
    }
}

/// `[[camera.output]]`: a stream written to a V4L2 output node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OutputConfig {
    /// The node, best by its `/dev/v4l/by-path` name. Required.
    #[serde(deserialize_with = "values::output_device")]
    pub device: String,
    /// The stream. Default `view`.
    #[serde(default = "default_output_stream")]
    pub stream: StreamKind,
}

fn default_output_stream() -> StreamKind {
    StreamKind::View
}
