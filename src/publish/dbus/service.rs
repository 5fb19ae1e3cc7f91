//! What the D-Bus objects ask of the service: the boundary between the bus and everything behind it.
//!
//! The objects hold no state. Slow state (settings, camera state) comes from one [`PublishedState`] a camera, in a
//! `tokio::sync::watch` channel: the service puts a new value in whenever something changes, the objects read the newest
//! and announce what differs with `PropertiesChanged`, ten times a second at most. Fast values are asked for when
//! somebody reads them. Everything is called on the main thread and must not block it; what takes time is a future.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use portraitd_protocol::{
    BackgroundMode, CameraState, CropMode, FramingMode, FramingSpeed, FramingState, Inset, MaskResolution, RingLayout,
    ServiceError, StreamKind, settings,
};
use tokio::sync::watch;

use crate::publish::clients::ClientFds;
use portraitd_media::FrameFormat;
use portraitd_media::{PixelFormat, Size};

/// x, y, width and height as fractions of the source picture.
pub type Fractions = (f64, f64, f64, f64);

/// A value of the dictionaries `Stats` and `Limits`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DictionaryValue {
    /// `t`.
    U64(u64),
    /// `d`.
    F64(f64),
}

/// Named values, `a{sv}` on the bus.
pub type Dictionary = BTreeMap<String, DictionaryValue>;

/// The client behind a call: its unique name on the bus, or a name of our own for the peer of a connection without bus.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientName(Arc<str>);

impl ClientName {
    /// From a unique name, such as `:1.42`.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A client's wish to be attached; allowed and valid by the time the service gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct AttachRequest {
    /// Who wishes.
    pub client: ClientName,
    /// Which stream.
    pub stream: StreamKind,
    /// How.
    pub options: AttachOptions,
}

/// The options of an attach request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttachOptions {
    /// Size of the pictures in pixels, even numbers of 16 to 4096; `None` takes the stream's own.
    pub size: Option<Size>,
    /// NV12 or RGB24 for pictures, grey for masks.
    pub format: PixelFormat,
    /// The client wants to be woken no more often than this many times a second.
    pub frame_rate_limit: Option<u32>,
    /// What a composite shows.
    pub crop: CropMode,
    /// How fine a mask is where no size is asked for.
    pub resolution: MaskResolution,
    /// Where in a view the whole room is shown, which needs the permission of the stream `source` too.
    pub inset: Inset,
}

impl AttachOptions {
    /// The least time between two wakes that the frame rate limit allows; for
    /// [`RingClients::add_client`](crate::publish::RingClients::add_client).
    pub fn interval(&self) -> Option<Duration> {
        self.frame_rate_limit.filter(|limit| *limit > 0).map(|limit| Duration::from_secs(1) / limit)
    }

    /// What a stream's client gets that asks for nothing.
    pub const fn of_stream(stream: StreamKind) -> Self {
        let format = match stream {
            StreamKind::Mask => PixelFormat::Grey,
            StreamKind::View | StreamKind::Composite | StreamKind::Source => PixelFormat::Nv12,
        };
        Self {
            size: None,
            format,
            frame_rate_limit: None,
            crop: CropMode::View,
            resolution: MaskResolution::Net,
            inset: Inset::None,
        }
    }
}

/// What an attached client is given.
#[derive(Debug)]
pub struct Attachment {
    /// Its descriptors.
    pub fds: ClientFds,
    /// The ring's shape.
    pub layout: RingLayout,
}

/// A change that a client asks for by setting a property. Valid by the time the service gets it.
#[derive(Clone, Debug, PartialEq)]
pub enum SettingChange {
    /// `Framing1.Mode`.
    FramingMode(FramingMode),
    /// `Framing1.ManualCrop`: inside of the picture, not empty.
    ManualCrop(Fractions),
    /// `Framing1.MaxZoom`: 1 to 4.
    MaxZoom(f64),
    /// `Framing1.Speed`.
    Speed(FramingSpeed),
    /// `Framing1.Zones`: 16 at most, each inside of the picture, not empty.
    Zones(Vec<Fractions>),
    /// `Segmentation1.Model`: one of `Models`.
    Model(String),
    /// `Background1.Mode`.
    BackgroundMode(BackgroundMode),
    /// `Background1.Color`: red, green, blue.
    BackgroundColor([u8; 3]),
    /// `Background1.Blur`: 0 to 0.25.
    BackgroundBlur(f64),
}

/// What `Camera1` shows of a camera.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraStatus {
    /// What a person calls the device: a path, `scene:walk`.
    pub device: String,
    /// What it does.
    pub state: CameraState,
    /// The format of its frames while it is open.
    pub format: Option<FrameFormat>,
    /// How many clients are attached.
    pub consumers: u32,
    /// Counts the changes of size or format; rings of an older generation are closed.
    pub generation: u32,
    /// The last thing that went wrong; empty if nothing did.
    pub last_error: String,
}

