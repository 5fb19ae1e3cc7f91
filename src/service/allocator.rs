//! The C library's allocator: how much of what was freed goes back to the system, and when.
//!
//! Without this, the resident memory of a service that was once flooded stays at its peak: every
//! thread takes from an arena of its own, and an arena gives back only what lies at its end.
//! `docs/design/bus-limits.md` has the figures.
//!
//! With a C library other than GNU's, both functions do nothing.
#![allow(unsafe_code)]

/// Arenas of the process. Threads that allocate at the same time share them; the frame path does not
/// allocate.
#[cfg(target_env = "gnu")]
const ARENAS: std::ffi::c_int = 2;

#[cfg(target_env = "gnu")]
mod c {
    use std::ffi::c_int;

    // From <malloc.h> of the GNU C library.
    pub(super) const M_ARENA_MAX: c_int = -8;

    unsafe extern "C" {
        pub(super) fn mallopt(parameter: c_int, value: c_int) -> c_int;
        pub(super) fn malloc_trim(padding: usize) -> c_int;
    }
}

/// Limits the arenas of the allocator. The main thread calls it before it starts any other.
pub fn configure() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call only sets a parameter of the allocator, which is valid at any time.
    unsafe {
        c::mallopt(c::M_ARENA_MAX, ARENAS);
    }
}

/// Gives memory that was freed back to the system. Takes a fraction of a millisecond when there is
/// little, and other threads that allocate wait meanwhile.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the function may be called at any time and from any thread. It keeps no references.
    unsafe {
        c::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The resident memory of this process, in bytes.
    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/statm").expect("proc");
        let pages: usize = status.split(' ').nth(1).expect("resident").parse().expect("a number");
        pages * rustix::param::page_size()
    }

    /// The child process of [`what_was_freed_goes_back`].
    #[test]
    fn frees_much() {
        if std::env::var_os("PORTRAITD_TEST_ALLOCATOR").is_none() {
            return;
        }
        configure();
        // Small pieces with one in between that stays, so that nothing lies at the end of the heap.
        let mut pieces: Vec<Vec<u8>> = (0..200_000).map(|_| vec![1; 512]).collect();
        let last = pieces.pop();
        let full = resident();
        drop(pieces);
        trim();
        println!("given back {} of {full}", full.saturating_sub(resident()));
        assert!(resident() + (80 << 20) < full, "{} of {full} stay", resident());
        drop(last);
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn what_was_freed_goes_back() {
        // Resident memory belongs to a process, so the test runs in one of its own.
        let child = std::process::Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "service::allocator::tests::frees_much", "--nocapture"])
            .env("PORTRAITD_TEST_ALLOCATOR", "1")
            .output()
            .expect("child");
        let text = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && text.contains("given back"), "{text}");
    }
}
