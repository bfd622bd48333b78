//! The doors that see addresses: TFTP names, HTTP paths, versions of files.

use reveille::files::ArtifactPath;
use reveille::http::media::content_type;
use reveille::http::range::{Conditions, Selection, Version, select};
use reveille::http::route::{self, Route, route};
use reveille::http::target::decode_path;
use reveille::script::{Caller, PASS, SecretValues, Urls, Values, pass_for, render_config};
use reveille::snapshot::Acquaintances as _;
use reveille::tftp::resolve::{Content, Naming, resolve};
use reveille::timeline::Purpose;

use super::book::{Door, FileAsk, Sends, Step};
use super::diff::{Facts, compare, same};
use super::options::unhex;
use super::stage::Stage;

/// What a door answers: `Err` holds the name of a refusal.
type Answer = Result<Sent, String>;

enum Sent {
    /// The places where it may be.
    File(Vec<ArtifactPath>, Purpose),
    Text(String, Purpose),
}

impl Stage {
    /// A step at a door.
    pub(crate) fn door(&self, step: &Step) -> Result<(), String> {
        let answer = if let Some(door) = &step.tftp {
            self.tftp(door)?
        } else if let Some(door) = &step.http {
            self.http(door)
        } else if let Some(file) = &step.file {
            return version(file, step.sends.as_ref().ok_or("`sends` is missing")?);
        } else {
            return Err("nothing comes in".to_owned());
        };
        match (answer, &step.sends) {
            (Ok(sent), Some(want)) => check(&sent, want),
            (Ok(_), None) => Err("    something is sent\n".to_owned()),
            (Err(reason), _) => {
                let want = step.refused.as_deref().unwrap_or("sends");
                same("answer", want, &reason)
            }
        }
    }

    fn caller(&self, door: &Door) -> Caller<'_> {
        Caller {
            address: door.from,
            mac: self.tenant(door.from),
            told: &self.told,
        }
    }

    fn tftp(&self, door: &Door) -> Result<Answer, String> {
        let name = match door.name.strip_prefix("hex:") {
            Some(digits) => unhex(digits)?,
            None => door.name.clone().into_bytes(),
        };
        let (naming, caller) = (Naming::default(), self.caller(door));
        let content = resolve(
            &self.snapshot,
            &naming,
            caller,
            self.server_for(door.from),
            &name,
        );
        let sent = content.map(|content| match content {
            Content::File { paths, purpose } => Sent::File(paths, purpose),
            Content::Text { body, purpose, .. } => Sent::Text(body, purpose),
        });
        Ok(sent.map_err(|refused| refused.as_str().to_owned()))
    }

    fn http(&self, door: &Door) -> Answer {
        let (path, query) = match door.name.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (door.name.as_str(), None),
        };
        let path = decode_path(path).map_err(|bad| format!("400 {}", bad.as_str()))?;
        let server = Urls {
            server: self.server_for(door.from),
            port: self.snapshot.http_port,
            tls: false,
        };
        let name = |refused: route::Refused| format!("{} {}", refused.status(), refused.as_str());
        let ask = |query| {
            let asked = route(&self.snapshot, self.caller(door), server, &path, query);
            asked.map_err(name)
        };
        let mut found = ask(query)?;
        if let (Route::Locked(locked), true) = (&found, door.password) {
            let pass = self.told.token_for(locked.mac, &pass_for(&locked.choice));
            let pass = pass.ok_or("no boot is known")?;
            found = ask(Some(&format!("{PASS}{pass}")))?;
        }
        Ok(match found {
            Route::Locked(_) => return Err("401 password-needed".to_owned()),
            Route::File { path, purpose, .. } => Sent::File(vec![path], purpose),
            Route::Text {
                body,
                purpose,
                machine,
                told,
                ..
            } => {
                if let (Some(mac), Some(told)) = (machine, told) {
                    self.told.insert(mac, told, self.now());
                }
                Sent::Text(body, purpose)
            }
            Route::Config(granted) => {
                let (file, context) = (&granted.file, &granted.context);
                let hidden = SecretValues::Hidden;
                let text = render_config(file, context, hidden, &Values::new());
                Sent::Text(text.map_err(|error| error.to_string())?, Purpose::Config)
            }
        })
    }
}

fn check(sent: &Sent, want: &Sends) -> Result<(), String> {
    let (name, got, purpose) = match sent {
        Sent::File(paths, purpose) => {
            let paths: Vec<_> = paths.iter().map(ArtifactPath::as_str).collect();
            ("file", paths.join(", else "), purpose)
        }
        Sent::Text(text, purpose) => ("text", text.clone(), purpose),
    };
    let got = got.as_str();
    if let Some(want) = &want.purpose {
        same("purpose", want, purpose.as_str())?;
    }
    let mut rest = got.lines();
    for line in &want.lines {
        if !rest.any(|other| other == line) {
            return Err(format!(
                "    line is missing:\n      - {line}\n    in\n{got}\n"
            ));
        }
    }
    match (&want.file, &want.text) {
        (Some(file), None) => same("file", file, if name == "file" { got } else { "a text" }),
        (None, Some(text)) => same("text", text, got),
        (None, None) if name == "text" && !want.lines.is_empty() => Ok(()),
        _ => Err(format!("    {name} is sent: {got}\n")),
    }
}

/// What a request gets of a file, and the headers that name its version.
fn version(ask: &FileAsk, want: &Sends) -> Result<(), String> {
    let modified = httpdate::parse_http_date(&ask.modified).map_err(|_| "no HTTP date")?;
    let version = Version::new(modified, ask.length);
    let mut conditions = Conditions::default();
    for (name, value) in &ask.headers {
        let place = match name.as_str() {
            "range" => &mut conditions.range,
            "if-range" => &mut conditions.if_range,
            "if-match" => &mut conditions.if_match,
            "if-none-match" => &mut conditions.if_none_match,
            "if-modified-since" => &mut conditions.if_modified_since,
            "if-unmodified-since" => &mut conditions.if_unmodified_since,
            _ => return Err(format!("{name} chooses nothing")),
        };
        *place = Some(value.clone());
    }
    let status = match select(&conditions, &version) {
        Selection::Whole => "200".to_owned(),
        Selection::Part(part) => format!("206 bytes {part}/{}", ask.length),
        Selection::NotModified => "304".to_owned(),
        Selection::PreconditionFailed => "412".to_owned(),
        Selection::Unsatisfiable => "416".to_owned(),
    };
    same(
        "status",
        want.status.as_deref().unwrap_or_default(),
        &status,
    )?;
    let got = Facts::from([
        ("etag".to_owned(), version.etag()),
        ("last-modified".to_owned(), version.last_modified()),
        ("content-type".to_owned(), content_type(&ask.name)),
    ]);
    compare(&want.headers, &got, false)
}
