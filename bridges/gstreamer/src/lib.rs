//! GStreamer plugin of portraitd. `portraitdsrc` is a live source of a camera's view, composite,
//! mask or frames, and `portraitdsink` provides the frames of a camera:
//!
//! ```text
//! gst-launch-1.0 portraitdsrc camera=main stream=view ! videoconvert ! autovideosink
//! gst-launch-1.0 libcamerasrc ! video/x-raw,width=1280,height=720 ! portraitdsink camera=main
//! ```

mod caps;
mod offer;
mod sink;
mod source;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use portraitd_client::ServiceError;
use portraitd_client::connect::Bus;
use tokio::runtime::Runtime;

/// The value of the property `bus` until it is set.
const BUS: &str = "system";
/// How long the service may take to answer before an element fails.
const ANSWER: Duration = Duration::from_secs(30);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A thread for the calls of an element to the service.
fn service_thread(name: &str) -> Result<Runtime, gst::ErrorMessage> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name(name)
        .enable_all()
        .build()
        .map_err(|error| gst::error_msg!(gst::ResourceError::Failed, ("no thread for D-Bus: {error}")))
}

/// A text that can be set before the element starts.
fn text_property(
    name: &'static str,
    nick: &'static str,
    blurb: &'static str,
    default: Option<&'static str>,
) -> glib::ParamSpec {
    glib::ParamSpecString::builder(name).nick(nick).blurb(blurb).default_value(default).mutable_ready().build()
}

/// The properties that both elements have: which camera, where the service is, and whether to wait.
fn camera_properties() -> [glib::ParamSpec; 3] {
    let bus = "D-Bus of the service: system, session or an address";
    let wait = "Wait for the service and the camera, instead of failing, where they are not there yet";
    [
        text_property("camera", "Camera", "Name of the camera (unset: the only one)", None),
        text_property("bus", "Bus", bus, Some(BUS)),
        glib::ParamSpecBoolean::builder("wait").nick("Wait").blurb(wait).mutable_ready().build(),
    ]
}

/// Reads the property `bus`. The error is for the user.
fn parse_bus(text: &str) -> Result<Bus, String> {
    match text.parse() {
        Ok(Bus::None) => Err("property `bus`: the element needs a bus".to_owned()),
        Ok(bus) => Ok(bus),
        Err(error) => Err(format!("property `bus`: {error}")),
    }
}

/// What an error of the service is to GStreamer. `None`: it has no kind of its own.
fn kind_of(error: &ServiceError) -> Option<gst::ResourceError> {
    match error {
        ServiceError::NotAuthorized(_) => Some(gst::ResourceError::NotAuthorized),
        ServiceError::CameraAbsent(_) => Some(gst::ResourceError::NotFound),
        ServiceError::Busy(_) => Some(gst::ResourceError::Busy),
        _ => None,
    }
}

/// The plugin as GStreamer loads it from a file.
mod plugin {
    use gst::glib;

    fn init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
        crate::source::register(plugin)?;
        crate::sink::register(plugin)
    }

    gst::plugin_define!(
        portraitd,
        env!("CARGO_PKG_DESCRIPTION"),
        init,
        env!("CARGO_PKG_VERSION"),
        "MIT/X11",
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_NAME"),
        "https://github.com/portraitd/portraitd"
    );
}

/// Registers the elements without a plugin file, for the tests.
///
/// # Errors
/// If GStreamer refuses the plugin.
pub fn register_static() -> Result<(), gst::glib::BoolError> {
    plugin::plugin_register_static()
}
