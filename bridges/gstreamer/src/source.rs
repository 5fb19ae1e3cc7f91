//! The element `portraitdsrc`.

use std::sync::Mutex;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_src::CreateSuccess;
use gst_base::subclass::prelude::*;
use gst_video::{VideoFrameRef, VideoInfo, VideoRegionOfInterestMeta};
use portraitd_client::connect::Bus;
use portraitd_client::feed::{AttachOptions, FeedError, find_camera, wait_for_camera};
use portraitd_client::{CropMode, Feed, FrameCopy, MaskResolution, RingLayout, ServiceError, StreamKind, monotonic_ns};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::{ANSWER, BUS, camera_properties, caps, kind_of, lock, parse_bus, service_thread, text_property};

/// The latency that is reported before a frame has come. It grows with the age of the frames.
const FIRST_LATENCY: gst::ClockTime = gst::ClockTime::from_mseconds(60);
/// The latency does not grow further.
const LAST_LATENCY: gst::ClockTime = gst::ClockTime::from_seconds(2);
const LATENCY_STEP_MS: u64 = 20;

static CATEGORY: std::sync::LazyLock<gst::DebugCategory> = std::sync::LazyLock::new(|| {
    gst::DebugCategory::new("portraitdsrc", gst::DebugColorFlags::empty(), Some("Streams of portraitd"))
});

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "portraitdsrc", gst::Rank::NONE, PortraitdSrc::static_type())
}

glib::wrapper! {
    /// A live source of one stream of one camera.
    pub(crate) struct PortraitdSrc(ObjectSubclass<Source>)
        @extends gst_base::PushSrc, gst_base::BaseSrc, gst::Element, gst::Object;
}

/// The properties, as they are set.
#[derive(Clone, Debug)]
struct Settings {
    camera: Option<String>,
    stream: String,
    bus: String,
    wait: bool,
    crop: Option<String>,
    resolution: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            camera: None,
            stream: StreamKind::View.as_str().to_owned(),
            bus: BUS.to_owned(),
            wait: false,
            crop: None,
            resolution: None,
        }
    }
}

/// The properties, read.
#[derive(Clone, Debug)]
struct Target {
    camera: Option<String>,
    stream: StreamKind,
    bus: Bus,
    wait: bool,
    options: AttachOptions,
}

impl Settings {
    fn target(&self) -> Result<Target, String> {
        let word = |name: &str, error: &dyn std::fmt::Display| format!("property `{name}`: {error}");
        let stream: StreamKind = self.stream.parse().map_err(|error| word("stream", &error))?;
        let bus = parse_bus(&self.bus)?;
        let mut options = AttachOptions::default();
        if let Some(crop) = &self.crop {
            let crop: CropMode = crop.parse().map_err(|error| word("crop", &error))?;
            options = options.with_crop(crop);
        }
        if let Some(resolution) = &self.resolution {
            let resolution: MaskResolution = resolution.parse().map_err(|error| word("resolution", &error))?;
            options = options.with_resolution(resolution);
        }
        Ok(Target { camera: self.camera.clone(), stream, bus, wait: self.wait, options })
    }
}

/// What the streaming thread uses.
#[derive(Debug, Default)]
struct Stream {
    feed: Option<Feed>,
    frame: FrameCopy,
    /// The layout that the caps of the pad come from.
    layout: Option<RingLayout>,
    info: Option<VideoInfo>,
    last: Option<gst::ClockTime>,
}

/// What lives from `start` to `stop`.
#[derive(Debug)]
struct Started {
    runtime: Runtime,
    target: Target,
    /// What the pipeline accepts.
    accepted: gst::Caps,
}

/// What a waiting `create` has to do.
#[derive(Clone, Copy, Debug, Default)]
struct Orders {
    /// Return: the base class stops or flushes.
    is_unlocked: bool,
    /// Detach and wait. The base class does not interrupt `create` when a pipeline pauses.
    is_paused: bool,
}

/// Why there is no frame.
enum NoFrame {
    /// There are [`Orders`].
    Ordered,
    Service(ServiceError),
    Feed(FeedError),
    /// The service has not answered in time.
    Late,
}

impl From<ServiceError> for NoFrame {
    fn from(error: ServiceError) -> Self {
        Self::Service(error)
    }
}

