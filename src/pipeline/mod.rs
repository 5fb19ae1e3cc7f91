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
//! | `turns` | vision | how many vision threads work at the same time |
//! | `render` | render | draws one ring: view, composite, mask or source |
//! | `output` | output, one per node | writes a ring's pictures to a V4L2 output node |
//! | `shared` | all | the owners of the shared state, and the order of their locks |
//! | `demand` | all | which clients need the camera |
//! | `background` | main and render | the settings of what stands behind the people |
//! | `background_image` | its own | reads a picture for it |
//! | `blocking` | three workers | work that takes time |

mod background;
mod background_image;
mod blocking;
pub mod camera;
mod capture;
mod degrade;
mod demand;
mod heads;
mod output;
mod render;
mod shared;
mod turns;
mod vision;

use std::time::Duration;

use portraitd_client::Backoff;

pub use blocking::{Worker, run_blocking, start_workers};
pub use camera::{Camera, CameraOptions, Reconfiguration, STOP_WITHIN, load_model};
pub use turns::Turns;

/// The waits before a device that fails is opened again.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));

#[cfg(test)]
mod tests;
