//! What is in the room.

use std::f32::consts::TAU;

use crate::shapes::{Group, Hit, Random, Shape, Surface, Thing, V, slab};

pub(crate) struct World {
    pub(crate) groups: Vec<Group>,
}

pub(crate) const LEFT: f32 = -2.6;
pub(crate) const RIGHT: f32 = 2.6;
pub(crate) const BACK: f32 = 3.6;
pub(crate) const FRONT: f32 = -3.0;
pub(crate) const TOP: f32 = 2.7;
/// The glass of the window in the left wall: its y and z ranges, and the radiance of the sky.
pub(crate) const GLASS_Y: (f32, f32) = (0.85, 2.3);
pub(crate) const GLASS_Z: (f32, f32) = (0.2, 2.5);
pub(crate) const SKY: V = V(7.6, 8.4, 9.3);

pub(crate) fn block(x: (f32, f32), y: (f32, f32), z: (f32, f32), surface: Surface) -> Thing {
    Thing { shape: Shape::Block { low: V(x.0, y.0, z.0), high: V(x.1, y.1, z.1) }, surface }
}

pub(crate) fn ball(center: V, radii: V, surface: Surface) -> Thing {
    let axes = [V(1.0, 0.0, 0.0), V(0.0, 1.0, 0.0), V(0.0, 0.0, 1.0)];
    Thing { shape: Shape::Ellipsoid { center, axes, radii }, surface }
}

pub(crate) fn group(things: Vec<Thing>) -> Group {
    let (mut low, mut high) = (V(f32::MAX, f32::MAX, f32::MAX), V(f32::MIN, f32::MIN, f32::MIN));
    for thing in &things {
        let (l, h) = thing.shape.bounds();
        low = V(low.0.min(l.0), low.1.min(l.1), low.2.min(l.2));
        high = V(high.0.max(h.0), high.1.max(h.1), high.2.max(h.2));
    }
    Group { low, high, things }
}

pub(crate) fn shell() -> Vec<Group> {
    let wall = Surface::Wall(V(0.74, 0.70, 0.63));
    let white = Surface::Plain(V(0.85, 0.84, 0.81));
    let (y0, y1) = GLASS_Y;
    let (z0, z1) = GLASS_Z;
    let mid = (z0 + z1) / 2.0;
    let left = |y, z| block((LEFT - 0.2, LEFT), y, z, wall);
    let frame = |y, z| block((LEFT - 0.08, LEFT + 0.03), y, z, white);
    vec![
        group(vec![block((LEFT - 0.3, RIGHT + 0.3), (-0.2, 0.0), (FRONT - 0.3, BACK + 0.3), Surface::Floor)]),
        group(vec![block((LEFT - 0.3, RIGHT + 0.3), (TOP, TOP + 0.2), (FRONT - 0.3, BACK + 0.3), white)]),
        group(vec![block((LEFT - 0.3, RIGHT + 0.3), (0.0, TOP), (BACK, BACK + 0.2), wall)]),
        group(vec![block((LEFT - 0.3, RIGHT + 0.3), (0.0, TOP), (FRONT - 0.2, FRONT), wall)]),
        group(vec![block((RIGHT, RIGHT + 0.2), (0.0, TOP), (FRONT, BACK), wall)]),
        group(vec![
            left((0.0, y0), (FRONT, BACK)),
            left((y1, TOP), (FRONT, BACK)),
            left((y0, y1), (FRONT, z0)),
            left((y0, y1), (z1, BACK)),
            block((LEFT - 0.2, LEFT - 0.12), GLASS_Y, GLASS_Z, Surface::Window),
            frame((y0 - 0.05, y0), (z0 - 0.06, z1 + 0.06)),
            frame((y1, y1 + 0.05), (z0 - 0.06, z1 + 0.06)),
            frame((y0, y1), (z0 - 0.06, z0)),
            frame((y0, y1), (z1, z1 + 0.06)),
            frame((y0, y1), (mid - 0.03, mid + 0.03)),
            block((LEFT, LEFT + 0.16), (y0 - 0.09, y0 - 0.05), (z0 - 0.1, z1 + 0.1), white),
        ]),
        // Skirting boards.
        group(vec![
            block((LEFT, RIGHT), (0.0, 0.09), (BACK - 0.015, BACK), white),
            block((LEFT, LEFT + 0.015), (0.0, 0.09), (FRONT, BACK), white),
            block((RIGHT - 0.015, RIGHT), (0.0, 0.09), (FRONT, BACK), white),
        ]),
    ]
}

