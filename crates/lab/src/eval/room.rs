//! How much of the room a composite shows: the scene's people in front of a room of one colour that
//! occurs in no person, and the pixels of a composite that have this colour.
//!
//! [`play`] runs the observer and the rules of the composite on a clock of its own, with a net that
//! takes as long as it is told, in the order of the service's threads: the vision thread takes the
//! newest frame whenever it is free, and the composite shows what [`MatteRules`] allows.
//! `docs/design/fail-closed.md` has the results.

use portraitd_media::{Colorimetry, OwnedPicture, PixelFormat, PixelRect, Size, SourceError};
use portraitd_protocol::BackgroundMode;
use portraitd_render::composite::{CompositeRenderer, PreparedBackground};
use portraitd_render::{MatteRules, RenderError};
use portraitd_scene::{Scene, SceneOptions};
use portraitd_vision::net::{Input, Library, Model, ModelError, TensorLayout};
use portraitd_vision::{GateSampler, Observation, ObserveError, Observer};

/// A pixel whose green exceeds its red and its blue by this much shows the room: a quarter of it or
/// more, in front of a black background.
const ROOM: u8 = 64;
/// The room's colour in BT.601, limited range: pure green.
const ROOM_YCC: [u8; 3] = [145, 54, 34];
/// Pixels of the frame at this distance from a person's outline, or nearer, belong to the edge.
pub const EDGE_BAND_PX: usize = 4;
/// The size of the masks of the net that knows the truth.
const TRUTH_MASK: Size = Size::new(256, 144);

