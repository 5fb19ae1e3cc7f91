//! The D-Bus interfaces, as proxies: `docs/design/dbus.md` explains them. Every method and property fails with
//! [`ServiceError`], which keeps the error's name.

use std::collections::HashMap;

use zbus::{OwnedObjectPath, OwnedVariant, Variant};

use crate::ServiceError;

/// Named values, `a{sv}` on the bus.
pub type Values = HashMap<String, OwnedVariant>;
/// x, y, width and height as fractions of the source picture.
pub type Fractions = (f64, f64, f64, f64);

/// `org.portraitd.Manager1`: the daemon.
#[zbus::proxy(interface = "org.portraitd.Manager1", default_service = "org.portraitd", default_path = "/org/portraitd")]
pub trait Manager {
    /// Reads the configuration anew.
    fn reload(&self) -> Result<(), ServiceError>;

    /// The daemon's version.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> Result<String, ServiceError>;

    /// The cameras' objects.
    #[zbus(property)]
    fn cameras(&self) -> Result<Vec<OwnedObjectPath>, ServiceError>;
}

/// `org.portraitd.Camera1`: a camera.
#[zbus::proxy(interface = "org.portraitd.Camera1", default_service = "org.portraitd", assume_defaults = false)]
pub trait Camera {
    /// Attaches to a stream: the ring's memory, the pipe that announces frames, and the ring's layout. [`crate::Feed`]
    /// does this and more.
    fn attach(
        &self,
        stream: &str,
        options: &HashMap<&str, Variant<'_>>,
    ) -> Result<(zbus::OwnedFd, zbus::OwnedFd, Values), ServiceError>;

    /// The newest picture of a stream, as PNG in a memfd.
    fn snapshot(&self, stream: &str) -> Result<zbus::OwnedFd, ServiceError>;

    /// The camera's name.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> Result<String, ServiceError>;

    /// The device or other source.
    #[zbus(property)]
    fn device(&self) -> Result<String, ServiceError>;

    /// See [`crate::CameraState`].
    #[zbus(property)]
    fn state(&self) -> Result<String, ServiceError>;

    /// The format of the camera's frames while it is open.
    #[zbus(property)]
    fn format(&self) -> Result<Values, ServiceError>;

    /// How many clients are attached.
    #[zbus(property)]
    fn consumers(&self) -> Result<u32, ServiceError>;

    /// Grows with every change of size or format.
    #[zbus(property)]
    fn generation(&self) -> Result<u32, ServiceError>;

    /// The last thing that went wrong.
    #[zbus(property)]
    fn last_error(&self) -> Result<String, ServiceError>;

    /// Figures, measured.
    #[zbus(property(emits_changed_signal = "false"))]
    fn stats(&self) -> Result<Values, ServiceError>;
}

/// `org.portraitd.Framing1`: how the view follows the people.
#[zbus::proxy(interface = "org.portraitd.Framing1", default_service = "org.portraitd", assume_defaults = false)]
pub trait Framing {
    /// Frames anew, now.
    fn reframe(&self) -> Result<(), ServiceError>;

    /// See [`crate::FramingMode`].
    #[zbus(property)]
    fn mode(&self) -> Result<String, ServiceError>;

    /// See [`crate::FramingMode`].
    #[zbus(property)]
    fn set_mode(&self, mode: &str) -> Result<(), ServiceError>;

    /// See [`crate::FramingState`].
    #[zbus(property)]
    fn state(&self) -> Result<String, ServiceError>;

    /// The crop of now.
    #[zbus(property(emits_changed_signal = "false"))]
    fn crop(&self) -> Result<Fractions, ServiceError>;

    /// The crop of the mode `manual`.
    #[zbus(property)]
    fn manual_crop(&self) -> Result<Fractions, ServiceError>;

    /// The crop of the mode `manual`.
    #[zbus(property)]
    fn set_manual_crop(&self, crop: Fractions) -> Result<(), ServiceError>;

