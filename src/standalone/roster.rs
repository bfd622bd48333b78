//! The machines that discovery found beside a folder: kept in the state folder,
//! never in the user's. Shell.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::api::{Kind, Machine, ObjectRef};
use crate::boot::MacAddress;
use crate::clock::Millis;
use crate::discover::{self, Facts, Found, Standing, Who};
use crate::files::write_whole;
use crate::snapshot::Inputs;

/// Name of the file in the state folder.
const FILE: &str = "discovered.json";
/// The format; another one is not read.
const VERSION: u32 = 1;
/// Largest file that is read: a hundred times what the limits allow.
const MAX_BYTES: u64 = 64 << 20;

/// The machines; cheap to clone, clones share them.
#[derive(Clone, Debug)]
pub struct Roster {
    inner: Arc<Mutex<Inner>>,
    /// Counts changes that concern what is served.
    version: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    entries: BTreeMap<Who, Entry>,
    unsaved: bool,
    /// Those that an object of the folder names now.
    overruled: Vec<Who>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    namespace: String,
    mac: MacAddress,
    subnet: String,
    approved: bool,
    /// Milliseconds since the Unix epoch, as the others.
    first_seen: u64,
    last_seen: u64,
    requests: u64,
    #[serde(default)]
    facts: Facts,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    machines: Vec<Entry>,
}

// === impl Roster ===

impl Roster {
    /// The machines of the folder `state`. A file that cannot be read is moved
    /// aside and said: whoever it approved is to be approved once more.
    #[must_use]
    pub fn open(state: &Path) -> Self {
        let path = state.join(FILE);
        let entries = match load(&path) {
            Ok(entries) => entries,
            Err(error) => {
                let aside = path.with_extension("json.bad");
                let moved = fs::rename(&path, &aside).is_ok();
                tracing::error!(
                    file = %path.display(), %error,
                    moved_to = moved.then(|| aside.display().to_string()),
                    "the discovered machines cannot be read; approve them anew"
                );
                Vec::new()
            }
        };
        let entries = entries.into_iter().map(|entry| (entry.who(), entry));
        Self {
            inner: Arc::new(Mutex::new(Inner {
                path,
                entries: entries.collect(),
                unsaved: false,
                overruled: Vec::new(),
            })),
            version: watch::Sender::new(0),
        }
    }

    /// Notices of changes to what is served.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// The Machines that are to be served beside `inputs`: all but those whose
    /// MAC address or name an object there has, readable or not.
    #[must_use]
    pub fn beside(&self, inputs: &Inputs) -> Vec<Machine> {
        let mut inner = self.lock();
        let mut machines = Vec::new();
        let mut overruled = Vec::new();
        if inner.entries.is_empty() {
            return machines;
        }
        let known = Known::of(inputs);
        for (who, entry) in &inner.entries {
            match known.overrules(who) {
                None => machines.push(entry.machine()),
                Some(true) => overruled.push(who.clone()),
                Some(false) => {}
            }
        }
        inner.overruled = overruled;
        machines
    }

    /// Approves every machine with this MAC address; says what was done.
    /// Blocks: it is on disk before it is so.
    ///
    /// # Errors
    /// In words: there is none, or it cannot be kept.
    pub fn approve(&self, mac: MacAddress) -> Result<String, String> {
        let mut inner = self.lock();
        let mut after = inner.entries.clone();
        let mut names = Vec::new();
        let mut is_new = false;
        for (who, entry) in after.iter_mut().filter(|(who, _)| who.mac == mac) {
            is_new |= !std::mem::replace(&mut entry.approved, true);
            names.push(format!("{}/{}", who.namespace, discover::name_of(mac)));
        }
        if names.is_empty() {
            return Err(format!(
                "no machine {mac} was discovered; Subnets with `unknownMachines: Discover` discover machines, and one of the manifests is approved there"
            ));
        }
        let names = names.join(", ");
        if !is_new {
            return Ok(format!("{names} is approved already"));
        }
        save(&inner.path, &after)
            .map_err(|error| format!("{} cannot be written: {error}", inner.path.display()))?;
        inner.entries = after;
        inner.unsaved = false;
        drop(inner);
        self.changed();
        Ok(format!("{names} is approved and boots when it asks again"))
    }

