//! Every setting, with its unit and default. `systemd/portraitd.toml` shows the same to users, and
//! a test compares the two. Ranges and defaults come from [`portraitd_protocol::settings`].

use super::error::Warning;
use super::values::{self, BusConfig};
use portraitd_media::{ControlValues, FormatRequest, Orientation, Rotation, Size};
use portraitd_protocol::settings::{self, Color};
use portraitd_protocol::{BackgroundMode, FramingMode, FramingSpeed, StreamKind};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The most cameras of a configuration. Each has threads, a net and buffers; the unit allows 64
/// threads and 256 MiB.
pub const MAX_CAMERAS: usize = 16;

/// The version of the configuration that this program reads. It increases when an older program must
/// not read a newer file (`docs/design/compatibility.md`).
pub const VERSION: u32 = 1;

/// The whole configuration. It is complete: a key that no layer sets has its default.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The version of the configuration: [`VERSION`]. A file of a newer one is refused, so that it is
    /// not half understood after an update was taken back. Default [`VERSION`].
    #[serde(deserialize_with = "values::version")]
    pub version: u32,
    /// The bus with the control interfaces: `system`, `session`, `none` or a D-Bus address. Default
    /// `system`.
    pub bus: BusConfig,
    /// Folder of the models and their manifests. Default `/usr/share/portraitd/models`.
    #[serde(deserialize_with = "values::directory")]
    pub models_dir: PathBuf,
    /// Threads of one inference pass, 1 or 2. Default 1.
    #[serde(deserialize_with = "values::threads")]
    pub threads: u32,
    /// File to which the metrics are written as Prometheus text. Empty means none. Default empty.
    #[serde(deserialize_with = "values::optional_path", serialize_with = "values::write_optional_path")]
    pub metrics_file: Option<PathBuf>,
    /// What is logged: a level, or directives such as `info,portraitd_media=debug`. Default `info`.
    #[serde(deserialize_with = "values::log")]
    pub log: String,
    /// The cameras, in the order in which the layers first name them. After loading there
    /// is at least one, and at most [`MAX_CAMERAS`].
    #[serde(rename = "camera")]
    pub cameras: Vec<CameraConfig>,
    /// What was accepted although it should be changed.
    #[serde(skip)]
    pub warnings: Vec<Warning>,
    /// Paths that systemd hides from the service. Only `check-config` tells them: a service that
    /// somebody starts by hand sees them.
    #[serde(skip)]
    pub hidden: Vec<Warning>,
    /// The files that were read, lowest layer first.
    #[serde(skip)]
    pub files: Vec<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: VERSION,
            bus: BusConfig::System,
            models_dir: PathBuf::from("/usr/share/portraitd/models"),
            threads: settings::THREADS.default,
            metrics_file: None,
            log: "info".to_owned(),
            cameras: vec![CameraConfig::default()],
            warnings: Vec::new(),
            hidden: Vec::new(),
            files: Vec::new(),
        }
    }
}

