//! One mistake, two judges: the API server and `reveille check` refuse the same, in the same words.
//!
//! What both say is in `tests/manifests/verdicts.txt`; `UPDATE_GOLDEN=1` writes it anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use reveille::api;
use reveille::standalone::read_text;

use crate::stage::Stage;
use crate::verdicts::{Outcome, Verdict, manifests, verdicts};

/// Mistakes that `check` finds and the API server cannot: its reason for one, where that stands, and why.
const NOT_THE_SERVERS: [(&str, &str, &str); 8] = [
    ("ArtifactNotFound", "", BETWEEN),
    ("ProfileNotFound", "", BETWEEN),
    ("MenuCircle", "", BETWEEN),
    ("UnknownVariable", "", TEMPLATES),
    ("BadTemplate", "", TEMPLATES),
    ("BadRange", "/spec/ipv6/pools/", ORDER),
    ("PoolsOverlap", "/spec/ipv6/pools/", ORDER),
    (
        "ForeignObject",
        "",
        "a cluster has other kinds, our files have not",
    ),
];
const BETWEEN: &str = "between objects; a condition says it";
const TEMPLATES: &str = "no CEL reads templates; a condition says it";
const ORDER: &str = "CEL knows no order of IPv6 addresses; a condition says it";

/// Mistakes of form: the API server has words of its own for them, and where it finds one it looks no
/// further. All others are said by rules of ours, all at once.
const OF_FORM: [&str; 17] = [
    "Duplicate",
    "DuplicateKey",
    "Empty",
    "MissingField",
    "NotAnObject",
    "NotServed",
    "OutOfRange",
    "Syntax",
    "TooFew",
    "TooLong",
    "TooMany",
    "UnknownAlias",
    "UnknownField",
    "UnknownKind",
    "UnknownValue",
    "UnknownVersion",
    "WrongType",
];

/// A mistake, as `check` tells it.
struct Told {
    reason: &'static str,
    pointer: String,
    /// What is wrong and the cure, as one sentence.
    sentence: String,
}

/// Both refuse the same documents of `tests/manifests/invalid`; each rule of the definitions is broken
/// by one of them at least.
pub(super) fn invalid(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let seen = verdicts(
        stage.plane,
        &stage.namespace,
        &manifests("tests/manifests/invalid")?,
    )?;
    let mut wrong = Vec::new();
    let mut excused = BTreeSet::new();
    let mut table = String::new();
    for verdict in &seen {
        let all = told(&verdict.text);
        let (excuses, told): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|one| why_not(one).is_some());
        excused.extend(excuses.iter().map(|one| one.reason));
        wrong.extend(
            differences(verdict, &told)
                .into_iter()
                .map(|difference| format!("{verdict}\n  {difference}")),
        );
        row(&mut table, verdict, &told, &excuses)?;
    }
    let words: Vec<_> = seen.iter().flat_map(sentences).collect();
    let rules = messages();
    let silent = rules
        .iter()
        .filter(|rule| !words.iter().any(|one| fits(rule, one)));
    wrong.extend(silent.map(|rule| format!("no fixture breaks the rule: {rule}")));
    let stale = NOT_THE_SERVERS
        .iter()
        .filter(|(reason, ..)| !excused.contains(reason));
    wrong.extend(stale.map(|(reason, ..)| format!("{reason} is not met: take it off the list")));
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    golden(&table)?;
    Ok(vec![format!(
        "{} documents judged alike; {} rules broken",
        seen.len(),
        rules.len()
    )])
}

/// Where the form is wrong the server stops at the first mistake: it must be one of those told.
fn strange_refusal(verdict: &Verdict, told: &[Told]) -> Vec<String> {
    let (Outcome::Server(words) | Outcome::Client(words)) = &verdict.outcome else {
        return Vec::new();
    };
    let named = told.iter().any(|one| match one.pointer.rsplit('/').next() {
        Some("apiVersion") => words.contains("version") || words.contains("apiVersion"),
        Some(field) if !field.is_empty() && !field.starts_with(|c: char| c.is_ascii_digit()) => {
            words.contains(field)
        }
        _ => true,
    });
    let strange = format!("the server is after something else: {words}");
    if named { Vec::new() } else { vec![strange] }
}

impl Told {
    fn is_of_form(&self) -> bool {
        OF_FORM.contains(&self.reason) || self.pointer.starts_with("/metadata/")
    }
}

/// Every error that `check` has for one document.
fn told(text: &str) -> Vec<Told> {
    let problems = read_text(Path::new("x.yaml"), text).check();
    let errors = problems
        .into_iter()
        .filter(reveille::standalone::Located::is_error);
    errors
        .map(|problem| {
            // The form of a value is told with its field before it.
            let what = match problem.what.split_once("`: `") {
                Some((_, rest)) if problem.reason == "BadValue" => format!("`{rest}"),
                _ => problem.what,
            };
            let sentence = match problem.cure.as_str() {
                "" => what,
                cure => format!("{what}; {cure}"),
            };
            Told {
                reason: problem.reason,
                pointer: problem.pointer,
                sentence,
            }
        })
        .collect()
}

fn why_not(told: &Told) -> Option<&'static str> {
    let found = NOT_THE_SERVERS
        .iter()
        .find(|(of, at, _)| *of == told.reason && told.pointer.starts_with(at));
    found.map(|(_, _, why)| *why)
}

