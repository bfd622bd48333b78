//! `reveille reference`: the resources as a page, from their definitions.

use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

use crate::api::{self, API_VERSION};
use crate::app;

/// Prints the reference of all resources in Markdown: every field, its type,
/// its default and its rules, as `kubectl explain` has them; or of all metrics.
#[derive(Clone, Debug, Default, Args)]
pub struct ReferenceArgs {
    /// What is explained.
    #[arg(value_enum, default_value_t)]
    pub topic: Topic,
}

/// What there is a reference of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Topic {
    /// The custom resources: every field, its type, its default and its rules.
    #[default]
    Resources,
    /// The metrics: every one, its labels and its unit.
    Metrics,
}

impl ReferenceArgs {
    /// Prints it.
    ///
    /// # Errors
    /// Where `out` cannot be written; a metric that the page has no place for.
    pub fn run(&self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let page = match self.topic {
            Topic::Resources => page(),
            Topic::Metrics => super::metrics::page(&app::metrics()?)?,
        };
        out.write_all(page.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

fn page() -> String {
    let mut page = String::from("# The resources\n\n");
    page.push_str("<!-- Made by `make crds`; do not edit. -->\n\n");
    let _ = writeln!(
        page,
        "Every field of `{API_VERSION}`, from the definitions that the cluster has: `kubectl explain` says \
         the same. A field is optional unless it is said to be required. A folder of files is held against \
         the same rules by `reveille check`."
    );
    for crd in api::crds() {
        kind(&mut page, &crd);
    }
    page
}

fn kind(page: &mut String, crd: &CustomResourceDefinition) {
    let names = &crd.spec.names;
    let short: Vec<String> = names.short_names.iter().flatten().cloned().collect();
    let schema = crd.spec.versions.iter().find_map(|version| {
        let schema = version.schema.as_ref()?;
        schema.open_api_v3_schema.as_ref()
    });
    let Some(schema) = schema else { return };
    let description = schema.description.as_deref().unwrap_or_default();
    let _ = write!(page, "\n## {}\n\n{description}\n\n", names.kind);
    let also = if short.is_empty() {
        String::new()
    } else {
        format!(" (or `{}`)", short.join("`, `"))
    };
    let _ = writeln!(page, "`kubectl get {}`{also}", names.plural);
    for part in ["spec", "status"] {
        let found = schema.properties.as_ref().and_then(|all| all.get(part));
        let Some(found) = found else { continue };
        let _ = write!(page, "\n### {}.{part}\n\n", names.kind);
        let _ = write!(page, "| field | type | |\n|---|---|---|\n");
        fields(page, found, "");
        let mut rules = Vec::new();
        collect_rules(found, &mut rules);
        if !rules.is_empty() {
            let _ = write!(page, "\nRefused:\n\n");
            for rule in rules {
                let _ = writeln!(page, "- {rule}");
            }
        }
    }
}

/// A row for each field of an object, and for those below it.
fn fields(page: &mut String, schema: &JSONSchemaProps, at: &str) {
    let required = schema.required.as_deref().unwrap_or_default();
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{at}{name}");
        let mut about = sentence(field);
        if required.contains(name) {
            about = format!("**Required.** {about}");
        }
        if let Some(default) = &field.default {
            about = format!("{about} Default: `{}`.", default.0);
        }
        let _ = writeln!(page, "| `{path}` | {} | {about} |", type_of(field));
        below(page, field, &path);
    }
}

fn below(page: &mut String, field: &JSONSchemaProps, path: &str) {
    if field.properties.is_some() {
        fields(page, field, &format!("{path}."));
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &field.items
        && items.properties.is_some()
    {
        fields(page, items, &format!("{path}[]."));
    }
}

fn sentence(field: &JSONSchemaProps) -> String {
    let text = field.description.as_deref().unwrap_or_default();
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

/// The type as a person says it: `list of text, at most 16`.
fn type_of(field: &JSONSchemaProps) -> String {
    let most = |count: Option<i64>| count.map_or_else(String::new, |n| format!(", at most {n}"));
    if let Some(values) = &field.enum_ {
        let values: Vec<String> = values
            .iter()
            .filter_map(|value| value.0.as_str())
            .map(|value| format!("`{value}`"))
            .collect();
        return values.join(", ");
    }
    match field.type_.as_deref() {
        Some("array") => match &field.items {
            Some(JSONSchemaPropsOrArray::Schema(items)) => {
                format!("list of {}{}", type_of(items), most(field.max_items))
            }
            _ => "list".to_owned(),
        },
        Some("object") => match &field.additional_properties {
            Some(JSONSchemaPropsOrBool::Schema(values)) => {
                format!("map to {}{}", type_of(values), most(field.max_properties))
            }
            _ => "object".to_owned(),
        },
        Some("string") => match field.format.as_deref() {
            Some("ipv4") => "IPv4 address".to_owned(),
            Some("date-time") => "time".to_owned(),
            Some("duration") => "duration".to_owned(),
            Some("cidr") => "IPv4 network".to_owned(),
            _ => "text".to_owned(),
        },
        Some("boolean") => "true or false".to_owned(),
        Some("integer") => match (field.minimum, field.maximum) {
            (Some(low), Some(high)) => format!("number, {low} to {high}"),
            _ => "number".to_owned(),
        },
        other => other.unwrap_or("any").to_owned(),
    }
}

/// What the rules say to one who breaks them.
fn collect_rules(schema: &JSONSchemaProps, rules: &mut Vec<String>) {
    let own = schema.x_kubernetes_validations.iter().flatten();
    for rule in own {
        if let Some(message) = &rule.message
            && !rules.contains(message)
        {
            rules.push(message.clone());
        }
    }
    for field in schema.properties.iter().flatten().map(|(_, field)| field) {
        collect_rules(field, rules);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        collect_rules(items, rules);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        collect_rules(values, rules);
    }
}
