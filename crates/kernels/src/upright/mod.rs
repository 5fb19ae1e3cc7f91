//! Turns pictures upright: rotates them by a right angle, and mirrors them.
//!
//! Every sample is copied to its new place, so planar formats, RGB and grey keep their values and
//! their format. Packed 4:2:2 becomes NV12, and planar 4:2:2 becomes I420: after a quarter turn its
//! chroma would be shared by pixels above each other, which no format here has. Of two chroma samples
//! above each other the mean is taken.
//!
//! A picture whose chroma is shared by blocks of 2x2 pixels loses its last column or row where their
//! number is odd: the blocks of the turned picture would begin in the middle of one.
//!
//! Transposition works on tiles of 16 bytes by as many samples as a row of the tile has. A tile is
//! transposed by repeated interleaving of its rows, which compilers turn into the interleaving
//! instructions of SSE2, AVX2 and NEON. Rotation and mirroring are a transposition whose rows or
//! columns are taken in reverse order, which costs nothing.

pub mod oracle;

use crate::picture::{Picture, PictureMut, PixelFormat, Size};
use crate::simd::Usable;
use crate::simd::versions::versions;
use portraitd_protocol::even_size;
use portraitd_protocol::orientation::{Orientation, Rotation};

/// Rows of packed pixels that are separated into luma and chroma at a time: they stay in the cache
/// until they are turned. Even, and twice as many as a tile of chroma has.
const STRIP_ROWS: usize = 16;
/// The samples of a block of tiles in the direction of the output's rows: a whole line of the cache
/// is written.
const BLOCK: usize = 64;

/// Why a picture cannot be turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UprightError {
    /// The picture has less than one block of 2x2 pixels, which share their chroma.
    #[error("a {format} picture of {size} is too small to be turned")]
    Small {
        /// The format of the picture.
        format: PixelFormat,
        /// The size of the picture.
        size: Size,
    },
    /// The output has another format or size than the turned picture.
    #[error("the output is {format} {size}, the turned picture is {wanted_format} {wanted_size}")]
    Output {
        /// The format of the output.
        format: PixelFormat,
        /// The size of the output.
        size: Size,
        /// The format of the turned picture.
        wanted_format: PixelFormat,
        /// The size of the turned picture.
        wanted_size: Size,
    },
}

/// The format of a turned picture of `format`.
pub const fn turned_format(format: PixelFormat) -> PixelFormat {
    match format {
        PixelFormat::Yuyv | PixelFormat::Uyvy => PixelFormat::Nv12,
        PixelFormat::I422 => PixelFormat::I420,
        other => other,
    }
}

/// The size of a picture of `format` and `size` after turning.
///
/// # Errors
/// [`UprightError::Small`].
pub fn turned_size(format: PixelFormat, size: Size, orientation: Orientation) -> Result<Size, UprightError> {
    used_size(format, size).map(|used| orientation.turned(used))
}

/// The part of a picture that is turned, from its top left corner on.
fn used_size(format: PixelFormat, size: Size) -> Result<Size, UprightError> {
    if !format.has_chroma() {
        return Ok(size);
    }
    if size.width < 2 || size.height < 2 {
        return Err(UprightError::Small { format, size });
    }
    Ok(even_size(size))
}

/// Where the samples of a plane go.
#[derive(Clone, Copy, Debug)]
struct Places {
    /// Samples in a row of the source.
    width: usize,
    /// Rows of the source.
    height: usize,
    /// Whether rows become columns.
    transpose: bool,
    /// Whether the columns of the result are in reverse order.
    reverse_columns: bool,
    /// Whether the rows of the result are in reverse order.
    reverse_rows: bool,
}

impl Places {
    const fn new(orientation: Orientation, width: usize, height: usize) -> Self {
        let (transpose, reverse_columns, reverse_rows) = match orientation.rotation {
            Rotation::None => (false, false, false),
            Rotation::Quarter => (true, true, false),
            Rotation::Half => (false, true, true),
            Rotation::ThreeQuarters => (true, false, true),
        };
        Self { width, height, transpose, reverse_columns: reverse_columns != orientation.mirror, reverse_rows }
    }

