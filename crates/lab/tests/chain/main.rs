//! The whole chain on synthetic scenes with a known truth: sample, net, smoothing, regions, tracks,
//! director. There is no camera, thread or clock: frames are processed as fast as possible, and
//! each run has the same result.
//!
//! Rows S6 and S7 of SPECIFICATION.md state what is promised: masks that are steady without a
//! delay, and the director's acceptance criteria A1 to A8 behind a real net. `docs/design/scene.md`
//! describes the scenes.

#![allow(unreachable_pub, reason = "a program of its own, whose modules share helpers")]

mod command;
mod framing;
mod masks;
mod player;
mod upright;
