//! The last good version of every object, for files that are broken for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::manifest::Loaded;
use crate::api::{Artifact, BootProfile, Kind, Machine, ObjectRef, Problem, Subnet};
use crate::snapshot::{Inputs, check_world};

/// Objects as they were when they were last good.
#[derive(Debug, Default)]
pub(super) struct Kept {
    objects: BTreeMap<ObjectRef, (PathBuf, Object)>,
    /// Whether everything could be read once.
    complete: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Object {
    Subnet(Box<Subnet>),
    Profile(Box<BootProfile>),
    Machine(Arc<Machine>),
    Artifact(Box<Artifact>),
}

// === impl Kept ===

impl Kept {
    /// What is to be served: the objects that were read, and the last good
    /// version of those that cannot be served as they are now, because they or
    /// their file are broken, the folder is gone, or they contradict others.
    /// What is served already wins over what is new. An object that was taken
    /// out of a good file is gone. Says which are retained.
    pub(super) fn merge(&mut self, loaded: &Loaded, paths: &[PathBuf]) -> (Inputs, Vec<String>) {
        let mut inputs = loaded.inputs.clone();
        let bad = loaded.bad_objects();
        self.complete |= loaded.is_whole();
        inputs.incomplete = !self.complete;
        let mut retained = self.restore_lost(loaded, paths, &bad, &mut inputs);
        self.order(&mut inputs);
        retained.extend(self.restore_conflicting(&mut inputs));
        let served = inputs.refs();
        inputs
            .withheld
            .retain(|withheld| !served.contains(&withheld.object));
        inputs
            .withheld_names
            .retain(|withheld| !served.contains(&withheld.object));
        self.remember(loaded, bad, &inputs);
        (inputs, retained)
    }

    /// Puts objects back that cannot be read any more.
    fn restore_lost(
        &self,
        loaded: &Loaded,
        paths: &[PathBuf],
        bad: &BTreeSet<ObjectRef>,
        inputs: &mut Inputs,
    ) -> Vec<String> {
        let broken = loaded.broken_paths();
        let gone: Vec<&PathBuf> = paths.iter().filter(|path| !path.exists()).collect();
        let read = inputs.refs();
        let mut retained = Vec::new();
        for (object, (path, value)) in &self.objects {
            let is_good = read.contains(object) && !bad.contains(object);
            let is_lost = bad.contains(object)
                || loaded.is_cut()
                || broken.iter().any(|broken| path.starts_with(broken))
                || gone.iter().any(|root| path.starts_with(root));
            if is_lost && !is_good {
                replace(inputs, object, value);
                retained.push(object.to_string());
            }
        }
        retained
    }

    /// What is served and unchanged comes first, then what is served and
    /// changed, then what is new: of two that conflict the first one wins.
    fn order(&self, inputs: &mut Inputs) {
        let age = |object: &ObjectRef, now: &Object| match self.objects.get(object) {
            Some((_, before)) if before == now => 0,
            Some(_) => 1,
            None => 2,
        };
        inputs.subnets.sort_by_cached_key(|it| {
            age(
                &ObjectRef::of(Kind::Subnet, &it.metadata),
                &Object::Subnet(Box::new(it.clone())),
            )
        });
        inputs.profiles.sort_by_cached_key(|it| {
            age(
                &ObjectRef::of(Kind::BootProfile, &it.metadata),
                &Object::Profile(Box::new(it.clone())),
            )
        });
        inputs.artifacts.sort_by_cached_key(|it| {
            age(
                &ObjectRef::of(Kind::Artifact, &it.metadata),
                &Object::Artifact(Box::new(it.clone())),
            )
        });
        inputs.machines.sort_by_cached_key(|it| {
            age(
                &ObjectRef::of(Kind::Machine, &it.metadata),
                &Object::Machine(Arc::clone(it)),
            )
        });
    }

    /// Puts objects back that were changed into a contradiction to others.
    fn restore_conflicting(&self, inputs: &mut Inputs) -> Vec<String> {
        let mut retained = Vec::new();
        for object in conflicting(inputs) {
            if let Some((_, value)) = self.objects.get(&object)
                && find(inputs, &object).as_ref() != Some(value)
            {
                replace(inputs, &object, value);
                retained.push(object.to_string());
            }
        }
        retained
    }

