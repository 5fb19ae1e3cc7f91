//! The traits through which the D-Bus objects use the service: the boundary between the bus and the
//! cameras.
//!
//! The objects hold no state. Settings and camera state change slowly. Each camera keeps them in
//! one [`PublishedState`] in a `tokio::sync::watch` channel, and sends a new value when something
//! changes. The objects read the newest value and announce differences with `PropertiesChanged`, at
//! most ten times per second. Values that change with every frame are requested when a client reads
//! them.
//!
//! All methods are called on the main thread and must not block it. Those that take time return a
//! future.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use portraitd_protocol::{
    BackgroundMode, CameraState, CropMode, FramingMode, FramingSpeed, FramingState, Inset, MaskResolution, RingLayout,
    ServiceError, StreamKind, settings,
};
use tokio::sync::watch;

use crate::publish::RingShare;
use crate::publish::clients::ClientFds;
use crate::source::provider::ProviderFds;
use portraitd_media::{Control, ControlValue, FrameFormat, Rotation};
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

/// The client behind a call: its unique name on the bus. The peer of a connection without a bus
/// gets a name from us.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientName(Arc<str>);

impl ClientName {
    /// The client with a unique name, such as `:1.42`.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The unique name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who is behind a call. The bus says it (or, without a bus, the kernel), never the caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// The name under which the client calls.
    pub name: ClientName,
    /// The user id. Quotas are counted by it.
    pub user: u32,
    /// The process id, where it is known. Processes come and go under one number, so this is for
    /// the log only.
    pub process: Option<u32>,
    output_node: bool,
}

impl Client {
    /// A client on a connection.
    pub const fn new(name: ClientName, user: u32, process: Option<u32>) -> Self {
        Self { name, user, process, output_node: false }
    }

    /// One of the service's own output nodes, which the configuration names. It belongs to the user
    /// that runs the service.
    pub fn output_node(node: &str) -> Self {
        let user = rustix::process::geteuid().as_raw();
        Self { name: ClientName::new(node), user, process: None, output_node: true }
    }

    /// Whether this is an output node, and no program.
    pub const fn is_output_node(&self) -> bool {
        self.output_node
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (user {}", self.name, self.user)?;
        match self.process {
            Some(process) => write!(f, ", process {process})"),
            None => f.write_str(")"),
        }
    }
}

/// The request of a client to attach to a stream. It is authorized and its options are checked.
#[derive(Clone, Debug, PartialEq)]
pub struct AttachRequest {
    /// The client that attaches.
    pub client: Client,
    /// The stream that the client asks for.
    pub stream: StreamKind,
    /// What the client asks for besides the stream.
    pub options: AttachOptions,
}

/// The options of an attach request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttachOptions {
    /// Size of the pictures in pixels, even numbers from 16 to 4096. `None` means the stream's own
    /// size.
    pub size: Option<Size>,
    /// NV12 or RGB24 for pictures, grey for masks.
    pub format: PixelFormat,
    /// The maximum number of wake-ups a second, 1 to 240. `None` means one for every frame.
    pub frame_rate_limit: Option<u32>,
    /// The part that a composite shows.
    pub crop: CropMode,
    /// The resolution of a mask if no size is requested.
    pub resolution: MaskResolution,
    /// The corner of a view that shows the whole room. It also requires the permission for the
    /// stream `source`.
    pub inset: Inset,
}

impl AttachOptions {
    /// The shortest time between two wake-ups that the frame rate limit allows, for
    /// [`RingClients::add_client`](crate::publish::RingClients::add_client).
    pub fn interval(&self) -> Option<Duration> {
        self.frame_rate_limit.filter(|limit| *limit > 0).map(|limit| Duration::from_secs(1) / limit)
    }

