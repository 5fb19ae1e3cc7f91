//! The ring's sequence lock under loom, which runs the functions of `sequence_lock` in every order
//! that the memory model allows. A reader never accepts a mixture of two frames, and after the
//! writer has finished it reads the newest frame.

use std::sync::atomic::Ordering;

use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use portraitd_protocol::sequence_lock::{Load64, Store64, begin_write, finish_write, held, holds, newest, slot_of};

struct Word(AtomicU64);

impl Word {
    fn new() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Load64 for Word {
    fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    fn fence(order: Ordering) {
        loom::sync::atomic::fence(order);
    }
}

impl Store64 for Word {
    fn store(&self, value: u64, order: Ordering) {
        self.0.store(value, order);
    }
}

/// A slot with two words of pixels. Both contain the index of the frame if the frame is whole.
struct Slot {
    lock: Word,
    pixels: [AtomicU64; 2],
}

struct Ring<const SLOTS: usize> {
    latest: Word,
    slots: [Slot; SLOTS],
}

impl<const SLOTS: usize> Ring<SLOTS> {
    fn new() -> Self {
        let slot = || Slot { lock: Word::new(), pixels: [AtomicU64::new(0), AtomicU64::new(0)] };
        Self { latest: Word::new(), slots: std::array::from_fn(|_| slot()) }
    }

    fn slot(&self, index: u64) -> &Slot {
        &self.slots[usize::try_from(slot_of(index, SLOTS as u64)).expect("small")]
    }

    fn write(&self, index: u64) {
        let slot = self.slot(index);
        begin_write(&slot.lock, index);
        for pixel in &slot.pixels {
            pixel.store(index, Ordering::Relaxed);
        }
        finish_write(&slot.lock, &self.latest, index);
    }

    /// Makes one attempt to read. Returns the index and pixels if the reader accepts the frame.
    fn read(&self) -> Option<(u64, [u64; 2])> {
        let index = newest(&self.latest);
        if index == 0 {
            return None;
        }
        let slot = self.slot(index);
        if !holds(&slot.lock, index) {
            return None;
        }
        let pixels = [slot.pixels[0].load(Ordering::Relaxed), slot.pixels[1].load(Ordering::Relaxed)];
        held(&slot.lock, index).then_some((index, pixels))
    }
}

fn model<const SLOTS: usize>(frames: u64) {
    loom::model(move || {
        let ring = Arc::new(Ring::<SLOTS>::new());
        let writer = {
            let ring = Arc::clone(&ring);
            loom::thread::spawn(move || (1..=frames).for_each(|index| ring.write(index)))
        };
        if let Some((index, pixels)) = ring.read() {
            assert_eq!(pixels, [index; 2], "a mixture was accepted as frame {index}");
        }
        writer.join().expect("writer");
        assert_eq!(ring.read(), Some((frames, [frames; 2])), "what is complete is seen");
    });
}

/// With one slot the writer overwrites the frame that is being read at every turn, which is the
/// hardest case.
#[test]
fn one_slot_that_is_written_again_and_again() {
    model::<1>(3);
}

#[test]
fn two_slots_in_turn() {
    model::<2>(3);
}
