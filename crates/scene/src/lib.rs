//! A synthetic camera whose truth is known: photographed people with a matte move along known paths through a rendered
//! room, with a sensor's noise. For the demo, for tests, and for trying a board without a camera.
//!
//! A frame is a pure function of the scene's options and its number, and so is its truth ([`Scene::truth`]): tests may
//! ask for any frame in any order. The room and the people are decoded, scaled and turned into luma and chroma once, when
//! the scene is made; a frame then costs a copy of the room, the people drawn over it, and noise. Runs on the capture
//! thread, allocates nothing a frame. Pixels are BT.601, limited range, as webcams deliver them.
//!
//! How it was made and why: `docs/design/scene.md`. Who took the photographs: `crates/scene/assets/README.md`.

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "tests make small pictures from loop counters; what ships is linted without `test`"
    )
)]

mod noise;
mod options;
mod path;
mod resample;
mod room;
mod sprite;
mod stream;

pub use options::{SceneName, SceneOptions};
pub use path::{Person, Placement};
pub use stream::SceneSource;

use std::path::Path;

use noise::Noise;
use room::Room;
use sprite::{Mapping, Sprite};

use portraitd_media::playback::FrameRate;
use portraitd_media::{SourceError, FrameFormat};
use portraitd_media::{Colorimetry, OwnedPicture, PixelFormat, PixelRect, Size, image, packed_bytes};

/// What is true of one frame.
#[derive(Clone, Debug)]
pub struct SceneTruth {
    /// The frame's number.
    pub sequence: u64,
    /// Time since the scene began, seconds.
    pub seconds: f64,
    /// `Grey`, of the frame's size: 255 is a person, 0 is the room.
    pub alpha: OwnedPicture,
    /// The visible part (alpha of a half and more) of each person who can be seen, in pixels; from the left.
    pub people: Vec<PixelRect>,
}

/// A scene, ready to be rendered.
#[derive(Debug)]
pub struct Scene {
    options: SceneOptions,
    size: Size,
    frame_rate: FrameRate,
    room: Room,
    sprites: Vec<Sprite>,
    noise: Option<Noise>,
}

/// Memory that [`Scene::render`] needs for packed formats; kept by the caller so that a frame allocates nothing.
#[derive(Debug, Default)]
pub struct Scratch {
    rows: Vec<u8>,
}

/// How much darker a wall is in the deepest of a person's shade, and the floor under the feet, of 256.
const WALL_SHADE: u32 = 70;
const FLOOR_SHADE: u32 = 120;

impl Scene {
    /// Decodes and scales what the scene shows. Where `options` leave size and rate open: 1280x720, 30 a second.
    ///
    /// # Errors
    /// [`SourceError::Unsupported`] for a size or pixel format that a scene does not have.
    pub fn new(options: &SceneOptions) -> Result<Self, SourceError> {
        let unsupported = |reason| SourceError::Unsupported { source_name: options.to_string(), reason };
        let size = options.size.unwrap_or(Size::new(1280, 720));
        if !SceneOptions::allows(size) {
            let (least, most) = SceneOptions::SIZES;
            return Err(unsupported(format!("a scene of {size}: even sizes from {least} to {most} are rendered")));
        }
        if !matches!(options.pixel_format, PixelFormat::Nv12 | PixelFormat::Yuyv) {
            return Err(unsupported(format!("a scene in {}: NV12 and YUYV are rendered", options.pixel_format)));
        }
        let name = options.name;
        let broken = |error: image::ImageError| unsupported(error.to_string());
        let room = image::decode(room::encoded(name), Path::new("built-in room")).map_err(broken)?;
        let person_px = path::tallest(name) * f64::from(size.height);
        let mut sprites = Vec::new();
        for person in path::people(name) {
            let (encoded, shown, light) = photograph(*person);
            let picture = image::decode_rgba(encoded, Path::new("built-in person")).map_err(broken)?;
            sprites.push(Sprite::new(&picture, shown, person_px, light));
        }
        Ok(Self {
            size,
            frame_rate: options.frame_rate.unwrap_or(FrameRate::DEFAULT),
            room: Room::new(&room, size),
            sprites,
            noise: Noise::new(options.noise, options.seed),
            options: options.clone(),
        })
    }

    /// What it was made from.
    pub const fn options(&self) -> &SceneOptions {
        &self.options
    }

    /// Its frames a second.
    pub const fn frame_rate(&self) -> FrameRate {
        self.frame_rate
    }

    /// The format of its frames.
    pub fn format(&self) -> FrameFormat {
        let rate = self.frame_rate.per_second();
        FrameFormat::packed(self.options.pixel_format, self.size, Colorimetry::default(), rate)
    }

    /// After so many seconds everybody is where they were at the beginning.
    pub const fn period_seconds(&self) -> f64 {
        path::period_seconds(self.options.name)
    }