/// One camera: `[[camera]]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CameraConfig {
    /// Name, in D-Bus paths and metrics: 1 to 32 of `a-z 0-9 _ -`. Default `main`.
    #[serde(deserialize_with = "values::name")]
    pub name: String,
    /// The source, as [`SourceSpec`](crate::source::SourceSpec) reads it: `auto`, a device,
    /// `scene[:NAME]` or `file:PATH`. Default `auto`.
    #[serde(deserialize_with = "values::source")]
    pub device: String,
    /// Width of the frames in pixels, even. The source uses the nearest width that it has; 0 (with
    /// `height = 0`) means its own. Default 1280.
    #[serde(deserialize_with = "values::side")]
    pub width: u32,
    /// Height of the frames in pixels, even. 0 means the source's own. Default 720.
    #[serde(deserialize_with = "values::side")]
    pub height: u32,
    /// Frames per second, 1 to 240. 0 means the source's own rate. Default 30.
    #[serde(deserialize_with = "values::frame_rate")]
    pub fps: f64,
    /// Degrees by which the camera's pictures are turned clockwise, before everything else: 0, 90, 180
    /// or 270. `width` and `height` are those of the picture before it is turned. Default 0.
    #[serde(deserialize_with = "values::rotate", serialize_with = "values::write_rotate")]
    pub rotate: Rotation,
    /// Whether the turned pictures are mirrored left to right. Default false.
    pub mirror: bool,
    /// Whether clients may attach to the stream `source`, which shows the whole room. Default
    /// false.
    pub allow_source: bool,
    /// Grace period in seconds, 0 to 3600: from the last client's departure to the closing of the
    /// camera. Default 3.
    #[serde(deserialize_with = "values::idle_close")]
    pub idle_close_s: f64,
    /// `[camera.controls]`: values for the controls of the camera's driver, by their names as
    /// `portraitd devices` prints them. They are set at each opening. Default none.
    #[serde(deserialize_with = "values::controls")]
    pub controls: ControlValues,
    /// `[camera.segmentation]`.
    pub segmentation: SegmentationConfig,
    /// `[camera.framing]`.
    pub framing: FramingConfig,
    /// `[camera.background]`.
    pub background: BackgroundConfig,
    /// V4L2 output nodes that streams are written to: `[[camera.output]]`.
    #[serde(rename = "output")]
    pub outputs: Vec<OutputConfig>,
}

impl Default for CameraConfig {
    fn default() -> Self {
        Self {
            name: settings::CAMERA_NAME.to_owned(),
            device: "auto".to_owned(),
            width: settings::FRAME_WIDTH.default,
            height: settings::FRAME_HEIGHT.default,
            fps: settings::FRAME_RATE.default,
            rotate: Rotation::None,
            mirror: false,
            allow_source: false,
            idle_close_s: settings::IDLE_CLOSE_S.default,
            controls: ControlValues::new(),
            segmentation: SegmentationConfig::default(),
            framing: FramingConfig::default(),
            background: BackgroundConfig::default(),
            outputs: Vec::new(),
        }
    }
}

impl CameraConfig {
    /// The size and rate to request from the source.
    #[must_use]
    pub fn wanted(&self) -> FormatRequest {
        #[expect(clippy::cast_possible_truncation, reason = "at most 240: rounding only")]
        let frame_rate = (self.fps > 0.0).then_some(self.fps as f32);
        let size = (self.width > 0 && self.height > 0).then(|| Size::new(self.width, self.height));
        FormatRequest { size, frame_rate }
    }

    /// How the camera's pictures are turned.
    #[must_use]
    pub const fn orientation(&self) -> Orientation {
        Orientation { rotation: self.rotate, mirror: self.mirror }
    }

    /// The wanted size of the frames after they are turned; `None` if it is the source's own.
    #[must_use]
    pub fn turned_size(&self) -> Option<Size> {
        self.wanted().size.map(|size| self.orientation().turned(size))
    }
}

/// `[camera.segmentation]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SegmentationConfig {
    /// The model, by the name of its manifest in `models_dir`. Default `selfie-landscape`.
    #[serde(deserialize_with = "values::model")]
    pub model: String,
    /// Milliseconds that a mask may take, 1 to 1000. A composite waits as long for the mask of its
    /// frame. Default 30.
    #[serde(deserialize_with = "values::mask_budget")]
    pub budget_ms: f64,
    /// The most inference passes per second, 1 to 240. 0 means one per frame. Default 30.
    #[serde(deserialize_with = "values::inference_rate")]
    pub max_rate: f64,
}

impl Default for SegmentationConfig {
    fn default() -> Self {
        Self {
            model: settings::MODEL.to_owned(),
            budget_ms: settings::MASK_BUDGET_MS.default,
            max_rate: settings::INFERENCE_RATE.default,
        }
    }
}