/// Why a scene could not be played.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// The scene could not be rendered.
    #[error(transparent)]
    Scene(#[from] SourceError),
    /// There is no such net, or it cannot be loaded.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A frame could not be observed.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// A composite could not be drawn.
    #[error(transparent)]
    Render(#[from] RenderError),
}

/// A frame of a scene whose room is green.
#[derive(Clone, Debug)]
pub struct GreenFrame {
    /// NV12.
    pub picture: OwnedPicture,
    /// For each pixel whether it is a person, or within [`EDGE_BAND_PX`] of one.
    pub near_person: Vec<bool>,
    /// The number of pixels of people.
    pub person_pixels: u64,
}

/// The frames of a scene with a green room.
#[derive(Clone, Debug)]
pub struct GreenRoom {
    /// The frames, in order.
    pub frames: Vec<GreenFrame>,
    /// Their size, in pixels.
    pub size: Size,
    /// The time between two frames, nanoseconds.
    pub interval_ns: u64,
}

impl GreenRoom {
    /// Renders `count` frames of a scene from frame `first` on, without noise.
    ///
    /// # Errors
    /// [`RoomError::Scene`].
    pub fn render(options: &SceneOptions, first: u64, count: u64) -> Result<Self, RoomError> {
        let options = SceneOptions { noise: 0.0, ..options.clone() };
        let scene = Scene::new(&options)?;
        let size = scene.format().size;
        let interval_ns = scene.frame_rate().nanoseconds(1);
        let frames = (first..first + count).map(|sequence| green(&scene, sequence)).collect();
        Ok(Self { frames, size, interval_ns })
    }
}

/// Replaces the room of a frame.
fn green(scene: &Scene, sequence: u64) -> GreenFrame {
    let mut picture = scene.picture(sequence);
    let truth = scene.truth(sequence).alpha;
    let alpha = truth.bytes();
    let (width, height) = (truth.size().width as usize, truth.size().height as usize);
    let mixed = |person: u8, room: u8, alpha: u32| {
        u8::try_from((u32::from(person) * alpha + u32::from(room) * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
    };
    let (luma, chroma) = picture.bytes_mut().split_at_mut(width * height);
    for (luma, alpha) in luma.iter_mut().zip(alpha) {
        *luma = mixed(*luma, ROOM_YCC[0], u32::from(*alpha));
    }
    for (index, pair) in chroma.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let (x, y) = (index % (width / 2) * 2, index / (width / 2) * 2);
        let at = |x: usize, y: usize| u32::from(alpha[y * width + x]);
        let mean = (at(x, y) + at(x + 1, y) + at(x, y + 1) + at(x + 1, y + 1)) / 4;
        *pair = [mixed(pair[0], ROOM_YCC[1], mean), mixed(pair[1], ROOM_YCC[2], mean)];
    }
    let people: Vec<bool> = alpha.iter().map(|alpha| *alpha > 0).collect();
    let person_pixels = alpha.iter().filter(|alpha| **alpha >= 128).count() as u64;
    GreenFrame { picture, near_person: grown(&people, width, EDGE_BAND_PX), person_pixels }
}

/// `marked`, with all pixels within `by` of a marked one in each direction.
fn grown(marked: &[bool], width: usize, by: usize) -> Vec<bool> {
    let along = |row: &[bool]| -> Vec<bool> {
        (0..row.len()).map(|x| row[x.saturating_sub(by)..(x + by + 1).min(row.len())].contains(&true)).collect()
    };
    let rows: Vec<Vec<bool>> = marked.chunks_exact(width).map(along).collect();
    let near = |y: usize| y.saturating_sub(by)..(y + by + 1).min(rows.len());
    (0..rows.len())
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .map(|(x, y)| near(y).any(|row| rows[row][x]))
        .collect()
}

/// Whether an RGB pixel shows the room.
pub fn is_room([red, green, blue]: [u8; 3]) -> bool {
    green.saturating_sub(red.max(blue)) >= ROOM
}

/// A net that knows the truth: what is not green is a person. `before` is called before each pass
/// and may fail it.
///
/// # Errors
/// [`RoomError::Model`] if there is no built-in net to take the input's description from.
pub fn truth_net(
    mut before: impl FnMut() -> Result<(), portraitd_vision::net::EngineError> + Send + 'static,
) -> Result<Model, RoomError> {
    let library = Library::default();
    let mut manifest = library.load(portraitd_vision::net::DEFAULT_MODEL, Default::default())?.manifest().clone();
    let size = TRUTH_MASK;
    manifest.input = Input { width: size.width, height: size.height, layout: TensorLayout::Nhwc, ..manifest.input };
    let (mean, std) = (manifest.input.mean, manifest.input.std);
    Ok(Model::from_fn(manifest, size, move |input, mask| {
        before()?;
        for (pixel, mask) in input.as_chunks::<3>().0.iter().zip(mask) {
            let [red, green, blue] = std::array::from_fn(|i| pixel[i] * std[i] + mean[i]);
            *mask = (1.0 - (green - red.max(blue)).max(0.0)).clamp(0.0, 1.0);
        }
        Ok(())
    }))
}

/// How a scene is played.
#[derive(Clone, Copy, Debug)]
pub struct Playing {
    /// Whether composites show a frame with its own mask only.
    pub strict: bool,
    /// How long a composite that is not strict waits for the mask of its frame, nanoseconds.
    pub budget_ns: u64,
    /// Size of the composites, in pixels.
    pub output: Size,
    /// What stands behind the people.
    pub background: BackgroundMode,
}

/// One composite that was shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// Index of the frame.
    pub frame: usize,
    /// From its capture to its being shown, nanoseconds.
    pub latency_ns: u64,
    /// Pixels of the output that show the room, farther than [`EDGE_BAND_PX`] from a person.
    pub room_pixels: u64,
    /// The same near people.
    pub edge_pixels: u64,
    /// Pixels of the output that are not background.
    pub person_pixels: u64,
}

/// A pass that is under way, or whose result is known.
struct Pass {
    frame: usize,
    done_ns: u64,
    observation: Option<Observation>,
}

/// The vision thread on a clock of its own.
struct Vision<'a, F> {
    room: &'a GreenRoom,
    observer: &'a mut Observer,
    /// The duration of a pass, from the index of its frame.
    pass_ns: F,
    /// The pass under way.
    running: Option<Pass>,
    /// The newest result.
    result: Option<Pass>,
    /// The number of frames that were taken or missed.
    seen: usize,
}