/// What the two say differently.
fn differences(verdict: &Verdict, told: &[Told]) -> Vec<String> {
    let refused = verdict.outcome != Outcome::Accepted;
    if refused == told.is_empty() {
        let first = told.first().map_or("nothing", |one| one.sentence.as_str());
        return vec![format!("check says: {first}")];
    }
    if told.iter().any(Told::is_of_form) {
        return strange_refusal(verdict, told);
    }
    let said = sentences(verdict);
    let strange = said
        .iter()
        .filter(|words| !told.iter().any(|one| same(&one.sentence, words)));
    let mut wrong: Vec<_> = strange
        .map(|words| format!("check does not say: {words}"))
        .collect();
    // One rule may speak for several places.
    let cure = |sentence: &str| sentence.rsplit_once("; ").map(|(_, cure)| cure.to_owned());
    let missing = told.iter().filter(|one| {
        let spoken = |words: &String| {
            same(&one.sentence, words)
                || (cure(&one.sentence).is_some() && cure(&one.sentence) == cure(words))
        };
        !said.iter().any(spoken)
    });
    wrong.extend(missing.map(|one| format!("the server does not say: {}", one.sentence)));
    wrong
}

/// Whether the server's words are the sentence. A value that would break the line is left out of them,
/// and `check` shows control characters as they are written.
fn same(sentence: &str, words: &str) -> bool {
    let shown: String = words
        .chars()
        .flat_map(|c| {
            let text = if c.is_control() {
                c.escape_debug().to_string()
            } else {
                c.to_string()
            };
            text.chars().collect::<Vec<_>>()
        })
        .collect();
    shown == sentence || (words.contains('…') && fits(words, sentence))
}

/// Whether `text` is `pattern` with something in place of each `…`.
fn fits(pattern: &str, text: &str) -> bool {
    let mut rest = text;
    let mut parts = pattern.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(tail) = rest.strip_prefix(first) else {
        return false;
    };
    rest = tail;
    let mut last = first;
    for part in parts {
        last = part;
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || last.is_empty()
}

/// The sentences of a refusal, without the fields and values before them.
fn sentences(verdict: &Verdict) -> Vec<String> {
    let Outcome::Server(words) = &verdict.outcome else {
        return Vec::new();
    };
    let Some((_, words)) = words.split_once(" is invalid: ") else {
        return Vec::new();
    };
    let lines = words.split(" / ").map(|line| line.trim_start_matches("* "));
    lines
        .filter_map(|line| {
            let (_, said) = line.split_once(": Invalid value: ")?;
            // Texts are said before the sentence, in quotes.
            let text = said
                .starts_with('"')
                .then(|| said.split_once("\": "))
                .flatten();
            Some(text.map_or(said, |(_, sentence)| sentence).to_owned())
        })
        .filter(|said| !said.starts_with("null: "))
        .collect()
}

/// The messages of all rules that people can break, each once.
fn messages() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for kind in api::Kind::ALL {
        for version in api::crd(kind).spec.versions {
            let schema = version.schema.and_then(|schema| schema.open_api_v3_schema);
            schema.iter().for_each(|schema| collect(schema, &mut found));
        }
    }
    found
}

fn collect(schema: &JSONSchemaProps, found: &mut BTreeSet<String>) {
    for rule in schema.x_kubernetes_validations.iter().flatten() {
        found.extend(rule.message.clone());
    }
    for schema in schema.properties.iter().flat_map(|fields| fields.values()) {
        collect(schema, found);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        collect(items, found);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        collect(values, found);
    }
}

/// What both say of one document.
fn row(table: &mut String, verdict: &Verdict, told: &[Told], excuses: &[Told]) -> Result<()> {
    let Verdict {
        file,
        document,
        object,
        outcome,
        ..
    } = verdict;
    let file = file.trim_start_matches("tests/manifests/invalid/");
    writeln!(table, "{file} #{document} {object}")?;
    for Told {
        pointer, sentence, ..
    } in told
    {
        writeln!(table, "  check   {pointer}: {sentence}")?;
    }
    for one in excuses {
        let why = why_not(one).unwrap_or_default();
        let Told {
            pointer, sentence, ..
        } = one;
        writeln!(table, "  check   {pointer}: {sentence} ({why})")?;
    }
    let words = match outcome {
        Outcome::Accepted => "accepted",
        Outcome::Server(words) | Outcome::Client(words) => words,
    };
    let mut lines: Vec<_> = words.split(" / ").map(str::trim).collect();
    // The order of the server's complaints is another one each time.
    lines.sort_by_key(|line| line.strip_prefix("* "));
    for line in lines {
        let line = line.trim_start_matches("* ").replace(char::is_control, " ");
        writeln!(table, "  server  {line}")?;
    }
    writeln!(table)?;
    Ok(())
}

fn golden(table: &str) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests/verdicts.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, table)?;
    }
    let known = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let changed = table
        .lines()
        .zip(known.lines())
        .find(|(new, old)| new != old);
    ensure!(
        table == known,
        "tests/manifests/verdicts.txt is not up to date (UPDATE_GOLDEN=1 writes it): {changed:?}"
    );
    Ok(())
}