    /// The number of frames in one period, at least 1.
    pub fn period_frames(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 35 s x 1000")]
        let frames = (self.period_seconds() * f64::from(self.frame_rate.per_second())).round() as u64;
        frames.max(1)
    }

    /// The time of frame `sequence` since the beginning.
    pub fn seconds(&self, sequence: u64) -> f64 {
        self.frame_rate.nanoseconds(sequence) as f64 / 1e9
    }

    /// Where everybody is in frame `sequence`, the farthest first, in the picture or not.
    pub fn placements(&self, sequence: u64) -> impl Iterator<Item = (Person, Placement)> {
        let (name, seconds) = (self.options.name, self.seconds(sequence));
        path::people(name)
            .iter()
            .enumerate()
            .map(move |(index, person)| (*person, path::placement(name, index, seconds)))
    }

    /// Each sprite with its mapping to the luma plane.
    fn mapped(&self, sequence: u64) -> impl Iterator<Item = (&Sprite, Mapping)> {
        let (width, height) = (f64::from(self.size.width), f64::from(self.size.height));
        self.sprites.iter().zip(self.placements(sequence)).map(move |(sprite, (_, placement))| {
            let scale = placement.height * height * sprite.shown / sprite.luma.height() as f64;
            let x = placement.center_x * width - sprite.luma.width() as f64 * scale / 2.0;
            (sprite, Mapping { x, y: placement.top * height, scale })
        })
    }

    /// Renders frame `sequence` into `out`, which has [`packed_bytes`] of the format and size.
    ///
    /// # Panics
    /// If `out` is of another length.
    pub fn render(&self, sequence: u64, scratch: &mut Scratch, out: &mut [u8]) {
        assert_eq!(out.len(), packed_bytes(self.options.pixel_format, self.size), "a buffer of exactly one frame");
        let width = self.size.width as usize;
        let pairs = self.size.height as usize / 2;
        if self.options.pixel_format == PixelFormat::Nv12 {
            let (luma, chroma) = out.split_at_mut(width * pairs * 2);
            for (pair, (rows, chroma)) in
                luma.chunks_exact_mut(width * 2).zip(chroma.chunks_exact_mut(width)).enumerate()
            {
                self.render_pair(sequence, pair, rows, chroma);
            }
            return;
        }
        scratch.rows.resize(width * 3, 0);
        let (rows, chroma) = scratch.rows.split_at_mut(width * 2);
        for (pair, packed) in out.chunks_exact_mut(width * 4).enumerate() {
            self.render_pair(sequence, pair, rows, chroma);
            for (row, packed) in rows.chunks_exact(width).zip(packed.chunks_exact_mut(width * 2)) {
                let pixels = row.chunks_exact(2).zip(chroma.chunks_exact(2));
                for (packed, (luma, chroma)) in packed.chunks_exact_mut(4).zip(pixels) {
                    packed.copy_from_slice(&[luma[0], chroma[0], luma[1], chroma[1]]);
                }
            }
        }
    }

    /// Renders rows `2 * pair` and `2 * pair + 1` of the luma and row `pair` of the chroma.
    fn render_pair(&self, sequence: u64, pair: usize, rows: &mut [u8], chroma: &mut [u8]) {
        let width = self.size.width as usize;
        for (y, row) in (pair * 2..).zip(rows.chunks_exact_mut(width)) {
            row.copy_from_slice(&self.room.luma[y * width..(y + 1) * width]);
            for (sprite, mapping) in self.mapped(sequence) {
                self.shade_row(sprite, mapping, y, row);
            }
            for (sprite, mapping) in self.mapped(sequence) {
                sprite.luma.sample_row(mapping, y, width, |x, [luma, alpha]| row[x] = over(row[x], luma, alpha));
            }
            if let Some(noise) = &self.noise {
                noise.add_to_luma(sequence, y, row);
            }
        }
        chroma.copy_from_slice(&self.room.chroma[pair * width..(pair + 1) * width]);
        for (sprite, mapping) in self.mapped(sequence) {
            // Half the size in a plane of half the size: the origin is halved, the scale stays.
            let half = Mapping { x: mapping.x / 2.0, y: mapping.y / 2.0, scale: mapping.scale };
            sprite.chroma.sample_row(half, pair, width / 2, |x, [cb, cr, alpha]| {
                chroma[2 * x] = over(chroma[2 * x], cb, alpha);
                chroma[2 * x + 1] = over(chroma[2 * x + 1], cr, alpha);
            });
        }
        if let Some(noise) = &self.noise {
            noise.add_to_chroma(sequence, pair, chroma);
        }
    }

