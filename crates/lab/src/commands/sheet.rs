//! The contact sheet of the demo. Each row shows one frame: the source with boxes and crop, mask,
//! view and composite.

use std::path::Path;

use portraitd_media::{Colorimetry, OwnedPicture, PixelFormat, PixelRect, Size, image};
use portraitd_render::ViewRenderer;

/// The size of a picture on the sheet, in pixels.
const CELL: Size = Size::new(320, 180);
const GAP: u32 = 8;
const HEADER: u32 = 28;
const MARGIN: u32 = 64;
const PAPER: [u8; 3] = [24, 26, 30];
const INK: [u8; 3] = [220, 224, 230];
const CROP: [u8; 3] = [255, 196, 0];
const PERSON: [u8; 3] = [0, 220, 120];
const COLUMNS: [&str; 4] = ["source", "mask", "view", "composite"];

/// One row of the sheet.
pub(super) struct Row {
    /// Time since the start of the scene.
    pub(super) seconds: f64,
    /// Source, mask, view and composite: RGB24 or grey, in any size.
    pub(super) pictures: Vec<OwnedPicture>,
    /// The crop of the view, in pixels of the source.
    pub(super) crop: PixelRect,
    /// The boxes of people, in pixels of the source.
    pub(super) people: Vec<PixelRect>,
}

/// Draws the sheet and writes it as PNG.
pub(super) fn write(path: &Path, rows: &[Row]) -> anyhow::Result<()> {
    let count = u32::try_from(rows.len())?;
    let size = Size::new(MARGIN + 4 * (CELL.width + GAP), HEADER + count * (CELL.height + GAP));
    let mut sheet = Sheet { size, picture: OwnedPicture::zeroed(PixelFormat::Rgb24, size, Colorimetry::default())? };
    sheet.picture.bytes_mut().chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&PAPER));
    for (column, title) in (0..).zip(COLUMNS) {
        sheet.text(MARGIN + column * (CELL.width + GAP) + 4, 8, title);
    }
    for (index, row) in (0..).zip(rows) {
        let y = HEADER + index * (CELL.height + GAP);
        sheet.text(6, y + CELL.height / 2 - 7, &format!("{:.1}s", row.seconds));
        for (column, picture) in (0..).zip(&row.pictures) {
            let x = MARGIN + column * (CELL.width + GAP);
            sheet.cell(x, y, picture)?;
            if column == 0 {
                let scale = CELL.width as f32 / picture.size().width as f32;
                for person in &row.people {
                    sheet.outline(x, y, person.scaled(scale, scale), PERSON);
                }
                sheet.outline(x, y, row.crop.scaled(scale, scale), CROP);
            }
        }
    }
    image::write_png(path, &sheet.picture.as_picture())?;
    Ok(())
}

struct Sheet {
    size: Size,
    picture: OwnedPicture,
}

impl Sheet {
    fn pixel(&mut self, x: u32, y: u32, color: [u8; 3]) {
        if x < self.size.width && y < self.size.height {
            let start = (y as usize * self.size.width as usize + x as usize) * 3;
            self.picture.bytes_mut()[start..start + 3].copy_from_slice(&color);
        }
    }

    /// Draws the picture, scaled to a cell, with its top left corner at (`x`, `y`).
    fn cell(&mut self, x: u32, y: u32, picture: &OwnedPicture) -> anyhow::Result<()> {
        // The scaler does not convert between grey and colour.
        let format = picture.format();
        let mut small = OwnedPicture::zeroed(format, CELL, Colorimetry::default())?;
        ViewRenderer::new().render(
            &picture.as_picture(),
            PixelRect::of_size(picture.size()),
            &mut small.as_picture_mut(),
        )?;
        let channels = if format == PixelFormat::Grey { 1 } else { 3 };
        let width = CELL.width as usize;
        for (index, from) in small.bytes().chunks_exact(channels).enumerate() {
            let color = if channels == 1 { [from[0]; 3] } else { [from[0], from[1], from[2]] };
            let (column, row) = (u32::try_from(index % width)?, u32::try_from(index / width)?);
            self.pixel(x + column, y + row, color);
        }
        Ok(())
    }

    /// Draws a rectangle with lines of two pixels. `bounds` is relative to the cell at (`x`, `y`)
    /// and clipped to it.
    fn outline(&mut self, x: u32, y: u32, bounds: PixelRect, color: [u8; 3]) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the cell")]
        let within = |value: f32, most: u32| value.clamp(0.0, most as f32) as u32;
        let (left, right) = (within(bounds.x, CELL.width - 1), within(bounds.right(), CELL.width) - 1);
        let (top, bottom) = (within(bounds.y, CELL.height - 1), within(bounds.bottom(), CELL.height) - 1);
        for thickness in 0..2 {
            for column in left..=right {
                self.pixel(x + column, y + (top + thickness).min(bottom), color);
                self.pixel(x + column, y + bottom.saturating_sub(thickness).max(top), color);
            }
            for row in top..=bottom {
                self.pixel(x + (left + thickness).min(right), y + row, color);
                self.pixel(x + right.saturating_sub(thickness).max(left), y + row, color);
            }
        }
    }

    /// Draws text. Each dot of a glyph is two by two pixels.
    fn text(&mut self, x: u32, y: u32, text: &str) {
        for (index, letter) in (0..).zip(text.chars()) {
            for (row, bits) in (0..).zip(glyph(letter)) {
                for column in 0..5 {
                    if bits & (16 >> column) != 0 {
                        let (left, top) = (x + index * 12 + column * 2, y + row * 2);
                        for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                            self.pixel(left + dx, top + dy, INK);
                        }
                    }
                }
            }
        }
    }
}

/// The glyph of a letter: seven rows of five bits. Only the letters of the sheet are defined.
const fn glyph(letter: char) -> [u8; 7] {
    match letter {
        '0' => [14, 17, 19, 21, 25, 17, 14],
        '1' => [4, 12, 4, 4, 4, 4, 14],
        '2' => [14, 17, 1, 6, 8, 16, 31],
        '3' => [14, 17, 1, 6, 1, 17, 14],
        '4' => [2, 6, 10, 18, 31, 2, 2],
        '5' => [31, 16, 30, 1, 1, 17, 14],
        '6' => [6, 8, 16, 30, 17, 17, 14],
        '7' => [31, 1, 2, 4, 8, 8, 8],
        '8' => [14, 17, 17, 14, 17, 17, 14],
        '9' => [14, 17, 17, 15, 1, 2, 12],
        '.' => [0, 0, 0, 0, 0, 12, 12],
        'a' => [0, 0, 14, 1, 15, 17, 15],
        'c' => [0, 0, 14, 16, 16, 17, 14],
        'e' => [0, 0, 14, 17, 31, 16, 14],
        'i' => [4, 0, 12, 4, 4, 4, 14],
        'k' => [16, 16, 18, 20, 24, 20, 18],
        'm' => [0, 0, 26, 21, 21, 17, 17],
        'o' => [0, 0, 14, 17, 17, 17, 14],
        'p' => [0, 0, 30, 17, 30, 16, 16],
        'r' => [0, 0, 22, 25, 16, 16, 16],
        's' => [0, 0, 14, 16, 14, 1, 30],
        't' => [8, 8, 28, 8, 8, 9, 6],
        'u' => [0, 0, 17, 17, 17, 19, 13],
        'v' => [0, 0, 17, 17, 17, 10, 4],
        'w' => [0, 0, 17, 17, 21, 21, 10],
        _ => [0; 7],
    }
}
