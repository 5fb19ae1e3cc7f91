//! Rectangles. Two units are in use and neither is converted silently: *pixels* of a named picture, and *fractions* of
//! one (0 is the left or top edge, 1 the right or bottom one). Functions say which they take.

use crate::{Region, Size};

/// The greatest size within `size` whose sides are even, as chroma at half size needs them; 2x2 at least.
pub fn even_size(size: Size) -> Size {
    Size::new((size.width & !1).max(2), (size.height & !1).max(2))
}

/// An axis-aligned rectangle: its top left corner and its extent, in whatever unit the context names.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Rectangle {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Extent to the right.
    pub width: f32,
    /// Extent downwards.
    pub height: f32,
}

impl Rectangle {
    /// The whole picture, in fractions.
    pub const UNIT: Self = Self::new(0.0, 0.0, 1.0, 1.0);

    /// A rectangle from its corner and extent.
    pub const fn new(x: f32, y: f32, width: f32, height: f32) -> Self {
        Self { x, y, width, height }
    }

    /// The whole picture of `size`, in pixels.
    pub const fn of_size(size: Size) -> Self {
        Self::new(0.0, 0.0, size.width as f32, size.height as f32)
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

    /// Area; 0 for a rectangle turned inside out.
    pub const fn area(&self) -> f32 {
        self.width.max(0.0) * self.height.max(0.0)
    }

    /// Whether nothing is inside, or an edge is not a number.
    pub fn is_empty(&self) -> bool {
        !(self.width > 0.0 && self.height > 0.0)
    }

    /// The common part; empty (zero extent) where there is none.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let x = self.x.max(other.x);
        let y = self.y.max(other.y);
        let width = (self.right().min(other.right()) - x).max(0.0);
        let height = (self.bottom().min(other.bottom()) - y).max(0.0);
        Self::new(x, y, width, height)
    }

    /// The smallest rectangle that holds both. An empty one adds nothing.
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

    /// Intersection over union, 0 where either is empty.
    pub fn iou(&self, other: &Self) -> f32 {
        let common = self.intersection(other).area();
        let total = self.area() + other.area() - common;
        if total > 0.0 { common / total } else { 0.0 }
    }

    /// Each coordinate multiplied: from fractions of a picture of `width` by `height` to its pixels.
    #[must_use]
    pub const fn scaled(&self, width: f32, height: f32) -> Self {
        Self::new(self.x * width, self.y * height, self.width * width, self.height * height)
    }

    /// From fractions of a picture of `size` to its pixels.
    #[must_use]
    pub const fn to_pixels(&self, size: Size) -> Self {
        self.scaled(size.width as f32, size.height as f32)
    }

    /// From pixels of a picture of `size` (not empty) to fractions of it.
    #[must_use]
    pub const fn to_fractions(&self, size: Size) -> Self {
        self.scaled(1.0 / size.width as f32, 1.0 / size.height as f32)
    }

    /// Grown by `margin_x`, `margin_y` on each side.
    #[must_use]
    pub const fn expanded(&self, margin_x: f32, margin_y: f32) -> Self {
        Self::new(self.x - margin_x, self.y - margin_y, self.width + 2.0 * margin_x, self.height + 2.0 * margin_y)
    }

    /// Moved, and only if it must be also shrunk, so that it lies within `bounds`.
    #[must_use]
    pub fn moved_into(&self, bounds: &Self) -> Self {
        let width = self.width.min(bounds.width);
        let height = self.height.min(bounds.height);
        let x = self.x.clamp(bounds.x, (bounds.right() - width).max(bounds.x));
        let y = self.y.clamp(bounds.y, (bounds.bottom() - height).max(bounds.y));
        Self::new(x, y, width, height)
    }

    /// Whether `other` lies within, `tolerance` allowed on each edge.
    pub fn contains(&self, other: &Self, tolerance: f32) -> bool {
        other.x >= self.x - tolerance
            && other.y >= self.y - tolerance
            && other.right() <= self.right() + tolerance
            && other.bottom() <= self.bottom() + tolerance
    }

    /// The four numbers (x, y, width, height), as D-Bus carries them.
    pub fn to_tuple(self) -> (f64, f64, f64, f64) {
        (self.x.into(), self.y.into(), self.width.into(), self.height.into())
    }
}

/// A rectangle in pixels, as kernels take it.
impl From<Rectangle> for Region {
    fn from(pixels: Rectangle) -> Self {
        Self::new(pixels.x, pixels.y, pixels.width, pixels.height)
    }
}

/// A kernel's region, which is in pixels.
impl From<Region> for Rectangle {
    fn from(region: Region) -> Self {
        Self::new(region.x, region.y, region.width, region.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_and_union() {
        let a = Rectangle::new(0.0, 0.0, 2.0, 2.0);
        let b = Rectangle::new(1.0, 1.0, 2.0, 2.0);
        assert_eq!(a.intersection(&b), Rectangle::new(1.0, 1.0, 1.0, 1.0));
        assert_eq!(a.union(&b), Rectangle::new(0.0, 0.0, 3.0, 3.0));
        assert!((a.iou(&b) - 1.0 / 7.0).abs() < 1e-6);
        let apart = Rectangle::new(5.0, 5.0, 1.0, 1.0);
        assert!(a.intersection(&apart).is_empty());
        assert_eq!(a.iou(&apart), 0.0);
        assert_eq!(a.union(&Rectangle::default()), a);
    }

    #[test]
    fn moving_into_bounds_keeps_the_extent_where_it_can() {
        let moved = Rectangle::new(0.9, -0.3, 0.4, 0.5).moved_into(&Rectangle::UNIT);
        assert_eq!(moved, Rectangle::new(0.6, 0.0, 0.4, 0.5));
        let shrunk = Rectangle::new(-1.0, 0.0, 3.0, 0.5).moved_into(&Rectangle::UNIT);
        assert_eq!(shrunk, Rectangle::new(0.0, 0.0, 1.0, 0.5));
    }
}
