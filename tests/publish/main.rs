//! The publishing side and the client's side against each other: rings, D-Bus with and without a bus, processes that die,
//! and readers in C and Python that share no code with ours. The service behind them is a fake with real rings.

mod allocations;
mod bus;
mod counting;
mod dbus;
mod fake;
mod headers;
mod interfaces;
mod process;
mod readers;
mod ring;
mod tool;
