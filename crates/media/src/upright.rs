//! A stream whose pictures are turned upright, for cameras that hang or lie.
//!
//! Everything after it sees only the turned pictures: the net, zones, people, crops, views and masks
//! agree by themselves.

use std::time::Duration;

use portraitd_kernels::picture::PictureMut;
use portraitd_kernels::upright::{Turner, turned_format, turned_size};
use portraitd_protocol::orientation::Orientation;

use crate::frame::{Frame, FrameFormat, MemoryPool};
use crate::source::{SourceError, Stream, StreamCounters, StreamEvent};

/// The number of turned frames that readers can hold at the same time.
const BUFFERS: usize = 6;

/// Turns the frames of `stream`. A stream that is upright already is returned as it is. `source_name`
/// is the name of the source in errors.
///
/// # Errors
/// [`SourceError::Unsupported`] if the pictures are too small to be turned.
pub fn upright(
    stream: Box<dyn Stream>,
    orientation: Orientation,
    source_name: &str,
) -> Result<Box<dyn Stream>, SourceError> {
    if orientation.is_identity() {
        return Ok(stream);
    }
    let turning = Turning { orientation, source_name: source_name.to_owned() };
    let pool = turning.pool(stream.format())?;
    Ok(Box::new(UprightStream { stream, turning, pool, turner: Turner::default(), starved: 0 }))
}

/// How a stream is turned.
struct Turning {
    orientation: Orientation,
    source_name: String,
}

impl Turning {
    /// Buffers for turned frames of a stream of `format`.
    fn pool(&self, format: FrameFormat) -> Result<MemoryPool, SourceError> {
        let pixels = turned_format(format.pixel_format);
        let size = turned_size(format.pixel_format, format.size, self.orientation)
            .map_err(|error| self.unsupported(error.to_string()))?;
        Ok(MemoryPool::new(FrameFormat::packed(pixels, size, format.color, format.frame_rate), BUFFERS))
    }

    fn unsupported(&self, reason: String) -> SourceError {
        SourceError::Unsupported { source_name: self.source_name.clone(), reason }
    }
}

struct UprightStream {
    stream: Box<dyn Stream>,
    turning: Turning,
    pool: MemoryPool,
    turner: Turner,
    /// The frames that were lost because readers held every turned frame.
    starved: u64,
}

impl UprightStream {
    /// The turned frame; `None` if every buffer is lent.
    fn turn(&mut self, frame: &Frame) -> Result<Option<Frame>, SourceError> {
        let Self { turning, pool, turner, .. } = self;
        let format = pool.format();
        let picture = frame.picture();
        let turned = pool.fill(frame.sequence, frame.capture_ns, |bytes| {
            let mut output = PictureMut::packed(format.pixel_format, format.size, bytes)
                .map_err(|error| turning.unsupported(error.to_string()))?;
            turner
                .turn(&picture, turning.orientation, &mut output)
                .map_err(|error| turning.unsupported(error.to_string()))
        })?;
        Ok(turned.map(|turned| Frame { private: frame.private, ..turned }))
    }
}

impl Stream for UprightStream {
    fn format(&self) -> FrameFormat {
        self.pool.format()
    }

    /// A frame for which no buffer is free is lost and counts as starved.
    fn next(&mut self, timeout: Duration) -> Result<StreamEvent, SourceError> {
        match self.stream.next(timeout)? {
            StreamEvent::Frame(frame) => Ok(match self.turn(&frame)? {
                Some(turned) => StreamEvent::Frame(turned),
                None => {
                    self.starved += 1;
                    StreamEvent::Nothing
                }
            }),
            StreamEvent::FormatChanged(format) => {
                self.pool = self.turning.pool(format)?;
                Ok(StreamEvent::FormatChanged(self.pool.format()))
            }
            other => Ok(other),
        }
    }

    fn counters(&self) -> StreamCounters {
        let counters = self.stream.counters();
        StreamCounters { starved: counters.starved + self.starved, ..counters }
    }

