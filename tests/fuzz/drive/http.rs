//! HTTP: what stands in a request, behind hyper.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, UNIX_EPOCH};

use ::http::{HeaderValue, Uri};
use reveille::boot::MacAddress;
use reveille::http::media::content_type;
use reveille::http::phone_home;
use reveille::http::range::{Conditions, Selection, Version, select};
use reveille::http::release::without_token;
use reveille::http::route::{Route, route};
use reveille::http::target::{decode_path, view};
use reveille::script::{
    BootKey, Caller, PASS, SecretValues, Urls, Values, is_token, render_config,
};
use reveille::timeline::BootId;

use super::world::{SERVER, SNAPSHOT, START, is_plain, nobody};

/// Bytes of the file that ranges are of.
const LENGTH: u64 = 1000;

/// What machines tell of themselves in a query, and the longest that is read.
const TELLS: [&str; 3] = ["uuid", "serial", "asset"];
const MAX_TOLD: usize = 1300;

/// The first byte says who asks. Then come lines: the target, headers (`name: value`, by the letter that they
/// begin with below), and behind an empty line the body.
pub(crate) fn http(data: &[u8]) -> &'static str {
    let Some((who, rest)) = data.split_first() else {
        return "nothing";
    };
    let mut parts = rest.splitn(2, |byte| *byte == b'\n');
    let (target, mut rest) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let mut conditions = Conditions::default();
    let mut accept = None;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, more) = rest.split_at(end);
        rest = &more[1..];
        let [name, value @ ..] = line else { break };
        // What hyper lets through.
        let Ok(value) = HeaderValue::from_bytes(value) else {
            continue;
        };
        let value = Some(String::from_utf8_lossy(value.as_bytes()).into_owned());
        match name {
            b'r' => conditions.range = value,
            b'R' => conditions.if_range = value,
            b'm' => conditions.if_match = value,
            b'n' => conditions.if_none_match = value,
            b's' => conditions.if_modified_since = value,
            b'u' => conditions.if_unmodified_since = value,
            b'a' => accept = value,
            _ => {}
        }
    }
    chosen(&conditions);
    let _ = phone_home::said(rest);
    let Ok(uri) = Uri::try_from(target) else {
        return "no-uri";
    };
    let _ = view(uri.query(), accept.as_deref()).query();
    asked(*who, uri.path(), uri.query())
}

/// A part is inside the file, always.
fn chosen(conditions: &Conditions) {
    let version = Version::new(UNIX_EPOCH + Duration::from_secs(1_700_000_000), LENGTH);
    if let Selection::Part(part) = select(conditions, &version) {
        let shown = part.to_string();
        let ends = shown
            .split_once('-')
            .map(|(first, last)| (first.parse(), last.parse()));
        let Some((Ok(first), Ok(last))): Option<(Result<u64, _>, Result<u64, _>)> = ends else {
            panic!("a part is shown as {shown}");
        };
        assert!(
            first <= last && last < LENGTH,
            "the part {shown} of {LENGTH} bytes"
        );
    }
}

fn asked(who: u8, path: &str, query: Option<&str>) -> &'static str {
    let path = match decode_path(path) {
        Err(bad) => return bad.as_str(),
        Ok(path) => path,
    };
    let _ = without_token(&path);
    let _ = content_type(&path);
    let (told, key) = (nobody(), BootKey::new([1; 32]));
    let _ = phone_home::boot_of(&key, &path, query);
    let mac = MacAddress::new([0x52, 0x54, 0, 0, 0, who & 7]);
    if who & 16 > 0 {
        // A boot of it goes on.
        let number = START.0;
        told.began(BootId { mac, number });
    }
    let caller = Caller {
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 4 + (who & 7))),
        mac: (who & 8 > 0).then_some(mac),
        told: &told,
    };
    let urls = Urls {
        server: IpAddr::V4(SERVER),
        port: if who & 32 > 0 { 8080 } else { 80 },
        tls: who & 64 > 0,
    };
    let ask = |query: Option<&str>| route(&SNAPSHOT, caller, urls, &path, query);
    match ask(query) {
        Err(refused) => {
            assert!((400..600).contains(&refused.status()));
            refused.as_str()
        }
        Ok(Route::File { path, .. }) => {
            assert!(path.parts().all(|part| part != ".."), "{path} leads out");
            "file"
        }
        Ok(Route::Text { body, purpose, .. }) => {
            is_plain(&body);
            let again = ask(Some(&understood(query.unwrap_or_default())));
            let Ok(Route::Text { body: plain, .. }) = again else {
                panic!("{query:?} makes a script of its own");
            };
            assert_eq!(body, plain, "{query:?} gets into a script");
            purpose.as_str()
        }
        Ok(Route::Locked(_)) => "locked",
        Ok(Route::Config(granted)) => {
            let text = render_config(
                &granted.file,
                &granted.context,
                SecretValues::Hidden,
                &Values::new(),
            );
            assert!(text.is_ok());
            "config"
        }
    }
}

/// What of a query may change a script: who asks, and a token.
fn understood(query: &str) -> String {
    let pass = query.split('&').find_map(|pair| pair.strip_prefix(PASS));
    let pass = pass
        .filter(|pass| is_token(pass))
        .map(|pass| format!("{PASS}{pass}"));
    let names = |pair: &&str| {
        pair.split('=')
            .next()
            .is_some_and(|name| TELLS.contains(&name))
    };
    let tells = |pair: &&str| query.len() <= MAX_TOLD && names(pair);
    let told = query.split('&').filter(tells).map(str::to_owned);
    told.chain(pass).collect::<Vec<_>>().join("&")
}