    /// The column of the result that row `y` of the source becomes; for transpositions.
    #[inline(always)]
    const fn column(&self, y: usize) -> usize {
        if self.reverse_columns { self.height - 1 - y } else { y }
    }

    /// The row of the result that column `x` of the source becomes; for transpositions.
    #[inline(always)]
    const fn row(&self, x: usize) -> usize {
        if self.reverse_rows { self.width - 1 - x } else { x }
    }
}

/// Some rows of a plane: `rows` of them, the first of which is row `first` of the plane.
#[derive(Clone, Copy, Debug)]
struct Rows<'a> {
    data: &'a [u8],
    stride_bytes: usize,
    first: usize,
    rows: usize,
}

/// A plane of the result.
#[derive(Debug)]
struct Target<'a> {
    data: &'a mut [u8],
    stride_bytes: usize,
}

/// Two rows of samples, interleaved: first half and second half.
#[inline(always)]
fn interleave<E: Copy + Default, const L: usize>(a: [E; L], b: [E; L]) -> [[E; L]; 2] {
    let mut both = [[E::default(); L]; 2];
    for i in 0..L / 2 {
        (both[0][2 * i], both[0][2 * i + 1]) = (a[i], b[i]);
        (both[1][2 * i], both[1][2 * i + 1]) = (a[L / 2 + i], b[L / 2 + i]);
    }
    both
}

/// One step of a transposition: a tile of `L` by `L` samples is transposed after log2(L) steps.
#[inline(always)]
fn shuffle<E: Copy + Default, const L: usize>(rows: [[E; L]; L]) -> [[E; L]; L] {
    let mut next = [[E::default(); L]; L];
    for i in 0..L / 2 {
        [next[2 * i], next[2 * i + 1]] = interleave(rows[i], rows[i + L / 2]);
    }
    next
}

/// A sample of 1, 2 or 4 bytes, and the tile of 16 bytes by as many samples.
trait Sample: Copy {
    /// Rows of 16 bytes.
    type Tile: AsRef<[[u8; 16]]> + AsMut<[[u8; 16]]>;

    fn empty() -> Self::Tile;

    fn transposed(tile: Self::Tile) -> Self::Tile;
}

impl Sample for [u8; 1] {
    type Tile = [[u8; 16]; 16];

    #[inline(always)]
    fn empty() -> Self::Tile {
        [[0; 16]; 16]
    }

    #[inline(always)]
    fn transposed(tile: Self::Tile) -> Self::Tile {
        shuffle(shuffle(shuffle(shuffle(tile))))
    }
}

impl Sample for [u8; 2] {
    type Tile = [[u8; 16]; 8];

    #[inline(always)]
    fn empty() -> Self::Tile {
        [[0; 16]; 8]
    }

    #[inline(always)]
    fn transposed(tile: Self::Tile) -> Self::Tile {
        let read =
            |row: [u8; 16]| -> [u16; 8] { std::array::from_fn(|i| u16::from_ne_bytes([row[2 * i], row[2 * i + 1]])) };
        let write = |row: [u16; 8]| -> [u8; 16] { std::array::from_fn(|i| row[i / 2].to_ne_bytes()[i % 2]) };
        shuffle(shuffle(shuffle(tile.map(read)))).map(write)
    }
}

impl Sample for [u8; 4] {
    type Tile = [[u8; 16]; 4];

    #[inline(always)]
    fn empty() -> Self::Tile {
        [[0; 16]; 4]
    }

    #[inline(always)]
    fn transposed(tile: Self::Tile) -> Self::Tile {
        let read = |row: [u8; 16]| -> [u32; 4] {
            std::array::from_fn(|i| u32::from_ne_bytes([row[4 * i], row[4 * i + 1], row[4 * i + 2], row[4 * i + 3]]))
        };
        let write = |row: [u32; 4]| -> [u8; 16] { std::array::from_fn(|i| row[i / 4].to_ne_bytes()[i % 4]) };
        shuffle(shuffle(tile.map(read))).map(write)
    }
}

