//! Secrets and ConfigMaps, of the cluster or of a folder: what servers ask for,
//! and what answer files name. Shell.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret as ClusterSecret};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client};
use serde::de::DeserializeOwned;

use crate::operator::watch::chain;
use crate::snapshot::ObjectName;

/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of one value; a Secret of a cluster holds a MiB.
const MAX_VALUE: u64 = 1 << 20;
/// Most keys of one Secret that are read.
const MAX_KEYS: usize = 64;

/// Where Secrets are.
#[derive(Clone, Default)]
pub enum Secrets {
    /// Nowhere: none was named.
    #[default]
    None,
    /// In a folder: `NAME/KEY`, or `NAME.KEY` as systemd has credentials.
    Folder(PathBuf),
    /// In the cluster.
    Cluster(Client),
}

/// One Secret. Its values are shown nowhere.
#[derive(Clone, Default)]
pub struct Secret(BTreeMap<String, Vec<u8>>);

// === impl Secrets ===

impl Secrets {
    /// The Secret of this name.
    ///
    /// # Errors
    /// It is not there, or must not be read, in words that name the cure.
    pub async fn get(&self, name: &ObjectName) -> Result<Secret, String> {
        match self {
            Self::None => Err(format!(
                "there is no Secret {}: name the folder of Secrets by --secrets",
                name.name
            )),
            Self::Folder(folder) => {
                let (folder, name) = (folder.clone(), name.name.clone());
                let read = move || read_folder(&folder, "Secret", &name);
                let read = tokio::task::spawn_blocking(read).await;
                read.map_err(|error| error.to_string())?
            }
            Self::Cluster(client) => read_cluster(client, name).await,
        }
    }

    /// The ConfigMap of this name.
    ///
    /// # Errors
    /// Likewise.
    pub async fn config_map(&self, name: &ObjectName) -> Result<Secret, String> {
        match self {
            Self::None => Err(format!(
                "there is no ConfigMap {}: name the folder of ConfigMaps by --config-maps",
                name.name
            )),
            Self::Folder(folder) => {
                let (folder, name) = (folder.clone(), name.name.clone());
                let read = move || read_folder(&folder, "ConfigMap", &name);
                let read = tokio::task::spawn_blocking(read).await;
                read.map_err(|error| error.to_string())?
            }
            Self::Cluster(client) => read_config_map(client, name).await,
        }
    }
}

async fn read_cluster(client: &Client, name: &ObjectName) -> Result<Secret, String> {
    let secret: ClusterSecret = ask(client, name, ("Secret", "secret")).await?;
    let data = secret.data.unwrap_or_default().into_iter();
    Ok(Secret(data.map(|(key, value)| (key, value.0)).collect()))
}

async fn read_config_map(client: &Client, name: &ObjectName) -> Result<Secret, String> {
    let map: ConfigMap = ask(client, name, ("ConfigMap", "config-map")).await?;
    let texts = map.data.unwrap_or_default().into_iter();
    let texts = texts.map(|(key, text)| (key, text.into_bytes()));
    let bytes = map.binary_data.unwrap_or_default().into_iter();
    let bytes = bytes.map(|(key, value)| (key, value.0));
    Ok(Secret(bytes.chain(texts).collect()))
}

/// Asks for one object of the cluster.
async fn ask<K>(client: &Client, name: &ObjectName, named: (&str, &str)) -> Result<K, String>
where
    K: kube::Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    K::DynamicType: Default,
{
    let (kind, flag) = named;
    let api: Api<K> = Api::namespaced(client.clone(), &name.namespace);
    let asked = tokio::time::timeout(PATIENCE, api.get_opt(&name.name)).await;
    let asked = asked.map_err(|_| format!("the API server does not answer about {kind} {name}"))?;
    match asked {
        Ok(Some(object)) => Ok(object),
        Ok(None) => Err(format!("there is no {kind} {name}; make it")),
        Err(kube::Error::Api(status)) if status.code == 403 => Err(format!(
            "{kind} {name} may not be read; allow the verb get on it to our ServiceAccount: \
             `reveille rbac --{flag} {}` prints how",
            name.name
        )),
        Err(error) => Err(format!("{kind} {name} cannot be read: {}", chain(&error))),
    }
}

