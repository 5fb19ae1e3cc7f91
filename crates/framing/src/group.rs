//! Which people the crop must contain.
//!
//! People join after they have been seen for a while and leave after they have been missing for a
//! while. A gap of the mask, or somebody who walks through, therefore moves nothing. If two people
//! touch, they have one mask: the person who vanishes into the other's box stays a member until the
//! other leaves.
//!
//! Joining and leaving need evidence: they happen at an observation, never between two.

use portraitd_media::UnitRect;

use crate::shot::Subject;
use crate::tuning::{
    ABSENT_NS, CONFIRM_DRASTIC_NS, CONFIRM_NS, COVERED, FLICKER_NS, GRACE_NS, JOIN_NS, LEAVE_NS, SAME_PLACE_IOU,
    SLACK_NS,
};

/// The most people that are told apart. The director ignores the rest.
pub const MOST_PEOPLE: usize = 16;

/// A person who is seen or remembered. Times are those of the director's clock, nanoseconds.
#[derive(Clone, Copy, Debug)]
struct GroupMember {
    id: u32,
    /// As last seen, fractions of the frame.
    bounds: UnitRect,
    /// When the person appeared.
    seen_since_ns: u64,
    /// The first observation without this person.
    missing_since_ns: Option<u64>,
    /// Whether the person has joined the group.
    joined: bool,
    /// Whether the person was a member before everybody left.
    was_member: bool,
    /// Set if the person vanished into another member's box.
    merged: Option<Merged>,
}

/// Two masks have become one.
#[derive(Clone, Copy, Debug)]
struct Merged {
    /// The member who is seen in place of both.
    host: u32,
    since_ns: u64,
}

impl GroupMember {
    fn is_seen(&self) -> bool {
        self.missing_since_ns.is_none()
    }
}

/// The people that the crop must contain, and those who may join them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    people: [Option<GroupMember>; MOST_PEOPLE],
    /// The first observation without any member in sight.
    vacant_since_ns: Option<u64>,
}

/// What an observation changed in the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupChange {
    /// Set if somebody joined or left: the time at which the consequences are due, nanoseconds.
    pub(crate) due_ns: Option<u64>,
    /// Whether somebody joined while nobody was in sight.
    pub(crate) is_first: bool,
}

/// Whether at least `least_ns` have passed from `from_ns` to `now_ns`.
pub(crate) fn has_passed(from_ns: u64, now_ns: u64, least_ns: u64) -> bool {
    now_ns.saturating_sub(from_ns).saturating_add(SLACK_NS) >= least_ns
}

/// `bounds` clipped to the frame; `None` if nothing is left or if they are not finite.
pub(crate) fn within_frame(bounds: &UnitRect) -> Option<UnitRect> {
    let finite = [bounds.x, bounds.y, bounds.right(), bounds.bottom()].iter().all(|number| number.is_finite());
    let clipped = bounds.intersection(&UnitRect::WHOLE);
    (finite && !clipped.is_empty()).then_some(clipped)
}

impl Group {
    /// Takes the people in the mask of time `now_ns`.
    pub(crate) fn observe(&mut self, now_ns: u64, subjects: &[Subject]) -> GroupChange {
        let mut present = [false; MOST_PEOPLE];
        for subject in subjects {
            let Some(bounds) = within_frame(&subject.bounds) else { continue };
            self.take_over(subject.id, &bounds, subjects);
            if let Some(slot) = self.slot(subject.id) {
                present[slot] = true;
                let person = self.people[slot].get_or_insert(GroupMember {
                    id: subject.id,
                    bounds,
                    seen_since_ns: now_ns,
                    missing_since_ns: None,
                    joined: false,
                    was_member: false,
                    merged: None,
                });
                (person.bounds, person.merged) = (bounds, None);
                if let Some(since_ns) = person.missing_since_ns.take()
                    && !person.joined
                    && has_passed(since_ns, now_ns, FLICKER_NS)
                {
                    person.seen_since_ns = now_ns;
                }
            }
        }
        for (slot, present) in self.people.iter_mut().zip(present) {
            let Some(person) = slot else { continue };
            if !present {
                let since_ns = *person.missing_since_ns.get_or_insert(now_ns);
                let memory_ns = if person.was_member { ABSENT_NS } else { FLICKER_NS };
                if !person.joined && has_passed(since_ns, now_ns, memory_ns) {
                    *slot = None;
                }
            }
        }
        self.merge(now_ns);
        let mut change = GroupChange::default();
        self.admit(now_ns, &mut change);
        self.dismiss(now_ns, &mut change);
        change
    }

    /// If a new id appears where a member was last seen, it is that member: the tracker's ids do
    /// not survive a long gap.
    fn take_over(&mut self, id: u32, bounds: &UnitRect, subjects: &[Subject]) {
        if self.people.iter().flatten().any(|person| person.id == id) {
            return;
        }
        let gone = |person: &&mut GroupMember| {
            person.joined && !person.is_seen() && subjects.iter().all(|subject| subject.id != person.id)
        };
        let gone = self.people.iter_mut().flatten().filter(gone).map(|person| (person.bounds.iou(bounds), person));
        if let Some((iou, person)) = gone.max_by(|a, b| a.0.total_cmp(&b.0))
            && iou >= SAME_PLACE_IOU
        {
            person.id = id;
        }
    }

