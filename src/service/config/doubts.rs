//! What is accepted although it probably does not do what its author wants.

use super::Places;
use super::error::Warning;
use super::model::{CameraConfig, Config};
use crate::source::SourceSpec;
use portraitd_framing::{Director, Settings};
use portraitd_media::file::FilePath;
use portraitd_media::{Size, even_size};
use portraitd_protocol::settings::MAX_ZOOM;
use std::path::Path;

/// Warns about `/dev/videoN`: the number depends on the order in which devices were found.
pub(super) fn of_node_numbers(config: &Config, places: &Places, links: &Path, warnings: &mut Vec<Warning>) {
    for camera in &config.cameras {
        let at = format!("camera.{}", camera.name);
        let source = (format!("{at}.device"), camera.device.as_str());
        let outputs = camera.outputs.iter().enumerate();
        let outputs = outputs.map(|(index, output)| (format!("{at}.output[{index}].device"), output.device.as_str()));
        for (key, device) in std::iter::once(source).chain(outputs) {
            let Some(number) = device.strip_prefix("/dev/video") else { continue };
            if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            let better = match stable_name(links, device) {
                Some(name) => format!("write `{name}`"),
                None => "write its name under /dev/v4l/by-id or /dev/v4l/by-path".to_owned(),
            };
            let message = format!("`{key}`: `{device}` may be another device after the next boot; {better}");
            warnings.push(Warning { place: places.of(&key), message });
        }
    }
}

/// The link under `by-id` or `by-path` that leads to a node now.
fn stable_name(links: &Path, device: &str) -> Option<String> {
    let node = Path::new(device).file_name()?;
    for kind in ["by-id", "by-path"] {
        let mut names: Vec<_> = std::fs::read_dir(links.join(kind)).into_iter().flatten().flatten().collect();
        names.sort_by_key(std::fs::DirEntry::file_name);
        for entry in names {
            let target = std::fs::read_link(entry.path()).ok();
            if target.as_deref().and_then(Path::file_name) == Some(node) {
                return Some(format!("/dev/v4l/{kind}/{}", entry.file_name().to_string_lossy()));
            }
        }
    }
    None
}

impl CameraConfig {
    /// The greatest zoom of the view for frames of the wanted size, if that is less than `max_zoom`:
    /// more would enlarge the picture too much.
    pub(super) fn limited_zoom(&self) -> Option<f64> {
        let frame = self.turned_size()?;
        let framing = &self.framing;
        let output = Size::new(framing.output_width, framing.output_height);
        let output = if output.is_empty() { even_size(frame) } else { output };
        #[expect(clippy::cast_possible_truncation, reason = "1 to 4")]
        let (max_zoom, min_zoom) = (framing.max_zoom as f32, framing.min_zoom as f32);
        let director = Director::new(Settings { max_zoom, min_zoom, ..Settings::new(frame, output) }).ok()?;
        let limit = f64::from(director.limits().max_zoom);
        (framing.max_zoom - limit > 0.005).then_some((limit * 100.0).round() / 100.0)
    }
}

/// Warns about a `max_zoom` above the default that the sizes of frame and view do not allow. The
/// default is a limit that only cameras with more pixels reach, so it is no mistake to write it.
pub(super) fn of_zoom(config: &Config, places: &Places, warnings: &mut Vec<Warning>) {
    for camera in &config.cameras {
        let key = format!("camera.{}.framing.max_zoom", camera.name);
        if camera.framing.max_zoom <= MAX_ZOOM.default {
            continue;
        }
        let place = places.of(&key);
        if let Some(limit) = camera.limited_zoom() {
            let Size { width, height } = camera.turned_size().unwrap_or_default();
            let message = format!(
                "`{key}`: {} is limited to {limit} with frames of {width}x{height}: a stronger zoom would enlarge the \
                 picture; raise `width` and `height`, or lower `output_width` and `output_height`",
                camera.framing.max_zoom
            );
            warnings.push(Warning { place, message });
        }
    }
}

/// Folders that the sandbox of the systemd unit hides from the service, with the unit's setting.
const HIDDEN: [(&str, &str); 5] = [
    ("/home", "ProtectHome="),
    ("/root", "ProtectHome="),
    ("/run/user", "ProtectHome="),
    ("/tmp", "PrivateTmp="),
    ("/var/tmp", "PrivateTmp="),
];

/// The paths that exist for a user and not for the service when systemd runs it.
pub(super) fn of_hidden_paths(config: &Config, places: &Places) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut check = |key: String, path: &Path| {
        let Some((folder, setting)) = HIDDEN.iter().find(|(folder, _)| path.starts_with(folder)) else { return };
        let message = format!(
            "`{key}`: systemd hides {folder} from the service ({setting} in its unit), so {} is not there for it; move \
             it, for example to /var/lib/portraitd-files",
            path.display()
        );
        warnings.push(Warning { place: places.of(&key), message });
    };
    check("models_dir".to_owned(), &config.models_dir);
    if let Some(path) = &config.metrics_file {
        check("metrics_file".to_owned(), path);
    }
    for camera in &config.cameras {
        if let Ok(SourceSpec::File(options)) = camera.device.parse()
            && let FilePath::Path(path) = &options.path
        {
            check(format!("camera.{}.device", camera.name), path);
        }
        if let Some(path) = &camera.background.image {
            check(format!("camera.{}.background.image", camera.name), path);
        }
    }
    warnings
}
