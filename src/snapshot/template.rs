//! Templates in manifests: their syntax and what they may name.

use std::collections::BTreeSet;

use minijinja::Environment;

use super::suggest;

/// What a template can name; `params.` takes any name after it.
const VARIABLES: [&str; 10] = [
    "boot.phone_home",
    "machine.name",
    "machine.namespace",
    "machine.mac",
    "machine.url",
    "machine.ip",
    "machine.hostname",
    "machine.profile",
    "server.address",
    "server.http",
];
/// Whole objects, and functions of the template language itself.
const ROOTS: [&str; 8] = [
    "boot",
    "machine",
    "params",
    "server",
    "range",
    "dict",
    "namespace",
    "debug",
];

/// What is wrong with a template: reason, what, cure.
pub(super) type Fault = (&'static str, String, String);

/// Every mistake in `source` that shows without rendering it.
pub(super) fn check(source: &str) -> Vec<Fault> {
    let environment = Environment::new();
    let template = match environment.template_from_str(source) {
        Ok(template) => template,
        Err(error) => {
            let detail = error
                .detail()
                .map_or_else(|| error.kind().to_string(), str::to_owned);
            let cure = "write `{{ machine.name }}`; a bare `{{` is `{{ '{{' }}`".to_owned();
            return vec![("BadTemplate", format!("not a template: {detail}"), cure)];
        }
    };
    let used: BTreeSet<String> = template.undeclared_variables(true).into_iter().collect();
    used.into_iter()
        .filter(|name| !is_known(name))
        .map(|name| {
            let cure = suggest::nearest(&name, VARIABLES).map_or_else(
                || "templates know `machine`, `params`, `server` and `boot`".to_owned(),
                |known| format!("did you mean `{known}`?"),
            );
            let what = format!("the template names `{name}`, which there is not");
            ("UnknownVariable", what, cure)
        })
        .collect()
}

fn is_known(name: &str) -> bool {
    ROOTS.contains(&name) || VARIABLES.contains(&name) || name.starts_with("params.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_templates_may_name() {
        for source in [
            "console=ttyS0",
            "hostname={{ machine.name }}",
            "x={{ params.disk | default('/dev/sda') }} {{ params['a-b'] }}",
            "{% for i in range(3) %}{{ i }}{% endfor %}",
            "{% if machine.ip %}ip={{ machine.ip }}{% endif %}",
            "url={{ server.http }}/x?a={{ server.address }}",
            "call={{ boot.phone_home }}",
        ] {
            assert_eq!(check(source), [], "{source}");
        }
        for (source, reason) in [
            ("{{ machine.nam }}", "UnknownVariable"),
            ("{{ host }}", "UnknownVariable"),
            ("{{ machine.name", "BadTemplate"),
            ("{% if x %}", "BadTemplate"),
        ] {
            assert_eq!(check(source)[0].0, reason, "{source}");
        }
        assert!(check("{{ machine.nam }}")[0].2.contains("machine.name"));
    }
}
