//! Hostile ONNX files, given to the daemon's program: one line of error that names the file and exit
//! status 1, or a net that loads. Nothing panics, hangs or takes the machine's memory.
//!
//! `PORTRAITD_HOSTILE_MODELS=N` tries N damaged nets instead of 40.

use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};

/// A protobuf message under construction.
#[derive(Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(u8::try_from(value & 0x7f).expect("7 bits") | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).expect("7 bits"));
    }

    fn number(mut self, field: u64, value: i64) -> Self {
        self.varint(field << 3);
        self.varint(value.cast_unsigned());
        self
    }

    fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    fn text(self, field: u64, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    fn message(self, field: u64, value: &Self) -> Self {
        self.bytes(field, &value.0)
    }
}

/// A `ValueInfoProto` of an `f32` tensor.
fn value(name: &str, shape: &[i64]) -> Message {
    let dims = shape.iter().fold(Message::default(), |all, dim| all.message(1, &Message::default().number(1, *dim)));
    let tensor = Message::default().number(1, 1).message(2, &dims);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}

fn node(operator: &str, inputs: &[&str], output: &str) -> Message {
    let node = inputs.iter().fold(Message::default(), |node, input| node.text(1, input));
    node.text(2, output).text(3, output).text(4, operator)
}

/// A `TensorProto`: `kind` 1 is f32 and 7 is i64.
fn tensor(name: &str, kind: i64, dims: &[i64], raw: &[u8]) -> Message {
    let tensor = dims.iter().fold(Message::default(), |tensor, dim| tensor.number(1, *dim));
    tensor.number(2, kind).text(8, name).bytes(9, raw)
}

