//! What is more than a file: archives, images, signatures. Shell.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::job::{Done, Job};
use crate::api::{ArchiveFormat, ArchiveSource, OciSource, Signature};
use crate::artifact::fetch::http::partial_len;
use crate::artifact::fetch::{Failure, Reason, Task};
use crate::artifact::identity::{FileWant, hex, is_tree_path};
use crate::artifact::oci::manifest::NamedFile;
use crate::artifact::oci::{
    Content, Credentials, Descriptor, LayerType, Login, OciFailure, Platform, Reference, Registry,
    Settings, lay,
};
use crate::artifact::secrets::Secret;
use crate::artifact::signature::{MAX_LIST, PublisherKey, Untrusted};
use crate::artifact::table::HeldFile;
use crate::artifact::unpack::name::EntryName;
use crate::artifact::unpack::{Format, Limits, Pick, Refused, Unpacked, unpack};
use crate::clock;

/// Longest detached signature.
const MAX_SIGNATURE: usize = 1 << 20;

/// How registries are asked with what a Secret holds; `plain` are asked
/// without TLS.
pub(in crate::artifact) fn registry_settings(
    secret: &Secret,
    plain: &[String],
) -> Result<Settings, Failure> {
    let credentials = match (
        secret.text(".dockerconfigjson"),
        secret.text("token"),
        secret.text("username"),
    ) {
        (Some(text), _, _) => Credentials::docker_config(text)
            .map_err(|error| Failure::new(Reason::Secret, error.to_string()))?,
        (None, Some(token), _) => Credentials::login(Login::Token(token.to_owned())),
        (None, None, Some(user)) => Credentials::login(Login::Password {
            user: user.to_owned(),
            password: secret.text("password").unwrap_or_default().to_owned(),
        }),
        (None, None, None) => Credentials::default(),
    };
    Ok(Settings {
        ca: secret.bytes("ca.crt").map(<[u8]>::to_vec),
        plain_http: plain.iter().cloned().collect(),
        credentials,
        ..Settings::default()
    })
}

