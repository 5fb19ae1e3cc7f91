//! Renders the frames of a scene and their truth.
//!
//! The background and the people are decoded, scaled and converted to luma and chroma once, when
//! the scene is created. A frame then costs a copy of the background, the people drawn over it, and
//! the noise. [`Scene::render`] runs on the capture thread and allocates nothing.

use std::path::Path;

use crate::conditions::Conditions;
use crate::movement::{self, Cutout, Placement};
use crate::noise::Noise;
use crate::options::{SceneName, SceneOptions};
use crate::scene_background::{self, SceneBackground};
use crate::sprite::{Mapping, Sprite};
use crate::table;
use portraitd_media::playback::FrameRate;
use portraitd_media::{
    Colorimetry, FrameFormat, OwnedPicture, PixelFormat, PixelRect, Size, SourceError, image, packed_bytes,
};

/// The exact contents of one frame.
#[derive(Clone, Debug)]
pub struct SceneTruth {
    /// The number of the frame, from 0.
    pub sequence: u64,
    /// The time since frame 0, in seconds.
    pub seconds: f64,
    /// The coverage by people, `Grey`, in the size of the frame: 255 is a person, 0 is the
    /// background.
    pub alpha: OwnedPicture,
    /// The visible people, from left to right.
    pub people: Vec<ScenePerson>,
}

/// A person in one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScenePerson {
    /// The index of the person among those of the scene: the same in every frame.
    pub id: usize,
    /// The bounding box of the visible pixels (those whose alpha is at least a half), in pixels.
    pub bounds: PixelRect,
    /// The box of the head, from the top of the hair to the chin, in pixels. Somebody else may hide
    /// it.
    pub head: PixelRect,
    /// The share of the person's pixels in the picture that nobody else hides, 0 to 1.
    pub visible: f32,
}

/// A scene whose pictures are decoded and scaled.
#[derive(Debug)]
pub struct Scene {
    options: SceneOptions,
    size: Size,
    frame_rate: FrameRate,
    background: SceneBackground,
    sprites: Vec<Sprite>,
    noise: Option<Noise>,
    conditions: Option<Conditions>,
}

/// Memory that [`Scene::render`] needs for packed formats and for conditions. The caller keeps it, so
/// that rendering allocates nothing.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Rows of the planes of a packed frame, or all of them.
    rows: Vec<u8>,
    /// A copy of a plane.
    plane: Vec<u8>,
}

/// The darkest part of a person's shadow on the wall, and on the floor under the feet, in 1/256 of
/// the light.
const WALL_SHADOW: u32 = 70;
const FLOOR_SHADOW: u32 = 120;

