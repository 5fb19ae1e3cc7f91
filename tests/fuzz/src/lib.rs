//! Fuzz targets for the values that a video device can report, and their replay on a stable
//! compiler.

pub mod targets;