fn longs(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A model with the input `in` (1x3x18x32) and the output `out`.
fn model(nodes: &[Message], initializers: &[Message]) -> Vec<u8> {
    let graph = nodes.iter().fold(Message::default(), |graph, node| graph.message(1, node)).text(2, "g");
    let graph = initializers.iter().fold(graph, |graph, tensor| graph.message(5, tensor));
    let graph = graph.message(11, &value("in", &[1, 3, 18, 32])).message(12, &value("out", &[1, 1, 18, 32]));
    let operators = Message::default().text(1, "").number(2, 13);
    Message::default().number(1, 8).message(7, &graph).message(8, &operators).0
}

/// Runs `portraitd check-config` with this net. Returns the one line of error, or `None` if the net
/// is accepted.
fn check(folder: &Path, onnx: &[u8]) -> Option<String> {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models/nchw-logits.toml");
    let fixture = std::fs::read_to_string(fixture).expect("a manifest");
    let sha256: String = Sha256::digest(onnx).iter().map(|byte| format!("{byte:02x}")).collect();
    let lines = fixture.lines().map(|line| match line.split(" = ").next() {
        Some("sha256") => format!("sha256 = \"{sha256}\"\n"),
        _ => format!("{line}\n"),
    });
    std::fs::write(folder.join("nchw-logits.toml"), lines.collect::<String>()).expect("written");
    std::fs::write(folder.join("nchw-logits.onnx"), onnx).expect("written");
    let config = folder.join("portraitd.conf");
    let text = format!("models_dir = {folder:?}\n[[camera]]\nsegmentation.model = \"nchw-logits\"\n");
    std::fs::write(&config, text).expect("written");
    let output =
        Command::new(env!("CARGO_BIN_EXE_portraitd")).arg("check-config").arg("--config").arg(&config).output();
    let output = output.expect("portraitd runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code() {
        Some(0) => None,
        Some(1) if text.lines().count() == 1 && text.contains("nchw-logits.onnx") => Some(text),
        other => panic!("{other:?}: {text}"),
    }
}

#[test]
fn hostile_nets_are_one_line_of_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let chain = |length: usize| -> Vec<Message> {
        let name = |n: usize| if n == 0 { "in".to_owned() } else { format!("n{n}") };
        (0..length).map(|n| node("Relu", &[&name(n)], &name(n + 1))).collect()
    };
    let shape = |dims: &[i64]| tensor("shape", 7, &[i64::try_from(dims.len()).expect("few")], &longs(dims));
    let made = |operator: &str| node(operator, &["in", "shape"], "out");
    let huge = [1 << 20, 1 << 20];
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("no graph", Message::default().number(1, 8).0),
        ("an empty graph", model(&[], &[])),
        ("an operator without a name", model(&[node("", &["in"], "out")], &[])),
        ("names that are empty", model(&[node("Relu", &[""], "")], &[])),
        ("no inputs", model(&[node("Add", &[], "out")], &[])),
        ("one input too few", model(&[node("Add", &["in"], "out")], &[])),
        (
            "a cycle",
            model(&[node("Add", &["in", "b"], "a"), node("Relu", &["a"], "b"), node("Relu", &["b"], "out")], &[]),
        ),
        ("two writers", model(&[node("Relu", &["in"], "out"), node("Sigmoid", &["in"], "out")], &[])),
        ("a convolution without weights", model(&[node("Conv", &["in"], "out")], &[])),
        ("weights of no rank", model(&[node("Conv", &["in", "w"], "out")], &[tensor("w", 1, &[], &[0; 4])])),
        ("weights of length 0", model(&[node("Conv", &["in", "w"], "out")], &[tensor("w", 1, &[0, 0, 0, 0], &[])])),
        ("negative dims", model(&[node("Conv", &["in", "w"], "out")], &[tensor("w", 1, &[-1, 3, 1, 1], &[0; 12])])),
        (
            "dims whose product wraps",
            model(&[node("Conv", &["in", "w"], "out")], &[tensor("w", 1, &[1 << 62, 4], &[])]),
        ),
        (
            "fewer bytes than dims",
            model(&[node("Conv", &["in", "w"], "out")], &[tensor("w", 1, &[1, 3, 9, 9], &[0; 4])]),
        ),
        ("an unknown type", model(&[node("Add", &["in", "w"], "out")], &[tensor("w", 99, &[1], &[0; 4])])),
        (
            "a huge constant",
            model(&[node("ConstantOfShape", &["shape"], "c"), node("Add", &["in", "c"], "out")], &[shape(&huge)]),
        ),
        ("a huge expansion", model(&[made("Expand")], &[shape(&[1 << 12, 3, 1 << 12, 1 << 12])])),
        ("a huge repetition", model(&[made("Tile")], &[shape(&[1 << 20, 1 << 20, 1, 1])])),
        ("a negative repetition", model(&[made("Tile")], &[shape(&[-1, -1, -1, -1])])),
        ("a reshape to nothing", model(&[made("Reshape")], &[shape(&[0, 0, 0])])),
        ("a reshape to several unknowns", model(&[made("Reshape")], &[shape(&[-1, -1])])),
        ("more nodes than accepted", model(&chain(100_000), &[])),
        ("a chain as long as accepted", model(&chain(4096), &[])),
        ("a file that is not protobuf", vec![0xff; 4096]),
        ("nested messages", (0..5000).fold(Message::default(), |inner, _| Message::default().message(7, &inner)).0),
    ];
    for (what, onnx) in cases {
        let error = check(folder.path(), &onnx).unwrap_or_else(|| panic!("{what}: accepted"));
        println!("{what}: {error}");
    }
}

/// Nets with changed bytes, the same on every run.
#[test]
fn damaged_nets_load_or_are_one_line_of_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let count = std::env::var("PORTRAITD_HOSTILE_MODELS").ok().and_then(|count| count.parse().ok()).unwrap_or(40);
    let fixtures = ["nchw-logits", "pieces-unet", "pieces-sinet", "pieces-modnet", "pad-replicate"].map(|name| {
        let path = format!("{}/tests/fixtures/models/{name}.onnx", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).expect("a fixture")
    });
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    // The generator xorshift64 by Marsaglia.
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).expect("small")
    };
    let mut refused = 0;
    for round in 0..count {
        let mut onnx = fixtures[round % fixtures.len()].clone();
        for _ in 0..=random(4) {
            let place = random(onnx.len());
            match random(4) {
                0 => onnx[place] ^= 1 << random(8),
                1 => onnx[place] = [0, 1, 0x7f, 0x80, 0xff][random(5)],
                2 => drop(onnx.remove(place)),
                _ => onnx.insert(place, u8::try_from(random(256)).expect("a byte")),
            }
        }
        refused += usize::from(check(folder.path(), &onnx).is_some());
    }
    println!("{refused} of {count} refused");
    assert!(refused > 0 && refused < count, "{refused} of {count}: the damage must lead to both results");
}
