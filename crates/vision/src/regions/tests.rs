use proptest::prelude::*;

use super::*;

/// Connected components by flood fill, one pixel at a time. Returns the indices of each component's
/// pixels.
fn flood(values: &[f32], size: Size, eight: bool, inside: impl Fn(f32) -> bool) -> Vec<Vec<usize>> {
    let (width, height) = (i64::from(size.width), i64::from(size.height));
    let mut seen: Vec<bool> = values.iter().map(|value| !inside(*value)).collect();
    let mut components = Vec::new();
    for start in 0..values.len() {
        if seen[start] {
            continue;
        }
        let (mut component, mut waiting) = (Vec::new(), vec![start]);
        seen[start] = true;
        while let Some(at) = waiting.pop() {
            component.push(at);
            let (x, y) = (at as i64 % width, at as i64 / width);
            for (dx, dy) in [(-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, -1), (-1, 1), (1, 1)] {
                let (x, y) = (x + dx, y + dy);
                if (dx != 0 && dy != 0 && !eight) || x < 0 || y < 0 || x >= width || y >= height {
                    continue;
                }
                let next = usize::try_from(y * width + x).unwrap();
                if !seen[next] {
                    seen[next] = true;
                    waiting.push(next);
                }
            }
        }
        component.sort_unstable();
        components.push(component);
    }
    components
}

/// Pixels, box, confidence.
type Found = (usize, [f64; 4], f64);

/// The oracle: the finder's rules with flood fills. Returns the cleaned mask and the people.
fn oracle(values: &[f32], size: Size) -> (Vec<f32>, Vec<Found>) {
    let (width, height, area) = (size.width as usize, size.height as usize, values.len());
    let mut mask: Vec<f32> = values.iter().map(|v| if v.is_nan() { 0.0 } else { v.clamp(0.0, 1.0) }).collect();
    for hole in flood(&mask.clone(), size, false, |value| value < 0.5) {
        let border = |at: &usize| {
            at.is_multiple_of(width) || at % width == width - 1 || at / width == 0 || at / width == height - 1
        };
        if hole.len() * 2000 > area || hole.iter().any(border) {
            continue;
        }
        let before = mask.clone();
        for at in &hole {
            let left = (0..*at).rev().find(|left| !hole.contains(left)).unwrap();
            let right = (*at..).find(|right| !hole.contains(right)).unwrap();
            let weight = (at - left) as f32 / (right - left) as f32;
            mask[*at] = before[left] + (before[right] - before[left]) * weight;
        }
    }
    let components = flood(&mask, size, true, |value| value >= 0.5);
    let largest = components.iter().map(Vec::len).max().unwrap_or(0);
    let mut people = Vec::new();
    for component in &components {
        let pixels = component.len();
        if pixels * 200 < area {
            component.iter().for_each(|at| mask[*at] = 0.0);
        } else if pixels * 100 >= largest * 15 {
            let bounds = [
                quantile_of(component, &mask, 0.02, |at| at % width, width) / width as f64,
                quantile_of(component, &mask, 0.02, |at| at / width, height) / height as f64,
                quantile_of(component, &mask, 0.98, |at| at % width, width) / width as f64,
                quantile_of(component, &mask, 0.98, |at| at / width, height) / height as f64,
            ];
            let mass: f64 = component.iter().map(|at| f64::from(mask[*at])).sum();
            people.push((pixels, bounds, mass / pixels as f64));
        }
    }
    people.sort_by_key(|(pixels, ..)| std::cmp::Reverse(*pixels));
    for faint in flood(&mask.clone(), size, true, |value| value >= 0.1) {
        if faint.iter().all(|at| mask[*at] < 0.5) {
            faint.iter().for_each(|at| mask[*at] = 0.0);
        }
    }
    (mask, people)
}

fn quantile_of(pixels: &[usize], mask: &[f32], share: f64, along: impl Fn(usize) -> usize, extent: usize) -> f64 {
    let mut sums = vec![0.0; extent];
    pixels.iter().for_each(|at| sums[along(*at)] += f64::from(mask[*at]));
    let mut left = share * sums.iter().sum::<f64>();
    for (index, sum) in sums.iter().enumerate() {
        if left <= *sum && *sum > 0.0 {
            return index as f64 + left / sum;
        }
        left -= sum;
    }
    extent as f64
}