impl<F: FnMut(usize) -> u64> Vision<'_, F> {
    fn start(&mut self, frame: usize, now_ns: u64) {
        self.seen = frame + 1;
        let picture = &self.room.frames[frame].picture;
        let captured_ns = frame as u64 * self.room.interval_ns;
        let mut observation = Observation::default();
        let observed =
            self.observer.observe(&picture.as_picture(), frame as u64, captured_ns, |_| false, &mut observation);
        let passes = if observed.is_ok() { u64::from(observation.inferences) } else { 1 };
        let done_ns = now_ns + passes * (self.pass_ns)(frame);
        self.running = Some(Pass { frame, done_ns, observation: observed.is_ok().then_some(observation) });
    }

    /// Plays until `now_ns`, and calls `done` with each result.
    fn advance(&mut self, now_ns: u64, mut done: impl FnMut(&Pass)) {
        loop {
            let newest = usize::try_from(now_ns / self.room.interval_ns).unwrap_or(usize::MAX);
            match self.running.take() {
                Some(pass) if pass.done_ns <= now_ns => {
                    let at_ns = pass.done_ns;
                    done(&pass);
                    if pass.observation.is_some() {
                        self.result = Some(pass);
                    }
                    let newest = usize::try_from(at_ns / self.room.interval_ns).unwrap_or(usize::MAX);
                    if newest >= self.seen && newest < self.room.frames.len() {
                        self.start(newest, at_ns);
                    }
                }
                Some(pass) => {
                    self.running = Some(pass);
                    return;
                }
                None if newest >= self.seen && newest < self.room.frames.len() => {
                    self.start(newest, now_ns.max(newest as u64 * self.room.interval_ns));
                }
                None => return,
            }
        }
    }
}

/// Draws the composites and counts the room in them.
struct Painter<'a> {
    room: &'a GreenRoom,
    playing: Playing,
    renderer: CompositeRenderer,
    rules: MatteRules,
    gate: GateSampler,
    image: OwnedPicture,
    out: OwnedPicture,
}

impl Painter<'_> {
    /// Draws a frame with an observation; `None` if the composite leaves the frame out.
    fn draw(
        &mut self,
        frame: usize,
        observation: Option<&Observation>,
        at_ns: u64,
    ) -> Result<Option<Shown>, RoomError> {
        let GreenFrame { picture, near_person, .. } = &self.room.frames[frame];
        let (size, captured_ns) = (self.room.size, frame as u64 * self.room.interval_ns);
        let matte = match observation {
            Some(observation) if observation.sequence == frame as u64 => {
                self.rules.own(observation, (frame as u64, captured_ns), size)
            }
            Some(observation) => {
                let cells = self.gate.sample(&picture.as_picture()).map_err(ObserveError::from)?;
                self.rules.newer(observation, captured_ns, size, cells)
            }
            None => portraitd_render::ShownMatte::nothing(),
        };
        if self.playing.strict && matte.has_mask() && !matte.is_complete() {
            return Ok(None);
        }
        let background = PreparedBackground {
            version: 1,
            mode: self.playing.background,
            color: [0, 0, 0],
            blur: 0.05,
            image: Some(&self.image),
        };
        let whole = PixelRect::of_size(size);
        self.renderer.render(&picture.as_picture(), whole, matte, &background, &mut self.out.as_picture_mut())?;
        let mut shown =
            Shown { frame, latency_ns: at_ns - captured_ns, room_pixels: 0, edge_pixels: 0, person_pixels: 0 };
        let output = self.playing.output;
        for (index, pixel) in self.out.bytes().as_chunks::<3>().0.iter().enumerate() {
            let (x, y) = (index % output.width as usize, index / output.width as usize);
            let is_near = || {
                if output == size {
                    return near_person[index];
                }
                // The pixels of the frame that this pixel and its neighbours show.
                let block = |at: usize, from: u32, to: u32| {
                    let scaled = |at: usize| (at * to as usize).div_ceil(from as usize).min(to as usize);
                    scaled(at.saturating_sub(1))..scaled(at + 2)
                };
                let columns = block(x, output.width, size.width);
                block(y, output.height, size.height)
                    .any(|row| near_person[row * size.width as usize..][columns.clone()].contains(&true))
            };
            match (is_room(*pixel), is_room(*pixel) && is_near()) {
                (true, false) => shown.room_pixels += 1,
                (true, true) => shown.edge_pixels += 1,
                _ => {}
            }
            shown.person_pixels += u64::from(pixel.iter().any(|value| *value > 24) && !is_room(*pixel));
        }
        Ok(Some(shown))
    }
}

