//! Passes the frames of a scene through the chain.

use portraitd_framing::{Director, Shot};
use portraitd_lab::eval::EvalChain;
use portraitd_media::playback::FrameRate;
use portraitd_media::{OwnedPicture, PixelRect, Size, UnitRect};
use portraitd_protocol::FramingState;
use portraitd_scene::{Scene, SceneName, SceneOptions, Scratch};
use portraitd_vision::net::DEFAULT_MODEL;
use portraitd_vision::net::Library;

/// The size of the test scenes. It costs a third of 720p, and the noise affects the net more.
pub(super) const SIZE: Size = Size::new(640, 360);

/// The result of the chain for one frame.
#[derive(Clone, Debug)]
pub(super) struct PlayedFrame {
    /// Time since the start of the scene.
    pub(super) seconds: f64,
    /// The director's answer, in pixels of the frame.
    pub(super) shot: Shot,
    /// Ids and boxes, in fractions of the frame.
    pub(super) people: Vec<(u32, UnitRect)>,
}

impl PlayedFrame {
    pub(super) fn is_converged(&self) -> bool {
        self.shot.still && self.shot.state == FramingState::Converged
    }
}

/// A scene, and the chain that processes it.
pub(super) struct Player {
    pub(super) scene: Scene,
    pub(super) chain: EvalChain,
    picture: OwnedPicture,
    scratch: Scratch,
    sequence: u64,
    /// The error of a frame's capture timestamp, in nanoseconds.
    jitter: fn(u64) -> i64,
}

pub(super) fn scene(name: SceneName, size: Size, fps: u32) -> Scene {
    let options = SceneOptions { size: Some(size), frame_rate: FrameRate::new(fps, 1), ..SceneOptions::new(name) };
    Scene::new(&options).expect("a scene")
}

impl Player {
    pub(super) fn new(name: SceneName) -> Self {
        Self::at(name, 30, |_| 0)
    }

    /// Plays at another rate, with an error of the timestamps.
    pub(super) fn at(name: SceneName, fps: u32, jitter: fn(u64) -> i64) -> Self {
        Self::of(scene(name, SIZE, fps), jitter)
    }

    /// Plays a scene of [`SIZE`].
    pub(super) fn of(scene: Scene, jitter: fn(u64) -> i64) -> Self {
        let chain = EvalChain::new(&Library::default(), DEFAULT_MODEL, SIZE).expect("a chain");
        Self { picture: scene.picture(0), scene, chain, scratch: Scratch::default(), sequence: 0, jitter }
    }

    /// Continues with another scene at the same time.
    pub(super) fn change_scene(&mut self, scene: Scene) {
        self.picture = scene.picture(0);
        self.scene = scene;
    }

    /// The number of the last frame played.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence - 1
    }

    /// The truth of the last frame played.
    pub(super) fn truth(&self) -> OwnedPicture {
        self.scene.truth(self.sequence()).alpha
    }

    /// The capture time of the last frame played, in nanoseconds.
    pub(super) fn stamp(&self) -> u64 {
        self.stamp_of(self.sequence())
    }

    fn stamp_of(&self, sequence: u64) -> u64 {
        // Starts at 1 s, since the jitter may be negative.
        (self.scene.frame_rate().nanoseconds(sequence) + 1_000_000_000).saturating_add_signed((self.jitter)(sequence))
    }

    /// The mask of the net alone for the last frame played.
    pub(super) fn net_alone(&mut self) -> &OwnedPicture {
        self.chain.net_alone(&self.picture.as_picture()).expect("a frame goes through")
    }

    /// The director for frames of this size.
    pub(super) fn director(&mut self, frame: Size) -> &mut Director {
        self.chain.director(frame).expect("a director")
    }

    /// Plays the next frame.
    pub(super) fn next(&mut self) -> PlayedFrame {
        let sequence = self.sequence;
        self.sequence += 1;
        self.scene.render(sequence, &mut self.scratch, self.picture.bytes_mut());
        let stamp = self.stamp_of(sequence);
        let shot = self.chain.step(&self.picture.as_picture(), sequence, stamp).expect("a frame goes through");
        let people = self.chain.observation().people.iter().map(|person| (person.id, person.bounds)).collect();
        PlayedFrame { seconds: self.scene.seconds(sequence), shot, people }
    }

    /// Plays all frames before `seconds`.
    pub(super) fn until(&mut self, seconds: f64) -> Vec<PlayedFrame> {
        let mut frames = Vec::new();
        while self.scene.seconds(self.sequence) < seconds - 1e-6 {
            frames.push(self.next());
        }
        frames
    }

    /// Plays all frames before `seconds`, and asserts that the crop then rests on the people.
    pub(super) fn settle(&mut self, seconds: f64) -> PlayedFrame {
        let frames = self.until(seconds);
        let last = frames.last().expect("a frame").clone();
        assert!(last.is_converged(), "{last:?}");
        let whole = PixelRect::of_size(self.scene.format().size);
        assert!(last.shot.crop.area() < 0.9 * whole.area(), "a crop that can move: {last:?}");
        last
    }
}
