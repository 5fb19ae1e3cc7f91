//! Ring headers with a few changed fields. They are the same on every run.

use portraitd_protocol::layout::HEADER_BYTES;
use portraitd_protocol::{Colorimetry, PixelFormat, RingLayout, Size, StreamKind};

/// Returns `count` headers, each with the size of the memory that it is said to lie in.
pub fn mutated(count: u32) -> Vec<(Box<[u8; HEADER_BYTES]>, u64)> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    // The generator xorshift64 by Marsaglia.
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..count)
        .map(|_| {
            let format = PixelFormat::ALL[usize::try_from(random() % 11).expect("small")];
            let side = |random: u64| u32::try_from(random % 300 + 1).expect("small");
            let size = Size::new(side(random()), side(random()));
            let layout = RingLayout::new(StreamKind::View, 1, format, Colorimetry::default(), size, 4).expect("valid");
            let mut header = layout.encode();
            for _ in 0..random() % 3 {
                let place = usize::try_from(random() % 26).expect("small") * 4;
                let mut word = [0; 4];
                word.copy_from_slice(&header[place..place + 4]);
                let old = u32::from_le_bytes(word);
                let change = u32::try_from(random() % 0x1_0000_0000).expect("32 bits");
                let new = if random() % 4 == 0 { change } else { old.wrapping_add(change % 130).wrapping_sub(65) };
                header[place..place + 4].copy_from_slice(&new.to_le_bytes());
            }
            let size = layout.total_bytes() as u64 + random() % 3 - random() % 2;
            (header, size)
        })
        .collect()
}
