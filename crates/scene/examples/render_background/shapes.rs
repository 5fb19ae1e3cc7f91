//! Vectors, random numbers, and the shapes that rays hit.

#[derive(Clone, Copy)]
pub(crate) struct V(pub(crate) f32, pub(crate) f32, pub(crate) f32);

impl V {
    pub(crate) fn add(self, o: V) -> V {
        V(self.0 + o.0, self.1 + o.1, self.2 + o.2)
    }
    pub(crate) fn sub(self, o: V) -> V {
        V(self.0 - o.0, self.1 - o.1, self.2 - o.2)
    }
    pub(crate) fn mul(self, o: V) -> V {
        V(self.0 * o.0, self.1 * o.1, self.2 * o.2)
    }
    pub(crate) fn scale(self, k: f32) -> V {
        V(self.0 * k, self.1 * k, self.2 * k)
    }
    pub(crate) fn dot(self, o: V) -> f32 {
        self.0 * o.0 + self.1 * o.1 + self.2 * o.2
    }
    pub(crate) fn cross(self, o: V) -> V {
        V(self.1 * o.2 - self.2 * o.1, self.2 * o.0 - self.0 * o.2, self.0 * o.1 - self.1 * o.0)
    }
    pub(crate) fn unit(self) -> V {
        self.scale(1.0 / self.dot(self).sqrt())
    }
}

/// A small counter-based generator (PCG hash of the state).
pub(crate) struct Random(pub(crate) u32);

impl Random {
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        let word = ((self.0 >> ((self.0 >> 28) + 4)) ^ self.0).wrapping_mul(277_803_737);
        (((word >> 22) ^ word) >> 8) as f32 / 16_777_216.0
    }

    pub(crate) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.next()
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Surface {
    Plain(V),
    Wall(V),
    Floor,
    Wood(V),
    Painting,
    Leaf(V),
    Window,
}

#[derive(Clone, Copy)]
pub(crate) enum Shape {
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
pub(crate) struct Thing {
    pub(crate) shape: Shape,
    pub(crate) surface: Surface,
}

pub(crate) struct Group {
    pub(crate) low: V,
    pub(crate) high: V,
    pub(crate) things: Vec<Thing>,
}

pub(crate) struct Hit {
    pub(crate) distance: f32,
    pub(crate) normal: V,
    pub(crate) surface: Surface,
}

pub(crate) fn slab(low: V, high: V, origin: V, inverse: V) -> (f32, f32, usize) {
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
    pub(crate) fn bounds(&self) -> (V, V) {
        match *self {
            Self::Block { low, high } => (low, high),
            Self::Ellipsoid { center, radii, .. } => {
                let r = radii.0.max(radii.1).max(radii.2);
                (center.sub(V(r, r, r)), center.add(V(r, r, r)))
            }
        }
    }

    pub(crate) fn hit(&self, origin: V, direction: V, inverse: V, limit: f32) -> Option<(f32, V)> {
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
