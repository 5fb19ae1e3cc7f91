//! Controls of the device, in a whole camera.

use portraitd_media::controls::Controls;
use portraitd_media::{Control, ControlValue, ControlValues};

use super::*;

/// Values of `Gain` (0 to 10), as the device sees them set.
#[derive(Clone, Default)]
struct Knob(Arc<Mutex<Vec<i32>>>);

impl Controls for Knob {
    fn list(&self) -> Vec<Control> {
        let control = Control {
            id: 1,
            name: "Gain".into(),
            kind: "integer",
            minimum: 0,
            maximum: 10,
            step: 1,
            default: 1,
            value: self.set().last().copied(),
            read_only: false,
            inactive: false,
            menu: Vec::new(),
        };
        vec![control]
    }

    fn set(&self, _: &Control, value: i32) -> std::io::Result<()> {
        self.0.lock().expect("test").push(value);
        Ok(())
    }
}

impl Knob {
    fn set(&self) -> Vec<i32> {
        self.0.lock().expect("test").clone()
    }

    /// The device has forgotten its values, as one that was unplugged.
    fn forget(&self) {
        self.0.lock().expect("test").clear();
    }
}

/// A scripted source with a knob.
struct Adjustable(Scripted, Knob);

impl Source for Adjustable {
    fn name(&self) -> String {
        self.0.name()
    }

    fn open(&self, wanted: &FormatRequest) -> Result<Box<dyn Stream>, SourceError> {
        self.0.open(wanted)
    }

    fn controls(&self) -> Result<Option<Box<dyn Controls>>, SourceError> {
        Ok(Some(Box::new(self.1.clone())))
    }
}

fn config(gain: i64) -> config::CameraConfig {
    let controls = ControlValues::from([("gain".to_owned(), ControlValue::Number(gain))]);
    config::CameraConfig { controls, idle_close_s: 60.0, ..config::CameraConfig::default() }
}

fn rig(config: config::CameraConfig) -> (Rig, Knob) {
    let (openings, knob) = (Openings::default(), Knob::default());
    let source = Box::new(Adjustable(Scripted(Arc::clone(&openings)), knob.clone()));
    (Rig::with_source(config, None, PrivacyNotes::default(), openings, (source, None)), knob)
}

#[tokio::test]
async fn controls_are_set_at_each_opening() {
    let (mut rig, knob) = rig(config(5));
    assert!(knob.set().is_empty(), "nothing is open");
    let steps = rig.will_open();
    let mut ring = rig.attach().await.expect("there");
    steps.send(Step::Frame).expect("streams");
    read(&mut ring);
    assert_eq!(knob.set(), [5]);
    // A client's value is kept too.
    rig.camera.set_control("Gain".into(), ControlValue::Number(7)).await.expect("good");
    assert_eq!(knob.set(), [5, 7]);
    knob.forget();
    steps.send(Step::Fail(gone())).expect("streams");
    rig.until(CameraState::Absent).await;
    let steps = rig.will_open();
    rig.camera.retry_now();
    steps.send(Step::Frame).expect("streams");
    read(&mut ring);
    assert_eq!(knob.set(), [7], "the device that has come back");
    rig.camera.reset_controls(Some("gain".into())).await.expect("good");
    assert_eq!(knob.set(), [7, 1]);
    assert!(rig.camera.shared().tuning.get().controls.is_empty(), "nothing is wanted any more");
}

#[tokio::test]
async fn what_cannot_be_set_is_refused_and_not_kept() {
    let (rig, knob) = rig(config::CameraConfig::default());
    assert_eq!(rig.camera.controls().await.expect("there").len(), 1, "also while the camera is idle");
    for (name, value) in [("gain", 11), ("gian", 1)] {
        let refused = rig.camera.set_control(name.into(), ControlValue::Number(value)).await.expect_err("refused");
        assert!(matches!(&refused, ServiceError::InvalidArgument(text) if text.contains(name)), "{refused}");
    }
    assert!(knob.set().is_empty() && rig.camera.shared().tuning.get().controls.is_empty());
    rig.camera.apply(SettingChange::Private(true)).await.expect("closes");
    let refused = rig.camera.controls().await.expect_err("private");
    assert!(matches!(&refused, ServiceError::NotSupported(text) if text.contains("private")), "{refused}");
    let plain = Rig::new(60.0);
    let refused = plain.camera.controls().await.expect_err("none");
    assert!(matches!(&refused, ServiceError::NotSupported(text) if text.contains("no controls")), "{refused}");
}

#[tokio::test]
async fn a_reload_sets_what_has_changed_while_the_camera_is_open() {
    let (rig, knob) = rig(config(5));
    let steps = rig.will_open();
    let mut ring = rig.attach().await.expect("there");
    steps.send(Step::Frame).expect("streams");
    read(&mut ring);
    rig.reconfigure(&config(5)).await.expect("good");
    rig.reconfigure(&config(6)).await.expect("good");
    let set = async {
        while knob.set() != [5, 6] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), set).await.expect("in time");
}

#[tokio::test]
async fn a_camera_whose_controls_cannot_be_set_runs() {
    let (mut rig, knob) = rig(config(99));
    let steps = rig.will_open();
    let mut ring = rig.attach().await.expect("there");
    steps.send(Step::Frame).expect("streams");
    read(&mut ring);
    rig.until(CameraState::Running).await;
    assert!(knob.set().is_empty());
}