pub(crate) fn door() -> Group {
    let paint = Surface::Plain(V(0.80, 0.79, 0.75));
    let edge = Surface::Plain(V(0.84, 0.83, 0.80));
    let metal = Surface::Plain(V(0.42, 0.40, 0.37));
    let (x0, x1) = (-2.12, -1.24);
    let mut things = vec![
        block((x0, x1), (0.0, 2.03), (BACK - 0.02, BACK), paint),
        block((x0 - 0.08, x0), (0.0, 2.11), (BACK - 0.05, BACK), edge),
        block((x1, x1 + 0.08), (0.0, 2.11), (BACK - 0.05, BACK), edge),
        block((x0, x1), (2.03, 2.11), (BACK - 0.05, BACK), edge),
        block((x1 - 0.14, x1 - 0.05), (1.02, 1.045), (BACK - 0.07, BACK - 0.055), metal),
        block((x1 - 0.075, x1 - 0.05), (0.98, 1.10), (BACK - 0.06, BACK - 0.02), metal),
    ];
    // Raised borders of four panels.
    for (y0, y1) in [(0.16, 0.92), (1.14, 1.88)] {
        for (px0, px1) in [(x0 + 0.09, x0 + 0.40), (x0 + 0.48, x1 - 0.09)] {
            let z = (BACK - 0.032, BACK - 0.02);
            for (x, y) in [
                ((px0, px1), (y0, y0 + 0.02)),
                ((px0, px1), (y1 - 0.02, y1)),
                ((px0, px0 + 0.02), (y0, y1)),
                ((px1 - 0.02, px1), (y0, y1)),
            ] {
                things.push(block(x, y, z, edge));
            }
        }
    }
    group(things)
}

