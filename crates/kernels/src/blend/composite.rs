//! The compositor: mixes a crop of a picture with a background according to a mask. Each row of the
//! output is written once.

use std::ops::Range;

use super::error::BlendError;
use super::guided::{self, GuidedMatte};
use super::matte::{Edge, MaskView, Matte, MatteRows};
use super::rows;
use crate::convert::Affine;
use crate::picture::{Picture, PictureMut, PixelFormat, PixelRect, Size};
use crate::scale::{Filter, Scaler};
use crate::simd::Usable;

/// What a composite shows behind the people.
#[derive(Clone, Copy, Debug)]
pub enum Backdrop<'a> {
    /// A single colour in the format of the output: `[y, cb, cr]` for NV12, `[r, g, b]` for RGB24.
    Color([u8; 3]),
    /// A picture of the output's size and format, with the colorimetry of the source.
    Picture(Picture<'a>),
    /// A picture of the output's format with the colorimetry of the source, of which a part (in its
    /// own pixels) is stretched over the output. A blurred background needs few pixels.
    Stretched(Picture<'a>, PixelRect),
}

/// Mixes pictures with backgrounds. Owns a few rows.
#[derive(Clone, Debug)]
pub struct Compositor {
    isa: Usable,
    scaler: Scaler,
    behind: Scaler,
    matte: Matte,
    /// Present if the edges of mattes follow the picture.
    guided: Option<Box<GuidedMatte>>,
    luma: Vec<u8>,
    foreground: Vec<u8>,
    background: Vec<u8>,
    /// The matte of two rows of pixels.
    alpha: [Vec<u8>; 2],
    spread: Vec<u8>,
}

impl Compositor {
    /// A compositor that scales the foreground with `filter` and masks bilinearly.
    pub fn new(filter: Filter) -> Self {
        Self::on(filter, Usable::chosen(), false)
    }

    /// A compositor whose mattes follow the edges of the picture, and where people keep their own
    /// colours at these edges ([`GuidedMatte`]).
    pub fn guided(filter: Filter) -> Self {
        Self::on(filter, Usable::chosen(), true)
    }

    /// Either kind of compositor on `isa`. The results are the same on every instruction set.
    pub fn on(filter: Filter, isa: Usable, guided: bool) -> Self {
        Self {
            isa,
            scaler: Scaler::on(filter, isa),
            behind: Scaler::on(Filter::Linear, isa),
            matte: Matte::new(),
            guided: guided.then(|| Box::new(GuidedMatte::on(isa))),
            luma: Vec::new(),
            foreground: Vec::new(),
            background: Vec::new(),
            alpha: [Vec::new(), Vec::new()],
            spread: Vec::new(),
        }
    }

    /// Fills `output` (NV12 or RGB24) with the people in the `crop` of `source`, in front of
    /// `backdrop`. `mask` says which pixels are people. Without a mask the output shows only the
    /// backdrop.
    ///
    /// # Errors
    /// [`BlendError`] if the crop, the format or the backdrop does not fit. Nothing is written in
    /// that case.
    pub fn compose(
        &mut self,
        source: &Picture<'_>,
        crop: PixelRect,
        mask: Option<&MaskView<'_>>,
        edge: Edge,
        backdrop: &Backdrop<'_>,
        output: &mut PictureMut<'_>,
    ) -> Result<(), BlendError> {
        let (size, format) = (output.size(), output.format());
        if !matches!(format, PixelFormat::Nv12 | PixelFormat::Rgb24) {
            return Err(BlendError::Format(format));
        }
        let Self { isa, scaler, behind, matte, guided, luma, foreground, background, alpha, spread } = self;
        let width = size.width as usize;
        let (longest, _) = format.plane_extent(0, Size::new(size.width + 1, 1));
        for row in [&mut *foreground, &mut *background, &mut *spread] {
            row.resize(longest, 0);
        }
        for row in &mut *alpha {
            row.resize(width, 0);
        }
        let mut behind = match backdrop {
            Backdrop::Color(color) => BackdropRows::Color(*color),
            Backdrop::Picture(picture) if picture.size() == size && picture.format() == format => {
                BackdropRows::Picture(*picture)
            }
            Backdrop::Stretched(picture, part) if picture.format() == format => {
                BackdropRows::Stretched(behind.start(*picture, *part, size, format)?)
            }
            Backdrop::Picture(picture) | Backdrop::Stretched(picture, _) => {
                let (found_format, found) = (picture.format(), picture.size());
                return Err(BlendError::Backdrop { format, size, found_format, found });
            }
        };
        let mut people = match (mask, guided) {
            (None, _) => MatteSource::Nobody,
            (Some(mask), Some(guided)) => {
                guided.start(mask, source, crop, size, edge, Some(format))?;
                MatteSource::Guided(guided)
            }
            (Some(mask), None) => MatteSource::Bilinear(matte.start(mask, crop, size, Some(edge))?),
        };
        let shown = people.columns(width);
        if shown.is_empty() {
            for plane in 0..format.plane_count() {
                for y in 0..format.plane_extent(plane, size).1 {
                    behind.row(format, plane, y, output.row_mut(plane, y));
                }
            }
            return Ok(());
        }
        // The bytes of these columns in a row of each plane.
        let rgb = format == PixelFormat::Rgb24;
        let parts = [
            if rgb { 3 * shown.start..3 * shown.end } else { shown.clone() },
            shown.start..shown.end.next_multiple_of(2),
        ];
        let mut picture = scaler.start_columns(*source, crop, size, format, shown.clone())?;
        let to_ycc = Affine::from_rgb(source.color());
        luma.resize(width, 0);
        let mut before = false;
        for y in 0..size.height as usize {
            let row = &mut alpha[y % 2];
            let foreground_row = &mut foreground[..if rgb { 3 * width } else { width }];
            let any = match &mut people {
                MatteSource::Bilinear(people) => {
                    let any = people.row(y, row);
                    if any {
                        picture.row(0, y, &mut foreground_row[parts[0].clone()]);
                    }
                    any
                }
                MatteSource::Guided(people) if people.rows().contains(&y) => {
                    picture.row(0, y, &mut foreground_row[parts[0].clone()]);
                    if rgb {
                        guided::luma_of_rgb(&to_ycc, &foreground_row[parts[0].clone()], &mut luma[shown.clone()]);
                    }
                    people.row(y, if rgb { luma } else { foreground_row }, row)
                }
                MatteSource::Guided(_) | MatteSource::Nobody => {
                    row.fill(0);
                    false
                }
            };
            let mut mixed = |plane: usize, y: usize, alpha: Option<&[u8]>, foreground: &mut [u8], out: &mut [u8]| {
                let Some(alpha) = alpha else {
                    behind.row(format, plane, y, out);
                    return;
                };
                let background = &mut background[..out.len()];
                behind.row(format, plane, y, background);
                if let MatteSource::Guided(people) = &mut people {
                    people.restore_colors(format, plane, y, alpha, foreground);
                }
                let Range { start, end } = parts[plane];
                out[..start].copy_from_slice(&background[..start]);
                out[end..].copy_from_slice(&background[end..]);
                let [foreground, background, alpha] = [foreground, background, alpha].map(|row| &row[start..end]);
                rows::blend(*isa, foreground, background, alpha, &mut out[start..end]);
            };
            let row = &alpha[y % 2];
            let out = output.row_mut(0, y);
            if any && rgb {
                rows::repeat::<3>(&row[shown.clone()], &mut spread[parts[0].clone()]);
                mixed(0, y, Some(&spread[..out.len()]), foreground_row, out);
            } else {
                mixed(0, y, any.then_some(row), foreground_row, out);
            }
            let last = y + 1 == size.height as usize;
            if !rgb && (y % 2 == 1 || last) {
                let out = output.row_mut(1, y / 2);
                if any || (y % 2 == 1 && before) {
                    // In a picture of odd height, the last row does not share its chroma.
                    let lower = if y % 2 == 1 { &alpha[1] } else { &alpha[0] };
                    let [upper, lower] = [&alpha[0], lower].map(|row| &row[shown.clone()]);
                    rows::chroma_alpha(*isa, upper, lower, &mut spread[parts[1].clone()]);
                    let foreground_row = &mut foreground[..out.len()];
                    picture.row(1, y / 2, &mut foreground_row[parts[1].clone()]);
                    mixed(1, y / 2, Some(&spread[..out.len()]), foreground_row, out);
                } else {
                    mixed(1, y / 2, None, &mut [], out);
                }
            }
            before = any;
        }
        Ok(())
    }
}

/// The source of the matte's rows.
enum MatteSource<'a> {
    Nobody,
    Bilinear(MatteRows<'a>),
    Guided(&'a mut GuidedMatte),
}

/// The columns of a composite that show people are rounded to multiples of this, so that the tables
/// of the foreground are seldom computed again while somebody moves.
const COLUMNS: usize = 64;

impl MatteSource<'_> {
    /// The columns of rows of `width` pixels outside which there is no person.
    fn columns(&self, width: usize) -> Range<usize> {
        let columns = match self {
            Self::Nobody => 0..0,
            Self::Bilinear(people) => people.columns(),
            Self::Guided(people) => people.columns(),
        };
        if columns.is_empty() {
            return 0..0;
        }
        columns.start / COLUMNS * COLUMNS..columns.end.next_multiple_of(COLUMNS).min(width)
    }
}

/// The source of the backdrop's rows.
// With pointers of 32 bits it is small enough.
#[cfg_attr(
    target_pointer_width = "64",
    expect(clippy::large_enum_variant, reason = "one at a time, on the stack; a box would allocate for each frame")
)]
enum BackdropRows<'s, 'a> {
    Color([u8; 3]),
    Picture(Picture<'a>),
    Stretched(crate::scale::ScaledRows<'s, 'a>),
}

impl BackdropRows<'_, '_> {
    fn row(&mut self, format: PixelFormat, plane: usize, y: usize, out: &mut [u8]) {
        match self {
            Self::Color([first, second, third]) => match (format, plane) {
                (PixelFormat::Rgb24, _) => out.as_chunks_mut::<3>().0.fill([*first, *second, *third]),
                (_, 0) => out.fill(*first),
                _ => out.as_chunks_mut::<2>().0.fill([*second, *third]),
            },
            Self::Picture(picture) => out.copy_from_slice(&picture.plane(plane).row(y)[..out.len()]),
            Self::Stretched(rows) => rows.row(plane, y, out),
        }
    }
}
