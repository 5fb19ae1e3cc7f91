//! Who belongs to the picture: people join after they have been seen for a while and leave after they have been gone
//! for a while, so that a blink of the mask, or somebody who walks through, moves nothing. Who vanishes into somebody else's
//! box (two who touch have one mask) has not gone, and stays until that one goes.
//!
//! Joining and leaving need evidence: they happen at an observation, never between two.

use super::tuning::{ABSENT, CONFIRM, CONFIRM_DRASTIC, COVERED, FLICKER, GRACE, JOIN, LEAVE, SAME_PLACE, SLACK};
use super::{MOST_PEOPLE, Subject};
use portraitd_media::UnitRect;

#[derive(Clone, Copy, Debug)]
struct Person {
    id: u32,
    /// As last seen, fractions of the frame.
    bounds: UnitRect,
    /// When this appearance began.
    seen_since: u64,
    /// The first observation without this person.
    missing_since: Option<u64>,
    /// In the group.
    member: bool,
    /// Was in the group before everybody went.
    known: bool,
    /// Vanished into another's box.
    merged: Option<Merged>,
}

/// Two masks have become one.
#[derive(Clone, Copy, Debug)]
struct Merged {
    /// Who is seen in place of both.
    host: u32,
    since: u64,
}

impl Person {
    fn seen(&self) -> bool {
        self.missing_since.is_none()
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Group {
    people: [Option<Person>; MOST_PEOPLE],
    /// The first observation without any member in sight.
    vacant_since: Option<u64>,
}

/// What an observation did to the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Somebody joined or left; what follows from it is due at this time.
    pub due: Option<u64>,
    /// Somebody joined when nobody was in sight.
    pub first: bool,
}

/// Whether `from` lies at least `least` before `now`.
fn past(from: u64, now: u64, least: u64) -> bool {
    now.saturating_sub(from).saturating_add(SLACK) >= least
}

/// `bounds` clipped to the frame; `None` where nothing is left, or where they are not numbers.
fn within_frame(bounds: &UnitRect) -> Option<UnitRect> {
    let numbers = [bounds.x, bounds.y, bounds.right(), bounds.bottom()].iter().all(|number| number.is_finite());
    let clipped = bounds.intersection(&UnitRect::WHOLE);
    (numbers && !clipped.is_empty()).then_some(clipped)
}

impl Group {
    /// Takes what the mask of time `now` shows.
    pub fn observe(&mut self, now: u64, subjects: &[Subject]) -> Change {
        let mut present = [false; MOST_PEOPLE];
        for subject in subjects {
            let Some(bounds) = within_frame(&subject.bounds) else { continue };
            self.take_over(subject.id, &bounds, subjects);
            if let Some(slot) = self.slot(subject.id) {
                present[slot] = true;
                let person = self.people[slot].get_or_insert(Person {
                    id: subject.id,
                    bounds,
                    seen_since: now,
                    missing_since: None,
                    member: false,
                    known: false,
                    merged: None,
                });
                (person.bounds, person.merged) = (bounds, None);
                if let Some(since) = person.missing_since.take()
                    && !person.member
                    && past(since, now, FLICKER)
                {
                    person.seen_since = now;
                }
            }
        }
        for (place, present) in self.people.iter_mut().zip(present) {
            let Some(person) = place else { continue };
            if !present {
                let since = *person.missing_since.get_or_insert(now);
                let patience = if person.known { ABSENT } else { FLICKER };
                if !person.member && past(since, now, patience) {
                    *place = None;
                }
            }
        }
        self.merge(now);
        let mut change = Change::default();
        self.admit(now, &mut change);
        self.dismiss(now, &mut change);
        change
    }

    /// Somebody new where a member was last seen is that member: ids do not outlive a long blink.
    fn take_over(&mut self, id: u32, bounds: &UnitRect, subjects: &[Subject]) {
        if self.people.iter().flatten().any(|person| person.id == id) {
            return;
        }
        let gone = |person: &&mut Person| {
            person.member && !person.seen() && subjects.iter().all(|subject| subject.id != person.id)
        };
        let gone = self.people.iter_mut().flatten().filter(gone).map(|person| (person.bounds.iou(bounds), person));
        if let Some((iou, person)) = gone.max_by(|a, b| a.0.total_cmp(&b.0))
            && iou >= SAME_PLACE
        {
            person.id = id;
        }
    }

