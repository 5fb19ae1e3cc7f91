//! Pictures that the device itself turns: by 180 degrees, and mirrored.
//!
//! The controls keep what another program has left in them, so they get a value at every opening: the
//! driver's default, which suits how a sensor is mounted, or the other one.

use portraitd_media::{Orientation, Rotation};

use super::device::Device;
use super::sys;

/// The horizontal and the vertical control.
const IDS: [u32; 2] = [sys::CONTROL_HFLIP, sys::CONTROL_VFLIP];
/// `V4L2_CTRL_TYPE_BOOLEAN`.
const BOOLEAN: u32 = 2;
/// Controls with one of these flags are left alone: they cannot be set now, or they change the order of
/// the colours of a raw sensor.
const UNUSABLE: u32 = sys::CONTROL_FLAG_DISABLED
    | sys::CONTROL_FLAG_GRABBED
    | sys::CONTROL_FLAG_READ_ONLY
    | sys::CONTROL_FLAG_INACTIVE
    | sys::CONTROL_FLAG_WRITE_ONLY
    | sys::CONTROL_FLAG_MODIFY_LAYOUT;

/// The controls of a device, and the values that they were given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flips([Option<i32>; 2]);

/// Whether each control is to be on for this orientation; `None` if rows become columns, which they
/// cannot do.
const fn needed(orientation: Orientation) -> Option<[bool; 2]> {
    match orientation.rotation {
        Rotation::None => Some([orientation.mirror, false]),
        Rotation::Half => Some([!orientation.mirror, true]),
        Rotation::Quarter | Rotation::ThreeQuarters => None,
    }
}

/// The values of the controls, given the default of each that can be used: those that turn the picture,
/// and whether they do it all. If one is missing, none is used.
fn values(defaults: [Option<i32>; 2], orientation: Orientation) -> ([Option<i32>; 2], bool) {
    let on = needed(orientation).filter(|on| (0..2).all(|i| !on[i] || defaults[i].is_some()));
    let flip = |i: usize| defaults[i].map(|default| default ^ i32::from(on.is_some_and(|on| on[i])));
    ([flip(0), flip(1)], on.is_some())
}

impl Flips {
    /// Has the device turn its pictures. Returns what is left to be done, which is nothing or all.
    pub(super) fn set(device: &Device, orientation: Orientation) -> (Self, Orientation) {
        let defaults = IDS.map(|id| {
            let control = sys::query_control(device, id).ok()?;
            let usable = control.id == id && control.kind == BOOLEAN && control.flags & UNUSABLE == 0;
            usable.then_some(control.default_value & 1)
        });
        let (wanted, complete) = values(defaults, orientation);
        if Self(wanted).apply(device) && complete {
            return (Self(wanted), Orientation::default());
        }
        let (neutral, _) = values(defaults, Orientation::default());
        if !Self(neutral).apply(device) {
            // What they are is then not known. It is what other programs get, too.
            tracing::warn!(device = %device.path().display(), "the controls for flipping do not keep their values");
        }
        (Self(neutral), orientation)
    }

    /// Gives the controls their values. Returns whether the device has taken them.
    fn apply(self, device: &Device) -> bool {
        IDS.into_iter().zip(self.0).all(|(id, value)| {
            let Some(value) = value else { return true };
            let has = || sys::get_control(device, id) == Ok(value);
            has() || sys::set_control(device, id, value).is_ok() && has()
        })
    }

    /// Asks for an event when another program sets one of the controls.
    pub(super) fn watch(self, device: &Device) {
        for (id, _) in IDS.into_iter().zip(self.0).filter(|(_, value)| value.is_some()) {
            let _ = sys::subscribe_event(device, sys::EVENT_CONTROL, id);
        }
    }

    /// The control `id` has got a value. Sets it again if that is another one.
    pub(super) fn restore(self, device: &Device, id: u32, value: i32) {
        let ours = IDS.into_iter().zip(self.0).find(|(control, _)| *control == id).and_then(|(_, value)| value);
        if ours.is_some_and(|ours| ours != value) {
            self.apply(device);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orientation(degrees: i64, mirror: bool) -> Orientation {
        Orientation { rotation: Rotation::from_degrees(degrees).expect("a right angle"), mirror }
    }

    #[test]
    fn the_controls_turn_what_they_can() {
        let both = [Some(0), Some(0)];
        for (degrees, mirror, expected) in
            [(0, false, [0, 0]), (0, true, [1, 0]), (180, false, [1, 1]), (180, true, [0, 1])]
        {
            assert_eq!(values(both, orientation(degrees, mirror)), (expected.map(Some), true));
        }
        for degrees in [90, 270] {
            assert_eq!(values(both, orientation(degrees, true)), (both, false), "rows become columns");
        }
    }

    #[test]
    fn a_sensor_that_hangs_upside_down_begins_at_its_default() {
        let hanging = [Some(1), Some(1)];
        assert_eq!(values(hanging, Orientation::default()), (hanging, true));
        assert_eq!(values(hanging, orientation(180, false)), ([Some(0), Some(0)], true));
        assert_eq!(values(hanging, orientation(90, false)), (hanging, false));
    }

    #[test]
    fn without_a_control_that_is_needed_none_is_used() {
        assert_eq!(values([Some(0), None], orientation(0, true)), ([Some(1), None], true));
        assert_eq!(values([Some(0), None], orientation(180, false)), ([Some(0), None], false));
        assert_eq!(values([None, Some(0)], orientation(0, true)), ([None, Some(0)], false));
        assert_eq!(values([None, None], Orientation::default()), ([None, None], true));
    }
}
