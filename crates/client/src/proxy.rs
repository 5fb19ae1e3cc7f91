//! The D-Bus interfaces of the service as asynchronous zbus proxies. `docs/design/dbus.md`
//! specifies them.
//!
//! Every method and property returns [`ServiceError`], which keeps the name of the service's error.
//! Properties with a fixed set of words return a [`Word`], so that a program does not fail when a
//! newer service reports a new word. A setter takes the same type:
//! `set_mode(FramingMode::Follow.into())`.

use std::collections::HashMap;

use zbus::{OwnedObjectPath, OwnedVariant, Variant};

use crate::{BackgroundMode, CameraState, FramingMode, FramingSpeed, FramingState, ServiceError, Word};

/// A dictionary of named values, `a{sv}` on the bus.
pub type Values = HashMap<String, OwnedVariant>;
/// A rectangle as x, y, width and height, each as a fraction of the source frame, 0 to 1.
pub type Fractions = (f64, f64, f64, f64);

/// The interface `org.portraitd.Manager1` of the daemon.
#[zbus::proxy(interface = "org.portraitd.Manager1", default_service = "org.portraitd", default_path = "/org/portraitd")]
pub trait Manager {
    /// Reads the configuration again. If it is invalid, the settings stay as they are and the error
    /// names the place.
    fn reload(&self) -> Result<(), ServiceError>;

    /// The version of the daemon, such as `0.1.0`.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> Result<String, ServiceError>;

    /// The object paths of the cameras, in no particular order.
    #[zbus(property)]
    fn cameras(&self) -> Result<Vec<OwnedObjectPath>, ServiceError>;
}

/// The interface `org.portraitd.Camera1`: streams, snapshots and the state of a camera.
#[zbus::proxy(interface = "org.portraitd.Camera1", default_service = "org.portraitd", assume_defaults = false)]
pub trait Camera {
    /// Attaches to a stream. Returns the memory of the ring, the pipe that receives one byte per
    /// frame, and the layout of the ring as named values. [`crate::Feed`] calls this and reads the
    /// frames.
    fn attach(
        &self,
        stream: &str,
        options: &HashMap<&str, Variant<'_>>,
    ) -> Result<(zbus::OwnedFd, zbus::OwnedFd, Values), ServiceError>;

    /// Returns the newest picture of a stream as PNG, in a sealed memfd positioned at its
    /// beginning.
    fn snapshot(&self, stream: &str) -> Result<zbus::OwnedFd, ServiceError>;

    /// The name of the camera in the configuration.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> Result<String, ServiceError>;

    /// The device node or other source of the frames.
    #[zbus(property)]
    fn device(&self) -> Result<String, ServiceError>;

    /// The state of the camera.
    #[zbus(property)]
    fn state(&self) -> Result<Word<CameraState>, ServiceError>;

    /// The format of the camera's frames; empty while the camera is closed. Keys: `format` s,
    /// `width` u, `height` u, `frame_rate` d, and for formats other than RGB also `matrix` s and
    /// `range` s.
    #[zbus(property)]
    fn format(&self) -> Result<Values, ServiceError>;

    /// The number of attached clients.
    #[zbus(property)]
    fn consumers(&self) -> Result<u32, ServiceError>;

    /// A number that increases when the size or format of the source changes.
    #[zbus(property)]
    fn generation(&self) -> Result<u32, ServiceError>;

    /// The last error of the camera; empty if there was none.
    #[zbus(property)]
    fn last_error(&self) -> Result<String, ServiceError>;

    /// Whether a client keeps the camera closed.
    #[zbus(property)]
    fn private(&self) -> Result<bool, ServiceError>;

    /// Closes the camera until it is set to false again. All rings are closed too; new ones show
    /// black. Returns when the camera is closed.
    #[zbus(property)]
    fn set_private(&self, private: bool) -> Result<(), ServiceError>;

    /// By how many degrees the camera's pictures are turned clockwise: 0, 90, 180 or 270. Everything
    /// else, such as zones, crops and masks, is in the turned picture.
    #[zbus(property)]
    fn rotate(&self) -> Result<u32, ServiceError>;

    /// Sets by how many degrees the camera's pictures are turned clockwise. Opens the camera again.
    #[zbus(property)]
    fn set_rotate(&self, degrees: u32) -> Result<(), ServiceError>;

    /// Whether the turned pictures are mirrored left to right.
    #[zbus(property)]
    fn mirror(&self) -> Result<bool, ServiceError>;

    /// Sets whether the turned pictures are mirrored left to right. Opens the camera again.
    #[zbus(property)]
    fn set_mirror(&self, mirror: bool) -> Result<(), ServiceError>;

    /// Measured figures, such as frame counts and latencies. They are never announced: read them
    /// when they are needed.
    #[zbus(property(emits_changed_signal = "false"))]
    fn stats(&self) -> Result<Values, ServiceError>;
}