    /// Members who are not seen, but covered by a member who is: they are within that one's box, wherever it goes. For as
    /// long as a departure takes they also count where they were, because a blink may look the same.
    fn merge(&mut self, now: u64) {
        let people = self.people;
        let hosts = || people.iter().flatten().filter(|host| host.member && host.seen());
        for person in self.people.iter_mut().flatten().filter(|person| person.member && !person.seen()) {
            let host = match person.merged {
                Some(merged) => hosts().find(|host| host.id == merged.host),
                None => hosts()
                    .find(|host| host.bounds.intersection(&person.bounds).area() >= COVERED * person.bounds.area()),
            };
            let Some(host) = host else { continue };
            let since = person.merged.get_or_insert(Merged { host: host.id, since: now }).since;
            person.missing_since = Some(now);
            if past(since, now, LEAVE) {
                person.bounds = host.bounds;
            }
        }
    }

    /// The place of `id`, or a free one, or that of somebody who is only remembered, or merged.
    fn slot(&mut self, id: u32) -> Option<usize> {
        let is = |place: &Option<Person>| place.as_ref().is_some_and(|person| person.id == id);
        let remembered = |place: &Option<Person>| {
            place.as_ref().is_some_and(|person| !person.seen() && (!person.member || person.merged.is_some()))
        };
        let slot = self.people.iter().position(is).or_else(|| self.people.iter().position(Option::is_none));
        slot.or_else(|| {
            let slot = self.people.iter().position(remembered)?;
            self.people[slot] = None;
            Some(slot)
        })
    }

    fn admit(&mut self, now: u64, change: &mut Change) {
        let (empty, in_sight) = (self.is_empty(), self.in_sight());
        let mut due: Option<u64> = None;
        for person in self.people.iter_mut().flatten().filter(|person| person.seen() && !person.member) {
            let least = match (empty, in_sight) {
                (false, true) => JOIN,
                // Who is left in sight, or comes back, is framed as soon as any great change would be.
                (false, false) => CONFIRM_DRASTIC,
                (true, _) => {
                    if person.known {
                        CONFIRM_DRASTIC
                    } else {
                        CONFIRM
                    }
                }
            };
            if past(person.seen_since, now, least) {
                (person.member, person.known) = (true, true);
                due = due.max(Some(person.seen_since + least + GRACE));
            }
        }
        if due.is_some() {
            change.due = due;
            change.first = !in_sight;
            if !in_sight {
                self.drop_missing();
            }
        }
    }

    fn dismiss(&mut self, now: u64, change: &mut Change) {
        if self.in_sight() {
            self.vacant_since = None;
            for place in &mut self.people {
                if let Some(Person { member: true, missing_since: Some(since), .. }) = place
                    && past(*since, now, LEAVE)
                {
                    change.due = change.due.max(Some(*since + LEAVE + GRACE));
                    *place = None;
                }
            }
        } else if past(*self.vacant_since.get_or_insert(now), now, LEAVE) {
            // All at once, so that nobody who is gone is framed alone because another went earlier.
            for person in self.people.iter_mut().flatten().filter(|person| person.member) {
                person.member = false;
            }
        }
    }

    fn drop_missing(&mut self) {
        for place in &mut self.people {
            if place.as_ref().is_some_and(|person| person.member && !person.seen()) {
                *place = None;
            }
        }
    }

    /// Makes the group anew of everybody in sight, if there is anybody.
    pub fn gather(&mut self) {
        if self.people.iter().flatten().any(Person::seen) {
            for person in self.people.iter_mut().flatten().filter(|person| person.seen()) {
                (person.member, person.known) = (true, true);
            }
            self.drop_missing();
            self.vacant_since = None;
        }
    }

    /// Whether there is no member, in sight or not.
    pub fn is_empty(&self) -> bool {
        !self.people.iter().flatten().any(|person| person.member)
    }

    /// Whether the last observation showed a member.
    pub fn in_sight(&self) -> bool {
        self.people.iter().flatten().any(|person| person.member && person.seen())
    }

    /// Since when no member is in sight.
    pub fn vacant_since(&self) -> Option<u64> {
        self.vacant_since
    }

    /// The union of the members as last seen, fractions of the frame; `None` where there are none.
    pub fn bounds(&self) -> Option<UnitRect> {
        let mut members = self.people.iter().flatten().filter(|person| person.member).map(|person| person.bounds);
        let first = members.next()?;
        Some(members.fold(first, |union, bounds| union.union(&bounds)))
    }
}