pub(crate) fn bookcase(random: &mut Random) -> Vec<Group> {
    let wood = Surface::Wood(V(0.50, 0.33, 0.19));
    let (x0, x1, z0) = (0.98, 2.18, BACK - 0.30);
    let heights = [0.06, 0.46, 0.84, 1.20, 1.56, 1.90];
    let mut frame = vec![
        block((x0 - 0.03, x0), (0.0, 1.94), (z0, BACK), wood),
        block((x1, x1 + 0.03), (0.0, 1.94), (z0, BACK), wood),
        block((x0, x1), (0.06, 1.92), (BACK - 0.015, BACK), wood),
    ];
    let mut groups = Vec::new();
    for (shelf, &y) in heights.iter().enumerate() {
        frame.push(block((x0, x1), (y - 0.025, y), (z0, BACK), wood));
        let Some(next) = heights.get(shelf + 1) else { break };
        let room = next - 0.025 - y;
        let mut books = Vec::new();
        let mut x = x0 + 0.02;
        // Two shelves have a gap with an object.
        let gap = match shelf {
            2 => (1.55, 1.95),
            4 => (1.05, 1.40),
            _ => (9.0, 9.0),
        };
        while x < x1 - 0.07 {
            if x > gap.0 - 0.04 && x < gap.1 {
                x = gap.1;
                continue;
            }
            let width = random.between(0.018, 0.052);
            let height = room * random.between(0.60, 0.90);
            let depth = random.between(0.14, 0.21);
            let grey = random.between(0.1, 0.55);
            let colours = [
                V(0.34, 0.10, 0.08),
                V(0.08, 0.17, 0.28),
                V(0.13, 0.24, 0.16),
                V(0.58, 0.50, 0.36),
                V(0.62, 0.59, 0.54),
                V(grey, grey * 0.95, grey * 0.9),
                V(0.46, 0.28, 0.10),
            ];
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..7")]
            let pick = (random.next() * 6.999) as usize;
            let z = z0 + random.between(0.02, 0.05);
            books.push(block((x, x + width), (y, y + height), (z, z + depth), Surface::Plain(colours[pick])));
            x += width + random.between(0.001, 0.004);
            if random.next() < 0.06 {
                x += random.between(0.05, 0.16);
            }
        }
        match shelf {
            2 => {
                let clay = Surface::Plain(V(0.66, 0.60, 0.52));
                books.push(ball(V(1.74, y + 0.12, z0 + 0.14), V(0.10, 0.12, 0.10), clay));
                books.push(block((1.705, 1.775), (y + 0.20, y + 0.29), (z0 + 0.105, z0 + 0.175), clay));
            }
            4 => {
                let dark = Surface::Plain(V(0.10, 0.10, 0.11));
                books.push(block((1.08, 1.34), (y, y + 0.19), (z0 + 0.08, z0 + 0.11), dark));
                let photo = Surface::Plain(V(0.50, 0.56, 0.60));
                books.push(block((1.10, 1.32), (y + 0.02, y + 0.17), (z0 + 0.075, z0 + 0.085), photo));
            }
            _ => {}
        }
        groups.push(group(books));
    }
    groups.push(group(frame));
    groups
}

pub(crate) fn sideboard() -> Group {
    let wood = Surface::Wood(V(0.55, 0.40, 0.26));
    let front = Surface::Wood(V(0.60, 0.45, 0.30));
    let legs = Surface::Plain(V(0.08, 0.08, 0.08));
    let (x0, x1, z0) = (-0.95, 0.42, BACK - 0.44);
    let mut things = vec![
        block((x0, x1), (0.14, 0.70), (z0, BACK - 0.03), wood),
        block((x0 - 0.02, x1 + 0.02), (0.70, 0.725), (z0 - 0.02, BACK - 0.02), wood),
    ];
    for i in 0..3_u8 {
        let step = (x1 - x0) / 3.0;
        let x = x0 + f32::from(i) * step;
        things.push(block((x + 0.008, x + step - 0.008), (0.155, 0.685), (z0 - 0.016, z0), front));
        things.push(block((x + step - 0.07, x + step - 0.05), (0.40, 0.50), (z0 - 0.03, z0 - 0.016), legs));
    }
    for x in [x0 + 0.05, x1 - 0.08] {
        for z in [z0 + 0.04, BACK - 0.1] {
            things.push(block((x, x + 0.03), (0.0, 0.14), (z, z + 0.03), legs));
        }
    }
    // On the sideboard: a lamp, a stack of books, a bowl.
    let shade = Surface::Plain(V(0.86, 0.80, 0.68));
    things.push(ball(V(-0.72, 1.10, BACK - 0.24), V(0.15, 0.14, 0.15), shade));
    things.push(block((-0.735, -0.705), (0.725, 1.0), (BACK - 0.255, BACK - 0.225), legs));
    things.push(block((-0.80, -0.64), (0.725, 0.745), (BACK - 0.32, BACK - 0.16), legs));
    things.push(block((-0.34, -0.08), (0.725, 0.755), (BACK - 0.36, BACK - 0.18), Surface::Plain(V(0.16, 0.24, 0.33))));
    things.push(block((-0.32, -0.10), (0.755, 0.79), (BACK - 0.35, BACK - 0.19), Surface::Plain(V(0.60, 0.55, 0.46))));
    things.push(ball(V(0.20, 0.765, BACK - 0.25), V(0.13, 0.055, 0.13), Surface::Plain(V(0.20, 0.34, 0.33))));
    group(things)
}

