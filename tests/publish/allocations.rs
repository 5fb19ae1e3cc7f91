//! Publishing and reading frames do not allocate.

use portraitd::publish::RingWriter;
use portraitd_client::{FrameCopy, Ring};
use portraitd_media::PixelFormat;
use portraitd_protocol::StreamKind;

use crate::counting::allocations;
use crate::fake::{SIZE, publish, spec};

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
    assert_ne!(allocations(|| drop(vec![0u8; 100])), 0, "the allocator counts");
}
