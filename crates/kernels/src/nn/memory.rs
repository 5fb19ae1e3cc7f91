//! Where each feature map lies in the arena: maps that are not needed at the same time share memory.

use super::pack::CACHE_LINE;
use super::program::{MapId, Program};

/// Offsets of the maps, and how long the arena is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MemoryLayout {
    /// Offset of each map in `f32`s, a multiple of a cache line. The program's input and output have none: they are the
    /// caller's memory.
    pub offsets: Vec<Option<usize>>,
    /// Length of the arena in `f32`s.
    pub length: usize,
}

/// Plans the arena. A step's outputs never overlap anything that the step reads. With `keep`, every map keeps its own place,
/// so that all can be read after a run.
pub(super) fn plan(program: &Program, keep: bool) -> MemoryLayout {
    // First and last step in which a map is in use.
    let mut first = vec![None; program.maps.len()];
    let mut last = vec![0; program.maps.len()];
    for (index, step) in program.steps.iter().enumerate() {
        for map in step.writes() {
            first[map] = Some(index);
            last[map] = index;
        }
        for map in step.reads() {
            last[map] = index;
        }
    }
    let mut order: Vec<MapId> = (0..program.maps.len())
        .filter(|&map| first[map].is_some() && map != program.input && map != program.output)
        .collect();
    // Large maps first: what is small then fits into the gaps.
    order.sort_by_key(|&map| (std::cmp::Reverse(program.maps[map].len()), map));
    let mut offsets: Vec<Option<usize>> = vec![None; program.maps.len()];
    let mut placed: Vec<MapId> = Vec::new();
    let mut length = 0;
    for map in order {
        let size = program.maps[map].len().next_multiple_of(CACHE_LINE);
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&other| keep || (first[other] <= Some(last[map]) && first[map] <= Some(last[other])))
            .filter_map(|&other| offsets[other].map(|at| (at, program.maps[other].len().next_multiple_of(CACHE_LINE))))
            .collect();
        taken.sort_unstable();
        let mut at = 0;
        for (start, size_taken) in taken {
            if at + size <= start {
                break;
            }
            at = at.max(start + size_taken);
        }
        offsets[map] = Some(at);
        length = length.max(at + size);
        placed.push(map);
    }
    MemoryLayout { offsets, length }
}
