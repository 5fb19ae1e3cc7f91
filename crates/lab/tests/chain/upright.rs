//! A camera that hangs or lies sees the scene as one that stands, once its pictures are turned.

use std::time::Duration;

use portraitd_framing::Shot;
use portraitd_kernels::upright::Turner;
use portraitd_lab::eval::{EvalChain, MaskMeter};
use portraitd_media::frame::MemoryPool;
use portraitd_media::{
    FrameFormat, Orientation, OwnedPicture, PictureMut, PixelFormat, PixelRect, Rotation, SourceError, Stream,
    StreamEvent, UnitRect, upright,
};
use portraitd_scene::{Scene, SceneName, Scratch};
use portraitd_vision::net::{DEFAULT_MODEL, EngineOptions, Library};
use portraitd_vision::{Observation, Observer, TrackedPerson};

use super::player::{SIZE, scene};

/// The seconds of the scene that are played: the person walks through the whole picture.
const SECONDS: f64 = 6.0;

/// The walk, filmed by a camera whose pictures have to be turned.
struct Tilted {
    scene: Scene,
    /// How the camera turns what it sees.
    tilt: Orientation,
    turner: Turner,
    scratch: Scratch,
    picture: OwnedPicture,
    pool: MemoryPool,
    sequence: u64,
}

impl Tilted {
    fn new(tilt: Orientation) -> Self {
        let scene = scene(SceneName::Walk, SIZE, 30);
        let (picture, format) = (scene.picture(0), scene.format());
        let tilted = FrameFormat::packed(PixelFormat::Nv12, tilt.turned(SIZE), format.color, format.frame_rate);
        let pool = MemoryPool::new(tilted, 2);
        Self { scene, tilt, turner: Turner::default(), scratch: Scratch::default(), picture, pool, sequence: 0 }
    }
}

impl Stream for Tilted {
    fn format(&self) -> FrameFormat {
        self.pool.format()
    }

    fn next(&mut self, _: Duration) -> Result<StreamEvent, SourceError> {
        let Self { scene, tilt, turner, scratch, picture, pool, sequence } = self;
        if scene.seconds(*sequence) >= SECONDS {
            return Ok(StreamEvent::End);
        }
        scene.render(*sequence, scratch, picture.bytes_mut());
        let (format, stamp) = (pool.format(), scene.frame_rate().nanoseconds(*sequence));
        let frame = pool.fill(*sequence, stamp, |bytes| {
            let mut output = PictureMut::packed(format.pixel_format, format.size, bytes).expect("a picture");
            turner.turn(&picture.as_picture(), *tilt, &mut output).expect("turned");
            Ok::<_, SourceError>(())
        })?;
        *sequence += 1;
        Ok(StreamEvent::Frame(frame.expect("no frame is held")))
    }
}

/// What the chain finds in one frame.
struct Found {
    shot: Shot,
    people: Vec<(u32, UnitRect)>,
    mask: Vec<u8>,
    /// The cells of people in the zone at the left, which are ignored.
    ignored: Vec<usize>,
}

/// The walk through a camera with this tilt, whose pictures are turned by `orientation`.
fn watch(tilt: Orientation, orientation: Orientation) -> Vec<Found> {
    let mut stream = upright(Box::new(Tilted::new(tilt)), orientation, "scene").expect("turns");
    let library = Library::default();
    let mut chain = EvalChain::new(&library, DEFAULT_MODEL, SIZE).expect("a chain");
    let model = library.load(DEFAULT_MODEL, EngineOptions::default()).expect("a built-in model");
    let (mut zoned, mut observation) = (Observer::new(model).expect("samples"), Observation::default());
    let in_zone = |person: &TrackedPerson| person.bounds.center().0 < 0.4;
    let mut found = Vec::new();
    while let StreamEvent::Frame(frame) = stream.next(Duration::ZERO).expect("runs") {
        assert_eq!(frame.format.size, SIZE);
        let picture = frame.picture();
        let shot = chain.step(&picture, frame.sequence, frame.capture_ns).expect("a frame goes through");
        zoned.observe(&picture, frame.sequence, frame.capture_ns, in_zone, &mut observation).expect("observed");
        let cells = 0..observation.mask.len();
        found.push(Found {
            shot,
            people: chain.observation().people.iter().map(|person| (person.id, person.bounds)).collect(),
            ignored: cells.filter(|&cell| observation.origin(cell) == portraitd_vision::CellOrigin::Ignored).collect(),
            mask: chain.mask().expect("a mask").bytes().to_vec(),
        });
    }
    found
}

/// The turn that undoes another one.
fn undo(orientation: Orientation) -> Orientation {
    // Mirrored turns undo themselves.
    let degrees =
        if orientation.mirror { orientation.rotation.degrees() } else { 360 - orientation.rotation.degrees() };
    let rotation = Rotation::from_degrees(i64::from(degrees % 360)).expect("a right angle");
    Orientation { rotation, ..orientation }
}

#[test]
fn people_crops_zones_and_masks_are_those_of_an_upright_camera() {
    let straight = watch(Orientation::default(), Orientation::default());
    assert!(straight.iter().any(|found| found.people.len() == 1));
    assert!(straight.iter().any(|found| !found.ignored.is_empty()), "somebody walks through the zone");
    assert!(straight.iter().any(|found| found.shot.crop != PixelRect::of_size(SIZE)), "the crop moves");
    for orientation in Orientation::all().filter(|orientation| !orientation.is_identity()) {
        let turned = watch(undo(orientation), orientation);
        assert_eq!(turned.len(), straight.len());
        for (at, (turned, straight)) in turned.iter().zip(&straight).enumerate() {
            assert_eq!(turned.people, straight.people, "{orientation}, frame {at}");
            assert_eq!(turned.shot.crop, straight.shot.crop, "{orientation}, frame {at}");
            assert!(turned.mask == straight.mask, "{orientation}, frame {at}: another mask");
            assert!(turned.ignored == straight.ignored, "{orientation}, frame {at}: another zone");
        }
    }
}

/// An upright camera with `mirror`: the net sees a mirrored person, who is no worse to find.
#[test]
fn a_mirrored_scene_has_masks_as_good_as_the_scene() {
    let mirror = Orientation { mirror: true, ..Orientation::default() };
    let walk = scene(SceneName::Walk, SIZE, 30);
    let mean_iou = |orientation: Orientation| {
        let found = watch(Orientation::default(), orientation);
        let ious = found.iter().zip(0..).map(|(found, sequence)| {
            let mut truth = walk.truth(sequence).alpha;
            if orientation.mirror {
                truth.bytes_mut().chunks_exact_mut(SIZE.width as usize).for_each(<[u8]>::reverse);
            }
            MaskMeter::new().add(&found.mask, Some(truth.bytes())).iou.expect("truth")
        });
        ious.sum::<f64>() / found.len() as f64
    };
    let (straight, mirrored) = (mean_iou(Orientation::default()), mean_iou(mirror));
    println!("mean IoU: straight {straight:.4}, mirrored {mirrored:.4}");
    assert!(mirrored >= straight - 0.002, "mean IoU {mirrored:.4} mirrored, {straight:.4} straight");
}
