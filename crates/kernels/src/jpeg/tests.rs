//! Pictures of random coefficients, written by a plain encoder, against an oracle that never sees
//! their bytes.

use proptest::prelude::*;

use super::bits::PADDING;
use super::headers::ZIGZAG;
use super::huffman::{Class, standard};
use super::idct::oracle;
use super::*;
use crate::picture::packed_bytes;
use crate::simd::Isa;
use crate::testing::{Guarded, config};

/// Code and length of each symbol.
type Codes = [(u32, u32); 256];

fn codes(class: Class, index: usize) -> Codes {
    let (counts, symbols) = standard(class, index);
    let (mut codes, mut code, mut next) = ([(0, 0); 256], 0, symbols.iter());
    for (length, count) in (1..).zip(counts) {
        for symbol in next.by_ref().take(count.into()) {
            codes[usize::from(*symbol)] = (code, length);
            code += 1;
        }
        code <<= 1;
    }
    codes
}

/// A picture as its coefficients.
#[derive(Clone, Debug)]
struct Coded {
    size: Size,
    /// The sampling factors of luma and of chroma, along and down; `None` for a grey picture.
    sampling: Option<[[usize; 2]; 2]>,
    restart_interval: usize,
    /// Whether the file has no Huffman tables.
    without_tables: bool,
    /// Fill bytes before each marker.
    fill: usize,
    seed: u64,
    /// Coefficients of a block that are not zero, at most.
    density: u64,
}

/// The step of every coefficient.
const STEP: u8 = 3;

impl Coded {
    fn factors(&self) -> [[usize; 2]; 2] {
        self.sampling.unwrap_or([[1, 1]; 2])
    }

    fn mcus(&self) -> (usize, usize) {
        let [[h, v], _] = self.factors();
        ((self.size.width as usize).div_ceil(8 * h), (self.size.height as usize).div_ceil(8 * v))
    }

