//! Files to objects.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::folder;
use super::located::Located;
use super::schema::{self, Header, Stray};
use super::source::{SourceFile, Spot};
use super::yaml::{self, YamlError, shown};
use crate::api::{DEFAULT_NAMESPACE, Kind, ObjectRef, Place, Problem, Severity};
use crate::snapshot::{
    Inputs, Withheld, WithheldNames, check_world, validate_artifact, validate_machine,
    validate_profile, validate_subnet,
};

/// Most text that is read in all, in bytes.
pub const MAX_TOTAL_BYTES: usize = 256 * 1024 * 1024;
/// Most values that are read in all, aliases expanded: five times what ten
/// thousand machines need.
pub const MAX_TOTAL_NODES: u64 = 4_000_000;

/// What an object is called that has no name.
const UNNAMED: &str = "(unnamed)";

/// What the files hold.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The objects that could be read, the oldest (by path, then document)
    /// first.
    pub inputs: Inputs,
    /// What is wrong with the files and with single fields. What the objects
    /// mean is not checked yet: see [`Loaded::check`].
    pub problems: Vec<Located>,
    /// The files that were read.
    pub files: Vec<SourceFile>,
    origins: BTreeMap<ObjectRef, Origin>,
    refused: BTreeSet<ObjectRef>,
    /// The namespace of objects that name none.
    namespace: String,
}

/// Where an object was written.
#[derive(Clone, Debug)]
struct Origin {
    file: usize,
    document: usize,
    /// Pointer to the object in its document: empty, or `/items/3` of a list.
    prefix: String,
}

/// Reads all manifests that `paths` name: files, and folders with all that is
/// below them. A mistake costs its own object only. Blocks.
#[must_use]
pub fn read_paths(paths: &[PathBuf]) -> Loaded {
    read_paths_in(paths, DEFAULT_NAMESPACE)
}

/// The same, where objects that name no namespace are in `namespace`.
#[must_use]
pub fn read_paths_in(paths: &[PathBuf], namespace: &str) -> Loaded {
    let (files, problems) = folder::find(paths);
    let mut loaded = Loaded {
        problems,
        namespace: namespace.to_owned(),
        ..Loaded::default()
    };
    let (mut bytes, mut nodes) = (0_usize, 0_u64);
    for path in files {
        match folder::read(&path) {
            Ok(text) => {
                if text.is_empty() {
                    loaded.problems.push(empty(&path));
                }
                bytes = bytes.saturating_add(text.len());
                nodes = nodes.saturating_add(loaded.file(path.clone(), text));
            }
            Err(problem) => loaded.problems.push(*problem),
        }
        if bytes > MAX_TOTAL_BYTES || nodes > MAX_TOTAL_NODES {
            let what = format!(
                "the manifests hold more than {} MiB or {MAX_TOTAL_NODES} values",
                MAX_TOTAL_BYTES >> 20
            );
            let cure = "no file after this one is read; serve fewer objects from one place";
            loaded
                .problems
                .push(Located::path(path, "TooManyManifests", what, cure));
            break;
        }
    }
    loaded
}

/// Reads manifests from a text, as from a file called `path`.
#[must_use]
pub fn read_text(path: &Path, text: &str) -> Loaded {
    let mut loaded = Loaded {
        namespace: DEFAULT_NAMESPACE.to_owned(),
        ..Loaded::default()
    };
    loaded.file(path.to_owned(), text.to_owned());
    loaded
}

// === impl Loaded ===

impl Loaded {
    /// Every mistake there is, in the order of the files: those found on
    /// reading, those that single objects show, and those between them.
    #[must_use]
    pub fn check(&self) -> Vec<Located> {
        let inputs = &self.inputs;
        let single = inputs
            .subnets
            .iter()
            .flat_map(validate_subnet)
            .chain(inputs.profiles.iter().flat_map(validate_profile))
            .chain(inputs.machines.iter().flat_map(validate_machine))
            .chain(inputs.artifacts.iter().flat_map(validate_artifact));
        let world = check_world(inputs)
            .into_iter()
            .filter(|problem| !self.is_about_refused(problem));
        let mut problems = self.problems.clone();
        problems.extend(single.chain(world).map(|problem| self.locate(&problem)));
        problems.sort_by(|a, b| (&a.path, &a.spot).cmp(&(&b.path, &b.spot)));
        problems
    }

