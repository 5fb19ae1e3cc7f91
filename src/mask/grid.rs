//! A mask as the net gives it: a grid of probabilities over a part of the frame, and how it becomes pixels.
//!
//! The vision thread fills a grid; any thread may read one. Resampling is bilinear with pixel centres at half
//! integers (so that a grid and its enlargement have the same centre) and the grid's border values continued
//! outwards by half a cell. It writes into the caller's buffer and allocates nothing.

use crate::pixel::{Rectangle, Size};

/// Columns worked on at once: their positions in the grid fit in the first-level cache, on the stack.
const TILE: usize = 64;

/// Why a grid was refused, or could not be resampled.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GridError {
    /// The number of values is not the size's area.
    #[error("a mask grid of {size} needs {} values, got {length}", size.area())]
    Length {
        /// The size asked for.
        size: Size,
        /// The number of values given.
        length: usize,
    },
    /// The rectangle covered is empty, or not finite.
    #[error("a mask grid must cover a part of the frame, not {covers:?}")]
    Covers {
        /// The rectangle given, in fractions of the frame.
        covers: Rectangle,
    },
}

/// Probabilities over a part of the frame.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskGrid {
    size: Size,
    covers: Rectangle,
    values: Vec<f32>,
}

impl MaskGrid {
    /// A grid of `size` with nobody in it, over `covers` (fractions of the frame).
    ///
    /// # Errors
    /// [`GridError::Covers`] where `covers` is empty or not finite.
    pub fn new(size: Size, covers: Rectangle) -> Result<Self, GridError> {
        let length = usize::try_from(size.area()).map_err(|_| GridError::Length { size, length: usize::MAX })?;
        Self::from_values(size, vec![0.0; length], covers)
    }

    /// A grid of `values`, `[height, width]` row-major, each 0..=1, over `covers` (fractions of the frame).
    ///
    /// # Errors
    /// [`GridError::Length`] where the values are not as many as the size says, [`GridError::Covers`] where `covers`
    /// is empty or not finite.
    pub fn from_values(size: Size, values: Vec<f32>, covers: Rectangle) -> Result<Self, GridError> {
        check_length(size, values.len())?;
        check_covers(covers)?;
        Ok(Self { size, covers, values })
    }

    /// Takes over a new mask, in the memory of the old one where it is large enough.
    ///
    /// # Errors
    /// As [`MaskGrid::from_values`]; the grid is then unchanged.
    pub fn set(&mut self, size: Size, values: &[f32], covers: Rectangle) -> Result<(), GridError> {
        check_length(size, values.len())?;
        check_covers(covers)?;
        self.values.clear();
        self.values.extend_from_slice(values);
        (self.size, self.covers) = (size, covers);
        Ok(())
    }

    /// Cells in a row, and rows.
    pub const fn size(&self) -> Size {
        self.size
    }

    /// The part of the frame that the grid lies over, in fractions.
    pub const fn covers(&self) -> Rectangle {
        self.covers
    }

    /// The probabilities, `[height, width]` row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The probabilities, to be changed in place.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Writes the mask of the whole frame at `size` into `out`, `[height, width]` row-major, 0 (room) to 255 (person).
    /// Outside the part that the grid covers there is nobody. Bilinear: made for enlarging, or shrinking to a half.
    ///
    /// # Errors
    /// [`GridError::Length`] where `out` is not of `size`; nothing is written then.
    pub fn resample_u8(&self, out: &mut [u8], size: Size) -> Result<(), GridError> {
        check_length(size, out.len())?;
        self.resample(out, size, Rectangle::UNIT, |pixel, value| {
            *pixel = value.map_or(0, to_u8);
        });
        Ok(())
    }