pub(crate) fn painting() -> Group {
    let frame = Surface::Plain(V(0.12, 0.10, 0.09));
    group(vec![
        block((-0.62, 0.20), (1.36, 2.02), (BACK - 0.03, BACK), frame),
        block((-0.595, 0.175), (1.385, 1.995), (BACK - 0.034, BACK - 0.03), Surface::Plain(V(0.82, 0.80, 0.76))),
        block((-0.52, 0.10), (1.46, 1.92), (BACK - 0.038, BACK - 0.034), Surface::Painting),
    ])
}

pub(crate) fn plant(random: &mut Random) -> Vec<Group> {
    let (x, z) = (0.68, BACK - 0.42);
    let pot = Surface::Plain(V(0.72, 0.71, 0.69));
    let mut stems = vec![
        ball(V(x, 0.17, z), V(0.165, 0.19, 0.165), pot),
        ball(V(x, 0.31, z), V(0.13, 0.03, 0.13), Surface::Plain(V(0.07, 0.05, 0.04))),
    ];
    let mut leaves = Vec::new();
    for _ in 0..52 {
        let angle = random.between(0.0, TAU);
        let reach = random.between(0.04, 0.30);
        let height = random.between(0.52, 1.42) - reach * 0.7;
        let center = V(x + reach * angle.cos(), height, (z + reach * angle.sin()).min(BACK - 0.1));
        let out = V(angle.cos(), random.between(-0.2, 0.8), angle.sin()).unit();
        let side = out.cross(V(random.between(-0.3, 0.3), 1.0, random.between(-0.3, 0.3))).unit();
        let up = side.cross(out).unit();
        let size = random.between(0.085, 0.145);
        let green = random.between(0.75, 1.15);
        let surface = Surface::Leaf(V(0.085 * green, 0.20 * green, 0.075 * green));
        let radii = V(size, size * 0.42, 0.005);
        leaves.push(Thing { shape: Shape::Ellipsoid { center, axes: [out, side, up], radii }, surface });
        let foot = V(x + random.between(-0.04, 0.04), 0.31, z + random.between(-0.04, 0.04));
        let along = center.sub(foot);
        let length = along.dot(along).sqrt();
        let axis = along.scale(1.0 / length);
        let across = axis.cross(V(1.0, 0.0, 0.2)).unit();
        let shape = Shape::Ellipsoid {
            center: foot.add(along.scale(0.5)),
            axes: [axis, across, axis.cross(across)],
            radii: V(length / 2.0, 0.005, 0.005),
        };
        stems.push(Thing { shape, surface: Surface::Plain(V(0.10, 0.16, 0.06)) });
    }
    vec![group(stems), group(leaves)]
}

impl World {
    pub(crate) fn new() -> Self {
        let mut random = Random(4);
        let mut groups = shell();
        groups.push(door());
        groups.extend(bookcase(&mut random));
        groups.push(sideboard());
        groups.push(painting());
        groups.extend(plant(&mut random));
        Self { groups }
    }

    pub(crate) fn hit(&self, origin: V, direction: V, limit: f32) -> Option<Hit> {
        let inverse = V(1.0 / direction.0, 1.0 / direction.1, 1.0 / direction.2);
        let mut best: Option<Hit> = None;
        let mut nearest = limit;
        for group in &self.groups {
            let (enter, leave, _) = slab(group.low, group.high, origin, inverse);
            if enter > leave || leave < 0.0 || enter > nearest {
                continue;
            }
            for thing in &group.things {
                if let Some((distance, normal)) = thing.shape.hit(origin, direction, inverse, nearest) {
                    nearest = distance;
                    best = Some(Hit { distance, normal, surface: thing.surface });
                }
            }
        }
        best
    }
}
