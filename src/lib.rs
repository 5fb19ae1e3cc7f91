//! portraitd turns a camera into a service: it owns the camera, finds the people in the picture, and gives other
//! programs a mask, a person-centred view, or the people on another background.
//!
//! The way of a picture, who runs on which thread and who owns which buffer: `ARCHITECTURE.md`.

pub mod camera;
pub mod eval;
pub mod framing;
pub mod mask;
pub mod net;
pub mod pipeline;
pub mod pixel;
pub mod publish;
pub mod render;
pub mod service;