/// `[camera.framing]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FramingConfig {
    /// How the crop is chosen. Default `follow`.
    pub mode: FramingMode,
    /// The strongest magnification of the view, 1 to 4. Default 2.
    #[serde(deserialize_with = "values::max_zoom")]
    pub max_zoom: f64,
    /// The least magnification of the view, 1 to `max_zoom`. Above 1 the view never shows the whole
    /// frame, in no mode, and `inset` is refused. Default 1.
    #[serde(deserialize_with = "values::min_zoom")]
    pub min_zoom: f64,
    /// How fast the crop moves. Default `normal`.
    pub speed: FramingSpeed,
    /// Extra room in the direction in which people walk, as a fraction of the crop, 0 to 0.25.
    /// Default 0.
    #[serde(deserialize_with = "values::lead_room")]
    pub lead_room: f64,
    /// Areas whose people are ignored: `[x, y, width, height]` in fractions of the source picture,
    /// 16 at most. Default none.
    #[serde(deserialize_with = "values::zones")]
    pub zones: Vec<[f64; 4]>,
    /// Width of the view in pixels, even. 0 (with `output_height = 0`) means the source's. Default
    /// 0.
    #[serde(deserialize_with = "values::side")]
    pub output_width: u32,
    /// Height of the view in pixels, even. 0 means the source's. Default 0.
    #[serde(deserialize_with = "values::side")]
    pub output_height: u32,
}

impl Default for FramingConfig {
    fn default() -> Self {
        Self {
            mode: settings::FRAMING_MODE,
            max_zoom: settings::MAX_ZOOM.default,
            min_zoom: settings::MIN_ZOOM.default,
            speed: settings::FRAMING_SPEED,
            lead_room: settings::LEAD_ROOM.default,
            zones: Vec::new(),
            output_width: settings::VIEW_SIDE.default,
            output_height: settings::VIEW_SIDE.default,
        }
    }
}

/// `[camera.background]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackgroundConfig {
    /// What a composite shows behind the people. Default `color`.
    pub mode: BackgroundMode,
    /// The colour of the mode `color`, and of what an image does not cover: `#rrggbb`. Default
    /// `#203040`.
    #[serde(deserialize_with = "values::color", serialize_with = "values::write_color")]
    pub color: Color,
    /// The picture of the mode `image`: absolute path of a PNG or JPEG. Empty means none. Default
    /// empty.
    #[serde(deserialize_with = "values::optional_path", serialize_with = "values::write_optional_path")]
    pub image: Option<PathBuf>,
    /// Standard deviation of the mode `blur` as a fraction of the picture's height, 0 to 0.25.
    /// It is at least 0.04 of the camera's height, so that nobody in the background can be
    /// recognised and nothing can be read. Default 0.05.
    #[serde(deserialize_with = "values::blur")]
    pub blur: f64,
    /// Whether a composite shows a frame only with the mask that was made from it. On a slow board
    /// this lowers the frame rate of composites. If not, it shows the newest frame, and of that
    /// only people who have not moved since a mask of at most 400 ms. Default true.
    pub strict: bool,
}

impl Default for BackgroundConfig {
    fn default() -> Self {
        Self {
            mode: settings::BACKGROUND_MODE,
            color: settings::BACKGROUND_COLOR,
            image: None,
            blur: settings::BLUR.default,
            strict: settings::BACKGROUND_STRICT,
        }
    }
}

/// `[[camera.output]]`: a stream that is written to a V4L2 output node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OutputConfig {
    /// The node, best by its name under `/dev/v4l/by-path`. Required.
    #[serde(deserialize_with = "values::output_device")]
    pub device: String,
    /// The stream. Default `view`.
    #[serde(default = "default_output_stream")]
    pub stream: StreamKind,
}

fn default_output_stream() -> StreamKind {
    settings::OUTPUT_STREAM
}