    /// The objects that cannot be served as they are written: by their form or
    /// by what they mean on their own.
    #[must_use]
    pub fn bad_objects(&self) -> BTreeSet<ObjectRef> {
        let inputs = &self.inputs;
        let subnets = inputs.subnets.iter().flat_map(validate_subnet);
        let profiles = inputs.profiles.iter().flat_map(validate_profile);
        let machines = inputs.machines.iter().flat_map(validate_machine);
        let artifacts = inputs.artifacts.iter().flat_map(validate_artifact);
        let invalid = subnets
            .chain(profiles)
            .chain(machines)
            .chain(artifacts)
            .filter(Problem::is_error)
            .map(|problem| problem.place.object);
        self.refused.iter().cloned().chain(invalid).collect()
    }

    /// The files and folders that could not be read, or not to their end, or
    /// that hold an object without a name, and files without a byte: an editor
    /// or a shell is not done with them, or the disk is full.
    #[must_use]
    pub fn broken_paths(&self) -> BTreeSet<PathBuf> {
        self.problems
            .iter()
            .filter(|problem| hides_objects(problem) || problem.reason == EMPTY)
            .map(|problem| problem.path.clone())
            .collect()
    }

    /// Whether every object is known by name: no file was broken or left out.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.is_cut() && !self.problems.iter().any(hides_objects)
    }

    /// Whether there is more than is read: files after a limit.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        let mut reasons = self.problems.iter().map(|problem| problem.reason);
        reasons.any(|reason| matches!(reason, "TooManyFiles" | "TooManyManifests"))
    }

    /// The file that an object is written in.
    #[must_use]
    pub fn path_of(&self, object: &ObjectRef) -> Option<&Path> {
        let origin = self.origins.get(object)?;
        let file = self.files.get(origin.file)?;
        Some(&file.path)
    }

    /// A problem of one of these objects, with its place in the files.
    #[must_use]
    pub fn locate(&self, problem: &Problem) -> Located {
        let origin = self.origins.get(&problem.place.object);
        self.locate_at(origin, problem)
    }

    /// A profile or artifact that has mistakes of its own is not missing.
    fn is_about_refused(&self, problem: &Problem) -> bool {
        matches!(problem.reason, "ProfileNotFound" | "ArtifactNotFound")
            && self
                .refused
                .iter()
                .any(|object| problem.what == format!("there is no {object}"))
    }

    fn locate_at(&self, origin: Option<&Origin>, problem: &Problem) -> Located {
        let at_key = schema::points_at_key(problem);
        let related = problem.related.iter().filter_map(|(place, note)| {
            let same = place.object == problem.place.object;
            let origin = origin
                .filter(|_| same)
                .or_else(|| self.origins.get(&place.object));
            Some((self.spot(origin?, place, false)?, note.clone()))
        });
        let file = origin.and_then(|origin| self.files.get(origin.file));
        Located {
            severity: problem.severity,
            reason: problem.reason,
            object: Some(problem.place.object.clone()),
            pointer: problem.place.pointer.clone(),
            what: problem.what.clone(),
            cure: problem.cure.clone(),
            path: file.map(|file| file.path.clone()).unwrap_or_default(),
            spot: origin.and_then(|origin| self.spot(origin, &problem.place, at_key)),
            related: related.collect(),
        }
    }

    fn spot(&self, origin: &Origin, place: &Place, at_key: bool) -> Option<Spot> {
        let document = self
            .files
            .get(origin.file)?
            .documents
            .get(origin.document)?;
        let pointer = format!("{}{}", origin.prefix, place.pointer);
        Some(spot(origin.file, &document.locate(&pointer, at_key)))
    }

    /// Reads one file; returns how many values it holds.
    fn file(&mut self, path: PathBuf, text: String) -> u64 {
        let file = self.files.len();
        let mut parsed = yaml::parse(&text);
        for error in parsed.errors {
            self.problems.push(of_yaml(file, &path, error));
        }
        let documents: Vec<(Value, bool)> = parsed
            .documents
            .iter_mut()
            .map(|document| (std::mem::take(&mut document.value), document.intact))
            .collect();
        let mut source = SourceFile::new(path, text);
        source.documents = parsed.documents;
        self.files.push(source);
        for (document, (value, intact)) in documents.into_iter().enumerate() {
            let origin = Origin {
                file,
                document,
                prefix: String::new(),
            };
            self.document(&origin, value, intact);
        }
        parsed.nodes
    }

    fn document(&mut self, origin: &Origin, mut value: Value, intact: bool) {
        match schema::identify(&value) {
            Ok(Header::Object(kind)) => self.object(origin, kind, value, intact),
            Ok(Header::List) => {
                let Some(Value::Array(items)) = value.get_mut("items").map(Value::take) else {
                    let stray = Stray {
                        reason: "MissingField",
                        pointer: "/items",
                        what: "the list has no `items`".to_owned(),
                        cure: "add them".to_owned(),
                    };
                    self.stray(origin, stray);
                    return;
                };
                for (index, item) in items.into_iter().enumerate() {
                    let item_origin = Origin {
                        prefix: format!("{}/items/{index}", origin.prefix),
                        ..origin.clone()
                    };
                    self.document(&item_origin, item, intact);
                }
            }
            Err(stray) => self.stray(origin, stray),
        }
    }

    fn stray(&mut self, origin: &Origin, stray: Stray) {
        // The object is none of ours: any reference to it is a stand-in.
        let object = ObjectRef::new(Kind::Subnet, "", "");
        let problem = Problem::error(&object, stray.pointer, stray.reason, stray.what, stray.cure);
        let mut located = self.locate_at(Some(origin), &problem);
        located.object = None;
        self.problems.push(located);
    }

    fn object(&mut self, origin: &Origin, kind: Kind, mut value: Value, intact: bool) {
        let metadata = |field: &str| {
            let text = value.get("metadata")?.get(field)?.as_str()?;
            Some(shown(text)).filter(|text| !text.is_empty())
        };
        let object = ObjectRef::new(
            kind,
            &metadata("namespace").unwrap_or_else(|| self.namespace.clone()),
            &metadata("name").unwrap_or_else(|| UNNAMED.to_owned()),
        );
        let mut problems = schema::check(&object, &mut value);
        if !problems.is_empty() && intact {
            problems.extend(deeper(kind, &object, value.clone(), &problems));
        }
        if !intact {
            // What is broken as YAML reads as empty, and was not forgotten.
            problems.retain(|problem| problem.reason != "MissingField");
        }
        if kind == Kind::Machine && (self.origins.contains_key(&object) || !problems.is_empty()) {
            let macs = schema::macs(&value);
            let withheld = macs.map(|mac| Withheld {
                object: object.clone(),
                mac,
            });
            self.inputs.withheld.extend(withheld);
            let names = schema::names(&value).map(|identity| WithheldNames {
                object: object.clone(),
                identity,
            });
            self.inputs.withheld_names.extend(names);
        }
        if self.origins.contains_key(&object) && problems.is_empty() {
            let twice = self.twice(origin, &object);
            self.problems.push(twice);
            return;
        }
        if problems.is_empty()
            && intact
            && let Err(error) = self.admit(&object, value)
        {
            let what = format!("the object cannot be read: {error}");
            problems.push(Problem::error(&object, "", "BadValue", what, ""));
        }
        let located: Vec<Located> = problems
            .iter()
            .map(|problem| self.locate_at(Some(origin), problem))
            .collect();
        self.problems.extend(located);
        if problems.is_empty() && intact {
            self.origins.insert(object, origin.clone());
        } else {
            self.refused.insert(object);
        }
    }

    /// An object of a name that is taken.
    fn twice(&self, origin: &Origin, object: &ObjectRef) -> Located {
        let what = "the object is written twice; the first one is served";
        let cure = "remove one of the two, or give it another name";
        let problem = Problem::error(object, "/metadata/name", "DuplicateObject", what, cure);
        let first = self.origins.get(object);
        let first = first.and_then(|first| self.spot(first, &problem.place, false));
        let mut located = self.locate_at(Some(origin), &problem);
        located.related = first
            .map(|spot| (spot, "first written here".to_owned()))
            .into_iter()
            .collect();
        located
    }

    /// Makes the object part of the inputs. The schema has been through every
    /// field, so a failure here is a rule that the schema does not know.
    fn admit(&mut self, object: &ObjectRef, mut value: Value) -> serde_json::Result<()> {
        if object.namespace != DEFAULT_NAMESPACE {
            value["metadata"]["namespace"] = object.namespace.clone().into();
        }
        let inputs = &mut self.inputs;
        match object.kind {
            Kind::Subnet => inputs.subnets.push(serde_json::from_value(value)?),
            Kind::BootProfile => inputs.profiles.push(serde_json::from_value(value)?),
            Kind::Machine => inputs.machines.push(serde_json::from_value(value)?),
            Kind::Artifact => inputs.artifacts.push(serde_json::from_value(value)?),
        }
        Ok(())
    }
}