impl From<FeedError> for NoFrame {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Service(error) => Self::Service(error),
            error => Self::Feed(error),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Source {
    settings: Mutex<Settings>,
    started: Mutex<Option<Started>>,
    stream: Mutex<Stream>,
    latency: Mutex<gst::ClockTime>,
    orders: watch::Sender<Orders>,
}

impl Default for Source {
    fn default() -> Self {
        Self {
            settings: Mutex::default(),
            started: Mutex::default(),
            stream: Mutex::default(),
            latency: Mutex::new(FIRST_LATENCY),
            orders: watch::Sender::new(Orders::default()),
        }
    }
}

#[glib::object_subclass]
impl ObjectSubclass for Source {
    const NAME: &'static str = "PortraitdSrc";
    type Type = PortraitdSrc;
    type ParentType = gst_base::PushSrc;
}

impl ObjectImpl for Source {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: std::sync::LazyLock<Vec<glib::ParamSpec>> = std::sync::LazyLock::new(|| {
            let stream = "Stream of the camera: view, composite, mask or source";
            let crop = "Part of the frame that a composite shows: none or follow (unset: the service's choice)";
            let resolution = "Size of a mask: net or frame (unset: the service's choice)";
            let own = [
                text_property("stream", "Stream", stream, Some(StreamKind::View.as_str())),
                text_property("crop", "Crop", crop, None),
                text_property("resolution", "Resolution", resolution, None),
            ];
            camera_properties().into_iter().chain(own).collect()
        });
        &PROPERTIES
    }

    fn set_property(&self, _: usize, value: &glib::Value, property: &glib::ParamSpec) {
        let mut settings = lock(&self.settings);
        let text = || value.get::<Option<String>>().ok().flatten();
        match property.name() {
            "camera" => settings.camera = text(),
            "stream" => settings.stream = text().unwrap_or_else(|| Settings::default().stream),
            "bus" => settings.bus = text().unwrap_or_else(|| Settings::default().bus),
            "crop" => settings.crop = text(),
            "resolution" => settings.resolution = text(),
            "wait" => settings.wait = value.get().unwrap_or_default(),
            _ => {}
        }
    }

    fn property(&self, _: usize, property: &glib::ParamSpec) -> glib::Value {
        let settings = lock(&self.settings);
        match property.name() {
            "camera" => settings.camera.to_value(),
            "stream" => settings.stream.to_value(),
            "bus" => settings.bus.to_value(),
            "crop" => settings.crop.to_value(),
            "resolution" => settings.resolution.to_value(),
            _ => settings.wait.to_value(),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        self.obj().set_live(true);
        self.obj().set_format(gst::Format::Time);
    }
}

impl GstObjectImpl for Source {}

impl ElementImpl for Source {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: std::sync::LazyLock<gst::subclass::ElementMetadata> = std::sync::LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "portraitd source",
                "Source/Video",
                "Views, composites, person masks and frames of a camera of portraitd",
                "portraitd",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: std::sync::LazyLock<Vec<gst::PadTemplate>> = std::sync::LazyLock::new(|| {
            let pad = gst::PadTemplate::new("src", gst::PadDirection::Src, gst::PadPresence::Always, &caps::template());
            vec![pad.expect("the template is valid")]
        });
        &TEMPLATES
    }

    /// Detaches when the pipeline pauses: nobody looks then, and the camera may be off.
    fn change_state(&self, change: gst::StateChange) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        let is_paused = change == gst::StateChange::PlayingToPaused;
        self.orders.send_modify(|orders| orders.is_paused = is_paused);
        if is_paused {
            // The streaming thread may be in another element, which keeps it until the pipeline plays.
            lock(&self.stream).feed = None;
        }
        self.parent_change_state(change)
    }
}

impl BaseSrcImpl for Source {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let target = settings.target().map_err(|error| gst::error_msg!(gst::ResourceError::Settings, ("{error}")))?;
        let runtime = service_thread("portraitdsrc")?;
        let accepted = caps::of_stream(target.stream);
        *lock(&self.started) = Some(Started { runtime, target, accepted });
        *lock(&self.stream) = Stream::default();
        *lock(&self.latency) = FIRST_LATENCY;
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.stream) = Stream::default();
        if let Some(started) = lock(&self.started).take() {
            started.runtime.shutdown_background();
        }
        Ok(())
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn caps(&self, filter: Option<&gst::Caps>) -> Option<gst::Caps> {
        let stream = lock(&self.started).as_ref().map(|started| started.target.stream);
        let own = stream.map_or_else(caps::template, caps::of_stream);
        Some(
            filter
                .map_or_else(|| own.clone(), |filter| filter.intersect_with_mode(&own, gst::CapsIntersectMode::First)),
        )
    }

    /// Notes what the pipeline accepts. The caps are set with the first frame, whose ring tells its
    /// size: before that nobody has attached, and the camera is off.
    fn negotiate(&self) -> Result<(), gst::LoggableError> {
        let mut started = lock(&self.started);
        let Some(started) = started.as_mut() else { return Err(gst::loggable_error!(CATEGORY, "not started")) };
        let pad = self.obj().static_pad("src").expect("every source has it");
        let accepted = pad.peer_query_caps(Some(&caps::of_stream(started.target.stream)));
        if accepted.is_empty() {
            let stream = started.target.stream;
            let (own, wanted) = (caps::of_stream(stream), pad.peer_query_caps(None));
            let text = format!("the stream {stream} is {own}, and the next element accepts {wanted}");
            gst::element_imp_error!(self, gst::StreamError::Format, ("{text}"));
            return Err(gst::loggable_error!(CATEGORY, "{text}"));
        }
        if accepted != started.accepted {
            let (stream, options) = (started.target.stream, started.target.options);
            let wishes = caps::wishes(&accepted, stream, options);
            let changes = wishes != caps::wishes(&started.accepted, stream, options);
            let mut streaming = lock(&self.stream);
            streaming.layout = None;
            if changes && let Some(feed) = &mut streaming.feed {
                feed.set_options(wishes);
            }
            started.accepted = accepted;
        }
        Ok(())
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        if let gst::QueryViewMut::Latency(latency) = query.view_mut() {
            latency.set(true, *lock(&self.latency), gst::ClockTime::NONE);
            return true;
        }
        BaseSrcImplExt::parent_query(self, query)
    }

    fn unlock(&self) -> Result<(), gst::ErrorMessage> {
        self.orders.send_modify(|orders| orders.is_unlocked = true);
        Ok(())
    }

    fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
        self.orders.send_modify(|orders| orders.is_unlocked = false);
        Ok(())
    }
}

