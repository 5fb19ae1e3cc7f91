//! Fuzz targets for the values that a video device can report and for the messages that a program
//! can send, and their replay on a stable compiler.

pub mod targets;
