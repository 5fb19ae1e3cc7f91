//! HTML pages of measurements. A page needs no other file: it contains its style, charts and
//! pictures.

pub mod chart;
mod html;
pub mod pictures;
pub mod thumbnail;
pub mod videos;

pub use pictures::{PictureRow, WorstPictures, pictures_page};
pub use videos::{VideoPart, videos_page};
