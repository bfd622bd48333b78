//! Templates in manifests: their syntax and what they may name.

use std::collections::BTreeSet;

use minijinja::Environment;

use super::suggest;

/// What a template can name; `params.` and `config.` take any name after it.
const VARIABLES: [&str; 11] = [
    "boot.config",
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
const ROOTS: [&str; 9] = [
    "boot",
    "config",
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
    check_with(source, is_known)
}

/// The same for an answer file, which may name Secrets.
pub(super) fn check_config(source: &str) -> Vec<Fault> {
    let is_secret = |name: &str| name == "secrets" || name.starts_with("secrets.");
    check_with(source, |name| is_known(name) || is_secret(name))
}

fn check_with(source: &str, is_known: impl Fn(&str) -> bool) -> Vec<Fault> {
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
                || "templates know `machine`, `params`, `server`, `boot` and `config`".to_owned(),
                |known| format!("did you mean `{known}`?"),
            );
            let what = format!("the template names `{name}`, which there is not");
            ("UnknownVariable", what, cure)
        })
        .collect()
}

fn is_known(name: &str) -> bool {
    ROOTS.contains(&name)
        || VARIABLES.contains(&name)
        || name.starts_with("params.")
        || name.starts_with("config.")
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
        let secret = "{% include 'a/b' %}{{ secrets['join'].token }}{{ config['a.b'] }}";
        assert_eq!(check_config(secret), []);
        assert_eq!(check(secret)[0].0, "UnknownVariable");
    }
}
