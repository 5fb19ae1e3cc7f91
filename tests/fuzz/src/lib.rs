//! Fuzz targets for what a video device can say, and their replay on a stable compiler.

pub mod targets;
