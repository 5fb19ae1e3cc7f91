//! Connected components of a mask.
//!
//! The first step finds the runs of pixels in each row and joins them with the runs of the row
//! above (union-find; the first run of a component is its root). The second step gives every run
//! its root. The method is that of Rosenfeld and Pfaltz, "Sequential operations in digital picture
//! processing", 1966, with runs instead of pixels: a mask has many pixels but few runs.

use portraitd_media::Size;

/// The number of pixels that are tested together. If all or none of them are inside, they are not
/// examined one by one.
const BLOCK: usize = 16;

/// Consecutive pixels of a row that are inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    /// The first column.
    pub start: u32,
    /// The column after the last.
    pub end: u32,
    /// The row, counted from the top of the mask.
    pub row: u32,
    /// The index of the component's first run. That run is its own root.
    pub root: u32,
}

impl Run {
    /// The indices of the run's pixels in a mask of `width` columns.
    pub(super) fn range(&self, width: u32) -> std::ops::Range<usize> {
        let row = self.row as usize * width as usize;
        row + self.start as usize..row + self.end as usize
    }

    /// The number of pixels.
    pub(super) fn length(&self) -> u32 {
        self.end - self.start
    }
}

/// Which pixels count as connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connectivity {
    /// Pixels that share an edge.
    Four,
    /// Pixels that share an edge or a corner.
    Eight,
}

/// The labelled runs of a mask. Memory is kept from mask to mask.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels {
    runs: Vec<Run>,
}

impl Labels {
    /// Reserves memory for the largest number of runs that a mask of `size` can have: one for every
    /// second pixel of a row.
    pub(super) fn reserve(&mut self, size: Size) {
        let most = (size.width as usize).div_ceil(2) * size.height as usize;
        self.runs.reserve(most.saturating_sub(self.runs.len()));
    }

    /// Finds the components of the pixels for which `inside` is true. `values` is `[height, width]`
    /// of `size` and not empty. The runs are in raster order.
    pub(super) fn find(
        &mut self,
        values: &[f32],
        size: Size,
        connectivity: Connectivity,
        inside: impl Fn(f32) -> bool + Copy,
    ) -> &[Run] {
        self.runs.clear();
        let reach = u32::from(connectivity == Connectivity::Eight);
        let mut above = 0;
        for (row, values) in (0u32..).zip(values.chunks_exact(size.width as usize)) {
            let first = self.runs.len();
            find_runs(values, inside, |start, end| {
                let root = to_u32(self.runs.len());
                self.runs.push(Run { start, end, row, root });
            });
            self.join(above, first, reach);
            above = first;
        }
        for index in 0..self.runs.len() {
            let root = self.runs[self.runs[index].root as usize].root;
            self.runs[index].root = root;
        }
        &self.runs
    }

    /// Joins the runs from index `first` with the runs of the row above, `above..first`.
    fn join(&mut self, above: usize, first: usize, reach: u32) {
        let (mut upper, mut lower) = (above, first);
        while upper < first && lower < self.runs.len() {
            let (over, under) = (self.runs[upper], self.runs[lower]);
            if over.start < under.end + reach && under.start < over.end + reach {
                let (one, other) = (self.root(upper), self.root(lower));
                self.runs[one.max(other) as usize].root = one.min(other);
            }
            // The run that ends first cannot touch runs further to the right.
            if over.end < under.end {
                upper += 1;
            } else {
                lower += 1;
            }
        }
    }

    /// The root of a run. Shortens the path to it (path halving).
    fn root(&mut self, run: usize) -> u32 {
        let mut at = run;
        loop {
            let parent = self.runs[at].root as usize;
            if parent == at {
                return to_u32(at);
            }
            self.runs[at].root = self.runs[parent].root;
            at = parent;
        }
    }

    /// The number of runs for which memory is reserved.
    pub(super) fn capacity(&self) -> usize {
        self.runs.capacity()
    }
}

/// Calls `found` with the `(start, end)` of each run of a row.
fn find_runs(row: &[f32], inside: impl Fn(f32) -> bool + Copy, mut found: impl FnMut(u32, u32)) {
    let mut start = None;
    let mut x = 0u32;
    let mut take = |x: u32, is_inside: bool| match (start, is_inside) {
        (None, true) => start = Some(x),
        (Some(from), false) => {
            found(from, x);
            start = None;
        }
        _ => {}
    };
    let (blocks, rest) = row.as_chunks::<BLOCK>();
    for block in blocks {
        let count: u32 = block.iter().map(|value| u32::from(inside(*value))).sum();
        match count as usize {
            0 => take(x, false),
            BLOCK => take(x, true),
            _ => block.iter().zip(x..).for_each(|(value, x)| take(x, inside(*value))),
        }
        x += to_u32(BLOCK);
    }
    rest.iter().zip(x..).for_each(|(value, x)| take(x, inside(*value)));
    if let Some(from) = start {
        found(from, to_u32(row.len()));
    }
}

/// Converts the index of a run, or a column.
#[expect(clippy::cast_possible_truncation, reason = "`is_mask` limits the number of pixels to u32")]
pub(super) fn to_u32(index: usize) -> u32 {
    index as u32
}
