//! The last good version of every object, for files that are broken for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kube::ResourceExt as _;

use super::manifest::Loaded;
use crate::api::{BootProfile, Kind, Machine, ObjectRef, Subnet};
use crate::snapshot::Inputs;

/// Objects as they were when they were last good.
#[derive(Debug, Default)]
pub(super) struct Kept {
    objects: BTreeMap<ObjectRef, (PathBuf, Object)>,
}

#[derive(Clone, Debug)]
enum Object {
    Subnet(Box<Subnet>),
    Profile(Box<BootProfile>),
    Machine(Box<Machine>),
}

// === impl Kept ===

impl Kept {
    /// What is to be served: the objects that were read, and the last good
    /// version of those that cannot be read any more, because they or their
    /// file are broken or the folder is gone. An object that was taken out of
    /// a good file is gone. Says which are retained.
    pub(super) fn merge(&mut self, loaded: &Loaded, paths: &[PathBuf]) -> (Inputs, Vec<String>) {
        let mut inputs = loaded.inputs.clone();
        let bad = loaded.bad_objects();
        let unreadable = loaded.broken_paths();
        let gone: Vec<&PathBuf> = paths.iter().filter(|path| !path.exists()).collect();
        let read: BTreeSet<ObjectRef> = refs(&inputs);
        let mut retained = Vec::new();
        for (object, (path, value)) in &self.objects {
            let lost = bad.contains(object)
                || unreadable.contains(path)
                || gone.iter().any(|root| path.starts_with(root));
            let replaced = read.contains(object) && !bad.contains(object);
            if lost && !replaced {
                remove(&mut inputs, object);
                add(&mut inputs, value);
                retained.push(object.to_string());
            }
        }
        self.remember(loaded, &inputs);
        (inputs, retained)
    }

    fn remember(&mut self, loaded: &Loaded, inputs: &Inputs) {
        let before = std::mem::take(&mut self.objects);
        let mut keep = |object: ObjectRef, value: Object| {
            let path = loaded.path_of(&object).map(Path::to_owned);
            let path = path.or_else(|| before.get(&object).map(|(path, _)| path.clone()));
            self.objects
                .insert(object, (path.unwrap_or_default(), value));
        };
        let bad = loaded.bad_objects();
        for subnet in &inputs.subnets {
            keep(
                name(Kind::Subnet, subnet),
                Object::Subnet(Box::new(subnet.clone())),
            );
        }
        for profile in &inputs.profiles {
            keep(
                name(Kind::BootProfile, profile),
                Object::Profile(Box::new(profile.clone())),
            );
        }
        for machine in &inputs.machines {
            keep(
                name(Kind::Machine, machine),
                Object::Machine(Box::new(machine.clone())),
            );
        }
        // What is bad and was never good is nothing to go back to.
        self.objects
            .retain(|object, _| !bad.contains(object) || before.contains_key(object));
    }
}

fn name<T: kube::Resource>(kind: Kind, object: &T) -> ObjectRef {
    let namespace = object.namespace();
    ObjectRef::new(
        kind,
        namespace.as_deref().unwrap_or("default"),
        &object.name_any(),
    )
}

fn refs(inputs: &Inputs) -> BTreeSet<ObjectRef> {
    let subnets = inputs
        .subnets
        .iter()
        .map(|object| name(Kind::Subnet, object));
    let profiles = inputs
        .profiles
        .iter()
        .map(|object| name(Kind::BootProfile, object));
    let machines = inputs
        .machines
        .iter()
        .map(|object| name(Kind::Machine, object));
    subnets.chain(profiles).chain(machines).collect()
}

fn remove(inputs: &mut Inputs, object: &ObjectRef) {
    match object.kind {
        Kind::Subnet => inputs
            .subnets
            .retain(|other| name(Kind::Subnet, other) != *object),
        Kind::BootProfile => inputs
            .profiles
            .retain(|other| name(Kind::BootProfile, other) != *object),
        Kind::Machine => inputs
            .machines
            .retain(|other| name(Kind::Machine, other) != *object),
    }
}

fn add(inputs: &mut Inputs, object: &Object) {
    match object {
        Object::Subnet(subnet) => inputs.subnets.push((**subnet).clone()),
        Object::Profile(profile) => inputs.profiles.push((**profile).clone()),
        Object::Machine(machine) => inputs.machines.push((**machine).clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standalone::read_paths;

    const PROFILE: &str = "\
apiVersion: reveille.dev/v1alpha1
kind: BootProfile
metadata: {name: linux}
spec: {linux: {kernel: {path: vmlinuz}}}
";

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
