//! The daemon as a service: configuration, logs, the service manager, metrics, and safe mode after
//! crashes.
//!
//! Everything here runs on the main thread and never touches a pixel. Decisions are pure functions
//! with time as an argument (nanoseconds of a monotonic clock). Thin functions around them access
//! files, sockets and variables.

pub mod allocator;
pub mod config;
pub mod crash;
pub mod log_limit;
pub mod logging;
pub mod metrics;
pub mod notify;
pub mod panics;
pub mod privacy;
pub mod status_line;
