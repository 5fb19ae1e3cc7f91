//! The text that `check-config` prints.

use super::model::Config;
use portraitd_protocol::BackgroundMode;
use std::fmt::Write as _;

impl Config {
    /// The settings in force as text for people: the files, the warnings, then each camera.
    /// Programs can serialise [`Config`] instead, which has the keys of the configuration file.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_summary(&mut out);
        out
    }

    fn write_summary(&self, out: &mut String) -> std::fmt::Result {
        match self.files.as_slice() {
            [] => writeln!(out, "files: none (built-in defaults)")?,
            files => {
                for path in files {
                    writeln!(out, "file: {}", path.display())?;
                }
            }
        }
        for warning in self.warnings.iter().chain(&self.hidden) {
            writeln!(out, "warning: {warning}")?;
        }
        write!(out, "bus {}, models in {}, ", self.bus, self.models_dir.display())?;
        write!(out, "{} thread{}, log {}", self.threads, if self.threads == 1 { "" } else { "s" }, self.log)?;
        match &self.metrics_file {
            Some(path) => writeln!(out, ", metrics to {}", path.display())?,
            None => writeln!(out, ", no metrics file")?,
        }
        for camera in &self.cameras {
            writeln!(out, "camera {}: {}", camera.name, camera.device)?;
            let size = match camera.width {
                0 => "the source's size".to_owned(),
                width => format!("{width}x{}", camera.height),
            };
            let rate = if camera.fps == 0.0 { "the source's rate".to_owned() } else { format!("{} fps", camera.fps) };
            writeln!(out, "  wanted: {size} at {rate}; closed {} s after the last client", camera.idle_close_s)?;
            if !camera.orientation().is_identity() {
                writeln!(out, "  pictures: {}", camera.orientation())?;
            }
            if !camera.controls.is_empty() {
                let controls = camera.controls.iter().map(|(key, value)| format!("{key} = {value}"));
                writeln!(out, "  controls: {}", controls.collect::<Vec<_>>().join(", "))?;
            }
            let net = &camera.segmentation;
            let most =
                if net.max_rate == 0.0 { "every frame".to_owned() } else { format!("at most {}/s", net.max_rate) };
            writeln!(out, "  segmentation: {}, {most}, budget {} ms", net.model, net.budget_ms)?;
            let framing = &camera.framing;
            write!(out, "  framing: {}, zoom to {}", framing.mode, framing.max_zoom)?;
            if let Some(limit) = camera.limited_zoom() {
                write!(out, " (limited to {limit} by {})", camera.turned_size().unwrap_or_default())?;
            }
            write!(out, ", {}", framing.speed)?;
            if framing.min_zoom > 1.0 {
                write!(out, ", at least {}", framing.min_zoom)?;
            }
            if framing.output_width > 0 {
                write!(out, ", view {}x{}", framing.output_width, framing.output_height)?;
            }
            writeln!(out, ", zones ignored: {}", framing.zones.len())?;
            let background = &camera.background;
            write!(out, "  background: {}", background.mode)?;
            match (background.mode, &background.image) {
                (BackgroundMode::Color, _) => write!(out, " {}", background.color)?,
                (BackgroundMode::Image, Some(path)) => write!(out, " {}", path.display())?,
                (BackgroundMode::Blur, _) => write!(out, " {}", background.blur)?,
                _ => {}
            }
            writeln!(out, "; source stream {}", if camera.allow_source { "allowed" } else { "not allowed" })?;
            for output in &camera.outputs {
                writeln!(out, "  output: {} to {}", output.stream, output.device)?;
            }
        }
        Ok(())
    }
}
