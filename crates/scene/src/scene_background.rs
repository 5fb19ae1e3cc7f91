//! The backgrounds of the scenes: rendered pictures of a room, scaled once to the size of the
//! stream and converted to planes of luma and chroma.

use super::options::SceneName;
use super::resample::Raster;
use super::sprite::{to_byte, to_ycbcr};
use portraitd_media::{OwnedPicture, Size};

const NEAR: &[u8] = include_bytes!("../assets/room-near.jpg");
const WIDE: &[u8] = include_bytes!("../assets/room-wide.jpg");

/// The encoded background (JPEG) of a scene.
pub(super) const fn encoded(name: SceneName) -> &'static [u8] {
    match name {
        SceneName::Wide | SceneName::Ends | SceneName::Pass => WIDE,
        _ => NEAR,
    }
}

/// A background without people, shadows and noise, packed: luma, and interleaved Cb and Cr at half
/// the width and height.
#[derive(Debug)]
pub(super) struct SceneBackground {
    pub(super) luma: Vec<u8>,
    pub(super) chroma: Vec<u8>,
}

impl SceneBackground {
    /// Scales `picture` (`Rgb24`) so that it fills `size`. If the aspect ratios differ, both sides
    /// are cropped equally.
    pub(super) fn new(picture: &OwnedPicture, size: Size) -> Self {
        let from = picture.size();
        let (from_width, from_height) = (from.width as f32, from.height as f32);
        let scale = (from_width / size.width as f32).min(from_height / size.height as f32);
        let (width, height) = (size.width as f32 * scale, size.height as f32 * scale);
        let part = [(from_width - width) / 2.0, (from_height - height) / 2.0, width, height];
        let values = picture
            .bytes()
            .chunks_exact(3)
            .flat_map(|rgb| to_ycbcr([rgb[0], rgb[1], rgb[2]].map(|value| f32::from(value) / 255.0)))
            .collect();
        let whole = Raster { width: from.width as usize, height: from.height as usize, channels: 3, values };
        let scaled = if from == size { whole } else { whole.resample(part, size.width as usize, size.height as usize) };
        let luma = scaled.values.chunks_exact(3).map(|pixel| to_byte(pixel[0].clamp(16.0, 235.0))).collect();
        let half = scaled.halved();
        let chroma = half
            .values
            .chunks_exact(3)
            .flat_map(|pixel| [to_byte(pixel[1].clamp(16.0, 240.0)), to_byte(pixel[2].clamp(16.0, 240.0))])
            .collect();
        Self { luma, chroma }
    }
}
