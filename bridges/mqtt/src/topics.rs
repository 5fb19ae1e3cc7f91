//! What the broker is told: topics and payloads. Nothing here does I/O.
//!
//! ```text
//! TOPIC/availability           online, offline (the last will)
//! TOPIC/service                {"running": true, "version": "0.1.0"}
//! TOPIC/CAMERA/state           the state of the camera, such as running; stopped: the service does not run
//! TOPIC/CAMERA/present         ON, OFF, or None while the camera is off or the mask is not permitted
//! TOPIC/CAMERA/people          {"count": 2}, with "boxes" if the configuration says so
//! TOPIC/CAMERA/framing         {"mode": "follow", "state": "hold"}
//! TOPIC/CAMERA/private         ON, OFF
//! TOPIC/CAMERA/health          {"healthy": true, "degraded": "", "last_error": "", "consumers": 1}
//! TOPIC/CAMERA/set/COMMAND     commands to the board
//! TOPIC/CAMERA/result          what became of the last command; not retained
//! ```

use std::collections::BTreeMap;

use portraitd_client::{BackgroundMode, FramingMode};
use serde_json::{Value, json};

use crate::command::CommandKind;
use crate::config::Config;

/// Retained messages by topic.
pub(crate) type Messages = BTreeMap<String, String>;

/// What is known of a camera. What the service does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Camera {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) private: Option<bool>,
    pub(crate) consumers: Option<u32>,
    pub(crate) last_error: Option<String>,
    pub(crate) present: Option<bool>,
    /// Boxes as x, y, width and height, as fractions of the frame.
    pub(crate) people: Option<Vec<[f64; 4]>>,
    pub(crate) framing_mode: Option<String>,
    pub(crate) framing_state: Option<String>,
    pub(crate) background: Option<String>,
    pub(crate) healthy: Option<bool>,
    pub(crate) degraded: Option<String>,
}

impl Camera {
    /// The service does not run: what it said of the moment does not hold any more.
    pub(crate) fn stop(&mut self) {
        let Self { name, private, people, framing_mode, background, .. } = std::mem::take(self);
        let people = people.map(|_| Vec::new());
        *self = Self { name, state: STOPPED.to_owned(), private, people, framing_mode, background, ..Self::default() };
    }
}

/// The state of a camera while the service does not run.
const STOPPED: &str = "stopped";

/// The topics of a board.
#[derive(Clone, Debug)]
pub(crate) struct Topics<'a> {
    config: &'a Config,
}

/// The topics of a camera that hold something.
const CAMERA_TOPICS: [&str; 7] = ["state", "present", "people", "framing", "private", "background", "health"];

fn switch(on: bool) -> String {
    if on { "ON" } else { "OFF" }.to_owned()
}

impl<'a> Topics<'a> {
    pub(crate) const fn new(config: &'a Config) -> Self {
        Self { config }
    }

    fn topic(&self, rest: &str) -> String {
        format!("{}/{rest}", self.config.topic)
    }

    /// Whether the board can be reached through the broker.
    pub(crate) fn availability(&self) -> String {
        self.topic("availability")
    }

    /// The filter of the commands.
    pub(crate) fn commands(&self) -> String {
        self.topic("+/set/+")
    }

    /// The filter of what an earlier run may have left at the broker.
    pub(crate) fn states(&self) -> String {
        self.topic("+/state")
    }

    /// The topic of the answers to commands.
    pub(crate) fn result(&self, camera: &str) -> String {
        self.topic(&format!("{camera}/result"))
    }

