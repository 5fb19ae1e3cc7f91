//! One person who is followed, in a whole camera.

use portraitd_framing::Subject;

use super::*;

/// One step of the camera's director: who is seen at this time, in tenths of a second, and the frame
/// of that time.
fn see(shared: &crate::pipeline::shared::Shared, tenths: u64, ids: &[u32]) {
    let subject = |(id, place): (&u32, u8)| {
        let bounds = UnitRect::new(0.1 + 0.3 * f32::from(place), 0.4, 0.2, 0.6);
        Subject { id: *id, bounds }
    };
    let subjects: Vec<Subject> = ids.iter().zip(0..).map(subject).collect();
    let (sequence, capture_ns) = (tenths, 100_000_000 * tenths);
    let mut observation = Observation::default();
    (observation.sequence, observation.capture_ns) = (sequence, capture_ns);
    assert!(shared.accept_observation(shared.scene(), None, Arc::new(observation), &subjects));
}

#[tokio::test]
async fn the_subject_is_published_until_it_is_lost_or_the_camera_closes() {
    let mut rig = Rig::new(0.0);
    let refused = rig.camera.apply(SettingChange::Subject(2)).await.expect_err("closed");
    assert!(matches!(refused, ServiceError::NotSupported(_)), "{refused}");
    rig.camera.apply(SettingChange::Subject(0)).await.expect("everybody, as before");
    let steps = rig.will_open();
    let ring = rig.attach().await.expect("there");
    // A client may have its ring a moment before the state says that the camera is open.
    rig.state.wait_for(|state| state.camera.format.is_some()).await.expect("a camera");
    let (shared, state) = (rig.camera.shared(), rig.state.clone());
    let subject = || state.borrow().framing.subject;
    see(&shared, 1000, &[1, 2]);
    rig.camera.apply(SettingChange::Subject(2)).await.expect("good");
    assert_eq!(subject(), 2);
    see(&shared, 1001, &[1, 2]);
    for tenths in 1002..=1021 {
        see(&shared, tenths, &[1]);
        assert_eq!(subject(), 2, "at {tenths} tenths of a second");
    }
    see(&shared, 1023, &[1]);
    assert_eq!(subject(), 0, "lost for two seconds");
    rig.camera.apply(SettingChange::Subject(1)).await.expect("good");
    rig.reconfigure(&config::CameraConfig { idle_close_s: 0.0, ..config::CameraConfig::default() })
        .await
        .expect("good");
    assert_eq!(subject(), 0, "a reload replaces what clients have set");
    rig.camera.apply(SettingChange::Subject(1)).await.expect("good");
    see(&shared, 1024, &[1]);
    assert_eq!(subject(), 1);
    drop((ring, steps));
    rig.camera.released(&ClientName::new("test"));
    rig.state.wait_for(|state| state.camera.format.is_none()).await.expect("a camera");
    assert_eq!(subject(), 0);
}
