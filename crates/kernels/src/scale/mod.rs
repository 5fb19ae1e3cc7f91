//! The scaler: scales a crop of any picture to an output size, at sub-pixel precision, without a
//! conversion to R'G'B' where none is needed.
//!
//! The output is NV12, RGB24 or GREY. The numbers of a Y'CbCr source keep their meaning: neither
//! range nor matrix is changed, so the output *has the colorimetry of the source*, and the
//! functions here return it. From an RGB source, Y'CbCr is made with the colorimetry that the
//! source picture names. Chroma is sited in the centre of the pixels that share it.
//!
//! A crop that starts on whole pixels and has the size of the output is an exact copy of every
//! component that both formats hold at the same resolution. All arithmetic is on integers, except
//! for the conversion to and from R'G'B', so the same input gives the same output on every machine.
//!
//! A scaler is used by one thread at a time. It owns its tables and a few rows, and allocates only
//! when it meets a larger picture than ever before.

#[cfg(target_arch = "arm")]
mod armv7;
mod axis;
mod columns;
pub(crate) mod fir;
mod fixed;
#[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
mod gather;
mod lanes;
#[cfg(target_arch = "aarch64")]
mod neon;
pub mod oracle;
pub(crate) mod plane;
#[cfg(target_arch = "riscv64")]
mod rvv;
mod shuffle;

pub use axis::Filter;
pub(crate) use axis::{AxisFilter, Span};
pub(crate) use fixed::ONE;

use std::ops::Range;

use plane::{Channels, PlaneScaler};

use crate::cast;
use crate::component::{Channel, Component, components};
use crate::convert::{Affine, picture_to_rgb};
use crate::picture::{Colorimetry, Picture, PictureMut, PixelFormat, PixelRect, Size};
use crate::simd::Usable;

/// Why a picture cannot be scaled.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ScaleError {
    /// The crop is empty, not a number, or too far away.
    #[error("cannot scale the region {0}: it is empty, not a number, or beyond 65536 pixels")]
    PixelRect(PixelRect),
    /// More than 16384 source samples would contribute to one output sample.
    #[error("cannot scale {region} to {size}: more than 16384 source pixels per output pixel")]
    Ratio {
        /// The crop, in source pixels.
        region: PixelRect,
        /// Size of the output.
        size: Size,
    },
    /// The scaler does not write the format of the output.
    #[error("cannot scale to {0}: the scaler writes NV12, RGB3 and GREY")]
    Format(PixelFormat),
    /// The output has no pixels.
    #[error("cannot scale to an empty picture of {0}")]
    Empty(Size),
}

/// The method that turns a source into an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConversionPath {
    /// The planes of the output are scaled directly.
    Planes,
    /// Grey to NV12: luma is scaled, and chroma is constant.
    NoChroma,
    /// Y'CbCr or grey to R'G'B': scaled to the size of the output, then converted row by row.
    ToRgb,
    /// R'G'B' to Y'CbCr or grey: scaled as R'G'B', then converted row by row.
    FromRgb,
}

/// Scales crops of pictures. See the [module documentation](self).
#[derive(Clone, Debug)]
pub struct Scaler {
    filter: Filter,
    /// Scales luma, or R'G'B'.
    first: PlaneScaler,
    /// Scales chroma.
    second: PlaneScaler,
    rows: [Vec<u8>; 2],
    held: [Option<usize>; 2],
}

impl Scaler {
    /// A scaler with the given filter, on the instruction set that [`Usable::chosen`] returns.
    pub fn new(filter: Filter) -> Self {
        Self::on(filter, Usable::chosen())
    }

    /// A scaler that runs on `isa`. The results are the same on every instruction set.
    pub fn on(filter: Filter, isa: Usable) -> Self {
        let (first, second) = (PlaneScaler::new(isa), PlaneScaler::new(isa));
        Self { filter, first, second, rows: [Vec::new(), Vec::new()], held: [None; 2] }
    }