    /// The camera and the command of a topic.
    pub(crate) fn parse_command<'t>(&self, topic: &'t str) -> Option<(&'t str, &'t str)> {
        let rest = topic.strip_prefix(&self.config.topic)?.strip_prefix('/')?;
        rest.split_once("/set/")
    }

    /// The camera of a topic of [`Self::states`].
    pub(crate) fn parse_state<'t>(&self, topic: &'t str) -> Option<&'t str> {
        topic.strip_prefix(&self.config.topic)?.strip_prefix('/')?.strip_suffix("/state")
    }

    /// The topics of a camera, with discovery.
    pub(crate) fn of_camera(&self, camera: &str) -> Vec<String> {
        let own = CAMERA_TOPICS.iter().map(|rest| self.topic(&format!("{camera}/{rest}")));
        own.chain(self.discovery(camera).into_keys()).collect()
    }

    /// Everything that the broker is to hold. `version` is `None` while the service does not run.
    pub(crate) fn messages(&self, version: Option<&str>, cameras: &[Camera]) -> Messages {
        let mut messages = Messages::new();
        messages.insert(self.availability(), "online".to_owned());
        let service = json!({ "running": version.is_some(), "version": version.unwrap_or_default() });
        messages.insert(self.topic("service"), service.to_string());
        for camera in cameras {
            self.add_camera(camera, &mut messages);
            messages.append(&mut self.discovery(&camera.name));
        }
        messages
    }

    fn add_camera(&self, camera: &Camera, messages: &mut Messages) {
        let mut add = |rest: &str, payload: String| {
            messages.insert(self.topic(&format!("{}/{rest}", camera.name)), payload);
        };
        add("state", camera.state.clone());
        // Nobody looks: the service does not know, and the last thing that it knew is no answer.
        let looks = camera.state == "running";
        add("present", camera.present.filter(|_| looks).map_or_else(|| "None".to_owned(), switch));
        if let Some(people) = &camera.people {
            let people = if looks { people.as_slice() } else { &[] };
            let mut payload = json!({ "count": people.len() });
            if self.config.boxes {
                let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
                payload["boxes"] = people.iter().map(|person| person.map(rounded)).collect::<Vec<_>>().into();
            }
            add("people", payload.to_string());
        }
        if let Some(mode) = &camera.framing_mode {
            add("framing", json!({ "mode": mode, "state": camera.framing_state }).to_string());
        }
        if let Some(private) = camera.private {
            add("private", switch(private));
        }
        if let Some(background) = &camera.background {
            add("background", background.clone());
        }
        let health = json!({
            "healthy": camera.healthy,
            "degraded": camera.degraded,
            "last_error": camera.last_error,
            "consumers": camera.consumers,
        });
        add("health", health.to_string());
    }

    /// Home Assistant's discovery of a camera: what can be seen, and what may be commanded.
    fn discovery(&self, camera: &str) -> Messages {
        let Some(prefix) = &self.config.home_assistant else { return Messages::new() };
        let board: String =
            self.config.topic.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
        let device = json!({
            "identifiers": [board],
            "name": self.config.topic,
            "model": "portraitd",
        });
        let mut messages = Messages::new();
        let mut add = |component: &str, object: &str, name: &str, more: Value| {
            let mut payload = json!({
                "name": format!("{camera} {name}"),
                "unique_id": format!("{board}_{camera}_{object}"),
                "availability_topic": self.availability(),
                "device": device,
            });
            if let (Some(payload), Value::Object(more)) = (payload.as_object_mut(), more) {
                payload.extend(more);
            }
            let topic = format!("{prefix}/{component}/{board}_{camera}/{object}/config");
            messages.insert(topic, payload.to_string());
        };
        let own = |rest: &str| self.topic(&format!("{camera}/{rest}"));
        let set = |kind: CommandKind| own(&format!("set/{}", kind.name()));
        let may = |kind| self.config.commands.contains(&kind);
        let (state, people) = (own("state"), own("people"));
        add(
            "binary_sensor",
            "present",
            "presence",
            json!({ "state_topic": own("present"), "device_class": "occupancy" }),
        );
        let count =
            json!({ "state_topic": people, "value_template": "{{ value_json.count }}", "state_class": "measurement" });
        add("sensor", "people", "people", count);
        add("sensor", "state", "state", json!({ "state_topic": state, "entity_category": "diagnostic" }));
        if may(CommandKind::Reframe) {
            add("button", "reframe", "reframe", json!({ "command_topic": set(CommandKind::Reframe) }));
        }
        if may(CommandKind::Private) {
            let switch = json!({ "state_topic": own("private"), "command_topic": set(CommandKind::Private) });
            add("switch", "private", "private", switch);
        }
        if may(CommandKind::Mode) {
            let modes: Vec<_> = FramingMode::ALL.iter().map(|mode| mode.as_str()).collect();
            let select = json!({
                "state_topic": own("framing"),
                "value_template": "{{ value_json.mode }}",
                "command_topic": set(CommandKind::Mode),
                "options": modes,
            });
            add("select", "mode", "framing", select);
        }
        if may(CommandKind::Background) {
            let modes: Vec<_> = BackgroundMode::ALL.iter().map(|mode| mode.as_str()).collect();
            let select = json!({
                "state_topic": own("background"),
                "command_topic": set(CommandKind::Background),
                "options": modes,
            });
            add("select", "background", "background", select);
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;

    fn camera() -> Camera {
        Camera {
            name: "main".into(),
            state: "running".into(),
            private: Some(false),
            present: Some(true),
            people: Some(vec![[0.1, 0.2, 0.333_33, 0.5]]),
            framing_mode: Some("follow".into()),
            ..Camera::default()
        }
    }

    #[test]
    fn a_camera_that_is_off_says_nothing_about_people() {
        let config = config("broker = \"mqtt://a\"\ntopic = \"t\"\nboxes = true").expect("good");
        let topics = Topics::new(&config);
        let messages = topics.messages(Some("1"), &[camera()]);
        assert_eq!(messages["t/main/present"], "ON");
        assert_eq!(messages["t/main/people"], r#"{"boxes":[[0.1,0.2,0.333,0.5]],"count":1}"#);
        let messages = topics.messages(Some("1"), &[Camera { state: "idle".into(), ..camera() }]);
        assert_eq!(messages["t/main/present"], "None");
        assert_eq!(messages["t/main/people"], r#"{"boxes":[],"count":0}"#);
    }

    #[test]
    fn places_of_people_are_published_only_if_that_is_configured() {
        let config = config("broker = \"mqtt://a\"\ntopic = \"t\"").expect("good");
        assert_eq!(Topics::new(&config).messages(Some("1"), &[camera()])["t/main/people"], r#"{"count":1}"#);
    }

    #[test]
    fn what_is_not_permitted_is_left_out() {
        let config = config("broker = \"mqtt://a\"\ntopic = \"t\"").expect("good");
        let bare = Camera { name: "main".into(), state: "running".into(), ..Camera::default() };
        let messages = Topics::new(&config).messages(Some("1"), &[bare]);
        assert_eq!(messages["t/main/present"], "None");
        assert!(!messages.contains_key("t/main/people") && !messages.contains_key("t/main/framing"), "{messages:?}");
    }

    #[test]
    fn discovery_offers_only_what_may_be_commanded() {
        let text =
            "broker = \"mqtt://a\"\ntopic = \"portraitd/a.b\"\nhome_assistant = \"ha\"\ncommands = [\"reframe\"]";
        let config = config(text).expect("good");
        let topics = Topics::new(&config);
        let found = topics.discovery("main");
        let keys: Vec<_> = found.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "ha/binary_sensor/portraitd_a_b_main/present/config",
                "ha/button/portraitd_a_b_main/reframe/config",
                "ha/sensor/portraitd_a_b_main/people/config",
                "ha/sensor/portraitd_a_b_main/state/config",
            ]
        );
        let all = topics.messages(Some("1"), &[camera()]);
        assert!(topics.of_camera("main").iter().filter(|topic| all.contains_key(*topic)).count() >= 9, "{all:?}");
        assert!(
            all.keys().filter(|topic| topic.contains("/main/")).all(|topic| topics.of_camera("main").contains(topic))
        );
    }

    #[test]
    fn topics_of_commands_are_read() {
        let config = config("broker = \"mqtt://a\"\ntopic = \"t/x\"").expect("good");
        let topics = Topics::new(&config);
        assert_eq!(topics.parse_command("t/x/main/set/mode"), Some(("main", "mode")));
        assert_eq!(topics.parse_command("t/y/main/set/mode"), None);
        assert_eq!(topics.parse_state("t/x/old/state"), Some("old"));
    }
}
