//! Names on the bus: the service, its objects and its interfaces.

/// The name that the service takes on a bus.
pub const SERVICE_NAME: &str = "org.portraitd";
/// The object of the manager.
pub const ROOT_PATH: &str = "/org/portraitd";
/// The parent of the cameras' objects.
pub const CAMERAS_PATH: &str = "/org/portraitd/cameras";

/// The path of a camera's object. A byte that a path cannot hold becomes `_` and two hexadecimal digits (also `_` itself,
/// so that two names never share a path); an empty name becomes `_`.
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
