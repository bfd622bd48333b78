use serde_json::json;

use super::*;

fn one(text: &str) -> Document {
    let mut parsed = parse(text);
    assert_eq!(parsed.errors, [], "{text}");
    assert_eq!(parsed.documents.len(), 1, "{text}");
    parsed.documents.remove(0)
}

fn reasons(text: &str) -> Vec<&'static str> {
    parse(text)
        .errors
        .iter()
        .map(|error| error.reason)
        .collect()
}

#[test]
fn reads_documents_and_skips_empty_ones() {
    let parsed = parse("---\n---\na: 1\n---\n# nothing\n---\nb: [x, \"1\", '', |\n");
    assert_eq!(parsed.documents.len(), 1);
    let values: Vec<_> = parse("a: 1\n---\nb: yes\n...\n---\n").documents;
    assert_eq!(values[0].value, json!({"a": 1}));
    assert_eq!(values[1].value, json!({"b": true}));
    assert!(parse("").documents.is_empty());
    assert!(parse("\u{feff}a: 1").errors.is_empty());
}

#[test]
fn knows_where_values_and_keys_stand() {
    let text = "spec:\n  pools:\n  - start: 10.0.0.1   # first\n    end: \"10.0.0.9\"\n  a/b~c: 1\n  empty:\n";
    let document = one(text);
    let at = |range: Range<usize>| &text[range];
    let start = document.spans("/spec/pools/0/start").unwrap();
    assert_eq!(at(start.value), "10.0.0.1");
    assert_eq!(at(start.key.unwrap()), "start");
    let end = document.spans("/spec/pools/0/end").unwrap();
    assert_eq!(at(end.value), "\"10.0.0.9\"");
    let odd = join("/spec", "a/b~c");
    assert_eq!(at(document.spans(&odd).unwrap().value), "1");
    assert_eq!(at(document.locate("/spec/pools", false)), "pools");
    assert_eq!(at(document.locate("/spec/empty", false)), "empty");
    assert_eq!(at(document.locate("/spec/missing/x", false)), "spec");
    assert!(document.spans("/spec/missing").is_none());
}

#[test]
fn tells_all_broken_documents() {
    let text = "a: [1, 2\n---\nfine: true\n---\nb: }\n---\nc: \"open\n";
    let parsed = parse(text);
    assert_eq!(parsed.documents.len(), 1);
    assert_eq!(parsed.errors.len(), 3, "{:?}", parsed.errors);
}

#[test]
fn refuses_a_key_twice_and_points_at_both() {
    let text = "a: 1\nb: 2\na: 3\n";
    let parsed = parse(text);
    let error = &parsed.errors[0];
    assert_eq!(error.reason, "DuplicateKey");
    assert_eq!(
        (error.span.clone(), error.related[0].0.clone()),
        (10..11, 0..1)
    );
    assert!(!parsed.documents[0].intact);
    // 1 and "1" are one JSON name.
    assert_eq!(reasons("1: a\n'1': b\n"), ["DuplicateKey"]);
}

#[test]
fn merges_and_expands() {
    let text = "base: &b {x: 1, y2: 2}\nmore: &m {x: 5, z: 6}\na:\n  <<: *b\n  x: 3\nb:\n  x: 3\n  <<: [*b, *m]\nc: *b\n\"<<\": text\n";
    let document = one(text);
    assert_eq!(document.value["a"], json!({"x": 3, "y2": 2}));
    assert_eq!(document.value["b"], json!({"x": 3, "y2": 2, "z": 6}));
    assert_eq!(document.value["c"], json!({"x": 1, "y2": 2}));
    assert_eq!(document.value["<<"], json!("text"));
    let merged = document.spans("/a/y2").unwrap();
    assert_eq!(&text[merged.value], "2");
    assert_eq!(reasons("a:\n  <<: 5\n"), ["BadMerge"]);
}

#[test]
fn refuses_what_has_no_meaning() {
    for (text, reason) in [
        ("a: *none", "UnknownAlias"),
        ("a: &a [*a]", "RecursiveAlias"),
        ("? [a]\n: b", "BadKey"),
        ("~: b", "BadKey"),
        ("a: .nan", "UnsupportedNumber"),
        ("a: !vault x", "UnknownTag"),
        ("a: !!set {b}", "UnknownTag"),
        ("a: !!int x", "WrongTag"),
        ("a: !!binary aGk=", "UnknownTag"),
        ("a:\n\tb: 1", "Syntax"),
        ("a: @b", "Syntax"),
    ] {
        assert_eq!(reasons(text), [reason], "{text}");
    }
    assert_eq!(
        one("a: !!str 12\nb: !!seq [x]\n5: !!map {}").value,
        json!({"a": "12", "b": ["x"], "5": {}})
    );
}

#[test]
fn refuses_bombs_at_once() {
    let mut laughs = "a0: &a0 [l,l,l,l,l,l,l,l,l]\n".to_owned();
    for level in 1..12 {
        let item = format!("*a{}", level - 1);
        laughs += &format!("a{level}: &a{level} [{}]\n", vec![item; 9].join(","));
    }
    assert_eq!(reasons(&laughs), ["TooManyValues"]);
    assert_eq!(reasons(&"[".repeat(100_000)), ["TooDeep"]);
    assert_eq!(reasons(&"{a: ".repeat(100_000)), ["TooDeep"]);
    assert_eq!(reasons(&"- ".repeat(100_000)), ["TooDeep"]);
    // Deep by aliases only.
    let mut deep = "a0: &a0 [x]\n".to_owned();
    for level in 1..200 {
        deep += &format!("a{level}: &a{level} [*a{}]\n", level - 1);
    }
    assert_eq!(reasons(&deep), ["TooDeep"]);
    // Wide by one long text.
    let text = "x".repeat(1 << 20);
    let wide = format!("t: &t {text}\nl: [{}]\n", vec!["*t"; 200].join(","));
    assert_eq!(reasons(&wide), ["TooManyValues"]);
    assert_eq!(
        reasons(&format!("[{}]", "1,".repeat(1_100_000))),
        ["TooManyValues"]
    );
    // A long key over many values: pointers would be gigabytes.
    let key = "k".repeat(1 << 20);
    let document = one(&format!("? {key}\n: [{}]\n", "1,".repeat(10_000)));
    assert!(document.spans(&format!("/{key}/9999")).is_some());
}

#[test]
fn gives_up_on_a_file_of_mistakes() {
    let parsed = parse(&"---\n]\n".repeat(10_000));
    assert_eq!(parsed.errors.len(), MAX_ERRORS + 1);
    assert_eq!(parsed.errors.last().unwrap().reason, "TooManyMistakes");
}

#[test]
fn reads_a_line_of_ten_megabytes() {
    let long = "x".repeat(10 << 20);
    for text in [
        format!("a: {long}\nb: 1\n"),
        format!("a: \"{long}\"\nb: 1\n"),
        format!("{{\"a\": \"{long}\", \"b\": 1}}"),
    ] {
        let document = one(&text);
        assert_eq!(document.value["a"].as_str().unwrap().len(), 10 << 20);
        assert_eq!(document.value["b"], 1);
    }
}