    /// The shade of one person on row `y`: of the whole outline on the wall, to the right because the window is on the
    /// left; in the wide room, of the feet on the floor.
    fn shade_row(&self, sprite: &Sprite, mapping: Mapping, y: usize, row: &mut [u8]) {
        let darken = |byte: u8, amount: u32| {
            let light = u32::from(byte.saturating_sub(16)) * (256 - amount) / 256;
            16 + u8::try_from(light).unwrap_or(u8::MAX - 16)
        };
        let width = sprite.luma.width() as f64 * mapping.scale;
        let height = sprite.luma.height() as f64 * mapping.scale;
        if self.options.name == SceneName::Wide {
            let (radius_x, radius_y) = (width * 0.85, height * 0.035);
            let (middle_x, middle_y) = (mapping.x + width * 0.62, mapping.y + height * 0.985);
            let down = ((y as f64 - middle_y) / radius_y).powi(2);
            if down >= 1.0 {
                return;
            }
            for (x, byte) in row.iter_mut().enumerate() {
                let distance = ((x as f64 - middle_x) / radius_x).powi(2) + down;
                if distance < 1.0 {
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=FLOOR_SHADE")]
                    let amount = (f64::from(FLOOR_SHADE) * (1.0 - distance).powi(2)) as u32;
                    *byte = darken(*byte, amount);
                }
            }
            return;
        }
        let step = Sprite::SHADE_STEP as f64 * mapping.scale;
        let margin = Sprite::SHADE_MARGIN as f64 * step;
        // A little larger than the person and down to the right.
        let shade =
            Mapping { x: mapping.x + width * 0.14 - margin, y: mapping.y + height * 0.03 - margin, scale: step };
        sprite.shade.sample_row(shade, y, row.len(), |x, [amount]| {
            row[x] = darken(row[x], u32::from(amount) * WALL_SHADE / 256);
        });
    }

    /// What is true of frame `sequence`. Allocates.
    pub fn truth(&self, sequence: u64) -> SceneTruth {
        let width = self.size.width as usize;
        let mut alpha = OwnedPicture::zeroed(PixelFormat::Grey, self.size, Colorimetry::default())
            .expect("a scene's size has pixels");
        // Whose pixel it is: the last one drawn there with half of the alpha or more; counted from 1.
        let mut owner = vec![0_usize; alpha.bytes().len()];
        for (person, (sprite, mapping)) in self.mapped(sequence).enumerate() {
            let rows = alpha.bytes_mut().chunks_exact_mut(width).zip(owner.chunks_exact_mut(width));
            for (y, (row, owner)) in rows.enumerate() {
                sprite.luma.sample_row(mapping, y, width, |x, [_, alpha]| {
                    row[x] = 255 - over(255 - row[x], 0, alpha);
                    if alpha >= 128 {
                        owner[x] = person + 1;
                    }
                });
            }
        }
        let mut people: Vec<_> = (1..=self.sprites.len()).filter_map(|person| bounds(&owner, width, person)).collect();
        people.sort_by(|a, b| a.x.total_cmp(&b.x));
        SceneTruth { sequence, seconds: self.seconds(sequence), alpha, people }
    }

    /// Frame `sequence` in memory of its own. Allocates.
    pub fn picture(&self, sequence: u64) -> OwnedPicture {
        let mut picture = OwnedPicture::zeroed(self.options.pixel_format, self.size, Colorimetry::default())
            .expect("a scene's size has pixels");
        self.render(sequence, &mut Scratch::default(), picture.bytes_mut());
        picture
    }
}

/// The smallest rectangle about every place that holds `wanted`.
fn bounds(owner: &[usize], width: usize, wanted: usize) -> Option<PixelRect> {
    let (mut left, mut right, mut top, mut bottom) = (usize::MAX, 0, usize::MAX, 0);
    for (y, row) in owner.chunks_exact(width).enumerate() {
        for (x, _) in row.iter().enumerate().filter(|(_, owner)| **owner == wanted) {
            (left, right) = (left.min(x), right.max(x + 1));
            (top, bottom) = (top.min(y), y + 1);
        }
    }
    (right > 0).then(|| PixelRect::new(left as f32, top as f32, (right - left) as f32, (bottom - top) as f32))
}

/// `front`, premultiplied by `alpha`, over `back`.
fn over(back: u8, front: u8, alpha: u8) -> u8 {
    let rest = (u16::from(back) * u16::from(255 - alpha) + 127) / 255;
    front.saturating_add(u8::try_from(rest).unwrap_or(u8::MAX))
}

/// The photograph of a person with alpha, which part of the person it shows, and the light on both sides.
const fn photograph(person: Person) -> (&'static [u8], f64, [f32; 2]) {
    match person {
        Person::A => (include_bytes!("../assets/person-a.png"), 1.0, [1.16, 0.98]),
        Person::B => (include_bytes!("../assets/person-b.png"), 0.60, [1.06, 0.90]),
        Person::C => (include_bytes!("../assets/person-c.png"), 1.0, [1.16, 0.98]),
    }
}

#[cfg(test)]
mod tests;
