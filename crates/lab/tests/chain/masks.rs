//! Masks over time: steady in a still scene, accurate in a moving one, sharp after a stop, and
//! without ghosts.

use portraitd_lab::eval::MaskMeter;
use portraitd_scene::{Scene, SceneName, SceneOptions};

use super::player::{Player, SIZE};

fn mean(values: &[f64]) -> f64 {
    assert!(!values.is_empty());
    values.iter().sum::<f64>() / values.len() as f64
}

/// A person stands still in a noisy picture, with the noise of a webcam by day and with three times
/// as much. Almost no pixel flips, and (A1) the crop is identical, bit by bit, for a minute.
#[test]
fn a_still_scene_has_steady_masks_and_a1_its_crop_rests_for_a_minute() {
    for (noise, least_raw, seconds) in [(2.0, 0.0002, 60), (6.0, 0.0006, 15)] {
        let options = SceneOptions { size: Some(SIZE), noise, ..SceneOptions::new(SceneName::Still) };
        let mut player = Player::of(Scene::new(&options).expect("a scene"), |_| 0);
        let (mut meter, mut raw_meter) = (MaskMeter::new(), MaskMeter::new());
        let (mut flips, mut raw_flips) = (Vec::new(), Vec::new());
        let mut converged = None;
        let mut rested = 0;
        while rested < seconds * 30 {
            let frame = player.next();
            let smooth = meter.add(player.chain.mask().expect("a mask").bytes(), None).flips;
            if frame.seconds > 1.0 {
                flips.push(smooth.expect("a frame before"));
            }
            if (1.0..8.0).contains(&frame.seconds) {
                raw_flips.extend(raw_meter.add(player.net_alone().bytes(), None).flips);
            }
            match converged {
                Some(crop) => {
                    assert_eq!(frame.shot.crop, crop, "A1: noise {noise}, at {:.2} s the crop moves", frame.seconds);
                    rested += 1;
                }
                None if frame.is_converged() => converged = Some(frame.shot.crop),
                None => assert!(frame.seconds < 6.0, "noise {noise}: not converged: {frame:?}"),
            }
        }
        let (flips, raw_flips) = (mean(&flips) * 100.0, mean(&raw_flips) * 100.0);
        println!("still, noise {noise}: the net alone {raw_flips:.4} %, the chain {flips:.5} % flips a frame");
        assert!(raw_flips > least_raw * 100.0, "noise {noise}: the net alone is steady already: {raw_flips} %");
        assert!(flips <= 0.01, "noise {noise}: {flips:.5} % flip");
    }
}

/// The mean IoU of the mask, and of the mask before smoothing, from `from` to `to` seconds.
fn ious(name: SceneName, from: f64, to: f64) -> (f64, f64) {
    let mut player = Player::new(name);
    let (mut smooth, mut raw) = (Vec::new(), Vec::new());
    while player.next().seconds < to {
        if player.scene.seconds(player.sequence()) < from {
            continue;
        }
        let truth = player.truth();
        let iou = |mask: &[u8]| MaskMeter::new().add(mask, Some(truth.bytes())).iou.expect("truth");
        raw.push(iou(player.chain.unsmoothed().expect("a mask").bytes()));
        smooth.push(iou(player.chain.mask().expect("a mask").bytes()));
    }
    println!("{name}: IoU raw {:.4}, smoothed {:.4}", mean(&raw), mean(&smooth));
    (mean(&smooth), mean(&raw))
}

#[test]
fn smoothing_costs_no_accuracy_in_moving_scenes() {
    for (name, from, to) in [
        (SceneName::Walk, 0.0, 12.0),
        (SceneName::Two, 0.0, 8.0),
        (SceneName::Leave, 0.0, 16.0),
        (SceneName::Wide, 0.0, 20.0),
        (SceneName::Nod, 10.0, 14.0),
    ] {
        let (smooth, raw) = ious(name, from, to);
        assert!(smooth >= raw - 0.005, "{name}: IoU {smooth:.4}, and {raw:.4} before smoothing");
    }
}

#[test]
fn the_mask_is_sharp_three_tenths_of_a_second_after_a_stop() {
    let mut player = Player::new(SceneName::Stop);
    let mut iou_at = |seconds: f64| {
        player.until(seconds);
        player.next();
        let truth = player.truth();
        MaskMeter::new().add(player.chain.mask().expect("a mask").bytes(), Some(truth.bytes())).iou.expect("truth")
    };
    for stop in [3.0, 8.0] {
        let (walking, soon) = (iou_at(stop - 0.2), iou_at(stop + 0.3));
        let settled = mean(&[1.0, 1.2, 1.4, 1.6, 1.8].map(|later| iou_at(stop + later)));
        println!("stop at {stop}: walking {walking:.4}, after 0.3 s {soon:.4}, settled {settled:.4}");
        assert!(settled > 0.9, "{settled}");
        assert!(soon >= settled - 0.01, "IoU {soon:.4} after 0.3 s, and {settled:.4} later");
    }
}

/// The mean probability, 0..=1, of the pixels that are certainly a person in `before` and certainly
/// background in `now`.
fn mass_left(mask: &[u8], before: &[u8], now: &[u8]) -> f64 {
    let place = mask.iter().zip(before.iter().zip(now)).filter(|(_, (before, now))| **before == 255 && **now == 0);
    let values: Vec<f64> = place.map(|(mask, _)| f64::from(*mask) / 255.0).collect();
    assert!(values.len() > 4000, "{} pixels were left", values.len());
    mean(&values)
}

/// 0.2 s after a person has moved away or disappeared, almost nothing of them remains in the mask.
#[test]
fn nobody_leaves_a_ghost() {
    for (name, leaves) in [(SceneName::Step, 8.0), (SceneName::Step, 16.0), (SceneName::Vanish, 10.0)] {
        let mut player = Player::new(name);
        player.until(leaves);
        let before = player.truth();
        let there =
            mass_left(player.chain.mask().expect("a mask").bytes(), before.bytes(), &vec![0; before.bytes().len()]);
        player.until(leaves + 0.2);
        player.next();
        let now = player.truth();
        let raw = mass_left(player.chain.unsmoothed().expect("a mask").bytes(), before.bytes(), now.bytes());
        let ghost = mass_left(player.chain.mask().expect("a mask").bytes(), before.bytes(), now.bytes());
        println!("{name} at {leaves}: {there:.4} there, 0.2 s later {ghost:.4} (raw {raw:.4})");
        assert!(there > 0.9, "{there}");
        assert!(ghost <= 0.01, "{name} at {leaves} s: {ghost:.4} of a person is left");
    }
}
