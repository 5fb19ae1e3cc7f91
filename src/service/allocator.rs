//! The C library's allocator: how much freed memory is returned to the system, and when.
//!
//! Without this, the resident memory of a service that was once flooded stays at its peak: every
//! thread allocates from an arena of its own, and an arena returns only what lies at its end.
//! `docs/design/bus-limits.md` has the figures.
//!
//! `malloc_trim` does not return the free memory at the end of any arena but the first. The library
//! returns that when a block there is freed, if it exceeds a threshold. By default the C library
//! raises this threshold to twice the largest block that was freed, up to 64 MiB, so it has to be
//! fixed.
//!
//! With a C library other than GNU's, both functions do nothing.
#![allow(unsafe_code)]

/// Arenas of the process. Threads that allocate at the same time share them; the frame path does not
/// allocate.
#[cfg(target_env = "gnu")]
const ARENAS: std::ffi::c_int = 2;

/// Free memory at the end of an arena is returned if it is larger than this, in bytes. Each larger
/// block has a mapping of its own.
#[cfg(target_env = "gnu")]
const THRESHOLD: std::ffi::c_int = 128 << 10;

#[cfg(target_env = "gnu")]
mod c {
    use std::ffi::c_int;

    // From <malloc.h> of the GNU C library.
    pub(super) const M_TRIM_THRESHOLD: c_int = -1;
    pub(super) const M_MMAP_THRESHOLD: c_int = -3;
    pub(super) const M_ARENA_MAX: c_int = -8;

    unsafe extern "C" {
        pub(super) fn mallopt(parameter: c_int, value: c_int) -> c_int;
        pub(super) fn malloc_trim(padding: usize) -> c_int;
    }
}

/// Limits the number of arenas of the allocator, and the free memory that each keeps at its end.
/// The main thread calls it before it starts any other thread.
pub fn configure() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in
        [(c::M_ARENA_MAX, ARENAS), (c::M_TRIM_THRESHOLD, THRESHOLD), (c::M_MMAP_THRESHOLD, THRESHOLD)]
    {
        // SAFETY: the call only sets a parameter of the allocator, which is valid at any time.
        unsafe {
            c::mallopt(parameter, value);
        }
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

    /// The resident memory of this process, in bytes. It allocates nothing: what it left behind
    /// could lie at the end of the arena.
    fn resident() -> usize {
        let mut text = [0; 128];
        let mut file = std::fs::File::open("/proc/self/statm").expect("proc");
        let length = std::io::Read::read(&mut file, &mut text).expect("readable");
        let text = std::str::from_utf8(&text[..length]).expect("text");
        let pages: usize = text.split(' ').nth(1).expect("resident").parse().expect("a number");
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

    /// The child process of [`the_end_of_an_arena_goes_back`].
    #[test]
    fn frees_the_end() {
        if std::env::var_os("PORTRAITD_TEST_ALLOCATOR").is_none() {
            return;
        }
        configure();
        println!("at the start {}", resident());
        // A large block is freed: by default, the end of the arena may now keep 32 MiB.
        drop(std::hint::black_box(vec![1_u8; 16 << 20]));
        // The test runs in a thread, so these are not in the first arena.
        let pieces: Vec<Vec<u8>> = (0..256).map(|_| vec![1; 64 << 10]).collect();
        let full = resident();
        drop(std::hint::black_box(pieces));
        trim();
        let left = resident();
        println!("given back {} of {full}", full.saturating_sub(left));
        assert!(left + (14 << 20) < full, "{left} of {full} stay");
    }

    /// Resident memory belongs to a process, so these tests run in one of their own.
    #[cfg(target_env = "gnu")]
    fn passes_alone(test: &str) {
        let child = std::process::Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", &format!("service::allocator::tests::{test}"), "--nocapture"])
            .env("PORTRAITD_TEST_ALLOCATOR", "1")
            .output()
            .expect("child");
        let text = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && text.contains("given back"), "{text}");
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn what_was_freed_goes_back() {
        passes_alone("frees_much");
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn the_end_of_an_arena_goes_back() {
        passes_alone("frees_the_end");
    }
}
