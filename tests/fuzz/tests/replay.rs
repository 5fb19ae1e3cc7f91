//! The fuzz targets without a fuzzer: every seed, then pseudo-random inputs, which are the same in
//! each run. It runs on a stable compiler. `tests/fuzz/run` runs the fuzzer.

use std::fs;
use std::path::Path;

use arbitrary::{Arbitrary, Unstructured};
use portraitd_fuzz::targets::{formats, jpeg, messages, negotiate, ring};

const INPUTS: usize = 20_000;

/// xorshift64*, a pseudo-random generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit.max(1)).expect("small")).expect("small")
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_be_bytes()[0]).collect()
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let mut paths: Vec<_> = fs::read_dir(folder).expect("seeds").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{target} has no seeds");
    paths.iter().map(|path| fs::read(path).expect("a seed")).collect()
}

/// Calls `check` with each seed and with random bytes, if they are a valid input. Returns the
/// number of valid inputs.
fn replay<T: for<'a> Arbitrary<'a>>(target: &str, check: impl Fn(T)) -> usize {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let random_inputs = (0..INPUTS).map(|_| {
        let length = random.below(2000);
        random.bytes(length)
    });
    let inputs = seeds(target).into_iter().chain(random_inputs);
    inputs.filter_map(|bytes| T::arbitrary_take_rest(Unstructured::new(&bytes)).ok()).map(check).count()
}

#[test]
fn formats_and_frames() {
    assert!(replay("formats", |report| formats::check(&report)) > INPUTS / 2);
}

#[test]
fn offers() {
    assert!(replay("negotiate", negotiate::check) > INPUTS / 2);
}

/// Calls `check` with each seed, and with `count` damaged and shortened copies of it.
fn damage(target: &str, count: usize, mut check: impl FnMut(&[u8])) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for seed in seeds(target) {
        check(&seed);
        for _ in 0..count {
            let mut bytes = seed.clone();
            for _ in 0..=random.below(8) {
                let place = random.below(bytes.len());
                bytes[place] = random.bytes(1)[0];
            }
            bytes.truncate(random.below(bytes.len() + bytes.len() / 4) + 1);
            check(&bytes);
        }
    }
}

#[test]
fn pictures() {
    let mut compared = 0;
    damage("jpeg", INPUTS, |bytes| compared += usize::from(jpeg::check(bytes)));
    assert!(compared > INPUTS / 100, "only {compared} were compared with another decoder");
}

#[test]
fn bus_messages() {
    assert!(seeds("messages").iter().all(|seed| messages::check(seed)), "the seeds are good messages");
    let mut good = 0;
    damage("messages", INPUTS, |bytes| good += usize::from(messages::check(bytes)));
    assert!(good > INPUTS / 100, "only {good} were found good: the damage hides what is behind the header");
}

#[test]
fn rings_of_providers() {
    assert!(seeds("ring").iter().all(|seed| ring::check(seed)), "the seeds are good rings");
    let mut good = 0;
    damage("ring", INPUTS, |bytes| good += usize::from(ring::check(bytes)));
    assert!(good > INPUTS / 100, "only {good} were taken: the damage hides what is behind the header");
}
