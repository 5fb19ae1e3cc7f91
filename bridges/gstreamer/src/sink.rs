//! The element `portraitdsink`.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use gst_video::VideoInfo;
use portraitd_client::monotonic_ns;
use tokio::runtime::Runtime;

use crate::caps::{self, Picture};
use crate::offer::{self, Failure, Frames, News, Offered, Pending, Target};
use crate::{BUS, camera_properties, lock, parse_bus, service_thread};

/// How long the end of an offer may take.
const END: Duration = Duration::from_secs(1);
/// The name of the messages that say whether somebody looks.
const MESSAGE: &str = "portraitd-provider";

static CATEGORY: std::sync::LazyLock<gst::DebugCategory> = std::sync::LazyLock::new(|| {
    gst::DebugCategory::new("portraitdsink", gst::DebugColorFlags::empty(), Some("Frames for portraitd"))
});

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "portraitdsink", gst::Rank::NONE, PortraitdSink::static_type())
}

glib::wrapper! {
    /// Provides the frames of a camera whose device is `provider`.
    pub(crate) struct PortraitdSink(ObjectSubclass<Sink>)
        @extends gst_base::BaseSink, gst::Element, gst::Object;
}

/// The properties, as they are set.
#[derive(Clone, Debug)]
struct Settings {
    camera: Option<String>,
    bus: String,
    wait: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { camera: None, bus: BUS.to_owned(), wait: false }
    }
}

impl Settings {
    fn target(&self) -> Result<Target, String> {
        Ok(Target { camera: self.camera.clone(), bus: parse_bus(&self.bus)?, wait: self.wait })
    }
}

/// What lives from `READY` on, until `NULL`.
#[derive(Debug)]
struct Started {
    runtime: Runtime,
    frames: Arc<Frames>,
}

/// The caps of the pad.
#[derive(Clone, Debug)]
struct Negotiated {
    info: VideoInfo,
    picture: Picture,
}

#[derive(Debug, Default)]
pub(crate) struct Sink {
    settings: Mutex<Settings>,
    started: Mutex<Option<Started>>,
    /// Also after the stream has ended: the next one probably has the same.
    negotiated: Mutex<Option<Negotiated>>,
    /// What the service has said last.
    news: Mutex<News>,
}

#[glib::object_subclass]
impl ObjectSubclass for Sink {
    const NAME: &'static str = "PortraitdSink";
    type Type = PortraitdSink;
    type ParentType = gst_base::BaseSink;
}

impl ObjectImpl for Sink {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: std::sync::LazyLock<Vec<glib::ParamSpec>> = std::sync::LazyLock::new(|| {
            let wanted = glib::ParamSpecBoolean::builder("wanted")
                .nick("Wanted")
                .blurb("Whether somebody looks at the camera; frames are dropped while nobody does")
                .read_only()
                .build();
            camera_properties().into_iter().chain([wanted]).collect()
        });
        &PROPERTIES
    }

    fn set_property(&self, _: usize, value: &glib::Value, property: &glib::ParamSpec) {
        let mut settings = lock(&self.settings);
        let text = || value.get::<Option<String>>().ok().flatten();
        match property.name() {
            "camera" => settings.camera = text(),
            "bus" => settings.bus = text().unwrap_or_else(|| Settings::default().bus),
            "wait" => settings.wait = value.get().unwrap_or_default(),
            _ => {}
        }
    }

    fn property(&self, _: usize, property: &glib::ParamSpec) -> glib::Value {
        let settings = lock(&self.settings);
        match property.name() {
            "camera" => settings.camera.to_value(),
            "bus" => settings.bus.to_value(),
            "wait" => settings.wait.to_value(),
            _ => lock(&self.news).wanted.to_value(),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let sink = self.obj();
        // A frame is given to the service when it comes. Its buffer has the time at which it was
        // captured.
        sink.set_sync(false);
        sink.set_processing_deadline(gst::ClockTime::ZERO);
        // It would keep a picture of the room, and a buffer of the source.
        sink.set_enable_last_sample(false);
    }
}

impl GstObjectImpl for Sink {}

impl ElementImpl for Sink {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: std::sync::LazyLock<gst::subclass::ElementMetadata> = std::sync::LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "portraitd sink",
                "Sink/Video",
                "Provides the frames of a camera of portraitd",
                "portraitd",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: std::sync::LazyLock<Vec<gst::PadTemplate>> = std::sync::LazyLock::new(|| {
            let pad =
                gst::PadTemplate::new("sink", gst::PadDirection::Sink, gst::PadPresence::Always, &caps::template());
            vec![pad.expect("the template is valid")]
        });
        &TEMPLATES
    }

    /// The offer lives from `READY` to `NULL`: an application can be told that somebody looks while
    /// the elements before this one are in `NULL`.
    fn change_state(&self, change: gst::StateChange) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if change == gst::StateChange::NullToReady
            && let Err(message) = self.offer()
        {
            self.post_error_message(message);
            return Err(gst::StateChangeError);
        }
        let result = self.parent_change_state(change);
        // Not on the way up: the first frame may come before the element is in `PLAYING`.
        if matches!(change, gst::StateChange::PlayingToPaused | gst::StateChange::PausedToReady)
            && let Some(started) = &*lock(&self.started)
        {
            started.frames.drop_newest();
        }
        if change == gst::StateChange::ReadyToNull || (change == gst::StateChange::NullToReady && result.is_err()) {
            self.withdraw();
        }
        result
    }
}

