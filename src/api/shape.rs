//! From the schemas that the types give to those that a cluster gets.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

use super::rules::{At, Syntax};

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// In what a person writes.
    Spec,
    /// There, in the item of a list.
    Item,
    /// In what Reveille writes.
    Status,
}

/// Finishes a definition: `rules` are added to the spec, and all that the
/// derives cannot say.
pub(super) fn finish(
    mut crd: CustomResourceDefinition,
    rules: Vec<At>,
) -> CustomResourceDefinition {
    let schemas = crd.spec.versions.iter_mut().filter_map(|version| {
        let schema = version.schema.as_mut()?.open_api_v3_schema.as_mut()?;
        schema.properties.as_mut()
    });
    let mut rules = Some(rules);
    for fields in schemas {
        if let Some(spec) = fields.get_mut("spec") {
            tidy(spec, Part::Spec);
            for at in rules.take().into_iter().flatten() {
                if let Some(field) = find(spec, &at.path) {
                    at.apply(field);
                }
            }
        }
        if let Some(status) = fields.get_mut("status") {
            tidy(status, Part::Status);
        }
    }
    crd
}

/// Makes of a schema what a cluster should see, all the way down.
///
/// - Null is nothing: the API server drops it where a field is not nullable,
///   and no rule has to think of it.
/// - A format or pattern becomes a rule with a sentence.
/// - Items of lists get no defaults: `kubectl apply` and GitOps compare lists
///   as wholes and would find another one in the cluster each time. Nor does a
///   status: it says what was said.
/// - A description is prose: its lines end where the terminal's do.
fn tidy(schema: &mut JSONSchemaProps, part: Part) {
    schema.nullable = None;
    if let Some(text) = &mut schema.description {
        *text = text
            .split("\n\n")
            .map(|part| part.replace('\n', " "))
            .collect::<Vec<_>>()
            .join("\n\n");
    }
    if let Some(values) = &mut schema.enum_ {
        values.retain(|value| !value.0.is_null());
    }
    let empty = schema.default.as_ref().is_some_and(|default| {
        let fields = default.0.as_object();
        fields.is_some_and(serde_json::Map::is_empty)
    });
    if part != Part::Spec || empty {
        schema.default = None;
    }
    if part != Part::Status
        && let Some(syntax) = Syntax::asked(schema)
    {
        schema.format = None;
        schema.pattern = None;
        schema.max_length = Some(syntax.max_length());
        schema.x_kubernetes_validations = Some(syntax.rules());
    }
    // Formats that a cluster does not know; it warns of them.
    if matches!(
        schema.format.as_deref(),
        Some("uint8" | "uint16" | "uint32" | "uint64")
    ) {
        schema.format = Some("int64".to_owned());
    }
    if schema.format.as_deref() == Some("ip") {
        schema.format = None;
    }
    for field in schema.properties.iter_mut().flatten() {
        tidy(field.1, part);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        tidy(items, if part == Part::Spec { Part::Item } else { part });
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values, part);
    }
}

/// The schema at a path such as `interfaces[].mac` or `params.*`; `None` where
/// the types have no such field.
fn find<'a>(schema: &'a mut JSONSchemaProps, path: &str) -> Option<&'a mut JSONSchemaProps> {
    let mut at = schema;
    for name in path.split('.').filter(|name| !name.is_empty()) {
        let (name, is_item) = match name.strip_suffix("[]") {
            Some(list) => (list, true),
            None => (name, false),
        };
        at = if name == "*" {
            match at.additional_properties.as_mut()? {
                JSONSchemaPropsOrBool::Schema(values) => values,
                JSONSchemaPropsOrBool::Bool(_) => return None,
            }
        } else {
            at.properties.as_mut()?.get_mut(name)?
        };
        if is_item {
            at = match at.items.as_mut()? {
                JSONSchemaPropsOrArray::Schema(items) => items,
                JSONSchemaPropsOrArray::Schemas(_) => return None,
            };
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt as _;

    use super::*;
    use crate::api::{Artifact, BootProfile, DhcpLease, Machine, Subnet, rules};

    #[test]
    fn every_rule_has_its_field() {
        for (crd, rules) in [
            (Subnet::crd(), rules::subnet()),
            (BootProfile::crd(), rules::profile()),
            (Machine::crd(), rules::machine()),
            (Artifact::crd(), rules::artifact()),
            (DhcpLease::crd(), rules::lease()),
        ] {
            let schema = crd.spec.versions[0].schema.clone().unwrap();
            let mut root = schema.open_api_v3_schema.unwrap();
            let spec = root.properties.as_mut().unwrap().get_mut("spec").unwrap();
            for at in rules {
                assert!(
                    find(spec, &at.path).is_some(),
                    "{}: {}",
                    crd.spec.names.kind,
                    at.path
                );
            }
        }
    }
}
