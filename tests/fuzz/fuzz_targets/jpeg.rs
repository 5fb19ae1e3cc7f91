//! See `src/targets/jpeg.rs`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| { portraitd_fuzz::targets::jpeg::check(bytes); });

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("to be built by cargo-fuzz: tests/fuzz/run");
}