    /// The coded coefficients of a block, by rows.
    fn block(&self, component: usize, x: usize, y: usize) -> [i16; 64] {
        let mut state = self.seed ^ ((component + 3 * x + 3000 * y) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 20) % below
        };
        let mut block = [0; 64];
        block[0] = i16::try_from(next(500)).expect("small") - 250;
        for _ in 0..next(self.density + 1) {
            let place = if next(3) == 0 { 63 } else { next(63) };
            let size = 1 << next(if place < 6 { 8 } else { 4 });
            block[usize::from(ZIGZAG[usize::try_from(place).expect("small")])] =
                i16::try_from(next(2 * size + 1)).expect("small") - i16::try_from(size).expect("small");
        }
        block
    }

    fn file(&self) -> Vec<u8> {
        let mut out = vec![0xff, 0xd8];
        let mut segment = |marker: u8, bytes: &[u8]| {
            out.extend(std::iter::repeat_n(0xff, self.fill + 1));
            out.push(marker);
            out.extend(u16::try_from(bytes.len() + 2).expect("short").to_be_bytes());
            out.extend_from_slice(bytes);
        };
        segment(0xdb, &[&[0][..], &[STEP; 64]].concat());
        let [[w0, w1], [h0, h1]] =
            [self.size.width, self.size.height].map(|side| u16::try_from(side).expect("small").to_be_bytes());
        match self.sampling {
            Some(factors) => {
                let [luma, chroma] = factors.map(|[h, v]| u8::try_from(h * 16 + v).expect("small"));
                segment(0xc0, &[8, h0, h1, w0, w1, 3, 1, luma, 0, 2, chroma, 0, 3, chroma, 0]);
            }
            None => segment(0xc0, &[8, h0, h1, w0, w1, 1, 1, 0x22, 0]),
        }
        if !self.without_tables {
            for (class, number) in [(Class::Dc, 0), (Class::Ac, 1)] {
                for index in 0..2 {
                    let (counts, symbols) = standard(class, index);
                    let head = u8::try_from(number << 4 | index).expect("small");
                    segment(0xc4, &[&[head][..], &counts, &symbols].concat());
                }
            }
        }
        let interval = u16::try_from(self.restart_interval).expect("small").to_be_bytes();
        segment(0xdd, &interval);
        let scan: &[u8] =
            if self.sampling.is_some() { &[3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0] } else { &[1, 1, 0, 0, 63, 0] };
        segment(0xda, scan);
        self.append_data(&mut out);
        out.extend([0xff, 0xd9]);
        out
    }

    fn append_data(&self, out: &mut Vec<u8>) {
        let tables = [0, 1].map(|index| (codes(Class::Dc, index), codes(Class::Ac, index)));
        let (mut waiting, mut count, mut last_dc) = (0_u64, 0, [0_i16; 3]);
        let mut put = |out: &mut Vec<u8>, value: u32, length: u32| {
            assert!(length > 0, "a symbol without a code");
            waiting = waiting << length | u64::from(value) & ((1 << length) - 1);
            count += length;
            while count >= 8 {
                count -= 8;
                let byte = (waiting >> count & 0xff) as u8;
                out.push(byte);
                if byte == 0xff {
                    out.push(0);
                }
            }
            count
        };
        let factors = self.factors();
        let (across, down) = self.mcus();
        for number in 0..across * down {
            if self.restart_interval > 0 && number > 0 && number % self.restart_interval == 0 {
                // To a whole byte, by ones.
                while put(out, 1, 1) > 0 {}
                let restart = (number / self.restart_interval - 1) % 8;
                out.extend(std::iter::repeat_n(0xff, self.fill + 1));
                out.push(0xd0 + u8::try_from(restart).expect("small"));
                last_dc = [0; 3];
            }
            let (mx, my) = (number % across, number / across);
            let mut blocks = Vec::new();
            for component in 0..if self.sampling.is_some() { 3 } else { 1 } {
                let [h, v] = factors[component.min(1)];
                blocks.extend((0..h * v).map(|i| (component, mx * h + i % h, my * v + i / h)));
            }
            for (component, x, y) in blocks {
                let block = self.block(component, x, y);
                let (dc, ac) = &tables[component.min(1)];
                let bits =
                    |value: i16| (16 - value.unsigned_abs().leading_zeros(), i32::from(value) - i32::from(value < 0));
                let difference = block[0] - last_dc[component];
                last_dc[component] = block[0];
                let (size, value) = bits(difference);
                put(out, dc[size as usize].0, dc[size as usize].1);
                if size > 0 {
                    put(out, value.cast_unsigned(), size);
                }
                let mut run = 0;
                for place in &ZIGZAG[1..] {
                    let value = block[usize::from(*place)];
                    if value == 0 {
                        run += 1;
                        continue;
                    }
                    while run > 15 {
                        put(out, ac[0xf0].0, ac[0xf0].1);
                        run -= 16;
                    }
                    let (size, value) = bits(value);
                    let (code, length) = ac[run << 4 | size as usize];
                    put(out, code, length);
                    put(out, value.cast_unsigned(), size);
                    run = 0;
                }
                if run > 0 {
                    put(out, ac[0].0, ac[0].1);
                }
            }
        }
        while put(out, 1, 1) > 0 {}
    }

    /// All samples of a component, and the length of its rows.
    fn plane(&self, component: usize) -> (Vec<f64>, usize) {
        let [h, v] = self.factors()[component.min(1)];
        let (across, down) = self.mcus();
        let (width, height) = (across * h * 8, down * v * 8);
        let mut plane = vec![0.0; width * height];
        for y in (0..height).step_by(8) {
            for x in (0..width).step_by(8) {
                let block = self.block(component, x / 8, y / 8).map(|value| value * i16::from(STEP));
                for (at, value) in oracle::inverse(&block).into_iter().enumerate() {
                    plane[(y + at / 8) * width + x + at % 8] = f64::from(oracle::byte(value));
                }
            }
        }
        (plane, width)
    }

    /// The bytes of NV12, not rounded.
    fn expected(&self) -> [Vec<f64>; 2] {
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        let (luma, stride) = self.plane(0);
        let luma = (0..height).flat_map(|y| luma[y * stride..][..width].to_vec()).collect();
        let planes = if self.sampling.is_some() { vec![self.plane(1), self.plane(2)] } else { vec![] };
        let [luma_factors, chroma_factors] = self.factors();
        let [h, v] = [0, 1].map(|axis| luma_factors[axis] / chroma_factors[axis]);
        // The chroma samples that exist, for one of NV12.
        let range = |at: usize, factor: usize, side: usize| {
            if factor == 2 { at..at + 1 } else { 2 * at..(2 * at + 2).min(side) }
        };
        let mut chroma = Vec::new();
        for y in 0..height.div_ceil(2) {
            for x in 0..width.div_ceil(2) {
                if planes.is_empty() {
                    chroma.extend([128.0; 2]);
                }
                for (plane, stride) in &planes {
                    let (xs, ys) = (range(x, h, width), range(y, v, height));
                    let count = (xs.len() * ys.len()) as f64;
                    let sum: f64 = ys.flat_map(|y| xs.clone().map(move |x| plane[y * stride + x])).sum();
                    chroma.push(sum / count);
                }
            }
        }
        [luma, chroma]
    }
}

