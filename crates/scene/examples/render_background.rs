//! Renders the backgrounds of the synthetic scenes (`crates/scene/assets/room-*.jpg`) by path
//! tracing: a room with a window on the left, a door, a sideboard, a bookcase and a plant. The
//! result is deterministic. It is only needed to create the assets again:
//!
//! `cargo run --release -p portraitd-scene --example render_background -- near|wide OUT.png
//! [SAMPLES]`

use std::f32::consts::{PI, TAU};
use std::path::Path;

use portraitd_media::{Colorimetry, OwnedPicture, PixelFormat, Size, image};

const WIDTH: u32 = 1280;
const HEIGHT: u32 = 720;
const BOUNCES: u32 = 5;
/// The largest value of a sample. Without a limit, rare paths to the window would be visible as
/// single bright pixels.
const CLAMP: f32 = 2.0;

#[derive(Clone, Copy)]
struct V(f32, f32, f32);

impl V {
    fn add(self, o: V) -> V {
        V(self.0 + o.0, self.1 + o.1, self.2 + o.2)
    }
    fn sub(self, o: V) -> V {
        V(self.0 - o.0, self.1 - o.1, self.2 - o.2)
    }
    fn mul(self, o: V) -> V {
        V(self.0 * o.0, self.1 * o.1, self.2 * o.2)
    }
    fn scale(self, k: f32) -> V {
        V(self.0 * k, self.1 * k, self.2 * k)
    }
    fn dot(self, o: V) -> f32 {
        self.0 * o.0 + self.1 * o.1 + self.2 * o.2
    }
    fn cross(self, o: V) -> V {
        V(self.1 * o.2 - self.2 * o.1, self.2 * o.0 - self.0 * o.2, self.0 * o.1 - self.1 * o.0)
    }
    fn unit(self) -> V {
        self.scale(1.0 / self.dot(self).sqrt())
    }
}

/// A small counter-based generator (PCG hash of the state).
struct Random(u32);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        let word = ((self.0 >> ((self.0 >> 28) + 4)) ^ self.0).wrapping_mul(277_803_737);
        (((word >> 22) ^ word) >> 8) as f32 / 16_777_216.0
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.next()
    }
}

/// A value in 0..1 from two coordinates.
fn hash(x: f32, y: f32) -> f32 {
    let bits = x.to_bits().wrapping_mul(0x9e37_79b1) ^ y.to_bits().wrapping_mul(0x85eb_ca77);
    Random(bits ^ (bits >> 15)).next()
}

fn smooth_noise(x: f32, y: f32) -> f32 {
    let (ix, iy) = (x.floor(), y.floor());
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (fx, fy) = (ease(x - ix), ease(y - iy));
    let at = |dx: f32, dy: f32| hash(ix + dx, iy + dy);
    let top = at(0.0, 0.0) * (1.0 - fx) + at(1.0, 0.0) * fx;
    let bottom = at(0.0, 1.0) * (1.0 - fx) + at(1.0, 1.0) * fx;
    top * (1.0 - fy) + bottom * fy
}

#[derive(Clone, Copy)]
enum Surface {
    Plain(V),
    Wall(V),
    Floor,
    Wood(V),
    Painting,
    Leaf(V),
    Window,
}

#[derive(Clone, Copy)]
enum Shape {
    Block {
        low: V,
        high: V,
    },
    /// A rotated ellipsoid: centre, unit axes, radii.
    Ellipsoid {
        center: V,
        axes: [V; 3],
        radii: V,
    },
}

#[derive(Clone, Copy)]
struct Thing {
    shape: Shape,
    surface: Surface,
}

struct Group {
    low: V,
    high: V,
    things: Vec<Thing>,
}

struct Hit {
    distance: f32,
    normal: V,
    surface: Surface,
}

fn slab(low: V, high: V, origin: V, inverse: V) -> (f32, f32, usize) {
    let near = low.sub(origin).mul(inverse);
    let far = high.sub(origin).mul(inverse);
    let (n, f) = ([near.0, near.1, near.2], [far.0, far.1, far.2]);
    let (mut enter, mut leave, mut axis) = (f32::MIN, f32::MAX, 0);
    for i in 0..3 {
        if n[i].min(f[i]) > enter {
            (enter, axis) = (n[i].min(f[i]), i);
        }
        leave = leave.min(n[i].max(f[i]));
    }
    (enter, leave, axis)
}

impl Shape {
    fn bounds(&self) -> (V, V) {
        match *self {
            Self::Block { low, high } => (low, high),
            Self::Ellipsoid { center, radii, .. } => {
                let r = radii.0.max(radii.1).max(radii.2);
                (center.sub(V(r, r, r)), center.add(V(r, r, r)))
            }
        }
    }

