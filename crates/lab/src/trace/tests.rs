//! Tests of `portraitd-lab direct`: the acceptance criteria of the director, the format of lines,
//! and invalid input.

use std::fmt::Write as _;

use serde_json::Value;

use super::{TraceError, run};

#[derive(Debug)]
struct OutputLine {
    t: f64,
    crop: [f64; 4],
    state: String,
    text: String,
}

fn direct(trace: &str) -> Vec<OutputLine> {
    let mut output = Vec::new();
    run(trace.as_bytes(), &mut output).unwrap();
    let parse = |text: &str| {
        let value: Value = serde_json::from_str(text).unwrap();
        let crop = serde_json::from_value(value["crop"].clone()).unwrap();
        let state = value["state"].as_str().unwrap().to_owned();
        let text = value["crop"].to_string();
        OutputLine { t: value["t"].as_f64().unwrap(), crop, state, text }
    };
    String::from_utf8(output).unwrap().lines().map(parse).collect()
}

fn failure(trace: &str) -> (TraceError, usize) {
    let mut output = Vec::new();
    let error = run(trace.as_bytes(), &mut output).unwrap_err();
    (error, String::from_utf8(output).unwrap().lines().count())
}

/// A trace of `seconds` at 30 fps with a mask every `every` frames.
fn trace(seconds: f64, every: u32, people: impl Fn(f64) -> Vec<[f64; 4]>) -> String {
    let mut trace = String::new();
    for index in 0u32.. {
        let t = f64::from(index) / 30.0;
        if t >= seconds {
            break;
        }
        let people = if index % every == 0 { serde_json::json!(people(t)) } else { Value::Null };
        writeln!(trace, r#"{{"t": {t}, "people": {people}}}"#).unwrap();
    }
    trace
}

fn changes(lines: &[OutputLine], from: f64, to: f64) -> usize {
    let within: Vec<_> = lines.iter().filter(|line| line.t >= from && line.t <= to).collect();
    within.windows(2).filter(|pair| pair[0].text != pair[1].text).count()
}

#[test]
fn a1_a5_still_then_leaving_then_returning() {
    let sitting = [0.35, 0.3, 0.2, 0.6];
    for every in [1, 3, 6] {
        let lines = direct(&trace(90.0, every, |t| {
            let noise = (t * 91.7).sin() * 0.008;
            if (60.0..75.0).contains(&t) { Vec::new() } else { vec![sitting.map(|edge| edge + noise)] }
        }));
        assert_eq!(changes(&lines, 6.0, 61.99), 0);
        let settled = &lines[30 * 59];
        assert_eq!(settled.state, "converged");
        assert!(settled.crop[2] < 0.8, "{settled:?}");
        assert!(changes(&lines, 62.0, 64.5) > 30);
        assert!(
            lines.iter().filter(|line| (64.5..75.0).contains(&line.t)).all(|line| line.text == "[0.0,0.0,1.0,1.0]")
        );
        assert!(lines.iter().filter(|line| (63.0..75.0).contains(&line.t)).all(|line| line.state == "lost"));
        assert!(changes(&lines, 75.0, 77.0) > 10 && changes(&lines, 82.0, 90.0) == 0);
    }
}

#[test]
fn a2_a_step_is_followed_under_one_id() {
    let lines = direct(&trace(20.0, 1, |t| vec![[if t < 10.0 { 0.1 } else { 0.45 }, 0.4, 0.12, 0.45]]));
    let before = &lines[299];
    assert_eq!(before.state, "converged");
    assert_eq!(changes(&lines, 10.0, 10.2), 0);
    assert!(changes(&lines, 10.2, 10.301) > 0);
    let (last, way) = (lines.last().unwrap(), lines.last().unwrap().crop[0] - before.crop[0]);
    assert_eq!(last.state, "converged");
    let at_90 = lines.iter().find(|line| line.t >= 10.0 && line.crop[0] - before.crop[0] >= 0.9 * way).unwrap();
    assert!(at_90.t <= 10.25 + 1.35, "{at_90:?}");
    assert!(lines[300..].iter().all(|line| line.crop[0] - before.crop[0] <= 1.01 * way));
}

#[test]
fn a6_two_without_ids() {
    let (a, b, c) = ([0.3, 0.4, 0.12, 0.5], [0.5, 0.4, 0.12, 0.5], |t: f64| [t / 1.4, 0.3, 0.12, 0.6]);
    for every in [1, 3, 6] {
        let lines = direct(&trace(40.0, every, |t| match t {
            t if (10.0..11.9).contains(&t) => vec![b],
            t if (16.0..17.9).contains(&t) => vec![a],
            t if (24.0..25.4).contains(&t) => vec![b, c(t - 24.0), a],
            t if (32.0..33.4).contains(&t) => vec![b, c(33.4 - t)],
            _ => vec![a, b],
        }));
        assert_eq!(changes(&lines, 8.0, 32.0), 0, "a mask every {every}");
        assert_eq!(changes(&lines, 33.5, 40.0), 0);
    }
}

#[test]
fn a7_late_lines_change_nothing() {
    let plain = trace(12.0, 2, |t| vec![[if t < 6.0 { 0.1 } else { 0.6 }, 0.4, 0.12, 0.45]]);
    let mut mixed = String::new();
    for (index, line) in plain.lines().enumerate() {
        writeln!(mixed, "{line}").unwrap();
        if index % 7 == 6 {
            let late = (f64::from(u32::try_from(index).unwrap()) / 30.0 - 0.05).max(0.0);
            writeln!(mixed, r#"{{"t": {late}, "people": [[0.9, 0.0, 0.1, 0.1]]}}"#).unwrap();
        }
    }
    let expected: Vec<String> = direct(&plain).into_iter().map(|line| line.text).collect();
    let mut seen = Vec::new();
    let mut newest = -1.0;
    for line in direct(&mixed) {
        if line.t > newest {
            newest = line.t;
            seen.push(line.text);
        } else {
            assert_eq!(Some(&line.text), seen.last());
        }
    }
    assert_eq!(seen, expected);
}

#[test]
fn settings_may_change_on_the_way() {
    let mut text = r#"{"frame": [1280, 720], "output": [360, 640], "max_zoom": 3, "speed": "quick"}"#.to_owned() + "\n";
    text += &trace(8.0, 1, |_| vec![[0.4, 0.4, 0.1, 0.3]]);
    text += "\n{\"mode\": \"manual\", \"manual_crop\": [0.5, 0.5, 0.25, 0.5]}\n";
    text += r#"{"t": 8, "people": null}"#;
    text += "\n{\"t\": 8.2, \"people\": null}\n{\"t\": 8.4, \"people\": null}\r\n{\"t\": 8.6, \"people\": []}\n";
    text += "{\"t\": 8.8, \"people\": []}";
    let lines = direct(&text);
    let narrow = lines[230].crop;
    assert!((narrow[2] * 1280.0 / (narrow[3] * 720.0) - 9.0 / 16.0).abs() < 0.01, "{narrow:?}");
    // A crop is not smaller than the output over 1.5: 640 / 1.5 = 426.7 rows, which is less zoom
    // than the 3 allowed. The next even height is 428, 0.594 of the frame.
    assert!((narrow[3] * 720.0 - 428.0).abs() < 0.1, "{narrow:?}");
    let last = lines.last().unwrap();
    assert_eq!((last.state.as_str(), last.t), ("converged", 8.8));
    // The smallest crop of 9:16 that holds a quarter of the width is 569 rows high, moved up to
    // stay in the frame.
    let [x, y, width, height] = last.crop;
    assert!(x <= 0.5 + 1e-3 && x + width >= 0.75 - 1e-3, "{last:?}");
    assert!(y <= 0.5 + 1e-3 && y + height >= 1.0 - 1e-3 && height < 0.8, "{last:?}");
}

#[test]
fn numbers_come_back_as_they_came() {
    let mut output = Vec::new();
    let input = "\u{feff}{\"t\": 3, \"people\": null}\n\n  \n{\"t\": 3.10, \"people\": []}\n";
    run(input.as_bytes(), &mut output).unwrap();
    let lines = String::from_utf8(output).unwrap();
    let expected = concat!(
        "{\"t\": 3, \"crop\": [0.0,0.0,1.0,1.0], \"state\": \"lost\"}\n",
        "{\"t\": 3.1, \"crop\": [0.0,0.0,1.0,1.0], \"state\": \"lost\"}\n"
    );
    assert_eq!(lines, expected);
    assert!(direct("").is_empty());
}

#[test]
fn bad_lines_are_named() {
    let good = "{\"t\": 0, \"people\": []}\n{\"t\": 1, \"people\": [[0.1, 0.1, 0.2, 0.2]]}\n";
    let bad = [
        "nonsense",
        "[1, 2]",
        "{}x",
        r#"{"t": 2}"#,
        r#"{"people": []}"#,
        r#"{"t": "2", "people": []}"#,
        r#"{"t": null, "people": []}"#,
        r#"{"t": -1, "people": []}"#,
        r#"{"t": 1e300, "people": []}"#,
        r#"{"t": 1e12, "people": []}"#,
        r#"{"t": 1e999, "people": []}"#,
        r#"{"t": 2, "people": {}}"#,
        r#"{"t": 2, "people": [[1, 2, 3]]}"#,
        r#"{"t": 2, "people": [[1, 2, 3, 4, 5]]}"#,
        r#"{"t": 2, "people": [[0, 0, "1", 1]]}"#,
        r#"{"t": 2, "people": [[0, 0, -1, 1]]}"#,
        r#"{"t": 2, "people": [[0, 0, 1, 1e300]]}"#,
        r#"{"t": 2, "people": [null]}"#,
        r#"{"max_zom": 2}"#,
        r#"{"max_zoom": 5}"#,
        r#"{"max_zoom": "2"}"#,
        r#"{"speed": "fast"}"#,
        r#"{"mode": "auto"}"#,
        r#"{"frame": [0, 0]}"#,
        r#"{"frame": [-1, 5]}"#,
        r#"{"frame": [100000, 100000]}"#,
        r#"{"output": [2, 30000]}"#,
        r#"{"manual_crop": [0, 0, 2, 2]}"#,
        r#"{"t": 2, "people": [], "t": }"#,
    ];
    for line in bad {
        let (error, written) = failure(&format!("{good}{line}\n"));
        assert!(error.to_string().starts_with("line 3: "), "{line}: {error}");
        assert_eq!(written, 2, "{line}: the lines before are answered");
        let (error, written) = failure(line);
        assert!(error.to_string().starts_with("line 1: ") && written == 0, "{line}: {error}");
    }
    let mut output = Vec::new();
    let error = run(&b"{\"t\": 0, \"people\": []}\n\xff\xfe\n"[..], &mut output).unwrap_err();
    assert!(error.to_string().starts_with("line 2: "), "{error}");
    let error = run(good.as_bytes(), &mut [0u8; 10][..]).unwrap_err();
    assert!(matches!(error, TraceError::Write(_)), "{error}");
}

#[test]
fn odd_frames_have_a_default_output_of_their_aspect() {
    for (frame, whole) in
        [([1366, 768], [1.0, 1.0]), ([640, 480], [1.0, 1.0]), ([720, 1280], [1.0, 1.0]), ([500, 500], [1.0, 1.0])]
    {
        let lines = direct(&format!("{{\"frame\": {frame:?}}}\n{{\"t\": 0, \"people\": null}}"));
        assert_eq!(lines[0].crop[2..], whole, "{frame:?}");
    }
    let crowd = vec![[0.1, 0.1, 0.2, 0.2]; 5000];
    let line = serde_json::json!({"t": 0, "people": crowd});
    assert_eq!(direct(&line.to_string()).len(), 1);
}
