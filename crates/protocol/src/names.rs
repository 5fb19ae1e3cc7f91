//! Names on the bus: the service, its objects, its interfaces and its errors.
//!
//! The attribute macros of zbus need literals, so the daemon's objects and the client's proxies
//! repeat these names. Tests compare the literals with the constants here.

/// The bus name of the service.
pub const SERVICE_NAME: &str = "org.portraitd";
/// Path of the object that implements [`MANAGER_INTERFACE`].
pub const ROOT_PATH: &str = "/org/portraitd";
/// Common parent path of the camera objects. No object is registered at this path itself.
pub const CAMERAS_PATH: &str = "/org/portraitd/cameras";

/// Interface of the daemon: version, list of cameras, reload.
pub const MANAGER_INTERFACE: &str = "org.portraitd.Manager1";
/// Interface of a camera: attaching to streams, snapshots, state.
pub const CAMERA_INTERFACE: &str = "org.portraitd.Camera1";
/// Interface of a camera: how the crop follows people.
pub const FRAMING_INTERFACE: &str = "org.portraitd.Framing1";
/// Interface of a camera: the segmentation model and the people it finds.
pub const SEGMENTATION_INTERFACE: &str = "org.portraitd.Segmentation1";
/// Interface of a camera: what a composite shows behind the people.
pub const BACKGROUND_INTERFACE: &str = "org.portraitd.Background1";
/// The four interfaces of every camera object that have properties.
pub const CAMERA_INTERFACES: [&str; 4] =
    [CAMERA_INTERFACE, FRAMING_INTERFACE, SEGMENTATION_INTERFACE, BACKGROUND_INTERFACE];

/// Interface of a camera: exposure, white balance and the other controls of its driver.
pub const CONTROLS_INTERFACE: &str = "org.portraitd.Controls1";

/// Interface of a camera: frames from another program.
pub const PROVIDER_INTERFACE: &str = "org.portraitd.Provider1";

/// Prefix of the error names; a dot and the name of the error follow, as in
/// `org.portraitd.Error.Busy`.
pub const ERROR_PREFIX: &str = "org.portraitd.Error";

/// The object path of the camera named `name`. ASCII letters and digits are kept. Every other byte,
/// including `_`, becomes `_` and two hexadecimal digits, so that two names never share a path. An
/// empty name becomes `_`.
pub fn camera_path(name: &str) -> String {
    let mut path = format!("{CAMERAS_PATH}/");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    if name.is_empty() {
        path.push('_');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_valid_and_never_shared() {
        assert_eq!(camera_path("front"), "/org/portraitd/cameras/front");
        assert_eq!(camera_path("front-door 2"), "/org/portraitd/cameras/front_2ddoor_202");
        assert_ne!(camera_path("a_2d"), camera_path("a-"));
        assert_eq!(camera_path("é"), "/org/portraitd/cameras/_c3_a9");
        assert_eq!(camera_path(""), "/org/portraitd/cameras/_");
    }
}