/// What `Framing1` shows.
#[derive(Clone, Debug, PartialEq)]
pub struct FramingStatus {
    /// How the crop is chosen.
    pub mode: FramingMode,
    /// What the director does.
    pub state: FramingState,
    /// The crop of the mode `manual`.
    pub manual_crop: Fractions,
    /// The most that the picture is enlarged.
    pub max_zoom: f64,
    /// How fast the crop moves.
    pub speed: FramingSpeed,
    /// Areas whose people are ignored.
    pub zones: Vec<Fractions>,
    /// What the numbers above can be for this camera.
    pub limits: Dictionary,
}

/// What `Segmentation1` shows.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentationStatus {
    /// The net in use.
    pub model: String,
    /// Those that `Model` may be set to.
    pub models: Vec<String>,
    /// Whether somebody is seen.
    pub present: bool,
    /// Whether masks come as they should.
    pub healthy: bool,
    /// What is left out to keep up; empty if nothing is.
    pub degraded: String,
}

/// What `Background1` shows.
#[derive(Clone, Debug, PartialEq)]
pub struct BackgroundStatus {
    /// What stands behind the people.
    pub mode: BackgroundMode,
    /// Red, green, blue of the mode `color`.
    pub color: [u8; 3],
    /// Standard deviation of the mode `blur`, as a fraction of the picture's height.
    pub blur: f64,
}

/// The slow state of a camera: everything whose change is announced.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishedState {
    /// The camera.
    pub camera: CameraStatus,
    /// The director.
    pub framing: FramingStatus,
    /// The net.
    pub segmentation: SegmentationStatus,
    /// The composite's background.
    pub background: BackgroundStatus,
}

impl Default for PublishedState {
    fn default() -> Self {
        Self {
            camera: CameraStatus {
                device: String::new(),
                state: CameraState::Absent,
                format: None,
                consumers: 0,
                generation: 0,
                last_error: String::new(),
            },
            framing: FramingStatus {
                mode: settings::FRAMING_MODE,
                state: FramingState::Inactive,
                manual_crop: (0.0, 0.0, 1.0, 1.0),
                max_zoom: settings::MAX_ZOOM.default,
                speed: settings::FRAMING_SPEED,
                zones: Vec::new(),
                limits: Dictionary::new(),
            },
            segmentation: SegmentationStatus {
                model: String::new(),
                models: Vec::new(),
                present: false,
                healthy: false,
                degraded: String::new(),
            },
            background: BackgroundStatus {
                mode: settings::BACKGROUND_MODE,
                color: settings::BACKGROUND_COLOR.into(),
                blur: settings::BLUR.default,
            },
        }
    }
}

/// A person as `Segmentation1.People` shows it: id, then x, y, width and height as fractions of the source.
pub type PublishedPerson = (u32, f64, f64, f64, f64);

/// One camera, as the bus sees it.
pub trait CameraService: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &str;

    /// Its slow state, now and as it changes.
    fn state(&self) -> watch::Receiver<PublishedState>;

    /// The newest crop.
    fn crop(&self) -> Fractions;

    /// Masks a second, measured.
    fn rate(&self) -> f64;

    /// The people of the newest mask.
    fn people(&self) -> Vec<PublishedPerson>;

    /// Figures for whoever asks.
    fn stats(&self) -> Dictionary;

    /// Attaches a client, opening the camera if need be. What it returns goes to the client and is closed here, so an
    /// attachment whose client has left meanwhile ends by itself.
    ///
    /// # Errors
    /// `NoSuchStream` where the configuration forbids the stream, `CameraAbsent`, `Busy`, `NotSupported`, `Failed`.
    fn attach(&self, request: AttachRequest) -> BoxFuture<'_, Result<Attachment, ServiceError>>;

    /// The newest picture of a stream, as PNG, opening the camera if need be.
    ///
    /// # Errors
    /// As [`CameraService::attach`].
    fn snapshot(&self, stream: StreamKind) -> BoxFuture<'_, Result<Vec<u8>, ServiceError>>;

    /// Changes a setting. [`CameraService::state`] shows it when this returns.
    ///
    /// # Errors
    /// `InvalidArgument`, `NotSupported`, `Failed`.
    fn apply(&self, setting: SettingChange) -> BoxFuture<'_, Result<(), ServiceError>>;

    /// Frames anew, now.
    ///
    /// # Errors
    /// `NotSupported` in a mode without framing.
    fn reframe(&self) -> BoxFuture<'_, Result<(), ServiceError>>;

    /// Takes the bytes of a PNG or JPEG as the background's picture; `None` removes it.
    ///
    /// # Errors
    /// `InvalidArgument` for bytes that are no such picture.
    fn set_image(&self, image: Option<Vec<u8>>) -> BoxFuture<'_, Result<(), ServiceError>>;

    /// The client has left the bus: all that it was attached to is to be let go.
    fn released(&self, client: &ClientName);
}

/// The daemon as a whole, as the bus sees it.
pub trait ManagerService: Send + Sync {
    /// Reads the configuration anew.
    ///
    /// # Errors
    /// `InvalidArgument` with file, line and column; the old settings stay.
    fn reload(&self) -> BoxFuture<'_, Result<(), ServiceError>>;
}
