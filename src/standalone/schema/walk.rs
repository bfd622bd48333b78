//! A value held against the OpenAPI schema of its CRD.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::{Map, Value};

use super::super::yaml::{join, shown};
use super::text::syntax;
use super::{MAX_PROBLEMS, planned};
use crate::api::{ObjectRef, Place, Problem, Syntax};
use crate::snapshot::suggest;

/// One walk over one object.
pub(super) struct Walk<'a> {
    pub(super) object: &'a ObjectRef,
    pub(super) problems: Vec<Problem>,
}

impl Walk<'_> {
    /// Adds a problem at `pointer`, up to the most that are told.
    pub(super) fn tell(
        &mut self,
        pointer: &str,
        reason: &'static str,
        what: impl Into<String>,
        cure: impl Into<String>,
    ) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems
                .push(Problem::error(self.object, pointer, reason, what, cure));
        }
    }

    /// The field at `pointer`, for messages.
    pub(super) fn field(&self, pointer: &str) -> String {
        Place {
            object: self.object.clone(),
            pointer: pointer.to_owned(),
        }
        .field()
    }

    /// Checks `value` and drops what the API server would drop: nulls of
    /// fields that cannot be null.
    pub(super) fn value(&mut self, schema: &JSONSchemaProps, value: &mut Value, pointer: &str) {
        if value.is_null() && schema.nullable == Some(true) {
            return;
        }
        match (schema.type_.as_deref(), value) {
            (Some("object"), Value::Object(fields)) => self.object(schema, fields, pointer),
            (Some("array"), Value::Array(items)) => self.array(schema, items, pointer),
            (Some("string"), Value::String(text)) => self.string(schema, text, pointer),
            (Some("boolean"), Value::Bool(_)) => {}
            (Some("integer"), value @ Value::Number(_)) if value.is_i64() || value.is_u64() => {
                self.number(schema, value, pointer);
            }
            (Some("number"), value @ Value::Number(_)) => self.number(schema, value, pointer),
            (Some(wanted), value) => {
                self.wrong_type(wanted, value, pointer, Syntax::of(schema));
            }
            (None, _) => {}
        }
    }

    fn object(&mut self, schema: &JSONSchemaProps, fields: &mut Map<String, Value>, at: &str) {
        let none = std::collections::BTreeMap::new();
        let known = schema.properties.as_ref().unwrap_or(&none);
        let rest = match &schema.additional_properties {
            Some(JSONSchemaPropsOrBool::Schema(rest)) => Some(&**rest),
            Some(JSONSchemaPropsOrBool::Bool(_)) | None => None,
        };
        fields.retain(|name, value| {
            let of = known.get(name).or(rest);
            !(value.is_null() && of.is_some_and(|of| of.nullable != Some(true)))
        });
        for (name, value) in fields.iter_mut() {
            let pointer = join(at, name);
            match known.get(name).or(rest) {
                Some(schema) => self.value(schema, value, &pointer),
                None => self.unknown_field(name, &pointer, known.keys()),
            }
        }
        let count = i64::try_from(fields.len()).unwrap_or(i64::MAX);
        if let Some(most) = schema.max_properties.filter(|most| count > *most) {
            let what = format!("`{}` has {count} entries", self.field(at));
            self.tell(at, "TooMany", what, format!("at most {most} are served"));
        }
        for name in schema.required.iter().flatten() {
            if !fields.contains_key(name) {
                let pointer = join(at, name);
                let what = format!("`{}` is missing", self.field(&pointer));
                let cure = known.get(name).map(missing_cure).unwrap_or_default();
                self.tell(&pointer, "MissingField", what, cure);
            }
        }
    }

    fn unknown_field<'k>(
        &mut self,
        name: &str,
        pointer: &str,
        known: impl Iterator<Item = &'k String> + Clone,
    ) {
        let field = self.field(pointer);
        if let Some(cure) = planned::field_cure(self.object.kind, pointer) {
            let what = format!("`{}` is not served by this version", shown(&field));
            self.tell(pointer, "NotServed", what, cure);
            return;
        }
        let cure = if matches!(name, "true" | "false") {
            "quote the key; y, n, yes, no, on and off are booleans in YAML".to_owned()
        } else {
            let names: Vec<&str> = known.map(String::as_str).collect();
            suggest::cure(name, names.iter().copied())
        };
        let what = format!("unknown field `{}`", shown(&field));
        self.tell(pointer, "UnknownField", what, cure);
    }

    fn array(&mut self, schema: &JSONSchemaProps, items: &mut [Value], at: &str) {
        let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
        if let Some(most) = schema.max_items.filter(|most| count > *most) {
            let what = format!("`{}` has {count} items", self.field(at));
            self.tell(at, "TooMany", what, format!("at most {most} are served"));
        }
        if let Some(least) = schema.min_items.filter(|least| count < *least) {
            let what = format!("`{}` has {count} items", self.field(at));
            self.tell(at, "TooFew", what, format!("name at least {least}"));
        }
        let Some(JSONSchemaPropsOrArray::Schema(of)) = &schema.items else {
            return;
        };
        for (index, item) in items.iter_mut().enumerate() {
            self.value(of, item, &join(at, &index.to_string()));
        }
        if schema.x_kubernetes_list_type.as_deref() == Some("set") {
            self.set(items, at);
        }
    }

    /// A set has each of its items once.
    fn set(&mut self, items: &[Value], at: &str) {
        for (index, item) in items.iter().enumerate() {
            let older = items.iter().take(index).position(|other| other == item);
            let Some(older) = older else { continue };
            let text = item.as_str().map_or_else(|| item.to_string(), shown);
            let what = format!("`{text}` stands here twice");
            if self.problems.len() < MAX_PROBLEMS {
                let pointer = join(at, &index.to_string());
                let first = join(at, &older.to_string());
                let cure = "remove one of the two";
                let problem = Problem::error(self.object, pointer, "Duplicate", what, cure);
                self.problems
                    .push(problem.with(self.object, &first, "first here"));
            }
        }
    }

    fn string(&mut self, schema: &JSONSchemaProps, text: &str, at: &str) {
        let field = self.field(at);
        if let Some(known) = &schema.enum_ {
            let known: Vec<&str> = known.iter().filter_map(|value| value.0.as_str()).collect();
            if !known.contains(&text) {
                self.unknown_value(text, &known, at);
            }
            return;
        }
        let count = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        if let Some(most) = schema.max_length.filter(|most| count > *most) {
            let what = format!("`{field}` has {count} characters");
            self.tell(at, "TooLong", what, format!("at most {most} are served"));
        } else if schema.min_length.is_some_and(|least| count < least) {
            self.tell(
                at,
                "Empty",
                format!("`{field}` is empty"),
                "fill it in or remove it",
            );
        } else if let Some(what) = syntax(schema, text) {
            self.tell(at, "BadValue", format!("`{field}`: {what}"), "");
        }
    }

    fn unknown_value(&mut self, text: &str, known: &[&str], at: &str) {
        let what = format!("`{}` cannot be `{}`", self.field(at), shown(text));
        let cure = suggest::cure(text, known.iter().copied());
        self.tell(at, "UnknownValue", what, cure);
    }

    fn number(&mut self, schema: &JSONSchemaProps, value: &Value, at: &str) {
        let Some(number) = value.as_f64() else { return };
        let (low, high) = match schema.format.as_deref() {
            Some("int32") => (f64::from(i32::MIN), f64::from(i32::MAX)),
            Some("uint16") => (0.0, f64::from(u16::MAX)),
            Some("uint32") => (0.0, f64::from(u32::MAX)),
            Some(_) | None => (f64::NEG_INFINITY, f64::INFINITY),
        };
        let low = schema.minimum.unwrap_or(low);
        let high = schema.maximum.unwrap_or(high);
        if !(low..=high).contains(&number) {
            let what = format!("`{}` cannot be {value}", self.field(at));
            let cure = match (low.is_finite(), high.is_finite()) {
                (true, true) => format!("it lies between {low} and {high}"),
                (true, false) => format!("it is {low} at least"),
                _ => format!("it is {high} at most"),
            };
            self.tell(at, "OutOfRange", what, cure);
        }
    }

    /// `syntax` is what texts must have there, for a better cure.
    pub(super) fn wrong_type(
        &mut self,
        wanted: &str,
        value: &Value,
        at: &str,
        syntax: Option<Syntax>,
    ) {
        let what = format!(
            "`{}` is {}, not {}",
            self.field(at),
            described(value),
            type_name(wanted)
        );
        let cure = match (wanted, value) {
            ("string", Value::Number(number)) if syntax == Some(Syntax::Lifetime) => {
                format!("write `{number}s`")
            }
            ("string", Value::Number(_) | Value::Bool(_)) => "put it in quotes".to_owned(),
            ("array", Value::String(text)) => format!("write `[{}]`", shown(text)),
            ("array", Value::Object(_)) => "begin the item with `- `".to_owned(),
            ("boolean", Value::String(_)) => "write `true` or `false` without quotes".to_owned(),
            ("integer", Value::String(text)) if text.parse::<i64>().is_ok() => {
                "remove the quotes".to_owned()
            }
            _ => String::new(),
        };
        self.tell(at, "WrongType", what, cure);
    }
}

/// What is wanted for a field that is missing, where there are few choices.
fn missing_cure(schema: &JSONSchemaProps) -> String {
    let known: Vec<&str> = schema
        .enum_
        .iter()
        .flatten()
        .filter_map(|value| value.0.as_str())
        .collect();
    if known.is_empty() {
        "add it".to_owned()
    } else {
        format!("add it; it can be {}", suggest::list(&known))
    }
}

fn type_name(wanted: &str) -> &str {
    match wanted {
        "object" => "a mapping",
        "array" => "a list",
        "string" => "text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        other => other,
    }
}

fn described(value: &Value) -> String {
    match value {
        Value::Null => "empty".to_owned(),
        Value::Bool(flag) => format!("the boolean {flag}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text `{}`", shown(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}
