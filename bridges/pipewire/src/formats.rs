//! What a node offers, and what a consumer has chosen of it. Nothing here does I/O.
//!
//! A node offers each pixel format with each size of a list, one at a time: programs with a menu of
//! sizes read no others. Behind these it offers every size that the service can make, for programs
//! that ask for one.

use portraitd_client::feed::AttachOptions;
use portraitd_client::protocol::settings::ATTACH_SIDE;
use portraitd_client::{PixelFormat, Size, StreamKind};

use crate::ffi::META_HEADER;
use crate::pod::{Choice, Object, Value, properties};

/// Numbers of `spa/param` and `spa/buffer`; `tests/layout.c` compares them with the headers.
pub(crate) mod numbers {
    pub(crate) const OBJECT_FORMAT: u32 = 0x40003;
    pub(crate) const OBJECT_BUFFERS: u32 = 0x40004;
    pub(crate) const OBJECT_META: u32 = 0x40005;
    pub(crate) const ENUM_FORMAT: u32 = 3;
    pub(crate) const FORMAT: u32 = 4;
    pub(crate) const BUFFERS: u32 = 5;
    pub(crate) const META: u32 = 6;
    pub(crate) const MEDIA_TYPE: u32 = 1;
    pub(crate) const MEDIA_SUBTYPE: u32 = 2;
    pub(crate) const VIDEO_FORMAT: u32 = 0x20001;
    pub(crate) const VIDEO_SIZE: u32 = 0x20003;
    pub(crate) const VIDEO_FRAMERATE: u32 = 0x20004;
    pub(crate) const VIDEO: u32 = 2;
    pub(crate) const RAW: u32 = 1;
    pub(crate) const RGB: u32 = 15;
    pub(crate) const NV12: u32 = 23;
    pub(crate) const GRAY8: u32 = 25;
    pub(crate) const BUFFERS_BUFFERS: u32 = 1;
    pub(crate) const BUFFERS_BLOCKS: u32 = 2;
    pub(crate) const BUFFERS_SIZE: u32 = 3;
    pub(crate) const BUFFERS_STRIDE: u32 = 4;
    pub(crate) const BUFFERS_DATA_TYPE: u32 = 6;
    pub(crate) const META_TYPE: u32 = 1;
    pub(crate) const META_SIZE: u32 = 2;
    pub(crate) const DATA_MEM_PTR: u32 = 1;
    pub(crate) const DATA_MEM_FD: u32 = 2;
}

/// The sides of pictures that the service can make: even numbers in this range.
const SIDES: (u32, u32) = (16, 4096);
/// The rates that are listed, in frames a second. The first is the default.
const RATES: [u32; 6] = [30, 60, 25, 15, 10, 5];
/// The highest rate that the service takes as a limit.
const MAX_RATE: u32 = 240;
/// The size of `spa_meta_header`, in bytes.
const HEADER_BYTES: u32 = 32;
/// Memory for the buffers of a node, in bytes. Fewer buffers are made of large pictures.
const BUFFER_BYTES: u32 = 64 << 20;
/// How many buffers a node has, at least and at most. A consumer reads one, another one waits for
/// it, and one is written.
const BUFFERS: (u32, u32) = (3, 8);

/// The form of the pictures that a consumer gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) format: PixelFormat,
    pub(crate) size: Size,
    /// At most this many frames a second; `None` for as many as there are.
    pub(crate) rate: Option<u32>,
}

/// Why a format cannot be delivered.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum FormatError {
    #[error("it is not raw video")]
    NotVideo,
    #[error("the pixel format is not offered")]
    Pixels,
    #[error("the sides of {0}x{1} are not even numbers from 16 to 4096")]
    Size(u32, u32),
}

/// The pixel formats of a stream, the preferred one first, with PipeWire's numbers.
const fn pixel_formats(stream: StreamKind) -> &'static [(PixelFormat, u32)] {
    match stream {
        StreamKind::Mask => &[(PixelFormat::Grey, numbers::GRAY8)],
        _ => &[(PixelFormat::Nv12, numbers::NV12), (PixelFormat::Rgb24, numbers::RGB)],
    }
}

const fn rectangle(size: Size) -> Value {
    Value::Rectangle(size.width, size.height)
}

const fn per_second(rate: u32) -> Value {
    Value::Fraction(rate, 1)
}

fn raw_video(format: u32) -> Object {
    Object::new(numbers::OBJECT_FORMAT, numbers::ENUM_FORMAT)
        .with(numbers::MEDIA_TYPE, Value::Id(numbers::VIDEO))
        .with(numbers::MEDIA_SUBTYPE, Value::Id(numbers::RAW))
        .with(numbers::VIDEO_FORMAT, Value::Id(format))
}

