//! Whether what manifests name is there, without fetching it. Shell.

use std::time::Duration;

use futures_util::StreamExt as _;

use super::fetch::{Failure, Fetcher, Reason};
use super::identity::{FileWant, Origin, Want};
use super::keep::registry_settings;
use super::oci::{Platform, Reference, Registry};
use super::secrets::Secrets;
use crate::snapshot::ObjectName;

/// Places that are asked at once.
const AT_ONCE: usize = 8;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A place that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The artifact.
    pub artifact: ObjectName,
    /// The field that names it.
    pub field: String,
    /// The URL, or the reference of an image.
    pub url: String,
}

/// Asks for each place that `wants` name; `Err` says in words why it is not
/// there.
pub async fn look(
    fetcher: &Fetcher,
    secrets: &Secrets,
    wants: &[Want],
) -> Vec<(Place, Result<(), Failure>)> {
    let all: Vec<(&Want, Place)> = wants
        .iter()
        .flat_map(|want| places(want).into_iter().map(move |place| (want, place)))
        .collect();
    let asked = all.into_iter().map(|(want, place)| async move {
        let result = tokio::time::timeout(PATIENCE, one(fetcher, secrets, want, &place)).await;
        let late = || {
            let what = format!("{}: no answer in {} s", place.url, PATIENCE.as_secs());
            Err(Failure::new(Reason::Stalled, what))
        };
        let result = result.unwrap_or_else(|_| late());
        (place, result)
    });
    let mut found: Vec<_> = futures_util::stream::iter(asked)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found
}

fn places(want: &Want) -> Vec<Place> {
    let place = |field: &str, url: &str| Place {
        artifact: want.name.clone(),
        field: field.to_owned(),
        url: url.to_owned(),
    };
    let of_file = |file: &FileWant| {
        let mut all: Vec<Place> = file
            .urls
            .iter()
            .map(|url| place(&file.field, url))
            .collect();
        if let Some(signature) = &file.signature {
            let field = format!("{}.signature", file.field);
            all.push(place(&field, &signature.url));
            all.extend(signature.sums.iter().map(|url| place(&field, url)));
        }
        all
    };
    match &want.origin {
        Origin::Files(files) => files.iter().flat_map(of_file).collect(),
        Origin::Archive(file, _) => of_file(file),
        Origin::Oci(oci) => vec![place("spec.oci.image", &oci.image)],
    }
}

async fn one(
    fetcher: &Fetcher,
    secrets: &Secrets,
    want: &Want,
    place: &Place,
) -> Result<(), Failure> {
    let secret = match &want.secret {
        None => None,
        Some(name) => {
            let name = ObjectName {
                namespace: want.name.namespace.clone(),
                name: name.clone(),
            };
            let secret = secrets.get(&name).await;
            Some(secret.map_err(|what| Failure::new(Reason::Secret, what))?)
        }
    };
    let Origin::Oci(oci) = &want.origin else {
        let session = fetcher.session(secret)?;
        return fetcher.look(&session, &place.url).await;
    };
    let bad = |what: String| Failure::new(Reason::NotServed, what);
    let reference = Reference::parse(&oci.image).map_err(|error| bad(error.to_string()))?;
    let platform = oci
        .platform
        .as_deref()
        .map_or_else(|| Some(Platform::usual()), Platform::parse);
    let platform = platform.ok_or_else(|| bad("platform: write it as linux/amd64".to_owned()))?;
    let settings = registry_settings(&secret.unwrap_or_default(), &fetcher.plain_registries)?;
    let of = |error: super::oci::OciFailure| Failure::new(Reason::NotFound, error.to_string());
    let registry = Registry::new(settings).map_err(of)?;
    registry
        .resolve(&reference, &platform)
        .await
        .map(|_| ())
        .map_err(of)
}