/// Compares the finder with the oracle.
fn check(finder: &mut RegionFinder, values: &[f32], size: Size) {
    let (mask, people) = oracle(values, size);
    let mut cleaned = values.to_vec();
    let regions = finder.find(&mut cleaned, size).to_vec();
    assert_eq!(regions.len(), people.len(), "{size}");
    for (region, (pixels, [left, top, right, bottom], confidence)) in regions.iter().zip(people) {
        let near = |a: f32, b: f64| (f64::from(a) - b).abs() < 1e-3;
        assert!(near(region.area, pixels as f64 / values.len() as f64), "{size}: {region:?}");
        assert!(near(region.bounds.x, left) && near(region.bounds.y, top), "{size}: {region:?}, {left} {top}");
        assert!(near(region.bounds.right(), right) && near(region.bounds.bottom(), bottom), "{size}: {region:?}");
        assert!(near(region.confidence, confidence), "{size}: {region:?}, {confidence}");
    }
    for (at, (a, b)) in cleaned.iter().zip(&mask).enumerate() {
        assert!((a - b).abs() < 1e-5, "{size}: pixel {at} is {a}, not {b}");
    }
    let mut twice = cleaned.clone();
    assert_eq!(finder.find(&mut twice, size), regions, "cleaning a clean mask must not change it");
    assert_eq!(twice, cleaned);
}

fn block(mask: &mut [f32], width: usize, x: usize, y: usize, w: usize, h: usize, value: f32) {
    mask.chunks_mut(width).skip(y).take(h).for_each(|row| row[x..x + w].fill(value));
}

#[test]
fn a_rectangle_of_pixels_is_a_region() {
    let size = Size::new(100, 50);
    let mut mask = vec![0.0; 5000];
    block(&mut mask, 100, 20, 10, 40, 30, 0.8);
    let mut finder = RegionFinder::new();
    let regions = finder.find(&mut mask, size);
    assert_eq!(regions.len(), 1);
    let Region { bounds, area, confidence, .. } = regions[0];
    // 2 % of 40 columns and of 30 rows are outside on each side.
    let expected = UnitRect::new(0.208, 0.212, 0.384, 0.576);
    assert!(bounds.contains(&expected, 1e-4) && expected.contains(&bounds, 1e-4), "{bounds:?}");
    assert_eq!((area, (confidence * 1000.0).round()), (0.24, 800.0));
}

#[test]
fn specks_and_holes_are_removed_and_hands_stay() {
    let size = Size::new(256, 144);
    let mut mask = vec![0.02; 256 * 144];
    block(&mut mask, 256, 40, 20, 80, 120, 0.9);
    block(&mut mask, 256, 70, 50, 4, 4, 0.2); // a small hole
    block(&mut mask, 256, 70, 80, 8, 8, 0.2); // between arm and body
    block(&mut mask, 256, 160, 60, 20, 20, 0.9); // a hand: 1 % of the frame, 4 % of the person
    block(&mut mask, 256, 200, 9, 12, 12, 0.3); // the surroundings of a speck
    block(&mut mask, 256, 202, 11, 8, 8, 0.9); // a speck
    block(&mut mask, 256, 220, 100, 10, 10, 0.4); // a faint part
    let mut finder = RegionFinder::new();
    assert_eq!(finder.find(&mut mask, size).len(), 1, "a hand is not a person");
    let at = |x: usize, y: usize| mask[y * 256 + x];
    assert!((at(71, 51) - 0.9).abs() < 1e-6);
    assert_eq!([at(73, 83), at(170, 70)], [0.2, 0.9]);
    assert_eq!([at(205, 15), at(200, 9), at(225, 105), at(0, 0)], [0.0, 0.0, 0.0, 0.02]);
}

