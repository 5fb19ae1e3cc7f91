//! Publishing allocates nothing: an allocator that counts, thread by thread.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use portraitd::pixel::PixelFormat;
use portraitd::publish::RingWriter;
use portraitd_client::{FrameCopy, Ring, StreamKind};

use crate::fake::{SIZE, publish, spec};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has no counter any more.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise, handed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn publishing_and_reading_allocate_nothing() {
    let mut writer = RingWriter::new(&spec(StreamKind::View, PixelFormat::Nv12, SIZE)).expect("ring");
    let fds = writer.add_client().expect("client");
    let mut ring = Ring::open(fds.memory, fds.event).expect("ring");
    let gone = writer.add_client().expect("client");
    drop(gone);
    let mut frame = FrameCopy::default();
    publish(&mut writer);
    assert!(ring.latest(&mut frame));
    let count = allocations(|| {
        for _ in 0..10 {
            publish(&mut writer);
            assert!(ring.wait(None).is_ok());
            assert!(ring.latest(&mut frame));
        }
    });
    assert_eq!(count, 0);
    assert_ne!(allocations(|| drop(vec![0u8; 100])), 0, "the count counts");
}
