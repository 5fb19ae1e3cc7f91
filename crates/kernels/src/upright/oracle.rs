//! The oracle of turned pictures: one pixel after the other, by the definition of each turn.

use crate::component::value;
use crate::picture::{Picture, PixelFormat, Size};
use portraitd_protocol::orientation::{Orientation, Rotation};

/// The pixel of a picture of `size` that comes to (`x`, `y`) of the turned one.
pub fn origin(size: Size, orientation: Orientation, x: i64, y: i64) -> (i64, i64) {
    let (width, height) = (i64::from(size.width), i64::from(size.height));
    let turned = orientation.turned(size);
    let x = if orientation.mirror { i64::from(turned.width) - 1 - x } else { x };
    match orientation.rotation {
        Rotation::None => (x, y),
        // What was at the left edge is at the top, what was at the bottom is at the left.
        Rotation::Quarter => (y, height - 1 - x),
        Rotation::Half => (width - 1 - x, height - 1 - y),
        Rotation::ThreeQuarters => (width - 1 - y, x),
    }
}

/// Component `index` of the turned picture at (`x`, `y`), where `used` is the part of `picture` that
/// is turned.
pub fn turned_value(picture: &Picture<'_>, used: Size, orientation: Orientation, index: usize, x: i64, y: i64) -> u8 {
    let (x, y) = origin(used, orientation, x, y);
    let halved = matches!(picture.format(), PixelFormat::Yuyv | PixelFormat::Uyvy | PixelFormat::I422);
    if index == 0 || !halved {
        return value(picture, index, x, y);
    }
    let above = u32::from(value(picture, index, x, y / 2 * 2));
    let below = u32::from(value(picture, index, x, y / 2 * 2 + 1));
    u8::try_from(u32::midpoint(above, below)).unwrap_or(u8::MAX)
}