    /// Fills `output` with the `crop` of `source`. The crop is in source pixels and may reach
    /// outside, where the border is replicated. Returns the colorimetry of the output.
    ///
    /// # Errors
    /// [`ScaleError`] if the crop is not a valid rectangle, or if the scaler does not write the
    /// format of the output.
    pub fn scale(
        &mut self,
        source: &Picture<'_>,
        crop: PixelRect,
        output: &mut PictureMut<'_>,
    ) -> Result<Colorimetry, ScaleError> {
        let size = output.size();
        let mut rows = self.start(*source, crop, size, output.format())?;
        let height = size.height as usize;
        for y in 0..height {
            rows.row(0, y, output.row_mut(0, y));
            // A chroma row follows the second of its two luma rows, because they use the same rows
            // of the source.
            if output.format() == PixelFormat::Nv12 && (y % 2 == 1 || y + 1 == height) {
                rows.row(1, y / 2, output.row_mut(1, y / 2));
            }
        }
        Ok(source.color())
    }

    /// Prepares to scale the `crop` of `source` to a picture of `size` and `format`, whose rows the
    /// caller then requests one by one. This is for callers that must not store the whole picture,
    /// such as the compositor.
    ///
    /// # Errors
    /// The same as [`Scaler::scale`].
    pub fn start<'s, 'a>(
        &'s mut self,
        source: Picture<'a>,
        crop: PixelRect,
        size: Size,
        format: PixelFormat,
    ) -> Result<ScaledRows<'s, 'a>, ScaleError> {
        self.start_columns(source, crop, size, format, 0..size.width as usize)
    }

    /// [`Scaler::start`] for rows that have only the pixels `columns` of the output, of which the
    /// first has an even number. Each of them has the value that it has in a whole row. Where the
    /// samples of a row lie far apart (strong shrinking, packed chroma), it may be rounded
    /// differently: whether rows are filtered along before or after the vertical filter depends on
    /// the taps of the pixels that are computed.
    pub(crate) fn start_columns<'s, 'a>(
        &'s mut self,
        source: Picture<'a>,
        crop: PixelRect,
        size: Size,
        format: PixelFormat,
        columns: Range<usize>,
    ) -> Result<ScaledRows<'s, 'a>, ScaleError> {
        if !crop.is_valid() {
            return Err(ScaleError::PixelRect(crop));
        }
        if size.is_empty() {
            return Err(ScaleError::Empty(size));
        }
        if crop.width / size.width as f32 > 16_384.0 || crop.height / size.height as f32 > 16_384.0 {
            return Err(ScaleError::Ratio { region: crop, size });
        }
        let path = match (source.format().is_rgb(), format) {
            (true, PixelFormat::Rgb24) => ConversionPath::Planes,
            (true, PixelFormat::Nv12 | PixelFormat::Grey) => ConversionPath::FromRgb,
            (false, PixelFormat::Rgb24) => ConversionPath::ToRgb,
            (false, PixelFormat::Nv12) if source.format() == PixelFormat::Grey => ConversionPath::NoChroma,
            (false, PixelFormat::Nv12 | PixelFormat::Grey) => ConversionPath::Planes,
            _ => return Err(ScaleError::Format(format)),
        };
        let all = components(source.format());
        let channel = |index: usize| Some(Channel::new(&source, all[index]));
        let rgb = source.format().is_rgb();
        let first = Channels { channels: if rgb { [0, 1, 2].map(channel) } else { [channel(0), None, None] } };
        let second = Channels { channels: [channel(1), channel(2), None] };
        let spans = |component: &Component, subsampled: usize| {
            let (x, y) = spans(component, &source, crop, size, subsampled);
            let (from, count) = (columns.start / subsampled, columns.len().div_ceil(subsampled));
            (Span { from, count, ..x }, y)
        };
        let (x, y) = spans(&all[0], 1);
        self.first.start(x, y, self.filter, &first);
        let has_chroma = !rgb && source.format() != PixelFormat::Grey && format != PixelFormat::Grey;
        if has_chroma {
            let (x, y) = spans(&all[1], if path == ConversionPath::Planes { 2 } else { 1 });
            self.second.start(x, y, self.filter, &second);
        }
        let width = columns.len();
        for (row, bytes) in self.rows.iter_mut().zip(if path == ConversionPath::FromRgb { [3, 3] } else { [1, 2] }) {
            // Grey has no chroma: rows that are never filled keep the neutral value.
            row.clear();
            row.resize(width * bytes, 128);
        }
        self.held = [None; 2];
        let map = if path == ConversionPath::FromRgb {
            Affine::from_rgb(source.color())
        } else {
            picture_to_rgb(source.format(), source.color())
        };
        Ok(ScaledRows { scaler: self, first, second, path, has_chroma, height: size.height as usize, map })
    }
}

