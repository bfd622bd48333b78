//! What servers ask for, out of Secrets: of the cluster, or of a folder. Shell.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret as ClusterSecret;
use kube::{Api, Client};

use crate::operator::watch::chain;
use crate::snapshot::ObjectName;

/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of one value; a Secret of a cluster holds a MiB.
const MAX_VALUE: u64 = 1 << 20;
/// The keys that are read.
const KEYS: [&str; 5] = [
    "username",
    "password",
    "token",
    "ca.crt",
    ".dockerconfigjson",
];

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
                let read = move || read_folder(&folder, &name);
                let read = tokio::task::spawn_blocking(read).await;
                read.map_err(|error| error.to_string())?
            }
            Self::Cluster(client) => read_cluster(client, name).await,
        }
    }
}

async fn read_cluster(client: &Client, name: &ObjectName) -> Result<Secret, String> {
    let api: Api<ClusterSecret> = Api::namespaced(client.clone(), &name.namespace);
    let asked = tokio::time::timeout(PATIENCE, api.get_opt(&name.name)).await;
    let asked = asked.map_err(|_| format!("the API server does not answer about Secret {name}"))?;
    match asked {
        Ok(Some(secret)) => {
            let data = secret.data.unwrap_or_default().into_iter();
            Ok(Secret(data.map(|(key, value)| (key, value.0)).collect()))
        }
        Ok(None) => Err(format!("there is no Secret {name}; make it")),
        Err(kube::Error::Api(status)) if status.code == 403 => Err(format!(
            "Secret {name} may not be read; allow the verb get on it to our ServiceAccount: \
             `reveille rbac --secret {}` prints how",
            name.name
        )),
        Err(error) => Err(format!("Secret {name} cannot be read: {}", chain(&error))),
    }
}

fn read_folder(folder: &Path, name: &str) -> Result<Secret, String> {
    let mut values = BTreeMap::new();
    for key in KEYS {
        let places = [
            folder.join(name).join(key),
            folder.join(format!("{name}.{key}")),
        ];
        for place in places {
            let metadata = match fs::metadata(&place) {
                Ok(metadata) if metadata.is_file() => metadata,
                Ok(_) | Err(_) => continue,
            };
            if metadata.len() > MAX_VALUE {
                return Err(format!("{} is too long for a Secret", place.display()));
            }
            let value = fs::read(&place)
                .map_err(|error| format!("{} cannot be read: {error}", place.display()))?;
            values.insert(key.to_owned(), value);
        }
    }
    if values.is_empty() {
        let shown = folder.join(name);
        return Err(format!(
            "there is no Secret {name}; put its values into files in {}",
            shown.display()
        ));
    }
    Ok(Secret(values))
}

impl fmt::Debug for Secrets {
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

    /// A value as it is.
    #[must_use]
    pub fn bytes(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice)
    }
}

impl fmt::Debug for Secret {
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
        let secret = read_folder(folder.path(), "mirror").unwrap();
        assert_eq!(secret.text("token"), Some("abc"));
        assert_eq!(secret.bytes("ca.crt"), Some(b"PEM".as_slice()));
        assert_eq!(secret.text("username"), None);
        assert!(!format!("{secret:?}").contains("abc"));
        let error = read_folder(folder.path(), "none").unwrap_err();
        assert!(error.contains("there is no Secret none"), "{error}");
    }
}