impl PushSrcImpl for Source {
    fn create(&self, _: Option<&mut gst::BufferRef>) -> Result<CreateSuccess, gst::FlowError> {
        loop {
            let mut stream = lock(&self.stream);
            match self.next_frame(&mut stream) {
                Ok(()) => return self.buffer_of(&mut stream).map(CreateSuccess::NewBuffer),
                Err(NoFrame::Ordered) => {
                    stream.feed = None;
                    drop(stream);
                    self.wait_to_play()?;
                }
                Err(error) => {
                    stream.feed = None;
                    self.post(&error);
                    return Err(gst::FlowError::Error);
                }
            }
        }
    }
}

impl Source {
    /// Waits for the next frame, and attaches before the first.
    fn next_frame(&self, stream: &mut Stream) -> Result<(), NoFrame> {
        let (handle, target, wishes) = {
            let started = lock(&self.started);
            let Some(started) = started.as_ref() else { return Err(NoFrame::Ordered) };
            let target = started.target.clone();
            let wishes = caps::wishes(&started.accepted, target.stream, target.options);
            (started.runtime.handle().clone(), target, wishes)
        };
        let Stream { feed, frame, .. } = stream;
        let mut orders = self.orders.subscribe();
        handle.block_on(async {
            let next = async {
                let feed = match feed {
                    Some(feed) => feed,
                    None => feed.insert(attach(&target, wishes).await?),
                };
                Ok(feed.next(frame).await?)
            };
            tokio::select! {
                biased;
                _ = orders.wait_for(|orders| orders.is_unlocked || orders.is_paused) => Err(NoFrame::Ordered),
                frame = next => frame,
            }
        })
    }

    /// Waits until the pipeline plays.
    fn wait_to_play(&self) -> Result<(), gst::FlowError> {
        let handle = lock(&self.started).as_ref().map(|started| started.runtime.handle().clone());
        let mut orders = self.orders.subscribe();
        let orders = handle.ok_or(gst::FlowError::Flushing)?.block_on(async {
            orders.wait_for(|orders| orders.is_unlocked || !orders.is_paused).await.map(|orders| *orders)
        });
        if orders.is_ok_and(|orders| !orders.is_unlocked) { Ok(()) } else { Err(gst::FlowError::Flushing) }
    }

    /// The frame as a buffer, with the caps of its ring on the pad.
    fn buffer_of(&self, stream: &mut Stream) -> Result<gst::Buffer, gst::FlowError> {
        if stream.frame.layout() != stream.layout.as_ref() {
            stream.info = Some(self.set_caps_of(stream.frame.layout())?);
            stream.layout = stream.frame.layout().copied();
        }
        let (Some(info), Some(layout)) = (&stream.info, &stream.layout) else {
            return Err(gst::FlowError::NotNegotiated);
        };
        let frame = stream.frame.info();
        let mut buffer = gst::Buffer::with_size(info.size()).map_err(|_| gst::FlowError::Error)?;
        let writable = buffer.get_mut().expect("nobody else has it");
        copy(&stream.frame, writable, info).ok_or(gst::FlowError::Error)?;
        if frame.mask_valid() {
            for person in frame.people() {
                if let Some(rectangle) = caps::box_of(person, frame, layout.size) {
                    let mut region = VideoRegionOfInterestMeta::add(writable, "person", rectangle);
                    region.set_id(i32::try_from(person.id).unwrap_or(i32::MAX));
                    let confidence = f64::from(person.confidence);
                    region.add_param(gst::Structure::builder("detection").field("confidence", confidence).build());
                }
            }
        }
        let age = gst::ClockTime::from_nseconds(monotonic_ns().saturating_sub(frame.capture_ns));
        let now = self.obj().current_running_time().unwrap_or(gst::ClockTime::ZERO);
        // Two frames of one time would be taken for one of a wrong order.
        let time = now
            .saturating_sub(age)
            .max(stream.last.map_or(gst::ClockTime::ZERO, |last| last + gst::ClockTime::from_nseconds(1)));
        writable.set_pts(time);
        writable.set_offset(frame.sequence);
        if stream.last.replace(time).is_none() {
            writable.set_flags(gst::BufferFlags::DISCONT);
        }
        self.report(age);
        Ok(buffer)
    }