/// The interface `org.portraitd.Framing1`: how the crop of a camera follows people.
#[zbus::proxy(interface = "org.portraitd.Framing1", default_service = "org.portraitd", assume_defaults = false)]
pub trait Framing {
    /// Frames the people again, now.
    fn reframe(&self) -> Result<(), ServiceError>;

    /// How the crop is chosen.
    #[zbus(property)]
    fn mode(&self) -> Result<Word<FramingMode>, ServiceError>;

    /// Sets how the crop is chosen.
    #[zbus(property)]
    fn set_mode(&self, mode: Word<FramingMode>) -> Result<(), ServiceError>;

    /// The state of the director. Needs the permission for the mask.
    #[zbus(property)]
    fn state(&self) -> Result<Word<FramingState>, ServiceError>;

    /// The current crop. It is never announced: read it when it is needed. Needs the permission for
    /// the mask.
    #[zbus(property(emits_changed_signal = "false"))]
    fn crop(&self) -> Result<Fractions, ServiceError>;

    /// The id of the one person whom the crop follows; 0 if it follows everybody. Needs the permission
    /// for the mask. It is never announced: read it when it is needed.
    #[zbus(property(emits_changed_signal = "false"))]
    fn subject(&self) -> Result<u32, ServiceError>;

    /// Follows the person with this id alone, until they are lost for two seconds; 0 follows everybody.
    #[zbus(property)]
    fn set_subject(&self, id: u32) -> Result<(), ServiceError>;

    /// The crop in the mode `manual`.
    #[zbus(property)]
    fn manual_crop(&self) -> Result<Fractions, ServiceError>;

    /// Sets the crop in the mode `manual`: a rectangle within (0, 0, 1, 1) that is not empty.
    #[zbus(property)]
    fn set_manual_crop(&self, crop: Fractions) -> Result<(), ServiceError>;

    /// The largest enlargement, 1 to 4.
    #[zbus(property)]
    fn max_zoom(&self) -> Result<f64, ServiceError>;

    /// Sets the largest enlargement, 1 to 4.
    #[zbus(property)]
    fn set_max_zoom(&self, zoom: f64) -> Result<(), ServiceError>;

    /// How fast the crop moves.
    #[zbus(property)]
    fn speed(&self) -> Result<Word<FramingSpeed>, ServiceError>;

    /// Sets how fast the crop moves.
    #[zbus(property)]
    fn set_speed(&self, speed: Word<FramingSpeed>) -> Result<(), ServiceError>;

    /// The areas whose people are ignored.
    #[zbus(property)]
    fn zones(&self) -> Result<Vec<Fractions>, ServiceError>;

    /// Sets the areas whose people are ignored, at most 16.
    #[zbus(property)]
    fn set_zones(&self, zones: &[Fractions]) -> Result<(), ServiceError>;

    /// The limits of the settings for this camera, such as `max_zoom` d.
    #[zbus(property)]
    fn limits(&self) -> Result<Values, ServiceError>;
}

/// The interface `org.portraitd.Segmentation1`: the segmentation model and the people it finds.
#[zbus::proxy(interface = "org.portraitd.Segmentation1", default_service = "org.portraitd", assume_defaults = false)]
pub trait Segmentation {
    /// The model in use.
    #[zbus(property)]
    fn model(&self) -> Result<String, ServiceError>;

    /// Sets the model, one of [`models`](SegmentationProxy::models). Returns when the model is in
    /// use.
    #[zbus(property)]
    fn set_model(&self, model: &str) -> Result<(), ServiceError>;

    /// The models that can be loaded.
    #[zbus(property)]
    fn models(&self) -> Result<Vec<String>, ServiceError>;

    /// The measured number of masks a second. Needs the permission for the mask.
    #[zbus(property(emits_changed_signal = "false"))]
    fn rate(&self) -> Result<f64, ServiceError>;

    /// The people in the newest mask: id, then x, y, width and height of the box as fractions of
    /// the source. Needs the permission for the mask.
    #[zbus(property(emits_changed_signal = "false"))]
    fn people(&self) -> Result<Vec<(u32, f64, f64, f64, f64)>, ServiceError>;

    /// Whether somebody is in the frame. Needs the permission for the mask; changes are announced to
    /// clients that have it and have read this or another such property.
    #[zbus(property)]
    fn present(&self) -> Result<bool, ServiceError>;

    /// Whether masks are produced as configured.
    #[zbus(property)]
    fn healthy(&self) -> Result<bool, ServiceError>;

    /// What is left out to stay within the time budget, or why there are no masks; empty if nothing
    /// is left out.
    #[zbus(property)]
    fn degraded(&self) -> Result<String, ServiceError>;
}