impl Job<'_> {
    /// An archive: fetched, unpacked beside, and taken in file by file.
    pub(super) async fn archive(
        &self,
        file: &FileWant,
        archive: &ArchiveSource,
    ) -> Result<Done, Failure> {
        let held = self.file(file, 0).await?;
        let pick = pick(
            &archive.include,
            archive.strip.into(),
            "spec.archive.include",
        )?;
        let format = match archive.format {
            ArchiveFormat::Tar => Format::Tar,
            ArchiveFormat::TarGz => Format::TarGz,
            ArchiveFormat::TarXz => Format::TarXz,
            ArchiveFormat::TarZst => Format::TarZst,
            ArchiveFormat::Zip => Format::Zip,
            ArchiveFormat::Iso => Format::Iso,
        };
        let blob = self.tools.store.blob(&held.sha256);
        let work =
            move |into: &Path| unpack(&blob, format, &pick, &Limits::default(), into, &mut |_| ());
        let files = self.unpacked("spec.archive", held.verified, work).await?;
        self.publish(files).await
    }

    /// An image of a registry, or an artifact.
    pub(super) async fn oci(&self, oci: &OciSource) -> Result<Done, Failure> {
        let bad = |what: String| Failure::new(Reason::NotServed, format!("spec.oci: {what}"));
        let reference = Reference::parse(&oci.image).map_err(|error| bad(error.to_string()))?;
        let platform = match &oci.platform {
            None => Platform::usual(),
            Some(text) => Platform::parse(text)
                .ok_or_else(|| bad(format!("`{text}` is no platform such as linux/amd64")))?,
        };
        let registry = Registry::new(self.settings()?).map_err(of_registry)?;
        let resolved = registry
            .resolve(&reference, &platform)
            .await
            .map_err(of_registry)?;
        let content = resolved
            .manifest
            .content()
            .map_err(|error| bad(error.to_string()))?;
        let pick = pick(&oci.include, 0, "spec.oci.include")?;
        let is_pinned = reference.digest().is_some();
        let asked = (&registry, &reference);
        let files = match content {
            Content::Layers(layers) => {
                let mut paths: Vec<(PathBuf, LayerType)> = Vec::new();
                let mut before = 0;
                for (layer, kind) in layers {
                    let file = self.blob(asked, &layer, before).await?;
                    before += file.size;
                    paths.push((self.tools.store.blob(&file.sha256), kind));
                }
                let work =
                    move |into: &Path| lay(&paths, &pick, &Limits::default(), into, &mut |_| ());
                self.unpacked("spec.oci", is_pinned, work).await?
            }
            Content::Files(named) => self.named(asked, &named, &pick, is_pinned).await?,
        };
        self.publish(files).await
    }

    /// The files of an artifact, each a blob with a name.
    async fn named(
        &self,
        asked: (&Registry, &Reference),
        named: &[NamedFile],
        pick: &Pick,
        is_pinned: bool,
    ) -> Result<BTreeMap<String, HeldFile>, Failure> {
        let mut files = BTreeMap::new();
        let mut before = 0;
        for file in named {
            let bad = |why: &str| {
                let what = format!("spec.oci: `{}` {why}", file.name.escape_debug());
                Failure::new(Reason::BadArchive, what)
            };
            let name = EntryName::parse(file.name.as_bytes(), Limits::default().name());
            let name = name.map_err(|error| bad(&error.to_string()))?;
            let Some(placed) = pick.place(&name, |_| ()) else {
                continue;
            };
            let blob = self.blob(asked, &file.descriptor, before).await?;
            before += blob.size;
            if file.packed {
                let archive = self.tools.store.blob(&blob.sha256);
                let work = move |into: &Path| {
                    let (all, limits) = (Pick::all(0), Limits::default());
                    unpack(&archive, Format::TarGz, &all, &limits, into, &mut |_| ())
                };
                files.extend(self.unpacked("spec.oci", is_pinned, work).await?);
                continue;
            }
            let path = placed.to.as_str();
            if !is_tree_path(path) {
                return Err(bad("cannot be the name of a file"));
            }
            let held = HeldFile {
                verified: is_pinned,
                ..blob
            };
            files.insert(path.to_owned(), held);
        }
        Ok(files)
    }

    /// Makes sure of a blob of a registry, going on where an earlier try stopped.
    async fn blob(
        &self,
        (registry, reference): (&Registry, &Reference),
        descriptor: &Descriptor,
        before: u64,
    ) -> Result<HeldFile, Failure> {
        let store = &self.tools.store;
        let digest = descriptor.digest.hex().to_owned();
        let held = |size| HeldFile {
            size,
            sha256: digest.clone(),
            verified: true,
            ..HeldFile::default()
        };
        if let Some(size) = store.blob_len(&digest) {
            return Ok(held(size));
        }
        let what = format!("{reference} {}", descriptor.digest);
        if digest.len() != 64 {
            let why = format!("spec.oci: {what}: only SHA-256 digests are kept");
            return Err(Failure::new(Reason::NotServed, why));
        }
        let want = FileWant {
            field: "spec.oci".to_owned(),
            path: digest.clone(),
            sha256: Some(digest.clone()),
            ..FileWant::default()
        };
        let partial = self.partial(&want);
        let told = self.teller(before, &what, false);
        let task = Task {
            want: &want,
            partial: &partial,
            have: None,
            free: store.free().ok(),
            told: &told,
        };
        let from = partial_len(&partial);
        // One that is whole already is asked for anew.
        let from = if from >= descriptor.size { 0 } else { from };
        let asked = registry.blob(reference, &descriptor.digest, from).await;
        let asked = asked.map_err(of_registry)?;
        let at = (asked.from, asked.total.or(Some(descriptor.size)));
        let fetcher = &self.tools.fetcher;
        let fetched = fetcher.blob(&what, asked.into_response(), at, task).await?;
        self.take_in(partial, fetched.sha256).await?;
        Ok(held(fetched.size))
    }

    fn settings(&self) -> Result<Settings, Failure> {
        registry_settings(&self.session.secret, &self.tools.fetcher.plain_registries)
    }

    /// Unpacks by `work` into a folder beside, and takes its files in.
    async fn unpacked(
        &self,
        field: &str,
        verified: bool,
        work: impl FnOnce(&Path) -> Result<Unpacked, Refused> + Send + 'static,
    ) -> Result<BTreeMap<String, HeldFile>, Failure> {
        let key = FileWant {
            path: format!("{field} unpacked"),
            ..FileWant::default()
        };
        let into = self.partial(&key);
        let store = Arc::clone(&self.tools.store);
        let (field, name) = (field.to_owned(), self.want.name.to_string());
        let unpacking = spawn_blocking(move || {
            // What an earlier try left.
            let _ = std::fs::remove_dir_all(&into);
            let result = work(&into)
                .map_err(|refused| Failure::new(Reason::BadArchive, format!("{field}: {refused}")));
            let taken = result.and_then(|unpacked| {
                for (entry, why) in unpacked.left_out.iter().take(10) {
                    tracing::info!(artifact = name, entry, reason = why.as_str(), "left out");
                }
                let mut files = BTreeMap::new();
                for file in unpacked.files {
                    let sha256 = hex(&file.sha256);
                    let from = into.join(&file.path);
                    if store.blob_len(&sha256) != Some(file.size) {
                        store.take_in(&from, &sha256).map_err(|error| {
                            Failure::volume("an unpacked file cannot be kept", &error)
                        })?;
                    }
                    let held = HeldFile {
                        size: file.size,
                        sha256,
                        verified,
                        ..HeldFile::default()
                    };
                    files.insert(file.path, held);
                }
                Ok(files)
            });
            let _ = std::fs::remove_dir_all(&into);
            taken
        });
        let files = unpacking.await;
        files.map_err(|error| Failure::new(Reason::VolumeFails, error.to_string()))?
    }

    /// What a signed list says of `want`, and a signature that is over the file
    /// itself.
    pub(super) async fn signed(
        &self,
        want: &FileWant,
    ) -> Result<(Option<FileWant>, Option<Vec<u8>>), Failure> {
        let Some(signature) = &want.signature else {
            return Ok((None, None));
        };
        let Some(sums) = &signature.sums else {
            let detached = self.text(want, &signature.url, MAX_SIGNATURE).await?;
            return Ok((None, Some(detached)));
        };
        let list = self.text(want, sums, MAX_LIST).await?;
        let detached = if *sums == signature.url {
            None
        } else {
            Some(self.text(want, &signature.url, MAX_SIGNATURE).await?)
        };
        let key = key(signature).map_err(|error| untrusted(want, &error))?;
        let verified = key.verify_list(&list, detached.as_deref(), clock::now());
        let (signer, sums) = verified.map_err(|error| untrusted(want, &error))?;
        let url = want.urls.first().map_or("", String::as_str);
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let digests = sums.find(path).map_err(|error| untrusted(want, &error))?;
        for (own, listed) in [
            (&want.sha256, &digests.sha256),
            (&want.sha512, &digests.sha512),
        ] {
            if let (Some(own), Some(listed)) = (own, listed)
                && own != listed
            {
                let what = format!(
                    "{}: the signed list says {listed}, the manifest {own}; correct the manifest",
                    want.field
                );
                return Err(Failure::new(Reason::WrongDigest, what));
            }
        }
        tracing::debug!(artifact = %self.want.name, key = signer.key, "a signed list is believed");
        let listed = FileWant {
            sha256: want.sha256.clone().or(digests.sha256),
            sha512: want.sha512.clone().or(digests.sha512),
            ..want.clone()
        };
        Ok((Some(listed), None))
    }

    async fn text(&self, want: &FileWant, url: &str, most: usize) -> Result<Vec<u8>, Failure> {
        let text = self.tools.fetcher.text(&self.session, url, most).await;
        text.map_err(|failure| Failure {
            what: format!("{}.signature: {}", want.field, failure.what),
            ..failure
        })
    }

    /// Holds a download against the signature over it.
    pub(super) async fn check_signature(
        &self,
        want: &FileWant,
        partial: &Path,
        detached: &[u8],
    ) -> Result<(), Failure> {
        let Some(signature) = &want.signature else {
            return Ok(());
        };
        let key = key(signature).map_err(|error| untrusted(want, &error))?;
        let (file, detached) = (partial.to_owned(), detached.to_vec());
        let checking = spawn_blocking(move || {
            let checked = key.verify_file(&file, &detached, clock::now());
            if checked.is_err() {
                crate::artifact::fetch::forget(&file);
            }
            checked
        });
        let checked = checking.await;
        let checked =
            checked.map_err(|error| Failure::new(Reason::VolumeFails, error.to_string()))?;
        checked.map(drop).map_err(|error| untrusted(want, &error))
    }
}