    /// Writes this mask into `target` where the two overlap, at the target's resolution; the rest of `target` keeps
    /// its values. So a close look is put into the whole frame's mask, and a window's history follows the window.
    pub fn resample_into(&self, target: &mut Self) {
        let (size, covers) = (target.size, target.covers);
        self.resample(&mut target.values, size, covers, |pixel, value| {
            if let Some(value) = value {
                *pixel = value;
            }
        });
    }

    /// Calls `write` for each pixel of `out`, a picture of `size` over `view` (fractions of the frame), with the
    /// grid's value there, or nothing outside the grid.
    fn resample<T>(&self, out: &mut [T], size: Size, view: Rectangle, write: impl Fn(&mut T, Option<f32>)) {
        let (out_width, out_height) = (size.width as usize, size.height as usize);
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        if out_width == 0 || out_height == 0 {
            return;
        }
        let mut columns = [Tap::OUTSIDE; TILE];
        let mut left = 0;
        while left < out_width {
            let right = out_width.min(left + TILE);
            let columns = &mut columns[..right - left];
            for (offset, tap) in columns.iter_mut().enumerate() {
                let at = view.x + view.width * ((left + offset) as f32 + 0.5) / out_width as f32;
                *tap = Tap::at(at, self.covers.x, self.covers.width, width);
            }
            for (y, row) in out.chunks_exact_mut(out_width).enumerate() {
                let at = view.y + view.height * (y as f32 + 0.5) / out_height as f32;
                let tap = Tap::at(at, self.covers.y, self.covers.height, height);
                let row = &mut row[left..right];
                if tap.outside {
                    row.iter_mut().for_each(|pixel| write(pixel, None));
                    continue;
                }
                let upper = &self.values[tap.low * width..][..width];
                let lower = &self.values[tap.high * width..][..width];
                for (pixel, column) in row.iter_mut().zip(columns.iter()) {
                    let low = mix(upper[column.low], lower[column.low], tap.weight);
                    let high = mix(upper[column.high], lower[column.high], tap.weight);
                    write(pixel, (!column.outside).then(|| mix(low, high, column.weight)));
                }
            }
            left = right;
        }
    }
}

/// Which two cells of an axis a point lies between, and how far it is towards the second.
#[derive(Clone, Copy)]
struct Tap {
    low: usize,
    high: usize,
    weight: f32,
    outside: bool,
}

impl Tap {
    const OUTSIDE: Self = Self { low: 0, high: 0, weight: 0.0, outside: true };

    /// For the point `at` of an axis on which `cells` cells lie over `start` and the `extent` beyond it.
    fn at(at: f32, start: f32, extent: f32, cells: usize) -> Self {
        let along = (at - start) / extent;
        if cells == 0 || !(0.0..=1.0).contains(&along) {
            return Self::OUTSIDE;
        }
        let position = (along * cells as f32 - 0.5).clamp(0.0, (cells - 1) as f32);
        let low = floor_to_index(position).min(cells - 1);
        Self { low, high: (low + 1).min(cells - 1), weight: position - low as f32, outside: false }
    }
}

fn mix(from: f32, to: f32, weight: f32) -> f32 {
    from + (to - from) * weight
}

/// The cell that a position, not negative, lies in or after.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positions are clamped to the grid")]
fn floor_to_index(position: f32) -> usize {
    position as usize
}

/// 0..=1 to 0..=255, rounded; what is not a number becomes 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates, as is wanted")]
fn to_u8(value: f32) -> u8 {
    (value * 255.0 + 0.5) as u8
}

fn check_length(size: Size, length: usize) -> Result<(), GridError> {
    if u64::try_from(length) == Ok(size.area()) { Ok(()) } else { Err(GridError::Length { size, length }) }
}

fn check_covers(covers: Rectangle) -> Result<(), GridError> {
    let finite = [covers.x, covers.y, covers.width, covers.height].iter().all(|edge| edge.is_finite());
    if finite && !covers.is_empty() { Ok(()) } else { Err(GridError::Covers { covers }) }
}

#[cfg(test)]
mod tests;
