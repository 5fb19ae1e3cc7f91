//! Findings about the service as it runs: its unit, its name on the bus, its cameras.

use portraitd_protocol::CameraState;

use super::board::version;
use super::bus::{Answer, CameraFacts, UnitFacts};
use super::{RESTART, Report, Surroundings};
use crate::service::config::BusConfig;
use crate::service::crash::SAFE_MODE;

const JOURNAL: &str = "journalctl -u portraitd -p warning -n 20";
/// The oldest systemd for which the unit is written.
const SYSTEMD: u64 = 247;
/// The number of restarts since the unit was last started by hand or at boot that is reported.
const RESTARTS: u32 = 3;

pub(super) fn examine(surroundings: &Surroundings, report: &mut Report) {
    let bus = &surroundings.bus;
    if bus.failure.is_some() || surroundings.bus_config() == BusConfig::None {
        report.unseen.push("whether the service runs: there is no bus to ask".to_owned());
        return;
    }
    if let Some(text) = &bus.systemd
        && version(text).is_some_and(|(major, _)| major < SYSTEMD)
    {
        let what = format!("systemd {text} is older than {SYSTEMD}: parts of the unit's sandbox are ignored");
        report.warning("systemd-old", "systemd", what, &["systemd-analyze verify portraitd.service"]);
    }
    // What the unit says explains why the name is missing.
    let explained = bus.unit.as_ref().is_some_and(|unit| of_unit(surroundings, unit, report));
    match &bus.answer {
        Answer::NoOwner if explained => {}
        Answer::NoOwner => {
            let what = "nobody owns the name org.portraitd: the service does not run on this bus".to_owned();
            let remedy: &[&str] = match surroundings.bus_config() {
                BusConfig::System => &["sudo systemctl enable --now portraitd", JOURNAL],
                _ => &["portraitd run"],
            };
            report.error("name-missing", "org.portraitd", what, remedy);
        }
        Answer::Silent(error) => {
            let what = format!("the service owns its name and does not answer: {error}");
            report.error("service-silent", "org.portraitd", what, &[JOURNAL, RESTART]);
        }
        Answer::Cameras(cameras) => cameras.iter().for_each(|camera| of_camera(surroundings, camera, report)),
    }
}

/// Findings about the unit. The result says whether they explain that the name is missing.
fn of_unit(surroundings: &Surroundings, unit: &UnitFacts, report: &mut Report) -> bool {
    const PLACE: &str = "portraitd.service";
    let last_words = surroundings.last_words.as_ref().map_or_else(String::new, |text| format!("; it said: {text}"));
    let UnitFacts { active, sub, result, exit_status, restarts } = unit;
    if active == "failed" || sub == "auto-restart" {
        let what = format!("the service has failed ({result}, status {exit_status}){last_words}");
        report.error("unit-failed", PLACE, what, &[JOURNAL, RESTART]);
        return true;
    }
    if *restarts >= RESTARTS {
        let what = format!("the service was restarted {restarts} times, last after: {result}{last_words}");
        report.warning("restarts", PLACE, what, &[JOURNAL, "journalctl -k -g oom"]);
    }
    if active == "inactive" {
        let what = "the service is stopped; while it is enabled, the first client starts it".to_owned();
        report.warning("unit-stopped", PLACE, what, &["sudo systemctl start portraitd"]);
    }
    active == "inactive"
}

fn of_camera(surroundings: &Surroundings, camera: &CameraFacts, report: &mut Report) {
    let place = format!("camera {}", camera.name);
    let name = &camera.name;
    if camera.degraded == SAFE_MODE {
        let what = "safe mode after three crashes within a minute: no inference, composites show nobody".to_owned();
        report.error("safe-mode", place.clone(), what, &[JOURNAL, RESTART, "report the crash with the journal"]);
    } else if !camera.degraded.is_empty() {
        let what = format!("inference is reduced: {}", camera.degraded);
        let remedy = ["portraitctl stats", "set a smaller picture, `segmentation.max_rate` or `threads = 2`"];
        report.warning("degraded", place.clone(), what, &remedy);
    }
    let reason = if camera.last_error.is_empty() { String::new() } else { format!(": {}", camera.last_error) };
    let is_provided = surroundings.providers().any(|provided| provided.name == *name);
    match camera.state.parse::<CameraState>() {
        Ok(CameraState::Absent) if is_provided => {
            let what = "no program provides its frames (`device = \"provider\"`)".to_owned();
            let unit = format!("sudo systemctl enable --now portraitd-provide@{name}    # docs/recipes/gstreamer.md");
            let by_hand =
                format!("or as a member of portraitd-providers: portraitctl --camera {name} provide FILE.y4m");
            let look = format!("where such a unit runs: journalctl -u portraitd-provide@{name} -n 20");
            report.error("no-provider", place, what, &[&unit, &by_hand, &look]);
        }
        Ok(state @ (CameraState::Absent | CameraState::Stalled | CameraState::Failed)) => {
            let what = format!("the camera is {state}{reason}. The service tries again by itself");
            let of_provider = format!("journalctl -u portraitd-provide@{name} -n 20    # or where its provider runs");
            let remedy: &[&str] =
                if is_provided { &[&of_provider] } else { &["portraitd devices", "journalctl -k -n 50"] };
            report.error("camera-state", place, what, remedy);
        }
        Ok(CameraState::Private) => {
            let what = "the camera is private: its shutter is closed, or a client has made it private".to_owned();
            let remedy = format!("open the shutter, or: portraitctl --camera {name} set camera.private=off");
            report.note("camera-private", place, what, &[&remedy]);
        }
        _ => {}
    }
}
