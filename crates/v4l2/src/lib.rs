//! V4L2 devices: capture, output, and what there is.
//!
//! Our own module on `rustix` and `linux-raw-sys`: `docs/design/v4l2.md` says why. `unsafe` is in [`sys`] (system calls)
//! and [`mapping`] (buffers in our memory) alone.
//!
//! | file | holds |
//! |---|---|
//! | `sys` | the kernel's structs and calls |
//! | `mapping` | buffers and who may touch them |
//! | `formats`, `negotiate`, `clock` | pure: what formats mean, which to take, times and sequence numbers |
//! | `device` | an open node, its offers |
//! | `queue`, `stream` | streaming: the capture thread's state machine |
//! | `jpeg` | frames that are JPEG |
//! | `source`, `paths` | devices as sources, and their names that stay |
//! | `watch` | tells when devices come and go |
//! | `output` | pictures written to a device, so that other programs see a webcam |
//! | `devices` | what there is, for `portraitd devices` |
//!
//! Threads: a [`CaptureStream`] belongs to its camera's capture thread. Frames go anywhere; what their last reader does
//! is to set a bit.

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "tests make small pictures from loop counters; what ships is linted without `test`"
    )
)]

pub mod clock;
pub mod device;
pub mod devices;
mod error;
pub mod formats;
pub mod jpeg;
mod mapping;
pub mod negotiate;
pub mod output;
pub mod paths;
mod queue;
pub mod source;
pub mod stream;
#[allow(missing_docs, dead_code, reason = "the kernel's names; its documentation is the V4L2 specification")]
pub mod sys;
pub mod watch;

pub use devices::{DeviceInfo, devices};
pub use negotiate::{Candidate, Negotiation, negotiate};
pub use output::{Output, Written};
pub use source::{AutoSource, DeviceSource};
pub use stream::CaptureStream;
pub use watch::DeviceWatch;
