//! The position of each feature map in the arena. Maps that are never needed at the same time share
//! memory.

use super::pack::CACHE_LINE;
use super::program::{MapId, Program};

/// The offsets of the maps and the length of the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MemoryLayout {
    /// Offset of each map in `f32`s, a multiple of a cache line. The program's input and output
    /// have none, because they are in the caller's memory.
    pub offsets: Vec<Option<usize>>,
    /// Length of the arena in `f32`s.
    pub length: usize,
}

/// Plans the arena. The outputs of a step never overlap anything that the step reads. If `keep` is
/// set, no map shares memory, so that all of them can be read after a run.
pub(super) fn plan(program: &Program, keep: bool) -> MemoryLayout {
    // The first and the last step that uses each map.
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
    // Large maps are placed first, so that small ones fit into the gaps.
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