    fn private(&self) -> bool {
        self.stream.private()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use portraitd_kernels::picture::{Colorimetry, PixelFormat, Size};
    use portraitd_protocol::orientation::Rotation;

    use super::*;

    struct Script(VecDeque<StreamEvent>, FrameFormat);

    impl Stream for Script {
        fn format(&self) -> FrameFormat {
            self.1
        }

        fn next(&mut self, _: Duration) -> Result<StreamEvent, SourceError> {
            let event = self.0.pop_front().unwrap_or(StreamEvent::End);
            if let StreamEvent::FormatChanged(format) = &event {
                self.1 = *format;
            }
            Ok(event)
        }

        fn counters(&self) -> StreamCounters {
            StreamCounters { dropped: 3, corrupt: 2, starved: 1 }
        }

        fn private(&self) -> bool {
            true
        }
    }

    fn format(pixels: PixelFormat, width: u32, height: u32) -> FrameFormat {
        FrameFormat::packed(pixels, Size::new(width, height), Colorimetry::default(), 25.0)
    }

    fn frame(format: FrameFormat, sequence: u64) -> Frame {
        let count = |bytes: &mut [u8]| {
            bytes.iter_mut().zip(0..).for_each(|(byte, value)| *byte = value);
            Ok::<_, std::convert::Infallible>(())
        };
        let Ok(frame) = MemoryPool::new(format, 1).fill(sequence, 1000 + sequence, count);
        frame.expect("free")
    }

    fn turned(events: Vec<StreamEvent>, format: FrameFormat, orientation: Orientation) -> Box<dyn Stream> {
        upright(Box::new(Script(events.into(), format)), orientation, "scripted").expect("turns")
    }

    const LEFT: Orientation = Orientation { rotation: Rotation::ThreeQuarters, mirror: false };

    #[test]
    fn frames_keep_their_number_time_and_colours_and_follow_a_change_of_format() {
        let (first, second) = (format(PixelFormat::Grey, 3, 2), format(PixelFormat::Yuyv, 4, 2));
        let events = vec![
            StreamEvent::Frame(Frame { private: true, ..frame(first, 7) }),
            StreamEvent::FormatChanged(second),
            StreamEvent::Frame(frame(second, 8)),
        ];
        let mut stream = turned(events, first, LEFT);
        assert_eq!(stream.format(), format(PixelFormat::Grey, 2, 3));
        let StreamEvent::Frame(frame) = stream.next(Duration::ZERO).expect("runs") else { panic!("a frame") };
        assert_eq!((frame.sequence, frame.capture_ns, frame.private), (7, 1007, true));
        assert_eq!(frame.picture().plane(0).data, [2, 5, 1, 4, 0, 3]);
        let changed = stream.next(Duration::ZERO).expect("runs");
        assert!(matches!(changed, StreamEvent::FormatChanged(now) if now == format(PixelFormat::Nv12, 2, 4)));
        let StreamEvent::Frame(frame) = stream.next(Duration::ZERO).expect("runs") else { panic!("a frame") };
        // Bytes 0 to 15 of YUYV: luma is 0, 2, 4, 6 above 8, 10, 12, 14.
        assert_eq!(frame.picture().plane(0).data[..8], [6, 14, 4, 12, 2, 10, 0, 8]);
        assert!(stream.private() && matches!(stream.next(Duration::ZERO), Ok(StreamEvent::End)));
    }

    #[test]
    fn frames_that_readers_hold_are_never_overwritten() {
        let format = format(PixelFormat::Grey, 3, 2);
        let events = (0..=6).map(|sequence| StreamEvent::Frame(frame(format, sequence))).collect();
        let mut stream = turned(events, format, LEFT);
        let mut held = Vec::new();
        while let StreamEvent::Frame(frame) = stream.next(Duration::ZERO).expect("runs") {
            held.push(frame);
        }
        assert_eq!(held.len(), BUFFERS);
        assert_eq!(stream.counters(), StreamCounters { dropped: 3, corrupt: 2, starved: 2 });
    }

    #[test]
    fn a_picture_that_cannot_be_turned_is_an_error_of_the_source() {
        let format = format(PixelFormat::Nv12, 1, 8);
        let error = upright(Box::new(Script(VecDeque::new(), format)), LEFT, "file:x").err().expect("refused");
        assert_eq!(error.to_string(), "file:x: a NV12 picture of 1x8 is too small to be turned");
    }
}