    fn set_caps_of(&self, layout: Option<&RingLayout>) -> Result<VideoInfo, gst::FlowError> {
        let accepted = lock(&self.started).as_ref().map(|started| started.accepted.clone());
        let (Some(layout), Some(accepted)) = (layout, accepted) else { return Err(gst::FlowError::Flushing) };
        let described = caps::info_of(layout, caps::rate_of(&accepted));
        let described = described.and_then(|info| Some((info.to_caps().ok()?, info)));
        let Some((wanted, info)) = described else {
            gst::element_imp_error!(self, gst::StreamError::Format, ("GStreamer has no format for {layout:?}"));
            return Err(gst::FlowError::NotNegotiated);
        };
        if !accepted.can_intersect(&wanted) || self.obj().set_caps(&wanted).is_err() {
            gst::element_imp_error!(
                self,
                gst::StreamError::Format,
                ("the {} has the caps {wanted}, and the next element accepts {accepted}", layout.stream)
            );
            return Err(gst::FlowError::NotNegotiated);
        }
        Ok(info)
    }

    /// Raises the latency if a frame was older.
    fn report(&self, age: gst::ClockTime) {
        let mut latency = lock(&self.latency);
        if age > *latency && *latency < LAST_LATENCY {
            let step = gst::ClockTime::from_mseconds(LATENCY_STEP_MS);
            *latency = (step * (age.mseconds() / LATENCY_STEP_MS + 1)).min(LAST_LATENCY);
            drop(latency);
            let message = gst::message::Latency::builder().src(&*self.obj()).build();
            let _ = self.obj().post_message(message);
        }
    }

    fn post(&self, error: &NoFrame) {
        match error {
            NoFrame::Service(error) => {
                let kind = kind_of(error).unwrap_or(gst::ResourceError::OpenRead);
                gst::element_imp_error!(self, kind, ("{error}"));
            }
            NoFrame::Feed(error) => {
                gst::element_imp_error!(self, gst::ResourceError::Read, ("{error}"));
            }
            NoFrame::Late => {
                let limit = ANSWER.as_secs();
                gst::element_imp_error!(
                    self,
                    gst::ResourceError::OpenRead,
                    ("the service has not answered for {limit} s")
                );
            }
            NoFrame::Ordered => {}
        }
    }
}

/// Connects and attaches.
async fn attach(target: &Target, options: AttachOptions) -> Result<Feed, NoFrame> {
    let name = target.camera.as_deref();
    let connect = async { target.bus.connect().await.map_err(|error| NoFrame::Service(error.into())) };
    let within = |error| move |_: tokio::time::error::Elapsed| error;
    let connection = tokio::time::timeout(ANSWER, connect).await.map_err(within(NoFrame::Late))??;
    if target.wait {
        let camera = wait_for_camera(&connection, name).await?;
        return Ok(Feed::when_available(camera, target.stream, options));
    }
    let attached = async {
        let camera = find_camera(&connection, name).await?;
        Ok(Feed::attach(camera, target.stream, options).await?)
    };
    tokio::time::timeout(ANSWER, attached).await.map_err(within(NoFrame::Late))?
}

/// Copies the rows of a frame. `None` if the buffer does not have the planes of the frame.
fn copy(frame: &FrameCopy, buffer: &mut gst::BufferRef, info: &VideoInfo) -> Option<()> {
    let mut picture = VideoFrameRef::from_buffer_ref_writable(buffer, info).ok()?;
    for plane in 0..info.n_planes() {
        let stride = usize::try_from(*info.stride().get(plane as usize)?).ok()?;
        let out = picture.plane_data_mut(plane).ok()?;
        for (from, to) in frame.rows(plane as usize).zip(out.chunks_mut(stride)) {
            to.get_mut(..from.len())?.copy_from_slice(from);
        }
    }
    Some(())
}
