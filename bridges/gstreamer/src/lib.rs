//! GStreamer plugin of portraitd. `portraitdsrc` is a live source of a camera's view, composite,
//! mask or frames:
//!
//! ```text
//! gst-launch-1.0 portraitdsrc camera=main stream=view ! videoconvert ! autovideosink
//! ```

mod caps;
mod source;

/// The plugin as GStreamer loads it from a file.
mod plugin {
    use gst::glib;

    fn init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
        crate::source::register(plugin)
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