    /// The options of a client that requests none.
    pub const fn of_stream(stream: StreamKind) -> Self {
        let format = match stream {
            StreamKind::Mask => PixelFormat::Grey,
            _ => PixelFormat::Nv12,
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

/// What a client receives when it attaches.
#[derive(Debug)]
pub struct Attachment {
    /// The descriptors of the ring.
    pub fds: ClientFds,
    /// The layout of the ring.
    pub layout: RingLayout,
}

/// Frames that another program offers. It may do so, and the options are checked.
#[derive(Debug)]
pub struct OfferRequest {
    /// The client that offers them.
    pub client: Client,
    /// The memory. The kernel knows it as a memfd; nothing else is known of it.
    pub memory: OwnedFd,
    /// How many frames a second there are, about.
    pub frame_rate: Option<u32>,
}

/// A change of a property that a client requests. The value is checked.
#[derive(Clone, Debug, PartialEq)]
pub enum SettingChange {
    /// `Camera1.Private`.
    Private(bool),
    /// `Camera1.Rotate`.
    Rotate(Rotation),
    /// `Camera1.Mirror`.
    Mirror(bool),
    /// `Framing1.Mode`.
    FramingMode(FramingMode),
    /// `Framing1.ManualCrop`: within the picture, not empty.
    ManualCrop(Fractions),
    /// `Framing1.MaxZoom`: 1 to 4.
    MaxZoom(f64),
    /// `Framing1.Speed`.
    Speed(FramingSpeed),
    /// `Framing1.Subject`: the id of a person, or 0 for everybody.
    Subject(u32),
    /// `Framing1.Zones`: 16 at most, each within the picture and not empty.
    Zones(Vec<Fractions>),
    /// `Segmentation1.Model`: one of `Models`.
    Model(String),
    /// `Background1.Mode`.
    BackgroundMode(BackgroundMode),
    /// `Background1.Color`: red, green, blue.
    BackgroundColor([u8; 3]),
    /// `Background1.Blur`: 0 to 0.25.
    BackgroundBlur(f64),
    /// `Background1.Strict`.
    BackgroundStrict(bool),
}

/// The properties of `Camera1`.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraStatus {
    /// The source as text: a path, `scene:walk`.
    pub device: String,
    /// The state of the camera.
    pub state: CameraState,
    /// The format of its frames while it is open.
    pub format: Option<FrameFormat>,
    /// The number of attached clients.
    pub consumers: u32,
    /// Increases with every change of size or format. Rings of an older generation are closed.
    pub generation: u32,
    /// The last error; empty if there was none.
    pub last_error: String,
    /// Whether a client keeps the camera closed.
    pub private: bool,
    /// How far the pictures are turned clockwise.
    pub rotate: Rotation,
    /// Whether the turned pictures are mirrored left to right.
    pub mirror: bool,
}

/// The properties of `Framing1`.
#[derive(Clone, Debug, PartialEq)]
pub struct FramingStatus {
    /// How the crop is chosen.
    pub mode: FramingMode,
    /// The state of the director.
    pub state: FramingState,
    /// The crop of the mode `manual`: x, y, width and height as fractions of the source.
    pub manual_crop: Fractions,
    /// The largest zoom of the view, 1 to 4.
    pub max_zoom: f64,
    /// How fast the crop moves.
    pub speed: FramingSpeed,
    /// The id of the one person whom the crop follows; 0 for everybody.
    pub subject: u32,
    /// Areas whose people are ignored: x, y, width and height as fractions of the source.
    pub zones: Vec<Fractions>,
    /// The limits of the values above for this camera.
    pub limits: Dictionary,
}

/// The properties of `Segmentation1`.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentationStatus {
    /// The name of the model in use.
    pub model: String,
    /// The names that `Model` may be set to.
    pub models: Vec<String>,
    /// Whether there is a person in the newest mask.
    pub present: bool,
    /// Whether inference works and masks are made.
    pub healthy: bool,
    /// What is reduced because inference exceeds its budget, or why there are no masks; otherwise
    /// empty.
    pub degraded: String,
}

/// The properties of `Background1`.
#[derive(Clone, Debug, PartialEq)]
pub struct BackgroundStatus {
    /// What a composite shows behind the people.
    pub mode: BackgroundMode,
    /// Red, green and blue of the mode `color`.
    pub color: [u8; 3],
    /// Standard deviation of the mode `blur`, as a fraction of the picture's height, 0 to
    /// 0.25.
    pub blur: f64,
    /// Whether a composite shows a frame only with the mask that was made from it.
    pub strict: bool,
}

/// The state of a camera whose changes are announced.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishedState {
    /// The properties of `Camera1`.
    pub camera: CameraStatus,
    /// The properties of `Framing1`.
    pub framing: FramingStatus,
    /// The properties of `Segmentation1`.
    pub segmentation: SegmentationStatus,
    /// The properties of `Background1`.
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
                private: false,
                rotate: Rotation::None,
                mirror: false,
            },
            framing: FramingStatus {
                mode: settings::FRAMING_MODE,
                state: FramingState::Inactive,
                manual_crop: (0.0, 0.0, 1.0, 1.0),
                max_zoom: settings::MAX_ZOOM.default,
                speed: settings::FRAMING_SPEED,
                subject: 0,
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
                strict: settings::BACKGROUND_STRICT,
            },
        }
    }
}

/// A person in `Segmentation1.People`: id, then x, y, width and height as fractions of the source
/// picture.
pub type PublishedPerson = (u32, f64, f64, f64, f64);