/// 4:2:0, 4:2:2, 4:4:0 and 4:4:4 in each form, and grey.
const SAMPLINGS: &[Option<[[usize; 2]; 2]>] = &[
    Some([[2, 2], [1, 1]]),
    Some([[2, 1], [1, 1]]),
    Some([[2, 2], [1, 2]]),
    Some([[1, 2], [1, 1]]),
    Some([[2, 2], [2, 1]]),
    Some([[1, 1], [1, 1]]),
    Some([[2, 1], [2, 1]]),
    Some([[1, 2], [1, 2]]),
    Some([[2, 2], [2, 2]]),
    None,
];

fn coded() -> impl Strategy<Value = Coded> {
    let sampling = prop::sample::select(SAMPLINGS);
    let size = (1_u32..52, 1_u32..52).prop_map(|(width, height)| Size::new(width, height));
    (size, sampling, 0_usize..6, any::<bool>(), 0_usize..3, any::<u64>(), 0_u64..70).prop_map(
        |(size, sampling, restart_interval, without_tables, fill, seed, density)| Coded {
            size,
            sampling,
            restart_interval,
            without_tables,
            fill,
            seed,
            density,
        },
    )
}

/// A picture of 40x24 pixels in 4:2:0 with much in every block.
fn example() -> Coded {
    Coded {
        size: Size::new(40, 24),
        sampling: Some([[2, 2], [1, 1]]),
        restart_interval: 0,
        without_tables: false,
        fill: 0,
        seed: 5,
        density: 30,
    }
}

fn decoded_on(isa: Isa, bytes: &[u8], size: Size) -> Result<Vec<u8>, JpegError> {
    let mut out = vec![0; packed_bytes(PixelFormat::Nv12, size)];
    let mut picture = PictureMut::packed(PixelFormat::Nv12, size, &mut out).expect("large enough");
    let mut decoder = JpegDecoder::on(Usable::new(isa).expect("available"));
    decoder.decode(bytes, &mut picture)?;
    assert!(decoder.segment.len() <= bytes.len() + PADDING, "no more memory than one copy of the bytes");
    Ok(out)
}

