//! Rectangles in two units, each a type of its own: [`PixelRect`] in pixels of a named picture, and
//! [`UnitRect`] in fractions of one (0 is the left or top edge, 1 the right or bottom one). Neither
//! is converted silently.

use std::fmt;

use crate::pixel::Size;

/// The greatest size within `size` whose sides are even, as chroma at half size needs them; at
/// least 2x2.
pub fn even_size(size: Size) -> Size {
    Size::new((size.width & !1).max(2), (size.height & !1).max(2))
}

macro_rules! rectangle {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $name {
            /// Left edge.
            pub x: f32,
            /// Top edge.
            pub y: f32,
            /// Extent to the right.
            pub width: f32,
            /// Extent downwards.
            pub height: f32,
        }

        impl $name {
            /// A rectangle from its top left corner and its extent.
            pub const fn new(x: f32, y: f32, width: f32, height: f32) -> Self {
                Self { x, y, width, height }
            }

            /// Right edge.
            pub const fn right(&self) -> f32 {
                self.x + self.width
            }

            /// Bottom edge.
            pub const fn bottom(&self) -> f32 {
                self.y + self.height
            }

            /// Centre, (x, y).
            pub const fn center(&self) -> (f32, f32) {
                (self.x + self.width * 0.5, self.y + self.height * 0.5)
            }

            /// Area; 0 for a rectangle of negative extent.
            pub const fn area(&self) -> f32 {
                self.width.max(0.0) * self.height.max(0.0)
            }

            /// Whether the extent is not positive, or an edge is not a number.
            pub fn is_empty(&self) -> bool {
                !(self.width > 0.0 && self.height > 0.0)
            }

            /// The common part; of zero extent where there is none.
            #[must_use]
            pub fn intersection(&self, other: &Self) -> Self {
                let x = self.x.max(other.x);
                let y = self.y.max(other.y);
                let width = (self.right().min(other.right()) - x).max(0.0);
                let height = (self.bottom().min(other.bottom()) - y).max(0.0);
                Self::new(x, y, width, height)
            }

            /// The smallest rectangle that contains both. An empty one adds nothing.
            #[must_use]
            pub fn union(&self, other: &Self) -> Self {
                if self.is_empty() {
                    return *other;
                }
                if other.is_empty() {
                    return *self;
                }
                let x = self.x.min(other.x);
                let y = self.y.min(other.y);
                Self::new(x, y, self.right().max(other.right()) - x, self.bottom().max(other.bottom()) - y)
            }

            /// Intersection over union; 0 where either is empty.
            pub fn iou(&self, other: &Self) -> f32 {
                let common = self.intersection(other).area();
                let total = self.area() + other.area() - common;
                if total > 0.0 { common / total } else { 0.0 }
            }

            /// Each coordinate multiplied: x and width by `width`, y and height by `height`.
            #[must_use]
            pub const fn scaled(&self, width: f32, height: f32) -> Self {
                Self::new(self.x * width, self.y * height, self.width * width, self.height * height)
            }

            /// Grown by `margin_x` on the left and right and by `margin_y` above and below.
            #[must_use]
            pub const fn expanded(&self, margin_x: f32, margin_y: f32) -> Self {
                Self::new(self.x - margin_x, self.y - margin_y, self.width + 2.0 * margin_x, self.height + 2.0 * margin_y)
            }

            /// The rectangle, moved so that it lies within `bounds`; shrunk only where it is larger
            /// than they are.
            #[must_use]
            pub fn moved_into(&self, bounds: &Self) -> Self {
                let width = self.width.min(bounds.width);
                let height = self.height.min(bounds.height);
                let x = self.x.clamp(bounds.x, (bounds.right() - width).max(bounds.x));
                let y = self.y.clamp(bounds.y, (bounds.bottom() - height).max(bounds.y));
                Self::new(x, y, width, height)
            }

            /// Whether `other` lies within, with `tolerance` allowed on each edge.
            pub fn contains(&self, other: &Self, tolerance: f32) -> bool {
                other.x >= self.x - tolerance
                    && other.y >= self.y - tolerance
                    && other.right() <= self.right() + tolerance
                    && other.bottom() <= self.bottom() + tolerance
            }
        }
    };
}