/// One camera, as the D-Bus objects use it.
pub trait CameraService: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &str;

    /// The state whose changes are announced.
    fn state(&self) -> watch::Receiver<PublishedState>;

    /// The newest crop: x, y, width and height as fractions of the source.
    fn crop(&self) -> Fractions;

    /// The measured number of masks per second.
    fn rate(&self) -> f64;

    /// The people of the newest mask.
    fn people(&self) -> Vec<PublishedPerson>;

    /// The values of `Camera1.Stats`.
    fn stats(&self) -> Dictionary;

    /// Attaches a client, and opens the camera if necessary. The caller sends the descriptors to
    /// the client and closes them. If the client has left in the meantime, the attachment therefore
    /// ends by itself.
    ///
    /// # Errors
    /// `NoSuchStream` if the configuration does not allow the stream, or one of `CameraAbsent`,
    /// `Busy`, `NotSupported` and `Failed`.
    fn attach(&self, request: AttachRequest) -> BoxFuture<'_, Result<Attachment, ServiceError>>;

    /// The newest picture of a stream as PNG, in a file that is positioned at its beginning and that
    /// nobody can change. The camera is opened if necessary. Counts as an
    /// attachment of `client`.
    ///
    /// # Errors
    /// Those of [`CameraService::attach`].
    fn snapshot(&self, client: Client, stream: StreamKind) -> BoxFuture<'_, Result<OwnedFd, ServiceError>>;

    /// Takes the frames of another program, in place of those that the same client has offered before.
    ///
    /// # Errors
    /// `NotSupported` if the device of the camera is not `provider`; `Busy` if another client provides
    /// its frames, or if its user has no room for them; `InvalidArgument` if the memory is not as it
    /// must be.
    fn offer(&self, request: OfferRequest) -> BoxFuture<'_, Result<ProviderFds, ServiceError>> {
        drop(request);
        let text = "the device of this camera is not `provider`";
        Box::pin(std::future::ready(Err(ServiceError::NotSupported(text.into()))))
    }

    /// Ends the offer of a client for which `which` holds.
    fn end_offer(&self, which: &(dyn Fn(&Client) -> bool + Sync)) {
        let _ = which;
    }

    /// Changes a setting. When this returns, [`CameraService::state`] contains the new value.
    ///
    /// # Errors
    /// `InvalidArgument`, `NotSupported`, `Failed`.
    fn apply(&self, setting: SettingChange) -> BoxFuture<'_, Result<(), ServiceError>>;

    /// Frames the people again, now.
    ///
    /// # Errors
    /// `NotSupported` in a mode without framing.
    fn reframe(&self) -> BoxFuture<'_, Result<(), ServiceError>>;

    /// The controls of the camera's device, with their values.
    ///
    /// # Errors
    /// `NotSupported` if the source has none or the camera is private; `CameraAbsent`, `Busy`.
    fn controls(&self) -> BoxFuture<'_, Result<Vec<Control>, ServiceError>>;

    /// Sets a control now, and again at each opening of the device.
    ///
    /// # Errors
    /// `InvalidArgument` if there is no such control, it cannot be set now, or the value is none of
    /// its; `Failed` if the driver refuses; those of [`CameraService::controls`].
    fn set_control(&self, name: String, value: ControlValue) -> BoxFuture<'_, Result<(), ServiceError>>;

    /// Sets a control, or all of them, to the driver's defaults.
    ///
    /// # Errors
    /// Those of [`CameraService::set_control`].
    fn reset_controls(&self, name: Option<String>) -> BoxFuture<'_, Result<(), ServiceError>>;

    /// Charges a user for an image that is to be read.
    ///
    /// # Errors
    /// `Busy` if the user, or all together, have as many as allowed.
    fn charge_image(&self, user: u32) -> Result<RingShare, ServiceError>;

    /// Sets the picture of the background from the bytes of a PNG or JPEG, which are charged to a
    /// user. `None` removes it.
    ///
    /// # Errors
    /// `InvalidArgument` if the bytes are not such a picture; `Busy` if the user has no room for it.
    fn set_image(&self, image: Option<(Vec<u8>, RingShare)>) -> BoxFuture<'_, Result<(), ServiceError>>;

    /// Ends all attachments of a client that has left the bus.
    fn released(&self, client: &ClientName);

    /// Ends the attachments for which `which` holds, because their clients may not see the stream
    /// any more. A view with the whole room in a corner is asked about twice: as `view` and as
    /// `source`. Output nodes are not asked about.
    fn end_attachments(&self, which: &(dyn Fn(&Client, StreamKind) -> bool + Sync));
}

/// The daemon, as the D-Bus objects use it.
pub trait ManagerService: Send + Sync {
    /// Reads the configuration again.
    ///
    /// # Errors
    /// `InvalidArgument` with file, line and column. The old settings then stay in force.
    fn reload(&self) -> BoxFuture<'_, Result<(), ServiceError>>;
}
