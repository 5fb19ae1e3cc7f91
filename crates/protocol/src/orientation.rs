//! How a camera's pictures are turned upright.

use std::fmt;

use crate::pixel::Size;
use crate::settings::SettingError;

/// How many degrees a picture is turned clockwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rotation {
    /// Not at all.
    #[default]
    None,
    /// 90 degrees: the left edge becomes the top edge.
    Quarter,
    /// 180 degrees.
    Half,
    /// 270 degrees: the right edge becomes the top edge.
    ThreeQuarters,
}

impl Rotation {
    /// All rotations, by their angle.
    pub const ALL: [Self; 4] = [Self::None, Self::Quarter, Self::Half, Self::ThreeQuarters];

    /// The angle in degrees: 0, 90, 180 or 270.
    pub const fn degrees(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Quarter => 90,
            Self::Half => 180,
            Self::ThreeQuarters => 270,
        }
    }

    /// The rotation by an angle in degrees.
    ///
    /// # Errors
    /// [`SettingError::Number`] for any other angle than 0, 90, 180 and 270.
    pub fn from_degrees(degrees: i64) -> Result<Self, SettingError> {
        let refused = || SettingError::Number { value: degrees.to_string(), expected: "0, 90, 180 or 270".to_owned() };
        Self::ALL.into_iter().find(|rotation| i64::from(rotation.degrees()) == degrees).ok_or_else(refused)
    }
}

/// How pictures are turned: first clockwise by an angle, then mirrored left to right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Orientation {
    /// The angle.
    pub rotation: Rotation,
    /// Whether left and right are exchanged after the rotation.
    pub mirror: bool,
}

impl Orientation {
    /// All eight orientations.
    pub fn all() -> impl Iterator<Item = Self> {
        Rotation::ALL.into_iter().flat_map(|rotation| [false, true].map(|mirror| Self { rotation, mirror }))
    }

    /// Whether the picture stays as it is.
    pub const fn is_identity(self) -> bool {
        matches!(self.rotation, Rotation::None) && !self.mirror
    }

    /// Whether rows become columns, so that width and height are exchanged.
    pub const fn transposes(self) -> bool {
        matches!(self.rotation, Rotation::Quarter | Rotation::ThreeQuarters)
    }

    /// The size of a picture of `size` after turning.
    #[must_use]
    pub const fn turned(self, size: Size) -> Size {
        if self.transposes() { Size::new(size.height, size.width) } else { size }
    }
}

impl fmt::Display for Orientation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rotated by {} degrees", self.rotation.degrees())?;
        if self.mirror { f.write_str(" and mirrored") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_right_angles_are_accepted() {
        for rotation in Rotation::ALL {
            assert_eq!(Rotation::from_degrees(rotation.degrees().into()), Ok(rotation));
        }
        for bad in [-90, 1, 45, 360, i64::MAX] {
            let error = Rotation::from_degrees(bad).expect_err("no right angle").to_string();
            assert_eq!(error, format!("{bad} is not 0, 90, 180 or 270"));
        }
    }

    #[test]
    fn quarters_exchange_width_and_height() {
        let turned = |degrees| {
            let rotation = Rotation::from_degrees(degrees).expect("a right angle");
            Orientation { rotation, mirror: true }.turned(Size::new(4, 2))
        };
        assert_eq!([0, 90, 180, 270].map(turned), [(4, 2), (2, 4), (4, 2), (2, 4)].map(|(w, h)| Size::new(w, h)));
    }
}
