//! The operator asks for what it says it needs, and for nothing else.

use anyhow::{Result, ensure};
use reveille::operator::rbac::NEEDS;

use crate::audit::Request;
use crate::stage::Stage;
use crate::support::server::Server;

/// Rights whose use does not show here. To apply what is not there takes the right to create it, and is
/// noted as a patch. Leases end in `replicas-alone`, and an Event is told again by a patch after minutes.
const ELSEWHERE: [(&str, &str); 3] = [
    ("create", "dhcpleases"),
    ("delete", "dhcpleases"),
    ("patch", "events"),
];

/// The last trial of a control plane that others used before: what all of them asked as the operator's
/// account was allowed, and each right was used. Leases of leadership are asked for by replicas, which
/// are tried elsewhere.
pub(super) fn rights(stage: &mut Stage<'_>) -> Result<Vec<String>> {
    let ours = stage.plane.requests_where(|request| {
        request.user.starts_with("system:serviceaccount:") && request.user.ends_with(":reveille")
    })?;
    let refused: Vec<&Request> = ours
        .iter()
        .filter(|request| request.code == Some(403))
        .collect();
    ensure!(refused.is_empty(), "refused: {:?}", refused.first());
    // Chosen alone, it has little to look at.
    let mut others = ["status", "discovery", "operator-serves"].into_iter();
    let all_ran = others.all(|name| ours.iter().any(|request| request.namespace == name));
    let mut asked = 0;
    for need in NEEDS.iter().filter(|need| !need.own) {
        let pairs = need
            .resources
            .iter()
            .flat_map(|resource| need.verbs.iter().map(move |verb| (*resource, *verb)));
        for (resource, verb) in pairs {
            let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
            let count = ours.iter().filter(|request| {
                request.verb == verb && request.resource == resource && request.subresource == sub
            });
            let count = count.count();
            asked += count;
            let elsewhere = ELSEWHERE.contains(&(verb, resource));
            ensure!(
                !all_ran || elsewhere || count > 0,
                "nobody needs to {verb} {resource} {sub}"
            );
        }
    }
    // What `reveille rbac` prints is what the API server takes.
    let printed = std::process::Command::new(Server::program())
        .args(["rbac", "--namespace", &stage.namespace, "--name", "printed"])
        .output()?;
    stage.apply(&String::from_utf8(printed.stdout)?)?;
    Ok(vec![format!(
        "{asked} requests, none refused, no right for nothing"
    )])
}
