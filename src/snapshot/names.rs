//! The syntax of names: objects, labels, hosts, domains.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::DEFAULT_NAMESPACE;

/// The namespace that an object is in.
pub(crate) fn namespace_of(metadata: &ObjectMeta) -> &str {
    metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)
}

/// Whether `name` is what an object may be called (RFC 1123 subdomain).
pub(crate) fn is_object_name(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_dns_label)
}

/// Whether `name` is what a namespace may be called (RFC 1123 label).
pub(crate) fn is_dns_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Whether `name` is a host name or domain: labels of letters, digits and
/// hyphens, in either case.
pub(crate) fn is_host_name(name: &str) -> bool {
    is_object_name(&name.to_ascii_lowercase())
}

/// Whether `key` is what a label may be called: `name` or `domain/name`.
pub(crate) fn is_label_key(key: &str) -> bool {
    let (domain, name) = match key.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, key),
    };
    domain.is_none_or(is_object_name) && !name.is_empty() && is_label_value(name)
}

/// Whether `value` is what a label may hold.
pub(crate) fn is_label_value(value: &str) -> bool {
    value.is_empty()
        || (value.len() <= 63
            && value.starts_with(|c: char| c.is_ascii_alphanumeric())
            && value.ends_with(|c: char| c.is_ascii_alphanumeric())
            && value
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_names() {
        for name in ["lab", "node-7", "a.b-c.d", "7"] {
            assert!(is_object_name(name), "{name}");
        }
        for name in ["", "Lab", "-a", "a-", "a..b", "a_b", "a b", &"a".repeat(64)] {
            assert!(!is_object_name(name), "{name}");
        }
        assert!(is_host_name("Node-7.Example.net"));
        assert!(!is_host_name("node_7"));
        assert!(!is_host_name("example.net."));
    }

    #[test]
    fn knows_labels() {
        for key in ["role", "app.kubernetes.io/name", "Role_1.x"] {
            assert!(is_label_key(key), "{key}");
        }
        for key in ["", "/x", "a/", "a/b/c", "-x", "ä"] {
            assert!(!is_label_key(key), "{key}");
        }
        assert!(is_label_value(""));
        assert!(!is_label_value("two words"));
        assert!(!is_label_value(&"x".repeat(64)));
    }
}
