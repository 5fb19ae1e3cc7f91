//! Access to the controls of a source, and giving them values.

use portraitd_protocol::control::{Control, ControlError, ControlValues, find};

/// The controls of an open device. Calls may take as long as the device needs.
pub trait Controls: Send {
    /// The controls, with their current values.
    fn list(&self) -> Vec<Control>;

    /// Sets a control to a number that [`Control::check`] has accepted.
    ///
    /// # Errors
    /// The error of the driver.
    fn set(&self, control: &Control, value: i32) -> std::io::Result<()>;
}

/// Gives controls the wanted values. One that has its value already is left alone. Returns why some
/// do not get theirs.
///
/// A control that has no effect while another one is on is tried again after the others: an exposure
/// time can be set once automatic exposure is off, whatever their order.
pub fn apply(device: &dyn Controls, wanted: &ControlValues) -> Vec<ControlError> {
    let mut left: Vec<_> = wanted.iter().collect();
    let mut failed = Vec::new();
    loop {
        let controls = device.list();
        let (before, mut inactive) = (left.len(), Vec::new());
        left.retain(|(key, value)| {
            let outcome = find(&controls, key).and_then(|control| {
                let number = control.check(value)?;
                if control.value == Some(number) {
                    return Ok(());
                }
                if control.inactive {
                    return Err(ControlError::Inactive { key: control.key() });
                }
                set(device, control, number)
            });
            match outcome {
                Ok(()) => false,
                Err(error @ ControlError::Inactive { .. }) => {
                    inactive.push(error);
                    true
                }
                Err(error) => {
                    failed.push(error);
                    false
                }
            }
        });
        if left.is_empty() || left.len() == before {
            failed.extend(inactive);
            return failed;
        }
    }
}

/// Sets a control to a number.
///
/// # Errors
/// [`ControlError::Refused`].
pub fn set(device: &dyn Controls, control: &Control, value: i32) -> Result<(), ControlError> {
    device.set(control, value).map_err(|error| ControlError::Refused {
        key: control.key(),
        value,
        reason: error.to_string(),
    })
}

/// Sets controls to their defaults: the one with this key, or, without one, all that can be set and
/// have an effect.
///
/// # Errors
/// [`ControlError`] if there is no such control, or the driver refuses.
pub fn reset(device: &dyn Controls, key: Option<&str>) -> Result<(), ControlError> {
    let controls = device.list();
    if let Some(key) = key {
        let control = find(&controls, key)?;
        control.check(&control.written(control.default))?;
        return set(device, control, control.default);
    }
    let mut defaults = ControlValues::new();
    for control in controls.iter().filter(|control| control.is_settable()) {
        defaults.insert(control.key(), control.written(control.default));
    }
    // What has no effect at the defaults of the others keeps its value.
    let failed = apply(device, &defaults);
    failed.into_iter().find(|error| matches!(error, ControlError::Refused { .. })).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use portraitd_protocol::control::ControlValue;

    use super::*;

    /// A camera whose exposure time is inactive while its exposure is automatic.
    struct Camera {
        controls: Mutex<Vec<Control>>,
        /// What was set, in order.
        log: Mutex<Vec<(String, i32)>>,
    }

    fn control(id: u32, name: &str, kind: &'static str, maximum: i32, value: i32) -> Control {
        Control {
            id,
            name: name.into(),
            kind,
            minimum: 0,
            maximum,
            step: 1,
            default: 1,
            value: Some(value),
            read_only: false,
            inactive: false,
            menu: Vec::new(),
        }
    }

    impl Camera {
        fn new() -> Self {
            let mut controls = vec![
                control(1, "Exposure Time", "integer", 100, 50),
                control(2, "Zoom Exposure, Auto", "boolean", 1, 1),
                control(3, "Gain", "integer", 10, 7),
                control(4, "Temperature", "integer", 10, 7),
            ];
            controls[0].inactive = true;
            controls[3].read_only = true;
            Self { controls: Mutex::new(controls), log: Mutex::default() }
        }

        fn log(&self) -> Vec<(String, i32)> {
            std::mem::take(&mut self.log.lock().expect("test"))
        }
    }

    impl Controls for Camera {
        fn list(&self) -> Vec<Control> {
            self.controls.lock().expect("test").clone()
        }

        fn set(&self, control: &Control, value: i32) -> std::io::Result<()> {
            if value == 9 {
                return Err(std::io::Error::from_raw_os_error(5));
            }
            let mut controls = self.controls.lock().expect("test");
            self.log.lock().expect("test").push((control.key(), value));
            let place = controls.iter().position(|known| known.id == control.id).expect("known");
            assert!(!controls[place].inactive, "set although it has no effect");
            controls[place].value = Some(value);
            controls[0].inactive = controls[1].value == Some(1);
            Ok(())
        }
    }

    fn values(values: &[(&str, i64)]) -> ControlValues {
        values.iter().map(|(key, value)| ((*key).to_owned(), ControlValue::Number(*value))).collect()
    }

    fn owned(log: &[(&str, i32)]) -> Vec<(String, i32)> {
        log.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect()
    }

    #[test]
    fn what_another_control_prevents_is_set_after_it() {
        let camera = Camera::new();
        let wanted = values(&[("exposure_time", 20), ("gain", 7), ("zoom_exposure_auto", 0)]);
        assert!(apply(&camera, &wanted).is_empty());
        assert_eq!(camera.log(), owned(&[("zoom_exposure_auto", 0), ("exposure_time", 20)]), "gain had its value");
        assert!(apply(&camera, &wanted).is_empty());
        assert!(camera.log().is_empty(), "everything has its value");
    }

    #[test]
    fn one_that_fails_does_not_keep_the_others() {
        let camera = Camera::new();
        let wanted = values(&[("exposure_time", 20), ("gain", 9), ("nothing", 1), ("temperature", 2)]);
        let errors: Vec<String> = apply(&camera, &wanted).iter().map(ToString::to_string).collect();
        assert!(errors[0].starts_with("gain: the driver refuses 9: "), "{errors:?}");
        assert!(errors[1].starts_with("there is no control nothing; there are exposure_time, "), "{errors:?}");
        assert_eq!(errors[2], "temperature: can only be read");
        assert!(errors[3].starts_with("exposure_time: has no effect now"), "{errors:?}");
        assert!(camera.log().is_empty());
        let good = values(&[("gain", 3), ("nothing", 1)]);
        assert_eq!(apply(&camera, &good).len(), 1);
        assert_eq!(camera.log(), owned(&[("gain", 3)]));
    }

    #[test]
    fn a_reset_gives_the_defaults() {
        let camera = Camera::new();
        assert_eq!(reset(&camera, Some("Gain")), Ok(()));
        assert_eq!(camera.log(), owned(&[("gain", 1)]));
        assert!(matches!(reset(&camera, Some("temperature")), Err(ControlError::ReadOnly { .. })));
        assert!(matches!(reset(&camera, Some("nothing")), Err(ControlError::Unknown { .. })));
        apply(&camera, &values(&[("zoom_exposure_auto", 0), ("exposure_time", 20), ("gain", 4)]));
        camera.log();
        assert_eq!(reset(&camera, None), Ok(()), "exposure time is left, or set before it has no effect");
        let controls = camera.list();
        assert_eq!((controls[1].value, controls[2].value), (Some(1), Some(1)));
    }
}
