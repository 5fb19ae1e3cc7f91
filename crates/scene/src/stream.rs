//! A scene as a source of frames.

use std::sync::Arc;
use std::time::Duration;

use super::{Scene, SceneOptions, Scratch};
use portraitd_media::Size;
use portraitd_media::frame::MemoryPool;
use portraitd_media::playback::{FrameRate, Pacer};
use portraitd_media::{FormatRequest, FrameFormat, Source, SourceError, Stream, StreamCounters, StreamEvent};

/// Frames that readers may hold at once.
const BUFFERS: usize = 6;

/// A scene, rendered anew each time it is opened. Frame 0 is shown first, whenever that is.
#[derive(Debug)]
pub struct SceneSource {
    options: SceneOptions,
    ready: Option<Arc<Scene>>,
}

impl SceneSource {
    /// The scene that `options` describe, made when it is opened and freed when it is closed.
    pub const fn new(options: SceneOptions) -> Self {
        Self { options, ready: None }
    }

    /// A scene that is there already, so that its truth can be asked for beside the stream. What is wanted of the source
    /// is then ignored.
    pub fn from_scene(scene: Arc<Scene>) -> Self {
        Self { options: scene.options().clone(), ready: Some(scene) }
    }
}

/// The nearest size that a scene can have.
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
        let scene = if let Some(scene) = &self.ready {
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
    /// The first number that is not shown.
    end: u64,
    counters: StreamCounters,
}

impl Stream for SceneStream {
    fn format(&self) -> FrameFormat {
        self.pool.format()
    }

    /// As a camera does, it loses the frame for which no buffer is free: its number is skipped.
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
    /// No buffer is free. In real time the frame is lost; at the fast pace nothing is, and the readers get a moment.
    fn starve(&mut self, timeout: Duration) -> StreamEvent {
        self.counters.starved += 1;
        if self.scene.options().playback == portraitd_media::playback::Playback::Fast {
            std::thread::sleep(timeout.min(Duration::from_millis(1)));
        } else {
            self.sequence += 1;
            self.pacer.advance();
        }
        StreamEvent::Nothing
    }
}