fn key(signature: &Signature) -> Result<PublisherKey, Untrusted> {
    match (&signature.openpgp, &signature.minisign) {
        (Some(text), _) => PublisherKey::openpgp(text),
        (None, text) => PublisherKey::minisign(text.as_deref().unwrap_or_default()),
    }
}

fn untrusted(want: &FileWant, error: &Untrusted) -> Failure {
    let what = format!("{}.signature: {error}", want.field);
    Failure::new(Reason::BadSignature, what)
}

fn pick(include: &[String], strip: usize, field: &str) -> Result<Pick, Failure> {
    let limits = Limits::default().name();
    include.iter().try_fold(Pick::all(strip), |pick, pattern| {
        pick.and(pattern, None, limits)
            .map_err(|error| Failure::new(Reason::NotServed, format!("{field}: {error}")))
    })
}

fn of_registry(failure: OciFailure) -> Failure {
    let reason = match &failure {
        OciFailure::Certificates(_) => Reason::Secret,
        OciFailure::Tls { .. } => Reason::Tls,
        OciFailure::Connection { .. } => Reason::Unreachable,
        OciFailure::Timeout { .. } => Reason::Stalled,
        OciFailure::Redirect { .. } => Reason::Redirect,
        OciFailure::Unauthorized { .. } | OciFailure::Denied { .. } => Reason::Unauthorized,
        OciFailure::NotFound { .. } => Reason::NotFound,
        OciFailure::TooMany { .. } => Reason::TooManyRequests,
        OciFailure::Server { .. } | OciFailure::Unexpected { .. } => Reason::ServerError,
        OciFailure::WrongDigest { .. } => Reason::WrongDigest,
        OciFailure::TooLarge { .. } => Reason::TooBig,
        OciFailure::Manifest { .. } => Reason::BadArchive,
    };
    Failure {
        retry_after: failure.retry_after().map(|after| after.as_secs()),
        ..Failure::new(reason, format!("spec.oci: {failure}"))
    }
}