impl Scene {
    /// Decodes and scales the pictures of the scene. Without a size and rate in `options`:
    /// 1280x720, 30 frames a second.
    ///
    /// # Errors
    /// [`SourceError::Unsupported`] for a size or pixel format in which scenes are not rendered.
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
        let background =
            image::decode(scene_background::encoded(name), Path::new("built-in background")).map_err(broken)?;
        let person_px = movement::max_height(name) * f64::from(size.height);
        let mut sprites = Vec::new();
        for cutout in movement::people(name) {
            let photograph = photograph(*cutout);
            let picture = image::decode_rgba(photograph.encoded, Path::new("built-in cutout")).map_err(broken)?;
            sprites.push(Sprite::new(&picture, photograph.visible_part, person_px, photograph.light));
        }
        Ok(Self {
            size,
            frame_rate: options.frame_rate.unwrap_or(FrameRate::DEFAULT),
            background: SceneBackground::new(&background, size),
            sprites,
            noise: Noise::new(options.noise, options.seed),
            conditions: Conditions::new(options),
            options: options.clone(),
        })
    }

    /// The options from which the scene was created.
    pub const fn options(&self) -> &SceneOptions {
        &self.options
    }

    /// The frame rate, in frames a second.
    pub const fn frame_rate(&self) -> FrameRate {
        self.frame_rate
    }

    /// The format of the frames: `Nv12` or `Yuyv`, packed.
    pub fn format(&self) -> FrameFormat {
        let rate = self.frame_rate.per_second();
        FrameFormat::packed(self.options.pixel_format, self.size, Colorimetry::default(), rate)
    }

    /// The time, in seconds, after which everybody is in the first position again.
    pub const fn period_seconds(&self) -> f64 {
        movement::period_seconds(self.options.name)
    }

    /// The number of frames in one period, at least 1.
    pub fn period_frames(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 35 s x 1000")]
        let frames = (self.period_seconds() * f64::from(self.frame_rate.per_second())).round() as u64;
        frames.max(1)
    }

    /// The time of frame `sequence` since frame 0, in seconds.
    pub fn seconds(&self, sequence: u64) -> f64 {
        self.frame_rate.nanoseconds(sequence) as f64 / 1e9
    }

    /// The position of each person in frame `sequence`, also outside the picture; the person
    /// farthest from the camera first.
    pub fn placements(&self, sequence: u64) -> impl Iterator<Item = (Cutout, Placement)> {
        let (name, seconds) = (self.options.name, self.seconds(sequence));
        movement::people(name)
            .iter()
            .enumerate()
            .map(move |(index, cutout)| (*cutout, movement::placement(name, index, seconds)))
    }

    fn has_table(&self) -> bool {
        self.options.name == SceneName::Group
    }

    /// Each sprite of frame `sequence` with its mapping to the luma plane.
    fn mapped(&self, sequence: u64) -> impl Iterator<Item = (&Sprite, Mapping)> {
        let (width, height) = (f64::from(self.size.width), f64::from(self.size.height));
        self.sprites.iter().zip(self.placements(sequence)).map(move |(sprite, (_, placement))| {
            let scale = placement.height * height * sprite.visible_part / sprite.luma.height() as f64;
            let x = placement.center_x * width - sprite.luma.width() as f64 * scale / 2.0;
            (sprite, Mapping { x, y: placement.top * height, scale })
        })
    }

    /// Renders frame `sequence` to `out`, which must have [`packed_bytes`] bytes for the format and
    /// size of the scene.
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn render(&self, sequence: u64, scratch: &mut Scratch, out: &mut [u8]) {
        assert_eq!(out.len(), packed_bytes(self.options.pixel_format, self.size), "a buffer of exactly one frame");
        let width = self.size.width as usize;
        let pairs = self.size.height as usize / 2;
        let Scratch { rows: memory, plane } = scratch;
        if self.options.pixel_format == PixelFormat::Nv12 {
            self.render_planes(sequence, out, plane);
        } else if self.conditions.is_some() {
            memory.resize(width * pairs * 3, 0);
            self.render_planes(sequence, memory, plane);
            let (luma, chroma) = memory.split_at(width * pairs * 2);
            let planes = luma.chunks_exact(width * 2).zip(chroma.chunks_exact(width));
            for ((rows, chroma), packed) in planes.zip(out.chunks_exact_mut(width * 4)) {
                pack(rows, chroma, packed);
            }
        } else {
            memory.resize(width * 3, 0);
            let (rows, chroma) = memory.split_at_mut(width * 2);
            for (pair, packed) in out.chunks_exact_mut(width * 4).enumerate() {
                self.render_pair(sequence, pair, rows, chroma);
                pack(rows, chroma, packed);
            }
        }
    }

    /// Renders a frame in NV12, under the conditions of the scene. `scratch` is memory for a plane.
    fn render_planes(&self, sequence: u64, out: &mut [u8], scratch: &mut Vec<u8>) {
        let width = self.size.width as usize;
        let (luma, chroma) = out.split_at_mut(width * self.size.height as usize);
        let planes = luma.chunks_exact_mut(width * 2).zip(chroma.chunks_exact_mut(width));
        for (pair, (rows, chroma)) in planes.enumerate() {
            self.render_pair(sequence, pair, rows, chroma);
        }
        if let Some(conditions) = &self.conditions {
            conditions.apply((sequence, self.size), luma, chroma, self.noise.as_ref(), scratch);
        }
    }

    /// Renders rows `2 * pair` and `2 * pair + 1` of the luma plane and row `pair` of the chroma
    /// plane. With conditions, the noise is left to them.
    fn render_pair(&self, sequence: u64, pair: usize, rows: &mut [u8], chroma: &mut [u8]) {
        let width = self.size.width as usize;
        let noise = self.noise.as_ref().filter(|_| self.conditions.is_none());
        for (y, row) in (pair * 2..).zip(rows.chunks_exact_mut(width)) {
            row.copy_from_slice(&self.background.luma[y * width..(y + 1) * width]);
            for (sprite, mapping) in self.mapped(sequence) {
                self.draw_shadow(sprite, mapping, y, row);
            }
            for (sprite, mapping) in self.mapped(sequence) {
                sprite.luma.sample_row(mapping, y, width, |x, [luma, alpha]| row[x] = over(row[x], luma, alpha));
            }
            if self.has_table() {
                table::draw_luma(self.size, y, row);
            }
            if let Some(noise) = noise {
                noise.add_to_luma(sequence, y, row);
            }
        }
        chroma.copy_from_slice(&self.background.chroma[pair * width..(pair + 1) * width]);
        for (sprite, mapping) in self.mapped(sequence) {
            // The chroma layer and the chroma plane have half the size: the origin is halved, and
            // the scale is the same.
            let half = Mapping { x: mapping.x / 2.0, y: mapping.y / 2.0, scale: mapping.scale };
            sprite.chroma.sample_row(half, pair, width / 2, |x, [cb, cr, alpha]| {
                chroma[2 * x] = over(chroma[2 * x], cb, alpha);
                chroma[2 * x + 1] = over(chroma[2 * x + 1], cr, alpha);
            });
        }
        if self.has_table() {
            table::draw_chroma(self.size, pair, chroma);
        }
        if let Some(noise) = noise {
            noise.add_to_chroma(sequence, pair, chroma);
        }
    }

    /// Draws the shadow of one person on row `y`: the whole outline on the wall, shifted to the
    /// right because the window is on the left; in the large room, an ellipse on the floor under
    /// the feet.
    fn draw_shadow(&self, sprite: &Sprite, mapping: Mapping, y: usize, row: &mut [u8]) {
        let darken = |byte: u8, amount: u32| {
            let light = u32::from(byte.saturating_sub(16)) * (256 - amount) / 256;
            16 + u8::try_from(light).unwrap_or(u8::MAX - 16)
        };
        let width = sprite.luma.width() as f64 * mapping.scale;
        let height = sprite.luma.height() as f64 * mapping.scale;
        if matches!(self.options.name, SceneName::Wide | SceneName::Ends | SceneName::Pass) {
            let (radius_x, radius_y) = (width * 0.85, height * 0.035);
            let (middle_x, middle_y) = (mapping.x + width * 0.62, mapping.y + height * 0.985);
            let down = ((y as f64 - middle_y) / radius_y).powi(2);
            if down >= 1.0 {
                return;
            }
            for (x, byte) in row.iter_mut().enumerate() {
                let distance = ((x as f64 - middle_x) / radius_x).powi(2) + down;
                if distance < 1.0 {
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=FLOOR_SHADOW")]
                    let amount = (f64::from(FLOOR_SHADOW) * (1.0 - distance).powi(2)) as u32;
                    *byte = darken(*byte, amount);
                }
            }
            return;
        }
        let step = Sprite::SHADOW_STEP as f64 * mapping.scale;
        let margin = Sprite::SHADOW_MARGIN as f64 * step;
        // Slightly below and to the right of the person.
        let shadow =
            Mapping { x: mapping.x + width * 0.14 - margin, y: mapping.y + height * 0.03 - margin, scale: step };
        sprite.shadow.sample_row(shadow, y, row.len(), |x, [amount]| {
            row[x] = darken(row[x], u32::from(amount) * WALL_SHADOW / 256);
        });
    }

    /// The truth of frame `sequence`. Allocates.
    pub fn truth(&self, sequence: u64) -> SceneTruth {
        let width = self.size.width as usize;
        let mut alpha = OwnedPicture::zeroed(PixelFormat::Grey, self.size, Colorimetry::default())
            .expect("a scene's size has pixels");
        // The person to whom each pixel belongs, from 1: the last one drawn there with an alpha of
        // at least a half.
        let mut owner = vec![0_usize; alpha.bytes().len()];
        let mut pixels = vec![0_u32; self.sprites.len()];
        for (person, (sprite, mapping)) in self.mapped(sequence).enumerate() {
            let rows = alpha.bytes_mut().chunks_exact_mut(width).zip(owner.chunks_exact_mut(width));
            for (y, (row, owner)) in rows.enumerate() {
                let table = if self.has_table() { table::columns(self.size, y) } else { 0..0 };
                sprite.luma.sample_row(mapping, y, width, |x, [_, alpha]| {
                    if table.contains(&x) {
                        return;
                    }
                    row[x] = 255 - over(255 - row[x], 0, alpha);
                    if alpha >= 128 {
                        owner[x] = person + 1;
                        pixels[person] += 1;
                    }
                });
            }
        }
        let heads =
            self.mapped(sequence).zip(movement::people(self.options.name)).map(|((sprite, mapping), cutout)| {
                let [x, y, width, height] = photograph(*cutout).head;
                let (full_width, full_height) = (sprite.luma.width() as f32, sprite.luma.height() as f32);
                #[expect(clippy::cast_possible_truncation, reason = "positions are a few thousand pixels")]
                let [left, top, scale] = [mapping.x, mapping.y, mapping.scale].map(|value| value as f32);
                let part = PixelRect::new(x * full_width, y * full_height, width * full_width, height * full_height);
                let part = part.scaled(scale, scale);
                PixelRect { x: left + part.x, y: top + part.y, ..part }
            });
        let mut people: Vec<_> = heads
            .zip(pixels)
            .enumerate()
            .filter_map(|(id, (head, pixels))| {
                let (bounds, shown) = bounds(&owner, width, id + 1)?;
                Some(ScenePerson { id, bounds, head, visible: shown as f32 / pixels as f32 })
            })
            .collect();
        people.sort_by(|a, b| a.bounds.x.total_cmp(&b.bounds.x));
        SceneTruth { sequence, seconds: self.seconds(sequence), alpha, people }
    }

    /// Renders frame `sequence` to a new picture. Allocates.
    pub fn picture(&self, sequence: u64) -> OwnedPicture {
        let mut picture = OwnedPicture::zeroed(self.options.pixel_format, self.size, Colorimetry::default())
            .expect("a scene's size has pixels");
        self.render(sequence, &mut Scratch::default(), picture.bytes_mut());
        picture
    }
}