    /// Those that wait for approval.
    #[must_use]
    pub fn standing(&self) -> Vec<Standing> {
        let inner = self.lock();
        let waiting = inner.entries.values().filter(|entry| !entry.approved);
        waiting
            .map(|entry| Standing {
                found: entry.found(),
                untouched: true,
            })
            .collect()
    }

    /// Whether it is here already.
    #[must_use]
    pub fn has(&self, who: &Who) -> bool {
        self.lock().entries.contains_key(who)
    }

    /// Takes new machines in, notes what is known of others, and lets go of
    /// those that are over. What was approved meanwhile stays.
    pub fn update(&self, found: &[Found], expired: &[Who]) {
        let mut inner = self.lock();
        let mut is_change = false;
        for found in found {
            let entry = inner.entries.entry(found.who.clone()).or_insert_with(|| {
                is_change = true;
                Entry::of(found)
            });
            entry.note(found);
            inner.unsaved = true;
        }
        let overruled = std::mem::take(&mut inner.overruled);
        let before = inner.entries.len();
        inner.entries.retain(|who, entry| {
            !overruled.contains(who) && (entry.approved || !expired.contains(who))
        });
        is_change |= inner.entries.len() != before;
        inner.unsaved |= is_change;
        drop(inner);
        if is_change {
            self.changed();
        }
    }

    /// Writes what changed to the disk. Blocks.
    ///
    /// # Errors
    /// A disk that is full or read-only; it is tried again the next time.
    pub fn save(&self) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.unsaved {
            save(&inner.path, &inner.entries)?;
            inner.unsaved = false;
        }
        Ok(())
    }

    fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What stands in the way of discovered machines: objects that can be read,
/// and those that cannot now.
#[derive(Default)]
struct Known {
    good: Taken,
    withheld: Taken,
}

#[derive(Default)]
struct Taken {
    objects: BTreeSet<ObjectRef>,
    macs: BTreeSet<Who>,
}

// === impl Known ===

impl Known {
    fn of(inputs: &Inputs) -> Self {
        let mut known = Self::default();
        for machine in &inputs.machines {
            let object = ObjectRef::of(Kind::Machine, &machine.metadata);
            for interface in &machine.spec.interfaces {
                known.good.take(&object, interface.mac);
            }
        }
        for withheld in &inputs.withheld {
            known.withheld.take(&withheld.object, withheld.mac);
        }
        known
    }

    /// Whether an object stands in the way of `who`: `Some(true)` for one that
    /// can be read, `Some(false)` for one that cannot now.
    fn overrules(&self, who: &Who) -> Option<bool> {
        match (self.good.has(who), self.withheld.has(who)) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }
}

// === impl Taken ===

impl Taken {
    fn take(&mut self, object: &ObjectRef, mac: MacAddress) {
        let namespace = object.namespace.clone();
        self.macs.insert(Who { namespace, mac });
        self.objects.insert(object.clone());
    }

    fn has(&self, who: &Who) -> bool {
        let name = discover::name_of(who.mac);
        let object = ObjectRef::new(Kind::Machine, &who.namespace, &name);
        self.macs.contains(who) || self.objects.contains(&object)
    }
}

// === impl Entry ===

impl Entry {
    fn of(found: &Found) -> Self {
        Self {
            namespace: found.who.namespace.clone(),
            mac: found.who.mac,
            subnet: found.subnet.clone(),
            approved: false,
            first_seen: found.first.0,
            last_seen: found.last.0,
            requests: found.asked,
            facts: found.facts.clone(),
        }
    }

    fn note(&mut self, found: &Found) {
        self.subnet.clone_from(&found.subnet);
        self.last_seen = self.last_seen.max(found.last.0);
        self.requests = self.requests.max(found.asked);
        self.facts.clone_from(&found.facts);
    }

    fn who(&self) -> Who {
        Who {
            namespace: self.namespace.clone(),
            mac: self.mac,
        }
    }

    fn found(&self) -> Found {
        Found {
            who: self.who(),
            subnet: self.subnet.clone(),
            facts: self.facts.clone(),
            first: Millis(self.first_seen),
            last: Millis(self.last_seen),
            asked: self.requests,
        }
    }

    fn machine(&self) -> Machine {
        let mut machine = discover::machine(&self.who(), &self.subnet);
        machine.spec.approved = self.approved;
        machine.metadata.creation_timestamp = discover::time(Millis(self.first_seen));
        machine
    }
}

