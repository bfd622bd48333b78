//! Answer files: what an installer is told, made for one machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::value::{Object, Serde};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use super::{Context, TemplateError};
use crate::api::{ConfigFile, ConfigKind};

/// Steps that one answer file may take: some twenty for each line of the
/// longest template.
const FUEL: u64 = 500_000;
/// Bytes of an answer file once it is rendered.
const MAX_RENDERED: usize = 1024 * 1024;

/// Texts by object and key.
pub type Values = BTreeMap<String, BTreeMap<String, String>>;

/// What a template gets for the Secrets that it names.
#[derive(Clone, Copy, Debug)]
pub enum SecretValues<'a> {
    /// Their values.
    Known(&'a Values),
    /// What stands for them, to look at a file without having them.
    Hidden,
}

/// Stands for Secrets, for one of them, and for its values.
#[derive(Debug)]
struct Hidden(Option<String>);

/// Renders `file`. `includes` holds what it may include, as ConfigMap and key.
///
/// # Errors
/// [`TemplateError`] says what is wrong; never with the value of a Secret.
pub fn render_config(
    file: &ConfigFile,
    context: &Context,
    secrets: SecretValues<'_>,
    includes: &Values,
) -> Result<String, TemplateError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    // Names with `.json` or `.xml` at their end would have it otherwise.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    let tell = |error: &minijinja::Error| tell(file, error);
    for (map, texts) in includes {
        for (key, text) in texts {
            let added = environment.add_template_owned(format!("{map}/{key}"), text.as_str());
            added.map_err(|error| tell(&error))?;
        }
    }
    let secrets = match secrets {
        SecretValues::Known(values) => Value::from(Serde(values)),
        SecretValues::Hidden => Value::from_object(Hidden(None)),
    };
    let names = BTreeMap::from([
        ("machine", Value::from(Serde(&context.machine))),
        ("params", Value::from(Serde(&context.params))),
        ("server", Value::from(Serde(&context.server))),
        ("boot", Value::from(Serde(&context.boot))),
        ("config", Value::from(Serde(&context.config))),
        ("secrets", secrets),
    ]);
    let mut text = environment
        .render_named_str(&file.name, &file.template, Value::from(names))
        .map_err(|error| tell(&error))?;
    // The last end of line is the template language's to take, but not to keep.
    if file.template.ends_with('\n') {
        text.push('\n');
    }
    if text.len() > MAX_RENDERED {
        let what = format!(
            "{} has {} bytes once it is rendered; {MAX_RENDERED} are the most",
            file.name,
            text.len()
        );
        return Err(TemplateError(what));
    }
    fits(file, &text)?;
    Ok(text)
}

/// What its reader would refuse only when the machine is half way.
fn fits(file: &ConfigFile, text: &str) -> Result<(), TemplateError> {
    if file.kind != ConfigKind::Ignition {
        return Ok(());
    }
    let read: Result<serde_json::Value, _> = serde_json::from_str(text);
    read.map(|_| ()).map_err(|error| {
        // Not the error's words: they may quote what stands there.
        let (line, column) = (error.line(), error.column());
        TemplateError(format!(
            "{} is no JSON once it is rendered, at line {line} column {column}",
            file.name
        ))
    })
}

/// What went wrong and where. The detail may quote a value, so it is told only
/// where there are no Secrets.
fn tell(file: &ConfigFile, error: &minijinja::Error) -> TemplateError {
    let place = error.name().unwrap_or(&file.name);
    let line = error.line().unwrap_or_default();
    let detail = error.detail().filter(|_| file.secret_refs.is_empty());
    let detail = detail.map_or_else(String::new, |detail| format!(": {detail}"));
    TemplateError(format!("{place} line {line}: {}{detail}", error.kind()))
}

// === impl Hidden ===

impl Object for Hidden {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = key.as_str()?;
        Some(match &self.0 {
            None => Value::from_object(Self(Some(key.to_owned()))),
            Some(secret) => Value::from(format!("<{key} of Secret {secret}>")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::NameRef;

    fn file(template: &str) -> ConfigFile {
        ConfigFile {
            name: "user-data".to_owned(),
            kind: ConfigKind::Other,
            template: template.to_owned(),
            secret_refs: Vec::new(),
            config_map_refs: Vec::new(),
        }
    }

    fn values(object: &str, key: &str, text: &str) -> Values {
        let texts = BTreeMap::from([(key.to_owned(), text.to_owned())]);
        BTreeMap::from([(object.to_owned(), texts)])
    }

    fn rendered(file: &ConfigFile) -> Result<String, String> {
        let mut context = Context::default();
        context.machine.name = "node-7".to_owned();
        let secrets = values("join", "token", "s3cr3t");
        let includes = values("texts", "hosts", "host {{ machine.name }}\n");
        render_config(file, &context, SecretValues::Known(&secrets), &includes)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn renders_secrets_and_includes() {
        let text =
            "#cloud-config\n{% include 'texts/hosts' %}\ntoken: {{ secrets['join'].token }}\n";
        let want = "#cloud-config\nhost node-7\ntoken: s3cr3t\n";
        assert_eq!(rendered(&file(text)).as_deref(), Ok(want));
        let shown = render_config(
            &file("{{ secrets.join.token }}"),
            &Context::default(),
            SecretValues::Hidden,
            &Values::new(),
        );
        assert_eq!(shown.as_deref(), Ok("<token of Secret join>"));
    }

    #[test]
    fn what_is_not_there_is_told_with_its_line() {
        let error = rendered(&file("a\n{{ machine.nam }}")).unwrap_err();
        assert_eq!(
            error,
            "user-data line 2: undefined value: `machine.nam` is undefined"
        );
        let error = rendered(&file("{% include 'texts/other' %}")).unwrap_err();
        assert!(
            error.starts_with("user-data line 1: template not found"),
            "{error}"
        );
        assert!(rendered(&file("{{ secrets.join.other }}")).is_err());
    }

    #[test]
    fn no_error_shows_a_secret() {
        let mut file = file("{{ secrets.join.token | int }}");
        file.secret_refs = vec![NameRef {
            name: "join".to_owned(),
        }];
        let error = rendered(&file).unwrap_err();
        assert!(!error.contains("s3cr3t"), "{error}");
    }

    #[test]
    fn ignition_must_be_json_and_an_endless_file_ends() {
        let mut ignition = file("{\"a\": {{ machine.name | tojson }}}");
        ignition.kind = ConfigKind::Ignition;
        assert_eq!(rendered(&ignition).as_deref(), Ok("{\"a\": \"node-7\"}"));
        ignition.template = "{\"a\": {{ machine.name }}}".to_owned();
        assert!(rendered(&ignition).unwrap_err().contains("no JSON"));
        assert!(
            rendered(&file(
                "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"
            ))
            .is_err()
        );
        assert!(
            rendered(&file("{{ 'x' * 2000000 }}"))
                .unwrap_err()
                .contains("bytes")
        );
    }
}