    /// Merges members who are missing but whose box is covered by a visible member: they are taken
    /// to be within that member's box, wherever it goes. For [`LEAVE_NS`] they also count where
    /// they were, because a gap of the mask may look the same.
    fn merge(&mut self, now_ns: u64) {
        let people = self.people;
        let hosts = || people.iter().flatten().filter(|host| host.joined && host.is_seen());
        for person in self.people.iter_mut().flatten().filter(|person| person.joined && !person.is_seen()) {
            let host = match person.merged {
                Some(merged) => hosts().find(|host| host.id == merged.host),
                None => hosts()
                    .find(|host| host.bounds.intersection(&person.bounds).area() >= COVERED * person.bounds.area()),
            };
            let Some(host) = host else { continue };
            let since_ns = person.merged.get_or_insert(Merged { host: host.id, since_ns: now_ns }).since_ns;
            person.missing_since_ns = Some(now_ns);
            if has_passed(since_ns, now_ns, LEAVE_NS) {
                person.bounds = host.bounds;
            }
        }
    }

    /// The slot of `id`, or a free one, or that of a person who is only remembered or has merged.
    fn slot(&mut self, id: u32) -> Option<usize> {
        let is = |slot: &Option<GroupMember>| slot.as_ref().is_some_and(|person| person.id == id);
        let remembered = |slot: &Option<GroupMember>| {
            slot.as_ref().is_some_and(|person| !person.is_seen() && (!person.joined || person.merged.is_some()))
        };
        let slot = self.people.iter().position(is).or_else(|| self.people.iter().position(Option::is_none));
        slot.or_else(|| {
            let slot = self.people.iter().position(remembered)?;
            self.people[slot] = None;
            Some(slot)
        })
    }

    /// Lets people join who have been seen for long enough.
    fn admit(&mut self, now_ns: u64, change: &mut GroupChange) {
        let (empty, in_sight) = (self.is_empty(), self.is_in_sight());
        let mut due_ns: Option<u64> = None;
        for person in self.people.iter_mut().flatten().filter(|person| person.is_seen() && !person.joined) {
            let least_ns = match (empty, in_sight) {
                (false, true) => JOIN_NS,
                // Nobody else is in sight: this is a drastic change, and confirmed like one.
                (false, false) => CONFIRM_DRASTIC_NS,
                (true, _) => {
                    if person.was_member {
                        CONFIRM_DRASTIC_NS
                    } else {
                        CONFIRM_NS
                    }
                }
            };
            if has_passed(person.seen_since_ns, now_ns, least_ns) {
                (person.joined, person.was_member) = (true, true);
                due_ns = due_ns.max(Some(person.seen_since_ns + least_ns + GRACE_NS));
            }
        }
        if due_ns.is_some() {
            change.due_ns = due_ns;
            change.is_first = !in_sight;
            if !in_sight {
                self.drop_missing();
                // Small people are found one after the other. Whoever is here when the group begins
                // is framed with it, and not left out until they have waited as well.
                for person in self.people.iter_mut().flatten().filter(|person| person.is_seen() && !person.joined) {
                    if has_passed(person.seen_since_ns, now_ns, CONFIRM_DRASTIC_NS) {
                        (person.joined, person.was_member) = (true, true);
                    }
                }
            }
        }
    }

    /// Removes members who have been missing for long enough.
    fn dismiss(&mut self, now_ns: u64, change: &mut GroupChange) {
        if self.is_in_sight() {
            self.vacant_since_ns = None;
            for slot in &mut self.people {
                if let Some(GroupMember { joined: true, missing_since_ns: Some(since_ns), .. }) = slot
                    && has_passed(*since_ns, now_ns, LEAVE_NS)
                {
                    change.due_ns = change.due_ns.max(Some(*since_ns + LEAVE_NS + GRACE_NS));
                    *slot = None;
                }
            }
        } else if has_passed(*self.vacant_since_ns.get_or_insert(now_ns), now_ns, LEAVE_NS) {
            // All at once: otherwise a member who left later would be framed alone.
            for person in self.people.iter_mut().flatten().filter(|person| person.joined) {
                person.joined = false;
            }
        }
    }

    /// Removes the members who are not in sight.
    fn drop_missing(&mut self) {
        for slot in &mut self.people {
            if slot.as_ref().is_some_and(|person| person.joined && !person.is_seen()) {
                *slot = None;
            }
        }
    }

    /// Makes everybody in sight a member and removes all others, if anybody is in sight.
    pub(crate) fn regroup(&mut self) {
        if self.people.iter().flatten().any(GroupMember::is_seen) {
            for person in self.people.iter_mut().flatten().filter(|person| person.is_seen()) {
                (person.joined, person.was_member) = (true, true);
            }
            self.drop_missing();
            self.vacant_since_ns = None;
        }
    }

    /// Whether there is no member, in sight or not.
    pub(crate) fn is_empty(&self) -> bool {
        !self.people.iter().flatten().any(|person| person.joined)
    }

    /// Whether the last observation showed a member.
    pub(crate) fn is_in_sight(&self) -> bool {
        self.people.iter().flatten().any(|person| person.joined && person.is_seen())
    }

    /// Since when no member has been in sight, on the director's clock.
    pub(crate) fn vacant_since_ns(&self) -> Option<u64> {
        self.vacant_since_ns
    }

    /// The union of the members' boxes as last seen, fractions of the frame; `None` without
    /// members.
    pub(crate) fn bounds(&self) -> Option<UnitRect> {
        let mut members = self.people.iter().flatten().filter(|person| person.joined).map(|person| person.bounds);
        let first = members.next()?;
        Some(members.fold(first, |union, bounds| union.union(&bounds)))
    }
}