fn load(path: &Path) -> io::Result<Vec<Entry>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let saved: Saved = serde_json::from_reader(BufReader::new(file.take(MAX_BYTES)))?;
    if saved.version != VERSION {
        let what = format!("its format {} is not {VERSION}", saved.version);
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(saved.machines)
}

/// Writes the file: the old one or the new one is there, never half.
fn save(path: &Path, entries: &BTreeMap<Who, Entry>) -> io::Result<()> {
    let saved = Saved {
        version: VERSION,
        machines: entries.values().cloned().collect(),
    };
    write_whole(path, 0o640, &serde_json::to_vec_pretty(&saved)?)
}

#[cfg(test)]
mod tests {
    use super::super::read_text;
    use super::*;

    const MAC: MacAddress = MacAddress::new([0x52, 0x54, 0, 0, 0, 7]);

    fn found() -> Found {
        Found {
            who: Who {
                namespace: "default".to_owned(),
                mac: MAC,
            },
            subnet: "lab".to_owned(),
            facts: Facts::default(),
            first: Millis(1_000_000),
            last: Millis(1_004_000),
            asked: 2,
        }
    }

    fn folder(mac: &str, policy: &str) -> Inputs {
        let text = format!(
            "apiVersion: reveille.dev/v1alpha1\nkind: Machine\nmetadata: {{name: node}}\n\
             spec: {{interfaces: [{{mac: \"{mac}\"}}], boot: {{policy: {policy}}}}}\n"
        );
        read_text(Path::new("boot.yaml"), &text).inputs
    }

    #[test]
    fn keeps_who_was_found_and_who_was_approved() {
        let state = tempfile::tempdir().unwrap();
        let roster = Roster::open(state.path());
        let changes = roster.changes();
        assert!(
            roster
                .approve(MAC)
                .unwrap_err()
                .contains("52:54:00:00:00:07")
        );
        roster.update(&[found()], &[]);
        assert!(changes.has_changed().unwrap());
        roster.save().unwrap();

        let roster = Roster::open(state.path());
        assert_eq!(roster.standing()[0].found, found());
        let waits = roster.beside(&Inputs::default());
        assert_eq!(
            waits[0].metadata.name.as_deref(),
            Some("mac-52-54-00-00-00-07")
        );
        assert!(!waits[0].spec.approved);
        let said = roster.approve(MAC).unwrap();
        assert!(said.contains("default/mac-52-54-00-00-00-07"), "{said}");

        // It is on disk at once, and cleaned up never.
        let roster = Roster::open(state.path());
        assert!(roster.standing().is_empty());
        roster.update(&[], &[found().who]);
        assert!(roster.beside(&Inputs::default())[0].spec.approved);
    }

    #[test]
    fn lets_go_of_those_that_nobody_approved() {
        let state = tempfile::tempdir().unwrap();
        let roster = Roster::open(state.path());
        roster.update(&[found()], &[]);
        roster.update(&[], &[found().who]);
        roster.save().unwrap();
        assert!(Roster::open(state.path()).standing().is_empty());
    }

    #[test]
    fn an_object_of_the_folder_wins() {
        let state = tempfile::tempdir().unwrap();
        let roster = Roster::open(state.path());
        roster.update(&[found()], &[]);
        // One with another MAC address changes nothing, one that cannot be read
        // now hides it, one that can be ends it.
        assert_eq!(
            roster.beside(&folder("52:54:00:00:00:08", "Local")).len(),
            1
        );
        assert!(
            roster
                .beside(&folder("52:54:00:00:00:07", "Lokal"))
                .is_empty()
        );
        roster.update(&[], &[]);
        assert!(roster.has(&found().who));
        assert!(
            roster
                .beside(&folder("52:54:00:00:00:07", "Local"))
                .is_empty()
        );
        roster.update(&[], &[]);
        assert!(!roster.has(&found().who));
    }

    #[test]
    fn moves_a_broken_file_aside() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join(FILE), "{").unwrap();
        let roster = Roster::open(state.path());
        assert!(roster.standing().is_empty());
        assert!(state.path().join("discovered.json.bad").exists());
        roster.update(&[found()], &[]);
        roster.save().unwrap();
        assert_eq!(Roster::open(state.path()).standing().len(), 1);
    }
}
