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
use tokio::runtime::Runtime;

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