    fn hit(&self, origin: V, direction: V, inverse: V, limit: f32) -> Option<(f32, V)> {
        match *self {
            Self::Block { low, high } => {
                let (enter, leave, axis) = slab(low, high, origin, inverse);
                if enter > leave || enter < 1e-4 || enter > limit {
                    return None;
                }
                let sign = |d: f32| if d > 0.0 { -1.0 } else { 1.0 };
                let normal = match axis {
                    0 => V(sign(direction.0), 0.0, 0.0),
                    1 => V(0.0, sign(direction.1), 0.0),
                    _ => V(0.0, 0.0, sign(direction.2)),
                };
                Some((enter, normal))
            }
            Self::Ellipsoid { center, axes, radii } => {
                let local = |v: V| V(v.dot(axes[0]) / radii.0, v.dot(axes[1]) / radii.1, v.dot(axes[2]) / radii.2);
                let (o, d) = (local(origin.sub(center)), local(direction));
                let (a, b, c) = (d.dot(d), o.dot(d), o.dot(o) - 1.0);
                let root = b * b - a * c;
                if root < 0.0 {
                    return None;
                }
                let distance = (-b - root.sqrt()) / a;
                if distance < 1e-4 || distance > limit {
                    return None;
                }
                let p = o.add(d.scale(distance));
                let normal =
                    axes[0].scale(p.0 / radii.0).add(axes[1].scale(p.1 / radii.1)).add(axes[2].scale(p.2 / radii.2));
                Some((distance, normal.unit()))
            }
        }
    }
}

struct World {
    groups: Vec<Group>,
}

const LEFT: f32 = -2.6;
const RIGHT: f32 = 2.6;
const BACK: f32 = 3.6;
const FRONT: f32 = -3.0;
const TOP: f32 = 2.7;
/// The glass of the window in the left wall: its y and z ranges, and the radiance of the sky.
const GLASS_Y: (f32, f32) = (0.85, 2.3);
const GLASS_Z: (f32, f32) = (0.2, 2.5);
const SKY: V = V(7.6, 8.4, 9.3);

fn block(x: (f32, f32), y: (f32, f32), z: (f32, f32), surface: Surface) -> Thing {
    Thing { shape: Shape::Block { low: V(x.0, y.0, z.0), high: V(x.1, y.1, z.1) }, surface }
}

fn ball(center: V, radii: V, surface: Surface) -> Thing {
    let axes = [V(1.0, 0.0, 0.0), V(0.0, 1.0, 0.0), V(0.0, 0.0, 1.0)];
    Thing { shape: Shape::Ellipsoid { center, axes, radii }, surface }
}

fn group(things: Vec<Thing>) -> Group {
    let (mut low, mut high) = (V(f32::MAX, f32::MAX, f32::MAX), V(f32::MIN, f32::MIN, f32::MIN));
    for thing in &things {
        let (l, h) = thing.shape.bounds();
        low = V(low.0.min(l.0), low.1.min(l.1), low.2.min(l.2));
        high = V(high.0.max(h.0), high.1.max(h.1), high.2.max(h.2));
    }
    Group { low, high, things }
}

