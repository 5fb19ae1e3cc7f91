//! The frame path of the service: the threads of each camera, and what they share.
//!
//! ```text
//! capture thread --Latest<Frame>--+--> vision thread: inference --Latest<Observation>--+
//!                                 |              \--> director                         |
//!                                 |                       |  crop                       |
//!                                 +--> render thread, one per ring <--------------------+
//! main thread: attach, settings, clients that leave (never a pixel)
//! ```
//!
//! | module | thread | contents |
//! |---|---|---|
//! | [`camera`] | main | one camera as the rest of the service sees it |
//! | `capture` | capture | opens, reads and closes the source; the outage policy |
//! | `vision` | vision | decides which frames are observed, and reduces inference on a slow board |
//! | `degrade` | vision | the policy of that reduction |
//! | `render` | render | draws one ring: view, composite, mask or source |
//! | `output` | output, one per node | writes a ring's pictures to a V4L2 output node |
//! | `shared` | all | the owners of the shared state, and the order of their locks |
//! | `demand` | all | which clients need the camera |
//! | `background` | main and render | the settings of what stands behind the people |
//! | `background_image` | its own | reads a picture for it |
//! | `backoff` | capture and output | the wait between two attempts to open a device |
//! | `blocking` | three workers | work that takes time |

mod background;
mod background_image;
mod backoff;
mod blocking;
pub mod camera;
mod capture;
mod degrade;
mod demand;
mod heads;
mod output;
mod render;
mod shared;
mod vision;

pub use blocking::{Worker, run_blocking, start_workers};
pub use camera::{Camera, CameraOptions, Reconfiguration, STOP_WITHIN, load_model};

#[cfg(test)]
mod tests;