/// The interface `org.portraitd.Background1`: what the composite shows behind the people.
#[zbus::proxy(interface = "org.portraitd.Background1", default_service = "org.portraitd", assume_defaults = false)]
pub trait Background {
    /// Sets the background image: a PNG or JPEG of at most 32 MiB, from a file, memfd, pipe or
    /// socket.
    fn set_image(&self, image: zbus::Fd<'_>) -> Result<(), ServiceError>;

    /// Removes the background image.
    fn clear_image(&self) -> Result<(), ServiceError>;

    /// What the composite shows behind the people.
    #[zbus(property)]
    fn mode(&self) -> Result<Word<BackgroundMode>, ServiceError>;

    /// Sets what the composite shows behind the people.
    #[zbus(property)]
    fn set_mode(&self, mode: Word<BackgroundMode>) -> Result<(), ServiceError>;

    /// The colour of the mode `color`, as `#rrggbb`.
    #[zbus(property)]
    fn color(&self) -> Result<String, ServiceError>;

    /// Sets the colour of the mode `color`, as `#rrggbb`.
    #[zbus(property)]
    fn set_color(&self, color: &str) -> Result<(), ServiceError>;

    /// The blur of the mode `blur`: the standard deviation as a fraction of the picture's height, 0
    /// to 0.25.
    #[zbus(property)]
    fn blur(&self) -> Result<f64, ServiceError>;

    /// Sets the blur of the mode `blur`: the standard deviation as a fraction of the picture's
    /// height, 0 to 0.25.
    #[zbus(property)]
    fn set_blur(&self, blur: f64) -> Result<(), ServiceError>;

    /// Whether a composite shows a frame only with the mask that was made from it.
    #[zbus(property)]
    fn strict(&self) -> Result<bool, ServiceError>;

    /// Sets whether a composite shows a frame only with the mask that was made from it.
    #[zbus(property)]
    fn set_strict(&self, strict: bool) -> Result<(), ServiceError>;
}

/// The interface `org.portraitd.Controls1`: exposure, white balance and the other controls of a
/// camera's driver.
#[zbus::proxy(interface = "org.portraitd.Controls1", default_service = "org.portraitd", assume_defaults = false)]
pub trait Controls {
    /// The controls, each as named values: `key` s (the name for [`set`](ControlsProxy::set)), `name` s
    /// (the driver's), `kind` s, `minimum`, `maximum`, `step` and `default` i, `value` i (if it can be
    /// read), `read_only` and `inactive` b, and for menus `menu` a(us).
    fn list(&self) -> Result<Vec<Values>, ServiceError>;

    /// Sets a control: a number, a boolean, or the text of a menu's item. The value is set again at
    /// each opening of the device, until it is reset or the configuration is reloaded.
    fn set(&self, name: &str, value: &Variant<'_>) -> Result<(), ServiceError>;

    /// Sets a control to the driver's default; with an empty name, all controls.
    fn reset(&self, name: &str) -> Result<(), ServiceError>;
}

/// The interface `org.portraitd.Provider1`: frames from another program.
#[zbus::proxy(interface = "org.portraitd.Provider1", default_service = "org.portraitd", assume_defaults = false)]
pub trait Provider {
    /// Offers the memory of a ring. Returns the eventfd to add 1 to for each frame, and the socket that
    /// brings a byte for each change: 1, somebody looks; 0, nobody does. Its end is the end of the
    /// offer, in both directions. [`crate::provide::Provider`] calls this.
    fn offer(
        &self,
        memory: zbus::OwnedFd,
        options: &HashMap<&str, Variant<'_>>,
    ) -> Result<(zbus::OwnedFd, zbus::OwnedFd), ServiceError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use portraitd_protocol::names;
    use zbus::proxy::Defaults;

    #[test]
    fn the_attributes_name_what_the_constants_name() {
        fn names_of<P: Defaults>() -> (&'static str, &'static str) {
            let interface = P::INTERFACE.as_ref().expect("an interface");
            (interface.as_str(), P::DESTINATION.as_ref().expect("a service").as_str())
        }
        for (found, interface) in [
            (names_of::<ManagerProxy<'_>>(), names::MANAGER_INTERFACE),
            (names_of::<CameraProxy<'_>>(), names::CAMERA_INTERFACE),
            (names_of::<FramingProxy<'_>>(), names::FRAMING_INTERFACE),
            (names_of::<SegmentationProxy<'_>>(), names::SEGMENTATION_INTERFACE),
            (names_of::<BackgroundProxy<'_>>(), names::BACKGROUND_INTERFACE),
            (names_of::<ControlsProxy<'_>>(), names::CONTROLS_INTERFACE),
            (names_of::<ProviderProxy<'_>>(), names::PROVIDER_INTERFACE),
        ] {
            assert_eq!(found, (interface, names::SERVICE_NAME));
        }
        assert_eq!(ManagerProxy::PATH.as_ref().expect("a path").as_str(), names::ROOT_PATH);
    }
}
