//! Several people before one camera: how many are counted, whether they keep their ids, the quality
//! of their masks, and whether the crop contains their heads. The scenes have a truth for each.
//! `docs/design/attention.md` has the figures.

use portraitd_lab::eval::{EvalChain, MaskMeter, PeopleMeter};
use portraitd_media::Size;
use portraitd_scene::{Scene, SceneName, SceneOptions, Scratch};
use portraitd_vision::net::{DEFAULT_MODEL, Library};

const SIZE: Size = Size::new(640, 360);

/// The figures of one period of a scene, in shares and means over its frames.
#[derive(Clone, Copy, Debug)]
struct Figures {
    iou: f64,
    counted: f64,
    ids_kept: f64,
    heads_inside: f64,
    /// Passes of the net and looks for heads per frame.
    inferences: f64,
    /// The share of frames whose crop equals that of the frame before.
    at_rest: f64,
}

fn play(name: SceneName) -> Figures {
    let options = SceneOptions { size: Some(SIZE), ..SceneOptions::new(name) };
    let scene = Scene::new(&options).expect("a scene");
    let mut chain = EvalChain::new(&Library::default(), DEFAULT_MODEL, SIZE).expect("a chain");
    let (mut picture, mut scratch) = (scene.picture(0), Scratch::default());
    let mut meter = PeopleMeter::new();
    let (mut iou, mut inferences, mut rests, mut last_crop) = (0.0, 0, 0, None);
    let frames = scene.period_frames();
    for sequence in 0..frames {
        scene.render(sequence, &mut scratch, picture.bytes_mut());
        let shot = chain.step(&picture.as_picture(), sequence, scene.frame_rate().nanoseconds(sequence)).expect("seen");
        let truth = scene.truth(sequence);
        let observation = chain.observation();
        inferences += observation.inferences + u32::from(observation.look_ns > 0);
        let people: Vec<_> = observation.people.iter().map(|person| (person.id, person.bounds)).collect();
        meter.add(SIZE, &truth.people, &people, shot.crop.to_fractions(SIZE));
        rests += u64::from(last_crop.replace(shot.crop) == Some(shot.crop));
        let mask = chain.mask().expect("a mask").bytes();
        iou += MaskMeter::new().add(mask, Some(truth.alpha.bytes())).iou.expect("truth");
    }
    let people = meter.summary().expect("frames");
    let share = |part: f64| part / frames as f64;
    let figures = Figures {
        iou: share(iou),
        counted: people.counted,
        ids_kept: people.ids_kept,
        heads_inside: people.heads_inside,
        inferences: share(f64::from(inferences)),
        at_rest: share(rests as f64),
    };
    println!("{name}: {figures:?}, {} ids", people.ids);
    figures
}

fn check(name: SceneName, least: Figures) {
    let figures = play(name);
    assert!(figures.inferences <= least.inferences, "{name}: {} passes a frame", figures.inferences);
    for (what, value, least) in [
        ("mean IoU", figures.iou, least.iou),
        ("counted right", figures.counted, least.counted),
        ("ids kept", figures.ids_kept, least.ids_kept),
        ("heads inside", figures.heads_inside, least.heads_inside),
        ("crop at rest", figures.at_rest, least.at_rest),
    ] {
        assert!(value >= least, "{name}: {what} {value:.4}, at least {least} is promised");
    }
}

#[test]
fn four_people_at_a_table() {
    let least =
        Figures { iou: 0.917, counted: 0.968, ids_kept: 0.98, heads_inside: 0.995, inferences: 1.0, at_rest: 0.98 };
    check(SceneName::Group, least);
}

#[test]
fn two_small_people_at_both_ends_of_a_room() {
    let least =
        Figures { iou: 0.948, counted: 0.98, ids_kept: 0.985, heads_inside: 0.995, inferences: 1.0, at_rest: 0.98 };
    check(SceneName::Ends, least);
}

#[test]
fn two_people_who_walk_past_each_other() {
    let least =
        Figures { iou: 0.922, counted: 0.97, ids_kept: 0.98, heads_inside: 0.995, inferences: 1.0, at_rest: 0.45 };
    check(SceneName::Pass, least);
}