/// What a node of `stream` offers, in order of preference. `sizes` is not empty.
pub(crate) fn offered(stream: StreamKind, sizes: &[Size]) -> Vec<Object> {
    let listed: Vec<Value> = RATES[..1].iter().chain(&RATES).copied().map(per_second).collect();
    let fixed = pixel_formats(stream).iter().flat_map(|(_, format)| {
        let listed = &listed;
        sizes.iter().map(move |size| {
            raw_video(*format).with(numbers::VIDEO_SIZE, rectangle(*size)).with_choice(
                numbers::VIDEO_FRAMERATE,
                Choice::Enum,
                listed,
            )
        })
    });
    let range = [sizes[0], Size::new(SIDES.0, SIDES.0), Size::new(SIDES.1, SIDES.1)].map(rectangle);
    let rates = [RATES[0], 0, MAX_RATE].map(per_second);
    let any = pixel_formats(stream).iter().map(|(_, format)| {
        raw_video(*format).with_choice(numbers::VIDEO_SIZE, Choice::Range, &range).with_choice(
            numbers::VIDEO_FRAMERATE,
            Choice::Range,
            &rates,
        )
    });
    fixed.chain(any).collect()
}

impl Picture {
    /// Reads the format that PipeWire has agreed on with the consumers of a node: a pod.
    pub(crate) fn parse(stream: StreamKind, pod: &[u8]) -> Result<Self, FormatError> {
        let found = properties(pod).ok_or(FormatError::NotVideo)?;
        let get = |key| found.iter().find(|(found, _)| *found == key).map(|(_, value)| *value);
        let is_raw = get(numbers::MEDIA_SUBTYPE) == Some(Value::Id(numbers::RAW));
        if get(numbers::MEDIA_TYPE) != Some(Value::Id(numbers::VIDEO)) || !is_raw {
            return Err(FormatError::NotVideo);
        }
        let known = |value| pixel_formats(stream).iter().find(|(_, number)| value == Value::Id(*number));
        let format = get(numbers::VIDEO_FORMAT).and_then(known).ok_or(FormatError::Pixels)?.0;
        let Some(Value::Rectangle(width, height)) = get(numbers::VIDEO_SIZE) else {
            return Err(FormatError::Size(0, 0));
        };
        let size = Size::new(width, height);
        if !is_possible(size) {
            return Err(FormatError::Size(width, height));
        }
        let rate = match get(numbers::VIDEO_FRAMERATE) {
            // A rate that is not a whole number is rounded up. 0 leaves it open.
            Some(Value::Fraction(num, denom)) if num > 0 && denom > 0 => Some(num.div_ceil(denom).min(MAX_RATE)),
            _ => None,
        };
        Ok(Self { format, size, rate })
    }

    /// What to ask the service for.
    pub(crate) fn options(&self) -> AttachOptions {
        let options = AttachOptions::default().with_size(self.size).with_format(self.format);
        self.rate.map_or(options, |rate| options.with_frame_rate_limit(rate))
    }

    /// From one row of a plane to the next, in bytes: that of GStreamer and of browsers, who do not
    /// ask. It is the same for each plane.
    pub(crate) const fn stride(&self) -> u32 {
        let row = match self.format {
            PixelFormat::Rgb24 => self.size.width * 3,
            _ => self.size.width,
        };
        row.next_multiple_of(4)
    }

    /// The rows of all planes, which follow each other.
    const fn rows(&self) -> u32 {
        match self.format {
            PixelFormat::Nv12 => self.size.height + self.size.height / 2,
            _ => self.size.height,
        }
    }

    /// The size of a picture, in bytes.
    pub(crate) const fn bytes(&self) -> u32 {
        // At most 4096 * 3 * 4096.
        self.stride() * self.rows()
    }

    /// What PipeWire is told about the buffers: how they are laid out, and that each has a time.
    pub(crate) fn buffer_params(&self) -> [Object; 2] {
        let most = (BUFFER_BYTES / self.bytes()).clamp(BUFFERS.0, BUFFERS.1);
        let memory = Value::Int(1 << numbers::DATA_MEM_FD | 1 << numbers::DATA_MEM_PTR);
        let buffers = Object::new(numbers::OBJECT_BUFFERS, numbers::BUFFERS)
            .with_choice(numbers::BUFFERS_BUFFERS, Choice::Range, &[most, BUFFERS.0, most].map(Value::Int))
            .with(numbers::BUFFERS_BLOCKS, Value::Int(1))
            .with(numbers::BUFFERS_SIZE, Value::Int(self.bytes()))
            .with(numbers::BUFFERS_STRIDE, Value::Int(self.stride()))
            .with_choice(numbers::BUFFERS_DATA_TYPE, Choice::Flags, &[memory, memory]);
        let header = Object::new(numbers::OBJECT_META, numbers::META)
            .with(numbers::META_TYPE, Value::Id(META_HEADER))
            .with(numbers::META_SIZE, Value::Int(HEADER_BYTES));
        [buffers, header]
    }
}

/// Whether the service can make pictures of this size.
pub(crate) fn is_possible(size: Size) -> bool {
    [size.width, size.height].into_iter().all(|side| ATTACH_SIDE.check(side).is_ok())
}

