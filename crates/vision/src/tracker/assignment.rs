//! The regions that the tracker considers, and their assignment to tracks.

use portraitd_media::UnitRect;

use crate::regions::Region;

/// The largest number of people that are tracked: as many as a slot header of a ring can hold.
pub(super) const MAX_PEOPLE: usize = 16;

/// The largest valid regions of a mask, at most [`MAX_PEOPLE`].
pub(super) struct LargestRegions {
    pub regions: [Region; MAX_PEOPLE],
    count: usize,
}

impl LargestRegions {
    /// Selects the largest regions. Empty boxes and boxes with numbers that are not finite are
    /// left out.
    pub(super) fn new(regions: &[Region]) -> Self {
        const NOWHERE: UnitRect = UnitRect::new(0.0, 0.0, 0.0, 0.0);
        const NONE: Region = Region { bounds: NOWHERE, area: 0.0, confidence: 0.0, reach: NOWHERE };
        let mut largest = Self { regions: [NONE; MAX_PEOPLE], count: 0 };
        for region in regions {
            let UnitRect { x, y, width, height } = region.bounds;
            let finite = [x, y, width, height, region.area].iter().all(|number| number.is_finite());
            if !finite || region.bounds.is_empty() {
                continue;
            }
            let at = largest.iter().position(|other| other.area < region.area).unwrap_or(largest.count);
            if at == MAX_PEOPLE {
                continue;
            }
            largest.count = (largest.count + 1).min(MAX_PEOPLE);
            largest.regions[at..largest.count].rotate_right(1);
            largest.regions[at] = *region;
        }
        largest
    }

    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// The regions, the largest first.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, Region> {
        self.regions[..self.count].iter()
    }
}

/// The region that is assigned to each track, if any. Several tracks may share one region.
#[derive(Default)]
pub(super) struct Assignment {
    /// The index of the region, by the index of the track.
    pub of_track: [Option<usize>; MAX_PEOPLE],
}

impl Assignment {
    /// Whether `region` is assigned to a track.
    pub(super) fn is_assigned(&self, region: usize) -> bool {
        self.of_track.contains(&Some(region))
    }

    /// The tracks to which `region` is assigned, the oldest first.
    pub(super) fn members(&self, region: usize) -> impl Iterator<Item = usize> + '_ {
        self.of_track.iter().enumerate().filter(move |(_, assigned)| **assigned == Some(region)).map(|(track, _)| track)
    }
}