fn decoded(bytes: &[u8], size: Size) -> Result<Vec<u8>, JpegError> {
    decoded_on(Isa::detect(), bytes, size)
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn pictures_are_those_of_the_oracle(coded in coded(), padding in 0_usize..9) {
        let file = coded.file();
        let expected = coded.expected();
        let mut first = None;
        for isa in Isa::available() {
            let mut guarded = Guarded::new(PixelFormat::Nv12, coded.size, padding);
            let mut decoder = JpegDecoder::on(Usable::new(isa).expect("available"));
            decoder.decode(&file, &mut guarded.picture()).expect("a valid picture");
            guarded.check_guards()?;
            let planes = [guarded.plane(0), guarded.plane(1)];
            for (plane, expected) in planes.iter().zip(&expected) {
                for (at, (found, expected)) in plane.iter().zip(expected).enumerate() {
                    // One for the transform, and half of one for the mean.
                    prop_assert!((f64::from(*found) - expected).abs() <= 1.5, "{isa}: {found}, not {expected}, at {at}");
                }
            }
            prop_assert_eq!(first.get_or_insert(planes.clone()), &planes, "{}", isa);
        }
    }

    #[test]
    fn no_bytes_panic(
        coded in coded(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut file = coded.file();
        for (place, value) in damage {
            let place = place.index(file.len());
            file[place] = value;
        }
        if is_cut {
            file.truncate(cut.index(file.len() + 1));
        }
        let results = Isa::available().into_iter().map(|isa| decoded_on(isa, &file, coded.size)).collect::<Vec<_>>();
        prop_assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

#[test]
fn a_decoder_forgets_the_tables_of_the_last_picture() {
    let with = example();
    let without = Coded { without_tables: true, ..with.clone() };
    let mut out = vec![0; packed_bytes(PixelFormat::Nv12, with.size)];
    let mut decode = |decoder: &mut JpegDecoder, bytes: &[u8]| {
        let mut picture = PictureMut::packed(PixelFormat::Nv12, with.size, &mut out).expect("large enough");
        decoder.decode(bytes, &mut picture).map(|()| out.clone())
    };
    let mut decoder = JpegDecoder::new();
    let expected = decode(&mut decoder, &with.file()).expect("valid");
    assert_eq!(decode(&mut decoder, &without.file()).expect("the standard tables"), expected);
    // Only luma has tables.
    let file = with.file();
    let chroma = [0xff, 0xc4, 0, 31, 0x01];
    let at = file.windows(5).position(|window| window == chroma).expect("written");
    let mut damaged = file.clone();
    damaged[at + 1] = 0xee;
    let missing = JpegError::Invalid("a Huffman table is missing");
    assert_eq!(decode(&mut decoder, &damaged), Err(missing));
    assert_eq!(decode(&mut JpegDecoder::new(), &damaged), Err(missing));
    let mut damaged = file.clone();
    assert_eq!(damaged[2..4], [0xff, 0xdb]);
    damaged[3] = 0xee;
    assert_eq!(decode(&mut decoder, &damaged), Err(JpegError::Invalid("a quantization table is missing")));
}

#[test]
fn damage_is_detected() {
    let coded = example();
    let file = coded.file();
    let good = decoded(&file, coded.size).expect("valid");
    let error = |bytes: &[u8]| decoded(bytes, coded.size).expect_err("not a whole picture");
    let data = file.len() - 2;
    let middle = data / 2 + 200;
    assert_eq!(error(&[]), JpegError::Invalid("no start marker"));
    assert_eq!(error(&file[1..]), JpegError::Invalid("no start marker"));
    let cut_off = JpegError::Invalid("the picture is cut off, or has a marker in its data");
    assert!(matches!(error(&file[..middle]), JpegError::Invalid(_)));
    // A marker in the data.
    let mut damaged = file.clone();
    damaged[middle..middle + 2].copy_from_slice(&[0xff, 0xc0]);
    assert!(matches!(error(&damaged), JpegError::Invalid(_)));
    // What follows the picture does not matter, nor what is missing from its last row of blocks.
    assert_eq!(decoded(&[&file[..], &[0; 999]].concat(), coded.size), Ok(good.clone()));
    assert_eq!(decoded(&file[..data], coded.size), Ok(good.clone()));
    assert!(decoded(&file[..data - 1], coded.size).is_ok_and(|bytes| bytes != good));
    // A segment is missing.
    let restarted = Coded { restart_interval: 2, ..coded.clone() };
    let file = restarted.file();
    let markers: Vec<_> =
        (0..file.len() - 1).filter(|&at| file[at] == 0xff && (0xd0..=0xd7).contains(&file[at + 1])).collect();
    assert_eq!(markers.len(), 2, "three segments of two MCUs");
    let missing = [&file[..markers[0]], &file[markers[1]..]].concat();
    assert_eq!(error(&missing), cut_off);
    // A code of ones only.
    let mut damaged = coded.file();
    damaged[middle..middle + 8].copy_from_slice(&[0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0]);
    assert_eq!(error(&damaged), JpegError::Invalid("an invalid Huffman code"));
}

#[test]
fn other_kinds_are_named() {
    let coded = example();
    let file = coded.file();
    let frame = file.windows(2).position(|pair| pair == [0xff, 0xc0]).expect("written");
    let changed = |place: usize, value: u8| {
        let mut file = file.clone();
        file[frame + place] = value;
        decoded(&file, coded.size).expect_err("changed")
    };
    let unsupported = JpegError::Unsupported;
    assert_eq!(changed(1, 0xc2), unsupported("neither sequential nor Huffman-coded"));
    assert_eq!(changed(1, 0xc9), unsupported("neither sequential nor Huffman-coded"));
    assert_eq!(changed(4, 12), unsupported("not 8 bits"));
    assert_eq!(changed(11, 0x41), unsupported("not 4:2:0, 4:2:2, 4:4:0 or 4:4:4"));
    assert_eq!(changed(11, 0), unsupported("not 4:2:0, 4:2:2, 4:4:0 or 4:4:4"));
    assert_eq!(changed(10, 9), unsupported("components in another order"));
    assert_eq!(
        changed(6, 25),
        JpegError::Size { found: Size::new(40, 25), expected: coded.size },
        "the size is known before anything is decoded"
    );
    assert_eq!(
        decoded(&file, Size::new(8, 8)).expect_err("another size").to_string(),
        "a picture of 40x24 instead of 8x8"
    );
    let mut out = vec![0; 40 * 24 * 3];
    let mut rgb = PictureMut::packed(PixelFormat::Rgb24, coded.size, &mut out).expect("large enough");
    assert_eq!(JpegDecoder::new().decode(&file, &mut rgb), Err(JpegError::Format(PixelFormat::Rgb24)));
}
