//! What the operator asks of the API server: the one list that roles are made
//! from and that tests hold the program against.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::api::GROUP;

/// One line of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The API group.
    pub group: &'static str,
    /// Its resources.
    pub resources: &'static [&'static str],
    /// What is done with them.
    pub verbs: &'static [&'static str],
    /// What for.
    pub why: &'static str,
    /// Whether it is asked in our own namespace only, whatever is served.
    pub own: bool,
}

const EVENTS: &str = "events.k8s.io";
const COORDINATION: &str = "coordination.k8s.io";

/// Everything that the operator asks of the API server.
pub const NEEDS: [Need; 7] = [
    need(
        GROUP,
        &["subnets", "bootprofiles", "machines", "artifacts"],
        &["list", "watch"],
        "what is served",
    ),
    need(
        GROUP,
        &[
            "subnets/status",
            "bootprofiles/status",
            "machines/status",
            "artifacts/status",
        ],
        &["patch"],
        "what became of it",
    ),
    need(
        GROUP,
        &["machines"],
        &["get", "patch"],
        "the label with the MAC address; boots of earlier runs; approval",
    ),
    need(
        GROUP,
        &["machines"],
        &["create", "delete"],
        "machines that were discovered",
    ),
    need(
        GROUP,
        &["dhcpleases"],
        &["list", "create", "patch", "delete"],
        "the mirror of leases",
    ),
    need(EVENTS, &["events"], &["create", "patch"], "events"),
    Need {
        group: COORDINATION,
        resources: &["leases"],
        verbs: &["get", "create", "update"],
        why: "which replica leads",
        own: true,
    },
];

const fn need(
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    why: &'static str,
) -> Need {
    Need {
        group,
        resources,
        verbs,
        why,
        own: false,
    }
}

impl Need {
    /// The same as a rule of a role.
    #[must_use]
    pub fn rule(&self) -> PolicyRule {
        let owned = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        PolicyRule {
            api_groups: owned(&[self.group]),
            resources: owned(self.resources),
            verbs: owned(self.verbs).unwrap_or_default(),
            ..PolicyRule::default()
        }
    }
}

/// The account, roles and bindings of an operator called `name` in
/// `namespace`, which serves that namespace or `all`.
///
/// # Errors
/// None that is known: the types become JSON.
pub fn manifests(namespace: &str, name: &str, all: bool) -> serde_json::Result<Vec<Value>> {
    let (own, wide): (Vec<&Need>, Vec<&Need>) = NEEDS.iter().partition(|need| need.own || !all);
    let rules = |needs: &[&Need]| Some(needs.iter().map(|need| need.rule()).collect());
    let here = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ObjectMeta::default()
    };
    let everywhere = ObjectMeta {
        namespace: None,
        ..here.clone()
    };
    let subjects = Some(vec![Subject {
        kind: "ServiceAccount".to_owned(),
        name: name.to_owned(),
        namespace: Some(namespace.to_owned()),
        ..Subject::default()
    }]);
    let reference = |kind: &str| RoleRef {
        api_group: "rbac.authorization.k8s.io".to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
    };
    let mut made = vec![
        serde_json::to_value(ServiceAccount {
            metadata: here.clone(),
            ..ServiceAccount::default()
        })?,
        serde_json::to_value(Role {
            metadata: here.clone(),
            rules: rules(&own),
        })?,
        serde_json::to_value(RoleBinding {
            metadata: here,
            role_ref: reference("Role"),
            subjects: subjects.clone(),
        })?,
    ];
    if all {
        made.push(serde_json::to_value(ClusterRole {
            metadata: everywhere.clone(),
            rules: rules(&wide),
            ..ClusterRole::default()
        })?);
        made.push(serde_json::to_value(ClusterRoleBinding {
            metadata: everywhere,
            role_ref: reference("ClusterRole"),
            subjects,
        })?);
    }
    Ok(made)
}

/// The role and binding that let the operator called `name` in `namespace` read
/// these Secrets and ConfigMaps there, and no other: what Artifacts name by
/// `secretRef`, and answer files by `secretRefs` and `configMapRefs`.
///
/// # Errors
/// None that is known: the types become JSON.
pub fn values(
    namespace: &str,
    name: &str,
    secrets: &[String],
    config_maps: &[String],
) -> serde_json::Result<[Value; 2]> {
    let metadata = ObjectMeta {
        name: Some(format!("{name}-secrets")),
        namespace: Some(namespace.to_owned()),
        ..ObjectMeta::default()
    };
    let role = Role {
        metadata: metadata.clone(),
        rules: Some(
            [("secrets", secrets), ("configmaps", config_maps)]
                .into_iter()
                .filter(|(_, names)| !names.is_empty())
                .map(|(resource, names)| PolicyRule {
                    api_groups: Some(vec![String::new()]),
                    resources: Some(vec![resource.to_owned()]),
                    resource_names: Some(names.to_vec()),
                    verbs: vec!["get".to_owned()],
                    ..PolicyRule::default()
                })
                .collect(),
        ),
    };
    let binding = RoleBinding {
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name: format!("{name}-secrets"),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: name.to_owned(),
            namespace: Some(namespace.to_owned()),
            ..Subject::default()
        }]),
        metadata,
    };
    Ok([serde_json::to_value(role)?, serde_json::to_value(binding)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_namespace_needs_no_cluster_role() {
        let kinds = |all| -> Vec<String> {
            let made = manifests("edge", "reveille", all).unwrap();
            let kinds = made
                .iter()
                .map(|it| it["kind"].as_str().unwrap().to_owned());
            kinds.collect()
        };
        assert_eq!(kinds(false), ["ServiceAccount", "Role", "RoleBinding"]);
        assert_eq!(kinds(true).len(), 5);
        // The Lease is always our own namespace's.
        let all = manifests("edge", "reveille", true).unwrap();
        assert_eq!(all[1]["rules"][0]["resources"][0], "leases");
        assert_eq!(all[1]["rules"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn secrets_are_allowed_by_name_only() {
        let made = values("edge", "reveille", &["mirror".to_owned()], &[]).unwrap();
        assert_eq!(made[0]["rules"].as_array().unwrap().len(), 1);
        let rule = &made[0]["rules"][0];
        assert_eq!(rule["verbs"], serde_json::json!(["get"]));
        assert_eq!(rule["resourceNames"], serde_json::json!(["mirror"]));
    }

    #[test]
    fn no_rule_allows_more_than_it_names() {
        for need in NEEDS {
            let words = need.resources.iter().chain(need.verbs);
            assert!(words.copied().all(|word| word != "*"), "{need:?}");
            let reads = need.resources.contains(&"secrets");
            assert!(!reads, "{need:?}");
        }
    }
}
