//! Renders the backgrounds of the synthetic scenes (`crates/scene/assets/room-*.jpg`) by path
//! tracing: a room with a window on the left, a door, a sideboard, a bookcase and a plant. The
//! result is deterministic. It is only needed to create the assets again:
//!
//! `cargo run --release -p portraitd-scene --example render_background -- near|wide OUT.png
//! [SAMPLES]`

mod room;
mod shapes;

use std::f32::consts::{PI, TAU};
use std::path::Path;

use portraitd_media::{Colorimetry, OwnedPicture, PixelFormat, Size, image};

use room::{GLASS_Y, GLASS_Z, LEFT, SKY, World};
use shapes::{Random, Surface, V};

const WIDTH: u32 = 1280;
const HEIGHT: u32 = 720;
const BOUNCES: u32 = 5;
/// The largest value of a sample. Without a limit, rare paths to the window would be visible as
/// single bright pixels.
const CLAMP: f32 = 2.0;

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