/// 15 % of 220 pixels are exactly 33, although 0.15 has no exact binary fraction. 0.5 % of 6000
/// pixels are 30.
#[test]
fn a_share_that_is_reached_exactly_counts() {
    let size = Size::new(100, 60);
    let people = |second: usize| {
        let mut mask = vec![0.0; 6000];
        block(&mut mask, 100, 0, 0, 22, 10, 0.9);
        block(&mut mask, 100, 40, 40, second, 1, 0.9);
        let regions = RegionFinder::new().find(&mut mask, size).len();
        (regions, mask[40 * 100 + 40] > 0.0)
    };
    assert_eq!([people(33), people(32), people(30), people(29)], [(2, true), (1, true), (1, true), (1, false)]);
}

#[test]
fn corners_connect_people_but_not_holes() {
    let size = Size::new(4, 4);
    let mut mask = vec![0.9, 0.0, 0.0, 0.0, 0.0, 0.9, 0.0, 0.0, 0.0, 0.0, 0.9, 0.0, 0.0, 0.0, 0.0, 0.9];
    assert_eq!(RegionFinder::new().find(&mut mask, size).len(), 1);
}

#[test]
fn difficult_shapes_equal_the_oracle() {
    let mut finder = RegionFinder::new();
    for (width, height) in [(1, 1), (1, 40), (40, 1), (2, 2), (17, 33), (64, 64), (97, 31)] {
        let size = Size::new(width, height);
        let shape = |inside: &dyn Fn(u32, u32) -> bool| -> Vec<f32> {
            let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
            pixels.map(|(x, y)| if inside(x, y) { 0.75 } else { 0.25 }).collect()
        };
        check(&mut finder, &shape(&|_, _| false), size);
        check(&mut finder, &shape(&|_, _| true), size);
        check(&mut finder, &shape(&|x, y| (x + y) % 2 == 0), size);
        check(&mut finder, &shape(&|x, _| x % 2 == 0), size);
        check(&mut finder, &shape(&|x, y| x % 2 == 0 || y + 1 == height), size);
        check(&mut finder, &shape(&|x, y| x % 2 == 0 || y == if x % 4 == 1 { 0 } else { height - 1 }), size);
        check(&mut finder, &shape(&|x, y| x % 4 != 1 || y % 4 != 1), size);
    }
}

#[test]
fn nothing_is_allocated_at_a_known_size() {
    let mut finder = RegionFinder::new();
    for size in [Size::new(1, 1), Size::new(512, 512), Size::new(256, 144)] {
        let length = usize::try_from(size.area()).unwrap();
        let memory = |f: &RegionFinder| {
            let counted = [f.labels.capacity(), f.totals.capacity(), f.people.capacity(), f.regions.capacity()];
            (counted, f.totals.as_ptr(), f.people.as_ptr(), f.regions.as_ptr(), f.columns.as_ptr(), f.rows.as_ptr())
        };
        finder.find(&mut vec![0.0; length], size);
        let before = memory(&finder);
        let most_runs: Vec<f32> = (0..length).map(|at| if at % 2 == 0 { 0.9 } else { 0.05 }).collect();
        finder.find(&mut most_runs.clone(), size);
        assert_eq!(finder.find(&mut vec![1.0; length], size)[0].area, 1.0);
        assert_eq!(memory(&finder), before, "{size}");
    }
}

#[test]
fn invalid_input_gives_no_regions() {
    let mut finder = RegionFinder::new();
    assert!(finder.find(&mut [], Size::new(0, 7)).is_empty());
    let mut short = [1.0; 3];
    assert!(finder.find(&mut short, Size::new(2, 2)).is_empty());
    assert_eq!(short, [0.0; 3]);
    let mut wild = [f32::NAN, f32::INFINITY, -1.0, f32::NEG_INFINITY];
    assert_eq!(finder.find(&mut wild, Size::new(2, 2)).len(), 1);
    assert_eq!(wild, [0.0, 1.0, 0.0, 0.0]);
}

