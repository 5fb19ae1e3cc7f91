//! Names of video nodes. The number of `/dev/videoN` may change whenever a device is plugged in, so
//! devices are found by links or by their identity.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::device::Device;

/// The folder of device nodes.
pub const DEV: &str = "/dev";
/// The folders of links to video nodes, the preferred one first: named by the device, then by the
/// port.
pub const LINK_FOLDERS: [&str; 2] = ["/dev/v4l/by-id", "/dev/v4l/by-path"];

/// The number of a node: 3 for `video3`; `None` for any other name.
pub fn node_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("video")?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// Whether `path` is a node such as `/dev/video3` and not a link. Its number may change when the
/// device is plugged in again.
pub fn is_plain_node(path: &Path) -> bool {
    path.parent() == Some(Path::new(DEV))
        && path.file_name().and_then(|name| name.to_str()).and_then(node_number).is_some()
}

/// All present video nodes, in the order of their numbers.
///
/// # Errors
/// The error of reading `/dev`.
pub fn nodes() -> io::Result<Vec<PathBuf>> {
    let mut nodes: Vec<(u32, PathBuf)> = fs::read_dir(DEV)?
        .filter_map(Result::ok)
        .filter_map(|entry| Some((node_number(entry.file_name().to_str()?)?, entry.path())))
        .collect();
    nodes.sort();
    Ok(nodes.into_iter().map(|(_, path)| path).collect())
}

/// The links in `folder` that lead to `node`, sorted; empty if the folder does not exist.
pub fn links_to(folder: &Path, node: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut links: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|link| fs::canonicalize(link).is_ok_and(|target| target == node))
        .collect();
    links.sort();
    links
}

/// The link to `node` that a configuration should use: by id, otherwise by path. `None` if no link
/// leads to it.
pub fn stable_name(node: &Path) -> Option<PathBuf> {
    let node = fs::canonicalize(node).ok()?;
    LINK_FOLDERS.iter().find_map(|folder| links_to(Path::new(folder), &node).into_iter().next())
}

/// Identifies a video node without links (on systems without udev): driver, product, position on
/// the bus, and the index of the node among the device's nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceIdentity {
    driver: [u8; 16],
    card: [u8; 32],
    bus_info: [u8; 32],
    /// The index of the node among the device's nodes, from sysfs.
    index: Option<u32>,
}

impl DeviceIdentity {
    /// Reads the identity of an open device.
    pub fn of(device: &Device) -> Self {
        let capability = device.capability();
        let index = fs::canonicalize(device.path())
            .ok()
            .and_then(|node| {
                let name = node.file_name()?.to_str()?;
                fs::read_to_string(format!("/sys/class/video4linux/{name}/index")).ok()
            })
            .and_then(|text| text.trim().parse().ok());
        Self { driver: capability.driver, card: capability.card, bus_info: capability.bus_info, index }
    }

    /// The present node that has this identity; `None` if there is none.
    pub fn find(&self) -> Option<PathBuf> {
        nodes().ok()?.into_iter().find(|node| Device::open(node).is_ok_and(|device| Self::of(&device) == *self))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nodes_are_recognised_by_their_names() {
        assert_eq!(node_number("video12"), Some(12));
        for other in ["video", "video1a", "videodev", "vide0", "video99999999999", "v4l-subdev0"] {
            assert_eq!(node_number(other), None, "{other}");
        }
        assert!(is_plain_node(Path::new("/dev/video0")));
        assert!(!is_plain_node(Path::new("/dev/v4l/by-id/video0")));
        assert!(!is_plain_node(Path::new("/dev/camera")));
    }

    #[test]
    fn links_are_found_by_their_target() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("there");
        let (node, links) = (root.join("video7"), root.join("by-id"));
        fs::write(&node, "").expect("written");
        fs::create_dir(&links).expect("made");
        symlink("../video7", links.join("usb-b")).expect("link");
        symlink(&node, links.join("usb-a")).expect("link");
        symlink("../video8", links.join("usb-dangling")).expect("link");
        assert_eq!(links_to(&links, &node), [links.join("usb-a"), links.join("usb-b")]);
        assert!(links_to(&root.join("none"), &node).is_empty());
    }
}
