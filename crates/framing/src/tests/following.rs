//! One person who is followed.

use super::{FRAME, OUTPUT, Rig, SITTING, assert_limits, shifted, subject};
use crate::tuning::DRASTIC_LIMITS;
use crate::{Settings, Subject};
use portraitd_media::UnitRect;

const LEFT: UnitRect = UnitRect::new(0.05, 0.4, 0.2, 0.6);
const RIGHT: UnitRect = UnitRect::new(0.7, 0.4, 0.2, 0.6);

fn both() -> Vec<Subject> {
    vec![subject(1, LEFT), subject(2, RIGHT)]
}

/// Two people in sight; the second one is followed.
fn following() -> Rig {
    let mut rig = Rig::standard();
    rig.settle(&both());
    rig.director.follow(2);
    rig
}

/// Whether the shot shows the whole of `bounds`.
fn shows(rig: &Rig, bounds: UnitRect) -> bool {
    rig.shot().crop.contains(&bounds.to_pixels(FRAME), 2.0)
}

#[test]
fn the_crop_leaves_the_others_at_once_and_comes_back_to_them_at_once() {
    let mut rig = following();
    assert_eq!(rig.director.followed(), 2);
    rig.run(0.2, |_| both());
    assert!(rig.first_motion().is_some(), "without the time that a change has to last");
    rig.run(8.0, |_| both());
    assert!(shows(&rig, RIGHT) && !shows(&rig, LEFT), "{:?}", rig.shot());
    assert_eq!(rig.shot().subject, 2);
    rig.shots.clear();
    rig.director.follow(0);
    rig.run(0.2, |_| both());
    assert!(rig.first_motion().is_some());
    rig.run(8.0, |_| both());
    assert!(shows(&rig, RIGHT) && shows(&rig, LEFT), "{:?}", rig.shot());
    assert_eq!(rig.shot().subject, 0);
}

#[test]
fn others_who_come_near_or_pass_move_nothing() {
    let mut rig = following();
    rig.settle(&both());
    rig.run(6.0, |seconds| {
        let x = 0.15 * seconds as f32;
        vec![subject(1, shifted(LEFT, x, 0.0)), subject(2, RIGHT), subject(9, shifted(LEFT, 0.3, 0.0))]
    });
    assert_eq!(rig.first_motion(), None);
}

#[test]
fn a_crossing_does_not_pass_the_crop_on_to_the_other_person() {
    let mut rig = following();
    rig.settle(&both());
    // They change places within four seconds; the followed one is hidden for one of them.
    rig.run(4.0, |seconds| {
        let x = 0.65 * (seconds / 4.0) as f32;
        let mut people = vec![subject(1, shifted(LEFT, x, 0.0))];
        if !(1.5..2.5).contains(&seconds) {
            people.push(subject(2, shifted(RIGHT, -x, 0.0)));
        }
        people
    });
    let swapped = || vec![subject(1, RIGHT), subject(2, LEFT)];
    rig.run(8.0, |_| swapped());
    assert_eq!(rig.shot().subject, 2);
    assert!(shows(&rig, LEFT) && !shows(&rig, RIGHT), "{:?}", rig.shot());
    assert_limits(&rig.shots, FRAME, DRASTIC_LIMITS.acceleration * 1.05);
}

#[test]
fn somebody_who_is_lost_is_waited_for_two_seconds() {
    let mut rig = following();
    rig.settle(&both());
    rig.run(0.1, |_| both());
    let crop = rig.shot().crop;
    let only_left = || vec![subject(1, LEFT)];
    rig.run(1.9, |_| only_left());
    assert_eq!((rig.first_motion(), rig.shot().subject), (None, 2));
    rig.run(0.1, |_| both());
    rig.run(1.9, |_| only_left());
    assert_eq!((rig.first_motion(), rig.shot().subject), (None, 2), "seen again, so the time starts again");
    rig.run(0.3, |_| only_left());
    assert_eq!(rig.shot().subject, 0);
    rig.run(8.0, |_| only_left());
    assert!(shows(&rig, LEFT) && rig.shot().crop != crop, "everybody who is left");
    // Somebody who comes back later is one of all.
    rig.run(8.0, |_| both());
    assert!(shows(&rig, LEFT) && shows(&rig, RIGHT));
}

#[test]
fn a_new_person_in_the_place_of_the_lost_one_is_them() {
    let mut rig = following();
    rig.settle(&both());
    rig.run(1.2, |_| vec![subject(1, LEFT)]);
    rig.run(1.0, |_| vec![subject(1, LEFT), subject(3, shifted(RIGHT, 0.02, 0.0))]);
    assert_eq!((rig.first_motion(), rig.shot().subject), (None, 3));
    // Not somebody who was there before.
    rig.run(1.0, |_| vec![subject(1, RIGHT)]);
    assert_eq!(rig.shot().subject, 3);
    rig.run(1.2, |_| vec![subject(1, RIGHT)]);
    assert_eq!(rig.shot().subject, 0);
}

#[test]
fn a_person_who_is_not_there_ends_after_two_seconds_in_everybody() {
    let mut rig = Rig::standard();
    rig.settle(&[subject(1, SITTING)]);
    rig.director.follow(77);
    rig.run(1.9, |_| vec![subject(1, SITTING)]);
    assert_eq!((rig.first_motion(), rig.shot().subject), (None, 77));
    rig.run(2.0, |_| vec![subject(1, SITTING)]);
    assert_eq!((rig.first_motion(), rig.shot().subject), (None, 0), "the crop shows them already");
}

#[test]
fn a_new_clock_forgets_nobody_and_a_new_director_follows_everybody() {
    let mut rig = following();
    rig.settle(&both());
    let settings = Settings { max_zoom: 1.5, ..Settings::new(FRAME, OUTPUT) };
    rig.director.set(settings).expect("valid");
    assert_eq!(rig.director.followed(), 2, "other settings leave the choice");
    assert_eq!(Rig::standard().director.followed(), 0);
}