/// Plays `room` with `observer`, whose passes take `pass_ns` (from the index of the frame), and
/// calls `show` with each composite that is shown.
///
/// # Errors
/// [`RoomError`].
pub fn play(
    room: &GreenRoom,
    observer: &mut Observer,
    playing: Playing,
    pass_ns: impl FnMut(usize) -> u64,
    mut show: impl FnMut(Shown),
) -> Result<(), RoomError> {
    let magenta = [200, 0, 200].repeat(64);
    let image = OwnedPicture::new(PixelFormat::Rgb24, Size::new(8, 8), Colorimetry::default(), magenta);
    let out = OwnedPicture::zeroed(PixelFormat::Rgb24, playing.output, Colorimetry::default());
    let (Ok(image), Ok(out)) = (image, out) else { return Ok(()) };
    let mut painter = Painter {
        room,
        playing,
        renderer: CompositeRenderer::new(),
        rules: MatteRules::new(),
        gate: GateSampler::new().map_err(ObserveError::from)?,
        image,
        out,
    };
    let mut vision = Vision { room, observer, pass_ns, running: None, result: None, seen: 0 };
    let mut outcome = Ok(());
    let mut free_ns = 0;
    for frame in 0..room.frames.len() {
        let captured_ns = frame as u64 * room.interval_ns;
        // A strict composite shows each result when it is there.
        let mut strict = |pass: &Pass| {
            if playing.strict && outcome.is_ok() {
                match painter.draw(pass.frame, pass.observation.as_ref(), pass.done_ns) {
                    Ok(shown) => shown.into_iter().for_each(&mut show),
                    Err(error) => outcome = Err(error),
                }
            }
        };
        vision.advance(captured_ns, &mut strict);
        if playing.strict {
            // The results before the next frame.
            vision.advance(captured_ns + room.interval_ns - 1, &mut strict);
            continue;
        }
        if captured_ns + room.interval_ns <= free_ns {
            continue;
        }
        // The composite waits for the frame's own mask until the budget is spent.
        let deadline_ns = (captured_ns + playing.budget_ns).max(free_ns);
        let own_ns = vision.running.as_ref().filter(|pass| pass.frame == frame).map(|pass| pass.done_ns);
        let at_ns = own_ns.map_or(deadline_ns, |own_ns| own_ns.clamp(captured_ns.max(free_ns), deadline_ns));
        let newest = |pass: &Option<Pass>| pass.as_ref().is_some_and(|pass| pass.frame >= frame);
        let at_ns = if newest(&vision.result) { captured_ns.max(free_ns) } else { at_ns };
        vision.advance(at_ns, |_| {});
        free_ns = at_ns;
        let observation = vision.result.as_ref().and_then(|pass| pass.observation.as_ref());
        painter.draw(frame, observation, at_ns)?.into_iter().for_each(&mut show);
    }
    outcome
}