/// Packs two rows of luma and their row of chroma as YUYV.
fn pack(rows: &[u8], chroma: &[u8], packed: &mut [u8]) {
    let width = chroma.len();
    for (row, packed) in rows.chunks_exact(width).zip(packed.chunks_exact_mut(width * 2)) {
        let pixels = row.chunks_exact(2).zip(chroma.chunks_exact(2));
        for (packed, (luma, chroma)) in packed.chunks_exact_mut(4).zip(pixels) {
            packed.copy_from_slice(&[luma[0], chroma[0], luma[1], chroma[1]]);
        }
    }
}

/// The smallest rectangle that contains every pixel of `wanted`, and their number; `None` if there
/// is none.
fn bounds(owner: &[usize], width: usize, wanted: usize) -> Option<(PixelRect, u32)> {
    let (mut left, mut right, mut top, mut bottom, mut pixels) = (usize::MAX, 0, usize::MAX, 0, 0);
    for (y, row) in owner.chunks_exact(width).enumerate() {
        for (x, _) in row.iter().enumerate().filter(|(_, owner)| **owner == wanted) {
            (left, right) = (left.min(x), right.max(x + 1));
            (top, bottom) = (top.min(y), y + 1);
            pixels += 1;
        }
    }
    let bounds = || PixelRect::new(left as f32, top as f32, (right - left) as f32, (bottom - top) as f32);
    (right > 0).then(|| (bounds(), pixels))
}

