//! Plays a scene through the chain.

use portraitd_framing::Shot;
use portraitd_media::playback::FrameRate;
use portraitd_media::{OwnedPicture, PixelRect, Size, UnitRect};
use portraitd_protocol::FramingState;
use portraitd_render::chain::Chain;
use portraitd_scene::{Scene, SceneName, SceneOptions, Scratch};
use portraitd_vision::net::Library;
use portraitd_vision::net::library::DEFAULT_MODEL;

/// The size of the tests' scenes: a third of the work of 720p, and more noise for the net.
pub const SIZE: Size = Size::new(640, 360);

/// One frame, after the whole chain.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Since the scene began.
    pub seconds: f64,
    /// Pixels of the frame.
    pub shot: Shot,
    /// Ids and boxes, fractions of the frame.
    pub people: Vec<(u32, UnitRect)>,
}

impl Frame {
    pub fn is_converged(&self) -> bool {
        self.shot.still && self.shot.state == FramingState::Converged
    }
}

/// A scene and a chain that looks at it.
pub struct Player {
    pub scene: Scene,
    pub chain: Chain,
    picture: OwnedPicture,
    scratch: Scratch,
    sequence: u64,
    /// What a frame's stamp is off by, nanoseconds.
    jitter: fn(u64) -> i64,
}

pub fn scene(name: SceneName, size: Size, fps: u32) -> Scene {
    let options = SceneOptions { size: Some(size), frame_rate: FrameRate::new(fps, 1), ..SceneOptions::new(name) };
    Scene::new(&options).expect("a scene")
}

impl Player {
    pub fn new(name: SceneName) -> Self {
        Self::at(name, 30, |_| 0)
    }

    /// At another rate, with stamps that are off by `jitter`.
    pub fn at(name: SceneName, fps: u32, jitter: fn(u64) -> i64) -> Self {
        Self::of(scene(name, SIZE, fps), jitter)
    }

    /// Of a scene of [`SIZE`].
    pub fn of(scene: Scene, jitter: fn(u64) -> i64) -> Self {
        let chain = Chain::new(&Library::default(), DEFAULT_MODEL, SIZE).expect("a chain");
        Self { picture: scene.picture(0), scene, chain, scratch: Scratch::default(), sequence: 0, jitter }
    }

    /// Goes on with another scene, at the same time in it.
    pub fn change_scene(&mut self, scene: Scene) {
        self.picture = scene.picture(0);
        self.scene = scene;
    }

    /// The number of the last frame played.
    pub fn sequence(&self) -> u64 {
        self.sequence - 1
    }

    /// The truth of the last frame played.
    pub fn truth(&self) -> OwnedPicture {
        self.scene.truth(self.sequence()).alpha
    }

    /// The capture time of the last frame played, in nanoseconds.
    pub fn stamp(&self) -> u64 {
        self.stamp_of(self.sequence())
    }

    fn stamp_of(&self, sequence: u64) -> u64 {
        // Not from 0: a jitter may be negative.
        (self.scene.frame_rate().nanoseconds(sequence) + 1_000_000_000).saturating_add_signed((self.jitter)(sequence))
    }

    /// The mask of the net alone of the last frame played.
    pub fn net_alone(&mut self) -> &OwnedPicture {
        self.chain.net_alone(&self.picture.as_picture()).expect("a frame goes through")
    }

    /// Plays the next frame.
    pub fn next(&mut self) -> Frame {
        let sequence = self.sequence;
        self.sequence += 1;
        self.scene.render(sequence, &mut self.scratch, self.picture.bytes_mut());
        let stamp = self.stamp_of(sequence);
        let shot = self.chain.step(&self.picture.as_picture(), sequence, stamp).expect("a frame goes through");
        let people = self.chain.observation().people.iter().map(|person| (person.id, person.bounds)).collect();
        Frame { seconds: self.scene.seconds(sequence), shot, people }
    }

    /// Plays all frames before `seconds`.
    pub fn until(&mut self, seconds: f64) -> Vec<Frame> {
        let mut frames = Vec::new();
        while self.scene.seconds(self.sequence) < seconds - 1e-6 {
            frames.push(self.next());
        }
        frames
    }

    /// Plays all frames before `seconds`, after which the crop must rest on the people.
    pub fn settle(&mut self, seconds: f64) -> Frame {
        let frames = self.until(seconds);
        let last = frames.last().expect("a frame").clone();
        assert!(last.is_converged(), "{last:?}");
        let whole = PixelRect::of_size(self.scene.format().size);
        assert!(last.shot.crop.area() < 0.9 * whole.area(), "a crop that can move: {last:?}");
        last
    }
}