/// Copies the samples of columns `columns` of rows `rows` one by one; for transpositions.
#[inline(always)]
fn transpose_each<const N: usize>(
    places: &Places,
    from: &Rows<'_>,
    columns: std::ops::Range<usize>,
    rows: std::ops::Range<usize>,
    to: &mut Target<'_>,
) {
    for x in columns {
        let start = places.row(x) * to.stride_bytes;
        for y in rows.clone() {
            let sample = &from.data[y * from.stride_bytes + x * N..][..N];
            to.data[start + places.column(from.first + y) * N..][..N].copy_from_slice(sample);
        }
    }
}

/// Transposes one tile, whose first sample is in column `x` of row `y` of `from`.
#[inline(always)]
fn transpose_tile<const N: usize>(places: &Places, from: &Rows<'_>, x: usize, y: usize, to: &mut Target<'_>)
where
    [u8; N]: Sample,
{
    let side = 16 / N;
    let mut tile = <[u8; N]>::empty();
    for (i, row) in tile.as_mut().iter_mut().enumerate() {
        let y = if places.reverse_columns { y + side - 1 - i } else { y + i };
        row.copy_from_slice(&from.data[y * from.stride_bytes + x * N..][..16]);
    }
    let tile = <[u8; N]>::transposed(tile);
    let first = if places.reverse_columns { y + side - 1 } else { y };
    let column = places.column(from.first + first) * N;
    for (i, row) in tile.as_ref().iter().enumerate() {
        to.data[places.row(x + i) * to.stride_bytes + column..][..16].copy_from_slice(row);
    }
}

/// Transposes rows of samples of 1, 2 or 4 bytes, in tiles.
#[inline(always)]
fn transpose_in_tiles<const N: usize>(places: &Places, from: &Rows<'_>, to: &mut Target<'_>)
where
    [u8; N]: Sample,
{
    let side = 16 / N;
    let (width, rows) = (places.width / side * side, from.rows / side * side);
    for block in (0..rows).step_by(BLOCK) {
        for x in (0..width).step_by(side) {
            for y in (block..rows.min(block + BLOCK)).step_by(side) {
                transpose_tile::<N>(places, from, x, y, to);
            }
        }
    }
    transpose_each::<N>(places, from, width..places.width, 0..rows, to);
    transpose_each::<N>(places, from, 0..places.width, rows..from.rows, to);
}

/// Copies rows of samples of `N` bytes, in reverse order where `places` says so.
#[inline(always)]
fn copy_rows<const N: usize>(places: &Places, from: &Rows<'_>, to: &mut Target<'_>) {
    let bytes = places.width * N;
    for y in 0..from.rows {
        let plane_row = from.first + y;
        let row = if places.reverse_rows { places.height - 1 - plane_row } else { plane_row };
        let source = &from.data[y * from.stride_bytes..][..bytes];
        let target = &mut to.data[row * to.stride_bytes..][..bytes];
        if places.reverse_columns {
            let (samples, _) = source.as_chunks::<N>();
            let (targets, _) = target.as_chunks_mut::<N>();
            for (target, sample) in targets.iter_mut().zip(samples.iter().rev()) {
                *target = *sample;
            }
        } else {
            target.copy_from_slice(source);
        }
    }
}

versions! {
    fn turn_1(places: &Places, from: &Rows<'_>, to: &mut Target<'_>) {
        if places.transpose { transpose_in_tiles::<1>(places, from, to) } else { copy_rows::<1>(places, from, to) }
    }
}

versions! {
    fn turn_2(places: &Places, from: &Rows<'_>, to: &mut Target<'_>) {
        if places.transpose { transpose_in_tiles::<2>(places, from, to) } else { copy_rows::<2>(places, from, to) }
    }
}

