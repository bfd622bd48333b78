//! The proxy on the way to the API server. Pure: the environment is an argument.

use anyhow::Context as _;
use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::config::Kubeconfig;

/// Reads one variable of the environment.
pub(super) type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The proxy by which the API server at `server` is reached, as kubectl has
/// it: the `proxy-url` of the kubeconfig always, else that of the environment,
/// but for what `NO_PROXY` names.
///
/// The client's own reading of the environment holds `NO_PROXY` against the
/// proxy's address, not the API server's (kube 5.0), so ours counts.
///
/// # Errors
/// A proxy that is no URL.
pub(super) fn of_kubeconfig(
    file: &Kubeconfig,
    context: Option<&str>,
    server: &Uri,
    variable: Variable<'_>,
) -> anyhow::Result<Option<Uri>> {
    if let Some(proxy) = proxy_url(file, context) {
        return parsed(proxy, "proxy-url of the kubeconfig").map(Some);
    }
    let first = |names: [&str; 2]| {
        let mut set = names.into_iter().filter_map(variable);
        set.find(|value| !value.trim().is_empty())
    };
    let Some(proxy) = first(["HTTPS_PROXY", "https_proxy"]) else {
        return Ok(None);
    };
    let except = first(["NO_PROXY", "no_proxy"]).unwrap_or_default();
    // As Go has it; the matcher's star stands for names alone.
    if except.trim() == "*" {
        return Ok(None);
    }
    let proxy = parsed(proxy.trim(), "HTTPS_PROXY")?;
    let rule = Matcher::builder().https(proxy.to_string()).no(except);
    Ok(rule.build().intercept(server).map(|_| proxy))
}

/// Where a proxy is, for the log: without the password that its URL may hold.
pub(super) fn shown(proxy: &Uri) -> String {
    let host = proxy.host().unwrap_or_default();
    match proxy.port_u16() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// What the cluster of the context says.
fn proxy_url<'a>(file: &'a Kubeconfig, context: Option<&str>) -> Option<&'a str> {
    let context = context.or(file.current_context.as_deref())?;
    let mut contexts = file.contexts.iter();
    let context = contexts.find(|named| named.name == context)?;
    let cluster = &context.context.as_ref()?.cluster;
    let mut clusters = file.clusters.iter();
    let cluster = clusters.find(|named| named.name == *cluster)?;
    let url = cluster.cluster.as_ref()?.proxy_url.as_deref()?;
    (!url.is_empty()).then_some(url)
}

/// A proxy without a scheme is one of HTTP, as curl and kubectl have it.
fn parsed(proxy: &str, named: &str) -> anyhow::Result<Uri> {
    let url = match proxy.contains("://") {
        true => proxy.to_owned(),
        false => format!("http://{proxy}"),
    };
    // It may hold a password: the value stays out of the message.
    url.parse()
        .with_context(|| format!("{named}: no URL; write it as http://192.0.2.9:3128"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "https://10.33.0.2:6443";

    fn kubeconfig(proxy: &str) -> Kubeconfig {
        let line = match proxy {
            "" => String::new(),
            proxy => format!(", proxy-url: \"{proxy}\""),
        };
        let text = format!(
            "current-context: a\n\
             contexts: [{{name: a, context: {{cluster: c, user: u}}}}, {{name: b, context: {{cluster: d, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: \"{SERVER}\"{line}}}}}, {{name: d, cluster: {{server: \"{SERVER}\"}}}}]\n"
        );
        Kubeconfig::from_yaml(&text).unwrap()
    }

    fn way(proxy: &str, context: Option<&str>, environment: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            let mut all = environment.iter();
            let found = all.find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let server = SERVER.parse().unwrap();
        let found = of_kubeconfig(&kubeconfig(proxy), context, &server, &variable);
        found.unwrap().map(|uri| uri.to_string())
    }

    #[test]
    fn the_proxy_of_the_kubeconfig_always_counts() {
        let none = [
            ("NO_PROXY", "10.0.0.0/8,.example.net"),
            ("HTTPS_PROXY", "http://b:1"),
        ];
        let of_file = way("http://proxy.example.net:3128", None, &none);
        assert_eq!(of_file.as_deref(), Some("http://proxy.example.net:3128/"));
        // Another context has a cluster without one.
        assert_eq!(way("http://proxy:3128", Some("b"), &none), None);
        assert_eq!(way("http://proxy:3128", Some("b"), &[]), None);
    }

    #[test]
    fn the_environments_counts_but_for_what_it_excepts() {
        let proxy = ("HTTPS_PROXY", "http://proxy.example.net:3128");
        let used = |except: &str| way("", None, &[proxy, ("NO_PROXY", except)]).is_some();
        assert!(used(""));
        assert!(used("10.34.0.0/16,localhost,"));
        // That of the proxy itself says nothing about the API server.
        assert!(used(".example.net"));
        for except in ["*", "10.33.0.2", "10.33.0.0/16", "localhost, 10.0.0.0/8"] {
            assert!(!used(except), "{except}");
        }
        assert_eq!(way("", None, &[("HTTP_PROXY", "http://a:1")]), None);
        let bare = way("", None, &[("https_proxy", "a:1"), ("HTTPS_PROXY", " ")]);
        assert_eq!(bare.as_deref(), Some("http://a:1/"));
    }

    #[test]
    fn a_proxy_is_shown_without_its_password() {
        let proxy: Uri = "http://user:secret@proxy.example.net:3128".parse().unwrap();
        assert_eq!(shown(&proxy), "proxy.example.net:3128");
        let error = parsed("http://user:secret@a b", "HTTPS_PROXY").unwrap_err();
        assert!(!format!("{error:#}").contains("secret"), "{error:#}");
    }
}
