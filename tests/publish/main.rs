//! The publishing side and the client side together: rings, D-Bus with and without a bus, processes
//! that are killed, and readers in C and Python that share no code with the Rust crates. The
//! service behind them is a fake with real rings.

#![allow(unreachable_pub, reason = "a program of its own, whose modules share helpers")]

mod allocations;
mod bus;
mod cameras;
mod compatibility;
mod counting;
mod dbus;
mod doctor;
mod fake;
mod headers;
mod hostile;
mod interfaces;
mod permissions;
mod pipes;
mod preview;
mod process;
mod readers;
mod ring;
mod service;
mod tool;