    /// The most that the picture is enlarged.
    #[zbus(property)]
    fn max_zoom(&self) -> Result<f64, ServiceError>;

    /// The most that the picture is enlarged, 1 to 4.
    #[zbus(property)]
    fn set_max_zoom(&self, zoom: f64) -> Result<(), ServiceError>;

    /// See [`crate::FramingSpeed`].
    #[zbus(property)]
    fn speed(&self) -> Result<String, ServiceError>;

    /// See [`crate::FramingSpeed`].
    #[zbus(property)]
    fn set_speed(&self, speed: &str) -> Result<(), ServiceError>;

    /// Areas whose people are ignored.
    #[zbus(property)]
    fn zones(&self) -> Result<Vec<Fractions>, ServiceError>;

    /// Areas whose people are ignored, 16 at most.
    #[zbus(property)]
    fn set_zones(&self, zones: &[Fractions]) -> Result<(), ServiceError>;

    /// What the settings can be.
    #[zbus(property)]
    fn limits(&self) -> Result<Values, ServiceError>;
}

/// `org.portraitd.Segmentation1`: the net that tells people from the room.
#[zbus::proxy(interface = "org.portraitd.Segmentation1", default_service = "org.portraitd", assume_defaults = false)]
pub trait Segmentation {
    /// The net in use.
    #[zbus(property)]
    fn model(&self) -> Result<String, ServiceError>;

    /// The net in use, one of `models`.
    #[zbus(property)]
    fn set_model(&self, model: &str) -> Result<(), ServiceError>;

    /// The nets that there are.
    #[zbus(property)]
    fn models(&self) -> Result<Vec<String>, ServiceError>;

    /// Masks a second, measured.
    #[zbus(property(emits_changed_signal = "false"))]
    fn rate(&self) -> Result<f64, ServiceError>;

    /// The people of the newest mask: id and rectangle.
    #[zbus(property(emits_changed_signal = "false"))]
    fn people(&self) -> Result<Vec<(u32, f64, f64, f64, f64)>, ServiceError>;

    /// Whether somebody is seen.
    #[zbus(property)]
    fn present(&self) -> Result<bool, ServiceError>;

    /// Whether masks come as they should.
    #[zbus(property)]
    fn healthy(&self) -> Result<bool, ServiceError>;

    /// What is left out to keep up.
    #[zbus(property)]
    fn degraded(&self) -> Result<String, ServiceError>;
}

/// `org.portraitd.Background1`: what stands behind the people in the composite.
#[zbus::proxy(interface = "org.portraitd.Background1", default_service = "org.portraitd", assume_defaults = false)]
pub trait Background {
    /// Takes a PNG or JPEG: a file or memfd, a pipe or a socket.
    fn set_image(&self, image: zbus::Fd<'_>) -> Result<(), ServiceError>;

    /// Removes the picture.
    fn clear_image(&self) -> Result<(), ServiceError>;

    /// See [`crate::BackgroundMode`].
    #[zbus(property)]
    fn mode(&self) -> Result<String, ServiceError>;

    /// See [`crate::BackgroundMode`].
    #[zbus(property)]
    fn set_mode(&self, mode: &str) -> Result<(), ServiceError>;

    /// The colour of the mode `color`, `#rrggbb`.
    #[zbus(property)]
    fn color(&self) -> Result<String, ServiceError>;

    /// The colour of the mode `color`, `#rrggbb`.
    #[zbus(property)]
    fn set_color(&self, color: &str) -> Result<(), ServiceError>;

    /// The standard deviation of the mode `blur`, as a fraction of the picture's height.
    #[zbus(property)]
    fn blur(&self) -> Result<f64, ServiceError>;

    /// The standard deviation of the mode `blur`, 0 to 0.25.
    #[zbus(property)]
    fn set_blur(&self, blur: f64) -> Result<(), ServiceError>;
}
