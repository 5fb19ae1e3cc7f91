//! The way of a picture, put together: the threads of one camera, and what they share.
//!
//! ```text
//! capture thread --Latest<Frame>--+--> vision thread: sample, net, smooth, regions, people --Latest<Observation>--+
//!                                 |                                                        \--> director          |
//!                                 +--> render thread, one a ring: crop from the director <------------------------+
//! main thread: attach, settings, leaving clients (never a pixel)
//! ```
//!
//! | module | thread | what |
//! |---|---|---|
//! | `capture` | capture | opens, reads and closes the source; the outage policy |
//! | `vision` | vision | which frames the observer sees |
//! | `shot` | vision and render | the director, stepped once a frame |
//! | `render` | render | one ring: view, composite, mask or source |
//! | `output` | output, one a node | a ring's pictures to a V4L2 output node |
//! | [`camera`] | main | one camera as the bus sees it |
//! | `shared`, `demand` | all | what the threads share; who needs the camera |

mod backdrop;
pub mod camera;
mod capture;
mod demand;
mod output;
mod pace;
mod render;
mod shared;
mod shot;
mod vision;

pub use camera::{Camera, CameraOptions, Reconfiguration};

#[cfg(test)]
mod tests;