proptest! {
    #[test]
    fn any_mask_equals_the_oracle(
        (width, height, values) in (1u32..90, 1u32..60).prop_flat_map(|(width, height)| {
            let length = usize::try_from(width * height).unwrap();
            // With few levels, large components are as likely as specks.
            let level = prop_oneof![3 => Just(0.0f32), 1 => Just(0.3), 4 => Just(0.8), 2 => 0.0f32..1.0];
            (Just(width), Just(height), prop::collection::vec(level, length))
        }),
    ) {
        check(&mut RegionFinder::new(), &values, Size::new(width, height));
    }

    #[test]
    fn rectangles_equal_the_oracle(
        blocks in prop::collection::vec((0usize..100, 0usize..60, 1usize..50, 1usize..40, 0.0f32..1.0), 1..12),
    ) {
        let mut mask = vec![0.0; 100 * 60];
        for (x, y, width, height, value) in blocks {
            block(&mut mask, 100, x, y, width.min(100 - x), height.min(60 - y), value);
        }
        check(&mut RegionFinder::new(), &mask, Size::new(100, 60));
    }
}

/// Three people who touch, in a mask of 90x40: boxes of 30 columns with a gap above their shoulders.
fn three_who_touch() -> (Vec<f32>, Size) {
    let size = Size::new(90, 40);
    let is_person = |x: usize, y: usize| (5..40).contains(&y) && (y >= 15 || (10..20).contains(&(x % 30)));
    ((0..90 * 40).map(|cell| if is_person(cell % 90, cell / 90) { 0.9 } else { 0.0 }).collect(), size)
}

fn seed(x: f32) -> Seed {
    Seed { x, y: 10.0, top: 5.0, width: 8.0, height: 9.0 }
}

/// The columns of the regions' boxes, from left to right.
fn columns(regions: &[Region]) -> Vec<(i32, i32)> {
    let column = |x: f32| (x * 90.0).round() as i32;
    let mut all: Vec<_> = regions.iter().map(|region| (column(region.reach.x), column(region.reach.right()))).collect();
    all.sort_unstable();
    all
}

#[test]
fn heads_divide_a_component_and_each_pixel_has_one_person() {
    let (mask, size) = three_who_touch();
    let mut finder = RegionFinder::new();
    let whole = finder.find(&mut mask.clone(), size)[0];
    let seeds = [15.0, 45.0, 75.0].map(seed);
    let mut divided = mask.clone();
    let regions = finder.find_between(&mut divided, size, &seeds).to_vec();
    assert_eq!(columns(&regions), [(0, 30), (30, 60), (60, 90)]);
    assert!((regions.iter().map(|region| region.area).sum::<f32>() - whole.area).abs() < 1e-6);
    assert!(regions.iter().all(|region| (region.confidence - 0.9).abs() < 1e-6));
    assert!(regions.is_sorted_by(|a, b| a.area >= b.area));
    assert_eq!(divided, mask, "the mask itself is not changed");
}

#[test]
fn a_component_is_not_divided_by_one_head_or_by_heads_elsewhere() {
    let (mask, size) = three_who_touch();
    let mut finder = RegionFinder::new();
    let whole = finder.find(&mut mask.clone(), size).to_vec();
    let above = Seed { y: -20.0, top: -25.0, ..seed(45.0) };
    for seeds in [vec![seed(15.0)], vec![seed(15.0), above], vec![seed(15.0), seed(-5.0), seed(f32::NAN)]] {
        assert_eq!(finder.find_between(&mut mask.clone(), size, &seeds), whole, "{seeds:?}");
    }
}

#[test]
fn a_head_without_a_share_of_the_component_is_no_person() {
    let (mask, size) = three_who_touch();
    let mut finder = RegionFinder::new();
    // A picture of a face on the first one's chest: it is much smaller than they are.
    let small = Seed { x: 15.0, y: 20.0, top: 19.0, width: 0.1, height: 1.0 };
    let regions = finder.find_between(&mut mask.clone(), size, &[seed(15.0), small, seed(45.0), seed(75.0)]);
    assert_eq!(columns(regions), [(0, 30), (30, 60), (60, 90)]);
}

#[test]
fn somebody_nearer_to_the_camera_gets_a_wider_part() {
    let size = Size::new(90, 40);
    let mut mask = vec![0.9; 90 * 40];
    let near = Seed { width: 16.0, ..seed(30.0) };
    let mut finder = RegionFinder::new();
    let regions = finder.find_between(&mut mask, size, &[near, seed(60.0)]);
    assert_eq!(columns(regions), [(0, 49), (49, 90)]);
}