versions! {
    fn turn_3(places: &Places, from: &Rows<'_>, to: &mut Target<'_>) {
        if !places.transpose {
            return copy_rows::<3>(places, from, to);
        }
        // Blocks that stay in the cache: no instruction interleaves three bytes.
        for y in (0..from.rows).step_by(BLOCK) {
            for x in (0..places.width).step_by(BLOCK) {
                let columns = x..places.width.min(x + BLOCK);
                transpose_each::<3>(places, from, columns, y..from.rows.min(y + BLOCK), to);
            }
        }
    }
}

versions! {
    fn turn_4(places: &Places, from: &Rows<'_>, to: &mut Target<'_>) {
        if places.transpose { transpose_in_tiles::<4>(places, from, to) } else { copy_rows::<4>(places, from, to) }
    }
}

versions! {
    /// Separates two rows of packed 4:2:2: two rows of luma, and one of interleaved chroma, the mean of
    /// both. `LUMA` is the offset of the first luma sample: 0 or 1.
    fn separate<const LUMA: usize>(rows: [&[u8]; 2], luma: [&mut [u8]; 2], chroma: &mut [u8]) {
        let [first, second] = luma;
        let pairs = rows.map(|row| row.as_chunks::<2>().0);
        for (luma, pixel) in first.iter_mut().zip(pairs[0]) {
            *luma = pixel[LUMA];
        }
        for (luma, pixel) in second.iter_mut().zip(pairs[1]) {
            *luma = pixel[LUMA];
        }
        for ((chroma, above), below) in chroma.iter_mut().zip(pairs[0]).zip(pairs[1]) {
            *chroma = above[1 - LUMA].midpoint(below[1 - LUMA]);
        }
    }
}

versions! {
    /// The mean of two rows.
    fn mean(above: &[u8], below: &[u8], into: &mut [u8]) {
        for ((into, above), below) in into.iter_mut().zip(above).zip(below) {
            *into = above.midpoint(*below);
        }
    }
}

/// Turns pictures. Allocates only when it meets a wider picture of 4:2:2 than before.
#[derive(Debug, Default)]
pub struct Turner {
    isa: Usable,
    strip: Vec<u8>,
}

impl Turner {
    /// Kernels for a given instruction set.
    pub const fn with_isa(isa: Usable) -> Self {
        Self { isa, strip: Vec::new() }
    }

    /// Writes `picture`, turned as `orientation` says, to `output`. The colorimetry stays.
    ///
    /// # Errors
    /// [`UprightError`] if `output` does not have the format [`turned_format`] and the size
    /// [`turned_size`], or the picture is too small.
    pub fn turn(
        &mut self,
        picture: &Picture<'_>,
        orientation: Orientation,
        output: &mut PictureMut<'_>,
    ) -> Result<(), UprightError> {
        let format = picture.format();
        let wanted_format = turned_format(format);
        let used = used_size(format, picture.size())?;
        let wanted_size = orientation.turned(used);
        if (output.format(), output.size()) != (wanted_format, wanted_size) {
            let (format, size) = (output.format(), output.size());
            return Err(UprightError::Output { format, size, wanted_format, wanted_size });
        }
        match format {
            PixelFormat::Yuyv => self.packed::<0>(picture, used, orientation, output),
            PixelFormat::Uyvy => self.packed::<1>(picture, used, orientation, output),
            PixelFormat::I422 => {
                self.plane(picture, 0, used, orientation, output);
                self.halved_chroma(picture, used, orientation, output);
            }
            _ => (0..format.plane_count()).for_each(|plane| self.plane(picture, plane, used, orientation, output)),
        }
        Ok(())
    }

    /// Turns rows of samples of `bytes` bytes into plane `plane` of the output.
    fn rows(&self, bytes: usize, places: &Places, from: &Rows<'_>, plane: usize, output: &mut PictureMut<'_>) {
        let (data, stride_bytes) = output.plane_mut(plane);
        let to = &mut Target { data, stride_bytes };
        match bytes {
            1 => turn_1(self.isa, places, from, to),
            2 => turn_2(self.isa, places, from, to),
            3 => turn_3(self.isa, places, from, to),
            _ => turn_4(self.isa, places, from, to),
        }
    }