/// The positions of the samples of an output plane over a source component. The plane has one
/// sample per `subsampled` pixels in each direction.
fn spans(component: &Component, source: &Picture<'_>, crop: PixelRect, size: Size, subsampled: usize) -> (Span, Span) {
    #[expect(clippy::cast_precision_loss, reason = "1 or 2")]
    let span = |origin: f32, extent: f32, count: u32, covers: usize, source: usize| {
        let ratio = subsampled as f64 / covers as f64;
        let scale = f64::from(extent) / f64::from(count) * ratio;
        Span {
            origin: f64::from(origin) / covers as f64,
            scale,
            source,
            from: 0,
            count: (count as usize).div_ceil(subsampled),
        }
    };
    let (columns, rows) = component.extent(source.size());
    (
        span(crop.x, crop.width, size.width, component.across, columns),
        span(crop.y, crop.height, size.height, component.down, rows),
    )
}

/// The rows of a picture that is being scaled.
#[derive(Debug)]
pub struct ScaledRows<'s, 'a> {
    scaler: &'s mut Scaler,
    first: Channels<'a>,
    second: Channels<'a>,
    path: ConversionPath,
    has_chroma: bool,
    height: usize,
    map: Affine,
}

impl ScaledRows<'_, '_> {
    /// Writes row `y` of plane `plane` of the output to `out`, which has exactly the bytes of such
    /// a row. Rows in ascending order are fastest. Rows may be left out.
    ///
    /// # Panics
    /// If the output has no such row, or `out` is shorter than a row.
    pub fn row(&mut self, plane: usize, y: usize, out: &mut [u8]) {
        let chroma = plane == 1;
        match self.path {
            ConversionPath::NoChroma if chroma => out.fill(128),
            ConversionPath::Planes if chroma => self.scaler.second.row(&self.second, y, out),
            ConversionPath::Planes | ConversionPath::NoChroma => self.scaler.first.row(&self.first, y, out),
            ConversionPath::ToRgb => self.converted_row(y, out),
            ConversionPath::FromRgb if chroma => self.rgb_to_chroma(y, out),
            ConversionPath::FromRgb => {
                let map = self.map;
                let row = self.rgb_row(y);
                for (luma, rgb) in out.iter_mut().zip(row.as_chunks::<3>().0) {
                    *luma = map.apply_bytes(*rgb)[0];
                }
            }
        }
    }

    /// Writes a Y'CbCr row at the size of the output as R'G'B'.
    fn converted_row(&mut self, y: usize, out: &mut [u8]) {
        let [luma, chroma] = &mut self.scaler.rows;
        self.scaler.first.row(&self.first, y, luma);
        if self.has_chroma {
            self.scaler.second.row(&self.second, y, chroma);
        }
        let colors = luma.iter().zip(chroma.as_chunks::<2>().0);
        for (rgb, (&y, &[cb, cr])) in out.as_chunks_mut::<3>().0.iter_mut().zip(colors) {
            *rgb = self.map.apply_bytes([y, cb, cr]);
        }
    }

    /// Row `y` as R'G'B'. The last two rows are retained, because two luma rows and their chroma
    /// row are requested one after the other.
    fn rgb_row(&mut self, y: usize) -> &[u8] {
        let place = y % 2;
        let Scaler { first, rows, held, .. } = &mut *self.scaler;
        if held[place] != Some(y) {
            first.row(&self.first, y, &mut rows[place]);
            held[place] = Some(y);
        }
        &rows[place]
    }

    fn rgb_to_chroma(&mut self, y: usize, out: &mut [u8]) {
        let (upper, lower) = (2 * y, (2 * y + 1).min(self.height - 1));
        self.rgb_row(upper);
        self.rgb_row(lower);
        let rows = &self.scaler.rows;
        let blocks = rows[upper % 2].chunks(6).zip(rows[lower % 2].chunks(6));
        for (chroma, (above, below)) in out.as_chunks_mut::<2>().0.iter_mut().zip(blocks) {
            let (left, right) = (0, above.len() - 3);
            let mean = std::array::from_fn(|i| {
                let sum = u16::from(above[left + i])
                    + u16::from(above[right + i])
                    + u16::from(below[left + i])
                    + u16::from(below[right + i]);
                f32::from(sum) * 0.25
            });
            let ycc = self.map.apply(mean);
            *chroma = [cast::byte(ycc[1]), cast::byte(ycc[2])];
        }
    }
}

#[cfg(test)]
mod tests;
