//! Queries and edits of a program that the rewriting and the fusion share.

use portraitd_kernels::nn::{MapId, Program, Shape, Step};

/// Index of the step that writes `map`.
pub(super) fn writer(program: &Program, map: MapId) -> Option<usize> {
    program.steps.iter().position(|step| step.is_writer_of(map))
}

/// How many times `map` is read. The caller counts as a reader of the net's output.
pub(super) fn uses(program: &Program, map: MapId) -> usize {
    let reads: usize = program.steps.iter().map(|step| step.count_reads(map)).sum();
    reads + usize::from(map == program.output)
}

/// Adds a map without a name and without a writer.
pub(super) fn new_map(program: &mut Program, shape: Shape) -> MapId {
    program.maps.push(shape);
    program.names.push(String::new());
    program.maps.len() - 1
}

/// Removes steps and maps that the output does not depend on, and orders the steps so that each map
/// is written before it is read.
pub(super) fn prune(program: &mut Program) {
    let mut order = Vec::with_capacity(program.steps.len());
    let mut done = vec![false; program.steps.len()];
    // Depth-first search from the output. A step is added to the order after all steps that write
    // what it reads.
    let mut stack: Vec<(usize, bool)> = writer(program, program.output).map(|step| (step, false)).into_iter().collect();
    while let Some((step, ready)) = stack.pop() {
        if ready {
            order.push(step);
        } else if !std::mem::replace(&mut done[step], true) {
            stack.push((step, true));
            let mut reads = program.steps[step].reads();
            reads.sort_unstable();
            let before = reads.iter().rev().filter_map(|&map| writer(program, map));
            stack.extend(before.filter(|&before| !done[before]).map(|before| (before, false)));
        }
    }
    let mut steps: Vec<Option<Step>> = std::mem::take(&mut program.steps).into_iter().map(Some).collect();
    program.steps = order.into_iter().filter_map(|step| steps[step].take()).collect();
    compact(program);
}

/// Removes the maps that no step writes, except for the input, and renumbers the others.
fn compact(program: &mut Program) {
    let mut number = vec![None; program.maps.len()];
    let (mut maps, mut names) = (Vec::new(), Vec::new());
    let written = program.steps.iter().flat_map(Step::writes);
    for map in std::iter::once(program.input).chain(written) {
        number[map] = Some(maps.len());
        maps.push(program.maps[map]);
        names.push(std::mem::take(&mut program.names[map]));
    }
    let renumber = |map: MapId| number[map].unwrap_or(0);
    for step in &mut program.steps {
        step.renumber(renumber);
    }
    (program.input, program.output) = (renumber(program.input), renumber(program.output));
    (program.maps, program.names) = (maps, names);
}