rectangle! {
    /// A rectangle in pixels of a named picture: pixel `i` covers `i..i + 1`. It may begin and end
    /// within a pixel.
    PixelRect
}

rectangle! {
    /// A rectangle in fractions of a named picture: 0 is its left or top edge, 1 its right or
    /// bottom one.
    UnitRect
}

impl PixelRect {
    /// The largest coordinate that kernels accept, in either direction.
    pub const LIMIT: f32 = 65_536.0;

    /// The whole picture of `size`.
    pub const fn of_size(size: Size) -> Self {
        Self::new(0.0, 0.0, size.width as f32, size.height as f32)
    }

    /// As fractions of a picture of `size`, which must not be empty.
    #[must_use]
    pub const fn to_fractions(&self, size: Size) -> UnitRect {
        let scaled = self.scaled(1.0 / size.width as f32, 1.0 / size.height as f32);
        UnitRect::new(scaled.x, scaled.y, scaled.width, scaled.height)
    }

    /// Whether all coordinates are numbers within [`PixelRect::LIMIT`] of the origin and the extent
    /// is positive.
    pub fn is_valid(&self) -> bool {
        let near = |value: f32| value.abs() <= Self::LIMIT;
        near(self.x) && near(self.y) && self.width > 0.0 && self.height > 0.0 && near(self.width) && near(self.height)
    }
}

impl fmt::Display for PixelRect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {}) {}x{}", self.x, self.y, self.width, self.height)
    }
}

impl UnitRect {
    /// The whole picture.
    pub const WHOLE: Self = Self::new(0.0, 0.0, 1.0, 1.0);

    /// In pixels of a picture of `size`.
    #[must_use]
    pub const fn to_pixels(&self, size: Size) -> PixelRect {
        let scaled = self.scaled(size.width as f32, size.height as f32);
        PixelRect::new(scaled.x, scaled.y, scaled.width, scaled.height)
    }

    /// (x, y, width, height), as D-Bus carries them.
    pub fn to_tuple(self) -> (f64, f64, f64, f64) {
        (self.x.into(), self.y.into(), self.width.into(), self.height.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_and_union() {
        let a = UnitRect::new(0.0, 0.0, 2.0, 2.0);
        let b = UnitRect::new(1.0, 1.0, 2.0, 2.0);
        assert_eq!(a.intersection(&b), UnitRect::new(1.0, 1.0, 1.0, 1.0));
        assert_eq!(a.union(&b), UnitRect::new(0.0, 0.0, 3.0, 3.0));
        assert!((a.iou(&b) - 1.0 / 7.0).abs() < 1e-6);
        let apart = UnitRect::new(5.0, 5.0, 1.0, 1.0);
        assert!(a.intersection(&apart).is_empty());
        assert_eq!(a.iou(&apart), 0.0);
        assert!((b.iou(&b) - 1.0).abs() < 1e-6);
        assert_eq!(UnitRect::default().iou(&UnitRect::default()), 0.0);
        assert_eq!(a.union(&UnitRect::default()), a);
    }

    #[test]
    fn moving_into_bounds_keeps_the_extent_where_it_can() {
        let moved = UnitRect::new(0.9, -0.3, 0.4, 0.5).moved_into(&UnitRect::WHOLE);
        assert_eq!(moved, UnitRect::new(0.6, 0.0, 0.4, 0.5));
        let shrunk = UnitRect::new(-1.0, 0.0, 3.0, 0.5).moved_into(&UnitRect::WHOLE);
        assert_eq!(shrunk, UnitRect::new(0.0, 0.0, 1.0, 0.5));
    }

    #[test]
    fn a_pixel_rectangle_has_a_positive_extent() {
        assert!(PixelRect::new(-3.5, 0.0, 1.0, 0.25).is_valid());
        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e9] {
            assert!(!PixelRect::new(0.0, 0.0, bad, 1.0).is_valid(), "{bad}");
            assert!(!PixelRect::new(0.0, 0.0, 1.0, bad).is_valid(), "{bad}");
        }
        assert!(!PixelRect::new(f32::NAN, 0.0, 1.0, 1.0).is_valid());
    }
}
