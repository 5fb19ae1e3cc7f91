//! The whole chain on synthetic scenes with a known truth: sample, net, smoothing, regions, tracks, director. No camera,
//! no threads, no clock: frame by frame as fast as the machine goes, the same result each time.
//!
//! What is promised (masks that are calm and yet not late, and the director's acceptance A1 to A8 behind a real net): rows
//! S6 and S7 of SPECIFICATION.md. Scenes: `docs/design/scene.md`.

mod command;
mod framing;
mod masks;
mod player;
