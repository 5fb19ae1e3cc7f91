//! See `src/targets/formats.rs`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|said: portraitd_fuzz::targets::formats::Said| {
    portraitd_fuzz::targets::formats::check(&said)
});

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("to be built by cargo-fuzz: tests/fuzz/run");
}