fn shell() -> Vec<Group> {
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

fn door() -> Group {
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

fn bookcase(random: &mut Random) -> Vec<Group> {
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

fn sideboard() -> Group {
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

fn painting() -> Group {
    let frame = Surface::Plain(V(0.12, 0.10, 0.09));
    group(vec![
        block((-0.62, 0.20), (1.36, 2.02), (BACK - 0.03, BACK), frame),
        block((-0.595, 0.175), (1.385, 1.995), (BACK - 0.034, BACK - 0.03), Surface::Plain(V(0.82, 0.80, 0.76))),
        block((-0.52, 0.10), (1.46, 1.92), (BACK - 0.038, BACK - 0.034), Surface::Painting),
    ])
}

fn plant(random: &mut Random) -> Vec<Group> {
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
    fn new() -> Self {
        let mut random = Random(4);
        let mut groups = shell();
        groups.push(door());
        groups.extend(bookcase(&mut random));
        groups.push(sideboard());
        groups.push(painting());
        groups.extend(plant(&mut random));
        Self { groups }
    }

    fn hit(&self, origin: V, direction: V, limit: f32) -> Option<Hit> {
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

/// The diffuse albedo of `surface` at `p`.
fn albedo(surface: Surface, p: V) -> V {
    match surface {
        Surface::Plain(color) | Surface::Leaf(color) => color,
        Surface::Window => V(0.0, 0.0, 0.0),
        Surface::Wall(color) => color.scale(0.985 + 0.03 * smooth_noise((p.0 + p.2) * 14.0, p.1 * 14.0)),
        Surface::Wood(color) => {
            let grain = smooth_noise((p.0 + p.2) * 6.0, p.1 * 90.0) * 0.5 + smooth_noise(p.0 * 3.0, p.1 * 25.0) * 0.5;
            color.scale(0.82 + 0.32 * grain)
        }
        Surface::Floor => {
            let row = (p.0 / 0.14).floor();
            let along = p.2 + hash(row, 7.0) * 1.3;
            let plank = (along / 1.3).floor();
            let tone = 0.80 + 0.30 * hash(row, plank);
            let grain = smooth_noise(p.0 * 85.0, along * 5.0) * 0.6 + smooth_noise(p.0 * 30.0, along * 2.0) * 0.4;
            let gap = (p.0 / 0.14 - row).min(1.0 - (p.0 / 0.14 - row)) < 0.012 || (along / 1.3 - plank) < 0.003;
            let dark = if gap { 0.45 } else { 1.0 };
            V(0.47, 0.34, 0.22).scale(tone * (0.82 + 0.32 * grain) * dark)
        }
        Surface::Painting => {
            // A landscape: sky, far hills, a field.
            let (u, v) = ((p.0 + 0.52) / 0.62, (1.92 - p.1) / 0.46);
            let ridge = |base: f32, size: f32, f: f32| base + size * (smooth_noise(u * f, f) - 0.5);
            if v < ridge(0.46, 0.22, 3.0) {
                V(0.55, 0.66, 0.74).scale(0.85 + 0.3 * v + 0.12 * smooth_noise(u * 5.0, v * 9.0))
            } else if v < ridge(0.60, 0.16, 5.0) {
                V(0.24, 0.34, 0.40).scale(0.8 + 0.4 * smooth_noise(u * 20.0, v * 20.0))
            } else if v < ridge(0.74, 0.10, 4.0) {
                V(0.22, 0.32, 0.18).scale(0.7 + 0.5 * smooth_noise(u * 30.0, v * 30.0))
            } else {
                V(0.56, 0.47, 0.22).scale(0.7 + 0.5 * smooth_noise(u * 12.0, v * 40.0))
            }
        }
    }
}

/// The radiance through the glass: sky above, a hazy line of trees below.
fn outside(p: V) -> V {
    let height = (p.1 - GLASS_Y.0) / (GLASS_Y.1 - GLASS_Y.0);
    let trees = 0.30 + 0.10 * smooth_noise(p.2 * 5.0, 3.0);
    if height < trees { V(2.6, 3.1, 2.6) } else { SKY.scale(0.75 + 0.25 * height) }
}

fn cosine_direction(normal: V, random: &mut Random) -> V {
    let (r, angle) = (random.next().sqrt(), TAU * random.next());
    let helper = if normal.0.abs() > 0.5 { V(0.0, 1.0, 0.0) } else { V(1.0, 0.0, 0.0) };
    let tangent = normal.cross(helper).unit();
    let other = normal.cross(tangent);
    let z = (1.0 - r * r).max(0.0).sqrt();
    tangent.scale(r * angle.cos()).add(other.scale(r * angle.sin())).add(normal.scale(z)).unit()
}

/// The light that reaches `p` directly from the window, estimated by one sample.
fn window_light(world: &World, p: V, normal: V, random: &mut Random) -> V {
    let target = V(LEFT - 0.119, random.between(GLASS_Y.0, GLASS_Y.1), random.between(GLASS_Z.0, GLASS_Z.1));
    let to = target.sub(p);
    let distance = to.dot(to).sqrt();
    let direction = to.scale(1.0 / distance);
    let (here, there) = (normal.dot(direction), -direction.0);
    if here <= 0.0 || there <= 0.0 || world.hit(p, direction, distance - 0.01).is_some() {
        return V(0.0, 0.0, 0.0);
    }
    let area = (GLASS_Y.1 - GLASS_Y.0) * (GLASS_Z.1 - GLASS_Z.0);
    outside(target).scale(here * there * area / (PI * distance * distance))
}

fn radiance(world: &World, mut origin: V, mut direction: V, random: &mut Random) -> V {
    let (mut sum, mut weight) = (V(0.0, 0.0, 0.0), V(1.0, 1.0, 1.0));
    let mut sees_window = true;
    for _ in 0..BOUNCES {
        let Some(hit) = world.hit(origin, direction, 1e9) else { break };
        let p = origin.add(direction.scale(hit.distance));
        if matches!(hit.surface, Surface::Window) {
            if sees_window {
                sum = sum.add(weight.mul(outside(p)));
            }
            break;
        }
        let normal = if hit.normal.dot(direction) > 0.0 { hit.normal.scale(-1.0) } else { hit.normal };
        origin = p.add(normal.scale(1e-3));
        // Varnish on the floor, wood and leaves: Schlick's reflectance, slightly rough.
        let gloss = match hit.surface {
            Surface::Floor => 0.05,
            Surface::Leaf(_) | Surface::Wood(_) => 0.03,
            _ => 0.0,
        };
        if gloss > 0.0 {
            let reflectance = gloss + (1.0 - gloss) * (1.0 + normal.dot(direction)).max(0.0).powi(5);
            if random.next() < reflectance {
                let mirror = direction.sub(normal.scale(2.0 * normal.dot(direction)));
                let rough = cosine_direction(normal, random);
                direction = mirror.add(rough.scale(0.12)).unit();
                sees_window = true;
                continue;
            }
        }
        weight = weight.mul(albedo(hit.surface, p));
        sum = sum.add(weight.mul(window_light(world, origin, normal, random)));
        // A weak, uniform light from the rest of the room, so that corners do not become black.
        sum = sum.add(weight.scale(0.030));
        direction = cosine_direction(normal, random);
        sees_window = false;
    }
    sum
}

struct Camera {
    origin: V,
    pitch: f32,
    half_width: f32,
    exposure: f32,
    lens: f32,
    focus: f32,
}

fn tone(value: f32) -> f32 {
    // A soft shoulder above 0.75, then the sRGB curve.
    let knee = 0.75;
    let v = if value <= knee { value } else { knee + (1.0 - knee) * (1.0 - (-(value - knee) / (1.0 - knee)).exp()) };
    if v <= 0.003_130_8 { v * 12.92 } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [view, out, ..] = arguments.as_slice() else {
        eprintln!("usage: render_background near|wide OUT.png [SAMPLES]");
        std::process::exit(2);
    };
    let samples: u32 = arguments.get(2).and_then(|text| text.parse().ok()).unwrap_or(64);
    let camera = if view == "wide" {
        Camera { origin: V(0.5, 1.72, -2.75), pitch: -0.10, half_width: 0.74, exposure: 1.10, lens: 0.002, focus: 5.0 }
    } else {
        Camera { origin: V(0.0, 1.34, 0.05), pitch: -0.02, half_width: 0.60, exposure: 1.15, lens: 0.006, focus: 1.5 }
    };
    let world = World::new();
    let size = Size::new(WIDTH, HEIGHT);
    let mut picture =
        OwnedPicture::zeroed(PixelFormat::Rgb24, size, Colorimetry::default()).expect("a size with pixels");
    let (sin, cos) = camera.pitch.sin_cos();
    for (row, line) in (0..HEIGHT).zip(picture.bytes_mut().chunks_exact_mut(WIDTH as usize * 3)) {
        for (column, pixel) in (0..WIDTH).zip(line.chunks_exact_mut(3)) {
            let mut random = Random(row.wrapping_mul(WIDTH).wrapping_add(column).wrapping_mul(0x9e37_79b1));
            let mut sum = V(0.0, 0.0, 0.0);
            for _ in 0..samples {
                let x = ((column as f32 + random.next()) / WIDTH as f32 * 2.0 - 1.0) * camera.half_width;
                let y = (HEIGHT as f32 / 2.0 - row as f32 - random.next()) / (WIDTH as f32 / 2.0) * camera.half_width;
                let ahead = V(x, y * cos + sin, cos - y * sin);
                let point = camera.origin.add(ahead.scale(camera.focus));
                let (r, angle) = (camera.lens * random.next().sqrt(), TAU * random.next());
                let origin = camera.origin.add(V(r * angle.cos(), r * angle.sin(), 0.0));
                let light = radiance(&world, origin, point.sub(origin).unit(), &mut random);
                sum = sum.add(V(light.0.min(CLAMP), light.1.min(CLAMP), light.2.min(CLAMP)));
            }
            let r2 = (x_of(column).powi(2) + y_of(row).powi(2)) * 0.10;
            let light = sum.scale(camera.exposure * (1.0 - r2) / samples as f32);
            for (byte, value) in pixel.iter_mut().zip([light.0 * 1.03, light.1, light.2 * 0.95]) {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=255 by the clamp")]
                let level = (tone(value) * 255.0 + 0.5).clamp(0.0, 255.0) as u8;
                *byte = level;
            }
        }
    }
    if let Err(error) = image::write_png(Path::new(out), &picture.as_picture()) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

/// The horizontal distance from the centre, -1..=1, for the light fall-off towards the corners.
fn x_of(column: u32) -> f32 {
    column as f32 / WIDTH as f32 * 2.0 - 1.0
}

fn y_of(row: u32) -> f32 {
    (row as f32 / HEIGHT as f32 * 2.0 - 1.0) * 0.5625
}