fn read_folder(folder: &Path, kind: &str, name: &str) -> Result<Secret, String> {
    let mut values = BTreeMap::new();
    for (key, place) in places(folder, name) {
        let metadata = match fs::metadata(&place) {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) | Err(_) => continue,
        };
        if metadata.len() > MAX_VALUE {
            return Err(format!("{} is too long for a {kind}", place.display()));
        }
        if values.len() >= MAX_KEYS {
            return Err(format!("{kind} {name} has more than {MAX_KEYS} files"));
        }
        let value = fs::read(&place)
            .map_err(|error| format!("{} cannot be read: {error}", place.display()))?;
        values.insert(key, value);
    }
    if values.is_empty() {
        let shown = folder.join(name);
        return Err(format!(
            "there is no {kind} {name}; put its values into files in {}",
            shown.display()
        ));
    }
    Ok(Secret(values))
}

/// Keys and where their values are: `NAME/KEY`, which win, and `NAME.KEY`.
fn places(folder: &Path, name: &str) -> BTreeMap<String, PathBuf> {
    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok())
    };
    let prefix = format!("{name}.");
    let credentials = names(folder).filter_map(|file| {
        let key = file.strip_prefix(&prefix)?.to_owned();
        Some((key, folder.join(file)))
    });
    let own = folder.join(name);
    // A volume of Kubernetes keeps its versions in `..data` and such.
    let files = names(&own).filter(|key| !key.starts_with(".."));
    let files = files.map(|key| (key.clone(), own.join(key)));
    credentials.chain(files).collect()
}

impl Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Folder(folder) => f.debug_tuple("Folder").field(folder).finish(),
            Self::Cluster(_) => f.write_str("Cluster"),
        }
    }
}

// === impl Secret ===

impl Secret {
    /// A value as text, without the end of line that editors add.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        let text = std::str::from_utf8(self.0.get(key)?).ok()?;
        let text = text.trim_end_matches(['\n', '\r']);
        (!text.is_empty()).then_some(text)
    }

    /// All values that are text, without the end of line that editors add.
    #[must_use]
    pub fn texts(&self) -> BTreeMap<String, String> {
        let keys = self.0.keys();
        let texts = keys.filter_map(|key| Some((key.clone(), self.text(key)?.to_owned())));
        texts.collect()
    }

    /// All values that are text, as they are.
    #[must_use]
    pub fn whole_texts(&self) -> BTreeMap<String, String> {
        let texts = self.0.iter().filter_map(|(key, value)| {
            let text = std::str::from_utf8(value).ok()?;
            Some((key.clone(), text.to_owned()))
        });
        texts.collect()
    }

    /// A value as it is.
    #[must_use]
    pub fn bytes(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice)
    }
}

impl Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_folders_and_credentials() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("mirror")).unwrap();
        fs::write(folder.path().join("mirror/token"), "abc\n").unwrap();
        fs::write(folder.path().join("mirror.ca.crt"), "PEM").unwrap();
        let secret = read_folder(folder.path(), "Secret", "mirror").unwrap();
        assert_eq!(secret.text("token"), Some("abc"));
        assert_eq!(secret.bytes("ca.crt"), Some(b"PEM".as_slice()));
        assert_eq!(secret.text("username"), None);
        assert!(!format!("{secret:?}").contains("abc"));
        fs::create_dir(folder.path().join("mirror/..data")).unwrap();
        fs::write(folder.path().join("mirror.token"), "old").unwrap();
        let map = read_folder(folder.path(), "ConfigMap", "mirror").unwrap();
        assert_eq!(map.whole_texts()["token"], "abc\n");
        assert_eq!(map.texts().len(), 2);
        let error = read_folder(folder.path(), "Secret", "none").unwrap_err();
        assert!(error.contains("there is no Secret none"), "{error}");
    }
}
