//! Contains only the V4L2 structs of `crates/v4l2/src/sys.rs`, with the assertions that compare
//! them with the kernel's ioctl numbers. If it compiles for an architecture, the layouts are right
//! for it. The build takes seconds.

#![allow(unreachable_pub, reason = "a program of its own, whose modules share helpers")]

#[allow(missing_docs, dead_code, reason = "the kernel's names; the whole file is compiled, but little of it is called")]
#[path = "../../../../crates/v4l2/src/sys.rs"]
mod sys;

fn main() {
    println!(
        "{}: capability {} bytes, event {} bytes, buffers and formats match the kernel",
        std::env::consts::ARCH,
        size_of::<sys::Capability>(),
        size_of::<sys::Event>(),
    );
}
