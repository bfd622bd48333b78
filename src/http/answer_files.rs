//! Answer files on their way out: their Secrets and ConfigMaps are read at the
//! moment that a machine asks, and kept nowhere. Shell.

use std::sync::{Arc, Mutex, PoisonError};

use super::passwords::Passwords;
use super::release::{Granted, Ledger, Refused};
use crate::api::NameRef;
use crate::artifact::secrets::Secrets;
use crate::clock;
use crate::script::{SecretValues, Values, render_config};
use crate::snapshot::ObjectName;

/// Makes answer files, and knows the passwords of menus: all that takes Secrets.
/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct AnswerFiles {
    secrets: Secrets,
    config_maps: Secrets,
    ledger: Arc<Mutex<Ledger>>,
    passwords: Passwords,
}

impl AnswerFiles {
    /// With the places of Secrets and ConfigMaps.
    #[must_use]
    pub fn new(secrets: Secrets, config_maps: Secrets) -> Self {
        Self {
            passwords: Passwords::new(secrets.clone()),
            secrets,
            config_maps,
            ledger: Arc::default(),
        }
    }

    /// The passwords of menus.
    pub(super) const fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// The text of the file that was granted.
    ///
    /// # Errors
    /// [`Refused`], and the log has the cause.
    pub(super) async fn text(&self, granted: &Granted) -> Result<String, Refused> {
        let name = &granted.file.name;
        self.ledger().take(granted.boot, name, clock::now())?;
        let text = self.render(granted).await;
        text.map_err(|(refused, cause)| {
            self.ledger().give_back(granted.boot, name);
            tracing::warn!(
                boot = %granted.boot, profile = %granted.profile, file = name,
                reason = refused.as_str(), cause, "an answer file cannot be made"
            );
            refused
        })
    }

    async fn render(&self, granted: &Granted) -> Result<String, (Refused, String)> {
        let (file, namespace) = (&granted.file, &granted.profile.namespace);
        let missing = |cause| (Refused::ValueMissing, cause);
        let mut secrets = Values::new();
        for name in names(namespace, &file.secret_refs) {
            let secret = self.secrets.get(&name).await.map_err(missing)?;
            secrets.insert(name.name, secret.texts());
        }
        let mut includes = Values::new();
        for name in names(namespace, &file.config_map_refs) {
            let map = self.config_maps.config_map(&name).await.map_err(missing)?;
            includes.insert(name.name, map.whole_texts());
        }
        let secrets = SecretValues::Known(&secrets);
        render_config(file, &granted.context, secrets, &includes)
            .map_err(|error| (Refused::TemplateFailed, error.to_string()))
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn names(namespace: &str, refs: &[NameRef]) -> impl Iterator<Item = ObjectName> {
    refs.iter().map(move |named| ObjectName {
        namespace: namespace.to_owned(),
        name: named.name.clone(),
    })
}