    fn remember(&mut self, loaded: &Loaded, mut bad: BTreeSet<ObjectRef>, inputs: &Inputs) {
        let before = std::mem::take(&mut self.objects);
        let mut keep = |object: ObjectRef, value: Object| {
            let path = loaded.path_of(&object).map(Path::to_owned);
            let path = path.or_else(|| before.get(&object).map(|(path, _)| path.clone()));
            self.objects
                .insert(object, (path.unwrap_or_default(), value));
        };
        bad.extend(conflicting(inputs));
        for subnet in &inputs.subnets {
            keep(
                ObjectRef::of(Kind::Subnet, &subnet.metadata),
                Object::Subnet(Box::new(subnet.clone())),
            );
        }
        for profile in &inputs.profiles {
            keep(
                ObjectRef::of(Kind::BootProfile, &profile.metadata),
                Object::Profile(Box::new(profile.clone())),
            );
        }
        for artifact in &inputs.artifacts {
            keep(
                ObjectRef::of(Kind::Artifact, &artifact.metadata),
                Object::Artifact(Box::new(artifact.clone())),
            );
        }
        for machine in &inputs.machines {
            keep(
                ObjectRef::of(Kind::Machine, &machine.metadata),
                Object::Machine(Arc::clone(machine)),
            );
        }
        // What is bad and was never good is nothing to go back to.
        self.objects
            .retain(|object, _| !bad.contains(object) || before.contains_key(object));
    }
}

/// The objects that cannot be served beside the others.
fn conflicting(inputs: &Inputs) -> BTreeSet<ObjectRef> {
    let errors = check_world(inputs).into_iter().filter(Problem::is_error);
    errors.map(|problem| problem.place.object).collect()
}

fn add(inputs: &mut Inputs, object: &Object) {
    match object {
        Object::Subnet(subnet) => inputs.subnets.push((**subnet).clone()),
        Object::Profile(profile) => inputs.profiles.push((**profile).clone()),
        Object::Machine(machine) => inputs.machines.push(Arc::clone(machine)),
        Object::Artifact(artifact) => inputs.artifacts.push((**artifact).clone()),
    }
}

fn replace(inputs: &mut Inputs, object: &ObjectRef, value: &Object) {
    inputs
        .subnets
        .retain(|it| ObjectRef::of(Kind::Subnet, &it.metadata) != *object);
    inputs
        .profiles
        .retain(|it| ObjectRef::of(Kind::BootProfile, &it.metadata) != *object);
    inputs
        .machines
        .retain(|it| ObjectRef::of(Kind::Machine, &it.metadata) != *object);
    inputs
        .artifacts
        .retain(|it| ObjectRef::of(Kind::Artifact, &it.metadata) != *object);
    add(inputs, value);
}

fn find(inputs: &Inputs, object: &ObjectRef) -> Option<Object> {
    match object.kind {
        Kind::Subnet => {
            let found = inputs
                .subnets
                .iter()
                .find(|it| ObjectRef::of(Kind::Subnet, &it.metadata) == *object);
            found.map(|it| Object::Subnet(Box::new(it.clone())))
        }
        Kind::BootProfile => {
            let mut all = inputs.profiles.iter();
            let found = all.find(|it| ObjectRef::of(Kind::BootProfile, &it.metadata) == *object);
            found.map(|it| Object::Profile(Box::new(it.clone())))
        }
        Kind::Machine => {
            let found = inputs
                .machines
                .iter()
                .find(|it| ObjectRef::of(Kind::Machine, &it.metadata) == *object);
            found.map(|it| Object::Machine(Arc::clone(it)))
        }
        Kind::Artifact => {
            let mut all = inputs.artifacts.iter();
            let found = all.find(|it| ObjectRef::of(Kind::Artifact, &it.metadata) == *object);
            found.map(|it| Object::Artifact(Box::new(it.clone())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{read_paths, read_text};
    use super::*;

    const SUBNET: &str = "apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: NAME}
spec: {mode: Server, cidr: CIDR, interface: eth0}
";
    const MACHINE: &str = "apiVersion: reveille.dev/v1alpha1
kind: Machine
metadata: {name: node}
spec: {interfaces: [{mac: \"52:54:00:00:00:07\"}], boot: {policy: POLICY}}
";

    const PROFILE: &str = "apiVersion: reveille.dev/v1alpha1
kind: BootProfile
metadata: {name: linux}
spec: {linux: {kernel: {path: vmlinuz}}}
";

    fn subnet(name: &str, cidr: &str) -> String {
        SUBNET.replace("NAME", name).replace("CIDR", cidr)
    }

    fn load(kept: &mut Kept, text: &str) -> (Inputs, Vec<String>) {
        let loaded = read_text(Path::new("boot.yaml"), text);
        kept.merge(&loaded, &[])
    }

    #[test]
    fn keeps_what_breaks_and_lets_go_what_is_removed() {
        let mut kept = Kept::default();
        load(&mut kept, &MACHINE.replace("POLICY", "Local"));
        let (inputs, retained) = load(&mut kept, &MACHINE.replace("POLICY", "Locl"));
        assert_eq!(retained, ["Machine default/node"]);
        assert_eq!(inputs.machines.len(), 1);
        assert!(inputs.withheld.is_empty());
        let (inputs, _) = load(&mut kept, "{ broken");
        assert_eq!(inputs.machines.len(), 1);
        let (inputs, _) = load(&mut kept, &subnet("lab", "10.0.0.0/24"));
        assert!(inputs.machines.is_empty());
    }

    #[test]
    fn withholds_a_machine_that_was_never_good() {
        let (inputs, _) = load(&mut Kept::default(), &MACHINE.replace("POLICY", "Locl"));
        assert!(inputs.machines.is_empty());
        assert_eq!(inputs.withheld.len(), 1);
        assert!(!inputs.incomplete);
        let (inputs, _) = load(&mut Kept::default(), "{ broken");
        assert!(inputs.incomplete);
    }

    #[test]
    fn lets_what_is_served_win_over_what_is_new_or_changed() {
        let mut kept = Kept::default();
        load(&mut kept, &subnet("old", "10.0.0.0/24"));
        let both = subnet("new", "10.0.0.0/16") + "---\n" + &subnet("old", "10.0.0.0/24");
        let (inputs, retained) = load(&mut kept, &both);
        let first = inputs.subnets[0].metadata.name.clone();
        assert_eq!(first.as_deref(), Some("old"));
        assert!(retained.is_empty());

        let mut kept = Kept::default();
        let apart = subnet("a", "10.0.0.0/24") + "---\n" + &subnet("b", "10.1.0.0/24");
        let apart = apart.replacen("eth0", "eth1", 1);
        load(&mut kept, &apart);
        let (inputs, retained) = load(&mut kept, &apart.replace("10.0.0.0/24", "10.1.0.0/16"));
        assert_eq!(retained, ["Subnet default/a"]);
        let cidrs: Vec<String> = inputs
            .subnets
            .iter()
            .map(|it| it.spec.cidr.unwrap().to_string())
            .collect();
        assert_eq!(cidrs, ["10.1.0.0/24", "10.0.0.0/24"]);
    }

    #[test]
    fn keeps_what_an_empty_file_held_until_the_file_goes() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [folder.path().to_owned()];
        let file = folder.path().join("profile.yaml");
        let mut kept = Kept::default();
        let mut profiles = |text: Option<&str>| {
            match text {
                Some(text) => std::fs::write(&file, text).unwrap(),
                None => std::fs::remove_file(&file).unwrap(),
            }
            let (inputs, retained) = kept.merge(&read_paths(&paths), &paths);
            (inputs.profiles.len(), retained.len())
        };
        assert_eq!(profiles(Some(PROFILE)), (1, 0));
        assert_eq!(profiles(Some("")), (1, 1));
        assert_eq!(profiles(Some("")), (1, 1));
        assert_eq!(profiles(Some("# nothing\n")), (0, 0));
        assert_eq!(profiles(Some(PROFILE)), (1, 0));
        assert_eq!(profiles(None), (0, 0));
    }
}