#[cfg(test)]
mod tests {
    use portraitd_client::protocol::settings::ATTACH_RATE;

    use super::*;

    const SIZES: [Size; 2] = [Size::new(1280, 720), Size::new(640, 360)];

    /// The format that PipeWire agrees on.
    fn agreed(format: u32, size: (u32, u32), rate: Value) -> Vec<u8> {
        raw_video(format)
            .with(numbers::VIDEO_SIZE, Value::Rectangle(size.0, size.1))
            .with(numbers::VIDEO_FRAMERATE, rate)
            .bytes()
    }

    #[test]
    fn limits_are_those_of_the_service() {
        for side in [SIDES.0, SIDES.1] {
            assert!(ATTACH_SIDE.check(side).is_ok() && ATTACH_RATE.check(MAX_RATE).is_ok());
        }
        assert!(ATTACH_SIDE.check(SIDES.0 - 2).is_err() && ATTACH_SIDE.check(SIDES.1 + 2).is_err());
        assert!(ATTACH_RATE.check(MAX_RATE + 1).is_err());
    }

    #[test]
    fn each_format_is_offered_in_each_size_and_then_in_any() {
        let of = |stream| -> Vec<(Value, Value)> {
            let found = offered(stream, &SIZES);
            let property = |object: &Object, key| {
                let found = properties(&object.bytes()).expect("an object");
                found.into_iter().find(|(found, _)| *found == key).expect("the property").1
            };
            found.iter().map(|o| (property(o, numbers::VIDEO_FORMAT), property(o, numbers::VIDEO_SIZE))).collect()
        };
        let [large, small] = SIZES.map(rectangle);
        let [nv12, rgb, grey] = [numbers::NV12, numbers::RGB, numbers::GRAY8].map(Value::Id);
        let expected = [(nv12, large), (nv12, small), (rgb, large), (rgb, small), (nv12, large), (rgb, large)];
        for stream in [StreamKind::View, StreamKind::Composite, StreamKind::Source] {
            assert_eq!(of(stream), expected);
        }
        assert_eq!(of(StreamKind::Mask), [(grey, large), (grey, small), (grey, large)]);
    }

    #[test]
    fn what_is_agreed_on_becomes_the_options_of_a_client() {
        let picture = Picture::parse(StreamKind::View, &agreed(numbers::RGB, (642, 362), Value::Fraction(30000, 1001)));
        let picture = picture.expect("a picture");
        assert_eq!(picture, Picture { format: PixelFormat::Rgb24, size: Size::new(642, 362), rate: Some(30) });
        let options = picture.options();
        assert_eq!((options.size, options.format), (Some(Size::new(642, 362)), Some(PixelFormat::Rgb24)));
        assert_eq!(options.frame_rate_limit, Some(30));
        // As GStreamer lays it out.
        assert_eq!((picture.stride(), picture.bytes()), (1928, 1928 * 362));
        let open = Picture::parse(StreamKind::Mask, &agreed(numbers::GRAY8, (256, 144), Value::Fraction(0, 1)));
        assert_eq!(open.expect("a mask").options().frame_rate_limit, None);
    }

    #[test]
    fn a_format_that_was_not_offered_is_refused() {
        let rate = Value::Fraction(30, 1);
        let of = |stream, format, size| Picture::parse(stream, &agreed(format, size, rate));
        assert_eq!(of(StreamKind::Mask, numbers::NV12, (64, 64)), Err(FormatError::Pixels));
        assert_eq!(of(StreamKind::View, numbers::GRAY8, (64, 64)), Err(FormatError::Pixels));
        for size in [(641, 360), (640, 14), (4098, 64), (0, 0), (u32::MAX, u32::MAX)] {
            assert_eq!(of(StreamKind::View, numbers::NV12, size), Err(FormatError::Size(size.0, size.1)));
        }
        assert_eq!(Picture::parse(StreamKind::View, &[]), Err(FormatError::NotVideo));
        let audio = Object::new(numbers::OBJECT_FORMAT, numbers::FORMAT).with(numbers::MEDIA_TYPE, Value::Id(1));
        assert_eq!(Picture::parse(StreamKind::View, &audio.bytes()), Err(FormatError::NotVideo));
    }

    #[test]
    fn buffers_hold_a_picture_and_are_few_if_it_is_large() {
        let of = |width, height| {
            let picture = Picture { format: PixelFormat::Nv12, size: Size::new(width, height), rate: None };
            let found = properties(&picture.buffer_params()[0].bytes()).expect("an object");
            let get = |key| found.iter().find(|(found, _)| *found == key).map(|(_, value)| *value);
            (get(numbers::BUFFERS_BUFFERS), get(numbers::BUFFERS_SIZE), get(numbers::BUFFERS_STRIDE))
        };
        let int = |value| Some(Value::Int(value));
        assert_eq!(of(1280, 720), (int(8), int(1280 * 1080), int(1280)));
        assert_eq!(of(4096, 4096), (int(3), int(4096 * 6144), int(4096)));
    }
}