impl BaseSinkImpl for Sink {
    fn set_caps(&self, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let info = VideoInfo::from_caps(caps).map_err(|_| gst::loggable_error!(CATEGORY, "no video: {caps}"))?;
        let Some(picture) = caps::picture_of(&info) else {
            return Err(gst::loggable_error!(CATEGORY, "no pixel format of the service: {caps}"));
        };
        if let Err(error) = picture.layout() {
            gst::element_imp_error!(self, gst::StreamError::Format, ("{error}"));
            return Err(gst::loggable_error!(CATEGORY, "{error}"));
        }
        *lock(&self.negotiated) = Some(Negotiated { info, picture });
        if let Some(started) = &*lock(&self.started) {
            started.frames.expect(picture);
        }
        Ok(())
    }

    fn render(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let frames = lock(&self.started).as_ref().map(|started| Arc::clone(&started.frames));
        let frames = frames.ok_or(gst::FlowError::Flushing)?;
        if frames.are_wanted() {
            let negotiated = lock(&self.negotiated).clone().ok_or(gst::FlowError::NotNegotiated)?;
            let Negotiated { info, picture } = negotiated;
            frames.put(Pending { buffer: buffer.clone(), info, picture, capture_ns: self.capture_ns(buffer) });
        }
        Ok(gst::FlowSuccess::Ok)
    }
}

impl Sink {
    /// Offers frames for the camera. Waits for the answer of the service unless `wait` is set.
    fn offer(&self) -> Result<(), gst::ErrorMessage> {
        let target = lock(&self.settings).target();
        let target = target.map_err(|error| gst::error_msg!(gst::ResourceError::Settings, ("{error}")))?;
        let runtime = service_thread("portraitdsink")?;
        let picture = self.expected();
        let first: Option<Offered> = if target.wait {
            None
        } else {
            Some(runtime.block_on(offer::first(&target, picture)).map_err(|failure| failure.message())?)
        };
        let frames = Arc::new(Frames::new(picture));
        let sink = self.obj().downgrade();
        let tell = move |news: Result<News, Failure>| {
            if let Some(sink) = sink.upgrade() {
                sink.imp().heard(news);
            }
        };
        runtime.spawn(offer::serve(target, first, Arc::clone(&frames), tell));
        *lock(&self.started) = Some(Started { runtime, frames });
        Ok(())
    }

    /// Ends the offer.
    fn withdraw(&self) {
        let started = lock(&self.started).take();
        if let Some(Started { runtime, .. }) = started {
            runtime.shutdown_timeout(END);
        }
        *lock(&self.news) = News::default();
    }

    /// What the frames will probably be: as in the last stream, or as the elements before this one
    /// say. The service asks for a size before anybody looks.
    fn expected(&self) -> Picture {
        if let Some(negotiated) = &*lock(&self.negotiated) {
            return negotiated.picture;
        }
        caps::likely_picture(&self.obj().sink_pad().peer_query_caps(Some(&caps::template())))
    }

    /// When a buffer was captured, in nanoseconds of `CLOCK_MONOTONIC`. `None` if it does not tell,
    /// or tells a time in the future, as buffers of files do.
    fn capture_ns(&self, buffer: &gst::Buffer) -> Option<u64> {
        let sink = self.obj();
        let segment = sink.segment();
        let running = segment.downcast_ref::<gst::ClockTime>()?.to_running_time(buffer.pts()?)?;
        // The pipeline's clock can be any, so the age is what counts.
        let age = sink.clock()?.time().checked_sub(sink.base_time()? + running)?;
        Some(monotonic_ns().saturating_sub(age.nseconds()))
    }

    /// The service has said something, or refuses.
    fn heard(&self, news: Result<News, Failure>) {
        let news = match news {
            Ok(news) => news,
            Err(failure) => {
                self.post_error_message(failure.message());
                News::default()
            }
        };
        let before = std::mem::replace(&mut *lock(&self.news), news);
        if before == news {
            return;
        }
        let sink = self.obj();
        gst::info!(CATEGORY, imp = self, "offered: {}, wanted: {}", news.offered, news.wanted);
        if before.wanted != news.wanted {
            sink.notify("wanted");
        }
        let structure =
            gst::Structure::builder(MESSAGE).field("offered", news.offered).field("wanted", news.wanted).build();
        let _ = sink.post_message(gst::message::Element::builder(structure).src(&*sink).build());
    }
}
