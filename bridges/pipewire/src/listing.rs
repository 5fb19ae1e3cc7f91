//! Which nodes there are to be. Nothing here does I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use portraitd_client::StreamKind;
use tokio::time::Instant;

/// For this long after the service has gone, its cameras stay on the list: a restart does not end
/// what consumers do.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// For this long a stream that the service has refused is off the list.
pub(crate) const REFUSED: Duration = Duration::from_mins(1);
/// For this long a node is off the list that PipeWire has ended.
pub(crate) const FAILED: Duration = Duration::from_secs(1);
/// The most nodes.
pub(crate) const MAX_NODES: usize = 64;

/// A stream of a camera: a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) camera: String,
    pub(crate) stream: StreamKind,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.camera, self.stream)
    }
}

/// The cameras of the service, and what is shown of them.
#[derive(Debug)]
pub(crate) struct Listing {
    streams: Vec<StreamKind>,
    /// The names that are shown. Empty: all.
    only: BTreeSet<String>,
    cameras: BTreeSet<String>,
    /// When the service has gone.
    gone: Option<Instant>,
    /// Until when nodes are off the list.
    held: BTreeMap<Key, Instant>,
}

impl Listing {
    pub(crate) fn new(streams: &[StreamKind], only: &[String]) -> Self {
        Self {
            streams: streams.to_vec(),
            only: only.iter().cloned().collect(),
            cameras: BTreeSet::new(),
            gone: None,
            held: BTreeMap::new(),
        }
    }

    /// The service runs with these cameras, or it does not run (`None`).
    pub(crate) fn report(&mut self, cameras: Option<Vec<String>>, now: Instant) {
        self.held.retain(|_, until| *until > now);
        match cameras {
            Some(cameras) => {
                self.cameras = cameras.into_iter().collect();
                self.gone = None;
            }
            None => _ = self.gone.get_or_insert(now),
        }
    }

    /// Takes a node off the list until then.
    pub(crate) fn hold(&mut self, key: Key, until: Instant) {
        self.held.insert(key, until);
    }

    /// The nodes that there are to be.
    pub(crate) fn nodes(&self, now: Instant) -> BTreeSet<Key> {
        if self.gone.is_some_and(|gone| now >= gone + GRACE) {
            return BTreeSet::new();
        }
        let shown = self.cameras.iter().filter(|name| self.only.is_empty() || self.only.contains(*name));
        shown
            .flat_map(|camera| self.streams.iter().map(|stream| Key { camera: camera.clone(), stream: *stream }))
            .filter(|key| self.held.get(key).is_none_or(|until| now >= *until))
            .take(MAX_NODES)
            .collect()
    }

    /// When [`Self::nodes`] changes next by the time alone.
    pub(crate) fn next_change(&self, now: Instant) -> Option<Instant> {
        let removal = self.gone.map(|gone| gone + GRACE);
        self.held.values().copied().chain(removal).filter(|at| *at > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(only: &[&str]) -> Listing {
        let only: Vec<_> = only.iter().map(|name| (*name).to_owned()).collect();
        Listing::new(&[StreamKind::View, StreamKind::Composite], &only)
    }

    fn shown(listing: &Listing, now: Instant) -> Vec<String> {
        listing.nodes(now).iter().map(ToString::to_string).collect()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn each_camera_has_a_node_for_each_stream() {
        let (mut listing, now) = (listing(&[]), Instant::now());
        assert!(shown(&listing, now).is_empty());
        listing.report(Some(names(&["main", "door"])), now);
        assert_eq!(shown(&listing, now), ["door (view)", "door (composite)", "main (view)", "main (composite)"]);
        listing.report(Some(names(&["door"])), now);
        assert_eq!(shown(&listing, now).len(), 2);
        assert_eq!(listing.next_change(now), None);
    }

    #[test]
    fn only_the_cameras_that_are_named_are_shown() {
        let (mut listing, now) = (listing(&["door", "attic"]), Instant::now());
        listing.report(Some(names(&["main", "door"])), now);
        assert_eq!(shown(&listing, now), ["door (view)", "door (composite)"]);
    }

    #[test]
    fn nodes_outlive_a_restart_of_the_service_and_not_its_end() {
        let (mut listing, start) = (listing(&[]), Instant::now());
        listing.report(Some(names(&["main"])), start);
        listing.report(None, start);
        let late = start + GRACE / 2;
        listing.report(None, late);
        assert_eq!(shown(&listing, late).len(), 2, "the service may come back");
        assert_eq!(listing.next_change(late), Some(start + GRACE), "counted from the first report");
        assert!(shown(&listing, start + GRACE).is_empty());
        listing.report(Some(names(&["main"])), start + GRACE);
        assert_eq!(shown(&listing, start + GRACE).len(), 2);
    }

    #[test]
    fn a_refused_stream_is_off_the_list_for_a_while() {
        let (mut listing, now) = (listing(&[]), Instant::now());
        listing.report(Some(names(&["main"])), now);
        listing.hold(Key { camera: "main".to_owned(), stream: StreamKind::View }, now + REFUSED);
        assert_eq!(shown(&listing, now), ["main (composite)"]);
        assert_eq!(listing.next_change(now), Some(now + REFUSED));
        assert_eq!(shown(&listing, now + REFUSED).len(), 2);
    }

    #[test]
    fn the_number_of_nodes_is_bounded() {
        let (mut listing, now) = (listing(&[]), Instant::now());
        listing.report(Some((0..1000).map(|number| number.to_string()).collect()), now);
        assert_eq!(listing.nodes(now).len(), MAX_NODES);
    }
}