/// Composites `front`, which is premultiplied by `alpha`, over `back`.
fn over(back: u8, front: u8, alpha: u8) -> u8 {
    let rest = (u16::from(back) * u16::from(255 - alpha) + 127) / 255;
    front.saturating_add(u8::try_from(rest).unwrap_or(u8::MAX))
}

/// A photograph of a person.
struct Photograph {
    /// RGBA, encoded.
    encoded: &'static [u8],
    /// As [`Sprite::visible_part`].
    visible_part: f64,
    /// The brightness of the left and right sides.
    light: [f32; 2],
    /// The head, from the top of the hair to the chin: x, y, width and height as fractions of the
    /// photograph, measured on its alpha.
    head: [f32; 4],
}

const fn photograph(cutout: Cutout) -> Photograph {
    let (encoded, visible_part, light, head): (&'static [u8], _, _, _) = match cutout {
        Cutout::A => (include_bytes!("../../assets/person-a.png"), 1.0, [1.16, 0.98], [0.390, 0.008, 0.336, 0.121]),
        Cutout::B => (include_bytes!("../../assets/person-b.png"), 0.60, [1.06, 0.90], [0.355, 0.010, 0.362, 0.210]),
        Cutout::C => (include_bytes!("../../assets/person-c.png"), 1.0, [1.16, 0.98], [0.324, 0.006, 0.352, 0.118]),
    };
    Photograph { encoded, visible_part, light, head }
}

#[cfg(test)]
mod tests;
