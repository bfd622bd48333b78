//! Templates: `hostname={{ machine.name }}` in kernel arguments, and whole answer
//! files.

use std::collections::BTreeMap;

use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

/// Steps that one template may take. A line of arguments needs some dozen;
/// this ends a loop that does not.
const FUEL: u64 = 50_000;

/// What templates can name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Context {
    /// `machine.*`
    pub machine: MachineContext,
    /// `params.*`: the Subnet's, overlaid by the profile's, overlaid by the
    /// machine's.
    pub params: BTreeMap<String, String>,
    /// `server.*`
    pub server: ServerContext,
    /// `boot.*`
    pub boot: BootContext,
    /// `config.*`: the URLs of the profile's answer files, by name; empty texts
    /// where the boot is not known.
    pub config: BTreeMap<String, String>,
    /// Where this script is fetched anew; empty for the machine's own.
    /// Templates cannot name it.
    #[serde(skip)]
    pub again: String,
}

/// `machine.*`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MachineContext {
    /// Its name; its MAC with hyphens where no object names it.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The MAC that asks, with colons.
    pub mac: String,
    /// Where its own files begin: `URL/kernel/PATH`, `initrd`, `efi` and `iso`
    /// likewise are files of the artifact tree.
    pub url: String,
    /// Its address.
    pub ip: String,
    /// Its host name: the interface's, else its name.
    pub hostname: String,
    /// The profile it boots.
    pub profile: String,
}

/// `server.*`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServerContext {
    /// Our address as the machine reaches it.
    pub address: String,
    /// The base URL of our HTTP service, without a trailing slash.
    pub http: String,
}

/// `boot.*`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BootContext {
    /// The URL that the system POSTs to once it runs; it holds the boot's
    /// token. Empty where the boot is not known.
    pub phone_home: String,
    /// Where the profile's answer files are, with a slash at its end; empty
    /// likewise.
    pub config: String,
}

/// A template that does not render: why, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(pub String);

/// Renders `template`. A name that is not there is an error, not an empty text.
///
/// # Errors
/// [`TemplateError`] says what is wrong with the template.
pub fn render(template: &str, context: &Context) -> Result<String, TemplateError> {
    if !template.contains("{{") && !template.contains("{%") && !template.contains("{#") {
        return Ok(template.to_owned());
    }
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment
        .render_str(template, minijinja::value::Serde(context))
        .map_err(|error| TemplateError(format!("template `{template}`: {error}")))
}
