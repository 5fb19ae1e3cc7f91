//! See `src/targets/negotiate.rs`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|said: portraitd_fuzz::targets::negotiate::Said| {
    portraitd_fuzz::targets::negotiate::check(said)
});

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("to be built by cargo-fuzz: tests/fuzz/run");
}
