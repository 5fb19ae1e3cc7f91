//! The one person whom the crop follows, if a client has chosen one.

use crate::group::{has_passed, within_frame};
use crate::shot::Subject;
use crate::tuning::{LOST_HOLD_NS, SAME_PLACE_IOU};
use portraitd_media::UnitRect;

/// The chosen person. Times are those of the director's clock, nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Followed {
    /// The tracker's id; 0 for everybody.
    id: u32,
    /// As last seen, fractions of the frame.
    bounds: Option<UnitRect>,
    /// The highest id of anybody when the person was last seen. The tracker counts upwards, so a
    /// person with a higher one is new.
    newest_id: u32,
    /// The first observation without the person.
    missing_since_ns: Option<u64>,
}

impl Followed {
    pub(crate) fn new(id: u32) -> Self {
        Self { id, ..Self::default() }
    }

    /// The id of the person; 0 for everybody.
    pub(crate) const fn id(&self) -> u32 {
        self.id
    }

    /// The people of the mask of time `now_ns` that the crop may follow: the chosen person alone,
    /// nobody while they are missing, everybody from [`LOST_HOLD_NS`] later on.
    ///
    /// A crossing hides a person for less than that, and the tracker knows them again. If it does
    /// not, a new person in their place is taken to be them.
    pub(crate) fn choose<'a>(&mut self, now_ns: u64, people: &'a [Subject]) -> &'a [Subject] {
        if self.id == 0 {
            return people;
        }
        let in_place = |person: &Subject| {
            let overlap = |bounds: UnitRect| within_frame(&person.bounds).map_or(0.0, |seen| seen.iou(&bounds));
            person.id > self.newest_id && self.bounds.map_or(0.0, overlap) >= SAME_PLACE_IOU
        };
        let place = people.iter().position(|person| person.id == self.id).or_else(|| people.iter().position(in_place));
        if let Some(person) = place.map(|place| &people[place..=place]) {
            let newest_id = people.iter().map(|person| person.id).max().unwrap_or_default();
            *self =
                Self { id: person[0].id, bounds: within_frame(&person[0].bounds), newest_id, missing_since_ns: None };
            return person;
        }
        if has_passed(*self.missing_since_ns.get_or_insert(now_ns), now_ns, LOST_HOLD_NS) {
            *self = Self::default();
            return people;
        }
        &[]
    }
}
