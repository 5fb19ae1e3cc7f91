//! A scene as a source of frames.

use std::sync::Arc;
use std::time::Duration;

use crate::options::SceneOptions;
use crate::scene::{Scene, Scratch};
use portraitd_media::frame::MemoryPool;
use portraitd_media::playback::{FrameRate, Pacer, Playback};
use portraitd_media::{FormatRequest, FrameFormat, Size, Source, SourceError, Stream, StreamCounters, StreamEvent};

/// The number of frames that readers can hold at the same time.
const BUFFERS: usize = 6;

/// A scene as a [`Source`]. Each stream begins with frame 0.
#[derive(Debug)]
pub struct SceneSource {
    options: SceneOptions,
    scene: Option<Arc<Scene>>,
}

impl SceneSource {
    /// The scene that `options` describe. It is created when the source is opened, and freed with
    /// the stream.
    pub const fn new(options: SceneOptions) -> Self {
        Self { options, scene: None }
    }

    /// A source of an existing scene, so that the caller can ask the same scene for its truth. The
    /// source ignores the format request.
    pub fn from_scene(scene: Arc<Scene>) -> Self {
        Self { options: scene.options().clone(), scene: Some(scene) }
    }
}

/// The size nearest to `size` that a scene can have.
fn nearest(size: Size) -> Size {
    let (least, most) = SceneOptions::SIZES;
    let side = |length: u32, least: u32, most: u32| length.clamp(least, most) / 2 * 2;
    Size::new(side(size.width, least.width, most.width), side(size.height, least.height, most.height))
}

impl Source for SceneSource {
    fn name(&self) -> String {
        self.options.to_string()
    }

    fn open(&self, wanted: &FormatRequest) -> Result<Box<dyn Stream>, SourceError> {
        let scene = if let Some(scene) = &self.scene {
            Arc::clone(scene)
        } else {
            let mut options = self.options.clone();
            options.size = options.size.or_else(|| wanted.size.map(nearest));
            options.frame_rate = options.frame_rate.or_else(|| wanted.frame_rate.and_then(FrameRate::from_decimal));
            Arc::new(Scene::new(&options)?)
        };
        Ok(Box::new(SceneStream {
            pool: MemoryPool::new(scene.format(), BUFFERS),
            pacer: Pacer::new(scene.frame_rate(), scene.options().playback),
            end: if scene.options().repeat { u64::MAX } else { scene.period_frames() },
            scratch: Scratch::default(),
            sequence: 0,
            counters: StreamCounters::default(),
            scene,
        }))
    }
}

struct SceneStream {
    scene: Arc<Scene>,
    pool: MemoryPool,
    pacer: Pacer,
    scratch: Scratch,
    sequence: u64,
    /// The number of frames before the stream ends.
    end: u64,
    counters: StreamCounters,
}

impl Stream for SceneStream {
    fn format(&self) -> FrameFormat {
        self.pool.format()
    }

    /// In real time, a frame for which no buffer is free is lost and its number is skipped, as with
    /// a camera.
    fn next(&mut self, timeout: Duration) -> Result<StreamEvent, SourceError> {
        if self.sequence >= self.end {
            return Ok(StreamEvent::End);
        }
        let Some(capture_ns) = self.pacer.wait(timeout) else {
            return Ok(StreamEvent::Nothing);
        };
        let (scene, scratch, sequence) = (&self.scene, &mut self.scratch, self.sequence);
        let frame = self.pool.fill(sequence, capture_ns, |bytes| {
            scene.render(sequence, scratch, bytes);
            Ok::<_, SourceError>(())
        })?;
        let Some(frame) = frame else {
            return Ok(self.starve(timeout));
        };
        self.sequence += 1;
        self.pacer.advance();
        Ok(StreamEvent::Frame(frame))
    }

    fn counters(&self) -> StreamCounters {
        self.counters
    }
}

impl SceneStream {
    /// Counts a frame for which no buffer is free. In real time the frame is lost. With fast
    /// playback no frame is lost, and the readers get up to 1 ms.
    fn starve(&mut self, timeout: Duration) -> StreamEvent {
        self.counters.starved += 1;
        if self.scene.options().playback == Playback::Fast {
            std::thread::sleep(timeout.min(Duration::from_millis(1)));
        } else {
            self.sequence += 1;
            self.pacer.advance();
        }
        StreamEvent::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::SceneName;

    #[test]
    fn a_stream_has_the_requested_format_and_ends_after_its_period() {
        let mut options = SceneOptions::new(SceneName::Still);
        (options.playback, options.repeat) = (Playback::Fast, false);
        let wanted = FormatRequest { size: Some(Size::new(161, 91)), frame_rate: Some(5.0) };
        let mut stream = SceneSource::new(options).open(&wanted).expect("opens");
        assert_eq!(stream.format().size, Size::new(160, 90));
        let mut stamps = Vec::new();
        loop {
            match stream.next(Duration::from_secs(1)).expect("runs") {
                StreamEvent::Frame(frame) => {
                    assert_eq!(frame.sequence, stamps.len() as u64);
                    stamps.push(frame.capture_ns);
                }
                StreamEvent::End => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(stamps.len(), 50, "10 s at 5 frames a second");
        assert!(stamps.windows(2).all(|pair| pair[1] - pair[0] == 200_000_000), "{stamps:?}");
    }

    #[test]
    fn readers_that_hold_every_buffer_starve_the_stream() {
        let mut options = SceneOptions::new(SceneName::Empty);
        (options.playback, options.size) = (Playback::Fast, Some(Size::new(64, 64)));
        let mut stream = SceneSource::new(options).open(&FormatRequest::default()).expect("opens");
        let mut held = Vec::new();
        while let StreamEvent::Frame(frame) = stream.next(Duration::ZERO).expect("runs") {
            held.push(frame);
        }
        assert_eq!(stream.counters().starved, 1);
        let next = held.len() as u64;
        held.pop();
        let StreamEvent::Frame(frame) = stream.next(Duration::ZERO).expect("runs") else { panic!("a buffer is free") };
        assert_eq!(frame.sequence, next, "no frame is lost with fast playback");
    }
}
