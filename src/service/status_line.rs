//! The line that `systemctl status` shows.
//!
//! Every user of the system can read it. It therefore says nothing about people, and has no rate of
//! masks.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Instant;

use portraitd_protocol::CameraState;

/// The shortest time, in seconds, over which a frame rate is computed.
const SHORTEST_S: f64 = 1.0;

/// A camera at one moment.
#[derive(Clone, Debug)]
pub struct CameraLine {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: CameraState,
    /// The attached clients.
    pub clients: usize,
    /// The frames from the source since the service started.
    pub frames: u64,
    /// Why the camera is not running; empty if it is.
    pub last_error: String,
    /// What is left out of inference; empty if nothing is.
    pub degraded: String,
}

/// Makes the lines. It remembers the frames of the line before, for the frame rate.
#[derive(Debug, Default)]
pub struct StatusLine {
    last: Option<Instant>,
    frames: HashMap<String, u64>,
}

impl StatusLine {
    /// The line at the time `now`: safe mode, and for each camera its state, clients, frames a second
    /// since the line before, and what is wrong.
    pub fn at(&mut self, now: Instant, safe_mode: bool, cameras: &[CameraLine]) -> String {
        let seconds = self.last.map_or(0.0, |last| now.duration_since(last).as_secs_f64());
        let mut parts = Vec::new();
        for camera in cameras {
            let plural = if camera.clients == 1 { "" } else { "s" };
            let mut part = format!("{}: {}, {} client{plural}", camera.name, camera.state, camera.clients);
            if let Some(before) = self.frames.get(&camera.name)
                && camera.state == CameraState::Running
                && seconds >= SHORTEST_S
            {
                // Writing to a string cannot fail.
                let _ = write!(part, ", {:.1} frames/s", camera.frames.saturating_sub(*before) as f64 / seconds);
            }
            let failed = matches!(camera.state, CameraState::Absent | CameraState::Stalled | CameraState::Failed);
            if failed && !camera.last_error.is_empty() {
                let _ = write!(part, " ({})", camera.last_error);
            }
            // Safe mode is said once, for all cameras.
            if !safe_mode && !camera.degraded.is_empty() {
                let _ = write!(part, ", degraded: {}", camera.degraded);
            }
            parts.push(part);
        }
        if self.last.is_none() || seconds >= SHORTEST_S {
            self.frames = cameras.iter().map(|camera| (camera.name.clone(), camera.frames)).collect();
            self.last = Some(now);
        }
        if parts.is_empty() {
            parts.push("no cameras".to_owned());
        }
        if safe_mode {
            parts.push("safe mode: no inference, after three crashes within a minute".to_owned());
        }
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn camera(name: &str, state: CameraState, frames: u64) -> CameraLine {
        let (last_error, degraded) = (String::new(), String::new());
        CameraLine { name: name.to_owned(), state, clients: 0, frames, last_error, degraded }
    }

    #[test]
    fn the_rate_is_that_since_the_line_before() {
        let (mut line, start) = (StatusLine::default(), Instant::now());
        let main = |frames| [CameraLine { clients: 2, ..camera("main", CameraState::Running, frames) }];
        assert_eq!(line.at(start, false, &main(100)), "main: running, 2 clients");
        assert_eq!(
            line.at(start + Duration::from_secs(5), false, &main(249)),
            "main: running, 2 clients, 29.8 frames/s"
        );
        // A reload has replaced the camera: its count begins again.
        assert_eq!(line.at(start + Duration::from_secs(10), false, &main(3)), "main: running, 2 clients, 0.0 frames/s");
        // A line at once, because of a reload, takes nothing from the rate of the next one.
        assert_eq!(line.at(start + Duration::from_millis(10_100), false, &main(9)), "main: running, 2 clients");
        assert_eq!(
            line.at(start + Duration::from_secs(15), false, &main(128)),
            "main: running, 2 clients, 25.0 frames/s"
        );
    }

    #[test]
    fn what_is_wrong_is_said_for_each_camera() {
        let mut line = StatusLine::default();
        let cameras = [
            CameraLine { clients: 1, degraded: "every second frame".into(), ..camera("a", CameraState::Running, 0) },
            CameraLine { last_error: "/dev/video9: not there".into(), ..camera("b", CameraState::Absent, 0) },
            CameraLine { last_error: "old".into(), ..camera("c", CameraState::Idle, 0) },
            camera("d", CameraState::Private, 0),
        ];
        let said = line.at(Instant::now(), false, &cameras);
        let wanted = "a: running, 1 client, degraded: every second frame; \
                      b: absent, 0 clients (/dev/video9: not there); c: idle, 0 clients; d: private, 0 clients";
        assert_eq!(said, wanted);
    }

    #[test]
    fn safe_mode_is_said_once() {
        let cameras = [CameraLine { degraded: "without the net".into(), ..camera("main", CameraState::Idle, 0) }];
        let said = StatusLine::default().at(Instant::now(), true, &cameras);
        let wanted = "main: idle, 0 clients; safe mode: no inference, after three crashes within a minute";
        assert_eq!(said, wanted);
        assert_eq!(StatusLine::default().at(Instant::now(), false, &[]), "no cameras");
    }
}
