//! Who asked the API server for what: its audit log, read and counted.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::plane::ControlPlane;

/// One request, as the API server noted it. Words are empty where it noted none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    /// The client's own name: `User-Agent`.
    pub(crate) agent: String,
    /// The account: `admin`, or `system:serviceaccount:NAMESPACE:NAME`.
    pub(crate) user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` …
    pub(crate) verb: String,
    /// In the plural, as in the URL.
    pub(crate) resource: String,
    /// `status`, or nothing.
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Path and query.
    pub(crate) uri: String,
    /// The HTTP status, once it was answered (a watch: once it began).
    pub(crate) code: Option<u64>,
    /// When it came in, in UTC (RFC 3339).
    pub(crate) at: String,
}

/// The tally of requests: by agent, verb and resource.
pub(crate) type Tally = BTreeMap<(String, String, String), usize>;

impl ControlPlane {
    /// All requests so far, in the order in which they came.
    ///
    /// The API server writes a request down before it works on it: what was answered is in here.
    pub(crate) fn requests(&self) -> Result<Vec<Request>> {
        let text = std::fs::read_to_string(self.folder.join("audit.log")).context("audit log")?;
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut requests: Vec<Request> = Vec::new();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for line in whole.lines() {
            let event: Value = serde_json::from_str(line).context("audit log")?;
            let id = word(&event, "/auditID");
            let place = *places.entry(id).or_insert_with(|| {
                requests.push(Request::read(&event));
                requests.len() - 1
            });
            let code = event
                .pointer("/responseStatus/code")
                .and_then(Value::as_u64);
            requests[place].code = code.or(requests[place].code);
        }
        Ok(requests)
    }

    /// The requests for which `wanted` holds.
    pub(crate) fn requests_where(&self, wanted: impl Fn(&Request) -> bool) -> Result<Vec<Request>> {
        let mut requests = self.requests()?;
        requests.retain(|request| wanted(request));
        Ok(requests)
    }

    /// How many requests there were of an agent whose name begins with `agent`, with this verb, for
    /// this resource; `*` stands for any verb, any resource.
    pub(crate) fn count(&self, agent: &str, verb: &str, resource: &str) -> Result<usize> {
        let is = |wanted: &str, found: &str| wanted == "*" || wanted == found;
        let found = self.requests_where(|request| {
            request.agent.starts_with(agent)
                && is(verb, &request.verb)
                && is(resource, &request.resource)
        })?;
        Ok(found.len())
    }

    /// How often each agent did what with which resource.
    pub(crate) fn tally(&self) -> Result<Tally> {
        let mut tally = Tally::new();
        for request in self.requests()? {
            let Request {
                agent,
                verb,
                resource,
                ..
            } = request;
            // The version and the host's kind are noise.
            let agent = agent.split('/').next().unwrap_or_default().to_owned();
            *tally.entry((agent, verb, resource)).or_default() += 1;
        }
        Ok(tally)
    }
}

// === impl Request ===

impl Request {
    fn read(event: &Value) -> Self {
        Self {
            agent: word(event, "/userAgent"),
            user: word(event, "/user/username"),
            verb: word(event, "/verb"),
            resource: word(event, "/objectRef/resource"),
            subresource: word(event, "/objectRef/subresource"),
            namespace: word(event, "/objectRef/namespace"),
            name: word(event, "/objectRef/name"),
            uri: word(event, "/requestURI"),
            code: None,
            at: word(event, "/requestReceivedTimestamp"),
        }
    }
}

fn word(event: &Value, pointer: &str) -> String {
    let found = event.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default().to_owned()
}
