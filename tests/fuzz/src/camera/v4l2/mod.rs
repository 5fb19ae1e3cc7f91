//! Files of the daemon.

#[path = "../../../../../src/camera/v4l2/clock.rs"]
pub mod clock;
#[path = "../../../../../src/camera/v4l2/formats.rs"]
pub mod formats;
#[path = "../../../../../src/camera/v4l2/jpeg.rs"]
pub mod jpeg;
#[path = "../../../../../src/camera/v4l2/negotiate.rs"]
pub mod negotiate;
#[path = "../../../../../src/camera/v4l2/sys.rs"]
pub mod sys;
