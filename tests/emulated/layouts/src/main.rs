//! The daemon's own V4L2 structs, with the assertions that compare them with the kernel's numbers: to compile this for an
//! architecture is the proof for it, and takes seconds, since nothing else of the daemon is needed.

#[allow(missing_docs, dead_code, reason = "the kernel's names; all of the file is compiled, little of it is called")]
#[path = "../../../../crates/v4l2/src/sys.rs"]
mod sys;

fn main() {
    println!(
        "{}: capability {} bytes, event {} bytes, buffers and formats as the kernel's",
        std::env::consts::ARCH,
        size_of::<sys::Capability>(),
        size_of::<sys::Event>(),
    );
}
