//! The daemon as a service: configuration, logs, the service manager, metrics, and what happens after crashes.
//!
//! Everything here runs on the main thread and never touches a pixel. What is decided is pure and takes time as an
//! argument (nanoseconds of a monotonic clock); the files, sockets and variables are thin shells round it.

pub mod config;
pub mod crash;
pub mod logging;
pub mod metrics;
pub mod notify;