/// The reason of [`empty`].
const EMPTY: &str = "EmptyFile";

/// A file without a byte.
fn empty(path: &Path) -> Located {
    let what = "the file is empty".to_owned();
    let mut problem = Located::path(path.to_owned(), EMPTY, what, "write it, or delete it");
    problem.severity = Severity::Warning;
    problem
}

fn of_yaml(file: usize, path: &Path, error: YamlError) -> Located {
    let related = error.related.into_iter();
    Located {
        severity: Severity::Error,
        reason: error.reason,
        object: None,
        pointer: String::new(),
        what: error.what,
        cure: error.cure,
        path: path.to_owned(),
        spot: Some(spot(file, &error.span)),
        related: related
            .map(|(span, note)| (spot(file, &span), note))
            .collect(),
    }
}

const fn spot(file: usize, span: &Range<usize>) -> Spot {
    Spot {
        file,
        start: span.start,
        end: span.end,
    }
}

/// Whether a mistake leaves open which objects there are.
fn hides_objects(problem: &Located) -> bool {
    let object = problem.object.as_ref();
    problem.is_error() && object.is_none_or(|object| object.name == UNNAMED)
}

/// The mistakes in meaning of an object that has others in its form: what is
/// wrong is left out, and what is left is looked at, if it is an object still.
fn deeper(kind: Kind, object: &ObjectRef, mut value: Value, found: &[Problem]) -> Vec<Problem> {
    for problem in found {
        remove(&mut value, &problem.place.pointer);
    }
    if let (Kind::Subnet, Some(spec)) = (kind, value.pointer_mut("/spec")) {
        // What must be there and is wrong: anything that is an object does.
        for (field, stand_in) in [("mode", "Disabled"), ("interface", "eth0")] {
            if spec.get(field).is_none() && spec.is_object() {
                spec[field] = Value::from(stand_in);
            }
        }
    }
    let problems = match kind {
        Kind::Subnet => serde_json::from_value(value).map(|it| validate_subnet(&it)),
        Kind::BootProfile => serde_json::from_value(value).map(|it| validate_profile(&it)),
        Kind::Machine => serde_json::from_value(value).map(|it| validate_machine(&it)),
        Kind::Artifact => serde_json::from_value(value).map(|it| validate_artifact(&it)),
    };
    let is_told = |problem: &Problem| {
        // What stands above or below a place that was left out says nothing new.
        found.iter().any(|known| {
            let (one, other) = (&known.place.pointer, &problem.place.pointer);
            one.starts_with(other.as_str()) || other.starts_with(one.as_str())
        })
    };
    problems
        .unwrap_or_default()
        .into_iter()
        .filter(|problem| !is_told(problem))
        .map(|mut problem| {
            // Its name may be what was left out.
            problem.place.object = object.clone();
            problem
        })
        .collect()
}

/// Takes the value at `pointer` out of its object; out of a list nothing is
/// taken, since that would move its neighbours.
fn remove(value: &mut Value, pointer: &str) {
    if let Some((parent, key)) = pointer.rsplit_once('/')
        && let Some(Value::Object(map)) = value.pointer_mut(parent)
    {
        map.shift_remove(&key.replace("~1", "/").replace("~0", "~"));
    }
}