    /// Turns a whole plane whose samples stay as they are.
    fn plane(
        &self,
        picture: &Picture<'_>,
        plane: usize,
        used: Size,
        orientation: Orientation,
        output: &mut PictureMut<'_>,
    ) {
        let format = picture.format();
        let bytes = sample_bytes(format, plane);
        let (row_bytes, rows) = format.plane_extent(plane, used);
        let source = picture.plane(plane);
        let from = Rows { data: source.data, stride_bytes: source.stride_bytes, first: 0, rows };
        self.rows(bytes, &Places::new(orientation, row_bytes / bytes, rows), &from, plane, output);
    }

    /// Turns packed 4:2:2 into NV12, a strip of rows after the other.
    fn packed<const LUMA: usize>(
        &mut self,
        picture: &Picture<'_>,
        used: Size,
        orientation: Orientation,
        output: &mut PictureMut<'_>,
    ) {
        let (width, height) = (used.width as usize, used.height as usize);
        let mut strip = std::mem::take(&mut self.strip);
        strip.resize(strip.len().max(width * STRIP_ROWS * 3 / 2), 0);
        let source = picture.plane(0);
        let luma_places = Places::new(orientation, width, height);
        let chroma_places = Places::new(orientation, width / 2, height / 2);
        for first in (0..height).step_by(STRIP_ROWS) {
            let rows = STRIP_ROWS.min(height - first);
            let (luma, chroma) = strip.split_at_mut(width * STRIP_ROWS);
            let pairs = luma.chunks_exact_mut(2 * width).zip(chroma.chunks_exact_mut(width)).take(rows / 2);
            for (pair, (luma, chroma)) in pairs.enumerate() {
                let y = first + 2 * pair;
                let (above, below) = luma.split_at_mut(width);
                separate::<LUMA>(self.isa, [source.row(y), source.row(y + 1)], [above, below], chroma);
            }
            let from = Rows { data: luma, stride_bytes: width, first, rows };
            self.rows(1, &luma_places, &from, 0, output);
            let from = Rows { data: chroma, stride_bytes: width, first: first / 2, rows: rows / 2 };
            self.rows(2, &chroma_places, &from, 1, output);
        }
        self.strip = strip;
    }

    /// Turns the chroma planes of planar 4:2:2 into those of I420.
    fn halved_chroma(
        &mut self,
        picture: &Picture<'_>,
        used: Size,
        orientation: Orientation,
        output: &mut PictureMut<'_>,
    ) {
        let (width, height) = (used.width as usize / 2, used.height as usize / 2);
        let mut strip = std::mem::take(&mut self.strip);
        strip.resize(strip.len().max(width * STRIP_ROWS), 0);
        let places = Places::new(orientation, width, height);
        for plane in 1..3 {
            let source = picture.plane(plane);
            for first in (0..height).step_by(STRIP_ROWS) {
                let rows = STRIP_ROWS.min(height - first);
                for (row, into) in strip.chunks_exact_mut(width).take(rows).enumerate() {
                    let y = 2 * (first + row);
                    mean(self.isa, source.row(y), source.row(y + 1), into);
                }
                let from = Rows { data: &strip, stride_bytes: width, first, rows };
                self.rows(1, &places, &from, plane, output);
            }
        }
        self.strip = strip;
    }
}

/// The bytes that move together in a plane: a sample, a pair of chroma samples, or a pixel.
const fn sample_bytes(format: PixelFormat, plane: usize) -> usize {
    match (format, plane) {
        (PixelFormat::Nv12 | PixelFormat::Nv21, 1) => 2,
        (PixelFormat::Rgb24 | PixelFormat::Bgr24, _) => 3,
        (PixelFormat::Rgbx32 | PixelFormat::Bgrx32, _) => 4,
        _ => 1,
    }
}

#[cfg(test)]
mod tests;
